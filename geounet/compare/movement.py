"""How far a coast moved: from points along one line to the nearest of the other, with its sign."""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray

from geounet.compare.common import CommonGround
from geounet.compare.states import State
from geounet.distances import (
    FARTHER,
    WGS84,
    Coordinates,
    Pieces,
    Plane,
    Points,
    nearest_on,
    points_along,
)
from geounet.errors import ResultError
from geounet.evaluate.blocks import (
    BlockGrid,
    Interval,
    Name,
    Weights,
    about,
    bootstrap,
    nested,
    quantile,
    ratio,
)
from geounet.evaluate.line_scores import NMAD, medians
from geounet.evaluate.reference import ReferenceOptions, open_reference, reference_pieces
from geounet.transects.coastlines import NUMBERS, TEXTS
from geounet.transects.tide import reduce_positions

BLOCK_M = 1000.0
SEED = 0
SAME_PLACE_M = 1e-3

Metres = NDArray[np.float64]


@dataclass(frozen=True)
class Coast:
    """The lines of one state on the common plane."""

    pieces: Pieces
    about: pd.DataFrame
    """A row for each line: columns of `coastlines.ATTRIBUTES`."""
    directed: bool


def coast_of(
    state: State, common: CommonGround, reach_m: float, *, kind: str | None = None
) -> Coast:
    """Bring the lines of a state, or the outlines of its water, to the common plane.

    Args:
        state: Whose.
        common: The ground.
        reach_m: How far around it lines may matter.
        kind: Only lines of this kind, where the state knows kinds.

    Raises:
        LabelError: Its areas cannot be read again.
        ResultError: No line is of that kind.
    """
    plane = common.plane
    if state.coast is not None:
        to_plane = plane.from_crs(WGS84)
        pieces = state.coast.pieces
        kinds = state.coast.about["kind"]
        if kind is not None and kinds.notna().any():
            if not (kinds == kind).any():
                there = ", ".join(sorted(kinds.dropna().unique()))
                raise ResultError(f"{state.text} has no line of kind {kind}; it has {there}.")
            pieces = pieces.keep((kinds == kind).to_numpy(dtype=bool)[pieces.line])
        pieces = pieces.transformed(to_plane).near(plane.bounds(reach_m))
        return Coast(pieces, state.coast.about, state.coast.directed)
    options = ReferenceOptions(water=True)
    pieces = reference_pieces(open_reference(state.water_source, options), plane, reach=reach_m)
    rows = pd.DataFrame(index=range(int(pieces.line.max(initial=-1)) + 1))
    for name in NUMBERS:
        rows[name] = np.nan
    for name in TEXTS:
        rows[name] = None
    rows["time"] = pd.Series(pd.NaT, index=rows.index, dtype="datetime64[ms, UTC]")
    rows["cloud_suspect"] = False
    return Coast(pieces, rows, directed=True)


@dataclass(frozen=True)
class Movement:
    """Points along one line, and how far the other has moved from there."""

    points: Points
    found: NDArray[np.bool_]
    """(n,), whether the other line has a partner within reach."""
    distance_m: Metres
    """(n,), true metres; NaN where there is no partner."""
    moved_m: Metres
    """(n,), plus towards the sea: land was gained; NaN where no side is known."""
    corrected_m: Metres
    """(n,), the same at one level of water; NaN where that is not known."""
    u95_m: Metres
    """(n,), of both lines together; NaN where not known."""
    suspect: NDArray[np.bool_]
    """(n,), whether either line is under suspicion of cloud."""
    row: NDArray[np.intp]
    """(n,), of the attributes of the line that points are on."""
    other: NDArray[np.intp]
    """(n,), of those of the partner's line; -1 where there is none."""

    def keep(self, which: NDArray[np.bool_]) -> Self:
        """Return the points that are marked."""
        parts = {name: values[which] for name, values in vars(self).items() if name != "points"}
        return replace(self, points=self.points.keep(which), **parts)

    @property
    def corrected(self) -> bool:
        """Whether movements are brought to one level of water."""
        return bool(np.isfinite(self.corrected_m).any())

    @property
    def value_m(self) -> Metres:
        """(n,), what counts: corrected where any is, else as seen."""
        return self.corrected_m if self.corrected else self.moved_m

    @property
    def significant(self) -> NDArray[np.float64]:
        """(n,), 1 where the movement is larger than its uncertainty, 0 where not, NaN unknown."""
        known = np.isfinite(self.value_m) & np.isfinite(self.u95_m)
        return np.where(known, np.abs(self.value_m) > self.u95_m, np.nan)


