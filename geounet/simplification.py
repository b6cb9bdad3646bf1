"""Lines with fewer vertices, none further than a tolerance from where it was, and none that cross.

Nothing is moved: vertices are left out, of lines and of the areas on both sides alike, so all three
keep one edge. Which ones is settled by [1]_ within a band of rows, and the vertices on rows between
bands stay, so a band needs to know nothing of the next.

A chord takes the place of a stretch of line only if no vertex of anything else lies between the
two. As originals do not cross, that is enough for chords not to cross either, nor to pass over an
island, whichever others are drawn: a line that came through a chord would have to end between it
and its stretch, or leave through the stretch itself. Where something does lie there the stretch is
halved at its farthest vertex, and both halves are tried again.

References:
    .. [1] Douglas and Peucker (1973), "Algorithms for the reduction of the number of points
       required to represent a digitized line or its caricature", doi:10.3138/FM57-6770-U75U-7727.
"""

from itertools import pairwise

import numpy as np
import shapely
from numpy.typing import NDArray

from geounet.ragged import Geometries

LEAST_BAND = 64
"""Rows of the smallest band."""
TOLERANCES_IN_BAND = 16
"""Rows of a band are at least that many tolerances, so that few vertices stay for its sake."""


def band_rows(tolerance_px: float) -> int:
    """Return how many rows are simplified together."""
    return max(LEAST_BAND, int(np.ceil(TOLERANCES_IN_BAND * tolerance_px)))


