"""SWED: what its files say comes out as chips, whole tiles apart, and nothing wrong goes unsaid."""

import logging
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from swed_folder import SIDE, product, write_swed, write_tif
from training_chips import write_chips

from geounet.chips import open_chips
from geounet.chipset import BandStatistics, read_exclusions
from geounet.config import Config
from geounet.dataset import load_chips, open_reader
from geounet.errors import ChipsError, ConfigError
from geounet.info import describe_file
from geounet.model_file import read_header
from geounet.swed import is_swed, open_swed
from geounet.train import train_model

ORDER = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12"]
TILES = {"T18TWL": 3, "T30UYC": 2, "T51HYE": 4, "T29NKH": 3}
GREEN, NIR = ORDER.index("B03"), ORDER.index("B08")


def spoil(_name, image, label):
    """Leave pixels without data, and without a label, in every chip."""
    image[:10, :20] = 0
    image[100, 100, 3] = 0  # one band is enough
    label[-5:, :] = -1


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_swed(tmp_path_factory.mktemp("swed") / "SWED", tiles=TILES, tests=2, change=spoil)


@pytest.fixture(scope="module")
def swed(folder):
    return open_swed(folder)


@pytest.fixture
def own(tmp_path):
    """Make a small SWED that a test may spoil; pytest keeps folders, and these are large."""

    def make(**kwargs):
        return write_swed(tmp_path / "own", **({"tiles": {"T18TWL": 2, "T30UYC": 2}} | kwargs))

    yield make
    for part in ("own", "unpacked"):
        shutil.rmtree(tmp_path / part, ignore_errors=True)


def chip(tile, number=0):
    return f"{product(tile)}_image_0_{number}"


def image_file(folder, name):
    return folder / "train" / "images" / f"{name}.npy"


def label_file(folder, name):
    return folder / "train" / "labels" / f"{name.replace('_image_', '_chip_')}.npy"


def test_chips_are_of_sentinel_2_l2a(swed):
    info = swed.info
    assert [band["id"] if "id" in band else band["name"] for band in info.bands] == ORDER
    assert {band["sensor"] for band in info.bands} == {"s2"}
    assert (info.sensor, info.level, info.res_m) == ("s2", "L2A", (10.0, 10.0))
    assert [(c.value, c.name, c.water) for c in info.class_list] == [
        (0, "land", False),
        (1, "water", True),
    ]
    assert (info.size, info.context, info.nodata) == (256, 0, 255)


def test_numbers_become_reflectance_and_minus_one_unknown(swed, folder):
    for name in (chip("T18TWL", 2), chip("T51HYE")):
        dn, raw = np.load(image_file(folder, name)), np.load(label_file(folder, name))
        assert (dn.shape, raw.shape) == ((256, 256, 12), (1, 256, 256))
        found = swed.read(name)
        valid = (dn != 0).all(axis=-1)
        assert valid.sum() == 256 * 256 - 200 - 1
        np.testing.assert_array_equal(found.valid, valid)
        np.testing.assert_allclose(
            found.values[:, valid], np.moveaxis(dn, -1, 0)[:, valid] * 0.0001, rtol=1e-6
        )
        assert np.isnan(found.values[:, ~valid]).all()
        np.testing.assert_array_equal(found.label, np.where(raw[0] == -1, 255, raw[0]))
        assert found.values.dtype == np.float32
        assert found.label.dtype == np.uint8


def test_test_chips_are_read_from_their_tifs(swed, folder):
    assert len(swed.names("test")) == 2
    for name in swed.names("test"):
        path = folder / "test" / "images" / f"{name}.tif"
        with rasterio.open(path) as src:
            dn = src.read()
        with rasterio.open(
            str(path).replace("images", "labels").replace("_image_", "_label_")
        ) as s:
            raw = s.read(1)
        assert 65535 in raw  # −1 in unsigned numbers
        found = swed.read(name)
        np.testing.assert_allclose(
            found.values[:, found.valid], dn[:, found.valid] * 1e-4, rtol=1e-6
        )
        np.testing.assert_array_equal(found.valid, (dn != 0).all(axis=0))
        np.testing.assert_array_equal(found.label, np.where(raw == 65535, 255, raw))


def test_what_a_tif_calls_nodata_is_none(own):
    folder = own()
    (path,) = (folder / "test" / "images").iterdir()
    with rasterio.open(path, "r+") as dst:
        values = dst.read()
        values[5, 7, 9] = 12345
        dst.write(values)
        dst.nodata = 12345
    valid = open_swed(folder).read(path.stem).valid
    assert not valid[7, 9]
    assert valid.sum() == SIDE**2 - 1


