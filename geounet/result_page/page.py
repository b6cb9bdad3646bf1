"""One HTML file for a result, which needs no network, and an index of many."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bokeh.resources import Resources
from jinja2 import Environment, PackageLoader, StrictUndefined

from geounet import __version__
from geounet.errors import OutputError, ResultError
from geounet.outputs import Stage, add_to_set, find_record, list_records, read_record, stage_file
from geounet.progress import Progress, silent
from geounet.result_page import facts, figures
from geounet.result_page.lines import Lines, read_lines
from geounet.result_page.pictures import data_aspect, draw_quicklook, read_pictures
from geounet.result_page.pixels import PixelCounts, count_pixels
from geounet.result_page.result import Result, View, check_record, records_below
from geounet.scene import gdal_environment

PAGE, PICTURE = "_report.html", "_quicklook.png"
"""What comes after `NAME`."""
INDEX = "report.html"
"""Of a folder with several results."""


def report_results(
    folder: Path,
    *,
    name: str | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Iterator[Path]:
    """Write the page of each result in a folder, and an index where there are several.

    Where it holds none itself, results are looked for in the folders in it, at any depth.

    Args:
        folder: What `predict` or `baseline` wrote; or the record of one result.
        name: The one result that is wanted; None for all.
        overwrite: Whether pages that exist are replaced.
        progress: Told of blocks.

    Yields:
        Each page, `NAME_report.html`, and last the index of its folder, `report.html`.

    Raises:
        ResultError: There is no result, or it is damaged.
        OutputError: A page exists, or cannot be written.
    """
    if folder.is_file():
        if name not in (None, folder.stem):
            raise ResultError(f"{folder} is one result, not {name}. Leave --name out.")
        records = [folder]
    elif name is not None:
        records = [find_record(folder, name)]
    else:
        records = list_records(folder) or list(records_below(folder))
        records = records or [find_record(folder, None)]  # which says that there is none
    several = [at for at, number in Counter(r.parent for r in records).items() if number > 1]
    wanted = [r.with_name(f"{r.stem}{suffix}") for r in records for suffix in (PAGE, PICTURE)]
    wanted += [at / INDEX for at in several]
    there = [path for path in wanted if path.exists()]
    if there and not overwrite:
        raise OutputError(f"{there[0]} exists already. Use --overwrite to replace it.")
    read = [read_record(path) for path in records]
    for path, record in zip(records, read, strict=True):  # all of them, before any page is drawn
        check_record(path, record)
    summaries: dict[Path, list[dict[str, str]]] = {}
    for path, record in zip(records, read, strict=True):
        result = Result(path.parent, path.stem, record)
        with gdal_environment(), add_to_set(path) as stage:
            summaries.setdefault(path.parent, []).append(write_page(result, stage, progress))
        yield path.with_name(f"{path.stem}{PAGE}")
    for at in several:
        with stage_file(at / INDEX) as draft:
            text = _render(
                "index.html", folder=at.resolve().name, rows=summaries[at], version=__version__
            )
            draft.write_text(text, encoding="utf-8")
        yield at / INDEX


def write_page(result: Result, stage: Stage, progress: Progress = silent) -> dict[str, str]:
    """Write `NAME_report.html` and `NAME_quicklook.png`.

    The same result gives the same bytes; how long it took is in one line of the page, with the id
    `timings`.

    Args:
        result: A set of files, complete but for these.
        stage: Where they are written.
        progress: Told of blocks.

    Returns:
        What an index says of it.

    Raises:
        ResultError: There is nothing to draw, or it is damaged.
    """
    view = View.of(result.geobox)
    counts = count_pixels(result, progress)
    lines = read_lines(result, view)
    draw_quicklook(result, lines, stage.path(PICTURE))
    _, _, crs = figures.axis_titles(result)
    bands, why_no_bands = facts.band_rows(result)
    drawn = {"map": figures.draw_map(result, view, read_pictures(result, view), lines)}
    if counts.histogram is not None and counts.histogram.counts.any():
        drawn["histogram"] = figures.draw_histogram(counts.histogram, result)
    if bands:
        drawn["bands"] = figures.draw_bands(bands)
    text = _render(
        "page.html",
        result=result,
        record=result.record,
        view=view,
        counts=counts,
        lines=lines,
        figures=drawn,
        bokeh=_bokeh(),
        crs=crs,
        styles=figures.LINE_STYLES,
        mask_alpha=figures.MASK_ALPHA,
        field_alpha=figures.FIELD_ALPHA,
        version=__version__,
        notes=[*_notes(result), *result.changed_files()],
        scene=facts.scene_facts(result, crs),
        areas=facts.area_facts(result, counts) if result.mask else [],
        clouds=facts.cloud_facts(result),
        coast=facts.coast_facts(lines) if lines else [],
        unsure=facts.unsure_spots(result, counts),
        wide=facts.wide_spots(result, lines) if lines else [],
        bands=bands,
        why_no_bands=why_no_bands,
        versions=facts.version_facts(result),
        plan=facts.plan_facts(result),
        timings=facts.timings(result),
        units=_units(result),
        ratio=_ratio(result, view),
    )
    stage.path(PAGE).write_text(text, encoding="utf-8")
    return _summary(result, counts, lines)


def _notes(result: Result) -> list[str]:
    said = result.record.get("notes") or []
    return [str(note) for note in said]


def _ratio(result: Result, view: View) -> float:
    """Return how wide the map is to be beside its height: as the scene, within limits."""
    left, bottom, right, top = view.bounds
    return min(2.5, max(0.8, (right - left) * data_aspect(result) / (top - bottom)))


def _units(result: Result) -> str:
    x, _, _ = figures.axis_titles(result)
    return x.partition(" · ")[0].rpartition(", ")[2]


def _summary(result: Result, counts: PixelCounts, lines: Lines | None) -> dict[str, str]:
    scene: Mapping[str, Any] = result.record.get("scene") or {}
    clouds: Mapping[str, Any] = result.record.get("clouds") or {}
    share = clouds.get("share_of_scene")
    return {
        "name": result.name,
        "page": quote(f"{result.name}{PAGE}"),
        "picture": quote(f"{result.name}{PICTURE}"),
        "time": str(scene.get("time") or scene.get("date") or figures.NOT_KNOWN),
        "water": facts.area(counts.areas_of(result.classes, water=True)),
        "land": facts.area(counts.areas_of(result.classes, water=False)),
        "coast": facts.length(lines.length_m) if lines else figures.NOT_KNOWN,
        "cloud": figures.NOT_KNOWN if share is None else f"{share:.1%}",
        "notes": str(len(_notes(result))),
    }


def _bokeh() -> str:
    """Return bokeh's own code, to be part of the page."""
    scripts = Resources(mode="inline", components=["bokeh"]).js_raw
    return "\n".join(scripts).replace("</script", "<\\/script")


def _in_script(value: Any) -> str:
    """Return JSON that may stand inside a `<script>`: nothing in it can end that."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


@cache
def _environment() -> Environment:
    # Whatever comes from a file's name or an attribute is text, never markup.
    made = Environment(
        loader=PackageLoader("geounet.result_page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["in_script"] = _in_script
    return made


def _render(template: str, **values: Any) -> str:
    return _environment().get_template(template).render(**values)
