"""Pixel scores by blocks of ground, so that it is known how far they can be relied on."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.windows import Window

from geounet.distances import WGS84, Plane, place
from geounet.evaluate.blocks import BlockGrid, Figures, Name, Weights, bootstrap, nested, ratio
from geounet.evaluate.boundary import BOUNDARY_PX, near_boundaries
from geounet.vectors import crs_of

CELLS = 8
"""Blocks of ground are made of cells of pixels, of which at least so many lie along a side."""


class PixelBlocks:
    """Counts of the pixels of each block of ground; memory is 130 bytes for each."""

    def __init__(self, geobox: GeoBox, names: Sequence[str], *, side_m: float) -> None:
        self._geobox, self._grid, self._names = geobox, BlockGrid(side_m), tuple(names)
        along = side_m / Plane(geobox).pixel_m / CELLS
        # A power of two, and so whole numbers of them in what is read at a time.
        self._cell = 2 ** max(0, int(np.floor(np.log2(max(along, 1.0)))))
        self._to_degrees = Transformer.from_crs(crs_of(geobox), WGS84, always_xy=True)
        size = len(names)
        self._shape = (len(BOUNDARY_PX), size, 2)  # in both, in either
        self._columns = size * size + int(np.prod(self._shape))
        self._parts = [(np.empty(0, np.int64), np.empty((0, self._columns), np.int64))]

    def add(
        self,
        window: Window,
        keep: tuple[slice, slice],
        reference: NDArray[np.uint8],
        predicted: NDArray[np.uint8],
        known: NDArray[np.bool_],
    ) -> None:
        """Count the pixels of a window.

        Args:
            window: Which pixels of the scene count.
            keep: Where they lie in the arrays, which go as far beyond as boundaries are looked for.
            reference: (height, width), class numbers from 0.
            predicted: Likewise.
            known: (height, width), where both are known and wanted.
        """
        here = known[keep]
        if not here.any():
            return
        blocks, member = np.unique(self._blocks(window), return_inverse=True)
        member = self._of_pixels(window, member.reshape(self._cells(window).shape[:2]))
        size, count = len(self._names), len(blocks)
        pairs = reference[keep][here].astype(np.intp) * size + predicted[keep][here]
        table = np.zeros((count, self._columns), dtype=np.int64)
        confusion = np.bincount(member[here] * size**2 + pairs, minlength=count * size**2)
        table[:, : size**2] = confusion.reshape(count, size**2)
        near = np.zeros((count, *self._shape), dtype=np.int64)
        for distance, number, *masks in near_boundaries(reference, predicted, known, size):
            for i, marked in enumerate(masks):
                near[:, distance - 1, number, i] = np.bincount(
                    member[marked[keep]], minlength=count
                )
        table[:, size**2 :] = near.reshape(count, self._columns - size**2)
        self._parts.append((blocks, table))
        if len(self._parts) > 64:
            self._parts = [self._sum()]

    def record(self, *, seed: int) -> dict[str, Any]:
        """Return boundary IoU by distance and class, and what intervals all scores have."""
        table = self._table()
        values = self._figures(table.sum(axis=0))
        own = {name: value for name, value in values.items() if name[0] == "boundary_iou"}
        found = bootstrap(self.figures, len(table), seed=seed)
        return {
            **nested(own),
            "blocks": len(table),
            "interval": nested(found) if found else None,
        }

    def figures(self, times: Weights) -> Figures:
        """Return the scores when each block counts so often."""
        return self._figures(times @ self._table())

    def _figures(self, counts: NDArray[np.int64]) -> Figures:
        size = len(self._names)
        confusion = counts[: size**2].reshape(size, size)
        near = counts[size**2 :].reshape(self._shape)
        right, said, true = np.diag(confusion), confusion.sum(axis=0), confusion.sum(axis=1)
        found: dict[Name, float] = {("accuracy",): ratio(right.sum(), confusion.sum())}
        for i, name in enumerate(self._names):
            of = "per_class", name
            found[*of, "iou"] = ratio(right[i], true[i] + said[i] - right[i])
            found[*of, "precision"] = ratio(right[i], said[i])
            found[*of, "recall"] = ratio(right[i], true[i])
            found[*of, "f1"] = ratio(2 * right[i], true[i] + said[i])
            for j, distance in enumerate(BOUNDARY_PX):
                found["boundary_iou", str(distance), name] = ratio(*near[j, i])
        return found

    def _table(self) -> NDArray[np.int64]:
        """Return the counts of the blocks in which anything was compared, (blocks, columns)."""
        if len(self._parts) > 1:
            self._parts = [self._sum()]
        return self._parts[0][1]

    def _sum(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        numbers = np.concatenate([part for part, _ in self._parts])
        blocks, member = np.unique(numbers, return_inverse=True)
        table = np.zeros((len(blocks), self._columns), dtype=np.int64)
        np.add.at(table, member, np.concatenate([counts for _, counts in self._parts]))
        some = table.any(axis=1)
        return blocks[some], table[some]

    def _cells(self, window: Window) -> NDArray[np.float64]:
        """Return the middles of the cells that a window touches, (rows, cols, 2), (col, row)."""
        axes = []
        for first, length in (
            (window.col_off, window.width),
            (window.row_off, window.height),
        ):
            numbers = np.arange(first // self._cell, (first + length - 1) // self._cell + 1)
            axes.append((numbers + 0.5) * self._cell)
        return np.stack(np.meshgrid(*axes), axis=-1)

    def _blocks(self, window: Window) -> NDArray[np.int64]:
        middles = self._cells(window).reshape(-1, 2)
        lon, lat = self._to_degrees.transform(*place(self._geobox.transform, middles).T)
        # What has no place on the Earth holds no data; any block will do.
        known = np.isfinite(lon) & np.isfinite(lat)
        return self._grid.numbers(np.where(known, lon, 0), np.where(known, lat, 0))

    def _of_pixels(self, window: Window, of_cells: NDArray[np.intp]) -> NDArray[np.intp]:
        """Spread what cells have over the pixels of a window."""
        spread = of_cells.repeat(self._cell, axis=0).repeat(self._cell, axis=1)
        top, left = window.row_off % self._cell, window.col_off % self._cell
        return spread[top : top + window.height, left : left + window.width]
