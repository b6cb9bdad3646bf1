"""Where lines cross transects, in metres from the baseline."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray

from geounet.distances import ASKED, Coordinates, Pieces
from geounet.transects.casting import Transects
from geounet.transects.curves import GEOD

Pick = Literal["first", "last", "nearest-median", "all"]
"""Which crossing is the position where a line crosses a transect several times: nearest to land,
nearest to the sea, nearest to the median over all dates, or each of them."""
MARGIN_M = 1.0
"""Around the box of a transect, in which pieces are looked at: far more than the plane's edges are
off over so short a way."""

SAME_PLACE_M = 1e-3
"""Beyond its ends, a transect still has what crosses it: positions are no more exact than that."""


class Crossings(NamedTuple):
    """Pieces of lines that cross transects."""

    transect: NDArray[np.intp]
    """(n,), from 0."""
    line: NDArray[np.intp]
    """(n,), as `Pieces.line` has it."""
    position_m: NDArray[np.float64]
    """(n,), geodesic, + towards the sea."""
    seaward: NDArray[np.bool_]
    """(n,), whether a line with land on its left has its land behind, as seen towards the sea."""


class CrossingFinder:
    """Finds crossings, line after line, with one index of the transects."""

    def __init__(self, transects: Transects) -> None:
        self._transects = transects
        bounds = shapely.bounds(transects.lines_on_plane())
        grown = bounds + MARGIN_M * np.array([-1, -1, 1, 1])
        self._tree = shapely.STRtree(np.asarray(shapely.box(*grown.T)))
        low, high = grown[:, :2].min(axis=0), grown[:, 2:].max(axis=0)
        self._bounds = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))

    def find(self, pieces: Pieces) -> Crossings:
        """Find where geodesic pieces, by longitude and latitude, cross transects.

        Distances and directions from the origin of a transect make a plane on which the transect
        is a straight line and distances along it are true. A line that touches a transect with
        a vertex and turns back does not cross it.
        """
        found = [self._among(pieces, *pair) for pair in self._candidates(pieces)]
        if not found:
            nothing = np.empty(0, dtype=np.intp)
            return Crossings(nothing, nothing, np.empty(0), np.empty(0, dtype=np.bool_))
        return Crossings(*(np.concatenate(column) for column in zip(*found, strict=True)))

    def _candidates(self, pieces: Pieces) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Yield indexes of pieces and transects whose boxes touch."""
        placed = pieces.transformed(self._transects.plane.place)
        numbered = Pieces(placed.start, placed.end, np.arange(len(pieces)))
        near = numbered.near(self._bounds)
        for first in range(0, len(near), ASKED):
            part = slice(first, first + ASKED)
            ends = np.stack((near.start[part], near.end[part]), axis=1)
            piece, transect = self._tree.query(np.asarray(shapely.linestrings(ends)))
            yield near.line[part][piece], transect

    def _among(
        self, pieces: Pieces, piece: NDArray[np.intp], transect: NDArray[np.intp]
    ) -> Crossings:
        """Return the crossings among pairs of pieces and transects."""
        start_x, start_y = self._local(pieces.start[piece], transect)
        end_x, end_y = self._local(pieces.end[piece], transect)
        # Half-open: a line that passes through with a vertex crosses once, not twice or never.
        crosses = np.flatnonzero((start_y < 0) != (end_y < 0))
        share = start_y[crosses] / (start_y[crosses] - end_y[crosses])
        x = start_x[crosses] + share * (end_x[crosses] - start_x[crosses])
        low, high = self._transects.reach
        # A coast that is the baseline itself lies at 0, give or take the last digits.
        within = (x >= low - SAME_PLACE_M) & (x <= high + SAME_PLACE_M)
        kept = crosses[within]
        return Crossings(
            transect[kept], pieces.line[piece[kept]], x[within], end_y[kept] < start_y[kept]
        )

    def _local(
        self, lonlat: Coordinates, transect: NDArray[np.intp]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return places as metres along a transect, and to its right."""
        origin = self._transects.origin[transect]
        azimuth, _, distance = GEOD.inv(*origin.T, *lonlat.T)
        angle = np.radians(azimuth - self._transects.azimuth[transect])
        return distance * np.cos(angle), distance * np.sin(angle)


def pick_crossings(crossings: pd.DataFrame, pick: Pick) -> pd.DataFrame:
    """Choose which crossings are positions.

    Args:
        crossings: Columns `transect`, `moment` (what is observed together) and `position_m`.
        pick: Which.

    Returns:
        Rows in the order of transect, moment and position, with `crossings`, of how many each was
        chosen.
    """
    together = ["transect", "moment"]
    rows = crossings.sort_values([*together, "position_m"], kind="stable", ignore_index=True)
    rows["crossings"] = rows.groupby(together)["position_m"].transform("size")
    if pick == "all":
        return rows
    if pick != "nearest-median":
        return rows.drop_duplicates(together, keep=pick).reset_index(drop=True)
    # Each moment counts once, however often its line crosses.
    medians = rows.groupby(together)["position_m"].median().groupby("transect").median()
    away = (rows["position_m"] - rows["transect"].map(medians)).abs()
    nearest = rows.assign(away=away).sort_values([*together, "away"], kind="stable")
    chosen = nearest.drop_duplicates(together).drop(columns="away")
    return chosen.reset_index(drop=True)
