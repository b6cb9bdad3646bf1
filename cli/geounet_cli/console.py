"""What a person sees on the way: progress and warnings, on stderr."""

import io
import json
import logging
import re
import signal
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import Literal, TypeVar

import typer

T = TypeVar("T")

ProgressAs = Literal["auto", "json", "none"]
progress_as: ContextVar[ProgressAs] = ContextVar("progress_as", default="auto")
"""How `progress` shows how far the work is; `geounet --progress` sets it."""
JSON_SECONDS = 0.1
"""Between two lines of JSON at least, but for the first and last of a step."""

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

    With `--progress json` it is a line for programs now and then, with none nothing.

    Raises:
        KeyboardInterrupt: The command was asked to stop, and Python dropped what that raised; or
            nobody reads the lines of JSON any more.
    """
    items = _until_stopped(items)
    if progress_as.get() == "json":
        yield from _as_json(items, label, total)
        return
    if progress_as.get() == "none" or not sys.stderr.isatty():
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


def _as_json(items: Iterable[T], label: str, total: int | None) -> Iterator[T]:
    """Yield items, and say `{"label": …, "done": …, "total": …}` on a line of its own."""
    done, said, when = 0, 0, time.monotonic()
    _say_json(label, done, total)
    for item in items:
        yield item
        done += 1
        if done == total or time.monotonic() - when >= JSON_SECONDS:
            _say_json(label, done, total)
            said, when = done, time.monotonic()
    if said != done:
        _say_json(label, done, total)


def _say_json(label: str, done: int, total: int | None) -> None:
    line = json.dumps({"label": label, "done": done, "total": total})
    try:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
    except BrokenPipeError:
        # Whoever started the work has gone, and with it whoever could have stopped it.
        sys.stderr = io.StringIO()  # nobody hears what is said last
        stopped_by.append(signal.SIGPIPE)
        raise KeyboardInterrupt from None


def _until_stopped(items: Iterable[T]) -> Iterator[T]:
    """Yield items; stop between two if what a signal raised was lost.

    Python drops what is raised in a `__del__` or a weak reference's callback, a Ctrl-C too.
    """
    for item in items:
        if stopped_by:
            raise KeyboardInterrupt
        yield item
