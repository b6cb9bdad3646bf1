"""From two results or files to layers, a table, a figure and a record."""

import logging
import os
import platform
import time
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pyproj
import shapely

from geounet import __version__, qgis
from geounet.compare.areas import KINDS, Changes, find_changes
from geounet.compare.common import CommonGround, find_common_ground, pixel_of
from geounet.compare.figure import draw_comparison, stretches_of
from geounet.compare.movement import (
    Coast,
    Movement,
    coast_of,
    measure_movement,
    summarise_movement,
)
from geounet.compare.notes import levelled, notes_on_ground, notes_on_movement, notes_on_states
from geounet.compare.settings import CompareSettings, Measures
from geounet.compare.states import State, open_state
from geounet.compare.styles import change_style, movement_style
from geounet.errors import ResultError
from geounet.layers import LayerWriter, embed_styles, output_time
from geounet.outputs import FORMAT, Stage, stage_set
from geounet.qgis_project import Project, ProjectLayer, write_project
from geounet.transects.tide import common_datum
from geounet.vectors import crs_name, crs_of

logger = logging.getLogger(__name__)


def compare_states(
    a: str,
    b: str,
    out: Path,
    settings: CompareSettings = CompareSettings(),  # noqa: B008  frozen
) -> Path:
    """Compare two results or dates of one coast.

    Writes `NAME.gpkg` with the layers `change` (areas gained and lost) and `movement` (stretches of
    the earlier coast, each with how far it moved), `NAME.qgz`, `NAME_kilometres.csv`, `NAME.png`,
    and the record.

    Args:
        a: The earlier or the reference: folder of a result, its `NAME.json`, or a vector file.
        b: The later.
        out: Folder; made if absent.
        settings: Everything else.

    Returns:
        The record, `out/NAME.json`.

    Raises:
        ResultError: One cannot be read, or they have no ground in common.
        TransectError: A layer cannot be read, or levels of water are above different datums.
        OutputError: The results exist, or cannot be written.
    """
    start = time.perf_counter()
    before, after = open_state(a), open_state(b)
    pixels = pixel_of(before), pixel_of(after)
    measures = Measures.settle(settings, [one for one in pixels if one])
    with stage_set(out, settings.name, overwrite=settings.overwrite) as (stage, record):
        common = find_common_ground(
            before,
            after,
            pixel_m=measures.pixel_m,
            reach_m=measures.reach_m,
            within=settings.within,
        )
        notes = notes_on_states(before, after, pixels) + notes_on_ground(before, after, common)
        coasts = (
            coast_of(before, common, measures.reach_m, kind=settings.kind),
            coast_of(after, common, measures.reach_m, kind=settings.kind),
        )
        datum = common_datum(levelled(*coasts)) if settings.slope is not None else None
        changes = find_changes((before, after), coasts, common, min_area_m2=measures.min_area_m2)
        movement, back = (
            measure_movement(
                here,
                there,
                common,
                step_m=measures.step_m,
                reach_m=measures.reach_m,
                slope=settings.slope,
            )
            for here, there in (coasts, coasts[::-1])
        )
        _refuse_nothing(movement, back, changes, measures)
        keep = np.ones(len(movement.found), dtype=np.bool_)
        counted_of = keep if settings.keep_suspect else ~movement.suspect
        counted = movement.keep(counted_of)
        notes += notes_on_movement(movement, counted, settings, measures)
        summary = summarise_movement(counted, common.plane)
        when = output_time(None if after.time is None else after.time.to_pydatetime())
        _write_layers(
            stage, common, changes, movement, coasts, (before, after), when, measures, out
        )
        pd.DataFrame(summary["kilometres"]).to_csv(stage.path("_kilometres.csv"), index=False)
        title = f"{_named(before)} → {_named(after)}"
        draw_comparison(movement, counted_of, changes, common, title, stage.path(".png"))
        for note in notes:
            logger.warning("%s.", note)
        record.update(_record(before, after, settings, measures))
        record["ground"] = {
            "crs": crs_name(common.grid),
            "known_by_both_m2": common.area_m2,
            "share_of_each": [None if np.isnan(share) else share for share in common.share],
        }
        record["area"] = _areas(changes, settings, summary["coast_m"])
        record["movement"] = summary | {
            "new_coast_m": float(back.points.step[~back.found].sum()),
            "suspect_m": float(movement.points.step[movement.suspect].sum()),
        }
        record["level_datum"] = datum
        record["notes"] = notes
        record["timings"] = {"total": round(time.perf_counter() - start, 3)}
    return out / f"{settings.name}.json"


def _refuse_nothing(
    movement: Movement, back: Movement, changes: Changes | None, measures: Measures
) -> None:
    """Raise where two files have nothing that can be compared."""
    empty = changes is None or not len(changes.polygons)
    if empty and not len(movement.found) and not len(back.found):
        raise ResultError(
            "Neither has a coast on the ground that both know. Give two results or dates of one "
            "coast."
        )
    if changes is None and not movement.found.any():
        raise ResultError(
            f"No line of one is within {measures.reach_m:.4g} m of one of the other. Check that "
            "they are of one coast, or give a longer --max-distance."
        )


