"""U-Nets: each preset is what its source says, held to facts and to a second implementation."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from geounet.config import UNetSettings, load_network, shipped_networks
from geounet.networks import build_network
from geounet.networks.halo import exact_halo
from geounet.networks.unet import UNet

PRESETS = sorted(shipped_networks())
BANDS = [f"band{i}" for i in range(12)]


def build(preset: str, *, bands: int = 3, classes: int = 2, **overrides: object) -> UNet:
    network = build_network(load_network(preset, overrides), bands=BANDS[:bands], classes=classes)
    assert isinstance(network, UNet)
    return network


def weights_of(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def scramble(network: nn.Module, seed: int = 0) -> None:
    """Give every number in the network a value of its own, so that none can be left out unseen."""
    draw = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        scale = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.3
        parameter.data.normal_(0, scale, generator=draw)
        if parameter.ndim == 1:
            parameter.data.add_(0.5)
    for name, buffer in network.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.uniform_(0.5, 1.5, generator=draw)


def forward_by_hand(network: UNet, preset: str, x: Tensor, *, depth: int) -> Tensor:
    """What the sources describe, in functions, with the network's numbers in order of use.

    Written from the table of presets: a class of layers here and no loop there would be the same
    thing twice.
    """
    norm = preset not in ("unet-2015", "unet-dropout", "unet-dropout-pool")
    padding = 0 if preset == "unet-2015" else 1
    modules = dict(network.named_modules())

    def numbers(prefix: str) -> Iterator[nn.Module]:
        kinds = (nn.Conv2d, nn.BatchNorm2d)
        return (m for n, m in modules.items() if n.startswith(prefix) and isinstance(m, kinds))

    def normalised(x: Tensor, bn: nn.Module) -> Tensor:
        shape = (1, -1, 1, 1)
        x = (x - bn.running_mean.view(shape)) / (bn.running_var.view(shape) + 1e-5).sqrt()
        return x * bn.weight.view(shape) + bn.bias.view(shape)

    def double(x: Tensor, prefix: str) -> Tensor:
        layers = list(numbers(prefix))
        for i in range(2):
            convolution = layers[i * 2 if norm else i]
            x = F.conv2d(x, convolution.weight, convolution.bias, padding=padding)
            x = normalised(x, layers[i * 2 + 1]) if norm else x
            x = x.clamp(min=0)
        return x

    def upsampled(x: Tensor, level: int) -> Tensor:
        if preset == "unet-bilinear":
            return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        up = modules[f"up.{level}"]
        four = preset == "unet-deconv4"
        return F.conv_transpose2d(x, up.weight, up.bias, stride=2, padding=1 if four else 0)

    skips = []
    for level in range(depth):
        x = double(x, f"encoder.{level}.")
        skips.append(x)
        x = x.unfold(2, 2, 2).unfold(3, 2, 2).amax(dim=(-1, -2))
    x = double(x, "bottom.")
    for level in range(depth)[::-1]:
        x, skip = upsampled(x, level), skips[level]
        while skip.shape[2] > x.shape[2]:  # centre crop: a rim of one pixel at a time
            skip = skip[:, :, 1:-1]
        while skip.shape[3] > x.shape[3]:
            skip = skip[:, :, :, 1:-1]
        if preset == "fcn-add":
            x = x + skip
        elif preset in ("unet-dropout", "unet-deconv4"):
            x = torch.cat([x, skip], dim=1)
        elif preset not in ("no-skip", "autoencoder"):
            x = torch.cat([skip, x], dim=1)
        x = double(x, f"decoder.{level}.")
    if preset == "unet-deconv4":
        first, bn, second = numbers("head.")
        x = normalised(F.conv2d(x, first.weight, first.bias, padding=1), bn).clamp(min=0)
        return F.conv2d(x, second.weight, second.bias, padding=1)
    return torch.einsum("kc,bchw->bkhw", network.head.weight[:, :, 0, 0], x) + (
        network.head.bias.view(1, -1, 1, 1)
    )


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_computes_what_its_source_describes(preset: str) -> None:
    network = build(preset, bands=5, classes=3, base_width=6, depth=3).eval()
    scramble(network)
    # Without padding, three poolings take 44 pixels on each side.
    lost = 88 if preset == "unet-2015" else 0
    x = torch.randn(2, 5, 28 + lost, 44 + lost, generator=torch.Generator().manual_seed(1))
    x = x if lost else x[:, :, :24, :40]
    with torch.inference_mode():
        logits = network(x)
        expected = forward_by_hand(network, preset, x, depth=3)
    outputs = 5 if preset == "autoencoder" else 3
    assert logits.shape == (2, outputs, x.shape[2] - lost, x.shape[3] - lost)
    assert logits.std() > 0.01  # something is compared
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("preset", "height", "width"), [("unet-same", 32, 48)])
def test_it_computes_what_its_source_describes_at_full_width(preset, height, width) -> None:
    network = build(preset, bands=12).eval()
    x = torch.randn(1, 12, height, width, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = forward_by_hand(network, preset, x, depth=4)
        torch.testing.assert_close(network(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("preset", "bands", "classes", "count"),
    [
        ("unet-same", 3, 2, 31_037_698),
        ("unet-same", 12, 1, 31_042_817),
        ("unet-bilinear", 3, 2, 17_263_042),
        ("unet-bilinear", 12, 1, 17_268_161),
        ("unet-dropout", 3, 1, 31_031_745),
        ("unet-dropout", 12, 1, 31_036_929),
        # unet-dropout's convolutions: 2 bands fewer, one output more.
        ("unet-2015", 1, 2, 31_031_745 - 2 * 64 * 9 + 65),
    ],
)
def test_a_preset_has_as_many_weights_as_its_source(preset, bands, classes, count) -> None:
    with torch.device("meta"):
        assert weights_of(build(preset, bands=bands, classes=classes)) == count


@pytest.mark.parametrize("preset", ["unet-2015", "unet-same"])
def test_there_are_23_convolutions_of_the_paper_s_widths(preset: str) -> None:
    with torch.device("meta"):
        network = build(preset)
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    assert len(convolutions) == 23
    pairs = [list(pair) for pair in [*network.encoder, network.bottom]]
    ends = [[m for m in pair if isinstance(m, nn.Conv2d)][-1].out_channels for pair in pairs]
    assert ends == [64, 128, 256, 512, 1024]


def test_the_paper_s_network_is_as_large_as_in_its_figure() -> None:
    with torch.device("meta"):
        network = build("unet-2015", bands=1).eval()
        seen = {}
        for name, module in network.named_modules():
            module.register_forward_hook(
                lambda _, args, out, name=name: seen.update(
                    {name: [(*map(int, x.shape[1:]),) for x in (args[0], out)]}
                )
            )
        assert network(torch.zeros(1, 1, 572, 572)).shape == (1, 2, 388, 388)

    def pair(name: str) -> list[tuple[int, ...]]:
        """What goes into two convolutions, and what comes out, whose layers are run one by one."""
        layers = [key for key in seen if key.startswith(f"{name}.")]
        return [seen[layers[0]][0], seen[layers[-1]][1]]

    assert seen["bottom"] == [(512, 32, 32), (1024, 28, 28)]
    assert [pair(f"encoder.{level}")[1] for level in range(4)] == [
        (64, 568, 568), (128, 280, 280), (256, 136, 136), (512, 64, 64),
    ]  # fmt: skip
    assert [pair(f"decoder.{level}") for level in (3, 2, 1, 0)] == [
        [(1024, 56, 56), (512, 52, 52)], [(512, 104, 104), (256, 100, 100)],
        [(256, 200, 200), (128, 196, 196)], [(128, 392, 392), (64, 388, 388)],
    ]  # fmt: skip


def test_added_skips_leave_the_width_and_halve_the_joining_convolutions() -> None:
    with torch.device("meta"):
        added, concatenated = build("fcn-add"), build("unet-same")
    for a, c in zip(added.decoder, concatenated.decoder, strict=True):
        assert a[0].in_channels == a[0].out_channels
        assert c[0].weight.numel() == 2 * a[0].weight.numel()


def test_without_skips_nothing_but_the_bottom_is_seen() -> None:
    network = build("no-skip", base_width=4).eval()
    network.bottom[-3].weight.data.zero_()  # the bottom is silent
    network.bottom[-2].weight.data.zero_()
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    first, second = network(x)
    assert torch.equal(first, second)


# Dropout


@pytest.mark.parametrize(
    ("preset", "side", "shapes"),
    [
        ("unet-2015", 188, [(32, 16, 16), (64, 4, 4)]),
        ("unet-dropout", 32, [(32, 4, 4), (64, 2, 2)]),
        ("unet-dropout-pool", 32, [(4, 16, 16), (8, 8, 8), (16, 4, 4), (32, 2, 2)]),
    ],
)
def test_dropout_is_where_the_source_has_it(preset: str, side: int, shapes) -> None:
    network = build(preset, base_width=4)
    seen = []
    settings = load_network(preset, {})
    assert isinstance(settings, UNetSettings)
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            assert module.p == settings.dropout_rate
            module.register_forward_pre_hook(lambda _, args: seen.append(tuple(args[0].shape[1:])))
    network(torch.zeros(1, 3, side, side))
    assert seen == shapes


def test_the_skip_of_the_last_level_is_taken_after_its_dropout() -> None:
    network = build("unet-dropout", base_width=4)
    seen = {}
    network.pool.register_forward_pre_hook(lambda _, args: seen.update(skip=args[0]))  # the last
    network.decoder[-1][0].register_forward_pre_hook(lambda _, args: seen.update(joined=args[0]))
    network(torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1)))
    assert torch.equal(seen["joined"][:, 32:], seen["skip"])
    assert (seen["skip"] == 0).float().mean() > 0.6  # half by ReLU, half of the rest by dropout


def test_dropout_does_nothing_in_use() -> None:
    network = build("unet-dropout", base_width=4).eval()
    x = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    assert torch.equal(network(x), network(x))


# Start


def test_he_normal_start_has_its_spread_and_no_bias() -> None:
    torch.manual_seed(0)
    network = build("unet-deconv4", base_width=32)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            fan_out = module.weight.shape[0] * module.kernel_size[0] * module.kernel_size[1]
            spread = module.weight.std().item() / (2 / fan_out) ** 0.5
            assert spread == pytest.approx(1, abs=4 * module.weight.numel() ** -0.5)
            assert not module.bias.any()
        if isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all()
            assert not module.bias.any()


def test_the_paper_s_start_counts_the_values_that_make_one_output() -> None:
    torch.manual_seed(0)
    network = build("unet-2015", base_width=32)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            # One pixel under a 2×2 transposed convolution of step 2 makes each of the four.
            under = 1 if isinstance(module, nn.ConvTranspose2d) else module.kernel_size[0] ** 2
            spread = module.weight.std().item() / (2 / (module.in_channels * under)) ** 0.5
            assert spread == pytest.approx(1, abs=4 * module.weight.numel() ** -0.5)
            assert not module.bias.any()


def test_the_start_is_drawn_from_torch_s_generator() -> None:
    torch.manual_seed(3)
    first = build("unet-same", base_width=2).state_dict()
    torch.manual_seed(3)
    again = build("unet-same", base_width=2).state_dict()
    other = build("unet-same", base_width=2).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["encoder.0.0.weight"], other["encoder.0.0.weight"])


# Sizes


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_its_stride_is_two_to_the_depth_and_sizes_are_multiples_of_it(depth: int) -> None:
    network = build("unet-same", base_width=2, depth=depth).eval()
    assert (network.stride, network.margin) == (2**depth, 0)
    assert network(torch.zeros(1, 3, 2**depth, 3 * 2**depth)).shape[-2:] == (2**depth, 3 * 2**depth)


@pytest.mark.parametrize(
    ("height", "width", "nearest"),
    [(250, 256, "240 or 256 × 256"), (32, 7, "32 × 16"), (0, 17, "16 × 16 or 32")],
)
def test_a_size_that_it_cannot_take_names_the_nearest_that_work(height, width, nearest) -> None:
    network = build("unet-same", base_width=2)
    with pytest.raises(ValueError, match=f"multiples of 16, not {height} × {width}") as error:
        network(torch.zeros(1, 3, height, width))
    assert f"nearest are {nearest}." in str(error.value)


@pytest.mark.parametrize("preset", PRESETS)
def test_all_weights_learn(preset: str) -> None:
    torch.manual_seed(0)
    network = build(preset, base_width=2, depth=2)
    side = network.fit(16)
    network(torch.randn(2, 3, side, side)).square().sum().backward()
    still = [name for name, p in network.named_parameters() if p.grad is None]
    assert not still


def test_settings_are_named_by_the_presets_that_need_them() -> None:
    # A setting that no preset changes is one that nothing holds to a source.
    changed = {
        name
        for preset in PRESETS
        for name, value in load_network(preset, {}).model_dump().items()
        if value != UNetSettings.model_fields[name].default
    }
    assert set(UNetSettings.model_fields) - changed == {
        "kind",
        "depth",
        "base_width",
        "align_corners",
    }


def test_the_guide_s_table_is_true() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "guides" / "networks.md").read_text("utf-8")
    rows = re.findall(r"^\| `([\w-]+)` \| ([\d ]+) \| (\d+) \| (\d+) \| (\d+) \|", guide, re.M)
    assert {row[0] for row in rows} == set(PRESETS)
    for preset, weights, stride, halo, work in rows:
        with torch.device("meta"):
            network = build(preset, bands=12).eval()
        assert weights_of(network) == int(weights.replace(" ", ""))
        assert network.stride == int(stride)
        side = 572 if network.margin else 64
        with FlopCounterMode(display=False) as counter:
            out = network(torch.zeros(1, 12, side, side, device="meta"))
        pixels = out.shape[-2] * out.shape[-1]
        assert counter.get_total_flops() / 2 / pixels == pytest.approx(int(work) * 1e3, abs=500)
        # How far it sees does not depend on how wide it is.
        assert exact_halo(build(preset, base_width=2), 3) == int(halo)
