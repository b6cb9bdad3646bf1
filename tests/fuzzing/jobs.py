"""Sound commands whose results are known, to be disturbed: by signals, full disks, bad sources."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.random import Generator

from fuzzing.cases import PREDICT, make_sandbox
from fuzzing.children import Blow, Command, Ended, Limits, Nursery

MODULES = ("geounet.predict", "geounet.result_page")
"""Imported before the fork; torch starts no threads of its own where it may have one."""
WINDOW = 128
STRIPS = ("--window", "32", "--divide", "0.02")
"""By which a scene is predicted in several."""
OUT = "out"
SUMMARY = "summary.json"
"""What a batch leaves besides its sets."""
PAGE = "_report.html"
NOT_LITTER = {"matplotlib"}
"""In the folder for temporary files: the libraries' own caches."""

Bytes = dict[str, str]
"""Hash of each file by its path below the folder of results; records without times."""


@dataclass(frozen=True)
class Job:
    """A command, run beside its scenes, with results in `out`."""

    name: str
    arguments: tuple[str, ...]
    scenes: tuple[str, ...]
    """Of which there will be a set each."""
    old: tuple[str, ...] = ()
    """Of these there is a set already, with another threshold."""

    @property
    def keeps_parts(self) -> bool:
        """Whether what it has finished of a scene stays when it does not come to its end."""
        return "--resume" in self.arguments


@dataclass
class Ground:
    """Scenes and a model, and what undisturbed jobs make of them."""

    folder: Path
    jobs: dict[str, Job]
    expected: dict[str, Bytes] = field(default_factory=dict)
    """By job."""
    ended: dict[str, Ended] = field(default_factory=dict)
    """How the undisturbed jobs ended."""

    def draw(self, rng: Generator) -> Job:
        """Return any job."""
        names = sorted(self.jobs)
        return self.jobs[names[rng.integers(len(names))]]

    def furnish(self, job: Job, sandbox: Path) -> None:
        """Put scenes and old results into a sandbox."""
        make_sandbox(sandbox)
        for scene in job.scenes:
            # Its time stands in the record.
            shutil.copy2(self.folder / f"{scene}.tif", sandbox / "work")
        for scene in job.old:
            shutil.copytree(
                self.folder / "old", sandbox / "work" / OUT, dirs_exist_ok=True,
                ignore=lambda _, names, scene=scene: [n for n in names if not n.startswith(scene)],
            )  # fmt: skip

    def command(
        self,
        job: Job,
        sandbox: Path,
        blow: Blow | None = None,
        *,
        limits: Limits = PREDICT,
        variables: tuple[tuple[str, str], ...] = (),
    ) -> Command:
        """Return the command of a job in its sandbox."""
        return Command(
            job.arguments, sandbox, limits=limits, may_write=(f"work/{OUT}",), blow=blow,
            variables=variables,
        )  # fmt: skip


def make_ground(folder: Path, nursery: Nursery) -> Ground:
    """Write scenes and a model, and run every job undisturbed."""
    from predicting import DARK, water_is_dark, write_model, write_scene  # torch: only when needed

    names = ("B03", "B08")
    model = write_model(
        folder / "model.safetensors", overrides=DARK, names=names, prepare=water_is_dark()
    )
    for seed, scene in enumerate("abc"):
        _write_scene(folder / f"{scene}.tif", seed, names, write_scene)
    predict = ("--model", str(model), "--out", OUT, "--window", str(WINDOW), "--overwrite")
    ndwi = ("--index", "ndwi", "--threshold", "0", "--out", OUT, "--overwrite")
    jobs = [
        Job("first", ("predict", "a.tif", *predict), ("a",)),
        Job("again", ("predict", "a.tif", *predict), ("a",), old=("a",)),
        Job("page", ("predict", "a.tif", *predict, "--report"), ("a",)),
        Job("batch", ("predict", "a.tif", "b.tif", "c.tif", *predict), ("a", "b", "c"), old=("b",)),
        Job("go on", ("predict", "a.tif", "b.tif", *predict, "--skip-existing"), ("a", "b")),
        Job("strips", ("predict", "a.tif", *predict, *STRIPS), ("a",), old=("a",)),
        Job("resume", ("predict", "a.tif", "b.tif", *predict, *STRIPS, "--resume"), ("a", "b")),
        Job("index", ("baseline", "a.tif", *ndwi), ("a",), old=("a",)),
    ]
    ground = Ground(folder, {job.name: job for job in jobs})
    _make_old(ground, nursery, predict)
    for job in jobs:
        sandbox = folder / f"sound-{job.name}"
        ground.furnish(job, sandbox)
        ended = nursery.run(ground.command(job, sandbox))
        if ended.status or (wrong := [*broken_sets(sandbox), *litter(sandbox, job)]):
            raise RuntimeError(f"{job.name} fails undisturbed: {ended.err}{wrong}")
        ground.expected[job.name], ground.ended[job.name] = results(sandbox), ended
        shutil.rmtree(sandbox)
    return ground


