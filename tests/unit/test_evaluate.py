"""Scores of predictions, against counts by hand and lines whose place is known."""

import json
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from geounet.classes import LAND_WATER, LabelClass
from geounet.errors import ChipsError, LabelError, OutputError, ResultError
from geounet.evaluate import (
    EvaluateSettings,
    ReferenceOptions,
    check_writable,
    comparison,
    default_scores_path,
    evaluate_prediction,
    write_scores,
)
from geounet.evaluate.comparison import PixelCounts, PointFlags
from geounet.evaluate.reference import trace_boundary
from geounet.outputs import stage_set

UTM = GeoBox((60, 80), Affine(10, 0, 500_000, 0, -10, 5_400_000), "EPSG:32630")


def write_raster(path: Path, values: np.ndarray, geobox: GeoBox, *, nodata=255) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=values.shape[0],
        width=values.shape[1],
        count=1,
        dtype=values.dtype,
        crs=geobox.crs,
        transform=geobox.transform,
        nodata=nodata,
    ) as dst:
        dst.write(values, 1)
    return path


def write_shapes(path: Path, shapes: list, crs: object) -> Path:
    """Write a vector file; what runs on past 180° is cut there, as files have it."""
    series = geopandas.GeoSeries(shapes, crs=crs)
    if series.crs.is_geographic:
        halves = [series.intersection(shapely.box(-180, -90, 180, 90)),
                  series.intersection(shapely.box(180, -90, 540, 90)).translate(-360)]  # fmt: skip
        series = pd.concat(halves)
        series = series[~series.is_empty].explode()
    series.to_file(path, driver="FlatGeobuf")
    return path


def write_result(
    folder: Path,
    mask: np.ndarray,
    geobox: GeoBox,
    *,
    name: str = "a",
    lines: list | None = None,
    classes: tuple[LabelClass, ...] = LAND_WATER,
) -> Path:
    """Write what predict writes, as far as it is evaluated."""
    with stage_set(folder, name, overwrite=False) as (stage, record):
        write_raster(stage.path("_mask.tif"), mask, geobox)
        frame = geopandas.GeoDataFrame(geometry=lines or [], crs=geobox.crs.proj)
        frame.to_file(stage.path(".gpkg"), layer="coastline", driver="GPKG")
        record |= {
            "format": 1,
            "command": "predict",
            "classes": [one.to_dict() for one in classes],
        }
    return folder / f"{name}.json"


def evaluate(path: Path, *references: object, **options: object) -> dict:
    reference_keys = ("values", "water", "layer", "where")
    reference = ReferenceOptions(**{k: options.pop(k) for k in reference_keys if k in options})
    return evaluate_prediction(
        path, [str(r) for r in references], EvaluateSettings(reference=reference, **options)
    )


def counts_by_hand(predicted: np.ndarray, reference: np.ndarray) -> list[list[int]]:
    pairs = list(zip(reference.ravel().tolist(), predicted.ravel().tolist(), strict=True))
    return [[pairs.count((true, said)) for said in (0, 1)] for true in (0, 1)]


