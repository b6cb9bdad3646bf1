"""The page of a result as a browser shows it: drawn, moved about in, and without a complaint."""

import json
from pathlib import Path

import geopandas
import numpy as np
import pytest
from affine import Affine
from browsing import Browser, open_browser
from contouring import make_products

from geounet.result_page import report_results

DEGREES = Affine(1e-4, 0, 12.0, 0, -1e-4, 60.0)
ROTATED = Affine.translation(500_000, 4_500_000) @ Affine.rotation(30) @ Affine.scale(12, -9)


@pytest.fixture(scope="module")
def browser():
    with open_browser() as browser:
        yield browser


def write_page(folder: Path, values: np.ndarray, **more) -> Path:
    out = make_products(folder, values, **more)
    path = out / "coast.json"
    said = {
        "format": 1, "command": "predict", "level": 0.5, "notes": ["<b>not bold</b>"],
        "bands_against_training": [
            {"band": "B02", "scene_mean": 0.2, "scene_std": 0.1, "training_mean": 0.1,
             "training_std": 0.01, "far": True},
        ],
    }  # fmt: skip
    path.write_text(json.dumps(said | json.loads(path.read_text())))
    (page,) = report_results(out)
    return page


def shore() -> np.ndarray:
    """Land on the left, water on the right, the line in the middle: 600 m by 400 m."""
    cols = np.arange(60) - 29.5
    return np.broadcast_to(1 / (1 + np.exp(-2 * cols)), (40, 60)).astype(np.float32)


def ranges(browser: Browser) -> np.ndarray:
    """Return x and y at both ends of the map, (2, 2)."""
    return np.array(
        browser.run(
            "(m => [[m.x_range.start, m.x_range.end], [m.y_range.start, m.y_range.end]])"
            "(Bokeh.documents[0].get_model_by_name('map'))"
        )
    )


def frame(browser: Browser) -> dict[str, float]:
    """Return where on the screen the inside of the map is."""
    return browser.run(
        "(v => {const r = v.el.getBoundingClientRect(), b = v.frame.bbox;"
        "return {x: r.left + b.left + scrollX, y: r.top + b.top + scrollY,"
        " width: b.width, height: b.height}})"
        "(Bokeh.index.get_one(Bokeh.documents[0].get_model_by_name('map')))"
    )


def on_screen(browser: Browser, x: float, y: float) -> tuple[float, float]:
    """Return where on the screen a place of the map is."""
    box, ((left, right), (bottom, top)) = frame(browser), ranges(browser)
    return (
        box["x"] + (x - left) / (right - left) * box["width"],
        box["y"] + (top - y) / (top - bottom) * box["height"],
    )


def test_it_draws_without_a_complaint_or_a_request(browser, tmp_path):
    browser.open(write_page(tmp_path, shore()))
    assert browser.complaints() == []
    assert {url.partition("://")[0] for url in browser.requested()} == {"file"}
    for name in ("map", "histogram", "bands"):
        box = browser.run(
            f"(r => ({{x: r.x + scrollX, y: r.y + scrollY, width: r.width, height: r.height}}))"
            f"(document.getElementById('figure-{name}').getBoundingClientRect())"
        )
        picture = browser.screenshot(box)[..., :3]
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 20, name
    picture = browser.screenshot(frame(browser))[..., :3]
    red = (picture[..., 0] > 0.7) & (picture[..., 1:] < 0.4).all(axis=2)
    middle = np.nonzero(red)[1].mean() / picture.shape[1]
    assert red.sum() > 200
    assert middle == pytest.approx(0.5, abs=0.01)  # the shore is there
    assert browser.run("document.querySelectorAll('.notes b').length") == 0
    assert browser.run("document.querySelector('.notes').textContent.includes('<b>not bold</b>')")


def test_layers_are_shown_hidden_and_faded(browser, tmp_path):
    browser.open(write_page(tmp_path, shore()))
    box = frame(browser)
    left = {"x": box["x"] + box["width"] * 0.3, "y": box["y"] + 100, "width": 20, "height": 20}

    def color() -> np.ndarray:
        browser.run("new Promise(r => setTimeout(r, 400))")
        return browser.screenshot(left)[..., :3].mean(axis=(0, 1)) * 255

    browser.run("document.querySelector('[data-layer=scene]').click()")
    browser.run("document.querySelector('[data-layer=mask]').click()")
    land = np.array([0xDE, 0xCB, 0xA4])
    background = np.array([0xEE, 0xEE, 0xEE])
    np.testing.assert_allclose(color(), 0.45 * land + 0.55 * background, atol=4)
    browser.run(
        "(s => {s.value = 1; s.dispatchEvent(new Event('input'))})"
        "(document.querySelector('[data-alpha=mask]'))"
    )
    np.testing.assert_allclose(color(), land, atol=4)
    browser.run("document.querySelector('[data-layer=mask]').click()")
    np.testing.assert_allclose(color(), background, atol=4)


