import hashlib
import json
import logging
import signal

import numpy as np
import pytest
import rasterio
import torch
from training_chips import write_chips

from geounet import report
from geounet import train as training
from geounet.chips import open_chips
from geounet.config import Config, load_config, load_network
from geounet.dataset import load_chips, open_reader
from geounet.errors import ChipsError, ConfigError, OutputError
from geounet.finishing import PICTURES
from geounet.metrics import as_record, confusion_matrix, pixel_figures
from geounet.model_card import describe_model
from geounet.model_file import load_model, read_header
from geounet.networks.halo import exact_halo
from geounet.task import EpochLog, SegmentationTask
from geounet.train import train_model

UNKNOWN = 255
TINY = {"base_width": 4, "depth": 2}


def tiny(**settings):
    """A recipe that takes a second; in float32, as everywhere without bf16 in the processor."""
    fields = {"network_settings": TINY, "epochs": 4, "batch": 4, "learning_rate": 0.01}
    return Config(**(fields | {"device": "cpu", "precision": "fp32"} | settings))


draw = report._save


@pytest.fixture(autouse=True)
def _blank_pictures(monkeypatch):
    """Leave the drawing of pictures, which takes longer than all else, to who looks at them."""
    monkeypatch.setattr(report, "_save", lambda figure, path: path.write_bytes(b""))  # noqa: ARG005


@pytest.fixture
def pictures(monkeypatch, _blank_pictures):
    """Draw them all the same."""
    monkeypatch.setattr(report, "_save", draw)


@pytest.fixture(scope="module")
def chips(tmp_path_factory):
    path = tmp_path_factory.mktemp("train") / "chips"
    return write_chips(path, counts={"train": 7, "val": 3, "test": 2})


@pytest.fixture(scope="module")
def learned(tmp_path_factory, chips):
    """A training that got somewhere."""
    out = tmp_path_factory.mktemp("learned") / "run"
    train_model(chips, tiny(epochs=12), out, licence="CC-BY-4.0")
    return out


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def stop_before(monkeypatch, epoch):
    """Press Ctrl-C when an epoch (from 0) begins."""
    begin = SegmentationTask.on_train_epoch_start

    def press(task):
        if task.current_epoch == epoch:
            raise KeyboardInterrupt
        begin(task)

    monkeypatch.setattr(SegmentationTask, "on_train_epoch_start", press)


def test_it_learns_the_coast(learned):
    scores = read_header(learned / "model.safetensors").training["scores"]
    for split in ("val", "test"):
        assert min(scores[split]["iou"].values()) > 0.93
        assert min(scores[split]["f1"].values()) > 0.96


def test_the_model_file_is_what_the_header_says(learned, chips):
    header, network = load_model(learned / "model.safetensors")
    info = open_chips(chips).info
    assert [band["name"] for band in header.bands] == ["B02", "B03", "B04", "B08"]
    np.testing.assert_allclose(header.mean, info.mean, rtol=1e-6)
    np.testing.assert_allclose(header.std, info.std, rtol=1e-6)
    assert (header.sensor, header.level, header.res_m) == ("s2", "L2A", (10.0, 10.0))
    assert [c.name for c in header.label_classes] == ["land", "water"]
    assert header.stride == network.stride == 4
    assert header.halo_exact == exact_halo(network, 4)
    assert header.halo_default % header.stride == 0
    assert header.halo_default <= header.halo_exact
    assert header.halo_error < 1 / 255
    assert header.licence == "CC-BY-4.0"
    record = header.training
    assert record["chips"] == {"fingerprint": info.fingerprint, "train": 7, "val": 3, "test": 2}
    assert record["config"] == tiny(epochs=12).model_dump(mode="json")
    assert record["epochs"] == 12
    assert record["versions"]["torch"] == torch.__version__


def test_the_scores_are_those_of_the_weights_in_the_file(learned, chips):
    header, network = load_model(learned / "model.safetensors")
    folder = open_chips(chips)
    for split in ("val", "test"):
        confusion = confusion_matrix(2)
        (data,) = load_chips(open_reader(folder, None), [folder.names(split)])
        with torch.inference_mode():
            confusion.update(network(data.images), data.labels)
        counts = confusion.compute()
        expected = as_record(pixel_figures(counts, ["land", "water"]))
        assert header.training["scores"][split]["pixels"] == counts.sum()
        for name, iou in expected["iou"].items():
            # A pixel on the fence may fall to the other side in another layout of memory.
            assert header.training["scores"][split]["iou"][name] == pytest.approx(iou, abs=2e-3)