def test_bands_are_read_by_name_in_the_order_asked_for(swed):
    name = chip("T30UYC")
    every, two = swed.read(name), swed.read(name, ["nir", "B03"])
    np.testing.assert_array_equal(
        two.values[:, every.valid], every.values[[NIR, GREEN]][:, every.valid]
    )
    # A pixel without data in another band only is good for these two.
    assert two.valid[100, 100]
    assert not every.valid[100, 100]


def test_no_tile_is_both_trained_on_and_validated_with(swed):
    tiles = {s: {n.split("_")[5] for n in swed.names(s)} for s in ("train", "val", "test")}
    assert tiles["train"] | tiles["val"] == set(TILES)
    assert tiles["train"] & tiles["val"] == set()
    assert tiles["val"]
    assert len(swed.names("train")) > len(swed.names("val"))
    assert tiles["test"] == {"T10XYZ", "T11XYZ"}


def test_two_dates_of_a_tile_stay_together(own):
    folder = own(tiles={"T18TWL": 2, "T30UYC": 2, "T51HYE": 2})
    for part in ("images", "labels"):
        for file in list((folder / "train" / part).glob("*T18TWL*")):
            other = file.name.replace(product("T18TWL"), product("T18TWL", "20200707"))
            file.with_name(other).write_bytes(file.read_bytes())
    index = open_swed(folder).index
    assert index.groupby("block")["split"].nunique().max() == 1
    assert index.loc[index["block"] == "T18TWL", "scene"].nunique() == 2


def test_the_same_folder_is_always_divided_alike(swed, folder):
    again = open_swed(folder)
    assert again.index.equals(swed.index)
    assert again.info == swed.info


@pytest.mark.parametrize("gone", [["T18TWL"], ["T51HYE", "T29NKH"]])
def test_leaving_chips_out_changes_no_other_chips_split(swed, folder, gone):
    names = [chip(tile) for tile in gone]
    less = open_swed(folder, exclude=names)
    left = swed.index[~swed.index["chip"].isin(names)].set_index("chip")["split"]
    assert less.index.set_index("chip")["split"].equals(left)
    assert less.info.split["dropped"]["by --exclude"] == len(names)
    assert less.info.fingerprint != swed.info.fingerprint


def test_one_scene_alone_is_all_for_training(own):
    swed = open_swed(own(tiles={"T18TWL": 3}))
    assert len(swed.names("train")) == 3
    assert swed.names("val") == []


