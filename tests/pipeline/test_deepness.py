"""What Deepness makes of an exported file, by the arithmetic of the plugin and its ONNX Runtime.

Tiles, extents and standardisation are those of the plugin's 0.6.5 (`extent_utils`, `tile_params`,
`processing_utils`, `map_processor_segmentation`), written anew for arrays: the layer is a scene,
north up, whole.
"""

import json
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import rasterio
from exporting import NAMES, session_of, taught
from numpy.typing import NDArray
from predicting import wavy_dn, write_model, write_scene

from geounet.errors import ConfigError
from geounet.export import ExportSettings, export_model
from geounet.export.deepness import choose_tiles
from geounet.model_file import load_model
from geounet.predict import PredictSettings, predict_scene

BUILD = Path(__file__).parents[2] / "build" / "onnxruntime-1.17"
OLD = ["onnxruntime==1.17.0", "numpy<2"]
"""What the plugin pins."""
RUN = """
import sys
import numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
tiles = numpy.load(sys.argv[2])
found = [session.run(None, {session.get_inputs()[0].name: tile})[0] for tile in tiles[:, None]]
numpy.save(sys.argv[3], numpy.concatenate(found))
print(onnxruntime.__version__)
"""


@pytest.fixture(scope="module")
def old_python() -> Path:
    """Python with the ONNX Runtime that the plugin has, made once and kept."""
    python = BUILD / "bin" / "python"
    if not (BUILD / "complete").is_file():
        if sys.version_info[:2] > (3, 12):
            pytest.skip("onnxruntime 1.17 has no wheels for Python after 3.12")
        venv.create(BUILD, with_pip=True, clear=True)
        install = [python, "-m", "pip", "install", "--quiet", *OLD]
        made = subprocess.run(install, capture_output=True, text=True, check=False)
        if made.returncode:
            pytest.skip(f"{OLD[0]} cannot be had here: {made.stderr.strip()[-200:]}")
        (BUILD / "complete").touch()
    return python


def metadata(path: Path) -> dict[str, Any]:
    """What the plugin reads of a file, each value from its JSON."""
    said = onnx.load(str(path), load_external_data=False).metadata_props
    return {one.key: json.loads(one.value) for one in said}


class Plugin:
    """A layer cut into tiles and put together again."""

    def __init__(self, said: dict[str, Any], shape: tuple[int, int]) -> None:
        self.side = said["tile_size"]
        overlap = int(self.side * said["tiles_overlap"] / 100 * 2) // 2
        self.step = self.side - overlap
        self.mean, self.std = said["standardization_mean"], said["standardization_std"]
        self.shape = shape
        # Whole tiles: what is missing is added on the right, and above.
        beyond = [(self.step - (length - self.side) % self.step) % self.step if length > self.side
                  else self.side - length for length in shape]  # fmt: skip
        self.above, self.right = beyond
        self.counts = [
            (length + more - self.side) // self.step + 1
            for length, more in zip(shape, beyond, strict=True)
        ]

    def tiles(self, layer: NDArray[np.uint16]) -> NDArray[np.float32]:
        """(tiles, bands, side, side) as the network is given them."""
        wide = np.pad(layer, [(0, 0), (self.above, 0), (0, self.right)])  # outside is 0
        mean, std = (np.array(v)[None, None, None] for v in (self.mean, self.std))
        found = []
        for row in range(self.counts[0]):
            for col in range(self.counts[1]):
                top, left = row * self.step, col * self.step
                tile = wide[:, top : top + self.side, left : left + self.side].transpose(1, 2, 0)
                x = (tile[None] / 255.0).astype("float32")
                found.append(((x - mean) / std).astype("float32").transpose(0, 3, 1, 2)[0])
        return np.stack(found)

    def mask(self, answers: NDArray[np.float32], threshold: float) -> NDArray[np.int64]:
        """The class of each pixel of the layer; half of an overlap is kept from each tile."""
        height, width = self.shape
        whole = np.full((height + self.above, width + self.right), -1)
        half = (self.side - self.step) // 2
        for i, probs in enumerate(answers):
            row, col = divmod(i, self.counts[1])
            kept = np.where(probs < threshold, 0, probs).argmax(axis=0)
            spans = []
            for at, count in ((row, self.counts[0]), (col, self.counts[1])):
                start = 0 if at == 0 else half
                stop = self.side if at == count - 1 else self.side - half
                spans.append((slice(at * self.step + start, at * self.step + stop),
                              slice(start, stop)))  # fmt: skip
            whole[spans[0][0], spans[1][0]] = kept[spans[0][1], spans[1][1]]
        return whole[self.above :, :width]


