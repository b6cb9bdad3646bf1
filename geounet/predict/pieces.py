"""Reading a scene piece by piece for the network."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.windows import Window
from shapely.geometry.base import BaseGeometry

from geounet.aoi import aoi_mask
from geounet.bands import Band
from geounet.scene import Pixels, Scaling, Scene
from geounet.windows import HaloWindow


class Piece(NamedTuple):
    """What is read of a window."""

    window: HaloWindow
    pixels: Pixels
    """Of `window.read`, as the file has them."""
    wanted: NDArray[np.bool_]
    """Of `window.core`: where there is data and a result is asked for."""


@dataclass(frozen=True)
class Reader:
    """Reads windows; called from several threads."""

    scene: Scene
    bands: Sequence[Band]
    aoi: BaseGeometry | None

    def __call__(self, window: HaloWindow) -> Piece | None:
        """Return what there is, or None where there is nothing to predict."""
        wanted = None
        if self.aoi is not None:
            wanted = aoi_mask(self.aoi, crop(self.scene.geobox, window.core))
            if not wanted.any():
                return None
        pixels = self.scene.read_dn(self.bands, window.read)
        valid = pixels.valid[window.keep]
        wanted = valid if wanted is None else wanted & valid
        return Piece(window, pixels, wanted) if wanted.any() else None


def crop(geobox: GeoBox, window: Window) -> GeoBox:
    """Return the grid of a window; slicing a `GeoBox` uses what affine is about to deprecate."""
    shift = Affine.translation(window.col_off, window.row_off)
    return GeoBox((window.height, window.width), geobox.transform @ shift, geobox.crs)


class Survey:
    """Means and spreads over what passes by, from a sixteenth of it."""

    def __init__(self, scaling: Scaling) -> None:
        self.pieces = 0
        self._scaling = scaling
        self._sum: NDArray[np.float64] = np.zeros(len(scaling.scale))
        self._squares: NDArray[np.float64] = np.zeros(len(scaling.scale))
        self._count = 0

    def watch(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        """Yield `pieces` unchanged."""
        for piece in pieces:
            self.pieces += 1
            few = (slice(None, None, 4),) * 2
            wanted = piece.wanted[few]
            core = piece.pixels.values[:, *piece.window.keep][:, *few]
            dn = core[:, wanted][:, :, None]  # (bands, pixels, 1)
            seen = self._scaling.reflectance(dn)
            self._sum += seen.sum(axis=(1, 2), dtype=np.float64)
            self._squares += np.square(seen, dtype=np.float64).sum(axis=(1, 2))
            self._count += dn.shape[1]
            yield piece

    def mean(self) -> list[float]:
        """Return the mean reflectance of each band; empty where nothing was sampled."""
        return (self._sum / self._count).tolist() if self._count else []

    def std(self) -> list[float]:
        """Return the standard deviation of each band likewise."""
        if not self._count:
            return []
        variance = self._squares / self._count - (self._sum / self._count) ** 2
        return np.sqrt(np.maximum(variance, 0)).tolist()


def batches(pieces: Iterable[Piece], size: int) -> Iterator[list[Piece]]:
    """Group pieces that follow each other and are of one shape."""
    batch: list[Piece] = []
    for piece in pieces:
        if batch and (
            len(batch) == size or piece.pixels.values.shape != batch[0].pixels.values.shape
        ):
            yield batch
            batch = []
        batch.append(piece)
    if batch:
        yield batch


def stack(batch: Sequence[Piece]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return numbers (B, bands, height, width) and valid (B, height, width) of a batch."""
    if len(batch) == 1:  # as they are: a large window is not copied
        return batch[0].pixels.values[None], batch[0].pixels.valid[None]
    values = np.stack([piece.pixels.values for piece in batch])
    return values, np.stack([piece.pixels.valid for piece in batch])
