"""What belongs together across strips, by the points that parts share, and what waits for more."""

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from geounet.allocation import give_back
from geounet.compiled import compiled
from geounet.ragged import Lines, Points
from geounet.vertices import as_complex

FEW = 2**13
"""Vertices that are not worth an array of their own."""
MANY = 2**20
"""Vertices that came in so many small arrays that one large one finds no place where they were."""


class Grouped(NamedTuple):
    """Groups after a strip. Those that go on below have the first numbers, the others follow."""

    held: NDArray[np.int64]
    """The group that each group that was open is of now."""
    new: NDArray[np.int64]
    """The group of each part of the strip."""
    open: int
    """How many groups may yet have more below."""
    total: int
    """How many there are."""


class Joiner:
    """Finds which parts belong together, strip by strip."""

    def __init__(self) -> None:
        self._open = 0
        self._points = np.empty(0, dtype=np.complex128)
        self._groups = np.empty(0, dtype=np.int64)

    def add(
        self,
        count: int,
        owners: NDArray[np.integer],
        points: NDArray[np.complex128],
        sweep_row: float,
    ) -> Grouped:
        """Take the parts of the next strip.

        Args:
            count: How many there are.
            owners: For each of `points`, the number of the part that it belongs to.
            points: col + 1j·row; parts that share one belong together.
            sweep_row: The row on which parts of the next strip may share points.
        """
        held = self._open
        owners = held + owners.astype(np.int64)
        all_points = np.concatenate([self._points, points])
        members = np.concatenate([self._groups, owners])
        at_sweep = points.imag == sweep_row
        order = np.argsort(all_points, kind="stable")
        group, still_open, total = _group(
            all_points[order], members[order], owners[at_sweep], held + count
        )
        self._open = still_open
        self._points, self._groups = points[at_sweep], group[owners[at_sweep]]
        return Grouped(group[:held], group[held:], still_open, total)


@compiled
def _group(
    points: NDArray[np.complex128],
    members: NDArray[np.int64],
    opened: NDArray[np.int64],
    count: int,
) -> tuple[NDArray[np.int64], int, int]:
    """Return the group of each of `count` parts, how many groups are open, and how many there are.

    Args:
        points: Ascending.
        members: Of which part each of them is.
        opened: Parts whose groups are open; these get the first numbers.
        count: How many parts there are.
    """
    parents = np.arange(count)
    for i in range(1, len(points)):
        if points[i] == points[i - 1]:
            one, other = _root(parents, members[i - 1]), _root(parents, members[i])
            parents[max(one, other)] = min(one, other)
    groups = np.full(count, -1, dtype=np.int64)
    found = 0
    for part in opened:
        root = _root(parents, part)
        if groups[root] < 0:
            groups[root] = found
            found += 1
    still_open = found
    for part in range(count):
        root = _root(parents, part)
        if groups[root] < 0:
            groups[root] = found
            found += 1
        groups[part] = groups[root]
    return groups, still_open, found


@compiled
def _root(parents: NDArray[np.int64], part: int) -> int:
    while parents[part] != part:
        parents[part] = parents[parents[part]]
        part = parents[part]
    return part