class TestPixels:
    @given(
        arrays(np.uint8, (9, 11), elements=st.sampled_from([0, 1, 255])),
        arrays(np.uint8, (9, 11), elements=st.sampled_from([0, 1, 255])),
    )
    @settings(max_examples=10)
    def test_the_matrix_is_that_of_counting_by_hand_whatever_the_blocks(
        self, tmp_path_factory, predicted, reference
    ) -> None:
        if not ((predicted != 255) & (reference != 255)).any():
            return
        folder = tmp_path_factory.mktemp("pixels")
        mask = write_raster(folder / "mask.tif", predicted, UTM)
        truth = write_raster(folder / "truth.tif", reference, UTM)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(comparison, "BLOCK", 4)
            pixels = evaluate(mask, truth)["pixels"]
        assert pixels["confusion"] == counts_by_hand(predicted, reference)
        left_out = pixels["left_out"]
        assert left_out["prediction_nodata"] == (predicted == 255).sum()
        assert left_out["reference_unknown"] == ((reference == 255) & (predicted != 255)).sum()
        assert pixels["compared"] + sum(left_out.values()) == predicted.size

    def test_the_scores_are_the_textbooks(self) -> None:
        counts = PixelCounts(LAND_WATER)
        counts.confusion[:] = [[50, 10], [5, 35]]
        scores = counts.scores()
        assert scores["per_class"]["water"] == {
            "iou": 35 / 50, "precision": 35 / 45, "recall": 35 / 40, "f1": 70 / 85, "pixels": 40,
        }  # fmt: skip
        assert scores["per_class"]["land"]["iou"] == 50 / 65
        assert scores["accuracy"] == 0.85

    def test_a_class_that_is_nowhere_has_no_score_rather_than_a_wrong_one(self) -> None:
        counts = PixelCounts(LAND_WATER)
        counts.confusion[:] = [[7, 0], [0, 0]]
        assert set(counts.scores()["per_class"]["water"].values()) == {None, 0}

    def test_a_reference_on_another_grid_is_warped_nearest(self, tmp_path) -> None:
        rng = np.random.default_rng(1)
        predicted = rng.integers(0, 2, (60, 80)).astype(np.uint8)
        truth = rng.integers(0, 2, (70, 90)).astype(np.uint8)
        middle = UTM.transform @ (40, 30)
        x, y = Transformer.from_crs(32630, 32631, always_xy=True).transform(*middle)
        other = GeoBox((70, 90), Affine(9.3, 0, x - 400, 0, -9.3, y + 300), "EPSG:32631")
        cols, rows = np.meshgrid(np.arange(80) + 0.5, np.arange(60) + 0.5)
        place = Transformer.from_crs(32630, 32631, always_xy=True).transform(
            *(UTM.transform @ (cols, rows))
        )
        cols, rows = (np.floor(axis).astype(int) for axis in ~other.transform @ place)
        inside = (rows >= 0) & (rows < 70) & (cols >= 0) & (cols < 90)
        warped = np.where(inside, truth[rows.clip(0, 69), cols.clip(0, 89)], 255)
        mask = write_raster(tmp_path / "mask.tif", predicted, UTM)
        reference = write_raster(tmp_path / "truth.tif", truth, other)
        pixels = evaluate(mask, reference)["pixels"]
        assert (warped == 255).any()
        assert pixels["confusion"] == counts_by_hand(predicted, warped)

    @pytest.mark.parametrize("water", [True, False])
    def test_polygons_are_water_or_land_and_the_rest_the_other(self, tmp_path, water) -> None:
        predicted = np.zeros((60, 80), dtype=np.uint8)
        predicted[:, 40:] = 1
        mask = write_raster(tmp_path / "mask.tif", predicted, UTM)
        shape = shapely.box(500_300, 5_399_000, 501_000, 5_401_000)  # columns 30 and on
        truth = write_shapes(tmp_path / "t.fgb", [shape], UTM.crs.proj)
        confusion = evaluate(mask, truth, water=water)["pixels"]["confusion"]
        table = [[30 * 60, 0], [10 * 60, 40 * 60]] if water else [[600, 2400], [1800, 0]]
        assert confusion == table

    def test_more_classes_than_the_reference_has_are_compared_as_land_and_water(
        self, tmp_path
    ) -> None:
        classes = (*LAND_WATER, LabelClass(2, "surf", "#ffffff", True),
                   LabelClass(3, "sand", "#ffff00", False))  # fmt: skip
        predicted = np.repeat(np.arange(4, dtype=np.uint8), 20)[None].repeat(60, axis=0)
        record = write_result(tmp_path, predicted, UTM, classes=classes)
        truth = write_raster(tmp_path / "truth.tif", np.ones((60, 80), np.uint8), UTM)
        pixels = evaluate(record, truth)["pixels"]
        assert pixels["classes"] == ["land", "water"]
        assert pixels["confusion"] == [[0, 0], [2400, 2400]]

    def test_the_same_classes_are_compared_one_by_one(self, tmp_path) -> None:
        classes = (*LAND_WATER, LabelClass(2, "surf", "#ffffff", True))
        predicted = np.repeat(np.array([0, 1, 2, 2], np.uint8), 20)[None].repeat(60, axis=0)
        record = write_result(tmp_path, predicted, UTM, classes=classes)
        truth = np.where(predicted == 2, 7, predicted).astype(np.uint8)
        truth[:, :10] = 7
        reference = write_raster(tmp_path / "truth.tif", truth, UTM)
        pixels = evaluate(record, reference, values="0=land,1=water,7=surf:water")["pixels"]
        assert pixels["classes"] == ["land", "water", "surf"]
        assert pixels["confusion"] == [[600, 0, 0], [0, 1200, 0], [600, 0, 2400]]


