"""The coastline of rasters that other programs made, and of our own."""

import json
import logging
import re
import zipfile
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from contouring import UTM, contour, make_products, rough_field, write_raster
from odc.geo.geobox import GeoBox
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from scipy.special import logit

from geounet import drawing
from geounet.any_raster import AnyRaster, RasterOptions
from geounet.drawing import DrawSettings, draw_coastline
from geounet.errors import AreaError, ConfigError, OutputError, SceneError
from geounet.formats import VectorOptions
from geounet.ground import Ground
from geounet.line_options import LineOptions
from geounet.scene import CloudOptions

SHAPE = (40, 60)


@pytest.fixture(scope="module")
def values():
    field = rough_field(np.random.default_rng(3), SHAPE, smooth=2, nodata=0.01)
    return np.clip(field, 0.001, 0.999).astype(np.float32)


def draw(path: Path, level=None, *, vectors=VectorOptions(), **said) -> Path:  # noqa: B008
    """Draw the coastline of a raster, and return the folder."""
    out = path.parent / "out"
    settings = DrawSettings(level=level, vectors=vectors, overwrite=True)
    record = draw_coastline(path, out, settings, RasterOptions(**said))
    assert record == out / f"{path.stem}.json"
    return out


def layer(out: Path, name="coastline") -> geopandas.GeoDataFrame:
    (path,) = out.glob("*.gpkg")
    return geopandas.read_file(path, layer=name)


def record_of(out: Path) -> dict:
    (path,) = (p for p in out.glob("*.json") if "settings" in json.loads(p.read_text()))
    return json.loads(path.read_text())


def log_odds(probability):
    return logit(np.clip(probability.astype(np.float64), 1e-4, 1 - 1e-4))


def on_ground(values, level, convert=None):
    """Lines and areas of an array, contoured whole."""
    ground = Ground(GeoBox(values.shape, UTM, "EPSG:32630"))
    found = contour(values.astype(np.float64) if convert is None else convert(values), level=level)
    return ground.place(found.lines), ground.place(found.areas)


def same(shapes, expected) -> bool:
    found = np.asarray(shapes)
    return len(found) == len(expected) and bool(
        shapely.equals_exact(found, expected, tolerance=1e-3).all()
    )


def test_a_probability_is_contoured_at_a_half(tmp_path, values) -> None:
    out = draw(write_raster(tmp_path / "p.tif", values[None], nodata=np.nan))
    lines, areas = on_ground(values, 0, log_odds)
    assert same(layer(out).geometry.array, lines)
    assert same(layer(out, "water").geometry.array, areas)
    names = {p.name for p in out.iterdir()}
    assert names == {
        "p.gpkg", "p.json", "p.qgz", "p_mask.qml", "p_mask.tif", "p_mask.tif.aux.xml",
        "p_probability.qml", "p_probability.tif",
    }  # fmt: skip
    assert set(record_of(out)["files"]) == names - {"p.json"}
    assert record_of(out)["raster"]["quantity"] == "probability"
    with rasterio.open(out / "p_mask.tif") as mask:
        expected = np.where(np.isnan(values), 255, values >= 0.5)
        np.testing.assert_array_equal(mask.read(1), expected)


@pytest.mark.parametrize("dtype", ["int16", "float32", "float64"])
def test_an_index_is_contoured_at_its_level_in_its_unit(tmp_path, values, dtype) -> None:
    stored = np.where(np.isnan(values), -9999, np.rint((values - 0.5) * 8000)).astype(dtype)
    path = write_raster(tmp_path / "index.tif", stored[None], nodata=-9999)
    out = draw(path, 400.0)
    known = np.where(np.isnan(values), np.nan, stored.astype(float))
    assert same(layer(out).geometry.array, on_ground(known, 400)[0])
    assert set(layer(out)["level"]) == {400.0}
    assert layer(out)["edge_width_m"].isna().all()
    with rasterio.open(out / "index_index.tif") as src:
        np.testing.assert_array_equal(src.read(1), known.astype(np.float32))


def test_scale_and_offset_are_honoured(tmp_path, values) -> None:
    stored = np.where(np.isnan(values), 65535, np.rint(values * 1e4)).astype(np.uint16)
    path = write_raster(tmp_path / "scaled.tif", stored[None], nodata=65535)
    with rasterio.open(path, "r+") as dst:
        dst.scales, dst.offsets = [2e-4], [-1.0]
    out = draw(path, 0.1)
    assert record_of(out)["raster"]["quantity"] == "index"
    known = np.where(np.isnan(values), np.nan, stored * 2e-4 - 1)
    assert same(layer(out).geometry.array, on_ground(known.astype(np.float32), 0.1)[0])
    with rasterio.open(path, "r+") as dst:
        dst.scales, dst.offsets = [1e-4], [0.0]
    again = draw(path)
    assert record_of(again)["raster"]["quantity"] == "probability"


