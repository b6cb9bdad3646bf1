"""From a field to areas: water or land, within the waterline and edges of pixels at nodata."""

import numpy as np
import shapely
from numpy.typing import NDArray

from geounet.contours import Contours, Geometries, Strip
from geounet.joiner import Joiner
from geounet.vertices import as_complex, keep_vertices, roll_rings


class AreaSweep:
    """Joins the areas of strips, from the top down, and hands out each as soon as it is whole.

    Areas are valid polygons whose outlines and holes run as the lines do, land on the left; else
    they are in the normal form of `shapely.normalize`. They are handed out in the order of their
    last row, then of their start: whatever the height of the strips, the same.

    What is held is the outlines of areas that go on below, holes included; and two numbers for each
    end of nodata on a row between strips, and for each vertex left out there.

    Args:
        land: Whether it is land that is joined, and not water.
    """

    def __init__(self, *, land: bool = False) -> None:
        self._joiner = Joiner()
        self._land = land
        self._sides = np.empty(0, dtype=np.complex128)
        self._ends = np.empty(0, dtype=np.complex128)

    def add(
        self, contours: Contours, strip: Strip, left_out: NDArray[np.complex128] | None = None
    ) -> Geometries:
        """Take the areas of the next strip.

        Args:
            contours: What is in the strip.
            strip: The strip itself.
            left_out: (n,), col + 1j·row of vertices of lines that outlines are to have no more,
                ascending; None for none.

        Returns:
            Polygons (col, row) that are whole now.
        """
        lines, rims = contours.lines[: contours.inner], contours.rims
        links = contours.links
        if self._land:
            # Lines have land on their left; and so has what bounds land, to shapely.
            lines, rims, links = shapely.reverse(lines), contours.land_rims, contours.land_links
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
        first = len(lines) + links.bare
        outlines = np.concatenate([lines, np.full(links.bare, shapely.LineString()), strings])
        ends, end_owners = _open_ends(outlines)
        whole, groups = self._joiner.add(
            outlines,
            np.concatenate(
                [
                    links.owners,
                    # All strings of an area share its first centre.
                    first + np.arange(len(strings)),
                    first + np.searchsorted(area_of, owner),
                    end_owners,
                ]
            ),
            np.concatenate([links.points, centres[firsts][area_of], centres, ends]),
            strip.sweep_row,
        )
        joined = _join(whole, groups, self._sides, self._ends)
        self._sides = np.concatenate([self._sides, strip.sides()])
        return in_order(
            *_mend(np.concatenate([np.delete(rims, in_parts), joined])), land=self._land
        )


def _open_ends(outlines: Geometries) -> tuple[NDArray[np.complex128], NDArray[np.intp]]:
    """Return where outlines end that are not closed, and which outline each end is of."""
    owner = np.flatnonzero(~shapely.is_closed(outlines))
    points, of = shapely.get_coordinates(outlines[owner], return_index=True)
    new = of[1:] != of[:-1]
    starts, stops = np.append(True, new)[: len(of)], np.append(new, True)[: len(of)]
    is_end = starts | stops
    return as_complex(points[is_end]), owner[of[is_end]]


def _leave_out_of_lines(
    lines: Geometries, left_out: NDArray[np.complex128]
) -> tuple[Geometries, NDArray[np.complex128]]:
    """Leave vertices out of lines, but not where they end; return those that are still to go."""
    points, line = shapely.get_coordinates(lines, return_index=True)
    if not len(points):
        return lines, left_out[:0]
    goes = np.isin(as_complex(points), left_out)
    new = line[1:] != line[:-1]
    is_end = np.append(True, new) | np.append(new, True)
    kept = ~goes | is_end
    return np.asarray(shapely.linestrings(points[kept], indices=line[kept])), as_complex(
        points[goes & is_end]
    )


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


def _cut_open(areas: Geometries) -> tuple[Geometries, NDArray[np.intp]]:
    """Return what of the outlines of areas is not shared with other pieces, and whose each is.

    Edges that are shared run through centres of pixels, and no other edge does. In the midst of
    water an area may have no outline, and yet joins others: it gets an empty one.

    Returns:
        LineStrings, in the order of the areas; and the area of each, each at least once.
    """
    if not len(areas):
        return areas, np.empty(0, dtype=np.intp)
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


