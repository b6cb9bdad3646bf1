"""Commands that misbehave on purpose, to see that the judge notices."""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np


def traceback(_: list[str]) -> None:
    raise KeyError("nodata")


def hang(_: list[str]) -> None:
    time.sleep(600)


def write_outside(_: list[str]) -> None:
    Path("../outside/evil.txt").write_text("x")
    _complain("not a raster")


def change_input(_: list[str]) -> None:
    next(Path.cwd().iterdir()).write_bytes(b"")
    _complain("not a raster")


def write_far_away(arguments: list[str]) -> None:
    Path(arguments[0]).write_text("x")
    _complain("not a raster")


def leave_litter(_: list[str]) -> None:
    Path("out").mkdir()
    _complain("not a raster")


def eat_memory(_: list[str]) -> None:
    np.ones(2**40)


def crash(_: list[str]) -> None:
    import ctypes

    ctypes.string_at(0)


def python_words(_: list[str]) -> None:
    _complain("'NoneType' object has no attribute 'get'")


def two_lines(_: list[str]) -> None:
    _complain("this\nand that")


def chatter(_: list[str]) -> None:
    sys.stderr.write("Warning 1: TIFFReadDirectory\n")
    _complain("not a raster")


def no_json(_: list[str]) -> None:
    sys.stdout.write('{\n "kind": "scene", "scale": NaN}\n')


def tell_secrets(_: list[str]) -> None:
    _complain(Path("../outside/secret.txt").read_text())


def wrong_status(_: list[str]) -> None:
    sys.exit(3)


def start_program(_: list[str]) -> None:
    import subprocess

    subprocess.run(["true"], check=True)
    _complain("not a raster")


def behave(_: list[str]) -> None:
    Path("../tmp/scratch").write_text("x")
    _complain("scene.tif is not a raster. Give another.")


def read_from_a_drive_that_hangs(arguments: list[str]) -> None:
    """Be `geounet`, with a scene of which the second window never comes."""
    from geounet_cli.main import main

    from geounet.scene import raster

    valid, reads = raster._valid, []

    def hang_in_the_middle(*those: Any) -> Any:
        reads.append(those)
        if len(reads) > 2:
            time.sleep(600)
        return valid(*those)

    raster._valid = hang_in_the_middle
    main(arguments)


def _complain(what: str) -> None:
    sys.stderr.write(f"error: {what}\n")
    sys.exit(1)
