"""All or nothing: a set of files appears complete, with its record, or not at all.

Files are written in a hidden folder beside their place and renamed when all are there; the record
`NAME.json` comes last and lists every file with size and hash. So a set is complete if and only if
its record is there and agrees with the files; anything else is litter, which the next run clears.
Everything is on the disk, not only on its way there, before the next step is: so after a power cut,
too. What may be cleared is known exactly: before the first rename, the hidden folder gets a list of
the files that are about to come and go, and only what agrees with it in name, size and hash is
removed.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geounet.disk import reserve, to_disk
from geounet.errors import OutputError, ResultError
from geounet.interruption import uninterrupted
from geounet.lock import FILES as LOCK_FILES
from geounet.lock import drop_lock, take_lock

FORMAT = 1
"""Of the record of a set, `NAME.json`."""
SCORES = ".scores.json"
EVALUATION = (SCORES, ".scores.png", ".errors.gpkg")
"""What `evaluate` adds to a set."""

COMING_AND_GOING = ".coming-and-going.json"
TEMPORARY = "temporary"
PARTS = "parts"
"""Folder of what is worth keeping where a set is not finished."""
SPARE_BYTES = 8 << 20
"""Free space below which the disk counts as full: more than GDAL writes at once."""


@dataclass(frozen=True)
class Stage:
    """Where a set of files is written before it appears in its folder."""

    name: str
    """What all files of the set begin with."""
    scratch: Path
    """The hidden folder that holds them until they are complete, on the same file system."""

    def path(self, suffix: str) -> Path:
        """Return where to write the file that will be called `name` + `suffix`."""
        return self.scratch / f"{self.name}{suffix}"

    def temporary(self, filename: str) -> Path:
        """Return a path for a file that is needed on the way only and never appears."""
        folder = self.scratch / TEMPORARY
        folder.mkdir(exist_ok=True)
        return folder / filename

    @property
    def parts(self) -> Path:
        """Folder for what a later run may go on from; to be made by who writes there."""
        return self.scratch / PARTS


@contextmanager
def stage_set(
    folder: Path, name: str, *, overwrite: bool, resume: bool = False
) -> Iterator[tuple[Stage, dict[str, Any]]]:
    """Open a stage for the set `name` in `folder`; on a clean exit the set appears, record last.

    Args:
        folder: Where the files are to be; made if absent.
        name: What the set is called; its record is `NAME.json`.
        overwrite: Whether an existing set may be replaced. Its record goes first, so that a run
            killed in between leaves a set that is visibly incomplete.
        resume: Whether the parts that an earlier run left are kept, and those of this one, too,
            where it does not come to its end.

    Yields:
        The stage, and the record: a dictionary to fill in. Its key `files` is added here.

    Raises:
        OutputError: The set exists, another run is writing it, or it cannot be written.
    """
    kept = (PARTS,) if resume else ()
    with _made(folder), _locked(folder / f".{name}.partial", kept) as scratch:
        _clear_killed(folder, name, scratch)
        _empty(scratch, kept)
        if (there := existing_files(folder, name)) and not overwrite:
            raise OutputError(
                f"{there[0]} exists already. Use --overwrite to replace it, or another --out."
            )
        stage, record = Stage(name, scratch), dict[str, Any]()
        with _readable_errors(scratch):
            reserve(scratch, SPARE_BYTES)  # or hours later
            yield stage, record
            reserve(scratch, SPARE_BYTES)
            for done_with in (TEMPORARY, PARTS):
                shutil.rmtree(scratch / done_with, ignore_errors=True)
            _reveal(folder, stage, record, overwrite=overwrite)


def _reveal(folder: Path, stage: Stage, record: dict[str, Any], *, overwrite: bool) -> None:
    """Let the staged files take their places in `folder`, and the record last."""
    record_path = folder / f"{stage.name}.json"
    files = sorted(p for p in stage.scratch.iterdir() if p.name not in LOCK_FILES)
    coming = {p.name: finished(p) for p in files}
    record["files"] = coming
    draft = _draft(stage.scratch / record_path.name, record)

    _, *replaced = existing_files(folder, stage.name) or [record_path]
    scores = [folder / f"{stage.name}{suffix}" for suffix in EVALUATION]
    if replaced:
        replaced += [path for path in scores if path.is_file()]  # no longer true
    for path in (folder / name for name in coming):
        if path.is_dir() or (path.exists() and path not in replaced and not overwrite):
            raise OutputError(
                f"{path} is in the way, and no record says that it is a result of ours. "
                "Move it, or give another --out."
            )
    going = {p.name: _fingerprint(p) for p in replaced}
    listing = stage.scratch / COMING_AND_GOING
    listing.write_text(json.dumps([coming, going]), encoding="utf-8")
    finished(listing)
    to_disk(stage.scratch)
    with uninterrupted():
        try:
            record_path.unlink(missing_ok=True)
            to_disk(folder)  # that the old set is none any more, before it is none
            for path in replaced:
                path.unlink()
            for file in files:
                file.replace(folder / file.name)
            to_disk(folder)
            draft.replace(record_path)
            to_disk(folder)
        except BaseException:
            _clear_killed(folder, stage.name, stage.scratch)
            raise


def _draft(path: Path, record: dict[str, Any]) -> Path:
    """Write a record where it is not yet to be seen."""
    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8")
    to_disk(path)
    return path


def _clear_killed(folder: Path, name: str, scratch: Path) -> None:
    """Remove what a run left that ended between the first rename and the record.

    A file of the same name that somebody has put there since is not touched: it has other bytes.
    """
    if (folder / f"{name}.json").exists():
        return  # the run ended before the first rename, or after the last
    try:
        listings = json.loads((scratch / COMING_AND_GOING).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return  # no list, or one cut short: it is written before anything moves
    for listing in listings:
        for filename, fingerprint in listing.items():
            path = folder / filename
            if path.is_file() and _fingerprint(path) == fingerprint:
                path.unlink()


@contextmanager
def stage_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path; on a clean exit that file takes the place of `path`, else it is gone.

    Raises:
        OutputError: Another run is writing it, or it cannot be written.
    """
    with (
        _made(path.parent),
        _locked(path.with_name(f".{path.name}.partial")) as scratch,
        _readable_errors(scratch),
    ):
        _empty(scratch)
        draft = scratch / path.name
        yield draft
        reserve(scratch, SPARE_BYTES)
        to_disk(draft)
        draft.replace(path)
        to_disk(path.parent)


