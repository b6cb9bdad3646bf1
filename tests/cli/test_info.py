"""geounet info."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from geounet_cli.info import _halo
from serving import serving


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
    assert "30 × 40 pixels (rows × columns) of 10 × 10 m, " in run.out
    assert "(file, GTiff, read as uint16)" in run.out
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


def test_lines_of_a_raster_are_a_result(geounet, scene, tmp_path) -> None:
    out = tmp_path / "out"
    assert geounet("baseline", scene, "--out", out, "--threshold", "0", *OPTIONS).status == 0
    lines = tmp_path / "lines"
    run = geounet("coastline", out / "coast_mask.tif", "--out", lines, "--format", "fgb")
    assert run.status == 0, run.err
    for path in (lines, lines / "coast_mask.json"):
        run = geounet("info", path)
        assert run.status == 0, run.err
        for said in (
            "Result of geounet coastline",
            "taken for mask",
            "0 land, 1 water",
            "complete",
        ):
            assert said in run.out
    part = geounet("info", lines / "coast_mask_coastline.fgb")
    assert f"geounet info {lines / 'coast_mask.json'}" in part.out
    record = json.loads((lines / "coast_mask.json").read_text())
    del record["raster"]
    (lines / "coast_mask.json").write_text(json.dumps(record))
    assert "raster is not as geounet writes it" in geounet("info", lines).complaint


def test_nothing_of_ours_is_one_line(geounet, tmp_path) -> None:
    (tmp_path / "notes.txt").write_text("once upon a time")
    run = geounet("info", tmp_path / "notes.txt")
    assert run.status == 1
    assert "nothing that geounet reads" in run.complaint


def test_a_quicklook_is_written_beside_the_facts(geounet, scene, tmp_path) -> None:
    picture = tmp_path / "pictures" / "coast.png"
    run = geounet("info", scene, *OPTIONS, "--quicklook", picture)
    assert run.status == 0, run.err
    assert "s2:B08" in run.out
    assert picture.read_bytes().startswith(b"\x89PNG")
    again = geounet("info", scene, *OPTIONS, "--quicklook", picture)
    assert again.status == 1
    assert "Use --overwrite" in again.complaint
    assert geounet("info", scene, *OPTIONS, "--quicklook", picture, "--overwrite").status == 0
    assert [path.name for path in picture.parent.iterdir()] == ["coast.png"]


def test_a_folder_is_no_quicklook(geounet, scene, tmp_path) -> None:
    (tmp_path / "there.png").mkdir()
    run = geounet("info", scene, *OPTIONS, "--quicklook", tmp_path / "there.png", "--overwrite")
    assert run.status == 1
    assert f"{tmp_path / 'there.png'} is a folder" in run.complaint
    (tmp_path / "file").touch()
    run = geounet("info", scene, *OPTIONS, "--quicklook", tmp_path / "file" / "a.png")
    assert run.status == 1
    assert "--quicklook" in run.complaint
    assert "--out" not in run.complaint


@pytest.mark.parametrize(
    ("cloud", "said"),
    [(1, "25.0 % of the scene, 0.0 % of the coast"), (None, "clouds.tif) knew nothing")],
)
def test_clouds_of_a_result_are_told(geounet, scene, tmp_path, cloud, said) -> None:
    with rasterio.open(scene, "r+") as dst:
        nir = dst.read(2)
        nir[:, 20:] = 1100
        dst.write(nir, 2)
    with rasterio.open(
        tmp_path / "clouds.tif", "w", driver="GTiff", height=30, width=40, count=1, dtype="uint8",
        crs="EPSG:32630", transform=Affine(10, 0, 5e5, 0, -10, 54e5), nodata=255,
    ) as dst:  # fmt: skip
        mask = np.full((30, 40), 255 if cloud is None else 0, np.uint8)
        mask[:, :10] = 255 if cloud is None else cloud
        dst.write(mask, 1)
    out = tmp_path / "out"
    mask_options = ("--cloud-mask", tmp_path / "clouds.tif", "--threshold", "0")
    assert "no layer said" not in geounet("info", scene).out
    assert geounet("baseline", scene, "--out", out, *mask_options, *OPTIONS).status == 0
    assert said in geounet("info", out / "coast.json").out


def test_a_quicklook_does_not_hide_why_there_is_none(geounet, tmp_path) -> None:
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", height=30, width=40, count=4, dtype="uint16",
        crs="EPSG:32630", transform=Affine(10, 0, 5e5, 0, -10, 54e5),
    ):  # fmt: skip
        pass
    run = geounet("info", tmp_path / "a.tif", "--quicklook", tmp_path / "a.png")
    assert run.status == 1
    assert "does not say which its 4 bands are" in run.complaint
    assert "--quicklook" in run.complaint


def test_only_scenes_have_a_quicklook(geounet, tmp_path) -> None:
    (tmp_path / "found.json").write_text(
        '{"type": "FeatureCollection", "features": [{"type": "Feature", "stac_version": "1.0.0", '
        '"id": "one", "properties": {}, "assets": {}}]}'
    )
    run = geounet("info", tmp_path / "found.json", "--quicklook", tmp_path / "a.png")
    assert run.status == 1
    assert "is no scene" in run.complaint
    assert not (tmp_path / "a.png").exists()
    assert f"{tmp_path / 'found.json'}#one" in geounet("info", tmp_path / "found.json").out


def test_what_a_look_finds_is_a_note(geounet, scene) -> None:
    run = geounet("info", scene, "--scale", "1")
    assert run.status == 0
    assert "note: the median reflectance of B03, B08 is up to 3000 (B08)" in run.out
    assert "warning" not in run.err
    assert "note: " not in geounet("info", scene, *OPTIONS).out


def test_numbers_are_shown_while_their_scale_is_not_known(geounet, scene) -> None:
    assert "DN median" in geounet("info", scene).out
    assert "DN median" not in geounet("info", scene, *OPTIONS).out


def test_a_part_of_a_result_names_its_record(geounet, scene, tmp_path) -> None:
    out = tmp_path / "out"
    assert geounet("baseline", scene, "--out", out, "--threshold", "0", *OPTIONS).status == 0
    assert f"geounet info {out / 'coast.json'}" in geounet("info", out / "coast.gpkg").out
    (out / ".next.partial").mkdir()
    assert "next is not finished" in geounet("info", out).out


def test_an_address_is_asked_for_as_it_is_written(geounet) -> None:
    with serving(Path(__file__).parent) as server:
        address = f"{server.url}/nothing.tif"
        run = geounet("info", address)
        assert run.status == 1
        assert address in run.complaint
        assert server.requests("/nothing.tif")


@pytest.mark.parametrize(
    ("default", "error", "said"),
    [
        (24, 0.0, "24 pixels, the exact one"),
        (8, 0.002, "8 pixels keep the error of tiling at 0.002 on validation chips; exact 24"),
    ],
)
def test_the_error_of_a_halo_is_said_of_the_chips_it_was_measured_on(default, error, said) -> None:
    facts = {"halo_exact": 24, "halo_default": default, "halo_error": error, "blend": None}
    assert _halo(facts) == said


def test_how_lines_were_drawn_is_told_where_that_was_asked_for(geounet, scene, tmp_path) -> None:
    base = ("baseline", scene, "--threshold", "0", *OPTIONS)
    geounet(*base, "--out", tmp_path / "plain")
    assert "\nlines " not in geounet("info", tmp_path / "plain").out
    made = geounet(
        *base, "--out", tmp_path / "out", "--simplify", 3, "--min-area", 50, "--land",
        "--crs", "EPSG:3035", "--water-level", -0.5, "--level-datum", "NAP",
    )  # fmt: skip
    assert made.status == 0, made.err
    said = dict(
        line.split("  ", 1) for line in geounet("info", tmp_path / "out").out.splitlines()
        if "  " in line
    )  # fmt: skip
    assert said["lines"].strip() == "simplify 3.0 m, min-area 50.0 m², land"
    assert said["lines in"].strip() == "EPSG:3035"
    assert said["water level"].strip() == "-0.5 m above NAP"


def test_a_folder_of_a_comparison_and_one_of_transects_are_told_in_a_line(
    geounet, scene, tmp_path
) -> None:
    moved = tmp_path / "moved.tif"
    for column, path in ((20, scene), (22, moved)):
        with rasterio.open(scene) as src:
            profile, bands = src.profile, src.descriptions
        nir = np.full((30, 40), 3000, np.uint16)
        nir[:, column:] = 1100
        with rasterio.open(path, "w", **profile) as dst:
            dst.write(np.stack([np.full((30, 40), 1500, np.uint16), nir]))
            dst.descriptions = bands
        made = geounet("baseline", path, "--out", tmp_path / path.stem, "--threshold", 0,
                       "--sensor", "s2", *OPTIONS)  # fmt: skip
        assert made.status == 0, made.err
    a, b = tmp_path / "coast", tmp_path / "moved"
    assert geounet("compare", a, b, "--out", tmp_path / "change").status == 0
    line, *_ = geounet("info", tmp_path / "change").out.splitlines()
    assert line.startswith(f"geounet compare: {a} → {b}: 0.")
    assert "km of coast, median +20." in line
    assert line == geounet("info", tmp_path / "change" / "compare.json").out.splitlines()[0]
    cast = geounet("transects", a, b, "--baseline", a / "coast.gpkg", "--side", "both",
                   "--spacing", 50, "--out", tmp_path / "rates")  # fmt: skip
    assert cast.status == 0, cast.err
    line, *_ = geounet("info", tmp_path / "rates").out.splitlines()
    assert line.startswith("geounet transects: 2 files on ")
    assert f" transects of {a / 'coast.gpkg'}" in line
    (tmp_path / "change" / "compare.png").unlink()
    assert "compare.png is missing" in geounet("info", tmp_path / "change").out
    record = tmp_path / "rates" / "transects.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"counts": 3}))
    assert "is damaged" in geounet("info", tmp_path / "rates").complaint
