"""Windows to raster: order, bounds, errors, and a disk that is full."""

import errno
import os
import resource
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from geounet.stitch import Part, open_canvas, stitch
from geounet.threads import draw_ahead, read_ahead
from geounet.windows import plan_windows


def grid(height: int, width: int) -> GeoBox:
    return GeoBox((height, width), Affine(10, 0, 500_000, 0, -10, 5_000_000), "EPSG:32630")


def threads_like(name: str) -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith(name)]


def test_results_come_in_order_whatever_the_order_they_are_ready_in():
    def slow_first(item: int) -> int:
        time.sleep(0.02 if item % 3 == 0 else 0)
        return item * item

    assert list(read_ahead(slow_first, range(20), threads=3)) == [n * n for n in range(20)]


def test_no_more_is_read_than_a_few_ahead():
    drawn = []

    def items() -> Iterator[int]:
        for item in range(100):
            drawn.append(item)
            yield item

    with closing(read_ahead(lambda item: item, items(), threads=2)) as results:
        for used, _ in enumerate(results, start=1):
            assert len(drawn) <= used + 2
            if used == 10:
                break


def test_reading_happens_while_the_caller_works():
    started = threading.Event()

    def read(item: int) -> int:
        if item == 1:
            started.set()
        return item

    with closing(read_ahead(read, range(3), threads=1)) as results:
        next(results)
        assert started.wait(timeout=10)  # item 1 is read though nobody has asked for it yet


