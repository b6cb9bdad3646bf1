"""Scores of lines, both ways, against lines whose distance is known; intervals against truth."""

import json
from pathlib import Path

import geopandas
import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
import shapely.affinity
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from odc.geo.geobox import GeoBox
from pyproj import Geod, Transformer
from scipy.ndimage import binary_erosion, gaussian_filter

from geounet.distances import WGS84, Pieces, Plane, match_points, points_along, summarise
from geounet.errors import LabelError, ResultError
from geounet.evaluate import (
    LineChoice,
    ReferenceOptions,
    comparison,
    evaluate_prediction,
    measure_prediction,
    write_evaluation,
)
from geounet.evaluate.blocks import BlockGrid, bootstrap, quantile
from geounet.evaluate.boundary import BOUNDARY_PX, near_boundaries
from geounet.evaluate.line_scores import LineErrors, medians, worst_places
from geounet.evaluate.scores import EvaluateSettings, ScoreFiles
from geounet.outputs import stage_set

PIXEL = 10.0
UTM = GeoBox((600, 800), Affine(PIXEL, 0, 500_000, 0, -PIXEL, 5_400_000), "EPSG:32631")
LEFT, TOP = 500_000.0, 5_400_000.0
GEOD = Geod(ellps="WGS84")


def coast(offset: float, *, wiggle: float = 40.0, wave: float = 700.0) -> shapely.LineString:
    """A wavy coast from north to south across the scene; water in the west, land on its left.

    Moved to the west, towards the water, by `offset` metres.
    """
    y = np.arange(TOP + 500, TOP - 6500, -2.0)
    x = LEFT + 4000 + wiggle * np.sin(2 * np.pi * y / wave) - offset
    return shapely.LineString(np.column_stack((x, y)))


def water_of(line: shapely.LineString) -> shapely.Polygon:
    """The ground west of a coast, with a side that is not along the extents of the scene."""
    xy = shapely.get_coordinates(line)
    far = [(LEFT - 9000, xy[-1, 1] - 50), (LEFT - 9100, xy[0, 1] + 50)]
    return shapely.Polygon([*xy, *far])


def errors_of(
    predicted: list[shapely.LineString],
    reference: list[shapely.LineString],
    *,
    directed: bool = True,
    reach: float = 50.0,
    block_m: float = 1000.0,
) -> LineErrors:
    plane = Plane(UTM)
    to_plane = plane.from_crs(UTM.crs.proj)
    here, there = (
        Pieces.from_lines(np.array(shapes, dtype=object)).transformed(to_plane)
        for shapes in (predicted, reference)
    )
    search = max(reach, 30.0)
    return LineErrors(
        plane,
        match_points(
            points_along(here, PIXEL), there, plane, within=search, directed=directed
        ),
        match_points(
            points_along(there, PIXEL), here, plane, within=search, directed=True
        ).seen_from_other(),
        reach_m=reach,
        signed=True,
        block_m=block_m,
    )  # fmt: skip


def write_result(
    folder: Path,
    mask: np.ndarray,
    lines: list,
    columns: dict[str, list] | None = None,
    geobox: GeoBox = UTM,
) -> Path:
    """Write what predict writes, as far as it is evaluated."""
    with stage_set(folder, "a", overwrite=False) as (stage, record):
        write_raster(stage.path("_mask.tif"), mask, geobox)
        frame = geopandas.GeoDataFrame(columns or {}, geometry=lines, crs=UTM.crs.proj)
        frame.to_file(stage.path(".gpkg"), layer="coastline", driver="GPKG")
        classes = [
            {"value": value, "name": name, "color": "#000000", "water": bool(value)}
            for value, name in enumerate(("land", "water"))
        ]
        record |= {"format": 1, "command": "predict", "classes": classes}
    return folder / "a.json"


def write_raster(path: Path, values: np.ndarray, geobox: GeoBox) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="GTiff", height=values.shape[0], width=values.shape[1], count=1,
        dtype="uint8", crs=geobox.crs, transform=geobox.transform, nodata=255,
    ) as dst:  # fmt: skip
        dst.write(values, 1)
    return path


def west_is_water() -> np.ndarray:
    mask = np.zeros(UTM.shape, np.uint8)
    mask[:, :400] = 1
    return mask


def write_lines(path: Path, shapes: list) -> str:
    geopandas.GeoSeries(shapes, crs=UTM.crs.proj).to_file(path, driver="FlatGeobuf")
    return str(path)


