"""Figures that can be moved about in, as bokeh has them in JSON."""

import math
import re
from typing import Any

import numpy as np
from bokeh.embed import json_item
from bokeh.models import (
    BasicTickFormatter,
    BoxZoomTool,
    ColumnDataSource,
    FactorRange,
    HoverTool,
    PlainText,
    Range1d,
    WheelZoomTool,
)
from bokeh.models.annotations import Span, Whisker
from bokeh.plotting import figure

from geounet.classes import LAND, WATER
from geounet.qgis import CASING_COLOR
from geounet.result_page.lines import ATTRIBUTES, Lines
from geounet.result_page.pictures import WIDE_COLOR, Pictures, as_address, data_aspect
from geounet.result_page.pixels import Histogram
from geounet.result_page.result import Result, View
from geounet.styles import LINE_COLOR, NEAR_CLOUD_COLOR
from geounet.vectors import crs_of

CASING = "casing"
"""Black under the dashes of coast near cloud, which is barred as in QGIS."""
MASK_ALPHA, FIELD_ALPHA = 0.45, 0.7
LINE_STYLES = {
    "certain": (LINE_COLOR, "solid", 1.6),
    "wide": (WIDE_COLOR, "dotdash", 2.4),
    "suspect": (NEAR_CLOUD_COLOR, "8 5", 2.4),
    CASING: (CASING_COLOR, "solid", 4.0),
}
"""Which lines → colour, dashes, width in pixels of the screen; the last lies under those before."""
NOT_KNOWN = "not known"


def draw_map(result: Result, view: View, pictures: Pictures, lines: Lines | None) -> dict[str, Any]:
    """Return the map: scene, mask, field and lines, each by its name to be shown or hidden."""
    left, bottom, right, top = view.bounds
    plot: Any = figure(
        name="map",
        tools="pan,reset,save",
        match_aspect=True,
        aspect_scale=data_aspect(result),
        sizing_mode="stretch_both",
        background_fill_color="#eeeeee",
        output_backend="canvas",
    )
    wheel, box = WheelZoomTool(zoom_on_axis=False), BoxZoomTool(match_aspect=True)
    plot.add_tools(box, wheel)
    plot.toolbar.active_scroll = wheel
    plot.toolbar.logo = None
    frame = plot.quad(
        left=[left], right=[right], bottom=[bottom], top=[top], fill_alpha=0, line_color="#999999"
    )
    plot.x_range.renderers = plot.y_range.renderers = [frame]
    for name, picture, alpha, shown in (
        ("scene", pictures.scene, 1.0, True),
        ("field", pictures.field, FIELD_ALPHA, False),
        ("mask", pictures.mask, MASK_ALPHA, pictures.scene is None),
    ):
        if picture is None:
            continue
        drawn = plot.image_url(
            url=[as_address(picture, "webp" if name == "scene" else "png")],
            x=left, y=top, w=right - left, h=top - bottom, anchor="top_left",
            global_alpha=alpha, name=name,
        )  # fmt: skip
        drawn.visible = shown
    if lines is not None and lines.drawn is not None:
        _draw_lines(plot, view, lines)
    _name_axes(plot, result)
    return _in_json(plot)


def _draw_lines(plot: Any, view: View, lines: Lines) -> None:
    assert lines.drawn is not None
    drawn = lines.drawn
    digits = max(0, math.ceil(-math.log10(view.px / 100)))  # a hundredth of a pixel on the screen
    suspect = (drawn["cloud_suspect"] == 1).to_numpy()
    wide = (drawn["edge_width_m"] >= lines.wide_m).to_numpy() & ~suspect
    tips = [(name, f"@{name}") for name in ATTRIBUTES]
    for name, chosen in (("certain", ~suspect & ~wide), ("wide", wide), ("suspect", suspect)):
        if not chosen.any():
            continue
        color, dash, width = LINE_STYLES[name]
        part = drawn[chosen]
        xs, ys = [], []
        for line in part.geometry:
            x, y = np.round(np.asarray(line.coords).T, digits)
            xs.append(x.tolist())
            ys.append(y.tolist())
        source = ColumnDataSource({"xs": xs, "ys": ys, **tip_texts(part)})
        if name == "suspect":
            under, _, wider = LINE_STYLES[CASING]
            plot.multi_line(
                "xs", "ys", source=source, name=CASING, line_color=under, line_width=wider
            )
        line = plot.multi_line(
            "xs", "ys", source=source, name=name,
            line_color=color, line_dash=dash, line_width=width,
            hover_line_color="#000000", hover_line_dash=dash,
        )  # fmt: skip
        plot.add_tools(HoverTool(renderers=[line], tooltips=tips, line_policy="nearest"))


def tip_texts(part: Any) -> dict[str, list[str]]:
    """Return what is said of each line, by attribute."""
    return {
        "kind": [str(kind) for kind in part["kind"]],
        "cloud_suspect": [
            {1: "yes", 0: "no"}.get(int(c), NOT_KNOWN) for c in part["cloud_suspect"]
        ],
        **{
            name: [f"{m:,.1f} m" if math.isfinite(m) else NOT_KNOWN for m in part[name]]
            for name in ("length_m", "edge_width_m", "position_u95_m")
        },
    }


