"""What a page says in words and numbers, from the record and what was counted."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from geounet.classes import IGNORE
from geounet.result_page.figures import NOT_KNOWN, tip_texts
from geounet.result_page.lines import Lines
from geounet.result_page.pixels import PixelCounts
from geounet.result_page.result import Result

Rows = list[tuple[str, str]]
"""What, and what it is."""


@dataclass(frozen=True)
class Spot:
    """A place that a person should look at."""

    bounds: tuple[float, float, float, float]
    """(left, bottom, right, top), in units of the CRS, to move the map to."""
    where: str
    """Of its middle, on the map."""
    lonlat: str
    cells: tuple[str, ...]
    """What is said of it."""


def scene_facts(result: Result, crs: str) -> Rows:
    """Return what was looked at, with what."""
    record, scene = result.record, _mapping(result.record.get("scene"))
    model, baseline = _mapping(record.get("model")), _mapping(record.get("baseline"))
    height, width = result.geobox.shape
    rows = [
        ("scene", _text(scene.get("name", result.name))),
        ("source", _text(scene.get("source"))),
        ("time", _text(scene.get("time") or scene.get("date"))),
        ("sensor and level", f"{_text(scene.get('sensor'))}, {_text(scene.get('level'))}"),
        ("size", f"{width:,} × {height:,} pixels"),
        ("pixel", " × ".join(f"{m:.4g} m" for m in scene.get("res_m") or []) or NOT_KNOWN),
        ("CRS", crs),
    ]  # fmt: skip
    if model:
        rows.append(("model", f"{_text(model.get('file'))}, {_text(model.get('network'))}"))
        rows.append(("SHA-256 of the model", _text(model.get("sha256"))))
        u95 = model.get("position_u95_m")
        said = f"95 % within {u95:.1f} m on held-out ground" if u95 else NOT_KNOWN
        rows.append(("position of its lines", said))
    if baseline:
        rows.append(("index", _text(baseline.get("index")).upper()))
        if (apart := baseline.get("separability")) is not None:
            rows.append(("separability of land and water", f"{apart:.2f}"))
    level = result.level
    rows.append(("threshold", NOT_KNOWN if level is None else f"{level:.4g}"))
    return rows


def area_facts(result: Result, counts: PixelCounts) -> list[tuple[str, str, str, str]]:
    """Return each class and nodata: name, pixels, share of the scene, area."""
    named = [(one.value, one.name) for one in result.classes] + [(IGNORE, "no data")]
    return [
        (
            name,
            f"{counts.pixels.get(value, 0):,}",
            f"{counts.share(value):.2%}",
            area(counts.areas_m2.get(value, 0.0)),
        )
        for value, name in named
    ]


def cloud_facts(result: Result) -> Rows:
    """Return how much is under cloud, as far as anybody knows."""
    clouds = _mapping(result.record.get("clouds"))
    masked = _mapping(clouds.get("masked"))
    return [
        ("said by", _text(clouds.get("source"))),
        ("of the scene under cloud", _share(clouds.get("share_of_scene"))),
        ("of it cirrus", _share(clouds.get("cirrus_share_of_scene"))),
        ("of the coast near cloud", _share(clouds.get("share_of_coast"))),
        ("masked, so without data", _share(masked.get("share_of_scene")) if masked else "nothing"),
    ]


def coast_facts(lines: Lines) -> Rows:
    """Return how long the line is, by kind, and how much of it is in doubt."""
    rows = [(f"kind {kind}", length(m)) for kind, m in sorted(lines.length_by_kind.items())]
    return [
        ("lines", f"{lines.count:,}"),
        ("length", length(lines.length_m)),
        *rows,
        ("cloud_suspect", length(lines.suspect_m) if lines.suspect_known else NOT_KNOWN),
        (
            f"edge wider than {lines.wide_m:.3g} m",
            length(lines.wide_length_m) if lines.wide_known else NOT_KNOWN,
        ),
    ]


def unsure_spots(result: Result, counts: PixelCounts) -> list[Spot]:
    """Return the squares with most unsure pixels."""
    return [
        _spot(
            result, place.bounds, (f"{place.pixels:,}", f"{place.share:.1%}", area(place.area_m2))
        )
        for place in counts.places
    ]


def wide_spots(result: Result, lines: Lines) -> list[Spot]:
    """Return the lines with the widest edges."""
    if lines.widest is None or not len(lines.widest):
        return []
    texts = tip_texts(lines.widest)
    names = ("edge_width_m", "length_m", "kind", "cloud_suspect")
    cells = zip(*(texts[name] for name in names), strict=True)
    bounds = lines.widest.bounds.to_numpy().tolist()
    return [_spot(result, tuple(box), row) for box, row in zip(bounds, cells, strict=True)]


def _spot(result: Result, bounds: Any, cells: tuple[str, ...]) -> Spot:
    left, bottom, right, top = bounds
    x, y = (left + right) / 2, (bottom + top) / 2
    lon, lat = result.to_lonlat.transform(x, y)
    digits = 5 if result.geobox.crs is not None and result.geobox.crs.geographic else 0
    # Around a line of no height there is something to be seen, too.
    around = 0.5 * max(right - left, top - bottom)
    box = (left - around, bottom - around, right + around, top + around)
    return Spot(box, f"{x:.{digits}f}, {y:.{digits}f}", f"{lon:.5f}, {lat:.5f}", cells)


def band_rows(result: Result) -> tuple[list[dict[str, Any]], str]:
    """Return the bands of scene and training data beside each other; or none, and why."""
    rows = result.record.get("bands_against_training")
    if rows:
        return [dict(row) for row in rows], ""
    if rows is not None:
        return [], "Too few pixels were predicted to say what the bands are like."
    if not result.record.get("model"):
        return [], "No model was trained for this result, so there is nothing to compare with."
    return [], (
        "The record does not say what the training data's bands were: it is of an older geounet. "
        "Predict again to have them compared."
    )


def version_facts(result: Result) -> Rows:
    """Return what it was made with."""
    versions = _mapping(result.record.get("versions"))
    return [
        ("geounet", _text(result.record.get("geounet"))),
        *((str(name), _text(version)) for name, version in versions.items()),
    ]


def plan_facts(result: Result) -> Rows:
    """Return how windows were laid, and on what it ran."""
    plan = _mapping(result.record.get("plan"))
    return [(str(name).replace("_", " "), _text(value)) for name, value in plan.items()]


def timings(result: Result) -> str:
    """Return how long each phase took."""
    said = _mapping(result.record.get("timings"))
    return ", ".join(f"{phase} {seconds} s" for phase, seconds in said.items()) or NOT_KNOWN


def area(m2: float) -> str:
    """Return an area as people say it."""
    return f"{m2 / 1e6:,.3f} km²" if m2 >= 1e4 else f"{m2:,.0f} m²"


def length(m: float) -> str:
    """Return a length as people say it."""
    return f"{m / 1000:,.2f} km" if m >= 1000 else f"{m:,.0f} m"


def _share(value: Any) -> str:
    return NOT_KNOWN if value is None else f"{value:.2%}"


def _text(value: Any) -> str:
    return NOT_KNOWN if value is None or value == "" else str(value)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