class TestBothWays:
    @pytest.mark.parametrize("directed", [True, False])
    @pytest.mark.parametrize("offset", [-12.0, 7.0])
    def test_concentric_circles_have_their_known_offset_and_sign_each_way(
        self, offset, directed
    ) -> None:
        lon, lat = Plane(UTM).to_crs(WGS84)(np.zeros((1, 2)))[0]
        to_utm = Transformer.from_crs(4326, UTM.crs.proj, always_xy=True)

        def circle(radius: float) -> shapely.LineString:  # an island: land on the left
            azimuth = -np.linspace(0, 360, 4001)
            ones = np.ones_like(azimuth)
            xy = to_utm.transform(*GEOD.fwd(lon * ones, lat * ones, azimuth, radius * ones)[:2])
            return shapely.LineString(np.column_stack(xy))

        reference = circle(2000)
        errors = errors_of(
            [circle(2000 + offset)],
            [reference if directed else reference.reverse()],
            directed=directed,
        )
        scores = errors.record(seed=0)
        for way in ("predicted", "truth"):
            metres = scores[way]["metres"]
            for name in ("mean_signed", "median_signed"):
                assert metres[name] == pytest.approx(offset, abs=0.01), (way, name)
            for name in ("mean", "median", "rmse", "p95"):
                assert metres[name] == pytest.approx(abs(offset), abs=0.01), (way, name)
            assert metres["spread_rmse"] < 0.01

    def test_a_false_islet_counts_in_correctness_only_and_a_missed_one_in_completeness(
        self,
    ) -> None:
        islet = shapely.LineString(
            shapely.Point(LEFT + 2000, TOP - 3000).buffer(100).exterior.coords
        )
        alike, around = coast(0), islet.length
        extra = errors_of([alike, islet], [alike]).record(seed=0)
        missed = errors_of([alike], [alike, islet]).record(seed=0)
        share = alike.length / (alike.length + around)
        for row in extra["buffers"]:
            assert row["correctness"] == pytest.approx(share, abs=1e-4)
            assert row["completeness"] == 1
        for row in missed["buffers"]:
            assert row["completeness"] == pytest.approx(share, abs=1e-4)
            assert row["correctness"] == 1
        for scores, what in ((extra, "extra"), (missed, "missed")):
            alone = [place for place in scores["worst"] if place["distance_m"] is None]
            assert sum(place["length_m"] for place in alone) == pytest.approx(around, rel=0.01)
            assert {place["what"] for place in alone} == {what}
        assert extra["predicted"]["unmatched_m"] == pytest.approx(around, rel=0.01)
        assert extra["truth"]["unmatched_m"] == 0

    def test_a_shifted_square_has_the_completeness_of_its_geometry(self) -> None:
        # Moved by 15 m along one side: two sides are 15 m off, two slide along themselves.
        side = shapely.box(LEFT + 3000, TOP - 4000, LEFT + 4000, TOP - 3000)
        square = shapely.LineString(side.exterior.coords)
        moved = shapely.affinity.translate(square, 15, 0)
        rows = errors_of([moved], [square], block_m=300.0).record(seed=0)["buffers"]
        shares = {row["metres"]: (row["correctness"], row["completeness"]) for row in rows}
        # The sides that slide stick out by 15 m, of which what lies beyond the buffer is off.
        for width, off in ((10.0, 2 * 1000 + 2 * 5), (20.0, 0)):
            expected = 1 - off / 4000
            assert shares[width] == pytest.approx((expected, expected), abs=0.004)

    def test_buffers_in_metres_and_pixels_agree_and_reach_beyond_what_matches(self) -> None:
        rows = errors_of([coast(25)], [coast(0)], reach=20.0).record(seed=0)
        by_unit = {
            unit: [row["correctness"] for row in rows["buffers"] if row["given_in"] == unit]
            for unit in ("metres", "pixels")
        }
        assert by_unit["metres"] == by_unit["pixels"], "of pixels of 10 m they are the same"
        assert by_unit["metres"][-1] == 1
        assert by_unit["metres"][0] == 0
        assert rows["predicted"]["matched_share"] < 0.5

    def test_figures_without_draws_are_those_of_numpy(self) -> None:
        rng = np.random.default_rng(4)
        xy = shapely.get_coordinates(coast(0))
        rough = shapely.LineString(xy + np.column_stack((rng.normal(0, 20, len(xy)), 0 * xy[:, 0])))
        errors = errors_of([rough], [coast(0)], reach=30.0)
        scores = errors.record(seed=0)
        for way, matches in zip(("predicted", "truth"), errors.matched, strict=True):
            expected = summarise(matches, errors.plane.pixel_m)
            found = scores[way]
            assert found["metres"] | expected["metres"] == found["metres"]
            signed, block = matches.signed_m, errors.blocks[0 if way == "predicted" else 1]
            residual = np.concatenate([
                own - np.median(own)
                for own in (
                    signed[matches.found & (block == b)] for b in np.unique(block[matches.found])
                )
            ])  # fmt: skip
            assert found["metres"]["spread_rmse"] == pytest.approx(np.sqrt((residual**2).mean()))
            assert found["metres"]["spread_nmad"] == pytest.approx(
                1.4826 * np.median(np.abs(residual))
            )