RADIUS, SHIFT = 20.0, 0.3
GRIDS = {
    "UTM": UTM,
    "Mercator at 70° north": GeoBox((60, 80), Affine(10, 0, 2e6, 0, -10, 11e6), "EPSG:3857"),
    "degrees at 65° north": GeoBox((60, 80), Affine(2e-4, 0, 20, 0, -9e-5, 65), "EPSG:4326"),
    "degrees across 180°": GeoBox((60, 80), Affine(1e-4, 0, 179.996, 0, -1e-4, -17), "EPSG:4326"),
    "rotated": GeoBox((60, 80), Affine.translation(5e5, 5e6) @ Affine.rotation(30)
                      @ Affine.scale(10, -10), "EPSG:32633"),
    "south up": GeoBox((60, 80), Affine(10, 0, 5e5, 0, 10, 5e6), "EPSG:32633"),
}  # fmt: skip


def island(geobox: GeoBox, radius: float) -> shapely.Polygon:
    """A disc about the middle of a grid, `radius` in pixels."""
    angle = np.linspace(0, 2 * np.pi, 721)[:-1]
    height, width = geobox.shape
    cols, rows = width / 2 + radius * np.cos(angle), height / 2 + radius * np.sin(angle)
    return shapely.Polygon(np.column_stack(geobox.transform @ (cols, rows)))


def sea(geobox: GeoBox, radius: float) -> shapely.Polygon:
    """What is around the island, far beyond the scene's border."""
    corners = [(-500, -500), (600, -500), (600, 600), (-500, 600)]
    frame = shapely.Polygon([geobox.transform @ corner for corner in corners])
    return frame.difference(island(geobox, radius))


def disc_mask(geobox: GeoBox, radius: float) -> np.ndarray:
    height, width = geobox.shape
    rows, cols = np.mgrid[:height, :width] + 0.5
    return (np.hypot(rows - height / 2, cols - width / 2) > radius).astype(np.uint8)


def left_of_land(ring: shapely.LinearRing) -> shapely.LineString:
    """The ring of an island with the land on its left."""
    forth = shapely.LineString(ring.coords)
    return forth if ring.is_ccw else forth.reverse()


@pytest.fixture(params=GRIDS.values(), ids=list(GRIDS))
def geobox(request) -> GeoBox:
    return request.param


KINDS = ["water", "land", "line", "line back"]


def assert_moved_by(lines: dict, shift: float, *, within: float = 0.01) -> None:
    """The predicted line is `shift` pixels from the reference, plus towards water."""
    shown = lines["predicted"]
    assert shown["matched_share"] == lines["missed"]["matched_share"] == 1
    assert shown["pixels"]["mean_signed"] == pytest.approx(shift, abs=within)
    assert shown["pixels"]["median"] == pytest.approx(abs(shift), abs=within)
    assert shown["metres"]["mean_signed"] == pytest.approx(
        shown["pixels"]["mean_signed"] * lines["pixel_m"]
    )


