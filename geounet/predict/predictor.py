"""A scene and a model to mask, probability, coastline and QGIS project."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from geounet import __version__
from geounet.allocation import map_large_arrays
from geounet.aoi import read_aoi
from geounet.bands import Band, exchanged_bands, match_bands
from geounet.clock import Clock
from geounet.engine import choose_device, out_of_memory
from geounet.errors import ConfigError
from geounet.mosaic import write_mosaic
from geounet.outputs import Stage, stage_set
from geounet.predict.agreement import check_level, compare_res
from geounet.predict.budget import (
    MEMORY,
    Device,
    Load,
    cache_bytes,
    choose_core,
    smaller,
)
from geounet.predict.earlier import describe_inputs
from geounet.predict.job import Job, describe, tell
from geounet.predict.models import open_model
from geounet.predict.network_pass import BEST, WATER, NetworkPass
from geounet.predict.parts import KeptPart, Parts, first_plan
from geounet.predict.plan import (
    Plan,
    check_multiple,
    check_target,
    choose_blend,
    choose_halo,
    only_window,
    too_large,
    torch_threads,
)
from geounet.predict.settings import PredictSettings
from geounet.predict.strips import StripOfScene, divide
from geounet.predict.tally import Tally
from geounet.products import Field, check_lines, write_products
from geounet.progress import Progress, silent
from geounet.scene import (
    Scene,
    SceneOptions,
    gdal_environment,
    open_scene,
)
from geounet.stitch import check_room

logger = logging.getLogger(__name__)


class Predictor:
    """A model made ready for scenes."""

    def __init__(self, model: Path, settings: PredictSettings, like: Plan | None = None) -> None:
        """Load `model`.

        Args:
            model: The model file.
            settings: How to predict.
            like: Says precision, backend and device in their place; None where they are as these
                say.

        Raises:
            ModelFileError: It cannot be read, or cannot be used in windows.
            ConfigError: The settings do not go with it, or with this machine.
        """
        opened = open_model(
            model,
            device=like.device if like else settings.device,
            precision=like.precision if like else settings.precision,
            backend=like.backend if like else settings.backend,
            halo=settings.halo,
            foreign=settings.foreign,
        )
        if opened.window is not None:
            window = only_window(settings.window, opened.window, model)
            settings = replace(settings, window=window)
        if opened.is_ours:  # which says it all itself
            settings = replace(settings, foreign=None)
        self._settings = settings
        self._header, self._path, self._sha256 = opened.header, model, opened.sha256
        check_target(self._header, model)
        self._blend, self._halo = None, 0
        if self._header.halo_exact is None:
            self._blend = choose_blend(
                self._header, opened.sizes, model, window=settings.window, halo=settings.halo
            )
        else:
            self._halo = choose_halo(self._header, settings.halo, model, margin=opened.sizes.margin)
            check_multiple("--window", settings.window, self._header.stride)
        self._engine, self._told = opened.runner, opened.told
        self._device_kind: Device = "cpu" if self._engine.device == "cpu" else "cuda"
        self._pass = NetworkPass(
            self._engine, opened.exact, self._header, self._blend, settings.threshold
        )
        self._most: tuple[int, int] | None = None
        """Windows at once, and their side, above which there was too little memory."""

    @property
    def model(self) -> dict[str, str]:
        """The model file, by name and hash, and what runs it where that is not torch."""
        return {"file": self._path.name, "sha256": self._sha256, **self._told}

    def expected(self, scene: Scene) -> dict[str, Any]:
        """Return what the record of a result of `scene` says, as far as its bytes depend on it.

        How many threads torch has is left out unless it is said: it may change the last bit of a
        probability. The side of a core that is chosen here follows from the rest.
        """
        said = asdict(self._settings)
        plan = {key: value for key, value in self._planned().items() if value is not None}
        if said["window"] is not None or self._blend is not None:
            said.pop("window")  # the plan has it
        for option in ("halo", "batch", "precision", "backend", "device", "memory", "overwrite"):
            said.pop(option)
        said.pop("command_line")
        for option in ("threads", "divide", "resume"):  # the plan has the first; nothing has others
            said.pop(option)
        return {
            "command": "predict",
            "model": {"sha256": self._sha256},
            "settings": said | {"aoi": str(said["aoi"]) if said["aoi"] else None},
            "plan": plan,
            "inputs": self._inputs(scene),
        }

    def _inputs(self, scene: Scene) -> dict[str, Any]:
        lines = self._settings.lines
        return describe_inputs(scene, (self._settings.aoi, lines.sea, lines.water_levels))

    def predict(
        self,
        source: str | Path,
        out: Path,
        options: SceneOptions = SceneOptions(),  # noqa: B008  frozen
        progress: Progress = silent,
        when_read: Callable[[], object] | None = None,
    ) -> Path:
        """Predict the scene at `source` into `out` and return its record.

        Args:
            source: As `open_scene` takes it.
            out: Folder for the results; made if absent.
            options: What the user said about the scene.
            progress: Told of every window.
            when_read: Called when all is predicted and drawing begins, which reads little.

        Raises:
            GeounetError: The scene cannot be read, does not go with the model, or has no data;
                or the results cannot be written.
        """
        with self._gdal(), open_scene(source, options) as scene:
            job = self._prepare(scene)
            overwrite, resume = self._settings.overwrite, self._settings.resume
            with stage_set(out, scene.name, overwrite=overwrite, resume=resume) as (stage, record):
                job = job.by(self._plan_of_parts(job, stage.parts))
                by = self._by(job.plan)
                record.update(by._finish(job, stage, stage.parts, progress, when_read))
            return out / f"{scene.name}.json"

    def _gdal(self) -> AbstractContextManager[None]:
        return gdal_environment(cache_bytes(self._settings.memory or MEMORY))

    def _by(self, plan: Plan) -> Self:
        """Return a predictor of this model whose engine is that of a plan."""
        engine = self._engine
        made = (engine.precision, engine.backend, engine.device)
        if made == (plan.precision, plan.backend, plan.device):
            return self
        return type(self)(self._path, self._settings, plan)

    def _finish(
        self,
        job: Job,
        stage: Stage,
        parts: Path,
        progress: Progress,
        when_read: Callable[[], object] | None = None,
    ) -> dict[str, Any]:
        settings = self._settings
        job, result = self._in_memory(job, stage, parts, progress)
        if when_read is not None:
            when_read()
        job.facts.update(self._wished(job.plan))
        with job.clock.timed("products"):
            clouds = write_products(
                stage,
                job.scene,
                result,
                classes=self._header.label_classes,
                probability_dtype=settings.probability,
                attributes={
                    "model": f"{self._path.name} {self._sha256[:12]}",
                    "position_u95_m": self._header.position_u95_m,
                },
                vectors=settings.vectors,
                lines=settings.lines,
                progress=progress,
                clock=job.clock,
            )
        job.clock.add("total", time.perf_counter() - job.start)
        record = describe(
            job,
            settings,
            self._header,
            model=self.model,
            blended=self._blend is not None,
            clouds=clouds,
        )
        if settings.report:
            from geounet.result_page import Result, write_page  # bokeh is slow to import

            write_page(Result(stage.scratch, stage.name, record), stage, progress)
        return record

    def _prepare(self, scene: Scene) -> Job:
        """Match scene and model, or say why they do not go together; make the plan."""
        settings, header = self._settings, self._header
        found = match_bands(
            header.band_list,
            scene.bands,
            where=scene.source,
            accept_sensor=settings.accept_sensor,
        )
        bands = [scene.bands[i] for i in found]
        scene = scene.on_grid_of(bands)
        if taken := exchanged_bands(zip(header.band_list, bands, strict=True)):
            scene.notes.append(f"bands of another sensor are taken: {taken}")
        level_notes = check_level(scene, header, accept=settings.accept_level)
        for note in (*level_notes, *compare_res(scene, header)):
            scene.warn(note)
        check_lines(scene, settings.lines)
        scaling, aoi = scene.scaling(bands), None
        if settings.aoi is not None:
            aoi = read_aoi(settings.aoi, scene.geobox, buffer_m=settings.aoi_buffer)
        load = self._load(scene, bands)
        plan, inputs = self._plan(load), self._inputs(scene)
        return Job(scene, bands, scaling, aoi, settings.aoi, plan, inputs, load)

    def _load(self, scene: Scene, bands: Sequence[Band]) -> Load:
        engine = self._engine
        height, width = scene.geobox.shape
        return Load(
            shape=(height, width),
            block=scene.blocksize,
            halo=self._halo,
            stride=engine.stride,
            remainder=engine.remainder,
            pixel_bytes=len(bands) * np.dtype(scene.dtype).itemsize,
            run_bytes=engine.bytes_per_pixel(scene.dtype),
            classes=max(2, len(self._header.classes)),
            batch=self._most[0] if self._most else self._settings.batch,
            device=self._device_kind,
            precision=engine.precision,
        )

    def _plan(self, load: Load) -> Plan:
        settings, planned = self._settings, self._planned()
        window, memory = planned.pop("window"), settings.memory or MEMORY
        threads = planned.pop("threads") or torch.get_num_threads()
        if window is None:
            window, memory = choose_core(
                load, memory=settings.memory, exact=settings.halo == "exact"
            )
        if self._most and not self._blend:
            window = min(window, self._most[1])
        return Plan(
            window=window,
            threads=threads,
            first=None if self._blend else load.first(window),
            memory=memory,
            **planned | {"batch": load.batch},
        )

    def _plan_of_parts(self, job: Job, folder: Path) -> Plan:
        """Return by which plan parts that are there were made, as far as nobody says otherwise."""
        made_of = self._made_of(job)
        made_of.pop("plan")
        said, settings = first_plan(folder, made_of), self._settings
        if said is None:
            return job.plan
        window = settings.window is None and settings.memory is None and self._blend is None
        is_free = {
            "window": window,
            "first": window,
            "memory": window,
            "batch": True,  # there may have been too little memory for as many as were asked for
            "precision": settings.precision == "auto",
            "backend": settings.backend == "auto",
            "device": settings.device == "auto",
            "threads": settings.threads is None,
        }
        taken = {key: said[key] for key in is_free if is_free[key]}
        if taken.get("first"):
            taken["first"] = tuple(taken["first"])  # of JSON, which has lists
        plan = replace(job.plan, **taken)
        try:
            choose_device(plan.device)
        except ConfigError:
            return job.plan
        return plan

    def _made_of(self, job: Job) -> dict[str, Any]:
        """Return what the parts of a scene depend on."""
        settings = self._settings
        return {
            "geounet": __version__,
            "torch": torch.__version__,
            "model": {"sha256": self._sha256},
            "settings": {
                "aoi": str(settings.aoi) if settings.aoi else None,
                "aoi_buffer": settings.aoi_buffer,
                "threshold": settings.threshold,  # of the pixels that count as water
                "foreign": asdict(settings.foreign) if settings.foreign else None,
            },
            "inputs": describe_inputs(job.scene, (settings.aoi,)),
            "plan": asdict(job.plan),
        }

    def _planned(self) -> dict[str, Any]:
        """Return what of a plan is the same for all scenes; what is None is yet to be chosen."""
        blend = self._blend
        return {
            "window": blend.window if blend else self._settings.window,
            "halo": self._halo,
            "overlap": blend.overlap if blend else 0,
            "batch": self._settings.batch,
            "threads": self._settings.threads,
            "precision": self._engine.precision,
            "backend": self._engine.backend,
            "device": self._engine.device,
        }

    def _in_memory(
        self, job: Job, stage: Stage, parts: Path, progress: Progress
    ) -> tuple[Job, Field]:
        """Write the field, anew with smaller windows where these find too little memory."""
        while True:
            try:
                with map_large_arrays(), torch_threads(job.plan.threads):
                    return job, self._write_field(job, stage, parts, progress)
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
                less = smaller(job.load, job.plan.window)
                if less is None or (self._blend and less[0] is job.load):
                    raise too_large(job.plan, job.scene.source, error) from error
            if self._device_kind == "cuda":
                torch.cuda.empty_cache()
            job = self._with_less(job, *less)

    def _with_less(self, job: Job, load: Load, window: int) -> Job:
        """Return a job whose windows take less memory; those of later scenes will, too."""
        before, self._most = job.plan, (load.batch, window)
        plan = replace(
            before,
            window=window,
            batch=load.batch,
            first=None if self._blend else load.first(window),
        )
        instead = [f"--window {window}"] * (window != before.window)
        instead += [f"--batch {load.batch}"] * (load.batch != before.batch)
        job.scene.warn(
            f"windows of {before.window} pixels, {before.batch} at once, found too little memory; "
            f"it is done again as with {' '.join(instead)}"
        )
        return replace(job, plan=plan, load=load, facts={}, clock=Clock())

    def _wished(self, plan: Plan) -> dict[str, Any]:
        """Return what the record says where a plan is not as the settings have it."""
        settings = self._settings
        wished = {"window": settings.window, "batch": settings.batch}
        other = {key: said for key, said in wished.items() if said not in (None, asdict(plan)[key])}
        return {"instead_of": other} if other else {}

    def _write_field(self, job: Job, stage: Stage, folder: Path, progress: Progress) -> Field:
        """Write the probability of water, and the most probable class where that says more."""
        strips, notes = self._strips(job), list(job.scene.notes)
        if len(strips) == 1:
            only = stage.temporary("strip")
            only.mkdir(exist_ok=True)
            tallies = [self._pass.predict(job, strips[0], only, progress, job.scene.name)]
            rasters = {name: only / name for name in self._pass.rasters}
        else:
            parts = self._parts_of(job, folder)
            parts.tidy(strips)
            missing = sum(one.bottom - one.top for one in strips if not parts.has(one))
            check_room(stage.scratch, missing * self._row_bytes(job))
            made = [
                self._make_part(job, parts, strip, progress, f"{job.scene.name} {n}/{len(strips)}")
                for n, strip in enumerate(strips, start=1)
            ]
            tallies = [part.tally for part in made]
            rasters = {name: stage.temporary(f"{name}.vrt") for name in self._pass.rasters}
            for name, path in rasters.items():
                files = {s.top: part.folder / name for s, part in zip(strips, made, strict=True)}
                dtype, nodata = self._pass.rasters[name]
                write_mosaic(path, job.scene.geobox, files, dtype=dtype, nodata=nodata)
        job.scene.notes[:] = notes
        windows = sum(1 for _ in self._pass.windows(job))
        tell(job, Tally.joined(tallies, len(job.bands)), self._header, windows, self._blend)
        return Field(
            path=rasters[WATER],
            quantity="probability",
            level=self._settings.threshold,
            bands=job.bands,
            classes=rasters.get(BEST),
            aoi=job.aoi,
        )

    def _row_bytes(self, job: Job) -> int:
        """Return what a row of pixels takes on the disk until all is drawn."""
        types = [np.dtype(dtype) for dtype, _ in self._pass.rasters.values()]
        return job.scene.geobox.width * sum(dtype.itemsize for dtype in types)

    def _strips(self, job: Job) -> list[StripOfScene]:
        height, width = job.scene.geobox.shape
        most = self._settings.divide * 1e6
        return divide(self._pass.windows(job), height=height, width=width, most=most)

    def _parts_of(self, job: Job, folder: Path) -> Parts:
        return Parts(folder, self._made_of(job), job.scene.source)

    def _make_part(
        self, job: Job, parts: Parts, strip: StripOfScene, progress: Progress, label: str
    ) -> KeptPart:
        """Return the part of a strip, which is predicted if need be."""
        return parts.make(
            strip, lambda folder: self._pass.predict(job, strip, folder, progress, label)
        )
