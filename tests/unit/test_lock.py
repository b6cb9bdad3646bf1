"""The lock: one holder, who is named, and whose death frees it."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from geounet import lock
from geounet.errors import OutputError
from geounet.lock import CLAIM, LOCK, Holder, drop_lock, take_lock

HELD_FOR_EVER = """
import sys, time
from pathlib import Path
from geounet.lock import take_lock
held = take_lock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    return tmp_path / ".a.partial"


@pytest.fixture
def no_locks(monkeypatch) -> None:
    """A file system that knows no locks."""

    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(lock.fcntl, "flock", flock)


def test_the_holder_is_named_with_process_host_and_time(scratch) -> None:
    held = take_lock(scratch)
    who = rf"Another run is writing a in .*: process {os.getpid()} on {os.uname().nodename}, since "
    with pytest.raises(OutputError, match=who + r"2\d{3}-\d\d-\d\d \d\d:\d\d:\d\d UTC\. Wait"):
        take_lock(scratch)
    drop_lock(scratch, held)
    assert not scratch.exists()


def test_a_lock_of_a_killed_run_is_taken_over(scratch) -> None:
    line = [sys.executable, "-c", HELD_FOR_EVER, str(scratch)]
    with subprocess.Popen(line, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(OutputError, match=f"process {other.pid} on"):
            take_lock(scratch)
        other.kill()
    held = take_lock(scratch)
    assert json.loads((scratch / LOCK).read_text())["pid"] == os.getpid()
    drop_lock(scratch, held)


def test_what_says_nothing_is_a_lock_all_the_same(scratch) -> None:
    held = take_lock(scratch)
    (scratch / LOCK).write_text("{cut sho")
    with pytest.raises(OutputError, match=r"writing a in [^:]*\. Wait for it"):
        take_lock(scratch)
    drop_lock(scratch, held)


@pytest.mark.usefixtures("no_locks")
class TestWithoutLocksOfTheFileSystem:
    def test_runs_are_kept_apart_and_told_what_to_remove(self, scratch) -> None:
        held = take_lock(scratch)
        with pytest.raises(OutputError, match=rf"process {os.getpid()} on .*remove .*{CLAIM}, or"):
            take_lock(scratch)
        drop_lock(scratch, held)
        assert not scratch.exists()

    @pytest.mark.parametrize(
        ("host", "pid", "boot", "taken_over"),
        [
            ("here", 2**30, "now", True),  # no such process
            ("here", os.getpid(), "before", True),  # the machine was started since
            ("here", os.getpid(), "now", False),
            ("elsewhere", 2**30, "before", False),  # nobody knows
        ],
        ids=["no process", "another start", "running", "another machine"],
    )
    def test_a_claim_of_a_dead_run_is_taken_over(
        self, scratch, host, pid, boot, taken_over
    ) -> None:
        own = Holder.this_run()
        scratch.mkdir()
        claim = {
            "host": own.host if host == "here" else host,
            "pid": pid,
            "since": "2024-05-17 10:56:21 UTC",
            "boot": own.boot if boot == "now" else boot,
        }
        (scratch / CLAIM).write_text(json.dumps(claim))
        if taken_over:
            drop_lock(scratch, take_lock(scratch))
            assert not scratch.exists()
        else:
            with pytest.raises(OutputError, match="since 2024-05-17 10:56:21 UTC"):
                take_lock(scratch)


def test_another_refusal_of_the_system_is_not_hidden(scratch, monkeypatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(lock.fcntl, "flock", flock)
    with pytest.raises(OSError, match="Input/output"):
        take_lock(scratch)
