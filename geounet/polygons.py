"""From a field to areas: water or land, within the waterline and edges of pixels at nodata."""

from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray

from geounet.contours import Contours
from geounet.joiner import Grouped, Joiner, Strings, Waiting
from geounet.ragged import Areas, Geometries, Lines, Offsets, Points
from geounet.rings import Extents, begin_at, measure
from geounet.vertices import as_complex, keep_vertices, roll_rings


class AreaSweep:
    """Joins the areas of strips, from the top down, and hands out each as soon as it is whole.

    Areas are valid polygons whose outlines and holes run as the lines do, land on the left, and
    start where lines do, at their smallest (row, col); holes come in the order of their starts.
    Areas are handed out in the order of their last row, then of their start: whatever the height of
    the strips, the same.

    What is held is the outlines of areas that go on below, holes included; and two numbers for each
    end of nodata on a row between strips, and for each vertex left out there.

    Args:
        land: Whether it is land that is joined, and not water.
    """

    def __init__(self, *, land: bool = False) -> None:
        self._joiner, self._waiting = Joiner(), Waiting(widths=False)
        self._land = land
        self._sides = np.empty(0, dtype=np.complex128)
        """Vertices that only strips have made, on straight edges of pixels."""
        self._ends = np.empty(0, dtype=np.complex128)
        """Other vertices to leave out, where pieces end."""

    def add(
        self,
        contours: Contours,
        sweep_row: float,
        left_out: NDArray[np.complex128] | None = None,
    ) -> Areas:
        """Take the areas of the next strip.

        Args:
            contours: What is in the strip.
            sweep_row: Where the next strip begins.
            left_out: (n,), col + 1j·row of vertices of lines that outlines are to have no more,
                ascending; None for none.

        Returns:
            Areas that are whole now.
        """
        lines, rims = contours.lines, contours.rims
        links = contours.links
        if self._land:
            rims, links = contours.land_rims, contours.land_links
        assert links is not None  # land that is joined was traced
        if left_out is not None and len(left_out):
            lines, line_ends = _leave_out_of_lines(lines, left_out)
            rims, rim_ends = _leave_out(rims, left_out)
            self._ends = np.unique(np.concatenate([self._ends, line_ends, rim_ends]))
        # Around the centre of a valid pixel all is valid, so areas of water that share one are
        # parts of one area; and those that share an edge share a centre.
        points, owner = shapely.get_coordinates(rims, return_index=True)
        at_centre = _are_centres(points)
        centres, owner = as_complex(points[at_centre]), owner[at_centre]
        in_parts, firsts, owner = np.unique(owner, return_index=True, return_inverse=True)
        strings, area_of = _cut_open(rims[in_parts])
        alone = np.delete(rims, in_parts)
        if self._land:  # what bounds it runs the other way round so far
            strings, alone = shapely.reverse(strings), shapely.reverse(alone)
        # All strings of an area share its first centre.
        numbers = links.total + np.arange(len(strings))
        some = np.flatnonzero(~shapely.is_empty(strings))
        parts = Strings(lines, links.labels), Strings(_with_no_width(strings[some]), numbers[some])
        owners = [links.owners, numbers, links.total + np.searchsorted(area_of, owner)]
        shared = [links.points, centres[firsts][area_of], centres]
        for pieces, labels in parts:
            loose = np.flatnonzero(~pieces.closed)
            ends = np.concatenate([pieces.offsets[loose], pieces.offsets[loose + 1] - 1])
            owners.append(np.tile(labels[loose], 2))
            shared.append(as_complex(pieces.points[ends]))
        grouped = self._joiner.add(
            links.total + len(strings), np.concatenate(owners), np.concatenate(shared), sweep_row
        )
        now = [part._replace(groups=grouped.new[part.groups]) for part in parts]
        self._sides = np.concatenate([self._sides, contours.sides])
        return _mend(_arrange(self._rings(now, grouped, alone), land=self._land), land=self._land)

    def _rings(self, parts: Sequence[Strings], grouped: Grouped, alone: Geometries) -> Strings:
        """Return the rings of areas that are whole now.

        No step keeps what it was given, here and on the way to a file: an area that spans a scene
        is in memory twice at a time, not once for each of them.

        Args:
            parts: Pieces of a strip, and the group of each.
            grouped: What has become of groups.
            alone: Polygons that are whole by themselves.
        """
        rings = self._waiting.add(parts, grouped).tied()
        rings = rings._replace(lines=_straighten(rings.lines, self._sides, self._ends))
        if not len(alone):
            return rings
        more = _rings_of(alone)
        return Strings.joined([rings, more._replace(groups=grouped.total + more.groups)])


