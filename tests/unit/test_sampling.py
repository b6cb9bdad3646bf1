from itertools import chain

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geounet.sampling import MOST_REPEATS, EvenBatches, Share, coast_groups, quotas


@given(
    count=st.integers(1, 60),
    batch=st.integers(1, 9),
    accumulate=st.integers(1, 4),
    world=st.integers(1, 3),
    epoch=st.integers(0, 5),
)
def test_processes_share_what_one_would_take(count, batch, accumulate, world, epoch):
    def batches(share):
        sampler = EvenBatches(count, batch, seed=3, accumulate=accumulate, share=share)
        sampler.set_epoch(epoch)
        return list(sampler)

    alone = batches(Share(0, 1))
    shares = [batches(Share(rank, world)) for rank in range(world)]
    assert [list(chain(*parts)) for parts in zip(*shares, strict=True)] == alone
    assert sorted(chain(*alone)) == list(range(count))
    assert max(map(len, alone)) <= batch
    assert len(alone) % accumulate == 0 or len(alone) == count  # a chip each: no more are to be had


@given(st.integers(1, 40), st.integers(1, 5), st.data())
def test_an_epoch_is_gone_on_with_where_it_was_and_the_next_is_whole(count, batch, data):
    whole = EvenBatches(count, batch, seed=1)
    done = data.draw(st.integers(0, len(whole)))
    resumed = EvenBatches(count, batch, seed=1)
    resumed.go_on_at(2, done)
    assert len(resumed) == len(whole)
    for epoch, left_out in ((2, done), (3, 0)):
        whole.set_epoch(epoch)
        resumed.set_epoch(epoch)
        assert list(resumed) == list(whole)[left_out:]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=8))
def test_quotas_are_as_equal_as_repeats_allow(sizes):
    given_out = quotas(sizes, sum(sizes))
    assert sum(given_out) == sum(sizes)
    limits = [MOST_REPEATS * size for size in sizes]
    assert all(n <= limit for n, limit in zip(given_out, limits, strict=True))
    free = [n for n, limit in zip(given_out, limits, strict=True) if n < limit]
    # Those that are not at their limit are alike, and none that is has more than they.
    assert not free or max(free) - min(free) <= 1
    assert not free or max(given_out) <= max(free)


def test_balanced_batches_draw_groups_equally_often_and_chips_in_turn():
    groups = [list(range(90)), [90, 91, 92, 93, 94], list(range(95, 120))]
    sampler = EvenBatches(120, 8, seed=0, groups=groups)
    orders = []
    for epoch in (0, 0, 1):
        sampler.set_epoch(epoch)
        orders.append(list(chain(*sampler)))
    assert orders[0] == orders[1] != orders[2]
    times = np.bincount(orders[0], minlength=120)
    assert times.sum() == 120
    assert [times[group].sum() for group in groups] == [50, 20, 50]  # 5 chips, 4 times at most
    assert (times[groups[1]] == 4).all()
    assert set(times[groups[2]]) == {2}
    assert set(times[groups[0]]) == {0, 1}
    assert set(orders[0]) != set(orders[2])


def chip_index(**columns):
    return pd.DataFrame(columns).assign(chip=lambda f: [f"c{i}" for i in f.index])


def test_chips_are_grouped_by_water_and_coast():
    index = chip_index(
        water=[0.0, 0.005, 0.3, 0.4, 0.7, 0.9, 1.0, 1.0, np.nan, 0.5],
        coast_m=[0.0, 0.0, 500.0, 9000.0, 400.0, 8000.0, 0.0, 0.0, 0.0, 700.0],
        valid=[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0],
    )
    # The median of those with coast that teach, 400 500 8000 9000, is 4250 m.
    assert coast_groups(index, list(index["chip"])) == [[0, 1], [2], [3], [4], [5], [6, 7]]
    assert coast_groups(index, ["c7", "c2"]) == [[1], [0]]


@pytest.mark.parametrize("water", [0.0, 1.0])
def test_chips_without_coast_are_one_group(water):
    index = chip_index(water=[water] * 3, coast_m=[0.0] * 3, valid=[1.0] * 3)
    assert coast_groups(index, ["c0", "c1", "c2"]) == [[0, 1, 2]]