def of_predict(scene: Path, model: Path, out: Path) -> NDArray[np.uint8]:
    predict_scene(scene, model, out, PredictSettings(precision="fp32", device="cpu"))
    with rasterio.open(out / f"{scene.stem}_mask.tif") as src:
        return src.read(1)


@pytest.mark.parametrize(
    ("network", "settings"),
    [
        ("unet-same", {"base_width": 4, "depth": 3}),
        ("unet-2015", {"base_width": 4, "depth": 2, "norm": "batch"}),
    ],
)
def test_the_plugin_s_mask_is_that_of_predict(tmp_path, old_python, network, settings):
    model = write_model(tmp_path / "m.safetensors", network, settings, names=NAMES, prepare=taught)
    file = export_model(model, tmp_path / "m.onnx", "deepness")
    said = metadata(file)
    dn = wavy_dn(1024, 1160, seed=8, bands=len(NAMES))
    plugin = Plugin(said, dn.shape[1:])
    np.save(tmp_path / "tiles.npy", plugin.tiles(dn))
    line = [old_python, "-c", RUN, file, tmp_path / "tiles.npy", tmp_path / "answers.npy"]
    run = subprocess.run(line, capture_output=True, text=True, check=True)
    assert run.stdout == "1.17.0\n"
    found = plugin.mask(np.load(tmp_path / "answers.npy"), said["seg_thresh"])
    wanted = of_predict(write_scene(tmp_path / "scene.tif", dn, names=NAMES), model, tmp_path / "o")
    assert plugin.counts[0] > 1
    assert plugin.counts[1] > 1
    assert 0.2 < wanted.mean() < 0.8
    wrong = found != wanted
    assert wrong.mean() < 1e-3
    # Beyond the scene the plugin has nodata, where predict has the scene mirrored.
    halo = load_model(model)[0].halo_default
    assert wrong[halo:-halo, halo:-halo].mean() < 1e-5


def test_metadata_are_what_the_plugin_reads(tmp_path):
    model = write_model(
        tmp_path / "m.safetensors", "unet-same", {"base_width": 2, "depth": 2}, names=NAMES
    )
    file = export_model(model, tmp_path / "m.onnx", "deepness", ExportSettings(size=320))
    said = metadata(file)
    assert said["model_type"] == "Segmentor"
    assert said["class_names"] == {"0": "land", "1": "water"}
    assert said["resolution"] == 1000  # centimetres
    assert said["tile_size"] == said["tiles_size"] == 320
    assert isinstance(said["tiles_overlap"], int)
    assert said["seg_small_segment"] == 0
    assert len(said["standardization_mean"]) == len(said["standardization_std"]) == len(NAMES)
    (given,), (gives,) = session_of(file).get_inputs(), session_of(file).get_outputs()
    assert given.shape[1:] == [len(NAMES), 320, 320]
    assert gives.shape[1:] == [2, 320, 320]
    loaded = onnx.load(str(file))
    assert loaded.ir_version <= 9
    assert all(one.version <= 20 for one in loaded.opset_import)


@pytest.mark.parametrize("network", ["unet-same", "unet-2015"])
@pytest.mark.parametrize("size", [None, 640, 1000])
def test_tiles_step_by_whole_strides_and_share_two_halos(tmp_path, network, size):
    path = tmp_path / "m.safetensors"
    header, built = load_model(write_model(path, network, {"base_width": 2}, names=NAMES))
    try:
        tiles = choose_tiles(header, built, size)
    except ConfigError as error:
        assert size is not None
        assert "--size" in str(error)  # noqa: PT017  either answer is sound
        return
    shared = tiles.side * tiles.percent / 100
    assert shared == int(shared)
    assert (tiles.side - shared) % built.stride == 0
    assert shared // 2 >= header.halo_default
    assert tiles.side % built.stride == 0
