"""How long the parts of a work take, also where several go on at once."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Adds up seconds by phase; may be used from several threads."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        """Of each phase, in the order in which they were first done with. Those of threads add
        up, so together they may be more than has passed."""
        self._lock = threading.Lock()
        self._began: dict[str, float] = {}

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Add what passes inside to a phase, also where it ends in an error."""
        start = self._began[phase] = time.perf_counter()
        try:
            yield
        finally:
            self.add(phase, time.perf_counter() - start)

    def add(self, phase: str, seconds: float) -> None:
        """Add seconds to a phase."""
        with self._lock:
            self.seconds[phase] = self.seconds.get(phase, 0.0) + seconds

    def so_far(self, phase: str) -> float:
        """Return how long ago a phase last began, in seconds."""
        return time.perf_counter() - self._began[phase]

    def __getitem__(self, phase: str) -> float:
        """Return the seconds of a phase, 0 where it never was."""
        return self.seconds.get(phase, 0.0)
