"""Lines and areas whose vertices lie in one array: millions of them without an object for each."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import shapely
from numpy.typing import NDArray

from geounet.compiled import compiled

Geometries = NDArray[Any]
"""(n,) shapely geometries."""
Points = NDArray[np.float64]
Offsets = NDArray[np.int64]


@dataclass(frozen=True)
class Lines:
    """Lines, one after another."""

    points: Points
    """(n, 3), (col, row, width): places in pixels, and how wide the line is there, in metres; or
    (n, 2), where nobody asks for widths."""
    offsets: Offsets
    """(lines + 1,), where each starts, and n."""

    @classmethod
    def none(cls) -> Self:
        """Return no lines."""
        return cls(np.empty((0, 3)), np.zeros(1, dtype=np.int64))

    @classmethod
    def of(cls, shapes: Geometries) -> Self:
        """Return LineStrings (col, row, width)."""
        if not len(shapes):
            return cls.none()
        points, line = shapely.get_coordinates(shapes, include_z=True, return_index=True)
        return cls(points, np.searchsorted(line, np.arange(len(shapes) + 1)).astype(np.int64))

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return several together, in their order."""
        some = [part for part in parts if len(part)]
        if len(some) == 1:
            return some[0]
        if not some:
            return cls.none()
        points = np.concatenate([part.points for part in some])
        return cls(points, _joined([part.offsets for part in some]))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def closed(self) -> NDArray[np.bool_]:
        """(lines,), which of them end where they start."""
        return _are_closed(self.points, self.offsets)

    def take(self, which: NDArray[Any], *, widths: bool = True) -> Self:
        """Return some lines, by number or by a mask, in that order; without widths if so asked."""
        index = np.flatnonzero(which) if which.dtype == np.bool_ else which
        columns = self.points.shape[1] if widths else 2
        return type(self)(*_gather(self.points, self.offsets, index.astype(np.int64), columns))

    def shapes(self) -> Geometries:
        """Return LineStrings (col, row, width)."""
        if not len(self):
            return np.empty(0, dtype=object)
        return shapely.from_ragged_array(
            shapely.GeometryType.LINESTRING, self.points, (self.offsets,)
        )


@dataclass(frozen=True)
class Areas:
    """Polygons, one after another: of each the outline, then its holes."""

    points: Points
    """(n, 2), (col, row): places in pixels."""
    rings: Offsets
    """(rings + 1,), where each ring starts, and n; rings end where they start."""
    offsets: Offsets
    """(areas + 1,), the first ring of each, and how many rings there are."""

    @classmethod
    def none(cls) -> Self:
        """Return no areas."""
        return cls(np.empty((0, 2)), np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64))

    @classmethod
    def of(cls, shapes: Geometries) -> Self:
        """Return Polygons (col, row)."""
        if not len(shapes):
            return cls.none()
        _, points, (rings, offsets) = shapely.to_ragged_array(shapes, include_z=False)
        return cls(points, rings.astype(np.int64), offsets.astype(np.int64))

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return several together, in their order."""
        some = [part for part in parts if len(part)]
        if len(some) == 1:
            return some[0]
        return cls(
            np.concatenate([np.empty((0, 2)), *(part.points for part in some)]),
            _joined([part.rings for part in some]),
            _joined([part.offsets for part in some]),
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def take(self, which: NDArray[Any]) -> Self:
        """Return some areas, by number or by a mask, in that order."""
        index = np.flatnonzero(which) if which.dtype == np.bool_ else which.astype(np.int64)
        first, last = self.offsets[index], self.offsets[index + 1]
        offsets = np.append(0, np.cumsum(last - first))
        rings = np.arange(offsets[-1]) + np.repeat(first - offsets[:-1], last - first)
        return type(self)(*_gather(self.points, self.rings, rings, 2), offsets)

    def shapes(self) -> Geometries:
        """Return Polygons (col, row)."""
        if not len(self):
            return np.empty(0, dtype=object)
        return shapely.from_ragged_array(
            shapely.GeometryType.POLYGON, self.points, (self.rings, self.offsets)
        )


def _joined(offsets: Sequence[Offsets]) -> Offsets:
    """Return the offsets of parts that are put one after another."""
    sizes = [np.diff(one) for one in offsets]
    return np.cumsum(np.concatenate([np.zeros(1, dtype=np.int64), *sizes]))


@compiled
def _are_closed(points: Points, offsets: Offsets) -> NDArray[np.bool_]:
    closed = np.empty(len(offsets) - 1, dtype=np.bool_)
    for line in range(len(closed)):
        first, last = offsets[line], offsets[line + 1] - 1
        same = points[first, 0] == points[last, 0] and points[first, 1] == points[last, 1]
        closed[line] = same and last > first
    return closed


@compiled
def _gather(
    points: Points, offsets: Offsets, index: Offsets, columns: int
) -> tuple[Points, Offsets]:
    """Return the pieces of `points` between offsets that `index` names, one after another."""
    ends = np.zeros(len(index) + 1, dtype=np.int64)
    for i in range(len(index)):
        ends[i + 1] = ends[i] + offsets[index[i] + 1] - offsets[index[i]]
    taken = np.empty((ends[-1], columns))
    for i in range(len(index)):
        taken[ends[i] : ends[i + 1]] = points[offsets[index[i]] : offsets[index[i] + 1], :columns]
    return taken, ends
