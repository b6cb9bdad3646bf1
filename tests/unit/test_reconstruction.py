"""Networks that give back their bands: what they are judged by, and what comes of a training."""

import csv
import json
import re

import numpy as np
import pytest
import torch
from training_chips import write_chips

from geounet import reconstruction
from geounet.augment import derived_seed
from geounet.chips import open_chips
from geounet.config import Config, UNetSettings
from geounet.dataset import Samples
from geounet.errors import ChipsError, ConfigError, ModelFileError
from geounet.model_file import load_model
from geounet.networks import build_network
from geounet.networks.unet import UNet
from geounet.predict.plan import check_target
from geounet.reconstruction import ReconstructionTask, judge_restored, squared_error
from geounet.report import RestoredChip, draw_curves, draw_restored_sheet
from geounet.sampling import Share
from geounet.train import train_model
from geounet.training_plan import plan_training

UNKNOWN = 255
TINY = {"base_width": 4, "depth": 1}


def recipe(**settings):
    fields = {"network": "autoencoder", "network_settings": TINY, "epochs": 2, "batch": 4}
    fields |= {"device": "cpu", "precision": "fp32", "learning_rate": 0.01}
    return Config(**(fields | settings))


def forget(split, values, label):  # noqa: ARG001
    label[:] = UNKNOWN


@pytest.fixture(scope="module")
def chips(tmp_path_factory):
    path = tmp_path_factory.mktemp("reconstruction") / "chips"
    return write_chips(path, counts={"train": 6, "val": 3, "test": 2}, size=16)


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory):
    """The same chips, as tile without labels makes them."""
    path = tmp_path_factory.mktemp("unlabelled") / "chips"
    write_chips(path, counts={"train": 6, "val": 3, "test": 2}, size=16, change=forget)
    mark = path / "dataset.json"
    mark.write_text(json.dumps({**json.loads(mark.read_text()), "labelled": False}))
    index = open_chips(path).index
    index.assign(valid=240 / 256, water=float("nan")).to_parquet(path / "index.parquet")
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory, unlabelled):
    out = tmp_path_factory.mktemp("run") / "run"
    train_model(unlabelled, recipe(), out)
    return out


def test_the_error_is_that_of_pixels_with_data_alone():
    rng = np.random.default_rng(0)
    image = rng.normal(size=(3, 4, 8, 8)).astype(np.float32)
    image[0, :, :5] = 0
    image[1, 2] = 0  # a band at its mean is data
    image[2] = 0
    restored = rng.normal(size=image.shape).astype(np.float32)
    squares = [
        (float(restored[b, c, i, j]) - float(image[b, c, i, j])) ** 2
        for b, c, i, j in np.ndindex(image.shape)
        if image[b, :, i, j].any()
    ]
    error, pixels = squared_error(torch.tensor(restored), torch.tensor(image))
    assert error.item() == pytest.approx(np.mean(squares), rel=1e-6)
    assert pixels == len(squares) / 4 == 3 * 8 + 64


def test_where_nothing_has_data_there_is_no_error_and_no_gradient():
    restored = torch.randn(1, 2, 4, 4, requires_grad=True)
    error, pixels = squared_error(restored, torch.zeros(1, 2, 4, 4))
    error.backward()
    assert (error.item(), pixels.item()) == (0, 0)
    assert not restored.grad.any()


def small_task(chips, **settings):
    plan = plan_training(open_chips(chips), recipe(**settings))
    return plan, ReconstructionTask(
        plan.network, plan.config, plan.reader.classes, augmenter=plan.augmenter, steps=4, run="{}"
    )


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_a_step_asks_for_what_the_network_is_given_and_no_label_matters(chips, padding):
    augment = {"noise": 0.3, "band_dropout": 0.3}
    settings = {"augment": augment, "network_settings": {**TINY, "padding": padding}}
    plan, task = small_task(chips, **settings)
    read = [plan.reader.read(name) for name in plan.splits["train"][:4]]
    image, label = (torch.stack(part) for part in zip(*read, strict=True))
    given, _ = plan.augmenter(image, label, seed=0, step=0)
    assert not torch.equal(given, image)
    torch.manual_seed(derived_seed(0, 0, 1))
    task.train()
    loss = task.training_step(Samples(image, label), 0)
    restored, rim = task.network(given), task.network.margin
    inner = given[..., rim : given.shape[-2] - rim, rim : given.shape[-1] - rim]
    assert restored.shape == inner.shape
    data = (inner != 0).any(dim=1, keepdim=True).expand_as(inner)
    expected = (restored - inner)[data].square().mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    unknown = torch.full_like(label, UNKNOWN)
    assert task.training_step(Samples(image, unknown), 0).item() == pytest.approx(loss.item())


