"""Rasters of a result as small pictures: for the page, and the quicklook as a file."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Resampling

from geounet.classes import IGNORE, LabelClass
from geounet.cog import rgb
from geounet.qgis import CASING_COLOR, PROBABILITY_RAMP
from geounet.result_page.lines import Lines
from geounet.result_page.pixels import read_field
from geounet.result_page.result import Result, View
from geounet.styles import LINE_COLOR, NEAR_CLOUD_COLOR

CRISP_SIDE = 1000
"""Smaller pictures are shown with several pixels for one, so that a browser does not blur them."""
WEBP_QUALITY = 85
QUICKLOOK_SIDE = 1200
"""Pixels of `NAME_quicklook.png` along the longer side, at most."""
WIDE_COLOR = "#ff7f0e"
"""Of lines with wide edges."""

Picture = NDArray[np.uint8]
"""(height, width, 4): red, green, blue and opaqueness, 0–255, north up."""


@dataclass(frozen=True)
class Pictures:
    """What there is to be seen of a result; None for what it has not."""

    scene: Picture | None
    mask: Picture | None
    field: Picture | None


def read_pictures(result: Result, view: View) -> Pictures:
    """Read the rasters of a result through their overviews."""
    return Pictures(
        scene=None if result.rgb is None else view.turn_picture(_read_scene(result.rgb, view)),
        mask=None if result.mask is None else _read_mask(result.mask, result.classes, view),
        field=None if result.field is None else _read_field(result, view),
    )


def _read_scene(path: Path, view: View) -> Picture:
    with rasterio.open(path) as src:
        bands = src.read((1, 2, 3), out_shape=(3, *view.read_shape), resampling=Resampling.average)
    seen = (bands > 0).all(axis=0)  # 0 is nodata, of each band
    return np.dstack([*bands, np.where(seen, 255, 0)]).astype(np.uint8)


def _read_mask(path: Path, classes: Sequence[LabelClass], view: View) -> Picture:
    return view.turn_picture(_table(classes)[_mask_values(path, view)])


def _mask_values(path: Path, view: View) -> NDArray[np.uint8]:
    with rasterio.open(path) as src:
        return src.read(1, out_shape=view.read_shape, resampling=Resampling.nearest)


def _table(classes: Sequence[LabelClass]) -> NDArray[np.uint8]:
    """Return the colour of each value of a mask, (256, 4)."""
    table = np.zeros((IGNORE + 1, 4), np.uint8)
    for one in classes:
        table[one.value] = (*rgb(one.color), 255)
    return table


def _read_field(result: Result, view: View) -> Picture:
    """Return probability or index in the colours that QGIS shows it in."""
    assert result.field is not None
    with rasterio.open(result.field) as src:
        values = read_field(src, out_shape=view.read_shape)
    level = 0.5 if result.level is None else result.level
    limits = (0, level, 1) if result.quantity == "probability" else (level - 1, level, level + 1)
    colors = np.array([rgb(color) for _, color in PROBABILITY_RAMP])
    seen = np.isfinite(values)
    filled = np.where(seen, values, level)
    parts = [np.rint(np.interp(filled, limits, channel)) for channel in colors.T]
    return view.turn_picture(np.dstack([*parts, np.where(seen, 255, 0)]).astype(np.uint8))


def as_address(picture: Picture, kind: Literal["png", "webp"]) -> str:
    """Return a picture as a `data:` address, to be part of a page."""
    from matplotlib.image import imsave  # takes long to import

    times = max(1, CRISP_SIDE // max(picture.shape[:2]))
    if times > 1:  # few pixels: nothing is gained by losing some of them
        picture, kind = picture.repeat(times, axis=0).repeat(times, axis=1), "png"
    said: dict[str, Any] = (
        {"metadata": {"Software": None}}  # the same picture gives the same bytes
        if kind == "png"
        else {"pil_kwargs": {"quality": WEBP_QUALITY, "method": 4}}
    )
    file = io.BytesIO()
    imsave(file, np.ascontiguousarray(picture), format=kind, **said)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def draw_quicklook(result: Result, lines: Lines | None, path: Path) -> None:
    """Write the scene with its line, and where the mask turns from water to land, as PNG.

    North is up; land is not drawn over, water is tinted, and where there is no result the picture
    of the scene is alone.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

    view = View.of(result.geobox, QUICKLOOK_SIDE)
    left, bottom, right, top = view.bounds
    aspect = data_aspect(result)
    wide, high = (right - left) * aspect, top - bottom
    inches = np.array([wide, high]) / max(wide, high) * QUICKLOOK_SIDE / 100
    figure = Figure(figsize=tuple(np.maximum(inches, 0.1)), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    extent = (left, right, bottom, top)
    shown: dict[str, Any] = {"extent": extent, "interpolation": "nearest", "aspect": "auto"}
    if result.rgb is not None:
        axes.imshow(view.turn_picture(_read_scene(result.rgb, view)), **shown)
    if result.mask is not None:
        axes.imshow(_outline(result, view), **shown)
    if lines is not None and lines.drawn is not None:
        suspect = lines.drawn["cloud_suspect"] == 1
        for chosen, color, width, dashes in (
            (~suspect, LINE_COLOR, 1.3, "solid"),
            (suspect, CASING_COLOR, 2.6, "solid"),
            (suspect, NEAR_CLOUD_COLOR, 1.4, (0, (4, 3))),
        ):
            vertices = [np.asarray(one.coords) for one in lines.drawn.geometry[chosen]]
            axes.add_collection(
                LineCollection(vertices, colors=color, linewidths=width, linestyles=dashes)
            )
    axes.set(xlim=(left, right), ylim=(bottom, top))
    FigureCanvasAgg(figure)
    figure.savefig(path, metadata={"Software": None}, transparent=True)


def _outline(result: Result, view: View) -> Picture:
    """Return the last pixels of water and of what else there is, beside each other's."""
    assert result.mask is not None
    values = _mask_values(result.mask, view)
    water = np.isin(values, [one.value for one in result.classes if one.water])
    known = values != IGNORE
    edge = np.zeros(values.shape, dtype=bool)
    for here, there in (
        ((slice(None), slice(1, None)), (slice(None), slice(None, -1))),
        ((slice(1, None), slice(None)), (slice(None, -1), slice(None))),
    ):
        differ = (water[here] != water[there]) & known[here] & known[there]
        edge[here] |= differ & water[here]
        edge[there] |= differ & water[there]
    color = next((rgb(one.color) for one in result.classes if one.water), (31, 119, 180))
    picture = np.zeros((*values.shape, 4), np.uint8)
    picture[..., :3] = color
    picture[..., 3] = np.where(edge, 200, 0)
    return view.turn_picture(picture)


def data_aspect(result: Result) -> float:
    """Return how long a unit along x is on the ground beside one along y: cos φ for degrees."""
    geobox = result.geobox
    if geobox.crs is None or not geobox.crs.geographic:
        return 1.0
    height, width = geobox.shape
    _, latitude = geobox.transform @ (width / 2, height / 2)
    return max(0.05, float(np.cos(np.radians(latitude))))
