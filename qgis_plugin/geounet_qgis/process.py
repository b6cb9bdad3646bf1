"""Running a command beside QGIS: what it says while it works, stopping it, and how it ended."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, NamedTuple, Protocol

STOPPING = (("SIGINT", 60.0), ("SIGTERM", 30.0), ("SIGKILL", 10.0))
"""What a command is sent when it is to stop, and how many seconds it then has to clear up."""
_LOOK_S = 0.1
"""How often it is looked whether the command is to stop."""
_DRAIN_S = 2.0
"""How long what was said last may take, where a child of the command holds on to its output."""


class Step(NamedTuple):
    """How far a command is, as `geounet --progress json` says it."""

    label: str
    done: int
    total: int | None

    @property
    def percent(self) -> float | None:
        """From 0 to 100; None where nobody knows how much there is."""
        return min(100 * self.done / self.total, 100) if self.total else None

    @classmethod
    def from_line(cls, line: str) -> Step | None:
        """Return what a line says; None where it is something else."""
        if not line.startswith("{"):
            return None
        try:
            said = json.loads(line)
        except ValueError:
            return None
        if not isinstance(said, dict) or said.keys() != set(cls._fields):
            return None
        label, done, total = (said[field] for field in cls._fields)
        numbers = isinstance(done, int) and (total is None or isinstance(total, int))
        return cls(label, done, total) if isinstance(label, str) and numbers else None


class Listener(Protocol):
    """Hears what a command says while it works."""

    def step(self, step: Step) -> None:
        """How far it is."""

    def result(self, line: str) -> None:
        """A line on stdout."""

    def note(self, line: str) -> None:
        """A line on stderr that is neither progress nor the error."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    """As Python has it: negative where a signal ended it."""
    out: list[str]
    """Lines on stdout."""
    err: list[str]
    """Lines on stderr, but for progress."""
    stopped: bool
    """Whether it was asked to stop."""

    @property
    def complaint(self) -> str:
        """What was wrong, as the command said it."""
        lists = re.findall(r"^error: (.*(?:\n {2}.*)*)", "\n".join(self.err), flags=re.MULTILINE)
        if lists:
            return "\n".join(lists)
        # A usage error stands in a frame.
        framed = [line.strip("│ ") for line in self.err if line.startswith("│")]
        if framed:
            return " ".join(framed)
        last = next((line for line in reversed(self.err) if line.strip()), "it said nothing")
        return f"geounet ended with status {self.status}: {last}"


def run_command(
    arguments: Sequence[str],
    listener: Listener,
    is_stopped: Callable[[], bool],
    environment: Mapping[str, str],
) -> Ended:
    """Run a command to its end.

    Args:
        arguments: The command line.
        listener: Hears what the command says, in the calling thread.
        is_stopped: Whether it is to stop; asked ten times a second. It then is sent what
            `STOPPING` says, and so are the processes that it started.
        environment: Its variables.

    Raises:
        OSError: It cannot be started.
    """
    process = subprocess.Popen(
        list(arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        env=dict(environment),
        start_new_session=True,  # a group of its own, to be stopped as by Ctrl-C
    )
    stopper = _Stopper(process)
    said = _Said(listener)
    lines: queue.Queue[_Line] = queue.Queue()
    for out, stream in ((True, process.stdout), (False, process.stderr)):
        assert stream is not None
        threading.Thread(target=_read, args=(stream, out, lines), daemon=True).start()
    try:
        _attend(process, lines, said, stopper, is_stopped)
    finally:
        stopper.end()  # if a listener raised, nobody would hear the command any more
    return Ended(process.wait(), said.out, said.err, stopper.asked)


class _Line(NamedTuple):
    out: bool
    """On stdout, or else on stderr."""
    text: str | None
    """None at the end of the stream."""


def _read(stream: IO[str], out: bool, lines: queue.Queue[_Line]) -> None:
    with stream:
        for line in stream:
            lines.put(_Line(out, line.rstrip("\r\n")))
    lines.put(_Line(out, None))


def _attend(
    process: subprocess.Popen[str],
    lines: queue.Queue[_Line],
    said: _Said,
    stopper: _Stopper,
    is_stopped: Callable[[], bool],
) -> None:
    """Hear a command until it has ended and nothing more comes."""
    streams, ended_at = 2, None
    while streams or process.poll() is None:
        if process.poll() is None:
            if is_stopped() or stopper.asked:
                stopper.press()
        elif ended_at is None:
            ended_at = time.monotonic()
        elif time.monotonic() - ended_at > _DRAIN_S:
            return
        try:
            line = lines.get(timeout=_LOOK_S)
        except queue.Empty:
            continue
        if line.text is None:
            streams -= 1
        else:
            said.take(line.text, out=line.out)


class _Said:
    """Sorts what a command says, and lets the listener hear it."""

    def __init__(self, listener: Listener) -> None:
        self.out: list[str] = []
        self.err: list[str] = []
        self._listener = listener
        self._complaining = False

    def take(self, text: str, *, out: bool) -> None:
        if out:
            self.out.append(text)
            self._listener.result(text)
            return
        if step := Step.from_line(text):
            self._listener.step(step)
            return
        self.err.append(text)
        # The error and the list below it are told once, at the end.
        self._complaining = text.startswith("error: ") or (
            self._complaining and text.startswith("  ")
        )
        if not self._complaining:
            self._listener.note(text)


class _Stopper:
    """Asks a command and all that it started to stop, first politely."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._left = list(STOPPING)
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # then the command ignores it, too
            del self._left[0]
        self._until = 0.0
        self.asked = False

    def press(self) -> None:
        """Send the next signal, if the time that the last one gave is over."""
        if time.monotonic() < self._until or not self._left:
            return
        name, seconds = self._left.pop(0)
        self.asked, self._until = True, time.monotonic() + seconds
        with suppress(ProcessLookupError):  # it has just ended
            os.killpg(self._process.pid, signal.Signals[name])

    def end(self) -> None:
        """Wait until the command has ended, and make it end."""
        while self._process.poll() is None and self._left:
            self.press()
            time.sleep(_LOOK_S)