def test_the_model_file_says_how_far_its_line_is_and_the_card_says_it_too(learned):
    header = read_header(learned / "model.safetensors")
    lines = header.training["scores"]["val"]["lines"]
    assert 0 < lines["median_m"] < header.position_u95_m < 20  # pixels of 10 m
    assert 0 < header.suggested_threshold < 1
    pictures = {name: shows for name, shows in PICTURES.items() if (learned / name).is_file()}
    assert len(pictures) == 4
    card = describe_model(header, model="model.safetensors", pictures=pictures)
    assert (learned / "MODEL.md").read_text(encoding="utf-8") == card
    assert f"within {header.position_u95_m:.1f} m" in card


def test_the_best_weights_are_those_of_the_least_validation_loss(learned):
    rows = (learned / "logs" / "epochs.csv").read_text().splitlines()
    columns = rows[0].split(",")
    losses = [float(row.split(",")[columns.index("val_loss")]) for row in rows[1:]]
    assert len(losses) == 12
    record = read_header(learned / "model.safetensors").training
    assert record["best_epoch"] == int(np.argmin(losses)) + 1
    best = torch.load(learned / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["epoch"] + 1 == record["best_epoch"]


def test_what_belongs_to_a_training_lies_beside_the_model(learned):
    names = {str(p.relative_to(learned)) for p in learned.rglob("*") if p.is_file()}
    logs = {name for name in names if name.startswith("logs/events.out.tfevents")}
    assert len(logs) == 1
    assert names - logs == {
        "model.safetensors",
        "MODEL.md",
        "augmented.png",
        "config.yaml",
        "curves.png",
        "scores.png",
        "validation.png",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "logs/epochs.csv",
        "logs/hparams.yaml",
    }


def test_the_recipe_beside_the_model_is_a_recipe(learned):
    assert load_config(str(learned / "config.yaml")) == tiny(epochs=12)


def test_the_recipe_beside_the_model_finds_a_network_of_ones_own(tmp_path, monkeypatch, chips):
    (tmp_path / "mine.yaml").write_text("# Mine.\ndepth: 1\nbase_width: 2\n")
    monkeypatch.chdir(tmp_path)
    train_model(chips, tiny(network="mine.yaml", network_settings={}, epochs=1), tmp_path / "run")
    monkeypatch.chdir(tmp_path.parent)
    recipe = load_config(str(tmp_path / "run" / "config.yaml"))
    assert load_network(recipe.network, recipe.network_settings).depth == 1
    train_model(chips, recipe, tmp_path / "run", resume=True)


def test_tensorboard_can_read_the_logs(learned):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(learned / "logs"))
    events.Reload()
    assert {"train/loss", "val/loss", "val/iou/water", "learning_rate"} <= set(
        events.Tags()["scalars"]
    )
    assert len(events.Scalars("val/loss")) == 12


def test_the_same_training_gives_the_same_model_file(tmp_path, chips):
    one = train_model(chips, tiny(epochs=2), tmp_path / "one")
    two = train_model(chips, tiny(epochs=2), tmp_path / "two")
    assert digest(one) == digest(two)


@pytest.mark.usefixtures("pictures")
def test_a_run_that_was_stopped_and_resumed_ends_as_if_it_had_not(tmp_path, monkeypatch, chips):
    config = tiny(epochs=3, network_settings=TINY | {"dropout": "pooling"})
    whole = train_model(chips, config, tmp_path / "whole")

    stopped = tmp_path / "stopped"
    with monkeypatch.context() as context:
        stop_before(context, epoch=2)
        with pytest.raises(KeyboardInterrupt):
            train_model(chips, config, stopped)
    assert not (stopped / "model.safetensors").exists()
    moved = stopped.rename(tmp_path / "moved")  # a run may be taken elsewhere to go on
    resumed = train_model(chips, config, moved, resume=True)
    assert digest(resumed) == digest(whole)
    for name in ("logs/epochs.csv", "curves.png", "validation.png"):
        assert digest(moved / name) == digest(tmp_path / "whole" / name)


