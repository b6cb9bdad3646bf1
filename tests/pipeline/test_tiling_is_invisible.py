"""Promise 1: the probability of a pixel does not depend on the window that it was in.

The oracle is one pass of the plain network over the whole scene, mirrored on every side by the
exact halo and then up to a multiple of the stride.
"""

import os
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
import torch
from numpy.typing import NDArray
from predicting import normalise_like_trained, wavy_dn, write_model, write_scene
from torch import nn

from geounet.classes import LAND_WATER
from geounet.model_file import load_model
from geounet.outputs import stage_set
from geounet.predict import PredictSettings, predict_scene
from geounet.products import Field, write_products
from geounet.scene import open_scene
from geounet.windows import round_up

NETWORKS = {
    # Full depth, so that stride and exact halo are those of the shipped networks.
    "unet-same": ({"base_width": 6}, 96, 16),
    "smp/unet/resnet18": ({}, 288, 32),
}
WEIGHTS = {"random": nn.Module.eval, "like-trained": normalise_like_trained}
CASES = [  # the halo of the second network is most of its windows: one size will do once
    ("unet-same", "random", (128, 224)),
    ("unet-same", "like-trained", (128, 224)),
    ("smp/unet/resnet18", "random", (256,)),
    ("smp/unet/resnet18", "like-trained", (192, 256)),
]


def whole_pass(scene: Path, model: Path) -> NDArray[np.float32]:
    """Probability of water, (height, width), in one pass; NaN where a band has no data."""
    header, network = load_model(model)
    with open_scene(scene) as opened:
        names = [fields["name"] for fields in header.bands]
        everything = rasterio.windows.Window(0, 0, opened.geobox.width, opened.geobox.height)
        reflectance, valid = opened.read(names, everything)
    mean, std = (np.array(a, np.float32)[:, None, None] for a in (header.mean, header.std))
    standardised = np.where(valid, (reflectance - mean) / std, np.float32(0))
    halo = header.halo_exact
    pads = [(halo, round_up(side + 2 * halo, header.stride) - side - halo) for side in valid.shape]
    x = np.pad(standardised, [(0, 0), *pads], mode="reflect")
    with torch.inference_mode():
        probs = network(torch.from_numpy(x)[None]).softmax(dim=1)[0].numpy()
    kept = probs[:, halo : halo + valid.shape[0], halo : halo + valid.shape[1]]
    water = kept[[fields["water"] for fields in header.classes]].sum(axis=0)
    return np.where(valid, water, np.float32(np.nan))


def products_of(
    probability: NDArray[np.float32], scene: Path, folder: Path, *, level: float
) -> None:
    """Write what `predict` writes, but of a probability that was made otherwise."""
    with (
        open_scene(scene) as opened,
        stage_set(folder, opened.name, overwrite=False) as (stage, _),
    ):
        path = stage.temporary("p.tif")
        write_scene(path, probability[None], names=("p",), nodata=np.nan)
        write_products(
            stage,
            opened,
            Field(path=path, quantity="probability", level=level, bands=opened.bands),
            classes=LAND_WATER,
            probability_dtype="float32",
            attributes={"model": "m.safetensors", "position_u95_m": None},
        )


