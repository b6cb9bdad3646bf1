"""The border weights of the U-Net paper: they keep a channel between two islands open."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from geounet.classes import IGNORE
from geounet.config import BorderSettings
from geounet.losses.nearest import two_nearest_objects

REACH = 6.5
"""In σ. Where the second object is farther than this, the weight is below 7e-10 of w0: less than
float32 can add to a class weight of 1."""


def border_weights(
    label: NDArray[np.integer], settings: BorderSettings, *, water: Sequence[int]
) -> NDArray[np.float32]:
    """Return what each pixel weighs more because it lies between two objects.

    The second term of the paper's weight map [1]_, w0 · exp(−(d1 + d2)² / (2σ²)), where d1 and d2
    are the distances to the border of the nearest and of the second nearest object. What the paper
    leaves open is settled so:

    - Objects are pieces of land, or of water, connected by the sides of their pixels. Pieces that
      meet outside of the label are two here; the channel between them is as real.
    - The border of an object are those of its pixels of which a side is shared with the other
      kind. Neither the edge of the label nor a side shared with unknown pixels is a border.
    - Distances are Euclidean, between centres of pixels, in pixels, and 0 on a border; they are
      taken inside of objects as outside.

    Args:
        label: (H, W), class numbers, 255 unknown.
        settings: w0, σ and which kind the objects are of.
        water: Which classes are water; the others are land.

    Returns:
        (H, W), 0–w0; 0 where unknown and where there are less than two objects.

    References:
        .. [1] Ronneberger et al. (2015), "U-Net", arXiv:1505.04597, equation 2.
    """
    reach = REACH * settings.sigma
    weights = np.zeros(label.shape, dtype=np.float32)
    for numbers in borders(label, settings, water=water):
        first, second = two_nearest(numbers, reach=reach)
        between = np.exp(-((first + second) ** 2) / (2 * settings.sigma**2))
        weights = np.maximum(weights, (settings.w0 * between).astype(np.float32))
    return weights * (label != IGNORE)


def border_weights_of_batch(
    label: Tensor, settings: BorderSettings, *, water: Sequence[int]
) -> Tensor:
    """Return `border_weights` of (B, H, W), on its device.

    On a GPU distances are computed there; only pieces are told apart on the CPU.
    """
    on_cpu = label.cpu().numpy()
    if not label.is_cuda:
        return torch.from_numpy(
            np.stack([border_weights(one, settings, water=water) for one in on_cpu])
        )
    found = zip(*(borders(one, settings, water=water) for one in on_cpu), strict=True)
    numbers = [torch.from_numpy(np.stack(one)).to(label.device) for one in found]
    return weights_between(numbers, settings) * (label != IGNORE)


def weights_between(numbers: Sequence[Tensor], settings: BorderSettings) -> Tensor:
    """Return the greatest of the weights that each of `numbers`, (B, H, W), `borders`, gives."""
    reach = math.ceil(REACH * settings.sigma)
    weights = []
    for one in numbers:
        first, second = two_nearest_objects(one, reach=reach)
        weights.append(settings.w0 * (-((first + second) ** 2) / (2 * settings.sigma**2)).exp())
    return torch.stack(weights).amax(dim=0)


def borders(
    label: NDArray[np.integer], settings: BorderSettings, *, water: Sequence[int]
) -> list[NDArray[np.int32]]:
    """Return the borders of objects, for one kind of them or for both kinds.

    Args:
        label: (H, W), class numbers, 255 unknown.
        settings: Which kind objects are of.
        water: Which classes are water.

    Returns:
        (H, W) each: on the border of an object its number, from 1; elsewhere 0.
    """
    known = label != IGNORE
    is_water = np.isin(label, water) & known
    is_land = known & ~is_water
    kinds = {"land": [(is_land, is_water)], "water": [(is_water, is_land)]}
    kinds["both"] = kinds["land"] + kinds["water"]
    found = []
    for objects, others in kinds[settings.objects]:
        numbers, _ = ndimage.label(objects, output=np.int32)
        found.append(numbers * ndimage.binary_dilation(others))
    return found


def two_nearest(
    numbers: NDArray[np.int32], *, reach: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the distances to the borders of the nearest and of the second nearest object.

    Args:
        numbers: (H, W), one of `borders`.
        reach: Pixels up to which distances are sure to be right; beyond they may be greater.

    Returns:
        Two of (H, W), the first not greater than the second; infinite where there is none.
    """
    first, second = (np.full(numbers.shape, np.inf) for _ in range(2))
    grown = math.ceil(reach)
    # One that has nothing but unknown pixels and the edge around it has no border, and is left out.
    boxes = {n: box for n, box in enumerate(ndimage.find_objects(numbers), start=1) if box}
    if len(boxes) < 2:
        return first, second
    for number, box in boxes.items():
        near = tuple(slice(max(side.start - grown, 0), side.stop + grown) for side in box)
        distance = ndimage.distance_transform_edt(numbers[near] != number)
        second[near] = np.minimum(second[near], np.maximum(first[near], distance))
        first[near] = np.minimum(first[near], distance)
    return first, second
