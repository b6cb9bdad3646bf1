"""How the library tells of its progress without printing: the caller passes in a `Progress`."""

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")


class Progress(Protocol):
    """Wraps items that are worked on one after another, and may show how far the work is."""

    def __call__(self, items: Iterable[T], *, label: str, total: int | None) -> Iterator[T]:
        """Yield `items` unchanged; `total` is how many there are, where that is known."""
        ...


def silent(items: Iterable[T], *, label: str, total: int | None) -> Iterator[T]:  # noqa: ARG001  the protocol's names
    """Yield `items` and show nothing."""
    yield from items
