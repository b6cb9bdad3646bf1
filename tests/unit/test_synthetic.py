"""A synthetic coast: exact where it says so, and the same whichever window asks."""

from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.features import rasterize
from rasterio.windows import Window
from scipy.ndimage import gaussian_filter

from geounet.errors import OutputError
from geounet.scene import open_scene
from geounet.synthetic import CoastSettings, SyntheticCoast, image, shape, truth, write_coast
from geounet.synthetic.image import Imaging, SyntheticImage
from geounet.synthetic.noise import derive_key, normal_at, smooth_noise
from geounet.synthetic.shape import FINENESS, Coast
from geounet.synthetic.spectra import ATTENUATION, L2A, LIGHT_IN_SHADOW, SPECTRA

SIDE = 256
WHOLE = Window(row_off=0, col_off=0, height=SIDE, width=SIDE)


def make_coast(seed: int = 5, side: int = SIDE, min_wavelength_px: float = 4.0) -> Coast:
    return Coast(side, side, seed=seed, min_wavelength_px=min_wavelength_px)


@pytest.fixture(scope="module")
def coast() -> Coast:
    return make_coast()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SyntheticCoast:
    path = tmp_path_factory.mktemp("scenes") / "coast.tif"
    return write_coast(path, CoastSettings(SIDE, SIDE, seed=5))


@pytest.fixture(scope="module")
def dn(made: SyntheticCoast) -> NDArray[np.uint16]:
    with rasterio.open(made.scene) as src:
        return src.read()


def read_truth(made: SyntheticCoast, layer: str) -> geopandas.GeoDataFrame:
    return geopandas.read_file(made.truth, layer=layer)


def to_pixels(geometries: NDArray[np.object_], path: Path) -> NDArray[np.object_]:
    """Bring geometries from the map to (col, row)."""
    with rasterio.open(path) as src:
        inverse = ~src.transform
    return shapely.transform(geometries, lambda xy: np.stack(inverse @ tuple(xy.T), axis=1))


# Noise


def test_noise_is_white_and_normal() -> None:
    noise = normal_at(np.arange(-200, 200), np.arange(1_000_000, 1_000_500), derive_key(1, "a"))
    assert abs(noise.mean()) < 0.01
    assert abs(noise.std() - 1) < 0.01
    assert abs(np.percentile(noise, 97.5) - 1.96) < 0.03
    for shifted in (noise[1:] * noise[:-1], noise[:, 1:] * noise[:, :-1]):
        assert abs(shifted.mean()) < 0.01


def test_smooth_noise_has_unit_variance_and_nothing_shorter_than_twice_its_spacing() -> None:
    positions = np.arange(512.0)
    noise = smooth_noise(positions, positions, spacing=8.0, key=derive_key(1, "a"))
    assert abs(noise.std() - 1) < 0.1
    power = np.abs(np.fft.rfft(noise * np.hanning(512)[None, :], axis=1)).mean(axis=0) ** 2
    wavelength = 512 / np.arange(1, len(power))
    assert power[1:][wavelength < 8].sum() < 0.001 * power.sum()


# Shape


@given(
    seed=st.integers(0, 10**6),
    row=st.integers(-100, 300),
    col=st.integers(-100, 300),
    height=st.integers(1, 90),
    width=st.integers(1, 90),
)
@example(seed=224, row=0, col=0, height=26, width=7)  # a line that ends a last digit off the border
@settings(max_examples=15)
def test_coverage_is_the_area_that_the_line_encloses(
    seed: int, row: int, col: int, height: int, width: int
) -> None:
    """Found another way: intersections of water polygons with squares, by GEOS."""
    coast = make_coast(seed)
    window = Window(row_off=row, col_off=col, height=height, width=width)
    scene = SyntheticImage(coast, Imaging(clouds=False, swath=False))
    water = shapely.union_all(truth.trace_sheet(scene, window).water)
    rows, cols = np.mgrid[row : row + height, col : col + width]
    squares = shapely.box(cols, rows, cols + 1, rows + 1)
    area = shapely.area(shapely.intersection(squares, water))
    np.testing.assert_allclose(coast.coverage(window), area, atol=1e-6)


