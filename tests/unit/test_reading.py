"""Windows that overlap, of a scene of which nothing is read twice."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.windows import Window

from geounet.predict.reading import Grid, Side, read_once
from geounet.scene import Pixels
from geounet.windows import HaloWindow, first_core, plan_overlapping, plan_windows

sides = st.integers(1, 80)
blocks = st.tuples(st.integers(1, 50), st.integers(1, 50))


@st.composite
def grids(draw: st.DrawFn) -> tuple[tuple[int, int], list[HaloWindow]]:
    """A scene's shape and windows over it."""
    height, width, stride = draw(sides), draw(sides), draw(st.integers(1, 8))
    core = stride * draw(st.integers(1, 5))
    if draw(st.booleans()):
        begin = st.integers(1, core // stride).map(lambda strides: strides * stride)
        plan = plan_windows(
            height, width, core=core, halo=draw(st.integers(0, 40)), stride=stride,
            first=(draw(begin), draw(begin)),
        )  # fmt: skip
    else:
        overlap = draw(st.integers(1, core))
        plan = plan_overlapping(height, width, window=core + 1, overlap=overlap)
    return (height, width), list(plan)


def padded(values: NDArray[np.int64], window: Window) -> NDArray[np.int64]:
    """What NumPy has under a window that may reach beyond the raster, (…, height, width)."""
    spans = zip(window.toranges(), values.shape[-2:], strict=True)
    beyond = [(max(0, -start), max(0, stop - size)) for (start, stop), size in spans]
    whole = np.pad(values, [(0, 0)] * (values.ndim - 2) + beyond, mode="reflect")
    top, left = (start + before for (start, _), (before, _) in zip(
        window.toranges(), beyond, strict=True))  # fmt: skip
    return whole[..., top : top + window.height, left : left + window.width]


@given(
    grid=grids(),
    block=blocks | st.tuples(st.integers(1, 3), st.just(80)),  # whole rows, too
    threads=st.integers(1, 3),
    pixel_bytes=st.sampled_from([1, 1 << 18]),
)
def test_windows_are_as_numpy_pads_them_and_no_pixel_is_read_twice(
    grid, block, threads, pixel_bytes
):
    (height, width), windows = grid
    rng = np.random.default_rng(0)
    values, valid = rng.integers(0, 999, (2, height, width)), rng.random((height, width)) < 0.5
    asked: list[Window] = []

    def read(window: Window) -> Pixels:
        asked.append(window)
        return Pixels(values[:, *window.toslices()].copy(), valid[window.toslices()].copy())

    plan = Grid.of(windows, (height, width), block, pixel_bytes=pixel_bytes)
    found = list(read_once(windows, read, plan, threads=threads))
    assert [window for window, _ in found] == windows
    for window, pixels in found:
        np.testing.assert_array_equal(pixels.values, padded(values, window.read))
        np.testing.assert_array_equal(pixels.valid, padded(valid, window.read))
    times = np.zeros((height, width), int)
    for window in asked:
        times[window.toslices()] += 1
        for (start, stop), size, step in zip(
            window.toranges(), (height, width), block, strict=True
        ):
            assert start % step == 0  # whole blocks, so none is decoded twice
            assert stop % step == 0 or stop == size
    assert times.max() == 1


@given(size=st.integers(1, 3000), halo=st.integers(0, 6), blocks=st.integers(1, 3))
def test_no_more_is_kept_than_two_halos_where_cores_are_whole_blocks(size, halo, blocks):
    core, halo = 64 * blocks, 8 * halo
    begin = first_core(core, halo=halo, stride=8, block=64)
    plan = plan_windows(size, 1, core=core, halo=halo, stride=8, first=(begin, core))
    side = Side.of([w.read.toranges()[0] for w in plan], size=size, block=64)
    if size > core + halo and halo < core:
        assert side.most_kept <= 2 * halo + 8  # a stride where the last window is mirrored
    assert side.most_held <= core + 2 * halo + 64


def test_what_is_kept_does_not_grow_with_the_height_of_the_scene():
    def held(height: int) -> int:
        plan = plan_windows(height, 1, core=768, halo=96, stride=32)
        return Side.of([w.read.toranges()[0] for w in plan], size=height, block=512).most_kept

    assert held(100_000) == held(10_980) <= 2 * 96 + 512


def test_of_files_whose_blocks_are_rows_little_is_read_at_once():
    shape, windows = (4000, 10_980), list(plan_windows(4000, 10_980, core=768, halo=96, stride=32))
    striped = Grid.of(windows, shape, (16, 10_980), pixel_bytes=24)
    assert striped.chunk % 16 == 0
    assert striped.chunk * 10_980 * 24 <= 32 << 20
    assert striped.copied  # windows would hold the rows of the whole width
    aligned = list(plan_windows(4000, 4000, core=1024, halo=96, stride=32, first=(928, 928)))
    assert not Grid.of(aligned, (4000, 4000), (512, 512), pixel_bytes=24).copied


def test_an_error_of_reading_is_raised_and_ends_the_threads():
    windows = list(plan_windows(64, 64, core=16, halo=4))

    def read(window: Window) -> Pixels:
        if window.row_off >= 32:
            raise OSError("the disk is gone")
        shape = window.height, window.width
        return Pixels(np.zeros((1, *shape), np.uint16), np.ones(shape, np.bool_))

    def pixels() -> Iterator[object]:
        grid = Grid.of(windows, (64, 64), (8, 8), pixel_bytes=2)
        yield from read_once(windows, read, grid, threads=2)

    with pytest.raises(OSError, match="the disk is gone"):
        list(pixels())
    assert not [t for t in threading.enumerate() if t.name.startswith("read")]
