"""Where chance comes from: functions of seed, step and sample, and of nothing that came before.

So a run that was interrupted and resumed draws what it would have drawn. A few numbers for each
sample are drawn on the CPU, the same anywhere; what has a number for each pixel is drawn on the
device that wants it, as a GPU would wait for the CPU to draw millions: there such numbers are
others than on the CPU, and always the same.
"""

from collections.abc import Callable
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor


class Drawn(IntEnum):
    """What is drawn. Each has its own source: one switched on changes no other."""

    TURN = 1  # not 0, see `derived_seed`
    SHIFT = 2
    SCALE = 3
    ELASTIC_GRID = 4
    ELASTIC_FIELD = 5
    GAIN = 6
    OFFSET = 7
    NOISE = 8
    BANDS_LOST = 9
    SHADOW = 10
    SHADOW_SHAPE = 11
    HOLE = 12
    HOLE_SHAPE = 13


_FIELDS = (Drawn.ELASTIC_FIELD, Drawn.NOISE)
"""What has a number for each pixel."""


class Chance:
    """Draws for the samples of one step."""

    def __init__(
        self, seed: int, step: int, count: int, device: torch.device | str = "cpu"
    ) -> None:
        """Say for what.

        Args:
            seed: Of the training.
            step: Which, from 0.
            count: How many samples it has.
            device: Where the draws are wanted.
        """
        self.seed, self.step, self.count, self.device = seed, step, count, device

    def uniform(self, drawn: Drawn, *shape: int, low: float = 0, high: float = 1) -> Tensor:
        """Return numbers of [low, high), (B, *shape) float32."""
        return low + (high - low) * self._draw(torch.rand, drawn, shape)

    def normal(self, drawn: Drawn, *shape: int) -> Tensor:
        """Return numbers of mean 0 and standard deviation 1, (B, *shape) float32."""
        return self._draw(torch.randn, drawn, shape)

    def choice(self, ways: int) -> list[int]:
        """Return a number below `ways` for each sample."""
        # One generator for all samples, as it was before anything else was drawn.
        generator = step_generator(self.seed, self.step)
        return torch.randint(ways, (self.count,), generator=generator).tolist()

    def _draw(self, draw: Callable[..., Tensor], drawn: Drawn, shape: tuple[int, ...]) -> Tensor:
        device = torch.device(self.device if drawn in _FIELDS else "cpu")
        out = torch.empty(self.count, *shape, device=device)
        for sample, row in enumerate(out):
            generator = torch.Generator(device)
            generator.manual_seed(derived_seed(self.seed, self.step, sample, drawn))
            draw(shape, generator=generator, out=row, device=device)
        return send(out, self.device)


def send(values: Tensor, device: torch.device | str) -> Tensor:
    """Return values on a device, without waiting for what a GPU still has to do."""
    if torch.device(device).type == "cuda" and not values.is_cuda:
        # From memory that is not pinned, the copy would wait until all before it is done.
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


def step_generator(seed: int, step: int) -> torch.Generator:
    """Return the source of chance of one training step, which depends on nothing else."""
    generator = torch.Generator()
    generator.manual_seed(derived_seed(seed, step))
    return generator


def derived_seed(*numbers: int) -> int:
    """Return a seed that differs, without pattern, for all different lists of numbers.

    Args:
        numbers: At most four, from 0 to 2³² − 1; zeros at the end count as if they were not there.
    """
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
