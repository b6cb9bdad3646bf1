"""Two processes train as one does with their chips together."""

import csv
import os
import socket
import subprocess
import sys

import pytest
import torch
from training_chips import write_chips

from geounet.config import Config
from geounet.errors import ChipsError
from geounet.train import train_model

PLAIN = {
    "network_settings": {"base_width": 4, "depth": 2, "norm": "none", "bias": True, "init": "he"},
    "augment": {"flips": False, "rotations": False},
    "epochs": 2,
    "batch": 4,
    "learning_rate": 1e-3,
    "device": "cpu",
    "precision": "fp32",
}


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def chips(tmp_path_factory):
    """Of 18 chips: 5 batches of 4 or 3 in an epoch, so that processes also have unequal parts."""
    path = tmp_path_factory.mktemp("together") / "chips"
    return write_chips(path, counts={"train": 18, "val": 9, "test": 1}, size=16, shares=True)


def weights(out):
    return torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def rows(out):
    with (out / "logs" / "epochs.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def assert_alike(one, two):
    alone, together = weights(one), weights(two)
    assert alone.keys() == together.keys()
    furthest = max((alone[name] - together[name]).abs().max().item() for name in alone)
    assert furthest <= 1e-5
    for a, b in zip(rows(one), rows(two), strict=True):
        assert a.keys() == b.keys()
        for name, value in a.items():
            assert float(value) == pytest.approx(float(b[name]), abs=1e-5)


# Cross entropy, which is a mean over known pixels, of which each process has others; and Dice,
# which is no mean at all.
@pytest.mark.parametrize(
    ("loss", "labels"),
    [({"dice": 0}, "classes"), ({"dice": 1}, "classes"), ({"dice": 1}, "shares")],
    ids=["cross entropy", "and dice", "of shares"],
)
def test_after_ten_steps_two_processes_have_the_weights_of_one(tmp_path, chips, loss, labels):
    config = Config(**PLAIN, loss=loss, labels=labels)
    train_model(chips, config, tmp_path / "one")
    before = dict(os.environ)
    train_model(chips, config.model_copy(update={"devices": 2}), tmp_path / "two")
    assert dict(os.environ) == before
    assert not torch.distributed.is_initialized()
    one = torch.load(tmp_path / "one" / "checkpoints" / "last.ckpt", weights_only=True)
    assert one["global_step"] == 10
    assert_alike(tmp_path / "one", tmp_path / "two")


def test_what_one_process_began_two_go_on_with(tmp_path, chips):
    config = Config(**PLAIN, checkpoint_every=2)
    train_model(chips, config, tmp_path / "one")

    def stop(items, *, label, total):  # noqa: ARG001
        for done, item in enumerate(items):
            if label == "epoch 2/2" and done == 4:
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        train_model(chips, config, tmp_path / "two", progress=stop)
    kept = torch.load(tmp_path / "two" / "checkpoints" / "last.ckpt", weights_only=True)
    assert kept["global_step"] == 8  # of 5 + 3
    two = config.model_copy(update={"devices": 2})
    train_model(chips, two, tmp_path / "two", resume=True)
    assert_alike(tmp_path / "one", tmp_path / "two")


def test_what_goes_wrong_in_another_process_is_told(tmp_path, chips, monkeypatch):
    import geounet.train as training

    monkeypatch.setattr(training, "_help_train", give_up)
    config = Config(**PLAIN, devices=2)
    with pytest.raises(ChipsError, match="spoilt for process 1"):
        train_model(chips, config, tmp_path / "run")


def give_up(team, *arguments):  # noqa: ARG001  what it stands in for has them
    raise ChipsError(f"spoilt for process {team.rank}")


NODE = """
import sys
from pathlib import Path
import torch
from geounet.config import Config
from geounet.train import train_model

if __name__ == "__main__":
    torch.set_num_threads(1)
    train_model(Path(sys.argv[1]), Config.model_validate_json(sys.argv[3]), Path(sys.argv[2]))
"""


def test_two_machines_train_as_one(tmp_path, chips):
    config = Config(**PLAIN)
    train_model(chips, config, tmp_path / "one")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = str(listener.getsockname()[1])
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    given = config.model_copy(update={"nodes": 2}).model_dump_json()
    script = tmp_path / "node.py"
    script.write_text(NODE)
    command = [sys.executable, str(script), str(chips), str(tmp_path / "two"), given]
    machines = [
        subprocess.Popen(command, env=os.environ | place | {"NODE_RANK": rank})
        for rank in ("0", "1")
    ]
    assert [machine.wait(timeout=300) for machine in machines] == [0, 0]
    assert_alike(tmp_path / "one", tmp_path / "two")
