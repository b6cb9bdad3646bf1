"""Losses that look at where classes meet: distances from the boundary, and its gradient."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from geounet.classes import IGNORE
from geounet.losses.comparison import Comparison
from geounet.losses.nearest import nearest


def signed_distances(label: NDArray[np.integer], classes: int) -> NDArray[np.float32]:
    """Return how far each pixel is from the boundary of each class.

    Args:
        label: (H, W), class numbers from 0, 255 unknown.
        classes: How many classes there are.

    Returns:
        (classes, H, W), pixels, Euclidean, exact: negative inside of the class, positive outside.
        The boundary lies half a pixel before the nearest pixel on its other side. 0 where unknown,
        and everywhere for a class that has no boundary in this label.
    """
    known = label != IGNORE
    distances = np.zeros((classes, *label.shape), dtype=np.float32)
    for number in range(classes):
        inside, outside = label == number, known & (label != number)
        if inside.any() and outside.any():
            to_inside = ndimage.distance_transform_edt(~inside) - 0.5
            to_outside = ndimage.distance_transform_edt(~outside) - 0.5
            distances[number] = np.where(inside, -to_outside, to_inside) * known
    return distances


def signed_distances_of_batch(label: Tensor, classes: int) -> Tensor:
    """Return `signed_distances` of (B, H, W), on its device, by its means: (B, classes, H, W)."""
    if label.is_cuda:
        return _signed_distances(label, classes)
    each = [signed_distances(one, classes) for one in label.numpy()]
    return torch.from_numpy(np.stack(each))


def _signed_distances(label: Tensor, classes: int) -> Tensor:
    distances = []
    for number in range(classes):
        inside = label == number
        outside = (label != number) & (label != IGNORE)
        signed = torch.where(inside, 0.5 - nearest(outside), nearest(inside) - 0.5)
        distances.append(torch.where((label != IGNORE) & signed.isfinite(), signed, 0))
    return torch.stack(distances, dim=1)


def boundary_loss(compared: Comparison, distances: Tensor) -> Tensor:
    """Return how far probability lies on the wrong side of boundaries [1]_, in pixels.

    The mean over known pixels and classes of distance × (probability − truth): the paper's
    equation 5 with the term of the truth kept, which changes no gradient and makes the right
    answer cost 0. The paper adds it, with a small weight, to a loss of overlap.

    Args:
        compared: What is said and what is true.
        distances: (B, C, H, W), of `signed_distances`.

    References:
        .. [1] Kervadec et al. (2019), "Boundary loss for highly unbalanced segmentation",
           arXiv:1812.07032.
    """
    classes = compared.logits.shape[1]
    truth = F.one_hot(compared.label.where(compared.label != IGNORE, 0), classes).movedim(-1, 1)
    wrong = distances * (compared.probs - truth * compared.known)  # (B, C, H, W)
    return wrong.sum() / (compared.count * classes)


def sobel_loss(compared: Comparison) -> Tensor:
    """Return how much the edges of the probabilities differ from those of the truth.

    The mean squared difference of their gradients, by Sobel's filters, over the pixels of which
    all eight neighbours are known too. After the Sobel-edge loss that was introduced with SWED
    [1]_, not a copy of it: both directions are compared, not the strength alone, so that an edge
    that runs the wrong way is none.

    References:
        .. [1] Seale et al. (2022), "Coastline detection in satellite imagery: A deep learning
           approach on new benchmark data", doi 10.1016/j.rse.2022.113044.
    """
    difference = compared.probs - compared.shares  # its edges are the difference of the edges
    _, classes, height, width = difference.shape
    if min(height, width) < 3:
        return difference.sum() * 0
    surrounded = -F.max_pool2d(-compared.known, 3, stride=1)  # (B, 1, H − 2, W − 2)
    squares = _slope(difference).square() + _slope(difference.mT).mT.square()
    return (squares * surrounded).sum() / (surrounded.sum().clamp(min=1) * classes)


def _slope(stack: Tensor) -> Tensor:
    """Return Sobel's filter along columns of (..., H, W), per pixel: (..., H − 2, W − 2)."""
    smoothed = stack[..., :-2, :] + 2 * stack[..., 1:-1, :] + stack[..., 2:, :]
    return (smoothed[..., 2:] - smoothed[..., :-2]) / 8
