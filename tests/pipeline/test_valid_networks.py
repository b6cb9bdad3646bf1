"""Networks without padding, the whole way: chips with and without context, training, prediction.

The oracle of prediction is one pass of the plain network over the whole scene, mirrored on every
side by the network's margin and then up to a size that it takes.
"""

import json
import logging

import numpy as np
import pytest
import rasterio
import torch
from predicting import MEAN, OFFSET, SCALE, STD, wavy_dn, write_model, write_scene
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from training_chips import write_chips

from geounet.chips import open_chips
from geounet.classes import IGNORE
from geounet.config import Config
from geounet.errors import ConfigError, ModelFileError
from geounet.model_file import load_model
from geounet.predict import PredictSettings, predict_scene
from geounet.train import train_model
from geounet.training_plan import plan_training

NAMES = ("B03", "B08")
FULL = {"precision": "fp32", "probability": "float32", "device": "cpu", "overwrite": True}
VARIANTS = [
    ({"base_width": 3}, 92),
    ({"base_width": 3, "depth": 2, "norm": "batch", "bias": False}, 20),
    ({"base_width": 8, "depth": 2, "upsampling": "bilinear"}, 23),
    ({"base_width": 3, "depth": 3, "upsampling": "deconv4", "head": "3x3"}, 53),
]


def recipe(**overrides) -> Config:
    settings = {"base_width": 2, "depth": 2, **overrides.pop("network_settings", {})}
    return Config(
        network="unet-2015", network_settings=settings, device="cpu", precision="fp32",
        **{"epochs": 1, "batch": 2, "workers": 0} | overrides,
    )  # fmt: skip


def random_network(network: nn.Module) -> None:
    """Give every number a value, and the answers a spread, so that pixels differ."""
    draw = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        if parameter.ndim == 1:
            parameter.data.uniform_(0.3, 0.7, generator=draw)
    network.eval()
    last = [m for m in network.modules() if isinstance(m, nn.Conv2d)][-1]
    rough = torch.randn(1, len(NAMES), 40, 40, generator=draw)
    with torch.no_grad():
        side = network.fit(260)
        logits = network(nn.functional.interpolate(rough, size=(side, side), mode="bilinear"))
        mean, std = logits.mean(dim=(0, 2, 3)), logits.std(dim=(0, 2, 3))
        last.weight /= std[:, None, None, None]
        last.bias.sub_(mean).div_(std)


@pytest.mark.parametrize(("overrides", "margin"), VARIANTS)
def test_windows_and_one_pass_agree_with_the_margin_as_halo(overrides, margin, tmp_path):
    model = write_model(
        tmp_path / "m.safetensors", "unet-2015", overrides, names=NAMES, prepare=random_network
    )
    dn = wavy_dn(150, 215, seed=3, bands=2)
    dn[:, :30, :45] = 0
    scene = write_scene(tmp_path / "scene.tif", dn, names=NAMES)
    header, network = load_model(model)
    assert header.halo_exact == header.halo_default == network.margin == margin

    valid = (dn != 0).all(axis=0)
    x = np.where(valid, ((dn.astype(np.float64) + OFFSET) * SCALE - MEAN) / STD, 0)
    pads = [(margin, network.fit(side + 2 * margin) - side - margin) for side in valid.shape]
    x = np.pad(x, [(0, 0), *pads], mode="reflect")
    with torch.inference_mode():
        probs = network.double()(torch.from_numpy(x)[None]).softmax(dim=1)[0, 1].numpy()
    whole = np.where(valid, probs[: valid.shape[0], : valid.shape[1]], np.nan)
    assert np.nanstd(whole) > 0.05

    for window, batch in [(network.stride * 2, 3), (64, 1), (None, 1)]:
        settings = PredictSettings(**FULL, window=window, batch=batch)
        record = json.loads(predict_scene(scene, model, tmp_path / "out", settings).read_text())
        assert record["plan"]["halo"] == margin
        with rasterio.open(tmp_path / "out/scene_probability.tif") as src:
            windowed = src.read(1)
        np.testing.assert_array_equal(np.isnan(windowed), np.isnan(whole))
        assert np.nanmax(np.abs(windowed - whole)) < 1e-4


@pytest.mark.parametrize(
    ("halo", "nearest"), [(16, "Use 20"), (19, "Use 20"), (22, "Use 20 or 24"), (0, "Use 20")]
)
def test_halos_that_the_network_cannot_have_are_refused_with_those_it_can(tmp_path, halo, nearest):
    model = write_model(
        tmp_path / "m.safetensors", "unet-2015", {"base_width": 2, "depth": 2}, names=NAMES
    )
    scene = write_scene(tmp_path / "scene.tif", wavy_dn(40, 40, bands=2), names=NAMES)
    with pytest.raises(ConfigError, match=rf"--halo {halo} .* loses 20 pixels.*{nearest}\."):
        predict_scene(scene, model, tmp_path / "out", PredictSettings(**FULL, halo=halo))
    record = predict_scene(scene, model, tmp_path / "out", PredictSettings(**FULL, halo=28))
    assert json.loads(record.read_text())["plan"]["halo"] == 28


