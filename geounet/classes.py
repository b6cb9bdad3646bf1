"""What the values of labels and masks mean."""

from dataclasses import asdict, dataclass
from typing import Any, Self

IGNORE = 255
"""Unknown: not counted in a loss or a score; nodata in a mask."""


@dataclass(frozen=True)
class LabelClass:
    """One class of a label or a mask."""

    value: int
    """0–254, as in the raster."""
    name: str
    color: str
    """`#rrggbb`."""
    water: bool
    """Whether its probability counts as water's."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON has them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Self:
        """Return the class that `to_dict` wrote."""
        return cls(**fields)


LAND = LabelClass(value=0, name="land", color="#decba4", water=False)
WATER = LabelClass(value=1, name="water", color="#1f77b4", water=True)
LAND_WATER = (LAND, WATER)
"""Promise 6: 0 land, 1 water."""
