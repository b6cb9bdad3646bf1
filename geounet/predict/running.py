"""Running the network over what is read, batch by batch."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from geounet.clock import Clock
from geounet.engine import Runner
from geounet.predict.budget import Device
from geounet.predict.pieces import Piece, stack
from geounet.windows import HaloWindow

BEGUN: dict[Device, int] = {"cpu": 0, "cuda": 1}
"""Batches whose answers may be waited for while the next is begun."""
SAMPLE = 256
"""Side of the piece on which another precision is held against fp32, in pixels."""

Coefficients = tuple[NDArray[np.float32], NDArray[np.float32]]
"""As `Scaling.coefficients` gives them."""
Answering = Callable[[], NDArray[np.float32]]
"""Waits for probabilities (B, classes, height, width) and returns them."""
Sample = tuple[NDArray[Any], NDArray[np.bool_]]
"""Numbers (1, bands, height, width) and valid (1, height, width)."""


class Asked(NamedTuple):
    """What is left of a piece once it was predicted; its pixels are not needed any more."""

    window: HaloWindow
    wanted: NDArray[np.bool_]
    """Of `window.core`, as `Piece` has it."""
    probs: NDArray[np.float32]
    """(classes, height, width) of what was read, less the network's margin."""


def run_batches(
    engine: Runner,
    found: Iterable[Sequence[Piece]],
    coefficients: Coefficients,
    *,
    clock: Clock,
) -> Iterator[Asked]:
    """Yield pieces with their probabilities; on a GPU the next batch is on its way by then.

    Args:
        engine: What runs.
        found: Batches, in order.
        coefficients: Of the scene's numbers.
        clock: Told how long the network takes; its phase `windows` has begun.
    """
    begun: deque[tuple[list[HaloWindow], list[NDArray[np.bool_]], Answering]] = deque()
    ahead = BEGUN["cpu" if engine.device == "cpu" else "cuda"]

    def oldest() -> Iterator[Asked]:
        windows, wanted, answer = begun.popleft()
        with clock.timed("network"):
            probs = answer()
        yield from map(Asked, windows, wanted, probs)

    for batch in found:
        if "first window" not in clock.seconds:
            clock.add("first window", clock.so_far("windows"))
        windows, wanted = [piece.window for piece in batch], [piece.wanted for piece in batch]
        dn, valid = stack(batch)
        with clock.timed("network"):
            begun.append((windows, wanted, engine.submit(dn, valid, *coefficients)))
        del batch, dn, valid  # the largest there is in memory, beside what the network takes
        if len(begun) > ahead:
            yield from oldest()
    while begun:
        yield from oldest()


def middle_of(piece: Piece, fit: Callable[[int], int]) -> Sample:
    """Return the numbers (1, bands, h, w) and valid (1, h, w) of the middle of a window.

    Args:
        piece: The window.
        fit: Makes of a side one that the network takes, as `Runner.fit`.
    """
    spans = []
    for side in piece.pixels.valid.shape:
        length = min(side, fit(SAMPLE))
        spans.append(slice((side - length) // 2, (side - length) // 2 + length))
    return piece.pixels.values[None, :, *spans].copy(), piece.pixels.valid[None, *spans].copy()


def precision_error(
    used: Runner, exact: Runner, sample: Sample, coefficients: Coefficients
) -> dict[str, float]:
    """Return how far the probabilities of a sample are from fp32's."""
    first, second = (engine.probabilities(*sample, *coefficients) for engine in (used, exact))
    return {
        "largest_difference": float(np.abs(first - second).max()),
        "share_of_pixels_of_another_class": float(
            (first.argmax(axis=1) != second.argmax(axis=1)).mean()
        ),
    }
