"""What a user may say of the lines and areas that are drawn."""

import math
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from geounet.errors import ConfigError
from geounet.water_level import WaterLevel, level_at, read_levels


@dataclass(frozen=True)
class LineOptions:
    """How lines and areas are drawn of a field; as it stands, all of them and just as they are."""

    level: float | None = None
    """Value of the field along the line; None for the one at which the mask is divided."""
    simplify_m: float = 0.0
    """How far a line may come to lie from where it was for the sake of fewer vertices, metres."""
    smooth_m: float = 0.0
    """How far a vertex may move to make a line even, metres."""
    min_length_m: float = 0.0
    """Lines and rings shorter than that are left out, metres; areas keep their edges."""
    min_area_m2: float = 0.0
    """Islands and ponds smaller than that are left out, of lines and areas alike."""
    sea: str | None = None
    """Where the sea is: a file of polygons, lines or points, or longitude and latitude."""
    land: bool = False
    """Whether areas of land are drawn, too."""
    water_level_m: float | None = None
    """Water level when the scene was taken, metres above `level_datum`."""
    water_levels: str | None = None
    """Table of water levels by time, CSV."""
    level_datum: str | None = None
    """What water levels are above, as MSL, LAT, NAP or EGM2008."""
    level_source: str | None = None
    """Where water levels are from."""

    def __post_init__(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            ConfigError: A number is none that can be, or a water level is given twice, or without
                its datum.
        """
        for option, value in (
            ("--simplify", self.simplify_m),
            ("--smooth", self.smooth_m),
            ("--min-length", self.min_length_m),
            ("--min-area", self.min_area_m2),
        ):
            if not 0 <= value < math.inf:
                raise ConfigError(f"{option} {value:g} is no size. Give a number from 0.")
        for option, level in (("--line-level", self.level), ("--water-level", self.water_level_m)):
            if level is not None and not math.isfinite(level):
                raise ConfigError(f"{option} {level:g} is no level. Give a number.")
        if self.water_level_m is not None and self.water_levels is not None:
            raise ConfigError("--water-level and --water-levels both say the level. Give one.")
        leveled = self.water_level_m is not None or self.water_levels is not None
        if leveled and not (self.level_datum or "").strip():
            raise ConfigError(
                "A water level means nothing without what it is above. Give --level-datum, as MSL, "
                "LAT, NAVD88 or EGM2008."
            )
        if not leveled and (self.level_datum or self.level_source):
            raise ConfigError(
                "--level-datum and --level-source say of what a water level is, and there is none. "
                "Give --water-level or --water-levels."
            )

    def with_level(self, level: float | None) -> "LineOptions":
        """Return the same options, but for the level of the line."""
        return replace(self, level=level)

    def water_level_of(self, time: datetime | None, name: str) -> WaterLevel:
        """Return the water level of a scene.

        Args:
            time: When it was taken; None where not known.
            name: What it is called, for messages.

        Raises:
            ConfigError: A table of levels says nothing of that time, or cannot be read.
        """
        if self.water_levels is not None:
            table = read_levels(Path(self.water_levels))
            metres = level_at(table, time, name=name)
            source = self.level_source or Path(self.water_levels).name
            return WaterLevel(metres, self.level_datum, source)
        return WaterLevel(self.water_level_m, self.level_datum, self.level_source)

    def to_dict(self) -> dict[str, Any]:
        """Return them as the record of a result has them."""
        return asdict(self)
