"""What one of several processes does of a scene: its division, a strip, or what is made of all."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geounet.allocation import map_large_arrays
from geounet.engine import out_of_memory
from geounet.outputs import PARTS, Stage
from geounet.predict.plan import Plan, too_large, torch_threads
from geounet.predict.predictor import Predictor
from geounet.progress import Progress, silent
from geounet.scene import SceneOptions, open_scene


@dataclass(frozen=True)
class Division:
    """How a scene is cut for several processes."""

    name: str
    """Of its files."""
    plan: Plan
    strips: int
    """How many there are; one is the whole scene."""
    size: int
    """Bytes that all of them take on the disk."""


class SharingPredictor(Predictor):
    """A model made ready for shares of scenes; somebody else holds their places among results."""

    def division(self, source: str | Path, out: Path, options: SceneOptions) -> Division:
        """Return how the scene at `source` is divided, and by which plan.

        Raises:
            GeounetError: As `predict` does, before it reads pixels.
        """
        with self._gdal(), open_scene(source, options, advise=False) as scene:
            job = self._prepare(scene)
            plan = job.plan
            if self._settings.resume:
                plan = self._plan_of_parts(job, out / f".{scene.name}.partial" / PARTS)
            strips = len(self._by(plan)._strips(job.by(plan)))
            size = scene.geobox.height * self._row_bytes(job)
            return Division(scene.name, plan, strips, size)

    def predict_part(
        self,
        source: str | Path,
        options: SceneOptions,
        parts: Path,
        division: Division,
        number: int,
        progress: Progress = silent,
    ) -> None:
        """Predict one strip of a scene into its part, unless that is there, whole and right.

        Args:
            source: The scene.
            options: What the user said about it.
            parts: The folder of its parts, in the hidden folder of a set that somebody else holds.
            division: Of the scene.
            number: Of the strip, from 0.
            progress: Told of every window.

        Raises:
            GeounetError: As `predict` does.
        """
        by = self._by(division.plan)
        with self._gdal(), open_scene(source, options, advise=False) as scene:
            job = by._prepare(scene).by(division.plan)
            strip = by._strips(job)[number]
            label = f"{scene.name} {number + 1}/{division.strips}"
            try:
                with map_large_arrays(), torch_threads(job.plan.threads):
                    by._make_part(job, by._parts_of(job, parts), strip, progress, label)
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
                raise too_large(job.plan, scene.source, error) from error

    def finish(
        self,
        source: str | Path,
        options: SceneOptions,
        stage: Stage,
        parts: Path,
        plan: Plan,
        progress: Progress = silent,
    ) -> dict[str, Any]:
        """Write all that is made of a scene, from its parts.

        Parts that are not there, whole and right, are made first.

        Args:
            source: The scene.
            options: What the user said about it.
            stage: Where it is written; somebody else lets it take its place.
            parts: The folder of its parts.
            plan: By which they were made.
            progress: Told of what is written.

        Returns:
            The record.

        Raises:
            GeounetError: As `predict` does.
        """
        by = self._by(plan)
        with self._gdal(), open_scene(source, options) as scene:
            return by._finish(by._prepare(scene).by(plan), stage, parts, progress)
