"""One scene on its way: what is settled before its pixels are read, and what is found in them."""

import platform
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import rasterio
import torch
from shapely.geometry.base import BaseGeometry

from geounet import __version__
from geounet.bands import Band
from geounet.clock import Clock
from geounet.errors import SceneError
from geounet.model_file import BlendRecord, ModelHeader
from geounet.predict.agreement import compare_means, describe_bands
from geounet.predict.blending import WEIGHTS, Seams
from geounet.predict.budget import Load
from geounet.predict.plan import Plan
from geounet.predict.settings import PredictSettings
from geounet.predict.tally import Tally
from geounet.predict.timings import describe_times
from geounet.scene import Scaling, Scene
from geounet.scene.remote import scrub


@dataclass(frozen=True)
class Job:
    """One scene that goes with the model, and what becomes known of it on the way."""

    scene: Scene
    bands: list[Band]
    """What the model needs, in its order, as the scene calls them."""
    scaling: Scaling
    aoi: BaseGeometry | None
    """Outside it no result is asked for."""
    aoi_from: Path | None
    plan: Plan
    inputs: dict[str, Any]
    """The files it is made of, as they are before they are read."""
    load: Load
    """What decides how much memory its windows take."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What was measured."""
    clock: Clock = field(default_factory=Clock)
    start: float = field(default_factory=time.perf_counter)

    def by(self, plan: Plan) -> Self:
        """Return this by another plan."""
        return replace(self, plan=plan, load=replace(self.load, batch=plan.batch))


def tell(
    job: Job, tally: Tally, header: ModelHeader, windows: int, blend: BlendRecord | None
) -> None:
    """Note what became known of a scene, and say of it what a person should know.

    Args:
        job: The scene, which takes the facts.
        tally: Of all of it.
        header: Of the model.
        windows: How many it was cut into.
        blend: How they are blended; None where they are not.

    Raises:
        SceneError: There is nothing in it to predict.
    """
    scene = job.scene
    if not tally.seen.pieces:
        where = "" if job.aoi is None else f" inside {job.aoi_from}"
        raise SceneError(
            f"{scene.source} has no valid pixel{where}: every one lacks data in one of "
            f"{', '.join(band.name for band in job.bands)}{scene.clouds.or_masked}. "
            "Check its nodata value."
        )
    scene.notes += [note for note in tally.notes if note not in scene.notes]
    for phase, seconds in tally.seconds.items():
        job.clock.add(phase, seconds)
    if tally.precision_error is not None:
        job.facts["precision_error"] = tally.precision_error
    if blend is not None and tally.seams is not None:
        _tell_of_seams(job, tally.seams, blend.why)
    mean, std = tally.seen.mean(), tally.seen.std()
    job.facts["water_share"] = tally.water_share
    job.facts["windows"] = {"planned": windows, "run": tally.seen.pieces}
    job.facts["reflectance_mean"] = mean
    job.facts["bands_against_training"] = describe_bands(job.bands, mean, std, header)
    for note in compare_means(job.bands, mean, header, scaled_by=job.scaling.source):
        scene.warn(note)


def _tell_of_seams(job: Job, seams: Seams, why: str) -> None:
    plan = job.plan
    job.facts["blending"] = {
        "why": why,
        "window": plan.window,
        "overlap": plan.overlap,
        "weights": WEIGHTS,
        "seams": seams.record(),
    }
    job.scene.warn(
        f"windows of {plan.window} pixels that overlap by {plan.overlap} are blended, as the "
        f"network has no exact halo ({why}); {seams}. Another --window gives another result"
    )


def describe(
    job: Job,
    settings: PredictSettings,
    header: ModelHeader,
    *,
    model: dict[str, str],
    blended: bool,
    clouds: dict[str, Any],
) -> dict[str, Any]:
    """Return the record of a scene that was predicted, but for its files.

    Args:
        job: The scene, with all that became known of it.
        settings: How it was predicted.
        header: Of the model.
        model: The model file, by name and hash.
        blended: Whether windows were.
        clouds: What is known of them.
    """
    said = asdict(settings)
    for option in ("resume", "divide"):  # on which nothing depends
        said.pop(option)
    described = {"sensor", "level", "res_m", "halo_exact", "halo_default", "halo_error"}
    described |= {"position_u95_m", "suggested_threshold", "licence"}
    return {
        "format": 1,
        "geounet": __version__,
        "command": "predict",
        "command_line": scrub(said.pop("command_line") or "") or None,
        "scene": job.scene.describe(),
        "inputs": job.inputs,
        "model": {
            **model,
            "network": header.network.name,
            "bands": [band.id for band in header.band_list],
            **header.model_dump(include=described),
        },
        "baseline": None,
        "settings": said | {"aoi": str(said["aoi"]) if said["aoi"] else None},
        "plan": asdict(job.plan),
        "blended": blended,
        "bands": [band.id for band in job.bands],
        "scaling": job.scaling.to_dict(),
        "level": settings.threshold,
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
        "clouds": clouds,
    }