def test_it_pans_zooms_and_finds_places(browser, tmp_path):
    page = write_page(tmp_path, shore())
    browser.open(page)
    before, box = ranges(browser), frame(browser)
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    browser.mouse("mouseMoved", x, y)
    browser.mouse("mousePressed", x, y, button="left", buttons=1, clickCount=1)
    for step in range(1, 6):
        browser.mouse("mouseMoved", x + 20 * step, y, button="left", buttons=1)
    browser.mouse("mouseReleased", x + 100, y, button="left", clickCount=1)
    after = ranges(browser)
    moved = 100 / box["width"] * (before[0, 1] - before[0, 0])
    np.testing.assert_allclose(after[0], before[0] - moved, atol=0.05 * moved)
    np.testing.assert_allclose(after[1], before[1], atol=1e-6)

    browser.mouse("mouseWheel", x, y, deltaX=0, deltaY=-300)
    browser.run("new Promise(r => setTimeout(r, 300))")
    closer = ranges(browser)
    assert np.diff(closer, axis=1).max() < 0.95 * np.diff(after, axis=1).max()

    place = "document.querySelector('td [data-box]')"
    browser.run(f"{place}.click()")
    browser.run("document.querySelector('[data-layer=mask]').click()")  # which must not move it
    left, bottom, right, top = map(float, browser.run(f"{place}.dataset.box").split())
    found = ranges(browser)
    np.testing.assert_allclose(found.mean(axis=1), [(left + right) / 2, (bottom + top) / 2])
    assert found[0, 0] <= left < right <= found[0, 1]
    browser.run("document.querySelector('button[data-box]').click()")
    whole = ranges(browser)
    assert whole[0, 0] <= 500_000 < 500_600 <= whole[0, 1]
    assert browser.complaints() == []


def test_a_line_under_the_pointer_tells_its_attributes(browser, tmp_path):
    page = write_page(tmp_path, shore())
    (line,) = geopandas.read_file(page.with_name("coast.gpkg"), layer="coastline").itertuples()
    browser.open(page)
    x, y = on_screen(browser, 500_300, 4_499_795)
    browser.mouse("mouseMoved", x - 30, y)
    browser.mouse("mouseMoved", x, y)
    browser.run("new Promise(r => setTimeout(r, 500))")
    said = browser.run(
        "(function texts(node) {return [...node.querySelectorAll('*')].map(n => n.shadowRoot ?"
        " n.shadowRoot.textContent + texts(n.shadowRoot) : '').join(' ')})(document)"
    )
    for text in ("length_m", f"{line.length_m:,.1f} m", "edge_width_m", "unknown", "4.5 m"):
        assert text in said, text


@pytest.mark.parametrize(
    ("more", "unit"),
    [({}, 1.0), ({"transform": DEGREES, "crs": "EPSG:4326"}, np.cos(np.radians(59.998))),
     ({"transform": ROTATED}, 1.0)],
    ids=["utm", "degrees", "rotated"],
)  # fmt: skip
def test_a_metre_of_x_is_as_long_as_one_of_y(browser, tmp_path, more, unit):
    browser.open(write_page(tmp_path, shore(), **more))
    box, spans = frame(browser), np.diff(ranges(browser), axis=1)[:, 0]
    assert box["width"] / spans[0] == pytest.approx(unit * box["height"] / spans[1], rel=1e-3)


@pytest.mark.parametrize(
    "values",
    [np.full((20, 30), 0.99), np.full((20, 30), np.nan), np.tri(3)],
    ids=["water", "nodata", "tiny"],
)  # fmt: skip
def test_what_has_no_coast_opens_too_and_fits_a_phone(browser, tmp_path, values):
    browser.open(write_page(tmp_path, values), width=390, height=800)
    assert browser.complaints() == []
    assert browser.run("document.documentElement.scrollWidth") <= 390
