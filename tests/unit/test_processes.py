import pytest

from geounet.errors import ConfigError
from geounet.processes import TeamEnvironment, find_team

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
