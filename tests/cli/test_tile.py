"""geounet tile."""

import errno
import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine

from geounet.chips import open_chips

TRANSFORM = Affine(10, 0, 600_000, 0, -10, 5_100_000)
SMALL = ("--size", 32, "--block", 1200, "--val", 0.2, "--test", 0.2)


def write(
    path: Path, values, *, crs="EPSG:32630", transform=TRANSFORM, names=None, scale=1.0, **more
):
    count, height, width = values.shape
    with rasterio.open(
        path, "w", driver="GTiff", count=count, height=height, width=width, dtype=values.dtype,
        crs=crs, transform=transform, **more,
    ) as dst:  # fmt: skip
        dst.write(values)
        dst.scales = [scale] * count
        if names:
            dst.descriptions = names
            dst.update_tags(sensor="s2", level="L2A")
    return path


def shore(height=300, width=280):
    rows, cols = np.mgrid[:height, :width]
    return cols > width * (0.5 + 0.2 * np.sin(rows / 37))


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    water = shore()
    rng = np.random.default_rng(0)
    dn = (rng.integers(500, 900, (4, *water.shape)) + np.where(water, 0, 1500)).astype(np.uint16)
    names = ("B02", "B03", "B04", "B08")
    write(folder / "scene.tif", dn, names=names, scale=1e-4, nodata=0)
    write(folder / "bare.tif", dn, names=names)
    write(folder / "empty.tif", dn * 0, names=names, scale=1e-4, nodata=0)
    write(folder / "nameless.tif", dn, scale=1e-4)
    write(folder / "label.tif", water[None].astype(np.uint8))
    write(folder / "strange.tif", water[None].astype(np.uint8) * 7)
    write(folder / "far.tif", water[None].astype(np.uint8), crs="EPSG:32701")
    (folder / "broken.tif").write_bytes((folder / "scene.tif").read_bytes()[:5000])
    (folder / "text.tif").write_text("not a raster")
    left = shapely.box(600_000, 5_097_000, 601_400, 5_100_000)
    gpd.GeoDataFrame({"kind": ["sea"]}, geometry=[left], crs="EPSG:32630").to_file(
        folder / "p.gpkg", layer="water"
    )
    return folder


def test_it_prints_what_each_split_holds(geounet, place, tmp_path) -> None:
    run = geounet("tile", place / "scene.tif", "--labels", place / "label.tif",
                  "--out", tmp_path / "chips", *SMALL)  # fmt: skip
    assert (run.status, run.err) == (0, "")
    chips = open_chips(tmp_path / "chips")
    for split, row in chips.summary().iterrows():
        (line,) = (line for line in run.out.splitlines() if f" {split} " in line)
        cells = [cell.strip() for cell in line.split("│")[2:-1]]
        assert int(cells[0]) == len(chips.names(split)) == row["chips"]
        assert float(cells[1].rstrip("%")) == pytest.approx(100 * row["water"], abs=0.01)
        assert float(cells[2]) == pytest.approx(row["coast_km"], abs=0.1)
        assert float(cells[3]) == pytest.approx(row["area_km2"], abs=0.1)
    lost = chips.info.split["dropped"]["in the gap between splits"]
    assert f"dropped: {lost} in the gap between splits" in run.out


def test_every_option_reaches_its_place(geounet, place, tmp_path) -> None:
    run = geounet(
        "tile", place / "bare.tif", "--labels", f"{place / 'p.gpkg'}|water", "--labels-are", "land",
        "--labels-where", "kind = 'sea'", "--out", tmp_path / "c", "--size", 40, "--stride", 20,
        "--context", 8, "--min-valid", 0.9, "--aoi", place / "p.gpkg", "--aoi-buffer", 300,
        "--val", 0.0, "--test", 0.0, "--block", 2000, "--seed", 5, "--bands", "B2,-,B4,nir",
        "--sensor", "s2", "--level", "L1C", "--scale", 0.0002, "--offset", -100, "--nodata", "0",
    )  # fmt: skip
    assert run.status == 0, run.err
    chips = open_chips(tmp_path / "c")
    info = chips.info
    assert [band.name for band in info.band_list] == ["B02", "B04", "B08"]
    assert (info.level, info.size, info.stride, info.context) == ("L1C", 40, 20, 8)
    (source,) = info.sources
    assert source["scaling"]["scale"] == [0.0002] * 3
    assert source["scaling"]["offset"] == [-100] * 3
    split = info.split
    assert (split["seed"], split["min_valid"], split["aoi_buffer_m"]) == (5, 0.9, 300)
    assert split["shares"] == {"train": 1, "val": 0, "test": 0}
    assert split["block_m"] == pytest.approx(2000, rel=1e-3)
    chip = chips.read(chips.names("train")[0])
    assert chip.values.shape == (3, 56, 56)
    assert 0.05 < np.nanmean(chip.values) < 0.5
    assert (chip.label[8:48, 8:48] == 0).mean() > 0.5  # land now, left of the line


