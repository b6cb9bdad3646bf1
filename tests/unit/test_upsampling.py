"""Upsampling and the convolution after it as one step: the same answer, up to rounding."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geounet.config import load_network
from geounet.networks import build_network
from geounet.networks.upsampling import UpConvolution


def whole(*shape: int, seed: int) -> Tensor:
    """Return small whole numbers, with which sums are exact in whatever order."""
    return torch.randint(-4, 5, shape, generator=torch.Generator().manual_seed(seed)).float()


def convolution(joined: int, *, bias: bool = True, **changed: object) -> nn.Conv2d:
    conv = nn.Conv2d(joined, 5, 3, **{"padding": 1, "bias": bias} | changed)  # type: ignore[arg-type]
    conv.weight.data = whole(*conv.weight.shape, seed=1)
    if conv.bias is not None:
        conv.bias.data = whole(5, seed=2)
    return conv.requires_grad_(False)


def transposed(below: int, maps: int, **changed: object) -> nn.ConvTranspose2d:
    up = nn.ConvTranspose2d(below, maps, **{"kernel_size": 2, "stride": 2} | changed)  # type: ignore[arg-type]
    up.weight.data = whole(*up.weight.shape, seed=3)
    if up.bias is not None:
        up.bias.data = whole(maps, seed=4)
    return up.requires_grad_(False)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("others", [0, 3])
@pytest.mark.parametrize("skip_first", [True, False])
@pytest.mark.parametrize("size", [(1, 1), (1, 4), (5, 2)])
def test_a_transposed_convolution_and_the_next_are_one(bias, others, skip_first, size):
    up, conv = transposed(6, 4, bias=bias), convolution(4 + others, bias=bias)
    x = whole(2, 6, *size, seed=5)
    skip = whole(2, others, 2 * size[0], 2 * size[1], seed=6) if others else None
    both = UpConvolution.fold(conv, up, skip_first=skip_first)
    assert both is not None
    parts = [up(x)] if skip is None else [skip, up(x)] if skip_first else [up(x), skip]
    assert torch.equal(both(x, skip), conv(torch.cat(parts, dim=1)))


@pytest.mark.parametrize("others", [0, 3])
def test_the_nearest_pixel_and_the_next_are_one(others):
    conv, x = convolution(4 + others), whole(2, 4, 3, 5, seed=5)
    skip = whole(2, others, 6, 10, seed=6) if others else None
    both = UpConvolution.fold(conv, 4)
    assert both is not None
    parts = [F.interpolate(x, scale_factor=2, mode="nearest")] + [skip] * (skip is not None)
    assert torch.equal(both(x, skip), conv(torch.cat(parts, dim=1)))


@pytest.mark.parametrize(
    ("conv", "up"),
    [
        (convolution(4, padding=0), 4),
        (convolution(4, stride=2), 4),
        (convolution(4, dilation=2, padding=2), 4),
        (convolution(4), transposed(6, 4, kernel_size=4, padding=1)),
    ],
)
def test_others_are_left_as_they_are(conv, up):
    assert UpConvolution.fold(conv, up) is None


@pytest.mark.parametrize(
    ("name", "overrides", "folded"),
    [
        ("unet-same", {}, 2),
        ("unet-same", {"join": "skip-first"}, 2),
        ("unet-same", {"skip": "none"}, 0),
        ("unet-same", {"skip": "add"}, 0),
        ("unet-same", {"upsampling": "bilinear"}, 0),
        ("unet-same", {"upsampling": "deconv4"}, 0),
        ("unet-2015", {}, 0),
        ("smp/unet/resnet18", None, 5),
        ("smp/unet/vgg11", None, 5),
        ("smp/unet/tu-convnext_atto", None, 5),
        ("smp/unetplusplus/resnet18", None, 0),
    ],
)
def test_a_network_says_the_same_when_it_is_folded(name, overrides, folded):
    torch.manual_seed(0)
    small = {} if overrides is None else {"base_width": 4, "depth": 2} | overrides
    network = build_network(load_network(name, small), bands=("green", "red"), classes=2)
    network.eval().requires_grad_(False)
    side = network.fit(128)
    x = torch.randn(1, 2, side, side)
    before = network(x)
    for _ in range(2):  # an engine may be made of a network that one was made of
        network.fold_upsampling(x)
    assert sum(isinstance(module, UpConvolution) for module in network.modules()) == folded
    torch.testing.assert_close(network(x), before, rtol=1e-4, atol=1e-4)
