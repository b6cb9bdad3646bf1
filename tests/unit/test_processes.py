from types import SimpleNamespace

import pytest
import torch
from torch import nn

from geounet import train as training
from geounet.config import Config, UNetSettings
from geounet.errors import ConfigError
from geounet.networks import build_network
from geounet.processes import Team, TeamEnvironment, find_team, leaves_unused
from geounet.task import EpochLog

FIRST = {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"}


def test_one_process_needs_nothing_of_the_environment():
    team = find_team(1, 1, {})
    assert (team.rank, team.world, team.port) == (0, 1, 0)
    # What a scheduler says of nodes does not concern one machine.
    assert find_team(1, 1, {"SLURM_NODEID": "3"}).rank == 0


def test_processes_of_one_machine_meet_at_a_free_port():
    team = find_team(3, 1, {})
    assert (team.rank, team.world, team.address) == (0, 3, "127.0.0.1")
    assert team.port > 1023
    assert team._replace(local=2).share == (2, 3)


@pytest.mark.parametrize("name", ["NODE_RANK", "GROUP_RANK", "SLURM_NODEID"])
def test_machines_are_told_their_place(name):
    team = find_team(4, 3, FIRST | {name: "2"})
    assert (team.rank, team.world) == (8, 12)
    assert (team.address, team.port) == ("10.0.0.1", 29500)
    told = TeamEnvironment(team._replace(local=1))
    assert (told.global_rank(), told.local_rank(), told.node_rank()) == (9, 1, 2)


@pytest.mark.parametrize(
    "variables",
    [{}, FIRST, FIRST | {"NODE_RANK": "2"}, FIRST | {"NODE_RANK": "x"}, {"NODE_RANK": "0"}],
)
def test_a_machine_that_does_not_know_its_place_is_told_how(variables):
    with pytest.raises(ConfigError, match=r"NODE_RANK=0 to 1, MASTER_ADDR"):
        find_team(1, 2, variables)


def small_network(*, unused):
    network = build_network(UNetSettings(depth=1, base_width=2), bands=["nir", "red"], classes=2)
    if unused:
        network.never = nn.Conv2d(2, 2, 1)
    return network


@pytest.mark.parametrize("unused", [False, True])
def test_weights_that_nothing_depends_on_are_found_and_nothing_is_changed(unused):
    network = small_network(unused=unused).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert leaves_unused(network, bands=2, side=4) is unused
    assert network.training
    assert all(weight.grad is None for weight in network.parameters())
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("unused", [False, True])
@pytest.mark.parametrize(
    ("device", "backend", "synchronised"), [("cuda", "nccl", True), ("cpu", "gloo", False)]
)
def test_processes_talk_as_their_device_can(
    tmp_path, monkeypatch, device, backend, synchronised, unused
):
    monkeypatch.setattr(training, "Trainer", dict)  # what it is asked for
    plan = SimpleNamespace(
        config=Config(devices=2),
        splits={"val": []},
        device=device,
        precision="fp32",
        network=small_network(unused=unused),
        reader=SimpleNamespace(bands=["nir", "red"], side=4),
    )
    log = EpochLog(tmp_path / "epochs.csv", epochs=1, progress=training.silent)
    asked = training._trainer(plan, tmp_path, log, Team(devices=2))
    assert asked["accelerator"] == ("gpu" if device == "cuda" else "cpu")
    assert asked["devices"] == 2
    assert asked["sync_batchnorm"] is synchronised
    assert asked["strategy"].process_group_backend == backend
    assert asked["strategy"]._ddp_kwargs["find_unused_parameters"] is unused