def test_a_mask_is_contoured_along_the_edges_of_its_pixels(tmp_path) -> None:
    mask = np.zeros((30, 30), np.uint8)
    mask[:, 12:] = 1
    mask[0, :] = 255
    out = draw(write_raster(tmp_path / "m.tif", mask[None], nodata=255))
    (line,) = layer(out).geometry
    xs, ys = shapely.get_coordinates(line).T
    np.testing.assert_allclose(xs, 500_000 + 12 * 10, atol=1e-4)
    assert (ys.min(), ys.max()) == (4_500_000 - 300, 4_500_000 - 10)
    # Land is on the left: in the west, so the line runs north.
    assert ys[0] < ys[-1]
    assert {p.name for p in out.glob("*.tif")} == {"m_mask.tif"}


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_all_masks_of_noughts_and_ones_are_the_same(tmp_path, values, dtype) -> None:
    mask = (values > 0.5).astype(dtype)
    out = draw(write_raster(tmp_path / "m.tif", mask[None]))
    assert record_of(out)["raster"]["quantity"] == "mask"
    assert same(layer(out).geometry.array, on_ground(mask.astype(np.float32), 0.5)[0])


def test_classes_that_are_water_can_be_named(tmp_path, values) -> None:
    classes = np.digitize(np.nan_to_num(values), [0.3, 0.5, 0.7]).astype(np.uint8)
    path = write_raster(tmp_path / "classes.tif", classes[None])
    expected = on_ground(np.isin(classes, (1, 3)).astype(np.float32), 0.5)[0]
    assert same(layer(draw(path, water="1,3")).geometry.array, expected)
    Path(f"{path}.aux.xml").write_text(
        '<PAMDataset><PAMRasterBand band="1"><CategoryNames><Category>sand</Category>'
        "<Category>Lagoon</Category><Category>rock</Category><Category>open sea</Category>"
        "</CategoryNames></PAMRasterBand></PAMDataset>"
    )
    assert same(layer(draw(path, water="lagoon,Open Sea")).geometry.array, expected)
    with pytest.raises(SceneError, match=r"--water surf is neither .* classes sand, lagoon"):
        draw(path, water="surf")


def test_high_values_can_mean_land(tmp_path, values) -> None:
    lines = layer(draw(write_raster(tmp_path / "a" / "p.tif", values[None]), 0.3))
    path = write_raster(tmp_path / "b" / "p.tif", 1 - values[None])
    inverted = layer(draw(path, 0.7, invert=True))
    assert same(inverted.geometry.array, lines.geometry.array)
    index = write_raster(tmp_path / "c" / "i.tif", -30 * values[None])
    found = draw(index, -9.0, quantity="index", invert=True)
    assert same(layer(found).geometry.array, on_ground(30 * values, 9)[0])
    mask = write_raster(tmp_path / "d" / "m.tif", (values <= 0.5)[None].astype(np.uint8))
    found = draw(mask, invert=True)
    assert same(layer(found).geometry.array, on_ground((~(values <= 0.5)).astype(float), 0.5)[0])


def test_otsu_divides_an_index_of_any_unit_as_it_does_ndwi(tmp_path) -> None:
    rng = np.random.default_rng(2)
    ndwi = np.where(np.arange(60) < 25, -0.4, 0.3) + rng.normal(0, 0.05, SHAPE)
    level = record_of(draw(write_raster(tmp_path / "a" / "i.tif", ndwi[None])))["level"]
    assert -0.3 < level < 0.2
    # In other units, and with a few wild pixels that would leave all others in one bin.
    wild = 250 * ndwi + 1000
    wild[0, :2] = 1e9, -1e12
    out = draw(write_raster(tmp_path / "b" / "i.tif", wild[None]))
    assert record_of(out)["level"] == pytest.approx(250 * level + 1000, abs=25)
    assert len(layer(out)) < 4


