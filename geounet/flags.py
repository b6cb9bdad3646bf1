"""Which stretches of a coastline a cloud may have drawn, and how much of a scene is under cloud.

Lines are cut where that changes, and where their edge becomes blurred or sharp.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import numpy as np
import pyarrow as pa
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from geounet.blur import blurred_between
from geounet.errors import SceneError
from geounet.ragged import Lines
from geounet.scene.clouds import CLEAR, SUSPECT, UNKNOWN, Clouds
from geounet.scene.quality import CloudClass, QualityLayer
from geounet.stitch import BLOCK, open_canvas
from geounet.vertices import roll_rings

logger = logging.getLogger(__name__)

T = TypeVar("T", bound=np.generic)

BLURRED = 256
"""Added to the flag of a stretch whose edge is blurred."""
INWARD = 1e-6
"""Of the way to the next vertex: where a vertex is looked up for what runs there."""
LONG_PX = 1.5
"""No two vertices of a contour are farther apart, in pixels, unless some between are left out."""
CLOUD = (CloudClass.CLOUD_MEDIUM, CloudClass.CLOUD_HIGH, CloudClass.CIRRUS)

NO_CLOUDS = "nothing says where clouds are; --cloud-mask does"
"""Of a scene of which that is not known: `cloud_suspect` is null on its lines."""


class Clouded(Protocol):
    """What clouds may be over: a scene, or a raster of anyone's."""

    source: str
    geobox: GeoBox
    clouds: Clouds

    @property
    def quality(self) -> QualityLayer | None:
        """What says where clouds are, if anything does."""


class FlagWriter:
    """Writes the flag of each pixel, and counts pixels, as the windows of a scene pass by."""

    def __init__(self, scene: Clouded, canvas: Any) -> None:
        self._scene, self._canvas = scene, canvas
        self._masks = scene.clouds.describe() is not None
        self._damaged = False
        self.counts = PixelCounts()

    @classmethod
    @contextmanager
    def open(cls, path: Path, scene: Clouded) -> Iterator[Self]:
        """Open a raster of flags to be written; it is tiled and not compressed."""
        with open_canvas(path, scene.geobox, dtype="uint8", nodata=UNKNOWN) as canvas:
            yield cls(scene, canvas)

    def write(self, window: Window, valid: NDArray[np.bool_]) -> None:
        """Write the flags under a window.

        Args:
            window: Inside the scene.
            valid: (height, width), where the result has data, or would were clouds not masked.

        Raises:
            SceneError: The quality layer is damaged, and clouds are masked by it. Where they are
                only flagged, that is warned of once, and nothing is known there.
        """
        clouds = self._scene.clouds
        try:
            flags, classes = clouds.suspect(window), clouds.classes(window)[valid]
        except SceneError as error:
            if self._masks:
                raise
            if not self._damaged:
                logger.warning("%s: clouds are not known everywhere: %s", self._scene.source, error)
            self._damaged = True
            flags = np.full(valid.shape, UNKNOWN, dtype=np.uint8)
            classes = np.full(np.count_nonzero(valid), CloudClass.UNKNOWN, dtype=np.uint8)
        self._canvas.write(flags, 1, window=window)
        self.counts.valid += classes.size
        self.counts.known += int(np.count_nonzero(classes != CloudClass.UNKNOWN))
        self.counts.cloud += int(np.isin(classes, CLOUD).sum())
        self.counts.cirrus += int(np.count_nonzero(classes == CloudClass.CIRRUS))
        if self._masks:
            self.counts.masked += int(np.count_nonzero(clouds.mask(window)[valid]))


@dataclass
class PixelCounts:
    """Pixels of a scene."""

    valid: int = 0
    """Of the result, those with data, or that would have it but for the mask."""
    known: int = 0
    """Of these, those of which the quality layer says something."""
    cloud: int = 0
    """Of these, under cloud of any kind, cirrus too."""
    cirrus: int = 0
    """Of these, under cirrus."""
    masked: int = 0
    """Of the valid ones, masked."""


