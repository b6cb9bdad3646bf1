"""Many scenes, one after another: what becomes of each, and the summary of all."""

import json
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

from geounet import __version__
from geounet.errors import GeounetError, OutputError, ResultError
from geounet.outputs import clear_killed_run, read_record, stage_file
from geounet.predict.ahead import fetch_ahead
from geounet.predict.earlier import damage_of, differences, known_by_address
from geounet.predict.outcome import Outcome, failures_told, outcome_of
from geounet.predict.predictor import Predictor
from geounet.predict.settings import PredictSettings
from geounet.progress import Progress, silent
from geounet.scene import (
    SceneOptions,
    check_scene_arguments,
    expand_sources,
    gdal_environment,
    open_scene,
    without_query,
)
from geounet.scene.remote import scrub

logger = logging.getLogger(__name__)

T = TypeVar("T")

SUMMARY = "summary.json"
_KIND = "summary of predictions"
_FORMAT = 1
WRITTEN_EVERY = 10.0
"""Seconds that pass at least before the summary is written again while scenes are predicted."""


def predict_scene(
    source: str | Path,
    model: Path,
    out: Path,
    settings: PredictSettings = PredictSettings(),  # noqa: B008  frozen
    options: SceneOptions = SceneOptions(),  # noqa: B008  frozen
    progress: Progress = silent,
) -> Path:
    """Predict one scene, as `predict_scenes` does, and return its record, `out/NAME.json`."""
    (record,) = predict_scenes([source], model, out, settings, options, progress)
    return record


def predict_scenes(
    sources: Sequence[str | Path],
    model: Path,
    out: Path,
    settings: PredictSettings = PredictSettings(),  # noqa: B008  frozen
    options: SceneOptions = SceneOptions(),  # noqa: B008  frozen
    progress: Progress = silent,
    *,
    skip_existing: bool = False,
) -> Iterator[Path]:
    """Predict scenes one after another; a bad one does not keep the others from being done.

    Args:
        sources: As `run_scenes` takes them.
        model: The model file.
        out: Folder for the results; made if absent.
        settings: How to predict.
        options: What the user said about the scenes.
        progress: Told of every window.
        skip_existing: Whether results that are there, and are what would be made, are left.

    Yields:
        The record of each finished scene, `out/NAME.json`, skipped ones included.

    Raises:
        GeounetError: The model cannot be used; two scenes have one name; or, at the end, scenes
            failed: which ones, and why.
    """
    outcomes = []
    for outcome in run_scenes(
        sources, model, out, settings, options, progress, skip_existing=skip_existing
    ):
        outcomes.append(outcome)
        if outcome.record is not None:
            yield outcome.record
    raise_failures(outcomes)


def raise_failures(outcomes: Sequence[Outcome]) -> None:
    """Raise what went wrong, if anything did.

    Raises:
        GeounetError: Scenes failed: which ones, and why. Of a single scene it is its own error.
    """
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    if len(outcomes) == 1 and failed and failed[0].error is not None:
        raise failed[0].error
    if failed:
        why = "\n".join(f"  {outcome.complaint}" for outcome in failed)
        raise GeounetError(f"{len(failed)} of {len(outcomes)} scenes failed:\n{why}")


def run_scenes(
    sources: Sequence[str | Path],
    model: Path,
    out: Path,
    settings: PredictSettings = PredictSettings(),  # noqa: B008  frozen
    options: SceneOptions = SceneOptions(),  # noqa: B008  frozen
    progress: Progress = silent,
    *,
    skip_existing: bool = False,
) -> Iterator[Outcome]:
    """Predict scenes one after another, and say what became of each.

    Of several scenes `out/summary.json` tells it, too: it is written as the work goes on, and at
    the end, however that comes. It is of this run alone.

    Args:
        sources: Each as `open_scene` takes it, or a collection of STAC items, which are as many.
        model: The model file.
        out: Folder for the results; made if absent.
        settings: How to predict.
        options: What the user said about the scenes.
        progress: Told of every window.
        skip_existing: Whether results that are there, and are what would be made, are left. What
            is something else is an error, or with `settings.overwrite` done anew.

    Yields:
        Outcomes in the order of the sources. One that failed has its error.

    Raises:
        GeounetError: The model cannot be used; two scenes have one name; the summary cannot be
            written.
    """
    batch = Batch.of(sources, out, settings, options)
    predictor = Predictor(model, settings)
    run = SceneRun(predictor, out, settings, options, skip_existing)
    yield from batch.summarised(_one_by_one(run, batch, progress), predictor.model)


