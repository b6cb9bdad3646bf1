import numpy as np
import pytest
import torch
from scipy.ndimage import binary_erosion, distance_transform_edt
from torchmetrics.functional import classification as tm

from geounet.metrics import (
    ALL_WATER,
    THRESHOLDS,
    Counts,
    all_figures,
    as_record,
    best_threshold,
    confusion_matrix,
    count_chips,
    pixel_figures,
    spread,
    threshold_scores,
)

THREE = ("land", "water", "surf")


def random_batch(seed, classes):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, classes, 8, 9, generator=generator)
    label = torch.randint(classes, (3, 8, 9), generator=generator).to(torch.uint8)
    label[torch.rand(label.shape, generator=generator) < 0.3] = 255
    return logits, label


def scores_of(batches, names):
    confusion = confusion_matrix(len(names))
    for logits, label in batches:
        confusion.update(logits, label)
    return as_record(pixel_figures(confusion.compute(), names))


def test_scores_are_ratios_of_pixel_sets():
    batches = [random_batch(seed, 3) for seed in range(2)]
    scores = scores_of(batches, THREE)
    predicted = torch.cat([logits.argmax(1) for logits, _ in batches])
    label = torch.cat([label for _, label in batches])
    known = label != 255
    for number, name in enumerate(THREE):
        true, said = (label == number) & known, (predicted == number) & known
        both, either = (true & said).sum().item(), (true | said).sum().item()
        precision, recall = both / said.sum().item(), both / true.sum().item()
        assert scores["iou"][name] == pytest.approx(both / either, abs=1e-6)
        assert scores["precision"][name] == pytest.approx(precision, abs=1e-6)
        assert scores["recall"][name] == pytest.approx(recall, abs=1e-6)
        f1 = 2 * precision * recall / (precision + recall)
        assert scores["f1"][name] == pytest.approx(f1, abs=1e-6)
    right = (predicted == label)[known].sum().item()
    assert scores["accuracy"] == pytest.approx(right / known.sum().item(), abs=1e-6)


def test_a_class_that_does_not_occur_has_no_score_and_does_not_count():
    label = torch.zeros(1, 4, 4, dtype=torch.uint8)
    logits = torch.stack([torch.ones(1, 4, 4), torch.zeros(1, 4, 4)], dim=1)
    assert scores_of([(logits, label)], ["land", "water"]) == {
        "iou": {"land": 1.0, "water": None},
        "f1": {"land": 1.0, "water": None},
        "precision": {"land": 1.0, "water": None},
        "recall": {"land": 1.0, "water": None},
        "accuracy": 1.0,
    }


def test_a_class_that_is_only_predicted_scores_nought():
    label = torch.zeros(1, 4, 4, dtype=torch.uint8)
    logits = torch.stack([torch.zeros(1, 4, 4), torch.ones(1, 4, 4)], dim=1)
    scores = scores_of([(logits, label)], ["land", "water"])
    assert scores["iou"]["water"] == scores["f1"]["water"] == scores["precision"]["water"] == 0
    assert scores["recall"]["water"] is None


def test_nothing_known_gives_no_score():
    logits, label = random_batch(0, 2)
    scores = scores_of([(logits, torch.full_like(label, 255))], ["land", "water"])
    assert scores["accuracy"] is None
    assert set(scores["iou"].values()) == {None}


