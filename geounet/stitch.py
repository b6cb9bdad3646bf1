"""Windows to raster: worked on in order, and written behind."""

import errno
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.errors import RasterioError
from rasterio.io import DatasetWriter
from rasterio.windows import Window

from geounet.clock import Clock
from geounet.threads import join_gdal

BLOCK = 512
"""Side of a canvas's blocks, in pixels."""


class Part(NamedTuple):
    """A finished piece of every raster that is being made."""

    window: Window
    """Inside the rasters."""
    values: tuple[NDArray[Any], ...]
    """(height, width) each, in the order of the rasters."""


@contextmanager
def open_canvas(
    path: Path, geobox: GeoBox, *, dtype: str, nodata: float
) -> Iterator[DatasetWriter]:
    """Open a raster to be filled piece by piece, in any order; it is nodata until then.

    Args:
        path: A tiled, uncompressed GeoTIFF to make.
        geobox: Its grid.
        dtype: Of its one band.
        nodata: What it holds where nothing is written.

    Raises:
        OSError: There is no room for it. Known at once: its place is taken before it is opened,
            because GDAL tells nobody of a write that fails while a file is closed.
    """
    height, width = geobox.shape
    empty = np.full((BLOCK, BLOCK), nodata, dtype)
    size = -(-height // BLOCK) * -(-width // BLOCK) * empty.nbytes
    profile = {
        "driver": "GTiff",
        "height": height,
        "width": width,
        "count": 1,
        "dtype": dtype,
        "crs": geobox.crs,
        "transform": geobox.transform,
        "nodata": nodata,
        "tiled": True,
        "blockxsize": BLOCK,
        "blockysize": BLOCK,
        "bigtiff": "if_safer",
    }
    check_room(path.parent, size)
    try:
        with rasterio.open(path, "w", **profile) as canvas:
            for _, window in canvas.block_windows(1):
                canvas.write(empty[: window.height, : window.width], 1, window=window)
    except RasterioError:
        _take_room(path, size)
        raise
    if path.stat().st_size < size:
        _take_room(path, size)
    with rasterio.open(path, "r+") as canvas:
        yield canvas


def check_room(folder: Path, size: int) -> None:
    """Raise `OSError`, which says how much is needed, where a disk has too little left for a file.

    GDAL's TIFF library writes lines of its own on stderr when a disk becomes full.
    """
    disk = os.statvfs(folder)
    free = disk.f_bavail * disk.f_frsize
    if free < size:
        needed = f"{size / 2**20:.0f} MiB are needed, {free / 2**20:.0f} MiB are free"
        raise OSError(errno.ENOSPC, needed, str(folder))


def _take_room(path: Path, size: int) -> None:
    """Have the system say why a file cannot have `size` bytes; GDAL does not."""
    with path.open("ab") as file:
        os.posix_fallocate(file.fileno(), 0, size)


def stitch(
    parts: Iterable[Part], rasters: Sequence[DatasetWriter], clock: Clock | None = None
) -> None:
    """Write every part into its place, in a thread of its own while the next one is made.

    The first error, of a write or of `parts`, ends it.

    Args:
        parts: Each is written once; their order and shapes do not matter.
        rasters: One per array of a part.
        clock: Told how long it takes.
    """
    clock = clock or Clock()

    def write(part: Part) -> None:
        with clock.timed("writing"):
            for raster, values in zip(rasters, part.values, strict=True):
                raster.write(values, 1, window=part.window)

    unwritten: deque[Future[None]] = deque()
    writer = ThreadPoolExecutor(1, thread_name_prefix="write", initializer=join_gdal)
    try:
        for part in parts:
            unwritten.append(writer.submit(write, part))
            if len(unwritten) > 2:  # a slow disk holds the work up, and fills no memory
                unwritten.popleft().result()
        while unwritten:
            unwritten.popleft().result()
    finally:
        writer.shutdown(wait=True, cancel_futures=True)
