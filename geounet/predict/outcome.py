"""What became of a scene among several."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyogrio

from geounet import __version__
from geounet.errors import GeounetError
from geounet.outputs import read_record
from geounet.scene import without_query


@dataclass(frozen=True)
class Outcome:
    """What became of a scene."""

    source: str
    """As it was given, without a signature."""
    name: str | None
    """Of its files; None where it could not be opened."""
    status: Literal["done", "failed", "skipped", "not done"]
    """`skipped`: its result was there already. `not done`: the run ended before its turn."""
    seconds: float = 0.0
    record: Path | None = None
    """`out/NAME.json`, of what is done or was there."""
    error: GeounetError | None = None
    water_share: float | None = None
    """Of the pixels that have a result."""
    coast_km: float | None = None
    cloud_share: float | None = None
    """Of the pixels of which something says whether they are under cloud."""
    notes: tuple[str, ...] = ()

    @property
    def complaint(self) -> str | None:
        """Why it failed, in one line that names it."""
        if self.error is None:
            return None
        said = str(self.error)
        return said if self.source in said else f"{self.source}: {said}"

    def to_dict(self) -> dict[str, Any]:
        """Return it as `summary.json` has it."""
        changed = {
            "seconds": round(self.seconds, 3),
            "record": None if self.record is None else self.record.name,
            "error": None if self.error is None else str(self.error),
            "notes": list(self.notes),
        }
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | changed


@contextmanager
def failures_told(source: str, name: str | None, start: float) -> Iterator[list[Outcome]]:
    """Yield a list that gets the outcome of a scene which fails inside.

    Args:
        source: The scene.
        name: Of its files, if that is known.
        start: When it was begun, of `time.perf_counter`.
    """
    failed: list[Outcome] = []
    try:
        yield failed
    except GeounetError as error:
        seconds = time.perf_counter() - start
        failed.append(Outcome(without_query(source), name, "failed", seconds, error=error))


def outcome_of(
    source: str, record: Path, start: float, status: Literal["done", "skipped"] = "done"
) -> Outcome:
    """Return the outcome of a scene that has its record."""
    facts, seconds = _facts(record), time.perf_counter() - start
    return Outcome(without_query(source), record.stem, status, seconds, record, **facts)


def _facts(path: Path) -> dict[str, Any]:
    """Return what a result says of its scene, for the summary."""
    record = read_record(path)
    notes = record.get("notes") or []
    if (made_by := record.get("geounet")) != __version__:
        notes = [*notes, f"made by geounet {made_by}"]
    lines = pyogrio.read_dataframe(
        path.with_name(f"{path.stem}.gpkg"),
        layer="coastline",
        columns=["length_m"],
        read_geometry=False,
    )
    return {
        "water_share": record.get("water_share"),
        "coast_km": float(lines["length_m"].sum()) / 1000,
        "cloud_share": (record.get("clouds") or {}).get("share_of_scene"),
        "notes": tuple(notes),
    }
