"""From the windows of a strip to its rasters: read, predicted, put together and written."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rasterio.windows import Window

from geounet.classes import IGNORE
from geounet.clock import Clock
from geounet.engine import Runner
from geounet.errors import SceneError
from geounet.model_file import BlendRecord, ModelHeader
from geounet.predict.blending import Answer, Finished, Strip
from geounet.predict.budget import READERS
from geounet.predict.job import Job
from geounet.predict.pieces import Piece, Reader, Seen, Survey, batches, crop, cut_to_data
from geounet.predict.running import Sample, middle_of, precision_error, run_batches
from geounet.predict.strips import StripOfScene
from geounet.predict.tally import Tally
from geounet.progress import Progress
from geounet.stitch import Part, open_canvas, stitch
from geounet.windows import HaloWindow, plan_overlapping, plan_windows

WATER, BEST = "water.tif", "best.tif"
"""Rasters of a strip."""


@dataclass(frozen=True)
class NetworkPass:
    """A network that passes over strips of scenes."""

    engine: Runner
    exact: Runner | None
    """The same in fp32, to hold another precision against; None where it is that."""
    header: ModelHeader
    blend: BlendRecord | None
    """How windows are blended; None where their cores lie side by side."""
    threshold: float
    """Probability from which a pixel is water."""

    @property
    def rasters(self) -> dict[str, tuple[str, float]]:
        """Type and nodata of what is written of a strip, by name."""
        rasters: dict[str, tuple[str, float]] = {WATER: ("float32", np.nan)}
        return rasters | ({BEST: ("uint8", IGNORE)} if len(self.header.classes) > 2 else {})

    def predict(
        self, job: Job, strip: StripOfScene, folder: Path, progress: Progress, label: str
    ) -> Tally:
        """Write the rasters of a strip into a folder, and return what became known on the way."""
        scene = job.scene
        tally, said = Tally(Seen.nothing(len(job.bands))), len(scene.notes)
        rows = Window(0, strip.top, scene.geobox.width, strip.bottom - strip.top)
        grid = crop(scene.geobox, rows)
        windows, clock = [*strip.before, *strip.windows], Clock()
        threads = READERS["cpu" if self.engine.device == "cpu" else "cuda"]
        with clock.timed("windows"), ExitStack() as files:
            canvases = [
                files.enter_context(open_canvas(folder / name, grid, dtype=dtype, nodata=nodata))
                for name, (dtype, nodata) in self.rasters.items()
            ]
            reader = Reader(scene, job.bands, job.aoi, clock)
            pieces = files.enter_context(closing(reader.pieces(windows, threads=threads)))
            shown = progress(pieces, label=label, total=len(windows))
            files.callback(getattr(shown, "close", lambda: None))  # a bar gives the cursor back
            survey = Survey(job.scaling, from_row=strip.first_read)
            with_data = survey.watch(p for p in shown if p is not None)
            answers = self._answers(replace(job, clock=clock), strip, with_data, tally)
            found = self._put_together(job, strip, answers, tally)
            stitch(self._parts(strip, found, tally), canvases, clock)
        tally.seen, tally.notes, tally.seconds = survey.seen, scene.notes[said:], clock.seconds
        return tally

    def windows(self, job: Job) -> Iterator[HaloWindow]:
        """Yield the windows of a scene by its plan."""
        shape, plan, stride = job.scene.geobox.shape, job.plan, self.engine.stride
        if plan.overlap:
            return plan_overlapping(*shape, window=plan.window, overlap=plan.overlap, stride=stride)
        return plan_windows(
            *shape,
            core=plan.window,
            halo=plan.halo,
            stride=stride,
            remainder=self.engine.remainder,
            first=plan.first,
        )

    def _answers(
        self, job: Job, strip: StripOfScene, pieces: Iterable[Piece], tally: Tally
    ) -> Iterator[Answer]:
        """Run the network over pieces, as many at a time as the plan says."""
        coefficients, engine = job.scaling.coefficients(), self.engine
        samples: list[Sample] = []

        def prepare(piece: Piece) -> Piece:
            if self.blend is None:
                piece = cut_to_data(piece, stride=engine.stride, remainder=engine.remainder)
            is_own = piece.window.read.row_off >= strip.first_read
            if self.exact is not None and is_own and not samples:
                samples.append(middle_of(piece, engine.fit))
            return piece

        found = run_batches(
            engine,
            batches(pieces, job.plan.batch, prepare),
            coefficients,
            clock=job.clock,
        )
        for window, wanted, probs in found:
            kept = probs[:, *window.keep_inside(engine.margin)]
            # Of classes that add up to 1 none is finite where one is not.
            if not np.isfinite(kept[0][wanted]).all():
                raise SceneError(
                    f"{job.scene.source}: the network gives no probability at some pixels of "
                    f"{_place(window.core)}: values there are no reflectance. Is its "
                    "nodata value declared? If not, give --nodata."
                )
            yield Answer(window, kept, wanted)
        if self.exact is not None and samples:
            tally.precision_error = precision_error(engine, self.exact, samples[0], coefficients)

    def _put_together(
        self, job: Job, strip: StripOfScene, answers: Iterable[Answer], tally: Tally
    ) -> Iterator[Finished]:
        """Yield what is known of places that come no more: cores, or rows of blended windows."""
        if self.blend is None:
            for window, probs, wanted in answers:
                yield Finished(window.core, probs, wanted)
            return
        rolling = Strip(
            job.scene.geobox.width,
            window=job.plan.window,
            overlap=job.plan.overlap,
            is_water=np.array([c.water for c in self.header.label_classes]),
            rows=(strip.top, strip.bottom),
        )
        yield from rolling.blend(answers)
        tally.seams = rolling.seams

    def _parts(
        self, strip: StripOfScene, found: Iterable[Finished], tally: Tally
    ) -> Iterator[Part]:
        """Make of probabilities what is written: of water, and the most probable class."""
        classes = self.header.label_classes
        is_water = np.array([c.water for c in classes])
        values = np.array([c.value for c in classes], np.uint8)
        for window, probs, wanted in found:
            water = probs[is_water].sum(axis=0)
            part = [np.where(wanted, water, np.float32(np.nan))]
            is_wet = water >= self.threshold
            if len(classes) > 2:
                best = probs.argmax(axis=0)
                part.append(np.where(wanted, values[best], np.uint8(IGNORE)))
                is_wet = is_water[best]
            tally.pixels += int(np.count_nonzero(wanted))
            tally.of_water += int(np.count_nonzero(is_wet & wanted))
            yield Part(strip.inside(window), tuple(part))


def _place(window: Window) -> str:
    (top, bottom), (left, right) = window.toranges()
    return f"rows {top}–{bottom}, columns {left}–{right}"
