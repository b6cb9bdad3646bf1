"""geounet info."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geounet_cli import options
from geounet_cli.exported import catalogued_facts, exported_facts

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

WIDEST_TABLE = 160
"""Characters."""
UNITS = {"_m": " m", "_m2": " m²"}
"""What sizes in a record end in → their unit."""


def info(
    file: Annotated[
        str,
        typer.Argument(
            help="A scene or item collection (path or address), a chip folder, a model file, a "
            "result, a part or a folder of results, a comparison, transects, or scores.",
            show_default=False,
        ),
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print all there is to know, as JSON.")
    ] = False,
    quicklook: Annotated[
        Path | None,
        typer.Option(
            help="Write a picture of the scene, as PNG, to this file.", show_default=False
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the quicklook if it exists.")
    ] = False,
    bands: options.Bands = None,
    sensor: options.Sensor = None,
    level: options.Level = None,
    scale: options.Scale = None,
    offset: options.Offset = None,
    nodata: options.Nodata = None,
    res: options.Res = None,
) -> None:
    """Say what a file or folder is, and where each fact about a scene comes from.

    Example: geounet info scene.tif
    """
    from geounet.errors import OutputError
    from geounet.info import describe_file  # imports rasterio: only when needed
    from geounet.quicklook import write_quicklook
    from geounet.scene import SceneOptions

    scene_options = SceneOptions.from_text(
        bands=bands, sensor=sensor, level=level, scale=scale, offset=offset, nodata=nodata, res=res
    )
    facts = describe_file(file, scene_options)
    if quicklook is not None:
        if "problem" in facts and facts["kind"] == "raster":
            raise OutputError(f"{facts['problem']} Until then there is nothing for --quicklook.")
        if facts["kind"] != "scene":
            raise OutputError(
                f"{file} is no scene: there is nothing to draw. Leave --quicklook out."
            )
        write_quicklook(file, quicklook, scene_options, overwrite=overwrite)
    if as_json:
        import json

        typer.echo(json.dumps(facts, indent=1, ensure_ascii=False))
        return
    from rich.console import Console

    # A terminal wraps what is wider than it; a table squeezed into 80 columns cannot be read.
    columns = max(shutil.get_terminal_size().columns, WIDEST_TABLE)
    console = Console(highlight=False, soft_wrap=True, width=columns)
    show = {
        "scene": _show_scene,
        "items": _show_items,
        "part": _show_part,
        "raster": _show_raster,
        "chips": _show_chips,
        "model": _show_model,
        "exported": _show_exported,
        "catalogued": lambda *of: _show_facts(of[0], *catalogued_facts(of[1])),
        "result": _show_result,
        "results": _show_results,
        "scores": _show_scores,
        "measured": _show_measured,
    }
    show[facts["kind"]](console, facts)


def _show_scene(console: "Console", facts: dict[str, Any]) -> None:
    sources = facts["sources"]
    height, width = facts["shape"]
    tile, orbit = facts["tile"], facts["orbit"]
    _show_facts(
        console,
        f"Scene {facts['name']}",
        {
            "file": f"{facts['source']} ({facts['layout']}, {facts['driver']}, "
            f"read as {facts['dtype']})",
            "sensor": _sourced(facts["sensor"], sources.get("sensor")),
            "level": _sourced(facts["level"], sources.get("level")),
            "time": _sourced(
                facts["time"] or facts["date"], sources.get("time") or sources.get("date")
            ),
            "tile": _sourced(tile, sources.get("tile")),
            "orbit": _sourced(None if orbit is None else str(orbit), sources.get("orbit")),
            "baseline": _sourced(facts["baseline"], sources.get("baseline")),
            "grid": f"{height} × {width} pixels (rows × columns) of {_metres(facts['res_m'])}, "
            f"{_crs(facts['crs'])}" + (f" (from {sources['grid']})" if "grid" in sources else ""),
            "lies in": _bounds(facts["footprint"]["bounds"]),
            "band names": sources.get("bands", "not known"),
            "scale": sources.get("scale", "not known"),
            "nodata": sources.get("nodata", "not known"),
            "valid": _valid(facts),
            "clouds": _clouds(facts["clouds"]),
        },
    )
    console.print(_scene_bands(facts))
    for left in facts["left_out"]:
        console.print(f"left out: {left['what']} ({left['why']})", markup=False)
    for note in facts["notes"] + facts["advice"]:
        console.print(f"note: {note}", markup=False)
    if "problem" in facts:
        console.print(f"problem: {facts['problem']}", markup=False)


def _scene_bands(facts: dict[str, Any]) -> "Table":
    """Return the bands of a scene and their reflectance, or what is in the file instead."""
    spread = facts["reflectance"] or facts["dn"] or {}
    form = "{:.4f}" if facts["reflectance"] else "{:.4g}"
    unit = "" if facts["reflectance"] or not spread else "DN "
    table = _table(
        *("band", "common name", "nm", "pixel m", "scale", "offset", "nodata"),
        *(f"{unit}2 %", f"{unit}median", f"{unit}98 %"),
    )
    for band in facts["bands"]:
        seen = spread.get(band["id"])
        table.add_row(
            band["id"],
            band["common_name"] or "–",
            _number(band["wavelength_nm"]),
            _metres(list(dict.fromkeys(band["res_m"]))).removesuffix(" m"),
            *(_number(band[key]) for key in ("scale", "offset", "nodata")),
            *(form.format(seen[key]) if seen else "–" for key in ("p2", "median", "p98")),
        )
    return table


def _bounds(bounds: list[float]) -> str:
    """Say between which longitudes and latitudes something lies."""
    west, south, east, north = bounds
    over = ", across the antimeridian" if west > east else ""
    return f"{west:.4f} to {east:.4f} east, {south:.4f} to {north:.4f} north{over}"


def _valid(facts: dict[str, Any]) -> str:
    if facts["valid_share"] is None:
        return "not looked at (no overviews, and not on this machine)"
    return f"about {_percent(facts['valid_share'])} ({facts['sampled_pixels']} pixels looked at)"


def _clouds(clouds: dict[str, Any] | None) -> str:
    if clouds is None:
        return "no layer says where they are"
    if clouds["known"] is None:
        return f"{clouds['source']}, not looked at"
    if clouds["share"] is None:
        return f"{clouds['source']} knows nothing of any pixel"
    share = f"about {_percent(clouds['share'])}"
    if clouds["known"] < 1:
        share += f" of the {_percent(clouds['known'])} that are known"
    return f"{share} (from {clouds['source']})"


def _show_items(console: "Console", facts: dict[str, Any]) -> None:
    console.print(
        f"{len(facts['items'])} scenes in {facts['path']}; give it to tile or predict, or one:",
        markup=False,
    )
    for item in facts["items"]:
        console.print(f"  {item}", markup=False)


def _show_part(console: "Console", facts: dict[str, Any]) -> None:
    console.print(
        f"{facts['path']} is a part of a result of geounet {facts['command']}. Its record says "
        f"all of it: geounet info {facts['record']}",
        markup=False,
    )


def _show_raster(console: "Console", facts: dict[str, Any]) -> None:
    height, width = facts["shape"]
    dtypes = ", ".join(sorted(set(facts["dtypes"])))
    names = ", ".join(f"{i} {name or '–'}" for i, name in enumerate(facts["bands"], start=1))
    _show_facts(
        console,
        "A raster, but no scene",
        {
            "file": f"{facts['source']} ({facts['driver']}, {dtypes})",
            "grid": f"{height} × {width} pixels (rows × columns), {_crs(facts['crs'])}",
            "bands": names,
            "nodata": facts["nodata"] or "–",
            "why": facts["problem"],
        },
    )


def _show_chips(console: "Console", facts: dict[str, Any]) -> None:
    size, context, known = facts["size"], facts["context"], facts["labelled"]
    _show_facts(
        console,
        f"Chips in {facts['path']}",
        {
            "chips": f"{size} × {size} pixels of {_metres(facts['res_m'])}, context {context}, "
            f"every {facts['stride']}",
            "grids": ", ".join(_crs(crs) for crs in facts["crs"]) or "none",
            "sensor": f"{facts['sensor'] or '–'} {facts['level'] or ''}",
            "classes": ", ".join(f"{one['value']} {one['name']}" for one in facts["classes"]),
            "labels": _labels_of_chips(facts),
            "split": _split(facts["split"]),
            "sources": str(len(facts["sources"])),
            "made by": f"geounet {facts['geounet']}",
        },
    )
    table = _table("split", "chips", "water", "coast km", "area km²")
    for name, row in facts["splits"].items():
        table.add_row(
            name,
            f"{row['chips']:.0f}",
            "–" if row["water"] is None else _percent(row["water"]),
            f"{row['coast_km']:.1f}" if known else "–",
            f"{row['area_km2']:.1f}",
        )
    console.print(table)
    _show_bands(console, facts)
    if known:
        console.print(f"{facts['all_land']} chips are all land, {facts['all_water']} all water")
    lacking = facts["lacking_data"]
    if lacking:
        shown = ", ".join(
            f"{name} ({_percent(share)})" for name, share in list(lacking.items())[:5]
        )
        more = f", and {len(lacking) - 5} more" if len(lacking) > 5 else ""
        what = "know" if known else "have data in"
        console.print(f"{len(lacking)} chips {what} less than 90 %: {shown}{more}", markup=False)
    if suspects := facts.get("suspects"):
        console.print(f"{len(suspects)} chips are suspect; as a list for train --exclude:")
        for name, why in suspects.items():
            console.print(f"{name}  # {why}", markup=False)


def _labels_of_chips(facts: dict[str, Any]) -> str:
    """Say what is known of the ground."""
    if not facts["labelled"]:
        return "none: an autoencoder learns from such chips"
    return "yes, and shares of water: train --set labels=shares" if facts["shares"] else "yes"


def _split(settings: dict[str, Any]) -> str:
    """Say how chips were divided, and how many were left out and why."""
    # Free in a chip folder, which others than tile may write.
    said = [f"by {settings.get('by')}", f"seed {settings.get('seed')}"]
    block, gap = settings.get("block_m"), settings.get("gap_m")
    if isinstance(block, int | float) and isinstance(gap, int | float):
        said.append(f"blocks of {block:.0f} m, {gap:.0f} m apart")
    dropped = settings.get("dropped")
    dropped = dropped if isinstance(dropped, dict) else {}
    dropped = {why: count for why, count in dropped.items() if count}
    return ", ".join([*said, *(f"{count} left out {why}" for why, count in dropped.items())])


def _halo(facts: dict[str, Any]) -> str:
    """Say how windows of a model are put together."""
    exact, blend = facts["halo_exact"], facts["blend"]
    if exact is None:
        how = (
            f" ({blend['why']}): {blend['window']} wide, {blend['overlap']} shared" if blend else ""
        )
        return f"none is exact; windows are blended{how}"
    if facts["halo_default"] == exact:
        return f"{exact} pixels, the exact one"
    halo = f"{facts['halo_default']} pixels keep the error of tiling at {facts['halo_error']:.2g}"
    return f"{halo} on validation chips; exact {exact}"


def _show_model(console: "Console", facts: dict[str, Any]) -> None:
    error = facts["position_u95_m"]
    training = {k: v for k, v in facts["training"].items() if isinstance(v, str | int | float)}
    _show_facts(
        console,
        f"Model file {facts['path']}" if "path" in facts else "Exported from a model file",
        {
            "network": facts["network"]["name"]
            + (f", {facts['bytes'] / 2**20:.1f} MiB" if "bytes" in facts else ""),
            "classes": "none: it gives back its bands"
            if facts["network"]["settings"].get("target") == "bands"
            else ", ".join(
                f"{one['value']} {one['name']}{' (water)' if one['water'] else ''}"
                for one in facts["classes"]
            ),
            "sensor": f"{facts['sensor'] or '–'} {facts['level'] or ''}",
            "pixels": _metres(facts["res_m"]) if facts["res_m"] else "–",
            "given": facts["reflectance"],
            "stride": f"{facts['stride']} pixels",
            "halo": _halo(facts),
            "position": "not known" if error is None else f"95 % of the line within {error:.1f} m",
            "best threshold": _number(facts["suggested_threshold"] or "not known"),
            **{f"training {key}": str(value) for key, value in training.items()},
            "licence": facts["licence"] or "–",
            "made by": f"geounet {facts['geounet']}",
            **({"sha256": facts["sha256"]} if "sha256" in facts else {}),
        },
    )
    _show_bands(console, facts)


def _show_exported(console: "Console", facts: dict[str, Any]) -> None:
    _show_facts(console, *exported_facts(facts))
    if facts["model"] is not None:
        _show_model(console, facts["model"])


def _show_bands(console: "Console", facts: dict[str, Any]) -> None:
    """Print bands with the statistics of the training split."""
    table = _table("band", "common name", "nm", "mean", "std")
    for i, band in enumerate(facts["bands"]):
        name = f"{band['sensor']}:{band['name']}" if band["sensor"] else band["name"]
        known = (facts["mean"][i], facts["std"][i]) if facts["mean"] else ()
        table.add_row(
            name,
            band["common_name"] or "–",
            _number(band["wavelength_nm"]),
            *(f"{value:.4f}" for value in known),
        )
    console.print(table)


def _show_result(console: "Console", facts: dict[str, Any]) -> None:
    scene, model, baseline = facts["scene"], facts.get("model"), facts.get("baseline")
    if model is not None:
        by = f"{model['file']} ({model['network']})"
    elif baseline is not None:
        by = f"{baseline['index'].upper()}, threshold {baseline['threshold']}"
    else:
        by = f"raster, taken for {facts['raster']['quantity']}" if "raster" in facts else "–"
    plan = ", ".join(f"{key} {value}" for key, value in facts.get("plan", {}).items())
    wrong = facts["disagreeing"]
    state = ", ".join(f"{name} {what}" for name, what in wrong.items()) or "complete"
    _show_facts(
        console,
        f"Result of geounet {facts['command']}: {facts['path']}",
        {
            "scene": f"{scene['name']}, {scene['time'] or scene.get('date') or 'time not known'}",
            "by": by,
            "level": f"{facts['level']:.4g}",
            "classes": ", ".join(f"{one['value']} {one['name']}" for one in facts["classes"]),
            **({"plan": plan} if plan else {}),
            "clouds": _result_clouds(facts.get("clouds")),
            **_drawing(facts),
            "made by": f"geounet {facts['geounet']}",
            "files": state,
        },
    )
    table = _table("file", "bytes")
    for name, listed in facts["files"].items():
        table.add_row(name, f"{listed['bytes']:,}")
    console.print(table)
    for note in facts.get("notes", []):
        console.print(f"note: {note}", markup=False)


def _drawing(facts: dict[str, Any]) -> dict[str, str]:
    """Say how lines and areas of a result were drawn, where that was asked for."""
    settings = facts.get("settings")
    parts = settings if isinstance(settings, dict) else {}
    lines, vectors = ({**(parts.get(name) or {})} for name in ("lines", "vectors"))
    level, levels = lines.pop("water_level_m", None), lines.pop("water_levels", None)
    datum, source = lines.pop("level_datum", None), lines.pop("level_source", None)
    asked = []
    for key, value in lines.items():
        if value in (None, False, 0):
            continue
        ending = next((end for end in UNITS if key.endswith(end)), "")
        name = key.removesuffix(ending).replace("_", "-")
        asked.append(name if value is True else f"{name} {value}{UNITS.get(ending, '')}")
    said = {"lines": ", ".join(asked)} if asked else {}
    if vectors.get("crs"):
        said["lines in"] = _crs(str(vectors["crs"]))
    if level is not None or levels is not None:
        what = f"{level:g} m" if level is not None else f"by {levels}"
        said["water level"] = what + (f" above {datum}" if datum else "")
        said["water level"] += f" (from {source})" if source else ""
    return said


def _show_measured(console: "Console", facts: dict[str, Any]) -> None:
    for one in facts["records"]:
        console.print(f"geounet {one['command']}: {one['said']} ({one['path']})", markup=False)
        for name, what in one["disagreeing"].items():
            console.print(f"{name} is {what}", markup=False)
        for note in one.get("notes", []):
            console.print(f"note: {note}", markup=False)


def _result_clouds(clouds: dict[str, Any] | None) -> str:
    """Say how much of a result is under cloud, as its record has it."""
    if not clouds or clouds["source"] is None:
        return "no layer said where they were"
    if clouds["share_of_scene"] is None:
        return f"{clouds['source']} knew nothing of any pixel"
    said = f"{_percent(clouds['share_of_scene'])} of the scene"
    if clouds["share_of_coast"] is not None:
        said += f", {_percent(clouds['share_of_coast'])} of the coast"
    if clouds["masked"] is not None:
        said += f", {_percent(clouds['masked']['share_of_scene'] or 0)} masked"
    return f"{said} (from {clouds['source']})"


def _show_results(console: "Console", facts: dict[str, Any]) -> None:
    console.print(f"{len(facts['results'])} results in {facts['path']}", markup=False)
    table = _table("name", "command", "time", "files")
    for one in facts["results"]:
        state = "complete" if not one["disagreeing"] else "disagree with the record"
        table.add_row(Path(one["path"]).stem, one["command"], one["scene"]["time"] or "–", state)
    console.print(table)
    for name in facts["unfinished"]:
        console.print(
            f"{name} is not finished: a run is still at work on it, or was stopped. Run it again; "
            "what it left is cleared then.",
            markup=False,
        )


def _show_scores(console: "Console", facts: dict[str, Any]) -> None:
    from geounet_cli.evaluate import show_scores

    _show_facts(
        console,
        f"Scores of {facts['prediction']['name']}",
        {
            "prediction": facts["prediction"]["path"],
            "reference": ", ".join(f"{one['path']} ({one['kind']})" for one in facts["references"]),
            "within": f"{facts['within']['split']} of {facts['within']['chips']}"
            if facts["within"]
            else "all of the scene",
        },
    )
    show_scores(facts)


def _show_facts(console: "Console", title: str, facts: dict[str, str]) -> None:
    """Print facts a line each, as long as it may be: a path that is cut cannot be pasted."""
    console.print(title, style="bold", markup=False)
    width = max(map(len, facts))
    for name, value in facts.items():
        console.print(f"{name:<{width}}  {value}", markup=False)


def _table(first: str, *numbers: str) -> "Table":
    from rich.table import Table

    table = Table(first, box=None, pad_edge=False)
    for name in numbers:
        table.add_column(name, justify="right")
    return table


def _sourced(value: str | None, source: str | None) -> str:
    if value is None:
        return "not known"
    return f"{value} (from {source})" if source else value


def _metres(res: list[float]) -> str:
    return " × ".join(f"{side:.4g}" for side in res) + " m"


def _crs(text: str | None) -> str:
    """Return the code of a CRS, or the name that its WKT begins with."""
    if text is None:
        return "no CRS"
    return text.split('"')[1] if "[" in text else text


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _number(value: float | str | None) -> str:
    return "–" if value is None else str(value) if isinstance(value, str) else f"{value:g}"
