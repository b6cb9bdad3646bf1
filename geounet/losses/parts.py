"""Losses that need no more than what is said and what is true, by their names in the settings."""

from collections.abc import Callable, Mapping

import torch
from segmentation_models_pytorch import losses as smp
from torch import Tensor
from torch.nn import functional as F

from geounet.classes import IGNORE
from geounet.config import LossSettings
from geounet.losses.boundary import sobel_loss
from geounet.losses.comparison import Comparison

# Of probabilities and shares that are both 0 where unknown, smp's losses of overlap count nothing
# there; `multilabel` is what they call taking shares instead of class numbers.


def _dice(compared: Comparison, _: LossSettings) -> Tensor:
    return smp.DiceLoss("multilabel", from_logits=False)(compared.probs, compared.shares)


def _jaccard(compared: Comparison, _: LossSettings) -> Tensor:
    return smp.JaccardLoss("multilabel", from_logits=False)(compared.probs, compared.shares)


def _tversky(compared: Comparison, settings: LossSettings) -> Tensor:
    loss = smp.TverskyLoss(
        "multilabel",
        from_logits=False,
        alpha=settings.tversky_alpha,
        beta=settings.tversky_beta,
    )
    return loss(compared.probs, compared.shares)


def _lovasz(compared: Comparison, _: LossSettings) -> Tensor:
    loss = smp.LovaszLoss("multiclass", ignore_index=IGNORE)
    return loss(compared.logits, compared.label).sum()  # an empty tensor where nothing is known


def _mcc(compared: Comparison, _: LossSettings) -> Tensor:
    """Return the mean over classes that occur of 1 − MCC, each against all others.

    For two classes both are the same, and are MCC as it is known.
    """
    known = compared.known[:, 0].bool()  # (B, H, W)
    losses = [
        smp.MCCLoss()(probs[known][None], shares[known][None])
        for probs, shares in zip(compared.probs.unbind(1), compared.shares.unbind(1), strict=True)
    ]
    occurs = (compared.shares.sum(dim=(0, 2, 3)) > 0).float()  # (C,)
    return (torch.stack(losses) * occurs).sum() / occurs.sum().clamp(min=1)


def _focal(compared: Comparison, settings: LossSettings) -> Tensor:
    one_by_one = smp.FocalLoss("binary", gamma=settings.focal_gamma, reduction="none")
    costs = one_by_one(compared.logits, compared.shares).view_as(compared.shares)
    return _mean_over_classes(costs, compared)


def _soft_bce(compared: Comparison, settings: LossSettings) -> Tensor:
    one_by_one = smp.SoftBCEWithLogitsLoss(
        ignore_index=None, reduction="none", smooth_factor=settings.smoothing
    )
    return _mean_over_classes(one_by_one(compared.logits, compared.shares), compared)


def _soft_cross_entropy(compared: Comparison, settings: LossSettings) -> Tensor:
    # smp's own takes no shares; this is the same of class numbers.
    costs = F.cross_entropy(
        compared.logits, compared.shares, reduction="none", label_smoothing=settings.smoothing
    )
    return (costs.unsqueeze(1) * compared.known).sum() / compared.count


def _sobel(compared: Comparison, _: LossSettings) -> Tensor:
    return sobel_loss(compared)


def _mean_over_classes(costs: Tensor, compared: Comparison) -> Tensor:
    """Return the mean of (B, C, H, W) over classes and known pixels."""
    return (costs * compared.known).sum() / (compared.count * costs.shape[1])


PARTS: Mapping[str, Callable[[Comparison, LossSettings], Tensor]] = {
    "dice": _dice,
    "jaccard": _jaccard,
    "tversky": _tversky,
    "lovasz": _lovasz,
    "mcc": _mcc,
    "focal": _focal,
    "soft_cross_entropy": _soft_cross_entropy,
    "soft_bce": _soft_bce,
    "sobel": _sobel,
}
"""All but cross entropy and the boundary loss."""
