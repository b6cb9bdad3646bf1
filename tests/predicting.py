"""Scenes and model files to predict with: random networks, and one whose answer is known."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from affine import Affine
from numpy.typing import NDArray
from torch import nn

from geounet.bands import SENSORS, Band
from geounet.classes import LAND_WATER, LabelClass
from geounet.config import load_network
from geounet.model_file import ModelHeader, save_model
from geounet.networks import build_network
from geounet.networks.halo import exact_halo

L2A = tuple(band.name for band in SENSORS["s2"] if band.name != "B10")
MEAN, STD = 0.15, 0.10
"""Of every band, reflectance."""
SCALE, OFFSET = 1e-4, -1000.0
"""reflectance = (DN + offset) × scale."""
TRANSFORM = Affine(10, 0, 600_000, 0, -10, 5_100_000)


def s2_bands(names: Sequence[str]) -> list[Band]:
    return [next(band for band in SENSORS["s2"] if band.name == name) for name in names]


def wavy_dn(height: int, width: int, *, seed: int = 0, bands: int = 12) -> NDArray[np.uint16]:
    """Waves of several lengths and noise, in reflectance 0 to 0.3; (bands, height, width)."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[:height, :width]
    waves = [
        np.sin(rows * rng.normal(scale=0.07) + cols * rng.normal(scale=0.07) + rng.uniform(0, 6))
        for _ in range(4)
    ]
    mixed = np.einsum("bk,khw->bhw", rng.normal(size=(bands, 4)) * 0.03, np.array(waves))
    reflectance = MEAN + mixed + rng.normal(scale=0.01, size=mixed.shape)
    return np.rint(np.clip(reflectance, 0, 0.5) / SCALE - OFFSET).astype(np.uint16)


def write_scene(
    path: Path,
    dn: NDArray[Any],
    *,
    names: Sequence[str] = L2A,
    level: str | None = "L2A",
    sensor: str | None = "s2",
    **profile: Any,
) -> Path:
    """Write digital numbers as a scene whose bands, scale, time and nodata (0) are said."""
    bands, height, width = dn.shape
    profile = {
        "driver": "GTiff", "count": bands, "height": height, "width": width, "dtype": dn.dtype,
        "crs": "EPSG:32630", "transform": TRANSFORM, "nodata": 0,
    } | profile  # fmt: skip
    with rasterio.open(path, "w", **profile) as dst:
        dst.write(dn)
        dst.descriptions = names
        if dn.dtype.kind != "f":
            dst.scales = [SCALE] * bands
            dst.offsets = [OFFSET * SCALE] * bands
        said = {"sensor": sensor, "level": level}
        dst.update_tags(**{key: value for key, value in said.items() if value})
        dst.update_tags(ns="IMAGERY", ACQUISITIONDATETIME="2024-05-17 10:56:21")
    return path


def write_model(
    path: Path,
    network: str = "unet-same",
    overrides: dict[str, Any] | None = None,
    *,
    names: Sequence[str] = L2A,
    classes: Sequence[LabelClass] = LAND_WATER,
    prepare: Callable[[nn.Module], object] = nn.Module.eval,
    **header: Any,
) -> Path:
    """Write a network with random weights, after `prepare` has had it, as a model file."""
    torch.manual_seed(0)
    settings = load_network(network, overrides or {})
    bands = s2_bands(names)
    built = build_network(
        settings, bands=[band.common_name for band in bands], classes=len(classes)
    )
    prepare(built)
    exact = header.pop("halo_exact", "measure")
    exact = exact_halo(built, len(bands)) if exact == "measure" else exact
    fields = {
        "network": {"name": network, "settings": settings},
        "bands": [band.to_dict() for band in bands],
        "sensor": "s2",
        "level": "L2A",
        "mean": [MEAN] * len(bands),
        "std": [STD] * len(bands),
        "classes": [kind.to_dict() for kind in classes],
        "stride": built.stride,
        "halo_exact": exact,
        "halo_default": exact or 0,
        "halo_error": 0.0,
        "res_m": (10.0, 10.0),
    } | header
    save_model(path, built.eval(), ModelHeader.model_validate(fields))
    return path


def normalise_like_trained(network: nn.Module) -> None:
    """Give batch normalisations the statistics and weights that training would, at random."""
    bands = next(m for m in network.modules() if isinstance(m, nn.Conv2d)).in_channels
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.7, 1.3)
            nn.init.normal_(module.bias, std=0.2)
            module.momentum = None  # the mean over all that it sees
    network.train()
    with torch.no_grad():
        for _ in range(4):
            rough = torch.randn(2, bands, 16, 16)
            network(nn.functional.interpolate(rough, size=(128, 128), mode="bilinear"))
    network.eval()


def water_is_dark(band: int = 0) -> Callable[[nn.Module], None]:
    """Return what makes of a `DARK` network one that says sigmoid(−4 z), of one band.

    z is the standardised reflectance; nothing around a pixel matters.
    """

    def prepare(network: nn.Module) -> None:
        convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
        first, *_, head = convolutions
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.zeros_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        with torch.no_grad():
            # What is above the mean in one map, what is below in the other, past every ReLU.
            first.weight[0, band, 1, 1], first.weight[1, band, 1, 1] = 1, -1
            for level in (convolutions[1], *network.decoder[0]):
                if isinstance(level, nn.Conv2d):
                    level.weight[0, 0, 1, 1] = level.weight[1, 1, 1, 1] = 1
            head.weight[1, 0], head.weight[1, 1] = -4, 4

    return prepare


DARK = {"depth": 1, "base_width": 2, "norm": "none", "bias": True}
"""Settings of the network that `water_is_dark` prepares."""


def dark_probability(dn: NDArray[np.uint16], band: int = 0) -> NDArray[np.float32]:
    """What the network of `water_is_dark` says of every pixel, (height, width)."""
    z = ((dn[band].astype(np.float64) + OFFSET) * SCALE - MEAN) / STD
    return (1 / (1 + np.exp(4 * z))).astype(np.float32)
