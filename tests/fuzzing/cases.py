"""Cases by seed and number: which product is spoilt, where, how, and what is run on it."""

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.random import Generator

from fuzzing.archives import spoil_archive
from fuzzing.children import Command, Ended, Limits, Nursery, spawn
from fuzzing.headers import spoil_jp2, spoil_tiff, write_strange_raster
from fuzzing.judge import SECRET, changes, faults, listing
from fuzzing.nonsense import Spoilt, spoil_bytes, spoil_json, spoil_lines, spoil_xml, spoil_yaml
from fuzzing.products import Sound, write_raster

METADATA = {".xml", ".json", ".gml", ".txt", ".yaml", ".vrt"}
PREDICT = Limits(seconds=60, address_mb=24_576)
"""Torch's libraries alone take gigabytes of addresses."""


@dataclass(frozen=True)
class Case:
    """A malformed product in a sandbox, and the command to try on it."""

    what: str
    """What was done to which product, for people."""
    command: Command
    kind: str
    """Of the product."""


@dataclass(frozen=True)
class Verdict:
    """How a case ended, and what is wrong with that."""

    case: Case
    ended: Ended
    faults: list[str]


@dataclass(frozen=True)
class Bench:
    """What cases are made of."""

    products: Mapping[str, Sound]
    """By name, each in the folder of that name below `folder`."""
    folder: Path
    model: Path | None = None
    """Of a network, for `predict`; without one that is not tried."""
    only: tuple[str, ...] = ()
    """Beginnings of the names of products to try, all if there are none."""
    weights: tuple[float, float, float] = field(default=(0.86, 0.11, 0.03))
    """How often `info`, `baseline` and `predict` are run."""

    def furnish(self, name: str, sandbox: Path) -> Command:
        """Put a sound product into a sandbox; return the command that describes it."""
        sound = self.products[name]
        source, place = self.folder / name / sound.top, sandbox / "work" / sound.top
        if source.is_dir():
            shutil.copytree(source, place)
        else:
            shutil.copy(source, place)
        return Command(("info", sound.give, "--json"), sandbox)


def make_case(bench: Bench, seed: int, number: int, sandbox: Path) -> Case:
    """Build the case of that number; the same ones always make the same."""
    rng = np.random.default_rng([seed, number])
    make_sandbox(sandbox)
    names = [n for n in bench.products if not bench.only or n.startswith(bench.only)]
    name = names[rng.integers(len(names))]
    bench.furnish(name, sandbox)
    what, give = _spoil(bench, name, sandbox / "work", rng, sandbox / "outside")
    arguments, limits, places = _command(bench, str(give), rng)
    return Case(
        f"{name}: {what}",
        Command(arguments, sandbox, limits=limits, may_write=places),
        name,
    )


def try_case(case: Case, nursery: Nursery | None = None) -> Verdict:
    """Run a case, in a process started from nothing where there is no nursery, and judge it."""
    sandbox = case.command.sandbox
    before = listing(sandbox)
    ended = nursery.run(case.command) if nursery else spawn(case.command)
    # What failed leaves nothing, not even where it might have written.
    places = case.command.may_write if ended.status == 0 else ()
    writes = changes(before, listing(sandbox), may_write=places)
    return Verdict(case, ended, faults(ended, writes=writes))


def make_sandbox(sandbox: Path) -> Path:
    """Make a sandbox, with things around the place of work that nobody may see or change."""
    for name in ("work", "home", "tmp", "outside"):
        (sandbox / name).mkdir(parents=True)
    (sandbox / "outside" / "secret.txt").write_text(SECRET)
    (sandbox / "outside" / "secret.dtd").write_text(f'<!ENTITY a11 "{SECRET}">')
    write_raster(sandbox / "outside" / "secret.tif", names=(f"B03 {SECRET}",))
    write_raster(sandbox / "outside" / "plain.tif")
    return sandbox


