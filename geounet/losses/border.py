"""The border weights of the U-Net paper: they keep a channel between two islands open."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from geounet.classes import IGNORE
from geounet.config import BorderSettings

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
    known = label != IGNORE
    is_water = np.isin(label, water) & known
    is_land = known & ~is_water
    kinds = {"land": [(is_land, is_water)], "water": [(is_water, is_land)]}
    kinds["both"] = kinds["land"] + kinds["water"]
    weights = np.zeros(label.shape, dtype=np.float32)
    for objects, others in kinds[settings.objects]:
        first, second = two_nearest(objects, others, reach=REACH * settings.sigma)
        between = np.exp(-((first + second) ** 2) / (2 * settings.sigma**2))
        weights = np.maximum(weights, (settings.w0 * between).astype(np.float32))
    return weights * known


def two_nearest(
    objects: NDArray[np.bool_], others: NDArray[np.bool_], *, reach: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the distances to the borders of the nearest and of the second nearest object.

    Args:
        objects: (H, W), True on pixels of objects.
        others: (H, W), True on pixels that objects have a border with.
        reach: Pixels up to which distances are sure to be right; beyond they may be greater.

    Returns:
        Two of (H, W), the first not greater than the second; infinite where there is none.
    """
    numbers, count = ndimage.label(objects)
    first, second = (np.full(objects.shape, np.inf) for _ in range(2))
    if count < 2:
        return first, second
    numbers[~ndimage.binary_dilation(others)] = 0  # borders alone, by the number of their object
    grown = int(np.ceil(reach))
    for number, box in enumerate(ndimage.find_objects(numbers), start=1):
        if box is None:  # nothing but unknown pixels and the edge around it
            continue
        near = tuple(slice(max(side.start - grown, 0), side.stop + grown) for side in box)
        distance = ndimage.distance_transform_edt(numbers[near] != number)
        second[near] = np.minimum(second[near], np.maximum(first[near], distance))
        first[near] = np.minimum(first[near], distance)
    return first, second
