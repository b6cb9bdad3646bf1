"""A scene that is predicted in strips, models for it, and what of a result is to be the same."""

import hashlib
import json
import os
import signal
from pathlib import Path
from typing import Any

from predicting import normalise_like_trained, wavy_dn, write_model, write_scene

from geounet.classes import LabelClass
from geounet.model_file import BlendRecord

NAMES = ("B03", "B08")
HEIGHT, WIDTH = 300, 130
STRIPS = 5
"""With windows of 32 pixels and `DIVIDE`, of either kind of model."""
DIVIDE = 0.009
"""Megapixels."""
HOW: dict[str, Any] = {"window": 32, "precision": "fp32", "device": "cpu", "divide": DIVIDE}
THREE = (
    LabelClass(value=0, name="land", color="#000000", water=False),
    LabelClass(value=1, name="water", color="#0000ff", water=True),
    LabelClass(value=2, name="surf", color="#ffffff", water=True),
)


def write_long_scene(path: Path, *, seed: int = 0) -> Path:
    """Write a scene of many rows of windows, some of which have no data."""
    dn = wavy_dn(HEIGHT, WIDTH, seed=seed, bands=len(NAMES))
    dn[:, 96:160, :] = 0  # rows of windows where nothing is
    dn[:, 200:215, 40:90] = 0
    return write_scene(path, dn, names=NAMES)


def write_small_model(path: Path, *, blended: bool = False, classes: Any = None) -> Path:
    """Write a network of a few weights, whose windows are blended if that is asked for."""
    header: dict[str, Any] = {}
    if blended:
        blend = BlendRecord(window=32, overlap=8, why="as a test has it")
        header = {"halo_exact": None, "blend": blend.model_dump()}
    if classes:
        header["classes"] = classes
    return write_model(
        path, overrides={"depth": 2, "base_width": 4}, names=NAMES, prepare=normalise_like_trained,
        **header,
    )  # fmt: skip


def result(out: Path, name: str) -> dict[str, Any]:
    """Return the hash of every file of a result and its record, without how long it took."""
    record = json.loads((out / f"{name}.json").read_text(encoding="utf-8"))
    for changing in ("timings", "command_line"):
        record.pop(changing)
    record["settings"].pop("overwrite")
    hashes = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in out.iterdir()
        if path.name.startswith(name) and path.suffix != ".json"
    }
    return {"record": record, "files": hashes}


def note_strips(notes: str, kill_at: str | None = None) -> None:
    """Have this process note in a file every strip that it begins; and die at one, the first time.

    For workers, `client.run(note_strips, …)`, until `behave`.
    """
    from geounet.predict.network_pass import NetworkPass

    predict = NetworkPass.predict

    def noting(self: Any, job: Any, strip: Any, *others: Any) -> Any:
        with Path(notes).open("a+") as file:
            file.seek(0)
            is_first = f"{job.scene.name} {strip.name}\n" not in file.readlines()
            file.write(f"{job.scene.name} {strip.name}\n")
        if strip.name == kill_at and is_first:
            os.kill(os.getpid(), signal.SIGKILL)
        return predict(self, job, strip, *others)

    _usual.setdefault((NetworkPass, "predict"), predict)
    NetworkPass.predict = noting  # type: ignore[method-assign]


def die_once_finished(notes: str) -> None:
    """Have this process die when all that is made of a scene is written, if it is the first."""
    from geounet.predict.shares import SharingPredictor

    finish = SharingPredictor.finish

    def dying(self: Any, *given: Any) -> Any:
        record = finish(self, *given)
        if not Path(notes).exists():
            Path(notes).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return record

    _usual.setdefault((SharingPredictor, "finish"), finish)
    SharingPredictor.finish = dying  # type: ignore[method-assign]


_usual: dict[tuple[type, str], Any] = {}
"""What was in the place of what the above has put there."""


def behave() -> None:
    """Have this process work as usual again."""
    for (owner, name), usual in _usual.items():
        setattr(owner, name, usual)
    _usual.clear()


def is_at_work(dask_worker: Any) -> bool:
    """Return whether a worker has a task in hand, wanted or not; for `client.run`."""
    return bool(dask_worker.state.executing)
