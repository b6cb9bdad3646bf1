"""What is measured along transects, and how."""

from dataclasses import dataclass, field
from typing import Literal

from geounet.transects.casting import Casting
from geounet.transects.coastlines import CoastlineOptions
from geounet.transects.crossings import Pick
from geounet.transects.tide import Reduction


@dataclass(frozen=True)
class TransectSettings:
    """What to measure, and how."""

    casting: Casting = field(default_factory=Casting)
    coastlines: CoastlineOptions = field(default_factory=CoastlineOptions)
    pick: Pick = "last"
    keep_suspect: bool = False
    """Whether stretches near clouds count."""
    reduction: Reduction | None = None
    """None leaves positions at the tide of each scene."""
    format: Literal["csv", "parquet"] = "csv"
    """Of the tables."""
    figures: int | None = 12
    """How many transects are drawn, at most; None is all."""
    name: str = "transects"
    overwrite: bool = False