def test_coverage_is_the_share_of_points_below_zero(coast: Coast) -> None:
    """Brute force on the surface itself, 64 × 64 points a pixel."""
    window = Window(row_off=104, col_off=104, height=48, width=48)
    inner = (np.arange(48 * 64) + 0.5) / 64
    rows, cols = 104 + inner, 104 + inner
    below = coast._surface(rows, cols).at(rows, cols) < 0
    share = below.reshape(48, 64, 48, 64).mean(axis=(1, 3))
    assert ((share > 0) & (share < 1)).sum() > 20  # there is a coast to speak of
    np.testing.assert_allclose(coast.coverage(window), share, atol=0.004)


def test_vertices_are_dense_enough_for_curves(coast: Coast) -> None:
    """The middles of the chords lie on the surface's zero to 0.002 pixel, nearly everywhere."""
    lines = [line for line in coast.lines(WHOLE) if len(line) > 1]
    middles = np.concatenate([(line[1:] + line[:-1]) / 2 for line in lines])[::29]
    step = 1e-4
    offsets = []
    for col, row in middles:
        rows, cols = np.array([row, row + step]), np.array([col, col + step])
        height = coast._surface(rows, cols).at(rows, cols)
        down, right = (height[1, 0] - height[0, 0]) / step, (height[0, 1] - height[0, 0]) / step
        offsets.append(abs(height[0, 0]) / np.hypot(down, right))
    assert np.percentile(offsets, 95) < 0.002


def total_length(coast: Coast) -> float:
    return sum(float(np.hypot(*np.diff(line, axis=0).T).sum()) for line in coast.lines(WHOLE))


def test_the_line_has_a_length(coast: Coast, monkeypatch: pytest.MonkeyPatch) -> None:
    length = total_length(coast)
    monkeypatch.setattr(shape, "FINENESS", 2 * FINENESS)
    assert abs(total_length(coast) / length - 1) < 0.001


def test_a_longer_smallest_wavelength_gives_a_smoother_coast() -> None:
    def turning(wavelength: float) -> float:
        """Mean curvature in radians per pixel."""
        coast = make_coast(min_wavelength_px=wavelength)
        turned = length = 0.0
        for line in coast.lines(WHOLE):
            along = np.diff(line, axis=0)
            angle = np.unwrap(np.arctan2(along[:, 1], along[:, 0]))
            turned += float(np.abs(np.diff(angle)).sum())
            length += float(np.hypot(*along.T).sum())
        return turned / length

    assert turning(4.0) > 1.5 * turning(16.0)


# Truth


def test_land_is_on_the_left_of_the_line(made: SyntheticCoast) -> None:
    lines = read_truth(made, "waterline").geometry.to_numpy()
    water = shapely.union_all(read_truth(made, "water").geometry.to_numpy())
    shapely.prepare(water)
    middles, left = [], []
    for line in lines:
        xy = shapely.get_coordinates(line)
        along = np.diff(xy, axis=0)
        long_enough = np.hypot(*along.T) > 0.5  # metres
        middles.append(((xy[1:] + xy[:-1]) / 2)[long_enough])
        left.append((along[:, ::-1] * (-1, 1) / np.hypot(*along.T)[:, None])[long_enough])
    points, normals = np.concatenate(middles), np.concatenate(left)
    assert not shapely.contains_xy(water, *(points + 0.05 * normals).T).any()
    assert shapely.contains_xy(water, *(points - 0.05 * normals).T).all()


def test_the_line_is_the_edge_of_the_water(made: SyntheticCoast) -> None:
    lines = shapely.union_all(read_truth(made, "waterline").geometry.to_numpy())
    water = read_truth(made, "water").geometry
    assert water.is_valid.all()
    edges = shapely.union_all(shapely.boundary(water.to_numpy()))
    with rasterio.open(made.scene) as src:
        border = shapely.box(*src.bounds).boundary
    assert lines.difference(edges).length < 1e-6
    assert edges.difference(lines).difference(border).length < 1e-6


def test_labels_from_the_polygons_are_the_pixels_mostly_covered(made: SyntheticCoast) -> None:
    with rasterio.open(made.scene) as src:
        transform = src.transform
    water = read_truth(made, "water").geometry
    label = rasterize(water, (SIDE, SIDE), transform=transform).astype(bool)
    covered = make_coast().coverage(WHOLE)
    clear = np.abs(covered - 0.5) > 0.25
    assert (label == (covered >= 0.5))[clear].mean() > 0.9995
    assert (label != (covered >= 0.5)).mean() < 0.002


