"""How well a network tells classes apart: pixels, boundaries, and how sure it is of them.

Everything follows from `Counts`, which add up: over the chips of a split, of a scene, or of blocks
drawn at random. torchmetrics keeps one sum of all, so that the spread between chips is lost; what
follows from that sum is held against it in the tests.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.classification import MulticlassConfusionMatrix

from geounet.classes import IGNORE

BOUNDARY_PX = (1, 2, 3)
"""How far from a boundary, in pixels, boundary scores look; rising, and 1 is what beside means."""
CALIBRATION_BINS = 15
"""Of equal width between 0 and 1, as in Guo et al. (2017)."""
THRESHOLDS = torch.arange(1, 100) / 100
"""Probabilities of water from which a pixel may be taken for water."""
REPLICATES = 1000
"""Of the bootstrap."""
LEAST_BLOCKS = 3
"""Of two blocks there are three different draws, and the outer 2.5 % of them are no estimate."""
ALL_WATER = "all water"
"""What scores call the classes of water taken as one, where there are more than two classes: where
their probabilities come to 0.5 together, as the line is drawn."""

Figures = dict[tuple[str, ...], Tensor]
"""Scores by name, ("iou", "water") for instance; each has the leading axes of the counts, and NaN
where nothing defines it."""


def confusion_matrix(classes: int) -> MulticlassConfusionMatrix:
    """Return an empty confusion matrix to `update` with (B, C, H, W) and (B, H, W); 255 is ignored.

    `compute` gives (true class, predicted class) counts.
    """
    # Checking the values of every batch takes longer than counting them; `dataset` has done it.
    return MulticlassConfusionMatrix(classes, ignore_index=IGNORE, validate_args=False)


class Counts(NamedTuple):
    """What scores are made of, float64; leading axes (...) are chips, or sums of some."""

    confusion: Tensor
    """(..., C, C), pixels by true and predicted class."""
    near: Tensor
    """(..., distances, C or C + 1, 2), pixels of a class near its boundary in both label and
    prediction, and in either; for boundary IoU. Of more than two classes, of `ALL_WATER` at last
    too."""
    contours: Tensor
    """(..., distances, C or C + 1, 4), likewise pixels on the predicted contour of a class,
    those of them with the true one near, pixels on the true contour, those of them with the
    predicted one near."""
    sure: Tensor
    """(..., CALIBRATION_BINS, 3), pixels by the probability of the class that they are taken for;
    the sum of these probabilities; and how many are right."""
    water: Tensor
    """(..., len(THRESHOLDS) + 1, 2), pixels of land and of water by how many of `THRESHOLDS` their
    probability of water reaches."""

    def weighted(self, weights: Tensor) -> "Counts":
        """Add chips up, (n, ...), as often as `weights`, (..., n), say."""
        return Counts(*(torch.tensordot(weights.double(), part, dims=1) for part in self))

    def total(self) -> "Counts":
        """Add all chips up, (n, ...)."""
        return Counts(*(part.sum(dim=0) for part in self))

    def chosen(self, which: Tensor) -> "Counts":
        """Return some of the chips, (n, ...), by index or by a mask."""
        return Counts(*(part[which] for part in self))

    @classmethod
    def joined(cls, parts: Sequence["Counts"]) -> "Counts":
        """Put chips, (n, ...) each, one after another."""
        return cls(*(torch.cat(of) for of in zip(*parts, strict=True)))

    @classmethod
    def none(cls, classes: int) -> "Counts":
        """Return the counts of no chips, (0, ...)."""
        empty = torch.empty(0, classes, 2, 2)
        return count_chips(empty, torch.empty(0, 2, 2, dtype=torch.uint8), water=[True] * classes)


@torch.no_grad()
def count_chips(logits: Tensor, label: Tensor, *, water: Sequence[bool]) -> Counts:
    """Count what a network says of each chip of a batch.

    Args:
        logits: (B, C, H, W).
        label: (B, H, W), class numbers from 0, 255 unknown: counts nowhere, and where it begins
            is no boundary, as the edge of a chip is none.
        water: Which classes are water.

    Returns:
        Counts (B, ...), on the CPU.
    """
    count = logits.shape[1]
    probs = logits.float().softmax(dim=1)
    sure, predicted = probs.max(dim=1)  # (B, H, W)
    known = label != IGNORE
    label = label.long()
    is_water = torch.as_tensor(water, device=label.device)
    truth = is_water[label.where(known, 0)].long()
    p_water = probs[:, is_water].sum(dim=1).contiguous()
    reached = torch.bucketize(p_water, THRESHOLDS.to(p_water), right=True)
    pairs, reached_by = label * count + predicted, 2 * reached + truth
    # Three classes may have 0.4, 0.3 and 0.3 of a pixel: the greatest does not tell what is water.
    together = count > 2
    said = _by_class(predicted, known, count, water=p_water >= 0.5 if together else None)
    true = _by_class(label, known, count, water=truth > 0 if together else None)
    counts = Counts(
        confusion=_histogram(pairs, known, count**2).unflatten(-1, (count, -1)),
        near=_near_boundaries(said, true),
        contours=_on_contours(said, true),
        sure=_calibration(sure, predicted == label, known),
        water=_histogram(reached_by, known, 2 * len(THRESHOLDS) + 2).unflatten(-1, (-1, 2)),
    )
    return Counts(*(part.double().cpu() for part in counts))


def _histogram(values: Tensor, known: Tensor, size: int, weights: Tensor | None = None) -> Tensor:
    """Count the values 0 to `size` - 1 of each chip where they are known; (B, size)."""
    chips = len(values)
    row = torch.arange(chips, device=values.device)[:, None, None]
    places = (row * size + values)[known]
    weighing = None if weights is None else weights[known].double()
    return torch.bincount(places, weighing, minlength=chips * size).view(chips, size)


def _calibration(sure: Tensor, right: Tensor, known: Tensor) -> Tensor:
    """Return `Counts.sure`."""
    edges = torch.linspace(0, 1, CALIBRATION_BINS + 1, device=sure.device)
    bins = (torch.bucketize(sure, edges, right=True) - 1).clamp(max=CALIBRATION_BINS - 1)
    size = CALIBRATION_BINS
    columns = [_histogram(bins, known, size, of) for of in (torch.ones_like(sure), sure, right)]
    return torch.stack(columns, dim=-1)


class _Places(NamedTuple):
    """Where each class is, and where another known one is; (B, C or C + 1, H, W) booleans."""

    inside: Tensor
    other: Tensor


def _by_class(numbers: Tensor, known: Tensor, count: int, *, water: Tensor | None) -> _Places:
    """Return where the classes are, and the water of several where it is given, (B, H, W)."""
    planes = numbers[:, None] == torch.arange(count, device=numbers.device)[:, None, None]
    if water is not None:
        planes = torch.cat([planes, water[:, None]], dim=1)
    inside = planes & known[:, None]
    return _Places(inside, known[:, None] & ~inside)


def _near_boundaries(said: _Places, true: _Places) -> Tensor:
    """Return `Counts.near`, after Cheng et al. (2021), "Boundary IoU", arXiv:2103.16562.

    A pixel is near the boundary if one of another class is in the square of 2 d + 1 pixels around
    it: it is what d erosions by 3 × 3 pixels take away.
    """
    near_said, near_true = (
        [inside & reached for reached in _widened(other, square=True)]
        for inside, other in (said, true)
    )
    found = [
        torch.stack([_pixels(one & other), _pixels(one | other)], dim=-1)
        for one, other in zip(near_said, near_true, strict=True)
    ]
    return torch.stack(found, dim=1)


def _on_contours(said: _Places, true: _Places) -> Tensor:
    """Return `Counts.contours`, after Csurka et al. (2013) [1]_.

    A contour is made of the pixels of a class beside one of another; near is a distance between
    centres, as the crow flies.

    References:
        .. [1] "What is a good evaluation measure for semantic segmentation?", BMVC,
           doi:10.5244/C.27.32.
    """
    drawn, label = (inside & next(_widened(other, square=False)) for inside, other in (said, true))
    near = zip(_widened(drawn, square=False), _widened(label, square=False), strict=True)
    found = [
        [_pixels(drawn), _pixels(drawn & by_label), _pixels(label), _pixels(label & by_drawn)]
        for by_drawn, by_label in near
    ]
    return torch.stack([torch.stack(of, dim=-1) for of in found], dim=1)


def _widened(marked: Tensor, *, square: bool) -> Iterator[Tensor]:
    """Yield the pixels near one that is marked, (B, C, H, W), for each of `BOUNDARY_PX`.

    In a square of 2 d + 1 pixels around it, or else in a circle of radius d.
    """
    most = max(BOUNDARY_PX)
    height, width = marked.shape[2:]
    padded = F.pad(marked, (most,) * 4)
    reached, before = marked, 0
    for distance in BOUNDARY_PX:
        # Shifts of booleans: ten times as fast as pooling or convolution on a CPU.
        for row, col in product(range(-distance, distance + 1), repeat=2):
            away = max(abs(row), abs(col)) if square else math.hypot(row, col)
            if before < away <= distance:
                top, left = most + row, most + col
                reached = reached | padded[..., top : top + height, left : left + width]
        before = distance
        yield reached


def _pixels(marked: Tensor) -> Tensor:
    """Count the marked pixels of each plane, (B, C)."""
    return marked.sum(dim=(2, 3))


def pixel_figures(confusion: Tensor, names: Sequence[str]) -> Figures:
    """Return the scores that follow from (true, predicted) counts, (..., C, C).

    They are accuracy, and of each class iou, f1, precision and recall.
    """
    confusion = confusion.double()
    found = confusion.diagonal(dim1=-2, dim2=-1)  # (..., C)
    labelled, predicted = confusion.sum(dim=-1), confusion.sum(dim=-2)
    of_classes = {
        "iou": found / (labelled + predicted - found),
        "f1": 2 * found / (labelled + predicted),
        "precision": found / predicted,
        "recall": found / labelled,
    }
    figures = {
        (score, name): values[..., number]
        for score, values in of_classes.items()
        for number, name in enumerate(names)
    }
    return figures | {("accuracy",): found.sum(dim=-1) / confusion.sum(dim=(-2, -1))}


def all_figures(counts: Counts, names: Sequence[str]) -> Figures:
    """Return all scores that follow from counts.

    Those of `pixel_figures`; boundary_iou and boundary_f1 by distance in pixels and class; and
    calibration_error, the expected one of Guo et al. (2017), "On calibration of modern neural
    networks", arXiv:1706.04599: how far, on average, a probability is from how often it is right.
    Of more than two classes `ALL_WATER` has scores as if it were one.
    """
    figures = pixel_figures(counts.confusion, names)
    if len(names) > 2:
        figures |= _water_figures(counts)
        names = [*names, ALL_WATER]
    boundary_iou = counts.near[..., 0] / counts.near[..., 1]  # (..., distances, C)
    said, said_met, true, true_met = counts.contours.unbind(dim=-1)
    precision, recall = (said_met / said).nan_to_num(), (true_met / true).nan_to_num()
    boundary_f1 = (2 * precision * recall / (precision + recall)).nan_to_num()
    boundary_f1 = boundary_f1.where(said + true > 0, torch.nan)
    for score, values in (("boundary_iou", boundary_iou), ("boundary_f1", boundary_f1)):
        for i, distance in enumerate(BOUNDARY_PX):
            for number, name in enumerate(names):
                figures[score, str(distance), name] = values[..., i, number]
    pixels, sure, right = counts.sure.unbind(dim=-1)  # (..., bins)
    figures["calibration_error",] = (sure - right).abs().sum(dim=-1) / pixels.sum(dim=-1)
    return figures


def _water_figures(counts: Counts) -> Figures:
    """Return iou, f1, precision and recall of `ALL_WATER`."""
    half = int((THRESHOLDS <= 0.5).sum())  # so many are reached where it is 0.5 or more
    said = counts.water[..., half:, :].sum(dim=-2)  # (..., 2), by what the label says
    confusion = torch.stack([counts.water.sum(dim=-2) - said, said], dim=-1)  # (..., 2, 2)
    figures = pixel_figures(confusion, ("land", ALL_WATER))
    return {name: values for name, values in figures.items() if name[-1] == ALL_WATER}


def spread(
    counts: Counts, blocks: Sequence[str], names: Sequence[str], *, seed: int = 0
) -> Figures | None:
    """Return between what each score lies in 95 % of all draws of blocks, (2,); low and high.

    Pixels of one chip, and chips of one block, err together: as many blocks as there are, are
    drawn with replacement and the scores counted anew, and so `REPLICATES` times (Efron and
    Tibshirani 1993, "An introduction to the bootstrap", percentile interval).

    Args:
        counts: Of each chip, (n, ...).
        blocks: Of each chip, which block it is from.
        names: Of the classes.
        seed: Of the draws.

    Returns:
        None where there are fewer than `LEAST_BLOCKS`, and so nothing is known of the spread.
    """
    kinds = {block: number for number, block in enumerate(sorted(set(blocks)))}
    if len(kinds) < LEAST_BLOCKS:
        return None
    member = torch.tensor([kinds[block] for block in blocks])
    of_blocks = counts.weighted(F.one_hot(member, len(kinds)).T)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(len(kinds), (REPLICATES, len(kinds)), generator=generator)
    times = torch.zeros(REPLICATES, len(kinds)).scatter_add_(1, drawn, torch.ones(drawn.shape))
    limits = torch.tensor([0.025, 0.975], dtype=torch.float64)
    figures = all_figures(of_blocks.weighted(times), names)
    return {name: values.nanquantile(limits) for name, values in figures.items()}


def threshold_scores(counts: Counts) -> Tensor:
    """Return the mean IoU of land and water for each of `THRESHOLDS`; of `Counts.total`."""
    land, water = counts.water.unbind(dim=-1)  # by how many thresholds are reached
    said = counts.water.flip(0).cumsum(0).flip(0)[1:]  # taken for water from each threshold on
    water_iou = said[:, 1] / (water.sum() + said[:, 0])
    land_iou = (land.sum() - said[:, 0]) / (land.sum() + water.sum() - said[:, 1])
    return (water_iou + land_iou) / 2


def best_threshold(counts: Counts) -> float | None:
    """Return the threshold with the greatest mean IoU of land and water, the next to 0.5 of these.

    None where there is no land or no water, on which every threshold would be as good.
    """
    if (counts.water.sum(dim=0) == 0).any():
        return None
    scores = threshold_scores(counts)
    best = THRESHOLDS[scores >= scores.max() - 1e-12]
    return round(best[(best - 0.5).abs().argmin()].item(), 2)


def as_record(figures: Mapping[tuple[str, ...], Tensor], *, digits: int = 6) -> dict[str, Any]:
    """Return scores as records have them, nested by name; None where nothing defines one."""
    record: dict[str, Any] = {}
    for (*groups, last), values in figures.items():
        place = record
        for group in groups:
            place = place.setdefault(group, {})
        place[last] = _rounded(values.tolist(), digits)
    return record


def _rounded(value: float | list[float], digits: int) -> Any:
    if isinstance(value, list):
        one_by_one = [_rounded(one, digits) for one in value]
        return None if None in one_by_one else one_by_one
    return round(value, digits) if value == value else None