def test_statistics_are_those_of_the_valid_pixels_of_the_training_chips(swed, folder):
    pixels = []
    for name in swed.names("train"):
        dn = np.load(image_file(folder, name)).reshape(-1, 12).astype(np.float64)
        pixels.append(dn[(dn != 0).all(axis=1)] * 1e-4)
    together = np.concatenate(pixels)
    np.testing.assert_allclose(swed.info.mean, together.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(swed.info.std, together.std(axis=0), rtol=1e-5)


@given(parts=st.lists(st.integers(0, 5), min_size=1, max_size=6), seed=st.integers(0, 99))
@settings(max_examples=30)
def test_statistics_of_parts_are_those_of_the_whole(parts, seed):
    rng = np.random.default_rng(seed)
    pixels = rng.normal([5, -2], [1e-3, 1], (sum(parts), 2)).T
    merged = BandStatistics(2)
    for part in np.split(pixels, np.cumsum(parts)[:-1], axis=1):
        one = BandStatistics(2)
        one.add(part[:, None].astype(np.float32), np.ones((1, part.shape[1]), dtype=bool))
        merged.merge(one)
    assert merged.count == sum(parts)
    if sum(parts):
        seen = pixels.astype(np.float32).astype(np.float64)
        np.testing.assert_allclose(merged.mean, seen.mean(axis=1), rtol=1e-12)
        np.testing.assert_allclose(merged.std, seen.std(axis=1), rtol=1e-6, atol=1e-9)


def test_the_index_says_what_a_chip_holds(swed, folder):
    row = swed.index.set_index("chip").loc[chip("T29NKH", 1)]
    label = np.load(label_file(folder, row.name))[0]
    known = (np.load(image_file(folder, row.name)) != 0).all(axis=-1) & (label != -1)
    assert row["valid"] == pytest.approx(known.mean())
    assert row["water"] == pytest.approx((label[known] == 1).mean())
    # Straight across would be 2560 m, and 20 pixels of waves make no twofold of it.
    assert 2000 < row["coast_m"] < 5000
    assert row["time"].isoformat() == "2019-03-25T15:17:01+00:00"
    assert row["scene"] == product("T29NKH")
    summary = swed.summary()
    assert summary["chips"].sum() == sum(TILES.values()) + 2
    area = (swed.index["valid"] * 6.5536).groupby(swed.index["split"]).sum()
    np.testing.assert_allclose(summary["area_km2"], area[summary.index])


def test_numbers_that_are_none_are_no_data(own):
    folder, name = own(tests=0), chip("T18TWL")
    image = np.load(image_file(folder, name)).astype(np.float32)
    image[0, :2, 0], image[5, 5, 3], image[6, 6, :] = np.inf, np.nan, -np.inf
    np.save(image_file(folder, name), image)
    swed = open_swed(folder)
    assert np.isfinite(swed.info.mean + swed.info.std).all()
    values, valid, _ = swed.read(name)
    assert np.argwhere(~valid).tolist() == [[0, 0], [0, 1], [5, 5], [6, 6]]
    assert np.isfinite(values[:, valid]).all()


def test_what_a_mac_leaves_beside_files_is_passed_over(own):
    folder = own()
    found = open_swed(folder).index["chip"].tolist()
    for path in [*folder.rglob("*.npy"), *folder.rglob("*.tif")]:
        path.with_name(f"._{path.name}").write_bytes(bytes(100))
    assert open_swed(folder).index["chip"].tolist() == found


def test_chips_without_anything_known_are_left_out_and_suspect(own):
    def change(name, image, label):
        if name == chip("T18TWL"):
            image[:] = 0
        if name == chip("T30UYC"):
            label[:] = -1

    swed = open_swed(own(tiles={"T18TWL": 2, "T30UYC": 2, "T51HYE": 1}, change=change))
    assert not {chip("T18TWL"), chip("T30UYC")} & set(swed.index["chip"])
    assert swed.info.split["dropped"] == {"by --exclude": 0, "with nothing known": 2}
    assert swed.suspects == {
        chip("T18TWL"): "no data",
        chip("T30UYC"): "no known label where it has data",
    }


def test_suspects_are_found_and_nothing_else(own):
    def change(name, image, label):
        if name == chip("T18TWL", 0):  # water all over, labelled land
            image[:], label[:] = [900, 700, 500, 300, 250, 220, 210, 180, 170, 160, 60, 40], 0
            image += np.arange(SIDE, dtype=np.int16)[:, None, None] % 3
        if name == chip("T18TWL", 1):  # the other way around
            label[:] = 1 - label
        if name == chip("T18TWL", 2):
            image[:] = 4321
        if name == chip("T18TWL", 5):
            image[:], label[:] = 4321, 0
            image[9, 9, 9] += 1  # a little, but something
        if name == chip("T18TWL", 3):  # clouds over land: whiter than anything, NDWI above 0
            image[:], label[:] = 5000, 0
            image[..., GREEN] = 7000
            image += np.arange(SIDE, dtype=np.int16)[:, None, None] % 3
        if name == chip("T18TWL", 4):  # not quite half of it labelled wrongly
            label[:125] = 1 - label[:125]

    swed = open_swed(own(tiles={"T18TWL": 6, "T30UYC": 2}, change=change))
    assert set(swed.suspects) == {chip("T18TWL", n) for n in (0, 1, 2)}
    for number, worst in ((0, "land that looks like water"), (1, "looks like")):
        why = swed.suspects[chip("T18TWL", number)]
        assert why.startswith("100% of its labels contradict NDWI, mostly ")
        assert worst in why
    assert swed.suspects[chip("T18TWL", 2)] == "the same in every pixel"
    assert set(swed.suspects) < set(swed.index["chip"])


class Trap:
    def __reduce__(self):
        return (Path.touch, (Path("sprung"),))


def unlink_label(folder, name):
    label_file(folder, name).unlink()


def unlink_image(folder, name):
    image_file(folder, name).unlink()


def reflectance(folder, name):
    image = np.load(image_file(folder, name))
    np.save(image_file(folder, name), (image / 1e4).astype(np.float32))


def truncate(folder, name):
    path = image_file(folder, name)
    path.write_bytes(path.read_bytes()[:-1])


def empty(folder, name):
    label_file(folder, name).write_bytes(b"")


def no_npy(folder, name):
    image_file(folder, name).write_bytes(b"version https://git-lfs.github.com/spec/v1\n")


def pickled(folder, name):
    np.save(image_file(folder, name), np.array([Trap()], dtype=object), allow_pickle=True)


def bare_pickle(folder, name):
    image_file(folder, name).write_bytes(pickle.dumps(Trap()))


def zipped(folder, name):
    with image_file(folder, name).open("wb") as file:
        np.savez(file, np.zeros((SIDE, SIDE, 12)))


def vast(folder, name):
    path = image_file(folder, name)
    header = np.lib.format.header_data_from_array_1_0(np.zeros(1, np.int16))
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header | {"shape": (2**40, 2**10)})


