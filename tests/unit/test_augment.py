import pytest
import torch

from geounet.augment import (
    ALL_POSES,
    FLIPS,
    ROTATIONS,
    derived_seed,
    lay,
    lay_at_random,
    poses,
    step_generator,
)

SIDE = 6


def numbered(batch, bands=2):
    """Images whose pixels all differ, and labels that say the same in one band."""
    images = torch.arange(batch * bands * SIDE * SIDE).reshape(batch, bands, SIDE, SIDE)
    return images, images[:, 0].clone(), images[:, 1] % 2 == 0


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


def test_image_label_and_valid_move_together():
    images, labels, valid = numbered(64)
    laid_images, laid_labels, laid_valid = lay_at_random(
        [images, labels, valid], ALL_POSES, step_generator(0, 0)
    )
    assert torch.equal(laid_images[:, 0], laid_labels)
    assert torch.equal(laid_images[:, 1] % 2 == 0, laid_valid)
    assert laid_valid.dtype == torch.bool


def test_no_pixel_is_made_or_lost():
    images, _, _ = numbered(16)
    (laid,) = lay_at_random([images], ALL_POSES, step_generator(0, 0))
    assert torch.equal(laid.flatten(2).sort().values, images.flatten(2).sort().values)


def test_every_way_is_drawn_about_equally_often():
    images, _, _ = numbered(1)
    many = images.expand(4000, -1, -1, -1)
    (laid,) = lay_at_random([many], ALL_POSES, step_generator(1, 2))
    _, counts = torch.unique(laid.flatten(1), dim=0, return_counts=True)
    assert len(counts) == 8
    # Binomial: 500 expected, standard deviation 21.
    assert ((counts - 500).abs() < 5 * 21).all()


def test_the_draw_depends_on_seed_and_step_alone():
    images, _, _ = numbered(32)

    def laid(seed, step):
        return lay_at_random([images], ALL_POSES, step_generator(seed, step))[0]

    first = laid(3, 7)
    torch.rand(5)  # what was drawn elsewhere does not matter
    assert torch.equal(laid(3, 7), first)
    assert not torch.equal(laid(3, 8), first)
    assert not torch.equal(laid(4, 7), first)


def test_derived_seeds_do_not_collide():
    seeds = {derived_seed(a, b) for a in range(50) for b in range(50)}
    assert len(seeds) == 2500


def test_samples_that_cannot_be_turned_are_refused():
    with pytest.raises(ValueError, match="4 × 6"):
        lay_at_random([torch.zeros(2, 1, 4, 6)], ALL_POSES, step_generator(0, 0))
