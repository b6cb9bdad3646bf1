import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.windows import Window

from geounet.errors import BandError
from geounet.scene import SceneOptions, open_scene

GRID = Affine(10, 0, 300_000, 0, -10, 8_000_020)
WHOLE = Window(col_off=0, row_off=0, width=20, height=30)


def write(path, count, descriptions=None, **profile):
    """Write a stack whose bands are 1, 2, 3 … everywhere."""
    with rasterio.open(
        *(path, "w", "GTiff", 20, 30, count, "EPSG:32701", GRID, np.uint16), **profile
    ) as dst:
        for i in range(1, count + 1):
            dst.write(np.full((30, 20), i, dtype=np.uint16), i)
        if descriptions:
            dst.descriptions = descriptions
    return path


def write_values(path, values):
    """Write an array (bands, height, width) whose bands have no names."""
    count, height, width = values.shape
    with rasterio.open(
        *(path, "w", "GTiff", width, height, count, "EPSG:32701", GRID, values.dtype)
    ) as dst:
        dst.write(values)


def values_of(scene):
    dn = scene.read_dn(scene.bands, WHOLE).values[:, 0, 0]
    return {band.name: int(v) for band, v in zip(scene.bands, dn, strict=True)}


def options(**said):
    return SceneOptions(**{"scale": 1e-4, "nodata": 0, "sensor": "s2", **said})


def complaint(path, said=None):
    with pytest.raises(BandError) as caught:
        open_scene(path, said or options())
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Lists beside a stack


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("coast.txt", "B02\nB08\nVV\n"),
        ("coast.csv", "index,name\n1,B02\n2,B08\n3,VV\n"),
        ("coast.bands.txt", "B02,B08,VV"),
        ("coast.hdr", "ENVI\nband names = {\nB02, B08, VV}\n"),
    ],
)
def test_a_list_beside_a_stack_names_its_bands(tmp_path, name, text):
    path = write(tmp_path / "coast.tif", 3)
    (tmp_path / name).write_text(text)
    with open_scene(path, options()) as scene:
        assert values_of(scene) == {"B02": 1, "B08": 2, "VV": 3}
        assert scene.describe()["sources"]["bands"] == f"{name} beside the file"


def test_a_list_may_leave_bands_out_and_name_a_quality_layer(tmp_path):
    path = write(tmp_path / "coast.tif", 4)
    (tmp_path / "coast.txt").write_text("B02\n-\nSCL\nB03")
    with open_scene(path, options()) as scene:
        assert values_of(scene) == {"B02": 1, "B03": 4}
        assert scene.quality.kind == "scl"
        assert scene.quality.index == 3


def test_descriptions_and_the_user_count_more_than_a_list(tmp_path):
    path = write(tmp_path / "coast.tif", 2, ("B03", "B04"))
    (tmp_path / "coast.txt").write_text("B02\nB08\n")
    with open_scene(path, options()) as scene:
        assert values_of(scene) == {"B03": 1, "B04": 2}
    with open_scene(path, options(bands=("B11", "B12"))) as scene:
        assert values_of(scene) == {"B11": 1, "B12": 2}


@pytest.mark.parametrize(
    ("text", "remark"),
    [
        ("B02\nB03\n", "coast.txt beside it lists 2 names"),
        ("B02\nBand_2\nB03\n", "coast.txt beside it does not name number 2"),
    ],
)
def test_a_list_that_does_not_fit_is_said(tmp_path, text, remark):
    path = write(tmp_path / "coast.tif", 3)
    (tmp_path / "coast.txt").write_text(text)
    assert f"its 3 bands are; {remark}. Name them all" in complaint(path)


def test_a_text_that_is_no_list_is_no_remark(tmp_path):
    path = write(tmp_path / "coast.tif", 3)
    (tmp_path / "coast.txt").write_text("Made for a course.\nNot to be sold.\nEnjoy it.\n")
    assert "which its 3 bands are. Name them all" in complaint(path)


# What is no scene, or says nothing


def test_a_quality_layer_is_known_by_its_name(tmp_path):
    assert "Give it as --cloud-mask" in complaint(write(tmp_path / "T30TXR_SCL_20m.tif", 1))
    assert "quality layer by its name" in complaint(write(tmp_path / "T30TXR_AOT_20m.tif", 1))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_mask_is_known_by_its_few_numbers(tmp_path, count):
    path = tmp_path / "coast.tif"
    values = np.arange(200 * 300).reshape(1, 200, 300) // 20_000 % count
    write_values(path, values.astype(np.uint8))
    said = complaint(path)
    assert f"one band of {', '.join(map(str, range(count)))}, which looks like a mask" in said
    assert "--labels, --cloud-mask or --reference" in said


