"""What workers do: functions of things that travel, and what was said while they did it."""

import contextlib
import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, TypeVar

from geounet.errors import GeounetError
from geounet.outputs import PARTS, Stage
from geounet.patience import patience
from geounet.predict import Outcome, PredictSettings
from geounet.predict.outcome import failures_told
from geounet.predict.plan import torch_threads
from geounet.predict.several import SceneRun
from geounet.predict.shares import Division, SharingPredictor
from geounet.scene import SceneOptions

T = TypeVar("T")

FINISHING = "finishing-"
"""How folders begin in which all that is made of a scene is written."""


@dataclass(frozen=True)
class Order:
    """What all tasks of a run have in common."""

    model: Path
    sha256: str
    """Of the model file: a worker that has another one by that path would go unnoticed."""
    out: Path
    settings: PredictSettings
    options: SceneOptions
    skip_existing: bool
    folder: Path
    """Where the command was given: relative paths are from there."""
    patience: float
    """Seconds that a read may take."""
    threads: int | None
    """Of torch; None where the worker knows."""


@dataclass(frozen=True)
class Told(Generic[T]):
    """What a task returns, and what it said on the way."""

    value: T
    messages: tuple[tuple[str, int, str], ...]
    """Logger, level and text of each."""


@lru_cache(maxsize=1)  # a model is loaded once, and kept for the next scene
def _predictor(model: Path, sha256: str, settings: PredictSettings) -> SharingPredictor:
    predictor = SharingPredictor(model, settings)
    if predictor.model["sha256"] != sha256:
        raise GeounetError(
            f"{model.absolute()} is another file where a worker is than where the command was "
            "given. Put the model where all see the same."
        )
    return predictor


def _told(order: Order, do: Callable[[SharingPredictor], T]) -> Told[T]:
    """Do something where and how the order has it, and note what is said."""
    messages: list[tuple[str, int, str]] = []
    logger, handler = logging.getLogger("geounet"), logging.Handler()
    handler.emit = lambda record: messages.append(  # type: ignore[method-assign]
        (record.name, record.levelno, record.getMessage())
    )
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        with contextlib.ExitStack() as ways:
            ways.enter_context(contextlib.chdir(order.folder))
            ways.enter_context(patience(order.patience))
            if order.threads is not None:
                ways.enter_context(torch_threads(order.threads))
            value = do(_predictor(order.model, order.sha256, order.settings))
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]
    return Told(value, tuple(messages))


def make_ready(order: Order) -> Told[None]:
    """Load the model.

    Raises:
        GeounetError: It cannot be used.
    """
    return _told(order, lambda _: None)


def take_scene(
    order: Order, source: str, name: str | None, *, is_new: bool
) -> Told[Outcome | Division]:
    """Predict a scene, or say how it is to be divided.

    Args:
        order: Of the run.
        source: The scene.
        name: Of its files, if that is known.
        is_new: Whether it had no result when the task was given out. One that is there was made by
            a worker that died before it could say so.
    """

    def take(predictor: SharingPredictor) -> Outcome | Division:
        again = is_new and (order.out / f"{name}.json").exists()
        skip = order.skip_existing or again
        run = SceneRun(predictor, order.out, order.settings, order.options, skip)
        if found := run.look(source, name):
            return replace(found, status="done") if again and found.error is None else found
        with failures_told(source, name, 0.0) as failed:
            division = predictor.division(source, order.out, order.options)
        if failed:
            return failed[0]
        return division if division.strips > 1 else run.make(source, name, wanted)

    return _told(order, take)


def predict_strip(
    order: Order, source: str, scratch: Path, division: Division, number: int
) -> Told[None]:
    """Predict one strip of a scene.

    Raises:
        GeounetError: It cannot be done.
    """
    return _told(
        order,
        lambda predictor: predictor.predict_part(
            source, order.options, scratch / PARTS, division, number, wanted
        ),
    )


def finish_scene(
    order: Order, source: str, scratch: Path, division: Division
) -> Told[tuple[Path, dict[str, Any]]]:
    """Write what is made of a scene from its parts; return where, and the record.

    It is a folder of this task's own: what another worker left that died at it is not in the way.

    Raises:
        GeounetError: It cannot be done.
    """

    def finish(predictor: SharingPredictor) -> tuple[Path, dict[str, Any]]:
        folder = Path(tempfile.mkdtemp(prefix=FINISHING, dir=scratch))
        stage, parts = Stage(division.name, folder), scratch / PARTS
        return folder, predictor.finish(source, order.options, stage, parts, division.plan, wanted)

    return _told(order, finish)


class UnwantedError(Exception):
    """Nobody waits for a task any more."""


def wanted(items: Iterable[T], *, label: str, total: int | None) -> Iterator[T]:  # noqa: ARG001  the protocol's names
    """Yield `items` as long as whoever ordered them waits for what is made of them.

    Raises:
        UnwantedError: He does not.
    """
    from distributed import get_worker

    worker = get_worker()
    key = worker.get_current_task()
    for item in items:
        task = worker.state.tasks.get(key)
        if task is None or task.state == "cancelled":
            raise UnwantedError(key)
        yield item