def test_an_index_without_two_peaks_is_warned_of(tmp_path) -> None:
    flat = np.random.default_rng(2).normal(5, 2, SHAPE)
    notes = record_of(draw(write_raster(tmp_path / "i.tif", flat[None])))["notes"]
    assert any("no two clear peaks" in note and "another --level" in note for note in notes)


def test_what_a_raster_is_taken_for_is_said(tmp_path, values, caplog) -> None:
    path = write_raster(tmp_path / "p.tif", values[None] * 2)
    with caplog.at_level(logging.WARNING):
        out = draw(path, quantity=None)
    assert "are taken for an index that is higher over water; --quantity says" in caplog.text
    assert any("taken for an index" in note for note in record_of(out)["notes"])
    caplog.clear()
    draw(path, quantity="index")
    assert "taken for" not in caplog.text


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_our_own_probability_gives_the_line_that_was_drawn_of_it(tmp_path, values, dtype) -> None:
    # Sure where it is sure, as a network is: there the steps say least.
    odds = np.log(values / (1 - values)) * 3
    sure = (1 / (1 + np.exp(-odds))).astype(np.float32)
    first = make_products(tmp_path / "first", sure, dtype=dtype)
    out = draw_coastline(first / "coast_probability.tif", tmp_path / "second").parent
    ours, theirs = layer(first), layer(out)
    record = record_of(out)
    assert record["raster"]["quantity"] == "probability"
    assert record["notes"] == []
    if dtype == "float32":
        assert shapely.equals_identical(ours.geometry.array, theirs.geometry.array).all()
    else:
        # A step of 1/253 is two percent of a pixel where the edge is, and more where it is sharp.
        points = shapely.points(shapely.get_coordinates(theirs.geometry.array))
        apart = shapely.distance(points, shapely.union_all(ours.geometry.array))
        assert np.quantile(apart, 0.95) < 0.5
        assert apart.max() < 3
    with (
        rasterio.open(first / "coast_probability.tif") as one,
        rasterio.open(out / "coast_probability_probability.tif") as other,
    ):
        np.testing.assert_array_equal(one.read(), other.read())
        assert one.scales == other.scales
    with (
        rasterio.open(first / "coast_mask.tif") as one,
        rasterio.open(out / "coast_probability_mask.tif") as other,
    ):
        np.testing.assert_array_equal(one.read(), other.read())


def test_our_own_mask_and_index_are_known_for_what_they_are(tmp_path, values) -> None:
    first = make_products(tmp_path / "first", values * 4 - 2, quantity="index", level=0.4)
    mask = draw_coastline(first / "coast_mask.tif", tmp_path / "mask").parent
    index = draw_coastline(
        first / "coast_index.tif", tmp_path / "index", DrawSettings(level=0.4)
    ).parent
    assert record_of(mask)["notes"] == record_of(index)["notes"] == []
    assert shapely.equals_identical(layer(index).geometry.array, layer(first).geometry.array).all()
    ours = np.where(np.isnan(values), np.nan, (values * 4 - 2) >= 0.4)
    assert same(layer(mask).geometry.array, on_ground(ours, 0.5)[0])


@pytest.mark.parametrize("largest", [1, 3e4, 2e6, 1e12, 1e37])
@pytest.mark.parametrize("nodata", [None, -32768, -3.4e38])
def test_areas_are_valid_whatever_the_unit_of_an_index(tmp_path, largest, nodata) -> None:
    field = rough_field(np.random.default_rng(0), (50, 50), smooth=1) - 0.5
    steps = np.round(field * 20) / 20 * largest  # many are at the level
    if nodata is not None:
        steps[::7, ::5] = nodata  # and nobody says so
    path = write_raster(tmp_path / "dem.tif", steps[None].astype(np.float32))
    settings = DrawSettings(level=0.0, lines=LineOptions(land=True))
    draw_coastline(path, tmp_path / "out", settings, RasterOptions(quantity="index"))
    lines, *areas = (
        layer(tmp_path / "out", name).geometry.array for name in ("coastline", "water", "land")
    )
    both = np.concatenate(areas)
    assert shapely.is_valid(both).all()
    assert shapely.coverage_is_valid(both)
    assert shapely.area(both).sum() == pytest.approx(50 * 50 * 100, rel=1e-9)
    assert shapely.is_simple(np.asarray(lines)).all()


