"""Lines and areas as well-known binary, which all vector formats are made of."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from geounet.compiled import compiled, compiled_to_run_beside
from geounet.ragged import Areas, Lines, Offsets, Points

LINE_STRING, POLYGON = 2, 3
"""Of the OGC's types of geometries."""
_POINT_BYTES = 16


def lines_as_wkb(lines: Lines, places: Points, *, backwards: bool) -> pa.Array:
    """Return lines as LineStrings.

    Args:
        lines: Their offsets count.
        places: (n, 2), (x, y) of their vertices.
        backwards: Whether they are to run the other way.
    """
    return _binary(*_encode_lines(_bytes_of(places), lines.offsets, backwards))


def areas_as_wkb(areas: Areas, places: Points, *, backwards: bool) -> pa.Array:
    """Return areas as Polygons; the arguments are those of `lines_as_wkb`."""
    return _binary(*_encode_areas(_bytes_of(places), areas.rings, areas.offsets, backwards))


def _bytes_of(places: Points) -> NDArray[np.uint8]:
    """Return (n, 16), little-endian."""
    flat = np.ascontiguousarray(places, dtype="<f8").view(np.uint8)
    return flat.reshape(-1, _POINT_BYTES)


def _binary(content: NDArray[np.uint8], ends: Offsets) -> pa.Array:
    """Return what lies between ends as an array of binaries."""
    buffers = [None, pa.py_buffer(ends.astype(np.int32)), pa.py_buffer(content)]
    if len(content) >= 2**31:
        raise ValueError(f"{len(content)} bytes of shapes are too many for one table")
    return pa.Array.from_buffers(pa.binary(), len(ends) - 1, buffers)


@compiled
def _write_number(content: NDArray[np.uint8], at: int, number: int) -> int:
    """Write four bytes, little-endian, and return where they end."""
    for _ in range(4):
        content[at] = number & 255
        number >>= 8
        at += 1
    return at


@compiled
def _write_points(
    content: NDArray[np.uint8],
    at: int,
    places: NDArray[np.uint8],
    start: int,
    stop: int,
    backwards: bool,
) -> int:
    """Write a count and that many points, and return where they end."""
    at = _write_number(content, at, stop - start)
    if not backwards:
        size = (stop - start) * _POINT_BYTES
        content[at : at + size] = places[start:stop].reshape(size)
        return at + size
    for i in range(stop - 1, start - 1, -1):
        content[at : at + _POINT_BYTES] = places[i]
        at += _POINT_BYTES
    return at


@compiled_to_run_beside
def _encode_lines(
    places: NDArray[np.uint8], offsets: Offsets, backwards: bool
) -> tuple[NDArray[np.uint8], Offsets]:
    count = len(offsets) - 1
    content = np.empty(9 * count + _POINT_BYTES * len(places), dtype=np.uint8)
    ends = np.zeros(count + 1, dtype=np.int64)
    at = 0
    for line in range(count):
        content[at] = 1  # little-endian
        at = _write_number(content, at + 1, LINE_STRING)
        at = _write_points(content, at, places, offsets[line], offsets[line + 1], backwards)
        ends[line + 1] = at
    return content, ends


@compiled_to_run_beside
def _encode_areas(
    places: NDArray[np.uint8], rings: Offsets, offsets: Offsets, backwards: bool
) -> tuple[NDArray[np.uint8], Offsets]:
    count = len(offsets) - 1
    size = 9 * count + 4 * (len(rings) - 1) + _POINT_BYTES * len(places)
    content = np.empty(size, dtype=np.uint8)
    ends = np.zeros(count + 1, dtype=np.int64)
    at = 0
    for area in range(count):
        content[at] = 1  # little-endian
        at = _write_number(content, at + 1, POLYGON)
        at = _write_number(content, at, offsets[area + 1] - offsets[area])
        for ring in range(offsets[area], offsets[area + 1]):
            at = _write_points(content, at, places, rings[ring], rings[ring + 1], backwards)
        ends[area + 1] = at
    return content, ends
