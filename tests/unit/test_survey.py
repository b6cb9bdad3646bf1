"""What chips would hold, against counting by hand and circles."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geounet.classes import LAND_WATER, LabelClass
from geounet.survey import chip_starts, coast_length, part_of, read_groups, water_table

IS_WATER = water_table(LAND_WATER)


@given(length=st.integers(1, 500), size=st.integers(1, 300), stride=st.integers(1, 400))
def test_chips_lie_in_the_scene_and_leave_no_end_out(length, size, stride) -> None:
    size = min(size, length)
    starts = chip_starts(length, size=size, stride=stride)
    assert starts[0] == 0
    assert starts[-1] + size == length or stride > size
    assert (starts >= 0).all()
    assert (starts + size <= length).all()
    assert (np.diff(starts) > 0).all()
    if stride <= size:
        times = np.zeros(length, int)
        for start in starts:
            times[start : start + size] += 1
        assert (times > 0).all()


@given(
    seed=st.integers(0, 1000),
    size=st.sampled_from([16, 100, 512, 2000]),
    context=st.integers(0, 40),
    count=st.integers(0, 60),
)
def test_every_chip_is_in_one_group_that_holds_it_with_its_context(
    seed, size, context, count
) -> None:
    rng = np.random.default_rng(seed)
    rows, cols = rng.integers(0, 8000, (2, count))
    seen = []
    for window, chips in read_groups(rows, cols, size=size, context=context):
        assert max(window.height, window.width) <= 1024 + 2 * size + 2 * context
        for chip in chips:
            top, left = rows[chip] - context, cols[chip] - context
            down, across = part_of(window, top, left, size + 2 * context)
            assert down.start >= 0
            assert across.start >= 0
            assert down.stop <= window.height
            assert across.stop <= window.width
            assert (window.row_off + down.start, window.col_off + across.start) == (top, left)
        seen += chips
    assert sorted(seen) == list(range(count))


@pytest.mark.parametrize("res_m", [(10.0, 10.0), (8.0, 15.0)])
def test_the_coast_of_a_round_island_is_its_circumference(res_m) -> None:
    rows, cols = np.indices((400, 500))
    x, y = (cols - 230.3) * res_m[0], (rows - 190.7) * res_m[1]
    label = (np.hypot(x, y) > 1200).astype(np.uint8)
    assert coast_length(label, IS_WATER, res_m) == pytest.approx(2 * math.pi * 1200, rel=0.01)


def test_edges_with_the_unknown_are_no_coast() -> None:
    label = np.array([[0, 255, 1], [255, 1, 0]], np.uint8)
    assert coast_length(label, IS_WATER, (10.0, 20.0)) == pytest.approx(
        (1 * 20 + 1 * 10) * math.pi / 4
    )


def test_classes_that_count_as_water_have_no_coast_between_them() -> None:
    surf = LabelClass(value=2, name="surf", color="#ffffff", water=True)
    ice = LabelClass(value=3, name="ice", color="#ffffff", water=False)
    table = water_table((*LAND_WATER, surf, ice))
    label = np.array([[1, 2, 3, 0]], np.uint8)
    assert coast_length(label, table, (10.0, 10.0)) == pytest.approx(10 * math.pi / 4)
    assert table.sum() == 2
