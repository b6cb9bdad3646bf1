"""However a training of two processes ends, both end, and what was kept can be gone on from."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from training_chips import write_chips

SETTINGS = [
    "network_settings.base_width=2",
    "network_settings.depth=1",
    "batch=2",
    "patience=100000",
    "device=cpu",
    "precision=fp32",
]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are found in /proc"),
]


@pytest.fixture(scope="module")
def chips(tmp_path_factory):
    path = tmp_path_factory.mktemp("ends") / "chips"
    return write_chips(path, counts={"train": 4, "val": 2}, size=16)


def command(chips, out, *more):
    settings = [word for one in SETTINGS for word in ("--set", one)]
    words = ["train", chips, "--config", "demo", "--devices", 2, "--out", out, *settings, *more]
    return [sys.executable, "-m", "geounet_cli", *map(str, words)]


def begin(chips, out, *more):
    """Start a training without end, in a group of its own, and wait for its first checkpoint."""
    training = subprocess.Popen(
        command(chips, out, "--set", "epochs=100000", *more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        start_new_session=True,
        # A shell's background jobs, and so their children, start with Ctrl-C ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )
    deadline = time.monotonic() + 120
    while not (out / "checkpoints" / "last.ckpt").is_file():
        assert training.poll() is None, training.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return training


def members(group):
    """Processes of a group that run, by their command lines."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            state, _, theirs = (place / "stat").read_text().rpartition(") ")[2].split()[:3]
            if int(theirs) == group and state != "Z":
                found[int(place.name)] = (place / "cmdline").read_text()
        except OSError:  # ended meanwhile
            continue
    return found


def other_process(training):
    (other,) = [pid for pid, line in members(training.pid).items() if "spawn_main" in line]
    return other


def assert_ended(training, out):
    """All processes have ended, and the checkpoint that is there is whole."""
    deadline = time.monotonic() + 20
    while left := members(training.pid):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
    kept = torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)
    assert not (out / "model.safetensors").exists()
    return kept["global_step"]


def press_ctrl_c(training):
    os.killpg(training.pid, signal.SIGINT)  # a terminal tells all of the group


def end_the_job(training):
    os.kill(training.pid, signal.SIGTERM)


@pytest.mark.parametrize(("stop", "status"), [(press_ctrl_c, 130), (end_the_job, 143)])
def test_stopped_by_the_user_both_end_with_a_word_on_how_to_go_on(tmp_path, chips, stop, status):
    out = tmp_path / "run"
    training = begin(chips, out)
    stop(training)
    said, complained = training.communicate(timeout=60)
    assert training.returncode == status
    assert said == ""
    assert "Traceback" not in complained
    assert "--resume" in complained
    assert_ended(training, out)


def test_one_that_is_killed_ends_the_other_with_one_line_and_both_can_go_on(tmp_path, chips):
    out = tmp_path / "run"
    training = begin(chips, out)
    os.kill(other_process(training), signal.SIGKILL)
    killed = time.monotonic()
    said, complained = training.communicate(timeout=60)
    assert time.monotonic() - killed < 30
    assert training.returncode == 1
    assert said == ""
    assert "Traceback" not in complained
    (error,) = re.findall("^error: .*", complained, re.MULTILINE)
    assert re.search("process 1 .* ended by SIGKILL.* --resume", error)
    steps = assert_ended(training, out)

    again = begin(chips, out, "--resume")
    deadline = time.monotonic() + 60
    while torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] <= steps:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    press_ctrl_c(again)
    again.communicate(timeout=60)


def test_the_first_that_is_killed_leaves_no_other_behind(tmp_path, chips):
    out = tmp_path / "run"
    training = begin(chips, out)
    os.kill(training.pid, signal.SIGKILL)
    training.communicate(timeout=60)
    assert_ended(training, out)
