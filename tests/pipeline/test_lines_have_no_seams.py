"""Promise 9, through files: whatever the strips, the same lines and areas to the last bit."""

import subprocess
import sys

import geopandas
import numpy as np
import pytest
import shapely
from contouring import contour, make_products, rough_field

from geounet import coastline, contours, shoreline
from geounet.tracing import Scale


@pytest.fixture(scope="module")
def values():
    """A coast with islands and lakes, a swath of nodata, holes, and values at the level."""
    field = rough_field(np.random.default_rng(2), (300, 280), smooth=3)
    field += rough_field(np.random.default_rng(3), (300, 280), smooth=0.6) / 4 - 0.125
    row, col = np.indices(field.shape)
    field[col < 20 + row / 4] = np.nan
    field[np.hypot(row - 180, col - 200) < 25] = np.nan
    field[np.random.default_rng(4).random(field.shape) < 0.002] = np.nan
    field[100:110, 150:220] = 0.5
    return np.clip(field, 0, 1).astype(np.float32)


@pytest.mark.parametrize("rows", [17, 64, 100, 256])
def test_strips_give_exactly_the_lines_and_areas_of_the_whole(values, rows):
    whole, strips = contour(values, rows=1000), contour(values, rows=rows)
    assert len(whole.lines) > 50
    assert len(whole.areas) > 20
    for one, other in zip(whole, strips, strict=True):
        assert len(one) == len(other)
        assert shapely.equals_identical(one, other).all()


def test_files_are_written_the_same_by_any_strips(tmp_path, values, monkeypatch):
    layers = []
    for rows in (16, 64, 1000):
        monkeypatch.setattr(shoreline, "strip_rows", lambda _, rows=rows: rows)
        path = make_products(tmp_path / str(rows), values) / "coast.gpkg"
        layers.append([geopandas.read_file(path, layer=n) for n in ("coastline", "water")])
    for other in layers[1:]:
        for found, expected in zip(other, layers[0], strict=True):
            assert found.drop(columns="geometry").equals(expected.drop(columns="geometry"))
            assert shapely.equals_identical(found.geometry.array, expected.geometry.array).all()


def test_only_what_is_open_is_held(values):
    # Closed lines are handed out with the strip that they end in.
    sweep = coastline.LineSweep()
    for strip in contours.cut_strips(
        lambda a, b: values[a:b], values.shape, scale=Scale.plain(0.5), rows=32
    ):
        done = sweep.add(contours.trace(strip), strip.sweep_row)
        last_row = shapely.bounds(done.shapes())[:, 3]
        assert (last_row <= strip.sweep_row).all()
        assert (last_row > strip.top + 1.5).all()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_scene():
    # Promise 2: eight times the rows, each strip alike, and hardly a byte more.
    peaks = [peak_mib(height) for height in (2048, 16384)]
    assert peaks[1] - peaks[0] < 20


def peak_mib(height):
    """Peak memory of contouring a field of islands and a long coast, in a process of its own."""
    script = f"""
import resource
import numpy as np
from geounet.contours import cut_strips, trace
from geounet.coastline import LineSweep
from geounet.polygons import AreaSweep
from geounet.tracing import Scale

def read(start, stop):
    row, col = np.mgrid[start:stop, :2048].astype(np.float32)
    return 0.5 + 0.4 * np.sin(row / 9) * np.sin(col / 7) - 0.1 * (col > 1000)

lines, areas = LineSweep(), AreaSweep()
for strip in cut_strips(read, ({height}, 2048), scale=Scale.plain(0.5), rows=256):
    contours = trace(strip)
    lines.add(contours, strip.sweep_row)
    areas.add(contours, strip.sweep_row)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


@pytest.mark.parametrize("rows", [64, 100, 256, 1000])
def test_lines_end_at_nodata_or_the_border_and_nowhere_else(values, rows):
    lines = contour(values, rows=rows).lines
    open_lines = lines[~shapely.is_closed(lines)]
    assert len(open_lines) > 20
    ends = shapely.points(
        [shapely.get_coordinates(line)[i] for line in open_lines for i in (0, -1)]
    )
    # The oracle: the outline of all valid pixels, each a square.
    col, row = (indexes[np.isfinite(values)] for indexes in np.indices(values.shape)[::-1])
    outline = shapely.union_all(shapely.box(col, row, col + 1, row + 1)).boundary
    assert shapely.distance(outline, ends).max() == 0
    # And along it no line runs.
    drawn = shapely.force_2d(lines)
    assert shapely.length(shapely.intersection(drawn, outline)).max() == 0


@pytest.mark.parametrize("rows", [64, 100, 256, 1000])
def test_a_scene_that_is_all_water_has_exactly_its_area(values, rows):
    water = np.where(np.isfinite(values), 0.7, np.nan)
    drawn = contour(water, rows=rows)
    assert len(drawn.lines) == 0
    assert shapely.is_valid(drawn.areas).all()
    assert shapely.area(drawn.areas).sum() == np.isfinite(values).sum()
    (whole,) = contour(np.ones((300, 280)), rows=rows).areas
    assert shapely.get_coordinates(whole).tolist() == [
        [0, 0], [280, 0], [280, 300], [0, 300], [0, 0],
    ]  # fmt: skip
