"""Small chip folders to train on: a wavy coast, dark water, noise, and a corner without data."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from scipy.ndimage import uniform_filter
from shapely.geometry import box

from geounet.bands import SENSORS, Band
from geounet.chips import CHIPS_MARK, ChipRecord, ChipWriter
from geounet.classes import LAND_WATER, LabelClass
from geounet.outputs import stage_folder

IGNORE = 255
WATER_REFLECTANCE = {"B02": 0.06, "B03": 0.05, "B04": 0.03, "B08": 0.01}
LAND_REFLECTANCE = {"B02": 0.05, "B03": 0.08, "B04": 0.06, "B08": 0.30}


def s2_bands(names: Sequence[str]) -> tuple[Band, ...]:
    return tuple(next(b for b in SENSORS["s2"] if b.name == name) for name in names)


def coast(
    rng: np.random.Generator, side: int, names: Sequence[str]
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Values (bands, side, side) and a label of a wavy coast, in some direction."""
    cols = np.arange(side)
    shore = side * rng.uniform(0.3, 0.7) + side / 8 * np.sin(
        2 * np.pi * (cols / side * rng.uniform(0.5, 2) + rng.uniform())
    )
    water = np.rot90(np.arange(side)[:, None] > shore, int(rng.integers(4)))
    values = np.stack(
        [
            np.where(water, WATER_REFLECTANCE.get(n, 0.03), LAND_REFLECTANCE.get(n, 0.2))
            for n in names
        ]
    ) + rng.normal(scale=0.01, size=(len(names), side, side))
    return values.astype(np.float32), water.astype(np.uint8)


def write_chips(
    folder: Path,
    *,
    counts: Mapping[str, int],
    size: int = 32,
    context: int = 0,
    names: Sequence[str] = ("B02", "B03", "B04", "B08"),
    classes: Sequence[LabelClass] = LAND_WATER,
    change: Callable[[str, NDArray[np.float32], NDArray[np.uint8]], None] | None = None,
    seed: int = 0,
    shares: bool = False,
) -> Path:
    """Write a chip folder with `counts` of chips by split; `change` may edit each in place.

    Shares of water, if asked for, are those of the 3 × 3 pixels around.
    """
    rng = np.random.default_rng(seed)
    side = size + 2 * context
    with stage_folder(folder, overwrite=False, mark=CHIPS_MARK) as scratch:
        writer = ChipWriter(
            scratch,
            bands=s2_bands(names),
            classes=classes,
            sensor="s2",
            level="L2A",
            context=context,
            shares=shares,
        )
        number = 0
        for split, count in counts.items():
            for _ in range(count):
                values, label = coast(rng, side, names)
                values[:, :4, :4] = np.nan
                label[:4, :4] = IGNORE
                if context:
                    ring = np.ones_like(label, dtype=bool)
                    ring[context:-context, context:-context] = False
                    label[ring] = IGNORE
                if change is not None:
                    change(split, values, label)
                left = 300_000 + 10_000 * number
                transform = Affine(10, 0, left, 0, -10, 6_000_000)
                geobox = GeoBox((side, side), transform, "EPSG:32630")
                known = label != IGNORE
                water = (label == 1) & known
                writer.write(
                    ChipRecord(
                        chip=f"chip_{number:03}",
                        split=split,
                        block=f"{number}_0",
                        scene="made",
                        time=None,
                        row=0,
                        col=number * side,
                        crs="EPSG:32630",
                        water=float(water.sum() / known.sum()) if known.any() else float("nan"),
                        valid=float(known.sum() / size**2),
                        coast_m=10.0 * float(np.abs(np.diff(water.astype(int), axis=0)).sum()),
                        geometry=box(number, 0, number + 1, 1),
                    ),
                    values,
                    label,
                    geobox,
                    np.where(known, uniform_filter(water.astype(np.float32), 3), np.float32(np.nan))
                    if shares
                    else None,
                )
                number += 1
        writer.finish(
            size=size,
            stride=size,
            res_m=(10.0, 10.0),
            split={"by": "block", "block_m": 1000.0, "seed": 0},
            sources=[],
        )
    return folder
