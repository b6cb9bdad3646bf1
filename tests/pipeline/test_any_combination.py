"""Any network, loss, number of bands and of classes: two steps of training, then a mask."""

import numpy as np
import pytest
import rasterio
from predicting import L2A, wavy_dn, write_scene
from training_chips import write_chips

from geounet.classes import LAND_WATER, LabelClass
from geounet.config import Config, LossSettings
from geounet.predict import PredictSettings, predict_scene
from geounet.train import train_model

BANDS = {1: L2A[7:8], 4: ("B02", "B03", "B04", "B08"), 11: L2A[:11], 12: L2A}
CLASSES = {
    2: LAND_WATER,
    4: (
        *LAND_WATER,
        LabelClass(2, "surf", water=True, color="#aaaaff"),
        LabelClass(3, "flats", water=False, color="#ccaa66"),
    ),
}
SMALL = {"base_width": 2, "depth": 2}
NETWORKS = {
    **dict.fromkeys(
        ("unet-same", "unet-bilinear", "unet-deconv4", "unet-dropout", "unet-dropout-pool"), SMALL
    ),
    **dict.fromkeys(("fcn-add", "no-skip", "unet-2015"), SMALL),
    "smp/unet/resnet18": {},
    "smp/linknet/mobilenet_v2": {},
    "smp/pspnet/resnet18": {},  # of these two, windows are blended
    "smp/deeplabv3plus/mobilenet_v2": {},
}
ALONE = (
    *("jaccard", "tversky", "lovasz", "mcc", "focal", "soft_cross_entropy", "soft_bce"),
    *("boundary", "sobel"),
)
LOSSES = [
    {"cross_entropy": 1, "dice": 0},
    {"cross_entropy": 0, "dice": 1},
    {"cross_entropy": 1, "dice": 0, "border": {}},
    *({"cross_entropy": 0, "dice": 0, name: 1} for name in ALONE),
]
"""Each loss by itself, and what is weighted."""


def combinations():
    """Every network and every loss at least once, with every number of bands and classes."""
    names, sizes = list(NETWORKS), [(b, c) for b in BANDS for c in CLASSES]
    for i in range(max(len(names), len(LOSSES)) + 3):
        bands, classes = sizes[i % len(sizes)]
        yield names[i % len(names)], LOSSES[i % len(LOSSES)], bands, classes


def several_classes(count):
    def change(_split, _values, label):
        for value in range(2, count):
            label[8 * value - 8 : 8 * value - 4, 10:20] = value

    return change


@pytest.mark.parametrize(("network", "loss", "bands", "classes"), list(combinations()))
def test_two_steps_of_training_and_a_mask(tmp_path, network, loss, bands, classes):
    names = BANDS[bands]
    chips = write_chips(
        tmp_path / "chips",
        counts={"train": 4, "val": 1},
        names=names,
        classes=CLASSES[classes],
        change=several_classes(classes),
    )
    config = Config(
        network=network,
        network_settings=NETWORKS[network],
        loss=LossSettings(**loss),
        epochs=1,
        batch=2,
        workers=0,
        precision="fp32",
        device="cpu",
    )
    model = train_model(chips, config, tmp_path / "run")
    scene = write_scene(tmp_path / "scene.tif", wavy_dn(72, 100, bands=len(names)), names=names)
    predict_scene(scene, model, tmp_path / "out", PredictSettings(device="cpu"))
    with rasterio.open(tmp_path / "out" / "scene_mask.tif") as src:
        mask = src.read(1)
    assert set(np.unique(mask).tolist()) <= {one.value for one in CLASSES[classes]}
    assert mask.shape == (72, 100)


def test_every_loss_and_network_is_among_them():
    tried = list(combinations())
    assert {network for network, *_ in tried} == set(NETWORKS)
    assert set(LossSettings(**dict.fromkeys(ALONE, 1)).parts) == {*ALONE, "cross_entropy", "dice"}
    assert {(bands, classes) for _, _, bands, classes in tried} >= {(1, 2), (12, 4), (11, 2)}
