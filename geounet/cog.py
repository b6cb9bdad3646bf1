"""Writing rasters: Cloud Optimized GeoTIFFs, block by block, whatever their size."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio._err import CPLE_BaseError
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioIOError
from rasterio.io import DatasetWriter
from rasterio.windows import Window

BLOCKSIZE = 512

PROBABILITY_STEPS = 253
"""Promise 6: uint8 = round(p × 253), so that 0.5 falls between two values; 254 is left over."""


@dataclass(frozen=True)
class CogProfile:
    """What the pixels of a COG are."""

    dtype: Literal["uint8", "float32"]
    nodata: float
    descriptions: tuple[str, ...]
    """One for each band."""
    overviews: Literal["mode", "average", "nearest"]
    """How four pixels become one; nodata has no say in it."""
    scale: float | None = None
    """What values are to be multiplied with, for GDAL and all who use it."""
    level: int = 6
    """Of DEFLATE's 1–9, how hard it tries to make the file small."""
    colors: Mapping[int, str] | None = None
    """Colour table of a single band: value → `#rrggbb`."""


@contextmanager
def new_cog(
    path: Path, geobox: GeoBox, profile: CogProfile, *, draft: Path
) -> Iterator[DatasetWriter]:
    """Open a raster for writing in any order; on a clean exit `path` is a COG with overviews.

    Args:
        path: Where the COG is to be.
        geobox: Its grid.
        profile: What its pixels are.
        draft: Where to write meanwhile: a file that is gone in the end.

    Yields:
        The draft, open for writing.

    Raises:
        RasterioIOError: It cannot be written, for instance because the disk is full.
    """
    height, width = geobox.shape
    try:
        with rasterio.open(
            draft,
            "w",
            driver="GTiff",
            height=height,
            width=width,
            count=len(profile.descriptions),
            dtype=profile.dtype,
            crs=geobox.crs,
            transform=geobox.transform,
            nodata=profile.nodata,
            tiled=True,
            blockxsize=BLOCKSIZE,
            blockysize=BLOCKSIZE,
            bigtiff="if_safer",
            photometric="rgb" if len(profile.descriptions) == 3 else "minisblack",
        ) as dst:
            dst.descriptions = profile.descriptions
            if profile.scale is not None:
                dst.scales = [profile.scale] * dst.count
            if profile.colors is not None:
                dst.write_colormap(1, {v: rgb(color) for v, color in profile.colors.items()})
                dst.colorinterp = [ColorInterp.palette]
            yield dst
        rasterio.shutil.copy(
            draft,
            path,
            driver="COG",
            blocksize=BLOCKSIZE,
            compress="deflate",
            level=profile.level,
            # A predictor helps where neighbours are nearly the same, not where they are the same.
            predictor="no" if profile.colors else "yes",
            overview_resampling=profile.overviews,
            bigtiff="if_safer",
            num_threads="all_cpus",
        )
        draft.unlink()
    except CPLE_BaseError as error:
        # Some of GDAL's errors come through rasterio as they are, a full disk's among them.
        raise RasterioIOError(f"{path.name} cannot be written: {error}") from error


def rgb(color: str) -> tuple[int, int, int]:
    """Return red, green and blue, 0–255, of `#rrggbb`."""
    red, green, blue = bytes.fromhex(color.removeprefix("#"))
    return red, green, blue


def blocks(geobox: GeoBox) -> Iterator[Window]:
    """Cover a raster with windows of a few blocks each, so that memory does not grow with it."""
    height, width = geobox.shape
    for row in range(0, height, BLOCKSIZE):
        for col in range(0, width, 4 * BLOCKSIZE):
            yield Window(
                col_off=col,
                row_off=row,
                width=min(4 * BLOCKSIZE, width - col),
                height=min(BLOCKSIZE, height - row),
            )


def encode_probability(probability: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return probabilities, 0–1, as uint8: p × 253 rounded, 255 where they are NaN."""
    # Halves upward: 0.5 is water, and so becomes 127, which is more than half.
    steps = np.floor(np.nan_to_num(probability) * np.float32(PROBABILITY_STEPS) + np.float32(0.5))
    return np.where(np.isnan(probability), 255, steps).astype(np.uint8)


def decode_probability(steps: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return what `encode_probability` wrote, off by half a step at most: NaN for 255."""
    values = steps / np.float32(PROBABILITY_STEPS)
    return np.where(steps == 255, np.float32(np.nan), values)


def encode_mask(values: NDArray[np.float32], level: float) -> NDArray[np.uint8]:
    """Return 1 where values reach the level, 0 where they do not, 255 where they are NaN."""
    # The level as float64: as float32 it might be another, and the line elsewhere than the mask.
    water = values >= np.float64(level)
    return np.where(np.isnan(values), 255, water).astype(np.uint8)
