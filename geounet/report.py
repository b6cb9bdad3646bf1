"""What people look at to see how a training went: curves, and predictions beside the labels.

Figures are made without pyplot, which keeps state and wants a screen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from geounet.bands import Band
from geounet.classes import IGNORE, LabelClass
from geounet.outputs import stage_file

UNKNOWN_COLOR = "#b0b0b0"
"""Of pixels whose class is not known."""
_INCH = 2.4
"""Side of one picture of the contact sheet."""
_SMALL = 1.6
"""Of one view on the sheet of varied chips, which every training draws and has many."""
_TITLE = 32
"""Characters of a chip's name that there is room for beside one picture."""
_SCENES = 30
"""That are drawn, of those with the least IoU."""


@dataclass(frozen=True)
class ChipPicture:
    """One chip, its label and what the network says of it."""

    name: str
    values: NDArray[np.float32]
    """(bands, height, width), reflectance of the bands to show, NaN where not valid."""
    label: NDArray[np.uint8]
    """(height, width), class numbers from 0, 255 unknown."""
    probs: NDArray[np.float32]
    """(classes, height, width)."""


def draw_curves(
    rows: Sequence[Mapping[str, float | int]], classes: Sequence[LabelClass], path: Path
) -> None:
    """Draw losses and IoUs by epoch, a PNG.

    Args:
        rows: An epoch each: epoch, loss, and where there were validation chips val_loss and
            iou/NAME; see `task.EpochLog`.
        classes: Whose names and colours they are; none where no classes are told.
        path: Where.
    """
    figure = Figure(figsize=(10 if classes else 5, 4), layout="constrained")
    plots = figure.subplots(1, 2 if classes else 1, squeeze=False)[0]
    losses = plots[0]
    _draw_lines(losses, rows, {"loss": ("training", "C1"), "val_loss": ("validation", "C0")})
    losses.set(title="Loss", xlabel="epoch", yscale="log")
    losses.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    losses.yaxis.set_major_formatter("{x:g}")
    losses.yaxis.set_minor_formatter(NullFormatter())
    for ious in plots[1:]:
        _draw_lines(ious, rows, {f"iou/{c.name}": (c.name, _ink(c.color)) for c in classes})
        ious.set(title="IoU on the validation chips", xlabel="epoch")
    with_loss = [row for row in rows if "val_loss" in row]
    if with_loss:
        best = min(with_loss, key=lambda row: row["val_loss"])["epoch"]
        for axes in plots:
            axes.axvline(best, color="0.6", linestyle=":", zorder=0)
        losses.plot([], [], color="0.6", linestyle=":", label=f"best: epoch {best:g}")
        losses.legend()
    _save(figure, path)


@dataclass(frozen=True)
class ScoreFigures:
    """What is drawn of how well a network does on the validation chips."""

    by_probability: NDArray[np.float64]
    """(len(thresholds) + 1, 2), pixels of land and of water whose probability of water reaches so
    many of the thresholds."""
    thresholds: NDArray[np.float32]
    """Rising."""
    by_threshold: NDArray[np.float64]
    """Mean IoU of land and water at each; NaN where nothing defines it."""
    suggested: float | None
    """The best of them."""
    by_scene: Mapping[str, Mapping[str, Any]]
    """Scores of each scene, as the model file has them: `iou` by class and its `interval`. One at
    least."""
    colors: Mapping[str, str]
    """Of what `iou` has, `#rrggbb`."""