def simplify(
    lines: Geometries,
    tolerance_m: float,
    metres: NDArray[np.float64],
    obstacles: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Choose the vertices that lines keep.

    Args:
        lines: LineStrings (col, row, …) that touch neither themselves nor each other. Ends stay,
            and where rings start.
        tolerance_m: How far from what is left any vertex may lie.
        metres: (2, 2), takes steps (col, row) to metres.
        obstacles: (n, 2), (col, row) of corners that lines do not pass over either.

    Returns:
        For each vertex whether it stays, line after line.
    """
    points, line = shapely.get_coordinates(lines, return_index=True)
    count = len(points)
    if not count:
        return np.zeros(0, dtype=bool)
    places = (points - points.min(axis=0)) @ metres.T
    offsets = np.searchsorted(line, np.arange(len(lines) + 1))
    closed = shapely.is_closed(lines)
    same_place = np.arange(count)  # the closing vertex is the first again
    same_place[offsets[1:][closed] - 1] = offsets[:-1][closed]
    kept = _douglas_peucker(places, line, tolerance_m)
    _keep_triangles(kept, places, offsets, closed)
    _keep_bows(kept, points, places, offsets)

    once = np.flatnonzero(same_place == np.arange(count))
    # In pixels and not in metres, where what is on a chord along an edge of pixels might be beside.
    others = np.asarray(shapely.points(np.concatenate([points[once], obstacles])))
    tree = shapely.STRtree(others)
    number = np.append(once, np.full(len(obstacles), -1))
    chords = _chords(kept, line)
    while len(chords):
        stretches = _stretches(points, chords)
        which, found = tree.query(stretches, predicate="intersects")
        start, end = chords[which].T
        vertex = number[found]
        own = ((vertex >= start) & (vertex <= end)) | (vertex == same_place[end])
        blocked = chords[np.unique(which[~own])]
        parts = [part for a, b in blocked.tolist() for part in _halve(places, a, b, tolerance_m)]
        chords = np.array(parts, dtype=np.intp).reshape(-1, 2)
        kept[chords] = True
        chords = chords[chords[:, 1] - chords[:, 0] > 1]
    return kept


def _halve(
    places: NDArray[np.float64], start: int, end: int, tolerance_m: float
) -> list[tuple[int, int]]:
    """Replace a chord by chords to its farthest vertex, and theirs, until all are near enough."""
    middle = _farthest(places, start, end)
    done, rest = [], [(start, middle), (middle, end)]
    while rest:
        chord = rest.pop()
        if _away(places, *chord).max() > tolerance_m:
            middle = _farthest(places, *chord)
            rest += [(chord[0], middle), (middle, chord[1])]
        else:
            done.append(chord)
    return done


def _douglas_peucker(
    places: NDArray[np.float64], line: NDArray[np.intp], tolerance_m: float
) -> NDArray[np.bool_]:
    """Return which vertices stay, by each line alone."""
    numbered = np.column_stack([places, np.arange(len(places))])
    simple = shapely.simplify(
        shapely.linestrings(numbered, indices=line), tolerance_m, preserve_topology=False
    )
    kept = np.zeros(len(places), dtype=bool)
    kept[shapely.get_coordinates(simple, include_z=True)[:, 2].astype(np.intp)] = True
    return kept


def _keep_triangles(
    kept: NDArray[np.bool_],
    places: NDArray[np.float64],
    offsets: NDArray[np.intp],
    closed: NDArray[np.bool_],
) -> None:
    """Let rings keep three vertices at least, in place."""
    totals = np.add.reduceat(kept, offsets[:-1])
    for ring in np.flatnonzero(closed & (totals < 4)):
        first, last = offsets[ring], offsets[ring + 1] - 1
        if totals[ring] < 3:
            away = ((places[first:last] - places[first]) ** 2).sum(axis=1)
            kept[first + int(away.argmax())] = True
        stays = np.flatnonzero(kept[first : last + 1]) + first
        longest = max(pairwise(stays), key=lambda chord: _away(places, *chord).max())
        kept[_farthest(places, *longest)] = True


def _keep_bows(
    kept: NDArray[np.bool_],
    points: NDArray[np.float64],
    places: NDArray[np.float64],
    offsets: NDArray[np.intp],
) -> None:
    """Let lines from one edge of pixels, or row between bands, back to it keep a vertex, in place.

    Else a pond at the border, or at both sides of such a row, would have no area left.
    """
    first, last = offsets[:-1], offsets[1:] - 1
    straight = (points[first] == points[last]).any(axis=1) & ~(points[first] == points[last]).all(
        axis=1
    )
    for line in np.flatnonzero(straight & (np.add.reduceat(kept, first) == 2)):
        away = _away(places, first[line], last[line])
        if away.max() > 0:
            kept[first[line] + 1 + int(away.argmax())] = True


def _chords(kept: NDArray[np.bool_], line: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return from which to which vertex, (n, 2), others between are left out."""
    stays = np.flatnonzero(kept)
    chords = np.column_stack([stays[:-1], stays[1:]])
    return chords[(line[chords[:, 0]] == line[chords[:, 1]]) & (np.diff(chords)[:, 0] > 1)]


def _stretches(points: NDArray[np.float64], chords: NDArray[np.intp]) -> Geometries:
    """Return what lies between each chord and its stretch of line; not always valid."""
    sizes = chords[:, 1] - chords[:, 0] + 2
    ends = np.cumsum(sizes)
    step = np.arange(ends[-1]) - np.repeat(ends - sizes, sizes)
    index = np.repeat(chords[:, 0], sizes) + step
    index[ends - 1] = chords[:, 0]
    rings = np.append(0, ends).astype(np.int64)
    return shapely.from_ragged_array(
        shapely.GeometryType.POLYGON, points[index], (rings, np.arange(len(rings)))
    )


def _away(places: NDArray[np.float64], start: int, end: int) -> NDArray[np.float64]:
    """Return how far the vertices between two are from their chord; -1 if there are none."""
    if end - start < 2:
        return np.array([-1.0])
    along = places[end] - places[start]
    offset = places[start + 1 : end] - places[start]
    length2 = along @ along
    share = np.clip(offset @ along / length2, 0, 1) if length2 else np.zeros(len(offset))
    return np.sqrt(((offset - share[:, None] * along) ** 2).sum(axis=1))


def _farthest(places: NDArray[np.float64], start: int, end: int) -> int:
    """Return the vertex between two that is farthest from their chord."""
    return int(start) + 1 + int(_away(places, start, end).argmax())
