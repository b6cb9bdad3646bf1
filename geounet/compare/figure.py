"""What people look at: where the coast moved, and how far.

Made without pyplot, which keeps state and wants a screen.
"""

from pathlib import Path

import numpy as np
import shapely
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.path import Path as Outline
from numpy.typing import NDArray

from geounet.compare.areas import Changes
from geounet.compare.common import CommonGround
from geounet.compare.movement import Movement
from geounet.distances import Coordinates
from geounet.figure import as_written, save_png
from geounet.styles import GAINED_COLOR, LOST_COLOR, SEAWARD_COLORMAP
from geounet.vectors import Geometries

_BINS = 61
_LEAST_KM = 0.2
SHOWN = 98
"""Percent of movements within colours and axis; those of ponds that found another are beyond."""


def draw_comparison(
    movement: Movement,
    counted: NDArray[np.bool_],
    changes: Changes | None,
    common: CommonGround,
    title: str,
    path: Path,
) -> None:
    """Draw a map of movement, with areas gained and lost, beside its histogram; a PNG.

    Args:
        movement: All points.
        counted: (n,), which of them the figures are of.
        changes: Areas; None where they are not known.
        common: The ground.
        title: What was compared.
        path: Where.
    """
    figure = Figure(figsize=(13, 6.2), layout="constrained")
    figure.suptitle(as_written(title), fontsize=10)
    where, how_far = figure.subplots(1, 2, width_ratios=[1.5, 1])
    value = movement.value_m
    signed = bool(np.isfinite(value).any()) or not movement.found.any()
    value = value if signed else movement.distance_m
    known = np.isfinite(value)
    most = float(np.percentile(np.abs(value[known]), SHOWN)) if known.any() else 0.0
    most = most or 1.0
    where.set_facecolor("0.93")
    for kind, color in (("gained", GAINED_COLOR), ("lost", LOST_COLOR)):
        if changes is not None and (changes.kind == kind).any():
            _draw_areas(where, changes.polygons[changes.kind == kind], common, color)
    stretches = stretches_of(movement) / 1000
    where.add_collection(LineCollection(list(stretches[~known]), colors="k", linewidths=1.2))
    colored = LineCollection(
        list(stretches[known]),
        cmap=SEAWARD_COLORMAP if signed else "viridis",
        norm=Normalize(-most if signed else 0.0, most),
        linewidths=2.2,
    )
    colored.set_array(value[known])
    where.add_collection(colored)
    _limit(where, stretches.reshape(-1, 2))
    said = "moved, + towards the sea" if signed else "apart"
    said += ", at one level of water" if movement.corrected else ""
    where.set(xlabel="km east", ylabel="km north", aspect="equal")
    where.set_title("blue: land gained, red: land lost, black: no partner", fontsize=9)
    figure.colorbar(colored, ax=where, label=f"m {said}", shrink=0.8, extend="both")

    shown, weight = value[known & counted], movement.points.step[known & counted] / 1000
    how_far.hist(
        shown,
        bins=np.linspace(-most if signed else 0.0, most, _BINS),
        weights=weight,
        color="0.45",
    )
    if len(shown):
        median = float(np.median(value[known & counted]))
        how_far.axvline(median, color="#d62728", label=f"median {median:+.2f} m")
        how_far.legend(fontsize=8, loc="upper right")  # to find the best place may take seconds
    u95 = movement.u95_m[counted & np.isfinite(movement.u95_m)]
    if signed and len(u95):
        for side in (-1, 1):
            how_far.axvline(side * float(np.median(u95)), color="0.2", linestyle=":")
        how_far.set_title("dotted: 95 % of the errors of both lines", fontsize=9)
    how_far.axvline(0, color="0.2", linewidth=0.8)
    how_far.set(xlabel=f"m {said}{_beyond(shown, weight, most)}", ylabel="km of coast")
    save_png(figure, path, dpi=110)


def _beyond(value: NDArray[np.float64], km: NDArray[np.float64], most: float) -> str:
    """Return what is said of movements that the axis does not reach, in metres."""
    beyond = np.abs(value) > most
    if not beyond.any():
        return ""
    low, high = value[beyond].min(), value[beyond].max()
    upto = (
        f"{high:+.0f}" if low > 0 else f"{low:+.0f}" if high < 0 else f"{low:+.0f} and {high:+.0f}"
    )
    return f"\n{km[beyond].sum():.2f} of {km.sum():.2f} km lie beyond, up to {upto} m"


def stretches_of(movement: Movement) -> NDArray[np.float64]:
    """Return the stretch of coast that each point stands for, straight, (n, 2, 2), on the plane."""
    right = movement.points.right
    along = np.column_stack((-right[:, 1], right[:, 0])) * movement.points.step[:, None] / 2
    return np.stack((movement.points.xy - along, movement.points.xy + along), axis=1)


def _draw_areas(axes: Axes, polygons: Geometries, common: CommonGround, color: str) -> None:
    """Draw polygons with their holes, as one path each."""
    paths = []
    for polygon in shapely.transform(polygons, common.plane.from_pixels):
        rings = [np.asarray(ring.coords) / 1000 for ring in (polygon.exterior, *polygon.interiors)]
        paths.append(Outline.make_compound_path(*(Outline(ring, closed=True) for ring in rings)))
    axes.add_collection(PathCollection(paths, facecolors=color, alpha=0.7, linewidths=0))


def _limit(axes: Axes, places: Coordinates) -> None:
    """Show all of the coast, and not as a thread where it runs straight."""
    if not len(places):
        return
    low, high = places.min(axis=0), places.max(axis=0)
    middle, half = (low + high) / 2, (high - low) / 2 * 1.05
    half = np.maximum(half, max(half.max() / 2.5, _LEAST_KM))
    axes.set_xlim(middle[0] - half[0], middle[0] + half[0])
    axes.set_ylim(middle[1] - half[1], middle[1] + half[1])
