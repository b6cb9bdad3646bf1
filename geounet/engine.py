"""Running a network fast on this device: numbers of a scene in, class probabilities out."""

import torch
from torch import Tensor


def standardise(reflectance: Tensor, valid: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Return what a network is fed, in training and prediction alike.

    Args:
        reflectance: (B, C, H, W) float; may hold NaN where not valid.
        valid: (B, H, W) bool, True is data.
        mean: (C,), of the training split, reflectance.
        std: (C,), likewise; positive.

    Returns:
        (B, C, H, W), of the type of `reflectance`; 0 where not valid (promise 6).
    """
    standardised = (reflectance - mean[:, None, None]) / std[:, None, None]
    # torch.where and not a product: NaN × 0 is NaN.
    return torch.where(valid[:, None], standardised, 0.0)