def test_lines_do_not_depend_on_the_unit_of_an_index(tmp_path, values) -> None:
    found = {}
    for unit in (2.0**-40, 1.0, 2.0**40):
        index = (values.astype(np.float64) - 0.25) * unit
        path = write_raster(tmp_path / f"{unit}" / "i.tif", index[None].astype(np.float32))
        draw(path, 0.125 * unit, quantity="index")
        found[unit] = np.asarray(layer(path.parent / "out").geometry)
    assert same(found[2.0**-40], found[1.0])
    assert same(found[2.0**40], found[1.0])


def test_the_time_is_the_files_or_given_or_null(tmp_path, values) -> None:
    path = write_raster(tmp_path / "p.tif", values[None])
    assert layer(draw(path))["time"].isna().all()
    with rasterio.open(path, "r+") as dst:
        dst.update_tags(TIFFTAG_DATETIME="2024:01:01 00:00:00")
    assert layer(draw(path))["time"].isna().all()
    with rasterio.open(path, "r+") as dst:
        dst.update_tags(ns="IMAGERY", ACQUISITIONDATETIME="2021-06-01T10:11:12Z")
    assert {str(t) for t in layer(draw(path))["time"]} == {"2021-06-01 10:11:12+00:00"}
    options = RasterOptions.from_text(time="2020-02-02T12:00:00+02:00", nodata=None)
    assert {str(t) for t in layer(draw(path, time=options.time))["time"]} == {
        "2020-02-02 10:00:00+00:00"
    }


def test_the_datasets_mask_an_alpha_band_and_nodata_are_no_coast(tmp_path, values) -> None:
    hidden = np.zeros(SHAPE, bool)
    hidden[:, :20] = True
    expected = on_ground(np.where(hidden, np.nan, values), 0, log_odds)[0]
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        masked = write_raster(tmp_path / "masked.tif", values[None])
        with rasterio.open(masked, "r+") as dst:
            dst.write_mask(~hidden)
    filled = np.where(np.isnan(values), 0.2, values)
    filled_lines = on_ground(np.where(hidden, np.nan, filled), 0, log_odds)[0]
    alpha = np.stack([filled, np.where(hidden, 0, 255)]).astype(np.float32)
    with_alpha = write_raster(tmp_path / "alpha.tif", alpha)
    with rasterio.open(with_alpha, "r+") as dst:
        dst.colorinterp = [ColorInterp.gray, ColorInterp.alpha]
    said = write_raster(tmp_path / "said.tif", np.where(hidden, -1, filled)[None])
    assert same(layer(draw_to(masked)).geometry.array, expected)
    assert same(layer(draw_to(with_alpha)).geometry.array, filled_lines)
    assert same(layer(draw_to(said, nodata=-1.0)).geometry.array, filled_lines)


def draw_to(path: Path, **said) -> Path:
    """Draw into a folder of its own."""
    out = path.parent / f"out_{path.stem}"
    return draw_coastline(path, out, DrawSettings(), RasterOptions(**said)).parent


def test_a_band_can_be_chosen(tmp_path, values) -> None:
    two = np.stack([np.zeros(SHAPE, np.float32), values])
    path = write_raster(tmp_path / "two.tif", two)
    with pytest.raises(SceneError, match=r"has 2 bands: 1, 2\. Say with --band"):
        draw(path)
    with pytest.raises(SceneError, match="has no band 3; it has 2"):
        draw(path, band=3)
    assert same(layer(draw(path, band=2)).geometry.array, on_ground(values, 0, log_odds)[0])


@pytest.mark.parametrize("level", [-5.0, 7.0])
def test_a_level_outside_of_the_values_draws_nothing_and_says_so(tmp_path, values, level) -> None:
    path = write_raster(tmp_path / "i.tif", values[None])
    out = draw(path, level, quantity="index")
    notes = " ".join(record_of(out)["notes"])
    assert f"--level {level:g} lies outside of its values 0.001 to 0.999" in notes
    assert "so no coastline is drawn" in notes
    assert len(layer(out)) == 0
    assert layer(out).crs.to_epsg() == 32630


UINT8 = np.array([[[0, 255], [255, 0]]], np.uint8)


