"""All or nothing: a set of files appears complete, with its record, or not at all.

Files are written in a hidden folder beside their place and renamed when all are there; the record
`NAME.json` comes last and lists every file with size and hash. So a set is complete if and only if
its record is there and agrees with the files; anything else is litter, which the next run clears.
"""

import errno
import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from geounet.errors import OutputError


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
        folder = self.scratch / "temporary"
        folder.mkdir(exist_ok=True)
        return folder / filename


@contextmanager
def stage_set(
    folder: Path, name: str, *, overwrite: bool
) -> Iterator[tuple[Stage, dict[str, Any]]]:
    """Open a stage for the set `name` in `folder`; on a clean exit the set appears, record last.

    Args:
        folder: Where the files are to be; made if absent.
        name: What the set is called; its record is `NAME.json`.
        overwrite: Whether an existing set may be replaced. Its record goes first, so that a run
            killed in between leaves a set that is visibly incomplete.

    Yields:
        The stage, and the record: a dictionary to fill in. Its key `files` is added here.

    Raises:
        OutputError: The set exists, another run is writing it, or it cannot be written.
    """
    record_path = folder / f"{name}.json"
    with _readable_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if not overwrite and (there := existing_files(folder, name)):
        raise OutputError(
            f"{there[0]} exists already. Use --overwrite to replace it, or another --out."
        )
    with _locked_scratch(folder / f".{name}.partial") as scratch:
        stage, record = Stage(name, scratch), dict[str, Any]()
        with _readable_errors(folder):
            yield stage, record
            shutil.rmtree(scratch / "temporary", ignore_errors=True)
            files = sorted(p for p in scratch.iterdir() if p.name != LOCK)
            record["files"] = {
                p.name: {"bytes": p.stat().st_size, "sha256": sha256_of(p)} for p in files
            }
            draft = scratch / record_path.name
            draft.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
            record_path.unlink(missing_ok=True)
            for stale in existing_files(folder, name):
                stale.unlink()
            for file in files:
                file.replace(folder / file.name)
            draft.replace(record_path)


@contextmanager
def stage_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on a clean exit it takes that name, else it is gone."""
    draft = path.with_name(f".{path.name}.partial")
    with _readable_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield draft
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)


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
    with _readable_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
    scratch_path = folder.with_name(f".{folder.name}.partial")
    with _locked_scratch(scratch_path) as scratch, _readable_errors(folder):
        yield scratch
        if folder.is_dir():
            shutil.rmtree(folder)
        (scratch / LOCK).unlink()
        scratch.replace(folder)


LOCK = ".lock"


@contextmanager
def _locked_scratch(scratch: Path) -> Iterator[Path]:
    """Make an empty scratch folder that no other run writes in; remove it at the end."""
    with _readable_errors(scratch):
        scratch.mkdir(exist_ok=True)
        lock = (scratch / LOCK).open("w")
    try:
        _lock(lock, scratch)
        for litter in scratch.iterdir():  # of a run that was killed
            if litter.name != LOCK:
                shutil.rmtree(litter) if litter.is_dir() else litter.unlink()
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    finally:
        lock.close()


def _lock(file: TextIO, scratch: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OutputError(
            f"Another run is writing {scratch.name.removeprefix('.').removesuffix('.partial')} in "
            f"{scratch.parent}. Wait for it, or give another --out."
        ) from None


@contextmanager
def _readable_errors(place: Path) -> Iterator[None]:
    """Turn the system's errors about writing into one line that says what to do."""
    advice = {
        errno.ENOSPC: "the disk is full; free some space or give another --out",
        errno.EDQUOT: "the disk quota is used up; free some space or give another --out",
        errno.EACCES: "the folder may not be written to; give another --out",
        errno.EPERM: "the folder may not be written to; give another --out",
        errno.EROFS: "the file system is read-only; give another --out",
        errno.ENOTDIR: "a part of the path is a file, not a folder; give another --out",
        errno.EEXIST: "a file of that name is in the way; give another --out",
    }
    try:
        yield
    except OSError as error:
        if error.errno not in advice:
            raise
        raise OutputError(f"Cannot write {place}: {advice[error.errno]}.") from error


def existing_files(folder: Path, name: str) -> list[Path]:
    """Return the files in `folder` that belong to the set `name`: those its record lists, or would.

    Without a record (a run killed between the renames) the files are known by their names.
    """
    record_path = folder / f"{name}.json"
    if record_path.is_file():
        try:
            listed = json.loads(record_path.read_text())["files"]
        except (ValueError, KeyError, TypeError):
            listed = {}
        return [record_path, *(p for f in sorted(listed) if (p := folder / Path(f).name).is_file())]
    return []


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