def _write_scene(path: Path, seed: int, names: tuple[str, ...], write_scene: Any) -> None:
    from predicting import wavy_dn

    write_scene(
        path, wavy_dn(300, 280, seed=seed, bands=len(names)), names=names, compress="deflate",
        tiled=True, blockxsize=64, blockysize=64,
    )  # fmt: skip


def _make_old(ground: Ground, nursery: Nursery, options: tuple[str, ...]) -> None:
    sandbox = ground.folder / "old-sandbox"
    arguments = ("predict", "a.tif", "b.tif", *options, "--threshold", "0.3")
    job = Job("old", arguments, ("a", "b"))
    ground.furnish(job, sandbox)
    ended = nursery.run(ground.command(job, sandbox))
    if ended.status:
        raise RuntimeError(f"the old results cannot be made: {ended.err}")
    (sandbox / "work" / OUT).rename(ground.folder / "old")
    shutil.rmtree(sandbox)


def results(sandbox: Path) -> Bytes:
    """Return hashes of all that lies among the results, hidden folders included."""
    out = sandbox / "work" / OUT
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(_lasting(path)).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


def _lasting(path: Path) -> bytes:
    """Return what a file holds, a record without how long it took."""
    content = path.read_bytes()
    if path.name == SUMMARY or path.name.endswith(PAGE):  # which show how long it took
        return b""
    if path.suffix != ".json":
        return content
    try:
        record = json.loads(content)
    except ValueError:
        return content
    if "files" not in record:  # of what was left
        return content
    record.pop("timings", None)
    record["files"] = {n: said for n, said in record["files"].items() if not n.endswith(PAGE)}
    return json.dumps(record).encode()


def broken_sets(sandbox: Path) -> list[str]:
    """Return which sets look complete, having a record, and are not."""
    found = []
    for path in sorted((sandbox / "work" / OUT).glob("*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            files = {} if path.name == SUMMARY else record["files"]
        except (ValueError, KeyError, TypeError) as error:
            found.append(f"{path.name} is no whole record: {error}")
            continue
        found += [f"{path.name} is there, but {wrong}" for wrong in _disagreeing(path, files)]
    return found


def _disagreeing(record: Path, files: dict[str, dict[str, Any]]) -> Iterator[str]:
    for name, said in files.items():
        path = record.with_name(name)
        if not path.is_file():
            yield f"{name} is not"
        elif (size := path.stat().st_size) != said["bytes"]:
            yield f"{name} has {size} bytes, not {said['bytes']}"
        elif hashlib.sha256(path.read_bytes()).hexdigest() != said["sha256"]:
            yield f"{name} has another hash"


def litter(sandbox: Path, job: Job) -> list[str]:
    """Return what lies about that is neither part of a complete set nor was there before."""
    out, listed = sandbox / "work" / OUT, set[str]()
    for path in out.glob("*.json"):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            listed |= {path.name, *([] if path.name == SUMMARY else record["files"])}
        except (ValueError, KeyError, TypeError):
            continue  # told by `broken_sets`
    found = [
        f"{OUT}/{p.relative_to(out)}" for p in out.rglob("*")
        if p.name not in listed and not _is_kept(p.relative_to(out).parts, job, listed)
    ]  # fmt: skip
    if out.is_dir() and not any(out.iterdir()) and not out.is_mount():
        found.append(f"{OUT}, empty")
    given = {f"{scene}.tif" for scene in job.scenes} | {OUT}
    found += [p.name for p in (sandbox / "work").iterdir() if p.name not in given]
    for name in ("tmp", "home"):
        found += [
            f"{name}/{p.name}" for p in (sandbox / name).iterdir() if p.name not in NOT_LITTER
        ]
    return [f"leaves {name}" for name in found]


def _is_kept(path: tuple[str, ...], job: Job, listed: set[str]) -> bool:
    """Whether a path, from the folder of results, is of whole parts of a scene that is not done."""
    if not job.keeps_parts or path[1:2] not in ((), ("parts",)):
        return False
    owners = {f".{scene}.partial" for scene in job.scenes if f"{scene}.json" not in listed}
    return path[0] in owners and not any(name.startswith(".") for name in path[2:])


def rerun_faults(ground: Ground, job: Job, sandbox: Path, nursery: Nursery) -> list[str]:
    """Run a job again, undisturbed; return what is not as if it had never been disturbed."""
    ended = nursery.run(ground.command(job, sandbox))
    found = [] if ended.status == 0 else [f"ends with {ended.status}: {ended.err.strip()[-500:]}"]
    found += [*broken_sets(sandbox), *litter(sandbox, job), *ended.deeds]
    got, expected = results(sandbox), ground.expected[job.name]
    found += [
        f"{name} is {'not there' if name not in got else 'other than undisturbed'}"
        for name in sorted({*got, *expected})
        if got.get(name) != expected.get(name)
    ]
    return [f"run again: {fault}" for fault in found]
