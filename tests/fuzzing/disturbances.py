"""What befalls sound commands: signals, full disks, sources that fail; and how that must end."""

import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.random import Generator
from serving import Fault, serving

from fuzzing.cases import PREDICT
from fuzzing.children import Blow, Ended, Nursery
from fuzzing.jobs import OUT, Ground, Job, broken_sets, litter, rerun_faults, results
from fuzzing.judge import faults as faults_of_end

MIB = 2**20
REMOTE = (
    ("no_proxy", "127.0.0.1"), ("NO_PROXY", "127.0.0.1"), ("GDAL_HTTP_MAX_RETRY", "1"),
    ("GDAL_HTTP_RETRY_DELAY", "0.05"), ("GDAL_HTTP_LOW_SPEED_TIME", "1"),
    ("GDAL_HTTP_CONNECTTIMEOUT", "2"),
)  # fmt: skip
"""So that what stalls is given up before people would."""


_TOLD = re.compile(r"(?:\S*/)?[abc]\.tif: |scene \d of \d: |http://")
"""How lines begin that say what goes on."""


@dataclass(frozen=True)
class Disturbed:
    """How a disturbed job ended, and what is wrong with that and with running it again."""

    what: str
    how: str
    """In a word or two, to be counted."""
    faults: list[str]


Disturbance = Callable[[Ground, Nursery, Generator, Path], Disturbed]


def kill(ground: Ground, nursery: Nursery, rng: Generator, sandbox: Path) -> Disturbed:
    """Send a signal at any moment, by the clock or between two steps that write."""
    job, number = ground.draw(rng), rng.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
    sent, usual = signal.Signals(int(number)), ground.ended[job.name]
    if rng.random() < 0.5:
        blow = Blow(int(sent), after=float(rng.uniform(0, 1.1 * usual.seconds)))
        when = f"after {blow.after:.3f} s"
    else:
        blow = Blow(int(sent), step=int(rng.integers(1, usual.steps + 1)))
        when = f"before step {blow.step} of {usual.steps}"
    ground.furnish(job, sandbox)
    ended = nursery.run(ground.command(job, sandbox, blow))
    found = [
        *broken_sets(sandbox),
        *ended.deeds,
        *_faults_of_stop(ground, job, sandbox, ended, sent),
    ]
    found += rerun_faults(ground, job, sandbox, nursery)
    how = "done before" if ended.status == 0 else sent.name
    return Disturbed(f"{job.name}: {sent.name} {when}", how, found)


def _faults_of_stop(
    ground: Ground, job: Job, sandbox: Path, ended: Ended, sent: signal.Signals
) -> Iterator[str]:
    if ended.late:
        yield f"hangs: not done after {ended.seconds:.0f} s"
    if ended.status == 0:
        if results(sandbox) != ground.expected[job.name]:
            yield "ends with status 0 and other results than undisturbed"
        return
    if sent == signal.SIGKILL:
        if ended.status != -sent:
            yield f"ends with status {ended.status}: {ended.err[-500:]}"
        return
    yield from litter(sandbox, job)
    if ended.status == -sent and not ended.err:
        return  # before the command was in charge
    if ended.status != 128 + sent:
        yield f"ends with status {ended.status}, not {128 + sent}"
    lines = ended.err.splitlines()
    if lines[-1:] != ["stopped"] or re.search("^error: |Traceback|Exception", ended.err, re.M):
        yield f"says: {ended.err[-800:]}"


