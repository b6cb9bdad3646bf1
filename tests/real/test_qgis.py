"""QGIS itself opens what is written, where this machine has it (Debian: python3-qgis)."""

import functools
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from contouring import UTM, make_products, rough_field

PYTHON = "/usr/bin/python3"
CLASSES = {"0": ["land", "#decba4"], "1": ["water", "#1f77b4"]}


@functools.cache
def qgis_is_there() -> bool:
    """Whether the system's Python can import QGIS."""
    if not Path(PYTHON).exists():
        return False
    tried = subprocess.run([PYTHON, "-c", "import qgis.core"], capture_output=True, check=False)
    return tried.returncode == 0


@pytest.fixture(scope="session")
def checker(shared_data):
    """The program that loads a folder in QGIS and says what it does not take."""
    program = shared_data.parent / "tools" / "check_qgis.py"
    if not program.exists():
        pytest.skip(f"no {program}")
    if not qgis_is_there():
        pytest.skip(f"{PYTHON} cannot import qgis.core; apt-get install python3-qgis")
    return program


def check(checker, out, expected, *options):
    expect = out.parent / "expect.json"
    expect.write_text(json.dumps(expected))
    said = subprocess.run(
        [PYTHON, checker, out, "--expect", expect, *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stdout + said.stderr
    assert ", 0 failed" in said.stdout
    return said.stdout


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:32630", UTM),
        ("EPSG:4326", Affine(1e-4, 0, -76.5, 0, -1e-4, 34.7)),
        ("EPSG:32630", UTM @ Affine.rotation(30)),
    ],
)
def test_qgis_opens_all_products_styled(tmp_path, checker, crs, transform):
    values = np.clip(rough_field(np.random.default_rng(1), (90, 100), nodata=0.01), 0, 1)
    out = make_products(tmp_path, values, crs=crs, transform=transform)
    said = check(
        checker,
        out,
        {
            "crs": crs,
            "rasters": {
                "coast_mask.tif": {"renderer": "paletted", "nodata": 255, "classes": CLASSES},
                "coast_probability.tif": {"renderer": "singlebandpseudocolor", "nodata": 255},
                "coast_rgb.tif": {"renderer": "multibandcolor", "nodata": 0},
            },
            "vectors": {
                "coast.gpkg|coastline": {"geometry": "Line", "color": "#d62728"},
                "coast.gpkg|water": {"geometry": "Polygon", "color": "#1f77b4"},
            },
            "projects": {
                "coast.qgz": {
                    "layers": ["Coastline", "Water", "Mask", "Probability of water", "Scene"]
                }
            },
        },
    )
    # The mask reads well without its .qml, too, and QGIS has nothing to grumble about.
    assert "same names and colours" in said
    assert "QGIS log" not in said


@pytest.mark.parametrize("value", [0.1, 0.9])
def test_qgis_opens_a_scene_without_a_coast(tmp_path, checker, value):
    out = make_products(tmp_path, np.full((30, 40), value))
    layers = ["coastline", "water", "Coastline", "Water"]
    check(checker, out, {"crs": "EPSG:32630"}, "--allow-empty", *layers)


def test_qgis_opens_an_index(tmp_path, checker):
    values = rough_field(np.random.default_rng(1), (90, 100)) - 0.5
    out = make_products(tmp_path, values, quantity="index", level=0.1)
    check(checker, out, {"crs": "EPSG:32630", "rasters": {"coast_index.tif": {}}})
