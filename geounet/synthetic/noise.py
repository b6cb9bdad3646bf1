"""Random numbers that belong to places: the same whichever window asks for them.

Every number is a hash of a key and a position, so nothing is drawn in an order and nothing has to
be remembered. All arithmetic is element by element: a matrix product would round differently in
windows of different shapes.
"""

import zlib

import numpy as np
from numpy.typing import ArrayLike, NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_SPLINE_STD = 151 / 315
"""Standard deviation of a cubic B-spline surface whose nodes are independent standard normal."""


def derive_key(seed: int, purpose: str) -> np.uint64:
    """Return the key of one of the many independent sets of random numbers of a seed."""
    sequence = np.random.SeedSequence([seed, zlib.crc32(purpose.encode())])
    return sequence.generate_state(1, np.uint64)[0]


def derive_rng(seed: int, purpose: str) -> np.random.Generator:
    """Return a generator for what a scene has once: directions, dates, positions."""
    return np.random.default_rng(np.random.SeedSequence([seed, zlib.crc32(purpose.encode())]))


def normal_at(rows: ArrayLike, cols: ArrayLike, key: np.uint64) -> NDArray[np.float64]:
    """Return white noise at the positions of a grid.

    Close to a normal distribution (four uniform numbers added: none beyond 3.5 standard
    deviations), and cheap.

    Args:
        rows: (height,) whole numbers, negative ones allowed.
        cols: (width,) likewise.
        key: Which noise.

    Returns:
        (height, width), mean 0, standard deviation 1.
    """
    row_bits = np.asarray(rows, dtype=np.int64).astype(np.uint64)
    col_bits = np.asarray(cols, dtype=np.int64).astype(np.uint64)
    row_hash = _mix(row_bits * _GOLDEN + key)
    bits = _mix(row_hash[:, None] + _mix(col_bits * _GOLDEN ^ key)[None, :])
    total = np.zeros(bits.shape, dtype=np.float64)
    for shift in (0, 16, 32, 48):
        total += ((bits >> np.uint64(shift)) & np.uint64(0xFFFF)).astype(np.float64)
    return (total - 2 * 65535) / (65536 / np.sqrt(3))


def _mix(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, 2014): every bit depends on every bit."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def node_indexes(positions: NDArray[np.float64], spacing: float) -> NDArray[np.int64]:
    """Return the numbers of all nodes that a cubic spline needs at `positions` along an axis."""
    first = int(np.floor(positions[0] / spacing)) - 1
    last = int(np.floor(positions[-1] / spacing)) + 2
    return np.arange(first, last + 1)


def evaluate_spline(
    nodes: NDArray[np.float64],
    first: tuple[int, int],
    spacing: float,
    rows: NDArray[np.float64],
    cols: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Evaluate a cubic B-spline surface on a grid of positions.

    The surface has continuous curvature and nowhere leaves the range of the 4 × 4 nodes around.

    Args:
        nodes: (node rows, node cols), the control values.
        first: Numbers of the first node row and column; node i lies at position i × `spacing`.
        spacing: Between nodes, in the unit of `rows` and `cols`.
        rows: (height,) positions, increasing.
        cols: (width,) positions, increasing.

    Returns:
        (height, width).
    """
    row_starts, row_weights = _spline_weights(rows, spacing, first[0])
    col_starts, col_weights = _spline_weights(cols, spacing, first[1])
    along_rows = row_weights[0][:, None] * nodes[row_starts]  # (height, node cols)
    for tap in (1, 2, 3):
        along_rows += row_weights[tap][:, None] * nodes[row_starts + tap]
    surface = col_weights[0] * along_rows.take(col_starts, axis=1)  # (height, width)
    for tap in (1, 2, 3):
        surface += col_weights[tap] * along_rows.take(col_starts + tap, axis=1)
    return surface


def _spline_weights(
    positions: NDArray[np.float64], spacing: float, first: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return where the four nodes begin, (n,), and their weights, (4, n)."""
    scaled = positions / spacing
    whole = np.floor(scaled)
    t = scaled - whole
    weights = np.stack(
        [
            (1 - t) ** 3 / 6,
            (3 * t**3 - 6 * t**2 + 4) / 6,
            (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6,
            t**3 / 6,
        ]
    )
    return whole.astype(np.int64) - 1 - first, weights


def smooth_noise(
    rows: NDArray[np.float64], cols: NDArray[np.float64], *, spacing: float, key: np.uint64
) -> NDArray[np.float64]:
    """Return noise with hardly anything shorter than twice `spacing`.

    Args:
        rows: (height,) positions, increasing.
        cols: (width,) positions, increasing.
        spacing: Of the nodes, in the unit of `rows` and `cols`.
        key: Which noise.

    Returns:
        (height, width), mean 0, standard deviation 1 over many places.
    """
    node_rows, node_cols = node_indexes(rows, spacing), node_indexes(cols, spacing)
    nodes = normal_at(node_rows, node_cols, key)
    first = (int(node_rows[0]), int(node_cols[0]))
    return evaluate_spline(nodes, first, spacing, rows, cols) / _SPLINE_STD
