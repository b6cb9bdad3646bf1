"""Exact distances between pixels of a batch, wherever its tensors are.

On a GPU these take a few milliseconds where scipy, a chip at a time on the CPU, would keep it
waiting for a second. Both are exact; on the CPU scipy is the faster.
"""

import math

import torch
from torch import Tensor


def nearest(points: Tensor) -> Tensor:
    """Return the distance of every pixel to the nearest of some.

    Args:
        points: (B, H, W), True on those that distances are to.

    Returns:
        (B, H, W) float32, pixels, between centres; infinite where there are no points.
    """
    height, width = points.shape[1:]
    rows = torch.arange(height, device=points.device, dtype=torch.float32).view(1, -1, 1)
    above = rows - rows.where(points, -math.inf).cummax(dim=1).values
    below = rows.where(points, math.inf).flip(1).cummin(dim=1).values.flip(1) - rows
    in_column = torch.minimum(above, below).square()
    squared = torch.full_like(in_column, math.inf)
    for offset in range(1 - width, width):
        here, there = _facing(width, offset)
        candidate = in_column[..., there] + offset**2
        squared[..., here] = torch.minimum(squared[..., here], candidate)
    return squared.sqrt()


def two_nearest_objects(numbers: Tensor, *, reach: int) -> tuple[Tensor, Tensor]:
    """Return the distances of every pixel to the nearest and the second nearest object.

    Columns first, then rows: of an object that is among the two nearest to a pixel, the nearest
    pixel is in a column where at most one other object is nearer, so two of each column are enough.

    Args:
        numbers: (B, H, W) integers: which object a pixel is of, from 1; 0 for none.
        reach: Pixels along rows and columns within which objects are found.

    Returns:
        Two of (B, H, W) float32, pixels, between centres; infinite where there is none in reach.
    """
    alone = torch.full(numbers.shape, math.inf, device=numbers.device)
    itself = _Two(alone.masked_fill(numbers > 0, 0), numbers, alone, torch.zeros_like(numbers))
    in_column = itself.spread(dim=1, reach=reach)
    both = in_column.spread(dim=2, reach=reach)
    return both.first.sqrt(), both.second.sqrt()


class _Two:
    """The two nearest objects of each pixel so far: squared distances, (B, H, W), and numbers."""

    def __init__(self, first: Tensor, number: Tensor, second: Tensor, other: Tensor) -> None:
        self.first, self.number, self.second, self.other = first, number, second, other

    def spread(self, *, dim: int, reach: int) -> "_Two":
        """Return the two nearest of those that pixels along a dimension have."""
        side = self.first.shape[dim]
        # Of a pixel itself both are known; what is equally far is the same distance anyway.
        found = _Two(*(one.clone() for one in self.parts))
        reach = min(reach, side - 1)
        for offset in [*range(-reach, 0), *range(1, reach + 1)]:
            here, there = _facing(side, offset)
            index = (slice(None),) * dim
            part = _Two(*(one[(*index, here)] for one in found.parts))
            near = _Two(*(one[(*index, there)] for one in self.parts))
            part = part.with_one(near.first + offset**2, near.number)
            part = part.with_one(near.second + offset**2, near.other)
            for whole, changed in zip(found.parts, part.parts, strict=True):
                whole[(*index, here)] = changed
        return found

    @property
    def parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.first, self.number, self.second, self.other

    def with_one(self, squared: Tensor, number: Tensor) -> "_Two":
        """Return the two nearest of these and one more, which may be one of them from elsewhere."""
        nearer, another = squared < self.first, number != self.number
        down = nearer & another  # what was first becomes second
        instead = ~nearer & another & (squared < self.second)
        return _Two(
            torch.where(nearer, squared, self.first),
            torch.where(nearer, number, self.number),
            torch.where(down, self.first, torch.where(instead, squared, self.second)),
            torch.where(down, self.number, torch.where(instead, number, self.other)),
        )


def _facing(side: int, offset: int) -> tuple[slice, slice]:
    """Return which of `side` pixels have another `offset` further, and those others."""
    here = slice(max(-offset, 0), side - max(offset, 0))
    return here, slice(here.start + offset, here.stop + offset)
