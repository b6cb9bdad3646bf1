"""Coastlines cut where they go under cloud: pieces against the lines, segment by segment."""

import itertools
import json
import logging

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from contouring import UTM, contour, rough_field, write_raster, write_scene
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.windows import Window

from geounet.baseline import BaselineSettings, baseline_scene
from geounet.classes import LAND_WATER
from geounet.errors import SceneError
from geounet.flags import (
    CLEAR,
    SUSPECT,
    UNKNOWN,
    CoastFlags,
    flag_column,
    flags_at,
    split_lines,
)
from geounet.outputs import stage_set
from geounet.products import Field, write_products
from geounet.ragged import Lines
from geounet.scene import CloudOptions, SceneOptions, gdal_environment, open_scene

flag_values = st.sampled_from([CLEAR, SUSPECT, UNKNOWN])


@st.composite
def flagged_lines(draw):
    """Lines and rings with z, and a flag for each vertex; a ring's last is its first's."""
    lines, flags = [], []
    for number in range(draw(st.integers(1, 4))):
        size, ring = draw(st.integers(2, 7)), draw(st.booleans())
        size = max(size, 3) if ring else size
        points = [(10 * number + i, (i * i) % 7, 100 * number + i) for i in range(size)]
        own = draw(st.lists(flag_values, min_size=size, max_size=size))
        lines.append(shapely.LineString(points + points[:1] * ring))
        flags += own + own[:1] * ring
    return np.array(lines, dtype=object), np.array(flags, dtype=np.uint8)


def worst(one, other):
    return next(flag for flag in (SUSPECT, UNKNOWN, CLEAR) if flag in (one, other))


def between(flags):
    return np.array(list(map(worst, flags[:-1], flags[1:])), dtype=np.uint8)


def segments_of(line, flags=None, flag=None):
    """(from, to, flag) of each segment, with z."""
    points = shapely.get_coordinates(line, include_z=True).tolist()
    told = [flag] * len(points) if flags is None else list(map(worst, flags[:-1], flags[1:]))
    return [(tuple(a), tuple(b), f) for a, b, f in zip(points[:-1], points[1:], told, strict=False)]


@given(flagged_lines())
@settings(max_examples=200)
def test_pieces_are_the_segments_of_the_lines_each_with_its_flag(given_lines):
    lines, flags = given_lines
    pieces, piece_flags = split_lines(Lines.of(lines), between(flags))
    pieces = pieces.shapes()
    remaining = list(zip(pieces, piece_flags.tolist(), strict=True))
    start = 0
    for line in lines:
        count = shapely.get_num_coordinates(line)
        own = segments_of(line, flags[start : start + count])
        start += count
        mine = []
        while len(mine) < len(own):
            piece, flag = remaining.pop(0)
            mine += segments_of(piece, flag=flag)
        # In the same order, a ring's from wherever it is cut.
        turns = range(len(own)) if line.is_closed else [0]
        assert mine in [own[k:] + own[:k] for k in turns]
    assert not remaining


@given(flagged_lines())
@settings(max_examples=200)
def test_no_piece_could_be_longer(given_lines):
    lines, flags = given_lines
    pieces, piece_flags = split_lines(Lines.of(lines), between(flags))
    pieces = pieces.shapes()
    tree = zip(pieces[:-1], pieces[1:], piece_flags[:-1], piece_flags[1:], strict=True)
    for one, other, flag, next_flag in tree:
        if flag == next_flag:
            assert one.coords[-1] != other.coords[0]
    # A ring in several pieces does not begin and end with the same flag; one of one flag is whole.
    for line in lines[shapely.is_closed(lines)]:
        own = [i for i, piece in enumerate(pieces) if piece.covered_by(line)]
        if len(own) == 1:
            assert pieces[own[0]].equals_exact(line)
        else:
            assert piece_flags[own[0]] != piece_flags[own[-1]]


def test_flags_are_read_by_block_wherever_vertices_are(tmp_path):
    rng = np.random.default_rng(2)
    values = rng.choice([CLEAR, SUSPECT, UNKNOWN], (700, 1300)).astype(np.uint8)
    path = write_raster(tmp_path / "flags.tif", values[None], tiled=True)
    points = rng.random((5000, 2)) * (1300, 700)
    points[:4] = (0, 0), (1300, 700), (1300, 0), (512, 512)
    with rasterio.open(path) as src:
        flags = flags_at(src, points)
        assert flags_at(src, np.empty((0, 2))).size == 0
    expected = [values[min(int(row), 699), min(int(col), 1299)] for col, row in points]
    assert np.array_equal(flags, expected)