def test_processes_together_have_the_error_of_the_whole_batch(chips, monkeypatch):
    """Whose parts have unlike shares of data: a mean of their means would be another."""
    _, task = small_task(chips)
    generator = torch.Generator().manual_seed(1)
    whole = torch.randn(5, 4, 16, 16, generator=generator)
    whole[3:, :, 2:] = 0
    restored = torch.randn(5, 4, 16, 16, generator=generator)
    label = torch.zeros(5, 16, 16, dtype=torch.uint8)
    expected, chips_there = task.whole_loss(restored, Samples(whole, label))
    others = iter([restored[3:], whole[3:]])
    task.share = Share(0, 2)
    monkeypatch.setattr(reconstruction, "gathered", lambda own: torch.cat([own, next(others)]))
    loss, count = task.whole_loss(restored[:3], Samples(whole[:3], label[:3]))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert count == chips_there == 5


def test_a_batch_that_does_not_fit_is_told_with_one_that_does(chips, tmp_path, monkeypatch):
    whole = UNet.forward

    def forward(network, image):
        if len(image) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return whole(network, image)

    monkeypatch.setattr(UNet, "forward", forward)
    with pytest.raises(ConfigError, match=r"6 chips do not fit.*batch=3 "):
        train_model(chips, recipe(batch=6), tmp_path / "run")


def test_each_pixel_of_a_validation_counts_alike(chips):
    plan, task = small_task(chips)
    task.eval()
    whole = torch.randn(2, 4, 16, 16)
    whole[1, :, 3:] = 0
    label = torch.zeros(2, 16, 16, dtype=torch.uint8)
    for i in range(2):
        task.validation_step(Samples(whole[i : i + 1], label[i : i + 1]), i)
    with torch.no_grad():
        restored = plan.network(whole)
    data = (whole != 0).any(dim=1, keepdim=True).expand_as(whole)
    expected = (restored - whole)[data].square().mean()
    assert task.val_loss.compute().item() == pytest.approx(expected.item(), rel=1e-5)


def test_errors_are_told_in_reflectance_by_band(chips):
    """Against the files themselves, by numpy."""
    plan = plan_training(open_chips(chips), recipe(bands=["B08", "B03"]))
    network = plan.network.eval()
    names = plan.splits["val"]
    squares = {"s2:B08": [], "s2:B03": []}
    for name in names:
        chip = plan.reader.folder.read(name, ["B08", "B03"])
        mean, std = (part.numpy()[:, None, None] for part in (plan.reader.mean, plan.reader.std))
        given = np.where(chip.valid, (chip.values - mean) / std, 0).astype(np.float32)
        with torch.inference_mode():
            restored = network(torch.tensor(given)[None])[0].numpy() * std + mean
        for band, there, true in zip(squares, restored, chip.values, strict=True):
            squares[band].extend(((there - true)[chip.valid] ** 2).tolist())
    judged = judge_restored(network, plan.reader, names, device="cpu", batch=2)
    record = judged.record()
    assert record["rmse"] == pytest.approx(
        {band: np.sqrt(np.mean(of)) for band, of in squares.items()}, abs=2e-6
    )
    assert record["pixels"] == judged.pixels == 3 * (256 - 16)
    assert record["chips"] == 3


def test_an_autoencoder_learns_without_labels_and_says_how_well(run, unlabelled):
    header, network = load_model(run / "model.safetensors")
    assert header.network.settings.target == "bands"
    scores = header.training["scores"]
    assert set(scores) == {"val", "test"}
    reader = plan_training(open_chips(unlabelled), recipe()).reader
    again = judge_restored(network, reader, reader.folder.names("val"), device="cpu", batch=3)
    assert again.record()["rmse"] == pytest.approx(scores["val"]["rmse"], abs=2e-6)
    rows = list(csv.DictReader((run / "logs/epochs.csv").read_text().splitlines()))
    assert set(rows[0]) == {"epoch", "learning_rate", "loss", "val_loss"}  # and no IoU
    best = min(rows, key=lambda row: float(row["val_loss"]))
    assert header.training["best_epoch"] == int(best["epoch"])
    # The loss is these errors in units of the bands' spread.
    spread = dict(zip(scores["val"]["rmse"], header.std, strict=True))
    parts = [(root / spread[band]) ** 2 for band, root in scores["val"]["rmse"].items()]
    assert float(best["val_loss"]) == pytest.approx(np.mean(parts), rel=1e-3)
    assert (header.halo_default, header.halo_error) == (header.halo_exact, 0.0)
    for picture in ("augmented.png", "curves.png", "validation.png"):
        assert (run / picture).read_bytes().startswith(b"\x89PNG")
    assert not (run / "scores.png").exists()


