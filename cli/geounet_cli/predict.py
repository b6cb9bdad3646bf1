"""geounet predict."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from geounet_cli import options
from geounet_cli.console import printable, progress

if TYPE_CHECKING:
    from geounet.predict import Outcome, PredictSettings  # imports torch

RUNNING = "Windows and device"
MANY = "Running on many"
FOREIGN = "ONNX files that geounet did not export"


def halo_from_text(text: str) -> int | Literal["default", "exact"]:
    """Return what `--halo` was given."""
    if text.isdecimal():
        return int(text)
    if text in ("default", "exact"):
        return cast(Literal["default", "exact"], text)
    raise typer.BadParameter(f"{text} is neither default, exact nor a number of pixels.")


def predict(
    context: typer.Context,
    model: Annotated[
        Path,
        typer.Option(
            help="Model file that geounet train wrote, or an ONNX file.", show_default=False
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for the results; made if absent.", show_default=False)
    ],
    scenes: options.ScenesOrNone = None,
    scene_list: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="LIST",
            help="Text file with a scene in each line, relative to its folder; # begins a comment; "
            "- is standard input. They come after those given as arguments.",
            show_default=False,
        ),
    ] = None,
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing",
            help="Leave results that are whole and of the same scene files, model, settings and "
            "plan. One that is of others is an error, or made anew with --overwrite.",
        ),
    ] = False,
    threshold: Annotated[
        float,
        typer.Option(
            min=0.01,
            max=0.99,
            help="Probability from which a pixel is water, and at which the coastline is drawn. "
            "Which was best when the model was validated: geounet info MODEL.",
        ),
    ] = 0.5,
    probability: Annotated[
        Literal["uint8", "float32"],
        typer.Option(
            help="How the probability raster is written: in steps of 1/253, or in full.",
        ),
    ] = "uint8",
    aoi: Annotated[
        Path | None,
        typer.Option(
            help="Polygons outside which the result is nodata, in any format and CRS.",
            show_default=False,
        ),
    ] = None,
    aoi_buffer: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Metres by which --aoi is widened; with it lines and points will do.",
            show_default=False,
        ),
    ] = None,
    report: options.Report = False,
    formats: options.Formats = None,
    crs: options.Crs = None,
    overwrite: options.Overwrite = False,
    accept_level: Annotated[
        bool,
        typer.Option(
            "--accept-level", help="Take scenes of another processing level than the model's."
        ),
    ] = False,
    accept_sensor: Annotated[
        bool,
        typer.Option(
            "--accept-sensor",
            help="Take bands of another sensor for the model's, by their common names.",
        ),
    ] = False,
    window: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Side of the core of a window, in pixels; by default what costs least in memory. "
            "Where windows are blended, of the whole; by default that of the training chips.",
            show_default=False,
            rich_help_panel=RUNNING,
        ),
    ] = None,
    halo: Annotated[
        Any,
        typer.Option(
            parser=halo_from_text,
            metavar="default|exact|N",
            help="Pixels read around a core: the model file's default, its exact one, or a number. "
            "Not for networks without an exact halo, whose windows are blended.",
            rich_help_panel=RUNNING,
        ),
    ] = "default",
    batch: Annotated[
        int,
        typer.Option(min=1, help="Windows per forward pass.", rich_help_panel=RUNNING),
    ] = 1,
    precision: Annotated[
        Literal["auto", "fp32", "bf16"],
        typer.Option(
            help="Number format of the convolutions; auto is bf16 where the hardware has it.",
            rich_help_panel=RUNNING,
        ),
    ] = "auto",
    backend: Annotated[
        Literal["auto", "eager", "compile"],
        typer.Option(
            help="Whether torch compiles the network first, which takes a minute; auto is eager.",
            rich_help_panel=RUNNING,
        ),
    ] = "auto",
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda or cuda:N.", rich_help_panel=RUNNING)
    ] = "auto",
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Threads of torch on a CPU. The last bits of a probability depend on how many.",
            show_default="the cores, shared by the workers",
            rich_help_panel=RUNNING,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Processes to start here (geounet[dask]); each predicts a scene, or a strip of a "
            "large one. With GPUs, each sees one of them.",
            show_default=False,
            rich_help_panel=MANY,
        ),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Dask scheduler whose workers are used instead: tcp://host:8786. They see all "
            "files by the same paths.",
            show_default=False,
            rich_help_panel=MANY,
        ),
    ] = None,
    divide: Annotated[
        float,
        typer.Option(
            min=0,
            metavar="MEGAPIXELS",
            help="Larger scenes are predicted in strips of so many at most; 0 divides none. "
            "Results do not depend on it.",
            rich_help_panel=MANY,
        ),
    ] = 25.0,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on from the strips that a run left which was killed, by its plan, and leave "
            "those of this one if it does not come to its end.",
            rich_help_panel=MANY,
        ),
    ] = False,
    memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="How much memory to stay within, beyond the program and the model: 512M, 2G. By "
            "default 1G, and up to 8G where --halo exact is wide.",
            show_default=False,
            rich_help_panel=RUNNING,
        ),
    ] = None,
    timings: Annotated[
        bool,
        typer.Option("--timings", help="Show where the time went.", rich_help_panel=RUNNING),
    ] = False,
    read_timeout: Annotated[
        float,
        typer.Option(
            min=0,
            help="Seconds that one read of a file may take before its drive counts as gone; 0 "
            "waits for ever. Over HTTP, GDAL's own settings count.",
            rich_help_panel=RUNNING,
        ),
    ] = 600.0,
    model_bands: Annotated[
        str | None,
        typer.Option(
            help="Bands that it takes, in its order, by commas.",
            show_default="those of --bands",
            rich_help_panel=FOREIGN,
        ),
    ] = None,
    model_mean: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBERS",
            help="Reflectance that it wants taken off before, one number or one a band.",
            show_default="0",
            rich_help_panel=FOREIGN,
        ),
    ] = None,
    model_std: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBERS",
            help="Reflectance by which it wants that divided; 0.0001 where it takes reflectance "
            "times 10000.",
            show_default="1",
            rich_help_panel=FOREIGN,
        ),
    ] = None,
    model_classes: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Its classes in the order of its outputs, by commas; those of water begin with "
            "water.",
            show_default="land,water",
            rich_help_panel=FOREIGN,
        ),
    ] = None,
    model_stride: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Its total stride, in pixels; heights and widths are multiples of it.",
            show_default="32",
            rich_help_panel=FOREIGN,
        ),
    ] = None,
    bands: options.Bands = None,
    sensor: options.Sensor = None,
    level: options.Level = None,
    scale: options.Scale = None,
    offset: options.Offset = None,
    nodata: options.Nodata = None,
    res: options.Res = None,
    mask_clouds: options.MaskClouds = False,
    cloud_cirrus: options.CloudCirrus = False,
    cloud_min_area: options.CloudMinArea = None,
    cloud_buffer: options.CloudBuffer = None,
    cloud_mask: options.CloudMask = None,
    line_level: options.LineLevel = None,
    simplify: options.Simplify = 0.0,
    smooth: options.Smooth = 0.0,
    min_length: options.MinLength = 0.0,
    min_area: options.MinArea = 0.0,
    sea: options.Sea = None,
    land: options.Land = False,
    water_level: options.WaterLevel = None,
    water_levels: options.WaterLevels = None,
    level_datum: options.LevelDatum = None,
    level_source: options.LevelSource = None,
) -> None:
    """Draw mask, probability, coastline and a QGIS project from scenes.

    Each scene NAME becomes NAME_mask.tif, NAME_probability.tif, NAME.gpkg with the layers
    coastline and water, NAME_rgb.tif to lie under them, NAME.qgz to open, and NAME.json, which
    says how they were made. Prints the path of each NAME.json. A scene that fails does not keep
    the others from being done; summary.json says what became of each of several.

    Example: geounet predict scene.tif --model run/model.safetensors --out out/
    """
    # Before torch is there. Its threads wait for one another at every layer: where another process
    # takes a core from one of them, those that spin meanwhile made small windows take forty times
    # as long; those that sleep make large ones no slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from geounet.formats import VectorOptions
    from geounet.line_options import LineOptions
    from geounet.patience import patience
    from geounet.predict import (  # imports torch: only when needed
        ForeignOptions,
        PredictSettings,
        parse_memory,
        raise_failures,
    )
    from geounet.scene import CloudOptions, SceneOptions, read_scene_list

    sources = list(scenes or ())
    if scene_list is not None:
        sources += read_scene_list(scene_list)
    if not sources:
        raise typer.BadParameter("Give scenes, or a list of them with --from.")
    if workers is not None and scheduler is not None:
        raise typer.BadParameter("--workers starts some, --scheduler has some: give one of them.")

    lines = LineOptions(
        level=line_level,
        simplify_m=simplify,
        smooth_m=smooth,
        min_length_m=min_length,
        min_area_m2=min_area,
        sea=sea,
        land=land,
        water_level_m=water_level,
        water_levels=water_levels,
        level_datum=level_datum,
        level_source=level_source,
    )
    foreign = ForeignOptions.from_text(
        bands=model_bands,
        scene_bands=bands,
        sensor=sensor,
        level=level,
        mean=model_mean,
        std=model_std,
        classes=model_classes,
        stride=model_stride,
    )
    settings = PredictSettings(
        lines=lines,
        window=window,
        halo=halo,
        batch=batch,
        threads=threads,
        divide=divide,
        resume=resume,
        precision=precision,
        backend=backend,
        device=device,
        memory=None if memory is None else parse_memory(memory),
        threshold=threshold,
        probability=probability,
        aoi=aoi,
        aoi_buffer=aoi_buffer,
        accept_level=accept_level,
        accept_sensor=accept_sensor,
        foreign=foreign,
        overwrite=overwrite,
        vectors=VectorOptions.from_text(formats or (), crs),
        report=report,
        command_line=context.obj,
    )
    clouds = CloudOptions.from_text(
        mask=mask_clouds,
        cirrus=cloud_cirrus,
        min_area=cloud_min_area,
        buffer=cloud_buffer,
        file=cloud_mask,
    )
    scene_options = SceneOptions.from_text(
        bands=bands,
        sensor=sensor,
        level=level,
        scale=scale,
        offset=offset,
        nodata=nodata,
        res=res,
        clouds=clouds,
    )
    outcomes = []
    with patience(read_timeout), _runner(workers, scheduler, settings) as run:
        for outcome in run(
            sources, model, out, settings, scene_options, progress, skip_existing=skip_existing
        ):
            outcomes.append(outcome)
            if outcome.record is not None:
                typer.echo(outcome.record)
                if timings and outcome.status == "done":
                    _show_times(outcome.record)
    if len(outcomes) > 1:
        _show(outcomes)
    raise_failures(outcomes)


@contextmanager
def _runner(
    workers: int | None, scheduler: str | None, settings: "PredictSettings"
) -> Iterator[Callable[..., Iterator["Outcome"]]]:
    """Yield what predicts scenes: this process, or workers that are there as long as this."""
    if workers is None and scheduler is None:
        from geounet.predict import run_scenes

        yield run_scenes
        return
    from geounet.cluster import local_crew, run_scenes_with, scheduled_crew

    if scheduler is not None:
        crew = scheduled_crew(scheduler)
    else:
        crew = local_crew(workers or 1, threads=settings.threads, device=settings.device)
    with crew as those:
        yield partial(run_scenes_with, those)


def _show_times(record: Path) -> None:
    """Show on stderr where the time of a scene went."""
    from geounet.outputs import read_record
    from geounet.predict import show_times

    typer.echo(show_times(read_record(record)["timings"]), err=True)


def _show(outcomes: "list[Outcome]") -> None:
    """Show what became of scenes, on stderr: what is on stdout are the records."""
    from rich.console import Console  # half of the time that --help may take
    from rich.table import Table

    table = Table()
    table.add_column("scene", overflow="fold")  # names differ by what they end with, too
    table.add_column("status")
    for column in ("minutes", "water", "coast km", "cloud"):
        table.add_column(column, justify="right")
    table.add_column("notes")
    for one in outcomes:
        notes = f"{len(one.notes)}, see record" if one.notes else ""
        table.add_row(
            printable(one.name or Path(one.source).name),
            one.status,
            f"{one.seconds / 60:.1f}",
            "–" if one.water_share is None else f"{one.water_share:.1%}",
            "–" if one.coast_km is None else f"{one.coast_km:.1f}",
            "–" if one.cloud_share is None else f"{one.cloud_share:.1%}",
            "see below" if one.error is not None else notes,
        )
    Console(stderr=True, markup=False).print(table)
