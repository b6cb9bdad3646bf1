"""Which bands a model relies on: what it loses when the values of one are shuffled.

OUT/bands.png     what each band is worth
OUT/bands.json    the same in numbers; last
"""

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from geounet.chipset import read_exclusions
from geounet.dataset import (
    ChipReader,
    ChipsInMemory,
    ChipsOnDisk,
    Samples,
    load_chips,
    scoring_batches,
)
from geounet.engine import choose_device
from geounet.experiment.figures import draw_bands
from geounet.experiment.scoring import (
    COMPARED,
    compared,
    count_batches,
    known_chips,
    open_chip_set,
    reader_for,
    spread_of,
)
from geounet.metrics import all_figures
from geounet.model_file import load_model
from geounet.networks import Network
from geounet.outputs import stage_set
from geounet.progress import Progress, silent

FORMAT = 1
"""Of `bands.json`."""

Among = Literal["pixels", "chips"]
Scores = dict[str, float | None]
"""Those of `COMPARED`."""


@dataclass(frozen=True)
class BandSettings:
    """How bands are shuffled."""

    among: Among = "pixels"
    """Every valid pixel gets the value of any other of the split; or every chip gets the whole band
    of another, whose texture stays, and the band's mean where that one has no data."""
    repeats: int = 5
    """Shuffles of each band."""
    seed: int = 0
    batch: int = 8
    """Chips that pass through the network at a time."""
    device: str = "auto"


