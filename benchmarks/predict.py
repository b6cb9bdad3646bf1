"""Seconds of `geounet predict`, end to end, over those of the bare network; and of its peers.

    python benchmarks/predict.py [--side 2048] [--rounds 5] [--networks smp/unet/resnet18 unet-same]
        [--threads 1 2] [--json FILE] [--write]

The scene has 12 bands of uint16 in DEFLATE. The floor is the same network as it was trained, eager,
in float32 and NCHW, over the scene's pixels in memory, standardised, in tiles of 512² that touch;
its large arrays are mapped as those of `predict` are (`geounet.allocation`). `predict` is timed
from the library call, which loads the model, to the finished set. Peers run that network over
windows of 512² of theirs, as far as they are installed: torchgeo reads them from the file, MONAI
(extra `bench`) and terratorch are given the array, none of which writes; geoai reads the file and
writes a GeoTIFF. terratorch and geoai want other versions than geounet does and much that their
windows do not need, so `pip install --no-deps` is enough for them. All in one process, turn about,
the median of `--rounds`; peak memory, beyond import and model, of one process each. Networks are
trained for a minute or three on the scene itself, and their default halo is measured as in
training, on a million pixels: the fewer `--steps`, the wider. Errors are of the probability of
water against one pass in float32 over a crop with its exact halo.
"""

import argparse
import importlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as `geounet predict` does

import numpy as np
import rasterio
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import predicting
from predict_memory import NIR, resident, write_scene
from results import write_results

from geounet.allocation import map_large_arrays
from geounet.engine import standardise
from geounet.model_file import load_model, save_model
from geounet.networks import Network
from geounet.networks.halo import default_halo
from geounet.predict import PredictSettings, predict_scene
from geounet.windows import round_up

TILE, CROP = 512, 1024
JUDGED = 512
"""Side of what is judged in each corner of the scene to find the default halo: a million pixels in
all. Of a few thousand less halo seems to do: 64 where it takes 160."""
SETTINGS = {
    "predict": PredictSettings(),
    "predict fp32 exact": PredictSettings(precision="fp32", halo="exact"),
}
PEERS = ("torchgeo", "monai", "terratorch", "geoai")
PHASES = ("reading", "network", "writing", "vectors", "idle")


@dataclass(frozen=True)
class Trial:
    """A network and a scene, and what is run on them."""

    folder: Path
    network: str

    @property
    def scene(self) -> Path:
        """The GeoTIFF."""
        return self.folder / "scene.tif"

    @property
    def model(self) -> Path:
        """The model file."""
        return self.folder / f"{self.network.replace('/', '-')}.safetensors"

    def runs(self) -> dict[str, Callable[[], Any]]:
        """Return what is timed, by name; peers give the probability of water, (height, width)."""
        net = load_model(self.model)[1].eval().requires_grad_(False)
        image = standardised(read_image(self.scene))
        runs: dict[str, Callable[[], Any]] = {"floor": floor(net, image)}
        for name, settings in SETTINGS.items():
            runs[name] = partial(self.predict, settings)
        peers = {"torchgeo": partial(torchgeo_grid, net, self.scene)}
        peers["monai"] = partial(monai_windows, net, image)
        peers["terratorch"] = partial(terratorch_tiles, net, image)
        peers["geoai"] = partial(geoai_tiles, net, self.scene, self.folder / "geoai.tif")
        return runs | {name: peers[name] for name in PEERS if importlib.util.find_spec(name)}

    def predict(self, settings: PredictSettings, **changed: Any) -> Path:
        """Predict and return the record."""
        settings = replace(settings, overwrite=True, **changed)
        return predict_scene(self.scene, self.model, self.folder / "out", settings)


def read_image(scene: Path) -> NDArray[np.uint16]:
    """Return all of a scene, (bands, height, width)."""
    with rasterio.open(scene) as src:
        return src.read()


