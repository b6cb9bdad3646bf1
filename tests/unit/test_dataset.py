import logging
from dataclasses import replace

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from training_chips import write_chips

from geounet import dataset
from geounet.chips import open_chips
from geounet.classes import LAND, LabelClass
from geounet.config import UNetSettings
from geounet.dataset import (
    ChipsInMemory,
    ChipsOnDisk,
    load_chips,
    open_reader,
    scoring_batches,
    training_batches,
    usable_splits,
)
from geounet.errors import ChipsError, ConfigError
from geounet.networks import build_network
from geounet.sampling import EvenBatches

UNKNOWN = 255


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("dataset") / "chips"
    return open_chips(write_chips(path, counts={"train": 5, "val": 2, "test": 1}, size=16))


@pytest.fixture
def own_folder(tmp_path):
    """Make a folder that a test may spoil."""

    def make(**settings):
        settings = {"counts": {"train": 3, "val": 1, "test": 1}, "size": 16} | settings
        return open_chips(write_chips(tmp_path / "chips", **settings))

    return make


def as_on_disk(folder, name):
    with rasterio.open(folder.path / "images" / f"{name}.tif") as src:
        values = src.read()
    with rasterio.open(folder.path / "labels" / f"{name}.tif") as src:
        return values, src.read(1)


def test_samples_are_standardised_and_nought_without_data(folder):
    reader = open_reader(folder, None)
    name = folder.names("train")[0]
    image, label = reader.read(name)
    values, on_disk = as_on_disk(folder, name)
    valid = np.isfinite(values).all(axis=0)
    assert 0 < valid.sum() < valid.size
    mean, std = (np.array(v)[:, None, None] for v in (folder.info.mean, folder.info.std))
    expected = np.where(valid, (values - mean) / std, 0)
    np.testing.assert_allclose(image.numpy(), expected, atol=1e-5)
    assert image.dtype == torch.float32
    np.testing.assert_array_equal(label.numpy(), on_disk)


def test_bands_are_taken_by_name_with_their_own_statistics(folder):
    whole = open_reader(folder, None).read("chip_000").image
    some = open_reader(folder, ["nir", "B2"]).read("chip_000").image
    assert torch.equal(some, whole[[3, 0]])


@pytest.mark.parametrize("context", [0, 10, 44, 50])
def test_networks_without_padding_see_context_and_beyond_it_the_chip_mirrored(own_folder, context):
    folder = own_folder(size=16, context=context)
    settings = UNetSettings(padding="valid", depth=3, base_width=1)  # loses 44 on each side
    network = build_network(settings, bands=["other"] * 4, classes=2)
    plain = open_reader(folder, None)
    reader = plain.fitted(network)
    # 16 and 2 × 44 are 104; it takes 8 k + 4, so 108: 46 on each side of the core.
    assert reader.side == network.fit(16 + 88) == 108
    name = folder.names("train")[0]
    image, label = reader.read(name)
    whole = plain.read(name)
    more = 46 - context
    if more < 0:
        cut = slice(-more, more)
        expected, known = whole.image[:, cut, cut], whole.label[cut, cut]
    else:
        around = [(more, more)] * 2
        expected = torch.from_numpy(np.pad(whole.image, [(0, 0), *around], mode="reflect"))
        known = torch.from_numpy(np.pad(whole.label, around, constant_values=UNKNOWN))
    assert torch.equal(image, expected)
    assert torch.equal(label, known)
    assert label.dtype == torch.uint8
    inner = slice(46, -46)  # the core, in the middle, wholly within what the network answers
    assert (label[inner, inner] != UNKNOWN).sum() == (label != UNKNOWN).sum() > 100
    assert network(image[None]).shape[-1] == 108 - 88
    kept = ChipsInMemory(reader, folder.names("train"))
    assert torch.equal(kept[0].image, image)
    assert reader.bytes_per_chip == 108**2 * (4 * 4 + 1)


def test_networks_with_padding_get_chips_as_they_are(folder):
    reader = open_reader(folder, None)
    network = build_network(UNetSettings(depth=1, base_width=1), bands=["other"] * 4, classes=2)
    assert reader.fitted(network) is reader


def test_pixels_without_data_are_unknown_whatever_the_label_says(own_folder):
    def lose(split, values, label):  # noqa: ARG001
        values[1, 8, 8] = np.nan  # in one band alone
        label[8, 8] = 1

    image, label = open_reader(folder := own_folder(change=lose), None).read("chip_000")
    assert as_on_disk(folder, "chip_000")[1][8, 8] == 1
    assert label[8, 8] == UNKNOWN
    assert (image[:, 8, 8] == 0).all()
    assert torch.isfinite(image).all()


def test_a_band_that_is_not_read_makes_no_pixel_invalid(own_folder):
    def lose(split, values, label):  # noqa: ARG001
        values[1, 8, 8] = np.nan
        label[8, 8] = 1

    _, label = open_reader(own_folder(change=lose), ["B02", "B08"]).read("chip_000")
    assert label[8, 8] == 1


