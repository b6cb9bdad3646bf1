"""Running a command in a child process that can neither hang, eat the machine nor write elsewhere.

Starting Python and importing the libraries takes a second. A nursery does it once and forks for
each command, so that every one still has a process, limits and an end of its own.
"""

import io
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Self

MAIN = "geounet_cli.main:main"
TESTS = Path(__file__).parents[1]
DISCARD = "http://127.0.0.1:9"
"""A proxy that is not there, so that whatever an address says, nothing leaves this machine."""
KEPT = 8_000_000
"""Bytes of what a child says; one that says more says too much."""


@dataclass(frozen=True)
class Limits:
    """What a child may take."""

    seconds: float = 20.0
    address_mb: int = 4096
    file_mb: float = 256
    """Of one file that it writes."""


@dataclass(frozen=True)
class Blow:
    """What befalls a child on the way."""

    signal: int = 0
    """That it gets; with 0, `file` is what suffers."""
    after: float | None = None
    """Seconds until then; or"""
    step: int | None = None
    """before which of its steps that write, as Python's audit knows them."""
    file: str = ""
    """Removed, or cut in half."""
    cut: bool = False


@dataclass(frozen=True)
class Command:
    """A command, and the place it is shut up in."""

    arguments: tuple[str, ...]
    sandbox: Path
    """With `work`, where the command runs, `home` and `tmp`."""
    entry: str = MAIN
    """`module:function` that takes the arguments."""
    limits: Limits = field(default_factory=Limits)
    may_write: tuple[str, ...] = ()
    """Folders of the sandbox that the command may write in besides `tmp`."""
    blow: Blow | None = None
    variables: tuple[tuple[str, str], ...] = ()
    """Of the environment, besides those that all have."""


@dataclass(frozen=True)
class Ended:
    """How a child ended, and what it said and did."""

    status: int
    """Negative: the signal that ended it."""
    out: str
    err: str
    seconds: float
    late: bool
    """Whether it had to be ended, the time being over."""
    peak_mb: float
    deeds: tuple[str, ...] = ()
    """What it did outside its sandbox, as far as Python knows."""
    steps: int = 0
    """How many of its steps wrote, as Python's audit knows them; 0 where it was killed."""


def environment(sandbox: Path) -> dict[str, str]:
    """Return the variables of a child in a sandbox: no home, no net, one thread."""
    kept = {key: os.environ[key] for key in ("PATH", "LD_LIBRARY_PATH") if key in os.environ}
    proxies = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    return kept | dict.fromkeys(proxies, DISCARD) | {
        "HOME": str(sandbox / "home"),
        "TMPDIR": str(sandbox / "tmp"),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        # And what is tried, where that is not what is installed.
        "PYTHONPATH": os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONWARNINGS": "ignore:Use .@. matmul:PendingDeprecationWarning",
        "NO_COLOR": "1",
        "COLUMNS": "200",
        "MPLCONFIGDIR": str(sandbox / "tmp" / "matplotlib"),
        "LC_ALL": "C.UTF-8",
    }  # fmt: skip


def spawn(command: Command) -> Ended:
    """Run a command in a process started from nothing: `python -m geounet_cli …`."""
    outs = command.sandbox / "out.txt", command.sandbox / "err.txt"
    started = time.monotonic()
    with outs[0].open("wb") as out, outs[1].open("wb") as err:
        memory = command.limits.address_mb * 1024
        child = subprocess.Popen(
            ["sh", "-c", f'ulimit -c 0; ulimit -v {memory}; exec "$@"', "sh",
             sys.executable, "-m", "geounet_cli", *command.arguments],
            cwd=command.sandbox / "work",
            env=environment(command.sandbox),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )  # fmt: skip
        status, late, peak = _await(child.pid, command.limits.seconds, started=True)
    child.returncode = status
    return Ended(status, _said(outs[0]), _said(outs[1]), time.monotonic() - started, late, peak)