def test_where_nothing_is_known_lines_stay_whole_and_their_flag_is_null():
    lines = Lines.of(contour(rough_field(np.random.default_rng(1), (20, 20))).lines)
    pieces, flags = CoastFlags(None).split(lines, None)
    assert pieces is lines
    assert flag_column(flags).null_count == len(lines) > 0


SHAPE = (60, 90)


def make(folder, scl, *, clouds=None, shape=SHAPE, field=None, aoi=None):
    """Write a scene with an SCL of 20 m beside it, and its products; return record and lines."""
    folder.mkdir()
    bands = folder / "scene"
    bands.mkdir()
    for band in ("B03", "B08"):
        path = write_scene(bands / f"{band}.tif", np.ones(shape, bool), bands=(band,))
    write_raster(bands / "SCL_20m.tif", scl[None], transform=UTM @ Affine.scale(2))
    values = rough_field(np.random.default_rng(8), shape, smooth=3) if field is None else field
    options = SceneOptions(clouds=clouds or CloudOptions(), sensor="s2")
    with (
        gdal_environment(),
        open_scene(bands, options) as scene,
        stage_set(folder / "out", scene.name, overwrite=False) as (stage, record),
    ):
        valid = scene.read(["B03"], Window(0, 0, shape[1], shape[0])).valid
        written = np.where(valid, values, np.nan).astype(np.float32)[None]
        made = Field(
            write_raster(folder / "field.tif", written), "probability", 0.5, ("B03",), aoi=aoi
        )
        record["clouds"] = write_products(
            stage, scene, made, classes=LAND_WATER, probability_dtype="uint8", attributes={}
        )
    assert path.is_file()
    lines = geopandas.read_file(folder / "out" / "scene.gpkg", layer="coastline")
    return json.loads((folder / "out" / "scene.json").read_text())["clouds"], lines


