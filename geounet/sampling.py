"""Which chips make up each batch: functions of the seed and the epoch, and of nothing before."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch.utils.data import Sampler

ALL_ONE = 0.01
"""Share of a chip's known pixels below which water or land is as good as absent."""
MOST_REPEATS = 4
"""How often balancing shows a chip in an epoch, at most: more, and it is learned by heart."""


class Share(NamedTuple):
    """What part of each batch a process takes."""

    rank: int
    """Number of the process, from 0."""
    world: int
    """How many there are."""


WHOLE = Share(0, 1)


class EvenBatches(Sampler[list[int]]):
    """Every chip once per epoch, or groups of chips equally often, in batches of even size.

    Batches differ by one chip at most. A last batch of what happens to be left over may be a single
    chip, from which batch normalisation learns nothing good (and, at the bottom of a small chip,
    nothing at all). For the same reason there are only whole groups of `accumulate` batches.
    """

    def __init__(
        self,
        count: int,
        batch: int,
        *,
        seed: int,
        accumulate: int = 1,
        groups: Sequence[Sequence[int]] | None = None,
        share: Share = WHOLE,
    ) -> None:
        """Divide chips into batches.

        Args:
            count: How many chips there are.
            batch: Chips per batch, at most, over all processes.
            seed: Of the order.
            accumulate: Batches per step; each step has so many, if there are chips enough.
            groups: Numbers of the chips that are to be seen equally often, as far as `quotas`
                allows; an epoch draws as many chips as are in all groups together. None draws
                every chip once.
            share: Of each batch, what this process takes.
        """
        self.seed, self.share = seed, share
        self.groups = None if groups is None else [np.asarray(group) for group in groups]
        self.count = count if self.groups is None else sum(map(len, self.groups))
        self.batches = min(-(-self.count // (batch * accumulate)) * accumulate, self.count)
        self.epoch = 0
        self._start = (0, 0)

    @property
    def sampler(self) -> "EvenBatches":
        """Where Lightning looks for `set_epoch`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch, which depends on it and on the seed alone."""
        self.epoch = epoch

    def go_on_at(self, epoch: int, batch: int) -> None:
        """Leave out the batches before `batch` of that epoch: they were trained on already."""
        self._start = (epoch, batch)

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[list[int]]:
        epoch, batch = self._start
        parts = np.array_split(self._order(), self.batches)
        for part in parts[batch if epoch == self.epoch else 0 :]:
            yield np.array_split(part, self.share.world)[self.share.rank].tolist()

    def _order(self) -> NDArray[np.int64]:
        """Return the chips of the epoch, in the order in which they are seen."""
        rng = np.random.default_rng([self.seed, self.epoch])
        if self.groups is None:
            return rng.permutation(self.count)
        counts = quotas([len(group) for group in self.groups], self.count)
        drawn = [_draw(group, n, rng) for group, n in zip(self.groups, counts, strict=True)]
        return rng.permutation(np.concatenate(drawn))


def _draw(group: NDArray[np.int64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw `count` of a group, none a second time before each was drawn once."""
    rounds = -(-count // len(group))
    return np.concatenate([rng.permutation(group) for _ in range(rounds)])[:count]


def quotas(sizes: Sequence[int], total: int) -> list[int]:
    """Divide the draws of an epoch among groups.

    Args:
        sizes: Chips in each group, 1 or more.
        total: Draws; `MOST_REPEATS` times all chips at most.

    Returns:
        Draws of each group, `total` together: as equal as they can be without drawing from a group
        more than `MOST_REPEATS` times its size.
    """
    given = [0] * len(sizes)
    left = total
    # The smallest groups first: what they may not have is divided among the others.
    for place, group in enumerate(sorted(range(len(sizes)), key=lambda i: sizes[i])):
        given[group] = min(MOST_REPEATS * sizes[group], left // (len(sizes) - place))
        left -= given[group]
    return given


def coast_groups(index: pd.DataFrame, names: Sequence[str]) -> list[list[int]]:
    """Sort chips by how much water and how much coast they have.

    Args:
        index: Of the chips, with columns `chip`, `water`, `valid` and `coast_m`.
        names: The chips to sort.

    Returns:
        Places in `names`, by group, no group empty: land alone, less water than land, more, water
        alone (see `ALL_ONE`), each divided into no coast, no more of it than half of the chips
        that have any, and more. A chip of which no pixel is known teaches nothing and is in none.
    """
    chips = index.set_index("chip").loc[list(names)]
    taught = ((chips["valid"] > 0) & chips["water"].notna()).to_numpy()
    water, coast_m = chips["water"].to_numpy(), chips["coast_m"].to_numpy()
    some_coast = taught & (coast_m > 0)
    middle = float(np.median(coast_m[some_coast])) if some_coast.any() else 0.0
    by_water = np.digitize(water, [ALL_ONE, 0.5, 1 - ALL_ONE])
    by_coast = np.digitize(coast_m, [0.0, middle], right=True)
    places: dict[tuple[int, int], list[int]] = {}
    for place in np.flatnonzero(taught).tolist():
        places.setdefault((int(by_water[place]), int(by_coast[place])), []).append(place)
    return [places[key] for key in sorted(places)]
