"""How long short steps are and how large pixels are, everywhere on a grid, as polynomials.

Scale and shear of a map change so smoothly that over a scene they are polynomials of the place: the
geodesic itself, or a map projection for each vertex, is ten times the work.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.polynomial.polynomial import polyder, polyint, polyval2d, polyvander2d
from numpy.typing import NDArray

from geounet.compiled import compiled, compiled_to_run_beside
from geounet.ragged import Areas, Lines, Offsets, Points

LONGEST_STEP_PX = 4
"""Along longer steps the metric may change: they are measured otherwise."""
STRAIGHT_PX = 16
"""How far around a place polynomials count as straight: what they bend over so few pixels is less
than their own errors, wherever a grid of hundreds of pixels has polynomials at all."""
DEGREES, TOLERANCE = (2, 4, 6), 1e-8
"""Of the polynomials; and how far, of its size, what they say may be from the truth."""

Distances = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]
"""Returns geodesic distances in metres between places (col, row), (n, 2) each."""
Plane = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Takes places (col, row), (n, 2), to an equal-area plane in metres."""


def _nodes(count: int, shape: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return places that go from -1 to 1 along both axes, (count², 2), and as (col, row)."""
    across = np.cos(np.pi * (np.arange(count) + 0.5) / count)  # Chebyshev's
    uv = np.stack(np.meshgrid(across, across), axis=-1).reshape(-1, 2)
    return uv, (uv + 1) / 2 * (shape[1], shape[0])


def _fit(
    truth: Callable[[NDArray[np.float64]], tuple[NDArray[np.float64], NDArray[np.float64]]],
    shape: tuple[int, int],
) -> NDArray[np.float64] | None:
    """Return polynomials of places on a grid; None where none is good enough, as at a pole.

    Args:
        truth: Returns values at places (col, row), (k, n), and in what to count differences.
        shape: Height and width of the grid.

    Returns:
        (k, degree + 1, degree + 1), by powers of column and row, which go from -1 to 1.
    """
    uv, places = _nodes(12, shape)
    elsewhere, others = _nodes(17, shape)
    (values, _), (expected, scale) = truth(places), truth(others)
    if not (np.isfinite(values).all() and np.isfinite(expected).all()):
        return None
    for degree in DEGREES:
        powers = polyvander2d(uv[:, 0], uv[:, 1], [degree, degree])
        found = np.linalg.lstsq(powers, values.T)[0].T.astype(np.float64)
        found = np.ascontiguousarray(found.reshape(-1, degree + 1, degree + 1))
        u, v = elsewhere.T
        said = np.stack([polyval2d(u, v, one) for one in found])
        if np.abs((said - expected) / scale).max() < TOLERANCE:
            return found
    return None


@dataclass(frozen=True)
class Metric:
    """How long short steps are."""

    shape: tuple[int, int]
    coefficients: NDArray[np.float64]
    """(3, degree + 1, degree + 1): of what squares of steps along a row, products of both, and
    squares of steps down a column count in square metres, by powers of column and row."""

    @classmethod
    def fitted(cls, distances_m: Distances, shape: tuple[int, int]) -> Self | None:
        """Return the metric of a grid of some height and width; None where it has none."""

        def truth(
            places: NDArray[np.float64],
        ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            along, down, sum_, difference = (
                distances_m(places - np.array(step) / 2, places + np.array(step) / 2) ** 2
                for step in ((1, 0), (0, 1), (1, 1), (1, -1))
            )
            values = np.stack([along, (sum_ - difference) / 2, down])
            return values, np.stack([along, np.sqrt(along * down), down])

        found = _fit(truth, shape)
        return None if found is None else cls(shape, found)

    def lengths(self, lines: Lines) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the lengths of lines in metres, but for steps that are too long.

        Returns:
            (lines,); and at which vertices long steps begin.
        """
        along, down = (_derivative(self.coefficients, axis) for axis in (1, 2))
        return _lengths(lines.points, lines.offsets, self.coefficients, along, down, *self.shape)


@dataclass(frozen=True)
class Density:
    """How large pixels are."""

    shape: tuple[int, int]
    coefficients: NDArray[np.float64]
    """(degree + 2, degree + 1): square metres in a row of pixels from the middle column to a
    place, by powers of column and row."""

    @classmethod
    def fitted(cls, to_plane: Plane, shape: tuple[int, int]) -> Self | None:
        """Return that of a grid of some height and width; None where no polynomial is it."""

        def truth(
            places: NDArray[np.float64],
        ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            with np.errstate(invalid="ignore"):  # at infinity, where the map has no place
                (x1, y1), (x2, y2) = (
                    (to_plane(places + step / 2) - to_plane(places - step / 2)).T
                    for step in (np.array([1.0, 0.0]), np.array([0.0, 1.0]))
                )
                values = np.abs(x1 * y2 - x2 * y1)[None]
            return values, values

        found = _fit(truth, shape)
        return None if found is None else cls(shape, polyint(found[0], scl=shape[1] / 2))

    def areas(self, areas: Areas) -> NDArray[np.float64]:
        """Return areas, (n,), in square metres; holes run the other way round."""
        slopes = polyder(polyder(self.coefficients, axis=0), axis=1) * 4 / np.prod(self.shape)
        of_rings = _integrals(areas.points, areas.rings, self.coefficients, slopes, *self.shape)
        if not len(areas):
            return np.empty(0)
        return np.abs(np.add.reduceat(of_rings, areas.offsets[:-1]))


@compiled
def _polynomial(coefficients: NDArray[np.float64], u: float, v: float) -> float:
    """Return what a polynomial is at a place."""
    total = 0.0
    for i in range(coefficients.shape[0] - 1, -1, -1):
        row = 0.0
        for j in range(coefficients.shape[1] - 1, -1, -1):
            row = row * v + coefficients[i, j]
        total = total * u + row
    return total


def _derivative(coefficients: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Return how polynomials change with column (axis 1) or row (axis 2), of the same shape."""
    slopes = np.zeros_like(coefficients)
    slopes[(slice(None),) * axis + (slice(-1),)] = polyder(coefficients, axis=axis)
    return slopes


@compiled_to_run_beside
def _lengths(
    points: Points,
    offsets: Offsets,
    coefficients: NDArray[np.float64],
    along: NDArray[np.float64],
    down: NDArray[np.float64],
    height: int,
    width: int,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return lengths and where long steps begin; `along` and `down` are the derivatives.

    The polynomials themselves are only looked up where a line begins and every `STRAIGHT_PX`: in
    between, they are straight.
    """
    lengths = np.zeros(len(offsets) - 1)
    far = np.empty(64, dtype=np.int64)
    count = 0
    for line in range(len(lengths)):
        near_col, near_row = np.inf, np.inf
        cc, cr, rr, cc_u, cr_u, rr_u, cc_v, cr_v, rr_v = (0.0,) * 9
        for i in range(offsets[line], offsets[line + 1] - 1):
            col, row = points[i + 1, 0] - points[i, 0], points[i + 1, 1] - points[i, 1]
            if max(abs(col), abs(row)) > LONGEST_STEP_PX:
                if count == len(far):
                    far = np.concatenate((far, np.empty_like(far)))
                far[count] = i
                count += 1
                continue
            at_col, at_row = points[i, 0] + col / 2, points[i, 1] + row / 2
            if max(abs(at_col - near_col), abs(at_row - near_row)) > STRAIGHT_PX:
                near_col, near_row = at_col, at_row
                u, v = at_col * 2 / width - 1, at_row * 2 / height - 1
                cc = _polynomial(coefficients[0], u, v)
                cr = _polynomial(coefficients[1], u, v)
                rr = _polynomial(coefficients[2], u, v)
                cc_u = _polynomial(along[0], u, v) * 2 / width
                cr_u = _polynomial(along[1], u, v) * 2 / width
                rr_u = _polynomial(along[2], u, v) * 2 / width
                cc_v = _polynomial(down[0], u, v) * 2 / height
                cr_v = _polynomial(down[1], u, v) * 2 / height
                rr_v = _polynomial(down[2], u, v) * 2 / height
            x, y = at_col - near_col, at_row - near_row
            lengths[line] += np.sqrt(
                (cc + cc_u * x + cc_v * y) * col * col
                + (cr + cr_u * x + cr_v * y) * col * row
                + (rr + rr_u * x + rr_v * y) * row * row
            )
    return lengths, far[:count].copy()


_GAUSS = (
    (0.5 - np.sqrt(15) / 10, 5 / 18),
    (0.5, 8 / 18),
    (0.5 + np.sqrt(15) / 10, 5 / 18),
)
"""Where to look on the way from 0 to 1, and how much each counts: exact up to the fifth power."""


@compiled_to_run_beside
def _integrals(
    points: Points,
    rings: Offsets,
    coefficients: NDArray[np.float64],
    slopes: NDArray[np.float64],
    height: int,
    width: int,
) -> NDArray[np.float64]:
    """Return the area of each ring, (rings,), below 0 where it runs clockwise with rows upward.

    By Green's theorem: what lies between each edge and the grid's middle column, added up. That is
    thousands of pixels of which a small ring is left; doubles have the digits for it. `slopes` is
    by how many square metres pixels grow from row to row.
    """
    integrals = np.zeros(len(rings) - 1)
    for ring in range(len(integrals)):
        first = points[rings[ring]]
        slope = _polynomial(slopes, first[0] * 2 / width - 1, first[1] * 2 / height - 1)
        for i in range(rings[ring], rings[ring + 1] - 1):
            u, v = points[i, 0] * 2 / width - 1, points[i, 1] * 2 / height - 1
            col, row = points[i + 1, 0] - points[i, 0], points[i + 1, 1] - points[i, 1]
            to_u, to_v = col * 2 / width, row * 2 / height
            if row == 0:
                continue
            if max(abs(col), abs(row)) < LONGEST_STEP_PX:
                middle = _polynomial(coefficients, u + to_u / 2, v + to_v / 2)
                # What the middle of a slanting edge misses where pixels grow from row to row.
                integrals[ring] += middle * row + col * row * row * slope / 12
                continue
            for share, weight in _GAUSS:
                between = _polynomial(coefficients, u + share * to_u, v + share * to_v)
                integrals[ring] += weight * between * row
    return integrals
