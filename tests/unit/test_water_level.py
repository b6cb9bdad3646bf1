"""Water levels by time: on the line between two of a table, or an error that says why not."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from geounet.errors import ConfigError
from geounet.line_options import LineOptions
from geounet.water_level import level_at, read_levels

TAKEN = datetime(2021, 6, 1, 10, 11, 12, tzinfo=UTC)


def write(path, rows):
    path.write_text("time,level_m\n" + "".join(f"{time},{level}\n" for time, level in rows))
    return path


@pytest.fixture
def table(tmp_path):
    # Hours out of order, with and without a zone.
    return write(
        tmp_path / "gauge.csv",
        [
            ("2021-06-01T11:00:00Z", 2.0),
            ("2021-06-01T10:00:00", 1.0),
            ("2021-06-01T14:00:00+02:00", 1.5),
            ("2021-06-01T18:00:00Z", 0.0),
        ],
    )


def test_a_level_is_interpolated_in_utc(table):
    levels = read_levels(table)
    seconds = np.array([3600 * 10, 3600 * 11, 3600 * 12])
    for minutes in (0, 1, 59, 60, 61, 120):
        at = datetime(2021, 6, 1, 10, tzinfo=UTC) + timedelta(minutes=minutes)
        expected = np.interp(3600 * 10 + 60 * minutes, seconds, [1.0, 2.0, 1.5])
        assert level_at(levels, at, name="scene") == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("time", "said"),
    [
        (None, "does not say when"),
        (TAKEN - timedelta(hours=2), "goes from 2021-06-01T10:00:00Z"),
        (TAKEN + timedelta(days=1), "goes from"),
        (TAKEN + timedelta(hours=4), "in a gap"),
    ],
)
def test_what_a_table_does_not_know_is_not_guessed(table, time, said):
    with pytest.raises(ConfigError, match=said):
        level_at(read_levels(table), time, name="scene")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("when,level_m\n", "no column time"),
        ("time,level_m\n", "is empty"),
        ("time,level_m\nsoon,1\n", "line 2"),
        ("time,level_m\n2021-06-01T10:00:00Z,high\n", "line 2"),
        ("time,level_m\n2021-06-01T10:00:00Z,1\n2021-06-01T10:00:00Z,2\n", "twice"),
        ("", "cannot be read"),
    ],
)
def test_bad_tables_are_refused(tmp_path, text, said):
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_levels(tmp_path / "bad.csv")


def test_a_level_carries_its_datum_and_source(table):
    options = LineOptions(water_levels=str(table), level_datum="NAP")
    metres, datum, source = options.water_level_of(TAKEN, "scene")
    assert (datum, source) == ("NAP", "gauge.csv")
    assert metres == pytest.approx(1 + 672 / 3600)
    assert LineOptions().water_level_of(None, "scene") == (None, None, None)


@pytest.mark.parametrize(
    "said",
    [
        {"water_level_m": 1.0},
        {"water_levels": "gauge.csv"},
        {"level_datum": "MSL"},
        {"level_source": "gauge"},
        {"water_level_m": 1.0, "water_levels": "gauge.csv", "level_datum": "MSL"},
        {"water_level_m": 1.0, "level_datum": " "},
        {"water_level_m": np.nan, "level_datum": "MSL"},
        {"water_level_m": np.inf, "level_datum": "MSL"},
    ],
)
def test_levels_that_mean_nothing_are_refused(said):
    with pytest.raises(ConfigError):
        LineOptions(**said)


@pytest.mark.parametrize("name", ["simplify_m", "smooth_m", "min_length_m", "min_area_m2"])
@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_sizes_that_are_none_are_refused(name, value):
    option = "--" + name.rsplit("_", 1)[0].replace("_", "-")
    with pytest.raises(ConfigError, match=f"{option} .* is no size"):
        LineOptions(**{name: value})


def test_a_line_at_no_number_is_refused():
    with pytest.raises(ConfigError, match="--line-level nan is no level"):
        LineOptions(level=np.nan)