def test_sheets_meet_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = SyntheticImage(make_coast(), Imaging(clouds=True, swath=False))
    whole = truth.trace_sheet(scene, WHOLE)
    monkeypatch.setattr(truth, "SHEET", 64)
    sheets = [truth.trace_sheet(scene, window) for window in truth.plan_sheets(SIDE, SIDE)]
    assert len(sheets) == 16
    lines = np.concatenate([sheet.waterline for sheet in sheets])
    joined = shapely.line_merge(shapely.multilinestrings(lines))
    assert shapely.equals(shapely.normalize(joined), shapely.union_all(whole.waterline))
    for layer in ("water", "cloud"):
        parts = shapely.union_all(np.concatenate([getattr(sheet, layer) for sheet in sheets]))
        difference = parts.symmetric_difference(shapely.union_all(getattr(whole, layer)))
        assert difference.area < 1e-6 * parts.area


# Image


@given(
    row=st.integers(0, SIDE - 1),
    col=st.integers(0, SIDE - 1),
    height=st.integers(1, 80),
    width=st.integers(1, 80),
)
@settings(max_examples=12)
def test_the_image_does_not_depend_on_the_window(
    dn: NDArray[np.uint16], row: int, col: int, height: int, width: int
) -> None:
    height, width = min(height, SIDE - row), min(width, SIDE - col)
    window = Window(row_off=row, col_off=col, height=height, width=width)
    part = SyntheticImage(make_coast(), Imaging(clouds=True, swath=True)).digital_numbers(window)
    np.testing.assert_array_equal(part, dn[:, row : row + height, col : col + width])


def test_the_image_lies_where_the_line_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """On bright land and black water: the shift to the exact coverage, by least squares."""
    monkeypatch.setattr(
        image, "reflectance", lambda surface, *_: np.float32(0.3) * (1 - surface.water)
    )
    coast = make_coast()
    dn = SyntheticImage(coast, Imaging(clouds=False, swath=False)).digital_numbers(WHOLE)
    land = 1 - coast.coverage(WHOLE)
    for band, blur_px in (("B08", 0.5), ("B11", 1.2), ("B09", 3.7)):
        seen = dn[[b.name for b in L2A].index(band)].astype(float)
        model = gaussian_filter(land, blur_px)
        terms = np.stack([model, *np.gradient(model), np.ones_like(model)], axis=-1)[8:-8, 8:-8]
        fit = np.linalg.lstsq(terms.reshape(-1, 4), seen[8:-8, 8:-8].ravel(), rcond=None)[0]
        assert np.abs(fit[1:3] / fit[0]).max() < 0.05, band


@pytest.mark.parametrize("band", [b for b in L2A if b.name in {"B02", "B05", "B09"}])
def test_coarse_bands_come_back_to_the_grid_in_place(
    coast: Coast, band: image.SpectralBand
) -> None:
    """A plane is neither shifted nor bent by averaging, blur and interpolation."""
    scene = SyntheticImage(coast, Imaging(clouds=False, swath=False))
    rows, cols = np.mgrid[:120, :120].astype(np.float32)
    plane = 0.2 + 0.0005 * rows + 0.001 * cols
    taken = scene._sense(plane, band, Window(row_off=0, col_off=0, height=120, width=120))
    error = (taken - plane)[18:-18, 18:-18]
    assert abs(error.mean()) < 0.0004
    assert error.std() < 0.004


def test_the_sensor_blurs_by_half_a_pixel() -> None:
    point = np.zeros((21, 21), dtype=np.float32)
    point[10, 10] = 1
    spread = image._blur(image._blur(point).T).T
    offsets = np.arange(21) - 10
    assert spread.sum() == pytest.approx(1)
    assert (spread.sum(axis=1) * offsets**2).sum() ** 0.5 == pytest.approx(0.5)
    assert (spread.sum(axis=0) * offsets**2).sum() ** 0.5 == pytest.approx(0.5)


def test_glint_steps_at_a_detectors_edge() -> None:
    scene = SyntheticImage(make_coast(side=900), Imaging(clouds=False, swath=False))
    rows, cols = np.arange(50) + 400.5, np.arange(900) + 0.5
    across = scene._sun_glint(rows, cols).mean(axis=0)
    jumps = np.abs(np.convolve(across, [1] * 30 + [-1] * 30, mode="valid")) / 30
    assert jumps.max() > 0.007
    where = jumps.argmax() + 30
    assert 0.25 * 900 < where < 0.75 * 900


