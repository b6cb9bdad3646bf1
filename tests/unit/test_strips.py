"""Dividing a scene into strips: whole rows of windows, whose rows of pixels partition the scene."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from geounet.predict.strips import divide
from geounet.windows import blend_overlap, plan_overlapping, plan_windows

sides = st.integers(1, 120)


@st.composite
def plans(draw):
    """Shape of a scene, its windows, and at most how many pixels a strip may have."""
    height, width, stride = draw(sides), draw(sides), draw(st.sampled_from([1, 2, 8]))
    side = stride * draw(st.integers(2, 12))
    if draw(st.booleans()):
        halo = stride * draw(st.integers(0, 4))
        windows = list(plan_windows(height, width, core=side, halo=halo, stride=stride))
    else:
        overlap = blend_overlap(side, stride)
        if draw(st.booleans()):
            overlap = stride * draw(st.integers(1, side // stride - 1))
        assume(side > overlap)
        windows = list(plan_overlapping(height, width, window=side, overlap=overlap, stride=stride))
    return height, width, windows, draw(st.sampled_from([0, 1, 500, 5_000, 10_000]))


@given(plans())
def test_strips_partition_windows_and_rows(plan):
    height, width, windows, most = plan
    strips = divide(windows, height=height, width=width, most=most)
    assert [window for strip in strips for window in strip.windows] == windows
    edges = [strip.top for strip in strips] + [height]
    assert edges[0] == 0
    assert [strip.bottom for strip in strips] == edges[1:]
    assert edges == sorted(set(edges))
    if not most or height * width <= most:
        assert len(strips) == 1


@given(plans())
def test_a_strip_has_every_window_that_touches_its_rows(plan):
    height, width, windows, most = plan
    for strip in divide(windows, height=height, width=width, most=most):
        touching = [
            window for window in windows
            if window.core.row_off < strip.bottom
            and window.core.row_off + window.core.height > strip.top
        ]  # fmt: skip
        has = {*strip.before, *strip.windows}
        assert has >= set(touching)
        assert [w for w in windows if w in has] == [*strip.before, *strip.windows]


@pytest.mark.parametrize(("most", "rows"), [(0, [11]), (25e6, [1, 2, 2, 2, 2, 2]), (1e6, [1] * 11)])
def test_a_tile_is_divided_as_evenly_as_rows_of_windows_allow(most, rows):
    windows = plan_windows(10_980, 10_980, core=1024, halo=64)
    strips = divide(windows, height=10_980, width=10_980, most=most)
    assert sorted(len(strip.windows) // 11 for strip in strips) == rows
