"""Many scenes: one bad one, all bad, an end before the end; and results that are there already."""

import dataclasses
import inspect
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from predicting import DARK, dark_probability, water_is_dark, wavy_dn, write_model, write_scene

from geounet.errors import GeounetError, OutputError, SceneError
from geounet.line_options import LineOptions
from geounet.outputs import list_records, sha256_of
from geounet.predict import (
    Outcome,
    Predictor,
    PredictSettings,
    predict_scene,
    predict_scenes,
    raise_failures,
    run_scenes,
    several,
)
from geounet.predict.earlier import describe_inputs
from geounet.scene import CloudOptions, SceneOptions, open_scene

SIDE = 40
NIR = 7


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that says sigmoid(−4 z) of the near infrared."""
    path = tmp_path_factory.mktemp("model") / "dark.safetensors"
    return write_model(path, overrides=DARK, prepare=water_is_dark(NIR))


@pytest.fixture
def scenes(tmp_path: Path) -> list[Path]:
    return [
        write_scene(tmp_path / f"{name}.tif", wavy_dn(SIDE, SIDE + 10 * seed, seed=seed))
        for seed, name in enumerate("abc")
    ]


def empty(folder: Path) -> Path:
    return write_scene(folder / "empty.tif", np.zeros((12, SIDE, SIDE), np.uint16))


def summary_of(out: Path) -> dict[str, Any]:
    return json.loads((out / "summary.json").read_text(encoding="utf-8"))


def statuses(out: Path) -> dict[str, str]:
    return {Path(one["source"]).stem: one["status"] for one in summary_of(out)["scenes"]}


def products(out: Path) -> dict[str, str]:
    """Every file of results but their records, by its bytes."""
    return {p.name: sha256_of(p) for p in out.iterdir() if p.suffix != ".json"}


# What becomes of each


def test_a_bad_scene_in_the_middle_and_one_that_is_not_there(scenes, model, tmp_path):
    out, missing = tmp_path / "out", tmp_path / "missing.tif"
    sources = [scenes[0], empty(tmp_path), missing, scenes[1]]
    outcomes = list(run_scenes(sources, model, out))
    assert [one.status for one in outcomes] == ["done", "failed", "failed", "done"]
    assert [one.name for one in outcomes] == ["a", "empty", None, "b"]
    assert [one.record for one in outcomes] == [out / "a.json", None, None, out / "b.json"]
    assert "no valid pixel" in str(outcomes[1].error)
    assert "missing.tif" in str(outcomes[2].complaint)


def test_all_bad_is_one_error_with_a_line_for_each(tmp_path, model):
    sources = [empty(tmp_path), tmp_path / "missing.tif"]
    with pytest.raises(GeounetError, match="2 of 2 scenes failed") as failed:
        list(predict_scenes(sources, model, tmp_path / "out"))
    assert len(str(failed.value).splitlines()) == 3
    assert statuses(tmp_path / "out") == {"empty": "failed", "missing": "failed"}


def test_together_and_one_by_one_give_the_same_bytes(scenes, model, tmp_path):
    list(predict_scenes(scenes, model, tmp_path / "together"))
    for scene in scenes:
        predict_scene(scene, model, tmp_path / "alone")
    assert products(tmp_path / "together") == products(tmp_path / "alone") != {}


def test_an_only_scene_has_its_own_error_and_no_summary(scenes, model, tmp_path):
    with pytest.raises(SceneError, match="no valid pixel"):
        list(predict_scenes([empty(tmp_path)], model, tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    predict_scene(scenes[0], model, tmp_path / "out")
    assert not (tmp_path / "out/summary.json").exists()


def test_failures_name_their_scene_once():
    bad = [
        Outcome("x.tif", None, "failed", error=SceneError("x.tif is cut short.")),
        Outcome("y.tif", None, "failed", error=SceneError("No space.")),
        Outcome("z.tif", "z", "done"),
    ]
    with pytest.raises(GeounetError) as failed:
        raise_failures(bad)
    assert str(failed.value).splitlines() == [
        "2 of 3 scenes failed:", "  x.tif is cut short.", "  y.tif: No space.",
    ]  # fmt: skip
    raise_failures([bad[2]])


def test_the_progress_says_which_scene_of_how_many(scenes, model, tmp_path):
    labels: list[str] = []

    def watch(items: Iterable[Any], *, label: str, total: int | None) -> Iterator[Any]:
        assert total is None or total > 0
        labels.append(label)
        yield from items

    list(run_scenes(scenes[:2], model, tmp_path / "out", progress=watch))
    assert {label.split()[0] for label in labels} == {"1/2", "2/2"}
    assert {"1/2 a", "2/2 b"} <= set(labels)
    labels.clear()
    predict_scene(scenes[2], model, tmp_path / "out", progress=watch)
    assert labels[0] == "c"


# The summary


def test_the_summary_says_what_was_found(scenes, model, tmp_path):
    out = tmp_path / "out"
    settings = PredictSettings(threshold=0.4, precision="fp32", command_line="geounet predict …")
    list(run_scenes([scenes[0], empty(tmp_path)], model, out, settings))
    summary = summary_of(out)
    assert summary["command_line"] == "geounet predict …"
    assert summary["model"] == {"file": "dark.safetensors", "sha256": sha256_of(model)}
    assert summary["counts"] == {"done": 1, "failed": 1, "skipped": 0, "not done": 0}
    done, failed = summary["scenes"]
    assert failed["error"].endswith("Check its nodata value.")
    assert failed["record"] is None
    assert done["record"] == "a.json"
    assert 0 < done["seconds"] <= summary["seconds"]
    with rasterio.open(scenes[0]) as src:
        assert done["water_share"] == (dark_probability(src.read(), NIR) >= 0.4).mean()
    with rasterio.open(out / "a_mask.tif") as src:
        assert done["water_share"] == (src.read(1) == 1).mean()
    assert done["coast_km"] > 0
    assert done["cloud_share"] is None, "nothing tells"


def test_a_summary_is_no_result_and_of_its_own_run_alone(scenes, model, tmp_path):
    out = tmp_path / "out"
    list(run_scenes(scenes[:2], model, out))
    assert [path.stem for path in list_records(out)] == ["a", "b"]
    list(run_scenes([scenes[2], empty(tmp_path)], model, out))
    assert statuses(out) == {"c": "done", "empty": "failed"}


def test_a_summary_that_cannot_be_written_leaves_the_last_whole(scenes, model, tmp_path, mocker_of):
    out = tmp_path / "out"
    list(run_scenes(scenes[:2], model, out))
    before = (out / "summary.json").read_bytes()
    mocker_of(several.json, "dumps", OutputError("the disk is full"))
    with pytest.raises(OutputError, match="the disk is full"):
        list(run_scenes(scenes[:2], model, out, PredictSettings(overwrite=True)))
    assert (out / "summary.json").read_bytes() == before
    assert not [p for p in out.iterdir() if p.name.startswith(".")]


@pytest.fixture
def mocker_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, str, Exception], None]:
    """Let a function fail where `several` alone calls it."""

    def fail(module: Any, name: str, error: Exception) -> None:
        class Broken:
            def __getattr__(self, attribute: str) -> Any:
                if attribute == name:
                    raise error
                return getattr(module, attribute)

        monkeypatch.setattr(several, module.__name__, Broken())

    return fail


def test_the_summary_is_written_on_the_way_when_time_has_passed(
    scenes, model, tmp_path, monkeypatch
):
    monkeypatch.setattr(several, "WRITTEN_EVERY", -1.0)
    run = run_scenes(scenes, model, tmp_path / "out")
    next(run)
    assert statuses(tmp_path / "out") == {"a": "done", "b": "not done", "c": "not done"}
    list(run)
    assert set(statuses(tmp_path / "out").values()) == {"done"}


def test_what_is_in_the_summarys_place_is_refused_before_anything_is_done(scenes, model, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "summary.json").write_text('{"mine": true}')
    with pytest.raises(OutputError, match=r"summary\.json is in the way"):
        next(run_scenes(scenes, model, out))
    assert [p.name for p in out.iterdir()] == ["summary.json"]
    named = write_scene(tmp_path / "summary.tif", wavy_dn(SIDE, SIDE))
    with pytest.raises(OutputError, match=r"summary\.tif is called summary"):
        next(run_scenes([*scenes, named], model, tmp_path / "other"))
    assert not (tmp_path / "other").exists()


# An end before the end


def stopping_at(name: str) -> Any:
    """A progress under which Ctrl-C comes while scene `name` is predicted."""

    def progress(items: Iterable[Any], *, label: str, total: int | None) -> Iterator[Any]:
        for item in items:
            if label.endswith(f" {name}") and total:
                raise KeyboardInterrupt
            yield item

    return progress


def test_a_stopped_run_says_how_to_go_on_and_a_rerun_does_the_rest_alone(
    scenes, model, tmp_path, caplog
):
    caplog.set_level(logging.INFO, "geounet")
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        list(run_scenes(scenes, model, out, progress=stopping_at("b")))
    assert "1 of 3 scenes are done; the same command with --skip-existing goes on" in caplog.text
    assert statuses(out) == {"a": "done", "b": "not done", "c": "not done"}
    first = (out / "a.json").stat().st_mtime_ns
    outcomes = list(run_scenes(scenes, model, out, skip_existing=True))
    assert [one.status for one in outcomes] == ["skipped", "done", "done"]
    assert (out / "a.json").stat().st_mtime_ns == first
    list(run_scenes(scenes, model, tmp_path / "whole"))
    assert products(out) == products(tmp_path / "whole")


def test_who_takes_no_more_outcomes_leaves_a_summary(scenes, model, tmp_path):
    run = run_scenes(scenes, model, tmp_path / "out")
    next(run)
    run.close()
    assert summary_of(tmp_path / "out")["counts"]["not done"] == 2


# What is there already


@pytest.fixture(scope="module")
def finished(model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a scene, `a.tif`, and what was made of it, in `out`."""
    folder = tmp_path_factory.mktemp("finished")
    scene = write_scene(folder / "a.tif", wavy_dn(SIDE, SIDE))
    predict_scene(scene, model, folder / "out", PredictSettings(precision="fp32"))
    return folder