def _leave_out_of_lines(
    lines: Lines, left_out: NDArray[np.complex128]
) -> tuple[Lines, NDArray[np.complex128]]:
    """Leave vertices out of lines, but not where they end; return those that are still to go."""
    places = as_complex(lines.points)
    goes = np.isin(places, left_out)
    is_end = np.zeros(len(goes), dtype=bool)
    is_end[lines.offsets[:-1]] = is_end[lines.offsets[1:] - 1] = True
    kept = ~goes | is_end
    offsets = np.append(0, np.cumsum(kept))[lines.offsets]
    return Lines(lines.points[kept], offsets), places[goes & is_end]


def _leave_out(
    areas: Geometries, left_out: NDArray[np.complex128]
) -> tuple[Geometries, NDArray[np.complex128]]:
    """Leave vertices out of pieces, but not where they are joined to others.

    Returns:
        The pieces; and the vertices that are still to go once they are joined.
    """
    if not len(areas):
        return areas, left_out[:0]
    kind, points, (rings, area_offsets) = shapely.to_ragged_array(areas)
    at_centre = _are_centres(points)
    before, after = np.roll(at_centre, 1), np.roll(at_centre, -1)
    starts, stops = rings[:-1], rings[1:] - 1  # the closing vertex is the first again
    before[starts], after[stops] = at_centre[stops - 1], at_centre[starts + 1]
    goes = np.isin(as_complex(points), left_out)
    is_end = before | after
    ends = as_complex(points[goes & is_end])
    points, ring_offsets = keep_vertices(points, rings.astype(np.int64), ~goes | is_end)
    return shapely.from_ragged_array(kind, points, (ring_offsets, area_offsets)), ends


