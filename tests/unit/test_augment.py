import math
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from training_chips import s2_bands

from geounet.augment import Augmenter, derived_seed
from geounet.augment.chance import Chance, Drawn
from geounet.augment.poses import ALL_POSES, FLIPS, ROTATIONS, lay, lay_each, poses
from geounet.bands import Band
from geounet.config import AugmentSettings, load_config
from geounet.errors import ConfigError

SIDE = 6
EVERYTHING = {
    "turn": 40,
    "shift": 4,
    "scale": 1.3,
    "elastic_grid": 2,
    "elastic_field": 20,
    "elastic_smoothing": 4,
    "gain": 0.2,
    "offset": 0.2,
    "noise": 0.1,
    "band_dropout": 0.2,
    "shadows": 0.5,
    "holes": 0.5,
}


def numbered(batch, bands=2):
    """Images whose pixels all differ, and labels that say the same in one band."""
    images = torch.arange(batch * bands * SIDE * SIDE).reshape(batch, bands, SIDE, SIDE)
    return images, images[:, 0].clone(), images[:, 1] % 2 == 0


def augmenter(**settings):
    bands = (*s2_bands(["B03", "B08"]), Band("VV", None, None, None))
    mean, std = torch.tensor([0.1, 0.2, -12.0]), torch.tensor([0.05, 0.1, 3.0])
    return Augmenter(AugmentSettings(**settings), bands, mean, std, spread=std)


def some_chips(count=6, side=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(count, 3, side, side, generator=generator)
    label = torch.randint(3, (count, side, side), generator=generator).to(torch.uint8)
    image[:, :, :5, :7], label[:, :5, :7] = 0, 255  # no data
    return image, label


GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "augmentation.md"


@pytest.mark.parametrize("recipe", re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(), re.DOTALL))
def test_recipes_of_the_guide_are_recipes(recipe, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe)
    assert load_config(str(path)).augment != AugmentSettings()


def test_the_guide_names_every_setting():
    assert [
        name for name in AugmentSettings.model_fields if f"`{name}`" not in GUIDE.read_text()
    ] == []


@pytest.mark.parametrize(
    "change", ["scale=0.5", "turn=200", "gain=1", "shift=-1", "holes=1.5", "elastic_points=1"]
)
def test_what_cannot_be_is_refused_by_name(change):
    with pytest.raises(ConfigError, match=f"augment.{change.partition('=')[0]}"):
        load_config("demo", [f"augment.{change}"])


def seen(image):
    return tuple(image.flatten().tolist())


def test_rotations_are_torchs_own():
    image = numbered(1)[0][0]
    for quarters, pose in enumerate(ROTATIONS):
        assert torch.equal(lay(image, pose), torch.rot90(image, quarters, dims=(-2, -1)))


def test_flips_and_rotations_together_are_the_eight_symmetries_of_the_square():
    image = numbered(1)[0][0, 0]
    expected = {
        seen(torch.rot90(side, quarters))
        for side in (image, image.flip(-1))
        for quarters in range(4)
    }
    assert len(expected) == 8
    assert {seen(lay(image, pose)) for pose in ALL_POSES} == expected


@pytest.mark.parametrize(
    ("flips", "rotations", "ways"),
    [(False, False, 1), (True, False, 4), (False, True, 4), (True, True, 8)],
)
def test_settings_choose_the_ways_and_the_identity_is_always_among_them(flips, rotations, ways):
    image = numbered(1)[0][0, 0]
    laid = [seen(lay(image, pose)) for pose in poses(flips=flips, rotations=rotations)]
    assert len(set(laid)) == len(laid) == ways
    assert seen(image) in laid


def test_flips_alone_never_turn():
    image = numbered(1)[0][0, 0]
    assert {seen(lay(image, p)) for p in FLIPS} == {
        seen(image.flip(dims)) for dims in ([], [0], [1], [0, 1])
    }


def test_samples_that_cannot_be_turned_are_refused():
    with pytest.raises(ValueError, match="4 × 6"):
        lay_each(torch.zeros(2, 1, 4, 6), ALL_POSES[:2])


def test_without_other_settings_chips_are_laid_down_in_ways_that_have_not_changed():
    """Trainings of earlier versions can be repeated: the same ways from the same numbers."""
    image, label = some_chips()
    varied, varied_label = augmenter()(image, label, seed=3, step=7)
    seed = np.random.SeedSequence((3, 7)).generate_state(1, np.uint64)[0]
    drawn = torch.randint(8, (6,), generator=torch.Generator().manual_seed(int(seed)))
    for sample, way in enumerate(drawn.tolist()):
        transposed, rows, cols = way // 4, way // 2 % 2, way % 2
        expected = image[sample].transpose(-2, -1) if transposed else image[sample]
        mark = label[sample].T if transposed else label[sample]
        dims = [-2] * rows + [-1] * cols
        assert torch.equal(varied[sample], expected.flip(dims))
        assert torch.equal(varied_label[sample], mark.flip(dims))


