"""Threads that read or make ahead of what uses it, in order."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import repeat
from typing import TypeVar, cast

import rasterio

T = TypeVar("T")
R = TypeVar("R")


def read_ahead(
    read: Callable[[T], R], items: Iterable[T], *, threads: int
) -> Generator[R, None, None]:
    """Yield `read(item)` in the order of `items`, with the next ones read in threads meanwhile.

    At most one result per thread, and one more, waits to be used. The first error of a thread is
    raised here, in its turn; closing the generator stops the threads.

    Args:
        read: May be called from several threads.
        items: What to read; drawn only as needed.
        threads: How many.
    """
    waiting: deque[Future[R]] = deque()
    readers = ThreadPoolExecutor(threads, thread_name_prefix="read", initializer=join_gdal)
    try:
        for item in items:
            waiting.append(readers.submit(read, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        readers.shutdown(wait=True, cancel_futures=True)


def draw_ahead(items: Generator[T, None, None]) -> Generator[T, None, None]:
    """Yield `items`, with the next one made in a thread meanwhile.

    Its error is raised here; closing this generator closes that one.
    """
    end = object()
    drawn = read_ahead(lambda _: next(items, end), repeat(None), threads=1)
    with closing(items), closing(drawn):
        for item in drawn:
            if item is end:
                return
            yield cast(T, item)
            del item  # it may be large, and the one after the next is on its way


def join_gdal() -> None:
    """Have what GDAL says in this thread logged as elsewhere; without this it is on stderr."""
    rasterio.Env().__enter__()
