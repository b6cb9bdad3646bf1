"""What an earlier run left of a scene: is it what this one would make?

A result is the same if it was made of the same files, by the same model, with the same settings and
plan, and lies there as it was written. Files are known by name, size and time of change: to hash a
scene would take as long as to read it. Files on the net are known by their address alone.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from geounet.outputs import EVALUATION, sha256_of
from geounet.scene import Scene, is_there, without_query
from geounet.scene.remote import is_remote

_ARCHIVED = re.compile(r"/vsi(?:zip|tar|gzip)/(?:\{(?P<archive>.*)\}|(?P<path>[^{].*))")
_FACTS = ("kind", "sensor", "level", "baseline", "time", "date")
"""Of a scene's description: what is known of it, whichever file said so."""
_MOST_SAID = 3
"""Differences that are named; of more it is said how many there are."""


def describe_inputs(scene: Scene, others: Sequence[str | Path | None]) -> dict[str, Any]:
    """Return, for a record, what a result is made of.

    Args:
        scene: What is predicted.
        others: Files besides, or what may be one; None is none.

    Returns:
        `files` with name, size and time of change of each, the last two not of addresses; `facts`
        that the metadata, or the user, say of the scene; and what was asked of it.
    """
    described = scene.describe()
    bands = [{**band, "resampled": None} for band in described["bands"]]  # not of the file
    found = [_file(path) for path in scene.files()]
    besides = [_file(str(path)) for path in others if path is not None and _is_file(path)]
    files = {json.dumps(file): file for file in (*found, *besides)}  # of an archive just once
    return {
        "files": list(files.values()),
        "facts": {fact: described[fact] for fact in _FACTS} | {"bands": bands},
        "res": scene.wished_res,
        "clouds": asdict(scene.clouds.options),
    }


def _file(path: str) -> dict[str, Any]:
    """Return what a file is known by; of one within an archive, the archive's."""
    there = local_file(path)
    if there is None:
        return {"name": without_query(path)}
    found = there.stat()
    return {"name": there.name, "bytes": found.st_size, "mtime_ns": found.st_mtime_ns}


def local_file(path: str) -> Path | None:
    """Return the file of this computer that GDAL's `path` is in; None where there is none."""
    if is_remote(path):
        return None
    match = _ARCHIVED.match(path)
    own = Path((match["archive"] or match["path"]) if match else path)
    return next((place for place in (own, *own.parents) if _is_file(place)), None)


def _is_file(path: str | Path) -> bool:
    return is_there(str(path)) and Path(path).is_file()


def known_by_address(inputs: Mapping[str, Any]) -> bool:
    """Whether files are among the inputs of which only the address is known."""
    return any("bytes" not in file for file in inputs["files"])


def differences(record: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """Return in which ways a record is not of the run that is expected, for people.

    Args:
        record: Of the earlier run.
        expected: What its keys have to be. Mappings in it are compared key by key, and what else
            the record has does not matter.
    """
    if "inputs" not in record:
        return ["its record does not say which files it was made of"]
    wanted = json.loads(json.dumps(expected))  # as a record has it: tuples become lists
    told = list(_compare(record, wanted))
    if len(told) > _MOST_SAID:
        return [*told[:_MOST_SAID], f"{len(told) - _MOST_SAID} more"]
    return told


def _compare(then: Any, now: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[str]:
    for key, value in now.items():
        was = then.get(key) if isinstance(then, Mapping) else None
        if isinstance(value, Mapping):
            yield from _compare(was, value, (*path, key))
        elif was == value:
            continue
        elif key == "files":
            yield from _changed_files(was, value)
        elif key == "sha256":
            yield f"another model ({str(was)[:12]} there, {value[:12]} here)"
        elif isinstance(was, list | dict) or isinstance(value, list | dict):
            yield f"other {' '.join((*path[-1:], key))}"
        else:
            yield f"{key} {_shown(was)} there, {_shown(value)} here"


def _changed_files(then: Any, now: list[dict[str, Any]]) -> Iterator[str]:
    before = [file for file in then or [] if isinstance(file, dict)]
    changed = [file["name"] for file in now if file not in before]
    gone = [str(file.get("name")) for file in before if file not in now]
    known = {file.get("name") for file in before}
    if changed:
        verb = "has changed since" if changed[0] in known else "was not among its files"
        more = f", and {len(changed) - 1} more" if len(changed) > 1 else ""
        yield f"{changed[0]} {verb}{more}"
    elif gone:
        yield f"it was made of {', '.join(gone[:_MOST_SAID])}, too"
    else:
        yield "its files were in another order"


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)


def damage_of(record_path: Path, record: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the files of a result, by size and hash; None where nothing is.

    All of them are read, as fast as SHA-256 is, about half a gigabyte in a second. What `evaluate`
    added does not count.
    """
    try:
        listed = {f for f, said in record["files"].items() if {"bytes", "sha256"} <= said.keys()}
    except (AttributeError, KeyError, TypeError):
        listed = set()
    if not listed or len(listed) < len(record["files"]) or f"{record_path.stem}.gpkg" not in listed:
        return "its record is damaged"
    counted = {
        name: said for name, said in record["files"].items() if not name.endswith(EVALUATION)
    }
    return damaged_file(record_path.parent, counted)


def damaged_file(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Return which file is not as it was written, by size and hash; None where all are.

    Args:
        folder: Where they are.
        files: Their `bytes` and `sha256`, by name.
    """
    for filename, said in files.items():
        path = folder / Path(filename).name
        if not path.is_file():
            return f"{filename} is missing"
        if path.stat().st_size != said["bytes"] or sha256_of(path) != said["sha256"]:
            return f"{filename} is not as it was written"
    return None
