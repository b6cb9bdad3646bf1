import logging
import warnings
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window

from geounet.errors import BandError, GeounetError, SceneError
from geounet.scene import SceneOptions, open_scene

GRID = Affine(60, 0, 300_000, 0, -60, 8_000_020)
SAID = SceneOptions(scale=0.0001, nodata=0, sensor="s2")
WHOLE = Window(col_off=0, row_off=0, width=20, height=30)


def write(path, value, *, count=1, shape=(30, 20), **profile):
    """Write a file whose bands are `value` everywhere, and return its path."""
    profile = {"crs": "EPSG:32701", "transform": GRID, "driver": "GTiff", **profile}
    # An identity that is written is a geotransform; one that is not is none.
    profile = {key: value for key, value in profile.items() if value is not None}
    height, width = shape
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # Of rasterio, when a file is made without georeference; not to be had when it is read.
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            *(path, "w"), count=count, height=height, width=width, dtype=np.uint16, **profile
        ) as dst:
            dst.write(np.full((count, height, width), value, dtype=np.uint16))
    return path


def values_of(scene):
    """Return the first digital number of every band, by name."""
    dn = scene.read_dn(scene.bands, WHOLE).values
    assert (dn == dn[:, :1, :1]).all()
    return {band.name: int(v) for band, v in zip(scene.bands, dn[:, 0, 0], strict=True)}


