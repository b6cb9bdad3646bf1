"""A slice of what `make soak` tries: signals, full disks and bad sources in the middle of work."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from fuzzing.children import Blow, Nursery
from fuzzing.disturbances import can_mount, fill, kill, limit_files, spoil_source
from fuzzing.jobs import MODULES, OUT, Ground, broken_sets, litter, make_ground, rerun_faults

SEED = 7


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery(*MODULES) as mother:
        yield mother


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory, nursery: Nursery) -> Ground:
    return make_ground(tmp_path_factory.mktemp("ground"), nursery)


@pytest.mark.parametrize("number", range(5))
def test_a_signal_leaves_nothing_half_done(ground, nursery, tmp_path, number) -> None:
    rng = np.random.default_rng([SEED, 0, number])
    assert kill(ground, nursery, rng, tmp_path / "case").faults == []


@pytest.mark.parametrize("number", range(2))
def test_a_full_disk_leaves_nothing_half_done(ground, nursery, tmp_path, number) -> None:
    if not can_mount(tmp_path / "disk"):
        pytest.skip("no file system can be mounted here")
    rng = np.random.default_rng([SEED, 1, number])
    assert fill(ground, nursery, rng, tmp_path / "case").faults == []


def test_files_that_may_not_grow_leave_nothing_half_done(ground, nursery, tmp_path) -> None:
    rng = np.random.default_rng([SEED, 1, 0])
    assert limit_files(ground, nursery, rng, tmp_path / "case").faults == []


@pytest.mark.parametrize("number", range(4))
def test_a_bad_source_leaves_nothing_half_done(ground, nursery, tmp_path, number) -> None:
    rng = np.random.default_rng([SEED, 2, number])
    assert spoil_source(ground, nursery, rng, tmp_path / "case").faults == []


def test_what_is_wrong_would_be_noticed(ground, nursery, tmp_path) -> None:
    job, sandbox = ground.jobs["first"], tmp_path / "case"
    ground.furnish(job, sandbox)
    ended = nursery.run(ground.command(job, sandbox))
    assert (ended.status, broken_sets(sandbox), litter(sandbox, job)) == (0, [], [])
    out = sandbox / "work" / OUT
    (out / "a_mask.tif").write_bytes(b"?" * (out / "a_mask.tif").stat().st_size)
    (out / "a.gpkg").unlink()
    (out / ".a.partial").mkdir()
    (sandbox / "tmp" / "scratch").touch()
    assert broken_sets(sandbox) == [
        "a.json is there, but a.gpkg is not",
        "a.json is there, but a_mask.tif has another hash",
    ]
    assert litter(sandbox, job) == ["leaves out/.a.partial", "leaves tmp/scratch"]
    ground.expected["other"] = dict.fromkeys(ground.expected["first"], "another hash")
    other = type(job)("other", job.arguments, job.scenes)
    faults = rerun_faults(ground, other, sandbox, nursery)
    assert "run again: a_mask.tif is other than undisturbed" in faults


def test_a_drive_that_hangs_ends_in_one_line(ground, nursery, tmp_path) -> None:
    job, sandbox = ground.jobs["first"], tmp_path / "case"
    ground.furnish(job, sandbox)
    command = replace(
        ground.command(job, sandbox),
        arguments=(*job.arguments, "--read-timeout", "0.5"),
        entry="fuzzing.planted:read_from_a_drive_that_hangs",
    )
    ended = nursery.run(command)
    assert ended.status == 1, ended.err
    (line,) = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    assert re.search(r"a\.tif cannot be read at rows \d+–\d+, columns .*: nothing came for 0", line)
    assert litter(sandbox, job) == []
    assert rerun_faults(ground, job, sandbox, nursery) == []


def test_a_kill_between_record_and_files_is_seen_as_incomplete(ground, nursery, tmp_path) -> None:
    # Every step of the end of a run over old results, one by one, would take minutes: the last.
    job, sandbox = ground.jobs["again"], tmp_path / "case"
    ground.furnish(job, sandbox)
    last = ground.ended["again"].steps
    for step in range(last - 12, last, 4):
        nursery.run(ground.command(job, sandbox, Blow(9, step=step)))
        assert broken_sets(sandbox) == []
    assert rerun_faults(ground, job, sandbox, nursery) == []
    assert json.loads((sandbox / "work" / OUT / "a.json").read_text())["files"]
