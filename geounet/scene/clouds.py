"""What a scene's quality layer means for its pixels: which are masked, and which are suspect.

All is decided on the layer's own grid and then brought to the scene's, each pixel taking the
nearest. What is decided at a pixel depends on so many pixels around it, known beforehand, and these
are read with every window: windows show nowhere.
"""

import logging
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from pyproj.exceptions import ProjError
from rasterio.windows import Window

from geounet.errors import SceneError
from geounet.scene.grid import overlap, res_in_metres
from geounet.scene.quality import (
    CloudClass,
    Codes,
    QualityLayer,
    open_mask,
    read_own,
    why_useless,
)
from geounet.scene.raster import Handles, one_line
from geounet.scene.remote import without_query
from geounet.windows import mirror_indexes

logger = logging.getLogger(__name__)

MIN_AREA_M2 = 50_000.0
"""Less is 125 pixels of 20 m, or a disc 250 m across, and in doubt a beach, surf or roofs: of the
edge of clear land on Fiji's SCL, 14 % touches what is called cloud, 3 % what is so large."""
MOST_AROUND = 1024
"""Pixels of the quality layer that may be read on each side of a window."""
SLIVER = 2
"""Pixels: clouds up to that wide, between land and water up to that far away, are beach or surf."""
CHUNK = 1024
"""Pixels of the quality layer, along a side, that are worked on at a time."""

CLEAR, SUSPECT, UNKNOWN = 0, 1, 255
"""What `Clouds.suspect` returns."""

_CLOUD: tuple[CloudClass, ...] = (CloudClass.CLOUD_MEDIUM, CloudClass.CLOUD_HIGH)
_EIGHT = np.ones((3, 3), dtype=bool)


@dataclass(frozen=True)
class CloudOptions:
    """What the user says about clouds."""

    mask: bool = False
    """Whether pixels under cloud are no data."""
    cirrus: bool = False
    """Whether cirrus is cloud for the mask."""
    min_area_m2: float = MIN_AREA_M2
    """Clouds smaller than that are left alone."""
    buffer_m: float = 0.0
    """By how much clouds are widened."""
    file: str | None = None
    """A raster to take in the place of the product's own: cloud where it is not 0."""

    def __post_init__(self) -> None:
        for option, value in (
            ("--cloud-min-area", self.min_area_m2),
            ("--cloud-buffer", self.buffer_m),
        ):
            if not (math.isfinite(value) and value >= 0):
                raise SceneError(f"{option} {value} is no size. Give 0 or more.")

    @classmethod
    def from_text(
        cls,
        *,
        mask: bool,
        cirrus: bool,
        min_area: float | None,
        buffer: float | None,
        file: str | None,
    ) -> Self:
        """Return the options as the command line has them; None is: not given.

        Raises:
            SceneError: The mask is described, and not asked for; or a size is none.
        """
        given = {
            "--cloud-cirrus": cirrus,
            "--cloud-min-area": min_area is not None,
            "--cloud-buffer": buffer is not None,
        }
        if not mask and any(given.values()):
            names = ", ".join(name for name, there in given.items() if there)
            raise SceneError(f"{names} has no effect without --mask-clouds. Give that, too.")
        return cls(
            mask=mask,
            cirrus=cirrus,
            min_area_m2=MIN_AREA_M2 if min_area is None else min_area,
            buffer_m=0.0 if buffer is None else buffer,
            file=file,
        )


