"""The page of a result: what it counts, what it draws, and that it is safe to open."""

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import geopandas
import matplotlib.image
import numpy as np
import pandas as pd
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from contouring import UTM, make_products, rough_field
from odc.geo.geobox import GeoBox
from pyproj import Geod, Transformer

from geounet.errors import OutputError, ResultError
from geounet.outputs import read_record, sha256_of
from geounet.result_page import Result, report_results
from geounet.result_page import lines as lines_module
from geounet.result_page.lines import read_lines
from geounet.result_page.page import _in_script
from geounet.result_page.pictures import read_pictures
from geounet.result_page.pixels import count_pixels
from geounet.result_page.result import View

DEGREES = Affine(1e-4, 0, 12.0, 0, -1e-4, 55.0)
ROTATED = Affine.translation(500_000, 4_500_000) @ Affine.rotation(30) @ Affine.scale(12, -9)
SOUTH_UP = Affine(10, 0, 500_000, 0, 10, 4_500_000)


def make_result(folder: Path, values: np.ndarray, *, level: float = 0.5, **more) -> Result:
    """Make a result called `coast` with a record as `predict` writes it, or nearly."""
    fields = {
        "format": 1, "command": "predict", "level": level, "geounet": "0.1.0",
        "scene": {"name": "coast", "source": "coast.tif", "time": None, "res_m": [10.0, 10.0]},
        "notes": [], "timings": {"total": 1.5}, "versions": {"numpy": "2"},
    }  # fmt: skip
    out = make_products(folder, values, level=level, **more)
    path = out / "coast.json"
    path.write_text(json.dumps(fields | json.loads(path.read_text())))
    return Result(out, "coast", read_record(path))


def page_of(result: Result, **more) -> str:
    (path,) = report_results(result.folder, **more)
    return path.read_text()


def half(shape: tuple[int, int] = (40, 60)) -> np.ndarray:
    """A straight shore: water on the right, three pixels of it unsure."""
    cols = np.arange(shape[1]) - shape[1] / 2 + 0.5
    return np.broadcast_to(1 / (1 + np.exp(-0.8 * cols)), shape).astype(np.float32).copy()


@pytest.fixture(scope="module")
def rough(tmp_path_factory) -> Result:
    values = rough_field(np.random.default_rng(3), (90, 140), smooth=3, nodata=0.01)
    return make_result(tmp_path_factory.mktemp("rough"), np.clip(values, 0, 1))


