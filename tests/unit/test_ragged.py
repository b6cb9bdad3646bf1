"""Lines and areas in one array of vertices: there and back, some of them, several together."""

import numpy as np
import shapely
from contouring import contour, rough_field
from hypothesis import given
from hypothesis import strategies as st

from geounet.ragged import Areas, Lines

seeds = st.integers(0, 2**32 - 1)


def drawn(seed):
    return contour(rough_field(np.random.default_rng(seed), (20, 24), smooth=0.8, nodata=0.05))


@given(seed=seeds, share=st.floats(0, 1))
def test_what_is_taken_and_joined_is_what_shapely_has(seed, share):
    found = drawn(seed)
    for kind, shapes in ((Lines, found.lines), (Areas, found.areas)):
        flat = kind.of(shapes)
        assert len(flat) == len(shapes)
        assert shapely.equals_identical(flat.shapes(), shapes).all()
        some = np.random.default_rng(seed).random(len(shapes)) < share
        parts = [flat.take(some), kind.none(), flat.take(np.flatnonzero(~some))]
        expected = np.concatenate([shapes[some], shapes[~some]])
        assert shapely.equals_identical(kind.joined(parts).shapes(), expected).all()


@given(seed=seeds)
def test_lines_are_closed_where_shapely_says_so(seed):
    lines = drawn(seed).lines
    assert Lines.of(lines).closed.tolist() == shapely.is_closed(lines).tolist()


def test_nothing_is_nothing():
    for kind in (Lines, Areas):
        assert len(kind.joined([])) == len(kind.none()) == len(kind.none().shapes()) == 0