def test_shares_of_water_are_written_told_and_learned_from(geounet, place, tmp_path) -> None:
    fine = np.kron(shore(), np.ones((4, 4), dtype=bool))[None].astype(np.uint8)
    write(tmp_path / "fine.tif", fine, transform=TRANSFORM @ Affine.scale(0.25))
    there = [place / "scene.tif", "--out", tmp_path / "c", *SMALL]
    run = geounet("tile", *there, "--labels", tmp_path / "fine.tif", "--water-shares")
    assert run.status == 0, run.err
    chips = open_chips(tmp_path / "c")
    for name in chips.names("val"):  # of pixels that are all land or all water
        label = chips.read(name).label
        assert np.array_equal(chips.read_shares(name), np.where(label == 255, np.nan, label))
    assert "shares of water: train --set labels=shares" in geounet("info", tmp_path / "c").out

    refused = geounet("tile", *there, "--labels", place / "label.tif", "--water-shares",
                      "--overwrite")  # fmt: skip
    assert refused.status == 1
    assert "--water-shares needs polygons, or a raster whose pixels part" in refused.complaint
    plain = geounet("tile", *there, "--labels", place / "label.tif", "--overwrite")
    assert plain.status == 0
    assert "shares of water" not in geounet("info", tmp_path / "c").out
    quick = ["--set", "device=cpu", "--set", "epochs=1", "--set", "labels=shares"]
    untaught = geounet(
        "train", tmp_path / "c", "--config", "coast", "--out", tmp_path / "o", *quick
    )
    assert untaught.status == 1
    assert "have none. Run tile with --water-shares" in untaught.complaint


def test_values_of_a_raster_get_names(geounet, place, tmp_path) -> None:
    run = geounet("tile", place / "scene.tif", "--labels", place / "strange.tif",
                  "--label-values", "0=land,7=water", "--out", tmp_path / "c", *SMALL)  # fmt: skip
    assert run.status == 0
    assert open_chips(tmp_path / "c").summary()["water"].between(0.01, 0.99).all()


def test_labels_may_be_given_for_each_scene(geounet, place, tmp_path) -> None:
    two = [place / "scene.tif", place / "scene.tif"]
    run = geounet("tile", *two, "--labels", place / "label.tif", "--labels", place / "strange.tif",
                  "--label-values", "0=land,1=water,7=unknown", "--min-valid", 0.01,
                  "--out", tmp_path / "c", *SMALL)  # fmt: skip
    assert run.status == 0, run.err
    sources = open_chips(tmp_path / "c").info.sources
    assert [source["labels"] for source in sources] == ["label.tif", "strange.tif"]


