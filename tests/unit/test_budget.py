"""The memory plan: what windows take, and the largest ones that keep within a limit."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geounet.errors import ConfigError
from geounet.predict.budget import (
    MEMORY,
    MEMORY_FOR_EXACT,
    MEMORY_ON_GPU,
    Load,
    cache_bytes,
    choose_core,
    parse_memory,
    smaller,
)
from geounet.windows import round_up

TILE = Load(
    shape=(10_980, 10_980),
    block=(512, 512),
    halo=96,
    stride=32,
    remainder=0,
    pixel_bytes=24,
    run_bytes=258,
    classes=2,
    batch=1,
    device="cpu",
)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512M", 512 << 20),
        ("1.5G", 3 << 29),
        ("2g", 2 << 30),
        ("1 GiB", 1 << 30),
        ("524288K", 512 << 20),
        ("536870912", 512 << 20),
    ],
)
def test_amounts_of_memory(text, size):
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["", "much", "12T", "-1G", "1G2", "G", "1,5G"])
def test_what_is_no_amount_says_how_to_write_one(text):
    with pytest.raises(ConfigError, match="512M"):
        parse_memory(text)


def test_too_little_to_work_in_is_told():
    with pytest.raises(ConfigError, match="--memory 256M or more"):
        parse_memory("100M")


lengths = st.integers(1, 20_000)
loads = st.builds(
    lambda shape, block, strides, stride, pixel, run, batch, device: Load(
        shape, block, strides * stride, stride, 0, pixel, run, 2, batch, device
    ),
    st.tuples(lengths, lengths),
    st.sampled_from([(512, 512), (1024, 1024), (1, 20_000), (256, 256)]),
    st.integers(0, 10),
    st.sampled_from([2, 8, 16, 32]),
    st.integers(1, 50),
    st.integers(10, 1000),
    st.integers(1, 3),
    st.sampled_from(["cpu", "cuda"]),
)


@given(load=loads, memory=st.sampled_from([None, 512 << 20, 2 << 30]))
def test_chosen_cores_keep_within_memory_and_none_that_does_costs_less(load, memory):
    try:
        core, limit = choose_core(load, memory=memory)
    except ConfigError:
        assert memory is not None
        step = 64
        smallest = min(step, round_up(max(load.shape), load.stride))
        assert load.on_host(smallest) + cache_bytes(memory) > memory
        return
    assert limit == (memory or MEMORY)
    assert core > 0
    assert core % load.stride == 0
    assert core <= round_up(max(load.shape), load.stride)
    least = max(round_up(load.halo, 64), 64)
    if memory is not None or core > least:
        assert load.on_host(core) + cache_bytes(limit) <= limit
        assert load.device == "cpu" or load.on_device(core) <= MEMORY_ON_GPU
    # Windows in memory at least: one predicted, one waiting; and what the network takes.
    pixels = min(core, max(load.shape)) ** 2
    network = load.run_bytes * load.batch if load.device == "cpu" else 0
    assert load.on_host(core) > pixels * network
    whole = round_up(max(load.shape), load.stride)
    cheaper = [c for c in [*range(64, whole, 64), whole] if load.cost(c) < load.cost(core)]
    for other in cheaper[:: max(1, len(cheaper) // 8)]:
        more = load.on_host(other) + cache_bytes(limit) > limit
        on_gpu = load.device == "cuda" and load.on_device(other) > MEMORY_ON_GPU
        assert more or on_gpu or core <= least


def test_the_height_of_a_scene_does_not_matter():
    mosaic = replace(TILE, shape=(109_800, 10_980))
    for core in (64, 768, 2048):
        assert mosaic.on_host(core) == TILE.on_host(core)
    assert choose_core(mosaic, memory=None) >= choose_core(TILE, memory=None)


@pytest.mark.parametrize(
    ("side", "halo"),
    [(1024, 0), (1024, 96), (2048, 0), (2048, 64), (2048, 192), (4096, 32), (4096, 288)],
)
def test_a_scene_that_would_fit_is_cut_so_that_reading_and_writing_overlap(side, halo):
    load = replace(TILE, shape=(side, side), halo=halo, run_bytes=1)
    core, _ = choose_core(load, memory=8 << 30)
    assert 2 <= -(-side // core) <= 4  # windows along a side
    assert core >= 2 * halo


@given(side=st.integers(64, 8192), halo=st.integers(0, 10))
def test_a_network_that_takes_longer_gets_windows_no_smaller(side, halo):
    load = replace(TILE, shape=(side, side), halo=32 * halo, run_bytes=1)
    slower = replace(load, precision="fp32")
    assert choose_core(slower, memory=64 << 30) >= choose_core(load, memory=64 << 30)


def test_where_the_halo_is_most_of_it_there_is_one_window():
    load = replace(TILE, shape=(512, 512), halo=288, run_bytes=1)
    assert choose_core(load, memory=8 << 30)[0] == 512


def test_striped_files_are_read_in_whole_rows_and_windows_are_smaller_for_it():
    striped = replace(TILE, block=(1, 10_980))
    core, _ = choose_core(striped, memory=None)
    assert core < choose_core(TILE, memory=None)[0]
    assert striped.in_reading(core) > 10_980 * core * 24  # as many whole rows as a core has


def test_an_exact_halo_may_cost_memory_where_it_is_wide():
    load = replace(TILE, halo=288, run_bytes=368)
    core, limit = choose_core(load, memory=None, exact=True)
    usual, _ = choose_core(load, memory=None)
    assert (1 + 2 * 288 / core) ** 2 < 1.8 < (1 + 2 * 288 / usual) ** 2
    assert MEMORY < limit <= MEMORY_FOR_EXACT
    assert load.on_host(core) + cache_bytes(limit) <= limit


def test_an_exact_halo_that_is_narrow_costs_none():
    load = replace(TILE, halo=32)
    assert choose_core(load, memory=None, exact=True) == choose_core(load, memory=None)


def test_a_limit_that_the_user_sets_holds_for_the_exact_halo_too():
    load = replace(TILE, halo=288, run_bytes=368)
    core, limit = choose_core(load, memory=1 << 30, exact=True)
    assert limit == 1 << 30
    assert load.on_host(core) + cache_bytes(limit) <= limit


def test_half_the_windows_and_then_half_the_pixels_are_less():
    load, core = replace(TILE, batch=3), 1024
    seen = []
    while less := smaller(load, core):
        assert less[0].on_host(less[1]) < load.on_host(core)
        load, core = less
        seen.append((load.batch, core))
    assert seen[0] == (1, 1024)
    assert seen[-1] == (1, 64)
