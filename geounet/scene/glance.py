"""A cheap look at a whole scene: coarse, but up to its border, once for all checks."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio import DatasetReader
from rasterio.windows import Window

from geounet.bands import Band
from geounet.scene.raster import Handles, Layer, Pixels, alpha_index, nodata_in, read_or_say
from geounet.scene.remote import is_remote
from geounet.threads import read_ahead

if TYPE_CHECKING:
    from geounet.scene.scene import Scene

SIDE = 256
"""Pixels of a look along the longer side of a scene, at most."""
SMALL, SMALL_REMOTE = 2**22, 2**18
"""Pixels of a file that is looked at whole though it has no overviews: about a second of a dozen
bands on a disk; a block or two over a network."""
WINDOWS_ALONG_SIDE, WINDOW_SIDE = 6, 42
"""Windows that stand for a scene without overviews; the outer ones lie along its border."""
READERS = 2
"""Threads that read them."""
SAME_EXTENT = 1 / SIDE
"""Of a scene's side: what the extents of two files may differ by to be looked at as one."""


class KnownScaling(NamedTuple):
    """How the numbers of one band become reflectance, as far as that is known."""

    scale: float | None
    offset: float
    """In digital numbers, added before scaling."""
    said: bool
    """Whether anybody says so; floats count as reflectance where nobody does."""


@dataclass(frozen=True)
class Glance:
    """Some pixels of a scene from all over it, as an array whose border is the scene's border."""

    layers: tuple[Layer, ...]
    """The bands that were looked at."""
    scalings: tuple[KnownScaling, ...]
    """How each of them becomes reflectance."""
    dn: NDArray[Any]
    """(bands, height, width), as in the files."""
    valid: NDArray[np.bool_]
    """(height, width), True where every band has data."""
    weights: NDArray[np.float64]
    """(height, width), the share of the scene that each pixel stands for."""
    how: Literal["overviews", "windows"]
    """What was read."""

    @property
    def valid_share(self) -> float:
        """How much of the scene has data, about."""
        return min(1.0, float(self.weights[self.valid].sum()))

    @property
    def bands(self) -> tuple[Band, ...]:
        """What was looked at, in the order of `dn`."""
        return tuple(layer.band for layer in self.layers)

    def reflectance(self, band: int, chosen: NDArray[np.bool_]) -> NDArray[np.float64] | None:
        """Return (DN + offset) × scale of one band; None where its scale is not known.

        Args:
            band: Index into `bands`.
            chosen: (height, width), which pixels.

        Returns:
            (pixels,).
        """
        scale, offset, _ = self.scalings[band]
        if scale is None:
            return None
        return (self.dn[band][chosen].astype(np.float64) + offset) * scale


def glance(scene: "Scene") -> Glance | None:
    """Look at a scene: through its overviews, or at small windows all over it.

    An overview is one coarse read per file. Without them small files are read whole, and of large
    ones a lattice of windows is, set side by side: the outer ones lie along the border of the
    scene, so what reaches the border of the result reaches that of the scene. Over a network only
    the coarsest overviews are read, of the bands that have some.

    Returns:
        What was seen, or None where that would cost too much.

    Raises:
        SceneError: A file is damaged.
    """
    product, handles = scene._product, scene._handles
    layers = [layer for layer in product.layers if _same_extent(layer.geobox, scene.geobox)]
    coarse = [layer for layer in layers if _is_coarse(handles, layer)]
    if any(is_remote(layer.path) for layer in product.layers):
        if not coarse:
            return None
        shape = _coarsest_shape(handles, coarse, scene.geobox)
    elif len(coarse) == len(product.layers):
        shape = _fitting(scene.geobox.shape, SIDE)
    else:
        known = tuple(_known_scaling(scene, layer) for layer in product.layers)
        return Glance(product.layers, known, *_read_lattice(scene.unmasked()), "windows")
    known = tuple(_known_scaling(scene, layer) for layer in coarse)
    pixels = read_coarse(handles, coarse, shape)
    weights = np.full(shape, 1 / (shape[0] * shape[1]))
    return Glance(tuple(coarse), known, *pixels, weights, "overviews")


