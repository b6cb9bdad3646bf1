"""Figures of the experiments."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from geounet.experiment.scoring import COMPARED

_SHOWN = ("iou", "boundary_f1")


def draw_skips(
    summary: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]], path: Path
) -> None:
    """Draw scores by number of training chips, a line for each kind of network; a PNG.

    Args:
        summary: Of trainings that differ in nothing but the seed: the lines.
        rows: Of single trainings: the dots.
        path: Where.
    """
    figure = Figure(figsize=(5 * len(_SHOWN), 4.6), layout="constrained")
    networks = list(dict.fromkeys(row["network"] for row in summary))
    counts = sorted({row["chips"] for row in summary})
    for axes, score in zip(figure.subplots(1, len(_SHOWN)), _SHOWN, strict=True):
        for number, network in enumerate(networks):
            for varied in (False, True):
                _draw_kind(axes, summary, rows, score, network, varied, color=f"C{number}")
        axes.set(title=f"{COMPARED[score]}, test split", xlabel="training chips", xscale="log")
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.grid(alpha=0.3)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(networks))
    _save(figure, path)


def _draw_kind(
    axes: Axes,
    summary: Sequence[Mapping[str, Any]],
    rows: Sequence[Mapping[str, Any]],
    score: str,
    network: str,
    varied: bool,
    *,
    color: str,
) -> None:
    """Draw one network, with its chips varied or not: the mean, and each training."""
    means, single = (
        [
            (row["chips"], row["scores"][score])
            for row in of
            if row["network"] == network and row["varied"] == varied
        ]
        for of in (summary, rows)
    )
    points = [(chips, spread["mean"]) for chips, spread in means if spread["mean"] is not None]
    dots = [(chips, value) for chips, value in single if value is not None]
    label = f"{network}, {'varied' if varied else 'as they are'}"
    if points:
        style = "-" if varied else "--"
        axes.plot(*zip(*points, strict=True), style, marker="o", color=color, label=label)
    if dots:
        face = color if varied else "none"
        where, values = zip(*dots, strict=True)
        axes.scatter(where, values, s=12, edgecolor=color, facecolor=face, alpha=0.6)


def draw_bands(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw what shuffling each band costs, in points of each score; a PNG.

    Args:
        rows: Of each band, `band` and `drop` of each score with its spread.
        path: Where.
    """
    scores = list(COMPARED)
    figure = Figure(figsize=(3.2 * len(scores), 1.6 + 0.32 * len(rows)), layout="constrained")
    places = range(len(rows))
    for axes, score in zip(figure.subplots(1, len(scores), sharey=True), scores, strict=True):
        means = [100 * (row["drop"][score]["mean"] or 0) for row in rows]
        spreads = [100 * (row["drop"][score]["sd"] or 0) for row in rows]
        axes.barh(places, means, xerr=spreads, color="C0", ecolor="0.3")
        axes.axvline(0, color="0.3", linewidth=0.8)
        axes.set(title=COMPARED[score], xlabel="points lost")
        axes.set_yticks(places, [row["band"] for row in rows])
        axes.grid(axis="x", alpha=0.3)
    figure.axes[0].invert_yaxis()
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    # Matplotlib's version in the file would make the same figure differ.
    figure.savefig(path, format="png", dpi=120, metadata={"Software": None})
