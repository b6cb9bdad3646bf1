import copy
import math
import pickle

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy import ndimage
from segmentation_models_pytorch import losses as smp
from torch.nn import functional as F

from geounet.config import BorderSettings, LossSettings, load_config
from geounet.errors import ConfigError
from geounet.losses import SegmentationLoss, boundary
from geounet.losses.border import border_weights
from geounet.losses.boundary import signed_distances
from geounet.losses.segmentation import BY_CLASS

UNKNOWN = 255
OVERLAP = ("dice", "jaccard", "tversky", "lovasz", "mcc")
PIXELWISE = ("cross_entropy", "focal", "soft_cross_entropy", "soft_bce")
NAMES = (*OVERLAP, *PIXELWISE, "boundary", "sobel")


def build(classes=3, **fields):
    return SegmentationLoss(LossSettings(**fields), classes)


def only(name, classes=3, **fields):
    return build(classes, **({"cross_entropy": 0, "dice": 0, name: 1} | fields))


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
    loss = build(cross_entropy=0.7, dice=1.5, class_weights=weights)
    assert loss(logits, label).item() == pytest.approx(0.7 * entropy + 1.5 * dice, rel=1e-5)


def test_a_class_that_the_batch_has_not_adds_nothing_to_dice():
    logits, label = random_batch(0)
    label[label == 2] = UNKNOWN
    _, dice = by_hand(logits, label)
    loss = build(cross_entropy=0)
    assert loss(logits, label).item() == pytest.approx(dice, rel=1e-5)


def test_a_factor_of_zero_leaves_a_part_out():
    logits, label = random_batch(1)
    entropy, dice = by_hand(logits, label)
    assert build(dice=0)(logits, label).item() == pytest.approx(entropy, rel=1e-5)
    alone = build(cross_entropy=0)
    assert alone(logits, label).item() == pytest.approx(dice, rel=1e-5)


def test_every_loss_of_the_settings_is_tested():
    parts = LossSettings(**dict.fromkeys(NAMES, 1)).parts
    assert sorted(parts) == sorted(NAMES)
    numbers = {name for name, field in LossSettings.model_fields.items() if field.default == 0}
    assert numbers <= set(NAMES)


@pytest.mark.parametrize(
    ("name", "border"), [*((name, None) for name in NAMES), ("cross_entropy", BorderSettings())]
)
def test_what_is_said_of_unknown_pixels_does_not_matter(name, border):
    logits, label = random_batch(2, unknown=0.1)
    logits.requires_grad_()
    loss = only(name, border=border)
    before = loss(logits, label)
    before.backward()
    unknown = (label == UNKNOWN).unsqueeze(1).expand_as(logits)
    assert unknown.any()
    assert (logits.grad[unknown] == 0).all()
    assert (logits.grad[~unknown] != 0).float().mean() > 0.1
    other = torch.where(unknown, -7.0, logits)
    assert loss(other, label) == before


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("weights", [None, (1.0, 5.0, 0.5)])
def test_a_batch_of_which_nothing_is_known_teaches_nothing(name, weights):
    logits, label = random_batch(3)
    logits.requires_grad_()
    loss = only(name, class_weights=weights)(logits, torch.full_like(label, UNKNOWN))
    assert loss.shape == ()
    loss.backward()
    assert loss == 0
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_a_batch_of_one_class_gives_finite_numbers(name, classes, scale):
    logits, label = random_batch(4, classes=classes)
    logits = (scale * logits).requires_grad_()
    loss = only(name, classes)(logits, torch.where(label == UNKNOWN, label, 1))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


def known_alone(logits, label):
    """The known pixels as an image of one row, (1, C, 1, N) and (1, 1, N)."""
    known = label != UNKNOWN
    return logits.movedim(1, -1)[known].T[None, :, None], label[known].long()[None, None]


