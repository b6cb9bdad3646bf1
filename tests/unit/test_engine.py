"""Running a network: the same answer as the plain network gives, with less memory."""

import shutil
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._inductor.exc import InvalidCxxCompiler
from torch.nn import functional as F

from geounet import engine
from geounet.config import load_network
from geounet.engine import (
    Engine,
    _LiveBytes,
    choose_device,
    choose_precision,
    fold_batch_norm,
    standardise,
)
from geounet.errors import ConfigError
from geounet.networks import build_network

BANDS = ("green", "red", "nir")
MEAN, STD = (0.10, 0.09, 0.20), (0.05, 0.06, 0.15)
SLOPE = np.full(3, 1e-4, np.float32)
INTERCEPT = np.full(3, -0.1, np.float32)


def trained_like(network: nn.Module, bands: int = 3, side: int = 64) -> nn.Module:
    """Give batch normalisations statistics and weights as training would, at random."""
    torch.manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
    network.train()
    with torch.no_grad():
        for _ in range(20):
            network(torch.randn(2, bands, side, side) * 2 + 0.3)
    return network.eval()


def small(name: str, classes: int = 2) -> nn.Module:
    torch.manual_seed(0)
    overrides = {} if name.startswith("smp/") else {"base_width": 4, "depth": 2}
    network = build_network(load_network(name, overrides), bands=BANDS, classes=classes)
    return trained_like(network)


def some_dn(batch: int = 1, side: int = 64) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    dn = rng.integers(1000, 4000, (batch, 3, side, side), dtype=np.uint16)
    valid = np.ones((batch, side, side), np.bool_)
    valid[:, :10, 5:20] = False
    return dn, valid


def plain(network: nn.Module, dn: np.ndarray, valid: np.ndarray) -> Tensor:
    """Logits as one would write it down, in float64."""
    reflectance = dn.astype(np.float64) * 1e-4 - 0.1
    standardised = (reflectance - np.array(MEAN)[:, None, None]) / np.array(STD)[:, None, None]
    x = torch.from_numpy(np.where(valid[:, None], standardised, 0.0))
    with torch.no_grad():
        return deepcopy(network).double()(x)


def ready(network: nn.Module, precision: str = "fp32") -> Engine:
    return Engine(deepcopy(network), mean=MEAN, std=STD, device="cpu", precision=precision)


def test_invalid_pixels_enter_as_zero_whatever_they_hold():
    reflectance = torch.tensor([0.1, np.nan, np.inf, 0.4]).reshape(1, 1, 2, 2)
    valid = torch.tensor([True, False, False, True]).reshape(1, 2, 2)
    out = standardise(reflectance, valid, torch.tensor([0.2]), torch.tensor([0.1]))
    torch.testing.assert_close(out.flatten(), torch.tensor([-1.0, 0.0, 0.0, 2.0]))
    assert reflectance[0, 0, 0, 0] == torch.tensor(0.1)  # what was passed in stays as it was


@pytest.mark.parametrize("name", ["unet-same", "smp/unet/resnet18"])
def test_it_answers_as_the_plain_network(name):
    network, (dn, valid) = small(name), some_dn(batch=2)
    expected = plain(network, dn, valid).softmax(dim=1).numpy()
    probs = ready(network).probabilities(dn, valid, SLOPE, INTERCEPT)
    assert probs.dtype == np.float32
    np.testing.assert_allclose(probs, expected, atol=1e-5)


