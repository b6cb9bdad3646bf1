"""Transects and what crosses them, against places known otherwise."""

from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from pyproj import CRS, Geod, Proj

from geounet.errors import OutputError, TransectError
from geounet.transects import (
    Casting,
    CoastlineOptions,
    Reduction,
    TransectSettings,
    measure_transects,
)
from geounet.transects.casting import cast_transects
from geounet.transects.crossings import CrossingFinder, pick_crossings
from geounet.transects.curves import geodesic_pieces
from geounet.transects.rates import DAYS_PER_YEAR

GEOD = Geod(ellps="WGS84")
NORTH = {  # where a line runs due north or grid north, 3 km long, and how far apart is 1 m there
    32630: (430_000.0, 5_900_000.0, 3000.0),
    27700: (530_000.0, 180_000.0, 3000.0),
    3857: (-400_000.0, 6_800_000.0, 5000.0),
    4326: (-3.2, 53.4, 0.03),
}


def metres_in(epsg: int, x: float, y: float) -> float:
    """Return how many units of x one true metre is, by the projection's own scale, not a Geod."""
    crs = CRS.from_epsg(epsg)
    lonlat = (x, y) if epsg == 4326 else Proj(crs)(x, y, inverse=True)
    if epsg in {4326, 3857}:
        # N cos φ, the radius of the parallel on the ellipsoid; x of 3857 is a λ.
        e2, phi = 0.00669437999014, np.radians(lonlat[1])
        parallel = 6_378_137 / np.sqrt(1 - e2 * np.sin(phi) ** 2) * np.cos(phi)
        return float(6_378_137 / parallel if epsg == 3857 else np.degrees(1 / parallel))
    return float(Proj(crs).get_factors(*lonlat).parallel_scale)


def cast(line, epsg: int = 32630, **casting):
    lines = np.array([line] if isinstance(line, shapely.Geometry) else line, dtype=object)
    return cast_transects(lines, np.arange(len(lines)), CRS.from_epsg(epsg), Casting(**casting))


def positions_of(transects, line, epsg: int = 32630):
    pieces = geodesic_pieces(np.array([line], dtype=object), CRS.from_epsg(epsg))
    found = CrossingFinder(transects).find(pieces)
    order = np.lexsort([found.position_m, found.transect])
    return found.transect[order], found.position_m[order], found.seaward[order]


@pytest.mark.parametrize("epsg", NORTH)
@pytest.mark.parametrize("metres", [0.5, 123.4, 480.0])
def test_a_straight_coast_is_where_it_was_put_to_a_centimetre(epsg, metres) -> None:
    x, y, long = NORTH[epsg]
    transects = cast(shapely.LineString([(x, y), (x, y + long)]), epsg, length=500)
    ys = np.linspace(y - long / 10, y + 1.1 * long, 400)
    coast = np.array([(x + metres * metres_in(epsg, x, each), each) for each in ys])
    index, position, seaward = positions_of(transects, shapely.LineString(coast), epsg)
    assert index.tolist() == list(range(len(transects)))
    assert len(transects) > 20
    # A metre of OSGB36 is 20 ppm longer than one of WGS 84, and its ellipsoid lies elsewhere.
    assert position == pytest.approx(metres, abs=0.02 if epsg == 27700 else 1e-3)
    assert seaward.all(), "a line to the north has its land on the left, in the west"


@pytest.mark.parametrize("epsg", NORTH)
def test_chainage_and_length_are_geodesic(epsg) -> None:
    x, y, long = NORTH[epsg]
    transects = cast(shapely.LineString([(x, y), (x, y + long)]), epsg, spacing=100, length=500)
    between = GEOD.inv(*transects.origin[:-1].T, *transects.origin[1:].T)[2]
    # Grid north is no geodesic: a chord is that much shorter, not more.
    assert between == pytest.approx(100, abs=1e-3)
    assert np.diff(transects.chainage_m) == pytest.approx(100, abs=1e-9)
    ends = geopandas.GeoSeries(transects.lines(), crs=epsg).to_crs(4326)
    lengths = np.array([GEOD.geometry_length(line) for line in ends])
    assert lengths == pytest.approx(500, abs=1e-3)


