"""Memory kept for what comes next: counted in page faults, in a process of its own."""

import subprocess
import sys
import threading

import pytest

from geounet import allocation
from geounet.allocation import AS_BEFORE, KEPT, is_kept, keep_buffers

ARRAYS = """
import ctypes, resource
from contextlib import nullcontext
from pathlib import Path
from geounet.allocation import keep_buffers

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]

libc.free.argtypes = [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

def fill():
    there = libc.malloc(100 << 20)
    libc.memset(there, 1, 100 << 20)
    libc.free(there)

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    fill()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

with INSIDE:
    fill()
    counts = [faults() for _ in range(3)]
    held = resident()
print(max(counts), held >> 20, resident() >> 20)
"""

needs_glibc = pytest.mark.skipif(not is_kept(), reason="not glibc: nothing is kept")


def run(inside: str) -> tuple[int, int, int]:
    """Return page faults of a second array of 100 MiB, and MiB resident inside and after."""
    script = ARRAYS.replace("INSIDE", inside)
    out = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    faults, held, after = map(int, out.stdout.split())
    return faults, held, after


@needs_glibc
def test_arrays_take_the_place_of_earlier_ones_and_all_is_given_back():
    faults, held, after = run("keep_buffers()")
    assert faults < 100
    assert held > 100
    assert after < held - 90


@needs_glibc
def test_without_it_every_array_is_mapped_anew():
    faults, held, _ = run("nullcontext()")
    assert faults > 40  # 25 600 of 4 KiB; 50 where pages are huge
    assert held < 100


@needs_glibc
def test_what_is_kept_is_given_back_above_a_limit_and_not_below():
    script = (
        ARRAYS.split("with INSIDE")[0]
        + """
from geounet.allocation import give_back_above, resident_bytes
with keep_buffers():
    fill()
    held = resident_bytes()
    give_back_above(held + (1 << 20))
    below = resident_bytes()
    give_back_above(held - (1 << 20))
    above = resident_bytes()
print(held - below >> 20, held - above >> 20)
"""
    )
    out = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    kept, given = map(int, out.stdout.split())
    assert kept < 10
    assert given > 90


@pytest.fixture
def settings(monkeypatch):
    """What is set, in order, instead of setting it."""
    seen: list[dict[int, int]] = []
    monkeypatch.setattr(allocation, "_set", seen.append)
    return seen


def test_it_is_undone_after_an_error(settings):
    with pytest.raises(KeyError), keep_buffers():
        raise KeyError
    assert settings == [KEPT, AS_BEFORE]


def test_the_last_to_leave_undoes_it(settings):
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with keep_buffers():
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with keep_buffers():
        with keep_buffers():
            pass
        thread.start()
        assert entered.wait(10)
    assert settings == [KEPT]
    leave.set()
    thread.join()
    assert settings == [KEPT, AS_BEFORE]


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(allocation.platform, "libc_ver", lambda: ("", ""))

    def never(_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(allocation.ctypes, "CDLL", never)
    assert not is_kept()
    with keep_buffers():
        pass
