"""From a probability raster to a styled GeoPackage, against `rasterio.features.shapes`.

    python benchmarks/vectorise.py [--side 10980] [--rounds 3] [--spanning] [--json FILE]

The raster is fractal noise, float32 in tiles as `predict` holds it, with some 900 lines for every
megapixel: about 110 000 at a Sentinel-2 tile's 10 980². geounet writes what `predict` writes of it:
lines and areas to a fraction of a pixel, with lengths, widths and areas, in two styled layers. The
other way is what people do: threshold, `rasterio.features.shapes`, geopandas, a GeoPackage of
staircases. Both begin with the same file, each in a process of its own, in turns; seconds are from
the opened raster to the closed GeoPackage, without imports, and memory is the process's peak. With
`--side 4096` beside the full size one sees whether memory grows.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from predict_memory import resident

SHORTEST, OCTAVES, ROUGHNESS = 2.0, 8, 0.4
"""Spacing of the finest noise in pixels (nothing is shorter than twice that), how many doublings of
it, and by which power of its spacing each counts."""
DRIER = -5.0
"""Added to the noise, whose standard deviation is about 11, so that no water spans the scene."""
BLOCK = 512
LEVEL = 0.5


def write_probability(path: Path, side: int, *, spanning: bool = False) -> None:
    """Write a fractal coast, rows of tiles at a time.

    Args:
        path: The GeoTIFF to make.
        side: Of the square, in pixels.
        spanning: Whether half of it is water, in which case one area goes through all of the scene
            and has a third of all vertices. Otherwise there is less, and areas end somewhere.
    """
    import rasterio
    from rasterio.windows import Window

    from geounet.synthetic.noise import derive_key, smooth_noise

    profile = {
        "driver": "GTiff", "count": 1, "height": side, "width": side, "dtype": "float32",
        "crs": "EPSG:32630", "transform": rasterio.Affine(10, 0, 5e5, 0, -10, 5e6),
        "nodata": np.nan, "tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK,
    }  # fmt: skip
    cols = np.arange(side, dtype=np.float64) + 0.5
    with rasterio.open(path, "w", **profile) as dst:
        for first in range(0, side, BLOCK):
            rows = np.arange(first, min(first + BLOCK, side), dtype=np.float64) + 0.5
            field = np.full((len(rows), side), 0.0 if spanning else DRIER)
            for octave in range(OCTAVES):
                spacing, key = SHORTEST * 2**octave, derive_key(0, f"octave {octave}")
                noise = smooth_noise(rows, cols, spacing=spacing, key=key)
                field += (spacing / SHORTEST) ** ROUGHNESS * noise
            probability = 1 / (1 + np.exp(-2 * field))
            window = Window(col_off=0, row_off=first, width=side, height=len(rows))
            dst.write(probability.astype(np.float32), 1, window=window)


def by_geounet(raster: Path, folder: Path) -> tuple[Path, str]:
    """Write lines and areas as `predict` does, and return the file and the layer to count."""
    from geounet import products
    from geounet.flags import CoastFlags
    from geounet.formats import VectorOptions
    from geounet.outputs import Stage
    from geounet.progress import silent
    from geounet.scene import SceneOptions, gdal_environment, open_scene

    options = SceneOptions.from_text(
        bands="nir", sensor="s2", level=None, scale=1.0, offset=0.0, nodata=None
    )
    with gdal_environment(), open_scene(raster, options) as scene:
        products.write_vectors(
            Stage("coast", folder),
            scene,
            products.Field(raster, "probability", LEVEL, scene.bands),
            CoastFlags(None),
            {"model": "none", "position_u95_m": None},
            VectorOptions(),
            silent,
        )
    return folder / "coast.gpkg", "coastline"


def by_shapes(raster: Path, folder: Path) -> tuple[Path, str]:
    """Write polygons of the mask, and return the file and the layer to count."""
    import geopandas
    import rasterio
    from rasterio.features import shapes
    from shapely.geometry import shape

    with rasterio.open(raster) as src:
        mask = (src.read(1) >= LEVEL).astype(np.uint8)
        found = shapes(mask, mask=mask == 1, transform=src.transform)
        water = geopandas.GeoDataFrame(geometry=[shape(one) for one, _ in found], crs=src.crs)
    path = folder / "shapes.gpkg"
    water.to_file(path, layer="water", driver="GPKG")
    return path, "water"


WAYS: dict[str, Callable[[Path, Path], tuple[Path, str]]] = {
    "geounet": by_geounet,
    "shapes": by_shapes,
}


def warm_up(way: str) -> None:
    """Import what a way needs, and use it once on a few pixels."""
    with tempfile.TemporaryDirectory() as folder:
        raster = Path(folder, "small.tif")
        write_probability(raster, 64, spanning=True)
        WAYS[way](raster, Path(folder))


def measure(way: str, raster: Path) -> dict[str, Any]:
    """Vectorise in this process, and return what it took."""
    import pyogrio

    warm_up(way)
    with tempfile.TemporaryDirectory(dir=raster.parent) as folder:
        before, cpu = time.perf_counter(), time.process_time()
        path, layer = WAYS[way](raster, Path(folder))
        seconds, cpu = time.perf_counter() - before, time.process_time() - cpu
        # Not `ru_maxrss`: a started process is charged there with what its parent had.
        peak = resident("VmHWM") / 2**20
        return {
            "seconds": seconds,
            "cpu_seconds": cpu,
            "peak_mib": peak,
            "file_mib": path.stat().st_size / 2**20,
            "features": pyogrio.read_info(path, layer=layer, force_feature_count=True)["features"],
        }


def in_child(way: str, raster: Path) -> dict[str, Any]:
    """Measure in a process of its own."""
    child = [sys.executable, __file__, "--child", way, str(raster)]
    run = subprocess.run(child, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(run.stdout)


def summarise(rounds: Sequence[dict[str, dict[str, Any]]], side: int) -> dict[str, Any]:
    """Return medians over rounds, and how the ways compare in each round."""
    ways = {
        way: {key: statistics.median(one[way][key] for one in rounds) for key in rounds[0][way]}
        for way in WAYS
    }
    ratios = [one["shapes"]["seconds"] / one["geounet"]["seconds"] for one in rounds]
    return {
        "side": side,
        "rounds": len(rounds),
        "ways": ways,
        "ratio": statistics.median(ratios),
        "ratios": ratios,
    }


def table(summary: dict[str, Any]) -> str:
    """Return the summary for people."""
    lines = [
        f"{summary['side']} × {summary['side']}, median of {summary['rounds']} rounds",
        "| way | seconds | of them processor | peak, MiB | file, MiB | features |",
        "|---|---|---|---|---|---|",
    ]
    for way, took in summary["ways"].items():
        lines.append(
            f"| {way} | {took['seconds']:.2f} | {took['cpu_seconds']:.2f} | "
            f"{took['peak_mib']:.0f} | {took['file_mib']:.0f} | {took['features']:.0f} |"
        )
    spread = ", ".join(f"{ratio:.2f}" for ratio in summary["ratios"])
    lines.append(f"geounet is {summary['ratio']:.2f} × as fast ({spread})")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the raster, vectorise it both ways in turns, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--side", type=int, default=10980)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--spanning", action="store_true", help="half water: one area spans all")
    parser.add_argument("--json", type=Path, help="where to write all numbers")
    parser.add_argument("--child", nargs=2, metavar=("WAY", "RASTER"), help=argparse.SUPPRESS)
    said = parser.parse_args(arguments)
    if said.child:
        way, raster = said.child
        sys.stdout.write(json.dumps(measure(way, Path(raster))))
        return
    with tempfile.TemporaryDirectory() as folder:
        raster = Path(folder, "probability.tif")
        write_probability(raster, said.side, spanning=said.spanning)
        rounds = [{way: in_child(way, raster) for way in WAYS} for _ in range(said.rounds)]
    summary = summarise(rounds, said.side)
    if said.json:
        said.json.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(table(summary))


if __name__ == "__main__":
    main()