def expected_by_smp(name, logits, label, classes):
    """What segmentation-models-pytorch says of known pixels that it is given alone."""
    logits, label = known_alone(logits, label)
    shares = F.one_hot(label, classes).movedim(-1, 1).float()
    if name == "mcc":
        probs = logits.softmax(1)
        return sum(smp.MCCLoss()(probs[:, c], shares[:, c]) for c in range(classes)) / classes
    if name == "soft_bce":
        return smp.SoftBCEWithLogitsLoss(smooth_factor=0.1)(logits, shares)
    losses = {
        "dice": smp.DiceLoss("multiclass"),
        "jaccard": smp.JaccardLoss("multiclass"),
        "tversky": smp.TverskyLoss("multiclass", alpha=0.3, beta=0.7),
        "lovasz": smp.LovaszLoss("multiclass"),
        "focal": smp.FocalLoss("multiclass", gamma=2.0),
        "soft_cross_entropy": smp.SoftCrossEntropyLoss(smooth_factor=0.1),
        "cross_entropy": torch.nn.CrossEntropyLoss(),
    }
    return losses[name](logits, label)


@pytest.mark.parametrize("name", [*OVERLAP, *PIXELWISE])
@pytest.mark.parametrize("classes", [2, 4])
def test_a_loss_is_what_smp_says_of_the_known_pixels(name, classes):
    logits, label = random_batch(6, classes=classes, unknown=0.4)
    expected = expected_by_smp(name, logits, label, classes)
    assert only(name, classes)(logits, label).item() == pytest.approx(expected.item(), rel=1e-5)


def test_mcc_of_certain_answers_is_matthews_correlation():
    generator = torch.Generator().manual_seed(0)
    label, said = torch.randint(2, (2, 3, 20, 20), generator=generator)
    logits = 200.0 * F.one_hot(said, 2).movedim(-1, 1).float()
    expected = 1 - np.corrcoef(label.flatten().numpy(), said.flatten().numpy())[0, 1]
    assert only("mcc", 2)(logits, label).item() == pytest.approx(expected, abs=1e-5)


def test_prices_of_tversky_are_of_pixels_found_in_vain_and_missed():
    label = torch.tensor([[[0, 0, 0, 1, 1, 1]]])
    found_in_vain = 60.0 * F.one_hot(torch.tensor([[[0, 0, 1, 1, 1, 1]]]), 2).movedim(-1, 1).float()
    loss = only("tversky", 2, tversky_alpha=0.2, tversky_beta=0.9)(found_in_vain, label).item()
    land, water = 2 / (2 + 0.9), 3 / (3 + 0.2)  # land has missed one, water found one in vain
    assert loss == pytest.approx(1 - (land + water) / 2, rel=1e-5)


def test_the_whole_is_the_sum_of_its_parts_by_weight():
    logits, label = random_batch(7)
    weights = {name: 0.1 * (number + 1) for number, name in enumerate(NAMES)}
    parts = sum(weight * only(name)(logits, label) for name, weight in weights.items())
    assert build(**weights)(logits, label).item() == pytest.approx(parts.item(), rel=1e-5)


@pytest.mark.parametrize("name", ["cross_entropy", "dice", "jaccard", "lovasz", "tversky", "sobel"])
def test_the_right_answer_is_cheap_and_the_wrong_one_is_not(name):
    _, label = random_batch(4, unknown=0)
    right = 40 * F.one_hot(label.long(), 3).movedim(-1, 1).float()
    assert only(name)(right, label) < 1e-5
    assert only(name)(right.roll(1, dims=1), label) > 0.05


def test_the_right_answer_costs_next_to_nothing():
    _, label = random_batch(4, unknown=0)
    logits = 40 * torch.nn.functional.one_hot(label.long(), 3).movedim(-1, 1).float()
    assert build()(logits, label) < 1e-5


def test_half_precision_is_summed_in_full():
    logits, label = random_batch(5)
    low = logits.to(torch.bfloat16)
    loss = build()
    assert loss(low, label).dtype == torch.float32
    assert loss(low, label) == loss(low.float(), label)


