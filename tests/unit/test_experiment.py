"""The experiments: the same budget for all, bands that matter and bands that do not."""

import json
import logging

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from training_chips import write_chips

from geounet import train as train_module
from geounet.chips import open_chips
from geounet.config import AugmentSettings, load_config, load_network
from geounet.dataset import Samples
from geounet.errors import BandError, ChipsError, ConfigError, OutputError
from geounet.experiment import BandSettings, SkipSettings, format_bands, run_bands, run_skips
from geounet.experiment import skips as skips_module
from geounet.experiment.bands import shuffled_plane, with_plane
from geounet.experiment.scoring import compared, spread_of
from geounet.experiment.skips import draw_chips, plan_length, plan_skips, summarise
from geounet.model_file import ModelHeader, NetworkRecord, load_model, save_model
from geounet.networks import build_network
from geounet.networks.halo import exact_halo
from geounet.sampling import WHOLE
from geounet.training_plan import plan_training

SMALL = ("network_settings.base_width=4", "network_settings.depth=1", "precision=fp32")
ASKED = SkipSettings(networks=("no-skip", "unet-same"), counts=(2, None), seeds=2, steps=4)


@pytest.fixture(scope="module")
def recipe():
    return load_config("demo", [*SMALL, "batch=4", "device=cpu"])


@pytest.fixture(scope="module")
def chips(tmp_path_factory):
    return write_chips(
        tmp_path_factory.mktemp("experiment") / "chips",
        counts={"train": 6, "val": 1, "test": 3},
        size=16,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory, chips, recipe):
    out = tmp_path_factory.mktemp("skips") / "out"
    return out, run_skips(chips, out, recipe, ASKED)


def without_timings(path):
    record = json.loads(path.read_text())
    del record["timings"]
    return record


def planned(chips, recipe, asked):
    return plan_skips(open_chips(chips), recipe, asked).runs


