"""The lines of a result, a batch at a time: what they come to, and those that a page draws."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pyogrio
import shapely
from numpy.typing import NDArray

from geounet.errors import ResultError
from geounet.ragged import Geometries
from geounet.result_page.result import Result, View
from geounet.scene.grid import res_in_metres
from geounet.styles import WIDE_EDGE_PX
from geounet.vectors import crs_of

BATCH = 5000
"""Lines that are read at once."""
DRAWN_LINES, DRAWN_VERTICES = 10_000, 150_000
"""As many as a page draws: a browser draws them in a second, and they are 3 MB of it."""
TOLERANCE_PX, MOST_TOLERANCE_PX = 0.1, 3.2
"""By how much a drawn line may be off, in pixels of the picture: the first, or twice that, and so
on up to the second, until there are no more than `DRAWN_VERTICES`."""
LEAST_PX = 0.5
"""Shorter lines are not drawn, in pixels of the picture, where that is reduced."""
WIDEST = 10
"""Of the lines with wide edges, those that are listed."""

ATTRIBUTES = ("kind", "length_m", "edge_width_m", "cloud_suspect", "position_u95_m")


@dataclass
class Lines:
    """What a page has of the lines."""

    wide_m: float
    """Edge width from which a line counts as wide, in metres."""
    count: int = 0
    length_by_kind: dict[str, float] = field(default_factory=dict)
    """Kind → metres."""
    suspect_m: float = 0.0
    suspect_known: bool = False
    """Whether any line says if it is near cloud."""
    wide_length_m: float = 0.0
    wide_known: bool = False
    """Whether any line says how wide its edge is; those of an index and a mask do not."""
    drawn: geopandas.GeoDataFrame | None = None
    """Longest first, simplified, with `ATTRIBUTES` and `style`."""
    drawn_m: float = 0.0
    tolerance_m: float = 0.0
    """By how much the drawn lines may be off, in metres, about."""
    widest: geopandas.GeoDataFrame | None = None
    """Widest edge first, with `ATTRIBUTES`."""

    @property
    def length_m(self) -> float:
        """Length of all lines."""
        return sum(self.length_by_kind.values())


def read_lines(result: Result, view: View) -> Lines | None:
    """Return the lines of a result; None where it has no layer of them.

    Raises:
        ResultError: The GeoPackage is damaged.
    """
    if result.lines is None:
        return None
    res_m = float(np.mean(res_in_metres(result.geobox)))
    lines = Lines(wide_m=WIDE_EDGE_PX * res_m, tolerance_m=TOLERANCE_PX * view.reduced * res_m)
    least = LEAST_PX * view.px if view.reduced > 1 else 0.0
    for batch in _batches(result):
        _add_up(lines, batch)
        simple = batch.assign(geometry=_simpler(batch, TOLERANCE_PX * view.px))
        if least:
            left, bottom, right, top = simple.bounds.to_numpy().T
            simple = simple[np.maximum(right - left, top - bottom) >= least]
        lines.drawn = _longest(_joined(lines.drawn, simple))
        # Of what is shorter than wide, the width says nothing of a shore.
        long = batch["length_m"] >= lines.wide_m
        wide = batch[long & (batch["edge_width_m"] >= lines.wide_m)]
        lines.widest = _joined(lines.widest, wide).nlargest(WIDEST, "edge_width_m", keep="first")
    if lines.drawn is not None:
        tolerance_px = TOLERANCE_PX
        while _vertices(lines.drawn) > DRAWN_VERTICES and tolerance_px < MOST_TOLERANCE_PX:
            tolerance_px *= 2
            coarser = _simpler(lines.drawn, tolerance_px * view.px)
            lines.drawn = lines.drawn.assign(geometry=coarser)
        lines.tolerance_m *= tolerance_px / TOLERANCE_PX
        lines.drawn = _first(lines.drawn, DRAWN_VERTICES)
        lines.drawn_m = float(lines.drawn["length_m"].sum())
    return lines


def _batches(result: Result) -> Iterator[geopandas.GeoDataFrame]:
    """Yield lines in the CRS of the grid, with all `ATTRIBUTES` and `style`."""
    path, crs = result.lines, crs_of(result.geobox)
    try:
        info = pyogrio.read_info(path, layer="coastline", force_feature_count=True)
        there = [name for name in ATTRIBUTES if name in set(info["fields"])]
        for start in range(0, info["features"], BATCH):
            batch = pyogrio.read_dataframe(
                path,
                layer="coastline",
                columns=there,
                force_2d=True,
                skip_features=start,
                max_features=BATCH,
            )
            yield _complete(batch if batch.crs == crs else batch.to_crs(crs))
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
        why = " ".join(str(error).split())
        raise ResultError(f"{path} has no lines to draw: {why}. Make the result again.") from error


def _complete(batch: geopandas.GeoDataFrame) -> geopandas.GeoDataFrame:
    """Give lines the columns that they lack, and each column one type."""
    count = len(batch)
    numbers = {
        name: pd.to_numeric(batch[name], errors="coerce").to_numpy(float, na_value=np.nan)
        if name in batch
        else np.full(count, np.nan)
        for name in ("length_m", "edge_width_m", "position_u95_m")
    }
    kind = batch["kind"] if "kind" in batch else pd.Series(["unknown"] * count)
    suspect = batch["cloud_suspect"] if "cloud_suspect" in batch else pd.Series([None] * count)
    return geopandas.GeoDataFrame(
        {
            **numbers,
            "kind": kind.astype("object").where(kind.notna(), "unknown").astype(str).to_numpy(),
            # 1, 0, or -1 where nobody knows.
            "cloud_suspect": [-1 if pd.isna(one) else int(bool(one)) for one in suspect],
        },
        geometry=batch.geometry.array,
        crs=batch.crs,
    )


def _add_up(lines: Lines, batch: geopandas.GeoDataFrame) -> None:
    lines.count += len(batch)
    for kind, length in batch.groupby("kind")["length_m"].sum().items():
        lines.length_by_kind[str(kind)] = lines.length_by_kind.get(str(kind), 0.0) + float(length)
    lines.suspect_known |= bool((batch["cloud_suspect"] >= 0).any())
    lines.wide_known |= bool(batch["edge_width_m"].notna().any())
    lines.suspect_m += float(batch["length_m"][batch["cloud_suspect"] == 1].sum())
    lines.wide_length_m += float(batch["length_m"][batch["edge_width_m"] >= lines.wide_m].sum())


def _joined(one: geopandas.GeoDataFrame | None, other: Any) -> Any:
    return other if one is None else pd.concat([one, other], ignore_index=True)


def _longest(lines: geopandas.GeoDataFrame) -> geopandas.GeoDataFrame:
    """Keep the longest lines, as many as a page draws, longest first."""
    order = np.argsort(-lines["length_m"].to_numpy(), kind="stable")[:DRAWN_LINES]
    return lines.iloc[order]


def _simpler(lines: geopandas.GeoDataFrame, tolerance: float) -> Geometries:
    # Keeping crossings out would take many times as long, and be of use to no eye.
    return shapely.simplify(lines.geometry.array, tolerance, preserve_topology=False)


def _vertices(lines: geopandas.GeoDataFrame) -> int:
    return int(shapely.get_num_coordinates(lines.geometry.array).sum())


def _first(lines: geopandas.GeoDataFrame, vertices: int) -> geopandas.GeoDataFrame:
    """Keep the first lines, as many as have so many vertices together."""
    upto: NDArray[np.int64] = np.cumsum(shapely.get_num_coordinates(lines.geometry.array))
    return lines[upto <= vertices]