def test_sides_are_those_of_who_walks_along_the_baseline() -> None:
    line = shapely.LineString([(430_000, 5_900_000), (430_000, 5_901_000)])
    x = {side: shapely.get_coordinates(cast(line, side=side).lines())[:, 0].reshape(-1, 2) - 430_000
         for side in ("right", "left", "both")}  # fmt: skip
    # The scale of UTM there is 0.99966.
    assert x["right"] == pytest.approx(np.tile([0, 500], (11, 1)), abs=0.5)
    assert x["left"] == pytest.approx(np.tile([0, -500], (11, 1)), abs=0.5)
    assert x["both"] == pytest.approx(np.tile([-250, 250], (11, 1)), abs=0.5)


def test_positions_landward_of_the_baseline_are_negative() -> None:
    line = shapely.LineString([(430_000, 5_900_000), (430_000, 5_901_000)])
    coast = shapely.LineString([(429_900, 5_899_000), (429_900, 5_902_000)])
    _, position, _ = positions_of(cast(line, side="both"), coast)
    assert position == pytest.approx(-100.04, abs=0.02)


def test_a_jagged_baseline_is_smoothed_by_its_chord() -> None:
    y = 5_900_000 + np.arange(0, 2001, 10.0)
    jagged = shapely.LineString(np.column_stack((430_000 + 5 * (np.arange(201) % 2), y)))
    rough, smooth = cast(jagged, smooth=0), cast(jagged, smooth=400)
    off = [np.abs((t.azimuth - 90 + 180) % 360 - 180) for t in (rough, smooth)]
    # Grid north is 0.86° off true north there.
    assert off[0].max() > 25
    assert off[1].max() < 2.5


def test_transects_of_a_ring_go_once_around_it() -> None:
    angle = np.linspace(0, -2 * np.pi, 721)  # clockwise: the sea is on its left
    circle = 1000 * np.column_stack((np.cos(angle), np.sin(angle))) + [430_000, 5_900_000]
    ring = shapely.LineString(np.vstack((circle[:-1], circle[:1])))
    transects = cast(ring, spacing=100, length=200, side="left")
    # 2π km, longer by the scale of UTM.
    assert len(transects) == 63
    assert not transects.crossing_others().any()
    coast = shapely.Point(430_000, 5_900_000).buffer(1100, quad_segs=180).exterior
    index, position, _ = positions_of(transects, shapely.LineString(coast))
    assert index.tolist() == list(range(63))
    assert position == pytest.approx(100 * 1.0004, abs=0.1)


def test_transects_that_cross_on_a_bend_are_told() -> None:
    bend = shapely.LineString([(430_000, 5_901_000), (430_000, 5_900_000), (431_000, 5_900_000)])
    inside, outside = cast(bend, side="left"), cast(bend, side="right")
    assert inside.crossing_others().sum() >= 8
    assert not outside.crossing_others()[[0, 1, -1]].any()


def test_each_part_of_a_baseline_has_its_own_chainage() -> None:
    parts = [shapely.LineString([(430_000 + 2000 * i, 59e5), (430_000 + 2000 * i, 59e5 + 250)])
             for i in range(2)]  # fmt: skip
    transects = cast(parts)
    assert transects.number.tolist() == [1, 2, 3, 4, 5, 6]
    assert transects.baseline.tolist() == [1, 1, 1, 2, 2, 2]
    assert transects.chainage_m.tolist() == [0, 100, 200] * 2