def level_between(probability: NDArray[np.float32]) -> float:
    """Return a level near the median that no pixel is close to, where rounding could decide."""
    near = np.sort(probability[np.isfinite(probability)].astype(np.float64))
    near = near[len(near) * 4 // 10 : len(near) * 6 // 10]
    widest = np.diff(near).argmax()
    return float(near[widest : widest + 2].mean())


def read(path: Path) -> NDArray[Any]:
    with rasterio.open(path) as src:
        return src.read(1)


def coastline(folder: Path) -> NDArray[np.object_]:
    """Every piece of the coastline between two vertices, as a line, (n,)."""
    (path,) = folder.glob("*.gpkg")
    lines = geopandas.read_file(path, layer="coastline").geometry.to_numpy()
    coords, which = shapely.get_coordinates(lines, return_index=True)
    pieces = np.stack([coords[:-1], coords[1:]], axis=1)[which[1:] == which[:-1]]
    return shapely.linestrings(pieces)


def distances(lines: NDArray[np.object_], others: NDArray[np.object_]) -> NDArray[np.float64]:
    """From the start of every piece to the nearest of the others, in metres, (n,)."""
    starts = shapely.get_point(lines, 0)
    (_, _), found = shapely.STRtree(others).query_nearest(
        starts, all_matches=False, return_distance=True
    )
    return found


@pytest.mark.parametrize(("name", "weights", "windows"), CASES)
def test_windows_and_one_pass_agree(name, weights, windows, tmp_path):
    overrides, halo, stride = NETWORKS[name]
    model = write_model(tmp_path / "m.safetensors", name, overrides, prepare=WEIGHTS[weights])
    dn = wavy_dn(250, 330, seed=3)
    dn[:, :30, :45] = 0
    dn[4, 120:140, 200:230] = 0
    scene = write_scene(tmp_path / "scene.tif", dn)
    header, _ = load_model(model)
    assert (header.halo_exact, header.stride) == (halo, stride)

    whole = whole_pass(scene, model)
    level = level_between(whole)
    products_of(whole, scene, tmp_path / "whole", level=level)
    mask, lines = read(tmp_path / "whole/scene_mask.tif"), coastline(tmp_path / "whole")
    assert len(lines) > 5000  # there is something to agree on
    for window in windows:
        settings = PredictSettings(
            window=window,
            halo="exact",
            precision="fp32",
            probability="float32",
            threshold=level,
        )
        out = tmp_path / str(window)
        predict_scene(scene, model, out, settings)
        windowed = read(out / "scene_probability.tif")
        np.testing.assert_array_equal(np.isnan(windowed), np.isnan(whole))
        assert np.nanmax(np.abs(windowed - whole)) < 1e-4
        np.testing.assert_array_equal(read(out / "scene_mask.tif"), mask)
        drawn = coastline(out)
        assert len(drawn) == len(lines)
        for moved in (distances(drawn, lines), distances(lines, drawn)):
            # Pixels are 10 m. Where the field is flat, rounding moves a line further.
            assert np.quantile(moved, 0.99) < 0.1
            assert moved.max() < 5


def test_a_narrower_halo_would_be_seen(tmp_path):
    # Otherwise the test above could not fail.
    overrides, _, _ = NETWORKS["unet-same"]
    model = write_model(
        tmp_path / "m.safetensors", "unet-same", overrides, prepare=normalise_like_trained
    )
    scene = write_scene(tmp_path / "scene.tif", wavy_dn(250, 330, seed=3))
    settings = PredictSettings(window=128, halo=16, precision="fp32", probability="float32")
    predict_scene(scene, model, tmp_path / "out", settings)
    windowed = read(tmp_path / "out/scene_probability.tif")
    assert np.abs(windowed - whole_pass(scene, model)).max() > 1e-4


@pytest.mark.slow
@pytest.mark.skipif("GEOUNET_MODEL" not in os.environ, reason="GEOUNET_MODEL names a model file")
def test_a_trained_model_agrees_at_512_and_1024(tmp_path):
    """With a model and, if `GEOUNET_SCENE` names one, a scene of the user's."""
    model = Path(os.environ["GEOUNET_MODEL"])
    header, _ = load_model(model)
    names = [fields["name"] for fields in header.bands]
    given = os.environ.get("GEOUNET_SCENE")
    scene = Path(given) if given else tmp_path / "scene.tif"
    if not given:
        write_scene(scene, wavy_dn(1300, 1500, bands=len(names)), names=names)
    whole = whole_pass(scene, model)
    for window in (512, 1024):
        settings = PredictSettings(
            window=window, halo="exact", precision="fp32", probability="float32"
        )
        record = predict_scene(scene, model, tmp_path / str(window), settings)
        windowed = read(record.with_name(f"{record.stem}_probability.tif"))
        np.testing.assert_array_equal(np.isnan(windowed), np.isnan(whole))
        assert np.nanmax(np.abs(windowed - whole)) < 1e-4
