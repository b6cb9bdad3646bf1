"""Many scenes with many workers: who does what next, and what becomes of each."""

import logging
import shutil
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from geounet.cluster.crew import Crew
from geounet.cluster.work import (
    FINISHING,
    Order,
    Told,
    finish_scene,
    make_ready,
    predict_strip,
    take_scene,
)
from geounet.errors import ClusterError, ModelFileError, OutputError, reason
from geounet.outputs import Stage, clear_killed_run, sha256_of, stage_set
from geounet.patience import current_patience
from geounet.predict import Outcome, PredictSettings
from geounet.predict.outcome import failures_told, outcome_of
from geounet.predict.several import Batch, names_of
from geounet.predict.shares import Division
from geounet.progress import Progress, silent
from geounet.scene import SceneOptions
from geounet.stitch import check_room

if TYPE_CHECKING:
    from distributed import Future

logger = logging.getLogger(__name__)

AHEAD = 2
"""Scenes for each worker that are begun before earlier ones are done."""
LEAST_AHEAD = 16
"""That are begun at least: a cluster that grows with its work has to see some."""

Step = Literal["scene", "strip", "finish"]


def run_scenes_with(
    crew: Crew,
    sources: Sequence[str | Path],
    model: Path,
    out: Path,
    settings: PredictSettings = PredictSettings(),  # noqa: B008  frozen
    options: SceneOptions = SceneOptions(),  # noqa: B008  frozen
    progress: Progress = silent,
    *,
    skip_existing: bool = False,
) -> Iterator[Outcome]:
    """Predict scenes as `run_scenes` does, with many workers; the results are the same bytes.

    A scene is a task. One that is larger than `settings.divide` is divided: strips are tasks, and
    what is made of them all is one more. A worker that dies costs its task alone, which another
    one does again. All workers must see scenes, model and `out` by the same paths.

    Args:
        crew: The workers.
        sources: As `run_scenes` takes them.
        model: The model file.
        out: Folder for the results; made if absent.
        settings: How to predict. Bytes depend on how many threads torch has, as they do for one
            process; they are in the plan.
        options: What the user said about the scenes.
        progress: Told of scenes; where there is one, of its strips.
        skip_existing: Whether results that are there, and are what would be made, are left.

    Yields:
        Outcomes as they come. One that failed has its error.

    Raises:
        GeounetError: The model cannot be used; two scenes have one name; the summary cannot be
            written; workers are gone.
    """
    if crew.client.status == "closed":
        raise ClusterError("These workers were dismissed when an earlier run was stopped.")
    batch = Batch.of(sources, out, settings, options)
    order = order_of(crew, model, out, settings, options, skip_existing=skip_existing)
    foreman = _Foreman(crew, order, batch)
    try:
        known = {"file": model.name, "sha256": order.sha256}
        yield from batch.summarised(foreman.work(progress), known)
    finally:
        foreman.leave()


def order_of(
    crew: Crew,
    model: Path,
    out: Path,
    settings: PredictSettings,
    options: SceneOptions = SceneOptions(),  # noqa: B008  frozen
    *,
    skip_existing: bool = False,
) -> Order:
    """Return what all tasks of a run have in common; see `run_scenes_with`.

    Raises:
        ModelFileError: The model cannot be read.
    """
    try:
        sha256 = sha256_of(model)
    except OSError as error:
        raise ModelFileError(f"{model} cannot be read: {reason(error)}.") from error
    return Order(
        model, sha256, out, settings, options, skip_existing, Path.cwd(), current_patience(),
        crew.threads,
    )  # fmt: skip


@dataclass
class _OpenScene:
    """A scene whose strips are being predicted; its place among the results is held here."""

    number: int
    source: str
    division: Division
    set_: AbstractContextManager[tuple[Stage, dict[str, Any]]]
    stage: Stage
    record: dict[str, Any]
    waiting: int
    """Strips that are not done yet."""
    start: float = field(default_factory=time.perf_counter)


@dataclass(frozen=True)
class _Task:
    step: Step
    number: int
    """Of the scene."""


