import math
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from geounet.config import BorderSettings
from geounet.losses.border import border_weights, borders, weights_between

LAND, WATER, LAKE, UNKNOWN = 0, 1, 2, 255
BESIDE = ((-1, 0), (1, 0), (0, -1), (0, 1))


def pieces(kind):
    """Pixels of each piece, connected by sides, by flooding."""
    left, found = {tuple(pixel) for pixel in np.argwhere(kind).tolist()}, []
    while left:
        piece, edge = set(), [left.pop()]
        while edge:
            r, c = edge.pop()
            piece.add((r, c))
            near = {(r + y, c + x) for y, x in BESIDE} & left
            left -= near
            edge += near
        found.append(piece)
    return found


def by_hand(label, w0, sigma, *, objects, others):
    """The paper's formula by loops over pixels, objects and pixels of their borders."""
    borders = [
        [p for p in piece if any((p[0] + y, p[1] + x) in others for y, x in BESIDE)]
        for piece in pieces(objects)
    ]
    weights = np.zeros(label.shape)
    for r, c in np.argwhere(label != UNKNOWN):
        distances = sorted(
            min(math.hypot(y - r, x - c) for y, x in border) for border in borders if border
        )
        if len(distances) > 1:
            d1, d2 = distances[:2]
            weights[r, c] = w0 * math.exp(-((d1 + d2) ** 2) / (2 * sigma**2))
    return weights


def expected(label, w0, sigma, objects):
    kinds = {"land": label == LAND, "water": (label == WATER) | (label == LAKE)}
    pixels = {name: {tuple(p) for p in np.argwhere(kind).tolist()} for name, kind in kinds.items()}
    opposite = {"land": "water", "water": "land"}
    chosen = list(kinds) if objects == "both" else [objects]
    return np.max(
        [
            by_hand(label, w0, sigma, objects=kinds[name], others=pixels[opposite[name]])
            for name in chosen
        ],
        axis=0,
    )


labels = arrays(
    np.uint8,
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    elements=st.sampled_from([LAND, WATER, WATER, LAKE, UNKNOWN]),
)


@settings(max_examples=150, deadline=None)
@given(
    label=labels,
    w0=st.floats(0.1, 20),
    sigma=st.floats(0.3, 8),
    objects=st.sampled_from(["land", "water", "both"]),
)
def test_weights_are_those_of_the_formula_by_a_double_loop(label, w0, sigma, objects):
    chosen = BorderSettings(w0=w0, sigma=sigma, objects=objects)
    found = border_weights(label, chosen, water=[WATER, LAKE])
    assert found.dtype == np.float32
    by_loops = expected(label, w0, sigma, objects)
    assert np.abs(found - by_loops).max() < 1e-5
    assert np.abs(as_on_gpus(label, chosen) - by_loops).max() < 1e-5


def as_on_gpus(label, settings):
    """What GPUs compute, here on the CPU."""
    numbers = borders(label, settings, water=[WATER, LAKE])
    weights = weights_between([torch.from_numpy(one)[None] for one in numbers], settings)
    return weights[0].numpy() * (label != UNKNOWN)


@pytest.mark.parametrize("objects", ["land", "water", "both"])
def test_it_holds_for_a_larger_label_too(objects):
    rng = np.random.default_rng(0)
    label = (rng.random((28, 31)) < 0.6).astype(np.uint8)
    label[rng.random(label.shape) < 0.05] = UNKNOWN
    chosen = BorderSettings(sigma=1, objects=objects)
    found = border_weights(label, chosen, water=[WATER])
    # With a σ of 1 most objects are cut out of the label with their surroundings.
    by_loops = expected(label, 10, 1, objects)
    assert np.abs(found - by_loops).max() < 1e-5
    assert np.abs(as_on_gpus(label, chosen) - by_loops).max() < 1e-5


def two_islands(gap, *, height=21, width=60):
    label = np.full((height, width), WATER, dtype=np.uint8)
    middle = width // 2
    label[5:16, 10 : middle - gap // 2] = LAND
    label[5:16, middle - gap // 2 + gap : 50] = LAND
    return label


def test_a_channel_between_two_islands_weighs_what_its_width_says():
    for gap in (1, 2, 3, 8):
        label = two_islands(gap)
        found = border_weights(label, BorderSettings(w0=10, sigma=5), water=[WATER])
        channel = np.flatnonzero((label[10] == WATER)[10:50]) + 10
        # From one shore to the other is a pixel more than there are pixels of water.
        assert found[10, channel] == pytest.approx(10 * math.exp(-((gap + 1) ** 2) / 50), rel=1e-6)
        assert found[10, 0] < found[10, channel].min() / 10


def test_one_object_alone_has_no_weights():
    label = two_islands(0)
    assert not border_weights(label, BorderSettings(), water=[WATER]).any()
    assert not border_weights(label, BorderSettings(objects="water"), water=[WATER]).any()


@pytest.mark.parametrize("value", [LAND, WATER, UNKNOWN])
@pytest.mark.parametrize("objects", ["land", "water", "both"])
def test_a_label_of_one_value_has_no_weights(value, objects):
    label = np.full((8, 8), value, dtype=np.uint8)
    assert not border_weights(label, BorderSettings(objects=objects), water=[WATER]).any()


def test_neither_the_edge_of_a_label_nor_what_is_unknown_is_a_border():
    label = two_islands(2)
    label[label == WATER] = UNKNOWN
    assert not border_weights(label, BorderSettings(), water=[WATER]).any()


def test_unknown_pixels_weigh_nothing():
    label = two_islands(4)
    label[10, 30] = UNKNOWN
    found = border_weights(label, BorderSettings(), water=[WATER])
    assert found[10, 30] == 0
    assert found[10, 29] > 1


def test_islands_that_touch_at_a_corner_are_two():
    label = np.full((6, 6), WATER, dtype=np.uint8)
    label[1:3, 1:3] = LAND
    label[3:5, 3:5] = LAND
    found = border_weights(label, BorderSettings(w0=10, sigma=5), water=[WATER])
    # Beside the corner: a pixel from either.
    assert found[2, 3] == pytest.approx(10 * math.exp(-4 / 50), rel=1e-6)


def test_a_label_of_many_specks_takes_no_time_to_speak_of():
    rng = np.random.default_rng(1)
    label = (rng.random((256, 256)) > 0.003).astype(np.uint8)  # some 200 islands of a pixel
    started = time.process_time()
    border_weights(label, BorderSettings(), water=[WATER])
    assert time.process_time() - started < 2
