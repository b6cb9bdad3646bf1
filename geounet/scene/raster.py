"""Reading pixels of raster files: handles by thread, other grids, windows beyond the edge."""

import math
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio._err import CPLE_BaseError  # what WarpedVRT and damaged headers raise
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from geounet.allocation import give_back
from geounet.bands import Band
from geounet.errors import SceneError, UnrecognisedError
from geounet.patience import StalledReadError, abandon, read_in_time
from geounet.scene.grid import COARSEST, coarseness, crs_wkt, res_in_metres, same_grid
from geounet.scene.reflectance import LayerScaling
from geounet.scene.remote import gdal_settings, is_remote, read_again, why_not_read
from geounet.windows import mirror_indexes

T = TypeVar("T")

CACHE_BYTES = 256 * 2**20
"""GDAL's cache of decoded blocks. Its own default, 5 % of the machine's memory, would let the
memory of a command depend on the machine."""
LEAST_CACHE = 100_000
"""Below it GDAL takes the size of its cache for a number of MiB."""
WARP_TOLERANCE = 1e-6
"""Pixels by which positions may be off on another grid. GDAL's own default of an eighth of a pixel
would be a metre of coastline; it takes no 0."""


@contextmanager
def gdal_environment(cache: int = CACHE_BYTES) -> Iterator[None]:
    """Set GDAL up for streaming through scenes; the one place where that is done.

    Args:
        cache: Bytes of decoded blocks that it may keep, of all files together.
    """
    if cache < LEAST_CACHE:
        raise ValueError(f"GDAL takes {cache} for MiB, not bytes")
    with rasterio.Env(
        GDAL_CACHEMAX=cache,
        # Files beside a raster (.aux.xml, .ovr, .msk) are asked for by name. Listing the folder
        # instead costs as much as it has files, for each of them again, and chips are many.
        GDAL_DISABLE_READDIR_ON_OPEN=True,
        # Where threads of its own decode JPEG 2000, GDAL 3.10 gives whatever lies in memory for a
        # damaged block, and no error. Readers have threads already.
        GDAL_NUM_THREADS=1,
        # It would note the size of a .tar.gz in a file beside it.
        CPL_VSIL_GZIP_WRITE_PROPERTIES=False,
        **gdal_settings(),
    ):
        yield


def forget_blocks() -> None:
    """Have GDAL let go of all decoded blocks, and give the system what they took."""
    with rasterio.Env(GDAL_CACHEMAX=LEAST_CACHE):
        pass
    give_back()


class Pixels(NamedTuple):
    """Values under a window, and which of them are data."""

    values: NDArray[Any]
    """(bands, height, width)."""
    valid: NDArray[np.bool_]
    """(height, width), True where every band has data."""


Mask = Literal["alpha", "file", "band"]
"""An alpha band, a mask of the whole file, or one of each band."""


@dataclass(frozen=True)
class Layer:
    """One band of a scene, and where it lies."""

    band: Band
    path: str
    """What GDAL opens."""
    index: int
    """In that file, from 1."""
    dtype: str
    nodata: float | None
    """NaN and infinity are nodata of every float file besides."""
    mask: Mask | None
    """What else says which pixels are data; None where nothing."""
    placed: bool
    """Whether the file has a geotransform of its own."""
    scaling: LayerScaling
    geobox: GeoBox
    """Its own grid; the layers of a scene may differ in resolution, place, extent and CRS."""
    blocksize: tuple[int, int]
    """(rows, cols) of the file's blocks."""

    def dtype_on(self, geobox: GeoBox) -> str:
        """Return the dtype of what is read on a grid: between pixels there are no integers."""
        return self.dtype if same_grid(self.geobox, geobox) else "float32"


