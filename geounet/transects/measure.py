"""From a baseline and coastlines to positions, rates and figures."""

import logging
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import geopandas
import numpy as np
import pandas as pd
import scipy
import shapely

from geounet import __version__
from geounet.errors import TransectError
from geounet.inputs import refuse_inputs
from geounet.layers import LayerWriter, output_time
from geounet.outputs import FORMAT, Stage, sha256_of, stage_set
from geounet.progress import Progress, silent
from geounet.transects.casting import Casting, Transects, cast_transects
from geounet.transects.coastlines import (
    CoastlineSource,
    find_sources,
    only_layer,
    read_coastlines,
    read_shapes,
)
from geounet.transects.crossings import CrossingFinder
from geounet.transects.curves import line_parts
from geounet.transects.figures import (
    TransectPicture,
    choose_transects,
    draw_overview,
    draw_transect,
)
from geounet.transects.rates import Trend
from geounet.transects.settings import TransectSettings
from geounet.transects.tables import POSITION_COLUMNS, position_table, rate_table
from geounet.transects.tide import common_datum, read_slopes
from geounet.vectors import split_layer

logger = logging.getLogger(__name__)


@dataclass
class _Counts:
    """What is told of crossings on the way."""

    lines: int = 0
    crossings: int = 0
    suspect: int = 0
    seaward: int = 0
    directed: int = 0
    without_any: list[str] = field(default_factory=list)


def measure_transects(
    coastlines: Sequence[str],
    baseline: str,
    out: Path,
    settings: TransectSettings = TransectSettings(),  # noqa: B008  frozen
    progress: Progress = silent,
) -> Path:
    """Measure where coastlines cross transects, and how fast those positions move.

    Writes `NAME.gpkg` (layer `transects`, with rates), `NAME_positions` and `NAME_rates` as tables,
    `NAME_overview.png`, `NAME_0001.png` … for transects, and the record.

    Args:
        coastlines: Folders of results, records, or vector files with lines.
        baseline: Vector file with lines, `file.gpkg|layer`.
        out: Folder; made if absent.
        settings: Everything else.
        progress: Told of every file, and of every transect.

    Returns:
        The record, `out/NAME.json`.

    Raises:
        TransectError: Files cannot be read or do not fit one another; no line crosses a transect.
        ResultError: A result is incomplete.
        OutputError: The results exist, would replace what is measured, or cannot be written.
    """
    start = time.perf_counter()
    sources = find_sources(coastlines)
    transects, features = _cast(baseline, settings.casting)
    read = [split_layer(baseline)[0], *(source.path for source in sources)]
    refuse_inputs(out, settings.name, read)
    slopes = np.full(len(transects), np.nan)
    if settings.reduction is not None:
        slopes = read_slopes(settings.reduction.slope, transects, features)
    notes: list[str] = []
    with stage_set(out, settings.name, overwrite=settings.overwrite) as (stage, record):
        rows, counts = _find_crossings(transects, sources, settings, progress)
        notes += _notes_on_crossings(transects, counts, settings)
        positions = position_table(transects, rows, slopes, settings, notes)
        datum = None
        if settings.reduction is not None:
            datum = common_datum(positions)
            if datum is None and positions["corrected_m"].notna().any():
                notes.append("water levels name no datum; --datum is taken to be in theirs")
        rates, trends = rate_table(transects, positions, settings, notes, progress)
        _write_layer(stage, transects, rates, positions)
        for table, suffix in ((positions[list(POSITION_COLUMNS)], "_positions"), (rates, "_rates")):
            _write_table(table, stage, suffix, settings.format)
        drawn = _draw(stage, transects, positions, rates, trends, settings, progress)
        for note in notes:
            logger.warning("%s.", note)
        record.update(_record(baseline, sources, transects, settings))
        record["counts"] = _summary(transects, positions, rates, counts, drawn)
        record["level_datum"] = datum
        record["notes"] = notes
        record["timings"] = {"total": round(time.perf_counter() - start, 3)}
    return out / f"{settings.name}.json"


