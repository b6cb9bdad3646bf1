"""What is said of lines, in the layers that are written."""

import geopandas
import numpy as np
import pytest
import shapely
from contouring import make_products, rough_field, write_raster

from geounet.any_raster import RasterOptions
from geounet.drawing import DrawSettings, draw_coastline
from geounet.formats import VectorOptions
from geounet.line_options import LineOptions
from geounet.scene import CloudOptions


@pytest.fixture(scope="module")
def values():
    field = rough_field(np.random.default_rng(3), (50, 60), smooth=1.5, nodata=0.01)
    return np.clip(field, 0.001, 0.999).astype(np.float32)


def read(out, layer, name="coast"):
    return geopandas.read_file(out / f"{name}.gpkg", layer=layer)


def same(one, other):
    return len(one) == len(other) and bool((one.geometry.values == other.geometry.values).all())


def test_short_lines_and_rings_are_left_out_and_areas_keep_their_edges(tmp_path, values) -> None:
    plain = make_products(tmp_path / "plain", values)
    lines = read(plain, "coastline")
    limit = float(np.sort(lines.length_m)[len(lines) // 2])  # one of them is exactly as long
    out = make_products(tmp_path / "long", values, lines=LineOptions(min_length_m=limit))
    kept = read(out, "coastline")
    assert same(kept, lines[lines.length_m >= limit].reset_index(drop=True))
    assert 0 < len(kept) < len(lines)
    assert kept.length_m.min() == limit
    assert same(read(out, "water"), read(plain, "water"))


def test_a_line_that_clouds_cut_is_as_long_as_it_was(tmp_path) -> None:
    row, col = np.indices((40, 60))
    island = 1 / (1 + np.exp(-(np.hypot(row - 20, col - 30) - 12)))
    cloud = ((col // 4) % 2).astype(np.uint8)
    path = write_raster(tmp_path / "p.tif", island[None].astype(np.float32))
    mask = write_raster(tmp_path / "cloud.tif", cloud[None])
    settings = DrawSettings(lines=LineOptions(min_length_m=600))  # of 750 m around
    options = RasterOptions(quantity="probability", clouds=CloudOptions(file=str(mask)))
    draw_coastline(path, tmp_path / "out", settings, options)
    pieces = read(tmp_path / "out", "coastline", "p")
    assert pieces.length_m.max() < 600 < pieces.length_m.sum()
    assert shapely.line_merge(shapely.union_all(pieces.geometry.array)).is_closed


def test_when_all_are_short_that_is_said(tmp_path, values, caplog) -> None:
    out = make_products(tmp_path, values, lines=LineOptions(min_length_m=1e6))
    assert "all lines are shorter than 1e+06 m" in caplog.text
    assert not len(read(out, "coastline"))
    assert len(read(out, "water"))


def test_how_sure_a_line_is_belongs_to_the_level_it_was_measured_at(tmp_path, values) -> None:
    at_mask = read(make_products(tmp_path / "one", values), "coastline")
    assert set(at_mask.position_u95_m) == {4.5}
    of_another_mask = read(make_products(tmp_path / "mask", values, level=0.3), "coastline")
    assert of_another_mask.position_u95_m.isna().all()
    options = LineOptions(level=0.3)
    out = make_products(tmp_path / "two", values, lines=options)
    lines = read(out, "coastline")
    assert lines.position_u95_m.isna().all()
    assert set(lines.level) == {0.3}
    assert same(lines, read(make_products(tmp_path / "three", values, level=0.3), "coastline"))


def test_an_area_exactly_at_the_limit_stays_in_all_layers(tmp_path, values) -> None:
    plain = make_products(tmp_path / "plain", values, lines=LineOptions(land=True))
    land = read(plain, "land")
    whole = land[[_is_line(area, lines_of(plain)) for area in land.geometry]]
    limit = float(np.sort(whole.area_m2)[len(whole) // 2])
    out = make_products(tmp_path / "large", values, lines=LineOptions(min_area_m2=limit, land=True))
    (island,) = whole[whole.area_m2 == limit].geometry
    inside = island.representative_point()
    assert read(out, "land").contains(inside).any()
    assert not read(out, "water").contains(inside).any()
    assert any(
        line.is_closed and line.length == pytest.approx(island.length) for line in lines_of(out)
    )
    below = whole[whole.area_m2 < limit]
    assert len(below)
    for area in below.geometry:
        inside = area.representative_point()
        assert read(out, "water").contains(inside).any()
        assert not read(out, "land").contains(inside).any()


def lines_of(out):
    return read(out, "coastline").geometry


def _is_line(area, lines) -> bool:
    """Whether an area is an island: one closed line is all that bounds it."""
    return not area.interiors and any(
        line.is_closed and shapely.equals(shapely.Polygon(line), area) for line in lines
    )


def test_fewer_formats_than_before_leave_none_behind(tmp_path, values) -> None:
    path = write_raster(tmp_path / "p.tif", values[None], nodata=np.nan)
    for formats in (["geojson,fgb", "geoparquet"], []):
        vectors = VectorOptions.from_text(formats)
        lines = LineOptions(land=bool(formats))
        settings = DrawSettings(vectors=vectors, lines=lines, overwrite=True)
        draw_coastline(path, tmp_path / "out", settings, RasterOptions(quantity="probability"))
    assert {p.name.removeprefix("p") for p in (tmp_path / "out").iterdir()} == {
        ".json", ".gpkg", ".qgz", "_mask.tif", "_mask.qml", "_mask.tif.aux.xml",
        "_probability.tif", "_probability.qml",
    }  # fmt: skip
