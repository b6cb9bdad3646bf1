"""How far a command is, for programs that read it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from geounet_cli import console
from predicting import DARK, water_is_dark, wavy_dn, write_model, write_scene

ROOT = Path(__file__).parents[2]


@pytest.fixture
def given(tmp_path: Path) -> tuple[object, ...]:
    """A prediction of forty windows."""
    scene = write_scene(tmp_path / "scene.tif", wavy_dn(80, 32))
    model = write_model(tmp_path / "dark.safetensors", overrides=DARK, prepare=water_is_dark(7))
    return ("predict", scene, "--model", model, "--out", tmp_path / "out", "--window", 8)


@pytest.fixture
def as_json() -> Iterator[None]:
    token = console.progress_as.set("json")
    yield
    console.progress_as.reset(token)


def steps(err: str) -> list[dict]:
    return [json.loads(line) for line in err.splitlines() if line.startswith("{")]


def test_each_line_says_how_much_of_what_is_done(geounet, given) -> None:
    run = geounet("--progress", "json", *given)
    assert run.status == 0
    said = steps(run.err)
    of_scene = [step for step in said if step["label"] == "scene"]
    assert of_scene[0] == {"label": "scene", "done": 0, "total": 40}
    assert of_scene[-1] == {"label": "scene", "done": 40, "total": 40}
    for before, after in pairwise(said):
        assert after["done"] > before["done"] or after["label"] != before["label"]


def test_the_environment_may_say_it_and_the_record_does_not(
    geounet, given, monkeypatch, tmp_path
) -> None:
    monkeypatch.setenv("GEOUNET_PROGRESS", "json")
    run = geounet(*given)
    assert steps(run.err)
    record = json.loads((tmp_path / "out/scene.json").read_text())
    assert record["command_line"].startswith("geounet predict ")


def test_without_a_terminal_nothing_is_shown_unless_asked(geounet, given) -> None:
    geounet("--progress", "json", *given)
    for options in ((), ("--progress", "none")):
        run = geounet(*options, *given, "--overwrite")
        assert run.status == 0
        assert steps(run.err) == []


def test_another_word_is_a_usage_error(geounet, monkeypatch) -> None:
    monkeypatch.setenv("GEOUNET_PROGRESS", "loud")
    run = geounet("configs")
    assert run.status == 2
    assert "GEOUNET_PROGRESS" in run.err


@pytest.mark.usefixtures("as_json")
def test_many_items_are_not_as_many_lines(capsys) -> None:
    assert list(console.progress(range(10_000), label="work", total=10_000)) == list(range(10_000))
    said = steps(capsys.readouterr().err)
    assert (said[0]["done"], said[-1]["done"]) == (0, 10_000)
    assert len(said) < 100


@pytest.mark.usefixtures("as_json")
def test_where_nobody_knows_how_many_there_are_the_end_is_told(capsys) -> None:
    assert list(console.progress(iter("abc"), label="work", total=None)) == ["a", "b", "c"]
    assert steps(capsys.readouterr().err)[-1] == {"label": "work", "done": 3, "total": None}


def test_a_command_that_nobody_listens_to_any_more_stops_and_clears_up(given, tmp_path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "geounet_cli", "--progress", "json", *map(str, given)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'cli'}"},
    )
    assert process.stderr is not None
    assert json.loads(process.stderr.readline())["done"] == 0
    process.stderr.close()
    assert process.wait(60) == 141  # as of SIGPIPE
    assert process.stdout.read() == ""
    process.stdout.close()
    assert not (tmp_path / "out").exists()