def standardised(dn: NDArray[np.uint16]) -> Tensor:
    """Return (bands, height, width) as networks are fed."""
    reflectance = torch.from_numpy(dn.astype(np.float32)).mul_(1e-4).sub_(0.1)
    mean, std = (torch.full((len(dn),), value) for value in (predicting.MEAN, predicting.STD))
    valid = torch.ones((1, *dn.shape[1:]), dtype=torch.bool)
    return standardise(reflectance[None], valid, mean, std)[0]


def tiles(image: Tensor, stride: int) -> Iterator[Tensor]:
    """Yield tiles that touch; the last of a row is filled up to a side that the network takes."""
    height, width = image.shape[1:]
    for row in range(0, height, TILE):
        for col in range(0, width, TILE):
            tile = image[None, :, row : row + TILE, col : col + TILE]
            beyond = [round_up(side, stride) - side for side in tile.shape[:1:-1]]
            yield nn.functional.pad(tile, (0, beyond[0], 0, beyond[1])).contiguous()


def floor(net: Network, image: Tensor) -> Callable[[], None]:
    """Return what runs the bare network over tiles that are in memory."""
    batches = list(tiles(image, net.stride))

    def run() -> None:
        with torch.inference_mode(), map_large_arrays():
            for batch in batches:
                net(batch)

    return run


def water(logits: Tensor) -> Tensor:
    """Return the probability of water of (B, 2, H, W)."""
    return logits.softmax(dim=1)[:, 1]


def torchgeo_grid(net: Network, scene: Path) -> NDArray[np.float32]:
    """Predict chips of torchgeo's grid, without overlap, as its tutorials do."""
    from torchgeo.datasets import RasterDataset
    from torchgeo.samplers import GridGeoSampler

    dataset = RasterDataset(paths=str(scene))
    with rasterio.open(scene) as src:
        transform, probs = ~src.transform, np.zeros(src.shape, np.float32)
    with torch.inference_mode(), map_large_arrays():
        for query in GridGeoSampler(dataset, size=TILE):
            dn = dataset[query]["image"].numpy()
            col, row = (round(at) for at in transform @ (query[0].start, query[1].stop))
            said = water(net(standardised(dn)[None]))[0].numpy()
            there = probs[max(row, 0) : row + TILE, max(col, 0) : col + TILE]
            there[:] = said[: there.shape[0], : there.shape[1]]
    return probs


def monai_windows(net: Network, image: Tensor) -> NDArray[np.float32]:
    """Predict MONAI's sliding windows, with Gaussian weights and its own overlap of a quarter."""
    from monai.inferers import sliding_window_inference

    with torch.inference_mode(), map_large_arrays():
        logits = sliding_window_inference(image[None], TILE, 1, net, mode="gaussian")
        return water(logits)[0].numpy()


def terratorch_tiles(net: Network, image: Tensor) -> NDArray[np.float32]:
    """Predict terratorch's chips, whose overlaps are blended; 16 and 8 pixels, as by default."""
    for name in ("terratorch", "terratorch.tasks", "terratorch.models"):
        without_init(name)
    without_init("terratorch.registry").BACKBONE_REGISTRY = None  # type: ignore[attr-defined]
    tiling = importlib.import_module("terratorch.tasks.tiled_inference")
    delta, overlap = 8, 16
    stride = TILE - 2 * delta - overlap
    with map_large_arrays():
        logits = tiling.tiled_inference(net, image[None], crop=TILE, stride=stride, batch_size=1)
        return water(logits)[0].numpy()


def geoai_tiles(net: Network, scene: Path, out: Path) -> NDArray[np.float32]:
    """Predict geoai's tiles, blended by splines over a quarter of a tile, as by default."""
    without_init("geoai")
    without_init("geoai.utils").get_device = lambda: torch.device("cpu")  # type: ignore[attr-defined]
    inference = importlib.import_module("geoai.inference")
    with map_large_arrays():
        inference.predict_geotiff(
            net, str(scene), str(out), tile_size=TILE, overlap=TILE // 4, batch_size=1,
            num_classes=2, preprocess_fn=lambda dn: standardised(dn).numpy(), device="cpu",
            verbose=False,
        )  # fmt: skip
    with rasterio.open(out) as src:
        return water(torch.from_numpy(src.read())[None])[0].numpy()


