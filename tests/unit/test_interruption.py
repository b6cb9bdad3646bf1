"""Signals come through at once, or after the steps that they must not come between."""
# ruff: noqa: PT012  what is done after the signal is what is tested

import signal
import threading
from collections.abc import Iterator

import pytest

from geounet.interruption import uninterrupted


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def stop(request) -> Iterator[signal.Signals]:
    before = signal.signal(request.param, signal.default_int_handler)
    yield request.param
    signal.signal(request.param, before)


def test_a_signal_waits_for_the_end(stop) -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), uninterrupted():
        signal.raise_signal(stop)
        done.append("after the signal")
    assert done == ["after the signal"]
    assert signal.getsignal(stop) is signal.default_int_handler


def test_it_comes_through_where_that_is_allowed_and_what_follows_is_safe_again(stop) -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), uninterrupted() as interruptible:
        try:
            with interruptible():
                signal.raise_signal(stop)
                done.append("never")
        finally:
            signal.raise_signal(stop)
            done.append("cleared")
    assert done == ["cleared"]


def test_one_that_came_before_the_long_work_comes_through_before_it(stop) -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), uninterrupted() as interruptible:
        signal.raise_signal(stop)
        done.append("made")
        with interruptible():
            done.append("never")
    assert done == ["made"]


def test_inner_steps_are_part_of_the_outer_ones(stop) -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), uninterrupted():
        with uninterrupted():
            signal.raise_signal(stop)
        done.append("outer")
    assert done == ["outer"]


def test_an_error_is_told_where_no_signal_came(stop) -> None:
    with pytest.raises(ValueError, match="mine"), uninterrupted():
        raise ValueError("mine")
    assert signal.getsignal(stop) is signal.default_int_handler


def test_what_ends_the_process_at_once_still_does() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with uninterrupted() as interruptible, interruptible():
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    signal.signal(signal.SIGTERM, before)


def test_in_another_thread_there_is_nothing_to_put_off() -> None:
    handlers = []

    def work() -> None:
        with uninterrupted() as interruptible, interruptible():
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGINT)]