def test_ctrl_c_says_how_to_go_on_and_is_heard_again(tmp_path, monkeypatch, chips, caplog):
    handler = signal.getsignal(signal.SIGINT)
    stop_before(monkeypatch, epoch=1)
    with pytest.raises(KeyboardInterrupt):
        train_model(chips, tiny(), tmp_path / "run")
    assert signal.getsignal(signal.SIGINT) is handler
    assert "--resume" in caplog.text
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file()


def test_stopped_before_the_first_epoch_there_is_nothing_to_resume(
    tmp_path, monkeypatch, chips, caplog
):
    with monkeypatch.context() as context:
        stop_before(context, epoch=0)
        with pytest.raises(KeyboardInterrupt):
            train_model(chips, tiny(), tmp_path / "run")
    assert "start again" in caplog.text
    train_model(chips, tiny(epochs=1), tmp_path / "run", resume=True)
    assert "no checkpoint to go on from" in caplog.text


def test_training_stops_when_validation_gets_no_better(tmp_path, chips):
    # Such steps jump about the valley.
    config = tiny(epochs=40, patience=2, learning_rate=0.3)
    model = train_model(chips, config, tmp_path / "run")
    record = read_header(model).training
    assert record["epochs"] < 40
    assert record["epochs"] == record["best_epoch"] + 2

    # Nothing more is trained when a run that is done is resumed; what follows is done again.
    before = digest(model)
    model.unlink()
    train_model(chips, config, tmp_path / "run", resume=True)
    assert digest(model) == before


def test_other_settings_or_chips_are_not_resumed(tmp_path, chips):
    out = tmp_path / "run"
    train_model(chips, tiny(epochs=1), out)
    with pytest.raises(ConfigError, match=r"epochs 1 \(now 2\)"):
        train_model(chips, tiny(epochs=2), out, resume=True)
    other = write_chips(tmp_path / "other", counts={"train": 2, "val": 1}, seed=9)
    with pytest.raises(ConfigError, match="other chips"):
        train_model(other, tiny(epochs=1), out, resume=True)
    train_model(chips, tiny(epochs=1, workers=0), out, resume=True)  # where it runs may change


def test_what_exists_is_not_replaced_unasked(tmp_path, chips):
    out = tmp_path / "run"
    model = train_model(chips, tiny(epochs=1), out)
    before = digest(model)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"--overwrite.*--resume"):
        train_model(chips, tiny(epochs=1, seed=1), out)
    assert digest(model) == before
    train_model(chips, tiny(epochs=1, seed=1), out, overwrite=True)
    assert digest(model) != before
    assert (out / "notes.txt").read_text() == "mine"


def test_a_folder_of_something_else_is_never_touched(tmp_path, chips):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"holds other files"):
        train_model(chips, tiny(epochs=1), tmp_path, overwrite=True)
    assert (tmp_path / "logs" / "mine.txt").read_text() == "mine"
    with pytest.raises(OutputError, match="is a file"):
        train_model(chips, tiny(epochs=1), tmp_path / "logs" / "mine.txt")


def test_the_seed_decides(tmp_path, chips):
    one = train_model(chips, tiny(epochs=1, seed=1), tmp_path / "one")
    two = train_model(chips, tiny(epochs=1, seed=2), tmp_path / "two")
    assert digest(one) != digest(two)


def test_chance_elsewhere_is_left_alone(tmp_path, chips):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train_model(chips, tiny(epochs=1), tmp_path / "run")
    assert torch.equal(torch.rand(3), expected)


def test_without_validation_chips_the_last_weights_are_taken(tmp_path, caplog):
    chips = write_chips(tmp_path / "chips", counts={"train": 4, "test": 1})
    out = tmp_path / "run"
    header = read_header(train_model(chips, tiny(epochs=3), out))
    assert "no validation chips" in caplog.text
    assert header.halo_default == header.halo_exact
    assert header.training["best_epoch"] == header.training["epochs"] == 3
    assert set(header.training["scores"]) == {"test"}
    assert not (out / "checkpoints" / "best.ckpt").exists()
    assert not (out / "validation.png").exists()
    last = torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    for name, weight in load_model(out / "model.safetensors")[1].state_dict().items():
        assert torch.equal(weight, last[f"network.{name}"])


