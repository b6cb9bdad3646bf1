import logging
import tarfile
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window

from geounet.errors import BandError, GeounetError, SceneError
from geounet.scene import Scene, SceneOptions, open_scene
from geounet.scene.folder import read_tree
from geounet.scene.tree import open_tree

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
    assert "B02 twice" in said
    assert "YAML" in said
    assert "--bands" not in said  # which names no files
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


@pytest.mark.parametrize("ending", ["md5", "sha256", "part", "crdownload", "tmp", "bak", "log"])
def test_stray_files_are_no_bands(tmp_path, ending):
    write(tmp_path / "x_B03.tif", 1)
    (tmp_path / f"x_B03.tif.{ending}").write_bytes(b"?")
    (tmp_path / f"x_B02.{ending}").write_bytes(b"?")
    with open_scene(tmp_path, SAID) as scene:
        assert [band.name for band in scene.bands] == ["B03"]


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


def test_a_radar_image_and_a_height_model_are_taken_if_they_are_asked_for(tmp_path):
    for i, name in enumerate(["T01KCV_20190809T220921_B03", "T01KCV_20190809T220921_B08"]):
        write(tmp_path / f"{name}.tif", i + 1)
    for i, name in enumerate(["S1A_IW_GRDH_1SDV_20190811T063000_VV", "S1A_x_VH", "dem_30m"]):
        write(tmp_path / f"{name}.tif", i + 11)
    with open_scene(tmp_path, SAID) as scene:
        assert values_of(scene) == {"B03": 1, "B08": 2}
        assert [item["why"] for item in scene.describe()["left_out"]] == ["no band in its name"] * 3
    options = SceneOptions(bands=("DEM", "B08", "VV"), scale=1e-4, nodata=0)
    with open_scene(tmp_path, options) as scene:
        assert [band.id for band in scene.bands] == ["DEM", "s2:B08", "VV"]
        assert scene.scaling(["DEM", "B08", "VV"]).scale == (1, 1e-4, 1)
    said = complaint(BandError, tmp_path, SceneOptions(bands=("B08", "HH")))
    assert "no band HH" in said


def test_bands_may_choose_among_files_whose_names_only_contain_them(tmp_path):
    for i, name in enumerate(["red_2020", "nir_2020", "old_nir_2020"]):
        write(tmp_path / f"{name}.tif", i + 1)
    options = SceneOptions(bands=("red",), sensor="s2", scale=1, nodata=0)
    with open_scene(tmp_path, options) as scene:
        assert values_of(scene) == {"B04": 1}
    # Which of two is meant, nobody knows.
    said = complaint(BandError, tmp_path, SceneOptions(bands=("red", "nir"), sensor="s2"))
    assert "no band nir" in said


def test_a_folder_of_one_stack_is_told_to_be_given_by_the_stack(tmp_path):
    stack = write(tmp_path / "stack.tif", 1, count=4)
    (tmp_path / "notes.dat").write_text("none")
    said = complaint(BandError, tmp_path)
    assert said.endswith(f"but stack.tif with 4. Give that file instead of the folder: {stack}")
    options = SceneOptions(bands=("B02", "B03", "B04", "B08"), sensor="s2")
    assert complaint(BandError, tmp_path, options) == said
    write(tmp_path / "other.tif", 1, count=2)
    said = complaint(BandError, tmp_path)
    assert "but other.tif with 2, stack.tif with 4. Give one of those instead" in said


def test_a_quality_layer_in_a_folder_or_yaml_file_is_found(tmp_path):
    write(tmp_path / "T01KCV_20190809T220921_B03_20m.tif", 1)
    write(tmp_path / "T01KCV_20190809T220921_SCL_20m.tif", 4)
    with open_scene(tmp_path, SAID) as scene:
        assert scene.quality.kind == "scl"
    (tmp_path / "scene.yaml").write_text(
        "B03: T01KCV_20190809T220921_B03_20m.tif\nSCL: T01KCV_20190809T220921_SCL_20m.tif\n"
    )
    with open_scene(tmp_path / "scene.yaml", SAID) as scene:
        assert scene.quality.kind == "scl"


