"""The recipes of docs/export.md work as they are written."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from predicting import wavy_dn, write_model, write_scene

from geounet.export import export_model

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
TITLES = ["ONNX Runtime", "PyTorch without geounet", "Deepness in QGIS", "A catalogue (STAC MLM)"]
NAMES = ("B03", "B08")


def section(title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    assert found is not None
    return found[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """What the recipes begin with: a model file, a scene, and somebody's ONNX file."""
    folder = tmp_path_factory.mktemp("recipes")
    settings = {"base_width": 2, "depth": 2}
    model = write_model(folder / "model.safetensors", "unet-same", settings, names=NAMES)
    write_scene(folder / "scene.tif", wavy_dn(300, 320, bands=2), names=NAMES)
    export_model(model, folder / "theirs.onnx", "onnx")
    theirs = onnx.load(str(folder / "theirs.onnx"))
    del theirs.metadata_props[:]
    onnx.save(theirs, str(folder / "theirs.onnx"))
    return folder


@pytest.mark.parametrize("title", TITLES)
def test_every_line_of_a_recipe_runs(folder, monkeypatch, geounet, title):
    monkeypatch.chdir(folder)
    blocks = re.findall(r"^```(sh|python)\n(.*?)^```", section(title), re.M | re.S)
    assert blocks
    for language, text in blocks:
        if language == "sh":
            for line in text.splitlines():
                command, *arguments = shlex.split(line)
                assert command == "geounet"
                run = geounet(*arguments)
                assert run.status == 0, run.err
            continue
        # As a user runs it: in a Python of its own, which does not know geounet.
        path = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        guard = "import sys; sys.modules['geounet'] = None\n"
        run = subprocess.run(
            [sys.executable, "-c", guard + text], env=path, check=False, capture_output=True,
            text=True,
        )  # fmt: skip
        assert run.returncode == 0, run.stderr
        assert run.stdout.strip()


def test_every_taker_has_a_recipe():
    from geounet.export import FORMS

    for form in FORMS:
        assert any(f"--to {form} " in section(title) for title in TITLES), form
        assert re.search(rf"^\| `{form}` \|", PAGE, re.M)
