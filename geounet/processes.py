"""Several processes that train one network, each on its part of every batch.

Each has the same weights. Gradients are averaged by torch's DistributedDataParallel, but of a loss
that every process takes over the whole batch (`gathered`): Dice, and a mean over the pixels whose
class is known, are no mean of what they are for the parts. So it does not matter how many processes
there are, up to rounding.

Process 0 is the one that the user started, on the first machine. It starts the others of its
machine, and it alone writes, tells and judges.
"""

import logging
import multiprocessing
import os
import signal
import socket
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, distributed, nn

from geounet.errors import ConfigError, GeounetError
from geounet.sampling import Share

_NODE_RANKS = ("NODE_RANK", "GROUP_RANK", "SLURM_NODEID")
"""Where a scheduler says which of the machines this is; the first that is set counts."""
_SECONDS_TO_SAY_WHY = 10.0


class Team(NamedTuple):
    """The processes that train together, and which of them this is."""

    devices: int = 1
    """Processes on each machine."""
    nodes: int = 1
    """Machines."""
    node: int = 0
    """Which of them this is."""
    local: int = 0
    """Which process of this machine this is."""
    address: str = "127.0.0.1"
    """Of the machine of process 0."""
    port: int = 0
    """Where it is reached."""

    @property
    def world(self) -> int:
        """How many processes there are."""
        return self.devices * self.nodes

    @property
    def rank(self) -> int:
        """Which of them this is."""
        return self.node * self.devices + self.local

    @property
    def share(self) -> Share:
        """What part of each batch this process takes."""
        return Share(self.rank, self.world)


def find_team(devices: int, nodes: int, variables: Mapping[str, str]) -> Team:
    """Return the processes that will train, and this one's place, which is a machine's first.

    Args:
        devices: Processes on each machine.
        nodes: Machines.
        variables: Of the environment; with several machines NODE_RANK, MASTER_ADDR and
            MASTER_PORT, as torchrun has them, say which machine this is and where the first is.

    Raises:
        ConfigError: They do not.
    """
    if nodes == 1:
        return Team(devices=devices, port=_free_port() if devices > 1 else 0)
    node = next((variables[name] for name in _NODE_RANKS if name in variables), "")
    port = variables.get("MASTER_PORT", "")
    known = node.isdigit() and int(node) < nodes and port.isdigit() and "MASTER_ADDR" in variables
    if not known:
        raise ConfigError(
            f"{nodes} machines are to train together, and this one does not know its place. Start "
            f"the same command on each, with NODE_RANK=0 to {nodes - 1}, MASTER_ADDR (the address "
            "of the first) and MASTER_PORT (a free port there) in the environment."
        )
    return Team(
        devices=devices,
        nodes=nodes,
        node=int(node),
        address=variables["MASTER_ADDR"],
        port=int(port),
    )


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class TeamEnvironment(ClusterEnvironment):
    """Tells Lightning about a team, whose processes are there already."""

    def __init__(self, team: Team) -> None:
        """Take its word."""
        super().__init__()
        self.team = team

    @property
    def creates_processes_externally(self) -> bool:
        """Whether Lightning need not start any: yes."""
        return True

    @property
    def main_address(self) -> str:
        """Where process 0 is."""
        return self.team.address

    @property
    def main_port(self) -> int:
        """Where it is reached."""
        return self.team.port

    @staticmethod
    def detect() -> bool:
        """Whether to be used without being asked: never."""
        return False

    def world_size(self) -> int:
        """How many processes there are."""
        return self.team.world

    def set_world_size(self, size: int) -> None:
        """Hear what is known."""

    def global_rank(self) -> int:
        """Which of them this is."""
        return self.team.rank

    def set_global_rank(self, rank: int) -> None:
        """Hear what is known."""

    def local_rank(self) -> int:
        """Which process of this machine this is."""
        return self.team.local

    def node_rank(self) -> int:
        """Which machine this is."""
        return self.team.node


@contextmanager
def helpers(team: Team, prepare: Callable[..., Callable[[], object]], *args: Any) -> Iterator[None]:
    """Run `prepare(team, *args)()` in the other processes of this machine, with their own `team`.

    Args:
        team: With this process's place, which is the first of its machine.
        prepare: A function of a module that returns what is done together.
        args: What it is given besides; travels to the processes.

    Yields:
        When all are prepared; while they run.

    Raises:
        GeounetError: One of them gave up, with this.
    """
    # Torch and GDAL run threads, and a process with threads must not be forked.
    context = multiprocessing.get_context("spawn")
    started: list[tuple[BaseProcess, Connection]] = []
    try:
        for local in range(1, team.devices):
            hear, tell = context.Pipe(duplex=False)
            place = team._replace(local=local)
            threads = torch.get_num_threads()
            process = context.Process(
                target=_help, args=(tell, threads, prepare, place, *args), daemon=True
            )
            process.start()
            tell.close()
            started.append((process, hear))
        # Who waits in torch for one that has gone waits for half an hour.
        if (why := _reason(started, seconds=None)) is not None:
            raise why
        yield
        for helper, _ in started:
            helper.join()
    except (RuntimeError, GeounetError) as error:
        # That a helper is gone is an error of torch here; why it went is what it said.
        if isinstance(error, GeounetError):
            raise
        if (why := _reason(started, seconds=_SECONDS_TO_SAY_WHY)) is None:
            raise
        raise why from error
    finally:
        for helper, hear in started:
            helper.kill()
            helper.join()
            hear.close()
        if distributed.is_initialized() and team.world > 1:
            distributed.destroy_process_group()