def other_shape(folder, name):
    np.save(image_file(folder, name), np.ones((12, SIDE, SIDE), np.int16))


def words(folder, name):
    np.save(label_file(folder, name), np.full((1, SIDE, SIDE), "w"))


def third_class(folder, name):
    label = np.load(label_file(folder, name))
    label[0, 3, 3] = 2
    np.save(label_file(folder, name), label)


BROKEN = {
    unlink_label: "its label is missing",
    unlink_image: "its image is missing",
    truncate: "its image is damaged",
    empty: "its label is damaged",
    no_npy: "its image is damaged",
    pickled: "its image is damaged",
    bare_pickle: "its image is damaged",
    zipped: "its image is no array of numbers",
    vast: "its image is damaged",
    reflectance: "its image holds 0.3",
    other_shape: "its image is 12 × 256 × 256 and not 256 × 256 × 12",
    words: "its label is no array of numbers",
    third_class: "its label has the value 2, which is no class",
}


@pytest.mark.parametrize("spoil_it", BROKEN, ids=lambda f: f.__name__)
def test_a_chip_that_cannot_be_used_is_named_and_can_be_left_out(
    own, spoil_it, monkeypatch, tmp_path
):
    folder, name = own(), chip("T30UYC", 1)
    monkeypatch.chdir(tmp_path)
    spoil_it(folder, name)
    with pytest.raises(ChipsError) as caught:
        open_swed(folder)
    assert f"1 of 5 chips of SWED in {folder} cannot be used: {name} ({BROKEN[spoil_it]}" in str(
        caught.value
    )
    assert "\n" not in str(caught.value)
    lenient = open_swed(folder, lenient=True)
    assert lenient.suspects[name].startswith(BROKEN[spoil_it])
    less = open_swed(folder, exclude=[name])
    assert name not in less.index["chip"].to_numpy()
    assert less.suspects == {}
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("part", "content", "why"),
    [
        ("images", b"no tif", "its image is damaged"),
        ("labels", b"", "its label is damaged"),
        ("images", np.ones((3, SIDE, SIDE), np.int16), "its image is 3 × 256 × 256"),
        ("labels", np.ones((1, SIDE, SIDE + 1), np.int16), "its label is 1 × 256 × 257"),
    ],
)
def test_a_test_chip_that_cannot_be_used_is_named(own, part, content, why):
    folder = own()
    (path,) = (folder / "test" / part).iterdir()
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        write_tif(path, content)
    with pytest.raises(ChipsError, match=f"1 of 5 chips .*{why}"):
        open_swed(folder)


def test_many_broken_chips_make_one_line(own):
    folder = own(tiles={"T18TWL": 9})
    for path in (folder / "train" / "labels").iterdir():
        path.unlink()
    with pytest.raises(ChipsError, match=r"9 of 10 .*; and 6 more") as caught:
        open_swed(folder)
    assert len(str(caught.value).splitlines()) == 1


def test_a_chip_that_goes_bad_while_training_is_named(own):
    folder = own()
    swed = open_swed(folder)
    truncate(folder, chip("T18TWL"))
    with pytest.raises(ChipsError, match=chip("T18TWL")):
        swed.read(chip("T18TWL"))


def test_products_whose_numbers_are_shifted_are_refused(own):
    folder = own()
    for part in ("images", "labels"):
        for file in list((folder / "train" / part).glob("*T18TWL*")):
            file.rename(file.with_name(file.name.replace("N0211", "N0500")))
    with pytest.raises(ChipsError, match=r"baseline 05\.00"):
        open_swed(folder)