def test_nothing_changes_where_all_is_switched_off():
    image, label = some_chips()
    varied, varied_label = augmenter(flips=False, rotations=False)(image, label, seed=0, step=0)
    assert torch.equal(varied, image)
    assert torch.equal(varied_label, label)


def test_every_way_is_drawn_about_equally_often():
    _, counts = np.unique(Chance(1, 2, 4000).choice(8), return_counts=True)
    assert len(counts) == 8
    # Binomial: 500 expected, standard deviation 21.
    assert (abs(counts - 500) < 5 * 21).all()


def test_a_batch_depends_on_seed_and_step_alone():
    image, label = some_chips()
    vary = augmenter(**EVERYTHING)
    first = vary(image, label, seed=3, step=7)
    torch.rand(5)  # what was drawn elsewhere does not matter
    state = torch.get_rng_state()
    again = augmenter(**EVERYTHING)(image, label, seed=3, step=7)
    assert torch.equal(torch.get_rng_state(), state)  # nor is anything taken from there
    assert torch.equal(again[0], first[0])
    assert torch.equal(again[1], first[1])
    for seed, step in ((3, 8), (4, 7)):
        assert not torch.equal(vary(image, label, seed=seed, step=step)[0], first[0])


def test_a_sample_does_not_depend_on_those_after_it():
    image, label = some_chips()
    vary = augmenter(**EVERYTHING)
    alone = vary(image[:2], label[:2], seed=3, step=7)
    among = vary(image, label, seed=3, step=7)
    # Another size of batch is another order of summing, in the last digit.
    torch.testing.assert_close(among[0][:2], alone[0], rtol=0, atol=1e-4)
    assert torch.equal(among[1][:2], alone[1])


def test_samples_of_a_batch_differ():
    image, label = some_chips(count=1)
    vary = augmenter(**EVERYTHING)
    varied, _ = vary(image.expand(6, -1, -1, -1), label.expand(6, -1, -1), seed=0, step=0)
    assert not any(torch.equal(a, b) for a, b in pairwise(varied))


def test_one_effect_more_changes_no_other():
    image, label = some_chips()
    moved = {"turn": 40, "shift": 4}
    _, expected = augmenter(**moved)(image, label, seed=0, step=0)
    _, with_noise = augmenter(**moved, noise=0.1, gain=0.1)(image, label, seed=0, step=0)
    assert torch.equal(with_noise, expected)


@pytest.mark.parametrize("step", range(4))
def test_labels_stay_in_their_classes_and_nothing_is_said_where_nothing_is_known(step):
    image, label = some_chips()
    before = image.clone(), label.clone()
    varied, marked = augmenter(**EVERYTHING)(image, label, seed=0, step=step)
    assert torch.equal(image, before[0])  # what was given is not changed: it is used again
    assert torch.equal(label, before[1])
    assert varied.shape == image.shape
    assert varied.dtype == image.dtype
    assert marked.shape == label.shape
    assert marked.dtype == label.dtype
    assert set(marked.unique().tolist()) <= {0, 1, 2, 255}
    assert torch.isfinite(varied).all()
    empty = (varied == 0).all(dim=1)
    assert empty.any()
    assert (marked[empty] == 255).all()
    assert torch.equal(marked == 255, empty)  # here, all that has data has a class