@pytest.mark.parametrize("name", ["unet-same", "smp/unet/resnet18"])
def test_bf16_stays_near(name):
    network, (dn, valid) = small(name), some_dn()
    expected = plain(network, dn, valid).softmax(dim=1).numpy()
    probs = ready(network, "bf16").probabilities(dn, valid, SLOPE, INTERCEPT)
    difference = np.abs(probs - expected)
    assert 1e-6 < difference.max() < 0.05
    assert difference.mean() < 0.01


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_numbers_of_every_kind_become_reflectance(dtype):
    network = small("unet-same")
    dn, valid = some_dn()
    dn = (dn // 16).astype(np.uint8)
    slope, intercept = np.full(3, 0.0016, np.float32), INTERCEPT
    expected = ready(network).probabilities(dn, valid, slope, intercept)
    given = dn.astype(dtype)
    before = given.copy()
    probs = ready(network).probabilities(given, valid, slope, intercept)
    np.testing.assert_array_equal(probs, expected)
    np.testing.assert_array_equal(given, before)  # the caller's numbers stay as they were


def test_one_output_is_the_second_of_two_classes():
    network, (dn, valid) = small("unet-same", classes=1), some_dn()
    expected = plain(network, dn, valid).sigmoid().numpy()[:, 0]
    probs = ready(network).probabilities(dn, valid, SLOPE, INTERCEPT)
    assert probs.shape == (1, 2, 64, 64)
    np.testing.assert_allclose(probs[:, 1], expected, atol=1e-5)
    np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-6)


def test_the_same_twice_gives_the_same_bits():
    network, (dn, valid) = small("unet-same"), some_dn()
    for precision in ("fp32", "bf16"):
        first, second = (
            ready(network, precision).probabilities(dn, valid, SLOPE, INTERCEPT) for _ in range(2)
        )
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", ["unet-same", "smp/unet/resnet18", "smp/unetplusplus/resnet34"])
def test_every_batch_norm_is_folded_and_the_answer_stays(name):
    network = small(name)
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        before = network(x)
        fold_batch_norm(network, torch.randn(1, 3, 64, 64))
        after = network(x)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)


class UsedTwice(nn.Module):
    """What the convolution gives is normalised, and also used as it is."""

    stride = 1

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        made = self.conv(x)
        return F.relu(self.norm(made)) + made


class RunTwice(nn.Module):
    """One convolution before two normalisations."""

    stride = 1

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.norms = nn.ModuleList([nn.BatchNorm2d(3), nn.BatchNorm2d(3)])

    def forward(self, x: Tensor) -> Tensor:
        for norm in self.norms:
            x = norm(self.conv(x))
        return x


class FollowedTwice(nn.Module):
    """Two normalisations after one convolution."""

    stride = 1

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.norms = nn.ModuleList([nn.BatchNorm2d(3), nn.BatchNorm2d(3)])

    def forward(self, x: Tensor) -> Tensor:
        made = self.conv(x)
        return self.norms[0](made) + self.norms[1](made)


