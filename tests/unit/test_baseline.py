"""The classical way, against formulas, brute force and a line whose place is known."""

import json
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from odc.geo.geobox import GeoBox

from geounet import baseline
from geounet.baseline import BaselineSettings, baseline_scene, normalised_difference
from geounet.errors import BandError, OutputError, SceneError
from geounet.scene import Pixels, SceneOptions
from geounet.threshold import BINS, TWO_PEAKED, count_values, otsu

GRID = GeoBox((40, 50), Affine(10, 0, 500_000, 0, -10, 5_400_000), "EPSG:32630")


def write_scene(
    path: Path, bands: dict[str, np.ndarray], *, geobox: GeoBox = GRID, sensor: str = "s2"
) -> Path:
    """Write reflectance by band name; NaN is nodata."""
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=geobox.shape[0],
        width=geobox.shape[1],
        count=len(bands),
        dtype="float32",
        crs=geobox.crs,
        transform=geobox.transform,
        nodata=np.nan,
    ) as dst:
        dst.write(np.stack(list(bands.values())).astype(np.float32))
        dst.descriptions = tuple(bands)
        dst.update_tags(sensor=sensor, level="L2A" if sensor == "s2" else "L2")
    return path


def bands_of(index: np.ndarray, other: str = "B08") -> dict[str, np.ndarray]:
    """Two bands whose normalised difference is `index`, and whose mean is 0.1."""
    return {"B03": 0.1 * (1 + index), other: 0.1 * (1 - index)}


def circle(radius: float) -> np.ndarray:
    """An index that is 0 on a circle about the middle of the grid, and rises outward."""
    rows, cols = np.mgrid[:40, :50] + 0.5
    return np.clip((np.hypot(rows - 20, cols - 25) - radius) / 10, -0.95, 0.95)


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as src:
        return src.read(1)


def brute_force_otsu(histogram: np.ndarray) -> tuple[float, float]:
    """Try every edge; return the lowest and the highest that are as good as the best."""
    centres = (np.arange(len(histogram)) + 0.5) * 2 / len(histogram) - 1
    values = np.repeat(centres, histogram)
    found = []
    for number in range(1, len(histogram)):
        low, high = values[: histogram[:number].sum()], values[histogram[:number].sum() :]
        if len(low) and len(high):
            share = len(low) / len(values)
            found.append((share * (1 - share) * (low.mean() - high.mean()) ** 2, number))
    best = max(variance for variance, _ in found)
    edges = [n * 2 / len(histogram) - 1 for v, n in found if v >= best * (1 - 1e-9)]
    return edges[0], edges[-1]


@given(arrays(np.int64, st.integers(2, 40), elements=st.integers(0, 9)))
def test_otsu_is_that_of_brute_force(histogram) -> None:
    if np.count_nonzero(histogram) < 2:
        return
    low, high = brute_force_otsu(histogram)
    assert low - 1e-9 <= otsu(histogram).value <= high + 1e-9


def test_otsu_lies_in_the_middle_of_a_gap() -> None:
    histogram = np.zeros(200, dtype=np.int64)
    histogram[[40, 140]] = 1000, 10
    threshold = otsu(histogram)
    assert threshold.value == pytest.approx((41 + 140) / 2 / 100 - 1)
    assert threshold.separability == pytest.approx(1)


def test_otsu_of_one_peak_is_told_from_otsu_of_two() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(0, 0.1, 100_000).astype(np.float32)
    two = np.concatenate([one - 0.4, one[:20_000] + 0.4])
    single = otsu(count_values(one.clip(-1, 1)))
    double = otsu(count_values(two.clip(-1, 1)))
    assert single.separability == pytest.approx(2 / np.pi, abs=0.01)
    assert single.separability < TWO_PEAKED < double.separability
    assert double.value == pytest.approx(0, abs=0.1)


@given(st.lists(st.floats(-1, 1, width=32), min_size=1))
def test_every_value_is_counted_in_the_bin_it_lies_in(values) -> None:
    counted = count_values(np.array(values, np.float32))
    centres = (np.arange(BINS) + 0.5) * 2 / BINS - 1
    recovered = np.repeat(centres, counted)
    assert recovered == pytest.approx(np.sort(np.array(values)), abs=1 / BINS + 1e-9)


@given(arrays(np.float32, (2, 3, 4), elements=st.floats(-0.125, 1.5, width=32)))
def test_the_index_is_the_normalised_difference_and_stays_in_its_range(values) -> None:
    valid = np.ones((3, 4), dtype=bool)
    valid[0, 0] = False
    index = normalised_difference(Pixels(values, valid))
    first, second = values.clip(0).astype(np.float64)
    defined = valid & (first + second > 0)
    assert (np.isfinite(index) == defined).all()
    expected = (first[defined] - second[defined]) / (first[defined] + second[defined])
    assert index[defined] == pytest.approx(expected, abs=1e-6)
    assert (np.abs(index[defined]) <= 1).all()