class TestLines:
    """The island is drawn larger or smaller; pixels that are not square make a mean of two."""

    @pytest.mark.parametrize(
        ("geobox", "kind", "shift"),
        [
            *((UTM, kind, shift) for kind in KINDS for shift in (-SHIFT, SHIFT)),
            *((geobox, "water", SHIFT) for geobox in GRIDS.values()),
            *((geobox, "line back", -SHIFT) for geobox in GRIDS.values()),
        ],
    )
    def test_a_known_shift_comes_back_with_its_sign(self, tmp_path, geobox, kind, shift) -> None:
        line = left_of_land(island(geobox, RADIUS).exterior)
        result = write_result(tmp_path / "out", disc_mask(geobox, RADIUS), geobox, lines=[line])
        radius = RADIUS - shift  # an island drawn too large ends towards water
        ring = left_of_land(island(geobox, radius).exterior)
        shape = {
            "water": sea(geobox, radius),
            "land": island(geobox, radius),
            "line": ring,
            "line back": ring.reverse(),
        }[kind]
        truth = write_shapes(tmp_path / "t.fgb", [shape], geobox.crs.proj)
        options = {"water": False} if kind == "land" else {}
        scores = evaluate(result, truth, **options)
        a, b = (np.hypot(*axis) for axis in zip(*_pixel_sides(geobox), strict=True))
        within = 0.01 if abs(a / b - 1) < 0.02 else 0.1
        assert_moved_by(scores["lines"], shift, within=within)
        assert (scores["pixels"] is None) == ("line" in kind)

    def test_metres_are_true_metres(self, tmp_path) -> None:
        # At 70° north a Mercator "metre" is a third of one.
        geobox = GRIDS["Mercator at 70° north"]
        line = left_of_land(island(geobox, RADIUS).exterior)
        record = write_result(tmp_path / "out", disc_mask(geobox, RADIUS), geobox, lines=[line])
        truth = write_shapes(tmp_path / "t.fgb", [sea(geobox, RADIUS - 1)], geobox.crs.proj)
        lines = evaluate(record, truth)["lines"]
        latitude = np.degrees(2 * np.arctan(np.exp(11e6 / 6_378_137)) - np.pi / 2)
        scale = np.cos(np.radians(latitude))
        assert lines["pixel_m"] == pytest.approx(10 * scale, rel=5e-3)
        assert lines["predicted"]["metres"]["mean_signed"] == pytest.approx(10 * scale, rel=1e-2)

    def test_a_reference_in_another_crs_lies_where_it_lies(self, tmp_path) -> None:
        record = write_result(
            tmp_path / "out", disc_mask(UTM, RADIUS), UTM,
            lines=[left_of_land(island(UTM, RADIUS).exterior)],
        )  # fmt: skip
        # A coast of few long edges, straight in UTM: bent in degrees if only its ends were moved.
        frame = geopandas.GeoDataFrame(geometry=[sea(UTM, RADIUS - SHIFT)], crs=UTM.crs.proj)
        for crs in (4326, 3857, 3035):
            frame.to_crs(crs).to_file(tmp_path / f"{crs}.fgb", driver="FlatGeobuf")
            scores = evaluate(record, tmp_path / f"{crs}.fgb")
            assert_moved_by(scores["lines"], SHIFT, within=0.002)

    def test_long_edges_that_are_straight_in_degrees_are_bent_on_the_grid(self, tmp_path) -> None:
        # A parallel of latitude, 40 km long, drawn with two vertices.
        geobox = GeoBox((60, 4000), Affine(10, 0, 300_000, 0, -10, 5_400_000), "EPSG:32630")
        lon = np.linspace(-5.9, -4.9, 2001)
        parallel = shapely.LineString(np.column_stack((lon, np.full_like(lon, 48.70))))
        drawn = geopandas.GeoSeries([parallel], crs=4326).to_crs(32630)
        left, _, right, _ = drawn.total_bounds
        y = float(np.mean(drawn.get_coordinates()["y"]))
        geobox = GeoBox(
            (120, 4000), Affine(10, 0, (left + right) / 2 - 20_000, 0, -10, y + 600), "EPSG:32630"
        )
        record = write_result(
            tmp_path / "out", np.ones((120, 4000), np.uint8), geobox, lines=[drawn.iloc[0]]
        )
        two = shapely.LineString([(-5.9, 48.70), (-4.9, 48.70)])
        truth = write_shapes(tmp_path / "t.fgb", [two], 4326)
        predicted = evaluate(record, truth)["lines"]["predicted"]
        assert predicted["points"] > 2000
        assert predicted["metres"]["p95"] < 0.01

    @pytest.mark.parametrize("factor", [1, 2, 5])
    def test_a_raster_gives_its_outline_on_its_own_grid(self, tmp_path, factor) -> None:
        record = write_result(
            tmp_path / "out", disc_mask(UTM, RADIUS), UTM,
            lines=[left_of_land(island(UTM, RADIUS).exterior)],
        )  # fmt: skip
        fine = GeoBox((60 * factor, 80 * factor), UTM.transform @ Affine.scale(1 / factor), UTM.crs)
        truth = write_raster(
            tmp_path / "t.tif", disc_mask(fine, (RADIUS - SHIFT) * factor), fine
        )  # fmt: skip
        lines = evaluate(record, truth)["lines"]
        assert lines["side_from"] == "reference"
        # Stairs of a pixel of its own are what a raster of classes knows of a line.
        assert_moved_by(lines, SHIFT, within=0.1 / factor + 0.02)

    def test_the_outline_of_a_raster_is_directed_whichever_way_its_rows_run(
        self, tmp_path, geobox
    ) -> None:
        line = left_of_land(island(geobox, RADIUS).exterior)
        record = write_result(tmp_path / "out", disc_mask(geobox, RADIUS), geobox, lines=[line])
        truth = write_raster(tmp_path / "t.tif", disc_mask(geobox, RADIUS - 2), geobox)
        lines = evaluate(record, truth)["lines"]
        assert lines["side_from"] == "reference"
        assert lines["predicted"]["pixels"]["mean_signed"] == pytest.approx(2, abs=0.2)

    def test_lines_do_not_depend_on_the_blocks(self, tmp_path, monkeypatch) -> None:
        ours = write_raster(tmp_path / "mask.tif", disc_mask(UTM, RADIUS), UTM)
        truth = write_raster(tmp_path / "truth.tif", disc_mask(UTM, RADIUS - 2), UTM)
        whole = evaluate(ours, truth)
        monkeypatch.setattr(comparison, "BLOCK", 8)
        assert evaluate(ours, truth) == whole

    def test_a_mask_alone_is_traced_and_so_is_that_of_others(self, tmp_path, geobox) -> None:
        mask = disc_mask(geobox, RADIUS)
        other = np.where(mask == 1, 255, 0).astype(np.uint8)
        ours = write_raster(tmp_path / "mask.tif", mask, geobox)
        theirs = write_raster(tmp_path / "other.tif", other, geobox, nodata=None)
        truth = write_shapes(tmp_path / "t.fgb", [sea(geobox, RADIUS - 1.5)], geobox.crs.proj)
        scores = evaluate(ours, truth)
        assert scores["lines"]["predicted"]["pixels"]["mean_signed"] == pytest.approx(1.5, abs=0.1)
        again = evaluate(theirs, truth, mask_values="0=land,255=water")
        assert again["lines"]["predicted"] == scores["lines"]["predicted"]
        assert again["pixels"] == scores["pixels"]

    def test_unmatched_length_is_kept_apart_both_ways(self, tmp_path) -> None:
        mask, true = np.zeros((60, 80), np.uint8), np.zeros((60, 80), np.uint8)
        mask[:, 40:], true[:, 40:] = 1, 1
        mask[20:30, 5:15] = 1  # a lake that is none
        true[40:46, 60:66] = 0  # an island that is missed
        ours = write_raster(tmp_path / "mask.tif", mask, UTM)
        truth = write_raster(tmp_path / "truth.tif", true, UTM)
        lines = evaluate(ours, truth)["lines"]
        # Corners are cut by half a pixel: a side and a corner fewer, √½ of a pixel more.
        lake, missed = 4 * 9 + 4 * 0.5**0.5, 4 * 5 + 4 * 0.5**0.5
        assert lines["predicted"]["unmatched_m"] == pytest.approx(10 * lake, rel=0.01)
        assert lines["missed"]["unmatched_m"] == pytest.approx(10 * missed, rel=0.01)
        assert lines["predicted"]["matched_m"] == pytest.approx(580, abs=12)
        assert lines["predicted"]["metres"]["p95"] == pytest.approx(0, abs=1e-6)

    def test_an_area_and_lines_are_taken_each_for_what_they_are(self, tmp_path) -> None:
        ring = left_of_land(island(UTM, RADIUS).exterior)
        record = write_result(tmp_path / "out", disc_mask(UTM, RADIUS), UTM, lines=[ring])
        area = write_shapes(tmp_path / "a.fgb", [sea(UTM, RADIUS)], UTM.crs.proj)
        line = left_of_land(island(UTM, RADIUS - 1).exterior)
        lines = write_shapes(tmp_path / "l.fgb", [line], UTM.crs.proj)
        scores = evaluate(record, area, lines)
        assert scores["pixels"]["per_class"]["land"]["iou"] > 0.98
        assert_moved_by(scores["lines"], 1)
        assert scores["lines"]["reference"] == [str(lines)]
        with pytest.raises(LabelError, match="are both areas"):
            evaluate(record, area, area)


