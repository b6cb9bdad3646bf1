"""How well a network tells classes apart, pixel by pixel."""

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix

from geounet.classes import IGNORE, LabelClass


def confusion_matrix(classes: int) -> MulticlassConfusionMatrix:
    """Return an empty confusion matrix to `update` with (B, C, H, W) and (B, H, W); 255 is ignored.

    `compute` gives (true class, predicted class) counts.
    """
    # Checking the values of every batch takes longer than counting them; `dataset` has done it.
    return MulticlassConfusionMatrix(classes, ignore_index=IGNORE, validate_args=False)


@dataclass(frozen=True)
class ClassScore:
    """How well one class was found; None where it occurs neither in labels nor in predictions."""

    iou: float | None
    """Intersection over union, 0–1."""
    f1: float | None
    """Harmonic mean of precision and recall, 0–1."""


@dataclass(frozen=True)
class Scores:
    """How well the classes of one split were found."""

    classes: dict[str, ClassScore]
    """By name of class."""
    pixels: int
    """Pixels with a known class."""

    @classmethod
    def from_confusion(cls, confusion: Tensor, classes: tuple[LabelClass, ...]) -> Self:
        """Return the scores that follow from (true, predicted) counts."""
        found = confusion.diagonal()
        labelled, predicted = confusion.sum(dim=1), confusion.sum(dim=0)
        counts = torch.stack([found, labelled, predicted]).tolist()
        scores = {
            label_class.name: _class_score(int(hit), int(true), int(said))
            for label_class, hit, true, said in zip(classes, *counts, strict=True)
        }
        return cls(scores, int(confusion.sum()))

    def to_dict(self) -> dict[str, Any]:
        """Return the scores as records have them."""
        return {
            "pixels": self.pixels,
            "iou": {name: score.iou for name, score in self.classes.items()},
            "f1": {name: score.f1 for name, score in self.classes.items()},
        }


def _class_score(found: int, labelled: int, predicted: int) -> ClassScore:
    together = labelled + predicted
    if not together:
        return ClassScore(None, None)
    return ClassScore(iou=found / (together - found), f1=2 * found / together)