@contextmanager
def small_disk(place: Path, size: int, *, files: int = 0) -> Iterator[None]:
    """Mount a file system of a few bytes, or of a few files.

    Raises:
        OSError: That is not allowed here.
    """
    place.mkdir(exist_ok=True)
    limit = f"size={size}" + (f",nr_inodes={files}" if files else "")
    line = ["mount", "-t", "tmpfs", "-o", limit, "tmpfs", str(place)]
    if subprocess.run(line, capture_output=True, check=False).returncode:
        raise PermissionError("no file system can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)


def can_mount(folder: Path) -> bool:
    """Return whether a small disk can be had."""
    try:
        with small_disk(folder, MIB):
            return True
    except OSError:
        return False


def fill(ground: Ground, nursery: Nursery, rng: Generator, sandbox: Path) -> Disturbed:
    """Run a job on a disk that becomes full on the way, or nearly so."""
    job = replace(ground.draw(rng), old=())
    ground.furnish(job, sandbox)
    out, files = sandbox / "work" / OUT, int(rng.integers(3, 30)) if rng.random() < 0.15 else 0
    # With 8 MiB left a run holds that there is room; more than 4 MiB none of these needs.
    free = int(rng.uniform(0, 4 * MIB) if rng.random() < 0.7 else rng.uniform(8 * MIB, 12 * MIB))
    with small_disk(out, 64 * MIB, files=files):
        filler = out / "filler"
        if not files:
            with filler.open("wb") as file:
                for _ in range((64 * MIB - free) // MIB):
                    file.write(bytes(MIB))
                file.write(bytes((64 * MIB - free) % MIB))
        ended = nursery.run(ground.command(job, sandbox))
        filler.unlink(missing_ok=True)
        found = _faults_of_refusal(job, sandbox, ended, r"Cannot write .*: the disk is full")
        if not files:
            found += rerun_faults(ground, job, sandbox, nursery)
    what = f"{files} files" if files else f"{free / MIB:.2f} MiB free"
    return Disturbed(f"{job.name}: {what}", f"status {ended.status}", found)


def limit_files(ground: Ground, nursery: Nursery, rng: Generator, sandbox: Path) -> Disturbed:
    """Run a job that may write files of a certain size only: where no disk can be mounted."""
    job = replace(ground.draw(rng), old=())
    ground.furnish(job, sandbox)
    most = float(rng.uniform(0, 10))
    ended = nursery.run(ground.command(job, sandbox, limits=replace(PREDICT, file_mb=most)))
    found = _faults_of_refusal(job, sandbox, ended, r"Cannot write .*: (the disk|a file)")
    found += rerun_faults(ground, job, sandbox, nursery)
    return Disturbed(f"{job.name}: files of {most:.2f} MiB", f"status {ended.status}", found)


def _faults_of_refusal(job: Job, sandbox: Path, ended: Ended, words: str) -> list[str]:
    """Say what is wrong with a run that could not be done: one line that says why, no litter."""
    found = [*broken_sets(sandbox), *litter(sandbox, job)]
    # Progress is told by name; of several scenes the first results are shown although one fails.
    told = [line for line in ended.err.splitlines() if not _TOLD.match(line)]
    if len(job.scenes) == 1:
        found += faults_of_end(replace(ended, err="\n".join(told)))
    if ended.status not in {0, 1}:
        found.append(f"ends with status {ended.status}")
    if ended.status == 1 and not any(re.search(words, line) for line in told):
        found.append(f"does not say {words!r}: {ended.err[-800:]}")
    return found


def spoil_source(ground: Ground, nursery: Nursery, rng: Generator, sandbox: Path) -> Disturbed:
    """Have a scene damaged before or during a run, or a server fail; the others are sound."""
    if rng.random() < 0.3:
        return _spoil_server(ground, nursery, rng, sandbox)
    job = ground.draw(rng)
    ground.furnish(job, sandbox)
    scene = job.scenes[rng.integers(len(job.scenes))]
    path = sandbox / "work" / f"{scene}.tif"
    blow, what = _damage(path, rng, ground.ended[job.name].steps)
    ended = nursery.run(ground.command(job, sandbox, blow))
    ours = tuple(deed for deed in ended.deeds if not deed.endswith(str(path)))
    found = _faults_of_refusal(job, sandbox, replace(ended, deeds=ours), re.escape(path.name))
    got, expected = results(sandbox), ground.expected[job.name]
    if job.name == "batch":
        others = [n for n in expected if not n.startswith(scene)]
        found += [
            f"{n} is another's, and not as usual" for n in others if got.get(n) != expected[n]
        ]
    shutil.copy2(ground.folder / path.name, path)
    found += rerun_faults(ground, job, sandbox, nursery)
    return Disturbed(f"{job.name}: {path.name} {what}", f"status {ended.status}", found)


def _damage(path: Path, rng: Generator, steps: int) -> tuple[Blow | None, str]:
    content, way = bytearray(path.read_bytes()), int(rng.integers(4))
    if way == 0:
        length = int(rng.integers(len(content)))
        path.write_bytes(content[:length])
        return None, f"cut to {length} of {len(content)} bytes"
    if way == 1:
        where = rng.integers(len(content), size=rng.integers(1, 64))
        flipped = np.frombuffer(bytes(content), np.uint8).copy()
        flipped[where] ^= rng.integers(1, 256, size=where.size, dtype=np.uint8)
        path.write_bytes(flipped.tobytes())
        return None, f"with {where.size} bytes spoilt"
    step = int(rng.integers(1, steps + 1))
    if way == 2:
        return Blow(step=step, file=str(path)), f"gone before step {step}"
    return Blow(step=step, file=str(path), cut=True), f"cut before step {step}"


def _spoil_server(ground: Ground, nursery: Nursery, rng: Generator, sandbox: Path) -> Disturbed:
    """Read a scene from a server that fails for a while, or for good."""
    kind = ("refuse", "stall", "silence", "die")[rng.integers(4)]
    fault = Fault(
        kind,
        ending=".tif",
        first=int(rng.integers(0, 6)),
        times=int(rng.choice([1, 2, 1000])),
        after=int(rng.integers(0, 20_000)),
        status=int(rng.choice([404, 429, 500, 503])),
    )
    sound = ground.jobs["first"]
    ground.furnish(sound, sandbox)
    with serving(ground.folder, fault) as server:
        address = f"{server.url}/a.tif"
        job = replace(
            sound, arguments=tuple(address if a == "a.tif" else a for a in sound.arguments)
        )
        ended = nursery.run(ground.command(job, sandbox, variables=REMOTE))
    found = _faults_of_refusal(job, sandbox, ended, re.escape(address))
    if ended.status == 0:
        got, expected = results(sandbox), ground.expected["first"]
        rasters = [name for name in expected if name.endswith(".tif")]
        found += [f"{n} is not as from a file" for n in rasters if got.get(n) != expected[n]]
    found += rerun_faults(ground, sound, sandbox, nursery)
    what = f"{fault.kind} {fault.status} at {fault.first}, {fault.times} times"
    return Disturbed(f"server: {what}", f"status {ended.status}", found)