def _pixel_sides(geobox: GeoBox) -> tuple[tuple[float, float], tuple[float, float]]:
    """Ground vectors of a step to the next column and to the next row, in metres."""
    t = geobox.transform
    if geobox.crs.geographic:
        wide = 111_320 * np.cos(np.radians(t.f))
        return (t.a * wide, t.b * wide), (t.d * 110_574, t.e * 110_574)
    return (t.a, t.b), (t.d, t.e)


class TestWhatIsNoCoast:
    def test_borders_nodata_and_extents_of_a_reference_are_not(self, tmp_path) -> None:
        mask = np.ones((60, 80), np.uint8)
        mask[:, :20] = 255
        ours = write_raster(tmp_path / "mask.tif", mask, UTM)
        left, bottom, right, top = UTM.boundingbox
        for number, box in enumerate(
            [
                (left, bottom, right, top),  # cut at the scene
                (left - 1000, bottom - 1000, right + 1000, top + 1000),
                (left + 300, bottom + 200, right - 200, top - 200),  # a box of its author's
            ]
        ):
            truth = write_shapes(tmp_path / f"{number}.fgb", [shapely.box(*box)], UTM.crs.proj)
            lines = evaluate(ours, truth)["lines"]
            assert lines["predicted"]["matched_m"] == lines["predicted"]["unmatched_m"] == 0
            assert lines["missed"]["unmatched_m"] == 0, box

    def test_a_line_beside_the_border_does_not_match_the_border(self, tmp_path) -> None:
        mask = np.ones((60, 80), np.uint8)
        mask[:, 77:] = 0  # a coast three pixels from where the reference was cut
        ours = write_raster(tmp_path / "mask.tif", mask, UTM)
        left, bottom, right, top = UTM.boundingbox
        cut = shapely.box(left - 500, bottom, right, top)
        elsewhere = shapely.box(right + 5000, bottom, right + 6000, top)
        truth = write_shapes(tmp_path / "t.fgb", [cut, elsewhere], UTM.crs.proj)
        lines = evaluate(ours, truth)["lines"]
        assert lines["predicted"]["matched_m"] == 0
        assert lines["predicted"]["unmatched_m"] == pytest.approx(580, abs=12)

    def test_edges_on_the_authors_extents_inside_the_scene_are_said(self, tmp_path, caplog) -> None:
        ours = write_raster(tmp_path / "mask.tif", np.ones((60, 80), np.uint8), UTM)
        left, bottom, right, top = UTM.boundingbox
        inner = shapely.box(left + 300, bottom + 200, right - 200, top - 200)
        with caplog.at_level("INFO", logger="geounet"):
            evaluate(ours, write_shapes(tmp_path / "whole.fgb", [UTM.extent.geom], UTM.crs.proj))
            assert not caplog.records
            evaluate(ours, write_shapes(tmp_path / "inner.fgb", [inner], UTM.crs.proj))
        assert "where its author stopped" in caplog.text

    def test_a_raster_reference_ends_without_a_coast(self, tmp_path) -> None:
        ours = write_raster(tmp_path / "mask.tif", np.ones((60, 80), np.uint8), UTM)
        known = np.ones((60, 80), np.uint8)
        known[10:20, 10:20] = 255
        truth = write_raster(tmp_path / "truth.tif", known[:50, :60].copy(), UTM)
        assert evaluate(ours, truth)["lines"]["missed"]["unmatched_m"] == 0

    def test_an_edge_that_two_polygons_share_is_none(self, tmp_path) -> None:
        ours = write_raster(tmp_path / "mask.tif", np.ones((60, 80), np.uint8), UTM)
        left, bottom, right, top = UTM.boundingbox
        middle = (left + right) / 2 + 3
        halves = [
            shapely.box(left - 50, bottom - 50, middle, top + 50),
            shapely.box(middle, bottom - 50, right + 50, top + 50),
        ]
        truth = write_shapes(tmp_path / "t.fgb", halves, UTM.crs.proj)
        assert evaluate(ours, truth)["lines"]["missed"]["unmatched_m"] == 0

    def test_a_line_counts_only_where_both_maps_know_the_ground(self, tmp_path) -> None:
        mask = np.zeros((60, 80), np.uint8)
        mask[:, 40:] = 1
        true = mask.copy()
        mask[:20], true[50:] = 255, 255
        ours = write_raster(tmp_path / "mask.tif", mask, UTM)
        truth = write_raster(tmp_path / "truth.tif", true, UTM)
        lines = evaluate(ours, truth)["lines"]
        for length in (lines["predicted"]["matched_m"], lines["missed"]["matched_m"]):
            assert length == pytest.approx(280, abs=12)  # 30 rows, less one at either end
        assert lines["predicted"]["unmatched_m"] == lines["missed"]["unmatched_m"] == 0