def test_a_model_whose_halo_is_narrower_than_its_margin_is_damaged(tmp_path):
    model = write_model(
        tmp_path / "m.safetensors", "unet-2015", {"base_width": 2, "depth": 2}, names=NAMES,
        halo_exact=16,
    )  # fmt: skip
    scene = write_scene(tmp_path / "scene.tif", wavy_dn(40, 40, bands=2), names=NAMES)
    with pytest.raises(ModelFileError, match="narrower than the 20 pixels"):
        predict_scene(scene, model, tmp_path / "out")


def test_an_autoencoder_tells_no_classes(tmp_path):
    model = write_model(
        tmp_path / "m.safetensors", "autoencoder", {"base_width": 2, "depth": 1}, names=NAMES
    )
    scene = write_scene(tmp_path / "scene.tif", wavy_dn(40, 40, bands=2), names=NAMES)
    with pytest.raises(ModelFileError, match=r"gives back the bands.*--from"):
        predict_scene(scene, model, tmp_path / "out")


@pytest.mark.parametrize("context", [0, 8, 20, 24])
def test_all_that_is_known_of_a_chip_is_learnt_from_whatever_its_context(context, tmp_path, caplog):
    chips = write_chips(
        tmp_path / "chips", counts={"train": 2, "val": 1}, size=32, context=context, names=NAMES
    )
    with caplog.at_level(logging.WARNING, logger="geounet"):
        plan = plan_training(open_chips(chips), recipe(loss={"dice": 0}))
    told = "loses 20 pixels on each side" in caplog.text
    assert told == (context < 20)
    name = plan.splits["train"][0]
    image, label = plan.reader.read(name)
    margin = plan.network.margin
    seen = label[margin:-margin, margin:-margin]
    on_disk = open_chips(chips).read(name).label
    assert (seen != IGNORE).sum() == (on_disk != IGNORE).sum() > 900
    with torch.no_grad():
        loss = cross_entropy(plan.network(image[None]), seen[None].long(), ignore_index=IGNORE)
    assert torch.isfinite(loss)


def test_with_context_a_network_is_trained_on_what_it_will_be_shown(tmp_path):
    # The chip is cut from a larger one: where the context reaches, its neighbours are real.
    chips = write_chips(tmp_path / "chips", counts={"train": 1}, size=36, context=20, names=NAMES)
    plan = plan_training(open_chips(chips), recipe())
    (name,) = plan.splits["train"]
    assert plan.reader.side == 76  # 36 + 2 × 20 is a multiple of 4, so nothing is mirrored
    chip = open_chips(chips).read(name)
    image = plan.reader.read(name).image
    mean, std = (t[:, None, None] for t in (plan.reader.mean, plan.reader.std))
    expected: Tensor = torch.where(
        torch.from_numpy(chip.valid), (torch.from_numpy(chip.values) - mean) / std, 0.0
    )
    torch.testing.assert_close(image, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("context", [0, 20])
def test_a_network_without_padding_goes_the_whole_way(context, tmp_path):
    chips = write_chips(
        tmp_path / "chips", counts={"train": 4, "val": 2, "test": 1}, size=32, context=context,
        names=NAMES,
    )  # fmt: skip
    config = recipe(epochs=12, learning_rate=5e-3, network_settings={"base_width": 6})
    model = train_model(chips, config, tmp_path / "run")
    header, _ = load_model(model)
    assert (header.halo_exact, header.halo_default, header.halo_error) == (20, 20, 0)
    scores = header.training["scores"]
    known = sum(
        int((open_chips(chips).read(name).label != IGNORE).sum())
        for name in open_chips(chips).names("val")
    )
    assert scores["val"]["pixels"] == known
    assert (tmp_path / "run/validation.png").is_file()

    # What it learnt is what it does: dark near infrared is water.
    dn = wavy_dn(60, 70, bands=2)
    dn[0] = 0.065 / SCALE - OFFSET
    dn[1, :, :35], dn[1, :, 35:] = 0.01 / SCALE - OFFSET, 0.30 / SCALE - OFFSET
    scene = write_scene(tmp_path / "scene.tif", dn, names=NAMES)
    predict_scene(scene, model, tmp_path / "out", PredictSettings(**FULL))
    with rasterio.open(tmp_path / "out/scene_mask.tif") as src:
        mask = src.read(1)
    assert mask[:, :25].mean() > 0.95
    assert mask[:, 45:].mean() < 0.05