def scl_with_cloud(shape=SHAPE):
    """Water with a cloud in the middle, cirrus on the left and nothing known on the right."""
    scl = np.full((shape[0] // 2, shape[1] // 2), 6, np.uint8)
    scl[8:20, 15:26] = 9
    scl[:, :3] = 10
    scl[:, -5:] = 0
    return scl


def near_cloud(scl):
    """Where on the scene a vertex is suspect or unknown, by whole arrays."""
    cloud = np.isin(scl, (8, 9, 10))
    grown = np.zeros_like(cloud)
    for row, col in np.argwhere(cloud):
        grown[max(row - 1, 0) : row + 2, max(col - 1, 0) : col + 2] = True
    flags = np.where(grown, SUSPECT, np.where(scl == 0, UNKNOWN, CLEAR)).astype(np.uint8)
    return np.kron(flags, np.ones((2, 2), np.uint8))


def test_stretches_under_cloud_are_flagged_and_add_up(tmp_path):
    scl = scl_with_cloud()
    clouds, lines = make(tmp_path / "a", scl)
    plain = contour(rough_field(np.random.default_rng(8), SHAPE, smooth=3).astype(np.float32))
    expected = near_cloud(scl)
    told = {"suspect": 0, "unknown": 0, "clear": 0}
    for line, flag in zip(lines.geometry, lines.cloud_suspect, strict=True):
        col, row = ~UTM @ shapely.get_coordinates(line).T
        at = expected[
            np.clip(row.astype(int), 0, SHAPE[0] - 1), np.clip(col.astype(int), 0, SHAPE[1] - 1)
        ]
        either = [worst(*pair) for pair in itertools.pairwise(at)]
        known = {SUSPECT: True, CLEAR: False}.get(either[0])
        assert len(set(either)) == 1
        assert (None if flag is None or flag != flag else bool(flag)) == known
        told[{True: "suspect", False: "clear", None: "unknown"}[known]] += 1
    assert min(told.values()) > 0
    assert len(lines) > len(plain.lines)
    suspect = lines[lines.cloud_suspect == True].length_m.sum()  # noqa: E712
    known = lines[lines.cloud_suspect.notna()].length_m.sum()
    assert clouds["share_of_coast"] == pytest.approx(suspect / known, rel=1e-9)
    # Bands here lie the same way round on the ground: lengths are those of whole lines.
    unflagged, whole_lines = make(tmp_path / "b", np.full_like(scl, 6))
    assert lines.length_m.sum() == pytest.approx(whole_lines.length_m.sum(), rel=1e-9)
    assert (whole_lines.cloud_suspect == False).all()  # noqa: E712
    assert (unflagged["share_of_coast"], unflagged["share_of_scene"]) == (0, 0)


def test_shares_of_the_scene_are_of_its_pixels_that_are_known(tmp_path):
    scl = scl_with_cloud()
    clouds, _ = make(tmp_path / "a", scl)
    cloud, known = np.isin(scl, (8, 9, 10)).sum(), (scl != 0).sum()
    assert clouds["share_of_scene"] == pytest.approx(cloud / known)
    assert clouds["source"] == "SCL (SCL_20m.tif)"
    assert clouds["masked"] is None


@pytest.mark.parametrize("turned", range(4))
def test_lines_that_end_at_nodata_have_no_end_of_which_nothing_is_known(tmp_path, turned):
    rows, cols = np.mgrid[:45, :45]
    nodata = np.rot90((cols + 0.4 * rows < 12) | (cols < 4) | (rows < 3), turned)
    scl = np.where(nodata, 0, 6).astype(np.uint8)
    field = rough_field(np.random.default_rng(8), (90, 90), smooth=3)
    field[np.kron(nodata, np.ones((2, 2), bool))] = np.nan
    _, lines = make(tmp_path / "a", scl, shape=(90, 90), field=field)
    assert shapely.distance(lines.geometry, shapely.box(0, 0, 1, 1)).size > 5
    assert (lines.cloud_suspect == False).all()  # noqa: E712


def test_shares_are_of_the_pixels_of_the_result(tmp_path):
    scl, shape = scl_with_cloud(), (60, 90)
    field = rough_field(np.random.default_rng(8), shape, smooth=3)
    field[:, 40:] = np.nan
    aoi = shapely.box(*(UTM @ (0, 60)), *(UTM @ (40, 0)))
    asked = scl[:, :20]
    cloud = np.isin(asked, (8, 9, 10)).mean()
    assert 0 < cloud != np.isin(scl, (8, 9, 10)).sum() / (scl != 0).sum()
    assert make(tmp_path / "a", scl, field=field)[0]["share_of_scene"] == pytest.approx(cloud)
    masked = make(
        tmp_path / "b", scl, field=field, aoi=aoi, clouds=CloudOptions(mask=True, min_area_m2=0)
    )[0]
    assert masked["share_of_scene"] == pytest.approx(cloud)
    hidden = np.isin(asked, (8, 9)).mean()
    assert masked["masked"]["share_of_scene"] == pytest.approx(hidden)


def test_a_mask_that_knows_nothing_is_said_when_it_is_to_mask(tmp_path, caplog):
    options = CloudOptions(mask=True, file=str(tmp_path / "mask.tif"))
    write_raster(tmp_path / "mask.tif", np.full((1, *SHAPE), 9, np.uint8), nodata=9)
    clouds, _ = make(tmp_path / "a", scl_with_cloud(), clouds=options)
    assert clouds["share_of_scene"] is None
    (told,) = [r.message for r in caplog.records if "nothing is masked" in r.message]
    assert "mask.tif) knows nothing of any pixel" in told


def test_what_is_masked_is_recorded_and_no_line_runs_along_it(tmp_path):
    scl = scl_with_cloud()
    options = CloudOptions(mask=True, min_area_m2=0)
    clouds, lines = make(tmp_path / "a", scl, clouds=options)
    masked = np.isin(scl, (8, 9))
    assert clouds["masked"] == {
        "source": "SCL (SCL_20m.tif)",
        "cirrus": False,
        "min_area_m2": 0,
        "buffer_m": 0,
        "share_of_scene": pytest.approx(masked.mean()),
    }
    # The raw share is the same, masked or not: the mask hides, and does not take away, cloud.
    assert clouds["share_of_scene"] == make(tmp_path / "b", scl)[0]["share_of_scene"]
    inside = shapely.box(*(UTM @ (30, 40)), *(UTM @ (52, 16)))
    assert masked[8:20, 15:26].all()
    assert lines.intersection(inside).length.sum() < 1e-6
    along = lines.intersection(inside.boundary.buffer(0.01)).length
    assert along.max() < 1
    with rasterio.open(tmp_path / "a" / "out" / "scene_mask.tif") as src:
        assert (src.read(1) == 255).mean() == pytest.approx(masked.mean())
    with rasterio.open(tmp_path / "a" / "out" / "scene_rgb.tif") as src:
        assert src.read(1).min() > 0  # what is masked is shown


def test_flags_are_the_same_whatever_the_strips(tmp_path, monkeypatch):
    _, lines = make(tmp_path / "a", scl_with_cloud())
    monkeypatch.setattr("geounet.shoreline.strip_rows", lambda _: 7)
    _, again = make(tmp_path / "b", scl_with_cloud())
    assert lines.equals(again)


def test_a_scene_without_a_quality_layer_says_null(tmp_path):
    path = write_scene(tmp_path / "scene.tif", np.ones((30, 30), bool))
    record = baseline_scene(str(path), tmp_path / "out", BaselineSettings(threshold=0.0))
    clouds = json.loads(record.read_text())["clouds"]
    assert clouds == {
        "source": None,
        "share_of_scene": None,
        "cirrus_share_of_scene": None,
        "share_of_coast": None,
        "masked": None,
    }


def test_cloud_is_reported_in_a_line(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "geounet.scene"):
        make(tmp_path / "a", scl_with_cloud())
        make(tmp_path / "b", np.full((30, 45), 6, np.uint8))
    (told,) = [r.message for r in caplog.records]
    assert "of the scene is under cloud by its SCL" in told
    assert "of the coastline's length" in told


def test_cirrus_is_told_where_it_is_most_of_the_cloud(tmp_path, caplog):
    scl = np.full((30, 45), 6, np.uint8)
    scl[:, :9], scl[:3, 40:] = 10, 9
    for name, options, said in (
        ("a", CloudOptions(), "; 20.00% is cirrus"),
        ("b", CloudOptions(mask=True), "20.00% is cirrus, which --cloud-cirrus masks too"),
        ("c", CloudOptions(mask=True, cirrus=True), "is masked"),
    ):
        caplog.clear()
        clouds, _ = make(tmp_path / name, scl, clouds=options)
        assert clouds["cirrus_share_of_scene"] == pytest.approx(0.2)
        (told,) = [r.message for r in caplog.records if "under cloud" in r.message]
        assert told.endswith(said)


def test_a_damaged_quality_layer_is_said_once_and_costs_only_the_flags(tmp_path, caplog):
    path = write_scene(tmp_path / "scene.tif", np.ones((1100, 700), bool))
    with rasterio.open(path, "r+") as dst:
        dn = dst.read()
        dn[3, :, 300:] = 1100
        dst.write(dn)
    scl = np.random.default_rng(0).integers(4, 11, (1, 1100, 700), dtype=np.uint8)
    mask = write_raster(tmp_path / "mask.tif", scl, tiled=True, compress="deflate")
    content = bytearray(mask.read_bytes())
    content[-20_000:-10_000] = bytes(10_000)
    mask.write_bytes(content)
    options = SceneOptions(clouds=CloudOptions(file=str(mask)))
    record = baseline_scene(str(path), tmp_path / "out", BaselineSettings(threshold=0.0), options)
    told = [r.message for r in caplog.records if "not known everywhere" in r.message]
    assert len(told) == 1
    assert "mask.tif cannot be read at rows" in told[0]
    assert json.loads(record.read_text())["clouds"]["share_of_coast"] == 1
    lines = geopandas.read_file(tmp_path / "out" / "scene.gpkg", layer="coastline")
    assert lines.cloud_suspect.isna().any()
    masked = SceneOptions(clouds=CloudOptions(file=str(mask), mask=True))
    with pytest.raises(SceneError, match=r"mask\.tif cannot be read"):
        baseline_scene(str(path), tmp_path / "no", BaselineSettings(threshold=0.0), masked)
    assert not (tmp_path / "no").exists()


def test_a_cloud_between_two_vertices_of_a_long_stretch_is_seen(tmp_path):
    flags = np.full((40, 60), CLEAR, np.uint8)
    flags[10, 30] = SUSPECT
    flags[30, 20:40] = UNKNOWN
    path = write_raster(tmp_path / "flags.tif", flags[None], nodata=None)
    lines = np.array(
        [
            shapely.LineString([(2, 10.5), (50, 10.5)]),
            # From the end of the one before to here is no stretch, and a cloud below it none of it.
            shapely.LineString([(10, 10.5), (11, 10.5), (11, 20.5)]),
            shapely.LineString([(5, 25.5), (35, 35.5)]),
        ]
    )
    pieces, found = CoastFlags(path).split(Lines.of(lines), None)
    assert len(pieces) == 3
    assert found.tolist() == [SUSPECT, CLEAR, UNKNOWN]