@pytest.fixture
def scene(finished: Path, tmp_path: Path) -> Path:
    """A copy of the scene, made at the same time."""
    return Path(shutil.copy2(finished / "a.tif", tmp_path / "a.tif"))


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    """A copy of what was made of it."""
    return Path(shutil.copytree(finished / "out", tmp_path / "out"))


def again(scene: Path, model: Path, out: Path, *how: Any, **settings: Any) -> Outcome:
    (outcome,) = run_scenes(
        [scene],
        model,
        out,
        PredictSettings(**{"precision": "fp32", **settings}),
        *how,
        skip_existing=True,
    )
    return outcome


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({}, None),
        ({"overwrite": True}, None),
        ({"command_line": "typed otherwise"}, None),
        ({"device": "cpu"}, None),
        ({"threshold": 0.25}, "threshold 0.5 there, 0.25 here"),
        ({"halo": 12}, "halo 8 there, 12 here"),
        ({"halo": "exact"}, None),  # which here is the default, and the plan is the same
        ({"window": 32}, "window 40 there, 32 here"),
        ({"window": 40}, None),  # as it was chosen
        ({"batch": 2}, "batch 1 there, 2 here"),
        ({"probability": "float32"}, "probability uint8 there, float32 here"),
        ({"report": True}, "report False there, True here"),
        ({"lines": LineOptions(simplify_m=5)}, "simplify_m 0.0 there, 5 here"),
    ],
)
def test_a_result_is_left_where_settings_and_plan_are_the_same(scene, model, out, settings, why):
    outcome = again(scene, model, out, **settings)
    if why is None:
        assert outcome.status == "skipped", outcome.error
        assert outcome.record == out / "a.json"
        assert outcome.water_share is not None
    else:
        assert outcome.status == "failed"
        assert why in str(outcome.error)
        assert "Use --overwrite" in str(outcome.error)


