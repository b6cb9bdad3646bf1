"""Exported models on numbers of real scenes."""

import numpy as np
import pytest
from exporting import NETWORKS, RUNNERS, engine, inside, lively
from predicting import write_model
from rasterio.windows import Window

from geounet.export import ExportSettings, export_model
from geounet.model_file import load_model
from geounet.scene import SceneOptions, gdal_environment, open_scene

NAMES = ("B02", "B03", "B04", "B8A")
SIDE = 320


@pytest.fixture(scope="module")
def piece(shared_data):
    """DN (1, 4, H, W), valid (1, H, W) and scaling of a window on the coast of Fiji, L2A, 60 m."""
    (folder,) = (shared_data / "fiji_s2_l2a_safe").glob("*.SAFE/GRANULE/*/IMG_DATA/R60m")
    with gdal_environment(), open_scene(folder, SceneOptions(scale=1e-4)) as scene:
        window = Window(col_off=600, row_off=500, width=SIDE, height=SIDE)
        pixels = scene.read_dn(NAMES, window)
        scaling = scene.scaling(NAMES)
    assert pixels.values.std() > 100
    return pixels.values[None], pixels.valid[None], scaling


@pytest.mark.slow  # a minute for each, most of it tracing
@pytest.mark.parametrize("network", list(NETWORKS))
def test_onnx_torch_and_geounet_agree_on_a_real_window(piece, tmp_path, network):
    dn, valid, scaling = piece
    model = write_model(
        tmp_path / "m.safetensors", network, NETWORKS[network], names=NAMES, prepare=lively
    )
    built = load_model(model)[1]
    side = built.fit(SIDE - built.stride + 1)
    dn, valid = dn[..., :side, :side], valid[..., :side, :side]
    wanted = engine(model).probabilities(dn, valid, *scaling.coefficients())
    known = inside(valid, built.margin)
    settings = ExportSettings(scale=scaling.scale[0], offset=scaling.offset[0])
    for form, run in RUNNERS.items():
        found = run(export_model(model, tmp_path / f"m.{form}", form, settings), dn)
        assert np.abs(found - wanted).max(axis=1)[known].max() < 1e-4, form
        np.testing.assert_array_equal(np.isfinite(found[:, 0]), known)
    assert wanted[:, 1][known].std() > 0.01
