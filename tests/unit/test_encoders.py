"""Networks of segmentation-models-pytorch: any number of bands, and a first convolution by rule."""

from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import torch
from huggingface_hub.constants import HF_HUB_CACHE
from safetensors.torch import save_file
from torch import Tensor, nn

from geounet.config import load_network
from geounet.engine import Engine
from geounet.errors import ConfigError
from geounet.networks import Network, build_network
from geounet.networks.encoders import DECODERS, ENCODERS, SmpNetwork, spread_rgb

L2A = [
    "coastal", "blue", "green", "red", "rededge071", "rededge075", "rededge078", "nir", "nir08",
    "nir09", "swir16", "swir22",
]  # fmt: skip


def build(name: str, bands: list[str], *, pretrained: bool = True, **overrides: object) -> Network:
    torch.manual_seed(0)
    settings = load_network(name, overrides)
    return build_network(settings, bands=bands, classes=2, pretrained=pretrained)


def complaint(name: str, **overrides: object) -> str:
    with pytest.raises(ConfigError) as error:
        build(name, L2A, **overrides)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """A hub for smp off the net: it has ImageNet weights of resnet18, which are these numbers."""
    torch.manual_seed(9)
    weights = smp.encoders.get_encoder("resnet18", weights=None).state_dict()
    weights = {
        name: torch.rand_like(t) if t.is_floating_point() else t for name, t in weights.items()
    }
    save_file(weights, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("{}")

    def fetch(repo: str, filename: str, **_: object) -> str:
        assert repo == "smp-hub/resnet18.imagenet"
        return str(tmp_path / filename)

    monkeypatch.setattr(smp.encoders, "hf_hub_download", fetch)
    return weights


@pytest.mark.parametrize(
    ("decoder", "encoder"),
    [
        ("unet", "resnet18"), ("unetplusplus", "resnet18"), ("linknet", "mobilenet_v2"),
        ("manet", "mobilenet_v2"), ("fpn", "efficientnet-b0"), ("unet", "mobileone_s0"),
        ("deeplabv3plus", "mobilenet_v2"), ("unet", "tu-convnext_atto"), ("unet", "mit_b0"),
        ("pspnet", "resnet18"), ("upernet", "mobilenet_v2"), ("segformer", "mobilenet_v2"),
        ("dpt", "tu-vit_tiny_patch16_224"), ("unet", "tu-swinv2_tiny_window8_256"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("bands", [1, 12])
def test_a_network_takes_any_number_of_bands(decoder, encoder, bands) -> None:
    network = build(f"smp/{decoder}/{encoder}", L2A[:bands]).eval()
    side = max(64, 2 * network.stride)
    with torch.inference_mode():
        logits = network(torch.randn(1, bands, side, 2 * side))
    assert logits.shape == (1, 2, side, 2 * side)
    assert logits.isfinite().all()


@pytest.mark.parametrize(
    ("encoder", "overrides"),
    [
        ("resnet18", {}), ("mobilenet_v2", {}), ("tu-convnext_atto", {}), ("vgg11", {}),
        ("resnet18", {"decoder_attention_type": "scse"}), ("resnet18", {"encoder_depth": 3}),
    ],
)  # fmt: skip
def test_a_unet_that_lets_go_of_its_features_answers_with_the_same_bits(encoder, overrides):
    torch.manual_seed(0)
    if "encoder_depth" in overrides:
        overrides = overrides | {"decoder_channels": (64, 32, 16)}
    plain = smp.Unet(encoder, encoder_weights=None, in_channels=4, classes=2, **overrides).eval()
    ours = SmpNetwork(plain, stride=plain.encoder.output_stride)
    x = torch.randn(2, 4, 96, 64)
    with torch.no_grad():
        assert torch.equal(ours(x), plain(x))
    # In training, too: gradients are the same.
    plain.train()
    torch.manual_seed(1)
    ours(x).square().sum().backward()
    used = [p for p in plain.parameters() if p.grad is not None]  # not what is too deep
    mine = [p.grad.clone() for p in used]
    plain.zero_grad()
    torch.manual_seed(1)
    plain(x).square().sum().backward()
    assert all(
        torch.allclose(a, p.grad, rtol=1e-4, atol=1e-5 * float(p.grad.abs().max()))
        for a, p in zip(mine, used, strict=True)
    )


def test_a_unet_takes_no_more_memory_than_it_needs_at_once():
    """Less than its widest join and what that is made of, as smp has it: it is never joined.

    Most there is in the encoder: the image and the first maps, of half the side; then a block's
    maps, of a quarter: its input, its answer, what is between, and what its stage began with.
    """
    network = build("smp/unet/resnet18", L2A)
    engine = Engine(network, mean=[0.1] * 12, std=[0.1] * 12, device="cpu", precision="fp32")
    joined = 2 * (64 + 64) * 4 / 4
    most = (12 + 64 / 4 + 4 * 64 / 16) * 4
    assert most < joined
    assert most <= engine.bytes_per_pixel("uint16") < 1.05 * most


def test_every_decoder_goes_with_an_encoder() -> None:
    for decoder in DECODERS:
        encoder = "tu-vit_tiny_patch16_224" if decoder == "dpt" else "mobilenet_v2"
        assert build(f"smp/{decoder}/{encoder}", L2A[:2]).stride in (8, 16, 32)


def test_its_stride_is_smp_s_and_other_sizes_name_the_nearest() -> None:
    network = build("smp/unet/resnet18", L2A)
    assert (network.stride, network.margin) == (32, 0)
    with pytest.raises(ValueError, match="nearest are 96 or 128 × 64"):
        network(torch.zeros(1, 12, 100, 64))


# The first convolution


def test_without_weights_the_first_convolution_is_he_normal_whatever_the_number_of_bands() -> None:
    for bands in (["nir"], L2A):
        weight = build("smp/unet/resnet18", bands).network.encoder.conv1.weight
        spread = weight.std().item() / (2 / (len(bands) * 7 * 7)) ** 0.5
        assert spread == pytest.approx(1, abs=4 * weight.numel() ** -0.5)


def test_no_two_bands_start_alike() -> None:
    # What smp does: the fourth band's kernels are the first's.
    weight = build("smp/unet/resnet18", L2A).network.encoder.conv1.weight
    assert all(not torch.equal(weight[:, i], weight[:, j]) for i in range(12) for j in range(i))


def test_rgb_kernels_go_to_their_bands_by_name_and_their_mean_to_the_others(hub) -> None:
    encoder = build("smp/unet/resnet18", L2A, weights="imagenet").network.encoder
    rgb = hub["conv1.weight"]
    blue, green, red = (encoder.conv1.weight[:, L2A.index(name)] for name in L2A[1:4])
    for got, channel in ((red, 0), (green, 1), (blue, 2)):
        torch.testing.assert_close(got, rgb[:, channel] * 3 / 12)
    for i in (0, *range(4, 12)):
        torch.testing.assert_close(encoder.conv1.weight[:, i], rgb.mean(dim=1) * 3 / 12)


def test_the_same_value_in_all_bands_is_answered_as_before(hub) -> None:
    encoder = build("smp/unet/resnet18", L2A, weights="imagenet").network.encoder
    with torch.inference_mode():
        many = encoder.conv1(torch.ones(1, 12, 16, 16))
        three = nn.functional.conv2d(
            torch.ones(1, 3, 16, 16), hub["conv1.weight"], stride=2, padding=3
        )
    torch.testing.assert_close(many, three, rtol=1e-4, atol=1e-4)


def test_three_bands_in_the_order_of_the_weights_keep_them_and_another_order_follows(hub) -> None:
    def first(bands: list[str]) -> Tensor:
        return build("smp/unet/resnet18", bands, weights="imagenet").network.encoder.conv1.weight

    assert torch.equal(first(["red", "green", "blue"]), hub["conv1.weight"])
    assert torch.equal(first(["blue", "green", "red"]), hub["conv1.weight"].flip(1))


def test_all_other_pre_trained_weights_are_taken_over(hub) -> None:
    for first_conv in ("rgb", "random"):
        encoder = build(
            "smp/unet/resnet18", L2A, weights="imagenet", first_conv=first_conv
        ).network.encoder
        state = encoder.state_dict()
        assert all(torch.equal(state[name], hub[name]) for name in hub if name != "conv1.weight")
    assert encoder.conv1.weight.min() < 0 <= hub["conv1.weight"].min()  # random: not the hub's


def test_nothing_is_fetched_where_other_weights_are_loaded_next(monkeypatch) -> None:
    monkeypatch.setattr(smp.encoders, "hf_hub_download", lambda *_, **__: pytest.fail("fetched"))
    build("smp/unet/resnet18", L2A, weights="imagenet", pretrained=False)
    build("smp/unet/resnet18", L2A)


def test_bands_without_red_green_and_blue_get_the_mean() -> None:
    kernels = torch.arange(2 * 3 * 4.0).view(2, 3, 2, 2)
    spread = spread_rgb(kernels, ["VV", "VH", "nir"])
    torch.testing.assert_close(spread, kernels.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1))


# What cannot be


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    assert "'unett'; segmentation-models-pytorch has unet," in complaint("smp/unett/resnet18")
    assert "Nearest: unet" in complaint("smp/unett/resnet18")
    assert "Nearest: resnet34" in complaint("smp/unet/resnet-34")
    assert "Nearest: tu-convnext_tiny" in complaint("smp/unet/tu-convnext_tinny")
    assert "Nearest: efficientnet-b0" in complaint("smp/unet/timm-efficientnet-b0")  # deprecated


def test_unknown_weights_are_answered_with_what_there_is() -> None:
    assert "it has imagenet, ssl, swsl" in complaint("smp/unet/resnet18", weights="imagnet")
    assert "it has timm" in complaint("smp/unet/tu-resnet18", weights="imagenet")


def test_what_does_not_go_together_is_one_line() -> None:
    assert "does not go with encoder mit_b0" in complaint("smp/linknet/mit_b0")
    assert "does not take images of any size" in complaint(
        "smp/unet/tu-swin_tiny_patch4_window7_224"
    )


def test_a_decoder_that_fails_only_when_it_runs_is_one_line() -> None:
    text = complaint("smp/dpt/tu-vit_small_patch14_dinov2")
    assert "Decoder dpt does not go with encoder tu-vit_small_patch14_dinov2 (" in text


def test_weights_that_cannot_be_fetched_say_how_to_do_without(monkeypatch) -> None:
    def fetch(*_: object, **__: object) -> str:
        raise FileNotFoundError("We cannot find the\nrequested files")

    monkeypatch.setattr(smp.encoders, "hf_hub_download", fetch)
    text = complaint("smp/unet/resnet18", weights="imagenet")
    assert "imagenet weights of encoder resnet18 cannot be fetched" in text
    assert "--set network_settings.weights=null" in text
    assert f"copy the cache of huggingface_hub, {HF_HUB_CACHE}, from" in text


def test_every_decoder_and_encoder_of_smp_is_offered_but_the_deprecated() -> None:
    assert "unet" in DECODERS
    assert {"resnet34", "mobilenet_v2", "mit_b0"} <= set(ENCODERS)
    assert not any(name.startswith("timm-") for name in ENCODERS)


@pytest.mark.parametrize(
    ("decoder", "encoder", "sizes", "refused"),
    [
        ("dpt", "tu-vit_tiny_patch16_224", (32, 96, 224), (16, 48, 240)),
        ("pan", "resnet18", (128, 144, 224), (32, 64, 112)),
        ("pspnet", "resnet18", (16, 24), (12,)),
    ],
)
def test_sizes_that_a_decoder_cannot_take_are_refused_before_torch_does(
    decoder: str, encoder: str, sizes: tuple[int, ...], refused: tuple[int, ...]
) -> None:
    settings = load_network(f"smp/{decoder}/{encoder}", {})
    network = build_network(settings, bands=["red", "nir"], classes=2).eval()
    for side in sizes:
        with torch.no_grad():
            assert network(torch.zeros(1, 2, side, side)).shape[-2:] == (side, side)
    for side in refused:
        with pytest.raises(ValueError, match="multiples of"):
            network(torch.zeros(1, 2, side, side))
