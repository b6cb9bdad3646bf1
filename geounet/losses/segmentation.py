"""The loss of a training: a weighted sum of those that its settings name."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geounet.classes import IGNORE
from geounet.config import LossSettings
from geounet.losses.border import border_weights_of_batch
from geounet.losses.boundary import boundary_loss, signed_distances_of_batch
from geounet.losses.comparison import Comparison, compare
from geounet.losses.parts import PARTS

BORDER = "border"
"""Of what `prepare` returns: (B, H, W), border weights."""
DISTANCES = "distances"
"""Of what `prepare` returns: (B, classes, H, W), signed distances from boundaries."""


BY_CLASS = frozenset({"lovasz", "boundary"})
"""Losses that take no shares, and go by the greater."""


class SegmentationLoss(nn.Module):
    """A weighted sum of losses; pixels labelled 255 count in none of them.

    Cross entropy asks every pixel for its class and gives probabilities that mean something, so
    that the line p = 0.5 lies where it should; Dice [1]_ asks for overlap class by class, so that
    a little land in a lot of water is not forgotten. What the others do is said with their names
    in `LossSettings`. Means are taken over the whole batch. A class that no pixel of the batch has
    adds nothing to Dice, Jaccard, Tversky, Lovász and MCC.

    Everything is computed in float32, under autocast too. The losses that
    segmentation-models-pytorch has are its own, but leaving out unknown pixels is left to only one
    of them (Lovász): MCC cannot, both soft ones divide by their number all the same, and focal is
    NaN where nothing is known.

    References:
        .. [1] Milletari et al. (2016), "V-Net", arXiv:1606.04797, equation 3 (here without the
           squares in the denominator, as in segmentation-models-pytorch).
    """

    class_weights: Tensor | None

    def __init__(
        self, settings: LossSettings, classes: int, *, water: Sequence[int] = (1,)
    ) -> None:
        """Choose what to add up.

        Args:
            settings: The weight of each loss.
            classes: How many classes there are.
            water: Which of them are water.

        Raises:
            ValueError: There are more or fewer class weights than classes.
        """
        super().__init__()
        weights = settings.class_weights
        if weights is not None and len(weights) != classes:
            raise ValueError(f"{len(weights)} class weights for {classes} classes")
        self.settings, self.classes, self.water = settings, classes, tuple(water)
        buffer = None if weights is None else torch.tensor(weights)
        self.register_buffer("class_weights", buffer, persistent=False)

    def forward(
        self, logits: Tensor, label: Tensor, extra: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Return the loss of a batch; 0 where no pixel's class is known.

        Args:
            logits: (B, classes, H, W) float.
            label: (B, H, W): integers, class numbers from 0, or 255; or float, the share of water
                in each pixel, 0–1, NaN unknown, if there are two classes. Lovász, boundary and the
                border weights go by the greater share.
            extra: What `prepare` returned for this label; computed here if not given.

        Returns:
            A scalar, float32.

        Raises:
            ValueError: Shares of water were given, and there are not two classes.
        """
        # Convolutions and products would else be done in bf16, whatever goes into them.
        with torch.autocast(logits.device.type, enabled=False):
            compared = compare(logits, label, water=self._water_of_two)
            if not extra:
                extra = self._prepared(compared.label)
            loss = compared.logits.new_zeros(())
            for name, weight in self.settings.parts.items():
                loss = loss + weight * self._part(name, compared, extra)
            return loss

    def prepare(self, label: Tensor) -> dict[str, Tensor]:
        """Return what is computed of labels alone: border weights, distances from boundaries.

        They belong to the label as it is trained on: what a turn at any angle, a shift or an
        elastic deformation brings into the chip are other objects at other distances. So they are
        computed anew for every batch after augmentation, on a GPU if it is there, and not kept.

        Args:
            label: (B, H, W), as `forward` takes it.

        Returns:
            What `forward` takes as `extra`, on the device of `label`; nothing if the settings need
            none.
        """
        logits = label.new_zeros((len(label), self.classes, *label.shape[1:]), dtype=torch.float32)
        return self._prepared(compare(logits, label, water=self._water_of_two).label)

    def greater(self, label: Tensor) -> Tensor:
        """Return the class numbers of a label, (B, H, W), 255 unknown: of the greater shares."""
        if not label.is_floating_point():
            return label
        logits = label.new_zeros((len(label), self.classes, *label.shape[1:]))
        return compare(logits, label, water=self._water_of_two).label

    @property
    def _water_of_two(self) -> int | None:
        return self.water[0] if self.classes == 2 and len(self.water) == 1 else None

    def _part(self, name: str, compared: Comparison, extra: Mapping[str, Tensor]) -> Tensor:
        if name == "cross_entropy":
            return self._cross_entropy(compared, extra)
        if name == "boundary":
            return boundary_loss(compared, extra[DISTANCES])
        return PARTS[name](compared, self.settings)

    def _prepared(self, label: Tensor) -> dict[str, Tensor]:
        border, found = self.settings.border, {}
        if border is not None:
            found[BORDER] = border_weights_of_batch(label, border, water=self.water)
        if self.settings.boundary:
            found[DISTANCES] = signed_distances_of_batch(label, self.classes)
        return found

    def _cross_entropy(self, compared: Comparison, extra: Mapping[str, Tensor]) -> Tensor:
        total = _cross_entropy(compared, self.class_weights, reduction="sum")
        if self.settings.border is not None:
            costs = _cross_entropy(compared, None, reduction="none")  # (B, H, W)
            total = total + (extra[BORDER] * costs).sum()
        if self.class_weights is None:
            weight = compared.known.sum()
        else:
            weight = (self.class_weights.view(-1, 1, 1) * compared.shares).sum()
        # Border weights are not divided by: elsewhere a pixel counts as much as without them.
        # torch's own mean is 0 / 0 for a batch of which nothing is known; and where no class of it
        # has a weight, border weights are there all the same.
        return total / torch.where(weight > 0, weight, compared.count)


def _cross_entropy(compared: Comparison, weights: Tensor | None, *, reduction: str) -> Tensor:
    """Return torch's own, 0 where unknown."""
    if compared.soft:  # where unknown all shares are 0
        return F.cross_entropy(compared.logits, compared.shares, weights, reduction=reduction)
    return F.cross_entropy(
        compared.logits, compared.label, weights, ignore_index=IGNORE, reduction=reduction
    )
