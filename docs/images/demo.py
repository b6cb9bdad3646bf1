"""Draw README's picture from the folder that `make demo` made: python docs/images/demo.py demo."""

import sys
from pathlib import Path

import geopandas
import matplotlib.pyplot as plt
import numpy as np
import rasterio
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from rasterio.plot import plotting_extent

from geounet.classes import LAND, WATER

HERE = Path(__file__).parent
CLOSE_UP_PX = 40
LINE = "#d62728"


def draw(demo: Path, out: Path) -> None:
    """Draw scene and line, mask, and a close-up beside the exact line."""
    with rasterio.open(demo / "out" / "test_rgb.tif") as src:
        rgb, extent = np.moveaxis(src.read(), 0, -1), plotting_extent(src)
        res = src.res[0]
    with rasterio.open(demo / "out" / "test_mask.tif") as src:
        mask = np.ma.masked_equal(src.read(1), 255)
    line = geopandas.read_file(demo / "out" / "test.gpkg", layer="coastline")
    exact = geopandas.read_file(demo / "scenes" / "test_truth.gpkg", layer="waterline")
    figure, (scene, classes, near) = plt.subplots(1, 3, figsize=(12, 4.2), layout="constrained")
    scene.imshow(rgb, extent=extent)
    line.plot(ax=scene, color=LINE, linewidth=0.6)
    scene.set_title("scene and predicted waterline")
    classes.imshow(mask, extent=extent, cmap=ListedColormap([LAND.color, WATER.color]))
    classes.set_title("mask")
    near.imshow(rgb, extent=extent, interpolation="nearest")
    line.plot(ax=near, color=LINE, linewidth=1.6, label="predicted")
    exact.plot(ax=near, color="black", linewidth=1.0, linestyle="--", label="exact")
    _close_up(near, line, CLOSE_UP_PX * res)
    near.legend(loc="lower right")
    near.set_title(f"{CLOSE_UP_PX} × {CLOSE_UP_PX} pixels")
    for axes in (scene, classes, near):
        axes.set(xticks=[], yticks=[], xlabel="", ylabel="")
    figure.savefig(out, dpi=80, metadata={"Software": None})


def _close_up(axes: Axes, line: geopandas.GeoDataFrame, side: float) -> None:
    """Show the square around the middle of the longest line."""
    middle = line.geometry.iloc[line.length.argmax()].interpolate(0.5, normalized=True)
    axes.set_xlim(middle.x - side / 2, middle.x + side / 2)
    axes.set_ylim(middle.y - side / 2, middle.y + side / 2)


if __name__ == "__main__":
    draw(Path(sys.argv[1]), HERE / "demo.png")
