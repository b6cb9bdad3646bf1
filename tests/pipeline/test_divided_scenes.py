"""A scene in strips is the scene in one piece; and what a killed run left is gone on from."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from dividing import (
    DIVIDE,
    HEIGHT,
    HOW,
    STRIPS,
    THREE,
    WIDTH,
    result,
    write_long_scene,
    write_small_model,
)
from predicting import write_scene

from geounet.errors import GeounetError, OutputError
from geounet.predict import Predictor, PredictSettings, predict_scene
from geounet.predict.network_pass import NetworkPass
from geounet.predict.parts import RECORD

SETTINGS = PredictSettings(**HOW)
KINDS = {"halo": {}, "blended": {"blended": True}, "three classes": {"classes": THREE}}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_long_scene(tmp_path_factory.mktemp("scene") / "a.tif")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        kind: write_small_model(folder / f"{kind}.safetensors", **how)
        for kind, how in KINDS.items()
    }


@pytest.fixture
def strips(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The strips that were predicted, as they are."""
    predicted, predict = [], NetworkPass.predict

    def watched(self, job, strip, *others):
        predicted.append(strip.name)
        return predict(self, job, strip, *others)

    monkeypatch.setattr(NetworkPass, "predict", watched)
    return predicted


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [1, 3])
def test_strips_are_not_to_be_seen_in_a_result(scene, models, tmp_path, strips, kind, batch):
    settings = replace(SETTINGS, batch=batch, report=batch == 1)
    predict_scene(scene, models[kind], tmp_path / "whole", replace(settings, divide=0))
    assert len(strips) == 1
    strips.clear()
    predict_scene(scene, models[kind], tmp_path / "divided", settings)
    assert len(strips) == len(set(strips)) == STRIPS
    whole, divided = (result(tmp_path / which, "a") for which in ("whole", "divided"))
    for page in ("a_report.html", "a_quicklook.png"):  # which shows how long it took
        whole["files"].pop(page, None), divided["files"].pop(page, None)
        whole["record"]["files"].pop(page, None), divided["record"]["files"].pop(page, None)
    assert divided == whole
    assert len(whole["files"]) > 5
    assert (whole["record"]["blended"], "blending" in whole["record"]) == (
        kind == "blended", kind == "blended",
    )  # fmt: skip
    assert {path.name for path in (tmp_path / "divided").iterdir() if path.is_dir()} == set()


def killed(scene: Path, model: Path, out: Path, *, parts: int) -> None:
    """Predict in a process that is killed once so many parts are there."""
    code = """
import os, signal, sys
from pathlib import Path
from geounet.predict import Predictor, PredictSettings, predict_scene
from geounet.predict.parts import Parts
from dividing import HOW
make, parts = Parts.make, int(sys.argv[4])
def killing(self, strip, predict):
    if sum(1 for _ in Path(sys.argv[3]).glob(".a.partial/parts/*/part.json")) == parts:
        os.kill(os.getpid(), signal.SIGKILL)
    return make(self, strip, predict)
Parts.make = killing
predict_scene(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), PredictSettings(**HOW))
"""
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(scene), str(model), str(out), str(parts)],
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": str(torch.get_num_threads())},
        check=False, timeout=120,
    )  # fmt: skip
    assert run.returncode == -signal.SIGKILL


@pytest.fixture(scope="module")
def left(scene, models, tmp_path_factory) -> Path:
    """What a run left that was killed when three parts were there."""
    out = tmp_path_factory.mktemp("killed") / "out"
    killed(scene, models["halo"], out, parts=3)
    return out


@pytest.fixture
def out(left: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(left, tmp_path / "out"))