@contextmanager
def stage_folder(folder: Path, *, overwrite: bool, mark: str) -> Iterator[Path]:
    """Yield a hidden folder beside `folder`; on a clean exit it takes that name, else it is gone.

    Args:
        folder: Where the files are to be.
        overwrite: Whether an existing folder may be replaced, if it is one of ours.
        mark: The file that a folder of this kind holds. A folder without it is never deleted.

    Raises:
        OutputError: The folder exists, another run is writing it, or it cannot be written.
    """
    folder = folder.resolve()  # `--out .` has no name of its own
    with _readable_errors(folder):
        occupied = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    if occupied and not overwrite:
        raise OutputError(
            f"{folder} exists already. Use --overwrite to replace it, or another --out."
        )
    if occupied and not (folder / mark).is_file():
        raise OutputError(
            f"{folder} holds other files than ours (no {mark}), so --overwrite does not touch it. "
            "Give another --out."
        )
    with (
        _made(folder.parent),
        _locked(folder.with_name(f".{folder.name}.partial")) as scratch,
        _readable_errors(scratch),
    ):
        _empty(scratch)
        draft = scratch / "new"
        draft.mkdir()
        yield draft
        reserve(scratch, SPARE_BYTES)
        with uninterrupted():
            if folder.is_dir():  # moved away whole: killed halfway, no folder of that name is left
                folder.replace(scratch / "old")
            draft.replace(folder)
            to_disk(folder.parent)


@contextmanager
def only_run(folder: Path, name: str) -> Iterator[None]:
    """Keep other runs that do the same out of `folder`, which is made if absent.

    Raises:
        OutputError: One is at it, or the folder cannot be written.
    """
    with _made(folder), _locked(folder / f".{name}.partial"):
        yield


