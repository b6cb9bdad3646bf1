"""Having the next scene's files on their way while this one is finished."""

import logging
import os
import threading
from pathlib import Path

from geounet.errors import GeounetError
from geounet.predict.earlier import local_file
from geounet.scene import SceneOptions, gdal_environment, open_scene, without_query

logger = logging.getLogger(__name__)

AHEAD_BYTES = 2 << 30
"""Bytes of a scene that the system is asked for. It keeps them where it keeps all files: they are
no memory of the process, and go when there is no room."""


def fetch_ahead(source: str, options: SceneOptions) -> threading.Thread:
    """Begin to open a scene and to bring its files into the system's memory; return what does it.

    Of one behind an address what is needed to open it is fetched. Nothing is decoded, and nothing
    is said of what fails: that is told when it is the scene's turn.

    Args:
        source: As `open_scene` takes it.
        options: What the user said about it.
    """

    def fetch() -> None:
        try:
            with gdal_environment(), open_scene(source, options, advise=False) as scene:
                files = [file for path in scene.files() if (file := local_file(path)) is not None]
            _ask_for(list(dict.fromkeys(files)))
        except (GeounetError, OSError) as error:
            logger.debug("%s is not fetched ahead: %s", without_query(source), error)

    thread = threading.Thread(target=fetch, name="fetch", daemon=True)  # a drive may stall
    thread.start()
    return thread


def _ask_for(files: list[Path]) -> None:
    """Have the system read files, as far as it wants to; returns at once."""
    if not hasattr(os, "posix_fadvise"):  # of Linux
        return
    left = AHEAD_BYTES
    for file in files:
        with file.open("rb", buffering=0) as opened:
            size = min(left, file.stat().st_size)
            os.posix_fadvise(opened.fileno(), 0, size, os.POSIX_FADV_WILLNEED)
        left -= size
        if left <= 0:
            break