def draw_scores(figures: ScoreFigures, path: Path) -> None:
    """Draw how often probabilities are right, what the threshold changes, and the scenes; a PNG."""
    shown = sorted(figures.by_scene.items(), key=lambda item: _least_iou(item[1]))[:_SCENES]
    figure = Figure(figsize=(13, max(4, 1.5 + 0.22 * len(shown))), layout="constrained")
    sure, levels, scenes = figure.subplots(1, 3)
    groups = np.array_split(np.arange(len(figures.by_probability)), 10)
    pixels = np.array([figures.by_probability[group].sum(axis=0) for group in groups])
    there = pixels.sum(axis=1) > 0
    middles = (np.arange(10)[there] + 0.5) / 10
    sure.plot([0, 1], [0, 1], color="0.7", linestyle=":")
    sure.plot(middles, pixels[there, 1] / pixels[there].sum(axis=1), marker="o", color="C0")
    sure.bar(middles, pixels[there].sum(axis=1) / pixels.sum(), width=0.08, color="0.85", zorder=0)
    sure.set(title="How often it is water", xlabel="p(water)", ylabel="share that is water")
    sure.legend(
        handles=[Patch(color="0.85", label="share of all pixels with that p(water)")], fontsize=7
    )
    levels.plot(figures.thresholds, figures.by_threshold, color="C0")
    levels.axvline(0.5, color="0.7", linestyle=":")
    if figures.suggested is not None:
        levels.axvline(figures.suggested, color="C1", label=f"best: {figures.suggested:g}")
        levels.legend()
    levels.set(title="Mean IoU of land and water", xlabel="threshold")
    named: set[str] = set()
    for row, (_, scores) in enumerate(shown):
        for name, iou in scores["iou"].items():
            if iou is None:
                continue
            color = _ink(figures.colors[name])
            interval = ((scores["interval"] or {}).get("iou") or {}).get(name)
            if interval:
                scenes.plot(interval, [row, row], color=color, linewidth=3, alpha=0.3)
            label = None if name in named else name
            scenes.plot(iou, row, marker="o", linestyle="", color=color, label=label)
            named.add(name)
    scenes.set_yticks(range(len(shown)), [name for name, _ in shown], fontsize=7)
    scenes.set(title="IoU by scene, the worst first", ylim=(len(shown) - 0.5, -0.5))
    if named:
        scenes.legend()
    for axes in (sure, levels, scenes):
        axes.grid(alpha=0.3)
    _save(figure, path)


def _least_iou(scores: Mapping[str, Any]) -> float:
    return min((iou for iou in scores["iou"].values() if iou is not None), default=1.0)


def _draw_lines(
    axes: Axes,
    rows: Sequence[Mapping[str, float | int]],
    names: Mapping[str, tuple[str, str]],
) -> None:
    """Draw what `rows` have under each name; with its label and colour."""
    for name, (label, color) in names.items():
        points = [(row["epoch"], row[name]) for row in rows if name in row]
        if points:
            marker = "o" if len(points) < 20 else None  # a line of one point is invisible
            axes.plot(
                *zip(*points, strict=True), label=label, color=color, marker=marker, markersize=3
            )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend()
    else:
        axes.text(0.5, 0.5, "no validation chips", ha="center", transform=axes.transAxes)


def picture_bands(bands: Sequence[Band]) -> tuple[list[Band], str]:
    """Return the bands that make a picture, and what kind of picture it is.

    True colour where red, green and blue are there; else false colour with the near infrared as
    red; else the first band in grey.
    """
    by_common_name = {band.common_name: band for band in bands if band.common_name}
    for wanted, kind in (
        (("red", "green", "blue"), "true colour"),
        (("nir", "red", "green"), "near infrared, red, green"),
        (("swir16", "nir", "red"), "short-wave infrared, near infrared, red"),
    ):
        if all(name in by_common_name for name in wanted):
            return [by_common_name[name] for name in wanted], kind
    return [bands[0]], bands[0].name


@dataclass(frozen=True)
class VariedChip:
    """One chip as it is on disk, and as it is in some steps of a training."""

    name: str
    values: NDArray[np.float32]
    """(views, bands, height, width), reflectance of the bands to show, NaN where not valid; the
    first view is the chip as it is."""
    label: NDArray[np.uint8]
    """(views, height, width), class numbers from 0, 255 unknown."""


