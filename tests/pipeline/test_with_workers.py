"""Workers over Dask give the bytes of one process; and what becomes of the work of the dead."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import dask
import distributed  # noqa: F401  before its settings are changed
import numpy as np
import psutil
import pytest
from dividing import (
    DIVIDE,
    HOW,
    NAMES,
    STRIPS,
    behave,
    die_once_finished,
    is_at_work,
    note_strips,
    result,
    write_long_scene,
    write_small_model,
)
from predicting import wavy_dn, write_scene

from geounet.cluster import Crew, crew, local_crew, run_scenes_with, scheduled_crew
from geounet.cluster.crew import worker_environment
from geounet.cluster.several import order_of
from geounet.cluster.work import take_scene
from geounet.errors import ClusterError, GeounetError
from geounet.predict import PredictSettings, predict_scene, run_scenes

SETTINGS = PredictSettings(**HOW, threads=1)


@pytest.fixture(scope="module")
def two() -> Iterator[Crew]:
    with local_crew(2, threads=1) as crew:
        yield crew


@pytest.fixture
def meddled(two: Crew) -> Iterator[Crew]:
    """The same two, who work as usual afterwards."""
    yield two
    two.client.run(behave)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_model(tmp_path_factory.mktemp("model") / "m.safetensors")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_long_scene(tmp_path_factory.mktemp("large") / "large.tif")


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene of so many strips that one can stop in the middle."""
    dn = np.tile(wavy_dn(300, 130, bands=2), (1, 10, 1))
    return write_scene(tmp_path_factory.mktemp("long") / "long.tif", dn, names=NAMES)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("small")
    return [
        write_scene(folder / f"{n}.tif", wavy_dn(60, 50 + n, seed=n, bands=2), names=NAMES)
        for n in range(8)
    ]


@pytest.fixture(scope="module")
def alone(model, large, tmp_path_factory):
    out = tmp_path_factory.mktemp("alone")
    predict_scene(large, model, out, SETTINGS)
    return result(out, "large")


@pytest.mark.parametrize("kind", [{}, {"blended": True}])
def test_one_divided_scene_is_that_of_one_process(two, large, tmp_path, kind):
    model = write_small_model(tmp_path / "m.safetensors", **kind)
    settings = replace(SETTINGS, batch=2)
    predict_scene(large, model, tmp_path / "alone", settings)
    (outcome,) = run_scenes_with(two, [large], model, tmp_path / "together", settings)
    assert (outcome.status, outcome.record) == ("done", tmp_path / "together/large.json")
    assert result(tmp_path / "together", "large") == result(tmp_path / "alone", "large")
    assert not [path for path in (tmp_path / "together").iterdir() if path.is_dir()]


def test_eight_scenes_are_those_of_one_process(two, small, model, tmp_path):
    list(run_scenes(small, model, tmp_path / "alone", SETTINGS))
    outcomes = list(run_scenes_with(two, small, model, tmp_path / "together", SETTINGS))
    assert [one.status for one in outcomes] == ["done"] * 8
    for scene in small:
        assert result(tmp_path / "together", scene.stem) == result(tmp_path / "alone", scene.stem)
    then, now = (
        json.loads((tmp_path / which / "summary.json").read_text())
        for which in ("alone", "together")
    )
    for summary in (then, now):
        for changing in ("started", "seconds"):
            summary.pop(changing)
        for one in summary["scenes"]:
            one.pop("seconds")
    assert now == then


def test_bad_scenes_are_reported_and_the_rest_are_done(two, small, large, model, tmp_path):
    empty = write_scene(tmp_path / "empty.tif", np.zeros((2, 300, 130), np.uint16), names=NAMES)
    missing = tmp_path / "missing.tif"
    sources = [small[0], missing, large, empty, small[1]]
    outcomes = run_scenes_with(two, sources, model, tmp_path / "out", SETTINGS)
    by_source = {Path(one.source).stem: one for one in outcomes}
    assert {name: one.status for name, one in by_source.items()} == {
        "0": "done", "missing": "failed", "large": "done", "empty": "failed", "1": "done",
    }  # fmt: skip
    assert "no valid pixel" in str(by_source["empty"].error)  # of a divided scene, in its end
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert [Path(one["source"]).stem for one in summary["scenes"]] == [
        "0", "missing", "large", "empty", "1",
    ]  # fmt: skip
    assert not list((tmp_path / "out").glob(".*"))


