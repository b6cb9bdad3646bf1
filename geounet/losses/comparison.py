"""What a network says of a batch beside what is true, in the forms that losses need."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from geounet.classes import IGNORE


@dataclass(frozen=True)
class Comparison:
    """Logits and truth of a batch."""

    logits: Tensor
    """(B, C, H, W) float32."""
    shares: Tensor
    """(B, C, H, W) float32: how much of a pixel is of each class, summing to 1; 0 where unknown."""
    label: Tensor
    """(B, H, W) int64: the class of the greatest share, the first of equal ones; 255 unknown."""
    soft: bool
    """Whether shares lie between 0 and 1."""

    @cached_property
    def known(self) -> Tensor:
        """(B, 1, H, W) float32: 1 where the class is known, else 0."""
        return (self.label != IGNORE).unsqueeze(1).float()

    @cached_property
    def count(self) -> Tensor:
        """How many pixels are known, at least 1 so that it can be divided by."""
        return self.known.sum().clamp(min=1)

    @cached_property
    def probs(self) -> Tensor:
        """(B, C, H, W): probabilities; 0 where unknown, so that nothing said there is counted."""
        return self.logits.log_softmax(dim=1).exp() * self.known


def compare(logits: Tensor, label: Tensor, *, water: int | None) -> Comparison:
    """Put logits beside the truth.

    Args:
        logits: (B, C, H, W), any float.
        label: (B, H, W): integers, class numbers from 0, or 255; or float, the share of water in
            each pixel, 0–1, NaN where unknown.
        water: Which class shares of water are of; None where shares mean nothing, because there
            are not two classes of which one is water.

    Raises:
        ValueError: Shares were given where they mean nothing.
    """
    logits = logits.float()  # bf16 has three digits: too few to sum with
    classes = logits.shape[1]
    if not label.is_floating_point():
        label = label.long()
        known = label != IGNORE
        shares = F.one_hot(label.where(known, 0), classes).movedim(-1, 1) * known.unsqueeze(1)
        return Comparison(logits, shares.float(), label, soft=False)
    if water is None or classes != 2:
        raise ValueError(f"shares of water are for two classes, land and water, not for {classes}")
    known = ~label.isnan()
    share = label.where(known, 0).float()
    both = [1 - share, share] if water == 1 else [share, 1 - share]
    shares = torch.stack(both, dim=1)  # (B, 2, H, W)
    nearest = shares.argmax(dim=1).where(known, IGNORE)
    return Comparison(logits, shares * known.unsqueeze(1), nearest, soft=True)
