"""The plugin for QGIS, as far as it needs no QGIS: tables of options, the process, the package."""

import ast
import configparser
import enum
import os
import re
import signal
import stat
import subprocess
import sys
import time
import typing
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from geounet_cli import coastline, evaluate, predict, tile
from geounet_qgis import process
from geounet_qgis.coastline import COASTLINE
from geounet_qgis.evaluate import EVALUATE
from geounet_qgis.options import Command, Kind, Option
from geounet_qgis.predict import PREDICT
from geounet_qgis.process import Ended, Step, run_command
from geounet_qgis.program import ProblemError, check_version, find_program, surroundings
from geounet_qgis.results import find_results
from geounet_qgis.tile import TILE

from geounet import __version__

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "qgis_plugin"
MODULES = sorted((PLUGIN / "geounet_qgis").glob("*.py"))
COMMANDS = {
    PREDICT: predict.predict,
    COASTLINE: coastline.coastline,
    EVALUATE: evaluate.evaluate,
    TILE: tile.tile,
}
ROWS = [
    pytest.param(command, option, id=f"{command.name} {option.name}")
    for command in COMMANDS
    for option in command.options
]


def real_options(command: Command) -> dict[str, tuple[Any, Any, Any]]:
    """Type, typer's own description and default of each option, by its flag; "" is arguments."""
    function = COMMANDS[command]
    found = {}
    for name, hint in typing.get_type_hints(function, include_extras=True).items():
        if not hasattr(hint, "__metadata__"):
            continue
        info = hint.__metadata__[0]
        default = function.__kwdefaults__ or {}
        positions = function.__code__.co_varnames[: function.__code__.co_argcount]
        given = dict(zip(reversed(positions), reversed(function.__defaults__ or ()), strict=False))
        # In an annotation typer takes the first flag for a default at first.
        words = (info.default, *(info.param_decls or ()))
        flags = [word for word in words if isinstance(word, str) and word.startswith("--")]
        argument = type(info).__name__ == "ArgumentInfo"
        flag = "" if argument else (flags or [f"--{name.replace('_', '-')}"])[0]
        found[flag] = (hint.__origin__, info, (given | default).get(name, ...))
    return found


@pytest.mark.parametrize(("command", "option"), ROWS)
def test_an_option_is_one_of_the_command(command: Command, option: Option) -> None:
    real = real_options(command)
    assert option.flag in real
    kind, info, default = real[option.flag]
    several = (option.flag, option.kind) in (("", Kind.RASTERS), ("", Kind.FILES))
    assert several or (option.kind is Kind.FLAG) == (kind is bool)
    if option.default is not None:
        assert option.default == (default.value if isinstance(default, enum.Enum) else default)
    if option.required:
        assert default is ...
    if option.kind in (Kind.NUMBER, Kind.INTEGER):
        assert (int if option.kind is Kind.INTEGER else float) in (kind, *typing.get_args(kind))
        # What the command checks later may be checked here.
        assert info.min in (None, option.least)
        assert info.max in (None, option.most)


def words_of(kind: Any) -> set[str]:
    """The words that a type allows; empty where it is any text."""
    words: set[str] = set()
    for one in (kind, *typing.get_args(kind)):
        if typing.get_origin(one) is typing.Literal:
            words |= set(typing.get_args(one))
        elif isinstance(one, str):
            words.add(one)
        elif isinstance(one, type) and issubclass(one, enum.Enum):
            words |= {member.value for member in one}
    return words