def run_bands(
    model: Path,
    chips: Path,
    out: Path,
    settings: BandSettings,
    *,
    overwrite: bool = False,
    exclude: Path | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Measure the permutation importance of each band of a model on the test split [1]_.

    Where bands tell nearly the same, shuffling one of them costs little, though the model could
    not do without them all.

    Args:
        model: Model file.
        chips: Chip folder with the model's bands and classes, or the folder of SWED.
        out: Folder for the results; see the module's text.
        settings: How bands are shuffled.
        overwrite: Whether results in `out` may be replaced.
        exclude: A list of chips to leave out; see `read_exclusions`.
        progress: Told of the shuffles.

    Returns:
        What is in bands.json.

    Raises:
        ModelFileError: The model file cannot be used.
        ChipsError: The chips are damaged, or there are none to test.
        BandError: The chips lack a band.
        ConfigError: Model and chips do not go together.
        OutputError: Results exist already, or cannot be written.

    References:
        .. [1] Breiman (2001), "Random Forests", Machine Learning 45, section 10;
           doi:10.1023/A:1010933404324.
    """
    started = time.monotonic()
    header, network = load_model(model)
    excluded = [] if exclude is None else read_exclusions(exclude)
    folder = open_chip_set(chips, excluded, progress)
    reader = reader_for(folder, header, network)
    test = known_chips(folder, "test")
    device = choose_device(settings.device)
    with stage_set(out, "bands", overwrite=overwrite) as (stage, record):
        (loaded,) = load_chips(reader, [test], progress=progress)
        scored = Scored(network.to(device).eval(), reader, loaded, settings.batch, device)
        whole, found = scored.whole(), scored.shuffled(settings, progress)
        rows = [
            {
                "band": band.id,
                "common_name": band.common_name,
                "drop": drops(whole, scores),
                "scores": scores,
            }
            for band, scores in zip(reader.bands, found, strict=True)
        ]
        record |= {
            "format": FORMAT,
            "experiment": "bands",
            "model": hashlib.sha256(model.read_bytes()).hexdigest(),
            "chips": folder.info.fingerprint,
            "settings": {"among": settings.among, "repeats": settings.repeats}
            | {"seed": settings.seed},
            "test_chips": len(test),
            "scores": whole,
            "bands": rows,
            "timings": {"seconds": round(time.monotonic() - started, 1)},
        }
        draw_bands(rows, stage.path(".png"))
    return record


@dataclass(frozen=True)
class Scored:
    """A network, and the chips that it is scored on."""

    network: Network
    """On `device`, for evaluation."""
    reader: ChipReader
    chips: ChipsInMemory | ChipsOnDisk
    batch: int
    device: str

    def whole(self) -> Scores:
        """Return the scores with the bands as they are."""
        return self._scores(self._batches())

    def shuffled(self, settings: BandSettings, progress: Progress) -> list[list[Scores]]:
        """Return the scores with the values of one band in other places, by band and repeat."""
        found: list[list[Scores]] = [[] for _ in self.reader.bands]
        rounds = [(b, r) for b in range(len(found)) for r in range(settings.repeats)]
        for band, repeat in progress(rounds, label="shuffling bands", total=len(rounds)):
            rng = np.random.default_rng([settings.seed, band, repeat])
            plane = shuffled_plane(self._batches(), band, among=settings.among, rng=rng)
            found[band].append(self._scores(with_plane(self._batches(), band, plane)))
        return found

    def _batches(self) -> Iterable[Samples]:
        return scoring_batches(self.chips, batch=self.batch, workers=0, pin=False)

    def _scores(self, batches: Iterable[Samples]) -> Scores:
        counts = count_batches(self.network, batches, self.reader.classes, self.device)
        names = [one.name for one in self.reader.classes]
        return compared(all_figures(counts, names), names)


def shuffled_plane(
    batches: Iterable[Samples], band: int, *, among: Among, rng: np.random.Generator
) -> Tensor:
    """Return a band of all chips with its values in other places.

    Args:
        batches: All chips, standardised.
        band: Its number, from 0.
        among: See `BandSettings`.
        rng: Draws the places.

    Returns:
        (chips, height, width), 0 where the chip has no data, as before.
    """
    parts = [(image[:, band], image.ne(0).any(dim=1)) for image, _ in batches]
    plane, valid = (torch.cat(of) for of in zip(*parts, strict=True))
    if among == "chips":
        return plane[torch.from_numpy(rng.permutation(len(plane)))] * valid
    values = plane[valid]
    shuffled = torch.zeros_like(plane)
    shuffled[valid] = values[torch.from_numpy(rng.permutation(len(values)))]
    return shuffled


def with_plane(batches: Iterable[Samples], band: int, plane: Tensor) -> Iterator[Samples]:
    """Yield batches with the values of one band taken from `plane`, (chips, height, width)."""
    done = 0
    for image, label in batches:
        changed = image.clone()
        changed[:, band] = plane[done : done + len(image)]
        done += len(image)
        yield Samples(changed, label)


def drops(whole: Scores, shuffled: Sequence[Scores]) -> dict[str, dict[str, float | None]]:
    """Return how much less each score is than with the bands as they are, and its spread."""
    return {
        score: spread_of([_less(before, scores[score]) for scores in shuffled])
        for score, before in whole.items()
    }


def _less(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else round(before - after, 6)


def format_bands(record: Mapping[str, Any]) -> str:
    """Return what shuffling each band costs as a table in plain text, in points."""
    shown = ("accuracy", "iou", "boundary_f1")
    widths = [max(len(COMPARED[score]), len("-10.00 ± 10.00")) + 3 for score in shown]
    width = max(len(_called(row)) for row in record["bands"])
    heads = "".join(f"{COMPARED[s]:>{w}}" for s, w in zip(shown, widths, strict=True))
    whole = "".join(
        f"{_points(record['scores'][s]):>{w}}" for s, w in zip(shown, widths, strict=True)
    )
    lines = [f"{'points':<{width}}{heads}", f"{'as it is':<{width}}{whole}"]
    for row in record["bands"]:
        cells = "".join(f"{_loss(row['drop'][s]):>{w}}" for s, w in zip(shown, widths, strict=True))
        lines.append(f"{_called(row):<{width}}{cells}")
    return "\n".join(lines)


def _called(row: Mapping[str, Any]) -> str:
    return f"{row['band']} {row['common_name'] or ''}".rstrip()


def _points(score: float | None) -> str:
    return "–" if score is None else f"{100 * score:.2f}"


def _loss(spread: Mapping[str, float | None]) -> str:
    """Return a drop for people: what is lost is negative."""
    if spread["mean"] is None:
        return "–"
    told = f"{-100 * spread['mean']:+.2f}"
    return told if spread["sd"] is None else f"{told} ± {100 * spread['sd']:.2f}"