def _known_scaling(scene: "Scene", layer: Layer) -> KnownScaling:
    """Return what is known without reading; bare floats count as reflectance here."""
    said = scene._described_scaling(layer)
    scale = said["scale"]
    if scale is None and np.dtype(layer.dtype).kind in "fc":
        return KnownScaling(1.0, said["offset"] or 0.0, said=False)
    return KnownScaling(scale, said["offset"] or 0.0, said=scale is not None)


def _same_extent(one: GeoBox, other: GeoBox) -> bool:
    """Whether two grids cover the same ground, as far as a look can tell."""
    if one.crs != other.crs:
        return False
    height, width = other.shape
    shift = ~other.transform @ one.transform
    corners = [(0, 0), (1, 0), (0, 1), (1, 1)]
    return all(
        abs(x - col * width) <= SAME_EXTENT * width
        and abs(y - row * height) <= SAME_EXTENT * height
        for col, row in corners
        for x, y in [shift @ (col * one.shape[1], row * one.shape[0])]
    )


def _is_coarse(handles: Handles, layer: Layer) -> bool:
    """Whether the whole of a layer can be looked at without reading much."""
    dataset = handles.get(layer.path, placed=layer.placed)
    limit = SMALL_REMOTE if is_remote(layer.path) else SMALL
    return bool(dataset.overviews(layer.index)) or dataset.width * dataset.height <= limit


def _fitting(shape: Sequence[int], side: int) -> tuple[int, int]:
    """Return the shape (height, width) of a look that is at most `side` long."""
    share = min(1.0, side / max(shape))
    return max(1, round(shape[0] * share)), max(1, round(shape[1] * share))