def clear_killed_run(folder: Path, name: str) -> None:
    """Remove what a killed run left, wherever it was; a set that is whole stays.

    Raises:
        OutputError: It is not killed.
    """
    scratch = folder / f".{name}.partial"
    if scratch.exists():
        with only_run(folder, name):
            _clear_killed(folder, name, scratch)


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Make a folder; where the work in it fails, remove it again if it was not there before."""
    with uninterrupted() as interruptible:
        with _readable_errors(folder):
            made = [p for p in (folder, *folder.parents) if not p.exists()]
            _make(folder)
        try:
            with interruptible():
                yield
        except BaseException:
            for path in made:
                with suppress(OSError):  # no longer empty: another run's
                    path.rmdir()
            raise


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileNotFoundError as error:  # what /proc says to any new folder
        raise OutputError(
            f"Cannot write {_shown(folder)}: no folder can be made there; give another --out."
        ) from error


@contextmanager
def _locked(scratch: Path, kept: Sequence[str] = ()) -> Iterator[Path]:
    """Make a scratch folder that no other run writes in; remove it in the end, but what is kept.

    What a killed run left in it is still there.
    """
    with uninterrupted() as interruptible:
        with _readable_errors(scratch):
            _make(scratch)
            lock = take_lock(scratch)
        try:
            with interruptible():
                yield scratch
        finally:
            with suppress(OSError):
                _empty(scratch, kept)
            drop_lock(scratch, lock)


def _empty(scratch: Path, kept: Sequence[str] = ()) -> None:
    """Remove everything from a scratch folder but its lock, and what is kept."""
    for path in scratch.iterdir():
        if path.name not in LOCK_FILES and path.name not in kept:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


ADVICE = {
    errno.ENOSPC: "the disk is full; free some space or give another --out",
    errno.EDQUOT: "the disk quota is used up; free some space or give another --out",
    errno.EFBIG: "a file is larger than is allowed here (see ulimit -f); give another --out",
    errno.EACCES: "the folder may not be written to; give another --out",
    errno.EPERM: "the folder may not be written to; give another --out",
    errno.EROFS: "the file system is read-only; give another --out",
    errno.ENOTDIR: "a part of the path is a file, not a folder; give another --out",
    errno.EEXIST: "a file of that name is in the way; give another --out",
    errno.EISDIR: "a folder of that name is in the way; give another --out",
    errno.ENAMETOOLONG: "the name is too long for the file system; give another --out",
    errno.ENOLCK: "the file system cannot lock files; give another --out",
    errno.EXDEV: "it is where a disk is mounted; give a folder inside it as --out",
    errno.EBUSY: "it is where a disk is mounted; give a folder inside it as --out",
    errno.EIO: "the disk reports an error",
}


@contextmanager
def _readable_errors(place: Path) -> Iterator[None]:
    """Turn errors about writing in `place` into one line that says what to do.

    Libraries say "write failed" in words of their own when the disk is full, so any error of the
    system or of a library counts as that when there is no space left.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        known = error.errno if isinstance(error, OSError) and error.errno in ADVICE else None
        if known is None and place.is_dir():
            try:
                reserve(place, SPARE_BYTES)
            except OSError as full:
                known = full.errno if full.errno in ADVICE else None
        elsewhere = getattr(error, "filename", None)
        if known is None or (elsewhere is not None and not _within(elsewhere, place)):
            raise
        advice = ADVICE[known]
        if isinstance(error, OSError) and error.strerror not in (None, os.strerror(known)):
            advice = advice.replace(";", f" ({error.strerror});", 1)  # how much is needed
        raise OutputError(f"Cannot write {_shown(place)}: {advice}.") from error


def _shown(place: Path) -> Path:
    """Return a place as people know it: what lies in a hidden folder is written beside it."""
    return place.parent if place.name.endswith(".partial") else place


def _within(filename: str | bytes | int, place: Path) -> bool:
    """Whether a path that an error names is `place`, in it, or on the way to it."""
    if isinstance(filename, int):
        return True
    path = Path(os.fsdecode(filename)).resolve()
    return path.is_relative_to(place.resolve()) or place.resolve().is_relative_to(path)


