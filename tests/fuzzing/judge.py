"""What is to be said of how a command ended on malformed input: nothing, or what is wrong."""

import json
import math
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from fuzzing.children import Ended

SECRET = "canary-7f3a91"
"""In the files around a case that nothing in it may show."""
LONGEST = 2000
"""Characters of the one line."""
MOST_WARNINGS = 20
PEAK_MB = 2048
NOT_OURS = "Exception ignored in: 'rasterio._env.log_error'"
"""What Python says, with a traceback, where GDAL's message is no UTF-8; rasterio 1.4 cannot."""
KINDS = {"scene", "items", "raster", "chips", "model", "result", "results", "scores", "part"}

_JUNK = re.compile(
    r"<(?:class|[\w.]+ object at 0x)|\bNoneType\b|object has no attribute|not subscriptable"
    r"|unhashable|list index out of range|string indices must|must be real number"
    r"|could not convert string|invalid literal for|unsupported operand|takes \d+ positional"
    r"|unexpected keyword|not iterable|unpack \(expected|not enough values|argument of type"
    r"|recursion depth|(?:Key|Type|Value|Attribute|Index|Recursion|Overflow|Memory)Error"
    r"|codec can't|set_int_max_str_digits|Element '|Element \{|\[Errno"
)
"""Words of Python's that tell a user nothing."""


def faults(ended: Ended, *, writes: list[str] = ()) -> list[str]:  # type: ignore[assignment]
    """Return what is wrong with the end of a command, empty if nothing.

    Args:
        ended: How it ended.
        writes: What is different around it, as `changes` tells.
    """
    found = list[str]()
    if NOT_OURS in ended.err:
        told = [
            line for line in ended.err.splitlines() if line.startswith(("error: ", "warning: "))
        ]
        ended = replace(ended, err="\n".join(told))
    if ended.late:
        return [f"hangs: not done after {ended.seconds:.0f} s"]
    if ended.status < 0:
        return [f"ended by signal {-ended.status}"]
    if ended.status not in {0, 1, 2}:
        found.append(f"ends with status {ended.status}")
    if "Traceback (most recent call last)" in ended.err or "Exception ignored" in ended.err:
        found.append(f"has a traceback: {ended.err.strip().splitlines()[-1][:300]}")
    else:
        found += _faults_of_words(ended)
    if ended.peak_mb > PEAK_MB:
        found.append(f"takes {ended.peak_mb:.0f} MiB")
    if SECRET in ended.out + ended.err:
        found.append("shows what is in files that are none of its own")
    found += [f"writes: {what}" for what in writes]
    found += [f"does: {deed}" for deed in ended.deeds]
    return found


def _faults_of_words(ended: Ended) -> Iterator[str]:
    lines = ended.err.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    if ended.status == 0:
        yield from _faults_of_facts(ended.out)
        if errors:
            yield f"ends with status 0 and an error: {errors[0][:200]}"
    if ended.status == 1:
        if len(errors) != 1 or lines[-1] != errors[0]:
            yield f"has {len(errors)} error lines, and ends in: {(lines or ['nothing'])[-1][:200]}"
        if ended.out:
            yield f"shows results besides its error: {ended.out[:100]}"
    if ended.status == 2 and not any("Usage:" in line for line in lines):
        yield f"does not say how it is used: {ended.err[:200]}"
    if ended.status != 2:
        allowed = ("error: ", "warning: ")
        told = [line for line in lines if not line.endswith("; read again")]
        if strange := [line for line in told if not line.startswith(allowed)]:
            yield f"says besides: {strange[0][:200]!r}"
        if len(lines) > MOST_WARNINGS:
            yield f"says {len(lines)} lines"
    for line in lines:
        if len(line) > LONGEST:
            yield f"has a line of {len(line)} characters: {line[:120]}"
        if not line.isprintable():
            yield f"has characters that cannot be printed: {line[:200]!r}"
        if junk := _JUNK.search(line):
            yield f"speaks Python ({junk[0]}): {line[:300]}"


def _faults_of_facts(out: str) -> Iterator[str]:
    """Say what is wrong with what `info --json` shows of a malformed thing."""
    if not out.startswith("{\n"):  # a table, or of another command
        if strange := [line for line in out.splitlines() if not line.isprintable()]:
            yield f"shows characters that cannot be printed: {strange[0][:200]!r}"
        return
    try:
        facts = json.loads(out, parse_constant=_no_number)
    except ValueError as error:
        yield f"shows no sound JSON: {error}"
        return
    if facts.get("kind") not in KINDS:
        yield f"is of kind {facts.get('kind')}"
    if facts.get("kind") == "scene":
        yield from _faults_of_scene(facts)


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number of JSON's")


def _faults_of_scene(facts: dict[str, Any]) -> Iterator[str]:
    height, width = facts["shape"]
    if not (0 < height < 2**31 and 0 < width < 2**31):
        yield f"has the shape {height} × {width}"
    for band in facts["bands"]:
        for key in ("scale", "offset", "nodata"):
            value = band[key]
            if isinstance(value, float) and not math.isfinite(value):
                yield f"has the {key} {value}"
        if band["scale"] == 0:
            yield "has the scale 0"
    if facts["valid_share"] is not None and not 0 <= facts["valid_share"] <= 1:
        yield f"has the share {facts['valid_share']} of valid pixels"


Listing = dict[str, tuple[int, int, int, str]]
"""Mode, size, time of change, and where a link leads, by path."""


def listing(folder: Path) -> Listing:
    """Return all that lies below a folder, without following links."""
    found: Listing = {}
    for place, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = os.path.join(place, name)  # noqa: PTH118  names that are no text
            told = os.lstat(path)
            is_folder, is_link = stat.S_ISDIR(told.st_mode), stat.S_ISLNK(told.st_mode)
            found[os.path.relpath(path, folder)] = (
                told.st_mode,
                0 if is_folder else told.st_size,
                0 if is_folder else told.st_mtime_ns,  # changes with what is in it, listed too
                str(Path(path).readlink()) if is_link else "",
            )
    return found


def changes(before: Listing, after: Listing, *, may_write: tuple[str, ...] = ()) -> list[str]:
    """Return what differs between two listings, but in folders that may be written in."""
    own = ("tmp", *may_write)
    said = {"out.txt", "err.txt", "deeds.txt", "steps.txt"}
    return [
        f"{path} was {'made' if path not in before else 'changed' if path in after else 'removed'}"
        for path in sorted({*before, *after})
        if before.get(path) != after.get(path)
        and path not in said
        and not any(path == one or path.startswith(f"{one}/") for one in own)
    ]
