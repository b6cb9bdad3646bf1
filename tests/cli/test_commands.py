"""What holds for every command."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMANDS = [
    "tile", "train", "predict", "evaluate", "baseline", "info", "doctor", "demo", "configs",
]  # fmt: skip


def test_help_names_every_command(geounet) -> None:
    said = geounet("--help").out
    for command in COMMANDS:
        assert command in said


@pytest.mark.parametrize("command", COMMANDS)
def test_help_ends_with_a_line_to_paste_and_the_readme_has_the_command(geounet, command) -> None:
    run = geounet(command, "--help")
    assert run.status == 0
    assert f"geounet {command}" in run.out.split("Usage:")[1].split("\n", 1)[1]
    assert f"geounet {command}" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_answers_in_a_third_of_a_second(command) -> None:
    # CPU time of the child, not wall time: other work on the machine must not decide.
    line = [sys.executable, "-m", "geounet_cli", *([command] if command else []), "--help"]
    times = []
    for _ in range(3):
        before = os.times()
        subprocess.run(line, check=True, capture_output=True, cwd=ROOT)
        after = os.times()
        times.append(
            after.children_user + after.children_system
            - before.children_user - before.children_system
        )  # fmt: skip
        if min(times) <= 0.35:
            return
        time.sleep(0.1)
    pytest.fail(f"{min(times):.2f} s of CPU")


def test_version_is_printed(geounet) -> None:
    from geounet import __version__

    assert geounet("--version").out == f"geounet {__version__}\n"


def test_a_wrong_option_is_a_usage_error(geounet) -> None:
    assert geounet("predict", "--no-such-option").status == 2
