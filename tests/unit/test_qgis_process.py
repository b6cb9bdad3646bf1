"""How the plugin for QGIS finds geounet, runs it, and stops it; none of it needs QGIS."""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from geounet_qgis import process
from geounet_qgis.process import Ended, Step, run_command
from geounet_qgis.program import ProblemError, check_version, find_program, surroundings

ROOT = Path(__file__).parents[2]


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


class Heard:
    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.results: list[str] = []
        self.notes: list[str] = []

    def step(self, step: Step) -> None:
        self.steps.append(step)

    def result(self, line: str) -> None:
        self.results.append(line)

    def note(self, line: str) -> None:
        self.notes.append(line)


def run_script(path: Path, text: str, stop=lambda _: False) -> tuple[Ended, Heard]:
    heard = Heard()
    ended = run_command([str(script(path, text))], heard, lambda: stop(heard), os.environ)
    return ended, heard


@pytest.mark.parametrize(
    ("line", "step"),
    [
        ('{"label": "scene", "done": 3, "total": 12}', Step("scene", 3, 12)),
        ('{"label": "2/9 Ålesund", "done": 0, "total": null}', Step("2/9 Ålesund", 0, None)),
        ('{"label": "scene", "done": 3}', None),
        ('{"label": "scene", "done": "3", "total": 12}', None),
        ('{"label": 1, "done": 3, "total": 12}', None),
        ("{scene} has no band B08", None),
        ("[1]", None),
        ("warning: 3 of 12", None),
        ("", None),
    ],
)
def test_progress_is_told_from_all_else(line: str, step: Step | None) -> None:
    assert Step.from_line(line) == step


def test_percents_stay_within_bounds() -> None:
    assert Step("a", 3, 12).percent == 25
    assert Step("a", 13, 12).percent == 100
    assert Step("a", 3, None).percent is None
    assert Step("a", 0, 0).percent is None


def test_what_a_command_says_is_sorted(tmp_path) -> None:
    ended, heard = run_script(
        tmp_path / "a",
        """
import sys
print("/out/a.json")
for line in ('{"label": "a", "done": 1, "total": 2}', "warning: no clouds", "error: 2 of 3 failed:",
             "  a.tif: no such file", "  b.tif: no band", "after"):
    print(line, file=sys.stderr)
sys.exit(1)
""",
    )
    assert (ended.status, ended.stopped) == (1, False)
    assert heard.steps == [Step("a", 1, 2)]
    assert heard.results == ended.out == ["/out/a.json"]
    assert heard.notes == ["warning: no clouds", "after"]
    assert ended.complaint == "2 of 3 failed:\n  a.tif: no such file\n  b.tif: no band"


def test_a_usage_error_is_taken_out_of_its_frame() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "geounet_cli", "predict", "a.tif", "--no-such-option"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'cli'}"},
    )
    ended = Ended(run.returncode, [], run.stderr.splitlines(), stopped=False)
    assert ended.complaint == "No such option: --no-such-option"


def test_a_command_that_ends_without_a_word_is_an_error_too(tmp_path) -> None:
    ended, _ = run_script(tmp_path / "a", "import os; os._exit(3)")
    assert ended.complaint == "geounet ended with status 3: it said nothing"
    ended, _ = run_script(tmp_path / "b", "raise ValueError('deep down')")
    assert ended.complaint == "geounet ended with status 1: ValueError: deep down"


POLITE = """
import sys, time
try:
    print("ready", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("cleared", flush=True)
    sys.exit(130)
"""
DEAF = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, {on_term})
print("ready", flush=True)
time.sleep(60)
"""


def when_ready(heard: Heard) -> bool:
    return heard.results == ["ready"]


def test_a_command_is_stopped_as_by_ctrl_c_and_its_last_words_are_heard(tmp_path) -> None:
    ended, heard = run_script(tmp_path / "a", POLITE, when_ready)
    assert (ended.status, ended.stopped) == (130, True)
    assert heard.results == ["ready", "cleared"]


@pytest.mark.parametrize(
    ("on_term", "status"),
    [("lambda *_: sys.exit(143)", 143), ("signal.SIG_IGN", -signal.SIGKILL)],
)
def test_one_that_does_not_hear_is_told_louder(tmp_path, monkeypatch, on_term, status) -> None:
    quick = tuple((name, 0.3) for name, _ in process.STOPPING)
    monkeypatch.setattr(process, "STOPPING", quick)
    ended, _ = run_script(tmp_path / "a", DEAF.replace("{on_term}", on_term), when_ready)
    assert (ended.status, ended.stopped) == (status, True)


def test_what_the_command_started_is_stopped_with_it(tmp_path) -> None:
    child = script(tmp_path / "child", f"{POLITE.replace('ready', 'child')}")
    text = f"""