def test_dark_water_that_was_corrected_below_zero_stays_water() -> None:
    values = np.array([[[0.02, -0.01]], [[-0.01, -0.02]]], dtype=np.float32)
    index = normalised_difference(Pixels(values, np.ones((1, 2), dtype=bool)))
    assert index[0, 0] == 1
    assert np.isnan(index[0, 1])


class TestScene:
    def test_the_line_lies_where_the_index_crosses_the_threshold(self, tmp_path) -> None:
        scene = write_scene(tmp_path / "s.tif", bands_of(circle(12)))
        baseline_scene(scene, tmp_path / "out", BaselineSettings(threshold=0.0))
        lines = geopandas.read_file(tmp_path / "out" / "s.gpkg", layer="coastline").geometry
        x, y = shapely.get_coordinates(lines.values).T
        radius = np.hypot(x - 500_250, y - 5_399_800) / 10
        assert radius == pytest.approx(12, abs=0.02)
        assert shapely.LinearRing(lines.iloc[0].coords).is_ccw, "land is on the left"

    def test_mask_index_and_nodata_agree(self, tmp_path) -> None:
        bands = bands_of(circle(12))
        bands["B03"][:5] = np.nan
        bands["B08"][:, :3] = np.nan
        bands["B03"][30, 30] = bands["B08"][30, 30] = 0
        scene = write_scene(tmp_path / "s.tif", bands)
        record = json.loads(baseline_scene(scene, tmp_path / "out").read_text())
        index, mask = (read(tmp_path / "out" / f"s_{kind}.tif") for kind in ("index", "mask"))
        unknown = np.isnan(bands["B03"] + bands["B08"])
        unknown[30, 30] = True
        assert (np.isnan(index) == unknown).all()
        assert ((mask == 255) == unknown).all()
        assert (mask[~unknown] == (index[~unknown] >= record["level"])).all()
        assert index[~unknown] == pytest.approx(circle(12)[~unknown], abs=1e-6)
        assert record["baseline"]["undefined_pixels"] == 1
        assert any("1 pixels have no NDWI" in note for note in record["notes"])

    def test_the_threshold_does_not_depend_on_the_windows(self, tmp_path, monkeypatch) -> None:
        scene = write_scene(tmp_path / "s.tif", bands_of(circle(9)))
        whole = json.loads(baseline_scene(scene, tmp_path / "a").read_text())
        monkeypatch.setattr(baseline, "WINDOW", 16)
        parts = json.loads(baseline_scene(scene, tmp_path / "b").read_text())
        assert parts["level"] == whole["level"]
        assert parts["files"] == whole["files"], "the same bytes"
        values = circle(9).astype(np.float32).clip(-1, 1)
        assert whole["level"] == otsu(count_values(values.ravel())).value

    def test_the_record_says_what_was_done(self, tmp_path) -> None:
        scene = write_scene(tmp_path / "s.tif", bands_of(circle(12), "B11"))
        path = baseline_scene(
            scene, tmp_path / "out", BaselineSettings(index="mndwi", threshold=0.1)
        )
        record = json.loads(path.read_text())
        assert path == tmp_path / "out" / "s.json"
        assert record["command"] == "baseline"
        assert record["model"] is None
        assert record["baseline"]["index"] == "mndwi"
        assert record["level"] == record["baseline"]["threshold"] == 0.1
        assert record["bands"] == ["s2:B03", "s2:B11"]
        assert record["scaling"]["scale"] == [1.0, 1.0]
        assert set(record["files"]) >= {"s_mask.tif", "s_index.tif", "s.gpkg", "s.qgz"}

    def test_bands_are_found_by_common_name_of_any_sensor(self, tmp_path) -> None:
        index = circle(12)
        landsat = {"B3": 0.1 * (1 + index), "B5": 0.1 * (1 - index), "B4": np.zeros((40, 50))}
        scene = write_scene(tmp_path / "l.tif", landsat, sensor="l8")
        record = json.loads(baseline_scene(scene, tmp_path / "out").read_text())
        assert record["bands"] == ["l8:B3", "l8:B5"]

    def test_the_narrow_near_infrared_stands_in_aloud(self, tmp_path, caplog) -> None:
        scene = write_scene(tmp_path / "s.tif", bands_of(circle(12), "B8A"))
        record = json.loads(baseline_scene(scene, tmp_path / "out").read_text())
        assert record["bands"] == ["s2:B03", "s2:B8A"]
        assert "has no nir; s2:B8A (nir08) is taken" in caplog.text

    def test_an_index_without_two_peaks_is_warned_of(self, tmp_path, caplog) -> None:
        index = np.random.default_rng(0).normal(0.3, 0.05, (40, 50)).clip(-1, 1)
        scene = write_scene(tmp_path / "s.tif", bands_of(index))
        record = json.loads(baseline_scene(scene, tmp_path / "out").read_text())
        assert "no two clear peaks" in caplog.text
        assert any("no two clear peaks" in note for note in record["notes"])

    def test_integers_become_reflectance_first(self, tmp_path) -> None:
        # With the offset left out, the index of dark pixels would be near 0 everywhere.
        dn = {name: 1000 + 10_000 * band for name, band in bands_of(circle(12)).items()}
        scene = tmp_path / "dn.tif"
        with rasterio.open(
            scene, "w", driver="GTiff", height=40, width=50, count=2, dtype="uint16",
            crs=GRID.crs, transform=GRID.transform, nodata=0,
        ) as dst:  # fmt: skip
            dst.write(np.stack(list(dn.values())).round().astype(np.uint16))
            dst.descriptions = tuple(dn)
        options = SceneOptions(sensor="s2", scale=0.0001, offset=-1000)
        baseline_scene(scene, tmp_path / "out", options=options)
        index = read(tmp_path / "out" / "dn_index.tif")
        assert index == pytest.approx(circle(12), abs=2e-3)


