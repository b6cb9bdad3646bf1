"""Try many malformed inputs, and disturb sound work; keep what goes wrong, and how to repeat it.

Run as `make soak SEED=1 CASES=1000`, or `python -m fuzzing.soak --help` where `tests` is on the
path.
"""

import argparse
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress
from pathlib import Path

import numpy as np

from fuzzing.cases import Bench, make_case, try_case
from fuzzing.children import Nursery
from fuzzing.products import Sound, make_products, real_products

ROOT = Path(__file__).parents[2]
SPAWNED = 50
"""Every so many cases, one runs in a process started from nothing."""


def make_bench(folder: Path, *, data: Path | None, predict: bool, only: Sequence[str]) -> Bench:
    """Make the products that cases are made of, with those of a folder of real ones if given."""
    products = make_products(folder)
    if data is not None:
        products |= real_products(data, folder)
    model = None
    if predict:
        from predicting import DARK, write_model  # imports torch: only when needed

        model = write_model(folder / "model.safetensors", overrides=DARK, names=("B03", "B08"))
        products |= _own_products(folder, products["stack"], model)
    return Bench(products, folder, model, tuple(only))


def _own_products(folder: Path, stack: Sound, model: Path) -> dict[str, Sound]:
    """Make what geounet itself writes and `info` describes."""
    from geounet_cli.main import main as geounet
    from training_chips import write_chips

    scene, result = folder / "stack" / stack.give, folder / "result" / "out"
    with suppress(SystemExit), redirect_stdout(None):
        geounet(["baseline", str(scene), "--index=ndwi", "--threshold=0", "--out", str(result)])
    write_chips(folder / "chips" / "chips", counts={"train": 4, "val": 2, "test": 2})
    (folder / "model").mkdir()
    shutil.copy(model, folder / "model")
    return {
        "result": Sound("out", "out"),
        "chips": Sound("chips", "chips"),
        "model": Sound(model.name, model.name),
    }


def soak(bench: Bench, seed: int, numbers: range, keep: Path) -> Counter[str]:
    """Try cases; return how many ended in which way, `fault` among them."""
    ended, started = Counter[str](), time.monotonic()
    with Nursery() as nursery, tempfile.TemporaryDirectory(prefix="soak-") as scratch:
        for done, number in enumerate(numbers):
            sandbox = Path(scratch) / f"{seed}-{number}"
            case = make_case(bench, seed, number, sandbox)
            verdict = try_case(case, None if number % SPAWNED == SPAWNED - 1 else nursery)
            ended[f"status {verdict.ended.status}"] += 1
            if verdict.faults:
                ended["fault"] += 1
                place = keep / sandbox.name
                arguments = shlex.join(("geounet", *case.command.arguments))
                line = f"cd {shlex.quote(str(place / 'work'))} && {arguments}"
                told = (case.what, *verdict.faults, line)
                _keep(sandbox, place, told, f"--seed {seed} --from {number} --cases 1")
            shutil.rmtree(sandbox)
            _show_progress(done + 1, len(numbers), ended["fault"], started)
    return ended


DISTURBANCES = ("kills", "full", "faults")
"""Signals, disks that become full, sources that fail: as options here, and as `disturb` has it."""


def disturb(kind: str, seed: int, numbers: range, keep: Path) -> Counter[str]:
    """Disturb sound jobs; return how many ended in which way, `fault` among them."""
    from fuzzing import disturbances
    from fuzzing.jobs import MODULES, make_ground

    ended, started = Counter[str](), time.monotonic()
    with Nursery(*MODULES) as nursery, tempfile.TemporaryDirectory(prefix="disturbed-") as folder:
        ground = make_ground(Path(folder), nursery)
        ways = {"kills": disturbances.kill, "faults": disturbances.spoil_source}
        if disturbances.can_mount(Path(folder) / "disk"):
            ways["full"] = disturbances.fill
        else:
            ways["full"] = disturbances.limit_files
            ended["in files of limited size, as no disk can be mounted here"] = len(numbers)
        for done, number in enumerate(numbers):
            sandbox = Path(folder) / f"{kind}-{seed}-{number}"
            rng = np.random.default_rng([seed, DISTURBANCES.index(kind), number])
            verdict = ways[kind](ground, nursery, rng, sandbox)
            ended[verdict.how] += 1
            if verdict.faults:
                ended["fault"] += 1
                how = f"--seed {seed} --from {number} --cases 0 --{kind} 1"
                _keep(sandbox, keep / sandbox.name, (verdict.what, *verdict.faults), how)
            shutil.rmtree(sandbox)
            _show_progress(done + 1, len(numbers), ended["fault"], started)
    return ended


def _keep(sandbox: Path, place: Path, told: Sequence[str], how: str) -> None:
    """Keep a failed case, and say what it was.

    Args:
        sandbox: All there is of it.
        place: Where it is kept.
        told: What it was, and line by line what is wrong.
        how: What repeats it.
    """
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(sandbox, place, symlinks=True, ignore_dangling_symlinks=True)
    told = [told[0], *(f"  {line}" for line in told[1:]), f"  python -m fuzzing.soak {how}"]
    text = "\n".join(told).encode(errors="backslashreplace").decode()
    (place / "case.txt").write_text(f"{text}\n")
    sys.stdout.write(f"\r\033[K{text}\n" if sys.stdout.isatty() else f"{text}\n")
    sys.stdout.flush()


def _show_progress(done: int, total: int, failed: int, started: float) -> None:
    if sys.stdout.isatty():
        rate = done / (time.monotonic() - started)
        left = (total - done) / rate
        sys.stdout.write(
            f"\r\033[K{done} of {total} cases, {failed} failed, {rate:.1f}/s, {left:.0f} s left"
        )
        sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 1 if any case failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--from", type=int, default=0, dest="first", help="number of the first")
    parser.add_argument("--keep", type=Path, default=ROOT / "build" / "soak")
    parser.add_argument("--only", nargs="*", default=(), help="beginnings of products' names")
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("GEOUNET_DATA"),
        help="folder of real scenes, whose metadata are spoilt too (or GEOUNET_DATA)",
    )
    parser.add_argument("--no-predict", action="store_true", help="without torch")
    for kind, what in zip(DISTURBANCES, ("signals", "full disks", "bad sources"), strict=True):
        parser.add_argument(f"--{kind}", type=int, default=0, help=f"how often to try {what}")
    said = parser.parse_args(arguments)
    failed = 0
    for kind in ("cases", *DISTURBANCES):
        if not (count := getattr(said, kind)):
            continue
        numbers, started = range(said.first, said.first + count), time.monotonic()
        if kind == "cases":
            ended = _soak_products(said, numbers)
        else:
            ended = disturb(kind, said.seed, numbers, said.keep)
        wrong = ended.pop("fault", 0)
        failed += wrong
        told = ", ".join(f"{times} {how}" for how, times in sorted(ended.items()))
        took = time.monotonic() - started
        sys.stdout.write(f"\n{count} {kind} of seed {said.seed} in {took:.0f} s: {told}; ")
        sys.stdout.write(f"{wrong} failed" + (f", kept in {said.keep}\n" if wrong else "\n"))
        sys.stdout.flush()
    return 1 if failed else 0


def _soak_products(said: argparse.Namespace, numbers: range) -> Counter[str]:
    with tempfile.TemporaryDirectory(prefix="products-") as folder:
        bench = make_bench(
            Path(folder), data=said.data, predict=not said.no_predict, only=said.only
        )
        return soak(bench, said.seed, numbers, said.keep)


if __name__ == "__main__":
    sys.exit(main())