# Landsat's products

LANDSAT = "LC08_L1TP_204052_20190504_20190520_01_T1"
MTL = f"""GROUP = L1_METADATA_FILE
  GROUP = METADATA_FILE_INFO
    LANDSAT_PRODUCT_ID = "{LANDSAT}"
  END_GROUP = METADATA_FILE_INFO
  GROUP = PRODUCT_METADATA
    DATA_TYPE = "L1TP"
    SPACECRAFT_ID = "LANDSAT_8"
    SENSOR_ID = "OLI_TIRS"
    WRS_PATH = 204
    WRS_ROW = 52
    DATE_ACQUIRED = 2019-05-04
    SCENE_CENTER_TIME = "11:21:32.0753130Z"
    FILE_NAME_BAND_3 = "{LANDSAT}_B3.TIF"
    FILE_NAME_BAND_5 = "{LANDSAT}_B5.TIF"
    FILE_NAME_BAND_6 = "{LANDSAT}_B6.TIF"
    FILE_NAME_BAND_10 = "{LANDSAT}_B10.TIF"
    FILE_NAME_BAND_QUALITY = "{LANDSAT}_BQA.TIF"
  END_GROUP = PRODUCT_METADATA
  GROUP = IMAGE_ATTRIBUTES
    SUN_ELEVATION = 30
  END_GROUP = IMAGE_ATTRIBUTES
  GROUP = MIN_MAX_PIXEL_VALUE
    QUANTIZE_CAL_MIN_BAND_3 = 1
  END_GROUP = MIN_MAX_PIXEL_VALUE
  GROUP = RADIOMETRIC_RESCALING
    RADIANCE_MULT_BAND_10 = 3.3420E-04
    RADIANCE_ADD_BAND_10 = 0.10000
    REFLECTANCE_MULT_BAND_3 = 2.0000E-05
    REFLECTANCE_MULT_BAND_5 = 2.0000E-05
    REFLECTANCE_ADD_BAND_3 = -0.100000
    REFLECTANCE_ADD_BAND_5 = -0.100000
  END_GROUP = RADIOMETRIC_RESCALING
END_GROUP = L1_METADATA_FILE
END
"""


@pytest.fixture
def landsat(tmp_path):
    """A folder as the USGS makes it, of three bands and a quality layer."""
    folder = tmp_path / LANDSAT
    for name, value in {"B3": 10_000, "B5": 20_000, "B10": 25_000, "BQA": 2720}.items():
        write(folder / f"{LANDSAT}_{name}.TIF", value)
    (folder / f"{LANDSAT}_MTL.txt").write_text(MTL)
    return folder


def check_landsat(scene):
    assert list(values_of(scene).items()) == [("B3", 10_000), ("B5", 20_000), ("B10", 25_000)]
    values, valid = scene.read(["green", "nir", "lwir11"], WHOLE)
    assert valid.all()
    # Twice what the factors give, because the sine of 30° is a half.
    assert values[:, 0, 0] == pytest.approx([0.2, 0.6, 3.342e-4 * 25_000 + 0.1], abs=1e-6)
    told = scene.describe()
    assert (told["kind"], told["sensor"], told["level"], told["tile"]) == (
        *("landsat", "l8", "L1"),
        "204052",
    )
    assert told["name"] == LANDSAT
    assert scene.time == datetime(2019, 5, 4, 11, 21, 32, 75_313, tzinfo=UTC)
    assert {"what": f"{LANDSAT}_B6.TIF", "why": f"listed in {LANDSAT}_MTL.txt, not there"} in told[
        "left_out"
    ]
    assert told["sources"]["nodata"] == f"0 is below QUANTIZE_CAL_MIN in {LANDSAT}_MTL.txt"
    assert [band["nodata"] for band in told["bands"]] == [0, 0, 0]
    assert scene.quality.kind == "bqa"


def test_a_landsat_folder_says_all_by_its_mtl(landsat):
    with open_scene(landsat) as scene:
        check_landsat(scene)


