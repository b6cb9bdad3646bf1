"""U-Nets without padding, and autoencoders: sizes that they take, what they lose and share."""

import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor, nn

from geounet.config import UNetSettings, load_network
from geounet.networks import build_network
from geounet.networks.halo import default_halo, exact_halo
from geounet.networks.unet import UNet


def build(preset: str, *, bands: int = 2, classes: int = 2, **overrides: object) -> UNet:
    torch.manual_seed(0)
    found = load_network(preset, overrides)
    network = build_network(found, bands=["other"] * bands, classes=classes)
    assert isinstance(network, UNet)
    return network.eval()


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# The paper's network, a second time


class Paper(nn.Module):
    """Figure 1 of the paper, line by line, for any width."""

    def __init__(self, bands: int, classes: int, width: int) -> None:
        super().__init__()
        w = width
        downs = [(bands, w), (w, 2 * w), (2 * w, 4 * w), (4 * w, 8 * w), (8 * w, 16 * w)]
        self.down = nn.ModuleList(nn.Conv2d(*s, 3) for a, b in downs for s in ((a, b), (b, b)))
        rises = [(16 * w, 8 * w), (8 * w, 4 * w), (4 * w, 2 * w), (2 * w, w)]
        self.rise = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, stride=2) for a, b in rises)
        self.after = nn.ModuleList(nn.Conv2d(*s, 3) for a, b in rises for s in ((a, b), (b, b)))
        self.last = nn.Conv2d(w, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for i in range(5):
            x = F.relu(self.down[2 * i + 1](F.relu(self.down[2 * i](x))))
            if i < 4:
                kept.append(x)
                x = F.max_pool2d(x, 2)
        for i in range(4):
            x = self.rise[i](x)
            rim = [(big - small) // 2 for big, small in zip(kept[-1].shape, x.shape, strict=True)]
            _, _, rows, cols = rim
            skip = kept.pop()[:, :, rows : rows + x.shape[2], cols : cols + x.shape[3]]
            x = torch.cat([skip, x], dim=1)
            x = F.relu(self.after[2 * i + 1](F.relu(self.after[2 * i](x))))
        return self.last(x)


@pytest.mark.parametrize(
    ("width", "bands", "height", "width_px"), [(5, 12, 204, 236), (64, 1, 188, 188)]
)
def test_the_paper_s_network_computes_what_a_second_one_does(
    width: int, bands: int, height: int, width_px: int
) -> None:
    network = build("unet-2015", bands=bands, base_width=width)
    paper = Paper(bands, 2, width)
    # Both are in the order of their use, but for the decoder, which counts levels from the top.
    modules = [*network.encoder, network.bottom, *network.up[::-1], *network.decoder[::-1]]
    modules.append(network.head)
    ours = [p for module in modules for p in module.parameters()]
    with torch.no_grad():
        for i, (mine, theirs) in enumerate(zip(ours, paper.parameters(), strict=True)):
            if mine.ndim == 1:  # biases start as 0, and would be left out unseen
                mine.add_(0.1 * noise(*mine.shape, seed=i))
            theirs.copy_(mine)
    x = noise(1, bands, height, width_px)
    with torch.inference_mode():
        logits, expected = network(x), paper(x)
    assert logits.shape == (1, 2, height - 184, width_px - 184)
    assert expected.std() > 0.01
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)


# Sizes


def side_after(side: int, found: UNetSettings) -> int | None:
    """What comes out of a side without padding, counted layer by layer; None where nothing can."""
    sides = []
    for _ in range(found.depth):
        side -= 4
        if side <= 0 or side % 2:
            return None
        sides.append(side)
        side //= 2
    side -= 4
    while sides and side > 0:
        side *= 2
        if found.upsampling != "transposed":  # the rim that clamping or one pixel alone makes
            side -= 2
        if (sides.pop() - side) % 2:
            return None
        side -= 4
    if found.head == "3x3":
        side -= 4
    return side if side > 0 else None


variants = st.builds(
    UNetSettings,
    padding=st.just("valid"),
    depth=st.integers(1, 3),
    base_width=st.just(2),
    norm=st.sampled_from(["batch", "none"]),
    bias=st.booleans(),
    upsampling=st.sampled_from(["transposed", "deconv4", "bilinear"]),
    skip=st.sampled_from(["concat", "add", "none"]),
    head=st.sampled_from(["1x1", "3x3"]),
)


def of(found: UNetSettings) -> UNet:
    torch.manual_seed(0)
    network = build_network(found, bands=["other"] * 2, classes=2)
    assert isinstance(network, UNet)
    return network.eval()


@given(found=variants, side=st.integers(0, 200))
@settings(max_examples=40)
def test_it_takes_the_sides_that_can_be_counted_through_and_no_others(found, side) -> None:
    network = of(found)
    after = side_after(side, found)
    x = torch.zeros(1, 2, side, network.fit(0))
    if after is None:
        with pytest.raises(ValueError, match=f"not {side} × {network.fit(0)}"):
            network(x)
    else:
        assert network(x).shape[2] == after == side - 2 * network.margin
    near = network.nearest_sizes(side)
    assert all(side_after(s, found) for s in near)
    assert near[-1] >= side
    taken = [s for s in range(side + network.stride + 200) if side_after(s, found)]
    assert near[-1] == min(s for s in taken if s >= side) == network.fit(side)
    assert near[0] == max((s for s in taken if s <= side), default=near[-1])


@pytest.mark.parametrize(
    ("height", "width", "nearest"),
    [(256, 572, "252 or 268 × 572"), (570, 3, "556 or 572 × 188"), (188, 189, "188 × 188 or 204")],
)
def test_a_size_that_fits_no_pooling_names_the_nearest_that_do(height, width, nearest) -> None:
    network = build("unet-2015", base_width=1)
    with pytest.raises(ValueError, match="multiples of 16 plus 12, from 188 on, not") as error:
        network(torch.zeros(1, 2, height, width))
    assert f"nearest are {nearest}." in str(error.value)


@pytest.mark.parametrize(("side", "out"), [(188, 4), (252, 68), (444, 260), (572, 388)])
def test_the_paper_s_network_loses_92_pixels_on_each_side(side, out) -> None:
    with torch.device("meta"):
        network = build("unet-2015")
        assert network(torch.zeros(1, 2, side, side)).shape == (1, 2, out, out)
    assert (network.stride, network.margin) == (16, 92)


def test_the_guide_s_sizes_are_true() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "guides" / "networks.md").read_text("utf-8")
    table = r"^\| (\d) \| (\d+) \| multiples of (\d+)(?:, plus (\d+))? \| (\d+) → (\d+) \|"
    rows = re.findall(table, guide, re.M)
    assert [row[0] for row in rows] == list("12345")
    for depth, margin, stride, plus, side, out in rows:
        network = build("unet-2015", base_width=1, depth=int(depth))
        assert (network.margin, network.stride) == (int(margin), int(stride))
        assert network.remainder == int(plus or 0)
        assert network.fit(0) == int(side)
        assert int(side) - 2 * network.margin == int(out)


