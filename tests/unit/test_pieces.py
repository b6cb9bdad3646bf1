"""Pieces in batches, and what a survey of them adds up."""

import numpy as np
import pytest
from rasterio.windows import Window

from geounet.predict.pieces import Piece, Seen, batches
from geounet.scene import Pixels
from geounet.windows import HaloWindow, plan_windows


def piece(window: HaloWindow) -> Piece:
    height, width = int(window.read.height), int(window.read.width)
    values = np.zeros((1, height, width), np.uint16)
    pixels = Pixels(values, np.ones((height, width), bool))
    return Piece(window, pixels, np.ones((window.core.height, window.core.width), bool))


@pytest.mark.parametrize("size", [1, 3, 4, 100])
def test_a_batch_is_of_one_row_of_windows_whatever_is_left_of_them(size):
    """Also where pieces were cut so that those of two rows begin at one row of pixels."""
    pieces = [piece(window) for window in plan_windows(96, 128, core=32, halo=0)]

    def cut(one: Piece) -> Piece:
        same = HaloWindow(
            read=Window(0, 40, 32, 32), core=Window(0, 40, 32, 32)
        )  # what two rows may come to
        return one._replace(window=same)

    made = list(batches(pieces, size, cut))
    assert [len(batch) for batch in made] == [
        min(size, 4 - first) for _ in range(3) for first in range(0, 4, size)
    ]
    given: list[int] = []
    for batch in batches(pieces, size, lambda one: one):
        assert len({one.window.core.row_off for one in batch}) == 1
        given += [id(one) for one in batch]
    assert given == [id(one) for one in pieces]


def test_a_batch_is_of_one_shape():
    pieces = [piece(window) for window in plan_windows(32, 100, core=32, halo=4)]
    shapes = [{one.pixels.values.shape for one in b} for b in batches(pieces, 4, lambda one: one)]
    assert [len(found) for found in shapes] == [1, 1]


def test_sums_of_a_survey_do_not_depend_on_their_order():
    rng = np.random.default_rng(7)
    parts = [Seen.of(rng.normal(size=3), rng.random(3) * 10.0**n, 5) for n in range(-9, 9)]
    forward, backward, halves = Seen.nothing(3), Seen.nothing(3), Seen.nothing(3)
    for part in parts:
        forward += part
    for part in reversed(parts):
        backward += part
    for half in (parts[9:], parts[:9]):
        some = Seen.nothing(3)
        for part in half:
            some += part
        halves += some
    assert forward == backward == halves
    floats = np.array([[float(s) for s in part.sums] for part in parts])
    np.testing.assert_allclose(forward.mean(), floats.sum(axis=0) / 90, rtol=1e-12)


def test_what_is_beyond_all_measure_is_seen_and_not_added():
    seen = Seen.of(np.array([np.inf]), np.array([1.0]), 7)
    assert (seen.pieces, seen.count, seen.mean(), seen.std()) == (1, 0, [], [])
