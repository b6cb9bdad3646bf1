"""Following lines through cells of four valid pixels, and which of them bound one area.

A line crosses the edges between centres of pixels next to each other, one of water and one of land,
and keeps land on its left as one looks at the picture. In a cell that is crossed four times the
mean of its corners says which two hang together.

A run is pixels next to each other in a row, all of them water or all of them land, whose centres
are joined by edges of such cells. What bounds a run on its left and what bounds it on its right
bound one area; and all that bounds an area within a strip hangs together so: from the leftmost
pixel beside a hole a run leads to something farther left, and in the end to the outline.
"""

from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from geounet.compiled import compiled, compiled_to_run_beside
from geounet.ragged import Lines

VALID, WATER, ALONG, DOWN, CELL = 1, 2, 4, 8, 16
"""Of a pixel: that it is valid, and water; that a line which is not followed yet crosses the edge
to the next in its row, or in its column; and that it is the first of four valid ones of a cell."""


NEAREST = 1e-6
"""Values nearer to the level than this are moved away from it, water up and land down.

A line through a pixel's centre has no unique way on, and at tenths of a metre from it vertices
would coincide once they are map coordinates.
"""
SUREST = 1e-4
"""Probability below which, and above 1 - which, a line is placed as if it were this."""

Values = NDArray[np.floating[Any]]


class Scale(NamedTuple):
    """Where water begins in a field, and in what its values count where lines are placed."""

    threshold: float
    """Where water begins, in values as they are read."""
    level: float
    """The same as it counts."""
    unit: float = 1.0
    """Values count divided by it."""
    least: float = 0.0
    """If above 0, values are probabilities and count as log-odds, cut off at those of `least` and
    1 - `least`, where they say how sure the network is and not how far the edge."""

    @property
    def numbers(self) -> tuple[float, float, float, float]:
        """All of it, as compiled functions take it."""
        return self.threshold, self.level, self.unit, self.least

    @classmethod
    def plain(cls, threshold: float) -> Self:
        """Return the scale of values that count as they are."""
        return cls(threshold, threshold)

    @classmethod
    def in_units(cls, threshold: float, unit: float) -> Self:
        """Return the scale of values that are divided by a power of two, which loses no digit."""
        return cls(threshold, threshold / unit, unit)

    @classmethod
    def log_odds(cls, threshold: float) -> Self:
        """Return the scale of probabilities.

        Across an edge the log-odds of a network go up evenly, its probability does not: it is
        nearly 0, then nearly 1, and a line interpolated in it keeps to the middle between two
        pixels, however much water each of them holds. The line crosses between the same pixels
        either way.
        """
        least = min(SUREST, threshold / 2, (1 - threshold) / 2)
        return cls(threshold, float(np.log(threshold / (1 - threshold))), 1.0, least)


@compiled
def _measure(value: float, scale: tuple[float, float, float, float]) -> float:
    """Return what a value counts, `NEAREST` off the level at least; NaN is NaN."""
    threshold, level, unit, least = scale
    counts = value / unit
    if least > 0:
        p = max(min(value, 1 - least), least)
        counts = np.log(p / (1 - p)) if value == value else np.nan
    if abs(counts - level) < NEAREST:
        return level + NEAREST if value >= threshold else level - NEAREST
    return counts


@compiled
def _measure_all(values: Values, scale: tuple[float, float, float, float]) -> NDArray[np.float64]:
    counts = np.empty(values.shape)
    for row in range(values.shape[0]):
        for col in range(values.shape[1]):
            counts[row, col] = _measure(float(values[row, col]), scale)
    return counts


def measure_values(values: Values, scale: Scale) -> NDArray[np.float64]:
    """Return what values, (height, width), count: none is at the level."""
    return _measure_all(values, scale.numbers)


ON_SIDE, EDGE = 1, 2
"""Of a pixel of a row: that it is on the side whose runs are sought; that the edge to the next one
is one of a cell."""


class Links(NamedTuple):
    """Which pieces of lines bound one area, and where others may hang on to it."""

    labels: NDArray[np.int64]
    """(pieces,), pieces of one label bound one area."""
    total: int
    """How many labels there are; some are of no piece: of runs that no line bounds."""
    owners: NDArray[np.int64]
    """(n,), labels."""
    points: NDArray[np.complex128]
    """(n,), col + 1j·row of centres of pixels within the area of `owners`: of each run on the
    strip's first and last row and beside the rim."""


