"""What QGIS needs to open results styled: QML, and names of classes.

Written by hand, because QGIS has no library that does without QGIS. What each element is for was
tried out with QGIS 3.22 and 3.40; `docs/guides/qgis.md` has the findings.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from geounet.classes import LabelClass
from geounet.cog import rgb

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


CASING_COLOR = "#222222"
"""Under the dashes of coast near cloud."""
WIDE_EDGE_MM = 2.2
"""Of the pale band along a blurred edge, on paper and screen."""


def coast_line(
    color: str, *, suspect_color: str, wide_m: float | None, label: str = "coastline"
) -> Element:
    """Return the renderer of coastlines, from which one sees at once where not to rely on them.

    Most are plain, those of lakes thinner; a blurred edge is a thin line in a wide pale band; near
    cloud, lines are barred: bright dashes on black, to be seen on dark water and bright cloud.

    Args:
        color: Of all lines but those near cloud.
        suspect_color: Of the dashes of lines whose `cloud_suspect` is true.
        wide_m: Edge width from which a line counts as blurred, metres; None where nothing is known
            of edges.
        label: What the legend calls plain lines.
    """
    plain = {
        "line_color": _rgba(color, 255), "line_width": "0.5", "capstyle": "round",
        "joinstyle": "round",
    }  # fmt: skip
    band = {**plain, "line_color": _rgba(color, 110), "line_width": f"{WIDE_EDGE_MM:g}"}
    casing = {
        **plain,
        "line_color": _rgba(CASING_COLOR, 255),
        "line_width": "1.3",
        "capstyle": "flat",
    }
    dashes = {
        **casing, "line_color": _rgba(suspect_color, 255), "line_width": "0.8",
        "use_custom_dash": "1", "customdash": "2;1.5",
    }  # fmt: skip
    line = _symbol("line", "SimpleLine", plain, name="0")
    _define_by_data(line, "outlineWidth", "if(\"kind\" = 'lake', 0.3, @value)")
    # Keys of its own, or QGIS makes them anew each time it reads the style.
    rules = [("plain", label, "ELSE", line)]
    if wide_m is not None:
        blurred = _symbol("line", "SimpleLine", {**plain, "line_width": "0.3"}, name="1")
        _put_below(blurred, band)
        # Null where nobody knows of clouds.
        clear = 'not coalesce("cloud_suspect", false)'
        wide = f'{clear} and "edge_width_m" >= {wide_m:g}'
        rules.append(("wide", f"{label}, blurred edge ({wide_m:.3g} m or more)", wide, blurred))
    barred = _symbol("line", "SimpleLine", dashes, name=str(len(rules)))
    _put_below(barred, casing)
    rules.append(("suspect", f"{label}, near cloud", '"cloud_suspect"', barred))
    renderer = Element("renderer-v2", type="RuleRenderer")
    listed, symbols = SubElement(renderer, "rules", key="all"), SubElement(renderer, "symbols")
    for number, (key, text, where, symbol) in enumerate(rules):
        SubElement(listed, "rule", key=key, symbol=str(number), label=text, filter=where)
        symbols.append(symbol)
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
    symbol.append(_symbol_layer(symbol_layer, options))
    return symbol


def _symbol_layer(kind: str, options: Mapping[str, str]) -> Element:
    layer = Element("layer", {"class": kind})
    listed = SubElement(layer, "Option", type="Map")
    for option, value in options.items():
        SubElement(listed, "Option", type="QString", name=option, value=value)
    return layer


def _put_below(symbol: Element, options: Mapping[str, str]) -> None:
    """Draw another line below that of a symbol."""
    below = _symbol_layer("SimpleLine", options)
    below.attrib["locked"] = "1"  # who changes the symbol's colour means that of the line above
    symbol.insert(0, below)


def _define_by_data(symbol: Element, quantity: str, expression: str) -> None:
    """Let an expression say a quantity of the one layer of a symbol."""
    found = symbol.find("layer")
    assert found is not None
    top = SubElement(SubElement(found, "data_defined_properties"), "Option", type="Map")
    SubElement(top, "Option", type="QString", name="type", value="collection")
    by_name = SubElement(top, "Option", type="Map", name="properties")
    one = SubElement(by_name, "Option", type="Map", name=quantity)
    for kind, name, value in (
        ("bool", "active", "true"),
        ("QString", "expression", expression),
        ("int", "type", "3"),  # an expression, as QGIS numbers it
    ):
        SubElement(one, "Option", type=kind, name=name, value=value)


def qml(renderer: Element) -> str:
    """Return a style file; beside a raster as `NAME.qml` it wins over everything else."""
    root = Element("qgis", version=VERSION)
    (root if renderer.tag == "renderer-v2" else SubElement(root, "pipe")).append(renderer)
    return to_text(root)


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
    return to_text(root)


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


def to_text(root: Element) -> str:
    """Return an element as the text of a file."""
    indent(root, " ")
    return tostring(root, encoding="unicode") + "\n"
