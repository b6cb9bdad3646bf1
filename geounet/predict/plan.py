"""How a scene is cut into windows: settled before anything is read, and recorded."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from geounet.allocation import HELD_PER_USED
from geounet.config import restores_bands
from geounet.engine import Precision, out_of_memory
from geounet.errors import ConfigError, ModelFileError
from geounet.model_file import LARGEST_BLEND, MOST_STRIDES, BlendRecord, ModelHeader
from geounet.networks import Network
from geounet.windows import blend_overlap, round_up

Device = Literal["cpu", "cuda"]

READERS: dict[Device, int] = {"cpu": 1, "cuda": 4}
"""Threads that read. One is far ahead of a network on a CPU; a GPU needs several."""
MEMORY: dict[Device, int] = {"cpu": 1 << 30, "cuda": 4 << 30}
"""Bytes that windows may take while they are read and predicted, where the side of the core is
chosen here. As much again is left to GDAL's cache, contours and polygons."""
MEMORY_FOR_EXACT = 5 << 30
"""Bytes that they may take on a CPU where the exact halo is asked for, as far as that makes a core
`WIDE_CORE` halos wide: of resnet18 it is 288 pixels, and within 1 GiB the halo would be two thirds
of the work."""
WIDE_CORE = 7
"""Halos that a core then is wide: all windows together have 1.65 times its pixels."""
CORE_STEP = 64
"""Chosen cores are multiples of it, in pixels."""
BLEND_WINDOW = 256
"""Side of windows that are blended where a model file does not say at which side its network was
trained, in pixels."""


@dataclass(frozen=True)
class Plan:
    """What, besides the inputs, the bytes of a result depend on."""

    window: int
    """Side of the core, in pixels; of the whole window where windows are blended."""
    halo: int
    """Pixels read around it."""
    overlap: int
    """Pixels that windows share where they are blended, whole and without a halo; 0 where cores
    lie side by side."""
    batch: int
    precision: Precision
    device: str
    threads: int
    """Of torch."""


