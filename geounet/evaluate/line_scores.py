"""How far two sets of lines are apart, each way, with intervals, by kilometre, and where most."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geounet.distances import STATISTICS, WGS84, Coordinates, Matches, Plane, summarise
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

BUFFERS_M = (5.0, 10.0, 20.0, 30.0)
BUFFERS_PX = (0.5, 1.0, 2.0, 3.0)
"""Within which lengths are counted for completeness and correctness; both, and both rising."""
SIGNED = ("mean_signed", "median_signed", "spread_rmse", "spread_nmad")
"""What needs to know on which side the water is."""
NMAD = 1.4826
"""Times the median of absolute deviations is the standard deviation of a normal distribution
(Höhle & Höhle 2009, doi:10.1016/j.isprsjprs.2009.02.003)."""


@dataclass(frozen=True)
class LineErrors:
    """Points along a predicted line and along a reference, each with its distance to the other."""

    plane: Plane
    here: Matches
    """Along the predicted line, as far as distances matter; plus is on the reference's water
    side."""
    there: Matches
    """Along the reference; plus where the predicted line is on the water side of it."""
    reach_m: float
    """Further apart than this, lines do not match."""
    signed: bool
    """Whether it is known on which side the water is."""
    block_m: float
    """Side of the blocks of ground that are drawn for intervals."""

    @cached_property
    def matched(self) -> tuple[Matches, Matches]:
        """Both ways, those within `reach_m` only."""
        return self.here.within(self.reach_m), self.there.within(self.reach_m)

    @cached_property
    def blocks(self) -> tuple[NDArray[np.intp], NDArray[np.intp], int]:
        """Of the points of both, the number of their block of ground; and how many there are."""
        to_degrees = self.plane.to_crs(WGS84)
        numbers = [
            BlockGrid(self.block_m).numbers_of(to_degrees(matches.points.xy))
            for matches in (self.here, self.there)
        ]
        found, member = np.unique(np.concatenate(numbers), return_inverse=True)
        return member[: len(numbers[0])], member[len(numbers[0]) :], len(found)

    @cached_property
    def offsets(self) -> NDArray[np.float64]:
        """(blocks,), the median signed distance of the predicted line; NaN where none matched."""
        return medians(self.matched[0].signed_m, self.blocks[0], self.blocks[2])

    def record(self, *, seed: int) -> dict[str, Any]:
        """Return all figures, as records have them.

        Args:
            seed: Of the draws for intervals.
        """
        of_here, of_there, count = self.blocks
        directions = {
            "predicted": _Direction(self, self.here, of_here),
            "truth": _Direction(self, self.there, of_there),
        }

        def figures(times: Weights) -> dict[Name, float]:
            return {
                (way, *name): value
                for way, direction in directions.items()
                for name, value in direction.figures(times).items()
            }

        values = figures(np.ones(count, dtype=np.int64))
        intervals = bootstrap(figures, count, seed=seed)
        pixel_m = self.plane.pixel_m
        found: dict[str, Any] = {
            way: _of_direction(matches, way, values, intervals, pixel_m, signed=self.signed)
            for way, matches in zip(directions, self.matched, strict=True)
        }
        return {
            **found,
            "buffers": _buffers(values, intervals, pixel_m),
            "intervals": about(count, side_m=self.block_m, seed=seed) | {"known": bool(intervals)},
            "kilometres": self.kilometres(),
            "worst": worst_places(self),
        }

    def kilometres(self) -> list[dict[str, Any]]:
        """Return where each block of ground is, and how far off the line is in it."""
        here, there = self.matched
        of_here, of_there, count = self.blocks
        known = np.nan_to_num(self.offsets)
        deviation = medians(np.abs(here.signed_m - known[of_here]), of_here, count)
        distance = medians(here.distance_m, of_here, count)
        every = np.concatenate([of_here, of_there])
        xy = np.concatenate([here.points.xy, there.points.xy])
        of_block = np.maximum(np.bincount(every, minlength=count), 1)[:, None]
        middle = np.stack([np.bincount(every, axis, count) for axis in xy.T], axis=1) / of_block
        lon, lat = self.plane.to_crs(WGS84)(middle).T
        lengths = {
            "matched_m": np.bincount(of_here, here.points.step * here.found, count),
            "unmatched_m": np.bincount(of_here, here.points.step * ~here.found, count),
            "missed_m": np.bincount(of_there, there.points.step * ~there.found, count),
        }
        offset = self.offsets if self.signed else np.full(count, np.nan)
        spread = NMAD * deviation if self.signed else np.full(count, np.nan)
        columns = {
            "lon": np.round(lon, 6),
            "lat": np.round(lat, 6),
            **lengths,
            "median_m": distance,
            "median_signed_m": offset,
            "spread_nmad_m": spread,
        }
        names = tuple(columns)
        rows = np.stack([np.round(columns[name], 6) for name in names], axis=1).tolist()
        return [nested({(n,): v for n, v in zip(names, row, strict=True)}) for row in rows]


class _Direction:
    """One way of measuring, with all that figures of a draw of blocks need made ready."""

    def __init__(self, errors: LineErrors, matches: Matches, block: NDArray[np.intp]) -> None:
        near = matches.within(errors.reach_m)
        count, pixel_m, step = errors.blocks[2], errors.plane.pixel_m, matches.points.step
        buffers = (*BUFFERS_M, *(share * pixel_m for share in BUFFERS_PX))
        self._signed = errors.signed
        found = near.found
        distance, member = near.distance_m[found], block[found]
        signed = near.signed_m[found]
        offsets = medians(signed, member, count)
        residual = signed - offsets[member]
        of_matched = (np.ones(len(distance)), distance, distance**2, signed, residual**2)
        self._sums = np.stack(
            [
                np.bincount(block, step * found, count),
                np.bincount(block, step, count),
                *(np.bincount(block, step * (matches.distance_m <= b), count) for b in buffers),
                *(np.bincount(member, values, count) for values in of_matched),
            ],
            axis=1,
        )
        self._distance = _by_size(distance, member)
        self._side = _by_size(signed, member)
        self._residual = _by_size(np.abs(residual), member)

    def figures(self, times: Weights) -> dict[Name, float]:
        """Return the figures when each block counts so often, by name; distances in metres."""
        matched, total, *sums = (times @ self._sums).tolist()
        near, (points, first, second, signed, residual) = sums[:-5], sums[-5:]
        found: dict[Name, float] = {
            ("matched_share",): ratio(matched, total),
            ("metres", "mean"): ratio(first, points),
            ("metres", "median"): _quantile(self._distance, times, 0.5),
            ("metres", "rmse"): ratio(second, points) ** 0.5,
            ("metres", "p95"): _quantile(self._distance, times, 0.95),
        }
        if self._signed:
            found |= {
                ("metres", "mean_signed"): ratio(signed, points),
                ("metres", "median_signed"): _quantile(self._side, times, 0.5),
                ("metres", "spread_rmse"): ratio(residual, points) ** 0.5,
                ("metres", "spread_nmad"): NMAD * _quantile(self._residual, times, 0.5),
            }
        names = [("buffer_m", f"{b:g}") for b in BUFFERS_M]
        names += [("buffer_px", f"{b:g}") for b in BUFFERS_PX]
        return found | {name: ratio(n, total) for name, n in zip(names, near, strict=True)}


_Sorted = tuple[NDArray[np.float64], NDArray[np.intp]]
"""Values, rising, and the block of each."""


def _by_size(values: NDArray[np.float64], member: NDArray[np.intp]) -> _Sorted:
    order = np.argsort(values)
    return values[order], member[order]


def _quantile(ordered: _Sorted, times: Weights, share: float) -> float:
    return quantile(ordered[0], times[ordered[1]], share)


def medians(
    values: NDArray[np.float64], member: NDArray[np.intp], count: int
) -> NDArray[np.float64]:
    """Return the median of each group, (count,); NaN is left out, and what a group without any has.

    Args:
        values: (n,)
        member: (n,), the group of each, from 0.
        count: How many groups there are.
    """
    known = np.isfinite(values)
    values, member = values[known], member[known]
    order = np.lexsort((values, member))
    values, sizes = values[order], np.bincount(member, minlength=count)
    found, some = np.full(count, np.nan), sizes > 0
    first = (np.cumsum(sizes) - sizes)[some]
    low, high = first + (sizes[some] - 1) // 2, first + sizes[some] // 2
    found[some] = (values[low] + values[high]) / 2
    return found


def _of_direction(
    matches: Matches,
    way: str,
    values: dict[Name, float],
    intervals: dict[Name, Interval],
    pixel_m: float,
    *,
    signed: bool,
) -> dict[str, Any]:
    """Return lengths and distances of one way, and the intervals of what has one."""
    record = summarise(matches, pixel_m)
    names = (*STATISTICS, *SIGNED[2:])
    metres = {name: record["metres"].get(name) for name in names}
    if not signed:
        metres |= dict.fromkeys(SIGNED)
    else:
        metres |= nested({(name,): values[way, "metres", name] for name in SIGNED[2:]})
    record["metres"] = metres
    record["pixels"] = {name: m if m is None else m / pixel_m for name, m in metres.items()}
    of_metres = {name[2]: found for name, found in intervals.items() if name[:2] == (way, "metres")}
    record["interval"] = {
        "matched_share": _listed(intervals.get((way, "matched_share"))),
        "metres": {name: _listed(of_metres.get(name)) for name in names},
        "pixels": {name: _listed(of_metres.get(name), pixel_m) for name in names},
    }
    return record


def _listed(interval: Interval | None, unit: float = 1.0) -> list[float] | None:
    return None if interval is None else [interval.low / unit, interval.high / unit]


def _buffers(
    values: dict[Name, float], intervals: dict[Name, Interval], pixel_m: float
) -> list[dict[str, Any]]:
    """Return correctness and completeness within each width of a buffer.

    After Heipke et al. (1997), "Evaluation of automatic road extraction", IAPRS 32, 3-4W2: of the
    predicted length, the share that lies within the buffer around the reference, and the reverse.
    """
    widths = [("buffer_m", f"{b:g}", b, b / pixel_m) for b in BUFFERS_M]
    widths += [("buffer_px", f"{b:g}", b * pixel_m, b) for b in BUFFERS_PX]
    rows = []
    for kind, text, metres, pixels in widths:
        row: dict[str, Any] = {
            "given_in": "metres" if kind == "buffer_m" else "pixels",
            "metres": metres,
            "pixels": pixels,
        }
        for what, way in (("correctness", "predicted"), ("completeness", "truth")):
            row |= nested({(what,): values[way, kind, text]})
            row[f"{what}_interval"] = _listed(intervals.get((way, kind, text)))
        rows.append(row)
    return rows


WORST = 10
APART_M = 1000.0
"""Worst places are at least so far from one another."""


@dataclass(frozen=True)
class _Candidates:
    """Places of one kind, one in each block that has any."""

    what: str
    xy: Coordinates
    distance_m: NDArray[np.float64]
    """Plus towards water, where that is known; NaN where no line is near."""
    length_m: NDArray[Any]
    area_m2: NDArray[Any]
    """Between the lines, by which places are ranked."""


def worst_places(errors: LineErrors) -> list[dict[str, Any]]:
    """Return where the lines differ most, worst first, at least `APART_M` from one another.

    A place is worse the larger the area between the lines in its block of ground; where a line has
    no other within reach, it counts as just beyond it.

    Returns:
        Of each `lon`, `lat`, and `what` is wrong: `apart`, `extra` (a predicted line where
        there is none) or `missed`; `distance_m` there, the largest in its block, plus towards water
        if sides are known; and over what `length_m` of line it is that, or at least half as far.
    """
    (here, there), (of_here, of_there, count) = errors.matched, errors.blocks
    candidates = [
        _farthest(here, of_here, count),
        _alone("extra", here, of_here, count, errors.reach_m),
        _alone("missed", there, of_there, count, errors.reach_m),
    ]
    area = np.concatenate([one.area_m2 for one in candidates])
    xy = np.concatenate([one.xy for one in candidates])
    signed = np.concatenate([one.distance_m for one in candidates])
    length = np.concatenate([one.length_m for one in candidates])
    what = [one.what for one in candidates for _ in one.area_m2]
    lon_lat = errors.plane.to_crs(WGS84)(xy) if len(xy) else xy
    order = np.argsort(-area, kind="stable")
    order = order[area[order] > 0]
    places: list[dict[str, Any]] = []
    while len(order) and len(places) < WORST:
        i = order[0]
        distance = float(signed[i] if errors.signed else abs(signed[i]))
        places.append(
            {
                "lon": round(float(lon_lat[i, 0]), 6),
                "lat": round(float(lon_lat[i, 1]), 6),
                "what": what[i],
                "distance_m": distance if np.isfinite(distance) else None,
                "length_m": float(length[i]),
            }
        )
        order = order[np.hypot(*(xy[order] - xy[i]).T) >= APART_M]
    return places


def _farthest(matches: Matches, block: NDArray[np.intp], count: int) -> _Candidates:
    """Return the place in each block where lines that match are furthest apart."""
    found = np.flatnonzero(matches.found)
    distance, member, step = matches.distance_m[found], block[found], matches.points.step[found]
    order = np.lexsort((distance, member))
    last = np.flatnonzero(np.diff(member[order], append=-1))
    most = np.zeros(count)
    most[member[order][last]] = distance[order][last]
    far = distance >= most[member] / 2
    length = np.bincount(member[far], step[far], count)
    area = np.bincount(member[far], (step * distance)[far], count)
    at = found[order[last]]
    of = block[at]
    return _Candidates("apart", matches.points.xy[at], matches.signed_m[at], length[of], area[of])


def _alone(
    what: str, matches: Matches, block: NDArray[np.intp], count: int, reach_m: float
) -> _Candidates:
    """Return a place in each block where a line has no other: the middle one of its points."""
    alone = np.flatnonzero(~matches.found)
    ordered = alone[np.argsort(block[alone], kind="stable")]
    sizes = np.bincount(block[alone], minlength=count)
    first = np.cumsum(sizes) - sizes
    some = sizes > 0
    at = ordered[(first + sizes // 2)[some]]
    length = np.bincount(block[alone], matches.points.step[alone], count)[some]
    nothing = np.full(len(at), np.nan)
    return _Candidates(what, matches.points.xy[at], nothing, length, length * reach_m)
