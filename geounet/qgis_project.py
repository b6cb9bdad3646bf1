"""QGIS projects (.qgz), written by hand: layers in groups, where the map opens, and how time plays.

What each element is for was tried out with QGIS 3.22 and 3.40; `docs/guides/qgis.md` has the
findings.
"""

import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, Self, get_args
from xml.etree.ElementTree import Element, SubElement

from pyproj import CRS

from geounet import __version__
from geounet.qgis import VERSION, to_text
from geounet.vectors import Bounds

TIME_FIELD = "time"
"""Column of our layers with the time of the scene."""

Unit = Literal["y", "mon", "d", "h"]
"""Years, months, days and hours, as QGIS writes them."""


@dataclass(frozen=True)
class ProjectLayer:
    """A layer of a project. QGIS reads no default style for it, so it brings its own."""

    title: str
    source: str
    """Relative to the project: `NAME_mask.tif`, `../out/NAME.gpkg|layername=water`."""
    renderer: Element
    shown: bool
    crs: CRS | None = None
    """None is the project's."""
    time: datetime | None = None
    """When it shows as time plays; None is always."""

    @property
    def is_vector(self) -> bool:
        """Whether it is a vector layer."""
        return self.renderer.tag == "renderer-v2"

    @property
    def depth(self) -> int:
        """What lies above what, whatever the legend's order: lines, areas, fields, pictures."""
        if self.is_vector:
            symbol = self.renderer.find("symbols/symbol")
            return 0 if symbol is not None and symbol.get("type") == "line" else 1
        return 3 if self.renderer.get("type") == "multibandcolor" else 2


@dataclass(frozen=True)
class LayerGroup:
    """Layers that belong together, under a heading of the legend."""

    title: str
    layers: Sequence[ProjectLayer]
    expanded: bool


@dataclass(frozen=True)
class Timeline:
    """What QGIS's temporal controller plays, step by step."""

    start: datetime
    end: datetime
    unit: Unit
    """One step is one of it."""

    @classmethod
    def of(cls, times: Sequence[datetime]) -> Self:
        """Return one whose steps are calendar years; or months, days, hours within one of those.

        Args:
            times: Of scenes, with their zones; at least one.
        """
        times = sorted(time.astimezone(UTC) for time in times)
        first, last = times[0], times[-1]
        units = get_args(Unit)
        differ = (unit for unit in units if _floor(first, unit) != _floor(last, unit))
        unit: Unit = next(differ, "h")
        # QGIS 3.22 counts steps by years of 365.25 days and months of 30: from the middle of the
        # last one it counts right, and at the end of it one too few or too many.
        middle = _floor(last, unit) + HALF[unit]
        return cls(_floor(first, unit), max(last, middle), unit)


HALF: dict[Unit, timedelta] = {
    "y": timedelta(days=182),
    "mon": timedelta(days=14),
    "d": timedelta(hours=12),
    "h": timedelta(minutes=30),
}


def _floor(time: datetime, unit: Unit) -> datetime:
    """Return when the calendar year, month, day or hour began."""
    whole = time.replace(minute=0, second=0, microsecond=0)
    if unit != "h":
        whole = whole.replace(hour=0)
    if unit in {"mon", "y"}:
        whole = whole.replace(day=1)
    return whole.replace(month=1) if unit == "y" else whole


@dataclass(frozen=True)
class Project:
    """What a project file says."""

    title: str
    crs: CRS
    bounds: Bounds
    """What the map opens on, in `crs`."""
    entries: Sequence[ProjectLayer | LayerGroup]
    """From the top of the legend down."""
    abstract: str = ""
    """What it is, for people."""
    timeline: Timeline | None = None

    def layers(self) -> Iterator[ProjectLayer]:
        """Yield all layers, in the legend's order."""
        for entry in self.entries:
            yield from entry.layers if isinstance(entry, LayerGroup) else (entry,)


def describe_project(times: Sequence[datetime | None]) -> str:
    """Return what a project of results is, for people; a time for each of them."""
    known = sorted(time.astimezone(UTC) for time in times if time is not None)
    what = "1 scene" if len(times) == 1 else f"{len(times)} results"
    days = list(dict.fromkeys(f"{time:%Y-%m-%d}" for time in (*known[:1], *known[-1:])))
    taken = f", of {' to '.join(days)}" if days else ""
    return f"Land and water by geounet {__version__}: {what}{taken}."


