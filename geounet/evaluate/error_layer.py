"""Distances between lines as a layer, to be looked at over the scene."""

from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import geopandas
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray

from geounet import qgis
from geounet.distances import Coordinates, Matches, Points
from geounet.evaluate.line_scores import LineErrors
from geounet.layers import LayerWriter, embed_styles, output_time
from geounet.outputs import stage_file
from geounet.styles import LANDWARD_COLORS, SEAWARD_COLORS
from geounet.vectors import crs_of

LAYER = "errors"
STRETCH = 10
"""Points in a stretch of line: shorter ones make large files, longer ones hide what is local."""
EDGES_PX = (-2.0, -1.0, -0.5, 0.5, 1.0, 2.0)
COLORS = (
    *(LANDWARD_COLORS[1], LANDWARD_COLORS[0], "#f4a582"),
    "#4dac26",
    *("#92c5de", SEAWARD_COLORS[0], SEAWARD_COLORS[1]),
)
"""From far on the land side by near to far on the water side."""
ALONE = {"extra": "#d01c8b", "missed": "#000000"}


def write_errors(errors: LineErrors, path: Path) -> None:
    """Write both lines in stretches with their distances, a GeoPackage with its style.

    Layer `errors`, lines: `what` (`matched`, `extra`: a predicted line where there is none,
    `missed`: a reference without prediction), `signed_m` (mean, plus towards water), `median_m` and
    `largest_m` of the distances, `length_m`. Where both lines match, the predicted one is there.

    Raises:
        OutputError: It cannot be written.
    """
    here, there = errors.matched
    frame = pd.concat(
        [
            _stretches(here, "extra", errors),
            _stretches(there.keep(~there.found), "missed", errors),
        ],
        ignore_index=True,
    )
    crs = crs_of(errors.plane.geobox)
    shapes = shapely.transform(np.asarray(frame.pop("geometry")), errors.plane.to_crs(crs))
    time = output_time(None)
    with stage_file(path) as draft:
        layer = LayerWriter(draft, LAYER, "LineString", time)
        layer.write(geopandas.GeoDataFrame(frame, geometry=shapes, crs=crs.to_wkt()))
        layer.flush()
        style = _style(errors.plane.pixel_m, signed=errors.signed)
        embed_styles(draft, {LAYER: qgis.qml(style)}, time)


def _stretches(matches: Matches, alone: str, errors: LineErrors) -> pd.DataFrame:
    """Return consecutive points of one line, that all match or all do not, as lines."""
    points, found = matches.points, matches.found
    breaks = np.ones(len(found), dtype=np.bool_)
    breaks[1:] = (points.line[1:] != points.line[:-1]) | (found[1:] != found[:-1])
    # Points that are left out leave a gap, over which nothing is to be drawn.
    gap = np.hypot(*np.diff(points.xy, axis=0).T)
    breaks[1:] |= gap > 1.5 * points.step[1:]
    first = np.flatnonzero(breaks)
    run = np.cumsum(breaks) - 1
    nth = np.arange(len(found)) - first[run]
    breaks |= nth % STRETCH == 0
    first = np.flatnonzero(breaks)
    stretch = np.cumsum(breaks) - 1
    columns: dict[str, Any] = {"what": np.where(found[first], "matched", alone)}
    if len(first):
        sizes = np.diff(first, append=len(found))
        distance = matches.distance_m
        signed = np.add.reduceat(matches.signed_m, first) / sizes
        columns |= {
            "signed_m": signed if errors.signed else np.full(len(first), np.nan),
            "median_m": np.asarray(pd.Series(distance).groupby(stretch).median()),
            "largest_m": np.maximum.reduceat(distance, first),
            "length_m": np.add.reduceat(points.step, first),
        }
    else:
        columns |= dict.fromkeys(("signed_m", "median_m", "largest_m", "length_m"), np.empty(0))
    return pd.DataFrame(columns | {"geometry": _drawn(points, first, stretch)})


def _drawn(
    points: Points, first: NDArray[np.intp], stretch: NDArray[np.intp]
) -> NDArray[np.object_]:
    """Return lines through points, half a step longer at either end, so that they meet."""
    if not len(first):
        return np.empty(0, dtype=object)
    last = np.append(first[1:], len(stretch)) - 1
    along = np.column_stack((-points.right[:, 1], points.right[:, 0]))
    half = along * points.step[:, None] / 2
    xy: Coordinates = np.concatenate(
        [points.xy[first] - half[first], points.xy, points.xy[last] + half[last]]
    )
    member = np.concatenate([np.arange(len(first)), stretch, np.arange(len(first))])
    order = np.argsort(member, kind="stable")
    return np.asarray(shapely.linestrings(xy[order], indices=member[order]), dtype=object)


def _style(pixel_m: float, *, signed: bool) -> Element:
    """Return the renderer: how far, and on which side."""
    column = '"signed_m"' if signed else '"median_m"'
    edges = [edge * pixel_m for edge in EDGES_PX if signed or edge > 0]
    colors = COLORS if signed else COLORS[len(COLORS) // 2 :]
    rules = []
    for low, high, color in zip([None, *edges], [*edges, None], colors, strict=True):
        above = "" if low is None else f" AND {column} >= {low:.6g}"
        below = "" if high is None else f" AND {column} < {high:.6g}"
        text = f"{'…' if low is None else f'{low:.3g}'} to {'…' if high is None else f'{high:.3g}'}"
        rules.append(qgis.LineRule(f"{text} m", f"\"what\" = 'matched'{above}{below}", color))
    rules += [qgis.LineRule(what, f"\"what\" = '{what}'", color) for what, color in ALONE.items()]
    return qgis.ruled_line(rules, width_mm=0.8)
