"""The whole way, by the commands that the demo prints."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path

import pytest
import shapely

from geounet.demo import (
    DemoSettings,
    Scores,
    format_targets,
    judge,
    plan_scenes,
    plan_steps,
    run_child,
    run_demo,
)
from geounet.errors import GeounetError, OutputError

SMALL = DemoSettings(
    train_scenes=1,
    train_px=288,
    test_px=160,
    chip_px=32,
    train_settings=("epochs=2", "network_settings.base_width=4", "network_settings.depth=2"),
)
GOOD = Scores(water_iou=0.993, median_px=0.12, mean_signed_px=-0.02)
NDWI = Scores(water_iou=0.970, median_px=0.35, mean_signed_px=0.10)


def test_every_command_of_the_demo_runs(geounet: Callable[..., object], tmp_path: Path) -> None:
    said: list[str] = []
    ran: list[Sequence[str]] = []

    def run(arguments: Sequence[str]) -> None:
        ran.append(arguments)
        ended = geounet(*arguments)
        assert ended.status == 0, ended.err  # type: ignore[attr-defined]

    out = tmp_path / "the demo"
    targets = run_demo(out, SMALL, overwrite=False, say=said.append, run=run)

    assert [target.quantity for target in targets] == [
        "IoU of water",
        "median distance, pixels",
        "mean signed distance, pixels",
    ]
    assert [arguments[0] for arguments in ran] == [
        *("tile", "train", "predict", "evaluate", "baseline", "evaluate")
    ]
    assert {p.name for p in out.iterdir()} == {"scenes", "chips", "run", "out", "ndwi"}
    text = "\n".join(said)
    for step in plan_steps(out, SMALL, overwrite=False):
        assert f"\n{step.line}" in text
    for named in ("out/test.qgz", "ndwi/test.gpkg", "scenes/test_truth.gpkg"):
        assert (out / named).is_file()
        assert named in text
    with pytest.raises(OutputError, match="exists already"):
        run_demo(out, SMALL, overwrite=False, say=said.append, run=run)


def test_what_is_printed_can_be_pasted(tmp_path: Path) -> None:
    """A shell takes each line apart as the demo does, in spite of `|` and blanks."""
    for step in plan_steps(tmp_path / "my demo", DemoSettings(), overwrite=True):
        shown = step.line.replace(
            "geounet", f"{sys.executable} -c 'import sys; print(sys.argv)'", 1
        )
        taken = subprocess.run(shown, shell=True, check=True, capture_output=True, text=True)
        assert taken.stdout.strip() == str(["-c", *step.arguments])


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_the_test_scene_is_new_to_the_network(seed: int) -> None:
    scenes = list(plan_scenes(DemoSettings(seed=seed)).values())
    assert len({scene.seed for scene in scenes}) == len(scenes)
    grounds = [
        shapely.box(*scene.upper_left, *(scene.transform @ (scene.width, scene.height)))
        for scene in scenes
    ]
    assert not any(a.intersects(b) for a, b in combinations(grounds, 2))
    others = plan_scenes(DemoSettings(seed=seed + 1)).values()
    assert not {scene.seed for scene in scenes} & {scene.seed for scene in others}


@pytest.mark.parametrize(
    ("network", "met"),
    [
        (GOOD, [True, True, True]),
        (GOOD._replace(water_iou=0.984), [False, True, True]),
        (GOOD._replace(median_px=0.18), [True, False, True]),  # more than half of NDWI's
        (GOOD._replace(mean_signed_px=-0.06), [True, True, False]),
        (GOOD._replace(mean_signed_px=0.06), [True, True, False]),
        (Scores(float("nan"), float("nan"), float("nan")), [False, False, False]),
    ],
)
def test_targets_are_those_of_the_demo(network: Scores, met: list[bool]) -> None:
    targets = judge(network=network, ndwi=NDWI)
    assert [target.met for target in targets] == met
    assert format_targets(targets).count("MISSED") == met.count(False)


def test_a_median_above_a_fifth_of_a_pixel_is_missed_however_bad_ndwi_is() -> None:
    targets = judge(network=GOOD._replace(median_px=0.21), ndwi=NDWI._replace(median_px=2.0))
    assert [target.met for target in targets] == [True, False, True]


def test_a_failing_command_stops_the_demo(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(GeounetError, match="geounet tile ended with status 1"):
        run_child(["tile", "nowhere.tif", "--labels", "none.gpkg", "--out", "chips"])
    assert "none.gpkg is not there" in capfd.readouterr().err