class Waiting:
    """Pieces of lines whose group may yet have more below.

    Of a strip's arrays only what waits is held, and copied again where a quarter of that is gone.

    Args:
        widths: Whether the widths of lines are held, too.
    """

    def __init__(self, *, widths: bool = True) -> None:
        self._widths = widths
        self._parts: list[Strings] = []
        """Pieces, and the group of each; -1 of those that are gone."""

    def add(self, parts: Sequence["Strings"], grouped: Grouped) -> "Strings":
        """Take the pieces of the next strip, and hand out those of groups that are whole.

        Args:
            parts: Pieces of the strip, and of each the group that it is of now.
            grouped: What has become of groups.

        Returns:
            Pieces of which nothing more can come, by numbers of groups from 0 on; an array of
            their own.
        """
        done: list[Strings] = []
        few: list[Strings] = []
        # A piece that is gone finds the last number, and stays so.
        groups = np.append(grouped.held, -1)
        ours = [part._replace(groups=groups[part.groups]) for part in self._parts]
        left = [*((part, False) for part in parts), *((part, True) for part in ours)]
        self._parts, ours = [], []
        while left:
            # Each is let go of when it is taken apart: together they may be a whole scene's.
            (lines, now), is_ours = left.pop()
            index = np.flatnonzero(now >= grouped.open)
            if len(index):
                whole = lines.take(index, widths=self._widths)
                done.append(Strings(whole, now[index] - grouped.open))
                now[index] = -1
            stay = np.flatnonzero(now >= 0)
            vertices = int((lines.offsets[stay + 1] - lines.offsets[stay]).sum())
            kept = self._parts if vertices >= FEW else few
            if is_ours and kept is self._parts and 4 * vertices >= 3 * len(lines.points):
                kept.append(Strings(lines, now))
            else:
                kept.append(Strings(lines.take(stay, widths=self._widths), now[stay]))
        if len((little := Strings.joined(few)).groups):
            self._parts.append(little)
        handed_out = Strings.joined(done)
        if len(handed_out.lines.points) > MANY:
            done.clear()
            give_back()
        return handed_out


class Strings(NamedTuple):
    """Lines, and the group that each is of."""

    lines: Lines
    groups: NDArray[np.int64]

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return several together, in their order."""
        groups = [np.empty(0, dtype=np.int64), *(part.groups for part in parts)]
        return cls(Lines.joined([part.lines for part in parts]), np.concatenate(groups))

    def tied(self) -> "Strings":
        """Return them with those joined that go on where another one ends."""
        lines, groups = self
        closed = lines.closed
        if closed.all():
            return self
        loose = np.flatnonzero(~closed)
        starts = as_complex(lines.points[lines.offsets[loose]])
        stops = as_complex(lines.points[lines.offsets[loose + 1] - 1])
        order = np.argsort(starts, kind="stable")
        index = order[np.minimum(np.searchsorted(starts[order], stops), len(order) - 1)]
        following = np.full(len(lines), -1)
        following[loose] = np.where(starts[index] == stops, loose[index], -1)
        points, offsets, heads = _tie(lines.points, lines.offsets, closed, following)
        return Strings(Lines(points, offsets), groups[heads])


@compiled
def _tie(
    points: Points,
    offsets: NDArray[np.int64],
    closed: NDArray[np.bool_],
    following: NDArray[np.int64],
) -> tuple[Points, NDArray[np.int64], NDArray[np.int64]]:
    """Join pieces end to end.

    Args:
        points: (n, 2 or 3), of pieces.
        offsets: Where each starts, and n.
        closed: Which are rings as they are.
        following: The piece that goes on where each ends, or -1. None goes on after two.

    Returns:
        Points and offsets of what they make, and a piece of each: first what was a ring, then what
        is none; then other rings, which start anywhere.
    """
    count = len(following)
    has_before = np.zeros(count, dtype=np.bool_)
    for piece in following:
        if piece >= 0:
            has_before[piece] = True
    heads, used = np.empty(count, dtype=np.int64), np.zeros(count, dtype=np.bool_)
    ends = np.zeros(count + 1, dtype=np.int64)
    found = 0
    for turn in range(3):
        for head in range(count):
            if used[head] or (turn == 0 and not closed[head]) or (turn == 1 and has_before[head]):
                continue
            size = 1 if turn == 2 else 0  # a ring ends where it starts
            piece = head
            while piece >= 0 and not used[piece]:
                used[piece] = True
                # Its last vertex is the first of the next one.
                size += offsets[piece + 1] - offsets[piece] - (following[piece] >= 0)
                piece = following[piece]
            heads[found] = head
            found += 1
            ends[found] = ends[found - 1] + size
    tied = np.empty((ends[found], points.shape[1]))
    for one in range(found):
        piece, end = heads[one], ends[one]
        while piece >= 0:
            first, stop = offsets[piece], offsets[piece + 1] - (following[piece] >= 0)
            tied[end : end + stop - first] = points[first:stop]
            end += stop - first
            piece = following[piece]
            if piece == heads[one]:
                tied[end] = tied[ends[one]]
                break
    return tied, ends[: found + 1].copy(), heads[:found].copy()