def _coarsest_shape(handles: Handles, layers: Sequence[Layer], geobox: GeoBox) -> tuple[int, int]:
    """Return a shape for which GDAL takes the coarsest overview of every layer."""
    sides = [SIDE]
    for layer in layers:
        dataset = handles.get(layer.path, placed=layer.placed)
        factor = max(dataset.overviews(layer.index), default=1)
        sides.append(max(dataset.shape) // factor)
    return _fitting(geobox.shape, max(1, min(sides)))


def read_coarse(handles: Handles, layers: Sequence[Layer], shape: tuple[int, int]) -> Pixels:
    """Read the whole of each layer at another size, from overviews where there are some.

    Args:
        handles: Where the files are opened.
        layers: What to read; they cover the same ground.
        shape: (height, width) of the result; each of its pixels is the nearest there is.

    Raises:
        SceneError: A file is damaged.
    """
    files: dict[str, list[int]] = {}
    for position, layer in enumerate(layers):
        files.setdefault(layer.path, []).append(position)
    values = np.empty((len(layers), *shape), np.result_type(*(layer.dtype for layer in layers)))
    valid, blank = np.ones(shape, dtype=np.bool_), None
    for path, positions in files.items():
        wanted = [layers[i] for i in positions]
        dataset = handles.get(path, placed=wanted[0].placed)
        whole = Window(col_off=0, row_off=0, width=dataset.width, height=dataset.height)
        dn, unmasked = read_or_say(path, whole, partial(_read_whole, dataset, wanted, shape))
        valid &= unmasked
        values[positions] = dn
        filled = [_is_nodata(band, layer) for layer, band in zip(wanted, dn, strict=True)]
        if dataset.driver.startswith("JP2"):
            blank = np.all(filled if blank is None else [blank, *filled], axis=0)
        else:
            valid &= ~np.any(filled, axis=0)
    # Coarse JPEG 2000 is of wavelets, which swing: beside what is bright, 1 becomes 0. What has no
    # data is so in all bands, and larger than that.
    if blank is not None and blank.any():
        from scipy.ndimage import binary_opening  # takes long to import

        valid &= ~binary_opening(blank, np.ones((3, 3)))
    return Pixels(values, valid)


def _read_whole(
    dataset: DatasetReader, layers: Sequence[Layer], shape: tuple[int, int]
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return all of some layers of one file at another size, and where its masks let them be."""
    dn = dataset.read([la.index for la in layers], out_shape=(len(layers), *shape))
    return dn, _unmasked(dataset, layers, shape)


def _unmasked(
    dataset: DatasetReader, layers: Sequence[Layer], shape: tuple[int, int]
) -> NDArray[np.bool_]:
    """Return where the masks of a file leave all of its layers."""
    valid = np.ones(shape, dtype=np.bool_)
    for layer in layers:
        if layer.mask == "alpha":
            valid &= dataset.read(alpha_index(dataset), out_shape=shape) != 0
        elif layer.mask is not None:
            valid &= dataset.read_masks(layer.index, out_shape=shape) != 0
    return valid


def _is_nodata(band: NDArray[Any], layer: Layer) -> NDArray[np.bool_]:
    """Return where values of a layer are no data, whatever masks say."""
    nothing = ~np.isfinite(band) if band.dtype.kind in "fc" else np.zeros(band.shape, np.bool_)
    if (nodata := nodata_in(band.dtype, layer.nodata)) is not None:
        nothing |= band == nodata
    return nothing


def read_small(scene: "Scene", bands: Sequence[str], side: int) -> Pixels:
    """Read all of a scene at most `side` pixels long, from overviews where there are some.

    Args:
        scene: What to read.
        bands: Which, in the order they are wanted.
        side: Of the longer side of the result, in pixels.

    Returns:
        Values as in the files, (bands, height, width), and where all are data.

    Raises:
        BandError: A band is missing.
        SceneError: A file is damaged.
    """
    layers = [scene._product.layers[i] for i in scene.band_indexes(bands)]
    shape = _fitting(scene.geobox.shape, side)
    if all(_same_extent(layer.geobox, scene.geobox) for layer in layers):
        return read_coarse(scene._handles, layers, shape)
    height, width = scene.geobox.shape
    rows, cols = (
        ((np.arange(few) + 0.5) * size / few).astype(int)
        for few, size in zip(shape, (height, width), strict=True)
    )
    lines = [
        scene.unmasked().read_dn(bands, Window(0, int(row), width=width, height=1)) for row in rows
    ]
    return Pixels(
        np.concatenate([line.values[:, :, cols] for line in lines], axis=1),
        np.concatenate([line.valid[:, cols] for line in lines], axis=0),
    )


def _read_lattice(
    scene: "Scene",
) -> tuple[NDArray[Any], NDArray[np.bool_], NDArray[np.float64]]:
    """Read small windows from border to border, set side by side, with what each stands for."""
    height, width = (min(WINDOW_SIDE, size) for size in scene.geobox.shape)
    rows, cols = (_starts(size) for size in scene.geobox.shape)
    spots = [Window(col, row, width=width, height=height) for row in rows for col in cols]
    with closing(read_ahead(partial(scene.read_dn, scene.bands), spots, threads=READERS)) as found:
        looks = [list(islice(found, len(cols))) for _ in rows]
    along_rows, along_cols = _stands_for(len(rows), height), _stands_for(len(cols), width)
    return (
        np.concatenate([np.concatenate([at.values for at in line], axis=2) for line in looks], 1),
        np.concatenate([np.concatenate([at.valid for at in line], axis=1) for line in looks], 0),
        np.outer(along_rows, along_cols),
    )


def _starts(size: int) -> list[int]:
    """Return where windows begin along a side: first and last at its ends, none overlapping."""
    side = min(WINDOW_SIDE, size)
    count = max(1, min(WINDOWS_ALONG_SIDE, size // side))
    return np.linspace(0, size - side, count).astype(int).tolist()


def _stands_for(count: int, side: int) -> NDArray[np.float64]:
    """Return the share of a scene's side that each pixel of a row of windows stands for.

    A window stands for the ground halfway to its neighbours, so those at the ends for half as much.
    """
    shares = np.ones(count)
    if count > 1:
        shares[[0, -1]] = 0.5
    return np.repeat(shares / (shares.sum() * side), side)