class Elements(HTMLParser):
    """All elements of a page with their attributes, and what stands in scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs) -> None:
        self.found.append((tag, dict(attrs)))


def figures_of(text: str) -> dict:
    return json.loads(re.search(r'id="figures">(.*?)</script>', text).group(1))


def test_every_pixel_is_counted_and_areas_are_those_of_the_ellipsoid(tmp_path):
    values = np.full((300, 200), 0.1)
    values[:, 120:] = 0.9
    values[:50] = np.nan
    result = make_result(tmp_path, values, transform=DEGREES, crs="EPSG:4326")
    counts = count_pixels(result)
    assert counts.pixels == {0: 250 * 120, 1: 250 * 80, 255: 50 * 200}
    west, east, south, north = 12.012, 12.02, 55.0 - 0.03, 55.0 - 0.005
    x = np.concatenate([np.linspace(west, east, 50), np.linspace(east, west, 50)])
    y = np.repeat([south, north], 50)
    expected, _ = Geod(ellps="WGS84").polygon_area_perimeter(x, y)
    # Mean areas of blocks of 512 rows: here of all rows, those without data too.
    assert counts.areas_m2[1] == pytest.approx(abs(expected), rel=1e-4)
    assert counts.share(255) == 50 / 300


def test_the_histogram_has_every_pixel_and_the_threshold_between_its_bins(rough):
    histogram = count_pixels(rough).histogram
    with rasterio.open(rough.field) as src:
        steps = src.read(1)
    np.testing.assert_array_equal(histogram.counts, np.bincount(steps.ravel(), minlength=256)[:254])
    assert np.isclose(histogram.edges, 0.5).any()


def test_unsure_squares_are_those_with_most_pixels_near_the_threshold(tmp_path):
    values = np.full((100, 160), 0.99)
    values[:, :40] = 0.01
    values[64:70, 120:126] = 0.6  # 36 pixels, in the square of rows 64–72 and columns 120–128
    values[16:18, 100:103] = 0.3
    values[40, 140] = 0.8  # surer than 0.75
    result = make_result(tmp_path, values)
    counts = count_pixels(result)
    assert counts.unsure == pytest.approx((0.25, 0.75))
    assert [place.pixels for place in counts.places] == [36, 6]
    left, top = UTM @ (120, 64)
    assert counts.places[0].bounds == pytest.approx((left, top - 80, left + 80, top))
    assert counts.places[0].area_m2 == pytest.approx(3600 / 0.9996**2, rel=1e-4)
    lon, lat = Transformer.from_crs(32630, 4326, always_xy=True).transform(left + 40, top - 40)
    text = page_of(result)
    assert f"{lon:.5f}, {lat:.5f}" in text
    assert f"{left + 40:.0f}, {top - 40:.0f}" in text


def test_the_limits_of_what_is_unsure_go_with_the_threshold(tmp_path):
    low, high = count_pixels(make_result(tmp_path, half(), level=0.2)).unsure
    odds = [p / (1 - p) for p in (low, 0.2, high)]
    assert odds[1] / odds[0] == pytest.approx(3)
    assert odds[2] / odds[1] == pytest.approx(3)


@pytest.mark.parametrize("transform", [UTM, ROTATED, SOUTH_UP], ids=["north", "rotated", "south"])
@pytest.mark.parametrize("side", [1500, 70], ids=["whole", "reduced"])
def test_a_picture_has_each_place_of_the_map_in_the_colour_of_the_mask(tmp_path, transform, side):
    values = np.zeros((120, 100))
    values[30:, 20:60] = 1  # large pieces, far from whose edges any overview says the same
    values[:20] = np.nan
    result = make_result(tmp_path, values, transform=transform)
    view = View.of(result.geobox, side)
    picture = read_pictures(result, view).mask
    left, bottom, right, top = view.bounds
    height, width = picture.shape[:2]
    for col, row, color in (
        (40, 75, (0x1F, 0x77, 0xB4, 255)), (90, 75, (0xDE, 0xCB, 0xA4, 255)), (50, 8, (0, 0, 0, 0)),
        (10, 110, (0xDE, 0xCB, 0xA4, 255)), (55, 115, (0x1F, 0x77, 0xB4, 255)),
    ):  # fmt: skip
        x, y = transform @ (col, row)
        at = int((top - y) / (top - bottom) * height), int((x - left) / (right - left) * width)
        assert tuple(picture[at]) == color, (col, row)
    corners = [transform @ corner for corner in ((0, 0), (100, 0), (0, 120), (100, 120))]
    xs, ys = zip(*corners, strict=True)
    assert view.bounds == pytest.approx((min(xs), min(ys), max(xs), max(ys)))


def test_lines_come_to_what_the_layer_has_and_are_drawn_where_they_are(rough):
    layer = geopandas.read_file(rough.lines, layer="coastline")
    lines = read_lines(rough, View.of(rough.geobox))
    assert lines.count == len(layer)
    assert lines.length_by_kind == {"unknown": pytest.approx(layer["length_m"].sum())}
    assert len(lines.drawn) == len(layer)
    order = layer["length_m"].argsort(kind="stable")[::-1]
    for drawn, whole in zip(lines.drawn.geometry[:20], layer.geometry[order][:20], strict=True):
        assert shapely.hausdorff_distance(drawn, whole) <= lines.tolerance_m * 1.001
    assert lines.tolerance_m == pytest.approx(1)


def test_of_very_many_lines_the_longest_are_drawn_and_the_page_says_so(
    rough, tmp_path, monkeypatch
):
    monkeypatch.setattr(lines_module, "DRAWN_LINES", 5)
    monkeypatch.setattr(lines_module, "BATCH", 7)
    layer = geopandas.read_file(rough.lines, layer="coastline")
    assert len(layer) > 14
    lines = read_lines(rough, View.of(rough.geobox))
    longest = layer["length_m"].nlargest(5)
    assert lines.drawn["length_m"].tolist() == pytest.approx(longest.tolist())
    assert lines.length_m == pytest.approx(layer["length_m"].sum())
    text = page_of(make_result(tmp_path, half()))
    assert "longest are drawn" not in text
    share = longest.sum() / layer["length_m"].sum()
    text = page_of(copy_of(rough, tmp_path / "copy"))
    assert f"of {len(layer)} the 5 longest are drawn, {share:.1%} of the length" in text


def test_lines_of_very_many_vertices_are_drawn_coarser_before_any_is_left_out(rough, monkeypatch):
    monkeypatch.setattr(lines_module, "DRAWN_VERTICES", 300)
    layer = geopandas.read_file(rough.lines, layer="coastline")
    assert shapely.get_num_coordinates(layer.geometry.array).sum() > 1000
    lines = read_lines(rough, View.of(rough.geobox))
    assert shapely.get_num_coordinates(lines.drawn.geometry.array).sum() <= 300
    assert lines.tolerance_m > 1.5
    order = layer["length_m"].argsort(kind="stable")[::-1]
    for drawn, whole in zip(lines.drawn.geometry, layer.geometry[order], strict=False):
        assert shapely.hausdorff_distance(drawn, whole) <= lines.tolerance_m * 3


def copy_of(result: Result, folder: Path) -> Result:
    folder.mkdir()
    for path in result.folder.iterdir():
        if not path.name.endswith((".html", ".png")):
            (folder / path.name).write_bytes(path.read_bytes())
    return Result(folder, result.name, result.record)


def test_suspect_and_wide_stretches_are_lines_of_their_own(tmp_path):
    result = make_result(tmp_path, half())
    layer = geopandas.read_file(result.lines, layer="coastline")
    three = geopandas.GeoDataFrame(
        {
            "kind": ["sea", "lake", None], "length_m": [400.0, 500.0, 600.0],
            "edge_width_m": [5.0, 95.0, 95.0],
            "cloud_suspect": pd.array([False, None, True], dtype="boolean"),
            "position_u95_m": [4.5, None, 4.5],
        },
        geometry=[shapely.affinity.translate(layer.geometry[0], dx) for dx in (0, 50, 90)],
        crs=layer.crs,
    )  # fmt: skip
    result.lines.unlink()
    pyogrio.write_dataframe(three, result.lines, layer="coastline", driver="GPKG")
    text = page_of(result)
    drawn = json.dumps(figures_of(text)["map"])
    for name in ("certain", "wide", "suspect", "casing"):
        assert f'"name": "{name}"' in drawn
    for said in ("95.0 m", "kind sea", "kind lake", "600 m", "was changed after it was made"):
        assert said in text


def test_what_no_line_says_is_not_known_and_not_none(tmp_path):
    edge = "edge wider than 30 m"
    index = page_of(make_result(tmp_path / "index", half() * 2 - 1, quantity="index", level=0.1))
    assert re.search(rf">{edge}</th><td>not known</td>", index)
    assert re.search(r">cloud_suspect</th><td>not known</td>", index)
    assert f"</svg>{edge}" not in index
    assert "</svg>near cloud" not in index
    result = make_result(tmp_path / "probability", half())
    layer = geopandas.read_file(result.lines, layer="coastline")
    layer["cloud_suspect"] = pd.array([False] * len(layer), dtype="boolean")
    result.lines.unlink()
    pyogrio.write_dataframe(layer, result.lines, layer="coastline", driver="GPKG")
    known = page_of(result)
    assert re.search(rf">{edge}</th><td>0 m</td>", known)
    assert re.search(r">cloud_suspect</th><td>0 m</td>", known)
    assert f"</svg>{edge}" in known
    assert "</svg>near cloud" in known


@pytest.mark.parametrize(
    ("values", "more", "said"),
    [
        (np.full((40, 60), 0.99), {}, "There is no coastline"),
        (np.full((40, 60), 0.01), {}, "There is no coastline"),
        (np.full((40, 60), np.nan), {}, "No pixel has a value"),
        (np.array([[0, 0, 1], [0, 1, 1], [1, 1, 1]]), {}, "3 × 3 pixels"),
        (half(), {"transform": DEGREES, "crs": "EPSG:4326"}, "WGS 84 (EPSG:4326)"),
        (half(), {"transform": ROTATED}, "turned so that north is up"),
        (half() * 2 - 1, {"quantity": "index", "level": 0.1}, "between 0.05 and 0.15"),
        (half(), {"dtype": "float32"}, "unsure pixels"),
    ],
    ids=["water", "land", "nodata", "tiny", "degrees", "rotated", "index", "float32"],
)  # fmt: skip
def test_a_page_is_drawn_of_whatever_there_is(tmp_path, values, more, said):
    text = page_of(make_result(tmp_path, values, **more))
    assert said in text
    assert "nan" not in re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL).lower()
    assert figures_of(text)["map"]["doc"]["roots"]


def test_a_result_with_a_mask_alone_is_drawn_and_what_lacks_is_said(tmp_path):
    result = make_result(tmp_path, half())
    for suffix in ("_probability.tif", "_rgb.tif", ".gpkg"):
        (result.folder / f"coast{suffix}").unlink()
    text = page_of(result)
    for said in (
        "coast_rgb.tif is not there any more", "no probability and no index",
        "nothing says how sure", "The result has no lines", "has no picture of the scene",
    ):  # fmt: skip
        assert said in text, said
    assert set(figures_of(text)) == {"map"}


def test_a_result_without_any_raster_is_refused_and_so_is_a_folder_without_results(tmp_path):
    result = make_result(tmp_path, half())
    for path in result.folder.glob("*.tif"):
        path.unlink()
    with pytest.raises(ResultError, match="no raster left"):
        list(report_results(result.folder))
    assert not list(result.folder.glob(".*"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ResultError, match="holds no result"):
        list(report_results(tmp_path / "empty"))
    with pytest.raises(ResultError, match="is not there"):
        list(report_results(tmp_path / "nowhere"))


EVIL = '<script>alert("x")</script>'


def test_nothing_from_a_file_becomes_markup_and_nothing_is_fetched(tmp_path):
    result = make_result(tmp_path, half())
    layer = geopandas.read_file(result.lines, layer="coastline").assign(kind=EVIL)
    result.lines.unlink()
    pyogrio.write_dataframe(layer, result.lines, layer="coastline", driver="GPKG")
    name = "a<script>alert(1)<b>&'\""
    out = tmp_path / "evil"
    out.mkdir()
    for path in result.folder.iterdir():
        (out / path.name.replace("coast", name)).write_bytes(path.read_bytes())
    evil = {
        "scene": {"name": EVIL, "source": "https://example.org/<img src=x onerror=alert(2)>"},
        "notes": [EVIL], "command_line": f"geounet predict '{EVIL}'",
        "model": {"file": EVIL, "network": EVIL}, "clouds": {"source": EVIL},
        "versions": {EVIL: EVIL}, "plan": {EVIL: EVIL}, "timings": {EVIL: 1},
        "classes": [
            {"value": 0, "name": EVIL, "color": "#decba4", "water": False},
            {"value": 1, "name": "water", "color": "#1f77b4", "water": True},
        ],
        "bands_against_training": [
            {"band": EVIL, "scene_mean": 0.2, "scene_std": 0.1, "training_mean": 0.1,
             "training_std": 0.01, "far": True},
        ],
    }  # fmt: skip
    path = out / f"{name}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | evil))
    text = page_of(Result(out, name, {}))
    elements = Elements(text).found
    assert [tag for tag, _ in elements].count("script") == 3
    assert not [tag for tag, _ in elements if tag in ("img", "link", "iframe", "object", "b")]
    for tag, attributes in elements:
        assert not any(key.startswith("on") for key in attributes), (tag, attributes)
        for key in ("src", "href", "data", "action"):
            assert (attributes.get(key) or "#").startswith(("#", "data:")), (tag, attributes)
    (policy,) = [a["content"] for tag, a in elements if "http-equiv" in a]
    assert "default-src 'none'" in policy
    assert not re.search(
        r"@import|url\((?!data:)", re.search(r"<style>(.*?)</style>", text, re.S)[1]
    )
    assert "&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt;" in text
    assert EVIL in json.dumps(figures_of(text), ensure_ascii=False).replace('\\"', '"')


def test_json_in_a_script_cannot_end_it():
    said = _in_script({"a": "</script><!--&\u2028"})
    assert not set("<>&\u2028") & set(said)
    assert json.loads(said) == {"a": "</script><!--&\u2028"}


def test_the_same_result_gives_the_same_bytes_but_for_the_timings(tmp_path):
    one = make_result(tmp_path / "one", half())
    text = page_of(one)
    page_of(make_result(tmp_path / "between", half((50, 30))))
    two = make_result(tmp_path / "two", half())
    record = json.loads((two.folder / "coast.json").read_text())
    (two.folder / "coast.json").write_text(json.dumps(record | {"timings": {"total": 99}}))
    other = page_of(two)
    differ = [(a, b) for a, b in zip(text.split("\n"), other.split("\n"), strict=True) if a != b]
    assert [a.startswith('<p id="timings">') for a, _ in differ] == [True]
    pictures = [r.folder / "coast_quicklook.png" for r in (one, two)]
    assert pictures[0].read_bytes() == pictures[1].read_bytes()


def test_a_page_joins_the_set_and_the_rest_of_the_record_stays(tmp_path):
    result = make_result(tmp_path, half())
    path = result.folder / "coast.json"
    before = json.loads(path.read_text())
    page_of(result)
    after = json.loads(path.read_text())
    added = {"coast_report.html", "coast_quicklook.png"}
    assert after["files"].keys() - before["files"].keys() == added
    for name in added:
        assert after["files"][name]["sha256"] == sha256_of(result.folder / name)
    assert {k: v for k, v in after.items() if k != "files"} == {
        k: v for k, v in before.items() if k != "files"
    }
    with pytest.raises(OutputError, match=r"exists already.*--overwrite"):
        page_of(result)
    text = page_of(result, overwrite=True)
    assert "was changed" not in text
    assert not list(result.folder.glob(".*"))


def test_several_results_have_an_index_whose_links_lead_to_their_pages(tmp_path):
    result = make_result(tmp_path, half())
    for path in list(result.folder.iterdir()):
        other = path.name.replace("coast", "another one & more")
        (result.folder / other).write_bytes(path.read_bytes())
    *pages, index = report_results(result.folder)
    assert [p.name for p in pages] == ["another one & more_report.html", "coast_report.html"]
    assert index.name == "report.html"
    elements = Elements(index.read_text()).found
    links = {a["href"] for tag, a in elements if tag == "a"}
    assert links == {"another%20one%20%26%20more_report.html", "coast_report.html"}
    assert "another one &amp; more" in index.read_text()
    (one,) = report_results(result.folder, name="coast", overwrite=True)
    assert one.name == "coast_report.html"


def test_the_quicklook_shows_scene_line_and_water_edge_at_a_sensible_size(tmp_path):
    result = make_result(tmp_path, half((40, 60)))
    page_of(result)
    picture = matplotlib.image.imread(result.folder / "coast_quicklook.png")
    assert picture.shape[:2] == (800, 1200)
    red = picture[..., 0] - picture[..., 1:3].max(axis=2) > 0.3
    # The shore is in the middle, and the line on it.
    assert abs(np.nonzero(red)[1].mean() - 600) < 5
    assert red.any(axis=1).mean() > 0.9


def test_large_pictures_stay_small_in_the_page(tmp_path):
    values = rough_field(np.random.default_rng(0), (1700, 40), smooth=1)
    result = make_result(tmp_path, np.clip(values, 0, 1))
    view = View.of(result.geobox)
    assert view.read_shape == (1500, 35)
    text = page_of(result)
    drawn = json.dumps(figures_of(text)["map"])
    found = re.findall(r"data:image/(\w+);base64,([A-Za-z0-9+/=]+)", drawn)
    assert [kind for kind, _ in found] == ["webp", "png", "png"]
    for kind, data in found:
        picture = matplotlib.image.imread(io.BytesIO(base64.b64decode(data)), format=kind)
        assert picture.shape[:2] == (1500, 35)
    assert len(text) < 15e6


def test_a_grid_without_a_turn_is_read_as_it_is():
    assert View.of(GeoBox((30, 40), UTM, "EPSG:32630")).turned is None
    assert View.of(GeoBox((30, 40), SOUTH_UP, "EPSG:32630")).turned is not None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("scene", "x"), ("scene", {"res_m": ["a"]}), ("classes", ["<b>"]), ("notes", 5),
        ("clouds", ["x"]), ("files", {"a": None}), ("bands_against_training", [{"band": "red"}]),
        ("files", None), ("timings", []), ("level", [1]), ("plan", None),
    ],
)  # fmt: skip
def test_a_record_that_is_damaged_is_told_in_one_line_or_drawn(tmp_path, key, value):
    result = make_result(tmp_path, half((8, 12)))
    path = result.folder / "coast.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    if key in {"level", "plan"}:
        assert list(report_results(result.folder))
        return
    with pytest.raises(ResultError, match=r"is damaged, or was changed by hand: .*Make the result"):
        list(report_results(result.folder))
    assert not list(result.folder.glob("*report*"))


def test_a_band_that_never_varied_in_training_has_no_distance_from_it(tmp_path):
    result = make_result(tmp_path, half((8, 12)))
    path = result.folder / "coast.json"
    row = {"band": "red", "scene_mean": 0.2, "scene_std": 0.1, "training_mean": 0.1,
           "training_std": 0.0, "far": False}  # fmt: skip
    path.write_text(json.dumps(json.loads(path.read_text()) | {"bands_against_training": [row]}))
    assert "<td>not known</td>" in page_of(result)


def test_the_name_of_another_result_than_the_record_is_refused(tmp_path):
    result = make_result(tmp_path, half((8, 12)))
    with pytest.raises(ResultError, match="is one result, not other"):
        list(report_results(result.folder / "coast.json", name="other"))
    assert list(report_results(result.folder / "coast.json", name="coast"))


def test_of_several_results_none_is_drawn_where_one_is_damaged(tmp_path):
    result = make_result(tmp_path, half((8, 12)))
    record = json.loads((result.folder / "coast.json").read_text())
    (result.folder / "later.json").write_text(json.dumps(record | {"scene": 5}))
    with pytest.raises(ResultError, match=r"later\.json is damaged"):
        list(report_results(result.folder))
    assert not list(result.folder.glob("*report*"))
