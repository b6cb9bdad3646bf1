"""The window plan: what has to hold so that tiling cannot be seen."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rasterio.windows import Window

from geounet.windows import (
    HaloWindow,
    blend_overlap,
    first_core,
    mirror_indexes,
    plan_overlapping,
    plan_windows,
    round_up,
)

sides = st.integers(1, 90)
strides = st.integers(1, 16)
halos = st.integers(0, 40)
cores_in_strides = st.integers(1, 5)


@given(height=sides, width=sides, stride=strides, times=cores_in_strides, halo=halos)
def test_cores_partition_the_raster(height, width, stride, times, halo):
    times_kept = np.zeros((height, width), dtype=int)
    for window in plan_windows(height, width, core=times * stride, halo=halo, stride=stride):
        times_kept[window.core.toslices()] += 1
    assert (times_kept == 1).all()


@given(data=st.data(), height=sides, width=sides, stride=strides, times=cores_in_strides)
def test_a_shorter_first_core_moves_all_others_and_nothing_else(data, height, width, stride, times):
    begin = st.integers(1, times).map(lambda count: count * stride)
    first, halo = (data.draw(begin), data.draw(begin)), data.draw(halos)
    plan = list(
        plan_windows(height, width, core=times * stride, halo=halo, stride=stride, first=first)
    )
    times_kept = np.zeros((height, width), dtype=int)
    for window in plan:
        times_kept[window.core.toslices()] += 1
        assert window.core.row_off in (0, *range(first[0], height, times * stride))
        assert window.core.col_off in (0, *range(first[1], width, times * stride))
        assert (window.read.row_off + halo) % stride == (window.read.col_off + halo) % stride == 0
    assert (times_kept == 1).all()
    assert (plan[0].core.height, plan[0].core.width) == (
        min(first[0], height),
        min(first[1], width),
    )


@pytest.mark.parametrize("first", [(0, 8), (12, 8), (24, 8), (8, 24)])
def test_a_first_core_of_another_phase_or_longer_is_refused(first):
    with pytest.raises(ValueError, match="first core"):
        list(plan_windows(50, 50, core=16, halo=8, stride=8, first=first))


@pytest.mark.parametrize(
    ("core", "halo", "block", "expected"),
    [
        (1024, 96, 512, 928),  # reads end at 1024, 2048 …
        (1024, 608, 512, 928),
        (768, 96, 512, 672),  # reads end in the middle of a block, or where it does
        (832, 64, 512, 832),
        (512, 92, 512, 512),  # 420 has another phase
        (512, 512, 512, 512),
    ],
)
def test_the_first_core_is_shorter_where_reads_can_end_with_blocks(core, halo, block, expected):
    begin = first_core(core, halo=halo, stride=32, block=block)
    assert begin == expected
    if begin != core:
        for window in plan_windows(5000, 1, core=core, halo=halo, stride=32, first=(begin, core)):
            end = window.read.row_off + window.read.height
            assert end % math.gcd(core, block) == 0 or end > 5000


@given(height=sides, width=sides, stride=strides, times=cores_in_strides, halo=halos)
def test_what_is_read_starts_and_ends_on_one_phase_of_the_pooling_grid(
    height, width, stride, times, halo
):
    for window in plan_windows(height, width, core=times * stride, halo=halo, stride=stride):
        assert (window.read.row_off + halo) % stride == 0
        assert (window.read.col_off + halo) % stride == 0
        assert window.read.height % stride == 0
        assert window.read.width % stride == 0


@given(data=st.data(), height=sides, width=sides, stride=strides, times=cores_in_strides)
def test_networks_without_padding_get_sizes_that_they_take(data, height, width, stride, times):
    remainder, halo = data.draw(st.integers(0, stride - 1)), data.draw(halos)
    core = times * stride
    plan = list(
        plan_windows(height, width, core=core, halo=halo, stride=stride, remainder=remainder)
    )
    assert [w.core for w in plan] == [
        w.core for w in plan_windows(height, width, core=core, halo=halo, stride=stride)
    ]
    for window in plan:
        for (start, stop), (first, last) in zip(
            window.read.toranges(), window.core.toranges(), strict=True
        ):
            assert start == first - halo
            assert (stop - start) % stride == remainder
            assert 0 <= stop - (last + halo) < stride


def test_the_paper_s_network_is_stepped_by_384_and_4_pixels_are_dropped():
    plan = list(plan_windows(384, 1000, core=384, halo=92, stride=16, remainder=12))
    first, _, last = plan
    assert (first.read.width, first.read.height) == (572, 572)
    assert [w.core.col_off for w in plan] == [0, 384, 768]
    assert first.keep_inside(92) == (slice(0, 384), slice(0, 384))  # of 388
    assert (last.core.width, last.read.width) == (232, 428)  # 244 come out


@given(height=sides, width=sides, stride=strides, times=cores_in_strides, halo=halos)
def test_every_core_has_the_halo_around_it_and_hardly_more(height, width, stride, times, halo):
    for window in plan_windows(height, width, core=times * stride, halo=halo, stride=stride):
        for (start, stop), (first, last) in zip(
            window.read.toranges(), window.core.toranges(), strict=True
        ):
            assert start == first - halo
            assert 0 <= stop - (last + halo) < stride


@given(height=sides, width=sides, stride=strides, times=cores_in_strides, halo=halos)
def test_keep_finds_the_core_in_what_was_read(height, width, stride, times, halo):
    # Every pixel is its own number; what lies outside the raster has none.
    numbers = np.arange(height * width).reshape(height, width)
    around = halo + times * stride + stride
    padded = np.pad(numbers, around, constant_values=-1)
    for window in plan_windows(height, width, core=times * stride, halo=halo, stride=stride):
        (top, bottom), (left, right) = window.read.toranges()
        read = padded[top + around : bottom + around, left + around : right + around]
        np.testing.assert_array_equal(read[window.keep], numbers[window.core.toslices()])


def test_windows_come_row_by_row():
    cores = [w.core for w in plan_windows(5, 5, core=2, halo=0)]
    assert [(c.row_off, c.col_off) for c in cores] == [
        (0, 0), (0, 2), (0, 4), (2, 0), (2, 2), (2, 4), (4, 0), (4, 2), (4, 4),
    ]  # fmt: skip


def test_a_window_inside_is_as_large_as_it_says():
    first, *_ = plan_windows(100, 100, core=32, halo=16, stride=16)
    assert first == HaloWindow(
        read=Window(col_off=-16, row_off=-16, width=64, height=64),
        core=Window(col_off=0, row_off=0, width=32, height=32),
    )


@pytest.mark.parametrize("core", [0, -16, 24])
def test_a_core_that_is_no_multiple_of_the_stride_is_refused(core):
    with pytest.raises(ValueError, match=f"core {core} .* stride 16"):
        list(plan_windows(64, 64, core=core, halo=0, stride=16))


def test_a_negative_halo_is_refused():
    with pytest.raises(ValueError, match="halo -1"):
        list(plan_windows(64, 64, core=16, halo=-1, stride=16))


@given(size=st.integers(1, 12), before=st.integers(0, 60), after=st.integers(0, 60))
def test_mirrored_as_numpy_pads_by_reflection(size, before, after):
    expected = np.pad(np.arange(size), (before, after), mode="reflect")
    np.testing.assert_array_equal(mirror_indexes(-before, size + after, size), expected)


@given(size=st.integers(1, 12), start=st.integers(-40, 40), length=st.integers(0, 40))
def test_mirroring_a_part_gives_the_part_of_the_whole(size, start, length):
    whole = mirror_indexes(-40, 80, size)
    part = mirror_indexes(start, start + length, size)
    np.testing.assert_array_equal(part, whole[start + 40 : start + 40 + length])


@given(number=st.integers(0, 10**6), multiple=st.integers(1, 1000))
def test_rounding_up_goes_to_the_next_multiple(number, multiple):
    rounded = round_up(number, multiple)
    assert rounded % multiple == 0
    assert 0 <= rounded - number < multiple


@given(data=st.data(), height=sides, width=sides, stride=strides)
def test_overlapping_windows_are_of_one_size_and_share_what_was_asked_for(
    data, height, width, stride
):
    strides_wide = data.draw(st.integers(2, 6))
    window = strides_wide * stride
    overlap = blend_overlap(window, stride)
    plan = list(plan_overlapping(height, width, window=window, overlap=overlap, stride=stride))
    seen = np.zeros((height, width), dtype=int)
    for place in plan:
        assert (place.read.height, place.read.width) == (window, window)
        assert place.read.row_off % stride == place.read.col_off % stride == 0
        assert place.core.height > 0
        assert place.core.width > 0
        rows, cols = place.keep  # what of it lies inside, found another way
        inside = np.zeros((window, window), dtype=bool)
        inside[rows, cols] = True
        for r, c in [(0, 0), (window - 1, window - 1), (window // 2, window // 2)]:
            row, col = place.read.row_off + r, place.read.col_off + c
            assert inside[r, c] == (0 <= row < height and 0 <= col < width)
        seen[place.core.toslices()] += 1
    assert (seen >= 1).all()
    rows_at = sorted({place.read.row_off for place in plan})
    assert (np.diff(rows_at) == window - overlap).all()
    rim = overlap // 2
    for offsets, size in [(rows_at, height), ([p.read.col_off for p in plan], width)]:
        before, after = -min(offsets), max(offsets) + window - size
        if len(set(offsets)) > 1 or size + 2 * rim <= window:
            assert min(before, after) >= rim
        assert 0 <= after - before < 2 * stride
    places = [(place.read.row_off, place.read.col_off) for place in plan]
    assert places == sorted(set(places))


@pytest.mark.parametrize(("window", "overlap"), [(64, 0), (64, 64), (64, 24)])
def test_overlaps_that_do_not_go_with_the_windows_are_told(window, overlap):
    with pytest.raises(ValueError, match=f"{window} that overlap by {overlap}"):
        list(plan_overlapping(90, 90, window=window, overlap=overlap, stride=16))


@pytest.mark.parametrize(
    ("window", "stride", "overlap"), [(256, 32, 64), (64, 32, 32), (96, 32, 32), (100, 1, 25)]
)
def test_windows_overlap_by_a_quarter_in_whole_strides(window, stride, overlap):
    assert blend_overlap(window, stride) == overlap