def _help(
    tell: Connection,
    threads: int,
    prepare: Callable[..., Callable[[], object]],
    team: Team,
    *args: Any,
) -> None:
    """Do the work of another process than the first of a machine."""
    for stop in (signal.SIGINT, signal.SIGTERM):  # the first process, told too, ends this one
        signal.signal(stop, signal.SIG_IGN)
    logging.disable()  # what there is to say, the first says
    warnings.simplefilter("ignore")
    torch.set_num_threads(threads)
    try:
        work = prepare(team, *args)
        tell.send(None)
        work()
    except GeounetError as error:
        tell.send(error)
        raise SystemExit(1) from None
    except Exception as error:  # whatever it is: nobody else would hear of it
        tell.send(f"{type(error).__name__}: {error}")
        raise SystemExit(1) from error
    finally:
        tell.close()


def _reason(
    started: list[tuple[BaseProcess, Connection]], *, seconds: float | None
) -> Exception | None:
    """Return what a helper that failed says in that time; None where all are well, or silent."""
    said: list[Any] = []
    for place, (helper, hear) in enumerate(started, start=1):
        try:
            said += [hear.recv()] if hear.poll(seconds) else []
        except EOFError:
            helper.join(_SECONDS_TO_SAY_WHY)
            said.append(_silent_end(place, helper.exitcode))
    ours = [one for one in said if isinstance(one, GeounetError)]
    others = [one for one in said if isinstance(one, str)]
    if ours:
        return ours[0]
    return RuntimeError(f"a process of the training failed: {others[0]}") if others else None


def _silent_end(place: int, status: int | None) -> ConfigError:
    """Return what there is to say of a helper that ended without a word."""
    killed = signal.Signals(-status).name if status is not None and status < 0 else None
    how = f"by {killed}" if killed else f"with status {status}"
    return ConfigError(
        f"Training process {place} of this machine ended {how}, without a word; the system kills "
        "so where memory is short. If there is a checkpoint, the same command with --resume goes "
        "on after it; fewer --devices, a smaller `batch` or fewer `workers` take less memory."
    )


def gathered(own: Tensor) -> Tensor:
    """Return the batch of which each process has a part.

    Args:
        own: (B, ...), this process's part; B may differ by one between processes, the rest not.

    Returns:
        (sum of B, ...), in the order of the processes. Gradients flow to this process's part
        alone: each takes those of its own, so that their sum is that of the whole.
    """
    count = torch.tensor([len(own)], device=own.device)
    counts = [torch.empty_like(count) for _ in range(distributed.get_world_size())]
    distributed.all_gather(counts, count)
    sizes = torch.cat(counts).tolist()
    sent = own.detach().contiguous()
    if missing := max(sizes) - len(own):
        sent = torch.cat([sent, sent.new_zeros(missing, *sent.shape[1:])])
    parts = [torch.empty_like(sent) for _ in sizes]
    distributed.all_gather(parts, sent)
    whole = [part[:size] for part, size in zip(parts, sizes, strict=True)]
    whole[distributed.get_rank()] = own
    return torch.cat(whole)


def leaves_unused(network: nn.Module, *, bands: int, side: int) -> bool:
    """Return whether a network has weights that its output does not depend on.

    Args:
        network: On the CPU; left as it was.
        bands: Of its input.
        side: Rows and columns of its input.
    """
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    training = network.training
    network.eval()  # or batch normalisation would learn from what it is shown
    output = network(torch.zeros(1, bands, side, side))
    network.train(training)
    gradients = torch.autograd.grad(output.sum(), weights, allow_unused=True)
    return any(gradient is None for gradient in gradients)


class OwnSignals(Callback):
    """Lets SIGTERM be what it was before Lightning.

    Its own way waits, in the handler, for the other processes of a training, which are in the
    middle of a step and wait for this one.
    """

    def __init__(self) -> None:
        """Remember what it is."""
        self.on_terminate = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002  Lightning's names
        """Put it back, after Lightning has set its own."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self.on_terminate)


@contextmanager
def unchanged_environment() -> Iterator[None]:
    """Put the variables of the environment back that torch and Lightning set for processes."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)