@pytest.mark.parametrize(
    ("scene", "labels", "more", "why"),
    [
        ("none.tif", "label.tif", (), "none.tif"),
        ("text.tif", "label.tif", (), "text.tif"),
        ("broken.tif", "label.tif", (), "broken.tif"),
        ("nameless.tif", "label.tif", (), "--bands"),
        ("bare.tif", "label.tif", (), "--scale 0.0001"),
        ("empty.tif", "label.tif", (), "has no data"),
        ("scene.tif", "none.tif", (), "none.tif is not there"),
        ("scene.tif", "text.tif", (), "text.tif cannot be read"),
        ("scene.tif", "far.tif", (), "do not touch the scene"),
        ("scene.tif", "strange.tif", (), "values that nobody named: 7"),
        ("scene.tif", "p.gpkg|sea", (), "there are water"),
        ("scene.tif", "label.tif", ("--labels-are", "land"), "--labels-are is for polygons"),
        ("scene.tif", "p.gpkg", ("--label-values", "0=land,1=water"), "is for rasters"),
        ("scene.tif", "label.tif", ("--label-values", "0,1"), "is not value=name"),
        ("scene.tif", "label.tif", ("--block", 50_000), "a smaller --block"),
        ("scene.tif", "label.tif", ("--size", 500), "--size 280 or less"),
        ("scene.tif", "label.tif", ("--val", 0.9), "--val 0.9 and --test 0.2"),
        ("scene.tif", "label.tif", ("--aoi", "none.gpkg"), "none.gpkg cannot be read"),
        ("scene.tif", "label.tif", ("--split-by", "scene"), "--split-by block"),
        ("scene.tif", "label.tif", ("--nodata", "no"), "--nodata no is not a number"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    geounet, place, tmp_path, scene, labels, more, why
) -> None:
    run = geounet("tile", place / scene, "--labels", place / labels,
                  "--out", tmp_path / "out" / "chips", *SMALL, *more)  # fmt: skip
    assert run.status == 1
    assert why in run.complaint
    assert run.out == ""
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_a_folder_that_exists_is_kept_unless_overwritten(geounet, place, tmp_path) -> None:
    line = ("tile", place / "scene.tif", "--labels", place / "label.tif", "--out", tmp_path / "c")
    assert geounet(*line, *SMALL).status == 0
    before = json.loads((tmp_path / "c" / "dataset.json").read_text())["fingerprint"]
    assert "exists already. Use --overwrite" in geounet(*line, *SMALL, "--seed", 1).complaint
    assert open_chips(tmp_path / "c").info.fingerprint == before
    assert geounet(*line, *SMALL, "--seed", 1, "--overwrite").status == 0
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "thesis.txt").write_text("do not delete")
    line = (*line[:-1], tmp_path / "theirs", *SMALL, "--overwrite")
    assert "holds other files than ours" in geounet(*line).complaint


def test_a_full_disk_is_told_of_and_leaves_nothing(geounet, place, tmp_path, monkeypatch) -> None:
    def full(_path: Path, _content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    run = geounet("tile", place / "scene.tif", "--labels", place / "label.tif",
                  "--out", tmp_path / "out" / "c", *SMALL)  # fmt: skip
    assert "the disk is full" in run.complaint
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_a_wrong_option_is_a_usage_error(geounet, place) -> None:
    assert geounet("tile", place / "scene.tif").status == 2
    line = ("tile", place / "scene.tif", "--labels", "x", "--out", "y")
    assert geounet(*line, "--size", 0).status == 2
    assert geounet(*line, "--split-by", "moon").status == 2


def test_scenes_without_labels_teach_an_autoencoder(geounet, place, tmp_path) -> None:
    """The whole way, from a scene that nobody labelled."""
    chips, out = tmp_path / "chips", tmp_path / "run"
    run = geounet("tile", place / "scene.tif", "--out", chips, *SMALL)
    assert (run.status, run.err) == (0, "")
    (line,) = (line for line in run.out.splitlines() if " train " in line)
    count, water, coast, area = (cell.strip() for cell in line.split("│")[2:-1])
    assert int(count) > 2
    assert (water, coast) == ("–", "–")
    assert float(area) > 0
    told = geounet("info", chips)
    assert "an autoencoder learns from such chips" in told.out
    assert "all land" not in told.out
    facts = json.loads(geounet("info", chips, "--json").out, parse_constant=pytest.fail)
    assert not facts["labelled"]
    assert facts["splits"]["train"]["water"] is None

    tiny = ["--set", "network_settings.base_width=2", "--set", "network_settings.depth=1"]
    quick = [*tiny, "--set", "epochs=2", "--set", "device=cpu", "--set", "precision=fp32"]
    refused = geounet("train", chips, "--config", "coast", "--out", out, *quick)
    assert refused.status == 1
    assert "--labels" in refused.complaint
    assert "autoencoder" in refused.complaint
    assert not out.exists()

    wanted = ["--set", "network=autoencoder", *quick]
    trained = geounet("train", chips, "--config", "coast", "--out", out, *wanted)
    assert trained.status == 0, trained.err
    path, table, *_ = trained.out.split("\n\n")
    head, *rows = table.splitlines()
    assert head.split() == ["split", "band", "RMSE", "reflectance"]
    names = [f"s2:{name}" for name in ("B02", "B03", "B04", "B08")]
    assert [tuple(row.split()[:2]) for row in rows] == [
        (split, name) for split in ("val", "test") for name in names
    ]
    model = geounet("info", path)
    assert "autoencoder" in model.out
    assert "none: it gives back its bands" in model.out
    predicted = geounet("predict", place / "scene.tif", "--model", path, "--out", tmp_path / "p")
    assert predicted.status == 1
    assert "tells no classes" in predicted.complaint


def test_what_labels_mean_is_refused_without_labels(geounet, place, tmp_path) -> None:
    out = ["--out", tmp_path / "chips", *SMALL]
    run = geounet("tile", place / "scene.tif", "--labels-are", "land", *out)
    assert run.status == 1
    assert "--labels-are" in run.complaint
