"""What people see of `geounet experiment`."""

import json

import pytest
from training_chips import write_chips

QUICK = ["--config", "demo", "--set", "network_settings.base_width=2"]
QUICK += ["--set", "network_settings.depth=1", "--steps", "2", "--seeds", "1"]


@pytest.fixture(scope="module")
def chips(tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "chips"
    return write_chips(path, counts={"train": 4, "val": 1, "test": 2}, size=16)


@pytest.fixture(scope="module")
def done(tmp_path_factory, chips):
    """An experiment on skips that is done, and where it lies."""
    from geounet_cli.main import main

    out = tmp_path_factory.mktemp("done") / "out"
    arguments = ["experiment", "skips", chips, "--out", out, "--counts", "2,all", *QUICK]
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert ended.value.code == 0
    return out


def test_skips_prints_a_line_for_each_kind_of_training(geounet, done, chips):
    again = ["--out", done, "--counts", "2,all", *QUICK, "--resume"]
    run = geounet("experiment", "skips", chips, *again)
    assert run.status == 0, run.err
    head, *lines = run.out.splitlines()
    assert head.split()[:4] == ["chips", "network", "varied", "IoU"]
    kinds = [tuple(line.split()[:3]) for line in lines]
    assert kinds == [
        (count, network, varied)
        for count in ("2", "4")
        for network in ("no-skip", "fcn-add", "unet-same")
        for varied in ("no", "yes")
    ]
    record = json.loads((done / "skips.json").read_text())
    assert len(record["runs"]) == 12
    assert sorted(record["files"]) == ["skips.png"]
    assert len([line for line in run.err.splitlines() if "/12 " in line]) == 12


def test_bands_prints_a_line_for_each_band_and_one_for_all(geounet, done, chips, tmp_path):
    model = next((done / "runs").glob("*/model.safetensors"))
    arguments = ["experiment", "bands", model, chips, "--out", tmp_path / "out", "--repeats", 2]
    run = geounet(*arguments)
    assert run.status == 0, run.err
    head, whole, *lines = run.out.splitlines()
    assert head.split()[0] == "points"
    assert whole.startswith("as it is")
    assert [line.split()[0] for line in lines] == ["s2:B02", "s2:B03", "s2:B04", "s2:B08"]
    record = json.loads((tmp_path / "out" / "bands.json").read_text())
    assert [len(row["scores"]) for row in record["bands"]] == [2, 2, 2, 2]
    again = geounet(*arguments)
    assert again.status == 1
    assert "--overwrite" in again.complaint
    assert geounet(*arguments, "--overwrite").status == 0


def test_chips_that_the_experiment_leaves_out_are_not_said_to_be_missing(geounet, tmp_path, chips):
    asked = ["--out", tmp_path / "out", "--counts", "2", "--networks", "no-skip", *QUICK]
    run = geounet("experiment", "skips", chips, *asked)
    assert run.status == 0, run.err
    assert "validation" not in run.err


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--counts", "2,9"], "has 4 training chips"),
        (["--counts", "2", "--networks", "no-skips"], "no-skip"),
        (["--counts", "2", "--set", "augment={flips: false, rotations: false}"], "varies nothing"),
        (["--counts", "2", "--set", "network_settings.depth=6"], "64"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing_behind(geounet, tmp_path, chips, arguments, word):
    run = geounet("experiment", "skips", chips, "--out", tmp_path / "out", *QUICK, *arguments)
    assert run.status == 1
    assert word in run.complaint
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("counts", ["", "0", "5,", "some"])
def test_counts_are_numbers_and_all(geounet, tmp_path, chips, counts):
    run = geounet("experiment", "skips", chips, "--out", tmp_path / "out", "--counts", counts)
    assert run.status == 2
    assert "5,20,all" in run.err


def test_a_file_that_is_no_model_is_told(geounet, tmp_path, chips):
    (tmp_path / "model.safetensors").write_bytes(b"nothing of ours")
    arguments = [tmp_path / "model.safetensors", chips, "--out", tmp_path / "out"]
    run = geounet("experiment", "bands", *arguments)
    assert run.status == 1
    assert "model.safetensors" in run.complaint
    assert not (tmp_path / "out").exists()


def test_help_ends_with_a_line_to_paste(geounet):
    for name in ("skips", "bands"):
        run = geounet("experiment", name, "--help")
        assert run.status == 0
        assert f"geounet experiment {name}" in run.out
