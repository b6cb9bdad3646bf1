"""What QGIS needs to open results styled: QML, names of classes, and a project.

Written by hand, because QGIS has no library that does without QGIS. What each element is for was
tried out with QGIS 3.22 and 3.40; `docs/guides/qgis.md` has the findings.
"""

import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from odc.geo.geobox import GeoBox
from pyproj import CRS

from geounet.classes import LabelClass
from geounet.cog import rgb
from geounet.vectors import crs_of

VERSION = "3.22.0"
"""The oldest QGIS that is meant; a newer number than the reader's makes it warn."""

PROBABILITY_RAMP = ((0.0, "#f7e7c4"), (0.5, "#f7f7f7"), (1.0, "#08519c"))
"""Share of the way from the lowest value to the highest → colour."""


def palette(classes: Sequence[LabelClass]) -> Element:
    """Return the renderer of a mask: a name and a colour for each class."""
    renderer = Element("rasterrenderer", type="paletted", band="1", opacity="1")
    entries = SubElement(renderer, "colorPalette")
    for kind in classes:
        SubElement(
            entries, "paletteEntry", value=str(kind.value), label=kind.name, color=kind.color
        )
    return renderer


def ramp(low: float, middle: float, high: float) -> Element:
    """Return the renderer of a field: colours that change where its level is."""
    renderer = Element(
        "rasterrenderer",
        type="singlebandpseudocolor",
        band="1",
        opacity="1",
        classificationMin=f"{low:g}",
        classificationMax=f"{high:g}",
    )
    shader = SubElement(
        SubElement(renderer, "rastershader"),
        "colorrampshader",
        colorRampType="INTERPOLATED",
        classificationMode="1",
        clip="0",
        minimumValue=f"{low:g}",
        maximumValue=f"{high:g}",
    )
    for value, (_, color) in zip((low, middle, high), PROBABILITY_RAMP, strict=True):
        SubElement(shader, "item", value=f"{value:g}", label=f"{value:g}", color=color, alpha="255")
    return renderer


def picture() -> Element:
    """Return the renderer of a quicklook, which is stretched already."""
    return Element(
        "rasterrenderer",
        type="multibandcolor",
        redBand="1",
        greenBand="2",
        blueBand="3",
        opacity="1",
    )


def flagged_line(color: str, width_mm: float, *, column: str, flagged_color: str) -> Element:
    """Return the renderer of lines of which some are flagged: those are dashed.

    Args:
        color: Of lines whose flag is false or null.
        width_mm: Of all.
        column: Of the flag, boolean.
        flagged_color: Of lines whose flag is true.
    """
    renderer = Element("renderer-v2", type="RuleRenderer")
    # Keys of its own, or QGIS makes them anew each time it reads the style.
    rules = SubElement(renderer, "rules", key="all")
    SubElement(rules, "rule", key="plain", symbol="0", label="other", filter="ELSE")
    SubElement(
        rules, "rule", key=column, symbol="1", label=column.replace("_", " "), filter=f'"{column}"'
    )
    symbols = SubElement(renderer, "symbols")
    plain = {"line_color": _rgba(color, 255), "line_width": f"{width_mm:g}"}
    dashed = {**plain, "line_color": _rgba(flagged_color, 255), "line_style": "dash"}
    for name, options in enumerate((plain, dashed)):
        symbols.append(_symbol("line", "SimpleLine", options, name=str(name)))
    return renderer


@dataclass(frozen=True)
class LineRule:
    """Which lines have what colour."""

    label: str
    """In the legend."""
    filter: str
    """QGIS expression."""
    color: str


def ruled_line(rules: Sequence[LineRule], width_mm: float) -> Element:
    """Return the renderer of lines that have a colour each by what is known of them."""
    renderer = Element("renderer-v2", type="RuleRenderer")
    listed = SubElement(renderer, "rules", key="all")
    symbols = SubElement(renderer, "symbols")
    for number, rule in enumerate(rules):
        name = str(number)
        SubElement(
            listed, "rule", key=f"rule{name}", symbol=name, label=rule.label, filter=rule.filter
        )
        options = {"line_color": _rgba(rule.color, 255), "line_width": f"{width_mm:g}"}
        symbols.append(_symbol("line", "SimpleLine", options, name=name))
    return renderer


def fill(color: str, alpha: int) -> Element:
    """Return the renderer of areas, through which the picture below is seen; alpha is 0–255."""
    options = {"color": _rgba(color, alpha), "style": "solid", "outline_style": "no"}
    return _single_symbol("fill", "SimpleFill", options)


def _rgba(color: str, alpha: int) -> str:
    return ",".join(str(part) for part in (*rgb(color), alpha))


def _single_symbol(
    kind: Literal["line", "fill"], symbol_layer: str, options: Mapping[str, str]
) -> Element:
    renderer = Element("renderer-v2", type="singleSymbol")
    SubElement(renderer, "symbols").append(_symbol(kind, symbol_layer, options, name="0"))
    return renderer


def _symbol(kind: str, symbol_layer: str, options: Mapping[str, str], *, name: str) -> Element:
    symbol = Element("symbol", type=kind, name=name)
    listed = SubElement(SubElement(symbol, "layer", {"class": symbol_layer}), "Option", type="Map")
    for option, value in options.items():
        SubElement(listed, "Option", type="QString", name=option, value=value)
    return symbol


def qml(renderer: Element) -> str:
    """Return a style file; beside a raster as `NAME.qml` it wins over everything else."""
    root = Element("qgis", version=VERSION)
    (root if renderer.tag == "renderer-v2" else SubElement(root, "pipe")).append(renderer)
    return _text(root)