@dataclass
class CoastFlags:
    """Splits lines where they go under cloud or become blurred, and adds up lengths."""

    path: Path | None
    """Raster of flags; None where nothing is known."""
    known_m: float = 0.0
    suspect_m: float = 0.0

    def split(self, lines: Lines, wide_m: float | None) -> tuple[Lines, NDArray[np.uint8]]:
        """Cut lines where their flag changes, and where they become blurred or sharp.

        Args:
            lines: With widths.
            wide_m: Width from which an edge counts as blurred, metres; None where nothing is known
                of edges.

        Returns:
            The pieces, in the order of the lines and along each; and the flag of each.
        """
        blurred, changes = (None, False) if wide_m is None else blurred_between(lines, wide_m)
        if not len(lines) or (self.path is None and not changes):
            return lines, np.full(len(lines), UNKNOWN, dtype=np.uint8)
        kinds = np.full(len(lines.points) - 1, UNKNOWN, dtype=np.uint16)
        if self.path is not None:
            with rasterio.open(self.path) as src:
                line = np.repeat(np.arange(len(lines)), np.diff(lines.offsets))
                kinds[:] = flags_between(src, lines.points[:, :2], line)
        if blurred is not None:
            kinds += blurred * np.uint16(BLURRED)
        pieces, kinds = split_lines(lines, kinds)
        return pieces, (kinds % BLURRED).astype(np.uint8)

    def count(self, lengths_m: NDArray[np.float64], flags: NDArray[np.uint8]) -> None:
        """Add up pieces, (pieces,) each."""
        self.known_m += float(lengths_m[flags != UNKNOWN].sum())
        self.suspect_m += float(lengths_m[flags == SUSPECT].sum())


def flag_column(flags: NDArray[np.uint8]) -> pa.Array:
    """Return flags as features have them: true, false, or null where it is not known."""
    return pa.array(flags == SUSPECT, pa.bool_(), mask=flags == UNKNOWN)


def flags_between(
    src: rasterio.DatasetReader,
    points: NDArray[np.float64],
    line: NDArray[np.intp] | None = None,
) -> NDArray[np.uint8]:
    """Return the flag between each vertex and the next, whether of one line or not.

    It is suspect if one of the two is, and else unknown if one of them is; of a stretch longer than
    `LONG_PX`, where vertices were left out, that goes for places in between, too. A vertex may lie
    on the edge between two pixels, where a line that ends at nodata does: which of them counts is
    for each stretch the one that it runs in.

    Args:
        src: The raster of flags.
        points: (n, 2), (col, row) from its outer corner.
        line: (n,), which line each is of; None if all are of one.

    Returns:
        (n - 1,).
    """
    inward = (points[1:] - points[:-1]) * INWARD
    count = len(inward)
    of_one = np.ones(count, dtype=bool) if line is None else line[1:] == line[:-1]
    between, stretch = _places_between(points, of_one)
    stretch = np.concatenate([np.arange(count), np.arange(count), stretch])
    flags = flags_at(src, np.concatenate([points[:-1] + inward, points[1:] - inward, between]))
    suspect, unknown = (
        np.bincount(stretch[flags == kind], minlength=count) > 0 for kind in (SUSPECT, UNKNOWN)
    )
    return np.where(suspect, SUSPECT, np.where(unknown, UNKNOWN, CLEAR)).astype(np.uint8)