class TestShiftOfDatum:
    def test_it_is_an_offset_and_no_error_of_shape(self) -> None:
        # A gently waving coast moved seaward as a whole by 12 m.
        scores = errors_of(
            [coast(12, wiggle=10, wave=2000)], [coast(0, wiggle=10, wave=2000)]
        ).record(seed=0)
        metres = scores["predicted"]["metres"]
        assert metres["median_signed"] == pytest.approx(12, abs=0.1)
        assert metres["rmse"] == pytest.approx(12, abs=0.1)
        assert metres["spread_nmad"] < 0.1
        assert metres["spread_rmse"] < 0.1
        matched = [one for one in scores["kilometres"] if one["matched_m"] > 500]
        assert len(matched) >= 6
        for one in matched:
            assert one["median_signed_m"] == pytest.approx(12, abs=0.1)

    def test_a_shift_of_some_kilometres_only_is_in_their_rows(self) -> None:
        xy = shapely.get_coordinates(coast(0, wiggle=0))
        north = xy[:, 1] > TOP - 3000
        moved = shapely.LineString(xy - np.column_stack((np.where(north, 20.0, 0.0), 0 * xy[:, 0])))
        scores = errors_of([moved], [coast(0, wiggle=0)]).record(seed=0)
        offsets = [
            (one["lat"], one["median_signed_m"])
            for one in scores["kilometres"]
            if one["matched_m"] > 800
        ]
        values = [offset for _, offset in sorted(offsets)]
        assert values[:2] == pytest.approx([0, 0], abs=0.01)
        assert values[-2:] == pytest.approx([20, 20], abs=0.01)
        assert scores["predicted"]["metres"]["spread_nmad"] < 0.1
        assert scores["predicted"]["metres"]["rmse"] > 10


class TestIntervals:
    def test_they_cover_the_truth_as_often_as_they_say(self) -> None:
        # Errors of one block have a part in common: the number of points is no help.
        rng = np.random.default_rng(7)
        blocks, points, rounds = 40, 25, 120
        inside = {"mean": 0, "median": 0}
        member = np.repeat(np.arange(blocks), points)
        for _ in range(rounds):
            values = rng.normal(0, 1, blocks)[member] + rng.normal(0, 0.5, len(member))
            order = np.argsort(values)
            sums = np.bincount(member, values, blocks)

            def figures(times, values=values, order=order, sums=sums):
                return {
                    ("mean",): float(times @ sums) / (points * blocks),
                    ("median",): quantile(values[order], times[member[order]], 0.5),
                }

            found = bootstrap(figures, blocks, seed=int(rng.integers(2**31)))
            for name in inside:
                low, high = found[name,]
                inside[name] += low <= 0 <= high
        for name, count in inside.items():
            assert 0.87 <= count / rounds <= 0.99, name

    def test_they_hold_the_figure_and_repeat_with_their_seed(self) -> None:
        rng = np.random.default_rng(5)
        xy = shapely.get_coordinates(coast(0))
        slow = np.interp(xy[:, 1], np.arange(TOP - 7000, TOP + 600, 50), rng.normal(0, 8, 152))
        errors = errors_of(
            [shapely.LineString(xy - np.column_stack((slow, 0 * slow)))], [coast(0)], block_m=500
        )
        one, again, other = (errors.record(seed=seed) for seed in (1, 1, 2))
        assert one == again
        assert one["predicted"]["interval"] != other["predicted"]["interval"]
        for name, value in one["predicted"]["metres"].items():
            low, high = one["predicted"]["interval"]["metres"][name]
            assert low <= value <= high
            assert high - low < 8

    def test_few_blocks_are_said_and_two_give_none(self) -> None:
        few = errors_of([coast(0)], [coast(3)], block_m=2500.0).record(seed=0)
        assert few["intervals"]["few"]
        assert few["intervals"]["known"]
        none = errors_of([coast(0)], [coast(3)], block_m=60_000.0).record(seed=0)
        assert not none["intervals"]["known"]
        assert none["predicted"]["interval"]["metres"]["mean"] is None

    @given(
        st.lists(st.integers(0, 4), min_size=1, max_size=30),
        st.sampled_from([0.0, 0.025, 0.5, 0.95, 1.0]),
    )
    def test_a_quantile_is_numpys_of_values_repeated(self, times, share) -> None:
        values = np.sort(np.random.default_rng(len(times)).normal(size=len(times)))
        repeated = np.repeat(values, times)
        found = quantile(values, np.array(times), share)
        if len(repeated):
            assert found == pytest.approx(np.quantile(repeated, share))
        else:
            assert np.isnan(found)

    @given(st.lists(st.tuples(st.integers(0, 4), st.floats(-9, 9)), max_size=40))
    def test_medians_are_numpys(self, pairs) -> None:
        member = np.array([m for m, _ in pairs], dtype=np.intp)
        values = np.array([v for _, v in pairs])
        found = medians(values, member, 6)
        for group in range(6):
            own = values[member == group]
            assert found[group] == pytest.approx(
                np.median(own) if len(own) else np.nan, nan_ok=True
            )