@pytest.mark.parametrize(
    "baseline",
    [[(179.99, -17), (180.01, -17)], [(179.99, -17), (-179.99, -17)]],
    ids=["running on", "jumping"],
)
def test_the_antimeridian_is_no_place_like_another(baseline) -> None:
    transects = cast(shapely.LineString(baseline), 4326, spacing=100, length=500)
    assert 20 < len(transects) < 23, "2.1 km, not around the Earth"
    coast = shapely.LineString([(179.98, -17.002), (-179.98, -17.002)])
    index, position, _ = positions_of(transects, coast, 4326)
    assert len(index) == len(transects)
    # 0.002° of a meridian at 17°.
    assert position == pytest.approx(221.3, abs=0.1)

    left, _, right, _ = shapely.bounds(transects.lines()).T
    assert (right - left < 1e-6).all(), "each runs south, and not around the Earth"


def test_a_line_through_with_a_vertex_crosses_once_and_one_that_touches_does_not() -> None:
    transects = cast(shapely.LineString([(0, 0), (0.01, 0)]), 4326, spacing=200, length=500)
    at = transects.origin[2, 0]
    through = shapely.LineString([(at - 0.001, -0.001), (at, -0.002), (at + 0.001, -0.001)])
    touching = shapely.LineString([(at - 0.001, -0.001), (at, -0.002), (at - 0.001, -0.003)])
    assert positions_of(transects, through, 4326)[0].tolist() == [2]
    assert len(positions_of(transects, touching, 4326)[0]) in {0, 2}, "in and out, or neither"


def crossings(*rows) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["transect", "moment", "position_m"])


ROWS = [
    (0, "a", 10.0),
    (0, "a", 50.0),
    (0, "b", 11.0),
    (0, "c", 12.0),
    (0, "c", 90.0),
    (1, "a", 5.0),
]


@pytest.mark.parametrize(
    ("pick", "expected"),
    [
        ("first", [10, 11, 12, 5]),
        ("last", [50, 11, 90, 5]),
        # Medians of the dates are 30, 11 and 51, whose median is 30: 10 and 50 are as near.
        ("nearest-median", [10, 11, 12, 5]),
        ("all", [10, 50, 11, 12, 90, 5]),
    ],
)
def test_picks_are_by_date_and_transect(pick, expected) -> None:
    picked = pick_crossings(crossings(*reversed(ROWS)), pick)
    assert picked["position_m"].tolist() == expected
    counts = picked.drop_duplicates(["transect", "moment"])["crossings"].tolist()
    assert counts == [2, 1, 2, 1]


# From files, all the way.


@pytest.fixture
def baseline(tmp_path) -> Path:
    path = tmp_path / "base.gpkg"
    line = shapely.LineString([(430_000, 5_900_000), (430_000, 5_901_000)])
    geopandas.GeoDataFrame({"steep": [0.04]}, geometry=[line], crs=32630).to_file(path)
    return path


YEARS = np.arange(8)
TIMES = [f"{2010 + year}-03-0{1 + year % 5}T10:3{year}:00Z" for year in YEARS]


def write_coasts(path: Path, positions, **columns) -> Path:
    """Write straight coasts, so many true metres east of the baseline."""
    scale = metres_in(32630, 430_000, 5_900_500)
    lines = [
        shapely.LineString([(430_000 + p * scale, 5_899_000), (430_000 + p * scale, 5_902_000)])
        for p in positions
    ]
    frame = geopandas.GeoDataFrame(columns, geometry=lines, crs=32630)
    frame.to_file(path, layer="coastline", driver="GPKG")
    return path


def measured(tmp_path, coast, baseline, **settings):
    settings = TransectSettings(format="parquet", figures=0, **settings)
    record = measure_transects([str(coast)], str(baseline), tmp_path / "out", settings)
    out = record.parent
    return (
        pd.read_parquet(out / "transects_positions.parquet"),
        pd.read_parquet(out / "transects_rates.parquet"),
        record.read_text(),
    )


def years_of(times) -> np.ndarray:
    days = pd.to_datetime(times, utc=True) - pd.Timestamp(0, tz="UTC")
    return np.asarray(days / pd.Timedelta(days=1)) / DAYS_PER_YEAR


