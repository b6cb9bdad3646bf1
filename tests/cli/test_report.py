"""geounet report, and --report."""

import json
import shutil

import pytest
from predicting import DARK, water_is_dark, wavy_dn, write_model, write_scene

PAGE, PICTURE = "scene_report.html", "scene_quicklook.png"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    write_scene(folder / "scene.tif", wavy_dn(60, 80))
    write_model(folder / "m.safetensors", "unet-same", DARK, prepare=water_is_dark())
    return folder


@pytest.fixture
def predict(geounet, made):
    def run(out, *more):
        return geounet(
            "predict", made / "scene.tif", "--model", made / "m.safetensors", "--out", out, *more
        )

    return run


def record_of(out):
    return json.loads((out / "scene.json").read_text())


def without_timings(path):
    lines = path.read_text().split("\n")
    kept = [line for line in lines if not line.startswith('<p id="timings">')]
    assert len(kept) == len(lines) - 1
    return kept


def test_a_prediction_with_its_page_is_one_set_and_the_same_twice(predict, tmp_path):
    out = tmp_path / "out"
    assert predict(out, "--report").status == 0
    record, page, picture = record_of(out), out / PAGE, (out / PICTURE).read_bytes()
    assert {PAGE, PICTURE} <= record["files"].keys()
    assert record["files"][PAGE]["bytes"] == page.stat().st_size
    assert record["settings"]["report"] is True
    first = without_timings(page)
    assert predict(out, "--report", "--overwrite").status == 0
    again = without_timings(page)
    typed = [line for line in again if line.startswith("<pre>geounet predict ")]
    assert len(typed) == 1
    assert typed[0].endswith("--report --overwrite</pre>")
    assert [line for line in again if line not in typed] == [
        line for line in first if not line.startswith("<pre>")
    ]
    assert (out / PICTURE).read_bytes() == picture
    assert predict(out, "--overwrite").status == 0
    assert not page.exists()  # it was of what is replaced


def test_bands_are_told_beside_those_of_the_training_data(predict, tmp_path):
    predict(tmp_path)
    rows = record_of(tmp_path)["bands_against_training"]
    dn = wavy_dn(60, 80)[:, ::4, ::4]
    reflectance = (dn - 1000.0) * 1e-4
    assert [row["scene_mean"] for row in rows] == pytest.approx(
        reflectance.mean(axis=(1, 2)).tolist(), rel=1e-5
    )
    assert [row["scene_std"] for row in rows] == pytest.approx(
        reflectance.std(axis=(1, 2)).tolist(), rel=1e-4
    )
    assert {(row["training_mean"], row["training_std"]) for row in rows} == {(0.15, 0.1)}


def test_the_command_line_is_kept_without_keys(geounet, made, tmp_path):
    run = geounet("baseline", made / "scene.tif", "--out", tmp_path / "out", "--report")
    assert run.status == 0
    record = record_of(tmp_path / "out")
    assert record["command_line"] == (
        f"geounet baseline {made}/scene.tif --out {tmp_path}/out --report"
    )
    assert {PAGE, PICTURE} <= record["files"].keys()
    from geounet.baseline import BaselineSettings, _record
    from geounet.scene import open_scene

    typed = "geounet baseline 'https://user:secret@example.org/a.tif?sig=key&se=1' --out x"
    with open_scene(made / "scene.tif") as scene:
        said = _record(scene, BaselineSettings(command_line=typed))["command_line"]
    assert said == "geounet baseline 'https://example.org/a.tif' --out x"


def test_a_finished_result_gets_its_page_later(geounet, predict, tmp_path):
    predict(tmp_path)
    assert PAGE not in record_of(tmp_path)["files"]
    run = geounet("report", tmp_path)
    assert (run.status, run.out) == (0, f"{tmp_path / PAGE}\n")
    assert "warning" not in run.err
    assert {PAGE, PICTURE} <= record_of(tmp_path)["files"].keys()
    assert "--overwrite" in geounet("report", tmp_path).complaint
    assert geounet("report", tmp_path / "scene.json", "--overwrite").status == 0
    assert geounet("info", tmp_path / "scene.json", "--json").out.count("changed since") == 0


def test_several_results_are_led_to_by_an_index(geounet, predict, tmp_path):
    predict(tmp_path)
    for path in list(tmp_path.iterdir()):
        shutil.copy(path, tmp_path / path.name.replace("scene", "other", 1))
    run = geounet("report", tmp_path)
    names = ["other_report.html", PAGE, "report.html"]
    assert run.out.split() == [str(tmp_path / name) for name in names]
    assert "no result called nothing" in geounet("report", tmp_path, "--name", "nothing").complaint
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "holds no result" in geounet("report", empty).complaint


def test_results_in_folders_of_a_folder_have_their_pages_beside_them(geounet, predict, tmp_path):
    for place in ("2020", "more/2021"):
        assert predict(tmp_path / place).status == 0
    hidden = tmp_path / ".being-written"
    shutil.copytree(tmp_path / "2020", hidden)
    run = geounet("report", tmp_path)
    assert run.status == 0, run.err
    assert run.out.splitlines() == [str(tmp_path / at / PAGE) for at in ("2020", "more/2021")]
    assert not (hidden / PAGE).exists()
    assert not list(tmp_path.rglob("report.html"))
    assert "exists already" in geounet("report", tmp_path).complaint