def aux_xml(classes: Sequence[LabelClass]) -> str:
    """Return what is to lie beside a mask as `NAME.tif.aux.xml`: its classes, for all GDAL.

    QGIS 3.22 wants category names and a colour table, QGIS 3.40 takes the attribute table, too.
    GDAL deletes the file when it copies over the raster, so it is written last.
    """
    root = Element("PAMDataset")
    band = SubElement(root, "PAMRasterBand", band="1")
    SubElement(band, "ColorInterp").text = "Palette"
    names, colors = SubElement(band, "CategoryNames"), SubElement(band, "ColorTable")
    by_value = {kind.value: kind for kind in classes}
    for value in range(max(by_value) + 1):
        known = by_value.get(value)
        SubElement(names, "Category").text = known.name if known else ""
        red, green, blue = rgb(known.color) if known else (0, 0, 0)
        parts = (red, green, blue, 255 if known else 0)
        SubElement(colors, "Entry", {f"c{i}": str(part) for i, part in enumerate(parts, 1)})
    band.append(_attribute_table(classes))
    return _text(root)


def _attribute_table(classes: Sequence[LabelClass]) -> Element:
    table = Element("GDALRasterAttributeTable", tableType="thematic")
    # Name, type (0 integer, 2 text) and usage, as GDAL numbers them.
    columns = (("Value", 0, 5), ("Class", 2, 2), ("Red", 0, 6), ("Green", 0, 7), ("Blue", 0, 8))
    for index, (name, kind, usage) in enumerate(columns):
        definition = SubElement(table, "FieldDefn", index=str(index))
        for tag, value in (("Name", name), ("Type", kind), ("Usage", usage)):
            SubElement(definition, tag).text = str(value)
    for index, label in enumerate(classes):
        row = SubElement(table, "Row", index=str(index))
        for value in (label.value, label.name, *rgb(label.color)):
            SubElement(row, "F").text = str(value)
    return table


@dataclass(frozen=True)
class ProjectLayer:
    """A layer of a project. QGIS reads no default style for it, so it brings its own."""

    title: str
    source: str
    """Relative to the project: `NAME_mask.tif`, `NAME.gpkg|layername=water`."""
    renderer: Element
    shown: bool
    crs: str | None = None
    """As pyproj takes it; None is the project's."""

    @property
    def is_vector(self) -> bool:
        """Whether it is a vector layer."""
        return self.renderer.tag == "renderer-v2"


def write_project(
    path: Path, title: str, geobox: GeoBox, layers: Iterable[ProjectLayer], time: datetime
) -> None:
    """Write a QGIS project (.qgz) with relative paths, that opens on the whole scene.

    Args:
        path: Where to.
        title: What its window says.
        geobox: Grid whose CRS and bounds the project has.
        layers: From the top of the legend down.
        time: The date inside the zip file.
    """
    layers = list(layers)
    root = Element("qgis", version=VERSION, projectname=title)
    SubElement(root, "title").text = title
    _add_crs(SubElement(root, "projectCrs"), crs_of(geobox))
    tree = SubElement(root, "layer-tree-group")
    for index, layer in enumerate(layers):
        checked = "Qt::Checked" if layer.shown else "Qt::Unchecked"
        SubElement(tree, "layer-tree-layer", id=_layer_id(index), name=layer.title, checked=checked)
    box = geobox.boundingbox
    left, bottom, right, top = (repr(float(side)) for side in box.bbox)
    view = SubElement(SubElement(root, "ProjectViewSettings"), "DefaultViewExtent")
    view.attrib.update(xmin=left, ymin=bottom, xmax=right, ymax=top)
    _add_crs(view, crs_of(geobox))
    canvas = SubElement(root, "mapcanvas", name="theMapCanvas")
    extent = SubElement(canvas, "extent")
    for tag, value in (("xmin", left), ("ymin", bottom), ("xmax", right), ("ymax", top)):
        SubElement(extent, tag).text = value
    _add_crs(SubElement(canvas, "destinationsrs"), crs_of(geobox))
    project_layers = SubElement(root, "projectlayers")
    for index, layer in enumerate(layers):
        project_layers.append(_map_layer(_layer_id(index), layer, geobox))
    # Without this the CRS of the project is not read.
    enabled = SubElement(SubElement(SubElement(root, "properties"), "SpatialRefSys"), _ENABLED)
    enabled.attrib["type"], enabled.text = "int", "1"
    date = max(time.timetuple()[:6], (1980, 1, 1, 0, 0, 0))  # zip files know nothing earlier
    stamp = zipfile.ZipInfo(f"{path.stem}.qgs", date_time=date)
    stamp.compress_type = zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(stamp, _text(root))


_ENABLED = "ProjectionsEnabled"


def _layer_id(index: int) -> str:
    # QGIS replaces ids of ten characters and less, and then its tree has lost the layer.
    return f"geounet_layer_{index:04}"


def _map_layer(layer_id: str, layer: ProjectLayer, geobox: GeoBox) -> Element:
    element = Element("maplayer", type="vector" if layer.is_vector else "raster")
    SubElement(element, "id").text = layer_id
    SubElement(element, "datasource").text = f"./{layer.source}"
    SubElement(element, "layername").text = layer.title
    crs = crs_of(geobox) if layer.crs is None else CRS.from_user_input(layer.crs)
    _add_crs(SubElement(element, "srs"), crs)
    SubElement(element, "provider").text = "ogr" if layer.is_vector else "gdal"
    (element if layer.is_vector else SubElement(element, "pipe")).append(layer.renderer)
    return element


def _add_crs(parent: Element, crs: CRS) -> None:
    # An authid alone is answered by QGIS and yet not valid: it takes the WKT.
    SubElement(SubElement(parent, "spatialrefsys"), "wkt").text = crs.to_wkt()


def _text(root: Element) -> str:
    indent(root, " ")
    return tostring(root, encoding="unicode") + "\n"