def test_what_is_there_is_left(two, small, large, model, tmp_path):
    sources = [small[0], large]
    list(run_scenes(sources, model, tmp_path / "out", SETTINGS))
    outcomes = run_scenes_with(two, sources, model, tmp_path / "out", SETTINGS, skip_existing=True)
    assert [one.status for one in outcomes] == ["skipped", "skipped"]
    (outcome,) = run_scenes_with(two, [large], model, tmp_path / "out", SETTINGS)
    assert "exists already" in str(outcome.error)


def test_what_workers_say_is_said_here_once(two, model, tmp_path, caplog):
    settings = replace(SETTINGS, accept_level=True)
    scene = write_scene(tmp_path / "a.tif", wavy_dn(300, 130, bands=2), names=NAMES, level="L1C")
    list(run_scenes_with(two, [scene], model, tmp_path / "out", settings))
    assert [r.getMessage() for r in caplog.records if "is accepted" in r.getMessage()] == [
        f"{scene}: level L1C (top of atmosphere) is accepted for L2A (surface)"
    ]


def test_a_model_that_cannot_be_used_ends_it_at_once(two, small, tmp_path):
    model = tmp_path / "m.safetensors"
    model.write_bytes(b"?" * 100)
    with pytest.raises(GeounetError, match=r"m\.safetensors"):
        list(run_scenes_with(two, small, model, tmp_path / "out", SETTINGS))
    assert not list(tmp_path.glob("out/*.tif"))


def test_a_worker_that_is_killed_costs_its_task_alone(meddled, large, model, alone, tmp_path):
    notes = tmp_path / "strips.txt"
    meddled.client.run(note_strips, str(notes), "128-192")
    outcomes = list(run_scenes_with(meddled, [large], model, tmp_path / "out", SETTINGS))
    assert [one.status for one in outcomes] == ["done"]
    assert result(tmp_path / "out", "large") == alone
    # The one that took the place of the dead notes nothing.
    times = Counter(notes.read_text().splitlines())
    assert times["large 128-192"] in (1, 2)
    assert all(count == 1 for strip, count in times.items() if strip != "large 128-192")
    assert len(times) <= STRIPS


def test_a_scene_that_kills_all_who_try_it_fails_alone(small, large, model, tmp_path):
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}), local_crew(1) as one:
        one.client.run(note_strips, str(tmp_path / "strips.txt"), "64-128")
        sources = [small[0], large]  # it has told of the first before it dies
        outcomes = list(run_scenes_with(one, sources, model, tmp_path / "out", SETTINGS))
    by_source = {Path(one.source).stem: one for one in outcomes}
    assert {name: one.status for name, one in by_source.items()} == {
        "0": "done", "large": "failed",
    }  # fmt: skip
    assert "a worker was killed" in str(by_source["large"].error)
    assert not list((tmp_path / "out").glob(".*"))


def test_a_worker_that_dies_in_the_last_step_leaves_nothing_in_the_way(
    meddled, large, model, alone, tmp_path
):
    notes = tmp_path / "finished.txt"
    meddled.client.run(die_once_finished, str(notes))
    (outcome,) = run_scenes_with(meddled, [large], model, tmp_path / "out", SETTINGS)
    assert (outcome.status, notes.exists()) == ("done", True)
    assert result(tmp_path / "out", "large") == alone


def test_a_scene_whose_worker_died_before_it_could_say_so_is_done(two, small, model, tmp_path):
    """Its task is given to another, who finds the result."""
    out = tmp_path / "out"
    list(run_scenes_with(two, small[:1], model, out, SETTINGS))
    written = (out / "0.json").read_bytes()
    order = order_of(two, model, out, SETTINGS)
    for is_new, status in ((True, "done"), (False, "failed")):
        task = partial(take_scene, is_new=is_new)
        told = two.client.submit(task, order, str(small[0]), "0", pure=False).result()
        assert told.value.status == status
    assert (out / "0.json").read_bytes() == written


# Of somebody else's


def test_workers_of_a_scheduler_that_is_there(two, large, model, alone, tmp_path):
    address = two.client.scheduler.address
    with scheduled_crew(address) as theirs:
        list(run_scenes_with(theirs, [large], model, tmp_path / "out", SETTINGS))
    assert result(tmp_path / "out", "large") == alone
    assert two.size() == 2  # they are left as they were


