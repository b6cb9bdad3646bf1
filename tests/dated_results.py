"""Results of one coast on several dates, each further to the right than the one before."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from contouring import UTM

from geounet.baseline import baseline_scene

SHAPE = (40, 60)


def make_result(folder: Path, name: str, time: str | None, *, water_from: int, **grid: Any) -> Path:
    """Write a scene with water right of a column, and its baseline in `folder`; the record."""
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "scenes" / f"{name}.tif"
    source.parent.mkdir(exist_ok=True)
    is_water = np.arange(SHAPE[1]) >= water_from
    land, water = [1800, 2000, 2200, 3500], [1700, 1600, 1400, 1200]
    dn = np.where(is_water, np.array(water)[:, None, None], np.array(land)[:, None, None])
    dn = np.broadcast_to(dn, (4, *SHAPE)) + np.random.default_rng(2).integers(0, 60, (4, *SHAPE))
    profile = {"crs": "EPSG:32630", "transform": UTM, "nodata": 0} | grid
    height, width = SHAPE
    with rasterio.open(
        source, "w", driver="GTiff", count=4, height=height, width=width, dtype="uint16", **profile
    ) as dst:
        dst.write(dn.astype(np.uint16))
        dst.descriptions = ("B02", "B03", "B04", "B08")
        dst.scales, dst.offsets = [1e-4] * 4, [-0.1] * 4
        dst.update_tags(sensor="s2", level="L2A")
        if time is not None:
            dst.update_tags(ns="IMAGERY", ACQUISITIONDATETIME=time)
    record = baseline_scene(source, folder)
    source.unlink()
    source.parent.rmdir()
    return record


def make_years(folder: Path, times: Sequence[str | None]) -> Path:
    """Write a result in a folder of its own for each time."""
    for number, time in enumerate(times):
        make_result(folder / f"r{number}", f"s{number}", time, water_from=15 + 5 * number)
    return folder