def test_classes_become_their_place_among_the_outputs(own_folder):
    water = LabelClass(value=7, name="water", color="#0000ff", water=True)

    def renumber(split, values, label):  # noqa: ARG001
        label[label == 1] = 7

    folder = own_folder(change=renumber, classes=(LAND, water))
    _, label = open_reader(folder, None).read("chip_000")
    _, on_disk = as_on_disk(folder, "chip_000")
    assert set(np.unique(on_disk)) == {0, 7, UNKNOWN}
    assert torch.equal(label == 1, torch.from_numpy(on_disk == 7))
    assert set(label.unique().tolist()) == {0, 1, UNKNOWN}


def test_a_label_that_is_no_class_is_refused_by_name(own_folder):
    def spoil(split, values, label):  # noqa: ARG001
        label[9, 9] = 42

    reader = open_reader(own_folder(change=spoil), None)
    with pytest.raises(ChipsError, match=r"chip_000.* 42.*0 \(land\), 1 \(water\)"):
        reader.read("chip_000")


def test_bands_that_the_chips_lack_are_named_with_those_they_have(folder):
    with pytest.raises(ConfigError, match=r"swir16.*B02.*B08"):
        open_reader(folder, ["nir", "swir16"])
    with pytest.raises(ConfigError, match="twice"):
        open_reader(folder, ["B08", "nir"])


def test_memory_and_disk_give_the_same(folder):
    reader, names = open_reader(folder, None), folder.names("train")
    kept, read = ChipsInMemory(reader, names), ChipsOnDisk(reader, names)
    indexes = [3, 0, 4]
    for a, b in zip(kept.__getitems__(indexes), read.__getitems__(indexes), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(kept[2], read[2], strict=True):
        assert torch.equal(a, b)


def test_chips_stay_on_disk_if_all_together_exceed_the_limit(folder):
    reader = open_reader(folder, None)
    splits = [folder.names("train"), folder.names("val")]
    needed = 7 * 16 * 16 * (4 * 4 + 1)
    assert all(isinstance(c, ChipsInMemory) for c in load_chips(reader, splits, limit=needed))
    assert all(isinstance(c, ChipsOnDisk) for c in load_chips(reader, splits, limit=needed - 1))


@pytest.mark.parametrize(("free", "place"), [(0, "cpu"), (1, "cuda:1")])
def test_chips_are_kept_on_a_gpu_that_has_room_for_them(folder, monkeypatch, free, place):
    reader, asked = open_reader(folder, None), []
    needed = 5 * reader.bytes_per_chip
    room = (dataset.GPU_SHARE * (needed - 1 + free), 0)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (asked.append(device), room)[1])
    monkeypatch.setattr(dataset, "ChipsInMemory", lambda *_, device, progress: device)  # noqa: ARG005
    assert load_chips(reader, [folder.names("train")], device="cuda:1") == [place]
    assert asked == ["cuda:1"]


@pytest.mark.gpu
def test_chips_on_a_gpu_are_those_in_memory(folder):
    reader, names = open_reader(folder, None), folder.names("train")
    (there,) = load_chips(reader, [names], device="cuda:0")
    batches = EvenBatches(5, 2, seed=0)
    loaders = [
        training_batches(chips, batches, workers=2, pin=True)
        for chips in (there, ChipsInMemory(reader, names))
    ]
    for a, b in zip(*loaders, strict=True):
        assert a.image.is_cuda
        assert b.image.is_pinned()
        assert torch.equal(a.image.cpu(), b.image)
        assert torch.equal(a.label.cpu(), b.label)


@pytest.mark.parametrize(("count", "batch"), [(1, 8), (8, 8), (9, 8), (17, 8), (5, 2), (7, 1)])
def test_every_chip_comes_once_an_epoch_in_batches_of_like_size(count, batch):
    batches = list(EvenBatches(count, batch, seed=0))
    assert sorted(i for b in batches for i in b) == list(range(count))
    assert len(batches) == len(EvenBatches(count, batch, seed=0)) == -(-count // batch)
    sizes = [len(b) for b in batches]
    assert max(sizes) <= batch
    assert max(sizes) - min(sizes) <= 1


def test_the_order_depends_on_seed_and_epoch_alone():
    def order(seed, epoch):
        batches = EvenBatches(30, 4, seed=seed)
        batches.set_epoch(epoch)
        return list(batches)

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3)
    assert order(1, 2) != order(2, 2)


def test_lightning_finds_the_epoch_of_the_batches(folder):
    from lightning.fabric.utilities.data import _set_sampler_epoch

    loader = training_batches(
        ChipsInMemory(open_reader(folder, None), folder.names("train")),
        EvenBatches(5, 2, seed=0),
        workers=0,
        pin=False,
    )
    _set_sampler_epoch(loader, 5)
    assert loader.batch_sampler.epoch == 5