@pytest.mark.parametrize("name", NAMES)
def test_autocast_changes_nothing(name):
    logits, label = random_batch(8)
    logits = logits.to(torch.bfloat16)
    border = BorderSettings() if name == "cross_entropy" else None
    loss = only(name, border=border)
    expected = loss(logits.float(), label)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss(logits, label)
    assert found.dtype == torch.float32
    assert found == expected


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("water", [0, 1])
def test_whole_shares_of_water_are_labels(name, water):
    logits, label = random_batch(9, classes=2)
    share = torch.where(label == UNKNOWN, torch.nan, (label == water).float())
    settings = LossSettings(**{"cross_entropy": 0, "dice": 0, name: 1})
    loss = SegmentationLoss(settings, 2, water=[water])
    assert loss(logits, share).item() == pytest.approx(loss(logits, label).item(), rel=1e-5)


@pytest.mark.parametrize("weights", [None, (1.0, 3.0)])
def test_cross_entropy_with_shares_is_the_formula(weights):
    logits, _ = random_batch(10, classes=2)
    share = torch.rand(2, 5, 7, generator=torch.Generator().manual_seed(10))
    share[0, 0] = torch.nan
    land, water = weights or (1.0, 1.0)
    total = norm = 0.0
    for b, row, col in np.argwhere(~share.isnan().numpy()):
        s = share[b, row, col].item()
        p = logits[b, :, row, col].softmax(0).tolist()
        total -= land * (1 - s) * math.log(p[0]) + water * s * math.log(p[1])
        norm += land * (1 - s) + water * s
    found = only("cross_entropy", 2, class_weights=weights)(logits, share)
    assert found.item() == pytest.approx(total / norm, rel=1e-5)


@pytest.mark.parametrize("name", ["cross_entropy", "jaccard", "dice", "tversky"])
def test_probabilities_equal_to_the_shares_are_best(name):
    share = 0.05 + 0.9 * torch.rand(1, 6, 6, generator=torch.Generator().manual_seed(11))
    right = torch.stack([(1 - share).log(), share.log()], dim=1)
    loss = only(name, 2)
    least = loss(right, share)
    for shift in (-0.3, 0.3):
        assert loss(right + torch.tensor([0.0, shift]).view(1, 2, 1, 1), share) > least + 1e-3
    for each in torch.eye(36).view(36, 1, 6, 6):  # and pixel by pixel, both ways
        assert loss(right + torch.stack([each, -each], dim=1), share) > least
        assert loss(right - torch.stack([each, -each], dim=1), share) > least


@pytest.mark.parametrize("name", NAMES)
def test_all_losses_ask_for_shares_but_those_that_say_they_go_by_classes(name):
    logits, _ = random_batch(14, classes=2)
    share = torch.rand(2, 5, 7, generator=torch.Generator().manual_seed(14))
    share[1, 2, 3:] = torch.nan
    loss = only(name, 2)
    by_class = loss(logits, loss.greater(share))
    assert (loss(logits, share).item() == pytest.approx(by_class.item())) == (name in BY_CLASS)


def test_the_greater_share_is_the_class():
    share = torch.tensor([[[0.0, 0.49, 0.51, 1.0, torch.nan]]])
    assert build(2).greater(share).tolist() == [[[0, 0, 1, 1, UNKNOWN]]]
    other = SegmentationLoss(LossSettings(), 2, water=[0])
    assert other.greater(share).tolist() == [[[1, 1, 0, 0, UNKNOWN]]]
    label = torch.tensor([[[0, 1, UNKNOWN]]], dtype=torch.uint8)
    assert build(2).greater(label) is label


def test_shares_of_water_need_two_classes():
    with pytest.raises(ValueError, match="two classes, land and water, not for 3"):
        build(3)(torch.zeros(1, 3, 4, 4), torch.zeros(1, 4, 4))


