"""One QGIS project of many results: a group for each, in order of time, which QGIS can play."""

import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import pyogrio
from odc.geo.geobox import GeoBox
from pyogrio.errors import DataLayerError, DataSourceError
from pyproj import CRS
from pyproj.exceptions import CRSError
from rasterio.errors import RasterioError

from geounet.errors import OutputError, ResultError, reason
from geounet.formats import VectorOptions
from geounet.layers import output_time
from geounet.outputs import read_record, stage_file
from geounet.progress import Progress, silent
from geounet.qgis_project import (
    LayerGroup,
    Project,
    ProjectLayer,
    Timeline,
    describe_project,
    write_project,
)
from geounet.result_page.result import Result, records_below
from geounet.scene.grid import res_in_metres
from geounet.styles import LINE_COLOR, TITLES, Quantity, area_style, line_style, raster_style
from geounet.vectors import Bounds, crs_name, grid_bounds, transformer

logger = logging.getLogger(__name__)

FILE_NAME = "all_results.qgz"
"""Of the project, where nobody names one."""

TIME_RAMP = ((255, 237, 79), (255, 140, 0), (214, 39, 40), (200, 30, 150), (140, 90, 255))
"""Colours from the first scene to the last: yellow, orange, red, magenta, violet, none of which is
found in pictures of coasts."""

FEW = 12
"""Groups of the legend that are open; where there are more, all are closed."""
AREAS_AND_LINES = ("coastline", "water", "land")
RASTERS = ("mask", "probability", "index", "rgb")


@dataclass(frozen=True)
class AtlasOptions:
    """What a user may say of a project of many results."""

    title: str | None = None
    """What its window says; None is the name of its file."""
    crs: str | None = None
    """CRS of the map, as pyproj takes it; None is that of most results."""
    rasters: bool = True
    """Whether pictures, masks and probabilities are in it; lines and areas always are."""
    overwrite: bool = False
    """Whether a project that exists is replaced."""


class Atlas(NamedTuple):
    """What was written."""

    path: Path
    results: int
    times: tuple[datetime, ...]
    """Of the results that know theirs, ascending."""
    timeline: Timeline | None
    """None where no result knows its time."""


@dataclass(frozen=True)
class _Dated:
    """A result, and when its scene was taken."""

    result: Result
    geobox: GeoBox
    time: datetime | None
    day: datetime | None
    """The day alone, at its first second, where that is all that is known."""
    layers: Mapping[str, CRS]
    """Of the GeoPackage, by their names."""

    @cached_property
    def scene(self) -> str:
        """Name of the scene."""
        return str(self.result.record.get("scene", {}).get("name") or self.result.name)

    @cached_property
    def crs(self) -> CRS:
        """Of its grid."""
        return CRS.from_user_input(crs_name(self.geobox))

    @property
    def about(self) -> datetime | None:
        """Time, or else the day: what order, colour and legend go by."""
        return self.time or self.day

    @property
    def order(self) -> tuple[bool, datetime, str, str]:
        """By time, or by day where that is all that is known; those without either last."""
        time = self.about or datetime.max.replace(tzinfo=UTC)
        return self.about is None, time, self.scene, str(self.result.folder)