def _one_by_one(
    run: "SceneRun", batch: "Batch", progress: Progress
) -> Iterator[tuple[int, Outcome]]:
    count = len(batch.sources)
    for number, source in enumerate(batch.sources):
        shown = progress
        if count > 1:
            logger.info("scene %d of %d: %s", number + 1, count, without_query(source))
            shown = _numbered(progress, f"{number + 1}/{count}")
        after = batch.sources[number + 1 : number + 2]
        yield number, run.take(source, batch.names.get(source), shown, *after)


@dataclass(frozen=True)
class Batch:
    """Scenes that are predicted in one go, and where the summary of them will be."""

    sources: Sequence[str]
    names: Mapping[str, str]
    """Of their files, by source; of those that could not be opened, and of a single one, none."""
    out: Path
    settings: PredictSettings

    @classmethod
    def of(
        cls,
        sources: Sequence[str | Path],
        out: Path,
        settings: PredictSettings,
        options: SceneOptions,
    ) -> Self:
        """Return what is to be done, checked as far as it can be before anything is.

        Raises:
            GeounetError: Two scenes have one name, or something is in the way of the summary.
        """
        check_scene_arguments(sources)
        expanded = expand_sources([str(source) for source in sources])
        names = names_of(expanded, options) if len(expanded) > 1 else {}
        if names:
            _check_names(names, out)
        return cls(expanded, names, out, settings)

    def summarised(
        self, outcomes: Iterable[tuple[int, Outcome]], model: dict[str, str]
    ) -> Iterator[Outcome]:
        """Yield outcomes as they come, and keep the summary of several.

        Args:
            outcomes: Each with the number of its source.
            model: The model file, by name and hash.

        Raises:
            OutputError: The summary cannot be written.
        """
        if len(self.sources) == 1:
            for _, outcome in outcomes:
                yield outcome
            return
        summary = _Summary(self, model)
        complete = False
        try:
            for number, outcome in outcomes:
                if outcome.error is not None:
                    logger.info("%s failed; why is said at the end", outcome.source)
                summary.add(number, outcome)
                yield outcome
            complete = True
        except GeneratorExit:
            raise  # who asked for outcomes wants no more
        except BaseException:  # libraries make other errors of a Ctrl-C
            logger.info("%s", summary.how_to_go_on())
            raise
        finally:
            summary.write_last(complete=complete)


def names_of(sources: Sequence[str], options: SceneOptions) -> dict[str, str]:
    """Return the names of scenes; those that cannot be opened fail at their turn.

    Raises:
        OutputError: The results of two would have one name.
    """
    names: dict[str, str] = {}
    by_name: dict[str, list[str]] = {}
    for source in sources:
        try:
            with gdal_environment(), open_scene(source, options, advise=False) as scene:
                names[source] = scene.name
                by_name.setdefault(scene.name, []).append(scene.source)
        except GeounetError:
            continue
    for name, same in by_name.items():
        if len(same) > 1:
            raise OutputError(
                f"{len(same)} scenes are called {name}: {', '.join(same)}. "
                "Predict them one by one, with an --out each."
            )
    return names


def _check_names(names: Mapping[str, str], out: Path) -> None:
    """Refuse what the summary would take the place of, or be replaced by.

    Raises:
        OutputError: A scene is called as it is, or something else is in its place.
    """
    path = out / SUMMARY
    if source := next((s for s, name in names.items() if name == path.stem), None):
        raise OutputError(
            f"{without_query(source)} is called {path.stem}, and {SUMMARY} is to say what became "
            "of all scenes. Predict it alone, with another --out."
        )
    if not path.exists():
        return
    try:
        ours = json.loads(path.read_text(encoding="utf-8"))["kind"] == _KIND
    except (OSError, ValueError, KeyError, TypeError):
        ours = False
    if not ours:
        raise OutputError(
            f"{path} is in the way: it is no summary of ours. Move it, or give another --out."
        )


def _numbered(progress: Progress, number: str) -> Progress:
    """Return a progress that says of which scene it tells: `2/9 scene`."""

    def shown(items: Iterable[T], *, label: str, total: int | None) -> Iterator[T]:
        return progress(items, label=f"{number} {label}", total=total)

    return shown


