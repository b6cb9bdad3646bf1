"""Which ground is trained on and which is held out, so that chips do not leak.

The Earth is divided into blocks of one equal-area grid (EPSG:6933, EASE-Grid 2.0). A block belongs
to one split, so the same ground on another date, in an overlapping tile or in another UTM zone has
the same split. Chips that come near ground of another split are dropped: that is the gap.
"""

from collections.abc import Sequence

import geopandas as gpd
import numpy as np
import shapely

GRID_CRS = "EPSG:6933"
GRID_WIDTH = 2 * 17_367_530.445161372
"""Length of the equator in EPSG:6933, in metres."""


def block_size(block_m: float) -> float:
    """Return the side of the blocks that is nearest to `block_m` and goes around the Earth."""
    return GRID_WIDTH / max(round(GRID_WIDTH / block_m), 1)


def block_name(col: int, row: int) -> str:
    """Return what a block is called: its column and row from longitude 180° W and the equator."""
    return f"{col}_{row}"


def block_squares(names: Sequence[str], block_m: float) -> gpd.GeoSeries:
    """Return blocks as squares in EPSG:6933, by name.

    Args:
        names: As `block_name` gives them.
        block_m: Side of the blocks as it was asked for, in metres.
    """
    side = block_size(block_m)
    cells = np.array([name.split("_") for name in names], dtype=np.int64).reshape(-1, 2)
    left = cells[:, 0] * side - GRID_WIDTH / 2
    bottom = cells[:, 1] * side
    squares = shapely.box(left, bottom, left + side, bottom + side)
    return gpd.GeoSeries(squares, index=list(names), crs=GRID_CRS)
