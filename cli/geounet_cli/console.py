"""What a person sees on the way: progress and warnings, on stderr."""

import logging
import re
import sys
import warnings
from collections.abc import Iterable, Iterator
from typing import TypeVar

import typer

T = TypeVar("T")

stopped_by: list[int] = []
"""Signals that asked the command to stop; `main` empties it when it begins."""


class _OneLine(logging.Handler):
    """Writes the library's log records to stderr, a line each."""

    def emit(self, record: logging.LogRecord) -> None:
        prefix = "warning: " if record.levelno >= logging.WARNING else ""
        typer.echo(prefix + printable(record.getMessage()), err=True)


def printable(text: str) -> str:
    """Return text whose characters all can be shown; what else comes from a file is escaped.

    A terminal obeys some of them. Lines of a list, which are indented, are left.
    """
    lines = re.split(r"\n(?=  )", text)
    return "\n".join(
        "".join(char if char.isprintable() else ascii(char)[1:-1] for char in line)
        for line in lines
    )


def show_warnings() -> None:
    """Show what `geounet` logs; other libraries' chatter stays with their own handlers."""
    logger = logging.getLogger("geounet")
    logger.setLevel(logging.INFO)
    logger.handlers = [_OneLine()]
    logger.propagate = False
    # Of rasterio; whether a grid is missing is found out, and said, by who needs it.
    warnings.filterwarnings("ignore", "Dataset has no geotransform")


def progress(items: Iterable[T], *, label: str, total: int | None) -> Iterator[T]:
    """Show a bar with rate and time left while `items` are worked on; quiet without a terminal.

    Raises:
        KeyboardInterrupt: The command was asked to stop, and Python dropped what that raised.
    """
    items = _until_stopped(items)
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console  # half of the time that --help may take
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task(label, total=total, rate="")
        for item in items:
            yield item
            bar.advance(task)
            speed = bar.tasks[0].speed
            bar.update(task, rate=f"{speed:.1f}/s" if speed else "")


def _until_stopped(items: Iterable[T]) -> Iterator[T]:
    """Yield items; stop between two if what a signal raised was lost.

    Python drops what is raised in a `__del__` or a weak reference's callback, a Ctrl-C too.
    """
    for item in items:
        if stopped_by:
            raise KeyboardInterrupt
        yield item
