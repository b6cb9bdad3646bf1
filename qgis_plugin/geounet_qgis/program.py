"""Where the command `geounet` is, whether it is new enough, and which environment it gets.

QGIS's Python has no torch, so geounet runs in an environment of its own, as a process of its own.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

LEAST_VERSION = (0, 1, 0)
SETTING = "GEOUNET_COMMAND"
"""Name of the setting of the plugin among those of Processing."""
WHERE = "Settings ▸ Options ▸ Processing ▸ Providers ▸ geounet"
COLUMNS = 110
"""Width of tables in the log."""
_SECONDS = 60
"""That asking for the version may take; on a cold disk it is seconds."""
_OF_QGIS = (
    "PYTHONHOME", "PYTHONPATH", "PROJ_LIB", "PROJ_DATA", "GDAL_DATA", "GDAL_DRIVER_PATH",
    "FORCE_COLOR",
)  # fmt: skip
"""Variables for QGIS's libraries, which would lead geounet's astray; and colours for terminals."""


class ProblemError(Exception):
    """What a user can put right; its text says how."""


def find_program(setting: str, path: str | None = None) -> list[str]:
    """Return how a command line of geounet begins.

    Args:
        setting: What the plugin's setting says: the command, a Python or the folder of the
            environment that geounet is installed in, or nothing.
        path: Where to look for it then; the process's own PATH if None.

    Raises:
        ProblemError: There is none, or there cannot be.
    """
    if sys.platform == "win32":
        raise ProblemError("geounet runs on Linux, and not on Windows; so does this plugin.")
    named = Path(setting.strip() or "geounet").expanduser()
    if setting.strip() and named.is_dir():
        inside = [named / folder / "geounet" for folder in ("bin", "Scripts", ".venv/bin", ".")]
        found = next((f for f in (shutil.which(str(one)) for one in inside) if f), None)
        missing = f"there is no geounet in the environment {named}"
    else:
        found = shutil.which(str(named), path=path)
        missing = f"{named} is no command" if setting.strip() else "nothing on PATH is called so"
    if found is None:
        raise ProblemError(
            f"geounet is not found: {missing}. Install it in an environment of its own, and name "
            f"that environment, its Python or its command geounet in {WHERE}."
        )
    if Path(found).name.lower().startswith("python"):
        return [found, "-m", "geounet_cli"]
    return [found]


def surroundings(of: Mapping[str, str]) -> dict[str, str]:
    """Return the environment that geounet runs in, from that of QGIS."""
    kept = {name: value for name, value in of.items() if name not in _OF_QGIS}
    said = {"GEOUNET_PROGRESS": "json", "PYTHONIOENCODING": "utf-8", "COLUMNS": str(COLUMNS)}
    return {**kept, **said}


def check_version(program: list[str]) -> str:
    """Return the version of an installed geounet.

    Raises:
        ProblemError: It does not run, is no geounet, or is too old for this plugin.
    """
    shown = " ".join(program)
    try:
        run = subprocess.run(
            [*program, "--version"],
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            stdin=subprocess.DEVNULL,
            env=surroundings(os.environ),
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as why:
        raise ProblemError(f"{shown} does not run: {why}. Set another in {WHERE}.") from why
    found = re.match(r"geounet (\d+(?:\.\d+)*)", run.stdout)
    if run.returncode or not found:
        said = (run.stderr or run.stdout).strip().splitlines()
        what = said[-1] if said else f"it ended with status {run.returncode} and said nothing"
        raise ProblemError(
            f"{shown} is no geounet that runs: {what}. Mend its environment, or name another in "
            f"{WHERE}."
        )
    version = found[1]
    if tuple(int(part) for part in version.split(".")) < LEAST_VERSION:
        least = ".".join(map(str, LEAST_VERSION))
        raise ProblemError(
            f"{shown} is geounet {version}, and this plugin needs {least} or newer. Install that "
            f"there, or name another in {WHERE}."
        )
    return version