class TestBlocks:
    @pytest.mark.parametrize(("lon", "lat"), [(2.0, 48.0), (179.99, -17.0), (20.0, 84.0), (0, 0)])
    def test_a_block_is_about_a_kilometre_each_way_wherever_it_is(self, lon, lat) -> None:
        rng = np.random.default_rng(3)
        east, north = rng.uniform(-4000, 4000, (2, 40_000))
        azimuth, distance = np.degrees(np.arctan2(east, north)), np.hypot(east, north)
        ones = np.ones(len(east))
        lons, lats, _ = GEOD.fwd(lon * ones, lat * ones, azimuth, distance)
        numbers = BlockGrid(1000.0).numbers(lons, lats)
        found, member = np.unique(numbers, return_inverse=True)
        wide = np.array([np.ptp(east[member == i]) for i in range(len(found))])
        high = np.array([np.ptp(north[member == i]) for i in range(len(found))])
        assert np.median(wide) == pytest.approx(1000, rel=0.15)
        assert np.median(high) == pytest.approx(1000, rel=0.15)
        assert max(wide.max(), high.max()) < 1300

    def test_places_on_both_sides_of_180_degrees_are_of_one_row(self) -> None:
        numbers = BlockGrid(1000.0).numbers(np.array([180.0, -180.0, 179.9999]), np.full(3, -17.0))
        assert numbers[0] == numbers[1] != numbers[2]


class TestBoundaryIoU:
    @given(
        arrays(np.uint8, (11, 13), elements=st.integers(0, 2)),
        arrays(np.uint8, (11, 13), elements=st.integers(0, 2)),
        arrays(np.bool_, (11, 13)),
    )
    def test_it_is_that_of_eroding_by_brute_force(self, one, other, known) -> None:
        found = {(d, c): (both.sum(), either.sum())
                 for d, c, both, either in near_boundaries(one, other, known, 3)}  # fmt: skip
        for distance in BOUNDARY_PX:
            square = np.ones((2 * distance + 1,) * 2)
            for number in range(3):
                near = []
                for values in (one, other):
                    inside = known & (values == number)
                    # What is not known, and what lies beyond, erodes nothing.
                    eroded = binary_erosion(inside | ~known, square, border_value=1)
                    near.append(inside & ~eroded)
                expected = ((near[0] & near[1]).sum(), (near[0] | near[1]).sum())
                assert found.get((distance, number), (0, 0)) == expected

    def test_it_is_that_of_chips(self) -> None:
        torch = pytest.importorskip("torch")
        from geounet.metrics import all_figures, count_chips

        rng = np.random.default_rng(0)
        field = rng.normal(size=(2, 40, 40)).cumsum(1).cumsum(2)
        one, label = (field > 0).astype(np.uint8)
        known = rng.random((40, 40)) > 0.05
        logits = torch.nn.functional.one_hot(torch.tensor(one).long(), 2).movedim(-1, 0)[None]
        marked = torch.tensor(np.where(known, label, 255))[None]
        counts = count_chips(10.0 * logits, marked, water=[False, True])
        expected = all_figures(counts.total(), ("land", "water"))
        for distance, number, both, either in near_boundaries(one, label, known, 2):
            name = ("boundary_iou", str(distance), ("land", "water")[number])
            assert both.sum() / either.sum() == pytest.approx(expected[name].item())


