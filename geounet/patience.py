"""How long a read of a file may take: a network drive that is gone lets one wait for ever."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

USUAL_SECONDS = 600.0
"""Far more than a window takes from a slow drive, and still before the night is over."""
_seconds = [USUAL_SECONDS]
_abandoned: list[Any] = []


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Set, for all threads, how long one read of a file may take; 0 is for ever."""
    _seconds.append(seconds)
    try:
        yield
    finally:
        _seconds.pop()


def current_patience() -> float:
    """Return how many seconds one read of a file may take; 0 is for ever."""
    return _seconds[-1]


class StalledReadError(Exception):
    """A read took longer than anybody waits."""


def read_in_time(read: Callable[[], T]) -> T:
    """Return what `read` reads, in a thread that is left to itself where it takes too long.

    Nothing ends a read that the system is stuck in, not even the end of its thread.

    Raises:
        StalledReadError: It took longer than `patience` has it. Whatever it reads from must not be
            closed: see `abandon`.
    """
    seconds = _seconds[-1]
    if not seconds:
        return read()
    answer: Future[T] = Future()

    def work() -> None:
        try:
            answer.set_result(read())
        except BaseException as error:
            answer.set_exception(error)

    thread = threading.Thread(target=work, name="read-in-time", daemon=True)
    thread.start()
    try:
        return answer.result(seconds)
    except TimeoutError as error:
        if answer.done():  # of the read's own, or it came just now
            return answer.result()
        _abandoned.append(thread)
        raise StalledReadError(f"nothing came for {seconds:g} s") from error
    except BaseException:
        if not answer.done():  # interrupted: what it reads from is about to be closed
            thread.join(seconds)
        raise


def abandon(what: object) -> None:
    """Keep what a stuck thread is at from being closed, which would wait for it."""
    _abandoned.append(what)


def is_stuck() -> bool:
    """Return whether a thread was left to itself; then the usual end of Python may not come."""
    return bool(_abandoned)
