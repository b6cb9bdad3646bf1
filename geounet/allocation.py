"""Where large arrays come from, so that a network takes no more memory than it uses."""

import ctypes
import os
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager

HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"
"""Of torch: whether it asks for huge pages. It looks when it makes its first tensor."""
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Of glibc's `mallopt`, from its malloc.h."""
AS_BEFORE = {MMAP_THRESHOLD: 32 << 20, TRIM_THRESHOLD: 64 << 20}
"""Where glibc's own, which follow what is given back, end once large arrays were: its greatest
(`DEFAULT_MMAP_THRESHOLD_MAX`), and twice that."""
MAPPED = {MMAP_THRESHOLD: 4 << 20, TRIM_THRESHOLD: 8 << 20}
"""Arrays of 4 MiB and more are mapped by themselves: two huge pages, of which one is whole."""

_mapping = threading.Lock()
_mappers = 0


def prefer_huge_pages() -> None:
    """Have torch ask for huge pages for its large tensors, unless the environment says otherwise.

    To be called before there is a tensor; later it has no effect, and large windows take a third
    longer. numpy asks for them by itself.
    """
    os.environ.setdefault(HUGE_PAGES, "1")


@contextmanager
def map_large_arrays() -> Iterator[None]:
    """Have large arrays mapped by themselves, and gone from memory when they are no more.

    glibc begins so, and from the first large array that is given back on takes the next from what
    it has, which then lies in pieces that fit no other: a network held up to 2.5 times what it
    uses. To map anew at every layer costs the system's clearing of pages, a tenth of a window's
    time where pages are huge (`prefer_huge_pages`), and two fifths where they are small.

    Nothing changes where the C library is not glibc. May be entered inside itself, and by several
    threads: the last one to leave undoes it.
    """
    global _mappers  # noqa: PLW0603  the setting is the process's
    with _mapping:
        _mappers += 1
        if _mappers == 1:
            _set(MAPPED)
    try:
        yield
    finally:
        with _mapping:
            _mappers -= 1
            if _mappers == 0:
                _set(AS_BEFORE)


def give_back() -> None:
    """Give the system the memory of arrays that are no more, small ones among them."""
    if is_glibc():
        trim = ctypes.CDLL(None).malloc_trim
        trim.argtypes = [ctypes.c_size_t]
        trim(0)


def is_glibc() -> bool:
    """Return whether the C library is the one that is told."""
    return platform.system() == "Linux" and platform.libc_ver()[0] == "glibc"


def _set(thresholds: dict[int, int]) -> None:
    if is_glibc():
        library = ctypes.CDLL(None)
        for parameter, size in thresholds.items():
            library.mallopt(parameter, size)