class _Foreman:
    """Gives tasks to workers, and takes what they bring."""

    def __init__(self, crew: Crew, order: Order, batch: Batch) -> None:
        from distributed import as_completed

        self._crew, self._order, self._batch = crew, order, batch
        self._names = batch.names or names_of(batch.sources, order.options)
        self._next = deque(enumerate(batch.sources))
        self._tasks: dict[Any, tuple[_Task, Future[Any]]] = {}
        self._open: dict[int, _OpenScene] = {}
        self._said: set[tuple[int, str]] = set()
        self._done = as_completed(loop=crew.client.loop)

    def work(self, progress: Progress) -> Iterator[tuple[int, Outcome]]:
        """Yield outcomes as they come, each with the number of its source."""
        count = len(self._batch.sources)
        self._result(self._submit(make_ready, self._order, priority=0), 0)
        if count > 1:
            found = (outcome for outcome in self._steps() if outcome is not None)
            yield from progress(found, label="scenes", total=count)
            return
        steps = self._steps()
        first = next(steps)
        if first is not None:
            yield first
            return
        (scene,) = self._open.values()
        for step in progress(steps, label=scene.division.name, total=scene.division.strips + 1):
            if step is not None:
                yield step

    def _steps(self) -> Iterator[tuple[int, Outcome] | None]:
        """Yield whenever a task is done: an outcome, if it was the last of its scene."""
        self._begin_more()
        for future in self._done:
            task, _ = self._tasks.pop(future.key, (None, None))
            if task is None:
                continue  # it was given up
            if future.status in ("cancelled", "lost"):
                raise ClusterError(
                    "The scheduler of the workers is gone. The same command with --skip-existing "
                    "--resume goes on from what is done."
                )
            yield self._take(task, future)
            self._begin_more()

    def _begin_more(self) -> None:
        """Have as many scenes begun as keep the workers busy, and no more."""
        ahead = max(LEAST_AHEAD, AHEAD * self._crew.size())
        while self._next and len(self._tasks) < ahead:
            number, source = self._next.popleft()
            name = self._names.get(source)
            is_new = name is not None and not (self._order.out / f"{name}.json").exists()
            self._add("scene", number, partial(take_scene, is_new=is_new), source, name)

    def _add(self, step: Step, number: int, do: Any, *arguments: Any) -> None:
        """Give out a task; what belongs to an earlier scene is done first."""
        future = self._submit(do, self._order, *arguments, priority=-number)
        self._tasks[future.key] = _Task(step, number), future
        self._done.add(future)

    def _submit(self, do: Any, *arguments: Any, priority: int) -> "Future[Any]":
        return self._crew.client.submit(do, *arguments, priority=priority, pure=False)

    def _result(self, future: "Future[Any]", number: int) -> Any:
        """Return what a task brought, and say what it said.

        Raises:
            GeounetError: It failed, or everyone who tried it died.
        """
        from distributed.scheduler import KilledWorker

        try:
            told: Told[Any] = future.result()
        except KilledWorker as error:
            times = error.allowed_failures + 1
            who = f"{times} workers were" if times > 1 else "a worker was"
            raise ClusterError(
                f"{who} killed while at it. Is there memory enough? Fewer --workers, or a smaller "
                "--window, take less."
            ) from error
        for name, level, text in told.messages:
            if (number, text) not in self._said:
                self._said.add((number, text))
                logging.getLogger(name).log(level, "%s", text)
        return told.value

    def _take(self, task: _Task, future: "Future[Any]") -> tuple[int, Outcome] | None:
        """Return the outcome of a scene if a task that is done was its last."""
        source, scene = self._batch.sources[task.number], self._open.get(task.number)
        if task.step != "scene" and scene is None:
            return None  # another of its tasks failed
        start = scene.start if scene else time.perf_counter()
        name = scene.division.name if scene else self._names.get(source)
        with failures_told(source, name, start) as failed:
            value = self._result(future, task.number)
            if task.step == "scene":
                if isinstance(value, Outcome):
                    return task.number, value
                self._divide(task.number, source, value)
                return None
            assert scene is not None
            if task.step == "strip":
                self._strip_done(scene)
                return None
            return task.number, self._complete(scene, *value)
        if scene is not None:
            self._give_up(scene, failed[0].error)
        return task.number, failed[0]

    def _divide(self, number: int, source: str, division: Division) -> None:
        """Take hold of a scene's place among the results, and have its strips predicted."""
        settings = self._order.settings
        set_ = stage_set(
            self._order.out, division.name, overwrite=settings.overwrite, resume=settings.resume
        )
        stage, record = set_.__enter__()
        self._open[number] = _OpenScene(
            number, source, division, set_, stage, record, division.strips
        )
        if not settings.resume:  # or some of it is there
            try:
                check_room(stage.scratch, division.size)
            except OSError as full:
                del self._open[number]
                set_.__exit__(type(full), full, full.__traceback__)  # which says it in one line
                raise
        for strip in range(division.strips):
            self._add("strip", number, predict_strip, source, stage.scratch, division, strip)

    def _strip_done(self, scene: _OpenScene) -> None:
        scene.waiting -= 1
        if not scene.waiting:
            arguments = scene.source, scene.stage.scratch, scene.division
            self._add("finish", scene.number, finish_scene, *arguments)

    def _complete(self, scene: _OpenScene, folder: Path, record: dict[str, Any]) -> Outcome:
        """Let a set take its place that was written in a folder."""
        for path in folder.iterdir():
            if path.is_file():
                path.replace(scene.stage.scratch / path.name)
        for left in scene.stage.scratch.glob(f"{FINISHING}*"):
            shutil.rmtree(left)
        total = round(time.perf_counter() - scene.start, 3)
        scene.record |= record | {"timings": record["timings"] | {"total": total}}
        del self._open[scene.number]
        scene.set_.__exit__(None, None, None)
        record_path = self._order.out / f"{scene.division.name}.json"
        return outcome_of(scene.source, record_path, scene.start)

    def _give_up(self, scene: _OpenScene, error: BaseException | None) -> None:
        """Leave nothing of a scene, but parts that are to be kept."""
        if self._open.pop(scene.number, None) is None:
            return
        keys = [key for key, (task, _) in self._tasks.items() if task.number == scene.number]
        with suppress(Exception):  # the scheduler may be what is gone
            self._crew.client.cancel([self._tasks.pop(key)[1] for key in keys])
        error = error or ClusterError("given up")
        with suppress(type(error)):
            scene.set_.__exit__(type(error), error, error.__traceback__)

    def leave(self) -> None:
        """End what is not done, and clear what it leaves."""
        if not self._tasks and not self._open:
            return
        begun = {task.number for task, _ in self._tasks.values() if task.step == "scene"}
        with suppress(Exception):  # the scheduler may be what is gone
            self._crew.client.cancel([future for _, future in self._tasks.values()])
        self._crew.dismiss()
        names = [self._names.get(self._batch.sources[number]) for number in begun]
        for scene in list(self._open.values()):
            self._give_up(scene, None)
            if not self._order.settings.resume:
                names.append(scene.division.name)
        for name in names:
            if name is not None:
                with suppress(OutputError):  # a worker of somebody else's cluster is still at it
                    clear_killed_run(self._order.out, name)