def test_the_border_weight_comes_on_top_of_that_of_the_class():
    logits, label = random_batch(12, classes=2)
    border = BorderSettings(w0=7, sigma=1.5)
    weights = (1.0, 3.0)
    total = norm = 0.0
    for b in range(2):
        extra = border_weights(label[b].numpy(), border, water=[1])
        assert extra.max() > 0
        for row, col in np.argwhere(label[b].numpy() != UNKNOWN):
            true = int(label[b, row, col])
            p = logits[b, :, row, col].softmax(0)[true].item()
            total -= (weights[true] + extra[row, col]) * math.log(p)
            norm += weights[true]
    loss = only("cross_entropy", 2, class_weights=weights, border=border)
    assert loss(logits, label).item() == pytest.approx(total / norm, rel=1e-5)


def test_border_weights_of_classes_without_weight_are_divided_by_their_pixels():
    label = torch.ones(1, 9, 9, dtype=torch.uint8)
    label[0, 2:4, 2:4] = label[0, 6:8, 6:8] = 0
    loss = SegmentationLoss(
        LossSettings(dice=0, class_weights=(0, 0, 1), border=BorderSettings(w0=3)), 3, water=[1, 2]
    )
    extra = border_weights(label[0].numpy(), BorderSettings(w0=3), water=[1, 2])
    expected = extra.sum() * math.log(3) / 81
    assert loss(torch.zeros(1, 3, 9, 9), label).item() == pytest.approx(expected, rel=1e-5)


def test_what_was_prepared_is_used():
    logits, label = random_batch(13, classes=2)
    loss = build(2, border=BorderSettings(), boundary=0.1)
    prepared = loss.prepare(label)
    assert {name: tuple(one.shape) for name, one in prepared.items()} == {
        "border": (2, 5, 7),
        "distances": (2, 2, 5, 7),
    }
    assert loss(logits, label, prepared) == loss(logits, label)
    doubled = {name: 2 * one for name, one in prepared.items()}
    assert loss(logits, label, doubled) != loss(logits, label)
    assert build(2).prepare(label) == {}


def distances_by_hand(label, classes):
    """Signed distances by a double loop over pixels."""
    height, width = label.shape
    pixels = [(r, c) for r in range(height) for c in range(width) if label[r, c] != UNKNOWN]
    out = np.zeros((classes, height, width))
    for number in range(classes):
        for r, c in pixels:
            inside = label[r, c] == number
            others = [(y, x) for y, x in pixels if (label[y, x] == number) != inside]
            if others:
                distance = min(math.hypot(y - r, x - c) for y, x in others) - 0.5
                out[number, r, c] = -distance if inside else distance
    return out


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("classes", [2, 4])
def test_distances_from_boundaries_are_those_of_a_double_loop(seed, classes):
    _, label = random_batch(seed, classes=classes)
    if classes == 4:
        label[0][label[0] == 3] = 0  # absent from the first label
    for one in label.numpy():
        expected = distances_by_hand(one, classes)
        assert np.abs(signed_distances(one, classes) - expected).max() < 1e-5
        as_on_gpus = boundary._signed_distances(torch.from_numpy(one)[None], classes)[0]
        assert np.abs(as_on_gpus.numpy() - expected).max() < 1e-5


def test_the_boundary_loss_is_how_far_probability_is_on_the_wrong_side():
    label = torch.zeros(1, 4, 10, dtype=torch.uint8)
    label[..., 5:] = 1
    said = torch.zeros(1, 4, 10, dtype=torch.long)
    said[..., 7:] = 1  # two columns of water, half a pixel and one and a half away, are missed
    logits = 60 * F.one_hot(said, 2).movedim(-1, 1).float()
    assert only("boundary", 2)(logits, label).item() == pytest.approx((0.5 + 1.5) / 10, rel=1e-5)
    right = 60 * F.one_hot(label.long(), 2).movedim(-1, 1).float()
    assert only("boundary", 2)(right, label).item() == pytest.approx(0, abs=1e-6)


