"""What people see of `geounet train`."""

import os
import signal
import subprocess
import sys
import time
from functools import reduce
from operator import getitem
from pathlib import Path

import pytest
from geounet_cli.train import format_training
from training_chips import write_chips

from geounet.classes import LAND_WATER, LabelClass
from geounet.config import UNetSettings
from geounet.metrics import ALL_WATER
from geounet.model_file import ModelHeader, NetworkRecord, read_header

QUICK = ["--set", "network_settings.base_width=4", "--set", "network_settings.depth=2"]


@pytest.fixture(scope="module")
def chips(tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "chips"
    return write_chips(path, counts={"train": 4, "val": 2, "test": 1})


def test_it_prints_the_model_file_and_its_scores(geounet, tmp_path, chips):
    out = tmp_path / "run"
    settings = [*QUICK, "--set", "epochs=2", "--set", "batch=2"]
    run = geounet("train", chips, "--config", "demo", "--out", out, *settings)
    assert run.status == 0, run.err
    path, table, facts, following = run.out.split("\n\n")
    assert path == str(out / "model.safetensors")
    head, counts, *rows, _ = table.splitlines()
    assert head.split() == ["val", "test"]
    assert " ".join(counts.split()) == "chips in blocks 2 in 2 1 in 1"
    scores = read_header(out / "model.safetensors").training["scores"]
    for title, *keys in [
        ("IoU land", "iou", "land"),
        ("IoU water", "iou", "water"),
        ("F1 water", "f1", "water"),
        ("boundary IoU at 2 px", "boundary_iou", "2", "water"),
        ("boundary F1 at 2 px", "boundary_f1", "2", "water"),
        ("calibration error", "calibration_error"),
    ]:
        (row,) = (row for row in rows if row.startswith(title))
        wanted = [reduce(getitem, keys, scores[split]) for split in ("val", "test")]
        assert row.removeprefix(title).split() == [f"{score:.4f}" for score in wanted]
    *_, card = facts.splitlines()
    assert facts.startswith("position_u95_m  ")
    assert card.split() == ["card", str(out / "MODEL.md")]
    assert f"geounet predict SCENE --model {out / 'model.safetensors'} --out" in following
    told = [line for line in run.err.splitlines() if line]
    assert [line[:9] for line in told[:2]] == ["epoch 1/2", "epoch 2/2"]
    assert len(told) == 3  # and the halo


def header_of(classes, scores):
    """The header of a model that was trained for so many classes, with these scores."""
    return ModelHeader(
        network=NetworkRecord(name="n", settings=UNetSettings()),
        bands=({"name": "B03", "sensor": "s2", "wavelength_nm": 559.8, "common_name": "green"},),
        sensor="s2",
        level="L2A",
        mean=(0.0,),
        std=(1.0,),
        classes=tuple(one.to_dict() for one in classes),
        stride=4,
        halo_exact=24,
        halo_default=24,
        halo_error=0,
        res_m=(10, 10),
        training={"scores": scores},
        position_u95_m=123.4,
        suggested_threshold=0.12,
    )


@pytest.mark.parametrize("count", [2, 3])
def test_the_scores_with_intervals_fit_a_terminal(count):
    surf = LabelClass(2, "surf over the outer bank", "#ffffff", water=True)
    names = ["land", "water", surf.name, ALL_WATER][: 2 * count - 2]
    by_class = dict.fromkeys(reversed(names), 0.9753)  # a file has them by the alphabet
    spread = {"iou": {name: [0.951, 0.998] for name in names}, "calibration_error": None}
    spread |= {"f1": spread["iou"], "boundary_iou": {"2": spread["iou"]}}
    spread |= {"boundary_f1": {"2": dict.fromkeys(names)}}
    of_split = {
        "chips": 12345,
        "blocks": 678,
        "iou": by_class,
        "f1": by_class,
        "boundary_iou": {"2": by_class},
        "boundary_f1": {"2": by_class},
        "calibration_error": None,
        "interval": spread,
    }
    header = header_of([*LAND_WATER, surf][:count], {"val": of_split, "test": of_split})
    told = format_training(Path("run/model.safetensors"), header).splitlines()
    assert max(map(len, told)) <= 80
    assert any(line.split() == ["IoU", "water", *["0.9753", "(0.951–0.998)"] * 2] for line in told)
    ious = [line[4:22].rstrip() for line in told if line.startswith("IoU")]
    assert ious == [name[:18] for name in names]
    assert any(line.startswith("F1 all water") for line in told) == (count == 3)
    assert any(line.split() == ["calibration", "error", "–", "–"] for line in told)
    assert any("123.4 m" in line for line in told)


def test_without_chips_to_judge_on_it_says_that_nothing_is_known():
    told = format_training(Path("model.safetensors"), header_of(LAND_WATER, {}))
    assert "how good it is, is not known" in told
    assert "geounet predict" in told


def test_licence_and_notes_are_kept_and_told(geounet, tmp_path, chips):
    out = tmp_path / "run"
    notes = ["--note", "Blind to ice.", "--note", "Ask the survey."]
    asked = ["--config", "demo", *QUICK, "--set", "epochs=1", "--licence", "CC-BY-4.0", *notes]
    assert geounet("train", chips, *asked, "--out", out).status == 0
    header = read_header(out / "model.safetensors")
    assert header.licence == "CC-BY-4.0"
    assert header.notes == ("Blind to ice.", "Ask the survey.")
    card = (out / "MODEL.md").read_text()
    assert "CC-BY-4.0" in card
    assert "- Blind to ice.\n- Ask the survey.\n" in card


def bad_input(tmp_path):
    no_chips = tmp_path / "nothing"
    no_chips.mkdir(exist_ok=True)
    torn = write_chips(tmp_path / "torn", counts={"train": 2, "val": 1})
    image = torn / "images" / "chip_000.tif"
    image.write_bytes(image.read_bytes()[:500])
    good = write_chips(tmp_path / "good", counts={"train": 2, "val": 1})
    empty = write_chips(tmp_path / "empty", counts={"val": 1})
    config = ["--config", "demo", *QUICK, "--set", "epochs=1"]
    return {
        "missing": ([tmp_path / "absent", *config], "is not there"),
        "no chips": ([no_chips, *config], "no chip folder"),
        "truncated": ([torn, *config], "chip_000"),
        "empty split": ([empty, *config], "0 train"),
        "bands": ([good, *config, "--set", "bands=[B08, B11]"], "B11"),
        "key": ([good, *config, "--set", "epoch=1"], "epochs"),
        "recipe": ([good, "--config", "coats"], "coast"),
        "size": ([good, *config, "--set", "network_settings.depth=6"], "64"),
        "device": ([good, *config, "--set", "device=cuda:99"], "cuda:99"),
    }


CASES = ["missing", "no chips", "truncated", "empty split", "bands", "key", "recipe", "size"]


@pytest.mark.parametrize("case", [*CASES, "device"])
def test_bad_input_is_one_line_and_leaves_nothing_behind(geounet, tmp_path, case):
    arguments, word = bad_input(tmp_path)[case]
    out = tmp_path / "run"
    run = geounet("train", *arguments, "--out", out)
    assert run.status == 1
    assert word in run.complaint
    assert run.out == ""
    assert not out.exists()


def test_a_folder_that_exists_is_not_overwritten_unasked(geounet, tmp_path, chips):
    arguments = ["train", chips, "--config", "demo", *QUICK, "--set", "epochs=1"]
    out = tmp_path / "run"
    assert geounet(*arguments, "--out", out).status == 0
    again = geounet(*arguments, "--out", out)
    assert again.status == 1
    assert "--overwrite" in again.complaint
    assert geounet(*arguments, "--out", out, "--overwrite").status == 0
    assert geounet(*arguments, "--out", out, "--resume").status == 0  # done: nothing to train
    both = geounet(*arguments, "--out", out, "--overwrite", "--resume")
    assert both.status == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_output_folder_that_may_not_be_written_to_is_told(geounet, tmp_path, chips):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    run = geounet("train", chips, "--config", "demo", *QUICK, "--out", closed / "run")
    assert run.status == 1
    assert "may not be written to" in run.complaint


def test_a_path_below_a_file_is_told(geounet, tmp_path, chips):
    (tmp_path / "file").write_text("")
    run = geounet("train", chips, "--config", "demo", *QUICK, "--out", tmp_path / "file" / "run")
    assert run.status == 1
    assert "a file of that name is in the way; give another --out" in run.complaint


def test_ctrl_c_keeps_the_last_epoch_and_says_how_to_go_on(tmp_path, chips):
    out = tmp_path / "run"
    settings = [*QUICK, "--set", "epochs=100000", "--set", "patience=100000"]
    command = [sys.executable, "-m", "geounet_cli", "train", chips, "--config", "demo", *settings]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error::UserWarning"}
    with subprocess.Popen(
        [*map(str, command), "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        # A shell's background jobs, and so their children, start with Ctrl-C ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    ) as process:
        deadline = time.monotonic() + 120
        while not (out / "checkpoints" / "last.ckpt").is_file():
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        said, complained = process.communicate(timeout=120)
    assert process.returncode == 130
    assert said == ""
    assert "Traceback" not in complained
    assert "--resume" in complained
    assert not (out / "model.safetensors").exists()
