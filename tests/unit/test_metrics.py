import pytest
import torch

from geounet.metrics import as_record, confusion_matrix, pixel_figures

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