def _command(
    bench: Bench, give: str, rng: Generator
) -> tuple[tuple[str, ...], Limits, tuple[str, ...]]:
    draw = rng.random()
    info, baseline, _ = bench.weights
    if draw < info:
        # A table for people has ways of its own to stumble over what a file says.
        shown = () if rng.random() < 0.3 else ("--json",)
        return ("info", give, *shown), Limits(), ()
    out = ("--out", "out")
    if draw < info + baseline or bench.model is None:
        return (
            ("baseline", give, "--index", "ndwi", "--threshold", "0", *out),
            Limits(),
            ("work/out",),
        )
    return ("predict", give, "--model", str(bench.model), *out), PREDICT, ("work/out",)


def _spoil(bench: Bench, name: str, work: Path, rng: Generator, outside: Path) -> tuple[str, str]:
    """Spoil one file of a product; return what was done, and what the user gives then."""
    sound = bench.products[name]
    top = work / sound.top
    packed = re.search(r"\.(zip|tar\.gz|tar)$", sound.top)
    if packed and not name.startswith("real"):
        inner = bench.folder / name.removesuffix(f"-{packed[1]}")
        spoilt = spoil_archive(inner, packed[1], rng, outside)
        top.write_bytes(spoilt.content)
        return spoilt.what, sound.give
    files = sorted(p for p in (top.rglob("*") if top.is_dir() else [top]) if p.is_file())
    if top.is_dir() and rng.random() < 0.06:
        return _spoil_tree(top, files, rng, outside), sound.give
    texts = [p for p in files if p.suffix.lower() in METADATA]
    rasters = [p for p in files if p not in texts]
    # Metadata is where readers differ from each other: most often it.
    pool = texts if texts and (not rasters or rng.random() < 0.8) else rasters
    chosen = pool[rng.integers(len(pool))]
    if chosen in rasters and rng.random() < 0.25:
        return f"{chosen.name}: {write_strange_raster(chosen, rng)}", sound.give
    spoilt = _spoil_content(chosen, rng)
    chosen.write_bytes(spoilt.content.replace(b"{outside}", str(outside).encode()))
    give = sound.give
    if chosen.suffix in {".xml", ".json", ".txt"} and rng.random() < 0.25 and "#" not in give:
        give = str(chosen.relative_to(work))
    return f"{chosen.name}: {spoilt.what}", give


def _spoil_content(path: Path, rng: Generator) -> Spoilt:
    content = path.read_bytes()
    ending = path.suffix.lower()
    draw = rng.random()
    if ending in METADATA and draw < 0.12:
        return spoil_bytes(content, rng)
    if ending == ".yaml":
        return spoil_yaml(content, rng)
    if ending in METADATA and (draw < 0.3 or ending == ".txt"):
        return spoil_lines(content, rng)
    if ending in {".xml", ".gml", ".vrt"}:
        return spoil_xml(content, rng)
    if ending == ".json":
        return spoil_json(content, rng)
    return spoil_jp2(content, rng) if content[4:8] == b"jP  " else spoil_tiff(content, rng)


def _spoil_tree(top: Path, files: list[Path], rng: Generator, outside: Path) -> str:
    """Make a folder strange: things gone, empty, links, folders where files are, too deep."""
    chosen = files[rng.integers(len(files))]
    name, way = chosen.relative_to(top).as_posix(), rng.integers(8)
    if way == 0:
        chosen.unlink()
        return f"{name} gone"
    if way == 1:
        chosen.unlink()
        chosen.mkdir()
        return f"{name} is a folder"
    if way == 2:
        chosen.unlink()
        chosen.symlink_to(outside / "plain.tif")  # one's own folders may have links
        return f"{name} is a link that leads out"
    if way == 3:
        (top / "loop").symlink_to(top)
        return "a folder that is a link to the product"
    if way == 4:
        deep = top
        for _ in range(60):
            deep /= "deep"
        deep.mkdir(parents=True)
        shutil.copy(chosen, deep)
        return f"{name} 60 folders deep"
    if way == 5:
        chosen.unlink()
        chosen.symlink_to(chosen.name)
        return f"{name} is a link to itself"
    if way == 6:
        other = files[rng.integers(len(files))]
        shutil.copy(other, chosen.with_name(f"copy of {chosen.name}"))
        return f"{other.name} again as copy of {chosen.name}"
    for file in files:
        file.write_bytes(b"")
    return "all files empty"