def test_its_card_speaks_of_errors_and_not_of_classes(run):
    card = (run / "MODEL.md").read_text()
    scores = load_model(run / "model.safetensors")[0].training["scores"]
    (row,) = (line for line in card.splitlines() if re.match(r"\| B08 \| 0\.", line))
    wanted = [f"{scores[split]['rmse']['s2:B08']:.4f}" for split in ("val", "test")]
    assert [cell.strip() for cell in row.split("|")][3:5] == wanted
    assert "geounet train CHIPS --from model.safetensors" in card
    assert "IoU" not in card
    assert "counts as water" not in card


def test_predict_refuses_it(run):
    header, _ = load_model(run / "model.safetensors")
    with pytest.raises(ModelFileError, match="tells no classes"):
        check_target(header, run / "model.safetensors")


def test_labels_change_nothing_of_what_it_learns(run, chips, tmp_path):
    """Training on labelled chips gives the very weights of training on the same without labels."""
    train_model(chips, recipe(), tmp_path / "run")
    ours, theirs = (load_model(one / "model.safetensors")[1] for one in (tmp_path / "run", run))
    for name, weights in ours.state_dict().items():
        assert torch.equal(weights, theirs.state_dict()[name]), name


def test_its_encoder_is_named_as_that_of_a_network_that_tells_classes(run):
    _, donor = load_model(run / "model.safetensors")
    settings = UNetSettings(**TINY)
    network = build_network(settings, bands=["blue", "green", "red", "nir"], classes=2)
    own = network.state_dict()
    shared = {name for name in own if name.startswith(("encoder.", "bottom."))}
    given = donor.state_dict()
    assert {name for name in given if name.startswith(("encoder.", "bottom."))} == shared
    assert all(given[name].shape == own[name].shape for name in shared)


def test_classes_are_not_learned_from_chips_without_labels(unlabelled):
    with pytest.raises(ChipsError, match=r"no labels.*--labels.*network=autoencoder"):
        plan_training(open_chips(unlabelled), recipe(network="unet-same"))


def test_chips_without_labels_cannot_be_balanced_by_them(unlabelled, chips):
    with pytest.raises(ConfigError, match="`sampling`"):
        plan_training(open_chips(unlabelled), recipe(sampling="balanced"))
    assert plan_training(open_chips(chips), recipe(sampling="balanced")).groups


def test_labelled_chips_of_which_nothing_is_known_do(tmp_path, caplog):
    folder = write_chips(tmp_path / "chips", counts={"train": 2}, size=16, change=forget)
    plan = plan_training(open_chips(folder), recipe())
    assert len(plan.splits["train"]) == 2
    assert "no validation chips:" in caplog.text


def test_a_sheet_shows_image_reconstruction_and_difference(tmp_path):
    """In the colours of the image, so that what is brighter looks so."""
    from matplotlib.image import imread

    values = np.linspace(0, 0.3, 64, dtype=np.float32).reshape(1, 8, 8)
    values[:, 0, 0] = np.nan
    same = np.where(np.isnan(values[0]), np.nan, 0).astype(np.float32)
    draw_restored_sheet([RestoredChip("a", values, values, same)], tmp_path / "a.png", kind="B8")
    dark = RestoredChip("a", values, 0 * values, np.abs(values[0]))
    draw_restored_sheet([dark], tmp_path / "b.png", kind="B8")
    one, two = (imread(tmp_path / name)[..., :3] for name in ("a.png", "b.png"))
    assert one.shape == two.shape
    middle = np.s_[100:200, one.shape[1] // 2 - 80 : one.shape[1] // 2]
    assert two[middle].max() < 0.05 < 0.3 < one[middle].mean()


def test_curves_without_classes_are_losses_alone(tmp_path):
    from matplotlib.image import imread

    rows = [{"epoch": 1, "loss": 1.0, "val_loss": 0.9}, {"epoch": 2, "loss": 0.5, "val_loss": 0.4}]
    draw_curves(rows, (), tmp_path / "curves.png")
    height, width = imread(tmp_path / "curves.png").shape[:2]
    assert width / height == pytest.approx(5 / 4, abs=0.02)
