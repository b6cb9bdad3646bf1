import math

import numpy as np
import pytest
import torch

from geounet.augment import Augmenter, warn_of_no_light
from geounet.augment.light import sunlit
from geounet.bands import SENSORS, Band
from geounet.config import AugmentSettings

NAMES = ("B02", "B04", "B08")
BANDS = (
    *(band for band in SENSORS["s2"] if band.name in NAMES),
    Band("VV", None, None, None),
)
MEAN, STD = torch.tensor([0.1, 0.2, 0.3, -12.0]), torch.tensor([0.05, 0.1, 0.2, 3.0])
LIT = 3
SIDE = 32


def reflectance(standardised):
    return (standardised * STD[:, None, None] + MEAN[:, None, None]).double()


def varied(count=8, *, corner=False, step=0, spread=STD, **settings):
    """Return images before and after, (B, 4, S, S), and the labels after."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(count, 4, SIDE, SIDE, generator=generator) + 0.5
    label = torch.ones(count, SIDE, SIDE, dtype=torch.uint8)
    if corner:
        image[..., :6, :9], label[:, :6, :9] = 0, 255
    off = AugmentSettings(flips=False, rotations=False, **settings)
    after, marked = Augmenter(off, BANDS, MEAN, STD, spread=spread)(image, label, seed=0, step=step)
    return image, after, marked


def test_bands_that_see_sunlight_are_known_by_their_wavelength():
    assert sunlit(SENSORS["s2"]).all()
    thermal = {
        band.name for band, lit in zip(SENSORS["l8"], sunlit(SENSORS["l8"]), strict=True) if not lit
    }
    assert thermal == {"B10", "B11"}
    assert sunlit(BANDS).tolist() == [True, True, True, False]


@pytest.mark.parametrize(
    ("settings", "bands", "said"),
    [
        ({"gain": 0.1, "shadows": 0.5}, BANDS[LIT:], ["augment.gain and augment.shadows", "VV"]),
        ({"shadows": 0.5}, BANDS[LIT:], ["augment.shadows changes nothing"]),
        ({"gain": 0.1}, BANDS, []),
        ({"offset": 0.1}, BANDS[LIT:], []),
    ],
)
def test_light_on_bands_that_see_none_is_told(settings, bands, said, caplog):
    warn_of_no_light(AugmentSettings(**settings), bands)
    assert len(caplog.messages) == bool(said)
    assert all(part in caplog.text for part in said)


def test_gain_is_one_factor_of_reflectance_for_each_band():
    before, after, _ = varied(count=100, gain=0.2)
    ratio = (reflectance(after) / reflectance(before))[:, :LIT].flatten(2)
    factors = ratio.mean(dim=2)
    torch.testing.assert_close(ratio, factors[..., None].expand_as(ratio), rtol=0, atol=1e-5)
    assert 0.8 <= factors.min() < 0.81
    assert 1.19 < factors.max() <= 1.2
    assert np.abs(np.corrcoef(factors.T.numpy()) - np.eye(LIT)).max() < 0.5  # each its own
    torch.testing.assert_close(after[:, LIT], before[:, LIT])  # radar sees no sun


def test_offset_is_one_number_of_standard_deviations_for_each_band():
    before, after, _ = varied(count=100, offset=0.5)
    difference = (after - before).flatten(2)
    offsets = difference.mean(dim=2)
    torch.testing.assert_close(
        difference, offsets[..., None].expand_as(difference), rtol=0, atol=1e-5
    )
    assert -0.5 <= offsets.min() < -0.48
    assert 0.48 < offsets.max() <= 0.5
    assert (offsets.abs().amax(dim=0) > 0.4).all()  # of the radar, too


def test_noise_is_of_each_pixel_of_each_band():
    before, after, _ = varied(count=20, noise=0.3)
    noise = (after - before).double()
    assert noise.std().item() == pytest.approx(0.3, rel=5 / math.sqrt(2 * noise.numel()))
    assert abs(noise.mean().item()) < 5 * 0.3 / math.sqrt(noise.numel())
    for a, b in (
        (noise[:, 0], noise[:, 1]),
        (noise[:1], noise[1:2]),
        (noise[..., 1:], noise[..., :-1]),
    ):
        assert abs(np.corrcoef(a.flatten(), b.flatten())[0, 1]) < 5 / math.sqrt(a.numel())


@pytest.mark.parametrize("settings", [{"offset": 0.5}, {"noise": 0.3}])
def test_offset_and_noise_are_measured_by_the_chips_whatever_standardised_them(settings):
    """As where pre-trained weights bring a mean and a standard deviation of their own."""
    before, after, _ = varied(**settings)
    before_too, after_too, _ = varied(spread=STD * 0.1, **settings)
    assert torch.equal(before_too, before)
    torch.testing.assert_close((after_too - before) * 10, after - before, rtol=0, atol=1e-5)


def test_lost_bands_are_at_their_mean_and_the_others_as_they_were():
    before, after, marked = varied(count=500, band_dropout=0.3)
    lost = (after == 0).all(dim=(2, 3))
    assert torch.equal(after[~lost], before[~lost])
    # Of four bands with chance 0.3 each; all four, of which one is kept, with 0.0081.
    share = 0.3 - 0.0081 / 4
    assert abs(lost.float().mean().item() - share) < 5 * math.sqrt(0.3 * 0.7 / 2000)
    assert (marked == 1).all()


def test_one_band_is_left():
    _, after, _ = varied(count=50, band_dropout=0.999)
    left = (after != 0).any(dim=(2, 3)).sum(dim=1)
    assert (left >= 1).all()
    assert (left == 1).any()


def test_shadows_take_some_of_the_light_from_part_of_some_chips():
    count = 200
    before, after, marked = varied(count=count, shadows=0.4, shadow_depth=0.8, shadow_share=0.5)
    light = (reflectance(after) / reflectance(before))[:, :LIT]
    torch.testing.assert_close(light, light[:, :1].expand_as(light), rtol=0, atol=1e-5)
    light = light[:, 0]
    assert light.max() <= 1 + 1e-6
    assert light.min() >= 0.2 - 1e-6
    dark = (light < 1 - 1e-4).flatten(1).float().mean(dim=1)  # share of each chip, edges included
    struck = dark > 0
    assert abs(struck.float().mean().item() - 0.4) < 5 * math.sqrt(0.4 * 0.6 / count)
    assert 0.05 < dark[struck].mean() < 0.5
    deepest = light[struck].flatten(1).amin(dim=1)
    assert (deepest < 0.65).float().mean() > 0.8  # at least half of the most, but for slivers
    partly = (light < 0.99) & (light > light.flatten(1).amin(dim=1)[:, None, None] + 0.01)
    assert partly[struck].flatten(1).any(dim=1).float().mean() > 0.8  # edges are soft
    torch.testing.assert_close(after[:, LIT], before[:, LIT])
    assert (marked == 1).all()  # what lies in shadow is still land or water


def test_holes_take_data_and_label_from_part_of_some_chips():
    count = 200
    before, after, marked = varied(count=count, holes=0.4, hole_share=0.3)
    gone = (after == 0).all(dim=1)
    assert torch.equal(marked == 255, gone)
    assert torch.equal(after.movedim(1, -1)[~gone], before.movedim(1, -1)[~gone])
    share = gone.flatten(1).float().mean(dim=1)
    assert abs((share > 0).float().mean().item() - 0.4) < 5 * math.sqrt(0.4 * 0.6 / count)
    assert share.max() < 0.5  # the size is that of a coarse count
    assert share[share > 0].mean().item() == pytest.approx(0.15, abs=0.06)


def test_holes_and_shadows_of_certain_chance_strike_all_and_of_none_none():
    _, after, _ = varied(count=40, holes=1)
    assert (after == 0).all(dim=1).flatten(1).any(dim=1).float().mean() > 0.85
    before, after, _ = varied(count=40, shadows=1)
    assert (after != before).flatten(1).any(dim=1).float().mean() > 0.85


@pytest.mark.parametrize(
    "settings", [{"gain": 0.3}, {"offset": 0.5}, {"noise": 0.5}, {"shadows": 1}, {"holes": 1}]
)
def test_what_has_no_data_stays_zero(settings):
    _, after, marked = varied(corner=True, **settings)
    assert (after[..., :6, :9] == 0).all()
    assert (marked[:, :6, :9] == 255).all()
    assert (after[..., 6:, 9:] != 0).any()