class Clouds:
    """The clouds of a scene. May be read from several threads at once."""

    def __init__(
        self,
        own: QualityLayer | None,
        options: CloudOptions,
        geobox: GeoBox,
        handles: Handles,
        source: str,
    ) -> None:
        """Take the user's mask, or the product's own layer.

        Args:
            own: What the product has.
            options: What the user says.
            geobox: The scene's grid.
            handles: Where files are opened.
            source: The scene, for messages.

        Raises:
            SceneError: The user's mask is no raster, or clouds are to be masked that nobody knows.
        """
        self.options = options
        self._found = own if options.file is None else open_mask(options.file)
        self._geobox, self._handles, self._source = geobox, handles, source
        self._useless: str | None = None
        self._looked = False
        self._lock = threading.Lock()
        if options.file is not None:
            self._check_place()
        if options.mask:
            self._check_mask()

    def _check_place(self) -> None:
        """Refuse a user's mask that lies elsewhere; where it masks nothing, that is a warning."""
        assert self._found is not None and self._found.geobox is not None  # noqa: PT018
        with self._one_line(self._found.path):
            if overlap(self._geobox, self._found.geobox):
                return
        said = f"{without_query(self._found.path)} lies elsewhere than {self._source}"
        if self.options.mask:
            raise SceneError(
                f"{said}: it masks no cloud there. Correct its CRS and geotransform, give another "
                "by --cloud-mask, or leave out --mask-clouds."
            )
        logger.warning("%s: clouds are not known. Give another by --cloud-mask.", said)

    def _check_mask(self) -> None:
        if self.layer is None:
            raise SceneError(
                f"{self._source} has no layer that says where clouds are"
                + (f" ({self._useless})" if self._useless else "")
                + ". Give one by --cloud-mask FILE, or leave out --mask-clouds."
            )
        smallest, reach = self._sizes()
        if self._around() <= MOST_AROUND:
            return
        assert self.layer.geobox is not None  # without pixels none are around
        width, height = res_in_metres(self.layer.geobox)
        left = MOST_AROUND - SLIVER - reach
        if left > 0:
            said = f"--cloud-min-area {self.options.min_area_m2:g} is {smallest} pixels"
            most = left * width * height
        else:
            said = f"--cloud-buffer {self.options.buffer_m:g} reaches {reach} pixels"
            most = MOST_AROUND // 2 * min(width, height)
        raise SceneError(
            f"{said} of {self.layer.source}, and only {MOST_AROUND} around a window are looked "
            f"at. Give {most:.4g} or less."
        )

    @property
    def layer(self) -> QualityLayer | None:
        """Return where clouds are said; None where they are not, which is warned of once."""
        with self._lock:
            if not self._looked and self._found is not None:
                self._useless = why_useless(self._handles, self._found)
                if self._useless is not None and not self.options.mask:  # that raises, and says it
                    logger.warning("%s: clouds are not known: %s", self._source, self._useless)
            self._looked = True
        return None if self._useless is not None else self._found

    def on(self, geobox: GeoBox) -> "Clouds":
        """Return the same clouds for another grid."""
        return Clouds(
            self.layer, replace(self.options, file=None), geobox, self._handles, self._source
        )

    def classes(self, window: Window) -> Codes:
        """Return what is said of the pixels of a window, (height, width) of `CloudClass`.

        Args:
            window: Of the scene's grid; beyond the scene its pixels are mirrored, as bands are.
        """
        return self._on_scene(window, self._own_classes, 0, CloudClass.UNKNOWN)

    def suspect(self, window: Window) -> NDArray[np.uint8]:
        """Return which pixels lie in cloud of any kind, cirrus too, or next to it.

        Next to it is within a pixel of the quality layer, or, where those of the scene are larger,
        in the same pixel. Nothing is left out: this is a warning.

        Args:
            window: As for `classes`.

        Returns:
            (height, width), `SUSPECT`, `CLEAR`, or `UNKNOWN` where that is not known.
        """
        return self._on_scene(window, self._own_suspect, self._near_px(), UNKNOWN)

    def mask(self, window: Window) -> NDArray[np.bool_]:
        """Return which pixels are masked by cloud, (height, width).

        Args:
            window: As for `classes`.
        """
        _, reach = self._sizes()
        return self._on_scene(window, self._own_mask, reach, 0) != 0

    def describe(self) -> dict[str, Any] | None:
        """Return what masks clouds, as JSON has it; None where nothing does."""
        if not self.options.mask or self.layer is None:
            return None
        options = asdict(self.options)
        return {"source": self.layer.source} | {
            name: options[name] for name in ("cirrus", "min_area_m2", "buffer_m")
        }

    @property
    def or_masked(self) -> str:
        """Return what else than nodata may leave a scene without data, for messages."""
        return " or is masked as cloud" if self.options.mask else ""

    def _sizes(self) -> tuple[int, int]:
        """Return of how many pixels the smallest cloud is, and how many a buffer reaches."""
        if self.layer is None or self.layer.geobox is None:
            return 1, 0
        width, height = res_in_metres(self.layer.geobox)
        smallest = max(1, math.ceil(self.options.min_area_m2 / (width * height) - 1e-6))
        return smallest, math.ceil(self.options.buffer_m / min(width, height) - 1e-6)

    def _around(self) -> int:
        """Return how many pixels around a window decide what is masked in it.

        A cloud of fewer than n pixels lies within n - 1 of each of its own; and from a larger one
        n pixels can be reached within that distance.
        """
        smallest, reach = self._sizes()
        return reach + smallest - 1 + SLIVER

    def _read(self, window: Window, around: int) -> Codes:
        assert self.layer is not None
        return read_own(self._handles, self.layer, _grow(window, around))

    def _own_classes(self, window: Window) -> Codes:
        return self._read(window, 0)

    def _near_px(self) -> int:
        """Return how many pixels around the one in a scene pixel's middle are next to it, or in it.

        So no cloud falls between the middles of large pixels.
        """
        if self.layer is None or self.layer.geobox is None:
            return 1
        ratio = max(res_in_metres(self._geobox)) / min(res_in_metres(self.layer.geobox))
        to_own = ~self.layer.geobox.transform @ self._geobox.transform
        if self._geobox.crs != self.layer.geobox.crs or to_own.b or to_own.d:
            ratio *= math.sqrt(2)  # turned by 45°, its diagonal lies along the other's rows
        return max(1, math.ceil(ratio / 2 - 1e-6))

    def _own_suspect(self, window: Window) -> NDArray[np.uint8]:
        px = self._near_px()
        codes = self._read(window, px)
        cloud = np.isin(codes, (*_CLOUD, CloudClass.CIRRUS))
        near = spread(cloud, px)[px:-px, px:-px]
        unknown = codes[px:-px, px:-px] == CloudClass.UNKNOWN
        return np.where(near, SUSPECT, np.where(unknown, UNKNOWN, CLEAR)).astype(np.uint8)

    def _own_mask(self, window: Window) -> NDArray[np.uint8]:
        assert self.layer is not None
        (smallest, reach), kinds = self._sizes(), _CLOUD
        if self.options.cirrus:
            kinds += (CloudClass.CIRRUS,)
        if not np.isin(self._read(window, reach), kinds).any():
            return np.zeros((int(window.height), int(window.width)), dtype=np.uint8)
        codes = self._read(window, self._around())
        cloud = leave_slivers(codes, np.isin(codes, kinds))[SLIVER:-SLIVER, SLIVER:-SLIVER]
        cloud = leave_small(cloud, smallest)
        if smallest > 1:
            cloud = cloud[smallest - 1 : 1 - smallest, smallest - 1 : 1 - smallest]
        if reach and cloud.any():
            assert self.layer.geobox is not None
            cloud = widen(cloud, self.options.buffer_m, res_in_metres(self.layer.geobox))
        if reach:
            cloud = cloud[reach:-reach, reach:-reach]
        return cloud.astype(np.uint8)

    def _on_scene(
        self,
        window: Window,
        own: Callable[[Window], NDArray[np.uint8]],
        beyond_px: int,
        unknown: int,
    ) -> NDArray[np.uint8]:
        """Bring what `own` says of the layer's pixels to a window of the scene.

        Args:
            window: May reach beyond the scene.
            own: Takes a window of the layer's grid, which may reach beyond the layer.
            beyond_px: Further than that from the layer `own` says the same everywhere.
            unknown: What there is without a layer.
        """
        (top, bottom), (left, right) = window.toranges()
        height, width = self._geobox.shape
        rows, cols = mirror_indexes(top, bottom, height), mirror_indexes(left, right, width)
        if self.layer is None:
            return np.full((len(rows), len(cols)), unknown, dtype=np.uint8)
        if self.layer.geobox is None:
            return own(Window(col_off=0, row_off=0, width=len(cols), height=len(rows)))
        result = np.empty((len(rows), len(cols)), dtype=np.uint8)
        for part in _squares(result.shape, self._chunk()):
            own_rows, own_cols = self._nearest(rows[part[0]], cols[part[1]], beyond_px + 1)
            first = int(own_rows.min()), int(own_cols.min())
            last = int(own_rows.max()), int(own_cols.max())
            needed = Window(
                col_off=first[1],
                row_off=first[0],
                width=last[1] + 1 - first[1],
                height=last[0] + 1 - first[0],
            )
            result[part] = own(needed)[own_rows - first[0], own_cols - first[1]]
        return result

    def _nearest(
        self, rows: NDArray[np.intp], cols: NDArray[np.intp], beyond_px: int
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        assert self.layer is not None and self.layer.geobox is not None  # noqa: PT018
        with self._one_line(self.layer.path):
            return nearest(self._geobox, self.layer.geobox, rows, cols, beyond_px)

    @contextmanager
    def _one_line(self, path: str) -> Iterator[None]:
        """Say what is wrong where a layer cannot be brought to the scene."""
        try:
            yield
        except ProjError as error:
            raise SceneError(
                f"{without_query(path)} cannot be brought to the CRS of {self._source}: "
                f"{one_line(error)}. Check its CRS, or give another by --cloud-mask."
            ) from error

    def _chunk(self) -> int:
        """Return how many of the scene's pixels to do at a time, along a side."""
        assert self.layer is not None and self.layer.geobox is not None  # noqa: PT018
        ratio = max(res_in_metres(self._geobox)) / min(res_in_metres(self.layer.geobox))
        return max(16, min(CHUNK, int(CHUNK / ratio)))


def leave_slivers(codes: Codes, cloud: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Leave out what is thin and lies between land and water: beaches and surf, not cloud.

    Exact but for the outermost two pixels.

    Args:
        codes: What is known of all pixels, (height, width).
        cloud: Those that are cloud.
    """
    thick = spread(~spread(~cloud, 1), 1)
    thin = cloud & ~thick
    if thin.any():
        for kind in (CloudClass.CLEAR_LAND, CloudClass.CLEAR_WATER):
            thin &= spread(codes == kind, SLIVER)
    return cloud & ~thin


def spread(pixels: NDArray[np.bool_], px: int) -> NDArray[np.bool_]:
    """Add all pixels that are up to `px` rows and columns away; (height, width).

    Several times faster than scipy's dilation, of which it is the special case of a square.
    """
    result = pixels
    for axis in (0, 1):
        lines = np.moveaxis(result, axis, 0)
        wider = lines.copy()
        reach = 0
        while reach < px:
            step = min(px - reach, reach + 1)  # no more, or it would leave gaps
            lines = wider.copy()
            wider[step:] |= lines[:-step]
            wider[:-step] |= lines[step:]
            reach += step
        result = np.moveaxis(wider, 0, axis)
    return result


def leave_small(cloud: NDArray[np.bool_], smallest: int) -> NDArray[np.bool_]:
    """Leave out clouds of fewer pixels than `smallest`; those that touch at a corner are one."""
    if smallest <= 1:
        return cloud
    from scipy.ndimage import label  # takes long to import

    labels, count = label(cloud, _EIGHT)
    large = np.bincount(labels.ravel(), minlength=count + 1) >= smallest
    large[0] = False
    kept: NDArray[np.bool_] = large[labels]
    return kept


def widen(
    cloud: NDArray[np.bool_], buffer_m: float, res_m: tuple[float, float]
) -> NDArray[np.bool_]:
    """Add the pixels whose centres are within `buffer_m` of a cloud's.

    Args:
        cloud: (height, width), True somewhere.
        buffer_m: In metres.
        res_m: Size of a pixel (x, y) in metres.
    """
    from scipy.ndimage import distance_transform_edt  # takes long to import

    distance = distance_transform_edt(~cloud, sampling=res_m[::-1])
    # The same distance has several sums of squares, which differ in the last digit.
    near: NDArray[np.bool_] = distance <= buffer_m * (1 + 1e-9)
    return near


def nearest(
    geobox: GeoBox, own: GeoBox, rows: NDArray[np.intp], cols: NDArray[np.intp], beyond_px: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return which pixels of the grid `own` hold the centres of pixels of `geobox`.

    Args:
        geobox: The scene's grid.
        own: The other.
        rows: Which rows of `geobox`, (height,).
        cols: Which columns, (width,).
        beyond_px: Places further than that outside of `own` are brought that near.

    Returns:
        Rows and columns of `own`, that together index it to (height, width).
    """
    same_crs = geobox.crs == own.crs
    to_own = ~own.transform @ geobox.transform if same_crs else None
    if to_own is not None and to_own.b == to_own.d == 0:
        own_cols = to_own.a * (cols[None, :] + 0.5) + to_own.c
        own_rows = to_own.e * (rows[:, None] + 0.5) + to_own.f
    else:
        x, y = geobox.transform @ np.meshgrid(cols + 0.5, rows + 0.5)
        if not same_crs:
            x, y = _transformer(geobox, own).transform(x, y)
        own_cols, own_rows = ~own.transform @ (x, y)
    return _whole(own_rows, own.height, beyond_px), _whole(own_cols, own.width, beyond_px)


def _transformer(geobox: GeoBox, own: GeoBox) -> Transformer:
    assert geobox.crs is not None and own.crs is not None  # noqa: PT018
    return Transformer.from_crs(geobox.crs.proj, own.crs.proj, always_xy=True)


def _whole(positions: NDArray[np.float64], size: int, beyond_px: int) -> NDArray[np.intp]:
    """Return the pixels in which positions along an axis lie."""
    # A centre that falls on an edge belongs to the later pixel, whatever the last digits say.
    known = np.where(np.isfinite(positions), positions, -np.inf)
    inside = np.clip(np.floor(known + 1e-6), -1 - beyond_px, size + beyond_px)
    return inside.astype(np.intp)


def _grow(window: Window, px: int) -> Window:
    return Window(
        col_off=window.col_off - px,
        row_off=window.row_off - px,
        width=window.width + 2 * px,
        height=window.height + 2 * px,
    )


def _squares(shape: tuple[int, ...], side: int) -> Iterator[tuple[slice, slice]]:
    for row in range(0, shape[0], side):
        for col in range(0, shape[1], side):
            yield slice(row, row + side), slice(col, col + side)
