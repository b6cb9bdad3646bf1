"""The layer of what was gained and lost, and its totals."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geounet.compare.common import CommonGround
from geounet.compare.movement import Coast
from geounet.compare.overlay import overlay
from geounet.compare.states import State
from geounet.ragged import Areas
from geounet.vectors import Geometries

TOUCHING_PX = 0.5
"""A change nearer than this to a line under suspicion of cloud is under suspicion itself."""
KINDS = ("gained", "lost")


@dataclass(frozen=True)
class Changes:
    """Polygons of land gained and lost."""

    polygons: Geometries
    """In (col, row) of the common grid."""
    kind: NDArray[np.object_]
    """(n,), `gained` or `lost`."""
    area_m2: NDArray[np.float64]
    suspect: NDArray[np.bool_]
    small: dict[str, tuple[int, float]]
    """Of what was left out, by kind: how many polygons, and their area in m²."""

    def totals(self, *, keep_suspect: bool) -> dict[str, Any]:
        """Return areas as the record has them."""
        counted = np.ones(len(self.kind), dtype=np.bool_) if keep_suspect else ~self.suspect
        found: dict[str, Any] = {}
        for kind in KINDS:
            of_kind = self.kind == kind
            number, area = self.small[kind]
            found |= {
                f"{kind}_m2": float(self.area_m2[of_kind & counted].sum()),
                f"{kind}_polygons": int((of_kind & counted).sum()),
                f"{kind}_suspect_m2": float(self.area_m2[of_kind & self.suspect].sum()),
                f"{kind}_small_m2": area,
                f"{kind}_small_polygons": number,
            }
        found["net_m2"] = found["gained_m2"] - found["lost_m2"]
        return found


def find_changes(
    states: tuple[State, State],
    coasts: tuple[Coast, Coast],
    common: CommonGround,
    *,
    min_area_m2: float,
) -> Changes | None:
    """Find what became land and what became water.

    Args:
        states: The earlier and the later.
        coasts: Their lines, of which some may be under suspicion of cloud.
        common: The ground that both know.
        min_area_m2: Smaller polygons are left out, and summed.

    Returns:
        None where one of them has lines only.
    """
    before, after = (one.water for one in states)
    if before is None or after is None:
        return None
    change = overlay(
        common.to_pixels(before, states[0].crs),
        common.to_pixels(after, states[1].crs),
        common.known,
    )
    polygons = np.concatenate(change)
    kind = np.repeat(np.array(KINDS, dtype=object), [len(part) for part in change])
    area = common.ground.areas_m2(Areas.of(polygons))
    large = area >= min_area_m2
    small = {
        one: (int((~large & (kind == one)).sum()), float(area[~large & (kind == one)].sum()))
        for one in KINDS
    }
    polygons = polygons[large]
    return Changes(polygons, kind[large], area[large], _suspect(polygons, coasts, common), small)


def _suspect(
    polygons: Geometries, coasts: tuple[Coast, Coast], common: CommonGround
) -> NDArray[np.bool_]:
    """Return which polygons touch a line that is under suspicion of cloud, (n,)."""
    found = np.zeros(len(polygons), dtype=np.bool_)
    for coast in coasts:
        flags = coast.about["cloud_suspect"].to_numpy(dtype=bool)
        pieces = coast.pieces.keep(flags[coast.pieces.line]) if len(flags) else coast.pieces
        if not len(flags) or not len(pieces) or not len(polygons):
            continue
        ends = pieces.transformed(common.plane.to_pixels)
        lines = shapely.linestrings(np.stack((ends.start, ends.end), axis=1))
        near = shapely.STRtree(polygons).query(lines, predicate="dwithin", distance=TOUCHING_PX)
        found[near[1]] = True
    return found