def without_init(name: str) -> ModuleType:
    """Return a package whose modules can be imported without all that it imports itself."""
    if name not in sys.modules:
        spec = importlib.util.find_spec(name)
        assert spec is not None
        sys.modules[name] = package = ModuleType(name)
        package.__path__ = list(spec.submodule_search_locations or [])
        package.__spec__ = spec
    return sys.modules[name]


def write_trained(trial: Trial, steps: int) -> None:
    """Write a model trained for a moment to tell where the near infrared is low, evened out."""
    image = standardised(read_image(trial.scene))
    dark = nn.functional.avg_pool2d(image[None, NIR], 5, 1, 2)[0] < 0

    def train(net: nn.Module) -> None:
        optimiser = torch.optim.AdamW(net.train().parameters(), 3e-3, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
        rng = np.random.default_rng(0)
        for _ in range(steps):
            corners = rng.integers(0, min(image.shape[1:]) - 128, (4, 2))
            spots = [(slice(r, r + 128), slice(c, c + 128)) for r, c in corners]
            logits = net(torch.stack([image[:, *spot] for spot in spots]))
            label = torch.stack([dark[spot] for spot in spots]).long()
            nn.functional.cross_entropy(logits, label).backward()
            optimiser.step()
            schedule.step()
            optimiser.zero_grad()

    overrides = {} if trial.network.startswith("smp/") else {"base_width": 32}
    predicting.write_model(trial.model, trial.network, overrides, prepare=train)
    header, net = load_model(trial.model)
    assert header.halo_exact is not None
    side = round_up(2 * header.halo_exact + JUDGED, net.stride)
    ends = [(slice(None, side), slice(-side, None)) for _ in range(2)]
    samples = [image[:, rows, cols] for rows, cols in product(*ends)]
    halo, error = default_halo(net.eval(), samples, exact=header.halo_exact)
    header = header.model_copy(update={"halo_default": halo, "halo_error": error})
    save_model(trial.model, net, header)


@dataclass(frozen=True)
class Truth:
    """What one pass over a crop says, with the exact halo around it."""

    spot: tuple[slice, slice]
    probs: NDArray[np.float32]
    """Of water, (height, width)."""

    @classmethod
    def of(cls, trial: Trial) -> "Truth":
        """Run the network once, in float32."""
        header, net = load_model(trial.model)
        image = standardised(read_image(trial.scene))
        side, halo = image.shape[-1], int(header.halo_exact or 0)
        size = min(CROP, side) // net.stride * net.stride
        start = (side - size) // 2 // net.stride * net.stride
        if size + 2 * halo > side:  # the whole scene, mirrored
            size, start = side // net.stride * net.stride, 0
            image = torch.from_numpy(np.pad(image, ((0, 0), *[(halo, halo)] * 2), mode="reflect"))
        else:
            image = image[:, *[slice(start - halo, start + size + halo)] * 2]
        with torch.inference_mode():
            probs = water(net.eval()(image[None]))[0, *[slice(halo, halo + size)] * 2]
        return cls((slice(start, start + size),) * 2, probs.numpy())

    def compare(self, probs: NDArray[np.float32]) -> dict[str, float]:
        """Return how far off probabilities of the whole scene are, and whether classes flip."""
        found = probs[self.spot]
        flipped = (found >= 0.5) != (self.probs >= 0.5)
        near = np.abs(self.probs - 0.5)[flipped]
        return {
            "error": float(np.abs(found - self.probs).max()),
            "flips": float(flipped.mean()),
            "farthest_flip": float(near.max(initial=0)),
        }


def read_probability(record: Path) -> NDArray[np.float32]:
    """Return the probability that `--probability float32` wrote."""
    with rasterio.open(record.with_name(f"{record.stem}_probability.tif")) as src:
        return src.read(1)


def peak(trial: Trial, run: str, threads: int) -> float:
    """Return MiB beyond import and model that a run takes in a process of its own."""
    child = [sys.executable, __file__, "--child", str(trial.folder), trial.network, run]
    done = subprocess.run(
        [*child, "--threads", str(threads)], check=True, stdout=subprocess.PIPE, text=True
    )
    return float(done.stdout)


def measure_peak(trial: Trial, run: str) -> float:
    """Do it in this process."""
    header, net = load_model(trial.model)
    net(torch.zeros(1, len(header.mean), 64, 64))  # what torch loads to run it
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    if run in SETTINGS:
        trial.predict(SETTINGS[run])
    else:
        trial.runs()[run]()
    return (resident("VmHWM") - before) / 2**20


def measure(trial: Trial, threads: int, rounds: int) -> list[dict[str, Any]]:
    """Return a row for each run."""
    torch.set_num_threads(threads)
    runs, truth = trial.runs(), Truth.of(trial)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    said: dict[str, Any] = {}
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            said[name] = run()
            seconds[name].append(time.perf_counter() - start)
    bare = statistics.median(seconds["floor"])
    rows = []
    for name, taken in seconds.items():
        median = statistics.median(taken)
        row = {"network": trial.network, "threads": threads, "run": name, "seconds": median}
        row |= {"floors": median / bare, "rounds": taken, "peak_mib": peak(trial, name, threads)}
        if name in SETTINGS:
            record = trial.predict(SETTINGS[name], probability="float32")
            facts = json.loads(record.read_text())
            row |= {"plan": facts["plan"], "timings": facts["timings"]}
            row |= truth.compare(read_probability(record))
        elif name in PEERS:
            row |= truth.compare(said[name])
        rows.append(row)
    return rows


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows as Markdown."""
    lines = [
        "| network | threads | run | window + halo | s | × floor | peak, MiB | error of p | flips "
        "| reading, network, writing, vectors, idle: s | network busy |"
    ]
    lines.append("|---" * 11 + "|")
    for row in rows:
        plan = row.get("plan")
        cells = [row["network"], row["threads"], row["run"]]
        cells += [f"{plan['window']} + {plan['halo']}" if plan else TILE]
        cells += [f"{row['seconds']:.2f}", f"{row['floors']:.2f}", f"{row['peak_mib']:.0f}"]
        cells += [f"{row[key]:.2g}" if key in row else "" for key in ("error", "flips")]
        times = row.get("timings")
        cells += [", ".join(f"{times[phase]:.1f}" for phase in PHASES) if times else ""]
        cells += [f"{times['network_share']:.0%}" if times else ""]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Make scene and models, run all in turn, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--side", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=400, help="of training")
    parser.add_argument("--networks", nargs="+", default=["smp/unet/resnet18", "unet-same"])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, os.cpu_count() or 1])
    parser.add_argument("--write", action="store_true", help="put the table into RESULTS.md, too")
    parser.add_argument("--json", type=Path, help="where rows with their rounds are written")
    parser.add_argument("--child", nargs=3, metavar=("FOLDER", "NETWORK", "RUN"))
    given = parser.parse_args(arguments)
    if given.child:
        torch.set_num_threads(given.threads[0])
        folder, network, run = given.child
        sys.stdout.write(str(measure_peak(Trial(Path(folder), network), run)))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        write_scene(Path(folder, "scene.tif"), given.side)
        for network in given.networks:
            trial = Trial(Path(folder), network)
            write_trained(trial, given.steps)
            for threads in dict.fromkeys(given.threads):
                rows += measure(trial, threads, given.rounds)
                if given.json:
                    given.json.write_text(json.dumps(rows, indent=1))
    sys.stdout.write(table(rows))
    if given.write:
        title = f"`predict` over the bare network, {given.side}² (`predict.py`)"
        write_results(f"predict {given.side}", title, table(rows))


if __name__ == "__main__":
    main()
