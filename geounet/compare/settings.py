"""What is compared, and how."""

from dataclasses import dataclass
from pathlib import Path

STEP_M = 10.0
"""Where neither input has pixels: that of Sentinel-2."""
REACH_STEPS = 10
"""A partner is looked for as far as so many pixels."""


@dataclass(frozen=True)
class CompareSettings:
    """What to compare, and how; None is the default that pixels give."""

    step_m: float | None = None
    """From one point along the coast to the next; None is a pixel of the coarser input."""
    max_distance_m: float | None = None
    """How far a coast may have moved; None is ten pixels."""
    min_area_m2: float | None = None
    """Smaller changes are summed and left out of the layer; None is the area of a pixel."""
    slope: float | None = None
    """Tangent of the beach's slope, as 0.02 for 1:50; None leaves the tide in."""
    within: Path | None = None
    """Polygons outside of which nothing is compared."""
    kind: str | None = None
    """Movement only of lines of this kind, such as `sea`, where kinds are known."""
    keep_suspect: bool = False
    """Whether what is near clouds counts."""
    name: str = "compare"
    overwrite: bool = False
    command_line: str | None = None
    """What was typed, for the record."""


@dataclass(frozen=True)
class Measures:
    """Settings with all defaults settled."""

    pixel_m: float
    step_m: float
    reach_m: float
    min_area_m2: float

    @classmethod
    def settle(cls, settings: CompareSettings, pixels: list[float]) -> "Measures":
        """Return what pixels and settings come to.

        Args:
            settings: What the user said.
            pixels: Sides of the pixels of the inputs that have any, in metres.
        """
        pixel = max(pixels) if pixels else settings.step_m or STEP_M
        return cls(
            pixel_m=pixel,
            step_m=settings.step_m or pixel,
            reach_m=settings.max_distance_m or REACH_STEPS * pixel,
            min_area_m2=pixel**2 if settings.min_area_m2 is None else settings.min_area_m2,
        )