def _join(
    outlines: Geometries,
    groups: NDArray[np.intp],
    sides: NDArray[np.complex128],
    ends: NDArray[np.complex128],
) -> Geometries:
    """Join the open outlines of each group to a polygon; its holes run the other way round.

    Args:
        outlines: LineStrings, whole rings or parts of them; empty ones are passed over.
        groups: Of each, ascending.
        sides: Vertices that only strips have made, on straight edges of pixels; left out.
        ends: Other vertices to leave out, where parts end.
    """
    some = ~shapely.is_empty(outlines)
    strings, group = outlines[some], groups[some]
    if not len(strings):
        return strings
    closed = shapely.is_closed(strings)
    rings = strings
    if not closed.all():
        opened, number = np.unique(group[~closed], return_inverse=True)
        merged, of = shapely.get_parts(
            shapely.line_merge(
                shapely.multilinestrings(strings[~closed], indices=number), directed=True
            ),
            return_index=True,
        )
        rings = np.concatenate([strings[closed], merged])
        group = np.concatenate([group[closed], opened[of]])
        order = np.argsort(group, kind="stable")
        rings, group = rings[order], group[order]
    points, ring = shapely.get_coordinates(rings, return_index=True)
    is_hole = _signed_areas(points, ring) < 0
    offsets = np.searchsorted(ring, np.arange(len(rings) + 1))
    order = np.lexsort([is_hole, group])
    if (order != np.arange(len(order))).any():
        sizes = np.diff(offsets)[order]
        ended = np.cumsum(sizes)
        index = np.arange(len(points)) + np.repeat(offsets[:-1][order] - (ended - sizes), sizes)
        points, offsets = points[index], np.append(0, ended)
    points, offsets = _straighten(points, offsets, sides, ends)
    is_first = np.diff(group[order], prepend=-1) != 0
    assert np.array_equal(is_first, ~is_hole[order])  # one outline for each
    areas = np.append(np.flatnonzero(is_first), len(order))
    return shapely.from_ragged_array(shapely.GeometryType.POLYGON, points, (offsets, areas))


def _signed_areas(points: NDArray[np.float64], ring: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the area of each closed ring, negative where it runs clockwise to shapely."""
    same = ring[1:] == ring[:-1]
    # From the ring's first point, or the digits of far places would drown those of small rings.
    (x, y) = (points - points[np.searchsorted(ring, np.arange(ring[-1] + 1))][ring]).T
    crossed = (x[:-1] * y[1:] - x[1:] * y[:-1])[same]
    return np.bincount(ring[1:][same], weights=crossed) / 2


def _mend(areas: Geometries) -> tuple[Geometries, NDArray[np.float64]]:
    """Split outlines that touch themselves, where two pixels of nodata touch at a corner.

    Returns:
        Valid areas; and the last row of each before it was split.
    """
    last_row = shapely.bounds(areas)[:, 3]
    if not len(areas):
        return areas, last_row
    _, points, (rings, area_offsets) = shapely.to_ragged_array(areas)
    at_edge = points == np.floor(points)
    corners = np.flatnonzero(at_edge[:, 0] & at_edge[:, 1])
    corners = np.setdiff1d(corners, rings[1:] - 1, assume_unique=True)  # closing points
    owner = np.searchsorted(rings[area_offsets], corners, side="right") - 1
    visits, times = np.unique(np.column_stack([owner, points[corners]]), axis=0, return_counts=True)
    broken = np.unique(visits[times > 1, 0].astype(np.intp))
    if not len(broken):
        return areas, last_row
    split = shapely.coverage_union_all(areas[broken][:, None], axis=1)
    parts, part_of = shapely.get_parts(split, return_index=True)
    return (
        np.concatenate([np.delete(areas, broken), parts]),
        np.concatenate([np.delete(last_row, broken), last_row[broken][part_of]]),
    )


def _straighten(
    points: NDArray[np.float64],
    offsets: NDArray[np.int64],
    sides: NDArray[np.complex128],
    ends: NDArray[np.complex128],
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Leave vertices out of rings: `sides`, which lie on edges between columns, and `ends`."""
    goes = points[:, 0] == np.floor(points[:, 0])
    goes[goes] = np.isin(as_complex(points[goes]), sides)
    if len(ends):
        goes |= np.isin(as_complex(points), ends)
    return keep_vertices(points, offsets, ~goes) if goes.any() else (points, offsets)


def in_order(areas: Geometries, last_row: NDArray[np.float64], *, land: bool = False) -> Geometries:
    """Normalise areas, and sort them by `last_row`, then by their outline's first points."""
    # With rows downward, clockwise to the eye is counterclockwise to shapely.
    areas = shapely.orient_polygons(shapely.normalize(areas), exterior_cw=land)
    points, owner = shapely.get_coordinates(areas, return_index=True)
    first = np.searchsorted(owner, np.arange(len(areas)))
    # Two areas may start where they touch, at a corner of nodata, but then go different ways.
    (col, row), (next_col, next_row) = points[first].T, points[first + 1].T
    return areas[np.lexsort([next_col, next_row, col, row, last_row])]