def measure_movement(
    here: Coast,
    there: Coast,
    common: CommonGround,
    *,
    step_m: float,
    reach_m: float,
    slope: float | None,
) -> Movement:
    """Measure how far a line moved to become another.

    A point whose nearest place is a loose end of the other line, where data or the scene ends, has
    no partner: the coast went on beyond, and nobody saw where.

    Args:
        here: The line along which points are spread, where both states have data.
        there: The line it became.
        common: The ground.
        step_m: From one point to the next.
        reach_m: Partners further away than this are none.
        slope: Tangent of the beach's slope, for levels of water; None leaves them.
    """
    points = points_along(here.pieces, step_m)
    points = points.keep(common.knows(common.plane.to_pixels(points.xy)))
    near = nearest_on(there.pieces, points.xy, within=FARTHER * reach_m)
    distance = np.full(len(points.xy), np.nan)
    reached = near.found
    distance[reached] = common.plane.metres(points.xy[reached], near.xy[reached])
    found = reached & (distance <= reach_m) & ~_at_loose_end(near.xy, there.pieces)
    distance[~found] = np.nan
    if there.directed:
        # Right of the other line is its water: there the coast has moved towards land.
        sign = -near.side.astype(np.float64)
    elif here.directed:
        shift = np.where(found[:, None], near.xy - points.xy, 0)
        sign = np.sign((shift * points.right).sum(axis=1))
    else:
        sign = np.full(len(distance), np.nan)
    row, other = points.line, np.full(len(distance), -1, dtype=np.intp)
    other[found] = there.pieces.line[near.piece[found]]
    moved = distance * sign + 0.0  # no minus zero
    first, second = _column(here, "position_u95_m", row), _column(there, "position_u95_m", other)
    corrected = np.full(len(moved), np.nan)
    if slope is not None:
        level_here = _column(here, "water_level_m", row)
        level_there = _column(there, "water_level_m", other)
        corrected = reduce_positions(
            moved, level_there, np.full(len(moved), slope), datum_m=level_here
        )
    suspect = here.about["cloud_suspect"].to_numpy(dtype=bool)[row]
    if len(there.about):
        suspect = suspect | (there.about["cloud_suspect"].to_numpy(dtype=bool)[other] & found)
    return Movement(
        points, found, distance, moved, corrected, np.hypot(first, second), suspect, row, other
    )


def _column(coast: Coast, name: str, row: NDArray[np.intp]) -> Metres:
    """Return a number for each point; NaN where not known."""
    values = np.append(coast.about[name].to_numpy(dtype=np.float64), np.nan)
    return np.asarray(values[row])


def _at_loose_end(xy: Coordinates, pieces: Pieces) -> NDArray[np.bool_]:
    """Return which places, (n, 2), are ends of lines at which no other goes on."""
    if not len(pieces) or not len(xy):
        return np.zeros(len(xy), dtype=np.bool_)
    # Where pieces do not follow one another, a line begins or ends.
    breaks = np.any(pieces.start[1:] != pieces.end[:-1], axis=1)
    first = np.append(True, breaks | (np.diff(pieces.line) != 0))
    last = np.append(first[1:], True)
    ends = np.concatenate([pieces.start[first], pieces.end[last]])
    spots = np.asarray(shapely.points(ends), dtype=object)
    tree = shapely.STRtree(spots)
    meeting, _ = tree.query(spots, predicate="dwithin", distance=SAME_PLACE_M)
    loose = np.bincount(meeting, minlength=len(ends)) == 1
    tree = shapely.STRtree(spots[loose])
    at_end = np.zeros(len(xy), dtype=np.bool_)
    known = np.flatnonzero(np.isfinite(xy).all(axis=1))
    asked = shapely.points(xy[known])
    at_end[known[tree.query(asked, predicate="dwithin", distance=SAME_PLACE_M)[0]]] = True
    return at_end