@pytest.mark.parametrize(("command", "option"), [row for row in ROWS if row.values[1].choices])
def test_choices_are_those_of_the_command(command: Command, option: Option) -> None:
    kind, info, _ = real_options(command)[option.flag]
    if words := words_of(kind):
        assert set(option.choices) == words
    else:
        for word in option.choices:
            assert word in f"{info.help} {info.metavar}"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_names_are_told_apart_and_what_must_be_given_is_asked_for(command: Command) -> None:
    names = [option.name for option in command.options] + [one.name for one in command.outputs]
    names += [number.name for number in command.numbers]
    assert len(set(names)) == len(names)
    assert {*command.one_of, *command.any_of} <= set(names)
    asked = {option.flag for option in command.options if option.required}
    asked |= {o.flag for o in command.options if o.name in command.one_of + command.any_of}
    needed = {flag for flag, (*_, default) in real_options(command).items() if default is ...}
    assert needed <= asked


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_the_guide_names_what_there_is(command: Command) -> None:
    guide = (ROOT / "docs/guides/qgis_plugin.md").read_text(encoding="utf-8")
    (line,) = re.findall(rf"qgis_process run geounet:{command.name} -- (.*)", guide)
    given = {word.partition("=")[0] for word in line.split()}
    options = {option.name: option for option in command.options}
    assert given <= options.keys()
    assert {name for name, option in options.items() if option.required} <= given
    assert command.title in guide
    for result in (*command.outputs, *command.numbers):
        assert f"`{result.name}`" in guide


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_it_is_python_as_old_as_qgis_has_and_leans_on_nothing_else(module: Path) -> None:
    tree = ast.parse(module.read_text(encoding="utf-8"), feature_version=(3, 9))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        )
    }  # fmt: skip
    assert imported <= sys.stdlib_module_names | {"qgis", "processing", "geounet_qgis"}
    assert "from __future__ import annotations" in module.read_text(encoding="utf-8")


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


def test_a_record_tells_what_is_there(tmp_path) -> None:
    record = tmp_path / "a b.json"
    record.write_text('{"files": {"a b.gpkg": {}, "a b_mask.tif": {}}, "settings": {"lines": {}}}')
    (found,) = find_results(["a table", str(record), ""], tmp_path)
    assert found.name == "a b"
    assert found.values(PREDICT) == {
        "COASTLINE": f"{tmp_path}/a b.gpkg|layername=coastline",
        "WATER_AREAS": f"{tmp_path}/a b.gpkg|layername=water",
        "MASK": f"{tmp_path}/a b_mask.tif",
        "RECORD": str(record),
    }
    assert [output.name for output, _ in found.layers(PREDICT)] == [
        "COASTLINE", "WATER_AREAS", "MASK",
    ]  # fmt: skip


def test_scores_tell_numbers_and_where_there_are_none_none(tmp_path) -> None:
    scores = tmp_path / "mine.json"
    scores.write_text('{"pixels": null, "lines": {"predicted": {"metres": {"rmse": 2.5}}}}')
    figure = tmp_path / "mine.png"
    figure.touch()
    (found,) = find_results(["accuracy 90 %", str(figure), str(scores)], None)
    assert found.name == "mine"
    assert found.values(EVALUATE) == {"RMSE_M": 2.5}


def test_a_folder_is_the_result_of_what_prints_no_files(tmp_path) -> None:
    (tmp_path / "index.parquet").touch()
    (found,) = find_results(["train 3"], tmp_path)
    assert found.values(TILE) == {"CHIPS": f"{tmp_path}/index.parquet"}
    assert find_results([], tmp_path / "missing") == []


@pytest.fixture
def package(tmp_path) -> Path:
    run = subprocess.run(
        [sys.executable, PLUGIN / "build.py", tmp_path], capture_output=True, text=True, check=True
    )
    return Path(run.stdout.strip())


def test_the_package_is_what_qgis_installs(package) -> None:
    assert package.name == f"geounet-qgis-{__version__}.zip"
    with zipfile.ZipFile(package) as archive:
        names = archive.namelist()
        said = configparser.ConfigParser()
        said.read_string(archive.read("geounet_qgis/metadata.txt").decode())
        licence = archive.read("geounet_qgis/LICENSE")
        ElementTree.fromstring(archive.read("geounet_qgis/icon.svg"))
    modules = {f"geounet_qgis/{path.name}" for path in MODULES}
    rest = {f"geounet_qgis/{name}" for name in ("metadata.txt", "icon.svg", "LICENSE")}
    assert set(names) == modules | rest
    general = said["general"]
    assert general["version"] == __version__
    assert general["qgisMinimumVersion"] == "3.22"
    assert general["hasProcessingProvider"] == "yes"
    assert general["icon"] == "icon.svg"
    assert {"name", "description", "about", "author", "license"} <= general.keys()
    assert licence == (ROOT / "LICENSE").read_bytes()


def test_the_same_sources_are_the_same_bytes(package, tmp_path) -> None:
    other = tmp_path / "other"
    subprocess.run(
        [sys.executable, PLUGIN / "build.py", other],
        check=True,
        capture_output=True,
        env={**os.environ, "TZ": "Pacific/Kiritimati"},
    )
    assert (other / package.name).read_bytes() == package.read_bytes()