@pytest.mark.parametrize("ending", [".tar", ".tar.gz", ".zip"])
@pytest.mark.parametrize("top", ["", f"{LANDSAT}/"])
def test_a_landsat_archive_is_read_in_place(landsat, tmp_path, ending, top):
    archive = tmp_path / f"{LANDSAT}{ending}"
    if ending == ".zip":
        with zipfile.ZipFile(archive, "w") as file:
            for path in landsat.iterdir():
                file.write(path, f"{top}{path.name}")
    else:
        with tarfile.open(archive, "w:gz" if ending == ".tar.gz" else "w") as file:
            for path in landsat.iterdir():
                file.add(path, f"{top}{path.name}")
    with Scene(read_tree(open_tree(archive), SceneOptions())) as scene:
        check_landsat(scene)
        assert scene.source == str(archive)


def test_an_archive_of_two_folders_of_bands_is_refused(landsat, tmp_path):
    archive = tmp_path / "two.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in landsat.glob("*.TIF"):
            file.write(path, f"one/{path.name}")
            file.write(path, f"two/{path.name}")
    with pytest.raises(BandError, match="band files in 2 folders: one, two"):
        read_tree(open_tree(archive), SceneOptions())


def test_an_archive_without_bands_is_refused(tmp_path):
    archive = tmp_path / "none.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("letter.doc", "nothing")
    with pytest.raises(BandError, match=r"no file with a band in its name .*letter\.doc"):
        read_tree(open_tree(archive), SceneOptions())


def test_what_the_user_says_counts_more_than_the_mtl(landsat, caplog):
    options = SceneOptions(scale=1e-4, offset=-10, nodata=7, sensor="l9", level="L2")
    with caplog.at_level(logging.WARNING), open_scene(landsat, options) as scene:
        values = scene.read(["B3", "B5", "B10"], WHOLE).values[:, 0, 0]
        assert values == pytest.approx([0.999, 1.999, 3.342e-4 * 25_000 + 0.1], abs=1e-6)
        assert (scene.sensor, scene.level) == ("l9", "L2")
        assert [band["nodata"] for band in scene.describe()["bands"]] == [7, 7, 7]
    assert f"--sensor l9 is taken, although the {LANDSAT}_MTL.txt says l8" in caplog.text


def test_bands_of_a_landsat_folder_are_chosen_by_name(landsat):
    with open_scene(landsat, SceneOptions(bands=("nir", "B3"))) as scene:
        assert [band.id for band in scene.bands] == ["l8:B5", "l8:B3"]


def test_old_names_of_files_are_understood_by_the_mtl(landsat):
    text = MTL
    for i, name in enumerate(["B3", "B5", "B10"]):
        old = f"L82040520522019050{i}.TIF"
        (landsat / f"{LANDSAT}_{name}.TIF").rename(landsat / old)
        text = text.replace(f"{LANDSAT}_{name}.TIF", old)
    (landsat / f"{LANDSAT}_MTL.txt").write_text(text)
    with open_scene(landsat) as scene:
        assert values_of(scene) == {"B3": 10_000, "B5": 20_000, "B10": 25_000}


def test_of_floats_the_mtl_says_nothing(landsat):
    path = landsat / f"{LANDSAT}_B3.TIF"
    path.unlink()
    with rasterio.open(*(path, "w", "GTiff", 20, 30, 1, "EPSG:32701", GRID, np.float32)) as dst:
        dst.write(np.full((1, 30, 20), 0.25, dtype=np.float32))
    with open_scene(landsat) as scene:
        assert (scene.read(["B3"], WHOLE).values == 0.25).all()
        assert scene.read(["B5"], WHOLE).values[0, 0, 0] == pytest.approx(0.6, abs=1e-6)


