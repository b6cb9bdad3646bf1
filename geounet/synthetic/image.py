"""A synthetic coast as a sensor takes it, window by window."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geounet.synthetic.noise import derive_key, derive_rng, normal_at, smooth_noise
from geounet.synthetic.shape import Coast, Ground, ramp
from geounet.synthetic.spectra import L2A, SPECTRA, Sky, SpectralBand, Surface, reflectance

FINEST_M = 10
"""Side of the pixels of the finest bands; a scene's grid, whatever its unit."""
_COARSEST = max(band.res_m for band in L2A) // FINEST_M
_HALO = 2 * _COARSEST
"""Pixels around a window that its values depend on: blur and resampling of the coarsest bands."""
DETECTOR_PX = 2400
"""Between edges of neighbouring detectors: some 24 km."""
DN_SCALE, DN_OFFSET = 0.0001, -1000
"""reflectance = (DN + offset) × scale, as in Sentinel-2 products from baseline 04.00 on."""


@dataclass(frozen=True)
class Imaging:
    """What a scene has beside its coast."""

    clouds: bool
    swath: bool
    """Whether a slanted edge of the swath leaves part of the scene without data."""


class SyntheticImage:
    """The digital numbers of a scene, the same whichever window asks for them."""

    def __init__(self, coast: Coast, imaging: Imaging) -> None:
        self.coast, self.imaging = coast, imaging
        rng = derive_rng(coast.seed, "image")
        brightness = 1 + 0.05 * rng.standard_normal(len(SPECTRA)).clip(-2, 2)
        self._spectra = {
            cover: (np.array(values) * factor).astype(np.float32)
            for (cover, values), factor in zip(SPECTRA.items(), brightness, strict=True)
        }
        sun_azimuth, cloud_px = rng.uniform(2.2, 2.9), rng.uniform(14, 26)
        # Rows run southward; a shadow falls away from the sun.
        self._shadow_shift = cloud_px * np.cos(sun_azimuth), -cloud_px * np.sin(sun_azimuth)
        self._slant = rng.choice([-1, 1]) * rng.uniform(0.12, 0.22)
        self._detector_edge = rng.uniform(0.35, 0.65) * coast.width
        self._swath_on_right = bool(rng.integers(2))
        self._glint = rng.uniform(0.004, 0.010), rng.uniform(0.020, 0.034)

    def digital_numbers(self, window: Window) -> NDArray[np.uint16]:
        """Return the scene's values under a window that lies inside it.

        Returns:
            (bands, height, width) in the order of `L2A`; 0 where there are no data.
        """
        seen = _grow(window)
        surface, sky = self._surface(seen), self.sky(seen)
        rows = slice(window.row_off - seen.row_off, None)
        cols = slice(window.col_off - seen.col_off, None)
        numbers = np.empty((len(L2A), window.height, window.width), dtype=np.uint16)
        for i, band in enumerate(L2A):
            perfect = reflectance(surface, sky, i, self._spectra)
            taken = self._sense(perfect, band, seen)[rows, cols]
            taken = taken[: window.height, : window.width]
            numbers[i] = np.rint(taken / DN_SCALE - DN_OFFSET).clip(1, 65535)
        numbers[:, ~self.valid(window)] = 0
        return numbers

    def valid(self, window: Window) -> NDArray[np.bool_]:
        """Return where the swath covers the window's pixels, (height, width)."""
        if not self.imaging.swath:
            return np.ones((window.height, window.width), dtype=bool)
        rows, cols = _centres(window)
        along = (cols[None, :] - self.coast.width / 2) + self._slant * (
            rows[:, None] - self.coast.height / 2
        )
        if not self._swath_on_right:
            along = -along
        return along < 0.46 * self.coast.width

    def sky(self, window: Window) -> Sky:
        """Return clouds and their shadows over a window, which may reach beyond the scene."""
        rows, cols = _centres(window)
        if not self.imaging.clouds:
            clear = np.zeros((len(rows), len(cols)), dtype=np.float32)
            return Sky(clear, clear)
        down, right = self._shadow_shift
        return Sky(
            cloud=self.cloud_at(rows, cols).astype(np.float32),
            shadow=self.cloud_at(rows - down, cols - right).astype(np.float32),
        )

    def cloud_at(self, rows: NDArray[np.float64], cols: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how dense the cloud is at a grid of positions, 0 to 1."""
        thickness = np.zeros((len(rows), len(cols)))
        for spacing, share in ((80.0, 1.0), (30.0, 0.6), (11.0, 0.4), (4.0, 0.2), (1.7, 0.08)):
            thickness += share * self._noise(f"cloud {spacing}", spacing, rows, cols)
        # Few over the coast, where the waterline is to be seen.
        off_the_coast = ramp(np.abs(self.coast.outline(rows, cols)), 10, 120)
        return ramp(thickness + 1.0 * off_the_coast, 3.5, 4.4)

    def _surface(self, window: Window) -> Surface:
        rows, cols = _centres(window)
        ground = self.coast.ground(window)
        depth_px = np.maximum(-ground.height, 0)
        open_sea = ramp(-ground.sea, -40, 5)
        muddy = self._noise("turbid", 85.0, rows, cols)
        muddy += 0.35 * self._noise("turbid", 24.0, rows, cols)
        muddy = ramp(muddy, 0.0, 2.2)
        near = 1 - ramp(-ground.sea, -20, 170)
        turbidity = np.clip(0.04 + 0.25 * muddy + near * (0.15 + 0.7 * muddy), 0, 1)
        weeds = self._noise("weeds", 18.0, rows, cols) + 0.5 * self._noise("weeds", 5.0, rows, cols)
        fields = {
            "water": self.coast.coverage(window),
            "texture": self._texture(window),
            "depth_m": 0.15 + 0.35 * depth_px,
            "turbidity": turbidity,
            "sandy_bottom": 1 - ramp(weeds, 0.2, 1.2),
            "foam": self._foam(rows, cols, depth_px, ground.sea) * open_sea,
            "glint": self._sun_glint(rows, cols),
        }
        return Surface(
            land_covers=self._land_covers(rows, cols, ground),
            **{name: field.astype(np.float32) for name, field in fields.items()},
        )

    def _land_covers(
        self, rows: NDArray[np.float64], cols: NDArray[np.float64], ground: Ground
    ) -> dict[str, NDArray[np.float32]]:
        """Return what covers the land: from the water up wet sand or mud, sand, then plants."""
        height_px = np.maximum(ground.height, 0)
        seaside = ramp(-ground.sea, -45, -8)
        width = 1.4 + self._noise("beach", 30.0, rows, cols)
        beach_px = seaside * (1 - ground.rough) * np.clip(2.6 * width, 0.8, 9)
        beach = (1 - ramp(height_px - beach_px, -0.6, 1.2)) * ramp(beach_px, 0.2, 1.0)
        flats = ramp(self._noise("flats", 60.0, rows, cols), 0.6, 1.6)
        wet_px = 0.9 + 6 * flats * (1 - ground.rough)
        wet = 1 - ramp(height_px / wet_px, 0.25, 1.0)
        dry = self._noise("dry", 70.0, rows, cols) + 0.6 * self._noise("dry", 14.0, rows, cols)
        dry += 0.3 * self._noise("dry", 4.0, rows, cols)
        bare = ramp(dry + 1.3 * ground.rough, 1.1, 2.0) * (0.3 + 0.7 * ground.rough)
        rocky_shore = ground.rough * (1 - ramp(height_px, 1.0, 4.0))
        rock = np.maximum(bare, rocky_shore)
        grass = ramp(dry, -0.5, 0.4)
        inland = 1 - beach
        covers = {
            "wet sand": beach * wet * (1 - flats),
            "mud": beach * wet * flats + inland * (1 - rock) * wet * 0.5,
            "sand": beach * (1 - wet),
            "rock": inland * rock,
            "grass": inland * (1 - rock) * (1 - 0.5 * wet) * grass,
            "forest": inland * (1 - rock) * (1 - 0.5 * wet) * (1 - grass),
        }
        return {name: share.astype(np.float32) for name, share in covers.items()}

    def _texture(self, window: Window) -> NDArray[np.float64]:
        rows, cols = _centres(window)
        whole_rows, whole_cols = np.floor(rows), np.floor(cols)
        texture = 1 + 0.05 * self._noise("texture", 6.0, rows, cols)
        texture += 0.06 * self._noise("texture", 2.0, rows, cols)
        key = derive_key(self.coast.seed, "grain")
        return np.maximum(texture + 0.04 * normal_at(whole_rows, whole_cols, key), 0.5)

    def _foam(
        self,
        rows: NDArray[np.float64],
        cols: NDArray[np.float64],
        depth_px: NDArray[np.float64],
        sea: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Return surf: white at the shore, and where waves break over a bar further out."""
        exposed = ramp(self._noise("surf", 55.0, rows, cols), -0.2, 0.9)
        patches = ramp(self._noise("surf", 2.2, rows, cols), -0.9, 0.9)
        swash = 1 - ramp(depth_px, 0.8, 3.2)
        bar_px = 9 + 1.5 * self._noise("surf", 20.0, rows, cols)
        breakers = np.exp(-(((depth_px - bar_px) / 1.1) ** 2)) * ramp(sea, -110, -50)
        return (
            exposed
            * np.clip((0.35 + 0.5 * patches) * swash + 0.8 * patches * breakers, 0, 1)
            * (depth_px > 0)
        )

    def _sun_glint(
        self, rows: NDArray[np.float64], cols: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the glint: neighbouring detectors look at the sun's image at other angles."""
        across = cols[None, :] + self._slant * rows[:, None] - self._detector_edge
        odd = np.floor(across / DETECTOR_PX) % 2 == 1
        swell = 1 + 0.18 * self._noise("swell", 2.6, rows, cols)
        swell += 0.2 * self._noise("swell", 45.0, rows, cols)
        return np.where(odd, *self._glint) * np.maximum(swell, 0)

    def _noise(
        self, name: str, spacing: float, rows: NDArray[np.float64], cols: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        key = derive_key(self.coast.seed, f"{name} {spacing}")
        return smooth_noise(rows, cols, spacing=spacing, key=key)

    def _sense(
        self, perfect: NDArray[np.float32], band: SpectralBand, window: Window
    ) -> NDArray[np.float32]:
        """Return a band as taken at its own resolution and brought to the scene's grid.

        Args:
            perfect: (height, width) reflectance on the scene's grid; sides are multiples of the
                coarsest pixel.
            band: Which.
            window: Where `perfect` lies; starts at a corner of a coarsest pixel.

        Returns:
            (height, width) on the scene's grid. The outermost two pixels of the band's own
            resolution are not to be used.
        """
        factor = band.res_m // FINEST_M
        height, width = perfect.shape[0] // factor, perfect.shape[1] // factor
        own = np.zeros((height, width), dtype=np.float32)
        for i in range(factor):
            for j in range(factor):
                own += perfect[i::factor, j::factor]
        own /= np.float32(factor**2)
        blurred = _blur(_blur(own).T).T
        key = derive_key(self.coast.seed, f"noise {band.name}")
        rows = np.arange(height) + window.row_off // factor
        cols = np.arange(width) + window.col_off // factor
        strength = np.float32(0.0012) + np.float32(0.006) * blurred
        noisy = blurred + strength * normal_at(rows, cols, key).astype(np.float32)
        return noisy if factor == 1 else _interpolate(_interpolate(noisy, factor).T, factor).T


def _centres(window: Window) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the positions of the centres of a window's rows and columns of pixels."""
    return (
        np.arange(window.row_off, window.row_off + window.height) + 0.5,
        np.arange(window.col_off, window.col_off + window.width) + 0.5,
    )


def _grow(window: Window) -> Window:
    """Return the window and all around it that it depends on, in whole coarsest pixels."""
    top = (window.row_off - _HALO) // _COARSEST * _COARSEST
    left = (window.col_off - _HALO) // _COARSEST * _COARSEST
    bottom = -(-(window.row_off + window.height + _HALO) // _COARSEST) * _COARSEST
    right = -(-(window.col_off + window.width + _HALO) // _COARSEST) * _COARSEST
    return Window(row_off=top, col_off=left, height=bottom - top, width=right - left)


def _blur(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Blur along the first axis by half a pixel (standard deviation: that of the three taps)."""
    side = np.float32(0.125)
    blurred: NDArray[np.float32] = np.array(values * np.float32(0.75), order="C")
    blurred[1:] += side * values[:-1]
    blurred[:-1] += side * values[1:]
    return blurred


def _interpolate(values: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Interpolate linearly along the first axis to pixels `factor` times finer."""
    # Pixel centres: the finer ones lie at (i + ½) / factor − ½ in coarse pixels.
    positions = (np.arange(len(values) * factor) + 0.5) / factor - 0.5
    before = np.floor(positions).astype(int).clip(0, len(values) - 2)
    share = (positions - before).astype(np.float32)[:, None]
    return (1 - share) * values[before] + share * values[before + 1]
