"""Keeping memory that is given back, for what comes next."""

import ctypes
import platform
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Of glibc's `mallopt`, from its malloc.h."""
AS_BEFORE = {MMAP_THRESHOLD: 32 << 20, TRIM_THRESHOLD: 64 << 20}
"""Where glibc's own, which follow what is given back, end once large arrays were: its greatest
(`DEFAULT_MMAP_THRESHOLD_MAX`), and twice that."""
KEPT = {MMAP_THRESHOLD: 1 << 30, TRIM_THRESHOLD: (1 << 31) - 1}
"""Arrays of up to 1 GiB come from what is there, and nothing of it goes back to the system."""

_holding = threading.Lock()
_holders = 0


@contextmanager
def keep_buffers() -> Iterator[None]:
    """Have large arrays take the place of earlier ones, rather than new memory from the system.

    glibc maps every large array anew and gives it back when it is done with. A network does that
    at every layer, and each time the system has to find, clear and map its pages: a fifth to a
    third of the time of a large window. In here they are kept, and given back together in the end.
    The price is that what is free is in pieces: more is held than is used at once
    (`HELD_PER_USED`).

    Nothing changes where the C library is not glibc. May be entered inside itself, and by several
    threads: the last one to leave gives back.
    """
    global _holders  # noqa: PLW0603  the setting is the process's
    with _holding:
        _holders += 1
        if _holders == 1:
            _set(KEPT)
    try:
        yield
    finally:
        with _holding:
            _holders -= 1
            if _holders == 0:
                _set(AS_BEFORE)
                _give_back()


HELD_PER_USED = 2.4
"""Bytes that are held inside `keep_buffers` for each that a network uses at once, at most: 1.2 to
2.1 were seen in the first windows, of two networks and two precisions. From window to window it
grows, to 2.5, for which there is `give_back_above`."""


def give_back_above(resident: int) -> None:
    """Give what is kept and not in use back to the system if the process has more than so much.

    Between windows, when little is in use: what comes next is found anew, which takes a tenth of a
    window's time.

    Args:
        resident: Bytes of the process in memory, as `resident_bytes` counts them.
    """
    if is_kept() and resident_bytes() > resident:
        _give_back()


def resident_bytes() -> int:
    """Return how much memory the process has; 0 where the system does not say."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return 0
    return int(pages) * resource.getpagesize()


def is_kept() -> bool:
    """Return whether `keep_buffers` has an effect with this C library."""
    return platform.system() == "Linux" and platform.libc_ver()[0] == "glibc"


def _set(thresholds: dict[int, int]) -> None:
    if is_kept():
        library = ctypes.CDLL(None)
        for parameter, size in thresholds.items():
            library.mallopt(parameter, size)


def _give_back() -> None:
    if is_kept():
        trim = ctypes.CDLL(None).malloc_trim
        trim.argtypes = [ctypes.c_size_t]
        trim(0)