def _places_between(
    points: NDArray[np.float64], of_one: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return places a pixel apart at most along long stretches, (n, 2), and the stretch of each.

    `of_one` says of which stretches both ends are of one line: others are no stretches at all.
    """
    steps = points[1:] - points[:-1]
    length = np.sqrt((steps**2).sum(axis=1))
    parts = np.where(of_one & (length > LONG_PX), np.ceil(length), 1).astype(np.intp)
    stretch = np.repeat(np.arange(len(steps)), parts - 1)
    ends = np.cumsum(parts - 1)
    number = np.arange(len(stretch)) - np.repeat(ends - (parts - 1), parts - 1) + 1
    return points[:-1][stretch] + steps[stretch] * (number / parts[stretch])[:, None], stretch


def flags_at(src: rasterio.DatasetReader, points: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return the values of the pixels that points lie in, block by block.

    Args:
        src: The raster.
        points: (n, 2), (col, row) from its outer corner; on its outer edge counts as inside.
    """
    cols, rows = (
        np.clip(np.floor(along).astype(np.intp), 0, size - 1)
        for along, size in zip(points.T, (src.width, src.height), strict=True)
    )
    block = rows // BLOCK * (-(-src.width // BLOCK)) + cols // BLOCK
    order = np.argsort(block, kind="stable")
    flags = np.empty(len(points), dtype=np.uint8)
    for members in np.split(order, np.flatnonzero(np.diff(block[order])) + 1):
        if not members.size:
            continue
        top, left = rows[members[0]] // BLOCK * BLOCK, cols[members[0]] // BLOCK * BLOCK
        values = src.read(
            1,
            window=Window(
                col_off=int(left),
                row_off=int(top),
                width=min(BLOCK, src.width - int(left)),
                height=min(BLOCK, src.height - int(top)),
            ),
        )
        flags[members] = values[rows[members] - top, cols[members] - left]
    return flags


def split_lines(lines: Lines, between: NDArray[T]) -> tuple[Lines, NDArray[T]]:
    """Cut lines at vertices so that each piece is of one kind.

    Pieces keep the direction; a ring that changes its kind is cut where that happens, not where it
    starts, and one that does not stays as it is.

    Args:
        lines: Of two vertices or more each.
        between: The kind between each of their vertices and the next, one line after another, as
            `flags_between` gives it.

    Returns:
        Pieces in the order of the lines and along each, and the kind of each.
    """
    line = np.repeat(np.arange(len(lines)), np.diff(lines.offsets))
    order = _from_first_change(lines, line, between)
    starts = np.flatnonzero(line[1:] == line[:-1])  # of segments
    kind, owner = between[order[starts]], line[starts]
    begins = np.ones(len(starts), dtype=bool)
    begins[1:] = (owner[1:] != owner[:-1]) | (kind[1:] != kind[:-1])
    first = np.flatnonzero(begins)
    ends = np.append(first[1:], len(starts))
    vertices = np.insert(starts, ends, starts[ends - 1] + 1)
    offsets = np.append(first + np.arange(len(first)), len(vertices))
    return Lines(lines.points[order[vertices]], offsets.astype(np.int64)), kind[first]


def _from_first_change(
    lines: Lines, line: NDArray[np.intp], between: NDArray[Any]
) -> NDArray[np.intp]:
    """Return in which order to take vertices so that rings start where their kind changes."""
    order = np.arange(len(line))
    in_ring = np.flatnonzero(lines.closed[line])
    if not in_ring.size:
        return order
    ring = np.unique(line[in_ring], return_inverse=True)[1]
    offsets = np.searchsorted(ring, np.arange(ring[-1] + 2))
    before = np.empty(len(in_ring), dtype=between.dtype)
    before[1:] = between[in_ring[1:] - 1]
    before[offsets[:-1]] = between[in_ring[offsets[1:] - 1] - 1]  # what closes the ring
    after = between[np.minimum(in_ring, len(between) - 1)]
    changes = before != after
    changes[offsets[1:] - 1] = False  # the closing vertices are the first ones again
    where = np.flatnonzero(changes)
    which, firsts = np.unique(ring[where], return_index=True)
    first = np.zeros(len(offsets) - 1, dtype=np.int64)
    first[which] = where[firsts] - offsets[which]
    order[in_ring] = in_ring[roll_rings(offsets.astype(np.int64), first)]
    return order


def describe_clouds(scene: Clouded, pixels: PixelCounts, coast: CoastFlags) -> dict[str, Any]:
    """Return how much is under cloud, as the record of a result has it; null is not known."""
    masked = scene.clouds.describe()
    if masked is not None:
        masked["share_of_scene"] = _share(pixels.masked, pixels.valid)
    return {
        "source": None if scene.quality is None else scene.quality.source,
        "share_of_scene": _share(pixels.cloud, pixels.known),
        "cirrus_share_of_scene": _share(pixels.cirrus, pixels.known),
        "share_of_coast": _share(coast.suspect_m, coast.known_m),
        "masked": masked,
    }


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def cloud_note(clouds: dict[str, Any]) -> str | None:
    """Return what to say of clouds; None where there are none, or nothing is known."""
    scene, coast, masked = clouds["share_of_scene"], clouds["share_of_coast"], clouds["masked"]
    cirrus = clouds["cirrus_share_of_scene"] or 0
    if masked and scene is None:
        return f"{clouds['source']} knows nothing of any pixel, so nothing is masked as cloud"
    if not scene and not coast:
        return None
    said = f"{scene or 0:.2%} of the scene is under cloud by its {clouds['source']}"
    if coast:
        said += f", and {coast:.1%} of the coastline's length is near one: cloud_suspect there"
    if masked:
        said += f"; {masked['share_of_scene'] or 0:.2%} is masked"
    if cirrus > (scene or 0) / 2 and not (masked and masked["cirrus"]):
        said += f"; {cirrus:.2%} is cirrus"
        said += ", which --cloud-cirrus masks too" if masked else ""
    return said


def earlier_clouds_note(record: Mapping[str, Any]) -> str:
    """Return what to say of clouds over a raster of ours that is drawn again without a mask.

    Args:
        record: Of the result that the raster is of.
    """
    clouds = record.get("clouds")
    if not isinstance(clouds, dict) or not clouds.get("source"):
        return NO_CLOUDS
    said = [
        f"{clouds[key]:.1%} of the {what}"
        for key, what in (("share_of_scene", "scene under"), ("share_of_coast", "coast near"))
        if isinstance(clouds.get(key), float)
    ]
    had = f", which had {' and '.join(said)} cloud" if said else ""
    return (
        f"clouds are not looked at again, and cloud_suspect is not known; they were in the result "
        f"that the raster is of{had} by {clouds['source']}: give that as --cloud-mask"
    )