ISLET = shapely.LineString(shapely.Point(LEFT + 2000, TOP - 3000).buffer(150).exterior.coords)


class TestChoice:
    """A coast, and a lake or a cloud's edge beside it, that the reference has too."""

    @pytest.fixture
    def result(self, tmp_path) -> Path:
        columns = {"kind": ["sea", "lake"], "cloud_suspect": [False, True]}
        return write_result(tmp_path / "out", west_is_water(), [coast(5), ISLET], columns)

    @pytest.fixture
    def reference(self, tmp_path) -> str:
        islet = shapely.affinity.translate(ISLET, 20, 0)
        return write_lines(tmp_path / "truth.fgb", [coast(0), islet])

    @pytest.mark.parametrize(
        "choice", [LineChoice(kind="sea"), LineChoice(exclude_cloud_suspect=True)]
    )
    def test_what_is_left_out_is_neither_wrong_nor_missed_and_its_length_is_said(
        self, result, reference, choice
    ) -> None:
        lines = evaluate_prediction(result, [reference], EvaluateSettings(lines=choice))["lines"]
        for way in ("predicted", "truth"):
            assert lines[way]["unmatched_m"] == 0
            assert lines[way]["metres"]["p95"] == pytest.approx(5, abs=0.3)
        for length in lines["chosen"]["left_out"].values():
            assert length == pytest.approx(ISLET.length, rel=0.02)
        every = evaluate_prediction(result, [reference], EvaluateSettings())["lines"]
        assert every["predicted"]["metres"]["p95"] > 10
        assert every["chosen"]["left_out"] == {"predicted_m": 0, "reference_m": 0}

    def test_kinds_that_are_not_there_and_results_that_do_not_know_are_refused(
        self, tmp_path, result, reference
    ) -> None:
        with pytest.raises(ResultError, match="no lines of kind ocean; it has lake, sea"):
            evaluate_prediction(
                result, [reference], EvaluateSettings(lines=LineChoice(kind="ocean"))
            )
        bare = write_result(tmp_path / "bare", west_is_water(), [coast(5)])
        for choice, option in (
            (LineChoice(kind="sea"), "--kind"),
            (LineChoice(exclude_cloud_suspect=True), "--exclude-cloud-suspect"),
        ):
            with pytest.raises(ResultError, match=f"no column .*{option}"):
                evaluate_prediction(bare, [reference], EvaluateSettings(lines=choice))
            with pytest.raises(ResultError, match="is no result of geounet"):
                evaluate_prediction(
                    bare.with_name("a_mask.tif"), [reference], EvaluateSettings(lines=choice)
                )


