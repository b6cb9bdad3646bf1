"""Peak memory of `predict` at two scene sizes, beyond what importing and loading the model takes.

    python benchmarks/predict_memory.py [--sizes 5490 10980] [--width 16] [--precision fp32]
        [--memory 512M] [--write]

Each scene (12 bands of uint16, tiled, DEFLATE) is predicted in a process of its own, with windows
as they are by default. The network draws the line where one band crosses its mean, so that there
are as many lines to vectorise as on a rough coast; its size is that of `unet-same` of that width.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from results import write_results

L2A = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
NIR = L2A.index("B08")
BLOCK = 512
T = TypeVar("T")
MEAN, STD = 0.15, 0.05


def write_scene(path: Path, side: int) -> None:
    """Write a coast of long waves and noise, block by block."""
    import rasterio
    from rasterio.windows import Window

    noise = np.random.default_rng(0).normal(scale=40, size=(BLOCK, BLOCK))
    profile = {
        "driver": "GTiff", "count": len(L2A), "height": side, "width": side, "dtype": "uint16",
        "crs": "EPSG:32630", "transform": rasterio.Affine(10, 0, 5e5, 0, -10, 5e6), "nodata": 0,
        "tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK, "compress": "deflate",
        "zlevel": 1, "interleave": "band",
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as dst:
        for row in range(0, side, BLOCK):
            for col in range(0, side, BLOCK):
                height, width = min(BLOCK, side - row), min(BLOCK, side - col)
                rows, cols = np.mgrid[row : row + height, col : col + width]
                waves = sum(
                    np.sin(rows * a + cols * b)
                    for a, b in ((0.011, 0.004), (0.003, -0.009), (0.031, 0.023), (-0.05, 0.07))
                )
                base = 1000 + 1e4 * (MEAN + STD * waves)
                few = noise[:height, :width]
                values = np.stack([base + np.roll(few, 37 * i) for i in range(len(L2A))])
                dst.write(
                    np.clip(values, 1, 60_000).astype(np.uint16),
                    window=Window(col_off=col, row_off=row, width=width, height=height),
                )
        dst.descriptions = L2A
        dst.scales, dst.offsets = [1e-4] * len(L2A), [-0.1] * len(L2A)
        dst.update_tags(sensor="s2", level="L2A")
        dst.update_tags(ns="IMAGERY", ACQUISITIONDATETIME="2024-05-17 10:56:21")


def write_model(path: Path, width: int) -> None:
    """Write a `unet-same` of some width whose answer is where the near infrared is below its mean.

    Its other weights are zero, which changes neither its time nor its memory.
    """
    import torch

    from geounet.bands import SENSORS
    from geounet.classes import LAND_WATER
    from geounet.config import load_network
    from geounet.model_file import ModelHeader, save_model
    from geounet.networks import build_network

    settings = load_network("unet-same", {"base_width": width})
    bands = [band for band in SENSORS["s2"] if band.name in L2A]
    network = build_network(
        settings, bands=[str(band.common_name) for band in bands], classes=len(LAND_WATER)
    ).eval()
    convolutions = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:  # not those of batch normalisations: they do nothing yet
                parameter.zero_()
        first, second, *_, head = convolutions
        first.weight[0, NIR, 1, 1], first.weight[1, NIR, 1, 1] = 1, -1
        for level in (second, *network.decoder[0]):  # type: ignore[index,misc]  # a U-Net of ours
            if isinstance(level, torch.nn.Conv2d):
                level.weight[0, 0, 1, 1] = level.weight[1, 1, 1, 1] = 1
        torch.nn.init.zeros_(head.bias)
        head.weight[1, 0], head.weight[1, 1] = -4, 4
    header = ModelHeader.model_validate(
        {
            "network": {"name": "unet-same", "settings": settings},
            "bands": [band.to_dict() for band in bands],
            "sensor": "s2",
            "level": "L2A",
            "mean": [MEAN] * len(bands),
            "std": [STD] * len(bands),
            "classes": [kind.to_dict() for kind in LAND_WATER],
            "stride": network.stride,
            "halo_exact": 96,
            "halo_default": 96,
            "halo_error": 0.0,
            "res_m": (10.0, 10.0),
        }
    )
    save_model(path, network, header)


def resident(field: str) -> int:
    """Return `VmRSS` or `VmHWM` of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