@contextmanager
def memory_told(plan: Plan, source: str) -> Iterator[None]:
    """Tell in one line where the windows of a scene do not fit in memory.

    Raises:
        ConfigError: Inside, numpy or torch found no memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        side = plan.window + 2 * plan.halo
        smaller = [f"--window (it is {plan.window})"]
        smaller += [f"--halo ({plan.halo})"] * bool(plan.halo)
        smaller += [f"--batch ({plan.batch})"] * (plan.batch > 1)
        raise ConfigError(
            f"{source}: windows of {side} × {side} pixels, {plan.batch} at once, take more memory "
            f"than there is for {plan.device}. Use a smaller {' or '.join(smaller)}."
        ) from error


def choose_core(
    shape: tuple[int, int],
    *,
    halo: int,
    stride: int,
    pixel_bytes: int,
    run_bytes: int,
    device: Device,
    exact: bool = False,
) -> int:
    """Choose the side of the core of a window: as large as memory allows, not beyond the scene.

    A halo costs (1 + 2·halo/core)² times the pixels, so cores are to be large. What is free at
    the moment does not matter: the same inputs give the same plan.

    Args:
        shape: Of the scene, (height, width).
        halo: Pixels read on every side of the core.
        stride: Of the network, in pixels.
        pixel_bytes: Of all bands of a pixel, as the scene has them.
        run_bytes: That a pixel of a window takes while it is predicted, on the device.
        device: Where that is.
        exact: Whether the exact halo is asked for: a wide one may cost memory, to cost less time.
    """
    # While one is predicted and one waits, each reader has a window, and a copy as it mirrors it.
    host_bytes = pixel_bytes * (2 * READERS[device] + 2)
    if device == "cpu":  # where the network's own buffers are too, in `keep_buffers`
        host_bytes += math.ceil(run_bytes * HELD_PER_USED)
    step = math.lcm(CORE_STEP, stride)

    def core_in(host: int) -> int:
        side = math.isqrt(host // host_bytes)
        if device == "cuda":
            side = min(side, math.isqrt(MEMORY["cuda"] // run_bytes))
        return (side - 2 * halo) // step * step

    core = core_in(MEMORY["cpu"])
    if exact and device == "cpu":
        core = max(core, min(core_in(MEMORY_FOR_EXACT), round_up(WIDE_CORE * halo, step)))
    # A core smaller than its halo would have every pixel predicted nine times or more.
    core = max(core, round_up(halo, step), step)
    return min(core, round_up(max(shape), stride))


def choose_halo(header: ModelHeader, wish: int | str, path: Path, *, margin: int = 0) -> int:
    """Return the halo in pixels that `default`, `exact` or a number means for a model.

    Args:
        header: Of the model, which has an exact halo.
        wish: What the user said.
        path: Of the model, for messages.
        margin: Of its network, in pixels: without them on each side it says nothing.

    Raises:
        ModelFileError: The model's halos are not its network's.
        ConfigError: The wish does not go with the network.
    """
    assert header.halo_exact is not None
    if min(header.halo_exact, header.halo_default) < margin:
        raise ModelFileError(
            f"{path} has a damaged header: its halos ({header.halo_default} and "
            f"{header.halo_exact}) are narrower than the {margin} pixels that its network "
            f"({header.network.name}) loses on each side. Get the file again."
        )
    if wish == "default":
        return header.halo_default
    if wish == "exact":
        return header.halo_exact
    if isinstance(wish, str):
        raise ValueError(f"halo {wish!r} is neither default, exact nor a number")
    if wish > MOST_STRIDES * header.stride:
        raise ConfigError(
            f"--halo {wish} is far wider than what the network ({header.network.name}) sees: from "
            f"{header.halo_exact} pixels on nothing changes. Use --halo exact."
        )
    if not margin:
        check_multiple("--halo", wish, header.stride)
    elif wish < margin or (wish - margin) % header.stride:
        below = max(wish - margin, 0) // header.stride * header.stride + margin
        nearest = f"{below} or {below + header.stride}" if wish > below else str(below)
        raise ConfigError(
            f"--halo {wish} does not go with a network that loses {margin} pixels on each side: "
            f"these, and multiples of {header.stride} besides. Use {nearest}."
        )
    return wish


def choose_blend(
    header: ModelHeader, network: Network, path: Path, *, window: int | None, halo: int | str
) -> BlendRecord:
    """Return how the windows of a model without an exact halo are blended.

    Args:
        header: Of the model.
        network: It.
        path: Of the model, for messages.
        window: Side that the user wishes, in pixels; None takes the model file's.
        halo: What the user said.

    Raises:
        ModelFileError: A network without padding has no exact halo, which it has.
        ConfigError: The wishes do not go with the network.
    """
    if network.margin:
        raise ModelFileError(
            f"{path} has a damaged header: it has no exact halo, and its network "
            f"({header.network.name}) has one, its margin. Get the file again."
        )
    stride = network.stride
    least = network.fit(2 * stride)  # two windows overlap by a stride, and are a stride apart
    side = network.fit(max(BLEND_WINDOW, least))
    said = header.blend or BlendRecord(
        window=side, overlap=blend_overlap(side, stride), why="the model file says none"
    )
    if halo != "default":
        raise ConfigError(
            f"--halo {halo} does not go with {path}: its network ({header.network.name}) has no "
            f"exact halo ({said.why}), so windows overlap and are blended. Leave --halo out; "
            "--window sets their side."
        )
    side = said.window if window is None else window
    if side < least or network.fit(side) != side:
        nearest = network.nearest_sizes(max(side, least))
        raise ConfigError(
            f"Windows of {side} do not go with {path}: its network ({header.network.name}) takes "
            f"multiples of {stride} from {least} on. Use --window "
            f"{' or '.join(str(size) for size in nearest)}."
        )
    if side > LARGEST_BLEND:
        raise ConfigError(
            f"Windows of {side} are too large to be blended: they are read and predicted whole. "
            f"Use --window {network.fit(LARGEST_BLEND - stride + 1)} or less; {path} says "
            f"{said.window}."
        )
    if side == said.window and (side - said.overlap) % stride == 0:
        return said
    return said.model_copy(update={"window": side, "overlap": blend_overlap(side, stride)})


def check_target(header: ModelHeader, path: Path) -> None:
    """Refuse a model that tells no classes."""
    if restores_bands(header.network.settings):
        raise ModelFileError(
            f"{path} holds a network ({header.network.name}) that gives back the bands it is "
            "given and tells no classes. Train one that starts from it with `geounet train --from "
            f"{path}`, and use that."
        )


def check_multiple(option: str, number: int | None, stride: int) -> None:
    """Refuse a side that would put windows on another phase of the network's pooling grid."""
    if number is not None and number % stride:
        below = number // stride * stride
        nearest = f"{below} or {below + stride}" if below else str(stride)
        raise ConfigError(
            f"{option} {number} is not a multiple of {stride}, the stride of the network. "
            f"Use {nearest}."
        )