def test_a_run_that_is_stopped_leaves_somebody_elses_workers_to_others(
    two, long, large, model, alone, tmp_path
):
    def stopping(items, *, label, total):  # noqa: ARG001  the protocol's names
        for number, item in enumerate(items):
            if number == 2:
                raise KeyboardInterrupt
            yield item

    out = tmp_path / "out"
    with scheduled_crew(two.client.scheduler.address) as theirs:
        with pytest.raises(KeyboardInterrupt):
            list(run_scenes_with(theirs, [long], model, out, SETTINGS, progress=stopping))
        begun = time.monotonic()
        while any(two.client.run(is_at_work).values()):  # they notice at the next window
            assert time.monotonic() - begun < 20
            time.sleep(0.05)
        list(run_scenes_with(theirs, [large], model, out, SETTINGS))
    assert result(out, "large") == alone
    assert not list(out.glob(".*"))


def test_a_scheduler_that_is_not_there_is_one_line(monkeypatch):
    monkeypatch.setattr(crew, "CONNECT_SECONDS", 0.3)
    with (
        pytest.raises(ClusterError, match=r"No scheduler answers at tcp://127\.0\.0\.1:1"),
        scheduled_crew("tcp://127.0.0.1:1"),
    ):
        pass


def test_without_dask_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ClusterError, match=r"geounet\[dask\]"), local_crew(1):
        pass


@pytest.mark.parametrize(
    ("gpus", "visible", "seen"),
    [(0, None, [None] * 3), (2, None, ["0", "1", "0"]), (2, "4, 7", ["4", "7", "4"])],
)
def test_each_worker_sees_one_gpu(gpus, visible, seen):
    environments = [
        worker_environment(number, threads=5, gpus=gpus, visible=visible) for number in range(3)
    ]
    assert [one.get("CUDA_VISIBLE_DEVICES") for one in environments] == seen
    assert {one["OMP_NUM_THREADS"] for one in environments} == {"5"}


# The command, stopped and killed


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "geounet_cli", "predict", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    own = psutil.Process(process.pid)
    return [own, *own.children(recursive=True)]


def wait_for_a_part(out: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not list(out.glob(".*.partial/parts/*/part.json")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)


OPTIONS = (
    "--window", 32, "--precision", "fp32", "--device", "cpu", "--divide", DIVIDE, "--threads", 1,
)  # fmt: skip


@pytest.mark.parametrize(
    ("number", "whom", "resume"),
    [
        (signal.SIGINT, os.killpg, ()),
        (signal.SIGTERM, os.kill, ()),
        (signal.SIGTERM, os.kill, ("--resume",)),
        (signal.SIGKILL, os.kill, ("--resume",)),
    ],
)
def test_a_command_that_is_stopped_leaves_no_process_and_goes_on(
    long, model, tmp_path, number, whom, resume
):
    out = tmp_path / "out"
    command = (long, "--model", model, "--out", out, *OPTIONS, "--workers", 2, *resume)
    process = start(*command)
    wait_for_a_part(out, process)
    people = family(process)
    assert len(people) >= 3
    whom(process.pid, number)
    said = process.communicate(timeout=30)[1]
    _, alive = psutil.wait_procs(people, timeout=10)
    assert alive == []
    if number == signal.SIGKILL:
        assert process.returncode == -number
    else:
        assert process.returncode == 128 + number
        assert said.splitlines()[-1] == "stopped"
        assert "Traceback" not in said
        assert "distributed" not in said
    if not resume:
        assert not out.exists() or not any(out.iterdir())
        return
    there = len(list(out.glob(".long.partial/parts/*/part.json")))
    assert there >= 1
    assert {path.name for path in out.iterdir()} == {".long.partial"}
    # One process goes on from what the workers left.
    settings = replace(SETTINGS, resume=True)
    predict_scene(long, model, out, settings)
    predict_scene(long, model, tmp_path / "alone", SETTINGS)
    assert result(out, "long") == result(tmp_path / "alone", "long")


def test_workers_and_a_scheduler_at_once_are_a_wrong_use(geounet, long, model, tmp_path):
    run = geounet(
        "predict", long, "--model", model, "--out", tmp_path / "out", "--workers", 2,
        "--scheduler", "tcp://127.0.0.1:1",
    )  # fmt: skip
    assert run.status == 2
    assert "--scheduler" in run.err