def test_a_night_scene_has_no_reflectance_and_that_is_said(landsat, caplog):
    text = MTL.replace("SUN_ELEVATION = 30", "SUN_ELEVATION = -30")
    (landsat / f"{LANDSAT}_MTL.txt").write_text(text)
    with caplog.at_level(logging.WARNING), open_scene(landsat) as scene:
        with pytest.raises(SceneError, match="nothing says their scale"):
            scene.scaling(["nir"])
        assert scene.scaling(["lwir11"]).scale == (3.342e-4,)
    assert "SUN_ELEVATION -30°: it was night; give --scale and --offset" in caplog.text


def test_two_landsat_products_in_a_folder_are_refused(landsat):
    surface = "LC08_L2SP_204052_20190504_20200828_02_T1"
    (landsat / f"{surface}_MTL.txt").write_text(MTL)
    said = complaint(SceneError, landsat)
    assert f"holds 2 Landsat products: {LANDSAT}, {surface}. Each scene has to have" in said


def test_one_product_may_say_the_same_in_three_formats(landsat):
    for ending in ("json", "xml"):
        (landsat / f"{LANDSAT}_MTL.{ending}").write_text("not read")
    with open_scene(landsat) as scene:
        assert scene.describe()["sources"]["sensor"] == f"{LANDSAT}_MTL.txt"


def rename_bands(folder, names):
    for old, new in names.items():
        (folder / f"{LANDSAT}_{old}.TIF").rename(folder / f"{LANDSAT}_{new}.tif")


def test_surface_reflectance_of_collection_1_is_level_2_whatever_its_mtl_says(landsat, caplog):
    rename_bands(landsat, {"B3": "sr_band3", "B5": "sr_band5", "B10": "bt_band10"})
    with open_scene(landsat, SceneOptions(scale=0.0001), advise=False) as scene:
        assert (scene.level, len(scene.bands)) == ("L2", 3)
        assert scene.describe()["sources"]["level"] == "file names"
        values = scene.read(["green", "nir"], WHOLE).values
    assert values[:, 0, 0] == pytest.approx([1, 2])
    assert caplog.text == ""
    with open_scene(landsat, SceneOptions()) as scene:
        (note,) = scene.describe()["notes"]
        assert "surface reflectance (0.0001 in Collection 1)" in note
        with pytest.raises(SceneError, match="Give --scale"):
            scene.read(["green"], WHOLE)


def test_bands_of_two_levels_are_no_scene(landsat):
    rename_bands(landsat, {"B3": "sr_band3"})
    said = complaint(SceneError, landsat, SceneOptions())
    assert f"{LANDSAT}_B5.TIF of L1 and {LANDSAT}_sr_band3.tif of L2" in said


def test_a_damaged_mtl_is_said_with_its_place(landsat):
    (landsat / f"{LANDSAT}_MTL.txt").write_text(MTL[:600])
    said = complaint(SceneError, landsat)
    assert said.startswith(f"{landsat}: {LANDSAT}_MTL.txt ends within its group")


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


def test_a_yaml_file_may_name_what_gdal_opens(tmp_path):
    path = write(tmp_path / "x.tif", 7)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.write(path, "B03.tif")
    link = (tmp_path / "x.tif").as_uri()
    text = f"bands:\n  B03: /vsizip/{tmp_path}/x.zip/B03.tif\n  B04: {link}\n"
    assert "/vsizip//" in text
    (tmp_path / "x.yaml").write_text(text)
    with open_scene(tmp_path / "x.yaml", SAID) as scene:
        assert values_of(scene) == {"B03": 7, "B04": 7}


def test_a_quality_layer_that_a_yaml_file_names_is_opened_once(tmp_path, caplog):
    write(tmp_path / "x.tif", 7)
    (tmp_path / "x.yaml").write_text("bands:\n  B03: x.tif\n  SCL: missing.tif\n")
    with open_scene(tmp_path / "x.yaml", SAID, advise=False, first=True) as scene:
        assert scene.quality is None
    assert caplog.text.count("SCL is not used") == 1


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
        ("band: {B03: two.tif}\nsensor: s2", "Did you mean bands?"),
        ("bands: {B03: two.tif}\nsensors: s2", "Did you mean sensor?"),
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
