"""Which files a command made, and what QGIS shows of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geounet_qgis.options import Command, Kind, Output

_RECORDS = (".scores.json", ".json")


@dataclass(frozen=True)
class Result:
    """Files that belong together: of one scene, of one evaluation, or a chip folder."""

    name: str
    files: tuple[Path, ...]
    record: dict[str, Any]
    """What the JSON among them says; empty where there is none."""

    def source(self, output: Output) -> str | None:
        """Return where QGIS finds an output; None where this result has none."""
        file = next((f for f in self.files if f.name.endswith(output.ending)), None)
        if file is None or (output.when and not self._look_up(output.when)):
            return None
        return f"{file}|layername={output.layer}" if output.layer else str(file)

    def values(self, command: Command) -> dict[str, object]:
        """Return what an algorithm gives back: sources by output, and numbers of the record."""
        found: dict[str, object] = {}
        for output in command.outputs:
            if (source := self.source(output)) is not None:
                found[output.name] = source
        for number in command.numbers:
            if (value := self._look_up(number.keys)) is not None:
                found[number.name] = value
        return found

    def _look_up(self, keys: tuple[str, ...]) -> Any:
        """Return what the record has under keys, one inside the other; None where it ends."""
        value: Any = self.record
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def layers(self, command: Command) -> list[tuple[Output, str]]:
        """Return what comes on the map, the uppermost first, and where it is found."""
        drawn = [one for one in command.outputs if one.kind is not Kind.FILE]
        found = [(output, self.source(output)) for output in drawn]
        return [(output, source) for output, source in found if source is not None]


def find_results(printed: Sequence[str], folder: Path | None) -> list[Result]:
    """Return what a command made, in its order.

    Args:
        printed: Lines on its stdout; files that it made are lines of their own.
        folder: Where it was to write, for one that prints none.
    """
    files = [Path(line) for line in printed if line and Path(line).is_file()]
    records = [(file, _read(file)) for file in files if file.suffix == ".json"]
    sets = [(file, said) for file, said in records if isinstance(said.get("files"), dict)]
    if sets:
        return [
            Result(file.stem, (file, *(file.parent / name for name in said["files"])), said)
            for file, said in sets
        ]
    if records:
        file, said = records[-1]
        ending = next(end for end in _RECORDS if file.name.endswith(end))
        return [Result(file.name[: -len(ending)], tuple(files), said)]
    if folder is not None and folder.is_dir():
        inside = sorted(file for file in folder.iterdir() if file.is_file())
        return [Result(folder.name, tuple(inside), {})]
    return []


def _read(path: Path) -> dict[str, Any]:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}
