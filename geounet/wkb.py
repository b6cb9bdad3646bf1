"""Lines and areas as well-known binary, which all vector formats are made of."""

import numpy as np
import pyarrow as pa
from affine import Affine
from numpy.typing import NDArray

from geounet.compiled import compiled, compiled_to_run_beside
from geounet.ragged import Areas, Lines, Offsets, Points

LINE_STRING, POLYGON = 2, 3
"""Of the OGC's types of geometries."""
_POINT_BYTES = 16
_PLACED_TOGETHER = 512
"""Vertices whose places are computed before they are written: of an area that spans a scene, all of
them are a second copy of it."""

_Transform = tuple[float, float, float, float, float, float]


def lines_as_wkb(lines: Lines, transform: Affine, *, backwards: bool) -> pa.Array:
    """Return lines as LineStrings.

    Args:
        lines: In pixels.
        transform: Takes (col, row) to (x, y).
        backwards: Whether they are to run the other way.
    """
    return _binary(*_encode_lines(lines.points, lines.offsets, _numbers(transform), backwards))


def areas_as_wkb(areas: Areas, transform: Affine, *, backwards: bool) -> pa.Array:
    """Return areas as Polygons; the arguments are those of `lines_as_wkb`."""
    transform_ = _numbers(transform)
    return _binary(*_encode_areas(areas.points, areas.rings, areas.offsets, transform_, backwards))


def _numbers(transform: Affine) -> _Transform:
    a, b, c, d, e, f, *_ = map(float, transform)
    return a, b, c, d, e, f


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
    points: Points,
    start: int,
    stop: int,
    transform: _Transform,
    backwards: bool,
    places: NDArray[np.float64],
) -> int:
    """Write a count and that many points, and return where they end.

    Args:
        content: Where to.
        at: From which byte on.
        points: (n, 2 or 3), (col, row, …).
        start: The first of them.
        stop: The one after the last.
        transform: Takes (col, row) to (x, y).
        backwards: Whether the last is to come first.
        places: For some (x, y) on their way; numba runs on little-endian machines alone.
    """
    a, b, c, d, e, f = transform
    raw = places.view(np.uint8)
    at = _write_number(content, at, stop - start)
    first, step = (stop - 1, -1) if backwards else (start, 1)
    left = stop - start
    while left > 0:
        count = min(left, _PLACED_TOGETHER)
        for i in range(count):
            col, row = points[first + i * step, 0], points[first + i * step, 1]
            places[2 * i] = a * col + b * row + c
            places[2 * i + 1] = d * col + e * row + f
        size = count * _POINT_BYTES
        content[at : at + size] = raw[:size]
        at += size
        first += count * step
        left -= count
    return at


@compiled_to_run_beside
def _encode_lines(
    points: Points, offsets: Offsets, transform: _Transform, backwards: bool
) -> tuple[NDArray[np.uint8], Offsets]:
    count = len(offsets) - 1
    content = np.empty(9 * count + _POINT_BYTES * len(points), dtype=np.uint8)
    places = np.empty(2 * _PLACED_TOGETHER)
    ends = np.zeros(count + 1, dtype=np.int64)
    at = 0
    for line in range(count):
        content[at] = 1  # little-endian
        at = _write_number(content, at + 1, LINE_STRING)
        start, stop = offsets[line], offsets[line + 1]
        at = _write_points(content, at, points, start, stop, transform, backwards, places)
        ends[line + 1] = at
    return content, ends


@compiled_to_run_beside
def _encode_areas(
    points: Points, rings: Offsets, offsets: Offsets, transform: _Transform, backwards: bool
) -> tuple[NDArray[np.uint8], Offsets]:
    count = len(offsets) - 1
    size = 9 * count + 4 * (len(rings) - 1) + _POINT_BYTES * len(points)
    content = np.empty(size, dtype=np.uint8)
    places = np.empty(2 * _PLACED_TOGETHER)
    ends = np.zeros(count + 1, dtype=np.int64)
    at = 0
    for area in range(count):
        content[at] = 1  # little-endian
        at = _write_number(content, at + 1, POLYGON)
        at = _write_number(content, at, offsets[area + 1] - offsets[area])
        for ring in range(offsets[area], offsets[area + 1]):
            start, stop = rings[ring], rings[ring + 1]
            at = _write_points(content, at, points, start, stop, transform, backwards, places)
        ends[area + 1] = at
    return content, ends
