"""What a network is worth on chips: scores with their spread, scene by scene, and its line."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geounet.classes import IGNORE
from geounet.dataset import ChipReader, ChipsOnDisk, scoring_batches
from geounet.line_errors import LineErrors, measure_lines
from geounet.metrics import Counts, all_figures, as_record, best_threshold, count_chips, spread
from geounet.networks import Network
from geounet.progress import Progress, silent
from geounet.task import supervised

WORST = 5
"""Chips that are named as those with the most errors."""


@dataclass(frozen=True)
class Judgement:
    """How well a network does on some chips."""

    names: tuple[str, ...]
    blocks: tuple[str, ...]
    """Of each chip, the block that it is from."""
    scenes: tuple[str, ...]
    """Likewise the scene."""
    classes: tuple[str, ...]
    """Their names, in the order of the outputs."""
    counts: Counts
    """(chips, ...)"""
    lines: tuple[LineErrors, ...]
    """Of each chip."""
    pixel_m: float
    """What one pixel is, in metres."""

    @property
    def wrong(self) -> dict[str, int]:
        """Pixels of each chip that were taken for another class."""
        confusion = self.counts.confusion
        right = confusion.diagonal(dim1=1, dim2=2).sum(dim=1)
        wrong = (confusion.sum(dim=(1, 2)) - right).long().tolist()
        return dict(zip(self.names, wrong, strict=True))

    @property
    def pixels(self) -> int:
        """Pixels whose class is known."""
        return int(self.counts.confusion.sum())

    @property
    def suggested_threshold(self) -> float | None:
        """See `best_threshold`."""
        return best_threshold(self.counts.total())

    @property
    def position_u95_m(self) -> float | None:
        """See `LineErrors.u95_m`."""
        return LineErrors.joined(self.lines).u95_m

    def record(self) -> dict[str, Any]:
        """Return the scores as a model file has them; see `all_figures` and `LineErrors.record`.

        Each score of all chips and of each scene, and where there are several blocks of chips its
        95 % interval; and the chips with the most errors.
        """
        by_scene = {
            scene: self._record([i for i, of in enumerate(self.scenes) if of == scene])
            for scene in sorted(set(self.scenes))
        }
        return self._record(range(len(self.names))) | {"by_scene": by_scene, "worst": self._worst()}

    def _record(self, which: Sequence[int]) -> dict[str, Any]:
        counts = self.counts.chosen(torch.tensor(which, dtype=torch.long))
        blocks = [self.blocks[i] for i in which]
        intervals = spread(counts, blocks, self.classes)
        return {
            "chips": len(which),
            "blocks": len(set(blocks)),
            "pixels": int(counts.confusion.sum()),
            **as_record(all_figures(counts.total(), self.classes)),
            "interval": None if intervals is None else as_record(intervals, digits=4),
            "lines": LineErrors.joined([self.lines[i] for i in which]).record(self.pixel_m),
        }

    def _worst(self) -> list[dict[str, Any]]:
        """Return the chips with the most errors, most first."""
        known = self.counts.confusion.sum(dim=(1, 2)).tolist()
        shares = [
            (wrong / max(pixels, 1), name, scene)
            for (name, wrong), pixels, scene in zip(
                self.wrong.items(), known, self.scenes, strict=True
            )
        ]
        most = sorted(shares, key=lambda one: (-one[0], one[1]))[:WORST]
        return [
            {"chip": name, "scene": scene, "wrong_share": round(share, 6)}
            for share, name, scene in most
            if share > 0
        ]


@torch.inference_mode()
def judge_chips(
    network: Network,
    reader: ChipReader,
    names: Sequence[str],
    *,
    device: str,
    batch: int,
    progress: Progress = silent,
    split: str = "chips",
) -> Judgement:
    """Judge a network on chips, in float32.

    Args:
        network: What is judged, on `device` and set to evaluation.
        reader: Reads the chips as it takes them.
        names: The chips; may be none.
        device: Where it runs.
        batch: Chips at a time.
        progress: Told of the batches.
        split: What they are called meanwhile.
    """
    info = reader.folder.info
    water = [one.water for one in reader.classes]
    counts, lines = [Counts.none(len(water))], []
    chips = ChipsOnDisk(reader, names)
    batches = scoring_batches(chips, batch=batch, workers=0, pin=False)
    for image, whole in progress(batches, label=f"judging {split}", total=len(batches)):
        label = supervised(whole, network)
        logits = network(image.to(device, memory_format=torch.channels_last)).float()
        counts.append(count_chips(logits, label.to(device), water=water))
        p_water = logits.softmax(dim=1)[:, torch.tensor(water)].sum(dim=1)  # (B, H, W)
        lines += _measured(p_water.cpu().numpy(), label.numpy(), np.array(water), info.res_m)
    index = reader.folder.index.set_index("chip").loc[list(names)]
    return Judgement(
        names=tuple(names),
        blocks=tuple(map(str, index["block"])),
        scenes=tuple(map(str, index["scene"])),
        classes=tuple(one.name for one in reader.classes),
        counts=Counts.joined(counts),
        lines=tuple(lines),
        pixel_m=float(np.sqrt(info.res_m[0] * info.res_m[1])),
    )


def _measured(
    p_water: NDArray[np.float32],
    labels: NDArray[np.uint8],
    water: NDArray[np.bool_],
    res_m: tuple[float, float],
) -> list[LineErrors]:
    """Measure the lines of a batch of chips, (B, height, width)."""
    table = np.zeros(256, dtype=np.bool_)
    table[: len(water)] = water
    return [
        measure_lines(p, table[label], label != IGNORE, res_m)
        for p, label in zip(p_water, labels, strict=True)
    ]