def _cast(text: str, casting: Casting) -> tuple[Transects, pd.DataFrame]:
    path, layer = split_layer(text)
    if not path.exists():
        raise TransectError(f"The baseline {path} is not there. Check the path.")
    if path.suffix not in {".parquet", ".geoparquet"}:
        layer = layer or only_layer(path)
    shapes, crs = read_shapes(path, layer)
    lines, feature, others = line_parts(shapes.geometry.to_numpy())
    if not len(lines):
        raise TransectError(f"The baseline {path} has no lines. Give a layer of lines.")
    if others:
        raise TransectError(
            f"The baseline {path} has {others} shapes that are no lines. Leave them out."
        )
    # Parts that go on where another ends are one line: each would begin its chainage again.
    of_feature = shapely.multilinestrings(lines, indices=np.unique(feature, return_inverse=True)[1])
    parts = line_parts(np.asarray(shapely.line_merge(of_feature, directed=True)))
    feature = np.unique(feature)[parts.feature]
    return cast_transects(parts.lines, feature, crs, casting), shapes


def _find_crossings(
    transects: Transects,
    sources: Sequence[CoastlineSource],
    settings: TransectSettings,
    progress: Progress,
) -> tuple[pd.DataFrame, _Counts]:
    """Return every crossing of every line, with what is known of the line."""
    finder, counts, tables = CrossingFinder(transects), _Counts(), []
    for source in progress(sources, label="coastlines", total=len(sources)):
        lines = read_coastlines(source, settings.coastlines)
        found = finder.find(lines.pieces)
        table = lines.about.iloc[found.line].reset_index(drop=True)
        table["transect"], table["position_m"] = found.transect, found.position_m
        # What was seen at one moment is one observation; without a time, what is in one file.
        file = f"{source.path}|{source.layer}"
        table["moment"] = table["time"].astype("string").fillna(file)
        table["seen_in"] = file + "|" + table["scene"].astype("string")
        tables.append(table)
        counts.lines += len(np.unique(lines.pieces.line))
        counts.crossings += len(table)
        if lines.directed:
            counts.directed += len(table)
            counts.seaward += int(found.seaward.sum())
        if not len(table):
            counts.without_any.append(str(source.path))
    rows = pd.concat([t for t in tables if len(t)] or tables[:1], ignore_index=True)
    if not len(rows):
        _refuse_the_side(transects, sources, settings)
        of_kind = f" of kind {settings.coastlines.kind}" if settings.coastlines.kind else ""
        raise TransectError(
            f"No coastline{of_kind} crosses a transect ({counts.lines} lines, {len(transects)} "
            f"transects of {settings.casting.length:g} m). Check --side, --length, and that the "
            "baseline lies on this coast."
        )
    return rows, counts


def _refuse_the_side(
    transects: Transects, sources: Sequence[CoastlineSource], settings: TransectSettings
) -> None:
    """Say so where the coast lies on the other side of the baseline.

    Raises:
        TransectError: It does.
    """
    side = settings.casting.side
    if side == "both":
        return
    finder = CrossingFinder(replace(transects, azimuth=transects.azimuth + 180))
    crossed = sum(
        len(finder.find(read_coastlines(one, settings.coastlines).pieces).line) for one in sources
    )
    if crossed:
        other = "left" if side == "right" else "right"
        raise TransectError(
            f"No coastline crosses a transect on the {side} of the baseline, but there are "
            f"{crossed} crossings on its {other}, as one walks along it. Give --side {other}."
        )


def _notes_on_crossings(
    transects: Transects, counts: _Counts, settings: TransectSettings
) -> list[str]:
    notes = []
    if crossing := int(transects.crossing_others().sum()):
        notes.append(
            f"{crossing} of {len(transects)} transects cross another, as they do on a bend, so "
            "that some ground counts twice: a longer --smooth-baseline or a shorter --length helps"
        )
    if counts.without_any:
        some = ", ".join(counts.without_any[:3]) + (" …" if len(counts.without_any) > 3 else "")
        notes.append(f"{len(counts.without_any)} files have no line on any transect: {some}")
    if settings.pick != "all" and 2 * counts.seaward < counts.directed:
        other = "right" if settings.casting.side == "left" else "left"
        away = "turn the baseline round" if settings.casting.side == "both" else f"--side {other}"
        notes.append(
            f"{counts.directed - counts.seaward} of {counts.directed} crossings have their land on "
            f"the side that is taken for the sea; if the sea is on the other one, {away}"
        )
    return notes


