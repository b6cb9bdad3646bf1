"""Parts: what was predicted of a scene, strip by strip, whole and with a record each.

A part is a folder that appears by one rename, with the raster of a strip and `part.json`, which
says what it was made of, by which plan, and which bytes it has. So whoever comes later, after a
kill or on another machine, can tell what need not be done again. Parts lie in the hidden folder of
a set.
"""

import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from geounet.disk import to_disk
from geounet.errors import OutputError
from geounet.outputs import finished
from geounet.predict.earlier import damaged_file, differences
from geounet.predict.strips import StripOfScene
from geounet.predict.tally import Tally

logger = logging.getLogger(__name__)

RECORD = "part.json"
FORMAT = 1


class KeptPart(NamedTuple):
    """A strip that was predicted."""

    folder: Path
    """With `water.tif`, and `best.tif` where there are more than two classes."""
    tally: Tally


@dataclass(frozen=True)
class Parts:
    """The parts of a scene that one run makes, or finds made."""

    folder: Path
    made_of: Mapping[str, Any]
    """Model, inputs, settings, plan and versions: what the bytes of a part depend on."""
    source: str
    """The scene, as it is called where something is said of it."""

    def has(self, strip: StripOfScene) -> bool:
        """Return whether there is something in the place of a part, right or not."""
        return (self.folder / strip.name).exists()

    def find(self, strip: StripOfScene) -> KeptPart | None:
        """Return the part of a strip if it is there, whole and right; say what else there is."""
        folder = self.folder / strip.name
        if not folder.exists():
            return None
        try:
            record = _read(folder)
            why = "; ".join(differences(record, self.made_of)) or damaged_file(
                folder, record["files"]
            )
            tally = Tally.from_dict(record["tally"])
        except (KeyError, TypeError, ValueError, AttributeError, OSError):
            why = "its record is damaged"
        if why is None:
            return KeptPart(folder, tally)
        logger.warning(
            "%s: rows %d–%d are predicted anew; the part that is there is not what this run would "
            "make: %s", self.source, strip.top, strip.bottom, why
        )  # fmt: skip
        return None

    def make(self, strip: StripOfScene, predict: Callable[[Path], Tally]) -> KeptPart:
        """Return the part of a strip, made by `predict` if it is not there, whole and right.

        Args:
            strip: Which one.
            predict: Writes the rasters of the strip into a folder.
        """
        if found := self.find(strip):
            return found
        with self._draft(strip) as draft:
            tally = predict(draft)
            files = {path.name: finished(path) for path in sorted(draft.iterdir())}
            record = {
                "format": FORMAT, **self.made_of, "tally": tally.to_dict(), "files": files,
            }  # fmt: skip
            path = draft / RECORD
            path.write_text(json.dumps(record, indent=1, ensure_ascii=False), encoding="utf-8")
            to_disk(path)
        return KeptPart(self.folder / strip.name, tally)

    @contextmanager
    def _draft(self, strip: StripOfScene) -> Iterator[Path]:
        """Yield a folder of this process's own; on a clean exit it becomes the part of a strip.

        Another process may be making the same part, where a scheduler took it for lost: the last
        to finish wins, and they are the same.
        """
        _make(self.folder)
        place, draft = self.folder / strip.name, self.folder / f".{strip.name}-{uuid4().hex}"
        try:
            draft.mkdir()
            yield draft
            to_disk(draft)
            while True:
                shutil.rmtree(place, ignore_errors=True)
                try:
                    Path(draft).replace(place)
                except OSError:
                    if not place.exists():
                        raise
                else:
                    break
            to_disk(self.folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def tidy(self, strips: Sequence[StripOfScene]) -> None:
        """Remove what is no part of these strips: of killed processes, or of another division."""
        known = {strip.name for strip in strips}
        if self.folder.is_dir():
            for path in self.folder.iterdir():
                if path.name not in known:
                    shutil.rmtree(path, ignore_errors=True)


def _make(folder: Path) -> None:
    """Make the folder of parts, but not the hidden one around it: a run that is over has none."""
    try:
        folder.mkdir(exist_ok=True)
    except FileNotFoundError as error:
        raise OutputError(
            f"{folder.parent} is gone: the run that this was a part of is over."
        ) from error


def first_plan(folder: Path, made_of: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the plan by which the parts in a folder were made, if any are of the same things.

    Args:
        folder: That may hold parts.
        made_of: What they are to be made of, less the plan.
    """
    if not folder.is_dir():
        return None
    for place in sorted(path for path in folder.iterdir() if not path.name.startswith(".")):
        try:
            record = _read(place)
            if not differences(record, made_of):
                return record["plan"]
        except (KeyError, TypeError, ValueError, AttributeError, OSError):
            continue  # told where it is predicted anew
    return None


def _read(folder: Path) -> dict[str, Any]:
    return json.loads((folder / RECORD).read_text(encoding="utf-8"))
