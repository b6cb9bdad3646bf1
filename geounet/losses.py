"""What training makes small: cross entropy and Dice over the pixels whose class is known."""

from collections.abc import Sequence

import torch
from segmentation_models_pytorch.losses import DiceLoss
from torch import Tensor, nn
from torch.nn import functional as F

from geounet.classes import IGNORE


class SegmentationLoss(nn.Module):
    """A weighted sum of cross entropy and Dice; pixels labelled 255 count in neither.

    Cross entropy asks every pixel for its class and gives probabilities that mean something, so
    that the line p = 0.5 lies where it should; Dice [1]_ asks for overlap class by class, so that
    a little land in a lot of water is not forgotten. Both are taken over the whole batch. A class
    that no pixel of the batch has adds nothing to Dice.

    References:
        .. [1] Milletari et al. (2016), "V-Net", arXiv:1606.04797, equation 3 (here without the
           squares in the denominator, as in segmentation-models-pytorch).
    """

    def __init__(
        self,
        *,
        cross_entropy: float = 1.0,
        dice: float = 1.0,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        """Weigh the two.

        Args:
            cross_entropy: Factor of cross entropy; 0 leaves it out.
            dice: Factor of Dice; 0 leaves it out.
            class_weights: How much a pixel of each class counts in cross entropy, in the order of
                the classes; None counts all alike.
        """
        super().__init__()
        self.cross_entropy = cross_entropy
        self.dice = dice
        weights = None if class_weights is None else torch.tensor(class_weights)
        self.register_buffer("class_weights", weights, persistent=False)
        self.class_weights: Tensor | None
        self._dice_loss = DiceLoss(mode="multiclass", ignore_index=IGNORE)

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        """Return the loss of a batch; 0 where no pixel's class is known.

        Args:
            logits: (B, C, H, W) float.
            label: (B, H, W), class numbers from 0, or 255.

        Returns:
            A scalar, float32.
        """
        logits, label = logits.float(), label.long()  # bf16 has three digits: too few to sum with
        loss = logits.new_zeros(())
        if self.cross_entropy:
            loss = loss + self.cross_entropy * self._mean_cross_entropy(logits, label)
        if self.dice:
            loss = loss + self.dice * self._dice_loss(logits, label)
        return loss

    def _mean_cross_entropy(self, logits: Tensor, label: Tensor) -> Tensor:
        total = F.cross_entropy(
            logits, label, self.class_weights, ignore_index=IGNORE, reduction="sum"
        )
        counted = label != IGNORE
        if self.class_weights is None:
            weight = counted.sum()
        else:
            weight = (self.class_weights[label.where(counted, 0)] * counted).sum()
        # torch's own mean is 0 / 0 for a batch of which nothing is known.
        return total / weight.clamp(min=torch.finfo(torch.float32).tiny)
