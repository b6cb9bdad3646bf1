"""From two results or files to layers, a table, a figure and a record."""

import logging
import os
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pyproj
import shapely
from numpy.typing import NDArray

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
from geounet.inputs import refuse_inputs
from geounet.layers import LayerWriter, embed_styles, output_time
from geounet.outputs import FORMAT, Stage, stage_set
from geounet.qgis_project import Project, ProjectLayer, write_project
from geounet.scene.remote import scrub
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
        OutputError: The results exist, would replace what is compared, or cannot be written.
    """
    start = time.perf_counter()
    states = open_state(a), open_state(b)
    pixels = pixel_of(states[0]), pixel_of(states[1])
    measures = Measures.settle(settings, [one for one in pixels if one])
    refuse_inputs(out, settings.name, [Path(file) for state in states for file in state.files])
    with stage_set(out, settings.name, overwrite=settings.overwrite) as (stage, record):
        found = _compare(states, settings, measures)
        counted = found.movement.keep(found.counted)
        summary = summarise_movement(counted, found.common.plane)
        notes = [
            *notes_on_states(*states, pixels),
            *notes_on_ground(*states, found.common),
            *notes_on_movement(found.movement, counted, settings, measures),
        ]
        for note in notes:
            logger.warning("%s.", note)
        _write_layers(stage, found, measures, out)
        pd.DataFrame(summary["kilometres"]).to_csv(stage.path("_kilometres.csv"), index=False)
        title = " → ".join(_named(state) for state in states)
        draw_comparison(
            found.movement, found.counted, found.changes, found.common, title, stage.path(".png")
        )
        record.update(_record(states, settings, measures))
        record.update(_figures(found, summary, settings))
        record["notes"] = notes
        record["timings"] = {"total": round(time.perf_counter() - start, 3)}
    return out / f"{settings.name}.json"


@dataclass(frozen=True)
class _Found:
    """What two states have in common, and not."""

    states: tuple[State, State]
    common: CommonGround
    coasts: tuple[Coast, Coast]
    level_datum: str | None
    changes: Changes | None
    movement: Movement
    """Along the first coast."""
    back: Movement
    """Along the second."""
    counted: NDArray[np.bool_]
    """Which points of `movement` count."""


def _compare(states: tuple[State, State], settings: CompareSettings, measures: Measures) -> _Found:
    """Measure areas and movement.

    Raises:
        ResultError: The states have no ground in common, or lines that are nowhere near.
    """
    reach, kind = measures.reach_m, settings.kind
    common = find_common_ground(
        *states, pixel_m=measures.pixel_m, reach_m=reach, within=settings.within
    )
    here, there = (coast_of(state, common, reach, kind=kind) for state in states)
    datum = common_datum(levelled(here, there)) if settings.slope is not None else None
    changes = find_changes(states, (here, there), common, min_area_m2=measures.min_area_m2)
    movement, back = (
        measure_movement(*pair, common, step_m=measures.step_m, reach_m=reach, slope=settings.slope)
        for pair in ((here, there), (there, here))
    )
    if changes is None and not movement.found.any():
        raise ResultError(
            f"No line of one is within {reach:.4g} m of one of the other. Check that they are of "
            "one coast, or give a longer --max-distance."
        )
    counted = ~movement.suspect | settings.keep_suspect
    return _Found(states, common, (here, there), datum, changes, movement, back, counted)


def _figures(found: _Found, summary: dict[str, Any], settings: CompareSettings) -> dict[str, Any]:
    """Return the numbers, as the record has them."""
    along, back = found.movement.points.step, found.back.points.step
    return {
        "ground": {
            "crs": crs_name(found.common.grid),
            "known_by_both_m2": found.common.area_m2,
            "share_of_each": [None if np.isnan(one) else one for one in found.common.share],
        },
        "area": _areas(found.changes, settings, summary["coast_m"]),
        "movement": summary
        | {
            "new_coast_m": float(back[~found.back.found].sum()),
            "suspect_m": float(along[found.movement.suspect].sum()),
        },
        "level_datum": found.level_datum,
    }


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


def _write_layers(stage: Stage, found: _Found, measures: Measures, out: Path) -> None:
    """Write the GeoPackage with its styles, and the project."""
    states, common = found.states, found.common
    when = output_time(None if states[1].time is None else states[1].time.to_pydatetime())
    path = stage.path(".gpkg")
    change = LayerWriter(path, "change", "Polygon", when)
    change.write(_change_layer(common, found.changes, states))
    change.flush()
    stretches = LayerWriter(path, "movement", "LineString", when)
    stretches.write(_movement_layer(found))
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


def _movement_layer(found: _Found) -> geopandas.GeoDataFrame:
    movement, common = found.movement, found.common
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
    for end, state, coast, row in zip(
        ("from", "to"), found.states, found.coasts, rows, strict=True
    ):
        columns[f"{end}_scene"] = pd.array([state.name] * len(row), dtype="string")
        columns[f"{end}_time"] = (
            coast.about["time"].astype("datetime64[ms, UTC]").reindex(row).reset_index(drop=True)
        )
    lines = shapely.linestrings(placed) if len(placed) else np.empty(0, dtype=object)
    return geopandas.GeoDataFrame(columns, geometry=lines, crs=common.crs.to_wkt())


def _record(
    states: tuple[State, State], settings: CompareSettings, measures: Measures
) -> dict[str, Any]:
    said = asdict(settings)
    command_line = said.pop("command_line")
    return {
        "format": FORMAT,
        "geounet": __version__,
        "command": "compare",
        "command_line": scrub(command_line or "") or None,
        "from": states[0].describe(),
        "to": states[1].describe(),
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