@pytest.mark.parametrize("kind", [UsedTwice, RunTwice, FollowedTwice])
def test_nothing_is_folded_where_the_answer_would_change(kind):
    network = trained_like(kind(), side=8)
    x = torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        before = network(x)
        fold_batch_norm(network, torch.randn(1, 3, 8, 8))
        after = network(x)
    torch.testing.assert_close(after, before)
    assert any(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def test_memory_of_a_pixel_is_what_the_largest_arrays_take():
    # At full resolution, when the last level is joined: the skip, and what it and what comes from
    # below are made into, of which each map takes 4 bytes a pixel. What comes from below, twice as
    # many maps, has a quarter of the pixels.
    network = build_network(
        load_network("unet-same", {"base_width": 32, "depth": 2}), bands=BANDS, classes=2
    )
    joined = (32 + 32 + 32 + 64 / 4) * 4
    assert joined <= ready(network).bytes_per_pixel("uint16") <= joined * 1.3
    assert joined / 2 <= ready(network, "bf16").bytes_per_pixel("uint16") <= joined / 2 * 1.3


def test_what_runs_elsewhere_is_weighed_with_its_upsampling_apart():
    def weigh(fold: bool) -> int:
        network = small("unet-same")
        engine = Engine(
            network, mean=MEAN, std=STD, device="cpu", precision="fp32", fold_upsampling=fold
        )
        return engine.bytes_per_pixel("uint16")

    assert weigh(fold=False) > weigh(fold=True)


def test_networks_without_padding_answer_as_the_plain_ones():
    torch.manual_seed(0)
    settings = load_network("unet-2015", {"base_width": 4, "depth": 2, "norm": "batch"})
    network = trained_like(build_network(settings, bands=BANDS, classes=2), side=48)
    engine, (dn, valid) = ready(network), some_dn(side=56)
    assert (engine.stride, engine.margin, engine.remainder, engine.fit(50)) == (4, 20, 0, 52)
    expected = plain(network, dn, valid).softmax(dim=1).numpy()
    assert expected.shape == (1, 2, 16, 16)
    probs = engine.probabilities(dn, valid, SLOPE, INTERCEPT)
    np.testing.assert_allclose(probs, expected, atol=1e-5)


def test_memory_without_padding_is_that_of_a_window_much_wider_than_the_margin():
    network = build_network(
        load_network("unet-2015", {"base_width": 32, "depth": 2}), bands=BANDS, classes=2
    )
    joined = (32 + 32 + 64) * 4  # the skip, what is upsampled, and both together
    found = ready(network).bytes_per_pixel("uint16")
    assert joined * 0.9 <= found <= joined * 1.3
    # What runs at a size of a window is no more than that.
    side = 244
    with _LiveBytes() as memory, torch.no_grad():
        network(torch.zeros(1, 3, side, side))
    assert memory.peak <= found * side**2


def test_a_device_that_is_not_there_is_an_error_that_says_what_is():
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert choose_device("auto") == "cpu"
    assert choose_device("cpu") == "cpu"
    for name in ("cuda", "cuda:3", "mps", "abacus"):
        with pytest.raises(ConfigError, match=name):
            choose_device(name)


def test_precision_is_what_was_asked_for_and_auto_is_one_of_them():
    assert choose_precision("fp32", "cpu") == "fp32"
    assert choose_precision("bf16", "cpu") == "bf16"
    assert choose_precision("auto", "cpu") in ("fp32", "bf16")


@pytest.mark.parametrize("rows", [1, 7, 64])
def test_numbers_become_reflectance_a_few_rows_at_a_time(monkeypatch, rows):
    network, (dn, valid) = small("unet-same"), some_dn(batch=2)
    whole = ready(network).probabilities(dn, valid, SLOPE, INTERCEPT)
    monkeypatch.setattr(engine, "AT_ONCE", rows * 2 * 3 * 64 * 4)
    few = ready(network).probabilities(dn, valid, SLOPE, INTERCEPT)
    np.testing.assert_array_equal(few, whole)


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")
def test_what_is_compiled_answers_as_what_is_not():
    network, (dn, valid) = small("unet-same"), some_dn()
    eager, compiled = (
        Engine(
            deepcopy(network), mean=MEAN, std=STD, device="cpu", precision="fp32", backend=backend
        )
        for backend in ("eager", "compile")
    )
    assert (eager.backend, compiled.backend) == ("eager", "compile")
    expected = eager.probabilities(dn, valid, SLOPE, INTERCEPT)
    probs = compiled.probabilities(dn, valid, SLOPE, INTERCEPT)
    np.testing.assert_allclose(probs, expected, atol=1e-5)


def test_where_torch_cannot_compile_one_line_says_what_to_do(monkeypatch):
    def broken(_: Tensor) -> Tensor:
        raise InvalidCxxCompiler

    monkeypatch.setattr(torch, "compile", lambda _: broken)
    network, (dn, valid) = small("unet-same"), some_dn()
    made = Engine(network, mean=MEAN, std=STD, device="cpu", precision="fp32", backend="compile")
    with pytest.raises(ConfigError, match=r"compiler.* Use --backend eager\.$") as told:
        made.probabilities(dn, valid, SLOPE, INTERCEPT)
    assert "\n" not in str(told.value)
