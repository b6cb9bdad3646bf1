"""Draw docs/images/qgis.png with QGIS: how lines look, and a coast over six years.

.venv/bin/python docs/images/lines_in_qgis.py       # wants Debian's python3-qgis beside
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from geounet.atlas import write_atlas
from geounet.baseline import baseline_scene
from geounet.classes import LAND_WATER
from geounet.outputs import stage_set
from geounet.products import Field, write_products
from geounet.scene import CloudOptions, SceneOptions, gdal_environment, open_scene

HERE = Path(__file__).parent
SHAPE = (300, 300)
GRID = {
    "crs": "EPSG:32630",
    "transform": Affine(10, 0, 500_000, 0, -10, 4_500_000),
    "driver": "GTiff",
    "height": SHAPE[0],
    "width": SHAPE[1],
}
LAND, WATER, CLOUD = (900, 1300, 1500, 3000), (700, 700, 450, 150), 2400
BANDS = ("B02", "B03", "B04", "B08")


def write_raster(path: Path, values: NDArray[np.generic], **profile: object) -> None:
    """Write (height, width)."""
    with rasterio.open(path, "w", count=1, dtype=values.dtype, **GRID, **profile) as dst:
        dst.write(values, 1)


def write_scene(
    path: Path, water: NDArray[np.float64], time: str, clouds: NDArray[np.bool_] | None = None
) -> None:
    """Write a Sentinel-2 scene of which each pixel has a share of water."""
    rng = np.random.default_rng(3)
    land = np.array(LAND)[:, None, None] * (1 + 0.1 * gaussian_filter(rng.normal(size=SHAPE), 2))
    dn = land + (np.array(WATER)[:, None, None] - land) * water + rng.normal(0, 20, (4, *SHAPE))
    if clouds is not None:
        dn = np.where(clouds, CLOUD, dn)
    with rasterio.open(path, "w", count=4, dtype="uint16", nodata=0, **GRID) as dst:
        dst.write((dn + 1000).astype(np.uint16))
        dst.descriptions = BANDS
        dst.scales, dst.offsets = [1e-4] * 4, [-0.1] * 4
        dst.update_tags(sensor="s2", level="L2A")
        dst.update_tags(ns="IMAGERY", ACQUISITIONDATETIME=time)


def draw_line(folder: Path) -> Path:
    """Make a result with a blurred island and coast near cloud; its project."""
    rows, cols = np.indices(SHAPE)
    rough = gaussian_filter(np.random.default_rng(4).normal(size=SHAPE), 9)
    inward = (cols - 110 + 30 * np.sin(rows / 40) + 12 * np.sin(rows / 13)) / 2 + 150 * rough
    sharp = np.hypot(rows - 75, cols - 215) - 24 + 60 * rough
    blurred = (np.hypot(rows - 190, cols - 215) - 26) / 14
    around = np.hypot(rows - 190, cols - 215) < 60
    doubt = np.where(around, blurred, np.minimum(inward, sharp))
    probability = 1 / (1 + np.exp(-np.clip(doubt, -30, 30)))
    clouds = (np.hypot(rows - 120, (cols - 120) / 1.6) < 26) | (
        np.hypot(rows - 60, cols - 240) < 17
    )
    write_scene(folder / "coast.tif", probability, "2021-06-01T10:11:12Z", clouds)
    write_raster(folder / "clouds.tif", clouds.astype(np.uint8))
    write_raster(folder / "probability.tif", probability.astype(np.float32))
    field = Field(folder / "probability.tif", "probability", 0.5, BANDS)
    options = SceneOptions(clouds=CloudOptions(file=str(folder / "clouds.tif")))
    with (
        gdal_environment(),
        open_scene(folder / "coast.tif", options) as scene,
        stage_set(folder / "out", scene.name, overwrite=False) as (stage, _),
    ):
        said = {"model": "coast", "position_u95_m": 8.0}
        write_products(
            stage, scene, field, classes=LAND_WATER, probability_dtype="uint8", attributes=said
        )
    return folder / "out" / "coast.qgz"


def draw_years(folder: Path) -> Path:
    """Make the baselines of a coast that gives way, and their project."""
    rows, cols = np.indices(SHAPE)
    for number, year in enumerate(range(2016, 2022)):
        shore = 210 - 17 * number + 25 * np.sin(rows / 40) + 12 * np.sin(rows / 17 + number / 3)
        path = folder / f"scene{year}.tif"
        write_scene(path, np.clip(cols - shore + 0.5, 0, 1), f"{year}-06-1{number}T10:11:12Z")
        baseline_scene(path, folder / str(year))
    return write_atlas([folder], folder / "years.qgz").path


def main() -> None:
    """Draw both."""
    with tempfile.TemporaryDirectory() as folder:
        places = Path(folder, "line"), Path(folder, "years")
        for place in places:
            place.mkdir()
        projects = draw_line(places[0]), draw_years(places[1])
        program, out = HERE / "qgis_layout.py", HERE / "qgis.png"
        subprocess.run(["/usr/bin/python3", program, out, *projects], check=True)
    sys.stdout.write(f"{out}\n")


if __name__ == "__main__":
    main()
