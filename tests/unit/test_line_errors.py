"""Distances of lines in chips, against edges whose place is known."""

import numpy as np
import pytest

from geounet.line_errors import LineErrors, measure_lines

RES = (10.0, 10.0)


def edge(side, place, *, sharpness=4.0):
    """Probability of water, right of a vertical line at `place`, in pixels from the left edge."""
    cols = np.arange(side) + 0.5
    p = 1 / (1 + np.exp(-sharpness * (cols - place)))
    return np.broadcast_to(p, (side, side)).astype(np.float32)


def measured(predicted, label, *, known=None, res=RES):
    known = np.ones(label.shape, dtype=bool) if known is None else known
    return measure_lines(predicted, label, known, res)


# The label's line is halfway between pixels. 2.3 pixels to the right is towards water.
@pytest.mark.parametrize(("shift", "seaward"), [(0.0, 0), (2.3, 1), (-1.2, -1)])
def test_a_shifted_line_is_as_far_as_it_was_shifted(shift, seaward):
    errors = measured(edge(32, 16 + shift), edge(32, 16) > 0.5)
    np.testing.assert_allclose(errors.drawn_m, abs(shift) * 10, atol=1e-3)
    np.testing.assert_allclose(errors.true_m, abs(shift) * 10, atol=1e-3)
    if shift:
        assert set(errors.seaward) == {seaward}
    record = errors.record(10.0)
    assert record["u95_m"] == record["median_m"] == pytest.approx(abs(shift) * 10, abs=1e-2)
    assert record["mean_seaward_m"] == pytest.approx(shift * 10, abs=1e-2)
    # The lines run through all 32 pixels; the outermost are not counted, nor the rim's half.
    assert record["drawn_m"] == record["true_m"] == pytest.approx(300, abs=10)
    assert record["stray_share"] == record["missed_share"] == 0


@pytest.mark.parametrize("turns", range(4))
def test_the_side_does_not_depend_on_where_water_is(turns):
    predicted = np.rot90(edge(32, 18.25), turns).copy()
    errors = measured(predicted, np.rot90(edge(32, 16) > 0.5, turns))
    assert set(errors.seaward) == {1}
    np.testing.assert_allclose(errors.drawn_m, 22.5, atol=1e-3)


def test_pixels_need_not_be_square():
    errors = measured(edge(32, 17.5), edge(32, 16) > 0.5, res=(30.0, 10.0))
    np.testing.assert_allclose(errors.drawn_m, 45, atol=1e-2)


def test_lines_count_only_where_the_label_and_all_around_is_known():
    known = np.ones((32, 32), dtype=bool)
    known[10:20] = False
    label = edge(32, 16) > 0.5
    whole, part = measured(edge(32, 17), label), measured(edge(32, 17), label, known=known)
    # Twelve rows fewer: the ten that are not known, and one above and below.
    lost = whole.drawn_step_m.sum() - part.drawn_step_m.sum()
    assert lost == pytest.approx(120, abs=15)
    np.testing.assert_allclose(part.drawn_m, 10, atol=1e-3)


def test_a_line_that_labels_have_nothing_like_is_infinitely_far():
    dry = np.zeros((32, 32), dtype=bool)
    stray = measured(edge(32, 16), dry)
    assert np.isinf(stray.drawn_m).all()
    assert stray.u95_m is None
    assert stray.record(10.0)["stray_share"] == 1
    assert stray.record(10.0)["missed_share"] is None
    good = measured(edge(32, 16.5), edge(32, 16) > 0.5)
    few = LineErrors.joined([good] * 30 + [stray])  # 3 % of all
    assert few.u95_m == pytest.approx(5, abs=1e-2)
    assert few.record(10.0)["stray_share"] == pytest.approx(1 / 31, abs=0.005)
    many = LineErrors.joined([good] * 10 + [stray])
    assert many.u95_m is None
    assert many.record(10.0)["median_m"] == pytest.approx(5, abs=1e-2)


def test_a_line_that_was_not_drawn_is_missed():
    missed = measured(np.full((32, 32), 0.1, dtype=np.float32), edge(32, 16) > 0.5)
    assert not len(missed.drawn_m)
    assert missed.u95_m is None
    assert missed.record(10.0)["missed_share"] == 1
    assert missed.record(10.0)["drawn_m"] == 0


def test_a_spur_of_a_tenth_is_in_the_95_percent_and_not_in_the_median():
    predicted, label = edge(64, 32).copy(), edge(64, 32) > 0.5
    predicted[30:38] = edge(64, 36)[:8]  # 8 of 62 rows lie 4 pixels out
    record = measured(predicted, label).record(10.0)
    assert record["median_m"] < 1
    assert record["u95_m"] == pytest.approx(40, abs=1)


def test_no_chips_have_no_errors():
    record = LineErrors.joined([]).record(10.0)
    assert record["u95_m"] is record["median_m"] is record["stray_share"] is None
    assert record["drawn_m"] == 0
