"""Lines are cut where their edge becomes blurred, and not to shreds."""

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from geounet.blur import REACH_PX, SHORTEST_PX, blurred_between
from geounet.coastline import median_widths
from geounet.flags import CoastFlags
from geounet.ragged import Lines
from geounet.scene.clouds import UNKNOWN

WIDE = 30.0


def line(*parts: tuple[float, float], step: float = 0.7, ring: bool = False) -> Lines:
    """A line (or a circle) of parts that are so long, in pixels, and so wide."""
    widths = np.concatenate([np.full(round(length / step), width) for length, width in parts])
    along = np.arange(len(widths)) * step
    places = np.column_stack([along, np.zeros(len(along))])
    if ring:
        angle = 2 * np.pi * along / (len(along) * step)
        places = along[-1] / (2 * np.pi) * np.column_stack([np.cos(angle), np.sin(angle)])
    points = np.column_stack([places, widths])
    if ring:
        points = np.concatenate([points, points[:1]])
    return Lines(points, np.array([0, len(points)], dtype=np.int64))


def lengths(lines: Lines) -> np.ndarray:
    return shapely.length(lines.shapes())


def test_a_blurred_stretch_is_a_piece_of_its_own():
    pieces, flags = CoastFlags(None).split(line((100, 10), (60, 50), (200, 12)), WIDE)
    assert np.abs(lengths(pieces) - [100, 60, 200]).max() < REACH_PX
    assert median_widths(pieces).tolist() == [10, 50, 12]
    assert (flags == UNKNOWN).all()


def test_a_ring_is_cut_where_it_changes_and_not_where_it_starts():
    pieces, _ = CoastFlags(None).split(line((50, 10), (100, 50), (250, 10), ring=True), WIDE)
    assert median_widths(pieces).tolist() == [50, 10]
    assert np.abs(lengths(pieces) - [100, 300]).max() < REACH_PX


@pytest.mark.parametrize(
    "parts",
    [
        [(100, 10), (30, 50), (100, 10)],  # too short
        [(20, 50), (100, 10)],
        [(100, 10), (20, 50)],
        [(100, 10)],
        [(100, 50)],
        [(100, np.nan)],
        [(100, np.nan), (30, 50), (100, np.nan)],
        [(35, 10), (35, 50)],  # a line that is too short altogether
        [(9, 10), (9, 50)] * 12,  # neither for long
    ],
)
def test_lines_stay_whole_where_no_stretch_of_another_kind_is_long(parts):
    lines = line(*parts)
    pieces, _ = CoastFlags(None).split(lines, WIDE)
    assert pieces is lines


def test_where_nothing_is_known_of_edges_nothing_is_cut():
    lines = line((100, 10), (100, 50))
    assert CoastFlags(None).split(lines, None)[0] is lines


@given(
    st.lists(
        st.lists(
            st.tuples(st.floats(1, 150), st.sampled_from([5.0, 29.0, 30.0, 90.0, np.nan])),
            min_size=1,
            max_size=8,
        ),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from([0.3, 0.9, 25.0]),
    st.booleans(),
)
def test_pieces_are_the_line_and_none_is_short(many, step, ring):
    parts = [[(max(length, 3 * step), width) for length, width in one] for one in many]
    lines = Lines.joined([line(*one, step=step, ring=ring) for one in parts])
    between, changes = blurred_between(lines, WIDE)
    assert between.shape == (len(lines.points) - 1,)
    pieces, _ = CoastFlags(None).split(lines, WIDE)
    assert (pieces is lines) == (not changes)
    np.testing.assert_allclose(lengths(pieces).sum(), lengths(lines).sum())
    whole = {round(length, 6) for length in lengths(lines)}
    # Two short ends of a ring may be of one kind, and then are one piece.
    assert all(
        length >= SHORTEST_PX - 1e-6 or round(length, 6) in whole for length in lengths(pieces)
    )
