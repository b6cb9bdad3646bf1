"""A Ctrl-C that comes where Python drops what it raises."""

import signal
from collections.abc import Iterator

import pytest
from geounet_cli import console, main


class Dying:
    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    main._stop_politely()
    yield
    console.stopped_by.clear()
    for number, handler in usual.items():
        signal.signal(number, handler)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_stop_that_was_dropped_comes_with_the_next_item() -> None:
    shown = console.progress(range(5), label="work", total=5)
    assert next(shown) == 0
    dying = Dying()
    del dying
    with pytest.raises(KeyboardInterrupt):
        next(shown)
    assert console.stopped_by == [signal.SIGINT]


def test_a_new_command_knows_nothing_of_the_last_ones_stop() -> None:
    console.stopped_by.append(signal.SIGTERM)
    main._stop_politely()
    assert list(console.progress(range(3), label="work", total=3)) == [0, 1, 2]