def test_rates_are_those_of_linregress_and_are_called_uncorrected(
    tmp_path, baseline, caplog
) -> None:
    from scipy.stats import linregress

    noise = np.random.default_rng(3).normal(0, 4, 8)
    true = 200 - 3 * YEARS + noise
    coast = write_coasts(tmp_path / "coast.gpkg", true, time=TIMES)
    positions, rates, _ = measured(tmp_path, coast, baseline)
    assert len(positions) == 8 * 11
    expected = linregress(years_of(TIMES), true)
    assert rates["rate"].isna().all()
    # Positions are good to a centimetre, which over seven years is 2 mm a year.
    assert rates["rate_uncorrected"].to_numpy() == pytest.approx(expected.slope, abs=3e-3)
    assert rates["r2"].to_numpy() == pytest.approx(expected.rvalue**2, abs=1e-3)
    assert rates["p"].to_numpy() == pytest.approx(expected.pvalue, rel=1e-2)
    assert (rates["n"] == 8).all()
    assert "a metre of tide is fifty metres" in caplog.text


@pytest.mark.parametrize("slope", ["0.02", "steep", "slopes.csv"])
def test_a_plane_beach_of_any_tide_is_brought_to_one_line(tmp_path, baseline, slope) -> None:
    tangent = np.full(11, 0.04 if slope == "steep" else 0.02)
    if slope == "slopes.csv":
        slope = tmp_path / slope
        table = pd.DataFrame({"transect": range(1, 12), "slope": tangent})
        table.to_csv(slope, index=False)
    level = np.array([0.3, -0.8, 1.1, 0.0, -1.5, 0.9, 0.4, -0.2])
    datum, at_datum = 0.25, 250 + 1.5 * YEARS
    seen = at_datum + (datum - level) / tangent[0]
    coast = write_coasts(
        tmp_path / "coast.gpkg", seen, time=TIMES, water_level_m=level, level_datum="MSL"
    )
    positions, rates, record = measured(
        tmp_path, coast, baseline, reduction=Reduction(str(slope), datum)
    )
    by_date = positions.set_index("time")["corrected_m"]
    assert by_date.to_numpy() == pytest.approx(np.tile(at_datum, 11), abs=0.01)
    moved = (positions["corrected_m"] > positions["position_m"]).to_numpy()
    high = (positions["water_level_m"] > datum).to_numpy()
    assert (moved == high).all(), "high water is moved towards the sea"
    assert rates["rate_uncorrected"].isna().all()
    assert rates["rate"].to_numpy() == pytest.approx(
        np.polyfit(years_of(TIMES), at_datum, 1)[0], abs=3e-3
    )
    assert '"level_datum": "MSL"' in record


def test_levels_above_two_datums_are_refused(tmp_path, baseline) -> None:
    coast = write_coasts(
        tmp_path / "coast.gpkg", [100, 110], time=TIMES[:2], water_level_m=[0.1, 0.2],
        level_datum=["MSL", "NAP"],
    )  # fmt: skip
    with pytest.raises(TransectError, match="different datums: MSL, NAP"):
        measured(tmp_path, coast, baseline, reduction=Reduction("0.02", 0))
    assert not (tmp_path / "out").exists()


def test_without_levels_rates_stay_uncorrected_though_a_slope_is_given(tmp_path, baseline) -> None:
    coast = write_coasts(tmp_path / "coast.gpkg", [100.0, 110, 119], time=TIMES[:3])
    _, rates, record = measured(tmp_path, coast, baseline, reduction=Reduction("0.02", 0))
    assert rates["rate"].isna().all()
    assert rates["rate_uncorrected"].notna().all()
    assert "no level or no slope" in record


def test_suspect_stretches_are_left_out_and_counted_without_taking_another_shore(
    tmp_path, baseline
) -> None:
    coast = write_coasts(
        tmp_path / "coast.gpkg", [100, 300], time=[TIMES[0]] * 2, cloud_suspect=[False, True]
    )
    other = write_coasts(tmp_path / "other.gpkg", [120], time=[TIMES[1]])
    settings = TransectSettings(format="parquet", figures=0)
    path = measure_transects([str(coast), str(other)], str(baseline), tmp_path / "o", settings)
    positions = pd.read_parquet(path.parent / "transects_positions.parquet")
    assert positions["position_m"].to_numpy() == pytest.approx(120, abs=0.01)
    assert "11 of 22 positions are under suspicion of cloud" in path.read_text()
    kept, _, _ = measured(tmp_path, coast, baseline, keep_suspect=True)
    assert kept["position_m"].to_numpy() == pytest.approx(300, abs=0.01)


