"""The ways to lay a chip down: the coast may lie any way round.

Turning by quarters and mirroring move pixels and change none, so that labels stay exact.
"""

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor


class Pose(NamedTuple):
    """One way to lay a square down: first transposed or not, then flipped or not."""

    transposed: bool
    flipped_rows: bool
    flipped_cols: bool


ROTATIONS = (
    Pose(False, False, False),
    Pose(True, True, False),  # a quarter anticlockwise, as torch.rot90
    Pose(False, True, True),
    Pose(True, False, True),
)
FLIPS = tuple(Pose(False, rows, cols) for rows, cols in product((False, True), repeat=2))
ALL_POSES = tuple(Pose(*pose) for pose in product((False, True), repeat=3))


def poses(*, flips: bool, rotations: bool) -> tuple[Pose, ...]:
    """Return the ways that a chip may be laid down, the way it is among them."""
    if flips and rotations:
        return ALL_POSES
    if rotations:
        return ROTATIONS
    return FLIPS if flips else ROTATIONS[:1]


def lay(stack: Tensor, pose: Pose) -> Tensor:
    """Return `stack`, (..., H, W), laid down in that way; (..., W, H) if transposed."""
    if pose.transposed:
        stack = stack.transpose(-2, -1)
    rows = [-2] if pose.flipped_rows else []
    cols = [-1] if pose.flipped_cols else []
    return stack.flip(rows + cols)


def lay_each(batch: Tensor, ways: Sequence[Pose]) -> Tensor:
    """Return the samples of `batch`, (B, ..., S, S), each laid down in its way.

    Raises:
        ValueError: Samples are not square, and would not fit into one batch when turned.
    """
    height, width = batch.shape[-2:]
    if height != width:
        raise ValueError(f"samples of {height} × {width} pixels cannot be turned in a batch")
    return torch.stack([lay(sample, way) for sample, way in zip(batch, ways, strict=True)])
