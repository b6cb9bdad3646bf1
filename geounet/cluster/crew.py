"""Who does the work: processes of our own on this machine, or a cluster that is there already."""

import logging
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from geounet.errors import ClusterError, reason

if TYPE_CHECKING:
    from distributed import Client, SpecCluster

logger = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
NO_PORT = f"{LOOPBACK}:0"
"""Any that is free; there is no dashboard, but the scheduler tells its health there."""
START_SECONDS = 120
"""That workers of our own may take to start; it is their imports that take them."""
CONNECT_SECONDS = 10
CONFIG = {
    # It would set them in this process, too.
    "distributed.nanny.pre-spawn-environ": {},
    "distributed.worker.profile.enabled": False,
    "distributed.admin.system-monitor.gil.enabled": False,
    "logging.distributed": "critical",
    "distributed.comm.timeouts.connect": "5s",  # on this machine; a dead worker never answers
}
"""Of Dask, for a cluster of our own: what goes wrong is said by us, in one line."""


@dataclass(frozen=True)
class Crew:
    """Workers, and how to reach them."""

    client: "Client"
    threads: int | None = None
    """Of torch for each; None where the workers know."""
    dismiss: Callable[[], None] = lambda: None
    """Ends the workers at once, whatever they are at; not those of somebody else's cluster."""

    def size(self) -> int:
        """Return how many workers there are now."""
        return len(self.client.nthreads())


def _import_dask() -> None:
    try:
        import distributed  # noqa: F401  is it there?
    except ImportError as error:
        raise ClusterError(
            "--workers and --scheduler need Dask, which is not installed: "
            "pip install 'geounet[dask]'."
        ) from error


@contextmanager
def local_crew(workers: int, *, threads: int | None = None, device: str = "auto") -> Iterator[Crew]:
    """Start processes on this machine, and end them in the end, however that comes.

    Nobody but this machine's users can reach them: they listen on 127.0.0.1 alone.

    Args:
        workers: How many.
        threads: Of torch for each; None shares the cores out.
        device: As `--device` has it. With auto and cuda each worker sees one of the GPUs that are
            here, in turn, and several share one if there are more workers.

    Raises:
        ClusterError: Dask is not installed, or no process can be started.
    """
    _import_dask()
    import dask
    import torch
    from distributed import Client

    threads = threads or max(1, cores() // workers)
    gpus = torch.cuda.device_count() if device in ("auto", "cuda") else 0
    with (
        tempfile.TemporaryDirectory(prefix="geounet-") as folder,
        dask.config.set(CONFIG),
        _quiet(),
    ):
        cluster = _start(workers, threads, gpus, folder)
        try:
            with Client(cluster, timeout=START_SECONDS, set_as_default=False) as client:
                yield Crew(client, threads, partial(_dismiss, cluster, client))
        finally:
            _kill(cluster)
            with suppress(Exception):  # all that matters is gone by now
                cluster.close(timeout=10)


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0))


def worker_environment(
    number: int, *, threads: int, gpus: int, visible: str | None
) -> dict[str, str]:
    """Return what is set for a worker: its threads, and which one GPU it sees, as dask-cuda does.

    Args:
        number: Of the worker, from 0.
        threads: Of each worker.
        gpus: How many are shared out.
        visible: CUDA_VISIBLE_DEVICES of this process.
    """
    environment = {"OMP_NUM_THREADS": str(threads)}
    if gpus:
        names = [str(n) for n in range(gpus)] if visible is None else visible.split(",")
        environment["CUDA_VISIBLE_DEVICES"] = names[number % gpus].strip()
    return environment


def _start(workers: int, threads: int, gpus: int, folder: str) -> "SpecCluster":
    from distributed import Nanny, Scheduler, SpecCluster
    from distributed.utils import LoopRunner

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    specs = {
        number: {
            "cls": Nanny,
            "options": {
                "nthreads": 1,  # one scene or strip at a time
                "memory_limit": 0,  # what a plan takes is known
                "local_directory": folder,
                "host": LOOPBACK,
                "dashboard": False,
                "silence_logs": logging.CRITICAL,
                "env": worker_environment(number, threads=threads, gpus=gpus, visible=visible),
            },
        }
        for number in range(workers)
    }
    scheduler = {
        "cls": Scheduler,
        "options": {"host": LOOPBACK, "port": 0, "dashboard": False, "dashboard_address": NO_PORT},
    }
    runner = LoopRunner(asynchronous=False)
    with _ctrl_c_is_ours():
        runner.start()
    try:
        return SpecCluster(
            scheduler=scheduler, workers=specs, loop=runner.loop, silence_logs=logging.CRITICAL
        )
    except (OSError, RuntimeError, TimeoutError) as error:
        raise ClusterError(f"{workers} workers cannot be started here: {reason(error)}") from error


@contextmanager
def _ctrl_c_is_ours() -> Iterator[None]:
    """Have threads that are started in here, and their processes, never see a Ctrl-C.

    A terminal sends it to all processes of a command. Threads and processes inherit which signals
    are blocked; those of Dask start the workers, also in the place of one that died.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _dismiss(cluster: "SpecCluster", client: "Client") -> None:
    """Kill the workers, and have nobody wait for them."""
    _kill(cluster)
    with suppress(Exception):
        client.close(timeout=1)


def _kill(cluster: "SpecCluster") -> None:
    """Kill the workers of a cluster of our own, which are not started anew."""
    for nanny in list(cluster.workers.values()):
        process: Any = getattr(nanny, "process", None)
        pid = getattr(process, "pid", None)
        if pid is not None:
            process.on_exit = None  # which would start another one
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Dask's own loggers from telling of workers that go: what matters is told by us."""
    loggers = [logging.getLogger(name) for name in ("distributed", "tornado", "asyncio")]
    levels = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)


@contextmanager
def scheduled_crew(address: str) -> Iterator[Crew]:
    """Use the workers of a scheduler that is there, and leave them as they are.

    Args:
        address: As `tcp://host:8786`.

    Raises:
        ClusterError: Dask is not installed; nobody answers; or workers would do several scenes at
            once.
    """
    _import_dask()
    from distributed import Client

    with _quiet():
        try:
            client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise ClusterError(
                f"No scheduler answers at {address}. Give --scheduler as `dask scheduler` says "
                "where it is, like tcp://host:8786."
            ) from error
        with client:
            crew = Crew(client)
            threads = client.nthreads()  # by worker
            if any(count > 1 for count in threads.values()):
                raise ClusterError(
                    f"Workers of {address} have several threads, and would predict as many scenes "
                    "at once, each with all the memory that takes. Start them with --nthreads 1."
                )
            if not threads:
                logger.info("waiting for workers at %s", address)
            yield crew
