"""How much memory a prediction takes, and the windows that cost least within a limit."""

import math
import re
from dataclasses import dataclass, replace
from typing import Literal

from geounet.errors import ConfigError
from geounet.predict.reading import Grid
from geounet.windows import first_core, plan_windows, round_up

Device = Literal["cpu", "cuda"]

READERS: dict[Device, int] = {"cpu": 2, "cuda": 4}
"""Threads that read. One is far ahead of a network on a CPU, which waits for its first window,
though; a GPU needs several."""
MEMORY = 1 << 30
"""Bytes that a run may take beyond what import and model do, where `--memory` does not say."""
MEMORY_FOR_EXACT = 8 << 30
"""Bytes that it may take on a CPU where the exact halo is asked for, as far as that makes a core
`WIDE_CORE` halos wide: of resnet18 it is 288 pixels, and within 1 GiB the halo would be two thirds
of the work."""
WIDE_CORE = 14
"""Halos that a core then is wide: all windows together have 1.31 times its pixels."""
MEMORY_ON_GPU = 4 << 30
"""Bytes of a GPU's memory that windows may take there."""
LEAST_MEMORY = 256 << 20
"""Bytes below which a limit cannot be kept: what GDAL, the vectors and a small window take."""
HELD_PER_USED = 1.03
"""Bytes that are held for each that a network uses at once, as arrays end where pages do
(`geounet.allocation`)."""
APART = 96 << 20
"""Bytes that go to none of the parts that are counted: libraries' own buffers, results on their
way to the disk."""
FIRST_WINDOW = 1.25
"""What a pixel of one window costs beside the network, as a share of what it costs there: the
network waits while its first window is read, the disk while the last is predicted, and memory that
is used for the first time has to be made. On two cores a scene of 2048² took a resnet18 U-Net 2.8 s
in a window of 2176 pixels and 1.9 s in nine of 832; one of 4096² took 7.9 s in windows of 2176,
6.6 s in such of 1536, and 7.3 s in such of 1152. That is in bf16."""
SLOWER_IN_FP32 = 1.75
"""How much longer than in bf16 a pixel takes in float32, the network alone: 380 ns and 217 ns."""
EACH_WINDOW = 1 << 15
"""Pixels that a network predicts in the time that a window costs besides: of 320² it took a third
longer than of 832², a pixel."""
CORE_STEP = 64
"""Chosen cores are multiples of it, in pixels."""
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def parse_memory(text: str) -> int:
    """Return the bytes that `512M`, `1.5G` or a plain number means.

    Raises:
        ConfigError: It means none, or too few to work in.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if found is None:
        raise ConfigError(
            f"--memory {text} is no amount of memory. Give a number with K, M or G, such as 512M."
        )
    size = int(float(found[1]) * UNITS[found[2].upper()])
    if size < LEAST_MEMORY:
        raise ConfigError(
            f"--memory {text} is less than the {in_mib(LEAST_MEMORY)} that reading, lines and a "
            f"small window take. Give --memory {LEAST_MEMORY >> 20}M or more."
        )
    return size


def in_mib(size: float) -> str:
    """Return bytes as people read them."""
    return f"{size / 2**20:.0f} MiB"


def cache_bytes(memory: int) -> int:
    """Return how much of a limit goes to GDAL's cache of decoded blocks.

    Nothing has to be read twice from it but what is warped, and masks beside the bands.
    """
    return min(max(memory // 16, 32 << 20), 256 << 20)


@dataclass(frozen=True)
class Load:
    """What decides how much memory windows take."""

    shape: tuple[int, int]
    """Of the scene, (height, width)."""
    block: tuple[int, int]
    """Of the blocks of its file, (height, width)."""
    halo: int
    """Pixels around a core."""
    stride: int
    """Of the network, in pixels."""
    remainder: int
    """What sides that it takes leave when divided by the stride."""
    pixel_bytes: int
    """Of all bands of a pixel, as the scene has them."""
    run_bytes: int
    """That a pixel of a window takes while it is predicted, on the device."""
    classes: int
    batch: int
    """Windows that are predicted at once."""
    device: Device
    precision: str = "bf16"
    """Of the network, as `Engine.precision`."""

    def first(self, core: int) -> tuple[int, int]:
        """Return how long the first core of rows and of columns is."""
        rows, cols = (
            first_core(core, halo=self.halo, stride=self.stride, block=block)
            if core < size
            else core
            for size, block in zip(self.shape, self.block, strict=True)
        )
        return rows, cols

    def read_side(self, core: int) -> int:
        """Return the side of the largest window, with its halo."""
        core = min(core, max(self.shape))
        return round_up(core + 2 * self.halo - self.remainder, self.stride) + self.remainder

    def cost(self, core: int) -> float:
        """Return what a pass with cores of this side costs, in pixels that a network predicts."""
        rows, cols = (-(-size // core) for size in self.shape)
        height, width = self.shape[0] + 2 * self.halo * rows, self.shape[1] + 2 * self.halo * cols
        each = EACH_WINDOW * rows * cols
        once = FIRST_WINDOW / (SLOWER_IN_FP32 if self.precision == "fp32" else 1)
        return height * width + each + once * self.read_side(core) ** 2

    def on_device(self, core: int) -> int:
        """Return the bytes that the network takes on its device."""
        held = HELD_PER_USED if self.device == "cpu" else 1
        return math.ceil(self.read_side(core) ** 2 * self.batch * self.run_bytes * held)

    def in_reading(self, core: int) -> int:
        """Return the bytes of what is read and kept, and of windows that wait."""
        # Those that are predicted, and one that is being made or waits.
        grid = self._grid(core)
        pixels = grid.pixels(self.batch + (grid.windows > 1), threads=READERS[self.device])
        if self.batch > 1:
            pixels += self.read_side(core) ** 2 * self.batch
        return pixels * (self.pixel_bytes + 1)

    def in_results(self, core: int) -> int:
        """Return the bytes of probabilities, and of what of them waits to be written."""
        if self._grid(core).windows == 1:
            return 0  # there are none while the network runs, and less than it takes afterwards
        return self.batch * 4 * (self.classes * self.read_side(core) ** 2 + 4 * core**2)

    def on_host(self, core: int) -> int:
        """Return the bytes of all of it in the computer's memory."""
        network = self.on_device(core) if self.device == "cpu" else 0
        return APART + self.in_reading(core) + self.in_results(core) + network

    def _grid(self, core: int) -> Grid:
        spans = []
        for size, begin in zip(self.shape, self.first(core), strict=True):
            windows = plan_windows(
                size, 1, core=core, halo=self.halo, stride=self.stride,
                remainder=self.remainder, first=(begin, core),
            )  # fmt: skip
            spans.append([window.read.toranges()[0] for window in windows])
        rows, cols = spans
        return Grid.of_spans((rows, cols), self.shape, self.block, pixel_bytes=self.pixel_bytes)


