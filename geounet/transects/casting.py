"""Transects: geodesics cast from a baseline at even steps, perpendicular to it."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer

from geounet.distances import Coordinates, Pieces
from geounet.errors import TransectError
from geounet.transects.curves import GEOD, LocalPlane, geodesic_pieces
from geounet.vectors import WGS84, Geometries

Side = Literal["right", "left", "both"]
MOST = 1_000_000
"""Transects; more is a spacing in the wrong unit."""


@dataclass(frozen=True)
class Casting:
    """How transects are cast; metres."""

    spacing: float = 100.0
    """Along the baseline, from one to the next."""
    length: float = 500.0
    """Of a transect; with `both` sides, half of it lies on each."""
    side: Side = "right"
    """Of the baseline on which the sea lies, as seen when walking along it; `both` reaches over
    either side, with the sea on the right."""
    smooth: float | None = None
    """Length of the chord that a transect is perpendicular to; None is `spacing`, 0 the very edge
    of the baseline."""


@dataclass(frozen=True)
class Transects:
    """Geodesics that are known by where they start, which way they go, and how far."""

    number: NDArray[np.intp]
    """(n,), from 1, in the order of the baseline."""
    baseline: NDArray[np.intp]
    """(n,), from 1, which part of the baseline each is of."""
    feature: NDArray[np.intp]
    """(n,), from 0, which feature of the baseline's file that part is of."""
    chainage_m: NDArray[np.float64]
    """(n,), geodesic, along that part from its start."""
    origin: Coordinates
    """(n, 2), longitude and latitude on the baseline."""
    azimuth: NDArray[np.float64]
    """(n,), degrees; towards the sea."""
    reach: tuple[float, float]
    """Metres from the baseline, + towards the sea: where transects begin and end."""
    crs: CRS
    """Of the baseline."""
    plane: LocalPlane = field(repr=False)
    """Where lines near them are looked up."""

    def __len__(self) -> int:
        return len(self.number)

    def at(self, metres: float | NDArray[np.float64]) -> Coordinates:
        """Return longitude and latitude at a distance from the baseline along each, (n, 2)."""
        distance = np.broadcast_to(np.asarray(metres, dtype=np.float64), self.azimuth.shape)
        start_lon, start_lat = self.origin.T
        lon, lat, _ = GEOD.fwd(start_lon, start_lat, self.azimuth, distance)
        return np.column_stack((lon, lat))

    def lines_on_plane(self) -> Geometries:
        """Return them as lines on the plane, (n,)."""
        ends = [self.plane.place(self.at(metres)) for metres in self.reach]
        return np.asarray(shapely.linestrings(np.stack(ends, axis=1)))

    def lines(self) -> Geometries:
        """Return them as lines in the CRS of the baseline, (n,); they run towards the sea."""
        back = Transformer.from_crs(WGS84, self.crs, always_xy=True)
        ends = [np.column_stack(back.transform(*self.at(metres).T)) for metres in self.reach]
        if self.crs.is_geographic:  # beside 180° a line runs on past it
            ends[1][:, 0] = ends[0][:, 0] + (ends[1] - ends[0] + 180)[:, 0] % 360 - 180
        return np.asarray(shapely.linestrings(np.stack(ends, axis=1)))

    def crossing_others(self) -> NDArray[np.bool_]:
        """Return which of them cross another, as they do on a bend, (n,)."""
        lines = self.lines_on_plane()
        first, second = shapely.STRtree(lines).query(lines, predicate="intersects")
        crossing = np.zeros(len(self), dtype=np.bool_)
        crossing[first[first != second]] = True
        return crossing


