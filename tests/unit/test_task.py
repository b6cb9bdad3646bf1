import csv
import math
from unittest.mock import Mock

import pytest
import torch
from training_chips import s2_bands

from geounet.augment import Augmenter
from geounet.classes import LAND_WATER
from geounet.config import Config, UNetSettings
from geounet.dataset import Samples
from geounet.errors import ConfigError, OutputError
from geounet.networks import build_network
from geounet.progress import silent
from geounet.task import (
    AtomicCheckpoints,
    EpochLog,
    SegmentationTask,
    read_resumable,
    supervised,
)


def small_task(steps=10, **settings):
    torch.manual_seed(0)
    network = build_network(UNetSettings(depth=1, base_width=2), bands=["nir", "red"], classes=2)
    config = Config(**settings)
    bands, one = s2_bands(["B08", "B04"]), torch.ones(2)
    augmenter = Augmenter(config.augment, bands, 0 * one, one, spread=one)
    return SegmentationTask(network, config, LAND_WATER, augmenter=augmenter, steps=steps, run="{}")


def test_the_learning_rate_falls_along_half_a_cosine_step_by_step():
    task = small_task(steps=8, learning_rate=0.4)
    chosen = task.configure_optimizers()
    assert chosen["lr_scheduler"]["interval"] == "step"
    optimizer, schedule = chosen["optimizer"], chosen["lr_scheduler"]["scheduler"]
    for step in range(8):
        expected = 0.4 * (1 + math.cos(math.pi * step / 8)) / 2
        assert optimizer.param_groups[0]["lr"] == pytest.approx(expected)
        optimizer.step()
        schedule.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-12)