def test_shares_of_water_are_varied_as_classes_are():
    image, label = some_chips()
    share = torch.where(label == 255, torch.nan, label / 4)
    _, marked = augmenter(**EVERYTHING)(image, label, seed=0, step=0)
    _, shares = augmenter(**EVERYTHING)(image, share, seed=0, step=0)
    assert torch.equal(shares.isnan(), marked == 255)
    # Values between those around, which are 0, a quarter and a half.
    assert 0 <= shares.nan_to_num().min() <= shares.nan_to_num().max() <= 0.5
    # Laid down another way, or lost in holes, each is what it was.
    exact = {"holes": 0.9}
    _, marked = augmenter(**exact)(image, label, seed=0, step=0)
    _, shares = augmenter(**exact)(image, share, seed=0, step=0)
    expected = torch.where(marked == 255, torch.nan, marked / 4)
    torch.testing.assert_close(shares, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("off_centre", [0.0, 3.3, -7.8])
def test_a_straight_shore_that_was_turned_keeps_its_share_of_a_disc(off_centre):
    side, count, radius = 33, 24, 13
    middle = side / 2
    image = torch.ones(count, some_chips()[0].shape[1], side, side)
    row = (torch.arange(1, side + 1) - (middle + off_centre)).clamp(0, 1)
    settings = {"flips": False, "rotations": False, "turn": 180}
    moved, shares = augmenter(**settings)(image, row.repeat(count, side, 1), seed=1, step=0)
    assert torch.equal(shares.isnan(), (moved == 0).all(dim=1))
    at = torch.arange(side) + 0.5 - middle
    disc = torch.hypot(at[:, None], at) < radius
    # The segment of a circle beyond a chord, by geometry, whichever way the chord lies.
    away = off_centre / radius
    segment = (math.acos(away) - away * math.sqrt(1 - away**2)) / math.pi
    means = shares[:, disc].mean(dim=1)
    torch.testing.assert_close(means, torch.full_like(means, segment), rtol=0, atol=0.01)
    assert means.std() < 0.004
    # Pixels that the shore parts stay parted.
    assert ((shares > 0.1) & (shares < 0.9)).flatten(1).sum(dim=1).min() > 10


def test_half_the_digits_in_the_network_are_not_half_the_digits_here():
    image, label = some_chips()
    expected = augmenter(**EVERYTHING)(image, label, seed=0, step=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = augmenter(**EVERYTHING)(image, label, seed=0, step=0)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_varies_chips_as_the_cpu_does():
    image, label = some_chips()
    drawn_on_the_cpu = EVERYTHING | {"elastic_field": 0, "noise": 0}
    expected = augmenter(**drawn_on_the_cpu)(image, label, seed=0, step=0)
    found = augmenter(**drawn_on_the_cpu)(image.cuda(), label.cuda(), seed=0, step=0)
    same = found[1].cpu() == expected[1]
    assert same.float().mean() > 0.999  # half-way between two pixels, the last digit decides
    apart = (found[0].cpu() - expected[0]).abs().amax(dim=1)
    assert (apart[same] < 1e-2).float().mean() > 0.999


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_what_is_drawn_on_a_gpu_depends_on_seed_step_and_sample_alone():
    image, label = (stack.cuda() for stack in some_chips())
    torch.manual_seed(0)
    once = augmenter(**EVERYTHING)(image, label, seed=3, step=7)
    torch.rand(5, device="cuda")  # what others draw
    again = augmenter(**EVERYTHING)(image, label, seed=3, step=7)
    fewer = augmenter(**EVERYTHING)(image[:4], label[:4], seed=3, step=7)
    other = augmenter(**EVERYTHING)(image, label, seed=3, step=8)
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))
    # A GPU adds in another order where a batch has another size: the last digits differ.
    same = once[1][:4] == fewer[1]
    assert same.float().mean() > 0.999
    assert ((once[0][:4] - fewer[0]).abs().amax(dim=1)[same] < 1e-2).float().mean() > 0.999
    assert not torch.equal(once[0], other[0])
    noise = Chance(0, 0, 4, "cuda").normal(Drawn.NOISE, 3, 64, 64)
    assert torch.equal(Chance(0, 0, 2, "cuda").normal(Drawn.NOISE, 3, 64, 64), noise[:2])
    assert noise.mean().abs() < 0.03
    assert noise.std().item() == pytest.approx(1, abs=0.03)
    assert not torch.equal(noise[0], noise[1])


def test_a_batch_of_unknown_labels_and_of_no_data_is_taken():
    image, label = some_chips()
    varied, marked = augmenter(**EVERYTHING)(image, torch.full_like(label, 255), seed=0, step=0)
    assert (marked == 255).all()
    assert (varied != 0).any()
    varied, _ = augmenter(**EVERYTHING)(torch.zeros_like(image), label, seed=0, step=0)
    assert (varied == 0).all()


def test_derived_seeds_do_not_collide():
    seeds = {derived_seed(a, b) for a in range(50) for b in range(50)}
    assert len(seeds) == 2500


def test_no_draw_is_that_of_the_ways():
    """A list of numbers and the same with zeros after it are one seed; so no draw is number 0."""
    assert derived_seed(3, 7, 0, 0) == derived_seed(3, 7)
    assert 0 not in {int(drawn) for drawn in Drawn}
    assert len({derived_seed(0, 0), *(derived_seed(0, 0, 0, d) for d in Drawn)}) == 1 + len(Drawn)
