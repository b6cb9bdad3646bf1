"""docs/scenes.md is what geounet finds in the real scenes: made here, and held against the file.

`make scenes-table` writes it anew.
"""

import json
import os
import re
import shlex
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import pytest
from pyproj import CRS

from geounet.bands import SENSORS
from geounet.info import describe_file
from geounet.scene import SceneOptions

PAGE = Path(__file__).parents[2] / "docs" / "scenes.md"
REWRITE = "GEOUNET_REWRITE"

PREFACE = """\
# What geounet finds in real scenes

Made by a test (`make scenes-table`) from genuine products with all their oddities, and held
against them: what `geounet info` says of each, and where it has each fact from.
[The guide](guides/scenes.md) says what a scene can be and what to type.

`B02–B04` are all the sensor's bands from B02 to B04. Shares of pixels are estimates from a look at
a part of them. Sentinel-2: contains modified Copernicus Sentinel data. Landsat: courtesy of the
U.S. Geological Survey.
"""


@dataclass(frozen=True)
class Entry:
    """A scene, and what is typed to have it read."""

    title: str
    given: str
    """Pattern below the folder of real scenes."""
    options: tuple[str, ...] = ()
    """As on the command line."""


ENTRIES = (
    Entry("Sentinel-2 L2A product, 60 m, Fiji", "fiji_s2_l2a_safe/*.SAFE"),
    Entry("Sentinel-2 L1C product, cropped, Gironde", "gironde_s2_l1c_safe/*.SAFE"),
    Entry("Sentinel-2 L1C product, one band, Pyrenees", "pyrenees_s2_l1c_safe/*.SAFE"),
    Entry("The same as a zip file", "pyrenees_s2_l1c_safe/*.SAFE.zip"),
    Entry("STAC item with COGs of three resolutions, Sahara", "sahara_s2_l2a_cog_stac/*.json"),
    Entry(
        "Folder of 8-bit band files, Cape Lookout",
        "cape_lookout_s2_l1c_uint8",
        ("--scale", "0.003922", "--nodata", "255"),
    ),
    Entry(
        "Folder of JPEG 2000 files, most unplaced, St Lawrence",
        "st_lawrence_s2_l1c_160m",
        ("--scale", "0.0001"),
    ),
    Entry(
        "GeoTIFF with an offset that nobody declares, Paraná",
        "parana_s2_l2a/20240101.tif",
        ("--scale", "0.0001"),
    ),
    Entry(
        "The same, put right",
        "parana_s2_l2a/20240101.tif",
        ("--scale", "0.0001", "--offset", "-1000"),
    ),
    Entry(
        "Two dates in one file without names, Inn",
        "inn_s2_rgbn/*.tif",
        ("--bands", "B04,B03,B02,B08,-,-,-,-", "--sensor", "s2", "--scale", "0.0001"),
    ),
    Entry(
        "8-bit GeoTIFF of Landsat 7 without names, Olinda",
        "olinda_landsat7/*.tif",
        ("--bands", "B1,B2,B3,B4,B5,B7", "--sensor", "l7", "--scale", "0.003922"),
    ),
    Entry("Landsat 8 level 1, Collection 1, two pixel sizes, Bijagós", "bijagos_landsat8"),
)


@pytest.fixture
def real_scenes(shared_data, tmp_path):
    """Return where an entry's scene is; links of the STAC item are put on the files beside it."""

    def find(entry):
        (path,) = shared_data.glob(entry.given)
        if path.suffix != ".json":
            return path
        item = json.loads(path.read_text())
        for asset in item["assets"].values():
            asset["href"] = str(path.with_name(asset["href"].rpartition("/")[2]))
        moved = tmp_path / path.name
        moved.write_text(json.dumps(item))
        return moved

    return find


def test_the_page_says_what_is_found(shared_data, real_scenes):
    described = [(entry, describe(real_scenes(entry), entry)) for entry in ENTRIES]
    text = "\n".join([PREFACE, *summary(described), *details(described)]).replace(
        f"{shared_data}/", ""
    )
    if os.environ.get(REWRITE):
        PAGE.write_text(text, encoding="utf-8")
    assert str(shared_data) not in text
    assert PAGE.read_text(encoding="utf-8") == text, (
        "docs/scenes.md is not what geounet finds: look at the difference, and if that is right, "
        "make scenes-table"
    )


def describe(path, entry):
    words = {
        name.removeprefix("--"): value
        for name, value in zip(entry.options[::2], entry.options[1::2], strict=True)
    }
    numbers = {key: float(words[key]) for key in ("scale", "offset") if key in words}
    text = dict.fromkeys(("bands", "sensor", "level", "scale", "offset", "nodata"))
    facts = describe_file(path, SceneOptions.from_text(**(text | words | numbers)))
    assert facts["kind"] == "scene", facts
    return facts