def test_the_same_chip_twice_is_refused(own):
    folder = own()
    copy = folder / "images"
    copy.mkdir()
    image = image_file(folder, chip("T18TWL"))
    (copy / image.name).write_bytes(image.read_bytes())
    with pytest.raises(ChipsError, match=f"{image.name} twice"):
        open_swed(folder)


def test_it_is_found_where_it_was_unpacked(own):
    folder = own()
    assert is_swed(folder)
    whole = open_swed(folder)
    inner = folder.parent / "unpacked" / "SWED"
    inner.parent.mkdir()
    folder.rename(inner)
    found = open_swed(inner.parent)
    assert found.info == whole.info
    assert found.read(chip("T18TWL")).valid.all()


def test_training_chips_alone_are_enough_and_it_is_said(own, caplog):
    folder = own()
    with caplog.at_level(logging.WARNING):
        swed = open_swed(folder / "train")
    assert len(swed.index) == 4
    assert "has no test chips" in caplog.text


def test_test_chips_alone_are_not(own):
    folder = own()
    with pytest.raises(ChipsError, match=r"no chips of SWED to train on, 1 to test with.*_chip_"):
        open_swed(folder / "test")


def test_training_on_the_ground_of_the_test_is_said(own, caplog):
    with caplog.at_level(logging.WARNING):
        open_swed(own(tiles={"T11XYZ": 1, "T30UYC": 1}, tests=2))
    assert "T11XYZ" in caplog.text
    assert "flatter" in caplog.text


def test_a_chip_to_train_and_to_test_with_is_refused(own):
    with pytest.raises(ChipsError, match=r"chip 0_0 of .*T10XYZ.* to train and to test with"):
        open_swed(own(tiles={"T10XYZ": 1}))


def test_another_folder_is_told_what_there_should_be(tmp_path):
    assert not is_swed(tmp_path)
    assert not is_swed(tmp_path / "nowhere")
    with pytest.raises(ChipsError, match=r"train/images/\*_image_\*\.npy with train/labels"):
        open_swed(tmp_path)
    with pytest.raises(ChipsError, match=r"no chip folder.*geounet tile.*train/images"):
        open_chips(tmp_path)


@pytest.mark.parametrize(
    "form",
    [
        "{0}",
        "{0}.npy",
        "SWED/train/images/{0}.npy",
        "C:\\SWED\\{0}.npy",
        "{1}",
        "{1}.npy",
        "  {0}.npy   # clouds",
    ],
)
def test_a_list_may_name_chips_as_their_files_are_called(folder, tmp_path, form):
    name = chip("T51HYE", 3)
    listing = tmp_path / "list.txt"
    entry = form.format(name, name.replace("_image_", "_chip_"))
    listing.write_text(f"# Seen to be wrong.\n\n{entry}\n{entry}\n", encoding="utf-8-sig")
    swed = open_swed(folder, exclude=read_exclusions(listing))
    assert name not in set(swed.index["chip"])
    assert len(swed.index) == sum(TILES.values()) + 2 - 1


def test_a_test_chip_can_be_left_out_by_its_label(folder, swed):
    (first, second) = swed.names("test")
    less = open_swed(folder, exclude=[f"{first.replace('_image_', '_label_')}.tif"])
    assert less.names("test") == [second]


def test_a_name_that_is_no_chips_is_an_error(folder):
    with pytest.raises(ChipsError, match=r"has nobody\.npy and 1 more, which .* does not have"):
        open_swed(folder, exclude=["nobody.npy", chip("T18TWL"), "*"])


@pytest.mark.parametrize("content", [b"", b"# nothing\n\n", b"\xff\xfe\x00", None])
def test_a_list_of_nothing_is_an_error(tmp_path, content):
    listing = tmp_path / "list.txt"
    if content is not None:
        listing.write_bytes(content)
    with pytest.raises(ChipsError, match=r"list\.txt (names no chip|cannot be read)"):
        read_exclusions(listing)


def test_leaving_everything_out_is_an_error(own):
    folder = own()
    names = [path.name for path in (folder / "train" / "images").iterdir()]
    with pytest.raises(ChipsError, match="to train on"):
        open_swed(folder, exclude=names)


def test_a_chip_folder_less_some_chips_is_another(tmp_path):
    folder = open_chips(write_chips(tmp_path / "chips", counts={"train": 3, "val": 1}, size=16))
    assert folder.without([]) is folder
    less = folder.without(["chip_001.tif", "images/chip_003.tif"])
    assert list(less.index["chip"]) == ["chip_000", "chip_002"]
    assert less.info.fingerprint != folder.info.fingerprint
    assert less.info.fingerprint != folder.without(["chip_001"]).info.fingerprint
    assert less.info.split["dropped"] == {"by --exclude": 2}
    assert less.summary().loc["train", "chips"] == 2
    with pytest.raises(ChipsError, match=r"has chip_9,.* one of its chips is chip_000"):
        folder.without(["chip_9"])