def _are_centres(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    col, row = points.T
    return (col - np.floor(col) == 0.5) & (row - np.floor(row) == 0.5)


def _cut_open(areas: Geometries) -> tuple[Geometries, NDArray[np.int64]]:
    """Return what of the outlines of areas is not shared with other pieces, and whose each is.

    Edges that are shared run through centres of pixels, and no other edge does. In the midst of
    water an area may have no outline, and yet joins others: it gets an empty one.

    Returns:
        LineStrings, in the order of the areas; and the area of each, each at least once.
    """
    if not len(areas):
        return areas, np.empty(0, dtype=np.int64)
    _, points, (rings, area_offsets) = shapely.to_ragged_array(areas)
    ring = np.repeat(np.arange(len(rings) - 1), np.diff(rings))
    # Rings that have a centre start with one, so that no string runs across their start.
    first = np.zeros(len(rings) - 1, dtype=np.int64)
    centres = np.flatnonzero(_are_centres(points))[::-1]
    first[ring[centres]] = centres - rings[ring[centres]]
    points = points[roll_rings(rings.astype(np.int64), first)]
    at_centre = _are_centres(points)
    starts = np.diff(ring, prepend=-1) != 0
    string = np.cumsum(starts | np.diff(at_centre, prepend=False))
    kept = ~at_centre
    numbers, string = np.unique(string[kept], return_inverse=True)
    strings = np.asarray(shapely.linestrings(points[kept], indices=string))
    ring_of = ring[kept][np.searchsorted(string, np.arange(len(numbers)))]
    area_of = np.searchsorted(area_offsets, ring_of, side="right") - 1
    none = np.setdiff1d(np.arange(len(areas)), area_of)
    owner = np.concatenate([area_of, none])
    order = np.argsort(owner, kind="stable")
    return np.concatenate([strings, np.full(len(none), shapely.LineString())])[order], owner[order]


def _with_no_width(strings: Geometries) -> Lines:
    """Return LineStrings (col, row) as lines whose width is not known."""
    return Lines.of(shapely.force_3d(strings, z=0.0))


def _rings_of(areas: Geometries) -> Strings:
    """Return the rings of areas, which run as lines do; a group is what bounds one area."""
    if not len(areas):
        return Strings(Lines.none(), np.empty(0, dtype=np.int64))
    _, points, (rings, offsets) = shapely.to_ragged_array(areas, include_z=False)
    groups = np.repeat(np.arange(len(areas)), np.diff(offsets))
    return Strings(Lines(points, rings.astype(np.int64)), groups)


def _straighten(rings: Lines, sides: NDArray[np.complex128], ends: NDArray[np.complex128]) -> Lines:
    """Leave vertices out of rings: `sides`, which lie on edges between columns, and `ends`."""
    points = rings.points
    goes = points[:, 0] == np.floor(points[:, 0])
    goes[goes] = np.isin(as_complex(points[goes]), sides)
    if len(ends):
        goes |= np.isin(as_complex(points), ends)
    return Lines(*keep_vertices(points, rings.offsets, ~goes)) if goes.any() else rings


def _arrange(
    rings: Strings, *, land: bool, last_rows: NDArray[np.float64] | None = None
) -> tuple[Areas, NDArray[np.float64]]:
    """Make areas of their rings, which run as lines do.

    Args:
        rings: A group is what bounds one area.
        land: Whether areas are land.
        last_rows: (groups,), the last row that an area counts with; None for its own.

    Returns:
        Areas in the order of `in_order`, of each the outline and then its holes by their starts;
        and the last row of each.
    """
    lines, groups = rings
    if not len(lines):
        return Areas.none(), np.empty(0)
    extents = Extents(*measure(lines.points, lines.offsets))
    is_hole = (extents.twice_area > 0) == land
    col, row, next_col, next_row = _starts(lines.points, lines.offsets, extents.first)
    # Two holes may start where they touch, at a corner of nodata, but then go different ways.
    starts = np.stack([next_col, next_row, col, row])
    outlines = np.flatnonzero(~is_hole)
    last_row = extents.last_row[outlines]
    if last_rows is not None:
        last_row = last_rows[groups[outlines]]
    by_row = np.lexsort([*starts[:, outlines], last_row])
    outlines = outlines[by_row]
    turn = np.full(groups.max() + 1, -1)
    turn[groups[outlines]] = np.arange(len(outlines))
    order = np.lexsort([*starts, is_hole, turn[groups]])
    is_first = np.diff(turn[groups[order]], prepend=-1) != 0
    assert np.array_equal(is_first, ~is_hole[order])  # one outline for each
    offsets = np.append(0, np.cumsum(np.diff(lines.offsets)[order]))
    points = np.empty((len(lines.points), 2))
    begin_at(lines.points, lines.offsets, order, extents.first[order], points, offsets[:-1])
    areas = Areas(points, offsets, np.append(np.flatnonzero(is_first), len(order)))
    return areas, last_row[by_row]


def _starts(points: Points, offsets: Offsets, first: Offsets) -> tuple[NDArray[np.float64], ...]:
    """Return column and row of vertices of rings, and of the next ones, (rings,) each."""
    after = np.where(first + 1 < offsets[1:] - 1, first + 1, offsets[:-1])
    return (*points[first, :2].T, *points[after, :2].T)


def _mend(arranged: tuple[Areas, NDArray[np.float64]], *, land: bool) -> Areas:
    """Split outlines that touch themselves, where two pixels of nodata touch at a corner.

    Args:
        arranged: Areas in the order of `in_order`, and the last row of each.
        land: Whether they are land.

    Returns:
        Valid areas, in that order; those that were split count with the last row of the whole.
    """
    areas, last_row = arranged
    del arranged
    points, rings = areas.points, areas.rings
    at_edge = points[:, 0] == np.floor(points[:, 0])
    at_edge[at_edge] = points[at_edge, 1] == np.floor(points[at_edge, 1])
    at_edge[rings[1:] - 1] = False  # closing points
    corners = np.flatnonzero(at_edge)
    if not len(corners):
        return areas
    owner = np.searchsorted(rings[areas.offsets], corners, side="right") - 1
    _, visit, times = np.unique(
        np.column_stack([owner, points[corners]]), axis=0, return_inverse=True, return_counts=True
    )
    touching = times[visit.ravel()] > 1
    broken = np.unique(owner[touching])
    if not len(broken):
        return areas
    # Other holes stay as they are: GEOS would look for the outline around each of them.
    is_given = np.zeros(len(rings) - 1, dtype=bool)
    is_given[np.searchsorted(rings, corners[touching], side="right") - 1] = True
    is_given[areas.offsets[broken]] = True
    split = shapely.coverage_union_all(
        _with_rings(areas, broken, is_given).shapes()[:, None], axis=1
    )
    parts, part_of = shapely.get_parts(split, return_index=True)
    parts = shapely.orient_polygons(parts, exterior_cw=land)
    others = _rings_apart(areas, broken, is_given, parts, part_of)
    rows = np.concatenate([last_row[broken][part_of], np.delete(last_row, broken)])
    del areas, points, rings
    whole = Strings.joined([_rings_of(parts), others])
    del others
    return _arrange(whole, land=land, last_rows=rows)[0]


def _with_rings(areas: Areas, which: NDArray[np.int64], some: NDArray[np.bool_]) -> Areas:
    """Return some areas with some of their rings, outlines among them."""
    taken = areas.take(which)
    first, last = areas.offsets[which], areas.offsets[which + 1]
    kept = np.concatenate([some[one:other] for one, other in zip(first, last, strict=True)])
    lines = Lines(taken.points, taken.rings).take(kept)
    return Areas(lines.points, lines.offsets, np.append(0, np.cumsum(kept))[taken.offsets])


def _rings_apart(
    areas: Areas,
    broken: NDArray[np.int64],
    is_given: NDArray[np.bool_],
    parts: Geometries,
    part_of: NDArray[np.int64],
) -> Strings:
    """Return the rings that parts of areas do not have, and the number of the part each lies in.

    Rings of areas that did not fall into parts are among them, with numbers after those of parts.

    Args:
        areas: Before some fell into parts.
        broken: Those that did, ascending.
        is_given: Of each ring, whether parts have it already, if its area fell into any.
        parts: Polygons.
        part_of: (parts,), of which of `broken` each is, ascending.
    """
    is_broken = np.zeros(len(areas), dtype=bool)
    is_broken[broken] = True
    number = np.where(is_broken, np.cumsum(is_broken), len(parts) + np.cumsum(~is_broken)) - 1
    sizes = np.diff(areas.offsets)
    group, of_broken = np.repeat(number, sizes), np.repeat(is_broken, sizes)
    holes = np.flatnonzero(of_broken & ~is_given)
    starts, owner = areas.points[areas.rings[holes]], group[holes]
    for one in np.unique(owner):
        mine, ours = np.flatnonzero(owner == one), np.flatnonzero(part_of == one)
        largest = ours[np.argmax(shapely.area(parts[ours]))]
        group[holes[mine]] = largest
        for part in ours[ours != largest]:
            left, top, right, bottom = shapely.bounds(parts[part])
            col, row = starts[mine].T
            near = mine[(col > left) & (col < right) & (row > top) & (row < bottom)]
            group[holes[near[shapely.contains_xy(parts[part], starts[near])]]] = part
    apart = np.flatnonzero(~(of_broken & is_given))
    return Strings(Lines(areas.points, areas.rings).take(apart), group[apart])


def in_order(areas: Areas, last_row: NDArray[np.float64] | None = None) -> Areas:
    """Sort areas by `last_row`, or else their own, and then by where their outlines start."""
    if not len(areas):
        return areas
    if last_row is None:
        last_row = np.maximum.reduceat(areas.points[:, 1], areas.rings[areas.offsets[:-1]])
    first = areas.rings[areas.offsets[:-1]]
    # Two areas may start where they touch, at a corner of nodata, but then go different ways.
    (col, row), (next_col, next_row) = areas.points[first].T, areas.points[first + 1].T
    order = np.lexsort([next_col, next_row, col, row, last_row])
    return areas if (order[1:] > order[:-1]).all() else areas.take(order)