def write_project(path: Path, project: Project, date: datetime) -> None:
    """Write a QGIS project (.qgz) with relative paths; the same project gives the same bytes.

    Where there are groups, lines are drawn above all areas, those above rasters, and the lowest
    group above the others: the latest, where they are in order of time.

    Args:
        path: Where to.
        project: What it says.
        date: When it was made, as far as the file says.
    """
    root = Element("qgis", version=VERSION, projectname=project.title)
    SubElement(root, "title").text = project.title
    _add_crs(SubElement(root, "projectCrs"), project.crs)
    root.append(_layer_tree(project))
    _add_view(root, project)
    layers = SubElement(root, "projectlayers")
    for index, layer in enumerate(project.layers()):
        layers.append(_map_layer(_layer_id(index), layer, project.crs))
    # Without this the CRS of the project is not read.
    properties = SubElement(SubElement(root, "properties"), "SpatialRefSys")
    SubElement(properties, "ProjectionsEnabled", type="int").text = "1"
    about = SubElement(root, "projectMetadata")
    said = {"title": project.title, "abstract": project.abstract, "creation": _iso(date)}
    for tag, text in said.items():
        SubElement(about, tag).text = text
    if project.timeline is not None:
        root.append(_time_settings(project.timeline))
    stamp = max(date.timetuple()[:6], (1980, 1, 1, 0, 0, 0))  # zip files know nothing earlier
    entry = zipfile.ZipInfo(f"{path.stem}.qgs", date_time=stamp)
    entry.compress_type = zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(entry, to_text(root))


def _layer_id(index: int) -> str:
    # QGIS replaces ids of ten characters and less, and then its tree has lost the layer.
    return f"geounet_layer_{index:04}"


def _layer_tree(project: Project) -> Element:
    tree = Element("layer-tree-group")
    drawn: list[tuple[int, int, int]] = []  # depth, group from the last one, index
    index = 0
    for number, entry in enumerate(project.entries):
        parent = tree
        if isinstance(entry, LayerGroup):
            expanded = str(int(entry.expanded))
            parent = SubElement(
                tree,
                "layer-tree-group",
                name=entry.title,
                checked="Qt::Checked",
                expanded=expanded,
            )
        for layer in entry.layers if isinstance(entry, LayerGroup) else (entry,):
            checked = "Qt::Checked" if layer.shown else "Qt::Unchecked"
            SubElement(
                parent,
                "layer-tree-layer",
                id=_layer_id(index),
                name=layer.title,
                checked=checked,
                expanded=str(int(layer.shown)),
            )
            drawn.append((layer.depth, -number, index))
            index += 1
    if any(isinstance(entry, LayerGroup) for entry in project.entries):
        order = SubElement(tree, "custom-order", enabled="1")
        for *_, index in sorted(drawn):
            SubElement(order, "item").text = _layer_id(index)
    return tree


def _add_view(root: Element, project: Project) -> None:
    names = ("xmin", "ymin", "xmax", "ymax")
    sides = {n: repr(float(side)) for n, side in zip(names, project.bounds, strict=True)}
    settings = SubElement(root, "ProjectViewSettings")
    _add_crs(SubElement(settings, "DefaultViewExtent", sides), project.crs)
    canvas = SubElement(root, "mapcanvas", name="theMapCanvas")
    extent = SubElement(canvas, "extent")
    for name, side in sides.items():
        SubElement(extent, name).text = side
    _add_crs(SubElement(canvas, "destinationsrs"), project.crs)


def _map_layer(layer_id: str, layer: ProjectLayer, crs: CRS) -> Element:
    element = Element("maplayer", type="vector" if layer.is_vector else "raster")
    SubElement(element, "id").text = layer_id
    above = layer.source.startswith("../")
    SubElement(element, "datasource").text = layer.source if above else f"./{layer.source}"
    SubElement(element, "layername").text = layer.title
    _add_crs(SubElement(element, "srs"), crs if layer.crs is None else layer.crs)
    SubElement(element, "provider").text = "ogr" if layer.is_vector else "gdal"
    if layer.time is not None:
        element.append(_temporal(layer, layer.time))
    (element if layer.is_vector else SubElement(element, "pipe")).append(layer.renderer)
    return element


def _temporal(layer: ProjectLayer, time: datetime) -> Element:
    """Return when a layer shows: lines by their column, a raster at the time of its scene.

    As QGIS 3.22 writes it: mode 0 is a fixed range, mode 1 of vectors an instant by a column.
    """
    if layer.is_vector:
        return Element(
            "temporal",
            enabled="1",
            mode="1",
            startField=TIME_FIELD,
            endField="",
            durationField="",
            durationUnit="min",
            fixedDuration="0",
            accumulate="0",
            limitMode="0",
        )
    element = Element("temporal", enabled="1", mode="0", fetchMode="0")
    fixed = SubElement(element, "fixedRange")
    for tag in ("start", "end"):
        SubElement(fixed, tag).text = _iso(time)
    return element


def _time_settings(timeline: Timeline) -> Element:
    element = Element(
        "ProjectTimeSettings",
        frameRate="1",
        cumulativeTemporalRange="0",
        timeStep="1",
        timeStepUnit=timeline.unit,
    )
    played = SubElement(element, "TemporalRange")
    SubElement(played, "start").text = _iso(timeline.start)
    SubElement(played, "end").text = _iso(timeline.end)
    return element


def _iso(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _add_crs(parent: Element, crs: CRS) -> None:
    # An authid alone is answered by QGIS and yet not valid: it takes the WKT.
    SubElement(SubElement(parent, "spatialrefsys"), "wkt").text = crs.to_wkt()