def complaint(kind, source, options=SAID):
    """Return the one line that opening `source` gives."""
    with pytest.raises(kind) as caught:
        open_scene(source, options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Folders


def test_a_sentinel2_folder_is_a_scene_without_its_quality_layers(tmp_path):
    granule = tmp_path / "S2A_MSIL2A_20190809T220921_N0213_R129_T01KCV_20190809T235948.SAFE"
    folder = granule / "GRANULE" / "L2A_T01KCV_A021576_20190809T220922" / "IMG_DATA" / "R60m"
    for i, name in enumerate(["B12", "B8A", "B03", "SCL", "AOT", "WVP", "TCI"]):
        write(
            folder / f"T01KCV_20190809T220921_{name}_60m.jp2",
            100 + i,
            driver="JP2OpenJPEG",
            REVERSIBLE="YES",
            QUALITY="100",
        )
    (folder / "T01KCV_20190809T220921_B03_60m.jp2.aux.xml").write_text("<PAMDataset/>")
    (folder / ".B02.tif.partial").write_text("litter")
    (folder / "notes_B05.txt").write_text("none")
    with open_scene(folder, SceneOptions(scale=1e-4)) as scene:
        assert list(values_of(scene).items()) == [("B03", 102), ("B8A", 101), ("B12", 100)]
        assert (scene.sensor, scene.level) == ("s2", "L2A")
        assert scene.time == datetime(2019, 8, 9, 22, 9, 22, tzinfo=UTC)
        assert scene.name == "T01KCV_20190809T220921"  # not R60m, as all are called
        left_out = scene.describe()["left_out"]
    assert [item["why"] for item in left_out] == ["quality band"] * 4
    assert str(folder) in complaint(BandError, granule)


def test_names_with_spaces_and_commas_are_understood(tmp_path):
    folder = tmp_path / "a coast"
    for i, name in enumerate(["B08", "B03"]):
        write(folder / f"2018-10-13, Sentinel-2B L1C, {name}.tiff", i + 1)
    with open_scene(folder, SceneOptions(scale=1 / 255)) as scene:
        assert values_of(scene) == {"B03": 2, "B08": 1}
        assert (scene.sensor, scene.level, scene.time) == ("s2", "L1C", None)
        assert scene.date == date(2018, 10, 13)
        assert scene.name == "a_coast"


def test_landsat_folders_are_known_by_their_files(tmp_path):
    stem = "LE07_L2SP_204052_20010504_20200917_02_T1"
    for i, name in enumerate(["SR_B5", "SR_B4", "ST_B6", "QA_PIXEL", "SR_CLOUD_QA", "ST_EMIS"]):
        write(tmp_path / f"{stem}_{name}.TIF", i + 1)
    (tmp_path / f"{stem}_ANG.txt").write_text("")
    with open_scene(tmp_path) as scene:
        assert values_of(scene) == {"B4": 2, "B5": 1, "B6": 3}
        assert (scene.sensor, scene.level) == ("l7", "L2")
        with pytest.raises(SceneError, match=r"--scale 0\.0000275 --offset -7272\.7273"):
            scene.scaling(["nir"])


def test_common_names_do_where_there_are_no_numbers(tmp_path):
    for i, name in enumerate(["red", "nir", "scl", "thumbnail"]):
        write(tmp_path / f"{name}.tif", i + 1)
    with open_scene(tmp_path, SAID) as scene:
        assert values_of(scene) == {"B04": 1, "B08": 2}
    assert "--sensor" in complaint(BandError, tmp_path, SceneOptions())
    write(tmp_path / "B04.tif", 7)
    with open_scene(tmp_path, SAID) as scene:
        assert values_of(scene) == {"B04": 7}


def test_a_band_at_two_resolutions_is_refused_with_both_files(tmp_path):
    write(tmp_path / "T01KCV_20190809T220921_B02_10m.tif", 1)
    write(tmp_path / "T01KCV_20190809T220921_B02_20m.tif", 1, shape=(15, 10))
    said = complaint(BandError, tmp_path)
    assert "s2:B02 twice" in said
    assert "B02_10m.tif" in said
    assert "B02_20m.tif" in said


def test_files_on_different_grids_are_brought_to_the_finest(tmp_path):
    write(tmp_path / "B02.tif", 1)
    write(tmp_path / "B03.tif", 2, shape=(60, 40), transform=GRID @ Affine.scale(0.5))
    with open_scene(tmp_path, SAID) as scene:
        assert scene.geobox.shape == (60, 40)
        assert scene.geobox.transform == GRID @ Affine.scale(0.5)
        values, valid = scene.read_dn(["B02", "B03"], Window(0, 0, 40, 60))
        assert valid.all()
        assert (values[0] == 1).all()
        assert (values[1] == 2).all()


def test_rounding_of_a_grid_is_no_difference(tmp_path):
    write(tmp_path / "B02.tif", 1)
    write(tmp_path / "B03.tif", 1, transform=Affine.translation(1e-6, -1e-6) @ GRID)
    with open_scene(tmp_path, SAID) as scene:
        assert scene.geobox.transform == GRID


@pytest.mark.parametrize("bare", [{"transform": None, "crs": None}, {"crs": None}])
def test_files_without_a_crs_lie_where_the_others_do_and_that_is_said(tmp_path, caplog, bare):
    write(tmp_path / "B02.tif", 1, **bare)
    write(tmp_path / "B03.tif", 2)
    write(tmp_path / "B04.tif", 3, **bare)
    with (
        caplog.at_level(logging.WARNING),
        open_scene(tmp_path, SAID) as scene,
        ThreadPoolExecutor(4) as pool,
    ):
        assert scene.geobox.crs == "EPSG:32701"
        assert scene.geobox.transform == GRID
        assert list(pool.map(values_of, [scene] * 8)) == [{"B02": 1, "B03": 2, "B04": 3}] * 8
        (note,) = scene.describe()["notes"]
    assert "2 of 3 files have no CRS or geotransform (B02.tif, B04.tif)" in note
    assert note in caplog.text


def test_a_folder_that_lies_nowhere_is_refused(tmp_path):
    for name in ("B02", "B03"):
        write(tmp_path / f"{name}.tif", 1, crs=None)
    assert "nobody knows where its pixels lie" in complaint(SceneError, tmp_path)


def test_a_folder_of_two_dates_is_refused(tmp_path):
    write(tmp_path / "T01KCV_20190809T220921_B02.tif", 1)
    write(tmp_path / "T01KCV_20190814T220921_B03.tif", 1)
    said = complaint(SceneError, tmp_path)
    assert "different dates" in said
    assert "T01KCV_20190809T220921_B02.tif and T01KCV_20190814T220921_B03.tif" in said


def test_files_of_a_folder_hold_one_band(tmp_path):
    write(tmp_path / "B02.tif", 1)
    write(tmp_path / "B03.tif", 1, count=3)
    assert "B03.tif has 3 bands" in complaint(SceneError, tmp_path)


def test_what_a_folder_has_instead_of_bands_is_said(tmp_path):
    assert "none that may be a raster" in complaint(BandError, tmp_path)
    write(tmp_path / "scene.tif", 1)
    assert "its files: scene.tif" in complaint(BandError, tmp_path)
    write(tmp_path / "deep" / "er" / "B02.tif", 1)
    assert f"Give the folder that does: {tmp_path / 'deep' / 'er'}." in complaint(
        BandError, tmp_path
    )


def test_a_broken_band_file_is_not_skipped(tmp_path):
    write(tmp_path / "B02.tif", 1)
    (tmp_path / "B03.tif").write_text("half a download")
    assert "B03.tif is not a raster" in complaint(SceneError, tmp_path)


def test_the_files_of_a_folder_are_not_named_by_order(tmp_path):
    write(tmp_path / "B02.tif", 1)
    options = SceneOptions(bands=("B03",), sensor="s2")
    said = complaint(BandError, tmp_path, options)
    assert "chooses from the bands" in said
    assert "no band B03; there are s2:B02 (blue)" in said


def test_bands_of_a_folder_are_chosen_by_name_in_the_order_asked_for(tmp_path):
    for number in (2, 3, 4):
        write(tmp_path / f"B0{number}.tif", number)
    options = SceneOptions(bands=("red", "B2"), sensor="s2", scale=1, nodata=0)
    with open_scene(tmp_path, options) as scene:
        assert [band.id for band in scene.bands] == ["s2:B04", "s2:B02"]
        assert scene.describe()["left_out"] == [
            {"what": "B03.tif", "why": "not asked for with --bands"}
        ]


def test_values_of_different_types_are_kept(tmp_path):
    write(tmp_path / "B02.tif", 60_000)
    with rasterio.open(
        *(tmp_path / "B03.tif", "w", "GTiff"),
        *(20, 30, 1, "EPSG:32701", GRID, np.int16),
    ) as dst:
        dst.write(np.full((1, 30, 20), -5, dtype=np.int16))
    with open_scene(tmp_path, SAID) as scene:
        assert values_of(scene) == {"B02": 60_000, "B03": -5}
        assert scene.dtype == "int32"


# YAML files


@pytest.fixture
def files(tmp_path):
    """Two single-band files whose names say nothing."""
    write(tmp_path / "images" / "one.tif", 1)
    write(tmp_path / "two.tif", 2)
    return tmp_path / "scene.yaml"


def test_a_yaml_file_names_band_and_path(files):
    files.write_text("B03: images/one.tif\nB08: two.tif\nsensor: s2\n")
    with open_scene(files, SceneOptions(scale=1e-4)) as scene:
        assert values_of(scene) == {"B03": 1, "B08": 2}
        assert scene.name == "scene"
        assert scene.describe()["kind"] == "yaml"


def test_a_yaml_file_may_say_what_the_options_say_and_options_count_more(files):
    files.write_text(
        f"sensor: S2\nlevel: L1C\nscale: 0.5\noffset: -1\nnodata: .nan\n"
        f"bands: {{green: images/one.tif, VV: {files.parent}/two.tif}}\n"
    )
    with open_scene(files) as scene:
        values = scene.read(["B03", "VV"], WHOLE).values
        assert (values[:, 0, 0] == [0, 2]).all(), "decibels were scaled"
        told = scene.describe()["sources"]
        assert told["scale"].startswith("scale in scene.yaml, offset in scene.yaml; no reflectance")
        assert told["sensor"] == "sensor in scene.yaml"
        assert scene.level == "L1C"
    with open_scene(files, SceneOptions(scale=2, level="L2A")) as scene:
        assert scene.scaling(["B03"]).scale == (2,)
        assert scene.level == "L2A"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bands: {B03: one.tif}\n", "one.tif is not there"),
        ("B03: images/one.tif\nB3: two.tif\nsensor: s2", "s2:B03 twice"),
        ("B03: two.tif\nB03: images/one.tif\nsensor: s2", "has B03 twice"),
        ("bands:\n  B03: two.tif\n  B03: images/one.tif\nsensor: s2", "has B03 twice"),
        ("B03: two.tif\nB04: two.tif\nsensor: s2", "names two.tif twice, as B03 and B04"),
        ("bands: {B03: two.tif}\ncolour: red", "unknown key colour; it may have bands, sensor"),
        ("sensor: s2\n", "names no bands"),
        ("bands: [two.tif]", "names no bands"),
        ("- two.tif", "does not name bands and paths"),
        ("B03: [two.tif]", "is not a band's name and a path"),
        ("B03: two.tif\nscale: big", "scale big is not a number"),
        ("B03: two.tif\nsensor: s9", "no sensor 's9'"),
        ("SCL: two.tif", "no spectral band, only SCL"),
        ("B03: two.tif\nscale: 0", "scale in scene.yaml 0 is not a positive number"),
        ("B03: 'two.tif", "is not valid YAML"),
        ("B03: !!python/object/apply:os.system [ls]", "is not valid YAML"),
        ("B03: two.tif", "--sensor"),
        ("'': two.tif", "empty name"),
    ],
)
def test_what_is_wrong_in_a_yaml_file_is_said_in_one_line(files, text, message):
    files.write_text(text)
    assert message in complaint(GeounetError, files, SceneOptions())
