"""Questions that a user can put to their own chips: what skips are worth, which bands matter."""

from geounet.experiment.bands import BandSettings, format_bands, run_bands
from geounet.experiment.skips import SkipSettings, format_skips, run_skips

__all__ = [
    "BandSettings",
    "SkipSettings",
    "format_bands",
    "format_skips",
    "run_bands",
    "run_skips",
]