@pytest.mark.parametrize(
    "options",
    [
        SceneOptions(level="L1C"),
        SceneOptions(scale=2e-4),
        SceneOptions(nodata=1),
        SceneOptions(res=20),
        SceneOptions(clouds=CloudOptions(buffer_m=10)),
    ],
)
def test_what_was_said_of_the_scene_has_to_be_the_same(scene, model, out, options):
    outcome = again(scene, model, out, options)
    assert outcome.status == "failed"
    assert "is not what this run would make" in str(outcome.error)


def test_another_model_and_a_touched_scene_are_told(scene, model, out, tmp_path):
    other = write_model(tmp_path / "dark.safetensors", overrides=DARK, prepare=water_is_dark(3))
    assert "another model" in str(again(scene, other, out).error)
    found = scene.stat()
    os.utime(scene, ns=(found.st_atime_ns, found.st_mtime_ns + 1))
    assert "a.tif has changed since" in str(again(scene, model, out).error)
    os.utime(scene, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert again(scene, model, out).status == "skipped"


def test_the_same_file_by_another_path_is_the_same(scene, model, out, monkeypatch):
    monkeypatch.chdir(scene.parent)
    assert again(Path(scene.name), model, out).status == "skipped"


def test_a_touched_area_of_interest_is_told(scene, tmp_path):
    area = tmp_path / "area.geojson"
    square = [[[-2, 46], [-1, 46], [-1, 46.1], [-2, 46.1], [-2, 46]]]
    area.write_text(json.dumps({"type": "Polygon", "coordinates": square}))
    with open_scene(scene, advise=False) as opened:
        before = describe_inputs(opened, [area, None, "4.5,50"])
        area.write_text(area.read_text() + " ")
        after = describe_inputs(opened, [area, None])
    assert [file["name"] for file in before["files"]] == ["a.tif", "area.geojson"]
    assert before["files"][0] == after["files"][0]
    assert before["files"][1]["bytes"] + 1 == after["files"][1]["bytes"]


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def one_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "why"),
    [(Path.unlink, "is missing"), (cut_off, "not as it was"), (one_bit, "not as it was")],
)
@pytest.mark.parametrize("suffix", ["_mask.tif", ".gpkg", "_probability.qml"])
def test_a_damaged_result_is_not_left(scene, model, out, harm, why, suffix):
    sound = products(out)
    harm(out / f"a{suffix}")
    told = str(again(scene, model, out).error)
    assert f"a{suffix} {why}" in told or f"a{suffix} is {why}" in told
    if suffix == ".gpkg":  # once is enough
        assert again(scene, model, out, overwrite=True).status == "done"
        assert products(out) == sound


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda record: record.pop("inputs"), "does not say which files"),
        (lambda record: record.update(files=[]), "its record is damaged"),
        (lambda record: record.update(files={}), "its record is damaged"),
        (lambda record: record.update(command="baseline"), "command baseline there, predict here"),
        (lambda record: record.update(format=2), "exists already"),
        (lambda record: record.pop("files"), "is no record of a result of ours"),
    ],
)
def test_other_records_are_not_taken_for_this_runs(scene, model, out, change, why):
    path = out / "a.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    assert why in str(again(scene, model, out).error)


def test_what_is_there_is_made_anew_with_overwrite_and_why_is_said(scene, model, out, caplog):
    caplog.set_level(logging.INFO, "geounet")
    assert again(scene, model, out, threshold=0.3, overwrite=True).status == "done"
    assert "is made anew: threshold 0.5 there, 0.3 here" in caplog.text
    assert json.loads((out / "a.json").read_text())["settings"]["threshold"] == 0.3


def test_another_version_is_noted(scene, model, out):
    path = out / "a.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"geounet": "0.0.1"}))
    outcome = again(scene, model, out)
    assert outcome.status == "skipped"
    assert outcome.notes[-1] == "made by geounet 0.0.1"


def test_every_setting_counts_or_is_known_not_to():
    """A setting that is new is compared unless somebody has thought about it."""
    fields = {one.name for one in dataclasses.fields(PredictSettings)}
    source = inspect.getsource(Predictor.expected)
    left_out = {name for name in fields if f'"{name}"' in source} - {"aoi"}
    assert left_out == {
        "window", "halo", "batch", "precision", "backend", "device", "overwrite", "command_line",
        "memory", "threads", "divide", "resume",
    }  # fmt: skip
