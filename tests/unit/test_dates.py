import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geounet.scene.dates import choice_of, explain, repeated_after, split_by_date


def numbered(*texts):
    return dict(enumerate(texts, start=1))


@pytest.mark.parametrize(
    ("texts", "labels"),
    [
        (["B02_20200101", "B03_20200101", "B02_20200201", "B03_20200201"], 2),
        (["2020-01-01 B02", "2020-02-01 B02"], 2),
        (["20200101T101010_20200101T103030_T31TDH_B2", "20200211T101010_x_T31TDH_B2"], 2),
        (["20200101101010_B2", "20200211101010_B2"], 2),
        (["B02_20200101", "B03_20200201"], 2),  # half of each
        (["red_20200101", "VV_20200101", "red_20200201", "VV_20200201"], 2),
        (["B2", "B3", "B2_1", "B3_1"], ["first", "second"]),
        (["B02", "B02_1", "B03", "B03_1"], ["first", "second"]),
        (["B02 pre", "B03 pre", "B02 post", "B03 post"], ["first", "second"]),
        (["red", "nir", "Red", "NIR"], ["first", "second"]),
        (["B04", "B03", "B02"] * 4, ["first", "second", "third", "number 4"]),
    ],
)
def test_several_dates_are_found_in_names(texts, labels):
    groups = split_by_date(numbered(*texts))
    if labels == 2:
        assert [group.label for group in groups] == sorted({g.label for g in groups})
        assert all(label.startswith("2020") for label, _ in groups)
        assert len(groups) == 2
    else:
        assert [group.label for group in groups] == labels
    assert sorted(i for group in groups for i in group.bands) == list(range(1, len(texts) + 1))


@pytest.mark.parametrize(
    "texts",
    [
        ["B02", "B03", "B04"],
        ["B02_20200101", "B03_20200101"],
        ["B2, central wavelength 490 nm", "B3, central wavelength 560 nm"],
        ["B04_10m", "B03_10m", "B04_20m", "B03_20m"],  # said elsewhere: twice the same band
        ["B02", "B03", "B02"],  # one is there twice, and not all
        ["B02", "B02"],
        ["B02_19991332", "B03_20200101"],
        ["B02_00010101", "B03_20200101"],
        ["B01 443", "B02 20490101 cloudfree"],
        [],
    ],
)
def test_one_date_is_one(texts):
    assert split_by_date(numbered(*texts)) == []


def test_what_to_type_takes_one_date_and_leaves_the_others_out():
    groups = split_by_date(numbered("B04", "B08", "SCL", "B04_1", "B08_1", "SCL_1"))
    said = explain(groups, range(1, 7), None)
    assert "holds 2 dates, it seems, and a scene is one: B04, B08, SCL (first)" in said
    assert "--bands B04,B08,SCL,-,-,- or --bands -,-,-,B04,B08,SCL (with --sensor s2" in said
    assert "--sensor" not in explain(groups, range(1, 7), "s2")
    assert "\n" not in said
    dated = split_by_date(numbered("VV_20200101", "SCL_20200101", "VV_20200201", "SCL_20200201"))
    assert choice_of(dated[1].bands, range(1, 5)) == "-,-,VV,SCL"


@given(st.permutations(["B02", "B03", "B04", "B08", "VV"]), st.integers(2, 5), st.booleans())
def test_what_is_typed_for_all_dates_takes_every_band_once(bands, dates, dated):
    texts = numbered(
        *(f"{band}_202001{d:02}" if dated else band for d in range(1, dates + 1) for band in bands)
    )
    groups = split_by_date(texts)
    assert len(groups) == dates
    lines = [choice_of(group.bands, list(texts)).split(",") for group in groups]
    taken = [[i for i, text in enumerate(line) if text != "-"] for line in lines]
    assert sorted(i for part in taken for i in part) == list(range(len(texts)))
    if not dated:
        assert all(
            [line[i] for i in part] == bands for line, part in zip(lines, taken, strict=True)
        )


def stack(rng, dates, pixels=2000, change=1.0):
    """Red, green, blue and near infrared of land and water that change between dates."""
    parts = []
    base = rng.uniform(size=pixels)
    for _ in range(dates):
        ground = base * (1 - change) + rng.uniform(size=pixels) * change
        visible = [f * ground + 0.02 * rng.normal(size=pixels) for f in (0.12, 0.10, 0.08)]
        infrared = 0.5 - 0.3 * ground + 0.05 * rng.normal(size=pixels)
        parts += [*visible, infrared]
    return np.array(parts) * 10_000


@pytest.mark.parametrize("dates", [2, 3])
def test_a_stack_that_begins_again_is_noticed(dates):
    assert repeated_after(stack(np.random.default_rng(0), dates)) == 4


@pytest.mark.parametrize(
    "samples",
    [
        stack(np.random.default_rng(1), 1),
        stack(np.random.default_rng(1), 2)[:7],
        stack(np.random.default_rng(1), 2)[:, :50],
        np.concatenate([stack(np.random.default_rng(1), 1)] * 2),  # the same bands, copied
        np.zeros((8, 500)),
        np.cumsum(np.random.default_rng(2).normal(size=(12, 500)), axis=0),
    ],
)
def test_other_stacks_do_not_seem_to_begin_again(samples):
    assert repeated_after(samples) is None