class TestWhole:
    def test_an_undirected_reference_takes_its_side_from_the_prediction(self, tmp_path) -> None:
        result = write_result(tmp_path / "out", west_is_water(), [coast(8)])
        for number, line in enumerate((coast(0), coast(0).reverse())):
            reference = write_lines(tmp_path / f"{number}.fgb", [line])
            lines = evaluate_prediction(result, [reference], EvaluateSettings())["lines"]
            assert lines["side_from"] == "prediction"
            for way in ("predicted", "truth"):
                assert lines[way]["metres"]["median_signed"] == pytest.approx(8, abs=0.4)

    def test_lines_of_a_result_are_where_their_own_crs_has_them(self, tmp_path) -> None:
        # In degrees, and of two vertices: straight there is bent by metres on the ground.
        geobox = GeoBox((100, 3000), Affine(10, 0, 480_000, 0, -10, 7_000_000), "EPSG:32631")
        to_degrees = Transformer.from_crs(32631, 4326, always_xy=True)
        (west, east), lat = to_degrees.transform([480_500, 509_500], [6_999_500] * 2)
        lat = float(np.mean(lat))
        mask = np.zeros(geobox.shape, np.uint8)
        mask[50:] = 1
        result = write_result(tmp_path / "out", mask, [], geobox=geobox)
        line = geopandas.GeoSeries([shapely.LineString([(west, lat), (east, lat)])], crs=4326)
        gpkg = result.with_suffix(".gpkg")
        gpkg.unlink()
        line.to_file(gpkg, layer="coastline", driver="GPKG")
        dense = shapely.LineString([(lon, lat) for lon in np.linspace(west, east, 3001)])
        frame = geopandas.GeoSeries([dense], crs=4326)
        frame.to_file(tmp_path / "t.fgb", driver="FlatGeobuf")
        lines = evaluate_prediction(result, [str(tmp_path / "t.fgb")], EvaluateSettings())["lines"]
        assert lines["predicted"]["points"] > 2500
        assert lines["predicted"]["metres"]["p95"] < 0.02

    def test_nothing_predicted_and_nothing_there_have_lengths_and_no_distances(
        self, tmp_path
    ) -> None:
        dry, wet = np.zeros(UTM.shape, np.uint8), west_is_water()
        nothing = write_result(tmp_path / "none", dry, [])
        truth = write_raster(tmp_path / "wet.tif", wet, UTM)
        evaluation = measure_prediction(nothing, [str(truth)], EvaluateSettings())
        lines = evaluation.scores["lines"]
        assert lines["truth"]["unmatched_m"] == pytest.approx(6000 - 20, rel=0.01)
        assert lines["predicted"]["matched_share"] is None
        assert lines["truth"]["matched_share"] == 0
        assert set(lines["predicted"]["metres"].values()) == {None}
        assert {place["what"] for place in lines["worst"]} == {"missed"}
        write_evaluation(evaluation, tmp_path / "s.json")

        full = write_result(tmp_path / "full", wet, [coast(0)])
        land = write_raster(tmp_path / "dry.tif", dry, UTM)
        evaluation = measure_prediction(full, [str(land)], EvaluateSettings())
        lines = evaluation.scores["lines"]
        assert lines["predicted"]["matched_share"] == 0
        assert lines["truth"]["points"] == 0
        assert evaluation.scores["pixels"]["boundary_iou"]["1"]["water"] == 0
        write_evaluation(evaluation, tmp_path / "t.json")
        assert json.loads((tmp_path / "t.json").read_text()) == evaluation.scores

    def test_a_gap_of_nodata_is_compared_by_nobody_and_drawn_over_by_nothing(
        self, tmp_path
    ) -> None:
        mask = west_is_water()
        mask[200:400] = 255
        result = write_result(tmp_path / "out", mask, [coast(5)])
        reference = write_lines(tmp_path / "t.fgb", [coast(0)])
        evaluation = measure_prediction(result, [reference], EvaluateSettings())
        predicted = evaluation.scores["lines"]["predicted"]
        whole = coast(5).intersection(shapely.box(LEFT, TOP - 5990, LEFT + 8000, TOP - 10)).length
        gap = coast(5).intersection(shapely.box(LEFT, TOP - 4010, LEFT + 8000, TOP - 1990)).length
        assert predicted["matched_m"] == pytest.approx(whole - gap, abs=25)
        files = write_evaluation(evaluation, tmp_path / "s.json")
        layer = geopandas.read_file(files.errors, layer="errors")
        inner = shapely.box(LEFT, TOP - 4000, LEFT + 8000, TOP - 2000)
        assert layer.intersection(inner).length.sum() < 15
        assert layer.length.sum() == pytest.approx(whole - gap, rel=0.01)

    def test_the_layer_has_both_lines_styled_and_is_the_same_bytes_twice(self, tmp_path) -> None:
        result = write_result(tmp_path / "out", west_is_water(), [coast(8), ISLET])
        other = shapely.affinity.translate(ISLET, 3500, 1500)
        reference = write_lines(tmp_path / "t.fgb", [coast(0), other])
        evaluation = measure_prediction(result, [reference], EvaluateSettings())
        written = [write_evaluation(evaluation, tmp_path / name) for name in ("1.json", "2.json")]
        assert written[0] == ScoreFiles.beside(tmp_path / "1.json")
        for one, two in zip(*written, strict=True):
            assert one.read_bytes() == two.read_bytes()
        layer = geopandas.read_file(written[0].errors, layer="errors")
        by_what = layer.dissolve("what", aggfunc={"length_m": "sum", "signed_m": "mean"})
        assert by_what.length_m["extra"] == pytest.approx(ISLET.length, rel=0.02)
        assert by_what.length_m["missed"] == pytest.approx(ISLET.length, rel=0.02)
        assert by_what.signed_m["matched"] == pytest.approx(8, abs=0.3)
        assert shapely.hausdorff_distance(by_what.geometry["extra"], ISLET) < 3
        assert layer.length.to_numpy() == pytest.approx(layer.length_m.to_numpy(), rel=0.05)
        styles = pyogrio.read_dataframe(written[0].errors, layer="layer_styles")
        assert list(styles.f_table_name) == ["errors"]
        assert written[0].figure.read_bytes()[1:4] == b"PNG"

    def test_worst_places_are_ranked_apart_and_where_they_are(self) -> None:
        far = [shapely.affinity.translate(ISLET, 0, -1500), ISLET]
        small = shapely.affinity.scale(far[0], 0.4, 0.4)
        places = worst_places(errors_of([coast(2), ISLET, small], [coast(0)], block_m=3000.0))
        assert [place["what"] for place in places[:2]] == ["extra", "extra"]
        assert places[0]["length_m"] > places[1]["length_m"]
        assert all(place["what"] == "apart" for place in places[2:])
        xy = np.array(
            Transformer.from_crs(4326, UTM.crs.proj, always_xy=True).transform(
                [place["lon"] for place in places], [place["lat"] for place in places]
            )
        ).T
        assert shapely.distance(ISLET, shapely.Point(xy[0])) < 5
        assert np.hypot(*(xy[:, None] - xy).T)[np.triu_indices(len(xy), 1)].min() >= 995
        assert len(places) <= 10

    def test_steps_change_the_number_of_points_and_not_the_lengths(self, tmp_path) -> None:
        result = write_result(tmp_path / "out", west_is_water(), [coast(8)])
        reference = write_lines(tmp_path / "t.fgb", [coast(0)])
        one, fine = (
            evaluate_prediction(result, [reference], EvaluateSettings(step=step))["lines"]
            for step in (1.0, 0.25)
        )
        assert fine["predicted"]["points"] == pytest.approx(4 * one["predicted"]["points"], abs=6)
        assert fine["predicted"]["matched_m"] == pytest.approx(one["predicted"]["matched_m"], abs=9)

    def test_boundary_iou_and_intervals_of_pixels_are_those_of_whole_arrays(self, tmp_path) -> None:
        rng = np.random.default_rng(8)
        true = west_is_water()
        rough = gaussian_filter(rng.normal(size=UTM.shape), 6)
        said = np.where(np.abs(rough) > 1.5 * rough.std(), 1 - true, true).astype(np.uint8)
        said[:30, :40], true[500:, 700:] = 255, 255
        mask = write_raster(tmp_path / "mask.tif", said, UTM)
        truth = write_raster(tmp_path / "truth.tif", true, UTM)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(comparison, "BLOCK", 256)
            pixels = evaluate_prediction(mask, [str(truth)], EvaluateSettings())["pixels"]
        known = (said != 255) & (true != 255)
        for distance, number, both, either in near_boundaries(true, said, known, 2):
            name = ("land", "water")[number]
            expected = both.sum() / either.sum()
            assert pixels["boundary_iou"][str(distance)][name] == pytest.approx(expected)
            low, high = pixels["interval"]["boundary_iou"][str(distance)][name]
            assert low <= expected <= high
        low, high = pixels["interval"]["per_class"]["water"]["iou"]
        assert low <= pixels["per_class"]["water"]["iou"] <= high
        assert 48 <= pixels["blocks"] <= 80, "6 km by 8 km of ground"