class FakeChips:
    """Stands for a chip folder whose test split is one block of ground."""

    def __init__(self, squares: list) -> None:
        self.squares = squares

    def blocks(self, split: str) -> geopandas.GeoSeries:
        chosen = self.squares if split == "test" else []
        return geopandas.GeoSeries(chosen, crs=UTM.crs.proj).to_crs(6933)


class TestWithin:
    @pytest.fixture
    def half(self, monkeypatch) -> None:
        left, bottom, right, top = UTM.boundingbox
        half = shapely.box(left - 100, bottom - 100, (left + right) / 2, top + 100)
        monkeypatch.setattr("geounet.evaluate.scores.open_chips", lambda _: FakeChips([half]))

    @pytest.mark.usefixtures("half")
    def test_only_ground_of_the_split_counts(self, tmp_path) -> None:
        rng = np.random.default_rng(2)
        predicted, true = (rng.integers(0, 2, (60, 80)).astype(np.uint8) for _ in range(2))
        predicted[:, :3] = 255
        ours = write_raster(tmp_path / "mask.tif", predicted, UTM)
        truth = write_raster(tmp_path / "truth.tif", true, UTM)
        pixels = evaluate(ours, truth, within=Path("chips"))["pixels"]
        assert pixels["confusion"] == counts_by_hand(predicted[:, :40], true[:, :40])
        assert pixels["left_out"]["outside"] == 60 * 40
        assert pixels["left_out"]["prediction_nodata"] == 60 * 3

    @pytest.mark.usefixtures("half")
    def test_lines_elsewhere_are_neither_matched_nor_missed(self, tmp_path) -> None:
        mask = np.zeros((60, 80), np.uint8)
        mask[:, 20:] = 1  # a coast inside, where both agree
        true = mask.copy()
        true[:, 60:] = 0  # and one outside, which is missed
        ours = write_raster(tmp_path / "mask.tif", mask, UTM)
        truth = write_raster(tmp_path / "truth.tif", true, UTM)
        lines = evaluate(ours, truth, within=Path("chips"))["lines"]
        assert lines["missed"]["unmatched_m"] == 0
        assert lines["missed"]["matched_m"] == pytest.approx(580, abs=12)
        assert evaluate(ours, truth)["lines"]["missed"]["unmatched_m"] > 500

    @pytest.mark.usefixtures("half")
    def test_a_split_without_chips_is_refused(self, tmp_path) -> None:
        ours = write_raster(tmp_path / "mask.tif", np.ones((60, 80), np.uint8), UTM)
        with pytest.raises(ChipsError, match="has no chips in split val"):
            evaluate(ours, ours, within=Path("chips"), split="val")

    def test_ground_elsewhere_is_refused(self, tmp_path, monkeypatch) -> None:
        away = shapely.box(600_000, 5_000_000, 610_000, 5_010_000)
        monkeypatch.setattr("geounet.evaluate.scores.open_chips", lambda _: FakeChips([away]))
        ours = write_raster(tmp_path / "mask.tif", np.ones((60, 80), np.uint8), UTM)
        with pytest.raises(ResultError, match="No ground of split test"):
            evaluate(ours, ours, within=Path("chips"))


