import pytest
import torch

from geounet.classes import LAND, LAND_WATER, WATER, LabelClass
from geounet.metrics import Scores, confusion_matrix

SURF = LabelClass(value=2, name="surf", color="#ffffff", water=True)
THREE = (LAND, WATER, SURF)


def random_batch(seed, classes):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, classes, 8, 9, generator=generator)
    label = torch.randint(classes, (3, 8, 9), generator=generator).to(torch.uint8)
    label[torch.rand(label.shape, generator=generator) < 0.3] = 255
    return logits, label


def scores_of(batches, classes):
    confusion = confusion_matrix(len(classes))
    for logits, label in batches:
        confusion.update(logits, label)
    return Scores.from_confusion(confusion.compute(), classes)


def test_scores_are_ratios_of_pixel_sets():
    batches = [random_batch(seed, 3) for seed in range(2)]
    scores = scores_of(batches, THREE)
    predicted = torch.cat([logits.argmax(1) for logits, _ in batches])
    label = torch.cat([label for _, label in batches])
    known = label != 255
    for number, label_class in enumerate(THREE):
        true, said = (label == number) & known, (predicted == number) & known
        both, either = (true & said).sum().item(), (true | said).sum().item()
        score = scores.classes[label_class.name]
        assert score.iou == pytest.approx(both / either)
        precision, recall = both / said.sum().item(), both / true.sum().item()
        assert score.f1 == pytest.approx(2 * precision * recall / (precision + recall))
    assert scores.pixels == known.sum()


def test_a_class_that_does_not_occur_has_no_score_and_does_not_count():
    label = torch.zeros(1, 4, 4, dtype=torch.uint8)
    logits = torch.stack([torch.ones(1, 4, 4), torch.zeros(1, 4, 4)], dim=1)
    scores = scores_of([(logits, label)], LAND_WATER)
    assert scores.classes["water"].iou is None
    assert scores.to_dict() == {
        "pixels": 16,
        "iou": {"land": 1.0, "water": None},
        "f1": {"land": 1.0, "water": None},
    }


def test_a_class_that_is_only_predicted_scores_nought():
    label = torch.zeros(1, 4, 4, dtype=torch.uint8)
    logits = torch.stack([torch.zeros(1, 4, 4), torch.ones(1, 4, 4)], dim=1)
    scores = scores_of([(logits, label)], LAND_WATER)
    assert scores.classes["water"].iou == 0


def test_nothing_known_gives_no_score():
    logits, label = random_batch(0, 2)
    scores = scores_of([(logits, torch.full_like(label, 255))], LAND_WATER)
    assert scores.pixels == 0