class TestFormats:
    @pytest.mark.parametrize("suffix", [".gpkg", ".fgb", ".geojson", ".shp", ".parquet"])
    def test_a_reference_is_read_and_chosen_from_in_every_format(self, tmp_path, suffix) -> None:
        result = write_result(tmp_path / "out", west_is_water(), [coast(8)])
        frame = geopandas.GeoDataFrame(
            {"kind": ["sea", "lake"]}, geometry=[coast(0), ISLET], crs=UTM.crs.proj
        ).to_crs(4326)
        path = tmp_path / f"t{suffix}"
        frame.to_parquet(path) if suffix == ".parquet" else frame.to_file(path)
        options = ReferenceOptions(where="kind = 'sea'")
        for reference, missed in ((ReferenceOptions(), ISLET.length), (options, 0)):
            settings = EvaluateSettings(reference=reference)
            lines = evaluate_prediction(result, [str(path)], settings)["lines"]
            assert lines["truth"]["unmatched_m"] == pytest.approx(missed, rel=0.02)
            assert lines["predicted"]["metres"]["median"] == pytest.approx(8, abs=0.4)

    @pytest.mark.parametrize("suffix", [".gpkg", ".parquet"])
    def test_polygons_of_every_format_tell_the_side(self, tmp_path, suffix) -> None:
        result = write_result(tmp_path / "out", west_is_water(), [coast(8)])
        frame = geopandas.GeoDataFrame(geometry=[water_of(coast(0))], crs=UTM.crs.proj)
        path = tmp_path / f"t{suffix}"
        frame.to_parquet(path) if suffix == ".parquet" else frame.to_file(path)
        scores = evaluate_prediction(result, [str(path)], EvaluateSettings())
        assert scores["lines"]["side_from"] == "reference"
        for way in ("predicted", "truth"):
            found = scores["lines"][way]["metres"]["median_signed"]
            assert found == pytest.approx(8, abs=0.4)
        assert scores["pixels"]["per_class"]["water"]["iou"] > 0.98

    def test_a_parquet_file_that_is_none_is_said(self, tmp_path) -> None:
        result = write_result(tmp_path / "out", west_is_water(), [coast(8)])
        (tmp_path / "t.parquet").write_bytes(b"PAR1 and no more")
        with pytest.raises(LabelError, match=r"t\.parquet cannot be read"):
            evaluate_prediction(result, [str(tmp_path / "t.parquet")], EvaluateSettings())


