"""geounet baseline."""

import json
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
from affine import Affine


@pytest.fixture
def scene(tmp_path) -> Path:
    """Land, and water from column 20 on."""
    green, nir = np.full((30, 40), 1500, np.uint16), np.full((30, 40), 3000, np.uint16)
    nir[:, 20:] = 1100
    path = tmp_path / "coast.tif"
    with rasterio.open(
        path, "w", driver="GTiff", height=30, width=40, count=2, dtype="uint16",
        crs="EPSG:32630", transform=Affine(10, 0, 5e5, 0, -10, 54e5), nodata=0,
    ) as dst:  # fmt: skip
        dst.write(np.stack([green, nir]))
        dst.descriptions = ("B03", "B08")
    return path


OPTIONS = ("--sensor", "s2", "--scale", "0.0001", "--offset", "-1000")


def test_it_writes_a_result_and_prints_its_record(geounet, scene, tmp_path) -> None:
    run = geounet("baseline", scene, "--out", tmp_path / "out", *OPTIONS)
    assert run.status == 0, run.err
    record = Path(run.out.strip())
    assert record == tmp_path / "out" / "coast.json"
    with rasterio.open(tmp_path / "out" / "coast_mask.tif") as mask:
        assert (mask.read(1) == np.repeat([[0] * 20 + [1] * 20], 30, axis=0)).all()


@pytest.mark.parametrize("threshold", ["-0.1", "0.25"])
def test_a_threshold_can_be_given(geounet, scene, tmp_path, threshold) -> None:
    run = geounet("baseline", scene, "--out", tmp_path / "out", "--threshold", threshold, *OPTIONS)
    assert run.status == 0, run.err
    assert json.loads(Path(run.out.strip()).read_text())["level"] == float(threshold)


@pytest.mark.parametrize("threshold", ["triangle", "1", "-3", "nan"])
def test_a_threshold_that_is_none_is_a_usage_error(geounet, scene, tmp_path, threshold) -> None:
    run = geounet("baseline", scene, "--out", tmp_path / "out", "--threshold", threshold)
    assert run.status == 2
    assert "neither otsu nor a number between" in " ".join(run.err.replace("│", " ").split())


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("missing.tif",), "missing.tif"),
        (("{scene}",), "--sensor"),
        (("{scene}", "--sensor", "s2"), "--scale"),
        (("{scene}", *OPTIONS, "--index", "mndwi"), "no band swir16"),
        (("{scene}", *OPTIONS, "--nodata", "1500"), "no valid pixel"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    geounet, scene, tmp_path, arguments, complaint
) -> None:
    out = tmp_path / "out"
    filled = [a.format(scene=scene) for a in arguments]
    run = geounet("baseline", *filled, "--out", out)
    assert run.status == 1
    assert complaint in run.complaint
    assert not out.exists()
    assert list(tmp_path.iterdir()) == [scene]


def test_existing_results_are_refused(geounet, scene, tmp_path) -> None:
    arguments = ("baseline", scene, "--out", tmp_path / "out", *OPTIONS)
    assert geounet(*arguments).status == 0
    assert "--overwrite" in geounet(*arguments).complaint
    assert geounet(*arguments, "--overwrite").status == 0


def test_lines_are_drawn_as_asked_and_the_record_says_how(geounet, scene, tmp_path) -> None:
    said = ("--simplify", "20", "--land", "--water-level", "1.2", "--level-datum", "MSL")
    run = geounet("baseline", scene, "--out", tmp_path / "out", *OPTIONS, *said)
    assert run.status == 0
    (record,) = (tmp_path / "out").glob("*.json")
    lines = json.loads(record.read_text())["settings"]["lines"]
    assert (lines["simplify_m"], lines["land"], lines["water_level_m"]) == (20, True, 1.2)
    (package,) = (tmp_path / "out").glob("*.gpkg")
    assert "land" in [name for name, _ in pyogrio.list_layers(package)]


def test_a_level_of_the_water_without_its_datum_is_refused(geounet, scene, tmp_path) -> None:
    run = geounet("baseline", scene, "--out", tmp_path / "out", *OPTIONS, "--water-level", "1.2")
    assert run.status == 1
    assert "--level-datum" in run.complaint


UNSAID = "nothing says where clouds are; --cloud-mask does"


def test_that_clouds_are_not_known_is_in_the_record_and_in_what_is_drawn_of_it(
    geounet, scene, tmp_path
) -> None:
    run = geounet("baseline", scene, "--out", tmp_path / "out", *OPTIONS)
    assert json.loads(Path(run.out.strip()).read_text())["notes"].count(UNSAID) == 1
    again = geounet("coastline", tmp_path / "out" / "coast_mask.tif", "--out", tmp_path / "again")
    assert again.err == f"{tmp_path / 'out' / 'coast_mask.tif'}: {UNSAID}\n"
    assert json.loads(Path(again.out.strip()).read_text())["notes"] == [UNSAID]


def test_a_line_drawn_again_tells_of_the_clouds_of_the_first(geounet, scene, tmp_path) -> None:
    with rasterio.open(scene) as src:
        grid = {"crs": src.crs, "transform": src.transform, "height": 30, "width": 40}
    cloud = tmp_path / "cloud.tif"
    with rasterio.open(cloud, "w", driver="GTiff", count=1, dtype="uint8", **grid) as dst:
        dst.write(np.repeat([[1] * 10 + [0] * 30], 30, axis=0).astype(np.uint8), 1)
    options = ("--cloud-mask", cloud)
    geounet("baseline", scene, "--out", tmp_path / "out", *OPTIONS, *options)
    mask = tmp_path / "out" / "coast_mask.tif"
    again = geounet("coastline", mask, "--out", tmp_path / "again")
    (note,) = json.loads(Path(again.out.strip()).read_text())["notes"]
    assert "had 25.0% of the scene under and 0.0% of the coast near cloud" in note
    assert "by --cloud-mask (cloud.tif)" in note
    masked = geounet("coastline", mask, "--out", tmp_path / "masked", *options)
    notes = json.loads(Path(masked.out.strip()).read_text())["notes"]
    assert not any("not known" in said for said in notes)