@pytest.mark.parametrize(
    ("values", "profile", "said", "complaint"),
    [
        (UINT8 / 255, {"crs": None}, {}, "has no CRS, so nobody knows where it lies"),
        (UINT8 / 255, {"transform": Affine.identity()}, {}, "has no geotransform"),
        (UINT8 / 255, {"crs": 'LOCAL_CS["site",UNIT["metre",1]]'}, {}, "not tied to the Earth"),
        (UINT8, {}, {}, "has values 0, 255. Say which of them are water"),
        (UINT8, {}, {"water": "7"}, "has no pixel of --water 7; it has values 0, 255"),
        (UINT8, {}, {"water": "255", "quantity": "index"}, "--quantity says index"),
        (UINT8, {}, {"quantity": "probability"}, "has values 0, 255, and probabilities are 0 to 1"),
        (UINT8 * np.nan, {}, {}, "has no valid pixel"),
        (UINT8 * 0.0 + 3, {}, {"quantity": "index"}, "has the same value everywhere, 3"),
        (UINT8 * 1j, {}, {}, "has complex values"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_rasters_that_will_not_do_are_refused_in_one_line(
    tmp_path, values, profile, said, complaint
) -> None:
    values = values.astype(np.float32) if values.dtype == np.float64 else values
    path = write_raster(tmp_path / "r.tif", values, **profile)
    with pytest.raises(SceneError, match=complaint) as error:
        draw(path, **said)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_raster_with_control_points_alone_is_told_what_to_do(tmp_path) -> None:
    path = write_raster(tmp_path / "r.tif", UINT8 / 255.0, crs=None, transform=None)
    with rasterio.open(path, "r+") as src:
        corners = [(0, 0), (0, 2), (2, 0)]
        points = [GroundControlPoint(row, col, 10.0 + col, 50.0 - row) for row, col in corners]
        src.gcps = points, CRS.from_epsg(4326)
    with pytest.raises(SceneError, match="gdalwarp"):
        draw(path)


@pytest.mark.parametrize("value", [-9999.0, float(np.finfo(np.float32).min)])
def test_nodata_that_nobody_declared_is_warned_of(tmp_path, values, value, caplog) -> None:
    plain = np.where(np.isfinite(values), values, value).astype(np.float32)
    path = write_raster(tmp_path / "i.tif", plain[None])
    draw(path, quantity="index")
    found = re.search(r"often means no data; if it does here, say --nodata (\S+)", caplog.text)
    assert found
    caplog.clear()
    out = draw(path, 0.5, quantity="index", nodata=float(found[1]))
    assert "no data" not in caplog.text
    assert same(layer(out).geometry, on_ground(values, 0.5)[0])


def test_classes_with_colours_are_no_index(tmp_path) -> None:
    path = write_raster(tmp_path / "c.tif", np.tile(np.arange(3, dtype=np.uint8), (1, 9, 4)))
    with rasterio.open(path, "r+") as dst:
        dst.colorinterp = [ColorInterp.palette]
        dst.write_colormap(1, {0: (0, 0, 0), 1: (90, 90, 0), 2: (0, 0, 255)})
    with pytest.raises(SceneError, match="Say which of them are water"):
        draw(path)
    assert len(layer(draw(path, water="2"))) > 0


def test_otsu_divides_an_index_that_hardly_varies(tmp_path, values) -> None:
    small = np.where(values > 0.5, 2e-5, 1e-5).astype(np.float32)
    out = draw(write_raster(tmp_path / "i.tif", small[None]), quantity="index")
    assert 1e-5 < record_of(out)["level"] < 2e-5
    assert record_of(out)["raster"]["separability"] == pytest.approx(1)


def test_what_cannot_be_is_said_before_the_raster_is_read(tmp_path, values, monkeypatch) -> None:
    path = write_raster(tmp_path / "p.tif", values[None], nodata=np.nan)
    (tmp_path / "gauge.csv").write_text("time,level_m\n2021-06-01T10:00:00Z,1\n")
    monkeypatch.setattr(AnyRaster, "read", None)
    untimed = LineOptions(water_levels=str(tmp_path / "gauge.csv"), level_datum="MSL")
    with pytest.raises(ConfigError, match="does not say when it was taken"):
        draw_coastline(path, tmp_path / "out", DrawSettings(lines=untimed))
    nowhere = LineOptions(sea=str(tmp_path / "sea.gpkg"))
    with pytest.raises(AreaError, match="neither a file that is there nor a place"):
        draw_coastline(path, tmp_path / "out", DrawSettings(lines=nowhere))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("level", "quantity", "complaint"),
    [
        (1.0, "probability", "--level 1 is no probability between 0 and 1"),
        (0.4, "mask", "is a mask, whose line runs between its pixels: no --level"),
    ],
)
def test_levels_that_a_quantity_has_not_are_refused(tmp_path, level, quantity, complaint) -> None:
    path = write_raster(tmp_path / "r.tif", (UINT8 / 255).astype(np.float32))
    with pytest.raises(SceneError, match=complaint):
        draw(path, level, quantity=quantity)


def test_a_raster_is_not_replaced_by_what_is_drawn_of_it(tmp_path, values) -> None:
    out = draw(write_raster(tmp_path / "p.tif", values[None]))
    with pytest.raises(OutputError, match="is itself a part of the result"):
        draw_coastline(
            out / "p_probability.tif", out, DrawSettings(overwrite=True), RasterOptions(name="p")
        )
    assert (out / "p_probability.tif").exists()


def test_a_raster_inside_an_archive_can_be_drawn_again(tmp_path, values) -> None:
    path = write_raster(tmp_path / "p.tif", values[None])
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        archive.write(path, "p.tif")
    settings = DrawSettings(overwrite=True)
    for _ in range(2):
        record = draw_coastline(f"/vsizip/{tmp_path}/p.zip/p.tif", tmp_path / "out", settings)
    assert record == tmp_path / "out" / "p.json"


def test_the_same_raster_gives_the_same_bytes(tmp_path, values) -> None:
    path = write_raster(tmp_path / "p.tif", values[None])
    vectors = VectorOptions.from_text(["geojson"])
    first, second = (
        draw_coastline(path, tmp_path / name, DrawSettings(vectors=vectors)).parent
        for name in ("one", "two")
    )
    for file in sorted(p.name for p in first.iterdir()):
        if file != "p.json":
            assert (first / file).read_bytes() == (second / file).read_bytes(), file


def test_a_raster_passes_in_blocks(tmp_path, monkeypatch) -> None:
    seen = []
    read = drawing.AnyRaster.read
    monkeypatch.setattr(
        drawing.AnyRaster,
        "read",
        lambda self, window: seen.append((window.height, window.width)) or read(self, window),
    )
    wide = np.tile(np.linspace(0, 1, 600, dtype=np.float32), (1300, 1))
    draw(write_raster(tmp_path / "p.tif", wide[None]))
    assert len(seen) == 3
    assert max(height for height, _ in seen) == 512


def test_clouds_flag_the_line_and_can_be_masked(tmp_path, values) -> None:
    filled = np.where(np.isnan(values), 0.2, values)
    path = write_raster(tmp_path / "p.tif", filled[None])
    cloud = np.zeros((1, *SHAPE), np.uint8)
    cloud[0, :, 40:] = 1
    mask = str(write_raster(tmp_path / "clouds.tif", cloud))
    flagged = draw(path, clouds=CloudOptions(file=mask))
    lines = layer(flagged)
    east = lines.geometry.bounds["minx"] > 500_000 + 45 * 10
    west = lines.geometry.bounds["maxx"] < 500_000 + 30 * 10
    assert east.any()
    assert west.any()
    assert lines["cloud_suspect"][east].all()
    assert not lines["cloud_suspect"][west].any()
    clouds = record_of(flagged)["clouds"]
    assert clouds["share_of_scene"] == pytest.approx(1 / 3)
    masked = draw(path, clouds=CloudOptions(file=mask, mask=True, min_area_m2=0))
    cut = np.where(cloud[0] == 1, np.nan, filled)
    assert layer(masked, "water").area.sum() == pytest.approx(
        shapely.area(on_ground(cut, 0, log_odds)[1]).sum()
    )
    with pytest.raises(SceneError, match="cloud"):
        draw(path, clouds=CloudOptions(mask=True))


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("frame", ["land", "no data", "tilted", "none", "specks"])
def test_a_frame_of_a_class_around_a_mask_is_warned_of(tmp_path, frame, turned) -> None:
    rows, cols = np.mgrid[:700, :600]  # more than a block of 512, whose edge is the frame's
    mask = ((cols - 300) ** 2 + (rows - 200) ** 2 > 150**2).astype(np.uint8)  # a round island
    outside = rows + (cols // 250 if frame == "tilted" else 0) >= 512
    if frame == "specks":
        mask = np.random.default_rng(1).integers(0, 2, mask.shape).astype(np.uint8)
    elif frame != "none":
        mask[outside] = 255 if frame == "no data" else 0
    path = write_raster(tmp_path / "m.tif", (mask.T if turned else mask)[None], nodata=255)
    said = [note for note in record_of(draw(path))["notes"] if "frame" in note]
    assert bool(said) == (frame in {"land", "tilted"})
    if frame == "land":
        assert f"along {'column' if turned else 'row'} 512 over 600 pixels" in said[0]