def test_one_chip_is_enough(tmp_path):
    chips = write_chips(tmp_path / "chips", counts={"train": 1})
    header = read_header(train_model(chips, tiny(epochs=2), tmp_path / "run"))
    assert header.training["scores"] == {}


def test_a_chip_that_is_one_pixel_at_the_bottom_is_refused_in_time(tmp_path):
    chips = write_chips(tmp_path / "chips", counts={"train": 1}, size=16)
    config = tiny(network_settings={"base_width": 2, "depth": 4})
    with pytest.raises(ConfigError, match="batch normalisation"):
        train_model(chips, config, tmp_path / "run")
    two = write_chips(tmp_path / "two", counts={"train": 2}, size=16)
    train_model(two, config, tmp_path / "run")


def test_a_class_that_is_not_there_does_not_stop_training(tmp_path, caplog):
    def drown(split, values, label):  # noqa: ARG001
        label[label != UNKNOWN] = 1

    chips = write_chips(tmp_path / "chips", counts={"train": 2, "val": 1}, change=drown)
    header = read_header(train_model(chips, tiny(epochs=2), tmp_path / "run"))
    assert "any land" in caplog.text
    assert header.training["scores"]["val"]["pixels"] == 32 * 32 - 16


def test_the_context_of_chips_is_seen_but_not_judged(tmp_path):
    chips = write_chips(tmp_path / "chips", counts={"train": 2, "val": 2}, size=24, context=4)
    header = read_header(train_model(chips, tiny(epochs=1), tmp_path / "run"))
    assert header.training["scores"]["val"]["pixels"] == 2 * 24 * 24


# Seen in validation, and where there is none, in the second step.
@pytest.mark.parametrize("counts", [{"train": 2, "val": 1}, {"train": 8}])
def test_a_training_that_diverges_is_an_error_and_spoils_no_checkpoint(tmp_path, counts):
    chips = write_chips(tmp_path / "chips", counts=counts)
    wild = tiny(learning_rate=1e30, epochs=1, network_settings=TINY | {"norm": "none"})
    with pytest.raises(ConfigError, match=r"not finite.*learning_rate"):
        train_model(chips, wild, tmp_path / "run")
    assert not (tmp_path / "run" / "model.safetensors").exists()
    assert not (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()


def test_a_last_step_that_spoils_the_weights_is_noticed(tmp_path, monkeypatch):
    look = SegmentationTask.on_train_batch_end

    def spoil(task, *arguments):
        with torch.no_grad():
            next(task.network.parameters()).fill_(float("nan"))
        look(task, *arguments)

    monkeypatch.setattr(SegmentationTask, "on_train_batch_end", spoil)
    chips = write_chips(tmp_path / "chips", counts={"train": 2})
    with pytest.raises(ConfigError, match="not finite"):
        train_model(chips, tiny(epochs=1), tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()


def test_divergence_leaves_the_checkpoint_before_it_and_says_where(tmp_path, monkeypatch, chips):
    step = SegmentationTask.training_step

    def spoil(task, batch, batch_idx):
        if (task.current_epoch, batch_idx) == (1, 1):
            with torch.no_grad():
                next(task.network.parameters()).fill_(float("nan"))
        return step(task, batch, batch_idx)

    monkeypatch.setattr(SegmentationTask, "training_step", spoil)
    out = tmp_path / "run"
    with pytest.raises(ConfigError, match=r"diverged.*last\.ckpt is of before, and kept"):
        train_model(chips, tiny(epochs=3, checkpoint_every=1), out)
    kept = torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)
    assert kept["global_step"] == 3  # of 2 + 1; the fourth was not a number
    assert all(torch.isfinite(value).all() for value in kept["state_dict"].values())


def test_accumulated_batches_are_the_step_of_all_their_chips(tmp_path):
    # Without statistics of a batch, and where each batch has as many known pixels as the other.
    network = TINY | {"norm": "none", "bias": True, "init": "he"}
    settings = {"network_settings": network, "epochs": 2, "augment": {"flips": False}}
    settings |= {"loss": {"dice": 0}, "learning_rate": 1e-3, "clip_norm": 0.1}
    settings["augment"]["rotations"] = False
    chips = write_chips(tmp_path / "chips", counts={"train": 8}, size=16)
    found = []
    for batch, accumulate in ((4, 1), (2, 2)):
        out = tmp_path / str(batch)
        train_model(chips, tiny(batch=batch, accumulate=accumulate, **settings), out)
        kept = torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)
        assert kept["global_step"] == 4
        found.append(kept["state_dict"])
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, atol=1e-5, rtol=0)