class Nursery:
    """A process that has all imports behind it and forks for every command."""

    def __init__(self, *modules: str) -> None:
        """Import modules besides those that `info` and `baseline` need, and wait for commands."""
        self._folder = tempfile.TemporaryDirectory(prefix="nursery-")
        place = Path(self._folder.name)
        for name in ("home", "tmp"):
            (place / name).mkdir()
        self._errors = (place / "errors.txt").open("w+")
        self._mother = subprocess.Popen(
            [sys.executable, "-m", "fuzzing.children", *modules],
            env=environment(place),
            cwd=place,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._mother.stdin.close()
        try:
            self._mother.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._mother.kill()
            self._mother.wait()
        self._mother.stdout.close()
        self._errors.close()
        self._folder.cleanup()

    def run(self, command: Command) -> Ended:
        """Run a command in a child of its own.

        Raises:
            RuntimeError: The nursery itself is gone.
        """
        request = asdict(command) | {"sandbox": str(command.sandbox)}
        self._mother.stdin.write(json.dumps(request) + "\n")
        self._mother.stdin.flush()
        answer = self._mother.stdout.readline()
        if not answer:
            self._errors.seek(0)
            raise RuntimeError(f"the nursery is gone: {self._errors.read()[-2000:]}")
        fields = json.loads(answer)
        return Ended(
            **fields,
            out=_said(command.sandbox / "out.txt"),
            err=_said(command.sandbox / "err.txt"),
            deeds=tuple(_said(command.sandbox / "deeds.txt").splitlines()),
            steps=int(_said(command.sandbox / "steps.txt") or 0),
        )


# Inside the nursery


def _serve() -> None:
    """Fork for each command on stdin; answer with how it ended."""
    _import_all()
    for line in sys.stdin:
        request = json.loads(line)
        limits = Limits(**request.pop("limits"))
        command = Command(
            tuple(request["arguments"]), Path(request["sandbox"]), request["entry"], limits,
            tuple(request["may_write"]), Blow(**blow) if (blow := request["blow"]) else None,
            tuple((name, value) for name, value in request["variables"]),
        )  # fmt: skip
        started = time.monotonic()
        pid = os.fork()
        if pid == 0:
            _become(command)
        status, late, peak = _await(pid, limits.seconds, command.blow)
        answer = {
            "status": status, "late": late, "peak_mb": peak,
            "seconds": time.monotonic() - started,
        }  # fmt: skip
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _import_all() -> None:
    for module in (
        "geounet_cli.main", "geounet.info", "geounet.scene", "geounet.baseline", "geounet.products",
        "rich.console", "matplotlib.figure", "pystac", "requests", "PIL.Image", *sys.argv[1:],
    ):  # fmt: skip
        import_module(module)


def _become(command: Command) -> None:
    """Be the child: shut in, limited and watched, run the command and end as Python would."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM):  # until the command has its own way
        signal.signal(number, signal.SIG_DFL)
    sandbox = command.sandbox
    for number, name in ((1, "out.txt"), (2, "err.txt")):
        handle = os.open(sandbox / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(handle, number)
        os.close(handle)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.clear()
    os.environ.update(environment(sandbox) | dict(command.variables))
    os.chdir(sandbox / "work")
    tempfile.tempdir = None
    # As the interpreter makes them where stderr is no terminal.
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "w"), encoding="utf-8")
    sys.stderr = io.TextIOWrapper(
        io.FileIO(2, "w"), encoding="utf-8", errors="backslashreplace", line_buffering=True
    )
    module, _, name = command.entry.partition(":")
    entry = getattr(import_module(module), name)
    count = os.open(sandbox / "steps.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    _watch(sandbox, command.may_write)
    steps = _count_steps(command.blow)
    _limit(command.limits)
    status = _call(entry, list(command.arguments))
    os.write(count, str(len(steps)).encode())
    os._exit(status)


def _count_steps(blow: Blow | None) -> list[str]:
    """Note the steps that write, and have the blow fall before the one that it is due at."""
    steps: list[str] = []

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            if not isinstance(arguments[0], str) or not (arguments[2] or 0) & (
                os.O_WRONLY | os.O_RDWR
            ):
                return
        elif event not in {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree"}:
            return
        steps.append(event)
        if blow is not None and len(steps) == blow.step:
            if blow.signal:
                os.kill(os.getpid(), blow.signal)
            else:
                _hurt(blow)

    sys.addaudithook(note)
    return steps


def _hurt(blow: Blow) -> None:
    path = Path(blow.file)
    if blow.cut:
        os.truncate(path, path.stat().st_size // 2)
    else:
        path.unlink()


def _call(entry: Any, arguments: list[str]) -> int:
    status = 0
    try:
        entry(arguments)
    except SystemExit as end:
        if isinstance(end.code, int) or end.code is None:
            status = end.code or 0
        else:
            sys.stderr.write(f"{end.code}\n")
            status = 1
    except BaseException:
        traceback.print_exc()
        status = 1
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        status = 120  # Python's own
    return status


def _limit(limits: Limits) -> None:
    for what, most in (
        (resource.RLIMIT_AS, limits.address_mb * 2**20),
        (resource.RLIMIT_FSIZE, int(limits.file_mb * 2**20)),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))


_HARMLESS = {"/sbin/ldconfig"}
"""Programs that Python's own `ctypes.util.find_library` starts; torch's import does."""


def _watch(sandbox: Path, may_write: Sequence[str]) -> None:
    """Note what is written elsewhere, and every program that is started.

    Only what Python itself does is seen; for what libraries do, there is the listing of the
    surroundings.
    """
    notes = os.open(sandbox / "deeds.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    allowed = [str(sandbox / name) for name in ("tmp", *may_write)] + ["/dev/null"]
    changing = {
        "os.remove": 1, "os.rmdir": 1, "os.mkdir": 2, "os.symlink": 2, "os.rename": 2, "os.link": 2,
        "os.truncate": 9, "os.chmod": 2, "os.chown": 3, "shutil.rmtree": 1,
    }  # fmt: skip
    starting = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork"}

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if event in starting:
            if arguments[0] not in _HARMLESS:
                os.write(notes, f"{event} {arguments[0]!r}\n".encode())
        elif event == "open":
            path, _, flags = arguments
            if isinstance(path, str | bytes) and (flags or 0) & (os.O_WRONLY | os.O_RDWR):
                complain(event, path)
        elif event in changing:
            # A path may be relative to a folder, which is given as a number.
            handles = [n for n in arguments[changing[event] :] if isinstance(n, int) and n >= 0]
            folder = f"/proc/self/fd/{handles[0]}" if handles else ""
            for path in arguments:
                if isinstance(path, str | bytes):
                    complain(event, os.path.join(folder, os.fsdecode(path)))  # noqa: PTH118

    def complain(event: str, path: str | bytes) -> None:
        place = os.path.realpath(os.fsdecode(path))
        if not any(place == one or place.startswith(one + "/") for one in allowed):
            os.write(notes, f"{event} {place}\n".encode(errors="backslashreplace"))

    sys.addaudithook(note)


def _await(
    pid: int, seconds: float, blow: Blow | None = None, *, started: bool = False
) -> tuple[int, bool, float]:
    """Wait for a child, and end it and its own children when the time is over.

    Args:
        pid: Of the child.
        seconds: Which it may take.
        blow: What it is to be hit by.
        started: Whether it runs a program of its own. To the system its peak is then no less than
            that of who started it, so it is asked for its own while it runs.

    Returns:
        Its status or minus the signal, whether it was late, and its peak in MiB.
    """
    start = time.monotonic()
    deadline = start + seconds
    late, pause = False, 0.002
    due = start + blow.after if blow and blow.after is not None else None
    seen = 0.0
    while True:
        done, raw, used = os.wait4(pid, os.WNOHANG)
        if done:
            peak = seen if started else used.ru_maxrss / 1024
            return os.waitstatus_to_exitcode(raw), late, peak
        if started:
            seen = max(seen, _peak_mib(pid))
        if due is not None and time.monotonic() > due:
            due = None
            os.kill(pid, blow.signal)
        if not late and time.monotonic() > deadline:
            late = True
            os.killpg(pid, signal.SIGKILL)
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05) if due is None else 0.002


def _peak_mib(pid: int) -> float:
    """Return what a process has taken at most so far; 0 of one that has just ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0.0


def _said(path: Path) -> str:
    if not path.exists():
        return ""
    with path.open("rb") as file:
        return file.read(KEPT).decode(errors="backslashreplace")


if __name__ == "__main__":
    _serve()