def test_lines_of_another_kind_are_left_out(tmp_path, baseline) -> None:
    coast = write_coasts(
        tmp_path / "coast.gpkg", [100, 300], time=[TIMES[0]] * 2, kind=["sea", "lake"]
    )
    positions, _, _ = measured(tmp_path, coast, baseline, coastlines=CoastlineOptions(kind="sea"))
    assert positions["position_m"].to_numpy() == pytest.approx(100, abs=0.01)


def test_lines_without_time_have_positions_and_no_rate(tmp_path, baseline) -> None:
    coast = write_coasts(tmp_path / "coast.gpkg", [100])
    positions, rates, record = measured(tmp_path, coast, baseline)
    assert positions["time"].isna().all()
    assert (rates["n"] == 0).all()
    assert "no time" in record


def test_two_scenes_of_one_moment_are_one_position(tmp_path, baseline) -> None:
    coast = write_coasts(
        tmp_path / "coast.gpkg", [100, 104], time=[TIMES[0]] * 2, scene=["west", "east"]
    )
    positions, _, record = measured(tmp_path, coast, baseline)
    assert positions["position_m"].to_numpy() == pytest.approx(104, abs=0.01)
    assert (positions["crossings"] == 2).all()
    assert "several scenes or results of one second" in record


def test_coastlines_and_baseline_may_be_of_different_crs_and_have_heights(
    tmp_path, baseline
) -> None:
    coast = write_coasts(tmp_path / "coast.gpkg", [100.0], time=TIMES[:1])
    moved = geopandas.read_file(coast).segmentize(20).to_crs(3035)
    high = geopandas.GeoDataFrame({"when": ["2020-01-05"]}, geometry=moved.force_3d(7).geometry)
    high.to_file(tmp_path / "other.geojson", driver="GeoJSON")
    positions, _, _ = measured(
        tmp_path, tmp_path / "other.geojson", baseline,
        coastlines=CoastlineOptions(time_field="when"),
    )  # fmt: skip
    assert positions["position_m"].to_numpy() == pytest.approx(100, abs=0.01)
    assert positions["time"][0] == pd.Timestamp("2020-01-05", tz="UTC")


def test_an_empty_coastline_is_told_and_the_others_measured(tmp_path, baseline) -> None:
    full = write_coasts(tmp_path / "full.gpkg", [100.0], time=TIMES[:1])
    empty = tmp_path / "empty.gpkg"
    nothing = geopandas.read_file(full).iloc[:0]
    nothing.to_file(empty, layer="coastline", driver="GPKG", geometry_type="LineString")
    path = measure_transects(
        [str(empty), str(full)], str(baseline), tmp_path / "out", TransectSettings(figures=0)
    )
    assert "1 files have no line on any transect" in path.read_text()


def test_the_sea_on_the_other_side_is_noticed(tmp_path, baseline) -> None:
    coast = write_coasts(tmp_path / "coast.gpkg", [100.0], time=TIMES[:1])
    turned = geopandas.read_file(coast)
    turned.geometry = turned.geometry.reverse()
    turned.to_file(tmp_path / "turned.gpkg", layer="coastline", driver="GPKG")
    _, _, record = measured(tmp_path, tmp_path / "turned.gpkg", baseline)
    assert "11 of 11 crossings have their land on the side that is taken for the sea" in record
    _, _, record = measured(tmp_path, coast, baseline, overwrite=True)
    assert "taken for the sea" not in record


