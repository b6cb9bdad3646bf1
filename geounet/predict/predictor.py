"""A scene and a model to mask, probability, coastline and QGIS project."""

import logging
import platform
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from rasterio.windows import Window
from shapely.geometry.base import BaseGeometry

from geounet import __version__
from geounet.allocation import keep_buffers
from geounet.aoi import read_aoi
from geounet.bands import Band, exchanged_bands, match_bands
from geounet.classes import IGNORE
from geounet.clock import Clock
from geounet.engine import Engine, Precision, choose_device, choose_precision, out_of_memory
from geounet.errors import SceneError
from geounet.model_file import load_model
from geounet.networks import Network
from geounet.outputs import Stage, sha256_of, stage_set
from geounet.predict.agreement import check_level, compare_means, compare_res, describe_bands
from geounet.predict.blending import WEIGHTS, Answer, Finished, Strip
from geounet.predict.budget import (
    MEMORY,
    READERS,
    Device,
    Load,
    cache_bytes,
    choose_core,
    smaller,
)
from geounet.predict.earlier import describe_inputs
from geounet.predict.pieces import Piece, Reader, Survey, batches, cut_to_data
from geounet.predict.plan import (
    Plan,
    check_multiple,
    check_target,
    choose_blend,
    choose_halo,
    too_large,
)
from geounet.predict.running import precision_error, run_batches
from geounet.predict.settings import PredictSettings
from geounet.predict.timings import describe_times
from geounet.products import Field, check_lines, write_products
from geounet.progress import Progress, silent
from geounet.scene import (
    Scaling,
    Scene,
    SceneOptions,
    gdal_environment,
    open_scene,
)
from geounet.scene.remote import scrub
from geounet.stitch import Part, open_canvas, stitch
from geounet.windows import HaloWindow, plan_overlapping, plan_windows

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Job:
    """One scene that goes with the model, and what becomes known of it on the way."""

    scene: Scene
    bands: list[Band]
    """What the model needs, in its order, as the scene calls them."""
    scaling: Scaling
    aoi: BaseGeometry | None
    plan: Plan
    inputs: dict[str, Any]
    """The files it is made of, as they are before they are read."""
    load: Load
    """What decides how much memory its windows take."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What was measured."""
    clock: Clock = field(default_factory=Clock)


