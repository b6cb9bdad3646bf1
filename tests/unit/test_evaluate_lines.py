"""Evaluations of whole results: which lines count, files of every format, figure and layer."""

import json
import re
from pathlib import Path

import geopandas
import numpy as np
import pyogrio
import pytest
import shapely
import shapely.affinity
from affine import Affine
from coasts import (
    ISLET,
    LEFT,
    PIXEL,
    TOP,
    UTM,
    coast,
    errors_of,
    water_of,
    west_is_water,
    write_lines,
    write_raster,
    write_result,
)
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from scipy.ndimage import gaussian_filter

from geounet.errors import LabelError, ResultError
from geounet.evaluate import (
    LineChoice,
    ReferenceOptions,
    comparison,
    evaluate_prediction,
    measure_prediction,
    write_evaluation,
)
from geounet.evaluate.boundary import near_boundaries
from geounet.evaluate.line_scores import worst_places
from geounet.evaluate.scores import EvaluateSettings, ScoreFiles


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


class TestFiles:
    def test_a_name_with_dollars_or_in_another_script_is_drawn_as_it_is(self, tmp_path) -> None:
        mask = write_raster(tmp_path / "m$\\q$_日本.tif", west_is_water(), UTM)
        truth = write_lines(tmp_path / "t.fgb", [coast(0)])
        evaluation = measure_prediction(mask, [truth], EvaluateSettings())
        files = write_evaluation(evaluation, tmp_path / "m.scores.json")
        assert all(file.is_file() for file in files)

    def test_what_is_cut_off_halfway_leaves_the_set_before_as_it_was(
        self, tmp_path, monkeypatch
    ) -> None:
        mask = write_raster(tmp_path / "m.tif", west_is_water(), UTM)
        evaluations = [
            measure_prediction(
                mask, [write_lines(tmp_path / f"{shift}.fgb", [coast(shift)])], EvaluateSettings()
            )
            for shift in (0, 20)
        ]
        files = write_evaluation(evaluations[0], tmp_path / "m.scores.json")
        before = {file: file.read_bytes() for file in files}

        def cut_off(*_) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("geounet.evaluate.writing.draw_errors", cut_off)
        with pytest.raises(KeyboardInterrupt):
            write_evaluation(evaluations[1], tmp_path / "m.scores.json")
        assert {file: file.read_bytes() for file in files} == before
        assert not list(tmp_path.glob(".*"))


def test_the_ground_around_lines_of_anyone_is_no_border_that_cuts_a_reference(tmp_path) -> None:
    # The outer circle touches the grid that is laid around the inner one, two pixels wider.
    middle, circles = shapely.Point(LEFT + 4000, TOP - 3000), []
    for number, radius in enumerate((1000, 1020)):
        ring = shapely.LineString(middle.buffer(radius, quad_segs=400).exterior.coords)
        circles.append(write_lines(tmp_path / f"{number}.fgb", [ring]))
    settings = EvaluateSettings(pixel_m=PIXEL)
    lines = evaluate_prediction(Path(circles[0]), circles[1:], settings)["lines"]
    assert lines["predicted"]["metres"]["mean"] == pytest.approx(20, abs=0.05)
    assert lines["predicted"]["matched_m"] == pytest.approx(2000 * np.pi, rel=1e-3)


@pytest.mark.parametrize(("offset", "is_said"), [(20.0, False), (90.0, True)])
def test_that_a_reference_hardly_matches_is_warned_of(tmp_path, caplog, offset, is_said) -> None:
    result = write_result(tmp_path / "out", west_is_water(), [coast(offset), ISLET])
    reference = write_lines(tmp_path / "truth.fgb", [coast(0), ISLET])
    evaluate_prediction(result, [reference], EvaluateSettings())
    said = [one.getMessage() for one in caplog.records if "by chance" in one.getMessage()]
    assert bool(said) == is_said
    if is_said:  # of six kilometres of coast and the islet, the islet alone matches
        share = 100 * ISLET.length / (ISLET.length + 6000)
        found = [float(one) for one in re.findall(r"([\d.]+)% of the", said[0])]
        assert found == pytest.approx([share, share], abs=2)
        assert "within 5 pixels (50 m)" in said[0]
