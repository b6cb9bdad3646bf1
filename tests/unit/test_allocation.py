"""Large arrays mapped by themselves, in processes of their own: counted in memory, and in pages."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from geounet import allocation
from geounet.allocation import AS_BEFORE, HUGE_PAGES, MAPPED, is_glibc, map_large_arrays

MIXED = """
import ctypes
from contextlib import nullcontext
from pathlib import Path
from geounet.allocation import map_large_arrays

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]

def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) >> 10

def array(mib):
    there = libc.malloc(mib << 20)
    libc.memset(there, 1, mib << 20)
    return there

libc.free(array(31))  # from here on glibc keeps what is smaller
before = resident()
with INSIDE:
    for _ in range(10):
        arrays = [array(20) for _ in range(6)]
        for there in arrays[:-1]:
            libc.free(there)
        most = resident()
        last = arrays[-1]  # what is free lies below it
        libc.free(last)
        array(21)  # fits in no single place of 20
    print(most - before - 21 * 9)
"""
TENSOR = """
import sys
from pathlib import Path
import geounet.engine
import torch
large = torch.ones(50 << 18)
print(next(line for line in Path("/proc/self/smaps_rollup").read_text().splitlines()
           if line.startswith("AnonHugePages")).split()[1])
"""
THP = Path("/sys/kernel/mm/transparent_hugepage/enabled")

needs_glibc = pytest.mark.skipif(not is_glibc(), reason="not glibc: nothing is changed")


def run(script: str, **environment: str) -> int:
    env = {key: value for key, value in os.environ.items() if key != HUGE_PAGES} | environment
    out = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, env=env
    )
    return int(out.stdout)


@needs_glibc
def test_what_is_free_is_gone_from_memory_whatever_lies_beside_it():
    kept = run(MIXED.replace("INSIDE", "nullcontext()"))
    assert run(MIXED.replace("INSIDE", "map_large_arrays()")) < 40 < kept


@needs_glibc
def test_what_small_arrays_took_is_given_back():
    script = (
        MIXED.split("libc.free(array(31))", maxsplit=1)[0]
        + """
from geounet.allocation import give_back
small = [libc.malloc(50_000) for _ in range(2000)]
for there in small:
    libc.memset(there, 1, 50_000)
for there in small[:-1]:  # the last is above what is free, which glibc keeps therefore
    libc.free(there)
before = resident()
give_back()
print(before - resident())
"""
    )
    assert run(script) > 80


@pytest.mark.skipif(
    not THP.exists() or "[madvise]" not in THP.read_text(),
    reason="the system gives huge pages to all who want none, or to nobody",
)
def test_torch_asks_for_huge_pages_unless_the_environment_says_otherwise():
    assert run(TENSOR) > 40 << 10
    assert run(TENSOR, **{HUGE_PAGES: "0"}) < 10 << 10


@pytest.fixture
def settings(monkeypatch):
    """What is set, in order, instead of setting it."""
    seen: list[dict[int, int]] = []
    monkeypatch.setattr(allocation, "_set", seen.append)
    return seen


def test_it_is_undone_after_an_error(settings):
    with pytest.raises(KeyError), map_large_arrays():
        raise KeyError
    assert settings == [MAPPED, AS_BEFORE]


def test_the_last_to_leave_undoes_it(settings):
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with map_large_arrays():
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with map_large_arrays():
        with map_large_arrays():
            pass
        thread.start()
        assert entered.wait(10)
    assert settings == [MAPPED]
    leave.set()
    thread.join()
    assert settings == [MAPPED, AS_BEFORE]


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(allocation.platform, "libc_ver", lambda: ("", ""))

    def never(_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(allocation.ctypes, "CDLL", never)
    assert not is_glibc()
    with map_large_arrays():
        pass
