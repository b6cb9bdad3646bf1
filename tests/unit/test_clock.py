"""Seconds by phase, of several threads at once; and what a record says of them."""

import threading
import time

import pytest

from geounet.clock import Clock
from geounet.predict.timings import MEANINGS, describe_times, show_times


def test_phases_of_several_threads_add_up():
    clock = Clock()

    def work() -> None:
        with clock.timed("reading"):
            time.sleep(0.05)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0.15 <= clock["reading"] < 5
    assert clock["never"] == 0


def test_a_phase_that_ends_in_an_error_counts():
    clock = Clock()
    with pytest.raises(KeyError), clock.timed("network"):
        raise KeyError
    assert "network" in clock.seconds


def test_idle_and_the_network_s_share_are_of_the_time_from_the_first_window_on():
    clock = Clock()
    for phase, seconds in {"windows": 12.0, "first window": 2.0, "network": 9.0}.items():
        clock.add(phase, seconds)
    times = describe_times(clock)
    assert times["idle"] == 1.0
    assert times["network_share"] == 0.9
    assert list(times) == [*MEANINGS, "network_share"]


def test_times_are_shown_with_what_they_mean():
    clock = Clock()
    clock.add("vectors", 3.25)
    shown = show_times(describe_times(clock))
    assert "vectors      3.25 s  lines and areas" in shown
    assert len(shown.splitlines()) == len(MEANINGS) + 1
