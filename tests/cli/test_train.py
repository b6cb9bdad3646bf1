"""What people see of `geounet train`."""

import os
import signal
import subprocess
import sys
import time

import pytest
from training_chips import write_chips

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
    path, head, *scores = run.out.splitlines()
    assert path == str(out / "model.safetensors")
    assert head.split() == ["split", "class", "IoU", "F1"]
    assert [line.split()[:2] for line in scores] == [
        [split, name] for split in ("val", "test") for name in ("land", "water")
    ]
    assert all(0 <= float(number) <= 1 for line in scores for number in line.split()[2:])
    told = [line for line in run.err.splitlines() if line]
    assert [line[:9] for line in told[:2]] == ["epoch 1/2", "epoch 2/2"]
    assert len(told) == 3  # and the halo


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