def write_atlas(
    folders: Sequence[Path],
    out: Path,
    options: AtlasOptions = AtlasOptions(),
    progress: Progress = silent,
) -> Atlas:
    """Write a QGIS project that shows all results found in folders, with paths relative to it.

    Lines are coloured by time. Layers show at the time of their scene when QGIS's temporal
    controller plays; those of scenes without a time always do, of which is warned. No pixel is
    read. The same results give the same bytes.

    Args:
        folders: Folders that hold results, at any depth, or records `NAME.json`.
        out: The project, `.qgz`.
        options: What the user says.
        progress: Told of results.

    Raises:
        ResultError: There is no result.
        OutputError: The project exists, is part of a result, cannot be written, or its CRS has no
            place for a result.
    """
    if out.suffix.lower() != ".qgz":
        raise OutputError(f"{out} is no name of a QGIS project. Give --out NAME.qgz.")
    crs = VectorOptions.from_text(crs=options.crs).crs
    results = sorted(_open_results(folders, progress), key=lambda one: one.order)
    for one in results:
        if one.result.folder.resolve() == out.parent.resolve() and (
            out.name in one.result.record["files"]
        ):
            raise OutputError(f"{out} is a part of {one.result.name}.json. Give another --out.")
    if out.exists() and not options.overwrite:
        raise OutputError(f"{out} exists already. Use --overwrite to replace it, or another --out.")
    project = _plan_project(results, out, CRS.from_user_input(crs) if crs else None, options)
    times = tuple(one.time for one in results if one.time is not None)
    if undated := [one.result.name for one in results if one.time is None]:
        logger.warning(
            "%d of %d results do not say when their scene was taken%s: %s%s. They show at all "
            "times.",
            len(undated),
            len(results),
            ", or the day only" if any(one.day for one in results) else "",
            ", ".join(undated[:5]),
            " …" if len(undated) > 5 else "",
        )
    with stage_file(out) as draft:
        write_project(draft, project, output_time(times[-1] if times else None))
    return Atlas(out, len(results), times, project.timeline)


def _open_results(folders: Sequence[Path], progress: Progress) -> Iterator[_Dated]:
    """Yield each result once; of those with nothing left to show it is warned.

    Raises:
        ResultError: A folder is not there, or there is no result at all.
    """
    paths = list(dict.fromkeys(path for folder in folders for path in _find_records(folder)))
    found = 0
    for path in progress(paths, label="results", total=len(paths)):
        try:
            one = _open_result(path)
        except (ResultError, DataSourceError, DataLayerError, CRSError, RasterioError) as error:
            logger.warning("%s is left out: %s.", path, reason(error))
            continue
        found += 1
        yield one
    if not found:
        named = ", ".join(str(folder) for folder in folders)
        if paths:
            raise ResultError(f"All {len(paths)} results of {named} are damaged. Make them again.")
        raise ResultError(
            f"{named} holds no result: no NAME.json of one, at any depth. `geounet predict` makes "
            "them."
        )


def _open_result(path: Path) -> _Dated:
    """Return the result of a record: its place, its time, and the layers it has."""
    result = Result(path.parent, path.stem, read_record(path))
    if result.lines is None:
        raise ResultError(f"{path.with_suffix('.gpkg')} is not there. Make the result again.")
    try:
        scene = result.record.get("scene", {})
        time, day = (
            datetime.fromisoformat(said) if said else None
            for said in (scene.get("time"), scene.get("date"))
        )
        _ = result.classes
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ResultError(f"{path} is damaged: {reason(error)}. Make the result again.") from None
    layers = {}
    for name in (str(name) for name, _ in pyogrio.list_layers(result.lines)):
        if name in AREAS_AND_LINES:
            about = pyogrio.read_info(result.lines, layer=name)
            layers[name] = CRS.from_user_input(about["crs"])
    if time is not None and time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    if time is not None:
        day = None
    elif day is not None:
        day = day.replace(tzinfo=UTC)
    return _Dated(result, result.geobox, time, day, layers)


def _find_records(folder: Path) -> Iterator[Path]:
    """Yield the records in a folder at any depth, or the one that is named."""
    if not folder.exists():
        raise ResultError(f"{folder} is not there. Check the path.")
    if folder.is_file():
        read_record(folder)  # who names one means that one
        yield folder.resolve()
        return
    for record in records_below(folder):
        yield record.resolve()


def _plan_project(
    results: Sequence[_Dated], out: Path, crs: CRS | None, options: AtlasOptions
) -> Project:
    times = [one.time for one in results if one.time is not None]
    if crs is None:
        (commonest, _), *_ = Counter(crs_name(one.geobox) for one in results).most_common()
        crs = CRS.from_user_input(commonest)
    titles = _titles(results, out)
    labels = _labels(times)
    labels |= {one.day: f"{one.day:%Y-%m-%d}" for one in results if one.day}
    colors = _colors([one.about for one in results if one.about is not None])
    groups = [
        LayerGroup(
            title,
            list(
                _layers(
                    one,
                    out,
                    options,
                    label=labels[one.about] if one.about else "no time",
                    color=colors[one.about] if one.about else LINE_COLOR,
                )
            ),
            expanded=len(results) <= FEW,
        )
        for one, title in zip(results, titles, strict=True)
    ]
    return Project(
        options.title or out.stem,
        crs,
        _common_bounds(results, crs),
        groups,
        describe_project([one.time for one in results]),
        Timeline.of(times) if times else None,
    )


