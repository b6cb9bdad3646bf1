"""A read that does not come is given up; one that comes is as it is."""

import threading
import time
from collections.abc import Iterator

import pytest
from rasterio.windows import Window

from geounet import patience as module
from geounet.errors import SceneError
from geounet.patience import StalledReadError, abandon, is_stuck, patience, read_in_time
from geounet.scene import raster
from geounet.scene.raster import Handles, read_or_say


@pytest.fixture
def stuck(monkeypatch) -> Iterator[threading.Event]:
    """What a stuck read waits for; it comes at last, for the threads' sake."""
    monkeypatch.setattr(module, "_abandoned", [])
    monkeypatch.setattr(raster, "_stalled", set())
    event = threading.Event()
    yield event
    event.set()


@pytest.mark.usefixtures("stuck")
def test_what_is_read_and_what_goes_wrong_come_through() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    assert read_in_time(lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        read_in_time(fail)
    assert not is_stuck()


def test_a_read_that_does_not_come_is_given_up(stuck) -> None:
    started = time.monotonic()
    with patience(0.05), pytest.raises(StalledReadError, match=r"nothing came for 0\.05 s"):
        read_in_time(stuck.wait)
    assert time.monotonic() - started < 5
    assert is_stuck()


@pytest.mark.usefixtures("stuck")
def test_a_timeout_of_the_read_itself_is_an_error_like_others() -> None:
    def fail() -> None:
        raise TimeoutError("of its own")

    with pytest.raises(TimeoutError, match="of its own"):
        read_in_time(fail)
    assert not is_stuck()


@pytest.mark.usefixtures("stuck")
def test_without_end_one_waits_in_the_same_thread() -> None:
    with patience(0):
        assert read_in_time(threading.get_ident) == threading.get_ident()
    assert read_in_time(threading.get_ident) != threading.get_ident()


def test_one_line_names_file_and_window(stuck) -> None:
    window = Window(col_off=10, row_off=20, width=30, height=40)
    line = (
        r"^/net/a\.tif cannot be read at rows 20–60, columns 10–40: nothing came for 0\.05 s\. "
        r"Check its drive, or give predict a longer --read-timeout\.$"
    )
    with patience(0.05), pytest.raises(SceneError, match=line):
        read_or_say("/net/a.tif", window, stuck.wait)


def test_what_a_thread_is_stuck_in_is_not_closed(stuck) -> None:
    class Dataset:
        closed = False

        def close(self) -> None:
            self.closed = True

    handles, stalled, sound = Handles(), Dataset(), Dataset()
    handles._mine("/net/a.tif", 1, lambda: stalled)
    handles._mine("/b.tif", 2, lambda: sound)
    window = Window(col_off=0, row_off=0, width=1, height=1)
    with patience(0.05), pytest.raises(SceneError):
        read_or_say("/net/a.tif", window, stuck.wait)
    handles.close()
    assert (stalled.closed, sound.closed) == (False, True)


@pytest.mark.usefixtures("stuck")
def test_what_is_abandoned_is_kept() -> None:
    abandon(thing := object())
    assert module._abandoned == [thing]
