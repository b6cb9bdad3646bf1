"""How the layers of a result look in QGIS, and what they are called there."""

from collections.abc import Sequence
from typing import Literal
from xml.etree.ElementTree import Element

import numpy as np

from geounet import qgis
from geounet.classes import LabelClass

Quantity = Literal["probability", "index", "mask"]

LINE_COLOR = "#d62728"
NEAR_CLOUD_COLOR = "#ffd92f"
"""Of the dashes on black that coast near cloud has in QGIS, where lines have one colour."""
WATER_COLOR, LAND_COLOR = "#1f77b4", "#decba4"
AREA_ALPHA = 80
"""Of 255: the picture below areas is to be seen."""

SEAWARD_COLORS = ("#4393c3", "#053061")
LANDWARD_COLORS = ("#d6604d", "#67001f")
"""Of what lies towards the sea of something else, or went there, and of what lies landwards: near,
far. Land gained is blue and land lost red, as in most maps of shoreline change."""
GAINED_COLOR, LOST_COLOR = "#2166ac", "#b2182b"
SEAWARD_COLORMAP = "RdBu"
"""The same in matplotlib, for metres of which + is towards the sea; on grey, as 0 is white."""

WIDE_EDGE_PX = 3.0
"""An edge this wide, in pixels of the scene, is drawn as a blurred one: across a sharp shore the
probability turns within one or two."""

TITLES = {
    "coastline": "Coastline",
    "water": "Water",
    "land": "Land",
    "mask": "Mask",
    "probability": "Probability of water",
    "index": "Index",
    "rgb": "Scene",
}
"""Layer of the GeoPackage, or what the name of a raster ends in → what people call it."""


def line_style(
    quantity: Quantity,
    res_m: tuple[float, float],
    *,
    color: str = LINE_COLOR,
    suspect_color: str = NEAR_CLOUD_COLOR,
    label: str = "coastline",
) -> Element:
    """Return the style of the coastline.

    Args:
        quantity: What it is drawn on: edges of a probability have a width.
        res_m: Sides of a pixel in metres.
        color: Of the line.
        suspect_color: Of its dashes where it is near cloud.
        label: What the legend calls it.
    """
    wide_m = wide_edge_m(quantity, res_m)
    return qgis.coast_line(color, suspect_color=suspect_color, wide_m=wide_m, label=label)


def wide_edge_m(quantity: Quantity, res_m: tuple[float, float]) -> float | None:
    """Return the width from which an edge counts as blurred, metres; None where none is known."""
    return WIDE_EDGE_PX * float(np.mean(res_m)) if quantity == "probability" else None


def area_style(layer: Literal["water", "land"]) -> Element:
    """Return the style of a layer of areas."""
    return qgis.fill(WATER_COLOR if layer == "water" else LAND_COLOR, AREA_ALPHA)


def raster_style(kind: str, level: float, classes: Sequence[LabelClass]) -> Element:
    """Return the style of a raster.

    Args:
        kind: `mask`, `rgb`, `probability` or `index`.
        level: Where water begins, in a probability or index.
        classes: Of the mask.
    """
    if kind == "mask":
        return qgis.palette(classes)
    if kind == "rgb":
        return qgis.picture()
    # An index is not bounded; its level is what matters.
    return qgis.ramp(*((0, level, 1) if kind == "probability" else (level - 1, level, level + 1)))
