"""Batches run one after another."""

import gc
import weakref

import numpy as np
import pytest
from rasterio.windows import Window

from geounet.clock import Clock
from geounet.predict.pieces import Piece
from geounet.predict.running import run_batches
from geounet.scene import Pixels
from geounet.windows import HaloWindow

SLOPE = (np.ones(3, np.float32), np.zeros(3, np.float32))


class Numbers(np.ndarray):
    """An array that a weak reference may point to."""


def piece(row: int) -> Piece:
    window = HaloWindow(read=Window(0, row, 8, 8), core=Window(0, row, 8, 8))
    values = np.full((3, 8, 8), row, np.uint16).view(Numbers)
    valid = np.ones((8, 8), bool)
    return Piece(window, Pixels(values, valid), valid)


class Double:
    """Answers with two layers of what it is given, and remembers what was alive when asked."""

    def __init__(self, device: str, made: list) -> None:
        self.device, self.made, self.alive = device, made, []

    def submit(self, dn, *_):
        gc.collect()
        self.alive.append([ref() is not None for ref in self.made])
        answer = np.repeat(dn[:, :1].astype(np.float32), 2, axis=1)
        return lambda: answer


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_piece_is_answered_in_order_and_pixels_are_let_go_of(device):
    made: list = []

    def found():
        for row in range(4):
            one = piece(row)
            made.append(weakref.ref(one.pixels.values))
            yield [one]
            del one

    engine, clock = Double(device, made), Clock()
    with clock.timed("windows"):
        answers = [
            (int(asked.window.read.row_off), float(asked.probs[0, 0, 0]), asked.probs.shape)
            for asked in run_batches(engine, found(), SLOPE, clock=clock)
        ]
    assert answers == [(row, row, (2, 8, 8)) for row in range(4)]
    assert engine.alive == [[False] * n + [True] for n in range(4)]
    assert clock.seconds["network"] >= 0