def test_workers_read_what_the_main_process_reads(folder):
    reader, names = open_reader(folder, None), folder.names("train")
    loader = scoring_batches(ChipsOnDisk(reader, names), batch=2, workers=1, pin=False)
    images = torch.cat([batch.image for batch in loader])
    assert torch.equal(images, ChipsInMemory(reader, names).images)


def test_a_folder_without_training_chips_says_what_it_has(own_folder):
    folder = own_folder(counts={"val": 2, "test": 1})
    with pytest.raises(ChipsError, match=r"0 train, 2 val, 1 test"):
        usable_splits(folder)


def test_labels_that_are_all_unknown_are_refused(own_folder):
    def forget(split, values, label):  # noqa: ARG001
        if split == "train":
            label[:] = UNKNOWN

    with pytest.raises(ChipsError, match="unknown"):
        usable_splits(own_folder(change=forget))


def test_validation_chips_of_which_nothing_is_known_do_not_count(own_folder, caplog):
    def forget(split, values, label):  # noqa: ARG001
        if split == "val":
            label[:] = UNKNOWN

    with caplog.at_level(logging.WARNING):
        splits = usable_splits(own_folder(change=forget))
    assert splits["val"] == []
    assert len(splits["train"]) == 3
    assert "no validation chips with known labels" in caplog.text


@pytest.mark.parametrize(("value", "absent"), [(0, "water"), (1, "land")])
def test_a_class_that_no_training_chip_has_is_told(own_folder, caplog, value, absent):
    def fill(split, values, label):  # noqa: ARG001
        label[label != UNKNOWN] = value

    with caplog.at_level(logging.WARNING):
        usable_splits(own_folder(change=fill))
    assert f"any {absent}" in caplog.text


# Shares of water


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("shares") / "chips"
    counts = {"train": 3, "val": 1}
    return open_chips(write_chips(path, counts=counts, size=16, context=3, shares=True))


def test_shares_take_the_place_of_classes_and_are_unknown_with_them(shared_folder):
    by_class = open_reader(shared_folder, None)
    reader = replace(by_class, shares=True)
    name = shared_folder.names("train")[0]
    image, share = reader.read(name)
    expected_image, label = by_class.read(name)
    assert torch.equal(image, expected_image)
    assert share.dtype == torch.float32
    assert torch.equal(share.isnan(), label == UNKNOWN)
    with rasterio.open(shared_folder.path / "shares" / f"{name}.tif") as src:
        stored = src.read(1, masked=True).astype(float) * src.scales[0]
    known = label != UNKNOWN
    np.testing.assert_allclose(share[known].numpy(), stored[known.numpy()], rtol=1e-6)
    assert ((share > 0.1) & (share < 0.9)).sum() > 10
    assert reader.bytes_per_chip == 22**2 * (4 * 4 + 4)


def test_shares_beyond_a_chip_and_where_a_pixel_has_no_data_are_unknown(tmp_path):
    def lose(split, values, label):  # noqa: ARG001
        values[1, 8, 8] = np.nan
        label[8, 8] = 1

    made = write_chips(tmp_path / "c", counts={"train": 1}, size=16, shares=True, change=lose)
    folder = open_chips(made)
    network = build_network(
        UNetSettings(padding="valid", depth=1, base_width=1), bands=["other"] * 4, classes=2
    )
    plain = open_reader(folder, None)
    _, label = plain.fitted(network).read("chip_000")
    _, share = replace(plain, shares=True).fitted(network).read("chip_000")
    assert share.shape == label.shape
    assert torch.equal(share.isnan(), label == UNKNOWN)
    assert np.isfinite(folder.read_shares("chip_000")[8, 8])
    assert replace(plain, shares=True).read("chip_000").label[8, 8].isnan()


def test_shares_are_the_same_in_memory_and_from_disk(shared_folder):
    reader = replace(open_reader(shared_folder, None), shares=True)
    names = shared_folder.names("train")
    batches = [
        chips.__getitems__([2, 0])
        for chips in (ChipsInMemory(reader, names), ChipsOnDisk(reader, names))
    ]
    torch.testing.assert_close(*batches, rtol=0, atol=0, equal_nan=True)
    assert batches[0].label.dtype == torch.float32


def test_shares_that_are_damaged_are_told_by_name(tmp_path):
    folder = open_chips(write_chips(tmp_path / "c", counts={"train": 2}, size=16, shares=True))
    reader = replace(open_reader(folder, None), shares=True)
    files = [folder.path / "shares" / f"chip_00{number}.tif" for number in range(2)]
    with rasterio.open(files[0], "r+") as dst:
        dst.write(np.full((1, 16, 16), 254, dtype=np.uint8))
    with pytest.raises(ChipsError, match=r"shares of chip chip_000 .* no uint8 from 0 to 253"):
        reader.read("chip_000")
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "height": 16, "width": 8}
    with rasterio.open(files[1], "w", transform=Affine.scale(2), **profile) as dst:
        dst.write(np.zeros((1, 16, 8), dtype=np.uint8))
    with pytest.raises(ChipsError, match=r"shares of chip chip_001 .* another size"):
        reader.read("chip_001")