class Handles:
    """Open files, for each thread its own: GDAL's are not to be shared."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._open: list[tuple[str, Any]] = []
        self._lock = threading.Lock()
        self._closed = False

    def get(self, path: str, *, placed: bool) -> rasterio.DatasetReader:
        """Return this thread's handle of a file, opened at first use.

        Args:
            path: What GDAL opens.
            placed: Whether the file is known to have a geotransform.

        Raises:
            SceneError: The file is not there or not a raster.
            ValueError: The handles are closed.
        """
        key = path, None, None
        return self._mine(path, key, lambda: open_raster(path, placed=placed))

    def get_warped(self, layer: Layer, geobox: GeoBox, resampling: Resampling) -> WarpedVRT:
        """Return this thread's view of a layer's file on another grid, opened at first use.

        Between pixels the view interpolates float32 values, or takes the nearest as it is. Only
        what a window needs is read, at the file's own resolution.

        Args:
            layer: Of the file; its nodata counts for all bands.
            geobox: The grid.
            resampling: `bilinear`, or `nearest` to see where there is data.

        Raises:
            SceneError: The file is not there, not a raster, or cannot be brought to that grid.
            ValueError: The handles are closed.
        """
        source = self.get(layer.path, placed=layer.placed)
        grid = *geobox.shape, geobox.transform, str(geobox.crs)
        key = layer.path, grid, resampling, str(layer.nodata)  # as text, NaN is itself
        return self._mine(layer.path, key, lambda: _warped(source, layer, geobox, resampling))

    def _mine(self, path: str, key: Any, opener: Callable[[], Any]) -> Any:
        if self._closed:
            raise ValueError(f"{path} is read after its scene was closed")
        mine: dict[Any, Any] = self._local.__dict__.setdefault("handles", {})
        if key not in mine:
            dataset = opener()
            with self._lock:
                self._open.append((path, dataset))
            mine[key] = dataset
        return mine[key]

    def close(self) -> None:
        """Close the files of all threads."""
        with self._lock:
            self._closed = True
            while self._open:
                path, dataset = self._open.pop()
                if path in _stalled:
                    abandon(dataset)
                else:
                    dataset.close()


_DRIVER_PREFIX = re.compile(r"/vsi|[A-Za-z][A-Za-z0-9_+-]+:")
"""How names begin that GDAL opens and that are no files: `/vsizip/`, `https:`, `NETCDF:`."""
_opening = threading.Lock()
"""`warnings.catch_warnings` is for one thread at a time."""


def open_raster(path: str | Path, *, placed: bool = False) -> rasterio.DatasetReader:
    """Open a file of any format that GDAL knows, whatever its name ends in.

    Args:
        path: What GDAL opens.
        placed: Whether the file is known to have a geotransform. Threads then open theirs at the
            same time.

    Raises:
        SceneError: It is not there, not a raster, or damaged.
    """
    path = str(path)
    if not _DRIVER_PREFIX.match(path) and not is_there(path):
        raise SceneError(f"{path} is not there. Check the path.")
    # Over a network a sidecar is a request, and what comes as a scene has none.
    alone = rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR")
    try:
        if placed:
            with alone if is_remote(path) else nullcontext():
                dataset = read_again(lambda: _open(path), path)
        else:
            with (
                alone if is_remote(path) else nullcontext(),
                _opening,
                warnings.catch_warnings(),
            ):
                # Whether a grid is missing is found out, and said, by who needs it.
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                dataset = read_again(lambda: _open(path), path)
    except (RasterioError, CPLE_BaseError, UnicodeDecodeError) as error:
        if is_remote(path):
            raise SceneError(why_not_read(path, error)) from error
        if "not recognized" in str(error):
            raise UnrecognisedError(
                f"{path} is not a raster that GDAL can read. "
                "Give a GeoTIFF, a JPEG 2000 file, a VRT, or a folder of such files."
            ) from error
        raise SceneError(
            f"{path} cannot be opened: {one_line(error)}. Download or make it again."
        ) from error
    if dataset.count == 0:
        parts = dataset.subdatasets
        dataset.close()
        raise SceneError(
            f"{path} holds no bands of its own, but {len(parts)} datasets"
            + (f"; give one of them, for instance {parts[0]}." if parts else ".")
        )
    return dataset


_TOLD = ("mask_flag_enums", "descriptions", "scales", "offsets", "nodatavals", "colorinterp")
"""The last is one that looks for errors, and so finds those that others have left behind."""


def _open(path: str) -> rasterio.DatasetReader:
    dataset = rasterio.open(path)
    for name in _TOLD:
        getattr(dataset, name)  # what a damaged header raises, it raises here and not later
    return dataset


def is_there(path: str) -> bool:
    """Return whether there is a file or folder; no, where it cannot be, its name being too long."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def one_line(error: BaseException) -> str:
    """Return what an error says as one line without its full stop."""
    return " ".join(str(error).split()).rstrip(".")


def alpha_index(dataset: rasterio.DatasetReader) -> int | None:
    """Return the index, from 1, of the band that is the file's alpha mask."""
    meanings = dataset.colorinterp
    return meanings.index(ColorInterp.alpha) + 1 if ColorInterp.alpha in meanings else None


def mask_of(dataset: rasterio.DatasetReader, index: int) -> Mask | None:
    """Return what, besides its nodata value, says which pixels of a band are data."""
    if alpha_index(dataset):
        return "alpha"
    flags = dataset.mask_flag_enums[index - 1]
    if MaskFlags.per_dataset in flags:
        return "file"
    return None if MaskFlags.nodata in flags or MaskFlags.all_valid in flags else "band"


