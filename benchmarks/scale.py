"""What two workers gain: one divided scene, and eight scenes, against one process.

    python benchmarks/scale.py [--side 6144] [--small 2048] [--workers 2] [--rounds 5]
        [--network smp/unet/resnet18] [--json FILE] [--write]

Scenes are those of `predict_memory.py`, of 12 bands in DEFLATE. One process and workers have as
many threads of torch each, one by default, so that they give the same bytes, which is checked;
efficiency is the time of one process over that of the workers times their number. Workers are
started before, and have loaded the model in a round that does not count, as one process has. Turn
about, medians.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import predicting
from dividing import result
from predict_memory import write_scene
from results import write_results

from geounet.cluster import Crew, local_crew, run_scenes_with
from geounet.predict import Outcome, PredictSettings, raise_failures, run_scenes

SCENES = 8


def timed(run: Callable[[], Sequence[Outcome]]) -> float:
    """Return the seconds of a run whose scenes are all done."""
    start = time.perf_counter()
    outcomes = list(run())
    seconds = time.perf_counter() - start
    raise_failures(outcomes)
    return seconds


def measure(
    crew: Crew,
    what: str,
    scenes: Sequence[Path],
    model: Path,
    settings: PredictSettings,
    rounds: int,
) -> dict[str, Any]:
    """Return the row of a table: medians of one process and of the crew, turn about."""
    folder, workers = scenes[0].parent, crew.size()
    settings = replace(settings, overwrite=True)
    outs = folder / "alone", folder / "together"
    seconds: dict[str, list[float]] = {"alone": [], "together": []}
    for number in range(rounds + 1):
        alone = timed(lambda: list(run_scenes(scenes, model, outs[0], settings)))
        together = timed(lambda: list(run_scenes_with(crew, scenes, model, outs[1], settings)))
        if number:  # the first loads what is loaded once
            seconds["alone"].append(alone)
            seconds["together"].append(together)
    same = all(result(outs[0], one.stem) == result(outs[1], one.stem) for one in scenes)
    if not same:
        raise SystemExit(f"{what}: the workers gave other bytes than one process")
    alone, together = (statistics.median(seconds[key]) for key in ("alone", "together"))
    record = json.loads((outs[0] / f"{scenes[0].stem}.json").read_text(encoding="utf-8"))
    return {
        "what": what, "workers": workers, "alone": alone, "together": together,
        "faster": alone / together, "efficiency": alone / together / workers,
        "rounds": seconds, "plan": record["plan"], "timings": record["timings"],
    }  # fmt: skip


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows as Markdown."""
    lines = ["| | workers | one process, s | workers, s | faster | efficiency |", "|---" * 6 + "|"]
    lines += [
        f"| {row['what']} | {row['workers']} | {row['alone']:.1f} | {row['together']:.1f} | "
        f"{row['faster']:.2f} × | {row['efficiency']:.2f} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Make scenes and a model, run them both ways, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--side", type=int, default=6144, help="of the scene that is divided")
    parser.add_argument("--small", type=int, default=2048, help="of each of eight scenes")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="of torch, each")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--network", default="smp/unet/resnet18")
    parser.add_argument("--divide", type=float, default=PredictSettings().divide)
    parser.add_argument("--write", action="store_true", help="put the table into RESULTS.md, too")
    parser.add_argument("--json", type=Path, help="where rows with their rounds are written")
    given = parser.parse_args(arguments)
    settings = PredictSettings(threads=given.threads, divide=given.divide)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = predicting.write_model(
            folder / "model.safetensors", given.network, prepare=predicting.normalise_like_trained,
            halo_default=64,
        )  # fmt: skip
        large = folder / "large" / "large.tif"
        small = [folder / "small" / f"{number}.tif" for number in range(SCENES)]
        for path in (large, *small):
            path.parent.mkdir(exist_ok=True)
            write_scene(path, given.side if path == large else given.small)
        with local_crew(given.workers, threads=given.threads) as crew:
            rows = [
                measure(crew, what, scenes, model, settings, given.rounds)
                for what, scenes in (
                    (f"one scene of {given.side}², divided", [large]),
                    (f"{SCENES} scenes of {given.small}²", small),
                )
            ]
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))
    sys.stdout.write(table(rows))
    if given.write:
        threads = f"{given.threads} thread" + "s" * (given.threads > 1)
        title = f"Workers against one process, {given.network}, {threads} each (`scale.py`)"
        write_results("scale", title, table(rows))


if __name__ == "__main__":
    main()