class Peaks:
    """A `Progress` that notes the highest memory of each phase."""

    def __init__(self) -> None:
        self.by_phase: dict[str, int] = {}
        self._phase = "start"
        self.forget()

    def forget(self) -> None:
        """Start to look for the highest anew."""
        Path("/proc/self/clear_refs").write_text("5")

    def enter(self, phase: str) -> None:
        """End a phase, and begin the next."""
        highest = max(self.by_phase.get(self._phase, 0), resident("VmHWM"))
        self.by_phase[self._phase] = highest
        self._phase = phase
        self.forget()

    def __call__(self, items: Iterable[T], *, label: str, total: int | None) -> Iterator[T]:  # noqa: ARG002  the protocol's names
        """Yield `items` unchanged."""
        self.enter(label)
        yield from items
        self.enter("after " + label)


def measure(
    scene: Path, model: Path, out: Path, precision: str, memory: str | None
) -> dict[str, Any]:
    """Predict, in this process, and return what it took."""
    from geounet.predict import Predictor, PredictSettings, parse_memory

    limit = None if memory is None else parse_memory(memory)
    predictor = Predictor(model, PredictSettings(precision=precision, memory=limit))  # type: ignore[arg-type]
    before = resident("VmRSS")
    peaks, start = Peaks(), time.perf_counter()
    record = json.loads(predictor.predict(scene, out, progress=peaks).read_text())
    seconds = time.perf_counter() - start
    peaks.enter("end")
    return {
        "seconds": seconds,
        "before": before,
        "beyond": {phase: peak - before for phase, peak in peaks.by_phase.items()},
        "plan": record["plan"],
        "timings": record["timings"],
        "gpkg": (out / f"{scene.stem}.gpkg").stat().st_size,
    }


def table(rows: Sequence[str]) -> str:
    """Return what was measured as Markdown."""
    head = (
        "Beyond what importing and loading the model takes; 12 bands, uint16, DEFLATE; a network "
        "of the size of `unet-same` of the width given."
    )
    columns = (
        "| width | precision | window | limit, MiB | scene | peak, MiB | while lines are drawn |"
    )
    return "\n".join([head, "", columns, "|---" * 7 + "|", *rows])


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the scenes, predict each in a child, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--sizes", type=int, nargs="+", default=[5490, 10980])
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--write", action="store_true", help="put the table into RESULTS.md, too")
    parser.add_argument("--memory", help="the limit, as predict takes it")
    parser.add_argument("--child", nargs=3, metavar=("SCENE", "MODEL", "OUT"), type=Path)
    said = parser.parse_args(arguments)
    if said.child:
        sys.stdout.write(json.dumps(measure(*said.child, said.precision, said.memory)))
        return
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder, "model.safetensors")
        write_model(model, said.width)
        peaks, rows = list[int](), list[str]()
        for side in said.sizes:
            scene = Path(folder, f"scene_{side}.tif")
            write_scene(scene, side)
            child = [sys.executable, __file__, "--precision", said.precision]
            child += [f"--memory={said.memory}"] * (said.memory is not None) + ["--child"]
            run = subprocess.run(
                [*child, scene, model, Path(folder, f"out_{side}")],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            )
            scene.unlink()
            took = json.loads(run.stdout)
            peaks.append(max(took["beyond"].values()))
            phases = {phase: f"{peak / 2**20:.0f}" for phase, peak in took["beyond"].items()}
            sys.stdout.write(
                f"{side} × {side}: {peaks[-1] / 2**20:.0f} MiB beyond the "
                f"{took['before'] / 2**20:.0f} MiB of import and model; {took['seconds']:.0f} s; "
                f"{took['gpkg'] / 2**20:.0f} MiB of lines and areas\n"
                f"  MiB by phase {phases}\n  plan {took['plan']}\n  timings {took['timings']}\n"
            )
            sys.stdout.flush()
            lines = max(took["beyond"].get(at, 0) for at in ("coastline", "after coastline"))
            plan = took["plan"]
            cells = [said.width, plan["precision"], plan["window"], plan["memory"] >> 20]
            cells += [f"{side}²", f"{peaks[-1] >> 20} ({peaks[-1] / peaks[0]:.2f} ×)", lines >> 20]
            rows.append("| " + " | ".join(map(str, cells)) + " |")
        sys.stdout.write(f"ratio of the last to the first: {peaks[-1] / peaks[0]:.3f}\n")
        if said.write:
            write_results("memory", "Peak memory of `predict` (`predict_memory.py`)", table(rows))


if __name__ == "__main__":
    main()