def test_a_baseline_of_twenty_degrees_is_as_exact_as_a_short_one() -> None:
    transects = cast(
        shapely.LineString([(10, 40), (10, 60)]), 4326, spacing=100_000, length=500, smooth=200
    )
    assert len(transects) == 23
    y = np.linspace(39.9, 60.1, 20_000)
    x = np.array([10 + 300 * metres_in(4326, 10, each) for each in y])
    index, position, _ = positions_of(transects, shapely.LineString(np.column_stack((x, y))), 4326)
    assert index.tolist() == list(range(23))
    assert position == pytest.approx(300, abs=1e-3)


def test_a_spacing_in_the_wrong_unit_is_refused() -> None:
    with pytest.raises(TransectError, match="longer spacing, in metres"):
        cast(shapely.LineString([(10, 40), (10, 41)]), 4326, spacing=0.01)


@pytest.mark.parametrize("suffix", ["parquet", "geojson"])
def test_times_of_columns_and_of_zones_come_out_in_utc(tmp_path, baseline, suffix) -> None:
    coast = geopandas.read_file(write_coasts(tmp_path / "coast.gpkg", [100.0, 110.0]))
    coast["time"] = pd.to_datetime(["2021-08-01T10:31:00+05:00", "2022-08-01T10:31:00+05:00"])
    path = tmp_path / f"times.{suffix}"
    coast.to_parquet(path) if suffix == "parquet" else coast.to_file(path)
    positions, _, _ = measured(tmp_path, path, baseline)
    first = positions["time"].iloc[0]
    assert first == pd.Timestamp("2021-08-01T05:31:00", tz="UTC")


@pytest.mark.parametrize("years", [[2019, 2020], ["2019", None], [2019.0, np.nan]])
def test_years_alone_are_times(tmp_path, baseline, years) -> None:
    coast = write_coasts(tmp_path / "coast.gpkg", [100.0, 110.0], time=years)
    positions, _, _ = measured(tmp_path, coast, baseline)
    assert positions["time"].min() == pd.Timestamp("2019-01-01", tz="UTC")


def test_a_crs_that_is_not_tied_to_the_earth_is_refused(tmp_path, baseline) -> None:
    coast = geopandas.read_file(write_coasts(tmp_path / "coast.gpkg", [100.0]))
    local = 'LOCAL_CS["a site",UNIT["metre",1],AXIS["x",EAST],AXIS["y",NORTH]]'
    coast.set_crs(local, allow_override=True).to_parquet(tmp_path / "site.parquet")
    with pytest.raises(TransectError, match="not tied to the Earth"):
        measured(tmp_path, tmp_path / "site.parquet", baseline)


def test_positions_without_a_level_are_left_out_of_rates_with_one(tmp_path, baseline) -> None:
    level = [0.5, -0.5, 0.2, None]
    coast = write_coasts(
        tmp_path / "coast.gpkg", [90, 112, 100, 700], time=TIMES[:4], water_level_m=level,
        level_datum=["MSL", "MSL", "MSL", None],
    )  # fmt: skip
    wide = Casting(length=1000)
    positions, rates, record = measured(
        tmp_path, coast, baseline, casting=wide, reduction=Reduction("0.05", 0)
    )
    assert (positions.groupby("transect").size() == 4).all()
    assert (rates["n"] == 3).all()
    # 100, 102 and 104 at the datum.
    years = years_of(TIMES[:3])
    expected = np.polyfit(years, [100, 102, 104], 1)[0]
    assert rates["rate"].to_numpy() == pytest.approx(expected, abs=0.01)
    assert "11 positions without a water level are left out" in record


def test_the_pole_is_a_place_like_another() -> None:
    lon = np.arange(-180, 181.0)
    parallel = shapely.LineString(np.column_stack((lon, np.full(361, 89.9))))
    transects = cast(parallel, 4326, spacing=1000, length=2000)
    # 0.1° of a meridian, which is 111 693.9 m a degree at the pole, all the way round.
    assert len(transects) == int(np.ceil(2 * np.pi * 11.16939))
    coast = shapely.LineString(np.column_stack((lon, np.full(361, 89.89))))
    index, position, _ = positions_of(transects, coast, 4326)
    assert index.tolist() == list(range(len(transects)))
    assert position == pytest.approx(1116.939, abs=0.01)


