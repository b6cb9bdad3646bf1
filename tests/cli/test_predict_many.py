"""`geounet predict` with many scenes: lists, the table at the end, and going on after a stop."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from predicting import DARK, L2A, water_is_dark, wavy_dn, write_model, write_scene

from geounet.errors import SceneError
from geounet.scene import read_scene_list


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "dark.safetensors"
    return write_model(path, overrides=DARK, prepare=water_is_dark(7))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `a.tif`, `b.tif` and `bad.tif`, which lacks bands, and none of results."""
    folder = tmp_path_factory.mktemp("scenes")
    for seed, name in enumerate("ab"):
        write_scene(folder / f"{name}.tif", wavy_dn(40, 50, seed=seed))
    write_scene(folder / "bad.tif", wavy_dn(40, 40)[:3], names=L2A[:3])
    return folder


def write_list(folder: Path, text: str) -> Path:
    path = folder / "list.txt"
    path.write_bytes(text.encode())
    return path


def table_rows(said: str) -> dict[str, list[str]]:
    """Cells of the table on stderr by scene, without what continues on a second line."""
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in said.splitlines()]
    return {row[0]: row[1:] for row in rows if row and row[0]}


def test_a_list_is_done_and_what_became_of_each_is_in_a_table(geounet, folder, model, tmp_path):
    listed = write_list(folder, "# of May\n\na.tif\r\n  bad.tif\nnowhere.tif\n b.tif")
    run = geounet("predict", "--from", listed, "--model", model, "--out", tmp_path)
    assert run.status == 1
    assert run.out.splitlines() == [str(tmp_path / "a.json"), str(tmp_path / "b.json")]
    assert run.complaint == "error: 2 of 4 scenes failed:"
    assert [line for line in run.err.splitlines() if line.startswith("scene ")] == [
        f"scene {n} of 4: {folder / name}.tif"
        for n, name in enumerate(("a", "bad", "nowhere", "b"), start=1)
    ]
    rows = table_rows(run.err)
    assert {name: row[0] for name, row in rows.items()} == {
        "a": "done", "bad": "failed", "nowhere.tif": "failed", "b": "done",
    }  # fmt: skip
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["command_line"].startswith(f"geounet predict --from {listed} --model")
    of_a = summary["scenes"][0]
    assert rows["a"][2] == f"{of_a['water_share']:.1%}"
    assert rows["a"][3] == f"{of_a['coast_km']:.1f}"


def test_a_second_run_leaves_what_is_there(geounet, folder, model, tmp_path):
    how = ("--model", model, "--out", tmp_path, "--skip-existing")
    scenes = folder / "a.tif", folder / "b.tif"
    assert geounet("predict", scenes[0], *how).status == 0
    run = geounet("predict", *scenes, *how)
    assert run.status == 0
    assert run.out.splitlines() == [str(tmp_path / "a.json"), str(tmp_path / "b.json")]
    assert f"{tmp_path / 'a.json'} is there already" in run.err
    assert [row[0] for row in table_rows(run.err).values()] == ["skipped", "done"]
    other = geounet("predict", scenes[0], *how, "--threshold", 0.3)
    assert other.status == 1
    assert other.complaint == (
        f"error: {tmp_path / 'a.json'} is not what this run would make: threshold 0.5 there, 0.3 "
        "here. Use --overwrite to make it anew, or another --out."
    )
    anew = geounet("predict", scenes[0], *how, "--threshold", 0.3, "--overwrite")
    assert anew.status == 0
    assert "is made anew: threshold" in anew.err


def test_a_list_from_standard_input(geounet, folder, model, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbfa.tif\n")))
    run = geounet("predict", "--from", "-", "--model", model, "--out", tmp_path)
    assert run.status == 0
    assert run.out == f"{tmp_path / 'a.json'}\n"


def test_neither_scenes_nor_a_list_is_a_wrong_use(geounet, model, tmp_path):
    run = geounet("predict", "--model", model, "--out", tmp_path / "out")
    assert run.status == 2
    assert "--from" in run.err


def test_a_list_of_one_name_twice_in_two_folders_is_refused(geounet, folder, model, tmp_path):
    write_scene(tmp_path / "a.tif", wavy_dn(20, 20))
    listed = write_list(tmp_path, f"a.tif\n{folder / 'a.tif'}\n")
    run = geounet("predict", "--from", listed, "--model", model, "--out", tmp_path / "out")
    assert run.status == 1
    assert run.complaint.startswith("error: 2 scenes are called a: ")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "names no scene"),
        (b"# a.tif\n\n  \n", "names no scene"),
        (b"a.tif\nb.tif\n\na.tif\n", "names a.tif in line 1 and in line 4"),
        (b"II*\x00\x08\x00\x00\x00", "is no list of scenes"),
        (b"\xff\xfea\x00", "is no list of scenes"),
        (None, "cannot be read: No such file"),
    ],
)
def test_a_list_that_is_none_is_told_in_one_line(tmp_path, content, why):
    path = tmp_path / "list.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SceneError, match=why) as refused:
        read_scene_list(str(path))
    assert "\n" not in str(refused.value)


def test_what_is_no_relative_path_stays_as_it_is(tmp_path):
    entries = ["sub/a b.tif", "/data/c.SAFE", "https://x.org/i.json?a=1#b", "s3://b/c.tif",
               "/vsizip/d.zip/e.tif", "items.json#ID"]  # fmt: skip
    path = write_list(tmp_path, "\n".join(entries))
    assert read_scene_list(str(path)) == [
        str(tmp_path / "sub/a b.tif"), *entries[1:5], str(tmp_path / "items.json#ID"),
    ]  # fmt: skip


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_says_how_to_go_on_and_the_same_command_does(tmp_path, geounet, model, stop):
    scenes = [write_scene(tmp_path / f"n{n}.tif", wavy_dn(60, 60, seed=n)) for n in range(30)]
    command = ["predict", *map(str, scenes), "--model", str(model), "--out", str(tmp_path / "out")]
    with subprocess.Popen(
        [sys.executable, "-m", "geounet_cli", *command],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(0.05)
        process.send_signal(stop)
        rest, said = process.communicate(timeout=60)
    assert process.returncode == 128 + stop
    done = [Path(line) for line in (first + rest).splitlines()]
    assert f"{len(done)} of 30 scenes are done; the same command with --skip-existing" in said
    assert "Traceback" not in said
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["counts"]["done"] == len(done)
    assert summary["counts"]["not done"] == 30 - len(done) > 0
    assert sorted(p.stem for p in (tmp_path / "out").glob("n*.json")) == sorted(
        p.stem for p in done
    )
    four = [*command[:1], *command[1:5], *command[-4:], "--skip-existing"]
    again = geounet(*four)
    assert again.status == 0
    counts = json.loads((tmp_path / "out/summary.json").read_text())["counts"]
    assert counts["skipped"] == min(len(done), 4)