def _titles(results: Sequence[_Dated], out: Path) -> list[str]:
    """Return what the groups are called: date and scene, and folder where that is not enough."""
    titles = [f"{one.about:%Y-%m-%d} {one.scene}" if one.about else one.scene for one in results]
    count = Counter(titles)
    return [
        title if count[title] == 1 else f"{title} ({_relative(one.result.folder, out)})"
        for title, one in zip(titles, results, strict=True)
    ]


def _labels(times: Sequence[datetime]) -> dict[datetime, str]:
    """Return what the legend calls each time: its date, with the hour where a day has several."""
    days = Counter(f"{time:%Y-%m-%d}" for time in set(times))
    return {
        time: f"{time:%Y-%m-%d}" if days[f"{time:%Y-%m-%d}"] == 1 else f"{time:%Y-%m-%d %H:%M}"
        for time in times
    }


def _colors(times: Sequence[datetime]) -> dict[datetime, str]:
    """Return a colour for each time, in proportion to it along `TIME_RAMP`."""
    if len(set(times)) < 2:
        return dict.fromkeys(times, LINE_COLOR)
    first, last = min(times), max(times)
    anchors = np.linspace(0, 1, len(TIME_RAMP))
    colors = {}
    for time in times:
        share = (time - first) / (last - first)
        parts = [np.interp(share, anchors, channel) for channel in zip(*TIME_RAMP, strict=True)]
        colors[time] = "#" + "".join(f"{round(float(part)):02x}" for part in parts)
    return colors


def _layers(
    one: _Dated, out: Path, options: AtlasOptions, *, label: str, color: str
) -> Iterator[ProjectLayer]:
    """Yield the layers of a result, from the top of its group down."""
    result = one.result
    assert result.lines is not None
    quantity = cast(Quantity, result.quantity or "mask")
    styles = {
        "coastline": line_style(
            quantity, res_in_metres(one.geobox), color=color, suspect_color=color, label=label
        ),
        "water": area_style("water"),
        "land": area_style("land"),
    }
    source = _relative(result.lines, out)
    for name in (name for name in styles if name in one.layers):
        yield ProjectLayer(
            TITLES[name],
            f"{source}|layername={name}",
            styles[name],
            name == "coastline",
            one.layers[name],
            one.time,
        )
    rasters = {kind: result.path(f"_{kind}.tif") for kind in RASTERS if options.rasters}
    there = {kind: path for kind, path in rasters.items() if path is not None}
    for kind, path in there.items():
        style = raster_style(kind, 0.5 if result.level is None else result.level, result.classes)
        # Under the lines lies what they can be checked by, a picture where there is one.
        shown = kind == list(there)[-1]
        yield ProjectLayer(TITLES[kind], _relative(path, out), style, shown, one.crs, one.time)


def _relative(path: Path, out: Path) -> str:
    """Return the way from where a project lies to a file; links on the way are followed."""
    return Path(os.path.relpath(path.resolve(), out.parent.resolve())).as_posix()


def _common_bounds(results: Sequence[_Dated], crs: CRS) -> Bounds:
    """Return the bounds of all results in one CRS.

    Raises:
        OutputError: The CRS has no place for one of them.
    """
    boxes = []
    for one in results:
        bounds = grid_bounds(one.geobox)
        left, bottom, right, top = transformer(one.crs, crs).transform_bounds(*bounds)
        if not np.isfinite((left, bottom, right, top)).all():
            raise OutputError(
                f"{crs.name} has no place for {one.result.name}, which is in {one.crs.name}. "
                "Give another --crs."
            )
        # Across 180°, longitudes come back as from 179 to -179.
        boxes.append((left, bottom, right if right >= left else right + 360, top))
    lefts, bottoms, rights, tops = zip(*boxes, strict=True)
    return min(lefts), min(bottoms), max(rights), max(tops)