@dataclass(frozen=True)
class SceneRun:
    """How scenes are taken, one at a time."""

    predictor: Predictor
    out: Path
    settings: PredictSettings
    options: SceneOptions
    skip_existing: bool

    def take(
        self, source: str, name: str | None, progress: Progress, after: str | None = None
    ) -> Outcome:
        """Predict a scene, or find that there is no need to; its error is in the outcome."""
        return self.look(source, name) or self.make(source, name, progress, after)

    def look(self, source: str, name: str | None) -> Outcome | None:
        """Return what becomes of a scene that need not be predicted, or cannot be; None if else."""
        if not self.skip_existing:
            return None
        start = time.perf_counter()
        with failures_told(source, name, start) as failed:
            record = self._standing(source)
            if record is None:
                return None
            return outcome_of(source, record, start, status="skipped")
        return failed[0]

    def make(
        self, source: str, name: str | None, progress: Progress, after: str | None = None
    ) -> Outcome:
        """Predict a scene; its error is in the outcome.

        Args:
            source: The scene.
            name: Its name, where it is known.
            progress: Told of every window.
            after: The scene that is next: its files are fetched while this one is drawn.
        """
        start = time.perf_counter()
        when_read = None if after is None else partial(fetch_ahead, after, self.options)
        with failures_told(source, name, start) as failed:
            record = self.predictor.predict(source, self.out, self.options, progress, when_read)
            return outcome_of(source, record, start)
        return failed[0]

    def _standing(self, source: str) -> Path | None:
        """Return the record of a result that need not be made again; None where it is to be made.

        Raises:
            OutputError: There is one of another run, which may not be replaced.
            GeounetError: The scene cannot be read.
        """
        with gdal_environment(), open_scene(source, self.options, advise=False) as scene:
            path = self.out / f"{scene.name}.json"
            if not path.exists():
                return None
            try:
                record = read_record(path)
            except ResultError:
                return None  # that something else is in the way is said by who would write there
            expected = self.predictor.expected(scene)
        # Where there was too little memory the plan is not the one that was asked for.
        record["plan"] = (record.get("plan") or {}) | (record.get("instead_of") or {})
        why = "; ".join(differences(record, expected)) or damage_of(path, record)
        if why is None:
            by_address = known_by_address(expected["inputs"])
            known = "; its files on the net are taken to be what they were" if by_address else ""
            logger.info("%s is there already%s", path, known)
            clear_killed_run(self.out, path.stem)
            return path
        if not self.settings.overwrite:
            raise OutputError(
                f"{path} is not what this run would make: {why}. Use --overwrite to make it anew, "
                "or another --out."
            )
        logger.info("%s is made anew: %s", path, why)
        return None


@dataclass
class _Summary:
    """What becomes of several scenes, kept in a file as the work goes on."""

    batch: Batch
    model: dict[str, str]
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    """By the number of the scene, as they came."""
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    written: float = field(default_factory=time.monotonic)

    def add(self, number: int, outcome: Outcome) -> None:
        """Take an outcome in, and write the file if the last time is long enough ago."""
        self.outcomes[number] = outcome
        if time.monotonic() - self.written > WRITTEN_EVERY:
            self._try_to_write()

    def write_last(self, *, complete: bool) -> None:
        """Write the file as it will stay.

        Args:
            complete: Whether all scenes have had their turn; if not, an error is on its way that
                no other is to hide.

        Raises:
            OutputError: It cannot be written.
        """
        if complete:
            self._write()
        else:
            self._try_to_write()

    def _try_to_write(self) -> None:
        try:
            self._write()
        except OutputError as error:  # of a disk that is full now, or another run just here
            logger.warning("%s", error)
        self.written = time.monotonic()

    def _write(self) -> None:
        with stage_file(self.batch.out / SUMMARY) as path:
            text = json.dumps(self.to_dict(), indent=1, ensure_ascii=False)
            path.write_text(text + "\n", encoding="utf-8")

    def to_dict(self) -> dict[str, Any]:
        """Return all that is known, as the file has it; scenes in the order they were given."""
        names = self.batch.names
        outcomes = [
            self.outcomes.get(number)
            or Outcome(without_query(source), names.get(source), "not done")
            for number, source in enumerate(self.batch.sources)
        ]
        statuses = [outcome.status for outcome in outcomes]
        seconds = (datetime.now(UTC) - self.started).total_seconds()
        return {
            "kind": _KIND,
            "format": _FORMAT,
            "geounet": __version__,
            "command_line": scrub(self.batch.settings.command_line or "") or None,
            "model": self.model,
            "started": self.started.isoformat(timespec="seconds"),
            "seconds": round(seconds, 3),
            "counts": {
                status: statuses.count(status)
                for status in ("done", "failed", "skipped", "not done")
            },
            "scenes": [outcome.to_dict() for outcome in outcomes],
        }

    def how_to_go_on(self) -> str:
        """Return how far the work is, and what to type to finish it."""
        counts = self.to_dict()["counts"]
        there = counts["done"] + counts["skipped"]
        failed = f", {counts['failed']} failed" if counts["failed"] else ""
        return (
            f"{there} of {len(self.batch.sources)} scenes are done{failed}; the same command with "
            "--skip-existing goes on from there"
        )
