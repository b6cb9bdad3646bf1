"""Which water is sea: held against components of the whole raster."""

import geopandas
import numpy as np
import pytest
import scipy.ndimage
import shapely
from contouring import UTM, keep_off, make_products, rough_field
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from shorelines import OPTIONS, ground

from geounet.errors import AreaError
from geounet.line_options import LineOptions
from geounet.ragged import Areas, Lines
from geounet.shoreline import Shoreline
from geounet.tracing import Scale
from geounet.water_bodies import WaterBodies, read_sea


def bodies_of(values, sea, options, rows):
    """Draw strip by strip, as the writer does; return lines, water, their kinds."""
    bodies = WaterBodies(sea)
    lines, water, kinds = [], [], []
    shoreline = Shoreline(
        values.shape, ground(values.shape), scale=Scale.plain(0.5), options=options, rows=rows
    )
    for drawn in shoreline.draw(lambda a, b: values[a:b], (1, 1)):
        bodies.add_lines(drawn.lines, np.full(len(drawn.lines), 2))  # as if each were cut in two
        kinds.append(bodies.add_areas(drawn.water))
        lines.append(drawn.lines)
        water.append(drawn.water)
    lines = Lines.joined(lines).shapes()
    of_lines = np.full(2 * len(lines), "unknown", dtype="U7")
    for kind in ("sea", "lake"):
        of_lines[bodies.features(kind)] = kind
    assert (of_lines[::2] == of_lines[1::2]).all()
    return lines, of_lines[::2], Areas.joined(water).shapes(), np.concatenate(kinds)


def bodies_by_whole_raster(values, at):
    """Number water by components that share edges of pixels.

    Returns:
        The numbers; which bodies lie beside nodata or the border, which touch it at a corner at
        least, and which hold one of the places `at`.
    """
    water = values >= 0.5
    bodies, _ = scipy.ndimage.label(water)
    outside = ~np.pad(np.isfinite(values), 1)
    beside, touching = (
        set(bodies[scipy.ndimage.binary_dilation(outside, structure)[1:-1, 1:-1]].tolist()) - {0}
        for structure in (None, np.ones((3, 3)))
    )
    return bodies, beside, touching, {int(bodies[row, col]) for col, row in at}


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(3, 60),
    width=st.integers(3, 40),
    smooth=st.sampled_from([0.6, 1.5, 4]),
    nodata=st.sampled_from([0, 0.01, 0.1]),
    rows=st.integers(1, 70),
    option=st.sampled_from(["plain", "simplified", "smoothed"]),
)
def test_kinds_are_those_of_the_whole_raster(seed, height, width, smooth, nodata, rows, option):
    rng = np.random.default_rng(seed)
    values = rough_field(rng, (height, width), smooth=smooth, nodata=nodata)
    values = keep_off(values, 0.5)
    at = np.column_stack([rng.integers(0, width, 3), rng.integers(0, height, 3)])
    inside = values[at[:, 1], at[:, 0]] > 0.5
    at = at[inside]
    sea = np.asarray(shapely.points(at + 0.5)).reshape(-1)
    lines, of_lines, areas, kinds = bodies_of(values, sea, OPTIONS[option], rows)
    bodies, cut, perhaps_cut, touched = bodies_by_whole_raster(values, at)
    row, col = np.indices(values.shape) + 0.5
    for area, kind in zip(areas, kinds, strict=True):
        held = {int(b) for b in np.unique(bodies[shapely.contains_xy(area, col, row)])} - {0}
        if not held:
            continue  # between a centre and nodata, or simplified away from the only one it held
        expected = {"sea"} if held & touched else {"unknown"} if held & cut else {"lake"}
        if not held & (touched | cut) and held & perhaps_cut:
            expected = {"lake", "unknown"}  # by what the values are around the corner
        if option == "simplified" and not {kind} <= expected:
            continue  # a sea point within the tolerance of the line
        assert kind in expected
    # Each line bounds one area, and is of its kind.
    edge = shapely.STRtree(shapely.boundary(areas))
    for line, kind in zip(lines, of_lines, strict=True):
        first = shapely.force_2d(shapely.get_point(line, 0))
        (owner,) = edge.query(first, predicate="dwithin", distance=0)
        assert kinds[owner] == kind


def lake_and_sea():
    """Sea on the left, cut by the border; a lake; and water that nodata cuts."""
    values = np.zeros((40, 60), dtype=np.float32)
    values[:, :15] = 1
    values[10:20, 25:35] = 1
    values[25:35, 45:55] = 1
    values[28:30, 48:50] = np.nan
    return values


def read(out, layer):
    return geopandas.read_file(out / "coast.gpkg", layer=layer)


def kinds_in(out):
    return {
        layer: read(out, layer).kind.value_counts().to_dict() for layer in ("coastline", "water")
    }


@pytest.mark.parametrize("form", ["place", "file"])
def test_files_say_what_is_sea_lake_and_unknown(tmp_path, form):
    x, y = UTM @ (5, 20)
    shape = geopandas.GeoSeries([shapely.Point(x, y)], crs="EPSG:32630").to_crs("EPSG:4326")
    if form == "place":
        sea = f"{shape[0].x},{shape[0].y}"
    else:
        sea = str(tmp_path / "sea.gpkg")
        shape.to_crs("EPSG:3857").buffer(2).to_file(sea)
    out = make_products(tmp_path, lake_and_sea(), lines=LineOptions(sea=sea, land=True))
    for kinds in kinds_in(out).values():
        assert kinds["sea"] == 1
        assert kinds["lake"] == 1
        assert kinds["unknown"] >= 1
    lines = read(out, "coastline").set_index("kind")
    assert lines.length_m["sea"] == pytest.approx(400, abs=2)


def test_without_sea_nothing_is_guessed(tmp_path):
    out = make_products(tmp_path, lake_and_sea())
    assert all(set(kinds) == {"unknown"} for kinds in kinds_in(out).values())


@pytest.mark.parametrize(
    ("place", "said"), [((40, 5), "touches no water"), ((-40, 5), "outside the scene")]
)
def test_a_sea_that_is_none_is_said(tmp_path, place, said, caplog):
    x, y = UTM @ place
    at = geopandas.GeoSeries([shapely.Point(x, y)], crs="EPSG:32630").to_crs("EPSG:4326")[0]
    out = make_products(tmp_path, lake_and_sea(), lines=LineOptions(sea=f"{at.x},{at.y}"))
    assert said in caplog.text
    assert "sea" not in kinds_in(out)["coastline"]


def test_latitude_first_is_recognised():
    grid = GeoBox((40, 60), UTM, "EPSG:32630")
    x, y = UTM @ (5, 20)
    at = geopandas.GeoSeries([shapely.Point(x, y)], crs="EPSG:32630").to_crs("EPSG:4326")[0]
    (place,) = read_sea(f"{at.x},{at.y}", grid)
    assert place.distance(shapely.Point(5, 20)) < 1e-3
    with pytest.raises(AreaError, match=f"and {at.x},{at.y} in it. Give the longitude first"):
        read_sea(f"{at.y},{at.x}", grid)


@pytest.mark.parametrize("text", ["", "gone.gpkg", "-3.0 36.0", "36;-3"])
def test_what_is_neither_file_nor_place_is_refused(text):
    with pytest.raises(AreaError, match="neither a file that is there nor a place"):
        read_sea(text, GeoBox((40, 60), UTM, "EPSG:32630"))


def test_a_place_that_is_none_on_earth_is_refused():
    with pytest.raises(AreaError, match="longitude first"):
        read_sea("34,200", None)