def test_an_error_of_a_reader_is_raised_in_its_turn_and_its_threads_end():
    def read(item: int) -> int:
        if item == 2:
            raise OSError("the disk is gone")
        return item

    results = read_ahead(read, range(1000), threads=2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(OSError, match="the disk is gone"):
        next(results)
    assert threads_like("read") == []


def test_closing_early_ends_the_threads():
    results = read_ahead(lambda item: item, range(1000), threads=2)
    next(results)
    results.close()
    assert threads_like("read") == []


def test_the_next_item_is_made_while_the_caller_works_and_no_more():
    made, second = [], threading.Event()

    def items() -> Generator[int, None, None]:
        for item in range(100):
            made.append(item)
            if item == 1:
                second.set()
            yield item

    with closing(draw_ahead(items())) as drawn:
        assert next(drawn) == 0
        assert second.wait(timeout=10)
        time.sleep(0.02)
        assert made == [0, 1]
    assert threads_like("read") == []


def test_an_error_of_what_is_drawn_ahead_is_raised_in_its_turn():
    closed = []

    def items() -> Generator[int, None, None]:
        try:
            yield 0
            raise OSError("the disk is gone")
        finally:
            closed.append(True)

    drawn = draw_ahead(items())
    assert next(drawn) == 0
    with pytest.raises(OSError, match="the disk is gone"):
        next(drawn)
    assert closed == [True]
    assert threads_like("read") == []


def test_closing_what_is_drawn_ahead_closes_what_makes_it():
    closed = []

    def items() -> Generator[int, None, None]:
        try:
            yield from range(100)
        finally:
            closed.append(True)

    drawn = draw_ahead(items())
    next(drawn)
    drawn.close()
    assert closed == [True]


def parts_of(values: np.ndarray, *, core: int) -> Iterator[Part]:
    for window in plan_windows(*values.shape, core=core, halo=0):
        yield Part(window.core, (values[window.core.toslices()],))


@pytest.mark.parametrize("core", [37, 128, 512, 600])
def test_parts_make_the_raster(tmp_path, core):
    values = np.random.default_rng(0).random((530, 545), np.float32)
    values[100:200, 300:] = np.nan
    geobox = grid(*values.shape)
    path = tmp_path / "whole.tif"
    with open_canvas(path, geobox, dtype="float32", nodata=np.nan) as canvas:
        stitch(parts_of(values, core=core), [canvas])
    with rasterio.open(path) as made:
        np.testing.assert_array_equal(made.read(1), values)
        assert made.transform == geobox.transform
        assert made.crs == geobox.crs
    assert threads_like("write") == []


def test_what_no_part_covers_is_nodata(tmp_path):
    path = tmp_path / "hole.tif"
    one = np.ones((10, 20), np.uint8)
    with open_canvas(path, grid(600, 700), dtype="uint8", nodata=255) as canvas:
        stitch([Part(Window(col_off=50, row_off=560, width=20, height=10), (one,))], [canvas])
    with rasterio.open(path) as made:
        values = made.read(1)
    assert (values[560:570, 50:70] == 1).all()
    assert (values == 255).sum() == values.size - 200


def test_several_rasters_are_written_alike(tmp_path):
    one, two = tmp_path / "one.tif", tmp_path / "two.tif"
    window = Window(col_off=0, row_off=0, width=3, height=3)
    with (
        open_canvas(one, grid(3, 3), dtype="float32", nodata=np.nan) as first,
        open_canvas(two, grid(3, 3), dtype="uint8", nodata=255) as second,
    ):
        stitch([Part(window, (np.full((3, 3), 0.5, np.float32), np.eye(3, dtype=np.uint8)))],
               [first, second])  # fmt: skip
    with rasterio.open(one) as made:
        assert (made.read(1) == 0.5).all()
    with rasterio.open(two) as made:
        np.testing.assert_array_equal(made.read(1), np.eye(3))


def test_an_error_of_the_writer_ends_the_work(tmp_path):
    made = []

    def parts() -> Iterator[Part]:
        for number in range(1000):
            made.append(number)
            # Outside the raster, so it cannot be written.
            yield Part(Window(col_off=90, row_off=0, width=8, height=8), (np.ones((8, 8)),))

    with (
        open_canvas(tmp_path / "x.tif", grid(16, 16), dtype="uint8", nodata=255) as canvas,
        pytest.raises(rasterio.errors.RasterioError),
    ):
        stitch(parts(), [canvas])
    assert len(made) < 10
    assert threads_like("write") == []


def test_an_error_of_the_last_write_is_not_lost(tmp_path):
    outside = Window(col_off=90, row_off=0, width=8, height=8)
    with (
        open_canvas(tmp_path / "x.tif", grid(16, 16), dtype="uint8", nodata=255) as canvas,
        pytest.raises(rasterio.errors.RasterioError),
    ):
        stitch([Part(outside, (np.ones((8, 8)),))], [canvas])


def test_an_error_of_what_makes_the_parts_ends_the_writer(tmp_path):
    def parts() -> Iterator[Part]:
        yield Part(Window(col_off=0, row_off=0, width=8, height=8), (np.ones((8, 8)),))
        raise KeyboardInterrupt

    with (
        open_canvas(tmp_path / "x.tif", grid(16, 16), dtype="uint8", nodata=255) as canvas,
        pytest.raises(KeyboardInterrupt),
    ):
        stitch(parts(), [canvas])
    assert threads_like("write") == []


@contextmanager
def files_at_most(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond `size` bytes: a full disk, as GDAL sees it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("side", [1024, 2000])
def test_no_room_is_known_before_anything_is_predicted(tmp_path: Path, side, capfd):
    with (
        files_at_most(3 << 20),
        pytest.raises(OSError, match="too large") as raised,
        open_canvas(tmp_path / "x.tif", grid(side, side), dtype="float32", nodata=np.nan),
    ):
        pytest.fail("it was opened")
    assert raised.value.errno == errno.EFBIG
    capfd.readouterr()  # GDAL says it on stderr too


def test_how_much_room_is_needed_is_said_before_gdal_tries(tmp_path: Path, monkeypatch, capfd):
    # 600 × 300 pixels are 2 × 1 blocks of 1 MiB each.
    disk = os.statvfs_result((4096, 4096, 1000, 300, 300, 100, 100, 100, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: disk)
    canvas = open_canvas(tmp_path / "water.tif", grid(600, 300), dtype="float32", nodata=np.nan)
    with pytest.raises(OSError, match="2 MiB are needed, 1 MiB are free") as error:
        canvas.__enter__()
    assert error.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().err == ""
