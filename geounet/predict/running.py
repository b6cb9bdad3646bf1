"""Running the network over what is read, batch by batch."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from geounet.allocation import give_back_above, resident_bytes
from geounet.clock import Clock
from geounet.engine import Runner
from geounet.predict.budget import Device
from geounet.predict.pieces import Piece, stack

BEGUN: dict[Device, int] = {"cpu": 0, "cuda": 1}
"""Batches whose answers may be waited for while the next is begun."""
GIVE_BACK_AT = 0.5
"""Share of the memory above which what is kept between windows is given back."""
SAMPLE = 256
"""Side of the piece on which another precision is held against fp32, in pixels."""

Coefficients = tuple[NDArray[np.float32], NDArray[np.float32]]
"""As `Scaling.coefficients` gives them."""


def run_batches(
    engine: Runner,
    found: Iterable[Sequence[Piece]],
    coefficients: Coefficients,
    *,
    clock: Clock,
    memory: int,
) -> Iterator[tuple[Sequence[Piece], NDArray[np.float32]]]:
    """Yield batches with their probabilities; on a GPU the next is on its way by then.

    Args:
        engine: What runs.
        found: Batches, in order.
        coefficients: Of the scene's numbers.
        clock: Told how long the network takes; its phase `windows` has begun.
        memory: Bytes that the run is to stay within.
    """
    # What the strip before has kept is no part of what this one begins with: a limit above it would
    # creep up from strip to strip.
    give_back_above(0)
    limit = resident_bytes() + round(GIVE_BACK_AT * memory)
    begun: deque[tuple[Sequence[Piece], Callable[[], NDArray[np.float32]]]] = deque()
    ahead = BEGUN["cpu" if engine.device == "cpu" else "cuda"]

    def oldest() -> tuple[Sequence[Piece], NDArray[np.float32]]:
        batch, answer = begun.popleft()
        with clock.timed("network"):
            return batch, answer()

    for batch in found:
        if "first window" not in clock.seconds:
            clock.add("first window", clock.so_far("windows"))
        dn, valid = stack(batch)
        with clock.timed("network"):
            begun.append((batch, engine.submit(dn, valid, *coefficients)))
        give_back_above(limit)
        if len(begun) > ahead:
            yield oldest()
    while begun:
        yield oldest()


def precision_error(
    used: Runner, exact: Runner, piece: Piece, coefficients: Coefficients
) -> dict[str, float]:
    """Return how far the probabilities are from fp32's, on the middle of a window."""
    spans = []
    for side in piece.pixels.valid.shape:
        length = min(side, used.fit(SAMPLE))
        spans.append(slice((side - length) // 2, (side - length) // 2 + length))
    dn = piece.pixels.values[None, :, *spans].copy()
    valid = piece.pixels.valid[None, *spans].copy()
    first, second = (engine.probabilities(dn, valid, *coefficients) for engine in (used, exact))
    return {
        "largest_difference": float(np.abs(first - second).max()),
        "share_of_pixels_of_another_class": float(
            (first.argmax(axis=1) != second.argmax(axis=1)).mean()
        ),
    }