class Followed(NamedTuple):
    """What lies in the cells of a strip between four valid pixels."""

    lines: Lines
    """Pieces; a closed one starts at its smallest (row, col)."""
    water: Links
    land: Links | None
    """If it was asked for."""


def follow(
    values: Values,
    scale: Scale,
    first_row: float,
    per_slope: tuple[float, float],
    *,
    land: bool,
) -> Followed:
    """Follow all lines of a strip through its cells between four valid pixels.

    Args:
        values: (rows + 2, width), NaN where invalid; lines are followed between the centres of the
            second row and the last but one. The first and the last column are invalid.
        scale: What they count.
        first_row: Position of the second row's centres, in pixels from the raster's upper edge;
            the first column's are half a pixel beyond its left edge.
        per_slope: How wide a line is, in metres, where values differ by 1 from pixel to pixel along
            a row, and down a column.
        land: Whether what bounds areas of land is wanted, too.
    """
    pixels, crossed = _classify(values, scale.threshold)
    points, offsets, piece = _follow(pixels, crossed, values, scale.numbers, first_row, *per_slope)
    count = len(offsets) - 1
    water = Links(*_link(pixels, VALID | WATER, piece, count, first_row))
    dry = Links(*_link(pixels, VALID, piece, count, first_row)) if land else None
    return Followed(Lines(points, offsets), water, dry)


