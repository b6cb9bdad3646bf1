"""Compiled loops, where what is compiled can be kept and where it cannot."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
from geounet.compiled import compiled, compiled_to_run_beside

@compiled
def double(number):
    return 2 * number

@compiled_to_run_beside
def add(numbers):
    total = 0.0
    for i in range(len(numbers)):
        total += numbers[i]
    return total

import numpy as np
print(double(21), add(np.arange(4.0)))
"""


@pytest.mark.parametrize("kept", [True, False])
def test_functions_run_whether_or_not_they_can_be_kept(tmp_path, kept):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    # A file where numba would have a folder: root may write everywhere else.
    (tmp_path / "__pycache__").touch()
    cache = tmp_path / "cache"
    if not kept:
        cache.touch()
    names = {"NUMBA_CACHE_DIR": str(cache), "HOME": str(cache), "XDG_CACHE_HOME": str(cache)}
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | names | {"PYTHONPATH": path},
    )
    assert done.stdout == "42 6.0\n"
    assert done.stderr == ""
    assert bool(list(tmp_path.rglob("*.nbi"))) == kept


def test_compiling_is_told_once_and_taking_what_is_kept_is_not(tmp_path):
    script = (
        "import logging, sys\n"
        "logging.basicConfig(level='INFO', format='%(message)s', stream=sys.stdout)\n"
        "logging.getLogger('numba').setLevel('WARNING')\n"
        "import numpy as np\n"
        "from geounet.ragged import Lines\n"
        "lines = Lines(np.zeros((2, 3)), np.array([0, 2]))\n"
        "lines.closed, lines.take(np.array([True]))\n"
    )
    told = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)},
        )
        told.append(done.stdout.count("compiling loops"))
    assert told == [1, 0]
