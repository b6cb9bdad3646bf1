"""Where coastlines lie along transects, and how fast they move."""

from geounet.transects.casting import Casting
from geounet.transects.coastlines import CoastlineOptions
from geounet.transects.measure import measure_transects
from geounet.transects.settings import TransectSettings
from geounet.transects.tide import Reduction

__all__ = [
    "Casting",
    "CoastlineOptions",
    "Reduction",
    "TransectSettings",
    "measure_transects",
]