# Windows


@given(found=variants, down=st.integers(0, 3), right=st.integers(0, 3))
@settings(max_examples=30)
def test_a_window_gets_the_answer_of_the_whole_to_its_very_edge(found, down, right) -> None:
    network = of(found).double()
    stride, margin = network.stride, network.margin
    side = network.fit(2 * margin + 2 * stride)
    x = noise(1, 2, side + 3 * stride, side + 3 * stride).double()
    top, left = down * stride, right * stride
    with torch.inference_mode():
        whole = network(x)
        part = network(x[:, :, top : top + side, left : left + side])
    same = whole[:, :, top : top + part.shape[2], left : left + part.shape[3]]
    torch.testing.assert_close(part, same, rtol=0, atol=1e-12)
    assert whole.std() > 1e-6


@pytest.mark.parametrize(
    "overrides",
    [
        {"depth": 4},
        {"depth": 2, "upsampling": "bilinear"},
        {"depth": 2, "upsampling": "deconv4", "head": "3x3"},
        {"depth": 1},
    ],
)
def test_the_margin_is_the_halo_and_no_halo_is_narrower(overrides) -> None:
    network = build("unet-2015", base_width=2, **overrides)
    assert exact_halo(network, 2) == network.margin
    assert default_halo(network, [], exact=network.margin) == (network.margin, 0.0)


def test_padding_beside_none_is_seen_in_the_halo() -> None:
    # A network that says it has a margin, and pads somewhere all the same, sees further than that.
    network = build("unet-2015", base_width=2, depth=2)
    network.up[0] = nn.Sequential(nn.ZeroPad2d(3), nn.Conv2d(4, 4, 7), network.up[0])
    assert network(torch.zeros(1, 2, 44, 44)).shape == (1, 2, 4, 4)
    assert exact_halo(network, 2) > network.margin


def test_milesial_s_corners_are_a_setting_that_no_window_agrees_with() -> None:
    network = build("unet-bilinear", base_width=4, depth=1, align_corners=True)
    seen = []
    network.up[0].register_forward_hook(lambda _, args, out: seen.extend([args[0], out]))
    network(noise(1, 2, 16, 16))
    expected = F.interpolate(seen[0], scale_factor=2, mode="bilinear", align_corners=True)
    assert torch.equal(seen[1], expected)
    assert exact_halo(network, 2) is None
    assert exact_halo(build("unet-bilinear", base_width=4, depth=1), 2) is not None


@pytest.mark.parametrize("overrides", [{}, {"upsampling": "bilinear", "padding": "valid"}])
def test_corners_are_of_bilinear_upsampling_with_same_padding(overrides) -> None:
    with pytest.raises(ValidationError, match="align_corners"):
        UNetSettings(align_corners=True, **overrides)


# Autoencoder


def test_an_autoencoder_gives_back_as_many_bands_as_it_is_given() -> None:
    network = build("autoencoder", bands=5, classes=2, base_width=2, depth=2)
    assert network(noise(1, 5, 16, 24)).shape == (1, 5, 16, 24)


def test_an_autoencoder_learns_its_input() -> None:
    network = build("autoencoder", bands=3, base_width=8, depth=1).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    x = F.interpolate(noise(4, 3, 4, 4), scale_factor=4, mode="bilinear")
    losses = []
    for _ in range(60):
        loss = F.mse_loss(network(x), x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * float(x.var())


def test_the_encoder_of_an_autoencoder_is_that_of_the_reference() -> None:
    donor, network = build("autoencoder", bands=4), build("unet-same", bands=4)
    for part in ("encoder", "bottom"):
        getattr(network, part).load_state_dict(getattr(donor, part).state_dict())
    x = noise(1, 4, 32, 32)
    seen: list[Tensor] = []
    for one in (donor, network):
        one.bottom.register_forward_hook(lambda *args: seen.append(args[2]))
        with torch.inference_mode():
            one(x)
    assert torch.equal(*seen)
