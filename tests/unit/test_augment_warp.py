import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, map_coordinates

from geounet.augment import Augmenter
from geounet.augment.chance import Chance, Drawn
from geounet.augment.warp import (
    draw_elastic_field,
    draw_elastic_grid,
    draw_places,
    take_nearest,
    take_values,
)
from geounet.bands import Band
from geounet.config import AugmentSettings

MANY = 300


def affine(places):
    """Return the matrices, (B, 2, 2), and the moves of the centre, (B, 2), of straight warps."""
    side = places.shape[-1]
    centre = (side - 1) / 2
    rows, cols = np.mgrid[:side, :side] - centre
    known = np.stack([rows.ravel(), cols.ravel(), np.ones(side**2)], axis=1)
    sources = places.flatten(2).numpy().astype(float)
    fits = [np.linalg.lstsq(known, source.T, rcond=None) for source in sources]
    assert max(residual.max() for _, residual, *_ in fits) < 1e-4  # straight, indeed
    solved = np.stack([fit[0] for fit in fits])  # (B, 3, 2)
    return solved[:, :2].transpose(0, 2, 1), solved[:, 2] - centre


def places_of(count=MANY, side=9, **settings):
    return draw_places(AugmentSettings(**settings), side, Chance(0, 0, count))


def test_turns_are_turns_by_up_to_the_angle_about_the_centre():
    matrices, moved = affine(places_of(turn=30))
    np.testing.assert_allclose(moved, 0, atol=1e-4)
    np.testing.assert_allclose(np.linalg.det(matrices), 1, atol=1e-5)
    np.testing.assert_allclose(
        matrices @ matrices.transpose(0, 2, 1), np.tile(np.eye(2), (MANY, 1, 1)), atol=1e-5
    )
    angles = np.degrees(np.arctan2(matrices[:, 1, 0], matrices[:, 0, 0]))
    assert abs(angles).max() <= 30.001
    assert angles.min() < -28
    assert angles.max() > 28
    assert abs(angles.mean()) < 5 * 17.3 / math.sqrt(MANY)


def test_shifts_go_every_way():
    matrices, moved = affine(places_of(shift=5))
    np.testing.assert_allclose(matrices, np.tile(np.eye(2), (MANY, 1, 1)), atol=1e-5)
    assert abs(moved).max() <= 5.0001
    assert moved.max(axis=0) == pytest.approx([5, 5], abs=0.3)
    assert moved.min(axis=0) == pytest.approx([-5, -5], abs=0.3)
    assert abs(np.corrcoef(moved.T)[0, 1]) < 0.25


def test_scale_enlarges_as_often_as_it_shrinks():
    matrices, moved = affine(places_of(scale=2))
    np.testing.assert_allclose(moved, 0, atol=1e-4)
    factors = matrices[:, 0, 0]
    np.testing.assert_allclose(matrices, factors[:, None, None] * np.eye(2), atol=1e-5)
    assert 0.5 <= factors.min() < 0.53
    assert 1.9 < factors.max() <= 2
    assert abs((factors > 1).mean() - 0.5) < 5 * 0.5 / math.sqrt(MANY)