def test_clouds_are_few_and_have_shadows() -> None:
    scene = SyntheticImage(make_coast(side=1500), Imaging(clouds=True, swath=False))
    sky = scene.sky(Window(row_off=0, col_off=0, height=1500, width=1500))
    assert 0.002 < (sky.cloud > 0.1).mean() < 0.08
    down, right = (round(shift) for shift in scene._shadow_shift)
    assert np.hypot(down, right) > 10
    moved = np.roll(sky.cloud, (down, right), axis=(0, 1))[100:-100, 100:-100]
    assert np.corrcoef(moved.ravel(), sky.shadow[100:-100, 100:-100].ravel())[0, 1] > 0.9


def test_spectra_are_of_the_twelve_bands() -> None:
    assert {len(values) for values in SPECTRA.values()} == {12}
    assert ATTENUATION.shape == LIGHT_IN_SHADOW.shape == (12,)
    green, nir, swir = 2, 7, 10
    for water in ("deep", "turbid"):
        assert SPECTRA[water][green] > SPECTRA[water][nir] > SPECTRA[water][swir]
    for land in ("sand", "forest", "grass", "rock"):
        assert SPECTRA[land][green] < SPECTRA[land][nir]


# Files


def test_the_scene_opens_as_sentinel_2_l2a(made: SyntheticCoast, dn: NDArray[np.uint16]) -> None:
    with open_scene(made.scene) as scene:
        assert [band.id for band in scene.bands] == [f"s2:{band.name}" for band in L2A]
        assert (scene.sensor, scene.level) == ("s2", "L2A")
        assert scene.time == CoastSettings(SIDE, SIDE, seed=5).time
        values, valid = scene.read(["B08"], WHOLE)
    expected = (dn[7].astype(float) - 1000) * 0.0001
    np.testing.assert_allclose(values[0][valid], expected[valid], atol=1e-6)
    np.testing.assert_array_equal(valid, dn[7] > 0)
    assert 0.01 < (~valid).mean() < 0.2


def test_the_same_settings_give_the_same_bytes(made: SyntheticCoast, tmp_path: Path) -> None:
    again = write_coast(tmp_path / "coast.tif", CoastSettings(SIDE, SIDE, seed=5))
    assert again.scene.read_bytes() == made.scene.read_bytes()
    assert again.truth.read_bytes() == made.truth.read_bytes()
    other = write_coast(tmp_path / "other.tif", CoastSettings(SIDE, SIDE, seed=6))
    assert other.scene.read_bytes() != made.scene.read_bytes()


def test_nothing_is_replaced_unasked(made: SyntheticCoast) -> None:
    with pytest.raises(OutputError, match="exists already"):
        write_coast(made.scene, CoastSettings(3, 3, seed=1))


@pytest.mark.parametrize("size", [(1, 1), (3, 3), (40, 50), (65, 7)])
def test_small_scenes_work_too(tmp_path: Path, size: tuple[int, int]) -> None:
    made = write_coast(tmp_path / "small.tif", CoastSettings(*size, seed=3, swath=False))
    with rasterio.open(made.scene) as src:
        assert (src.height, src.width) == size
        assert (src.read() > 0).all()
    water = to_pixels(read_truth(made, "water").geometry.to_numpy(), made.scene)
    covered = Coast(*size, seed=3, min_wavelength_px=4.0).coverage(
        Window(row_off=0, col_off=0, height=size[0], width=size[1])
    )
    assert shapely.area(water).sum() == pytest.approx(covered.sum(), abs=1e-5)


@pytest.mark.parametrize("seed", range(6))
def test_every_seed_has_land_and_water(seed: int) -> None:
    side = 512
    window = Window(row_off=0, col_off=0, height=side, width=side)
    assert 0.1 < make_coast(seed, side).coverage(window).mean() < 0.9


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="0 × 5"):
        CoastSettings(0, 5, seed=1)
    with pytest.raises(ValueError, match="below 1"):
        CoastSettings(5, 5, seed=1, min_wavelength_px=0.5)
    with pytest.raises(ValueError, match=r"\.tif"):
        write_coast(Path("scene.jp2"), CoastSettings(5, 5, seed=1))