def draw_augmented_sheet(
    chips: Sequence[VariedChip], classes: Sequence[LabelClass], path: Path, *, kind: str
) -> None:
    """Draw what a network is shown of chips, each over its label; a PNG.

    Args:
        chips: One at least, all with the same number of views.
        classes: What the class numbers mean.
        path: Where.
        kind: What the image shows, such as "true colour".
    """
    side = chips[0].values.shape[-1]
    pitch = side + max(side // 32, 1)  # white between
    rows, columns = 2 * len(chips), len(chips[0].values)
    # One image and not one of each view: matplotlib takes as long for an axes as for all of them.
    sheet = np.ones((rows * pitch, columns * pitch, 3), dtype=np.float32)
    for number, chip in enumerate(chips):
        for view, (values, label) in enumerate(zip(chip.values, chip.label, strict=True)):
            top, left = 2 * number * pitch, view * pitch
            # All in the first one's colours, or other light would look the same.
            image = _stretched(values, like=chip.values[0])
            sheet[top : top + side, left : left + side] = image
            below = top + pitch
            sheet[below : below + side, left : left + side] = _colored(label, classes)
    figure = Figure(figsize=(columns * _SMALL, rows * _SMALL + 0.7), layout="constrained")
    axes = figure.subplots()
    axes.imshow(sheet)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    steps = [f"step {step}" for step in range(columns - 1)]
    axes.set_xticks([(i + 0.5) * pitch for i in range(columns)], [f"as it is ({kind})", *steps])
    axes.set_yticks(
        [(2 * i + 1) * pitch for i in range(len(chips))],
        [_short(chip.name, _TITLE) for chip in chips],
        rotation="vertical",
        verticalalignment="center",
    )
    figure.legend(handles=_key(classes), loc="outside lower center", ncols=len(classes) + 1)
    _save(figure, path)


def _short(name: str, length: int) -> str:
    """Return a name that is too long for its place without its middle: both ends tell most."""
    if len(name) <= length:
        return name
    return f"{name[: (length - 1) // 2]}…{name[-(length // 2) :]}"


def draw_contact_sheet(
    pictures: Sequence[ChipPicture],
    classes: Sequence[LabelClass],
    path: Path,
    *,
    kind: str,
) -> None:
    """Draw chips in rows: image, label, prediction, and how sure it is; a PNG.

    Args:
        pictures: The chips, one at least.
        classes: What the class numbers mean.
        path: Where.
        kind: What the image shows, such as "true colour".
    """
    rows = len(pictures)
    figure = Figure(figsize=(4 * _INCH, rows * _INCH + 0.9), layout="constrained")
    grid = figure.subplots(rows, 4, squeeze=False)
    water = np.array([label_class.water for label_class in classes])
    for axes, picture in zip(grid, pictures, strict=True):
        known = picture.label != IGNORE
        valid = np.isfinite(picture.values).all(axis=0)
        predicted = np.where(valid, picture.probs.argmax(axis=0), IGNORE).astype(np.uint8)
        axes[0].imshow(_stretched(picture.values))
        axes[1].imshow(_colored(picture.label, classes))
        axes[2].imshow(_colored(predicted, classes))
        axes[3].set_facecolor(UNKNOWN_COLOR)
        p_water = np.where(valid, picture.probs[water].sum(axis=0), np.nan)
        axes[3].imshow(p_water, cmap="RdBu", vmin=0, vmax=1)
        wrong = (predicted != picture.label) & known
        share = wrong.sum() / max(known.sum(), 1)
        axes[2].set_title(f"{share:.2%} wrong", fontsize=8)
        axes[0].set_title(_short(picture.name, _TITLE), fontsize=8)
        for one in axes:
            one.set(xticks=[], yticks=[])
    for one, text in zip(grid[-1], (kind, "label", "prediction", "p(water)"), strict=True):
        one.set_xlabel(text)
    figure.legend(handles=_key(classes), loc="outside lower center", ncols=len(classes) + 1)
    _save(figure, path)


@dataclass(frozen=True)
class RestoredChip:
    """One chip, and what a network that gives back its bands made of it."""

    name: str
    values: NDArray[np.float32]
    """(bands, height, width), reflectance of the bands to show, NaN where not valid."""
    restored: NDArray[np.float32]
    """Likewise, by the network."""
    error: NDArray[np.float32]
    """(height, width), root mean square over all bands of what is between them, reflectance."""


def draw_restored_sheet(chips: Sequence[RestoredChip], path: Path, *, kind: str) -> None:
    """Draw chips in rows: image, what was made of it, and the difference; a PNG.

    Args:
        chips: One at least.
        path: Where.
        kind: What the images show, such as "true colour".
    """
    rows = len(chips)
    figure = Figure(figsize=(3 * _INCH + 0.8, rows * _INCH + 0.4), layout="constrained")
    grid = figure.subplots(rows, 3, squeeze=False)
    known = [chip.error[np.isfinite(chip.error)] for chip in chips]
    most = max((float(np.percentile(errors, 99)) for errors in known if errors.size), default=1.0)
    for axes, chip in zip(grid, chips, strict=True):
        axes[0].imshow(_stretched(chip.values))
        axes[1].imshow(_stretched(chip.restored, like=chip.values))
        axes[2].set_facecolor(UNKNOWN_COLOR)
        drawn = axes[2].imshow(chip.error, cmap="magma", vmin=0, vmax=max(most, 1e-6))
        axes[0].set_title(chip.name, fontsize=8)
        for one in axes:
            one.set(xticks=[], yticks=[])
    for one, text in zip(grid[-1], (kind, "reconstruction", "difference"), strict=True):
        one.set_xlabel(text)
    figure.colorbar(drawn, ax=grid[:, 2], label="reflectance, RMS of all bands", shrink=0.8)
    _save(figure, path)


def _stretched(
    values: NDArray[np.float32], *, like: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Return an image (height, width, 3) of 0–1 for reflectance (1 or 3, height, width).

    Each band from its 1st to its 99th percentile, or that of `like`, since water is dark and surf
    is bright; grey where there is no data.
    """
    valid = np.isfinite(values).all(axis=0)
    measured = values if like is None else like
    known = np.isfinite(measured).all(axis=0)
    if not known.any():
        low, high = np.zeros(len(values)), np.ones(len(values))
    else:
        low, high = np.percentile(measured[:, known], [1, 99], axis=1)
    spread = np.maximum(high - low, 1e-6)
    image = np.clip((values - low[:, None, None]) / spread[:, None, None], 0, 1)
    image = np.where(valid, image, to_rgb(UNKNOWN_COLOR)[0])
    return np.broadcast_to(image, (3, *valid.shape)).transpose(1, 2, 0).astype(np.float32)


def _colored(label: NDArray[np.uint8], classes: Sequence[LabelClass]) -> NDArray[np.float32]:
    """Return an image (height, width, 3) of 0–1 in the colours of the classes."""
    table = np.full((256, 3), to_rgb(UNKNOWN_COLOR), dtype=np.float32)
    for number, label_class in enumerate(classes):
        table[number] = to_rgb(label_class.color)
    return table[label]


def _key(classes: Sequence[LabelClass]) -> list[Patch]:
    known = [Patch(facecolor=c.color, edgecolor="0.3", label=c.name) for c in classes]
    return [*known, Patch(facecolor=UNKNOWN_COLOR, edgecolor="0.3", label="unknown")]


def _ink(color: str) -> str:
    """Return a colour dark enough for a line on white: classes have those of areas."""
    darker = 0.75 * np.array(to_rgb(color))
    return to_hex((darker[0], darker[1], darker[2]))


def _save(figure: Figure, path: Path) -> None:
    with stage_file(path) as draft:
        # Matplotlib's version in the file would make the same figure differ.
        figure.savefig(draft, format="png", dpi=120, metadata={"Software": None})