def smooth_batch(seed, *, classes=3, side=24):
    """Blobs of classes, another guess at them, and a part that is not known."""
    rng = np.random.default_rng(seed)
    rough = rng.normal(size=(2, classes, side // 4, side // 4)).repeat(4, axis=2).repeat(4, axis=3)
    truth = (rough + 0.7 * rng.normal(size=(2, classes, side, side))).argmax(axis=1)
    label = torch.from_numpy(truth).to(torch.uint8)
    label[0, :7, :5] = 255
    logits = torch.from_numpy(rough + 0.5 * rng.normal(size=rough.shape)).float()
    return 2 * logits, label


def counted(seed, *, classes=3):
    logits, label = smooth_batch(seed, classes=classes)
    return count_chips(logits, label, water=[False] + [True] * (classes - 1))


@pytest.mark.parametrize("classes", [2, 3])
def test_scores_are_those_of_torchmetrics(classes):
    logits, label = smooth_batch(1, classes=classes)
    found = all_figures(counted(1, classes=classes).total(), THREE[:classes])
    settings = {"num_classes": classes, "ignore_index": 255, "average": None}
    target = label.long()
    for score, function in {
        "iou": tm.multiclass_jaccard_index,
        "f1": tm.multiclass_f1_score,
        "precision": tm.multiclass_precision,
        "recall": tm.multiclass_recall,
    }.items():
        expected = function(logits, target, **settings)
        for number, name in enumerate(THREE[:classes]):
            assert found[score, name].item() == pytest.approx(expected[number].item(), abs=1e-6)
    accuracy = tm.multiclass_accuracy(
        logits, target, num_classes=classes, ignore_index=255, average="micro"
    )
    assert found["accuracy",].item() == pytest.approx(accuracy.item(), abs=1e-6)
    error = tm.multiclass_calibration_error(logits, target, classes, ignore_index=255)
    assert found["calibration_error",].item() == pytest.approx(error.item(), abs=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_boundary_scores_are_those_of_erosions_and_distances(seed):
    logits, label = smooth_batch(seed)
    found = all_figures(counted(seed).total(), THREE)
    predicted = logits.argmax(dim=1).numpy()
    known = label.numpy() != 255
    planes = [(n, predicted == i, label.numpy() == i) for i, n in enumerate(THREE)]
    wet = logits.softmax(dim=1)[:, 1:].sum(dim=1).numpy() >= 0.5
    for name, said, true in [*planes, (ALL_WATER, wet, label.numpy() > 0)]:
        for distance in (1, 2, 3):
            both = either = 0
            met = [0, 0, 0, 0]
            for of_said, of_true, there in zip(said, true, known, strict=True):
                near, contours = [], []
                for mask in (of_said, of_true):
                    inside = mask & there
                    solid = inside | ~there  # nothing is known of a boundary there
                    square = binary_erosion(
                        solid, np.ones((3, 3)), iterations=distance, border_value=1
                    )
                    near.append(inside & ~square)
                    contours.append(inside & ~binary_erosion(solid, border_value=1))
                both += (near[0] & near[1]).sum()
                either += (near[0] | near[1]).sum()
                for i, (one, other) in enumerate([contours, contours[::-1]]):
                    away = distance_transform_edt(~other) if other.any() else np.full(24, np.inf)
                    met[2 * i] += one.sum()
                    met[2 * i + 1] += (one & (away <= distance)).sum()
            key = str(distance), name
            assert found["boundary_iou", *key].item() == pytest.approx(both / either)
            precision, recall = met[1] / met[0], met[3] / met[2]
            f1 = 2 * precision * recall / (precision + recall)
            assert found["boundary_f1", *key].item() == pytest.approx(f1)


def test_classes_of_water_are_scored_as_one_too():
    label = torch.tensor([[[1, 2, 0, 0]]], dtype=torch.uint8)
    # Land is never the greatest in the third, and yet the two waters are the greater part of it.
    p = torch.tensor([[0.2, 0.45, 0.35], [0.1, 0.8, 0.1], [0.4, 0.35, 0.25], [0.8, 0.1, 0.1]])
    logits = p.log().T[None, :, None]
    figures = all_figures(count_chips(logits, label, water=[False, True, True]).total(), THREE)
    scores = as_record(figures)
    assert scores["iou"]["land"] == 1  # by the greatest of each pixel
    assert scores["iou"]["water"] == 0.5
    assert scores["iou"][ALL_WATER] == pytest.approx(2 / 3, abs=1e-6)
    assert scores["precision"][ALL_WATER] == pytest.approx(2 / 3, abs=1e-6)
    assert scores["recall"][ALL_WATER] == 1
    assert scores["f1"][ALL_WATER] == pytest.approx(0.8, abs=1e-6)
    two = count_chips(logits[:, :2], label.clamp(max=1), water=[False, True]).total()
    assert ("iou", ALL_WATER) not in all_figures(two, THREE[:2])


def test_boundaries_know_how_far_a_line_is_off():
    label = (torch.arange(20) >= 10).to(torch.uint8).expand(1, 20, 20)
    said = torch.arange(20) >= 12  # two pixels off
    logits = torch.stack([~said, said]).float()[None, :, None].expand(1, 2, 20, 20)
    scores = as_record(
        all_figures(count_chips(logits, label, water=[False, True]).total(), THREE[:2])
    )
    assert [scores["boundary_f1"][d]["water"] for d in "123"] == [0, 1, 1]
    # Of 2 columns near each line none is in both, and at 3 pixels one of 5.
    assert [scores["boundary_iou"][d]["water"] for d in "123"] == [0, 0, 0.2]


def test_what_is_said_of_unknown_pixels_counts_nowhere():
    logits, label = smooth_batch(0)
    other = logits.clone()
    other[0, :, :7, :5] = torch.tensor([-9.0, 9.0, -9.0])[:, None, None]
    water = [False, True, True]
    for a, b in zip(
        count_chips(logits, label, water=water), count_chips(other, label, water=water), strict=True
    ):
        assert torch.equal(a, b)


def test_counts_of_chips_add_up_however_they_are_batched():
    logits, label = smooth_batch(4)
    water = [False, True, True]
    apart = [count_chips(logits[i : i + 1], label[i : i + 1], water=water) for i in range(2)]
    together = count_chips(logits, label, water=water)
    twice = together.weighted(torch.tensor([2.0, 0.0]))
    for a, b, first in zip(Counts.joined(apart), together, twice, strict=True):
        torch.testing.assert_close(a, b)
        torch.testing.assert_close(first, 2 * b[0])


def test_the_best_threshold_is_found_by_trying_them_all():
    logits, label = smooth_batch(5, classes=2)
    logits[:, 1] -= 1.5  # too sure of land
    counts = count_chips(logits, label, water=[False, True]).total()
    p = logits.softmax(dim=1)[:, 1]
    known, water = label != 255, label == 1
    expected = []
    for threshold in THRESHOLDS:
        said = (p >= threshold) & known
        dry, land = ~said & known, ~water & known
        ious = [(a & b).sum() / (a | b).sum() for a, b in ((said, water), (dry, land))]
        expected.append(sum(ious).item() / 2)
    np.testing.assert_allclose(threshold_scores(counts), expected, atol=1e-6)
    assert best_threshold(counts) == pytest.approx(THRESHOLDS[np.argmax(expected)].item())
    assert best_threshold(counts) < 0.4


def test_of_thresholds_as_good_the_one_next_to_a_half_is_taken():
    label = torch.tensor([[[0, 1]]], dtype=torch.uint8)
    for dry, wet, best in ((0.1, 0.9, 0.5), (0.2, 0.3, 0.3), (0.7, 0.9, 0.71)):
        p = torch.tensor([dry, wet + 1e-4])[None, None]
        counts = count_chips(torch.stack([1 - p, p], dim=1).log(), label, water=[False, True])
        assert best_threshold(counts.total()) == best


def test_without_land_or_water_no_threshold_is_better():
    counts = count_chips(torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 4), water=[False, True])
    assert best_threshold(counts.total()) is None
    assert best_threshold(Counts.none(2).total()) is None


def test_the_water_of_several_classes_is_one():
    logits, label = smooth_batch(6)
    counts = count_chips(logits, label, water=[False, True, True]).total()
    p, known = logits.softmax(dim=1)[:, 1:].sum(dim=1), label != 255
    assert counts.water[50:, 1].sum() == ((p >= 0.5) & known & (label > 0)).sum()
    assert counts.water[:, 0].sum() == (label == 0).sum()


def chips_of(right):
    """Counts of chips of 100 pixels of land, of which so many are right."""
    logits = torch.zeros(len(right), 2, 10, 10)
    for chip, count in enumerate(right):
        logits[chip, 1].view(-1)[count:] = 1
        logits[chip, 0].view(-1)[:count] = 1
    label = torch.zeros(len(right), 10, 10, dtype=torch.uint8)
    return count_chips(logits, label, water=[False, True])


def test_the_spread_is_that_of_a_mean_of_blocks():
    rng = np.random.default_rng(0)
    right = rng.integers(60, 100, size=200)
    low, high = spread(chips_of(right), [str(i) for i in range(200)], THREE[:2])["accuracy",]
    error = 1.96 * right.std() / 100 / np.sqrt(200)
    assert (low + high).item() / 2 == pytest.approx(right.mean() / 100, abs=error / 5)
    assert (high - low).item() / 2 == pytest.approx(error, rel=0.15)


def test_chips_of_one_block_are_drawn_together():
    rng = np.random.default_rng(1)
    right = rng.integers(60, 100, size=25).repeat(4)  # four chips of a block err alike
    apart = spread(chips_of(right), [str(i) for i in range(100)], THREE[:2])["accuracy",]
    by_block = spread(chips_of(right), [str(i // 4) for i in range(100)], THREE[:2])["accuracy",]
    assert by_block.diff() == pytest.approx(2 * apart.diff().item(), rel=0.2)


def test_of_fewer_than_three_blocks_no_spread_is_known():
    assert spread(chips_of([90, 80]), ["a", "a"], THREE[:2]) is None
    assert spread(chips_of([90, 80, 70]), ["a", "b", "b"], THREE[:2]) is None
    assert spread(chips_of([90, 80, 70]), ["a", "b", "c"], THREE[:2]) is not None
    assert spread(Counts.none(2), [], THREE[:2]) is None


def test_scores_that_nothing_defines_are_none_in_records():
    figures = all_figures(Counts.none(2).total(), THREE[:2])
    record = as_record(figures)
    assert record["accuracy"] is record["calibration_error"] is None
    assert record["boundary_f1"]["2"]["water"] is None
    interval = as_record(spread(chips_of([90, 80, 70]), ["a", "b", "c"], THREE[:2]))
    assert interval["recall"]["water"] is None  # there is no water
    assert interval["accuracy"] == [0.7, 0.9]