def choose_core(load: Load, *, memory: int | None, exact: bool = False) -> tuple[int, int]:
    """Choose the side of the core of a window: that of those in memory's limit which costs least.

    A halo costs (1 + 2·halo/core)² times the pixels, so cores are to be large; but a scene is to
    have several windows, for one can be read while another is predicted. What is free at the
    moment does not matter: the same inputs give the same plan.

    Args:
        load: What windows are of.
        memory: Bytes that a run may take; None is the default.
        exact: Whether the exact halo is asked for: a wide one may cost memory, to cost less time,
            where `memory` does not forbid it.

    Returns:
        The side in pixels, and the bytes that count as the limit.

    Raises:
        ConfigError: Not even the smallest window keeps within `memory`.
    """
    step = math.lcm(CORE_STEP, load.stride)
    whole = round_up(max(load.shape), load.stride)
    limit = memory or MEMORY
    sides = [*range(step, whole, step), whole]
    by_cost = sorted(sides, key=load.cost)

    def best(limit: int) -> int | None:
        room = limit - cache_bytes(limit)

        def fits(core: int) -> bool:
            on_gpu = load.device == "cuda" and load.on_device(core) > MEMORY_ON_GPU
            return not on_gpu and load.on_host(core) <= room

        return next((core for core in by_cost if fits(core)), None)

    core = best(limit)
    if memory is not None:
        if core is None:
            least = load.on_host(sides[0]) + cache_bytes(memory)
            raise ConfigError(
                f"--memory of {in_mib(memory)} is too little for this scene and network: with the "
                f"smallest windows, of {sides[0]} pixels, they take {in_mib(least)}. Give as much."
            )
        return core, limit
    if exact and load.device == "cpu":
        wide = round_up(WIDE_CORE * load.halo, step)
        for more in range(limit, MEMORY_FOR_EXACT + 1, MEMORY // 4):
            core, limit = best(more), more
            if core is not None and core >= min(wide, by_cost[0]):
                break
    # A core smaller than its halo would have every pixel predicted nine times or more.
    least = min(max(round_up(load.halo, step), step), whole)
    return max(core or 0, least), limit


def smaller(load: Load, core: int) -> tuple[Load, int] | None:
    """Return what takes about half the memory: fewer windows at once, or smaller ones.

    None where there is nothing smaller.
    """
    if load.batch > 1:
        return replace(load, batch=load.batch // 2), core
    step = math.lcm(CORE_STEP, load.stride)
    side = math.isqrt(load.read_side(core) ** 2 // 2) - 2 * load.halo
    core = min(side, core - 1) // step * step
    return (load, core) if core > 0 else None