def read_layers(
    handles: Handles, layers: Sequence[Layer], geobox: GeoBox, window: Window
) -> Pixels:
    """Read layers on one grid, mirrored beyond its edge.

    Layers of another grid than that are interpolated bilinearly; a pixel has data where the
    layer's nearest pixel has.

    Args:
        handles: Where the files are opened.
        layers: What to read; those of one file are read in one call, because pixel-interleaved
            files are decoded for all bands at once.
        geobox: The grid.
        window: What to read, in whole pixels of the grid; may reach beyond it.

    Returns:
        Digital numbers as they are in the files, float32 where interpolated, (bands, height,
        width), and where all are data.

    Raises:
        SceneError: A file is damaged under the window.
        ValueError: The window is empty or not of whole pixels, or there are no layers.
    """
    if not layers:
        raise ValueError("no bands are asked for")
    rows, cols = _whole_spans(window)
    inside_rows, pick_rows = _inside(*rows, geobox.height)
    inside_cols, pick_cols = _inside(*cols, geobox.width)
    inner = Window.from_slices(inside_rows, inside_cols)
    files: dict[tuple[str, bool, str], list[int]] = {}
    for position, layer in enumerate(layers):
        in_place = same_grid(layer.geobox, geobox)
        # A view on another grid knows one nodata only; as text, NaN is itself.
        key = layer.path, in_place, "" if in_place else str(layer.nodata)
        files.setdefault(key, []).append(position)
    values: NDArray[Any] | None = None
    valid: NDArray[np.bool_] | None = None
    for (_, in_place, _), positions in files.items():
        wanted = [layers[i] for i in positions]
        part, good = (
            _read_in_place(handles, wanted, inner)
            if in_place
            else _read_warped(handles, wanted, geobox, inner)
        )
        valid = good if valid is None else valid & good
        if len(files) == 1:
            values = part
        else:
            if values is None:
                dtype = np.result_type(*(layer.dtype_on(geobox) for layer in layers))
                values = np.empty((len(layers), *part.shape[1:]), dtype=dtype)
            values[positions] = part
    assert values is not None
    assert valid is not None
    if pick_rows is not None:
        values, valid = values[:, pick_rows], valid[pick_rows]
    if pick_cols is not None:
        values, valid = values[:, :, pick_cols], valid[:, pick_cols]
    return Pixels(values, valid)


def _whole_spans(window: Window) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return (start, stop) of rows and columns."""
    numbers = (window.row_off, window.height, window.col_off, window.width)
    row, height, col, width = (round(number) for number in numbers)
    if (row, height, col, width) != numbers or height <= 0 or width <= 0:
        raise ValueError(f"{window} is empty or not of whole pixels")
    return (row, row + height), (col, col + width)


def _read_in_place(
    handles: Handles, layers: Sequence[Layer], window: Window
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Read layers of one file as they are."""
    dataset = handles.get(layers[0].path, placed=layers[0].placed)

    def read() -> tuple[NDArray[Any], NDArray[np.bool_]]:
        dn = dataset.read([layer.index for layer in layers], window=window)
        return dn, _valid(dataset, layers, dn, window)

    return read_or_say(layers[0].path, window, read)