@pytest.fixture(scope="module")
def undisturbed(scene, models, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed")
    predict_scene(scene, models["halo"], out, SETTINGS)
    return result(out, "a")


RESUMED = replace(SETTINGS, resume=True)


def parts_in(out: Path) -> list[Path]:
    return sorted(
        (out / ".a.partial" / "parts").glob("[0-9]*"), key=lambda p: int(p.name.split("-")[0])
    )


def test_a_killed_run_is_gone_on_from(scene, models, out, undisturbed, strips):
    there = [part.name for part in parts_in(out)]
    assert len(there) == 3
    predict_scene(scene, models["halo"], out, RESUMED)
    assert len(strips) == STRIPS - 3
    assert not {*strips} & {*there}
    assert result(out, "a") == undisturbed
    assert not (out / ".a.partial").exists()


def test_without_being_asked_for_nothing_is_gone_on_from(scene, models, out, undisturbed, strips):
    predict_scene(scene, models["halo"], out, SETTINGS)
    assert len(strips) == STRIPS
    assert result(out, "a") == undisturbed


def test_a_run_that_is_stopped_keeps_its_parts_where_it_was_to_resume(
    scene, models, tmp_path, undisturbed, strips, monkeypatch
):
    predict = NetworkPass.predict

    def stopping(self, job, strip, *others):
        if len(strips) == 2:
            raise KeyboardInterrupt
        return predict(self, job, strip, *others)

    for settings, kept in ((SETTINGS, 0), (RESUMED, 2)):
        strips.clear()
        monkeypatch.setattr(NetworkPass, "predict", stopping)
        with pytest.raises(KeyboardInterrupt):
            predict_scene(scene, models["halo"], tmp_path / "out", settings)
        monkeypatch.setattr(NetworkPass, "predict", predict)
        assert len(parts_in(tmp_path / "out")) == kept
        assert not (tmp_path / "out/.a.partial/.lock").exists()
    strips.clear()
    predict_scene(scene, models["halo"], tmp_path / "out", RESUMED)
    assert len(strips) == STRIPS - 2
    assert result(tmp_path / "out", "a") == undisturbed


def spoil(part: Path) -> None:
    path = part / "water.tif"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (spoil, "water.tif is not as it was written"),
        (lambda part: (part / "water.tif").unlink(), "water.tif is missing"),
        (lambda part: (part / RECORD).write_text('{"format"'), "its record is damaged"),
        (lambda part: (part / RECORD).write_text("[]"), "does not say|its record is damaged"),
        (lambda part: (part / RECORD).unlink(), "its record is damaged"),
    ],
)
def test_a_damaged_part_is_made_anew_and_said(
    scene, models, out, undisturbed, strips, caplog, damage, why
):
    part = parts_in(out)[1]
    damage(part)
    predict_scene(scene, models["halo"], out, RESUMED)
    assert len(strips) == STRIPS - 2
    assert part.name in strips
    (said,) = [r.getMessage() for r in caplog.records if "anew" in r.getMessage()]
    assert re.search(why, said)
    assert str(scene) in said
    assert result(out, "a") == undisturbed


def test_parts_of_another_model_scene_or_area_are_made_anew(
    models, scene, out, tmp_path, strips, caplog
):
    predict_scene(scene, models["three classes"], out, RESUMED)
    assert len(strips) == STRIPS
    assert "another model" in caplog.text
    predict_scene(scene, models["three classes"], tmp_path / "sound", SETTINGS)
    assert result(out, "a") == result(tmp_path / "sound", "a")


def test_parts_of_a_scene_that_has_changed_are_made_anew(models, out, tmp_path, strips, caplog):
    other = write_long_scene(tmp_path / "a.tif", seed=1)
    predict_scene(other, models["halo"], out, RESUMED)
    assert len(strips) == STRIPS
    assert "a.tif has changed since" in caplog.text


def test_the_first_runs_plan_is_gone_on_with(scene, models, out, undisturbed, strips):
    """Its window, precision and device, where nobody says otherwise; here they would be others."""
    free = PredictSettings(divide=DIVIDE, resume=True)
    torch.set_num_threads(2)
    try:
        predict_scene(scene, models["halo"], out, free)
    finally:
        torch.set_num_threads(1)
    assert len(strips) == STRIPS - 3
    resumed = result(out, "a")
    assert resumed["files"] == undisturbed["files"]
    assert resumed["record"]["plan"] == undisturbed["record"]["plan"]


def test_what_is_said_counts_and_not_the_first_runs_plan(scene, models, out, caplog):
    predict_scene(scene, models["halo"], out, replace(RESUMED, window=64))
    assert "window 32 there, 64 here" in caplog.text
    assert json.loads((out / "a.json").read_text())["plan"]["window"] == 64


def test_a_scene_without_data_is_an_error_in_strips_too(models, tmp_path):

    empty = write_scene(
        tmp_path / "e.tif", np.zeros((2, 300, 130), np.uint16), names=("B03", "B08")
    )
    with pytest.raises(GeounetError, match="no valid pixel"):
        predict_scene(empty, models["halo"], tmp_path / "out", SETTINGS)
    assert not (tmp_path / "out").exists()


def test_a_disk_too_small_for_all_strips_is_said_before_any_is_predicted(
    scene, models, out, tmp_path, strips, monkeypatch
):
    class Disk(NamedTuple):
        f_bavail: int
        f_frsize: int = 1

    with monkeypatch.context() as small:
        small.setattr("geounet.stitch.os.statvfs", lambda _: Disk(9 << 20))
        small.setattr(Predictor, "_row_bytes", lambda *_: 1 << 20)
        with pytest.raises(OutputError, match=r"the disk is full \(300 MiB are needed"):
            predict_scene(scene, models["halo"], tmp_path / "new", SETTINGS)
    assert strips == []
    assert not (tmp_path / "new").exists()
    asked: list[int] = []
    monkeypatch.setattr("geounet.predict.predictor.check_room", lambda _, size: asked.append(size))
    predict_scene(scene, models["halo"], out, RESUMED)
    assert asked == [(HEIGHT - 192) * WIDTH * 4]  # of the strips that are not there