def test_nan_in_chips_is_no_data_and_teaches_nothing(tmp_path):
    def spoil(split, values, label):  # noqa: ARG001
        values[1, 8:12, 8:12] = np.nan  # in one band, and the label says water

    chips = write_chips(tmp_path / "chips", counts={"train": 3, "val": 1}, change=spoil)
    header = read_header(train_model(chips, tiny(epochs=1), tmp_path / "run"))
    assert np.isfinite(header.training["loss"]["val"])
    assert header.training["scores"]["val"]["pixels"] == 32 * 32 - 16 - 16


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"accumulate": 8}, r"`accumulate` is 8.*7 training chips.*accumulate=7"),
        ({"warmup": 8}, r"`warmup` is 8 steps.*has 8"),
        ({"devices": 8}, r"8 processes.*batches have 3 chips.*`batch`"),
    ],
)
def test_steps_that_these_chips_do_not_make_are_refused_in_time(tmp_path, chips, settings, message):
    with pytest.raises(ConfigError, match=message):
        train_model(chips, tiny(**settings), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_chips_and_config_that_disagree_are_told_before_anything_is_written(tmp_path, chips):
    out = tmp_path / "run"
    cases = [
        (tiny(bands=("B08", "B11")), r"B11.*B02.*B03.*B04.*B08"),
        (tiny(loss={"class_weights": (1.0, 2.0, 3.0)}), r"3 values.*land, water"),
        (tiny(network_settings={"base_width": 2, "depth": 6}), r"32 × 32.*64.*--size"),
    ]
    for config, message in cases:
        with pytest.raises(ConfigError, match=message):
            train_model(chips, config, out)
        assert not out.exists()


def test_sizes_name_the_context_too(tmp_path):
    chips = write_chips(tmp_path / "chips", counts={"train": 1}, size=24, context=5)
    with pytest.raises(ConfigError, match=r"34 × 34 pixels \(24 and 5 of context.*32 or 36"):
        train_model(chips, tiny(), tmp_path / "run")


def test_networks_that_see_everything_at_once_are_trained_to_be_blended(tmp_path, chips, caplog):
    everywhere = tiny(network="smp/pspnet/resnet18", network_settings={}, epochs=1)
    header, _ = load_model(train_model(chips, everywhere, tmp_path / "run"))
    assert (header.halo_exact, header.halo_default, header.halo_error) == (None, 0, 0)
    assert header.blend.window == 32  # of the chips
    assert header.blend.overlap == 8
    assert "align_corners" in header.blend.why
    assert header.blend.why in caplog.text


def test_a_chip_pooled_to_a_pixel_alone_in_a_batch_is_refused(tmp_path, chips):
    everywhere = tiny(network="smp/deeplabv3/resnet18", network_settings={}, epochs=1, batch=1)
    with pytest.raises(ConfigError, match="greater `batch`"):
        train_model(chips, everywhere, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_sizes_below_what_a_network_takes_are_refused_by_name(tmp_path, chips):
    with pytest.raises(ConfigError, match="from 128 on"):
        train_model(chips, tiny(network="smp/pan/resnet18", network_settings={}), tmp_path / "run")


def test_unknown_labels_alone_teach_nothing(tmp_path):
    def forget(split, values, label):  # noqa: ARG001
        label[:] = UNKNOWN

    chips = write_chips(tmp_path / "chips", counts={"train": 2}, change=forget)
    with pytest.raises(ChipsError, match="unknown"):
        train_model(chips, tiny(), tmp_path / "run")


def test_all_the_bands_named_and_no_others_are_used(tmp_path, chips):
    model = train_model(chips, tiny(epochs=1, bands=("nir", "B03")), tmp_path / "run")
    header, network = load_model(model)
    assert [band["name"] for band in header.bands] == ["B08", "B03"]
    info = open_chips(chips).info
    np.testing.assert_allclose(header.mean, [info.mean[3], info.mean[1]], rtol=1e-6)
    assert network(torch.zeros(1, 2, 32, 32)).shape == (1, 2, 32, 32)


def test_half_precision_learns_too(tmp_path, chips):
    model = train_model(chips, tiny(epochs=12, precision="bf16"), tmp_path / "run")
    record = read_header(model).training
    assert record["precision"] == "bf16"
    assert min(record["scores"]["val"]["iou"].values()) > 0.93


def test_chips_that_do_not_fit_in_memory_train_alike(tmp_path, monkeypatch, chips):
    kept = train_model(chips, tiny(epochs=2), tmp_path / "kept")
    monkeypatch.setattr(training, "load_chips", lambda *a, **k: load_chips(*a, **k, limit=0))
    read = train_model(chips, tiny(epochs=2, workers=0), tmp_path / "read")
    a, b = (load_model(path)[1].state_dict() for path in (kept, read))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_progress_is_told_for_each_epoch_and_ends(tmp_path, chips):
    told = []

    def watch(items, *, label, total):
        count = 0
        for item in items:
            yield item
            count += 1
        told.append((label, count, total))

    train_model(chips, tiny(epochs=2), tmp_path / "run", progress=watch)
    assert told == [
        ("reading chips", 7, 7),
        ("reading chips", 3, 3),
        ("epoch 1/2", 2, 2),
        ("epoch 2/2", 2, 2),
        ("judging val", 1, 1),
        ("judging test", 1, 1),
    ]


def test_an_epoch_is_one_line_of_the_log(tmp_path, chips, caplog):
    with caplog.at_level(logging.INFO):
        train_model(chips, tiny(epochs=2), tmp_path / "run")
    lines = [r.getMessage() for r in caplog.records]
    assert [line[:9] for line in lines if line.startswith("epoch")] == ["epoch 1/2", "epoch 2/2"]
    assert {r.name.split(".")[0] for r in caplog.records} == {"geounet"}


@pytest.mark.usefixtures("pictures")
def test_nothing_is_printed(tmp_path, chips, capfd):
    train_model(chips, tiny(epochs=1), tmp_path / "run")
    assert capfd.readouterr() == ("", "")


def test_a_run_and_its_log_have_no_state_of_their_own(tmp_path):
    log = EpochLog(tmp_path / "epochs.csv", epochs=1, progress=training.silent)
    assert json.loads(json.dumps(log.state_dict())) == {"rows": [], "finished": False}


def relabel(chips, label):
    """Put another label, (rows, cols), in the place of that of the first chip."""
    path = chips / "labels" / "chip_000.tif"
    rows, cols = label.shape
    transform = rasterio.Affine(10, 0, 300_000, 0, -10, 6_000_000)
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "nodata": UNKNOWN}
    profile |= {"crs": "EPSG:32630", "transform": transform}
    with rasterio.open(path, "w", height=rows, width=cols, **profile) as dst:
        dst.write(label, 1)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (np.full((32, 32), 7, dtype=np.uint8), r"chip_000.*value 7.*no class.*0 \(land\)"),
        (np.zeros((30, 32), dtype=np.uint8), r"chip_000.*30 × 32 pixels.*32 × 32.*tile again"),
    ],
)
def test_a_label_of_other_classes_or_of_another_size_is_told(tmp_path, label, message):
    chips = write_chips(tmp_path / "chips", counts={"train": 2})
    relabel(chips, label)
    with pytest.raises(ChipsError, match=message) as told:
        train_model(chips, tiny(epochs=1), tmp_path / "run")
    assert "\n" not in str(told.value)
    assert not (tmp_path / "run").exists()


def test_an_image_of_another_size_than_its_label_is_told(tmp_path):
    chips = write_chips(tmp_path / "chips", counts={"train": 2})
    smaller = write_chips(tmp_path / "smaller", counts={"train": 1}, size=16)
    image = "images/chip_000.tif"
    (chips / image).write_bytes((smaller / image).read_bytes())
    with pytest.raises(ChipsError, match=r"chip_000.*16 × 16 pixels.*32 × 32.*tile again"):
        train_model(chips, tiny(epochs=1), tmp_path / "run")
