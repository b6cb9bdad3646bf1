"""A small SWED: files of the true names, shapes and types, of a coast that is made up."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray

SIDE = 256
# Digital numbers of the twelve bands, as a dim sea and a green coast have them.
WATER = np.array([900, 700, 500, 300, 250, 220, 210, 180, 170, 160, 60, 40])
LAND = np.array([400, 500, 800, 700, 1200, 2300, 2700, 2900, 3000, 3100, 2000, 1200])
Change = Callable[[str, NDArray[np.int16], NDArray[np.int16]], None]


def product(tile: str, date: str = "20190325", baseline: str = "0211") -> str:
    """What a product of that tile is called."""
    return f"S2A_MSIL2A_{date}T151701_N{baseline}_R125_{tile}_{date}T193012"


def coast(rng: np.random.Generator) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """An image (256, 256, 12) and a label (256, 256) of a wavy coast, in some direction."""
    cols = np.arange(SIDE)
    shore = SIDE * rng.uniform(0.3, 0.7) + 20 * np.sin(2 * np.pi * (cols / SIDE + rng.uniform()))
    water = np.rot90(np.arange(SIDE)[:, None] > shore, int(rng.integers(4)))
    numbers = np.where(water[..., None], WATER, LAND) + rng.integers(-30, 31, (SIDE, SIDE, 12))
    return numbers.astype(np.int16), water.astype(np.int16)


def write_swed(
    folder: Path,
    *,
    tiles: Mapping[str, int],
    tests: int = 1,
    change: Change | None = None,
    seed: int = 0,
) -> Path:
    """Write `tiles` chips of each tile to train on, and `tests` chips, each of a place of its own.

    `change` may edit image and label of each in place; it is told the name of the image.
    """
    rng = np.random.default_rng(seed)
    for part in ("train", "test"):
        for kind in ("images", "labels"):
            (folder / part / kind).mkdir(parents=True)
    for tile, count in tiles.items():
        for number in range(count):
            place = f"{number // 42}_{number % 42}"
            image, label = coast(rng)
            name = f"{product(tile)}_image_{place}"
            if change is not None:
                change(name, image, label)
            np.save(folder / "train" / "images" / f"{name}.npy", image)
            where = folder / "train" / "labels" / f"{product(tile)}_chip_{place}.npy"
            np.save(where, label[None])
    for number in range(tests):
        image, label = coast(rng)
        scene = product(f"T{number + 10}XYZ")
        name = f"{scene}_image_0_{number}"
        if change is not None:
            change(name, image, label)
        write_tif(folder / "test" / "images" / f"{name}.tif", np.moveaxis(image, -1, 0))
        write_tif(folder / "test" / "labels" / f"{scene}_label_0_{number}.tif", label[None])
    return folder


def write_tif(path: Path, values: NDArray[np.int16]) -> None:
    """Write as the test chips are: unsigned, so that −1 is 65535, and in degrees."""
    count, height, width = values.shape
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=count,
        height=height,
        width=width,
        dtype="uint16",
        crs="EPSG:4326",
        transform=Affine(9e-5, 0, -9, 0, -9e-5, 40),
    ) as dst:
        dst.write(values.astype(np.uint16))