class Predictor:
    """A model made ready for scenes."""

    def __init__(self, model: Path, settings: PredictSettings) -> None:
        """Load `model`.

        Raises:
            ModelFileError: It cannot be read, or cannot be used in windows.
            ConfigError: The settings do not go with it, or with this machine.
        """
        self._settings = settings
        self._header, network = load_model(model)
        self._path, self._sha256 = model, sha256_of(model)
        check_target(self._header, model)
        self._blend, self._halo = None, 0
        if self._header.halo_exact is None:
            self._blend = choose_blend(
                self._header, network, model, window=settings.window, halo=settings.halo
            )
        else:
            self._halo = choose_halo(self._header, settings.halo, model, margin=network.margin)
            check_multiple("--window", settings.window, self._header.stride)
        device = choose_device(settings.device)
        precision = choose_precision(settings.precision, device)
        self._exact = None
        if precision != "fp32":  # what another one costs is measured on every scene
            self._exact = self._ready(network, device)
            network = deepcopy(network)  # its batch normalisations are folded by now
        self._engine = self._ready(network, device, precision)
        self._device_kind: Device = "cpu" if device == "cpu" else "cuda"
        self._most: tuple[int, int] | None = None
        """Windows at once, and their side, above which there was too little memory."""

    @property
    def model(self) -> dict[str, str]:
        """The model file, by name and hash."""
        return {"file": self._path.name, "sha256": self._sha256}

    def expected(self, scene: Scene) -> dict[str, Any]:
        """Return what the record of a result of `scene` says, as far as its bytes depend on it.

        How many threads torch has is left out: it may change the last bit of a probability. The
        side of a core that is chosen here follows from the rest.
        """
        said = asdict(self._settings)
        plan = {key: value for key, value in self._planned().items() if value is not None}
        if said["window"] is not None or self._blend is not None:
            said.pop("window")  # the plan has it
        for option in ("halo", "batch", "precision", "device", "memory", "overwrite"):
            said.pop(option)
        said.pop("command_line")
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

    def _ready(self, network: Network, device: str, precision: Precision = "fp32") -> Engine:
        mean, std = self._header.mean, self._header.std
        return Engine(network, mean=mean, std=std, device=device, precision=precision)

    def predict(
        self,
        source: str | Path,
        out: Path,
        options: SceneOptions = SceneOptions(),  # noqa: B008  frozen
        progress: Progress = silent,
    ) -> Path:
        """Predict the scene at `source` into `out` and return its record.

        Raises:
            GeounetError: The scene cannot be read, does not go with the model, or has no data;
                or the results cannot be written.
        """
        start, settings = time.perf_counter(), self._settings
        cache = cache_bytes(settings.memory or MEMORY)
        with gdal_environment(cache), open_scene(source, options) as scene:
            job = self._prepare(scene)
            with stage_set(out, scene.name, overwrite=settings.overwrite) as (stage, record):
                job, result = self._in_memory(job, stage, progress)
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
                job.clock.add("total", time.perf_counter() - start)
                record.update(self._record(job) | {"clouds": clouds})
                if settings.report:
                    from geounet.result_page import Result, write_page  # bokeh is slow to import

                    write_page(Result(stage.scratch, stage.name, record), stage, progress)
            return out / f"{scene.name}.json"

    def _prepare(self, scene: Scene) -> _Job:
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
        plan = self._plan(load)
        inputs, known = self._inputs(scene), self._wished(plan)
        return _Job(scene, bands, scaling, aoi, plan, inputs, load, known)

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
        )

    def _plan(self, load: Load) -> Plan:
        settings, planned = self._settings, self._planned()
        window, memory = planned.pop("window"), settings.memory or MEMORY
        if window is None:
            window, memory = choose_core(
                load, memory=settings.memory, exact=settings.halo == "exact"
            )
        if self._most and not self._blend:
            window = min(window, self._most[1])
        return Plan(
            window=window,
            threads=torch.get_num_threads(),
            first=None if self._blend else load.first(window),
            memory=memory,
            **planned | {"batch": load.batch},
        )

    def _planned(self) -> dict[str, Any]:
        """Return what of a plan is the same for all scenes; a window of None is yet to choose."""
        blend = self._blend
        return {
            "window": blend.window if blend else self._settings.window,
            "halo": self._halo,
            "overlap": blend.overlap if blend else 0,
            "batch": self._settings.batch,
            "precision": self._engine.precision,
            "device": self._engine.device,
        }

    def _in_memory(self, job: _Job, stage: Stage, progress: Progress) -> tuple[_Job, Field]:
        """Write the field, anew with smaller windows where these find too little memory."""
        while True:
            try:
                with job.clock.timed("windows"), keep_buffers():
                    return job, self._write_field(job, stage, progress)
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
                less = smaller(job.load, job.plan.window)
                if less is None or (self._blend and less[0] is job.load):
                    raise too_large(job.plan, job.scene.source, error) from error
            if self._device_kind == "cuda":
                torch.cuda.empty_cache()
            job = self._with_less(job, *less)

    def _with_less(self, job: _Job, load: Load, window: int) -> _Job:
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
        return replace(job, plan=plan, load=load, facts=self._wished(plan), clock=Clock())

    def _wished(self, plan: Plan) -> dict[str, Any]:
        """Return what the record says where a plan is not as the settings have it."""
        settings = self._settings
        wished = {"window": settings.window, "batch": settings.batch}
        other = {key: said for key, said in wished.items() if said not in (None, asdict(plan)[key])}
        return {"instead_of": other} if other and self._most else {}

    def _write_field(self, job: _Job, stage: Stage, progress: Progress) -> Field:
        """Write the probability of water, and the most probable class where that says more."""
        geobox = job.scene.geobox
        windows = list(self._windows(job))
        water, best = stage.temporary("water.tif"), None
        with ExitStack() as files:
            canvases = [
                files.enter_context(open_canvas(water, geobox, dtype="float32", nodata=np.nan))
            ]
            if len(self._header.classes) > 2:
                best = stage.temporary("best.tif")
                canvases.append(
                    files.enter_context(open_canvas(best, geobox, dtype="uint8", nodata=IGNORE))
                )
            reader = Reader(job.scene, job.bands, job.aoi, job.clock)
            pieces = files.enter_context(
                closing(reader.pieces(windows, threads=READERS[self._device_kind]))
            )
            shown = progress(pieces, label=job.scene.name, total=len(windows))
            files.callback(getattr(shown, "close", lambda: None))  # a bar gives the cursor back
            survey = Survey(job.scaling)
            found = self._answers(job, survey.watch(p for p in shown if p is not None))
            stitch(self._parts(job, self._put_together(job, found)), canvases, job.clock)
        if not survey.pieces:
            where = "" if job.aoi is None else f" inside {self._settings.aoi}"
            raise SceneError(
                f"{job.scene.source} has no valid pixel{where}: every one lacks data in one of "
                f"{', '.join(band.name for band in job.bands)}{job.scene.clouds.or_masked}. "
                "Check its nodata value."
            )
        job.facts["windows"] = {"planned": len(windows), "run": survey.pieces}
        job.facts["reflectance_mean"] = survey.mean()
        job.facts["bands_against_training"] = describe_bands(
            job.bands, survey.mean(), survey.std(), self._header
        )
        for note in compare_means(
            job.bands, survey.mean(), self._header, scaled_by=job.scaling.source
        ):
            job.scene.warn(note)
        return Field(
            path=water,
            quantity="probability",
            level=self._settings.threshold,
            bands=job.bands,
            classes=best,
            aoi=job.aoi,
        )

    def _windows(self, job: _Job) -> Iterator[HaloWindow]:
        shape, plan, stride = job.scene.geobox.shape, job.plan, self._engine.stride
        if plan.overlap:
            return plan_overlapping(*shape, window=plan.window, overlap=plan.overlap, stride=stride)
        return plan_windows(
            *shape,
            core=plan.window,
            halo=plan.halo,
            stride=stride,
            remainder=self._engine.remainder,
            first=plan.first,
        )

    def _answers(self, job: _Job, pieces: Iterable[Piece]) -> Iterator[Answer]:
        """Run the network over pieces, as many at a time as the plan says."""
        if self._blend is None:
            stride, remainder = self._engine.stride, self._engine.remainder
            pieces = (cut_to_data(piece, stride=stride, remainder=remainder) for piece in pieces)
        coefficients = job.scaling.coefficients()
        found = run_batches(
            self._engine,
            batches(pieces, job.plan.batch),
            coefficients,
            clock=job.clock,
            memory=job.plan.memory or MEMORY,
        )
        for batch, probs in found:
            if self._exact is not None and "precision_error" not in job.facts:
                job.facts["precision_error"] = precision_error(
                    self._engine, self._exact, batch[0], coefficients
                )
            for piece, whole in zip(batch, probs, strict=True):
                where = piece.window.keep_inside(self._engine.margin)
                kept = whole[:, *where]  # (classes, height, width)
                # Of classes that add up to 1 none is finite where one is not.
                if not np.isfinite(kept[0][piece.wanted]).all():
                    raise SceneError(
                        f"{job.scene.source}: the network gives no probability at some pixels of "
                        f"{_place(piece.window.core)}: values there are no reflectance. Is its "
                        "nodata value declared? If not, give --nodata."
                    )
                yield Answer(piece.window, kept, piece.wanted)

    def _put_together(self, job: _Job, answers: Iterable[Answer]) -> Iterator[Finished]:
        """Yield what is known of places that come no more: cores, or rows of blended windows."""
        if self._blend is None:
            for window, probs, wanted in answers:
                yield Finished(window.core, probs, wanted)
            return
        plan = job.plan
        strip = Strip(
            job.scene.geobox.width,
            window=plan.window,
            overlap=plan.overlap,
            is_water=np.array([c.water for c in self._header.label_classes]),
        )
        yield from strip.blend(answers)
        job.facts["blending"] = {
            "why": self._blend.why,
            "window": plan.window,
            "overlap": plan.overlap,
            "weights": WEIGHTS,
            "seams": strip.seams.record(),
        }
        job.scene.warn(
            f"windows of {plan.window} pixels that overlap by {plan.overlap} are blended, as the "
            f"network has no exact halo ({self._blend.why}); {strip.seams}. Another --window gives "
            "another result"
        )

    def _parts(self, job: _Job, found: Iterable[Finished]) -> Iterator[Part]:
        """Make of probabilities what is written: of water, and the most probable class."""
        classes = self._header.label_classes
        is_water = np.array([c.water for c in classes])
        values = np.array([c.value for c in classes], np.uint8)
        pixels, of_water = 0, 0
        for window, probs, wanted in found:
            water = probs[is_water].sum(axis=0)
            part = [np.where(wanted, water, np.float32(np.nan))]
            is_wet = water >= self._settings.threshold
            if len(classes) > 2:
                best = probs.argmax(axis=0)
                part.append(np.where(wanted, values[best], np.uint8(IGNORE)))
                is_wet = is_water[best]
            pixels += int(np.count_nonzero(wanted))
            of_water += int(np.count_nonzero(is_wet & wanted))
            yield Part(window, tuple(part))
        job.facts["water_share"] = of_water / pixels if pixels else None

    def _record(self, job: _Job) -> dict[str, Any]:
        header, settings = self._header, asdict(self._settings)
        described = {"sensor", "level", "res_m", "halo_exact", "halo_default", "halo_error"}
        return {
            "format": 1,
            "geounet": __version__,
            "command": "predict",
            "command_line": scrub(settings.pop("command_line") or "") or None,
            "scene": job.scene.describe(),
            "inputs": job.inputs,
            "model": {
                **self.model,
                "network": header.network.name,
                "bands": [band.id for band in header.band_list],
                **header.model_dump(
                    include=described | {"position_u95_m", "suggested_threshold", "licence"}
                ),
            },
            "baseline": None,
            "settings": settings | {"aoi": str(settings["aoi"]) if settings["aoi"] else None},
            "plan": asdict(job.plan),
            "blended": self._blend is not None,
            "bands": [band.id for band in job.bands],
            "scaling": job.scaling.to_dict(),
            "level": self._settings.threshold,
            "classes": [c.to_dict() for c in header.label_classes],
            "notes": job.scene.notes,
            **job.facts,
            "versions": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "numpy": np.__version__,
                "rasterio": rasterio.__version__,
                "gdal": rasterio.__gdal_version__,
            },
            "timings": describe_times(job.clock),
        }


def _place(window: Window) -> str:
    (top, bottom), (left, right) = window.toranges()
    return f"rows {top}–{bottom}, columns {left}–{right}"
