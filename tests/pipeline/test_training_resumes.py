"""A training that is killed and gone on with ends, bit for bit, as one that was not."""

import hashlib
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from training_chips import write_chips

from geounet.config import Config
from geounet.train import train_model

# Dropout and chips on disk, so that all kinds of chance are in it; 4 epochs of 12 steps.
SETTINGS = {
    "network_settings": {"base_width": 4, "depth": 2, "dropout": "pooling"},
    "augment": {"noise": 0.02, "shift": 0.1},
    "epochs": 4,
    "batch": 2,
    "accumulate": 2,
    "warmup": 5,
    "clip_norm": 1.0,
    "sampling": "balanced",
    "learning_rate": 0.01,
    "checkpoint_every": 3,
    "device": "cpu",
    "precision": "fp32",
    "workers": 0,
}
STEPS = 4 * 12

# Kills itself as a power cut would, in the middle of a step.
TRAIN = """
import os, signal, sys
from pathlib import Path
import torch
from geounet.config import Config
from geounet.task import SegmentationTask
from geounet.train import train_model

chips, out, config, kill_at = *map(Path, sys.argv[1:3]), sys.argv[3], int(sys.argv[4])
torch.set_num_threads(1)
backward = SegmentationTask.backward

def die(task, *arguments, **options):
    backward(task, *arguments, **options)
    if task.global_step == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)

SegmentationTask.backward = die
train_model(chips, Config.model_validate_json(config), out, resume=True)
"""


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in another order are other sums
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def chips(tmp_path_factory):
    path = tmp_path_factory.mktemp("resumes") / "chips"
    return write_chips(path, counts={"train": 46, "val": 2}, size=16)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def train_until_killed(chips, out, config, kill_at):
    command = [sys.executable, "-c", TRAIN, chips, out, config.model_dump_json(), str(kill_at)]
    return subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )


def test_killed_at_three_random_places_it_ends_as_if_it_had_not_been(tmp_path, chips):
    config = Config(**SETTINGS)
    train_model(chips, config, tmp_path / "whole")
    rng = np.random.default_rng(time.time_ns())  # other places each time; the message names them
    places = sorted(rng.choice(np.arange(4, STEPS), size=3, replace=False).tolist())
    out = tmp_path / "killed"
    for place in places:
        killed = train_until_killed(chips, out, config, place)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        # The last checkpoint is of the last multiple of 3, or of the end of an epoch.
        kept = torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
        assert kept == max(place // 3 * 3, place // 12 * 12), places
        assert not (out / "model.safetensors").exists()
    train_model(chips, config, out, resume=True)
    for name in ("model.safetensors", "logs/epochs.csv", "curves.png", "validation.png"):
        assert digest(out / name) == digest(tmp_path / "whole" / name), (name, places)
    whole, resumed = (
        torch.load(tmp_path / run / "checkpoints" / "last.ckpt", weights_only=True)
        for run in ("whole", "killed")
    )
    assert resumed["global_step"] == STEPS
    for name, value in whole["state_dict"].items():
        assert torch.equal(value, resumed["state_dict"][name]), (name, places)


def test_checkpoints_between_change_nothing(tmp_path, chips):
    config = Config(**SETTINGS | {"epochs": 1})
    train_model(chips, config, tmp_path / "often")
    never = config.model_copy(update={"checkpoint_every": None})
    train_model(chips, never, tmp_path / "never")
    assert digest(tmp_path / "often" / "logs" / "epochs.csv") == digest(
        tmp_path / "never" / "logs" / "epochs.csv"
    )


@pytest.mark.slow
def test_a_compiled_network_is_gone_on_with_and_its_weights_keep_their_names(tmp_path, chips):
    # Compiled, dropout draws otherwise, and the last digits are others, which Adam makes much of.
    same = {"network_settings": {"base_width": 2, "depth": 1}, "optimizer": "sgd"}
    plain = Config(**SETTINGS | same | {"epochs": 1, "checkpoint_every": 6})
    train_model(chips, plain, tmp_path / "plain")
    compiled = plain.model_copy(update={"compile": True})

    def stop(items, *, label, total):  # noqa: ARG001
        for done, item in enumerate(items):
            if label == "epoch 1/1" and done == 14:
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        train_model(chips, compiled, tmp_path / "compiled", progress=stop)
    train_model(chips, compiled, tmp_path / "compiled", resume=True)
    expected, found = (
        torch.load(tmp_path / run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for run in ("plain", "compiled")
    )
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-4, rtol=1e-4)