class TestBadInput:
    @pytest.mark.parametrize("index", ["ndwi", "mndwi"])
    def test_a_missing_band_is_named_with_those_there_are(self, tmp_path, index) -> None:
        scene = write_scene(tmp_path / "s.tif", bands_of(circle(9), "B04"))
        with pytest.raises(
            BandError, match=rf"which {index.upper()} needs; it has s2:B03"
        ) as caught:
            baseline_scene(scene, tmp_path / "out", BaselineSettings(index=index))
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "out").exists()

    def test_an_index_that_the_scene_has_bands_for_is_named(self, tmp_path) -> None:
        scene = write_scene(tmp_path / "s.tif", bands_of(circle(9), "B04"))
        with pytest.raises(BandError, match=r"Use a scene that has it\.$"):
            baseline_scene(scene, tmp_path / "out")
        other = write_scene(tmp_path / "t.tif", bands_of(circle(9), "B11"))
        with pytest.raises(BandError, match=r"nir or nir08.*Use --index mndwi, for which"):
            baseline_scene(other, tmp_path / "out")

    def test_a_result_without_a_line_says_so(self, tmp_path, caplog) -> None:
        scene = write_scene(tmp_path / "s.tif", bands_of(circle(9)))
        for threshold, found in ((0.999, "no water found"), (-0.999, "no land found beside water")):
            settings = BaselineSettings(threshold=threshold, overwrite=True)
            record = json.loads(baseline_scene(scene, tmp_path / "out", settings).read_text())
            said = f"{found}, so no coastline is drawn"
            assert said in record["notes"]
            assert said in caplog.text

    def test_a_scene_without_data_is_refused(self, tmp_path) -> None:
        scene = write_scene(tmp_path / "s.tif", bands_of(np.full((40, 50), np.nan)))
        with pytest.raises(SceneError, match="has no valid pixel"):
            baseline_scene(scene, tmp_path / "out")
        assert not (tmp_path / "out").exists(), "nothing is left behind"

    def test_a_constant_index_is_refused_unless_the_threshold_is_given(self, tmp_path) -> None:
        scene = write_scene(tmp_path / "s.tif", bands_of(np.full((40, 50), 0.5)))
        with pytest.raises(SceneError, match=r"same NDWI everywhere, about 0\.5.*--threshold"):
            baseline_scene(scene, tmp_path / "out")
        baseline_scene(scene, tmp_path / "out", BaselineSettings(threshold=0.0))
        assert (read(tmp_path / "out" / "s_mask.tif") == 1).all()

    def test_results_are_replaced_only_when_asked(self, tmp_path) -> None:
        scene = write_scene(tmp_path / "s.tif", bands_of(circle(9)))
        baseline_scene(scene, tmp_path / "out")
        with pytest.raises(OutputError, match="--overwrite"):
            baseline_scene(scene, tmp_path / "out")
        baseline_scene(scene, tmp_path / "out", BaselineSettings(overwrite=True, threshold=0.0))
        assert json.loads((tmp_path / "out" / "s.json").read_text())["level"] == 0

    def test_three_by_three_pixels_will_do(self, tmp_path) -> None:
        index = np.array([[-0.5, -0.5, 0.5]] * 3)
        scene = write_scene(tmp_path / "s.tif", bands_of(index), geobox=GRID[:3, :3])
        baseline_scene(scene, tmp_path / "out")
        assert (read(tmp_path / "out" / "s_mask.tif") == [[0, 0, 1]] * 3).all()
