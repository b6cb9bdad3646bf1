"""How a scene is cut into windows: settled before anything is read, and recorded."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from geounet.config import restores_bands
from geounet.engine import Backend, Precision
from geounet.errors import ConfigError, ModelFileError
from geounet.model_file import LARGEST_BLEND, MOST_STRIDES, BlendRecord, ModelHeader
from geounet.networks import Sizes
from geounet.windows import blend_overlap

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
    backend: Backend = "eager"
    first: tuple[int, int] | None = None
    """Height of the cores of the first row and width of those of the first column, where they are
    smaller, so that reads end with the file's blocks; None where there are no cores."""
    memory: int | None = None
    """Bytes that the run was to stay within, beyond import and model; the window follows."""


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Have torch work with so many threads, in this one; afterwards with as many as before.

    On how many it works changes the last bits of a probability.
    """
    before = torch.get_num_threads()
    if count == before:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def too_large(plan: Plan, source: str, error: Exception) -> ConfigError:
    """Return the error that says that not even small windows of a scene fit in memory."""
    side = plan.window + 2 * plan.halo
    smaller = [f"--window (it is {plan.window})"]
    smaller += [f"--halo ({plan.halo})"] * bool(plan.halo)
    smaller += [f"--batch ({plan.batch})"] * (plan.batch > 1)
    told = ConfigError(
        f"{source}: windows of {side} × {side} pixels, {plan.batch} at once, take more memory "
        f"than there is for {plan.device}. Use a smaller {' or '.join(smaller)}."
    )
    told.__cause__ = error
    return told


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
    header: ModelHeader, network: Sizes, path: Path, *, window: int | None, halo: int | str
) -> BlendRecord:
    """Return how the windows of a model without an exact halo are blended.

    Args:
        header: Of the model.
        network: It, or what it takes.
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


def only_window(wish: int | None, only: int, path: Path) -> int:
    """Return the side of a window of a model that takes one side alone.

    Raises:
        ConfigError: The user wishes another.
    """
    if wish not in (None, only):
        raise ConfigError(
            f"--window {wish} does not go with {path}, which takes windows of one size. Leave the "
            f"option out: it is {only}."
        )
    return only


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
