"""Making few chips go further: the coast may lie any way round.

Turning by quarters and mirroring move pixels and change none, so that labels stay exact; the eight
ways (the symmetries of the square) are drawn with equal chance.
"""

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
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


def lay_at_random(
    batches: Sequence[Tensor], ways: Sequence[Pose], generator: torch.Generator
) -> tuple[Tensor, ...]:
    """Lay each sample down in one of `ways`, the same for all that belongs to it.

    Args:
        batches: Tensors (B, ..., S, S), such as images, valid and labels; sample i of each
            belongs together.
        ways: What to draw from, see `poses`.
        generator: Where chance comes from; on the CPU, so that the draw is the same anywhere.

    Returns:
        The tensors, in the same order and of the same shapes.

    Raises:
        ValueError: Samples are not square, and would not fit into one batch when turned.
    """
    height, width = batches[0].shape[-2:]
    if height != width:
        raise ValueError(f"samples of {height} × {width} pixels cannot be turned in a batch")
    drawn = torch.randint(len(ways), (len(batches[0]),), generator=generator).tolist()
    return tuple(
        torch.stack([lay(sample, ways[way]) for sample, way in zip(batch, drawn, strict=True)])
        for batch in batches
    )


def step_generator(seed: int, step: int) -> torch.Generator:
    """Return the source of chance of one training step.

    It depends on nothing that came before, so that a run which was interrupted and resumed draws
    what it would have drawn.
    """
    generator = torch.Generator()
    generator.manual_seed(derived_seed(seed, step))
    return generator


def derived_seed(*numbers: int) -> int:
    """Return a seed that differs, without pattern, for all different lists of numbers ≥ 0."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