def _read_warped(
    handles: Handles, layers: Sequence[Layer], geobox: GeoBox, window: Window
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Read layers of one file between their pixels."""
    first, indexes = layers[0], [layer.index for layer in layers]
    view = handles.get_warped(first, geobox, Resampling.bilinear)

    def read() -> tuple[NDArray[Any], NDArray[np.bool_]]:
        values = view.read(indexes, window=window)
        found = np.isfinite(values)
        spread = np.dtype(first.dtype).kind == "f" and not found.all()
        if view.count > 1 or spread:
            # GDAL is sterner with files of one band: there a pixel needs data at its nearest. And
            # what is no number spreads to all that is made of it, where nodata is left out.
            view_of_nearest = handles.get_warped(first, geobox, Resampling.nearest)
            nearest = view_of_nearest.read(indexes, window=window)
            np.copyto(values, nearest, where=~found)
            found = np.isfinite(nearest)
        return values, found.all(axis=0)

    return read_or_say(first.path, window, read)


def _warped(
    source: rasterio.DatasetReader, layer: Layer, geobox: GeoBox, resampling: Resampling
) -> WarpedVRT:
    if (times := coarseness(layer.geobox, geobox)) > COARSEST:
        raise SceneError(
            f"{layer.path} has pixels {times:.3g} times smaller than those asked for: more than "
            f"{COARSEST} on a side are too many to be read for one. Give a smaller --res, or leave "
            "the band out with --bands."
        )
    sides = zip(res_in_metres(layer.geobox), res_in_metres(geobox), strict=True)
    # How much of the source a pixel is made of. GDAL would find it window by window, each time a
    # little different.
    scales = dict(zip(("XSCALE", "YSCALE"), (str(min(1.0, a / b)) for a, b in sides), strict=True))
    try:
        return WarpedVRT(
            source,
            src_crs=crs_wkt(layer.geobox),
            src_transform=layer.geobox.transform,
            crs=crs_wkt(geobox),
            transform=geobox.transform,
            width=geobox.width,
            height=geobox.height,
            resampling=resampling,
            tolerance=WARP_TOLERANCE,
            src_nodata=math.nan if layer.nodata is None else layer.nodata,
            nodata=math.nan,
            dtype="float32",
            UNIFIED_SRC_NODATA="NO",  # one band's nodata is not the others'
            **scales,
        )
    except (RasterioError, CPLE_BaseError) as error:
        raise SceneError(
            f"{layer.path} cannot be brought to the grid of the other bands: {one_line(error)}. "
            "Check its CRS and geotransform, or leave it out."
        ) from error


def read_or_say(path: str, window: Window, read: Callable[[], T]) -> T:
    """Return what `read` reads of a file, over a network with a second try.

    Args:
        path: Of the file.
        window: What it reads, for the message.
        read: Reads it with GDAL.

    Raises:
        SceneError: It cannot be read there.
    """

    def join_and_read() -> T:
        rasterio.Env().__enter__()  # what GDAL says in this thread is logged as elsewhere
        return read()

    (top, bottom), (left, right) = window.toranges()
    place = f"{path} cannot be read at rows {top}–{bottom}, columns {left}–{right}"
    try:
        # A network has limits of its own, of how long nothing may come.
        return read_again(read, path) if is_remote(path) else read_in_time(join_and_read)
    except StalledReadError as error:
        _stalled.add(path)
        raise SceneError(
            f"{place}: {error}. Check its drive, or give predict a longer --read-timeout."
        ) from error
    except RasterioError as error:
        said = error.__cause__ or error
        if is_remote(path):
            raise SceneError(why_not_read(path, said)) from error
        raise SceneError(
            f"{place}: it is damaged or incomplete ({one_line(said)}). Download or make it again."
        ) from error


_stalled: set[str] = set()
"""Files that a thread is stuck in."""


def _inside(start: int, stop: int, size: int) -> tuple[tuple[int, int], NDArray[np.intp] | None]:
    """Return what to read of an axis, and where each position lies in it; None if in order."""
    if start >= 0 and stop <= size:
        return (start, stop), None
    positions = mirror_indexes(start, stop, size)
    first = int(positions.min())
    return (first, int(positions.max()) + 1), positions - first


def _valid(
    dataset: rasterio.DatasetReader, layers: Sequence[Layer], dn: NDArray[Any], window: Window
) -> NDArray[np.bool_]:
    """Return where all layers are data, (height, width)."""
    valid = np.ones(dn.shape[1:], dtype=np.bool_)
    for layer, band in zip(layers, dn, strict=True):
        # Comparing is several times faster than GDAL's masks, which read every band again.
        if (nodata := nodata_in(band.dtype, layer.nodata)) is not None:
            valid &= band != nodata
        if band.dtype.kind in "fc":
            valid &= np.isfinite(band)
    masks = {layer.mask for layer in layers}
    if "alpha" in masks:
        valid &= dataset.read(alpha_index(dataset), window=window) != 0
    if "file" in masks:
        valid &= dataset.read_masks(layers[0].index, window=window) != 0
    if masked := [layer.index for layer in layers if layer.mask == "band"]:
        valid &= (dataset.read_masks(masked, window=window) != 0).all(axis=0)
    return valid


def nodata_in(dtype: np.dtype[Any], nodata: float | None) -> Any:
    """Return nodata as a value of `dtype`, or None where no pixel can have it.

    A float32 file holds the nearest float32 to the nodata that its header has as text.
    """
    if nodata is None or not math.isfinite(nodata):
        return None  # what is not finite is invalid anyway
    if dtype.kind in "fc":
        with np.errstate(over="ignore"):
            return dtype.type(nodata)
    limits = np.iinfo(dtype)
    if nodata != int(nodata) or not limits.min <= nodata <= limits.max:
        return None
    return dtype.type(int(nodata))
