"""What people look at to see how far a line is off: how often how much, and where."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from geounet.distances import WGS84
from geounet.evaluate.error_layer import ALONE
from geounet.evaluate.line_scores import LineErrors
from geounet.evaluate.scores import Evaluation
from geounet.figure import as_written, save_png
from geounet.outputs import stage_file
from geounet.styles import SEAWARD_COLORMAP

BINS = 81


def draw_errors(evaluation: Evaluation, path: Path) -> None:
    """Draw a histogram of distances, and a map of them along the coast; a PNG.

    Raises:
        OutputError: It cannot be written.
    """
    errors, lines = evaluation.errors, evaluation.scores["lines"]
    figure = Figure(figsize=(14, 6.5), layout="constrained")
    often, where = figure.subplots(1, 2, width_ratios=(1, 1.5))
    _draw_histogram(often, errors)
    where.set_facecolor("0.85")  # small distances are nearly white
    shown = _draw_map(where, errors)
    if shown is not None:
        label = "metres, + towards water" if errors.signed else "metres"
        figure.colorbar(shown, ax=where, label=label, extend="both" if errors.signed else "max")
    middle = errors.plane.to_crs(WGS84)(np.zeros((1, 2)))[0]
    for number, place in enumerate(lines["worst"], 1):
        lon_lat = np.array([[place["lon"], place["lat"]]])
        x, y = errors.plane.from_crs(WGS84)(lon_lat)[0] / 1000
        where.annotate(
            str(number), (x, y), xytext=(6, 6), textcoords="offset points", fontsize=9,
            bbox={"boxstyle": "circle,pad=0.15", "fc": "white", "ec": "0.4", "alpha": 0.8},
        )  # fmt: skip
    name = evaluation.scores["prediction"]["name"]
    where.set(
        title=f"{as_written(name)}: where (numbers: worst places)",
        xlabel=f"km east of {middle[0]:.4f}°",
        ylabel=f"km north of {middle[1]:.4f}°",
        aspect="equal",
    )
    with stage_file(path) as draft:
        save_png(figure, draft, dpi=120)


def _draw_histogram(axes: Axes, errors: LineErrors) -> None:
    """Draw how much of each line is how far from the other."""
    limit = _limit(errors, 99)
    low = -limit if errors.signed else 0.0
    edges = np.linspace(low, limit, BINS if errors.signed else BINS // 2 + 1)
    ways = ("predicted → reference", "reference → predicted")
    for matches, label in zip(errors.matched, ways, strict=True):
        filled = label is ways[0]
        distance, step = _shown(errors, matches.signed_m)[matches.found], matches.points.step
        counted = step[matches.found] / 1000
        heights, _ = np.histogram(np.clip(distance, low, limit), edges, weights=counted)
        axes.stairs(
            heights, edges, label=label, fill=filled, alpha=0.5 if filled else 1, lw=1.5,
            color="C0" if filled else "C1",
        )  # fmt: skip
        if len(distance):
            middle = float(np.median(distance))
            axes.axvline(middle, color="0.2", linestyle="-" if filled else ":")
    axes.plot([], [], color="0.2", label="medians")
    axes.set(
        title="How far, and how much of the line (outermost: and beyond)",
        xlabel="metres, + where the predicted line is towards water"
        if errors.signed
        else "metres, on either side",
        ylabel="km of line",
    )
    axes.legend(fontsize=9, loc="upper right")


def _draw_map(axes: Axes, errors: LineErrors) -> PathCollection | None:
    """Draw the points of both lines; return those with colours, if there are any."""
    here, there = errors.matched
    for matches, what, label in (
        (here, "extra", "extra: no reference there"),
        (there, "missed", "missed"),
    ):
        x, y = matches.points.xy[~matches.found].T / 1000
        if len(x):
            axes.scatter(x, y, s=5, color=ALONE[what], linewidths=0, label=label)
            axes.legend(fontsize=9, markerscale=3, loc="upper right")
    if not here.found.any():
        return None
    signed = _shown(errors, here.signed_m)[here.found]
    order = np.argsort(np.abs(signed))  # what is worst on top
    x, y = here.points.xy[here.found][order].T / 1000
    limit = _limit(errors, 95)
    return axes.scatter(
        x, y, c=signed[order], s=7, linewidths=0, vmax=limit,
        vmin=-limit if errors.signed else 0,
        cmap=SEAWARD_COLORMAP if errors.signed else "viridis_r",
    )  # fmt: skip


def _shown(errors: LineErrors, signed: NDArray[np.float64]) -> NDArray[np.float64]:
    return signed if errors.signed else np.abs(signed)


def _limit(errors: LineErrors, percent: float) -> float:
    """Return within which distance so many percent of the predicted line match, in metres."""
    distance = errors.matched[0].distance_m[errors.matched[0].found]
    least = errors.plane.pixel_m / 2
    return max(least, float(np.percentile(distance, percent))) if len(distance) else least