def existing_files(folder: Path, name: str) -> list[Path]:
    """Return the record of the set `name` and the files it lists that are there; none without it.

    Raises:
        OutputError: `NAME.json` is there, but is no record of ours.
    """
    record_path = folder / f"{name}.json"
    if not record_path.exists():
        return []
    try:
        listed = sorted(json.loads(record_path.read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        raise OutputError(
            f"{record_path} is in the way: it is no record of a result of ours, so it is not "
            "touched. Move it, or give another --out."
        ) from None
    return [record_path, *(p for f in listed if (p := folder / Path(f).name).is_file())]


@contextmanager
def add_to_set(record_path: Path) -> Iterator[Stage]:
    """Open a stage for files that join a finished set, or replace what joined it before.

    On a clean exit they take their places, and then a record that lists them too takes that of the
    old one. A run killed in between leaves files that the record does not list, or has other hashes
    of; the set itself is as it was.

    Args:
        record_path: `NAME.json` of the set.

    Raises:
        ResultError: It is no record.
        OutputError: Another run is writing the set, or it cannot be written.
    """
    folder, name = record_path.parent, record_path.stem
    with _made(folder), _locked(folder / f".{name}.partial") as scratch:
        record = read_record(record_path)
        _empty(scratch)
        stage = Stage(name, scratch)
        with _readable_errors(scratch):
            yield stage
            reserve(scratch, SPARE_BYTES)
            shutil.rmtree(scratch / TEMPORARY, ignore_errors=True)
            files = sorted(p for p in scratch.iterdir() if p.name not in LOCK_FILES)
            listed = record["files"] | {p.name: finished(p) for p in files}
            record["files"] = dict(sorted(listed.items()))
            draft = _draft(scratch / record_path.name, record)
            with uninterrupted():
                for path in files:
                    path.replace(folder / path.name)
                to_disk(folder)
                draft.replace(record_path)
                to_disk(folder)


COMMANDS = ("predict", "baseline", "coastline")
"""Those that make results: a record, and what lies beside it."""


def list_records(folder: Path) -> list[Path]:
    """Return the records of results in a folder, in the order of their names."""

    def is_record(path: Path) -> bool:
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return isinstance(record, dict) and record.get("command") in COMMANDS

    return sorted(path for path in folder.glob("*.json") if is_record(path))


def find_record(folder: Path, name: str | None) -> Path:
    """Return the record of the one result in a folder, or of the one called `name`.

    Raises:
        ResultError: There is none, or there are several.
    """
    if not folder.exists():
        raise ResultError(f"{folder} is not there. Check the path.")
    records = list_records(folder)
    if name is not None:
        records = [record for record in records if record.stem == name]
    if len(records) == 1:
        return records[0]
    there = ", ".join(sorted(record.stem for record in list_records(folder)))
    if records:
        raise ResultError(f"{folder} holds several results: {there}. Say which with --name.")
    called = f" called {name}" if name is not None else ""
    hint = f"it has {there}." if there else "`geounet predict` makes them."
    raise ResultError(f"{folder} holds no result{called}: no NAME.json of one; {hint}")


def read_record(path: Path) -> dict[str, Any]:
    """Return the record of a set of results, of a version that this geounet knows.

    Raises:
        ResultError: It is missing, no record of ours, or of a newer format.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ResultError(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError:
        record = None
    if not isinstance(record, dict) or not {"format", "files", "command"} <= record.keys():
        raise ResultError(
            f"{path} is no record of a result. Give the NAME.json that `geounet predict` or "
            "`geounet baseline` wrote."
        )
    if record["format"] != FORMAT:
        raise ResultError(
            f"{path} has format {record['format']}; this geounet reads {FORMAT}. Update geounet, "
            "or make the result again."
        )
    return record


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fingerprint(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": sha256_of(path)}


def finished(path: Path) -> dict[str, Any]:
    """Have a finished file on the disk, and return its fingerprint."""
    to_disk(path)
    return _fingerprint(path)
