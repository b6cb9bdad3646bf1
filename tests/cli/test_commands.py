"""What holds for every command."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from geounet.config import AugmentSettings, Config
from geounet.config.settings import BorderSettings, LossSettings

ROOT = Path(__file__).parents[2]
COMMANDS = [
    "tile", "train", "predict", "evaluate", "baseline", "info", "doctor", "demo", "configs",
    "compare", "qgis", "transects", "report", "coastline", "export",
    "experiment", "experiment skips", "experiment bands",
]  # fmt: skip
GUIDES = ROOT / "docs" / "guides"


def test_help_names_every_command(geounet) -> None:
    said = {"": geounet("--help").out, "experiment": geounet("experiment", "--help").out}
    for command in COMMANDS:
        *group, name = command.split()
        assert name in said["".join(group)]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_ends_with_a_line_to_paste_and_the_readme_has_the_command(geounet, command) -> None:
    run = geounet(*command.split(), "--help")
    assert run.status == 0
    assert f"Example: geounet {command}" in run.out
    assert f"geounet {command.split()[0]}" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize(
    ("settings", "guide"),
    [
        (Config, "train"),
        (LossSettings, "losses"),
        (BorderSettings, "losses"),
        (AugmentSettings, "augmentation"),
    ],
)
def test_every_setting_is_explained_in_its_guide(settings, guide) -> None:
    told = (GUIDES / f"{guide}.md").read_text(encoding="utf-8")
    missing = [
        name for name in settings.model_fields if not re.search(rf"`(\w+\.)?{name}\b[^`]*`", told)
    ]
    assert missing == []


def test_every_guide_is_within_reach_of_the_readme() -> None:
    for guide in GUIDES.glob("*.md"):
        assert f"docs/guides/{guide.name}" in (ROOT / "README.md").read_text(), guide.name


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_answers_in_a_third_of_a_second(command) -> None:
    # CPU time of the child, not wall time: other work on the machine must not decide.
    line = [sys.executable, "-m", "geounet_cli", *(command or "").split(), "--help"]
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


@pytest.mark.parametrize("command", ["", "predict", "experiment skips"])
def test_help_does_not_wait_for_what_looks_at_values(command) -> None:
    script = (
        "import sys\n"
        "from geounet_cli.main import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "finally:\n    assert 'pydantic' not in sys.modules\n"
    )
    line = [sys.executable, "-c", script, *command.split(), "--help"]
    assert "Usage" in subprocess.run(line, check=True, capture_output=True, text=True).stdout


def test_version_is_printed(geounet) -> None:
    from geounet import __version__

    assert geounet("--version").out == f"geounet {__version__}\n"


def test_a_wrong_option_is_a_usage_error(geounet) -> None:
    assert geounet("predict", "--no-such-option").status == 2


def test_a_ctrl_c_while_the_commands_are_imported_leaves_no_traceback() -> None:
    code = """
import runpy, sys
class Stop:
    def find_spec(self, name, *_):
        if name == "typer":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Stop())
runpy.run_module("geounet_cli", run_name="__main__")
"""
    run = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, cwd=ROOT
    )
    assert (run.returncode, run.stdout, run.stderr) == (130, "", "stopped\n")