def _write_layer(
    stage: Stage, transects: Transects, rates: pd.DataFrame, positions: pd.DataFrame
) -> None:
    last = positions["time"].max()
    layer = rates.drop(columns=["lon", "lat"])
    layer["azimuth"] = transects.azimuth % 360
    layer["crosses_another"] = transects.crossing_others()
    for column in ("n", "outliers"):
        layer[column] = layer[column].astype("Int32")
    frame = geopandas.GeoDataFrame(layer, geometry=transects.lines(), crs=transects.crs)
    writer = LayerWriter(
        stage.path(".gpkg"),
        "transects",
        "LineString",
        output_time(None if pd.isna(last) else last.to_pydatetime()),
    )
    writer.write(frame)
    writer.flush()


def _write_table(
    table: pd.DataFrame, stage: Stage, suffix: str, kind: Literal["csv", "parquet"]
) -> None:
    path = stage.path(f"{suffix}.{kind}")
    if kind == "parquet":
        table.to_parquet(path, index=False)
        return
    written = table.copy()
    for column in ("time", "first", "last"):
        if column in written:
            written[column] = written[column].dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    written.to_csv(path, index=False, float_format="%.9g", lineterminator="\n")


def _draw(
    stage: Stage,
    transects: Transects,
    positions: pd.DataFrame,
    rates: pd.DataFrame,
    trends: dict[int, Trend],
    settings: TransectSettings,
    progress: Progress,
) -> list[int]:
    """Draw the overview and some transects, and return the numbers of those."""
    if settings.figures == 0:
        return []
    draw_overview(transects, rates, stage.path("_overview.png"))
    candidates = sorted(trends)
    most = len(candidates) if settings.figures is None else settings.figures
    chosen = choose_transects(candidates, most)
    used = positions[positions["used"]].groupby("index")
    digits = max(4, len(str(len(transects))))
    for index in progress(chosen, label="figures", total=len(chosen)):
        rows = used.get_group(index)
        number, chainage = transects.number[index], transects.chainage_m[index]
        picture = TransectPicture(
            title=f"Transect {number}, {chainage / 1000:.2f} km along the baseline",
            time=rows["time"],
            years=rows["years"].to_numpy(),
            position_m=rows["value"].to_numpy(),
            u95_m=rows["position_u95_m"].to_numpy(),
            trend=trends[index],
            corrected=bool(rows["corrected_m"].notna().any()),
        )
        draw_transect(picture, stage.path(f"_{number:0{digits}}.png"))
    return [int(transects.number[index]) for index in chosen]


def _record(
    baseline: str,
    sources: Sequence[CoastlineSource],
    transects: Transects,
    settings: TransectSettings,
) -> dict[str, Any]:
    epsg = transects.crs.to_epsg()
    path, _ = split_layer(baseline)
    return {
        "format": FORMAT,
        "geounet": __version__,
        "command": "transects",
        "baseline": {"path": baseline, "sha256": sha256_of(path) if path.is_file() else None},
        "coastlines": [
            {"path": str(one.path), "layer": one.layer, "sha256": sha256_of(one.path)}
            for one in sources
        ],
        "settings": asdict(settings),
        "crs": f"EPSG:{epsg}" if epsg else transects.crs.to_wkt(),
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "scipy": scipy.__version__,
            "shapely": shapely.__version__,
        },
    }


def _summary(
    transects: Transects,
    positions: pd.DataFrame,
    rates: pd.DataFrame,
    counts: _Counts,
    drawn: list[int],
) -> dict[str, Any]:
    """Return counts for the record, and for who reads it."""
    value = rates["rate"].fillna(rates["rate_uncorrected"])
    sure = (rates["ci95_low_serial"] > 0) | (rates["ci95_high_serial"] < 0)
    times = positions["time"].dropna()
    return {
        "transects": len(transects),
        "transects_with_positions": int(positions["transect"].nunique()),
        "lines": counts.lines,
        "crossings": counts.crossings,
        "positions": len(positions),
        "dates": int(times.nunique()),
        "first": None if times.empty else _text(times.min()),
        "last": None if times.empty else _text(times.max()),
        "rates": int(value.notna().sum()),
        "rates_uncorrected": int(rates["rate_uncorrected"].notna().sum()),
        "median_rate": None if value.isna().all() else float(value.median()),
        "advancing": int((sure & (value > 0)).sum()),
        "retreating": int((sure & (value < 0)).sum()),
        "outliers": int(rates["outliers"].fillna(0).sum()),
        "drawn": drawn,
    }


def _text(when: datetime) -> str:
    return f"{when.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