def test_the_learning_rate_rises_along_a_line_before_it_falls():
    task = small_task(steps=13, learning_rate=0.5, warmup=4)
    rates = [task.rate(step) for step in range(14)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    falling = [(1 + math.cos(math.pi * step / 9)) / 2 for step in range(10)]
    assert rates[4:] == pytest.approx(falling)


def test_gradient_descent_with_momentum_is_what_its_formula_says():
    task = small_task(optimizer="sgd", momentum=0.99, learning_rate=0.5, weight_decay=0)
    optimizer = task.configure_optimizers()["optimizer"]
    weight = next(task.network.parameters())
    expected, velocity = weight.detach().clone(), torch.zeros_like(weight)
    for step in range(3):
        gradient = torch.full_like(weight, step + 1.0)
        weight.grad = gradient
        optimizer.step()
        velocity = 0.99 * velocity + gradient
        expected -= optimizer.param_groups[0]["lr"] * velocity
    torch.testing.assert_close(weight.detach(), expected)


def test_a_network_is_compiled_if_told_and_its_weights_keep_their_names(monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda run: compiled.append(run) or run)
    plain, asked = small_task(), small_task(compile=True)
    assert compiled == [asked.network.forward]
    assert list(plain.state_dict()) == list(asked.state_dict())


def test_networks_are_trained_with_bands_innermost():
    task = small_task()
    weights = task.network.state_dict()
    deep = [w for w in weights.values() if w.ndim == 4 and w.shape[1] > 1 and w.shape[2] > 1]
    assert deep
    assert all(w.is_contiguous(memory_format=torch.channels_last) for w in deep)


def test_only_what_the_output_covers_is_supervised():
    task = small_task()
    label = torch.arange(36).reshape(1, 6, 6)
    assert torch.equal(supervised(label, task.network), label)
    task.network.margin = 2
    assert torch.equal(supervised(label, task.network), label[:, 2:4, 2:4])


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_with_advice(loss):
    task = small_task(learning_rate=0.02)
    with pytest.raises(ConfigError, match=r"epoch 1.*learning_rate=0\.002 \(it is 0\.02\)"):
        task._stop_if_diverged(torch.tensor(loss))
    task._stop_if_diverged(torch.tensor(1e30))


def test_each_step_turns_its_own_way_and_the_same_step_the_same(monkeypatch):
    task = small_task()
    seen = []
    monkeypatch.setattr(task, "log", Mock())  # without a trainer there is nowhere to log to
    monkeypatch.setattr(task, "forward", lambda image: seen.append(image) or task.network(image))
    generator = torch.Generator().manual_seed(1)
    batch = Samples(
        torch.randn(8, 2, 4, 4, generator=generator),
        torch.zeros(8, 4, 4, dtype=torch.uint8),
    )
    for batch_idx in (3, 4, 3):
        task.training_step(batch, batch_idx)
    assert torch.equal(seen[0], seen[2])
    assert not torch.equal(seen[0], seen[1])


def some_rows():
    return [
        {"epoch": 1, "learning_rate": 0.1, "loss": 3.0, "val_loss": 2.0, "iou/land": 0.5},
        {"epoch": 2, "learning_rate": 0.1, "loss": 2.0, "val_loss": 1.0},
        {"epoch": 3, "learning_rate": 0.1, "loss": 1.0, "val_loss": 1.0, "iou/water": 0.75},
    ]


def test_the_best_epoch_is_the_first_with_the_least_validation_loss(tmp_path):
    log = EpochLog(tmp_path / "epochs.csv", epochs=3, progress=silent)
    log.load_state_dict({"rows": some_rows(), "finished": False})
    assert log.best_row["epoch"] == 2
    log.load_state_dict({"rows": [{"epoch": 1, "loss": 1.0}], "finished": False})
    assert log.best_row is None


def test_the_csv_has_a_line_per_epoch_and_a_blank_for_what_is_absent(tmp_path):
    log = EpochLog(tmp_path / "epochs.csv", epochs=3, progress=silent)
    log.load_state_dict({"rows": some_rows(), "finished": False})
    log._write()
    with log.path.open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [row["loss"] for row in read] == ["3.0", "2.0", "1.0"]
    assert [row["iou/land"] for row in read] == ["0.5", "", ""]
    assert [row["iou/water"] for row in read] == ["", "", "0.75"]


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path):
    path = tmp_path / "last.ckpt"
    writer = AtomicCheckpoints()
    writer.save_checkpoint({"epoch": 1}, path)
    with pytest.raises(AttributeError):
        writer.save_checkpoint({"epoch": lambda: 2}, path)  # cannot be pickled
    assert torch.load(path, weights_only=True) == {"epoch": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_run_goes_on_only_from_its_own_checkpoint(tmp_path):
    path = tmp_path / "last.ckpt"
    torch.save({"geounet": '{"epochs": 5, "chips": "a"}'}, path)
    assert read_resumable(path, '{"epochs": 5, "chips": "a"}')
    with pytest.raises(ConfigError, match=r"epochs 5 \(now 9\)"):
        read_resumable(path, '{"epochs": 9, "chips": "a"}')
    with pytest.raises(ConfigError, match="other chips"):
        read_resumable(path, '{"epochs": 5, "chips": "b"}')


def test_a_damaged_checkpoint_is_told_in_one_line(tmp_path):
    path = tmp_path / "last.ckpt"
    path.write_bytes(b"no checkpoint")
    with pytest.raises(OutputError, match="damaged"):
        read_resumable(path, "{}")
    torch.save({"geounet": "{}"}, path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(OutputError, match="damaged"):
        read_resumable(path, "{}")


class Runs:
    """What a pickle that runs code would do."""

    def __reduce__(self):
        return print, ("run from a file",)


def test_nothing_is_run_from_a_checkpoint(tmp_path, capsys):
    path = tmp_path / "last.ckpt"
    torch.save({"geounet": Runs()}, path)
    with pytest.raises(OutputError):
        read_resumable(path, "{}")
    assert capsys.readouterr().out == ""


def test_each_chip_of_a_validation_counts_alike(monkeypatch):
    """The last batch is smaller than the others; a loss that is no number is not passed over."""
    task = small_task()
    task.eval()
    losses = iter([1.0, 4.0, math.nan])
    monkeypatch.setattr(task, "own_loss", lambda *_: torch.tensor(next(losses)))
    for chips in (3, 1):
        batch = Samples(torch.zeros(chips, 2, 4, 4), torch.zeros(chips, 4, 4, dtype=torch.uint8))
        task.validation_step(batch, 0)
    assert task.val_loss.compute().item() == pytest.approx((3 * 1 + 4) / 4)
    task.validation_step(batch, 0)
    assert math.isnan(task.val_loss.compute().item())