def axis_titles(result: Result) -> tuple[str, str, str]:
    """Return what x and y are called, with their unit, and the name of the CRS."""
    crs = crs_of(result.geobox)
    code = crs.to_epsg()
    name = crs.name if crs.name not in ("", "unknown") else "a CRS without a name"
    titled = f"{name} (EPSG:{code})" if code else name
    unit = crs.axis_info[0].unit_name if crs.axis_info else "unit not known"
    names = ("longitude", "latitude") if crs.is_geographic else ("x (easting)", "y (northing)")
    return f"{names[0]}, {unit} · {titled}", f"{names[1]}, {unit}", titled


def _name_axes(plot: Any, result: Result) -> None:
    x, y, _ = axis_titles(result)
    for axis, title in ((plot.xaxis, x), (plot.yaxis, y)):
        # As it is: bokeh would fetch MathJax for a name with dollars in it.
        axis.axis_label = PlainText(text=title)
        axis.formatter = BasicTickFormatter(use_scientific=False)
    plot.yaxis.major_label_orientation = "vertical"


def draw_histogram(histogram: Histogram, result: Result) -> dict[str, Any]:
    """Return how often each probability or index occurs, with the threshold."""
    edges, counts = histogram.edges, histogram.counts
    seen = counts > 0
    middles = (edges[1:] + edges[:-1]) / 2
    level = result.level
    is_water = middles >= (np.inf if level is None else level)
    total = max(1, int(counts.sum()))
    least = 0.5 / total
    source = ColumnDataSource({
        "left": edges[:-1][seen].round(6).tolist(),
        "right": edges[1:][seen].round(6).tolist(),
        "top": (counts[seen] / total).tolist(),
        "pixels": counts[seen].tolist(),
        "value": middles[seen].round(4).tolist(),
        "color": np.where(is_water, WATER.color, LAND.color)[seen].tolist(),
    })  # fmt: skip
    plot = figure(
        name="histogram",
        tools="pan,box_zoom,wheel_zoom,reset,save",
        y_axis_type="log",
        x_range=Range1d(start=float(edges[0]), end=float(edges[-1])),
        y_range=Range1d(start=least, end=2.0),
        sizing_mode="stretch_both",
        output_backend="canvas",
    )
    plot.toolbar.logo = None
    bars = plot.quad(
        left="left", right="right", bottom=least, top="top", source=source,
        fill_color="color", line_color="color",
    )  # fmt: skip
    tips = [("value", "@value"), ("pixels", "@pixels{0,0}"), ("share", "@top{0.0000%}")]
    plot.add_tools(HoverTool(renderers=[bars], tooltips=tips))
    if level is not None:
        plot.add_layout(
            Span(location=level, dimension="height", line_color=LINE_COLOR, line_dash="dashed",
                 line_width=2)
        )  # fmt: skip
    plot.xaxis.axis_label = (
        "probability of water" if result.quantity == "probability" else "index, higher over water"
    )
    plot.yaxis.axis_label = "share of the pixels with data (log)"
    return _in_json(plot)


def draw_bands(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return mean ± standard deviation of each band, of this scene beside the training data."""
    names = [str(row["band"]) for row in rows]
    if len(set(names)) < len(names):  # of two sensors
        names = [f"{name} ({i})" for i, name in enumerate(names, 1)]
    sides = [(row[f"{w}_mean"], row[f"{w}_std"]) for row in rows for w in ("training", "scene")]
    lowest, highest = [m - s for m, s in sides], [m + s for m, s in sides]
    margin = 0.05 * (max(highest) - min(lowest)) or 0.01
    plot = figure(
        name="bands",
        tools="save",
        x_range=FactorRange(factors=names),
        y_range=Range1d(start=min(lowest) - margin, end=max(highest) + margin),
        sizing_mode="stretch_both",
        output_backend="canvas",
    )
    plot.toolbar.logo = None
    for which, color, shift in (("training", "#555555", -0.15), ("scene", LINE_COLOR, 0.15)):
        at = [(name, shift) for name in names]
        means = [row[f"{which}_mean"] for row in rows]
        spreads = [row[f"{which}_std"] for row in rows]
        source = ColumnDataSource({
            "at": at,
            "mean": means,
            "low": [m - s for m, s in zip(means, spreads, strict=True)],
            "high": [m + s for m, s in zip(means, spreads, strict=True)],
        })  # fmt: skip
        plot.add_layout(
            Whisker(base="at", lower="low", upper="high", source=source, line_color=color)
        )
        plot.scatter("at", "mean", source=source, size=9, color=color, legend_label=which)
    plot.yaxis.axis_label = "reflectance, mean ± standard deviation"
    plot.legend.orientation = "horizontal"
    plot.add_layout(plot.legend[0], "above")  # inside it would hide whiskers
    return _in_json(plot)


_OWN_ID = re.compile(r"p\d+")


def _in_json(plot: Any) -> dict[str, Any]:
    """Return a figure in JSON, with ids that do not depend on what was drawn before it."""
    item = dict(json_item(plot))
    ids: dict[str, str] = {}

    def renamed(part: Any) -> Any:
        if isinstance(part, dict):
            return {
                key: new_id(value) if key in ("id", "root_id") else renamed(value)
                for key, value in part.items()
            }
        return [renamed(one) for one in part] if isinstance(part, list | tuple) else part

    def new_id(value: Any) -> Any:
        if not isinstance(value, str) or not _OWN_ID.fullmatch(value):
            return value
        return ids.setdefault(value, f"p{len(ids) + 1000}")

    return renamed(item)