def test_the_sobel_loss_is_that_of_scipys_filters():
    logits, label = random_batch(14, unknown=0)
    label[0, 2, 3] = UNKNOWN
    probs = logits.softmax(1).double().numpy()
    truth = F.one_hot(label.long() % UNKNOWN, 3).movedim(-1, 1).double().numpy()
    squares = np.empty_like(probs)
    for b, c in np.ndindex(2, 3):
        slopes = [ndimage.sobel((probs - truth)[b, c], axis) / 8 for axis in (0, 1)]
        squares[b, c] = slopes[0] ** 2 + slopes[1] ** 2
    counted = np.zeros(label.shape, dtype=bool)
    counted[:, 1:-1, 1:-1] = True
    counted[0, 1:4, 2:5] = False  # the unknown pixel is their neighbour
    expected = np.moveaxis(squares, 1, -1)[counted].mean()
    assert only("sobel")(logits, label).item() == pytest.approx(expected, rel=1e-5)


def test_the_sobel_loss_of_a_label_without_neighbourhoods_is_nothing():
    assert only("sobel", 2)(torch.randn(1, 2, 2, 5), torch.zeros(1, 2, 5).byte()) == 0


def test_a_loss_can_be_sent_to_another_process():
    logits, label = random_batch(16)
    loss = build(**dict.fromkeys(NAMES, 1), border=BorderSettings())
    for copied in (pickle.loads(pickle.dumps(loss)), copy.deepcopy(loss)):
        assert copied(logits, label) == loss(logits, label)


def test_losses_are_named_on_the_command_line():
    config = load_config("demo", ["loss.dice=0", "loss.jaccard=0.5", "loss.border.w0=4"])
    assert config.loss.parts == {"cross_entropy": 1.0, "jaccard": 0.5}
    assert config.loss.border == BorderSettings(w0=4)
    with pytest.raises(ConfigError, match=r"loss\.border\.w1.*w0, sigma, objects"):
        load_config("demo", ["loss.border.w1=4"])


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"cross_entropy": 0, "border": {}}, "border"),
        ({"tversky": 1, "tversky_alpha": 0, "tversky_beta": 0}, "no error has a price"),
        ({"focal_gamma": 0.5}, "focal_gamma"),
        ({"jaccard": -1}, "jaccard"),
        ({"border": {"sigma": 0}}, "sigma"),
    ],
)
def test_settings_that_mean_nothing_are_refused(fields, complaint):
    with pytest.raises(ValidationError, match=complaint):
        LossSettings.model_validate(fields)


def test_class_weights_are_as_many_as_classes():
    with pytest.raises(ValueError, match="3 class weights for 2 classes"):
        build(2, class_weights=(1, 2, 3))


@pytest.mark.parametrize("name", NAMES)
def test_each_loss_alone_leads_to_the_right_answer(name):
    label = torch.zeros(1, 12, 12, dtype=torch.uint8)
    label[:, 3:9, 4:] = 1
    label[:, 0] = UNKNOWN
    logits = torch.randn(1, 2, 12, 12, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = only(name, 2)
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        loss(logits, label).backward()
        optimizer.step()
    known = label != UNKNOWN
    if name == "sobel":  # which knows nothing of the outermost pixels but their slope inwards
        known[:, [1, -1]] = known[:, :, [0, -1]] = False
    assert (logits.argmax(1)[known] == label[known]).float().mean() > 0.98


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("name", NAMES)
def test_a_gpu_gives_what_the_cpu_gives(name):
    logits, label = random_batch(17, classes=2)
    border = BorderSettings(objects="both") if name == "cross_entropy" else None
    loss = only(name, 2, border=border)
    expected = loss(logits, label).item()
    found = loss.cuda()(logits.cuda(), label.cuda())
    assert found.item() == pytest.approx(expected, rel=1e-5)
