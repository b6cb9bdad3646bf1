"""What the project says of itself in several places is the same in all of them."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
CONDA_NAMES = {
    "huggingface-hub": "huggingface_hub",
    "torch": "pytorch",
    "matplotlib": "matplotlib-base",
    "pyyaml": "pyyaml",
}


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def conda() -> list[str]:
    return [
        line
        for line in yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
        if isinstance(line, str)
    ]


def conda_name(pypi_name: str) -> str:
    name = pypi_name.lower()
    return CONDA_NAMES.get(name, name)


def test_conda_has_the_python_and_the_bounds_of_pyproject(project: dict, conda: list[str]) -> None:
    wanted = {f"python{project['requires-python']}", "pip"}
    for text in project["dependencies"]:
        requirement = Requirement(text)
        wanted.add(conda_name(requirement.name) + str(requirement.specifier))
    assert set(conda) == wanted


def test_every_lower_bound_has_a_reason_and_none_is_an_upper_one() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    block = text.split("\ndependencies = [")[1].split("\n]")[0]
    lines = [line for line in block.strip().splitlines() if not line.strip().startswith("#")]
    assert lines
    for line in lines:
        assert re.fullmatch(r'\s*"[\w.-]+>=[\d.]+", # .{5,}', line), line


def test_the_tested_set_meets_the_bounds(project: dict) -> None:
    pinned = dict(
        line.lower().replace("_", "-").split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    )
    for text in project["dependencies"]:
        requirement = Requirement(text)
        version = pinned[requirement.name.lower()]
        assert requirement.specifier.contains(version), f"{text} but {version} was tested"


def test_no_path_of_a_machine_is_in_the_project() -> None:
    # What a checkout or a demo folder is called on somebody's machine means nothing elsewhere.
    for path in [
        *ROOT.glob("geounet/**/*.py"),
        *ROOT.glob("cli/**/*.py"),
        *ROOT.glob("docs/**/*.md"),
    ]:
        found = re.search(r"(?<![\w.])/(home|root|Users|work)/\w+", path.read_text())
        assert not found, f"{path}: {found and found.group()}"


def test_every_library_that_is_imported_is_declared(project: dict) -> None:
    imported = set()
    for path in [*ROOT.glob("geounet/**/*.py"), *ROOT.glob("cli/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.split(".")[0])
    imported -= {*sys.stdlib_module_names, "geounet", "geounet_cli"}
    comes_in = packages_distributions()
    extras = project["optional-dependencies"]
    needed = [*project["dependencies"], *extras["dask"], *extras["onnx"]]
    declared = {canonicalize_name(Requirement(text).name) for text in needed}
    given = {n: {canonicalize_name(d) for d in comes_in.get(n, [n])} for n in imported}
    assert not [name for name, packages in given.items() if not packages & declared]