def cast_transects(
    lines: Geometries, feature: NDArray[np.intp], crs: CRS, casting: Casting
) -> Transects:
    """Cast transects from a baseline.

    Each is perpendicular to the chord between the places half of `casting.smooth` before and
    behind it along the baseline, as in [1]_; near the ends of an open baseline the chord is
    shorter. Chainage and length are geodesic.

    Args:
        lines: Simple lines, each a part of the baseline with a chainage of its own.
        feature: (n,), which feature each is of.
        crs: Of the lines.
        casting: Spacing, length, side and smoothing.

    Raises:
        TransectError: No part of the baseline has a length, or there would be too many transects.

    References:
        .. [1] Himmelstoss et al. (2018), "Digital Shoreline Analysis System (DSAS) version 5.0
           user guide", doi:10.3133/ofr20181179 (smoothing distance).
    """
    curve = _Curve.of(geodesic_pieces(lines, crs))
    if not len(curve.total):
        raise TransectError("The baseline has no length: all of its points are the same.")
    steps = curve.total / casting.spacing
    # The end of a ring is its start.
    counts = np.where(curve.ring, np.ceil(steps - 1e-6), np.floor(steps + 1e-6) + 1).astype(np.intp)
    counts = np.maximum(counts, 1)
    if counts.sum() > MOST:
        raise TransectError(
            f"--spacing {casting.spacing:g} makes {counts.sum()} transects along "
            f"{curve.total.sum() / 1000:.0f} km of baseline. Give a longer spacing, in metres."
        )
    part = np.repeat(np.arange(len(counts)), counts)
    nth = np.arange(len(part)) - np.repeat(np.cumsum(counts) - counts, counts)
    chainage = np.minimum(nth * casting.spacing, curve.total[part])
    smooth = casting.spacing if casting.smooth is None else casting.smooth
    direction = curve.direction(part, chainage, smooth)
    origin = curve.at(part, chainage)
    half = casting.length / 2
    return Transects(
        number=np.arange(1, len(part) + 1),
        baseline=part + 1,
        feature=feature[curve.line[part]],
        chainage_m=chainage,
        origin=origin,
        azimuth=direction + (-90.0 if casting.side == "left" else 90.0),
        reach=(-half, half) if casting.side == "both" else (0.0, casting.length),
        crs=crs,
        plane=LocalPlane(origin),
    )


@dataclass(frozen=True)
class _Curve:
    """Lines of geodesic pieces, on which places are known by the way along them."""

    pieces: Pieces
    azimuth: NDArray[np.float64]
    """(pieces,), degrees, at the start of each."""
    run: NDArray[np.float64]
    """(pieces + 1,), metres along all of them."""
    first: NDArray[np.intp]
    """(lines + 1,), where the pieces of each line begin."""
    line: NDArray[np.intp]
    """(lines,), which of the lines they were made of."""

    @classmethod
    def of(cls, pieces: Pieces) -> "_Curve":
        azimuth, _, length = GEOD.inv(*pieces.start.T, *pieces.end.T)
        first = np.flatnonzero(np.diff(pieces.line, prepend=-1))
        run = np.concatenate(([0.0], np.cumsum(length)))
        return cls(
            pieces, np.asarray(azimuth), run, np.append(first, len(pieces)), pieces.line[first]
        )

    @property
    def total(self) -> NDArray[np.float64]:
        """(lines,), metres."""
        return np.diff(self.run[self.first])

    @property
    def ring(self) -> NDArray[np.bool_]:
        """(lines,), which of them end where they start."""
        start, end = self.pieces.start[self.first[:-1]], self.pieces.end[self.first[1:] - 1]
        return np.asarray(GEOD.inv(*start.T, *end.T)[2]) < 1e-6

    def _piece(self, part: NDArray[np.intp], chainage: NDArray[np.float64]) -> NDArray[np.intp]:
        found = np.searchsorted(self.run, self.run[self.first[part]] + chainage, "right") - 1
        return np.clip(found, self.first[part], self.first[part + 1] - 1)

    def at(self, part: NDArray[np.intp], chainage: NDArray[np.float64]) -> Coordinates:
        """Return longitude and latitude of places along lines, (n, 2)."""
        piece = self._piece(part, chainage)
        along = self.run[self.first[part]] + chainage - self.run[piece]
        start_lon, start_lat = self.pieces.start[piece].T
        lon, lat, _ = GEOD.fwd(start_lon, start_lat, self.azimuth[piece], along)
        return np.column_stack((lon, lat))

    def direction(
        self, part: NDArray[np.intp], chainage: NDArray[np.float64], smooth: float
    ) -> NDArray[np.float64]:
        """Return the azimuth of the chord around each place, (n,) degrees."""
        total, ring = self.total[part], self.ring[part]
        before, behind = chainage - smooth / 2, chainage + smooth / 2
        before = np.where(ring, before % total, np.maximum(before, 0))
        behind = np.where(ring, behind % total, np.minimum(behind, total))
        start, end = self.at(part, before), self.at(part, behind)
        # A chord that closes on itself says nothing: the edge of the baseline does.
        piece = self._piece(part, chainage)
        none = np.asarray(GEOD.inv(*start.T, *end.T)[2]) < 1e-3
        start[none], end[none] = self.pieces.start[piece[none]], self.pieces.end[piece[none]]
        there, back, _ = GEOD.inv(*start.T, *end.T)
        # The chord is a geodesic, whose azimuth changes on the way: its mean is that of the middle.
        turn = (np.asarray(back) + 180 - there + 180) % 360 - 180
        return np.asarray(there + turn / 2)