class TestSkips:
    def test_every_training_of_one_count_has_the_same_steps_and_nearly_so_have_all(self):
        for chips, batch, steps in ((5, 5, 1000), (20, 5, 987), (703, 5, 1000), (3, 2, 500)):
            length = plan_length(chips, batch, steps)
            drawn = chips * length.repeats
            assert length.steps == length.epochs * -(-drawn // batch)
            assert abs(length.steps - steps) <= max(0.01 * steps, chips / batch / 2)

    def test_few_chips_do_not_make_an_epoch_of_every_step(self):
        assert plan_length(5, 5, 2000).epochs <= 20

    def test_the_length_is_what_is_trained(self, finished):
        out, record = finished
        for run in record["runs"]:
            folder = next((out / "runs").glob(f"{run['network']}_{run['chips']}_*_{run['seed']}"))
            lines = (folder / "logs" / "epochs.csv").read_text().splitlines()
            repeats = load_model(folder / "model.safetensors")[0].training["config"]["repeats"]
            of_epoch = -(-run["chips"] * repeats // 2)  # batches of two
            assert run["steps"] == (len(lines) - 1) * of_epoch
        assert {run["steps"] for run in record["runs"]} == {3}

    def test_all_kinds_are_trained_from_all_seeds(self, finished):
        _, record = finished
        kinds = [(r["network"], r["varied"], r["chips"], r["seed"]) for r in record["runs"]]
        assert len(set(kinds)) == len(kinds) == 2 * 2 * 2 * 2
        assert {chips for _, _, chips, _ in kinds} == {2, 6}

    def test_more_chips_include_the_fewer_and_other_seeds_have_others(self, chips, recipe):
        runs = planned(chips, recipe, ASKED)
        given = {(run.seed, len(run.chips)): set(run.chips) for run in runs}
        assert all(given[seed, 2] < given[seed, 6] for seed in (0, 1))
        everything = SkipSettings(counts=(2,), seeds=8, steps=4)
        drawn = {run.chips for run in planned(chips, recipe, everything)}
        assert len(drawn) > 1

    def test_chips_with_coast_come_first(self, tmp_path):
        written = []

        def only_water(*chip):
            written.append(chip)
            if len(written) % 3 == 0:
                chip[-1][:] = 1

        folder = open_chips(
            write_chips(tmp_path / "c", counts={"train": 12, "test": 1}, change=only_water)
        )
        coast_m = folder.index.set_index("chip")["coast_m"]
        names = folder.names("train")
        some = int((coast_m[names] > 0).sum())
        assert some == 8
        for seed in range(5):
            drawn = draw_chips(folder, names, seed)
            assert sorted(drawn) == names
            assert (coast_m[drawn[:some]] > 0).all()

    def test_it_trains_on_the_chips_that_it_draws_and_on_no_others(self, finished, chips):
        out, _ = finished
        folder = open_chips(chips)
        for run in plan_skips(folder, load_config("demo", [*SMALL, "batch=4"]), ASKED).runs:
            header, _ = load_model(out / "runs" / run.name / "model.safetensors")
            assert header.training["chips"]["train"] == len(run.chips)
            assert header.training["chips"]["val"] == 0
            listed = (out / "lists" / f"{len(run.chips)}_{run.seed}.txt").read_text().split()
            assert set(listed) | set(run.chips) | set(folder.names("test")) == set(
                folder.index["chip"]
            )
            assert not set(listed) & set(run.chips)

    def test_only_varied_trainings_vary(self, finished):
        out, record = finished
        for run in record["runs"]:
            kind = "varied" if run["varied"] else "as-they-are"
            folder = out / "runs" / f"{run['network']}_{run['chips']}_{kind}_{run['seed']}"
            config = load_model(folder / "model.safetensors")[0].training["config"]
            none = AugmentSettings(flips=False, rotations=False).model_dump()
            assert (config["augment"] == none) is not run["varied"]
            assert (config["network"], config["seed"]) == (run["network"], run["seed"])

    def test_scores_are_those_that_training_records(self, finished):
        out, record = finished
        for run in record["runs"]:
            kind = "varied" if run["varied"] else "as-they-are"
            folder = out / "runs" / f"{run['network']}_{run['chips']}_{kind}_{run['seed']}"
            test = load_model(folder / "model.safetensors")[0].training["scores"]["test"]
            ious = [iou for iou in test["iou"].values() if iou is not None]
            assert run["scores"]["iou"] == pytest.approx(np.mean(ious), abs=2e-5)

    def test_the_summary_is_mean_and_spread_over_the_seeds(self, finished):
        _, record = finished
        for one in record["summary"]:
            values = [
                run["scores"]["iou"]
                for run in record["runs"]
                if all(run[key] == one[key] for key in ("network", "varied", "chips"))
            ]
            spread = one["scores"]["iou"]
            assert spread["mean"] == pytest.approx(sum(values) / 2, abs=2e-6)
            assert spread["sd"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5, abs=2e-6)
            assert (spread["min"], spread["max"]) == (min(values), max(values))

    def test_interrupted_it_goes_on_and_gives_what_it_would_have_given(
        self, tmp_path, monkeypatch, chips, recipe, caplog
    ):
        asked = SkipSettings(networks=("no-skip",), counts=(2,), seeds=2, steps=2)
        run_skips(chips, tmp_path / "whole", recipe, asked)
        begun, ended = [], []

        def begin(*args, **kwargs):
            begun.append((args[2].name, kwargs["resume"]))
            return train_model(*args, **kwargs)

        def end(*args, **kwargs):
            if len(ended) == 1:  # of the second training: its steps are done, it is not
                ended.append("interrupted")
                raise KeyboardInterrupt
            ended.append("finished")
            return finish_training(*args, **kwargs)

        train_model, finish_training = skips_module.train_model, train_module.finish_training
        monkeypatch.setattr(skips_module, "train_model", begin)
        monkeypatch.setattr(train_module, "finish_training", end)
        again = tmp_path / "again"
        with pytest.raises(KeyboardInterrupt):
            run_skips(chips, again, recipe, asked)
        assert not (again / "skips.json").exists()
        assert "--resume goes on" in caplog.records[-1].getMessage()
        run_skips(chips, again, recipe, asked, resume=True)
        first, second, third, fourth = (run.name for run in planned(chips, recipe, asked))
        assert begun == [
            (first, False),
            (second, False),
            (second, True),
            (third, False),
            (fourth, False),
        ]
        assert without_timings(again / "skips.json") == without_timings(
            tmp_path / "whole" / "skips.json"
        )

    def test_chips_that_the_user_leaves_out_are_neither_trained_on_nor_tested(
        self, tmp_path, chips, recipe
    ):
        folder = open_chips(chips)
        train, test = folder.names("train"), folder.names("test")
        (tmp_path / "bad.txt").write_text(f"{train[0]}.tif\n{test[0]}\n")
        asked = SkipSettings(networks=("no-skip",), counts=(None,), seeds=1, steps=2)
        out = tmp_path / "out"
        record = run_skips(chips, out, recipe, asked, exclude=tmp_path / "bad.txt")
        assert record["test_chips"] == len(test) - 1
        assert {run["chips"] for run in record["runs"]} == {len(train) - 1}
        for model in out.rglob("model.safetensors"):
            assert load_model(model)[0].training["chips"]["train"] == len(train) - 1

    def test_checkpoints_of_finished_trainings_are_gone(self, finished):
        out, _ = finished
        assert not list(out.rglob("*.ckpt"))
        assert len(list(out.rglob("model.safetensors"))) == 16

    def test_what_is_there_is_not_replaced_unasked(self, finished, chips, recipe, tmp_path):
        out, _ = finished
        with pytest.raises(OutputError, match="--overwrite"):
            run_skips(chips, out, recipe, ASKED)
        (tmp_path / "mine.txt").write_text("")
        with pytest.raises(OutputError, match="not touched"):
            run_skips(chips, tmp_path, recipe, ASKED, overwrite=True)
        assert (tmp_path / "mine.txt").exists()

    def test_another_experiment_is_not_gone_on_with(self, finished, chips, recipe):
        out, _ = finished
        other = SkipSettings(networks=ASKED.networks, counts=ASKED.counts, seeds=2, steps=5)
        with pytest.raises(ConfigError, match="other settings"):
            run_skips(chips, out, recipe, other, resume=True)

    @pytest.mark.parametrize(
        ("changes", "settings", "told"),
        [
            ({}, SkipSettings(counts=(7,)), "has 6 training chips"),
            ({}, SkipSettings(networks=("no-skips",), counts=(2,)), "no-skip"),
            ({}, SkipSettings(networks=("autoencoder",), counts=(2,)), "autoencoder"),
            ({"accumulate": 2}, ASKED, "accumulate"),
            ({"augment": AugmentSettings(flips=False, rotations=False)}, ASKED, "varies nothing"),
        ],
    )
    def test_what_cannot_be_is_told_before_anything_is_written(
        self, tmp_path, chips, recipe, changes, settings, told
    ):
        with pytest.raises(ConfigError, match=told):
            run_skips(chips, tmp_path / "out", recipe.model_copy(update=changes), settings)
        assert not (tmp_path / "out").exists()

    def test_chips_without_a_test_split_are_told(self, tmp_path, recipe):
        chips = write_chips(tmp_path / "chips", counts={"train": 3, "val": 1}, size=16)
        with pytest.raises(ChipsError, match="test"):
            run_skips(chips, tmp_path / "out", recipe, ASKED)

    def test_it_tells_of_trainings_and_not_of_epochs_or_what_it_leaves_out_itself(
        self, tmp_path, chips, recipe, caplog
    ):
        caplog.set_level(logging.INFO, logger="geounet")
        asked = SkipSettings(networks=("no-skip",), counts=(2,), seeds=2, steps=2)
        run_skips(chips, tmp_path / "out", recipe, asked)
        told = [r.getMessage() for r in caplog.records]
        assert not [line for line in told if "no validation chips" in line]
        assert not [line for line in told if line.startswith("epoch")]
        assert len([line for line in told if "no-skip, 2 chips" in line]) == 4


def test_a_spread_needs_two_and_a_score_that_is_nowhere_has_none():
    assert spread_of([0.5]) == {"mean": 0.5, "sd": None, "min": 0.5, "max": 0.5}
    assert spread_of([0.5, None])["mean"] is None
    row = {"network": "n", "varied": True, "chips": 1, "steps": 1}
    scores = dict.fromkeys(("iou", "boundary_f1", "boundary_iou", "accuracy"))
    assert summarise([{**row, "scores": scores}])[0]["scores"]["iou"]["mean"] is None


def test_what_is_compared_is_the_mean_over_the_classes_that_occur():
    nan = torch.tensor(float("nan"))
    figures = {
        ("iou", "a"): torch.tensor(0.5),
        ("iou", "b"): torch.tensor(0.25),
        ("iou", "c"): nan,
        ("accuracy",): torch.tensor(0.75),
        **{(s, "1", n): nan for s in ("boundary_f1", "boundary_iou") for n in "abc"},
    }
    scores = compared(figures, ["a", "b", "c"])
    assert scores == {"iou": 0.375, "accuracy": 0.75, "boundary_f1": None, "boundary_iou": None}


@pytest.fixture(scope="module")
def model(tmp_path_factory, chips):
    """A network that finds water where the near infrared is low, and sees nothing else."""
    info = open_chips(chips).info
    settings = load_network(
        "unet-same", {"base_width": 1, "depth": 1, "norm": "none", "bias": True}
    )
    network = build_network(settings, bands=[b.common_name for b in info.band_list], classes=2)
    with torch.no_grad():
        for weight in network.parameters():
            weight.zero_()
        # The feature at full resolution is 1 - nir, cut at 0; the skip brings it to the head.
        convolutions = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
        first, second, *_, fifth, sixth, head = convolutions
        first.weight[0, 3, 1, 1], first.bias[0] = -1.0, 3.0
        for later in (second, sixth):
            later.weight[0, 0, 1, 1] = 1.0
        fifth.weight[0, 0, 1, 1] = 1.0  # of (skip, upsampled) the skip
        head.weight[1, 0, 0, 0], head.bias[1] = 1.0, -3.0
    header = ModelHeader(
        network=NetworkRecord(name="nir", settings=settings),
        bands=info.bands,
        sensor=info.sensor,
        level=info.level,
        mean=info.mean,
        std=info.std,
        classes=info.classes,
        stride=network.stride,
        halo_exact=exact_halo(network, 4),
        halo_default=2,
        halo_error=0.0,
        res_m=info.res_m,
    )
    path = tmp_path_factory.mktemp("model") / "nir.safetensors"
    save_model(path, network, header)
    return path


class TestBands:
    @pytest.mark.parametrize("among", ["pixels", "chips"])
    def test_the_band_that_it_sees_costs_much_and_the_others_nothing(
        self, tmp_path, model, chips, among
    ):
        record = run_bands(
            model, chips, tmp_path / among, BandSettings(among=among, repeats=3, device="cpu")
        )
        assert record["scores"]["accuracy"] > 0.99
        for row in record["bands"]:
            for spread in row["drop"].values():
                if row["band"] == "s2:B08":
                    assert spread["mean"] > 0.1
                else:
                    assert (spread["mean"], spread["sd"]) == (0, 0)

    def test_shuffled_among_pixels_accuracy_is_what_chance_gives(self, tmp_path, model, chips):
        settings = BandSettings(repeats=8, device="cpu")
        record = run_bands(model, chips, tmp_path / "out", settings)
        folder = open_chips(chips)
        parts = [folder.read(name) for name in folder.names("test")]
        water = np.concatenate([chip.label[chip.valid] == 1 for chip in parts]).mean()
        by_chance = water**2 + (1 - water) ** 2  # what it says has nothing to do with what is
        lost = record["scores"]["accuracy"] - by_chance
        nir = next(row for row in record["bands"] if row["band"] == "s2:B08")
        assert nir["drop"]["accuracy"]["mean"] == pytest.approx(lost, abs=0.03)

    def test_the_same_seed_gives_the_same_record_and_another_does_not(self, tmp_path, model, chips):
        def record(name, **settings):
            run_bands(model, chips, tmp_path / name, BandSettings(device="cpu", **settings))
            return without_timings(tmp_path / name / "bands.json")

        first = record("a", repeats=2)
        assert record("b", repeats=2, batch=2) == first
        other = record("c", repeats=2, seed=1)
        assert other["bands"] != first["bands"]
        assert other["scores"] == first["scores"]

    def test_chips_that_lack_a_band_are_told(self, tmp_path, model):
        fewer = write_chips(
            tmp_path / "fewer", counts={"train": 1, "test": 1}, names=("B02", "B08"), size=16
        )
        with pytest.raises(BandError, match="no s2:B03"):
            run_bands(model, fewer, tmp_path / "out", BandSettings())
        assert not (tmp_path / "out").exists()

    def test_bands_are_found_by_name_in_whatever_order_chips_have_them(self, tmp_path, model):
        names = ("B08", "B02", "B04", "B03")
        turned = write_chips(
            tmp_path / "turned", counts={"train": 1, "test": 2}, names=names, size=16
        )
        record = run_bands(model, turned, tmp_path / "out", BandSettings(repeats=1, device="cpu"))
        assert record["scores"]["accuracy"] > 0.99
        assert [row["band"] for row in record["bands"]] == ["s2:B02", "s2:B03", "s2:B04", "s2:B08"]

    def test_chips_of_another_level_are_told(self, tmp_path, model, chips):
        header, network = load_model(model)
        other = tmp_path / "other.safetensors"
        save_model(other, network, header.model_copy(update={"level": "L1C"}))
        with pytest.raises(ConfigError, match="L1C"):
            run_bands(other, chips, tmp_path / "out", BandSettings())

    def test_what_is_lost_is_negative_in_the_table(self, tmp_path, model, chips):
        record = run_bands(model, chips, tmp_path / "out", BandSettings(repeats=2, device="cpu"))
        _, whole, *rows = format_bands(record).splitlines()
        assert float(whole.split()[3]) == pytest.approx(
            100 * record["scores"]["accuracy"], abs=0.01
        )
        assert float(rows[3].split()[2]) < -10


@pytest.mark.parametrize("among", ["pixels", "chips"])
def test_shuffling_keeps_every_value_and_every_hole(among):
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.normal(size=(5, 2, 6, 6)).astype(np.float32)) + 10
    if among == "pixels":
        image[1, :, :2] = 0  # no data
    batches = [Samples(part, torch.zeros(len(part), 6, 6)) for part in image.split(2)]
    plane = shuffled_plane(batches, 1, among=among, rng=rng)
    assert torch.equal(plane == 0, image[:, 1] == 0)
    assert torch.equal(plane.flatten().sort().values, image[:, 1].flatten().sort().values)
    assert not torch.equal(plane, image[:, 1])
    if among == "chips":
        whole = {tuple(chip.flatten().tolist()) for chip in image[:, 1]}
        assert {tuple(chip.flatten().tolist()) for chip in plane} == whole
    shown = torch.cat([changed for changed, _ in with_plane(batches, 1, plane)])
    assert torch.equal(shown[:, 1], plane)
    assert torch.equal(shown[:, 0], image[:, 0])


def test_a_hole_stays_one_when_chips_exchange_a_band():
    image = torch.ones(2, 1, 2, 2)
    image[0, :, 0] = 0
    batch = [Samples(image, torch.zeros(2, 2, 2))]
    for seed in range(4):
        rng = np.random.default_rng(seed)
        plane = shuffled_plane(batch, 0, among="chips", rng=rng)
        assert (plane[0, 0] == 0).all()


def test_an_epoch_shows_each_chip_as_often_as_it_repeats(chips, recipe):
    plan = plan_training(open_chips(chips), recipe.model_copy(update={"repeats": 3}))
    drawn = np.concatenate(list(plan.sampler(WHOLE)))
    assert np.bincount(drawn).tolist() == [3] * 6
    assert plan.batches == len(list(plan.sampler(WHOLE))) == -(-18 // 4)


def test_models_of_the_experiment_have_their_own_weights(finished):
    out, _ = finished
    first, *others = sorted(out.rglob("model.safetensors"))
    assert all(
        load_file(first).keys() != load_file(other).keys()
        or any(not torch.equal(a, load_file(other)[k]) for k, a in load_file(first).items())
        for other in others
    )
