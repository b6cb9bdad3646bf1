"""One run at a time in a place: a lock that the system drops with the run, and that says whose."""

import errno
import fcntl
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self, TextIO

from geounet.errors import OutputError

LOCK = ".lock"
"""What is locked; who holds it stands in it."""
CLAIM = ".claim"
"""What stands for the lock where the file system has none: it is there while a run is."""
FILES = frozenset([LOCK, CLAIM])
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


@dataclass(frozen=True)
class Holder:
    """The run that holds a lock."""

    host: str
    pid: int
    since: str
    """UTC."""
    boot: str
    """Which start of the machine it runs under; empty where the system does not tell."""

    @classmethod
    def this_run(cls) -> Self:
        """Return what to write into a lock that is taken now."""
        boot = _BOOT.read_text(encoding="ascii").strip() if _BOOT.exists() else ""
        since = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
        return cls(os.uname().nodename, os.getpid(), since, boot)

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Return who holds a lock; None where it does not say (yet)."""
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def is_over(self) -> bool:
        """Return whether the run is known to have ended; of another machine's nothing is known."""
        here = type(self).this_run()
        if self.host != here.host:
            return False
        if self.boot != here.boot:
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:  # another user's
            return False
        return False

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


def take_lock(scratch: Path) -> TextIO:
    """Lock a scratch folder, which is made if absent, for this run until `drop_lock`.

    The lock is the system's (`flock`; over NFS that reaches other machines unless it is mounted
    with `nolock`): it ends with the process, however that ends. A file system without locks has a
    file instead, which is taken over if it is of a run of this machine that is no more.

    Returns:
        The open lock file.

    Raises:
        OutputError: Another run holds it: which one, and since when.
    """
    while True:
        scratch.mkdir(parents=True, exist_ok=True)
        try:
            # Not emptied on opening: it says who holds it.
            file = os.fdopen(os.open(scratch / LOCK, os.O_RDWR | os.O_CREAT, 0o666), "r+")
        except FileNotFoundError:
            continue  # its last holder removed the folder just now
        try:
            if _is_taken(scratch, file):
                return file
        except BaseException:
            file.close()
            raise
        file.close()


def _is_taken(scratch: Path, file: TextIO) -> bool:
    """Take the lock; False if what was locked is no longer there."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _held(scratch, Holder.read(scratch / LOCK)) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return _claim(scratch)
    try:
        if (scratch / LOCK).stat().st_ino != os.fstat(file.fileno()).st_ino:
            return False  # a lock on what its last holder removed just now keeps nobody out
    except FileNotFoundError:
        return False
    file.truncate()
    _sign(file.fileno())
    return True


def _claim(scratch: Path) -> bool:
    """Take what stands for the lock; False if it has just been freed."""
    path = scratch / CLAIM
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        holder = Holder.read(path)
        if holder is None or not holder.is_over():
            advice = f"If that run is no more, remove {path}"
            raise _held(scratch, holder, advice) from None
        path.unlink(missing_ok=True)
        return False
    except FileNotFoundError:
        return False
    _sign(handle)
    os.close(handle)
    return True


def _sign(handle: int) -> None:
    """Write into an open lock who holds it."""
    with suppress(OSError):  # a full disk stops the run elsewhere, which then clears up
        os.write(handle, json.dumps(asdict(Holder.this_run())).encode())


def _held(scratch: Path, holder: Holder | None, advice: str = "Wait for it") -> OutputError:
    name = scratch.name.removeprefix(".").removesuffix(".partial")
    who = f": {holder}" if holder else ""
    return OutputError(
        f"Another run is writing {name} in {scratch.parent}{who}. {advice}, or give another --out."
    )


def drop_lock(scratch: Path, file: TextIO) -> None:
    """Drop the lock of a scratch folder and remove the folder, if nothing else is in it."""
    # What is locked goes after all else: once it is gone, the folder may be the next run's.
    with suppress(OSError):
        (scratch / CLAIM).unlink(missing_ok=True)
        (scratch / LOCK).unlink()
        scratch.rmdir()
    file.close()
