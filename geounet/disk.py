"""What a disk holds for sure: room that is left, and files that survive a power cut."""

import errno
import os
from pathlib import Path


def reserve(scratch: Path, size: int) -> None:
    """Raise `OSError` unless the disk of `scratch` has `size` bytes left.

    GDAL reports a full disk when the last blocks are flushed, on closing, and rasterio does not
    pass that on: what was written without an error may still be cut short.
    """
    probe = scratch / ".probe"
    try:
        with probe.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
    finally:
        probe.unlink(missing_ok=True)


def to_disk(path: Path) -> None:
    """Have what a file or folder holds survive a power cut; what a disk refuses late is raised."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some file systems know no such thing of folders.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP) or not path.is_dir():
            raise
    finally:
        os.close(handle)