def test_one_band_of_many_numbers_is_told_how_to_name_it(tmp_path):
    path = tmp_path / "coast.tif"
    write_values(path, np.arange(200 * 300, dtype=np.uint16).reshape(1, 200, 300))
    said = complaint(path)
    assert "which its 1 band is. Name it with --bands, for instance --bands B08 --sensor s2" in said


@pytest.mark.parametrize(
    ("name", "count", "example"),
    [
        ("coast.tif", 3, "--bands B04,B03,B02 --sensor s2"),
        ("coast.tif", 2, "--bands B01,B02 --sensor s2"),
        ("LC08_L2SP_204052_20190504_20200829_02_T1.tif", 4, "--bands B1,B2,B3,B4 --sensor l8"),
        ("LT05_L2SP_204052_20050504_20200829_02_T1.tif", 9, "B5,B6,B7,-,- --sensor l5"),
    ],
)
def test_the_example_has_as_many_bands_and_is_of_the_sensor(tmp_path, name, count, example):
    assert example in complaint(write(tmp_path / name, count))


# Several dates


def line_in(said):
    """Return the first thing that an error says to type after --bands."""
    words = said.split()
    return tuple(words[words.index("--bands") + 1].rstrip(".").split(","))


@pytest.mark.parametrize(
    "names",
    [
        ("B02_20200101", "B08_20200101", "B02_20200201", "B08_20200201"),
        ("B02", "B08", "B02_1", "B08_1"),
        ("B02", "B08", "B02", "B08"),
        ("blue_20200101", "nir_20200101", "blue_20200201", "nir_20200201"),
    ],
)
@pytest.mark.parametrize("how", ["descriptions", "list"])
def test_stacks_of_two_dates_are_refused_with_a_line_that_works(tmp_path, names, how):
    path = write(tmp_path / "pair.tif", 4, names if how == "descriptions" else None)
    if how == "list":
        (tmp_path / "pair.txt").write_text("\n".join(names))
    said = complaint(path)
    assert "holds 2 dates, it seems, and a scene is one" in said
    line = line_in(said)
    with open_scene(path, options(bands=line)) as scene:
        assert values_of(scene) == {"B02": 1, "B08": 2}


def test_bands_that_name_two_dates_are_refused_with_a_line_that_works(tmp_path):
    path = write(tmp_path / "pair.tif", 4)
    said = complaint(path, options(bands=("B04", "B08", "B04", "B08")))
    assert "by --bands, holds 2 dates" in said
    assert line_in(said) == ("B04", "B08", "-", "-")
    assert said.endswith("or --bands -,-,B04,B08.")


def test_one_band_twice_is_no_second_date(tmp_path):
    path = write(tmp_path / "stack.tif", 3)
    said = complaint(path, options(bands=("B04", "B08", "B04")))
    assert "has band s2:B04 twice: number 1 and number 3" in said


def test_layers_that_a_user_calls_by_dates_are_layers(tmp_path):
    path = write(tmp_path / "stack.tif", 3)
    names = ("B04", "VV_20200101", "VV_20200113")
    with open_scene(path, options(bands=names)) as scene:
        assert values_of(scene) == {"B04": 1, "VV_20200101": 2, "VV_20200113": 3}


def test_numbers_that_begin_again_are_noticed_where_there_are_no_names(tmp_path):
    rng = np.random.default_rng(3)
    shape = (100, 120)
    bands = []
    for _ in range(2):
        ground = rng.uniform(size=shape)
        noise = rng.normal(size=(4, *shape)) * 0.01
        bands += [*(np.array([0.10, 0.12, 0.08])[:, None, None] * ground), 0.5 - 0.3 * ground]
        bands[-4:] = np.array(bands[-4:]) + noise
    path = tmp_path / "pair.tif"
    with rasterio.open(*(path, "w", "GTiff", 120, 100, 8, "EPSG:32701", GRID, np.uint16)) as dst:
        dst.write((np.clip(bands, 0, 1) * 10_000).astype(np.uint16))
    said = complaint(path)
    assert "they look like 2 dates of 4 bands, one after the other" in said
    assert line_in(said) == ("B04", "B03", "B02", "B08", "-", "-", "-", "-")
    with open_scene(path, options(bands=line_in(said))) as scene:
        assert len(scene.bands) == 4