def summarise_movement(movement: Movement, plane: Plane) -> dict[str, Any]:
    """Return how far the coast moved, with 95 % intervals, and by kilometre, as records have it.

    Args:
        movement: The points that count.
        plane: Where they are.
    """
    member, count, places = _blocks(movement, plane)
    step, value = movement.points.step, movement.value_m
    matched = movement.found & (np.isfinite(value) | ~np.isfinite(movement.moved_m))
    size = np.where(np.isfinite(value), value, np.nan)
    ordered = _by_size(size, member)
    distances = _by_size(movement.distance_m, member)
    significant = movement.significant
    sums = np.stack(
        [
            np.bincount(member, weights, count)
            for weights in (
                np.isfinite(size).astype(np.float64),
                np.nan_to_num(size),
                step * movement.found,
                step,
                step * np.isfinite(significant),
                step * (significant == 1) * (size > 0),
                step * (significant == 1) * (size < 0),
            )
        ],
        axis=1,
    )

    def figures(times: Weights) -> dict[Name, float]:
        number, total, found, every, judged, seaward, landward = (times @ sums).tolist()
        return {
            ("mean_m",): ratio(total, number),
            ("median_m",): quantile(ordered[0], times[ordered[1]], 0.5),
            ("p5_m",): quantile(ordered[0], times[ordered[1]], 0.05),
            ("p95_m",): quantile(ordered[0], times[ordered[1]], 0.95),
            ("median_distance_m",): quantile(distances[0], times[distances[1]], 0.5),
            ("matched_share",): ratio(found, every),
            ("seaward_share",): ratio(seaward, judged),
            ("landward_share",): ratio(landward, judged),
        }

    values = figures(np.ones(count, dtype=np.int64))
    intervals: dict[Name, Interval] = bootstrap(figures, count, seed=SEED)
    return {
        **nested(values),
        "corrected": movement.corrected,
        "points": int(np.isfinite(size).sum()),
        "coast_m": float(step.sum()),
        "matched_m": float(step[matched].sum()),
        "no_partner_m": float(step[~movement.found].sum()),
        "uncertainty_known_m": float(step[np.isfinite(significant)].sum()),
        "intervals": nested(intervals)
        | {"made_of": about(count, side_m=BLOCK_M, seed=SEED), "known": bool(intervals)},
        "kilometres": _kilometres(movement, size, member, count, places),
    }


def _blocks(movement: Movement, plane: Plane) -> tuple[NDArray[np.intp], int, Coordinates]:
    """Return the block of ground of each point, numbered along the coast; how many; lon and lat."""
    lonlat = plane.to_crs(WGS84)(movement.points.xy)
    numbers = BlockGrid(BLOCK_M).numbers_of(lonlat)
    _, first, member = np.unique(numbers, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    return rank[member], len(first), lonlat


def _kilometres(
    movement: Movement, size: Metres, member: NDArray[np.intp], count: int, lonlat: Coordinates
) -> list[dict[str, Any]]:
    """Return what happened in each block of ground that the coast passes."""
    points = np.maximum(np.bincount(member, minlength=count), 1)
    step = movement.points.step
    median = medians(size, member, count)
    spread = NMAD * medians(np.abs(size - median[member]), member, count)
    judged = movement.significant
    # Longitudes beside their first, so that a mean has a meaning across 180°.
    base = lonlat[0, 0] if len(lonlat) else 0.0
    east = (lonlat[:, 0] - base + 180) % 360 - 180
    columns = {
        "lon": (np.bincount(member, east, count) / points + base + 180) % 360 - 180,
        "lat": np.bincount(member, lonlat[:, 1], count) / points,
        "coast_m": np.bincount(member, step, count),
        "no_partner_m": np.bincount(member, step * ~movement.found, count),
        "n": np.bincount(member, np.isfinite(size), count),
        "median_m": median,
        "spread_nmad_m": spread,
        "significant_m": np.bincount(member, step * (judged == 1), count),
    }
    table = pd.DataFrame(columns).round({"lon": 6, "lat": 6}).round(4)
    table["n"] = table["n"].astype(int)
    if not np.isfinite(judged).any():
        table["significant_m"] = np.nan
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return [{"kilometre": number, **row} for number, row in enumerate(rows, 1)]


def _by_size(values: Metres, member: NDArray[np.intp]) -> tuple[Metres, NDArray[np.intp]]:
    known = np.isfinite(values)
    order = np.argsort(values[known], kind="stable")
    return values[known][order], member[known][order]
