"""How a scene is cut into windows: settled before anything is read, and recorded."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from geounet.config import restores_bands
from geounet.engine import Precision
from geounet.errors import ConfigError, ModelFileError
from geounet.model_file import ModelHeader
from geounet.windows import round_up

Device = Literal["cpu", "cuda"]

READERS: dict[Device, int] = {"cpu": 1, "cuda": 4}
"""Threads that read. One is far ahead of a network on a CPU; a GPU needs several."""
MEMORY: dict[Device, int] = {"cpu": 1 << 30, "cuda": 4 << 30}
"""Bytes that windows may take while they are read and predicted, where the side of the core is
chosen here. As much again is left to GDAL's cache, contours and polygons."""
CORE_STEP = 64
"""Chosen cores are multiples of it, in pixels."""


@dataclass(frozen=True)
class Plan:
    """What, besides the inputs, the bytes of a result depend on."""

    window: int
    """Side of the core, in pixels."""
    halo: int
    """Pixels read around it."""
    batch: int
    precision: Precision
    device: str
    threads: int
    """Of torch."""


def choose_core(
    shape: tuple[int, int],
    *,
    halo: int,
    stride: int,
    pixel_bytes: int,
    run_bytes: int,
    device: Device,
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
    """
    # While one is predicted and one waits, each reader has a window, and a copy as it mirrors it.
    read_bytes = pixel_bytes * (2 * READERS[device] + 2)
    per_pixel = run_bytes + read_bytes if device == "cpu" else run_bytes
    side = math.isqrt(MEMORY[device] // per_pixel)
    side = min(side, math.isqrt(MEMORY["cpu"] // read_bytes))
    step = math.lcm(CORE_STEP, stride)
    # A core smaller than its halo would have every pixel predicted nine times or more.
    core = max((side - 2 * halo) // step * step, round_up(halo, step), step)
    return min(core, round_up(max(shape), stride))


def choose_halo(header: ModelHeader, wish: int | str, path: Path, *, margin: int = 0) -> int:
    """Return the halo in pixels that `default`, `exact` or a number means for a model.

    Args:
        header: Of the model.
        wish: What the user said.
        path: Of the model, for messages.
        margin: Of its network, in pixels: without them on each side it says nothing.

    Raises:
        ModelFileError: The model cannot be used in windows, or its halos are not its network's.
        ConfigError: The wish does not go with the network.
    """
    if header.halo_exact is None:
        raise ModelFileError(
            f"{path} holds a network ({header.network.name}) that looks at the whole scene at "
            "every pixel, so windows would show. Use a model of another network, such as "
            "unet-same."
        )
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