class TestWhatIsEvaluated:
    @pytest.fixture
    def truth(self, tmp_path) -> Path:
        return write_raster(tmp_path / "truth.tif", disc_mask(UTM, RADIUS), UTM)

    def test_a_folder_its_record_and_its_mask_say_the_same_of_pixels(self, tmp_path, truth) -> None:
        mask = disc_mask(UTM, RADIUS + 2)
        record = write_result(tmp_path / "out", mask, UTM)
        found = [evaluate(path, truth)["pixels"] for path in (record.parent, record)]
        found.append(evaluate(record.with_name("a_mask.tif"), truth)["pixels"])
        assert found[0] == found[1] == found[2]

    def test_of_several_results_one_is_named(self, tmp_path, truth) -> None:
        for name, radius in (("a", RADIUS), ("b", RADIUS + 3)):
            write_result(tmp_path / "out", disc_mask(UTM, radius), UTM, name=name)
        with pytest.raises(ResultError, match=r"several results: a, b\. Say which with --name"):
            evaluate(tmp_path / "out", truth)
        assert evaluate(tmp_path / "out", truth, name="a")["pixels"]["accuracy"] == 1
        assert evaluate(tmp_path / "out", truth, name="b")["pixels"]["accuracy"] < 1
        with pytest.raises(ResultError, match="no result called c"):
            evaluate(tmp_path / "out", truth, name="c")

    def test_scores_beside_a_result_are_not_taken_for_one(self, tmp_path, truth) -> None:
        write_result(tmp_path / "out", disc_mask(UTM, RADIUS), UTM)
        scores = evaluate(tmp_path / "out", truth)
        path = default_scores_path(tmp_path / "out", name=None)
        assert path == tmp_path / "out" / "a.scores.json"
        write_scores(scores, path)
        assert json.loads(path.read_text()) == scores
        assert evaluate(tmp_path / "out", truth) == scores

    def test_scores_are_replaced_only_when_asked(self, tmp_path) -> None:
        (tmp_path / "a.scores.json").write_text("{}")
        with pytest.raises(OutputError, match="--overwrite"):
            check_writable(tmp_path / "a.scores.json", overwrite=False)
        check_writable(tmp_path / "a.scores.json", overwrite=True)

    def test_a_missing_file_of_a_result_and_a_changed_one_are_noticed(
        self, tmp_path, truth, caplog
    ) -> None:
        record = write_result(tmp_path / "out", disc_mask(UTM, RADIUS), UTM)
        write_raster(tmp_path / "out" / "a_mask.tif", disc_mask(UTM, RADIUS + 1), UTM)
        evaluate(record, truth)
        assert "a_mask.tif was changed after it was made" in caplog.text
        (tmp_path / "out" / "a_mask.tif").unlink()
        with pytest.raises(ResultError, match=r"incomplete: a_mask\.tif is not there"):
            evaluate(record, truth)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"{}", "is no record of a result"),
            (b'{"truncated": ', "is no record of a result"),
            (b'{"format": 9, "command": "predict", "files": {}}', "has format 9"),
            (b'{"format": 1, "command": "evaluate", "files": {}}', "of `geounet evaluate`"),
            (b"once upon a time", "neither a result of geounet"),
        ],
    )
    def test_what_is_no_result_is_said_in_one_line(self, tmp_path, truth, content, message) -> None:
        (tmp_path / "x.json").write_bytes(content)
        with pytest.raises(ResultError, match=message) as caught:
            evaluate(tmp_path / "x.json", truth)
        assert "\n" not in str(caught.value)

    def test_bad_input_is_said_with_the_option_that_helps(self, tmp_path, truth) -> None:
        strange = write_raster(
            tmp_path / "strange.tif", np.full((60, 80), 7, np.uint8), UTM, nodata=None
        )
        with pytest.raises(ResultError, match="--mask-values"):
            evaluate(strange, truth)
        with pytest.raises(LabelError, match="--label-values"):
            evaluate(truth, strange)
        with pytest.raises(ResultError, match="not there"):
            evaluate(tmp_path / "nowhere", truth)
        with pytest.raises(LabelError, match=r"reference .*nowhere.* is not there"):
            evaluate(truth, tmp_path / "nowhere.tif")
        (tmp_path / "empty").mkdir()
        with pytest.raises(ResultError, match="holds no result"):
            evaluate(tmp_path / "empty", truth)

    def test_references_elsewhere_are_refused(self, tmp_path, truth) -> None:
        away = shapely.LineString([(600_000, 5e6), (610_000, 5e6)])
        with pytest.raises(LabelError, match=r"does not touch the scene"):
            evaluate(truth, write_shapes(tmp_path / "l.fgb", [away], UTM.crs.proj))
        polygon = shapely.box(600_000, 5e6, 610_000, 5.01e6)
        with pytest.raises(LabelError, match=r"--reference"):
            evaluate(truth, write_shapes(tmp_path / "p.fgb", [polygon], UTM.crs.proj))

    def test_nothing_known_in_common_is_refused(self, tmp_path, truth) -> None:
        blank = write_raster(tmp_path / "mask.tif", np.full((60, 80), 255, np.uint8), UTM)
        with pytest.raises(ResultError, match="4800 prediction nodata"):
            evaluate(blank, truth)

    def test_options_for_areas_do_not_go_with_lines(self, tmp_path, truth) -> None:
        line = shapely.LineString([(500_100, 5_399_500), (500_700, 5_399_800)])
        lines = write_shapes(tmp_path / "l.fgb", [line], UTM.crs.proj)
        with pytest.raises(LabelError, match="has lines"):
            evaluate(truth, lines, water=True)
        area = write_shapes(tmp_path / "a.fgb", [island(UTM, RADIUS)], UTM.crs.proj)
        scores = evaluate(truth, area, lines, water=False)
        assert scores["pixels"]["accuracy"] > 0.99


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.lists(st.tuples(st.floats(-3, 45), st.floats(-3, 45)), max_size=30),
)
def test_points_are_marked_by_the_pixel_they_lie_on(height, width, points) -> None:
    pixels = np.array(points).reshape(-1, 2)
    marked = np.random.default_rng(height).random((height, width)) < 0.5
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "BLOCK", 7)
        flags = PointFlags(pixels, (height, width))
        windows = comparison.plan_windows(height, width, core=7, halo=0)
        for number, window in enumerate(windows):
            flags.fill(number, window.core, marked[window.core.toslices()])
    expected = [
        0 <= col < width and 0 <= row < height and bool(marked[int(row), int(col)])
        for col, row in pixels
    ]
    assert flags.flags.tolist() == expected


def test_a_traced_boundary_is_that_of_the_raster() -> None:
    class Known:
        classes = LAND_WATER

        def read(self, geobox: GeoBox) -> np.ndarray:
            rows = round((UTM.transform.f - geobox.transform.f) / 10)
            return disc_mask(UTM, RADIUS)[rows : rows + geobox.shape[0]]

    pieces = trace_boundary(Known(), UTM, frozenset({1}))
    area = shapely.Polygon(pieces.start).area
    assert area == pytest.approx((disc_mask(UTM, RADIUS) == 0).sum() * 100, rel=0.01)
    assert shapely.LinearRing(pieces.start).is_ccw, "land is on the left"
