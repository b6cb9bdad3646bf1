"""Networks without an exact halo: trained for two steps, then a scene larger than a window."""

import json

import numpy as np
import pytest
import rasterio
from predicting import wavy_dn, write_scene
from training_chips import write_chips

from geounet.config import Config
from geounet.model_file import load_model
from geounet.predict import PredictSettings, predict_scene
from geounet.train import train_model

NAMES = ("B02", "B03", "B04", "B08")
NETWORKS = {
    "smp/fpn/resnet18": 64,
    "smp/deeplabv3/resnet18": 32,
    "smp/deeplabv3plus/mobilenet_v2": 32,
    "smp/pspnet/resnet18": 32,
    "smp/pan/resnet18": 128,
    "smp/upernet/resnet18": 64,
    "smp/segformer/mit_b0": 64,
    "smp/manet/resnet18": 64,
    "smp/unet/efficientnet-b0": 64,
    "smp/unet/mit_b0": 64,
    "smp/dpt/tu-vit_tiny_patch16_224": 64,
    "smp/unet/tu-swinv2_tiny_window8_256": 64,
}
"""And the side of the chips that each is trained on, in pixels."""


@pytest.fixture(scope="module")
def chips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chips")
    return {
        side: write_chips(folder / str(side), counts={"train": 4, "val": 1}, names=NAMES, size=side)
        for side in set(NETWORKS.values())
    }


@pytest.mark.parametrize("network", list(NETWORKS))
def test_two_steps_of_training_and_a_blended_scene(tmp_path, chips, network):
    side = NETWORKS[network]
    config = Config(network=network, epochs=1, batch=2, workers=0, precision="fp32", device="cpu")
    model = train_model(chips[side], config, tmp_path / "run")
    header, built = load_model(model)
    assert header.halo_exact is None
    assert header.blend.window == side
    assert header.blend.overlap == max(side // 4, built.stride)
    dn = wavy_dn(side + 40, side + 70, bands=len(NAMES))
    dn[:, :20, :30] = 0
    scene = write_scene(tmp_path / "scene.tif", dn, names=NAMES)
    settings = PredictSettings(device="cpu", precision="fp32", probability="float32", batch=2)
    record = json.loads(predict_scene(scene, model, tmp_path / "out", settings).read_text())
    assert record["blended"] is True
    assert record["windows"]["run"] >= 4
    seams = record["blending"]["seams"]
    assert 0 < seams["difference_mean"] <= seams["largest_difference"] <= 1
    assert seams["pixels"] > 0
    with rasterio.open(tmp_path / "out" / "scene_probability.tif") as src:
        probability = src.read(1)
    np.testing.assert_array_equal(np.isnan(probability), dn[0] == 0)
    assert np.nanmin(probability) >= 0
    assert np.nanmax(probability) <= 1