def summary(described):
    columns = (
        "product, kind, sensor and level, time, pixels, bands, scale and offset, nodata, clouds"
    )
    yield row(*columns.split(", "))
    yield "|---" * 9 + "|"
    for entry, facts in described:
        yield row(
            f"[{entry.title}](#{anchor(entry.title)})",
            facts["layout"],
            f"{facts['sensor']} {facts['level'] or '?'}",
            (facts["time"] or facts["date"] or "?")[:10],
            "; ".join(f"{res} m" for res, _ in by_resolution(facts)),
            str(len(facts["bands"])),
            "; ".join(dict.fromkeys(numbers for numbers, _, _ in by_scaling(facts))),
            nodata_of(facts),
            share_of_clouds(facts),
        )


def details(described):
    for entry, facts in described:
        options = "".join(f" {shlex.quote(word)}" for word in entry.options)
        yield f"\n## {entry.title}\n"
        yield f"    geounet info {shown_path(entry, facts)}{options}\n"
        yield "| | what geounet finds | from |"
        yield "|---|---|---|"
        for fact, value, source in rows(facts):
            yield row(fact, value, source)
        for text in [*facts["notes"], *facts["advice"], *filter(None, [facts.get("problem")])]:
            yield f"\n> {text}"
    yield ""


def shown_path(entry, facts):
    if entry.given.endswith(".json"):
        return "item.json"
    return shlex.quote(facts["source"])


def rows(facts):
    sources = facts["sources"]
    yield "kind", f"{facts['layout']}, {facts['driver']}, read as {facts['dtype']}", "content"
    for fact in ("sensor", "level", "time", "tile", "orbit", "baseline"):
        if (value := facts[fact]) is not None:
            yield fact, str(value), sources.get(fact, "")
    if facts["time"] is None:
        yield "day", facts["date"] or "not known", sources.get("date", "")
    height, width = facts["shape"]
    west, south, east, north = facts["footprint"]["bounds"]
    yield (
        "grid",
        f"{height} × {width} pixels of {metres(facts['res_m'])} m, "
        f"EPSG:{CRS(facts['crs']).to_epsg()}",
        sources.get("grid", "finest of the files"),
    )
    yield "lies in", f"{west:.3f}° to {east:.3f}° east, {south:.3f}° to {north:.3f}° north", "grid"
    for res, names in by_resolution(facts):
        yield f"bands of {res} m", names, sources["bands"]
    for numbers, names, source in by_scaling(facts):
        yield f"scale, offset of {names}", numbers, source
    yield "nodata", nodata_of(facts), sources["nodata"]
    yield "valid", percent(facts["valid_share"]), "a look"
    if clouds := facts["clouds"]:
        yield "clouds", share_of_clouds(facts), clouds["source"]

    def why_left(item):
        return re.sub(r"^\w+ is taken from \S+$", "the band is taken from another", item["why"])

    for why, items in groupby(sorted(facts["left_out"], key=why_left), key=why_left):
        yield "left out", ", ".join(item["what"] for item in items), why


def by_resolution(facts):
    """Return pixel sizes with the bands that have them, finest first."""
    sizes = sorted({tuple(band["res_m"]) for band in facts["bands"]})
    for size in sizes:
        yield metres(size), names(facts, lambda band, size=size: tuple(band["res_m"]) == size)


def by_scaling(facts):
    """Return scale and offset, the bands that have them, and where they are from."""

    def key(band):
        return band["scale"], band["offset"], band["scale_from"]

    for one in dict.fromkeys(map(key, facts["bands"])):
        scale, offset, source = one
        numbers = "not known" if scale is None else f"{scale:.6g}, {offset:.6g}"
        yield numbers, names(facts, lambda band, one=one: key(band) == one), source


def names(facts, chosen):
    """Return names of bands for people, those next to each other on the sensor as a span."""
    order = [band.name for band in SENSORS[facts["sensor"]]]
    places = sorted(order.index(band["name"]) for band in facts["bands"] if chosen(band))
    spans = [
        [order[place] for _, place in group]
        for _, group in groupby(enumerate(places), lambda pair: pair[1] - pair[0])
    ]
    return ", ".join(
        f"{span[0]}–{span[-1]}" if len(span) > 2 else ", ".join(span) for span in spans
    )


def nodata_of(facts):
    values = dict.fromkeys(band["nodata"] for band in facts["bands"])
    return ", ".join("none" if value is None else f"{float(value):g}" for value in values)


def share_of_clouds(facts):
    clouds = facts["clouds"]
    if clouds is None:
        return "–"
    known = "" if clouds["known"] == 1 else f" of the {percent(clouds['known'])} known"
    return f"{percent(clouds['share'])}{known}"


def percent(share):
    return f"{100 * share:.0f} %"


def metres(size):
    return " × ".join(dict.fromkeys(f"{side:.4g}" for side in size))


def row(*cells):
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def anchor(title):
    """Return the anchor that GitHub gives a heading."""
    kept = [c for c in title.lower() if c.isalnum() or c in " -_"]
    return "".join(kept).replace(" ", "-")
