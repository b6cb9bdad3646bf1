"""Halos: what the gradient finds is what cutting a window shows."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from geounet.config import load_network
from geounet.networks import Network, build_network
from geounet.networks.halo import default_halo, exact_halo, measure_view


def build(name: str, *, bands: int = 2, seed: int = 0, **overrides: object) -> Network:
    torch.manual_seed(seed)
    network = build_network(load_network(name, overrides), bands=["other"] * bands, classes=2)
    return network.eval()


class Layers(Network):
    """Layers one after the other, as a network."""

    def __init__(self, *layers: nn.Module, stride: int = 1) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


@torch.inference_mode()
def cutting_error(network: Network, halo: int, *, exact: int, seed: int = 0) -> float:
    """How far a block of outputs is off when its input ends `halo` around it, in float64.

    The block is a stride wide; the input is noise, so everything that can matter does. Cut above
    and below, of a strip as narrow as a wide network allows in a test.
    """
    network = network.double()
    stride, around = network.stride, exact + 2 * network.stride
    columns = 2 * stride if stride == 32 else 2 * around + stride
    noise = np.random.default_rng(seed).standard_normal((1, 2, 2 * around + stride, columns))
    whole, cut = torch.as_tensor(noise), around - halo
    window = whole[:, :, cut : whole.shape[2] - cut]
    full = network(whole)[:, :, around : around + stride]
    return float((network(window)[:, :, halo : halo + stride] - full).abs().max() / full.std())


# Exact: known answers


def test_the_reference_network_s_halo_is_96() -> None:
    assert exact_halo(build("unet-same", bands=12), 12) == 96


def test_the_resnet18_u_net_s_halo_is_288() -> None:
    assert exact_halo(build("smp/unet/resnet18", bands=12), 12) == 288


@pytest.mark.parametrize(
    ("layers", "halo"),
    [
        ([nn.Conv2d(2, 2, 1)], 0),
        ([nn.Conv2d(2, 2, 3, padding=1)], 1),
        ([nn.Conv2d(2, 2, 3, padding=4, dilation=4)], 4),
        ([nn.Conv2d(2, 2, (7, 1), padding=(3, 0))], 3),
        ([nn.Conv2d(2, 2, (1, 9), padding=(0, 4))], 4),
        ([nn.Conv2d(2, 2, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 1, 1)], 3),
        ([nn.ZeroPad2d((0, 0, 0, 3)), nn.Conv2d(2, 2, (4, 1))], 3),  # sees below only
        ([nn.ZeroPad2d((0, 0, 3, 0)), nn.Conv2d(2, 2, (4, 1))], 3),  # above
        ([nn.Conv2d(2, 2, 3, padding=1), nn.Hardshrink(1e6)], 1),  # passes nothing on, mostly
    ],
)
def test_a_halo_that_can_be_counted_is_found(layers, halo) -> None:
    assert exact_halo(Layers(*layers), 2) == halo


class RelusByFunction(Network):
    """Four convolutions after one another, of one map: one negative sum, and nothing passes."""

    stride = 1

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv2d(1, 1, 3, padding=1) for _ in range(4))
        self.norm = nn.BatchNorm2d(1)
        self.norm.running_mean.fill_(1e3)

    def forward(self, x: Tensor) -> Tensor:
        for convolution in self.convolutions:
            x = F.relu(self.norm(convolution(x)))
        return x


def test_what_a_function_cuts_off_passes_as_values_are_positive() -> None:
    assert exact_halo(RelusByFunction(), 1) == 4


def test_why_there_is_no_exact_halo_is_said() -> None:
    attentive = measure_view(build("smp/unet/mit_b0", bands=2), 2)
    assert attentive == (None, "attention")
    far = Layers(*(nn.Conv2d(1, 1, 3, padding=16, dilation=16) for _ in range(4)))
    view = measure_view(far, 1)  # 64 pixels, and its stride is 1
    assert view.halo is None
    assert "wider than" in str(view.obstacle)
    assert measure_view(Layers(nn.Conv2d(1, 1, 3, padding=1)), 1) == (1, None)


def test_a_halo_is_a_multiple_of_the_stride() -> None:
    pooled = Layers(
        nn.MaxPool2d(2), nn.Conv2d(2, 2, 3, padding=1), nn.Upsample(scale_factor=2), stride=2
    )
    assert exact_halo(pooled, 2) == 2
    ahead = Layers(
        nn.MaxPool2d(4), nn.Upsample(scale_factor=4), nn.Conv2d(2, 2, 3, padding=1), stride=4
    )
    assert exact_halo(ahead, 2) == 4


def dilated(*dilations: int) -> Network:
    return Layers(*(nn.Conv2d(2, 2, 3, padding=d, dilation=d) for d in dilations))


def test_wide_halos_are_found_with_a_longer_probe() -> None:
    assert exact_halo(dilated(1, 10), 2) == 11


@pytest.mark.parametrize("dilations", [(60,), (25,), (20, 20), (13, 13, 13, 13)])
def test_a_halo_wider_than_the_probe_is_none_even_where_a_layer_leaps_over_its_end(
    dilations,
) -> None:
    assert exact_halo(dilated(*dilations), 2) is None


# Exact: against cutting


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("unet-same", {"base_width": 3, "depth": 2}),
        ("unet-same", {"base_width": 2, "depth": 3}),
        ("unet-bilinear", {"base_width": 4, "depth": 2}),
        ("unet-deconv4", {"base_width": 3, "depth": 2}),
        ("no-skip", {"base_width": 3, "depth": 2}),
        ("unet-dropout", {"base_width": 3, "depth": 2}),
        ("smp/unet/resnet18", {}),
    ],
)
def test_cutting_at_the_exact_halo_changes_nothing_and_one_stride_earlier_it_does(
    name, overrides
) -> None:
    network = build(name, **overrides)
    exact = exact_halo(network, 2)
    assert exact is not None
    assert cutting_error(network, exact, exact=exact) < 1e-14
    errors = [
        cutting_error(network, exact - network.stride, exact=exact, seed=s) for s in (1, 2, 3)
    ]
    assert max(errors) > 1e-14


kernels = st.sampled_from([1, 3, 5])


@given(
    data=st.data(),
    depth=st.integers(0, 2),
    pool=st.sampled_from([nn.MaxPool2d, nn.AvgPool2d]),
    up=st.sampled_from(["nearest", "bilinear", "transposed", "deconv4"]),
)
@settings(max_examples=25)
def test_any_chain_of_layers_has_the_halo_that_cutting_shows(data, depth, pool, up) -> None:
    def convolution() -> list[nn.Module]:
        k, d = data.draw(kernels), data.draw(st.sampled_from([1, 2]))
        layer = nn.Conv2d(2, 2, k, padding=d * (k // 2), dilation=d)
        return [layer, data.draw(st.sampled_from([nn.ReLU, nn.SiLU, nn.Hardswish]))()]

    def upsampling() -> nn.Module:
        if up == "transposed":
            return nn.ConvTranspose2d(2, 2, 2, stride=2)
        if up == "deconv4":
            return nn.ConvTranspose2d(2, 2, 4, stride=2, padding=1)
        return nn.Upsample(scale_factor=2, mode=up)

    layers = convolution()
    for _ in range(depth):
        layers += [*convolution(), nn.BatchNorm2d(2), pool(2)]
    for _ in range(depth):
        layers += [upsampling(), *convolution()]
    network = Layers(*layers, stride=2**depth).eval()
    draw = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    # Otherwise dependence hides, which is why the halo is not looked for by cutting: weights of
    # both signs cancel, and what is far below 0 is lost in the digits of a softplus.
    for parameter in network.parameters():
        parameter.data.uniform_(0.05, 0.3, generator=draw)
    for i, layer in enumerate(network.layers):
        if isinstance(layer, nn.ReLU | nn.Hardswish):
            network.layers[i] = nn.Softplus()
        if isinstance(layer, nn.MaxPool2d):
            network.layers[i] = nn.AvgPool2d(2)
    exact = exact_halo(Layers(*layers, stride=2**depth), 2)
    assert exact is not None
    assert cutting_error(network, exact, exact=exact) < 1e-12
    if exact:
        assert cutting_error(network, exact - network.stride, exact=exact) > 0


# Exact: what has none


class AddsMean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + x.mean(dim=(2, 3), keepdim=True)


class PoolsByFunction(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 3, stride=1, padding=1)


class Attends(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(2)
        return (flat @ (flat.mT @ flat).softmax(dim=-1)).view(x.shape)


class AttendsInWindows(nn.Module):
    """Sees 4 × 4 pixels, but which ones depends on where the window begins."""

    def __init__(self) -> None:
        super().__init__()
        self.softmax = nn.Softmax(dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        squares = x.unfold(2, 4, 4).unfold(3, 4, 4).flatten(-2)  # (B, C, H / 4, W / 4, 16)
        weights = self.softmax(squares.unsqueeze(-1) * squares.unsqueeze(-2))
        attended = (weights * squares.unsqueeze(-2)).sum(dim=-1).unflatten(-1, (4, 4))
        return attended.transpose(3, 4).reshape(x.shape)


@pytest.mark.parametrize(
    "layer",
    [
        AddsMean(),
        AttendsInWindows(),
        PoolsByFunction(),
        Attends(),
        nn.GroupNorm(1, 2),
        nn.InstanceNorm2d(2),
        nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Upsample(scale_factor=(4, 4))),
        nn.Sequential(
            nn.AvgPool2d(2), nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        ),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_what_depends_on_the_whole_window_has_no_exact_halo(layer, caplog) -> None:
    with caplog.at_level("INFO", logger="geounet"):
        assert exact_halo(Layers(layer), 2) is None
    assert "no exact halo" in caplog.text


@pytest.mark.parametrize(
    "name",
    [
        "smp/fpn/resnet18", "smp/pan/resnet18", "smp/pspnet/resnet18", "smp/unet/mit_b0",
        "smp/deeplabv3plus/mobilenet_v2", "smp/segformer/mobilenet_v2",
        "smp/manet/mobilenet_v2", "smp/unet/efficientnet-b0", "smp/unet/tu-mobilenetv3_small_050",
    ],
)  # fmt: skip
def test_networks_that_see_everything_have_no_exact_halo(name: str) -> None:
    assert exact_halo(build(name), 2) is None


def test_the_network_is_left_as_it_was() -> None:
    network = build("unet-same", base_width=2, depth=2)
    network.train()
    before = {name: t.clone() for name, t in network.state_dict().items()}
    exact_halo(network, 2)
    assert network.training
    assert all(torch.equal(before[name], t) for name, t in network.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in network.parameters())


# Default


def sees(**weights: float) -> Network:
    """A network whose second class is more likely by what lies so many pixels left and right."""
    layer = nn.Conv2d(1, 2, (1, 13), padding=(0, 6), bias=False)
    layer.weight.data.zero_()
    for pixels, weight in weights.items():
        distance = int(pixels.removeprefix("at_"))
        layer.weight.data[1, 0, 0, [6 - distance, 6 + distance]] = weight
    return Layers(layer)


def test_the_default_halo_is_the_smallest_that_keeps_the_error_and_one_more() -> None:
    network = sees(at_3=1.0, at_6=1e-4)
    halo, error = default_halo(network, [torch.ones(1, 20, 20)], exact=6)
    assert halo == 3 + 1
    # A pixel with 1e-4 is missing where the logit is 2: p (1 - p) · 1e-4.
    assert error == pytest.approx(0.105e-4, rel=0.05)


def test_the_error_is_the_one_at_the_halo_that_is_returned() -> None:
    network = build("unet-same", base_width=4, depth=2)
    network.head.weight.data *= 1e3  # so that what is far away matters
    exact = exact_halo(network, 2)
    draw = torch.Generator().manual_seed(0)
    samples = [torch.randn(2, 2 * exact + 8, 2 * exact + 12, generator=draw) for _ in range(3)]
    halo, error = default_halo(network, samples, exact=exact, tolerance=1e-3)
    assert 0 < halo <= exact
    assert halo % network.stride == 0

    def worst(halo: int) -> float:
        cut, errors = exact - halo, []
        with torch.inference_mode():
            for sample in samples:
                whole = network(sample[None]).softmax(1)[0, :, exact:-exact, exact:-exact]
                window = sample[:, cut : sample.shape[1] - cut, cut : sample.shape[2] - cut]
                probs = network(window[None]).softmax(1)[0, :, halo:-halo, halo:-halo]
                errors.append(float((probs - whole).abs().max()))
        return max(errors)

    assert error == pytest.approx(worst(halo), rel=0.01)
    before = halo - network.stride  # the smallest that keeps the tolerance
    assert network.stride < before < exact - network.stride
    assert worst(before) < 1e-3
    assert worst(before - network.stride) >= 1e-3


def test_the_worst_sample_decides() -> None:
    network = sees(at_3=1.0)
    quiet, loud = torch.zeros(1, 16, 16), torch.ones(1, 16, 16)
    assert default_halo(network, [quiet], exact=6) == (1, 0.0)
    assert default_halo(network, [quiet, loud, quiet], exact=6) == (4, 0.0)


def test_a_network_that_sees_one_pixel_needs_no_halo() -> None:
    assert default_halo(Layers(nn.Conv2d(1, 2, 1)), [torch.ones(1, 3, 3)], exact=0) == (0, 0.0)


def test_without_samples_the_halo_is_exact() -> None:
    assert default_halo(Layers(nn.Conv2d(1, 2, 9, padding=4)), [], exact=4) == (4, 0.0)


def test_a_sample_without_a_core_is_refused() -> None:
    with pytest.raises(ValueError, match="no core inside 4"):
        default_halo(Layers(nn.Conv2d(1, 2, 9, padding=4)), [torch.ones(1, 8, 20)], exact=4)


@pytest.mark.slow
def test_the_guide_s_halos_of_smp_are_true() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "guides" / "networks.md").read_text("utf-8")
    rows = re.findall(r"^\| `(smp/[\w/-]+)` \| (\d+) \| (\d+) \| (\d+) \|", guide, re.M)
    assert len(rows) >= 6
    for name, stride, halo, work in rows:
        network = build(name, bands=12)
        assert (network.stride, exact_halo(network, 12)) == (int(stride), int(halo)), name
        with FlopCounterMode(display=False) as counter:
            network.to("meta")(torch.zeros(1, 12, 256, 256, device="meta"))
        assert counter.get_total_flops() / 2 / 256**2 == pytest.approx(int(work) * 1e3, abs=500)