import subprocess
child = subprocess.Popen([{str(child)!r}])
try:
    child.wait()
except KeyboardInterrupt:
    print("child ended with", child.wait(), flush=True)
"""
    ended, heard = run_script(tmp_path / "a", text, lambda heard: heard.results == ["child"])
    assert ended.stopped
    assert heard.results == ["child", "cleared", "child ended with 130"]


def test_where_signals_are_ignored_another_one_is_sent(tmp_path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        began = time.monotonic()
        text = POLITE.replace("import sys, time", "import signal, sys, time")
        ended, _ = run_script(tmp_path / "a", text, when_ready)
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended.status == -signal.SIGTERM
    assert time.monotonic() - began < 30


def test_a_listener_that_fails_does_not_leave_the_command_behind(tmp_path) -> None:
    pid = tmp_path / "pid"
    path = script(tmp_path / "a", f"import os; open({str(pid)!r}, 'w').write(str(os.getpid()))\n")
    path.write_text(path.read_text() + POLITE)

    class Failing(Heard):
        def result(self, line: str) -> None:
            raise RuntimeError(line)

    with pytest.raises(RuntimeError, match="ready"):
        run_command([str(path)], Failing(), lambda: False, os.environ)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_a_child_that_keeps_the_output_open_does_not_keep_us(tmp_path) -> None:
    text = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(20)"])
print(child.pid, flush=True)
"""
    began = time.monotonic()
    ended, heard = run_script(tmp_path / "a", text)
    os.kill(int(heard.results[0]), signal.SIGKILL)
    assert ended.status == 0
    assert time.monotonic() - began < 15


@pytest.fixture
def environment(tmp_path) -> Path:
    """An environment with a geounet in it."""
    script(tmp_path / "env/bin/geounet", "print('geounet 7.1')")
    (tmp_path / "env/bin/python3.12").symlink_to(sys.executable)
    return tmp_path / "env"


def test_geounet_is_found_where_the_setting_says(environment, monkeypatch) -> None:
    command, python = environment / "bin/geounet", environment / "bin/python3.12"
    assert find_program(str(environment)) == [str(command)]
    assert find_program(f" {command} ") == [str(command)]
    assert find_program(str(python)) == [str(python), "-m", "geounet_cli"]
    assert find_program("", path=str(environment / "bin")) == [str(command)]
    monkeypatch.setenv("HOME", str(environment.parent))
    assert find_program("~/env") == [str(command)]


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("", "nothing on PATH is called so"),
        ("{}/empty", "there is no geounet in the environment {}/empty"),
        ("{}/missing/geounet", "{}/missing/geounet is no command"),
        ("{}/file", "{}/file is no command"),
    ],
)
def test_one_that_is_not_there_is_said_with_what_to_do(tmp_path, monkeypatch, setting, why) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("no program")
    (tmp_path / "geounet").mkdir()  # of a checkout that QGIS happens to be started in
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ProblemError, match="in an environment of its own") as problem:
        find_program(setting.format(tmp_path), path=str(tmp_path / "empty"))
    assert str(problem.value).startswith(f"geounet is not found: {why.format(tmp_path)}. Install")
    assert "Providers ▸ geounet." in str(problem.value)


def test_where_geounet_does_not_run_that_is_said(environment, monkeypatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(ProblemError, match="not on Windows"):
        find_program(str(environment))


def test_the_version_is_asked_for(environment) -> None:
    assert check_version(find_program(str(environment))) == "7.1"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("print('geounet 0.0.9')", "is geounet 0.0.9, and this plugin needs 0.1.0 or newer"),
        ("print('gnu-geo 3')", "is no geounet that runs: gnu-geo 3."),
        ("import no_such_module", "runs: ModuleNotFoundError: No module named 'no_such_module'."),
        ("import os; os._exit(4)", "runs: it ended with status 4 and said nothing."),
    ],
)
def test_one_that_will_not_do_is_said_with_what_to_do(tmp_path, text, why) -> None:
    program = script(tmp_path / "geounet", text)
    with pytest.raises(ProblemError, match="Providers ▸ geounet") as problem:
        check_version([str(program)])
    assert why in str(problem.value)


def test_one_that_cannot_be_started_is_said(tmp_path) -> None:
    with pytest.raises(ProblemError, match="does not run"):
        check_version([str(tmp_path / "gone")])


def test_what_is_of_qgis_does_not_reach_geounet() -> None:
    of_qgis = {"PYTHONHOME": "/usr", "PYTHONPATH": "/qgis", "PROJ_LIB": "/p", "GDAL_DATA": "/g"}
    inside = surroundings({**of_qgis, "HOME": "/me", "GEOUNET_PROGRESS": "none"})
    assert inside.keys() & of_qgis.keys() == set()
    assert inside["HOME"] == "/me"
    assert inside["GEOUNET_PROGRESS"] == "json"