def test_it_goes_to_other_processes(swed):
    copy = pickle.loads(pickle.dumps(swed))
    name = copy.names("val")[0]
    np.testing.assert_array_equal(copy.read(name).values, swed.read(name).values)


def test_a_network_gets_it_standardised(swed):
    reader = open_reader(swed, None)
    (train,) = load_chips(reader, [swed.names("train")])
    counted = train.images.movedim(1, 0)[:, (train.images != 0).all(dim=1)]
    assert counted.shape[0] == 12
    torch.testing.assert_close(counted.mean(dim=1), torch.zeros(12), atol=1e-3, rtol=0)
    torch.testing.assert_close(counted.std(dim=1), torch.ones(12), atol=1e-3, rtol=0)
    with pytest.raises(ConfigError, match="B10"):
        open_reader(swed, ["B03", "B10"])


def recipe(**kwargs):
    fields = {"network_settings": {"base_width": 4, "depth": 2}, "epochs": 1, "batch": 4}
    return Config(**(fields | {"device": "cpu", "precision": "fp32"} | kwargs))


def test_it_is_trained_on_as_it_lies(folder, tmp_path):
    listing = tmp_path / "list.txt"
    listing.write_text(chip("T51HYE", 1))
    model = train_model(folder, recipe(), tmp_path / "run", exclude=listing)
    header = read_header(model)
    assert [band["name"] for band in header.bands] == ORDER
    assert (header.sensor, header.level, header.res_m) == ("s2", "L2A", (10.0, 10.0))
    counts = header.training["chips"]
    assert counts["train"] + counts["val"] == sum(TILES.values()) - 1
    assert counts["test"] == 2
    assert set(header.training["scores"]) == {"val", "test"}
    less = open_swed(folder, exclude=[chip("T51HYE", 1)])
    assert counts["fingerprint"] == less.info.fingerprint
    np.testing.assert_allclose(header.mean, less.info.mean, rtol=1e-6)
    # Resuming is of the same chips: with the list it is done, without it another training.
    assert train_model(folder, recipe(), tmp_path / "run", exclude=listing, resume=True) == model
    with pytest.raises(ConfigError, match="on other chips"):
        train_model(folder, recipe(), tmp_path / "run", resume=True)


def test_a_network_that_cannot_take_256_pixels_is_refused_with_advice(
    folder, tmp_path, monkeypatch
):
    def refuse(_network, image):
        if image.device.type == "meta":  # as it is asked before training
            raise ValueError("The nearest are 252 and 268.")

    monkeypatch.setattr("geounet.networks.unet.UNet.check_size", refuse)
    with pytest.raises(ConfigError, match=r"256 × 256.* 268\. SWED comes in this size alone"):
        train_model(folder, recipe(), tmp_path / "run")


def test_a_chip_folder_stays_one_whatever_its_chips_are_called(tmp_path):
    chips = write_chips(tmp_path / "chips", counts={"train": 2, "val": 1}, size=16)
    (chips / "images" / "a_image_0.tif").write_bytes(b"")
    train_model(chips, recipe(), tmp_path / "run")


def test_info_tells_of_it_and_of_suspects(own):
    def change(name, image, _label):
        if name == chip("T18TWL"):
            image[:] = 0

    folder = own(change=change)
    truncate(folder, chip("T30UYC"))
    facts = describe_file(folder)
    assert facts["kind"] == "chips"
    assert facts["suspects"] == {
        chip("T18TWL"): "no data",
        chip("T30UYC"): facts["suspects"][chip("T30UYC")],
    }
    assert facts["splits"]["test"]["chips"] == 1


def test_info_tells_of_a_part_of_it_and_of_one_that_is_all_broken(own):
    folder = own()
    facts = describe_file(folder / "test")
    assert facts["splits"]["test"]["chips"] == 1
    assert facts["mean"] == []
    for path in (*(folder / "train" / "labels").iterdir(), *(folder / "test" / "labels").iterdir()):
        path.unlink()
    facts = describe_file(folder)
    assert facts["splits"] == {}
    assert len(facts["suspects"]) == 5
