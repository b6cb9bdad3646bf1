"""How QGIS and the figure show changes: colours of gain and loss, and of movement."""

from xml.etree.ElementTree import Element, SubElement

from geounet import qgis
from geounet.styles import GAINED_COLOR, LANDWARD_COLORS, LOST_COLOR, SEAWARD_COLORS

ALPHA = 190
SHADES = (*reversed(LANDWARD_COLORS), "#bdbdbd", *SEAWARD_COLORS)
"""From far landwards to far seawards."""


def change_style() -> Element:
    """Return the renderer of areas gained and lost."""
    renderer = Element("renderer-v2", type="RuleRenderer")
    rules = SubElement(renderer, "rules", key="all")
    symbols = SubElement(renderer, "symbols")
    kinds = (("gained", GAINED_COLOR, "land gained"), ("lost", LOST_COLOR, "land lost"))
    for number, (kind, color, label) in enumerate(kinds):
        SubElement(
            rules, "rule", key=kind, symbol=str(number), label=label, filter=f"\"kind\" = '{kind}'"
        )
        symbol = qgis.fill(color, ALPHA).find("symbols/symbol")
        assert symbol is not None
        symbol.set("name", str(number))
        symbols.append(symbol)
    return renderer


def movement_style(unit_m: float) -> Element:
    """Return the renderer of stretches of coast by how far they moved.

    Args:
        unit_m: Less than half of it counts as still, more than one and a half as far; a pixel.
    """
    value = 'coalesce("corrected_m", "moved_m")'
    near, far = 0.5 * unit_m, 1.5 * unit_m
    # First what is doubtful: the last that fits is drawn on top.
    rules = [
        qgis.LineRule("no partner", f"{value} IS NULL", "#000000"),
        qgis.LineRule(f"landward by more than {far:.4g} m", f"{value} < {-far!r}", SHADES[0]),
        qgis.LineRule(
            f"landward by more than {near:.4g} m",
            f"{value} >= {-far!r} AND {value} < {-near!r}",
            SHADES[1],
        ),
        qgis.LineRule(
            f"within {near:.4g} m", f"{value} >= {-near!r} AND {value} <= {near!r}", SHADES[2]
        ),
        qgis.LineRule(
            f"seaward by more than {near:.4g} m",
            f"{value} > {near!r} AND {value} <= {far!r}",
            SHADES[3],
        ),
        qgis.LineRule(f"seaward by more than {far:.4g} m", f"{value} > {far!r}", SHADES[4]),
    ]
    return qgis.ruled_line(rules, width_mm=0.9)
