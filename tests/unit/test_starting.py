"""What a training starts from: pre-trained weights, and models of other bands and classes."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from geounet_cli.main import app
from torch import Tensor, nn
from torchvision.models._api import WeightsEnum
from training_chips import write_chips
from typer.testing import CliRunner

from geounet.chips import open_chips
from geounet.classes import LAND_WATER, LabelClass
from geounet.config import Config
from geounet.errors import ConfigError
from geounet.model_file import ModelHeader, NetworkRecord, load_model, read_header, save_model
from geounet.predict.agreement import compare_means
from geounet.training_plan import TrainingPlan, plan_training

TINY = {"base_width": 4, "depth": 2}
BANDS = ("B02", "B03", "B04", "B08")
SURF = LabelClass(value=2, name="surf", color="#ffffff", water=True)


def tiny(**settings: Any) -> Config:
    fields = {"network_settings": TINY, "epochs": 1, "batch": 4, "workers": 0}
    return Config(**(fields | {"device": "cpu", "precision": "fp32"} | settings))


@pytest.fixture(scope="module")
def chips(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("start") / "chips"
    return write_chips(path, counts={"train": 4, "val": 1}, names=BANDS)


def plan(chips: Path, **settings: Any) -> TrainingPlan:
    return plan_training(open_chips(chips), tiny(**settings))


def save(folder: Path, of: TrainingPlan) -> str:
    """Write a model file as training would, without training."""
    header = ModelHeader(
        network=NetworkRecord(name=of.config.network, settings=of.network_settings),
        bands=tuple(band.to_dict() for band in of.reader.bands),
        sensor="s2",
        level="L2A",
        mean=tuple(of.reader.mean.tolist()),
        std=tuple(of.reader.std.tolist()),
        classes=of.reader.folder.info.classes,
        stride=of.network.stride,
        halo_exact=0,
        halo_default=0,
        halo_error=0.0,
        res_m=(10.0, 10.0),
    )
    save_model(folder / "model.safetensors", of.network, header)
    return str(folder / "model.safetensors")


@pytest.fixture(scope="module")
def model(tmp_path_factory, chips) -> str:
    """A model of three bands, in another order than the chips have them."""
    return save(tmp_path_factory.mktemp("model"), plan(chips, bands=("B08", "B03", "B04")))


def outputs(network: nn.Module, x: Tensor) -> Tensor:
    with torch.inference_mode():
        return network.eval()(x)


def complaint(chips: Path, **settings: Any) -> str:
    with pytest.raises(ConfigError) as error:
        plan(chips, **settings)
    assert "\n" not in str(error.value)
    return str(error.value)


# A model of ours


def test_a_network_of_the_same_bands_starts_as_the_model_ended(chips, model) -> None:
    started = plan(chips, bands=("B08", "B03", "B04"), start=model, seed=5)
    header, theirs = load_model(Path(model))
    ours = started.network.state_dict()
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.state_dict().items())
    assert started.reader.mean.tolist() == pytest.approx(header.mean)
    assert started.start["new"] == started.start["new_bands"] == []


def test_bands_go_by_name_and_a_new_one_changes_nothing_at_first(chips, model, caplog) -> None:
    started = plan(chips, start=model)  # B02, B03, B04, B08
    header, theirs = load_model(Path(model))
    x = torch.randn(2, 4, 16, 16)
    torch.testing.assert_close(outputs(started.network, x), outputs(theirs, x[:, [3, 1, 2]]))
    info = open_chips(chips).info
    for ours, (expected, was) in zip(
        started.reader.mean.tolist(),
        [(info.mean[0], None), *((None, header.mean[i]) for i in (1, 2, 0))],
        strict=True,
    ):
        assert ours == pytest.approx(was if expected is None else expected)
    assert "has not seen s2:B02: their kernels start at zero" in caplog.text
    assert started.start["new_bands"] == ["s2:B02"]
    assert started.start["chips_mean"] == pytest.approx(info.mean)


def test_a_band_that_there_is_no_more_is_as_one_that_is_always_at_its_mean(
    chips, model, caplog
) -> None:
    caplog.set_level(logging.INFO)
    started = plan(chips, bands=("B04", "B08"), start=model)
    _, theirs = load_model(Path(model))
    x = torch.randn(2, 2, 16, 16)
    whole = torch.zeros(2, 3, 16, 16)
    whole[:, 2], whole[:, 0] = x[:, 0], x[:, 1]
    torch.testing.assert_close(outputs(started.network, x), outputs(theirs, whole))
    assert "kernels of s2:B03 are dropped" in caplog.text


def test_what_a_model_knows_of_a_band_is_standardised_as_it_was(model, tmp_path) -> None:
    def brighter(_: str, values: Any, __: Any) -> None:
        values += 0.2

    other = write_chips(tmp_path / "c", counts={"train": 2}, names=BANDS, change=brighter)
    started = plan(other, bands=("B08",), start=model)
    assert started.reader.mean.tolist() == pytest.approx(read_header(Path(model)).mean[:1])
    assert started.start["chips_mean"][0] > started.reader.mean[0] + 0.15


def test_other_classes_get_a_head_of_their_own(tmp_path, model, caplog) -> None:
    three = write_chips(tmp_path / "c", counts={"train": 2}, classes=(*LAND_WATER, SURF))
    renamed = [LAND_WATER[0], LabelClass(value=1, name="snow", color="#ffffff", water=False)]
    snow = write_chips(tmp_path / "d", counts={"train": 2}, classes=renamed)
    _, theirs = load_model(Path(model))
    for folder in (three, snow):
        ours = plan(folder, bands=("B08", "B03", "B04"), start=model, seed=7).network.state_dict()
        differ = {n for n, t in theirs.state_dict().items() if not torch.equal(t, ours[n])}
        assert differ == {"head.weight", "head.bias"} if folder == snow else len(differ) == 2
        assert caplog.text.count("these parts start anew: head.") == (1 if folder == three else 2)


def test_a_u_net_starts_with_the_encoder_of_an_autoencoder(chips, tmp_path, caplog) -> None:
    caplog.set_level(logging.INFO)
    before = plan(chips, network="autoencoder", bands=("B03", "B08"), seed=3)
    path = save(tmp_path, before)
    started = plan(chips, bands=("B08", "B03"), start=path)
    ours, theirs = started.network.state_dict(), before.network.state_dict()
    for name, tensor in ours.items():
        same = theirs.get(name) is not None and torch.equal(
            tensor, theirs[name].flip(1) if name == "encoder.0.0.weight" else theirs[name]
        )
        shared = name.startswith(("encoder.", "bottom."))
        trivial = "running" in name or "num_batches" in name or tensor.ndim == 1
        assert same if shared else (trivial or not same), name
    assert "taken over: encoder, bottom." in caplog.text
    assert "these parts start anew: up, decoder, head." in caplog.text


def test_smp_s_encoder_goes_on_under_another_decoder(chips, tmp_path) -> None:
    unet, link = (
        {"network": f"smp/{decoder}/mobilenet_v2", "network_settings": {}}
        for decoder in ("unet", "linknet")
    )
    before = plan(chips, **link, seed=3)
    started = plan(chips, **unet, start=save(tmp_path, before))
    ours, theirs = started.network.state_dict(), before.network.state_dict()
    encoder = [name for name in ours if name.startswith("network.encoder.")]
    assert len(encoder) > 100
    assert all(torch.equal(ours[name], theirs[name]) for name in encoder)
    assert started.start["taken"] == ["network.encoder"]
    assert started.start["new"] == ["network.decoder", "network.segmentation_head"]


def test_a_network_without_a_common_encoder_says_what_differs(chips, model) -> None:
    text = complaint(chips, network_settings={"base_width": 4, "depth": 3}, start=model)
    assert "`depth` is 2 there and 3 here" in text
    smp = complaint(chips, network="smp/unet/resnet18", network_settings={}, start=model)
    assert "`kind` is unet there and smp here" in smp
    assert "has been trained on other bands, s2:B08" in complaint(
        chips, bands=("B02",), start=model
    )


def test_the_command_trains_from_a_model_and_records_it(chips, model, tmp_path) -> None:
    out = tmp_path / "run"
    arguments = ["train", str(chips), "--config", "demo", "--out", str(out), "--from", model]
    for key, value in {"network_settings": json.dumps(TINY), "network": "unet-same"}.items():
        arguments += ["--set", f"{key}={value}"]
    arguments += ["--set", "epochs=1", "--set", "device=cpu", "--set", "precision=fp32"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    header = read_header(out / "model.safetensors")
    start = header.training["start"]
    assert start["model"] == "model.safetensors"
    assert start["bands"] == ["s2:B03", "s2:B04", "s2:B08"]
    card = (out / "MODEL.md").read_text()
    assert (
        f"Started from model.safetensors (SHA-256 {start['sha256'][:12]} …); it had not seen"
        in card
    )
    at = [band.name for band in header.band_list].index("B08")
    assert header.mean[at] == pytest.approx(read_header(Path(model)).mean[0])


def test_a_training_from_one_model_is_no_training_from_another(chips, model, tmp_path) -> None:
    other = save(tmp_path, plan(chips, bands=("B08", "B03", "B04"), seed=1))
    (tmp_path / "moved").mkdir()
    moved = tmp_path / "moved" / "model.safetensors"
    moved.write_bytes(Path(model).read_bytes())
    here, there, of_other = (plan(chips, start=str(s)).identity for s in (model, moved, other))
    assert here == there != of_other


# Pre-trained weights


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(weights: Any, **_: Any) -> dict[str, Tensor]:
        bands = weights.meta["in_chans"]
        return timm.create_model("resnet18", in_chans=bands, num_classes=0).state_dict()

    monkeypatch.setattr(WeightsEnum, "get_state_dict", fetch)


def pretrained(weights: str, **more: Any) -> dict[str, Any]:
    return {"network": "smp/unet/resnet18", "network_settings": {"weights": weights, **more}}


@pytest.mark.usefixtures("hub")
def test_torchgeo_s_normalisation_is_adopted_and_its_level_and_bands_are_said(
    chips, caplog
) -> None:
    caplog.set_level(logging.INFO)
    started = plan(chips, **pretrained("ResNet18_Weights.SENTINEL2_ALL_MOCO"))
    assert started.reader.mean.tolist() == [0, 0, 0, 0]
    assert started.reader.std.tolist() == pytest.approx([1, 1, 1, 1])  # DN / 10000
    raw = open_chips(chips).read("chip_000").values
    image = started.reader.read("chip_000").image
    assert torch.equal(image[:, 10:], torch.from_numpy(raw)[:, 10:])
    assert "trained on L1C, and the chips are L2A" in caplog.text
    assert "s2:B10" in caplog.text.partition("are dropped")[0]
    assert started.start["weights"] == "ResNet18_Weights.SENTINEL2_ALL_MOCO"
    assert started.start["standardised_as_before"]


@pytest.mark.usefixtures("hub")
def test_weights_of_another_sensor_stand_in_and_it_is_said(chips, caplog) -> None:
    started = plan(chips, **pretrained("ResNet18_Weights.LANDSAT_OLI_SR_MOCO"))
    assert "another sensor: kernels of l8:B2 for s2:B02" in caplog.text
    assert started.reader.std.tolist() == pytest.approx([0.3] * 4)
    assert "the chips are" not in caplog.text  # L2 is Landsat's L2A
    plan(chips, **pretrained("ResNet18_Weights.LANDSAT_OLI_TIRS_TOA_MOCO"))
    assert "trained on L1, and the chips are L2A" in caplog.text


@pytest.mark.usefixtures("hub")
def test_without_a_known_normalisation_the_chips_own_is_kept(chips, caplog) -> None:
    started = plan(chips, **pretrained("ResNet18_Weights.SENTINEL2_RGB_SECO"))
    info = open_chips(chips).info
    assert started.reader.mean.tolist() == pytest.approx(info.mean)
    assert "how s2:B02, s2:B03, s2:B04, s2:B08 were scaled" in caplog.text
    assert "has not seen s2:B08" in caplog.text


@pytest.mark.usefixtures("hub")
def test_prediction_still_knows_what_the_training_chips_were_like(chips, tmp_path) -> None:
    started = plan(chips, **pretrained("ResNet18_Weights.SENTINEL2_ALL_MOCO"))
    header = read_header(Path(save(tmp_path, started)))
    assert header.std == pytest.approx((1, 1, 1, 1))  # by which 0.9 is nothing unusual
    header = header.model_copy(update={"training": {"start": dict(started.start)}})
    info = open_chips(chips).info
    assert not compare_means(started.reader.bands, info.mean, header, scaled_by="--scale")
    (text,) = compare_means(started.reader.bands, [0.9] * 4, header, scaled_by="--scale")
    assert f"B08 0.9 ({info.mean[3]:.3g}" in text


def test_nothing_is_said_or_changed_where_all_is_fresh(chips, caplog) -> None:
    fresh = plan(chips)
    assert fresh.start is None
    assert fresh.reader.mean.tolist() == pytest.approx(open_chips(chips).info.mean)
    assert "kernels" not in caplog.text
