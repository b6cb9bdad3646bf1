"""The plugin for QGIS, as far as it needs no QGIS: tables of options, the process, the package."""

import ast
import configparser
import enum
import os
import re
import subprocess
import sys
import typing
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from geounet_cli import coastline, evaluate, predict, tile
from geounet_qgis.coastline import COASTLINE
from geounet_qgis.evaluate import EVALUATE
from geounet_qgis.options import Command, Kind, Option
from geounet_qgis.predict import PREDICT
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
