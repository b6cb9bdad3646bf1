import math

import pytest
import torch

from geounet.losses import SegmentationLoss

UNKNOWN = 255


def random_batch(seed, classes=3, unknown=0.2):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, classes, 5, 7, generator=generator)
    label = torch.randint(classes, (2, 5, 7), generator=generator)
    label[torch.rand(label.shape, generator=generator) < unknown] = UNKNOWN
    return logits, label.to(torch.uint8)


def by_hand(logits, label, *, weights=None):
    """Cross entropy and Dice, pixel by pixel in plain Python."""
    batch, classes, height, width = logits.shape
    entropy = total_weight = 0.0
    overlap, total, occurs = ([0.0] * classes for _ in range(3))
    for b in range(batch):
        for row in range(height):
            for col in range(width):
                true = int(label[b, row, col])
                if true == UNKNOWN:
                    continue
                exponentials = [math.exp(v) for v in logits[b, :, row, col].tolist()]
                probs = [e / sum(exponentials) for e in exponentials]
                weight = 1.0 if weights is None else weights[true]
                entropy -= weight * math.log(probs[true])
                total_weight += weight
                for c in range(classes):
                    overlap[c] += probs[c] * (c == true)
                    total[c] += probs[c] + (c == true)
                    occurs[c] += c == true
    per_class = [
        1 - 2 * o / t if n else 0.0 for o, t, n in zip(overlap, total, occurs, strict=True)
    ]
    return entropy / total_weight, sum(per_class) / classes


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("weights", [None, (1.0, 5.0, 0.5)])
def test_the_loss_is_the_sum_over_known_pixels_alone(seed, weights):
    logits, label = random_batch(seed)
    entropy, dice = by_hand(logits, label, weights=weights)
    loss = SegmentationLoss(cross_entropy=0.7, dice=1.5, class_weights=weights)
    assert loss(logits, label).item() == pytest.approx(0.7 * entropy + 1.5 * dice, rel=1e-5)


def test_a_class_that_the_batch_has_not_adds_nothing_to_dice():
    logits, label = random_batch(0)
    label[label == 2] = UNKNOWN
    _, dice = by_hand(logits, label)
    loss = SegmentationLoss(cross_entropy=0)
    assert loss(logits, label).item() == pytest.approx(dice, rel=1e-5)


def test_a_factor_of_zero_leaves_a_part_out():
    logits, label = random_batch(1)
    entropy, dice = by_hand(logits, label)
    assert SegmentationLoss(dice=0)(logits, label).item() == pytest.approx(entropy, rel=1e-5)
    alone = SegmentationLoss(cross_entropy=0)
    assert alone(logits, label).item() == pytest.approx(dice, rel=1e-5)


def test_what_is_said_of_unknown_pixels_does_not_matter():
    logits, label = random_batch(2)
    logits.requires_grad_()
    loss = SegmentationLoss()
    before = loss(logits, label)
    before.backward()
    unknown = (label == UNKNOWN).unsqueeze(1).expand_as(logits)
    assert (logits.grad[unknown] == 0).all()
    assert (logits.grad[~unknown] != 0).all()
    other = torch.where(unknown, -7.0, logits)
    assert loss(other, label) == before


@pytest.mark.parametrize("weights", [None, (1.0, 5.0, 0.5)])
def test_a_batch_of_which_nothing_is_known_teaches_nothing(weights):
    logits, label = random_batch(3)
    logits.requires_grad_()
    loss = SegmentationLoss(class_weights=weights)(logits, torch.full_like(label, UNKNOWN))
    loss.backward()
    assert loss == 0
    assert (logits.grad == 0).all()


def test_the_right_answer_costs_next_to_nothing():
    _, label = random_batch(4, unknown=0)
    logits = 40 * torch.nn.functional.one_hot(label.long(), 3).movedim(-1, 1).float()
    assert SegmentationLoss()(logits, label) < 1e-5


def test_half_precision_is_summed_in_full():
    logits, label = random_batch(5)
    low = logits.to(torch.bfloat16)
    loss = SegmentationLoss()
    assert loss(low, label).dtype == torch.float32
    assert loss(low, label) == loss(low.float(), label)