class TestDrawnPredictions:
    """Lines and polygons of someone else's, which bring no pixels."""

    def test_lines_against_lines_have_no_sign_and_that_is_said(self, tmp_path) -> None:
        drawn = write_lines(tmp_path / "drawn.fgb", [coast(8).reverse()])
        truth = write_lines(tmp_path / "truth.fgb", [coast(0)])
        settings = EvaluateSettings(pixel_m=10)
        evaluation = measure_prediction(Path(drawn), [truth], settings)
        lines = evaluation.scores["lines"]
        assert evaluation.scores["pixels"] is None
        assert lines["side_from"] is None
        for way in ("predicted", "truth"):
            assert lines[way]["metres"]["median"] == pytest.approx(8, abs=0.4)
            assert lines[way]["metres"]["mean_signed"] is None
            assert lines[way]["metres"]["spread_nmad"] is None
            assert lines[way]["interval"]["metres"]["mean_signed"] is None
        assert all(one["median_signed_m"] is None for one in lines["kilometres"])
        files = write_evaluation(evaluation, tmp_path / "s.json")
        layer = geopandas.read_file(files.errors, layer="errors")
        assert layer.signed_m.isna().all()
        assert layer.median_m.median() == pytest.approx(8, abs=0.4)

    @pytest.mark.parametrize("back", [False, True])
    def test_lines_against_polygons_take_their_side_from_those(self, tmp_path, back) -> None:
        line = coast(8).reverse() if back else coast(8)
        drawn = write_lines(tmp_path / "drawn.fgb", [line])
        truth = write_lines(tmp_path / "truth.fgb", [water_of(coast(0))])
        lines = evaluate_prediction(Path(drawn), [truth], EvaluateSettings(pixel_m=10))["lines"]
        assert lines["side_from"] == "reference"
        for way in ("predicted", "truth"):
            assert lines[way]["metres"]["median_signed"] == pytest.approx(8, abs=0.4)

    def test_polygons_give_pixels_too_and_their_side(self, tmp_path) -> None:
        drawn = write_lines(tmp_path / "drawn.fgb", [water_of(coast(8))])
        truth = write_lines(tmp_path / "truth.fgb", [coast(0)])
        raster = write_raster(tmp_path / "truth.tif", west_is_water(), UTM)
        settings = EvaluateSettings(pixel_m=20)
        lines = evaluate_prediction(Path(drawn), [truth], settings)["lines"]
        assert lines["side_from"] == "prediction"
        assert lines["pixel_m"] == pytest.approx(20, rel=1e-3)
        assert lines["predicted"]["metres"]["median_signed"] == pytest.approx(8, abs=0.4)
        pixels = evaluate_prediction(Path(drawn), [str(raster)], settings)["pixels"]
        assert pixels["per_class"]["water"]["iou"] > 0.95

    def test_pixels_have_to_be_said(self, tmp_path) -> None:
        drawn = write_lines(tmp_path / "drawn.fgb", [coast(8)])
        with pytest.raises(ResultError, match="--pixel 10"):
            evaluate_prediction(Path(drawn), [drawn], EvaluateSettings())
