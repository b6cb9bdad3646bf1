"""What readers of scenes warn of: noted for the record, or not said a second time."""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def unheard() -> Iterator[Sequence[str]]:
    """Keep readers from saying again what they said when the scene was opened first."""
    readers = logging.getLogger("geounet.scene")
    level = readers.level
    readers.setLevel(logging.ERROR)
    try:
        yield ()
    finally:
        readers.setLevel(level)


@contextmanager
def heard() -> Iterator[Sequence[str]]:
    """Note what readers warn of, so that it stands in the record of what is made of the scene."""
    readers, said, thread = logging.getLogger("geounet.scene"), list[str](), threading.get_ident()

    def note(record: logging.LogRecord) -> None:
        if record.thread == thread:  # others may open scenes at the same time
            said.append(record.getMessage())

    handler = logging.Handler(logging.WARNING)
    handler.emit = note  # type: ignore[method-assign]
    readers.addHandler(handler)
    try:
        yield said
    finally:
        readers.removeHandler(handler)
