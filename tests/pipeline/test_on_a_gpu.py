"""What a GPU gives is what the CPU gives: `pytest -m gpu`, on a machine that has one."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from predicting import normalise_like_trained, wavy_dn, write_model, write_scene
from torch import nn
from training_chips import write_chips

from geounet.config import Config
from geounet.engine import choose_precision
from geounet.errors import ConfigError
from geounet.model_file import load_model
from geounet.predict import PredictSettings, predict_scene
from geounet.train import train_model

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]
NETWORKS = {
    "unet-same": {"base_width": 8},
    "unet-2015": {"base_width": 8},
    "smp/unet/resnet18": {},
}


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Path:
    dn = wavy_dn(600, 700)
    dn[:, 100:160, 200:300] = 0
    return write_scene(tmp_path_factory.mktemp("scene") / "scene.tif", dn)


def probability(out: Path, scene: Path, model: Path, **settings) -> tuple[np.ndarray, dict]:
    record = predict_scene(
        scene, model, out, PredictSettings(probability="float32", overwrite=True, **settings)
    )
    with rasterio.open(out / "scene_probability.tif") as src:
        return src.read(1), json.loads(record.read_text())


@pytest.mark.parametrize("network", NETWORKS)
def test_a_gpu_predicts_what_the_cpu_does(tmp_path, scene, network):
    prepare = nn.Module.eval if network == "unet-2015" else normalise_like_trained  # has no norm
    model = write_model(tmp_path / "m.safetensors", network, NETWORKS[network], prepare=prepare)
    exact = {"halo": "exact", "precision": "fp32"}
    on_cpu, _ = probability(tmp_path / "cpu", scene, model, device="cpu", **exact)
    on_gpu, record = probability(tmp_path / "gpu", scene, model, device="cuda", **exact)
    assert np.array_equal(np.isnan(on_gpu), np.isnan(on_cpu))
    assert np.nanmax(np.abs(on_gpu - on_cpu)) < 1e-4
    assert record["plan"]["device"] == "cuda"
    batched, _ = probability(
        tmp_path / "batched", scene, model, device="cuda", window=128, batch=4, **exact
    )
    assert np.nanmax(np.abs(batched - on_gpu)) < 1e-4


def test_bf16_on_a_gpu_keeps_the_mask(tmp_path, scene):
    model = write_model(
        tmp_path / "m.safetensors", "unet-same", {"base_width": 8}, prepare=normalise_like_trained
    )
    assert choose_precision("auto", "cuda") == "bf16"
    fine, _ = probability(tmp_path / "fine", scene, model, device="cuda", precision="fp32")
    coarse, record = probability(tmp_path / "coarse", scene, model, device="cuda")
    assert record["plan"]["precision"] == "bf16"
    flipped = (coarse >= 0.5) != (fine >= 0.5)
    assert flipped.mean() < 2e-2  # of random weights, which decide nothing sharply
    assert np.abs(fine - 0.5)[flipped].max() < 0.05


@pytest.mark.parametrize("compiled", [False, True])
def test_a_gpu_trains_and_goes_on(tmp_path, compiled):
    chips = write_chips(tmp_path / "chips", counts={"train": 8, "val": 2}, size=64)
    config = Config(
        network="unet-same",
        network_settings={"base_width": 8, "depth": 2},
        epochs=3,
        batch=4,
        device="cuda",
        compile=compiled,
    )
    train_model(chips, config, tmp_path / "run")
    header, network = load_model(tmp_path / "run" / "model.safetensors")
    assert set(header.training["scores"]) == {"val"}
    assert all(torch.isfinite(p).all() for p in network.parameters())
    assert not any("_orig_mod" in name for name in network.state_dict())


def test_too_large_a_batch_is_told_with_one_that_fits(tmp_path):
    chips = write_chips(tmp_path / "chips", counts={"train": 64}, size=256)
    config = Config(network="unet-same", epochs=1, batch=64, device="cuda", precision="fp32")
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(8 * 2**30 / total)
    try:
        with pytest.raises(
            ConfigError, match=r"64 chips do not fit in the memory of cuda.* do: --set"
        ):
            train_model(chips, config, tmp_path / "run")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