@compiled_to_run_beside
def _classify(values: Values, threshold: float) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return what is known of each pixel that lines are followed between, and crossed edges.

    An edge is twice the number of the pixel that it leads on from, and 1 more if it is down a
    column.
    """
    rows, width = values.shape[0] - 2, values.shape[1]
    pixels = np.empty((rows, width), dtype=np.uint8)
    crossed, count = np.empty(1024, dtype=np.int64), 0
    for row in range(rows):
        for col in range(width):
            # As float64, or one next to it might change sides. Comparisons with NaN are false.
            value = float(values[row + 1, col])
            is_water = value >= threshold
            pixels[row, col] = (VALID if value == value else 0) | (WATER if is_water else 0)
        if row == 0:
            continue
        if count + 4 * width > len(crossed):
            crossed = np.concatenate((crossed, np.empty(len(crossed) + 4 * width, dtype=np.int64)))
        for col in range(width - 1):
            upper, next_upper = pixels[row - 1, col], pixels[row - 1, col + 1]
            lower, next_lower = pixels[row, col], pixels[row, col + 1]
            if not upper & next_upper & lower & next_lower & VALID:
                continue
            pixels[row - 1, col] |= CELL
            if not (upper ^ next_upper | lower ^ next_lower | upper ^ lower) & WATER:
                continue
            first = 2 * ((row - 1) * width + col)
            if (upper ^ next_upper) & WATER and not upper & ALONG:
                pixels[row - 1, col] |= ALONG
                crossed[count] = first
                count += 1
            if (lower ^ next_lower) & WATER:
                pixels[row, col] |= ALONG
                crossed[count] = first + 2 * width
                count += 1
            if (upper ^ lower) & WATER and not pixels[row - 1, col] & DOWN:
                pixels[row - 1, col] |= DOWN
                crossed[count] = first + 1
                count += 1
            if (next_upper ^ next_lower) & WATER:
                pixels[row - 1, col + 1] |= DOWN
                crossed[count] = first + 3
                count += 1
    return pixels, crossed[:count].copy()


@compiled
def _is_cell(pixels: NDArray[np.uint8], row: int, col: int) -> bool:
    rows, width = pixels.shape
    inside = 0 <= row < rows and 0 <= col < width
    return inside and pixels[row, col] & CELL != 0


@compiled
def _crossing(
    values: Values,
    scale: tuple[float, float, float, float],
    first_row: float,
    per_along: float,
    per_down: float,
    row: int,
    col: int,
    down: bool,
) -> tuple[float, float, float]:
    """Return where (col, row) a line crosses the edge from a pixel on, and how wide it is there.

    The same steps in the same order as along the rim, so that both come to the same number.
    """
    to_row, to_col = (1, 0) if down else (0, 1)
    level = scale[1]
    before = _measure(float(values[row + 1, col]), scale)
    after = _measure(float(values[row + 1 + to_row, col + to_col]), scale)
    along = after - before
    share = (level - before) / along
    slope, known = 0.0, 0
    for side in (-1, 1):
        beside_row, beside_col = row + 1 + side * to_col, col + side * to_row
        beside = _measure(float(values[beside_row, beside_col]), scale)
        beyond = _measure(float(values[beside_row + to_row, beside_col + to_col]), scale)
        across = (1 - share) * beside + share * beyond - level
        if across == across:  # NaN where one of them is invalid
            slope += side * across
            known += 1
    slope /= max(known, 1)
    if down:
        width = 1 / np.sqrt((along / per_down) ** 2 + (slope / per_along) ** 2)
        return col - 0.5, (first_row + row) + share, width
    width = 1 / np.sqrt((along / per_along) ** 2 + (slope / per_down) ** 2)
    return (col - 0.5) + share, first_row + row, width


@compiled_to_run_beside
def _follow(
    pixels: NDArray[np.uint8],
    crossed: NDArray[np.int64],
    values: Values,
    scale: tuple[float, float, float, float],
    first_row: float,
    per_along: float,
    per_down: float,
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int32]]:
    """Follow every line; marks of crossed edges are taken away on the way.

    Returns:
        Points (col, row, width); where pieces start; and the number of the piece that crosses the
        edge from each pixel to the next in its row, (rows · width,), anything elsewhere.
    """
    rows, width = pixels.shape
    # A ring has four crossings at least, and its first one twice.
    points = np.empty((len(crossed) + len(crossed) // 4 + 1, 3))
    offsets = np.zeros(len(crossed) + 1, dtype=np.int64)
    piece = np.empty(rows * width, dtype=np.int32)
    count, end = 0, 0
    # First what begins where there is no cell before it; all that is left then is closed.
    for closed in (False, True):
        for edge in crossed:
            down = edge % 2 == 1
            row, col = edge // 2 // width, edge // 2 % width
            pixel = pixels[row, col]
            if not pixel & (DOWN if down else ALONG):
                continue  # an earlier line went through it
            # Whether the line goes on into the cell below the edge, or right of it.
            onward = (pixel & WATER == 0) == down
            if not closed:
                behind_row = row - 1 if onward and not down else row
                behind_col = col - 1 if onward and down else col
                if _is_cell(pixels, behind_row, behind_col):
                    continue
            first, least = end, end
            while True:
                mark = DOWN if down else ALONG
                if not pixels[row, col] & mark:  # a ring is at its start again
                    points[end] = points[first]
                    end += 1
                    break
                pixels[row, col] ^= mark
                if not down:
                    piece[row * width + col] = count
                x, y, wide = _crossing(
                    values, scale, first_row, per_along, per_down, row, col, down
                )
                points[end, 0], points[end, 1], points[end, 2] = x, y, wide
                if y < points[least, 1] or (y == points[least, 1] and x < points[least, 0]):
                    least = end
                end += 1
                row = row if onward or down else row - 1
                col = col if onward or not down else col - 1
                if not _is_cell(pixels, row, col):
                    break
                row, col, down, onward = _turn(pixels, values, scale, row, col, down, onward)
            if closed and least > first:
                _start_at(points, first, end, least)
            count += 1
            offsets[count] = end
    return points[:end], offsets[: count + 1], piece


@compiled
def _turn(
    pixels: NDArray[np.uint8],
    values: Values,
    scale: tuple[float, float, float, float],
    row: int,
    col: int,
    down: bool,
    onward: bool,
) -> tuple[int, int, bool, bool]:
    """Return by which edge a line leaves a cell that it entered.

    Args:
        pixels: As `_classify` gives them.
        values: As `follow` takes them.
        scale: Likewise.
        row: Of the cell's first pixel.
        col: Likewise.
        down: Whether the edge by which it came is between two pixels of a column.
        onward: Whether it came downward through an edge along a row, or rightward through one down
            a column.

    Returns:
        Row and column of the pixel before the edge, and the same two of the way out.
    """
    # With land on the left: the corner ahead of the left one, and of the right one.
    if down:
        ahead = col + 1 if onward else col
        left_row, right_row = (row, row + 1) if onward else (row + 1, row)
        left, right = pixels[left_row, ahead] & WATER, pixels[right_row, ahead] & WATER
    else:
        ahead = row + 1 if onward else row
        left_col, right_col = (col + 1, col) if onward else (col, col + 1)
        left, right = pixels[ahead, left_col] & WATER, pixels[ahead, right_col] & WATER
    if left and not right:
        middle = 0.0
        for corner in range(4):
            value = values[row + 1 + corner // 2, col + corner % 2]
            middle += _measure(float(value), scale) / 4
        right = np.uint8(WATER if middle > scale[1] else 0)
        left = right
    if right and not left:  # straight on
        if down:
            return row, col + (1 if onward else 0), True, onward
        return row + (1 if onward else 0), col, False, onward
    to_left = left != 0
    if down:  # rightward, left is up; leftward, left is down
        downward = onward != to_left
        return row + (1 if downward else 0), col, False, downward
    rightward = onward == to_left  # downward, left is to the right
    return row, col + (1 if rightward else 0), True, rightward


@compiled
def _start_at(points: NDArray[np.float64], first: int, end: int, least: int) -> None:
    """Let a ring, whose points lie from `first` to before `end`, start at `least`."""
    ring = points[first : end - 1].copy()
    head = least - first
    points[first : end - 1 - head] = ring[head:]
    points[end - 1 - head : end - 1] = ring[:head]
    points[end - 1] = ring[head]


@compiled
def _root(parents: NDArray[np.int64], label: int) -> int:
    while parents[label] != label:
        parents[label] = parents[parents[label]]
        label = parents[label]
    return label


@compiled_to_run_beside
def _link(
    pixels: NDArray[np.uint8],
    side: int,
    piece: NDArray[np.int32],
    count: int,
    first_row: float,
) -> tuple[NDArray[np.int64], int, NDArray[np.int64], NDArray[np.complex128]]:
    """Link pieces by the runs of one side, as `Links` has them.

    Args:
        pixels: As `_classify` gives them.
        side: `VALID` for land, with `WATER` for water.
        piece: As `_follow` gives it.
        count: How many pieces there are.
        first_row: As `follow` takes it.
    """
    rows, width = pixels.shape
    parents = np.arange(count)
    owners, points = np.empty(64, dtype=np.int64), np.empty(64, dtype=np.complex128)
    found, bare = 0, 0
    # Of each pixel whether it is on the side, and whether the edge to the next is one of a cell.
    state = np.zeros(width + 1, dtype=np.uint8)
    for row in range(rows):
        above = pixels[max(row - 1, 0)]
        for col in range(width):
            on_side = pixels[row, col] & (VALID | WATER) == side
            state[col] = on_side | (((pixels[row, col] | above[col]) & CELL) // CELL * EDGE)
        outermost = row in (0, rows - 1)
        col = 0
        while col < width:
            # Most pixels are as the one before: in the midst of a run, or of none.
            while state[col] == state[col - 1] and 0 < col < width:
                col += 1
            if not state[col] & ON_SIDE or state[col] | state[col - 1] < EDGE:
                col += 1
                continue
            start = col
            while state[col] & EDGE and state[col + 1] & ON_SIDE:
                col += 1
            left = int(piece[row * width + start - 1]) if state[start - 1] & EDGE else -1
            right = int(piece[row * width + col]) if state[col] & EDGE else -1
            if left >= 0 and right >= 0:
                parents[_root(parents, right)] = _root(parents, left)
            if outermost or left < 0 or right < 0:
                owner = max(left, right)
                if owner < 0:
                    owner = count + bare
                    bare += 1
                if found + 2 > len(owners):
                    owners = np.concatenate((owners, np.empty_like(owners)))
                    points = np.concatenate((points, np.empty_like(points)))
                owners[found], points[found] = owner, complex(start - 0.5, first_row + row)
                found += 1
                # The area along the rim has all centres on it: a run there has its last on it, too.
                if right < 0:
                    owners[found], points[found] = owner, complex(col - 0.5, first_row + row)
                    found += 1
            col += 1
    labels, known = np.empty(count, dtype=np.int64), 0
    for one in range(count):
        if parents[one] == one:
            labels[one] = known
            known += 1
    for one in range(count):
        labels[one] = labels[_root(parents, one)]
    for one in range(found):
        owner = owners[one]
        owners[one] = labels[owner] if owner < count else known + owner - count
    return labels, known + bare, owners[:found].copy(), points[:found].copy()