def test_a_coarse_grid_is_displaced_at_its_points_and_bicubic_between():
    settings, side = AugmentSettings(elastic_grid=10), 17
    found = draw_elastic_grid(settings, side, Chance(1, 2, 4)).numpy()
    points = 10 * Chance(1, 2, 4).normal(Drawn.ELASTIC_GRID, 2, 3, 3).numpy()
    np.testing.assert_allclose(found[..., :: side // 2, :: side // 2], points, atol=1e-4)
    weights = np.stack([cubic_weights(place, 3) for place in np.linspace(0, 2, side)])
    expected = weights @ points @ weights.T
    np.testing.assert_allclose(found, expected, atol=1e-4)


def cubic_weights(place, points):
    """Weights of `points` values on a line at a place between them: Keys' cubic, a = −3/4."""
    a, weights, below = -0.75, np.zeros(points), math.floor(place)
    for at in range(below - 1, below + 3):
        x = abs(place - at)
        near = (a + 2) * x**3 - (a + 3) * x**2 + 1
        far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
        weights[min(max(at, 0), points - 1)] += near if x <= 1 else far if x < 2 else 0
    return weights


def test_displacements_of_the_paper_have_a_standard_deviation_of_ten_pixels():
    drawn = draw_elastic_grid(AugmentSettings(elastic_grid=10), 3, Chance(0, 0, MANY))
    assert drawn.std().item() == pytest.approx(10, rel=5 / math.sqrt(2 * drawn.numel()))
    assert abs(drawn.mean().item()) < 5 * 10 / math.sqrt(drawn.numel())


@pytest.mark.parametrize("smoothing", [0.7, 3, 8])
def test_a_displacement_at_each_pixel_is_smoothed_by_a_gaussian(smoothing):
    side, reach = 20, math.ceil(4 * smoothing)
    settings = AugmentSettings(elastic_field=50, elastic_smoothing=smoothing)
    found = draw_elastic_field(settings, side, Chance(1, 2, 2))
    wide = side + 2 * reach
    drawn = Chance(1, 2, 2).uniform(Drawn.ELASTIC_FIELD, 2, wide, wide).numpy() * 2 - 1
    smooth = gaussian_filter(drawn, smoothing, axes=(2, 3), radius=reach, mode="constant")
    inside = slice(reach, -reach)
    np.testing.assert_allclose(found, 50 * smooth[..., inside, inside], atol=2e-5)


def test_the_displacement_that_remains_is_as_stated():
    settings = AugmentSettings(elastic_field=100, elastic_smoothing=2)
    drawn = draw_elastic_field(settings, 32, Chance(0, 0, 40))
    expected = 100 / math.sqrt(3) / (2 * math.sqrt(math.pi) * 2)
    assert drawn.std().item() == pytest.approx(expected, rel=0.03)
    assert drawn[..., 0, :].std().item() == pytest.approx(expected, rel=0.15)  # at the edge, too


def test_displacements_add_up():
    both = places_of(elastic_grid=3, elastic_field=30, shift=2, count=3)
    alone = [
        places_of(**{name: value}, count=3)
        for name, value in (("elastic_grid", 3), ("elastic_field", 30), ("shift", 2))
    ]
    still = places_of(count=3)
    torch.testing.assert_close(both, sum(alone) - 2 * still, rtol=0, atol=1e-4)


def test_values_are_bilinear_as_scipys():
    rng = np.random.default_rng(0)
    image = rng.normal(size=(2, 3, 15, 15)).astype(np.float32)
    places = rng.uniform(0, 14, size=(2, 2, 15, 15)).astype(np.float32)
    found = take_values(
        torch.from_numpy(image), torch.ones(2, 15, 15, dtype=torch.bool), torch.from_numpy(places)
    )
    for sample in range(2):
        for band in range(3):
            expected = map_coordinates(image[sample, band], places[sample], order=1)
            np.testing.assert_allclose(found[sample, band], expected, atol=1e-4)


def test_what_has_no_data_has_no_weight():
    """Against a double loop, with holes and places beyond the edge."""
    rng = np.random.default_rng(1)
    side = 9
    valid = rng.random((1, side, side)) < 0.7
    image = np.where(valid[:, None], rng.normal(5, 1, size=(1, 2, side, side)), 0).astype(
        np.float32
    )
    places = rng.uniform(-2, side + 1, size=(1, 2, side, side)).astype(np.float32)
    found = take_values(*map(torch.from_numpy, (image, valid, places))).numpy()
    for at in np.ndindex(side, side):
        row, col = places[0, :, at[0], at[1]].astype(float)
        weights, total = 0.0, np.zeros(2)
        for i in (math.floor(row), math.floor(row) + 1):
            for j in (math.floor(col), math.floor(col) + 1):
                if 0 <= i < side and 0 <= j < side and valid[0, i, j]:
                    weight = (1 - abs(row - i)) * (1 - abs(col - j))
                    weights += weight
                    total += weight * image[0, :, i, j]
        if weights > 1e-3:
            np.testing.assert_allclose(found[0, :, *at], total / weights, atol=2e-3)
        elif weights == 0:
            assert (found[0, :, *at] == 0).all()


def test_labels_are_those_of_the_nearest_pixel():
    label = torch.arange(16, dtype=torch.uint8).reshape(1, 4, 4)
    rows = torch.tensor([[0.4, 0.6, -0.4, -0.6], [3.4, 3.6, 1.0, 2.0]])
    cols = torch.tensor([[0.0, 1.4, 3.4, 0.0], [1.6, 0.0, -0.6, 3.6]])
    places = torch.stack([rows, cols])[None]  # (1, 2, 2, 4)
    square = torch.nn.functional.pad(places, (0, 0, 0, 2))  # (1, 2, 4, 4)
    found = take_nearest(label, square, outside=255)[0, :2]
    assert found.tolist() == [[0, 5, 3, 255], [14, 255, 255, 255]]


def test_image_and_label_move_together():
    """Bands say where each pixel was; so the label must be the one that stood there."""
    side, count = 48, 12
    rows, cols = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    image = torch.stack([rows + 1.0, cols + 1.0]).expand(count, -1, -1, -1)
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(200, (count, side, side), generator=generator).to(torch.uint8)
    settings = AugmentSettings(turn=180, shift=6, scale=1.5, elastic_grid=3, elastic_field=30)
    bands = [Band("rows", None, None, None), Band("cols", None, None, None)]
    one = torch.ones(2)
    vary = Augmenter(settings, bands, 0 * one, one, spread=one)
    moved, marked = vary(image, label, seed=0, step=0)
    row, col = moved[:, 0] - 1, moved[:, 1] - 1
    # Bilinear values of a plane are exact but at the edge, where fewer pixels have a say.
    inside = (row > 1) & (row < side - 2) & (col > 1) & (col < side - 2)
    clear = ((row % 1 - 0.5).abs() > 1e-3) & ((col % 1 - 0.5).abs() > 1e-3)
    checked = inside & clear
    assert checked.float().mean() > 0.4
    samples = torch.arange(count)[:, None, None].expand_as(row)
    nearest = label[
        samples, row.round().long().clamp(0, side - 1), col.round().long().clamp(0, side - 1)
    ]
    assert torch.equal(marked[checked], nearest[checked])


def test_edges_of_data_stay_sharp():
    image, label = torch.full((8, 1, 32, 32), 5.0), torch.ones(8, 32, 32, dtype=torch.uint8)
    image[..., :10, :14], label[:, :10, :14] = 0, 255
    settings = AugmentSettings(turn=45, elastic_grid=2, scale=1.2)
    one = torch.ones(1)
    vary = Augmenter(settings, [Band("a", None, None, None)], 0 * one, one, spread=one)
    moved, marked = vary(image, label, seed=0, step=0)
    kept = moved != 0
    torch.testing.assert_close(moved[kept], torch.full_like(moved[kept], 5), rtol=1e-5, atol=0)
    assert torch.equal(marked != 255, kept[:, 0])
