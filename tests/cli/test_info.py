"""geounet info."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine


@pytest.fixture
def scene(tmp_path) -> Path:
    path = tmp_path / "coast.tif"
    with rasterio.open(
        path, "w", driver="GTiff", height=30, width=40, count=2, dtype="uint16",
        crs="EPSG:32630", transform=Affine(10, 0, 5e5, 0, -10, 54e5), nodata=0,
    ) as dst:  # fmt: skip
        dst.write(np.stack([np.full((30, 40), 1500), np.full((30, 40), 3000)]).astype(np.uint16))
        dst.descriptions = ("B03", "B08")
        dst.update_tags(sensor="s2")
    return path


OPTIONS = ("--scale", "0.0001", "--offset", "-1000")


def test_a_scene_is_told_for_people(geounet, scene) -> None:
    run = geounet("info", scene, *OPTIONS)
    assert run.status == 0, run.err
    assert str(scene) in run.out
    assert "s2 (from tag sensor)" in run.out
    assert "30 × 40 pixels of 10 × 10 m, " in run.out
    assert "s2:B08" in run.out
    assert "832.8" in run.out
    assert "0.0500" in run.out, "reflectance"


def test_json_has_all_of_it(geounet, scene) -> None:
    facts = json.loads(geounet("info", scene, "--json", *OPTIONS).out)
    assert facts["kind"] == "scene"
    assert facts["bands"][1]["common_name"] == "nir"


def test_what_is_missing_is_said(geounet, scene) -> None:
    run = geounet("info", scene)
    assert run.status == 0
    assert "problem: " in run.out
    assert "--scale" in run.out


def test_results_their_folder_their_mask_and_their_scores(geounet, scene, tmp_path) -> None:
    out = tmp_path / "out"
    run = geounet("baseline", scene, "--out", out, "--threshold", "0", *OPTIONS)
    assert run.status == 0, run.err
    assert "complete" in geounet("info", out / "coast.json").out
    assert "NDWI, threshold 0.0" in geounet("info", out).out
    assert geounet("evaluate", out, "--reference", out / "coast_mask.tif").status == 0
    assert "1200 pixels, accuracy 100.00 %" in geounet("info", out / "coast.scores.json").out
    other = scene.rename(tmp_path / "other.tif")
    geounet("baseline", other, "--out", out, "--threshold", "0", *OPTIONS)
    assert f"2 results in {out}" in geounet("info", out).out


def test_nothing_of_ours_is_one_line(geounet, tmp_path) -> None:
    (tmp_path / "notes.txt").write_text("once upon a time")
    run = geounet("info", tmp_path / "notes.txt")
    assert run.status == 1
    assert "nothing that geounet reads" in run.complaint
