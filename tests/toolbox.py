"""QGIS with the plugin in a profile of its own, and a geounet that is this checkout's."""

import functools
import json
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

PYTHON = "/usr/bin/python3"
ROOT = Path(__file__).parents[1]
PLUGINS = "profiles/default/python/plugins"


def find_qgis_process() -> str | None:
    """The program itself rather than Debian's script around it, which fails in some shells."""
    return shutil.which("qgis_process.bin") or shutil.which("qgis_process")


@functools.cache
def why_no_qgis() -> str:
    if find_qgis_process() is None:
        return "there is no qgis_process; apt-get install qgis"
    tried = subprocess.run(
        [PYTHON, "-c", "import qgis.core, processing"],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": "/usr/share/qgis/python/plugins"},
    )
    return "" if tried.returncode == 0 else f"{PYTHON} cannot import qgis; apt-get install qgis"


def as_arguments(parameters: dict[str, object]) -> list[str]:
    """What has several values is said several times."""
    lists = {name: v if isinstance(v, list) else [v] for name, v in parameters.items()}
    return [f"{name}={value}" for name, values in lists.items() for value in values]


@dataclass(frozen=True)
class Toolbox:
    """QGIS with the plugin in a profile of its own, and a geounet that is this checkout's."""

    profile: Path
    bin: Path

    def environment(self, path: str | None = None) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return kept | {
            "QT_QPA_PLATFORM": "offscreen",
            "QGIS_CUSTOM_CONFIG_PATH": str(self.profile),
            "XDG_RUNTIME_DIR": str(self.profile / "run"),
            "PATH": path or f"{self.bin}:/usr/bin:/bin",
            # geounet is not to find QGIS's libraries, and gets none of this.
            "PYTHONPATH": "/nowhere/of/qgis",
            "PROJ_LIB": "/usr/share/proj",
        }

    def process(self, *arguments: object, path: str | None = None) -> subprocess.CompletedProcess:
        """Run `qgis_process`."""
        program = find_qgis_process()
        assert program
        return subprocess.run(
            [program, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
            env=self.environment(path),
        )

    def run(self, algorithm: str, **parameters: object) -> dict:
        """Run an algorithm by `qgis_process`; return its results."""
        given = as_arguments(parameters)
        ended = self.process("--json", "run", f"geounet:{algorithm}", "--", *given)
        assert ended.returncode == 0, ended.stderr + ended.stdout
        return json.loads(ended.stdout[ended.stdout.index("{") :])["results"]

    def complaint(self, algorithm: str, path: str | None = None, **parameters: object) -> str:
        """Run what is to fail; return the one line that QGIS calls the error."""
        given = as_arguments(parameters)
        ended = self.process("run", f"geounet:{algorithm}", "--", *given, path=path)
        assert ended.returncode == 1, ended.stdout
        assert "Traceback" not in ended.stdout + ended.stderr
        lines = ended.stdout.splitlines() + ended.stderr.splitlines()
        (line,) = [line for line in lines if line.startswith("ERROR:")]
        return line.removeprefix("ERROR:").strip()

    def window(
        self,
        algorithm: str,
        *,
        cancel_at: float | None = None,
        setting: str = "",
        path: str | None = None,
        **parameters: object,
    ) -> dict:
        """Run an algorithm as QGIS's window does, with a project and its layers."""
        job = {
            "algorithm": algorithm, "parameters": parameters, "cancel_at": cancel_at,
            "setting": setting,
        }  # fmt: skip
        ended = subprocess.run(
            [PYTHON, ROOT / "tests/in_qgis_toolbox.py", self.profile / PLUGINS],
            input=json.dumps(job, default=str),
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
            env=self.environment(path),
        )
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)


def install(place: Path) -> Toolbox:
    """Pack the plugin, install it in a new profile in `place`, and switch it on."""
    build = [sys.executable, ROOT / "qgis_plugin/build.py", place]
    packed = subprocess.run(build, capture_output=True, text=True, check=True)
    profile = place / "profile"
    with zipfile.ZipFile(packed.stdout.strip()) as archive:
        archive.extractall(profile / PLUGINS)
    (profile / "run").mkdir(mode=0o700)
    command = place / "bin" / "geounet"
    command.parent.mkdir()
    command.write_text(
        "#!/bin/sh\n"
        f'test -z "$PYTHONPATH$PROJ_LIB" || exit 99\n'
        f"PYTHONPATH='{ROOT}:{ROOT}/cli' exec '{sys.executable}' -m geounet_cli \"$@\"\n"
    )
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    made = Toolbox(profile, command.parent)
    enabled = made.process("plugins", "enable", "geounet_qgis")
    assert enabled.returncode == 0, enabled.stderr
    return made