def _areas(
    changes: Changes | None, settings: CompareSettings, coast_m: float
) -> dict[str, Any] | None:
    """Return totals of areas, also by kilometre of coast: m² / m is the mean movement."""
    if changes is None:
        return None
    totals = changes.totals(keep_suspect=settings.keep_suspect)
    for name in (*KINDS, "net"):
        value = totals[f"{name}_m2"]
        totals[f"{name}_m2_per_km"] = value / coast_m * 1000 if coast_m else None
    return totals


def _write_layers(
    stage: Stage,
    common: CommonGround,
    changes: Changes | None,
    movement: Movement,
    coasts: tuple[Coast, Coast],
    states: tuple[State, State],
    when: datetime,
    measures: Measures,
    out: Path,
) -> None:
    """Write the GeoPackage with its styles, and the project."""
    path = stage.path(".gpkg")
    change = LayerWriter(path, "change", "Polygon", when)
    change.write(_change_layer(common, changes, states))
    change.flush()
    stretches = LayerWriter(path, "movement", "LineString", when)
    stretches.write(_movement_layer(common, movement, coasts, states))
    stretches.flush()
    renderers = {"change": change_style(), "movement": movement_style(measures.pixel_m)}
    styles = {name: qgis.qml(renderer) for name, renderer in renderers.items()}
    embed_styles(path, styles, when)
    layers: list[ProjectLayer] = [
        ProjectLayer(title, f"{stage.name}.gpkg|layername={name}", renderers[name], True)
        for name, title in (("movement", "Movement"), ("change", "Land gained and lost"))
    ]
    layers += _pictures(states, out)
    height, width = common.grid.shape
    ground = common.ground.place(np.array([shapely.box(0, 0, width, height)]))
    left, bottom, right, top = shapely.total_bounds(ground).tolist()
    title = f"{states[0].name} to {states[1].name}"
    project = Project(title, common.crs, (left, bottom, right, top), layers)
    write_project(stage.path(".qgz"), project, when)


def _pictures(states: tuple[State, State], out: Path) -> list[ProjectLayer]:
    """Return the quicklooks of results, where they lie: a line without its image proves nothing."""
    layers = []
    for shown, state in ((True, states[1]), (False, states[0])):
        if state.picture is None or state.grid is None:
            continue
        source = Path(os.path.relpath(state.picture.resolve(), out.resolve())).as_posix()
        crs = crs_of(state.grid)
        layers.append(ProjectLayer(state.name, source, qgis.picture(), shown, crs))
    return layers


def _change_layer(
    common: CommonGround, changes: Changes | None, states: tuple[State, State]
) -> geopandas.GeoDataFrame:
    none = np.empty(0)
    polygons = np.empty(0, dtype=object) if changes is None else changes.polygons
    columns = {
        "kind": pd.array([] if changes is None else changes.kind, dtype="string"),
        "area_m2": none if changes is None else changes.area_m2,
        "cloud_suspect": none.astype(bool) if changes is None else changes.suspect,
    }
    count = len(polygons)
    for end, state in zip(("from", "to"), states, strict=True):
        columns[f"{end}_scene"] = pd.array([state.name] * count, dtype="string")
        columns[f"{end}_time"] = pd.Series(
            [pd.NaT if state.time is None else state.time] * count, dtype="datetime64[ms, UTC]"
        )
    placed = common.ground.place(polygons)
    return geopandas.GeoDataFrame(columns, geometry=placed, crs=common.crs.to_wkt())


def _movement_layer(
    common: CommonGround,
    movement: Movement,
    coasts: tuple[Coast, Coast],
    states: tuple[State, State],
) -> geopandas.GeoDataFrame:
    ends = stretches_of(movement)
    to_crs = common.plane.to_crs(common.crs)
    placed = np.stack([to_crs(ends[:, 0]), to_crs(ends[:, 1])], axis=1)
    significant = movement.significant
    columns: dict[str, Any] = {
        "moved_m": movement.moved_m,
        "corrected_m": movement.corrected_m,
        "distance_m": movement.distance_m,
        "u95_m": movement.u95_m,
        "significant": pd.array(
            [None if np.isnan(one) else bool(one) for one in significant], dtype="boolean"
        ),
        "cloud_suspect": movement.suspect,
        "length_m": movement.points.step,
    }
    rows = (movement.row, movement.other)
    for end, state, coast, row in zip(("from", "to"), states, coasts, rows, strict=True):
        columns[f"{end}_scene"] = pd.array([state.name] * len(row), dtype="string")
        columns[f"{end}_time"] = (
            coast.about["time"].astype("datetime64[ms, UTC]").reindex(row).reset_index(drop=True)
        )
    lines = shapely.linestrings(placed) if len(placed) else np.empty(0, dtype=object)
    return geopandas.GeoDataFrame(columns, geometry=lines, crs=common.crs.to_wkt())


def _record(
    before: State, after: State, settings: CompareSettings, measures: Measures
) -> dict[str, Any]:
    said = asdict(settings)
    command_line = said.pop("command_line")
    return {
        "format": FORMAT,
        "geounet": __version__,
        "command": "compare",
        "command_line": command_line,
        "from": before.describe(),
        "to": after.describe(),
        "settings": said | {"within": None if settings.within is None else str(settings.within)},
        "measures": asdict(measures),
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "shapely": shapely.__version__,
            "geos": shapely.geos_version_string,
            "pyproj": pyproj.__version__,
        },
    }


def _named(state: State) -> str:
    return state.name if state.time is None else f"{state.name} ({state.time:%Y-%m-%d %H:%M} UTC)"
