"""Loops over pixels and vertices, compiled by numba when they are first run."""

import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import numba
from numba.core import event

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")


class _Teller(event.Listener):
    """Says that something is compiled, and not taken from where it is kept, the first time."""

    def __init__(self) -> None:
        self._told = False

    def on_start(self, event: event.Event) -> None:
        """Tell, if it is one of our functions."""
        if not self._told and event.data["dispatcher"].py_func.__module__.startswith("geounet."):
            logger.info("compiling loops, some twenty seconds, once after an installation")
            self._told = True

    def on_end(self, event: event.Event) -> None:
        """Be told that it is done, which nobody needs to know."""


event.register("numba:compile", _Teller())


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function of numbers and arrays that takes less than milliseconds.

    What is compiled is kept beside the source, or else in numba's own cache (`NUMBA_CACHE_DIR`),
    for the next process; where neither can be written, each process compiles anew. numba does not
    notice that a function in another file changed: those that call each other are of one file.
    """
    return _compiled(function, nogil=False)


def compiled_to_run_beside(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function that takes longer: other threads run while it does.

    To take the lock of the interpreter again may take longer than a short function.
    """
    return _compiled(function, nogil=True)


def _compiled(function: Callable[P, R], *, nogil: bool) -> Callable[P, R]:
    try:
        made = numba.njit(function, cache=True, nogil=nogil, error_model="numpy")
    except RuntimeError:  # there is no place to keep it
        made = numba.njit(function, nogil=nogil, error_model="numpy")
    return cast(Callable[P, R], made)