@given(
    corners=st.lists(st.floats(-300, 300), min_size=4, max_size=8),
    offset=st.floats(10, 400),
)
def test_turning_the_baseline_round_and_naming_the_other_side_changes_nothing(
    corners, offset
) -> None:
    y = 59e5 + 500.0 * np.arange(len(corners))
    line = shapely.LineString(np.column_stack((430_000 + np.array(corners), y)))
    total = geodesic_pieces(np.array([line], dtype=object), CRS.from_epsg(32630))
    spacing = GEOD.inv(*total.start.T, *total.end.T)[2].sum() / 10
    right = cast(line, spacing=spacing, length=900, smooth=300)
    left = cast(line.reverse(), spacing=spacing, length=900, smooth=300, side="left")
    turned = np.abs((right.azimuth - left.azimuth[::-1] + 180) % 360 - 180)
    assert turned == pytest.approx(0, abs=1e-6)
    coast = shapely.LineString([(430_400 + offset, 589e4), (430_400 + offset, 591e4)])
    one, other = positions_of(right, coast), positions_of(left, coast)
    assert (10 - other[0][::-1]).tolist() == one[0].tolist()
    assert other[1][::-1] == pytest.approx(one[1], abs=1e-6)


def test_levels_that_name_no_datum_are_told(tmp_path, baseline) -> None:
    coast = write_coasts(
        tmp_path / "coast.gpkg", [90.0, 112], time=TIMES[:2], water_level_m=[0.5, -0.5]
    )
    _, _, record = measured(tmp_path, coast, baseline, reduction=Reduction("0.05", 0))
    assert "water levels name no datum" in record


def test_a_coast_that_is_the_baseline_lies_at_its_start_on_every_transect(
    tmp_path, baseline
) -> None:
    line = geopandas.read_file(baseline)
    along = shapely.line_interpolate_point(line.geometry[0], np.linspace(0, 1000, 37))
    longer = [(430_000, 5_899_000), *shapely.get_coordinates(along), (430_000, 5_902_000)]
    coast = geopandas.GeoDataFrame(geometry=[shapely.LineString(longer)], crs=32630)
    coast.to_file(tmp_path / "coast.gpkg", layer="coastline")
    positions, _, _ = measured(tmp_path, tmp_path / "coast.gpkg", baseline)
    assert len(positions) == 11
    assert positions["position_m"].to_numpy() == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("error", [-1.0, np.inf])
def test_errors_that_are_no_distances_are_refused(tmp_path, baseline, error) -> None:
    coast = write_coasts(tmp_path / "coast.gpkg", [100, 110], position_u95_m=[5.0, error])
    with pytest.raises(TransectError, match=r"position_u95_m has .*, which is no distance"):
        measured(tmp_path, coast, baseline)


def test_truths_may_be_text(tmp_path, baseline) -> None:
    said = ["false", "True", None]
    coast = write_coasts(
        tmp_path / "coast.gpkg", [100, 110, 120], time=TIMES[:3], cloud_suspect=said
    )
    positions, _, _ = measured(tmp_path, coast, baseline)
    assert len(positions) == 22
    coast = write_coasts(tmp_path / "doubt.gpkg", [100], cloud_suspect=["maybe"])
    with pytest.raises(TransectError, match="cloud_suspect has 'maybe'"):
        measured(tmp_path / "other", coast, baseline)


def test_what_is_measured_is_never_replaced_by_what_came_of_it(tmp_path, baseline) -> None:
    coast = write_coasts(tmp_path / "coast.gpkg", [100])
    before = coast.read_bytes()
    for name in ("coast", "base"):
        settings = TransectSettings(figures=0, name=name, overwrite=True)
        with pytest.raises(OutputError, match=rf"{name}.gpkg is read, and {name} in"):
            measure_transects([str(coast)], str(baseline), tmp_path, settings)
    assert coast.read_bytes() == before
