"""Pre-trained weights that know their bands, against torchgeo's own networks and transforms.

Nothing is fetched: torchgeo's hub is replaced by one that has random numbers of the right shapes.
"""

import hashlib
import math
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import timm
import torch
import torchgeo.models
from safetensors.torch import save_file
from torch import Tensor
from torchvision.models._api import WeightsEnum

from geounet.bands import SENSORS
from geounet.config import load_network
from geounet.errors import ConfigError
from geounet.networks import Network, build_network
from geounet.networks.encoders import ENCODERS
from geounet.networks.pretrained import EncoderWeights, find_weights, torchgeo_weights

L1C = [band.common_name or "" for band in SENSORS["s2"]]
L2A = [name for name in L1C if name != "cirrus"]
MOCO = "ResNet18_Weights.SENTINEL2_ALL_MOCO"
FOUR = ["blue", "green", "red", "nir"]


def random_state(model: str, bands: int, seed: int = 3) -> dict[str, Tensor]:
    """Weights of timm's `model` as torchgeo keeps them: without the classifier."""
    torch.manual_seed(seed)
    network = timm.create_model(model, in_chans=bands, num_classes=0)
    for name, buffer in network.named_buffers():
        if "running" in name:
            buffer.uniform_(0.5, 1.5)
    return network.state_dict()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A hub off the net; says what was asked of it."""
    asked: list[str] = []

    def fetch(weights: Any, **options: Any) -> dict[str, Tensor]:
        assert options == {"progress": True} or (options["weights_only"] and options["check_hash"])
        asked.append(str(weights))
        model = {"ResNet18": "resnet18", "ViTSmall16": "vit_small_patch16_224"}
        return random_state(
            model[type(weights).__name__.removesuffix("_Weights")], weights.meta["in_chans"]
        )

    monkeypatch.setattr(WeightsEnum, "get_state_dict", fetch)
    return asked


def build(bands: list[str], *, name: str = "smp/unet/resnet18", **settings: object) -> Network:
    torch.manual_seed(0)
    return build_network(load_network(name, settings), bands=bands, classes=2)


def found(name: str, **settings: object) -> EncoderWeights:
    weights = find_weights(load_network(name, settings))
    assert weights is not None
    return weights


def complaint(name: str = "smp/unet/resnet18", **settings: object) -> str:
    with pytest.raises(ConfigError) as error:
        build(FOUR, name=name, **settings)
    assert "\n" not in str(error.value)
    return str(error.value)


# Bands by name


@pytest.mark.parametrize("bands", [L2A, L2A[::-1], FOUR, ["nir", "swir16"]])
def test_an_encoder_answers_as_torchgeo_s_own_whatever_bands_there_are_in_whatever_order(
    hub, bands
) -> None:
    theirs = torchgeo.models.resnet18(weights=torchgeo.models.ResNet18_Weights.SENTINEL2_ALL_MOCO)
    ours = build(bands, weights=MOCO).network.encoder
    x = torch.randn(1, 13, 64, 64)
    for i, name in enumerate(L1C):
        if name not in bands:
            x[:, i] = 0  # what is not there
    with torch.inference_mode():
        expected = theirs.eval().forward_features(x)
        got = ours.eval()(x[:, [L1C.index(name) for name in bands]])[-1]
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    assert hub == [MOCO, MOCO]


@pytest.mark.usefixtures("hub")
def test_the_kernels_of_a_band_that_weights_have_not_seen_are_zero() -> None:
    weight = build([*FOUR, "VV"], weights=MOCO).network.encoder.conv1.weight
    assert weight[:, :4].abs().amin(dim=(0, 2, 3)).min() > 0
    assert not weight[:, 4].any()


@pytest.mark.usefixtures("hub")
def test_the_first_convolution_may_be_fresh_all_the_same() -> None:
    named, fresh = (
        build(FOUR, weights=MOCO, **more).network.encoder.state_dict()
        for more in ({}, {"first_conv": "random"})
    )
    same = [name for name in named if torch.equal(named[name], fresh[name])]
    assert named.keys() - set(same) == {"conv1.weight"}


@pytest.mark.usefixtures("hub")
def test_landsat_s_bands_are_found_behind_the_names_of_earth_engine() -> None:
    bands = ["nir", "red"]
    weight = build(bands, weights="ResNet18_Weights.LANDSAT_OLI_SR_MOCO").network.encoder.conv1
    all_of_them = random_state("resnet18", 7)["conv1.weight"]
    assert torch.equal(weight.weight, all_of_them[:, [4, 3]])  # SR_B5, SR_B4


@pytest.mark.usefixtures("hub")
def test_the_two_gains_of_landsat_7_s_thermal_band_are_taken_in_order() -> None:
    bands = ["lwir", "red", "lwir"]
    encoder = build(bands, weights="ResNet18_Weights.LANDSAT_ETM_TOA_MOCO").network.encoder
    all_of_them = random_state("resnet18", 9)["conv1.weight"]
    assert torch.equal(encoder.conv1.weight, all_of_them[:, [5, 2, 6]])


@pytest.mark.usefixtures("hub")
def test_vision_transformers_start_where_their_decoder_takes_them() -> None:
    name = "smp/dpt/tu-vit_small_patch16_224"
    network = build(FOUR, name=name, weights="ViTSmall16_Weights.SENTINEL2_ALL_MOCO")
    ours, theirs = network.network.encoder.state_dict(), random_state("vit_small_patch16_224", 13)
    kernels = theirs.pop("patch_embed.proj.weight")
    at = [L1C.index(band) for band in FOUR]
    assert torch.equal(ours["model.patch_embed.proj.weight"], kernels[:, at])
    assert all(torch.equal(ours[f"model.{key}"], tensor) for key, tensor in theirs.items())


def test_swin_answers_as_torchgeo_s_own_though_its_tensors_have_other_names(monkeypatch) -> None:
    torch.manual_seed(4)
    donor = torchgeo.models.swin_v2_t()
    for parameter in donor.parameters():  # no ones and zeros, which would hide a mix-up
        parameter.data += 0.1 * torch.randn_like(parameter)
    state = donor.state_dict()
    state["features.0.0.weight"] = 0.1 * torch.randn(96, 9, 4, 4)
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda *_, **__: dict(state))
    weights = torchgeo.models.Swin_V2_T_Weights.SENTINEL2_SI_MS_SATLAS
    theirs = torchgeo.models.swin_v2_t(weights=weights).eval()
    name = "smp/unet/tu-swinv2_tiny_window8_256"
    order = ["blue", "green", "red", *L2A[4:8], "swir16", "swir22"]
    ours = build(order, name=name, weights=str(weights)).network.encoder.eval()
    x = torch.randn(1, 9, 256, 256)  # in Satlas' order: red, green, blue, …
    with torch.inference_mode():
        expected = theirs.features(x).movedim(-1, 1)
        got = ours(x[:, [2, 1, 0, *range(3, 9)]])[-1]
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3)


# What torchgeo says of its weights


def test_all_weights_of_sentinel_2_and_landsat_are_understood() -> None:
    known = torchgeo_weights()
    assert len(known) > 40
    assert {"ResNet50_Weights.SENTINEL2_ALL_MOCO", MOCO} <= known.keys()
    assert not [name for name in known if "SENTINEL1" in name or "NAIP" in name or "FMOW" in name]
    for name, weights in known.items():
        kind = name.partition("_Weights")[0]
        encoder = {
            "R": kind.lower(),
            "V": f"tu-{weights.meta['model']}",
            "S": {"T": "tu-swinv2_tiny_window8_256", "B": "tu-swinv2_base_window8_256"}.get(
                kind[-1]
            ),
        }[name[0]]
        one = found(f"smp/unet/{encoder}", weights=name)
        assert len(one.bands) == weights.meta["in_chans"] == len(one.mean) == len(one.std), name
        for band in one.bands:
            assert band.name == "NDVI" or band in SENSORS[str(band.sensor)]
        assert all(encoder in ENCODERS or encoder.startswith("tu-") for encoder in one.encoders)
        for std in one.std:
            assert std is None or 0 < std < 5, name


def thousands(reflectance: float, _: str) -> float:
    return reflectance * 10000


def satlas_s2(reflectance: float, name: str) -> float:
    return reflectance / 0.3558 * 255 if name in ("B02", "B03", "B04") else reflectance * 10000


def collection_2(reflectance: float, _: str) -> float:
    return (reflectance + 0.1) / 2e-5


def bytes_of(full: float):
    return lambda reflectance, _: reflectance / full * 255


@pytest.mark.parametrize(
    ("name", "number", "level"),
    [
        ("ResNet50_Weights.SENTINEL2_ALL_MOCO", thousands, "L1C"),
        ("ResNet50_Weights.SENTINEL2_ALL_DECUR", thousands, "L1C"),
        ("ResNet50_Weights.SENTINEL2_ALL_SOFTCON", thousands, "L1C"),
        ("ResNet50_Weights.SENTINEL2_ALL_SECO_ECO", thousands, None),
        ("ResNet50_Weights.SENTINEL2_SI_MS_SATLAS", satlas_s2, "L1C"),
        ("Swin_V2_B_Weights.LANDSAT_SI_SATLAS", collection_2, "L1"),
        ("ResNet18_Weights.LANDSAT_OLI_SR_MOCO", bytes_of(0.3), "L2"),
        ("ResNet18_Weights.LANDSAT_TM_TOA_MOCO", bytes_of(0.4), "L1"),
    ],
)
def test_reflectance_is_standardised_to_what_torchgeo_s_transforms_make_of_its_numbers(
    name, number, level
) -> None:
    encoder = "tu-swinv2_base_window8_256" if name[0] == "S" else name.partition("_")[0].lower()
    one = found(f"smp/unet/{encoder}", weights=name)
    assert one.level == level
    reflectance = [0.02 + 0.03 * i for i in range(len(one.bands))]
    pairs = zip(reflectance, one.bands, strict=True)
    x = torch.tensor([number(value, band.name) for value, band in pairs])
    transforms = torchgeo_weights()[name].transforms
    theirs = transforms(x[None, :, None, None].expand(1, -1, 256, 256).clone())[0, :, 100, 100]
    for i, band in enumerate(one.bands):
        if band.common_name and band.common_name.startswith("lwir"):
            assert one.mean[i] is one.std[i] is None  # a temperature
            continue
        ours = (reflectance[i] - one.mean[i]) / one.std[i]
        assert math.isclose(ours, theirs[i].item(), abs_tol=1e-4), band


def test_where_the_numbers_of_a_data_set_are_not_known_nothing_is_made_up() -> None:
    one = found("smp/unet/resnet18", weights="ResNet18_Weights.SENTINEL2_RGB_SECO")
    assert [band.name for band in one.bands] == ["B04", "B03", "B02"]
    assert set(one.mean) == set(one.std) == {None}


# Files


def save(path: Path, state: Any) -> str:
    torch.save(state, path)
    return str(path)


EXTRA = {"fc.weight": torch.ones(7, 512)}
"""What an encoder has no place for."""


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {f"module.encoder_q.{k}": v for k, v in state.items()},
        lambda state: {"epoch": 3, "state_dict": {f"model.{k}": v for k, v in state.items()}},
        lambda state: {"model": {f"backbone.{k}": v for k, v in (state | EXTRA).items()}},
        lambda state: {"model_state_dict": state},
        lambda state: {  # as DINO saves them
            "student": {f"module.backbone.{k}": torch.zeros_like(v) for k, v in state.items()},
            "teacher": {f"backbone.{k}": v for k, v in state.items()},
        },
    ],
)
def test_a_file_is_taken_whatever_its_names_have_in_front(tmp_path, wrap) -> None:
    state = random_state("resnet18", 3)
    path = save(tmp_path / "w.pth", wrap(state))
    order = ["nir", "s2:B04", "green"]
    encoder = build(FOUR, weights=path, weights_bands=order).network.encoder.state_dict()
    kernels = state.pop("conv1.weight")
    assert torch.equal(encoder["conv1.weight"][:, 1:], kernels[:, [2, 1, 0]])
    assert not encoder["conv1.weight"][:, 0].any()  # blue
    assert all(torch.equal(encoder[name], state[name]) for name in state)


def test_safetensors_are_taken_too(tmp_path) -> None:
    state = random_state("resnet18", 1)
    save_file(state, tmp_path / "w.safetensors")
    encoder = build(
        ["nir"], weights=str(tmp_path / "w.safetensors"), weights_bands=["nir"]
    ).network.encoder
    assert torch.equal(encoder.conv1.weight, state["conv1.weight"])


def test_torchgeo_s_file_under_its_own_name_is_known_if_it_is_intact(tmp_path, monkeypatch) -> None:
    written = tmp_path / "w.pth"
    save(written, random_state("resnet18", 13))
    digest = hashlib.sha256(written.read_bytes()).hexdigest()[:8]
    named = written.rename(tmp_path / f"resnet18_sentinel2_all_moco-{digest}.pth")
    weights = torchgeo.models.ResNet18_Weights.SENTINEL2_ALL_MOCO
    url = property(lambda w: f"https://hub/x/{named.name}" if w is weights else w.value.url)
    monkeypatch.setattr(type(weights), "url", url, raising=False)
    assert build(FOUR, weights=str(named)).network.encoder.conv1.weight.shape[1] == 4
    with named.open("ab") as file:
        file.write(b"0")
    digest = hashlib.sha256(named.read_bytes()).hexdigest()[:8]
    text = complaint(weights=str(named))
    assert f"cut off or was changed: its SHA-256 begins with {digest}, not as its name" in text
    assert f"Fetch it again from https://hub/x/{named.name}" in text


def test_torchgeo_s_files_without_a_hash_are_known_by_their_names(tmp_path) -> None:
    weights = torchgeo_weights()["ResNet50_Weights.SENTINEL2_ALL_SOFTCON"]
    path = save(tmp_path / weights.url.rpartition("/")[2], random_state("resnet50", 13))
    name = "smp/unet/resnet50"
    assert build(FOUR, name=name, weights=path).network.encoder.conv1.weight.shape[1] == 4
    assert found(name, weights=path).bands == found(name, weights=str(weights)).bands


class Evil:
    ran = False

    def __reduce__(self):
        return (setattr, (Evil, "ran", True))


def test_a_file_that_holds_more_than_tensors_is_refused_and_not_run(tmp_path) -> None:
    path = save(tmp_path / "w.pth", {"state_dict": Evil()})
    assert "more than tensors" in complaint(weights=path, weights_bands=["red"])
    assert not Evil.ran


def test_a_file_that_does_not_fit_says_where(tmp_path) -> None:
    state = random_state("resnet18", 2)
    path = save(tmp_path / "w.pth", state)
    assert "no such file" in complaint(weights="nowhere.pth", weights_bands=["red"])
    assert "weights_bands='[s2:B02, s2:B03, …]'" in complaint(weights=path)
    assert "kernels for 2 bands, and 1 are named: red" in complaint(
        weights=path, weights_bands=["red"]
    )
    assert "B5 is another on every sensor" in complaint(weights=path, weights_bands=["red", "B5"])
    two = {"weights": path, "weights_bands": ["red", "nir"]}
    assert "of another encoder: layer1.0.conv1.weight is (64, 64, 3, 3) there" in complaint(
        name="smp/unet/resnet50", **two
    )
    del state["layer3.0.bn1.weight"]
    save(tmp_path / "w.pth", state)
    assert "has no layer3.0.bn1.weight" in complaint(**two)
    save(tmp_path / "w.pth", [1, 2])
    assert "it has 0 tensors" in complaint(**two)
    (tmp_path / "w.pth").write_bytes(b"PK\x03\x04 cut off")
    assert "w.pth" in complaint(**two)


def cut(state: bytes) -> bytes:
    return state[: len(state) // 2]


@pytest.mark.parametrize("ending", [".pth", ".pt", ".safetensors"])
@pytest.mark.parametrize("what", [b"", b"hello: sign in", b"<!doctype html>\n<html>", cut])
def test_what_is_no_file_of_weights_is_one_line(tmp_path, ending, what) -> None:
    path = tmp_path / f"w{ending}"
    if callable(what):
        (save_file if ending == ".safetensors" else torch.save)({"a": torch.ones(99)}, path)
        what = what(path.read_bytes())
    path.write_bytes(what)
    text = complaint(weights=str(path), weights_bands=["red"])
    assert text.startswith(f"{path} ")
    assert "cannot be read as weights" in text or "more than tensors, or is damaged" in text


@pytest.mark.parametrize(
    "spoil",
    [
        lambda kernels: kernels.index_fill(0, torch.tensor([3]), math.nan),
        lambda kernels: (kernels * 99).to(torch.int8),  # quantised: its scale is elsewhere
        lambda kernels: kernels.to("meta"),
    ],
)
def test_values_that_are_no_numbers_are_not_started_from(tmp_path, spoil) -> None:
    state = random_state("resnet18", 1)
    state["layer1.0.conv1.weight"] = spoil(state["layer1.0.conv1.weight"])
    path = save(tmp_path / "w.pth", state)
    assert "layer1.0.conv1.weight has values that are not finite numbers" in complaint(
        weights=path, weights_bands=["red"]
    )


def test_a_norm_inside_of_an_encoder_is_missed(tmp_path) -> None:
    name = "smp/unet/tu-swinv2_tiny_window8_256"
    state = build(["red"], name=name).network.encoder.state_dict()
    del state["model.layers_1.downsample.norm.weight"]
    path = save(tmp_path / "w.pth", state)
    assert "has no model.layers_1.downsample.norm.weight" in complaint(
        name=name, weights=path, weights_bands=["red"]
    )


# What cannot be


def test_weights_of_another_encoder_name_the_right_one() -> None:
    text = complaint(weights="ResNet50_Weights.SENTINEL2_ALL_MOCO")
    assert "are of resnet50 or tu-resnet50, and the encoder is resnet18" in text
    assert "Use smp/unet/resnet50" in text


def test_unknown_weights_of_torchgeo_are_answered_with_the_nearest() -> None:
    assert f"Nearest: {MOCO}" in complaint(weights="ResNet18_Weights.SENTINEL2_ALL_MOCA")
    assert "torchgeo has no weights ResNet18_Weights.SENTINEL2_ALL_MOCA;" in complaint(
        weights="ResNet18_Weights.SENTINEL2_ALL_MOCA"
    )
    assert len(complaint(weights="ResNet18_Weights.SENTINEL2_ALL_MOCA")) < 500
    assert f", {MOCO}, " in complaint(weights="Zzz_Weights.QQQ")  # nothing is near: all


@pytest.mark.parametrize(
    "name",
    [
        "ResNet50_Weights.SENTINEL1_ALL_MOCO",
        "Unet_Weights.SENTINEL2_2CLASS_FTW",  # a whole network, of two dates
        "ViTSmall14_DINOv2_Weights.SENTINEL2_ALL_SOFTCON",  # smp's DPT fails on patches of 14
    ],
)
def test_weights_that_torchgeo_has_are_not_said_to_be_unknown(name) -> None:
    assert f"torchgeo has weights {name}, but geounet takes those of" in complaint(weights=name)


@pytest.mark.parametrize(
    "error", [URLError("no route to\nhost"), RuntimeError("invalid hash value"), KeyError(101)]
)
def test_what_cannot_be_fetched_says_how_else(monkeypatch, tmp_path, error) -> None:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))

    def fetch(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(WeightsEnum, "get_state_dict", fetch)
    text = complaint(weights=MOCO)
    assert f"Weights {MOCO} cannot be fetched from https://" in text
    assert f"keep its name, and put it into {tmp_path / 'checkpoints'} or give its path" in text


def test_nothing_is_fetched_or_read_where_other_weights_are_loaded_next(hub) -> None:
    for weights in (MOCO, "nowhere.pth"):
        settings = load_network("smp/unet/resnet18", {"weights": weights})
        build_network(settings, bands=FOUR, classes=2, pretrained=False)
    assert not hub


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"weights": MOCO, "first_conv": "rgb"}, "rgb is of smp's weights"),
        ({"weights": "imagenet", "first_conv": "bands"}, "needs weights that know their bands"),
        ({"first_conv": "bands"}, "needs weights that know their bands"),
        ({"weights": MOCO, "weights_bands": ["red"]}, "weights_bands is of weights in a file"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, text) -> None:
    with pytest.raises(ConfigError, match=text):
        load_network("smp/unet/resnet18", settings)
