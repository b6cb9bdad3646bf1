"""What the ground, the water and the sky of a synthetic coast look like in each band.

The numbers are typical of Sentinel-2 L2A scenes of temperate and tropical coasts, rounded; the
shapes of the curves follow spectral libraries (USGS splib07, ECOSTRESS) and, for water, the
optics of Lee et al. (1999): bottom and water column weighed by the attenuation over twice the
depth. They are for trying software, not for retrieving anything.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class SpectralBand(NamedTuple):
    """One band as the sensor takes it."""

    name: str
    res_m: int
    """10, 20 or 60: side of the pixels that it is taken in."""


L2A = tuple(
    SpectralBand(name, res_m)
    for name, res_m in (
        ("B01", 60),
        ("B02", 10),
        ("B03", 10),
        ("B04", 10),
        ("B05", 20),
        ("B06", 20),
        ("B07", 20),
        ("B08", 10),
        ("B8A", 20),
        ("B09", 60),
        ("B11", 20),
        ("B12", 20),
    )
)
"""The twelve bands of Sentinel-2 L2A, in the order of the product (B10 exists in L1C only)."""

# fmt: off
SPECTRA = {
    #               B01   B02   B03   B04   B05   B06   B07   B08   B8A   B09   B11   B12
    "deep":       (.030, .028, .020, .011, .008, .006, .006, .005, .005, .005, .003, .002),
    "turbid":     (.052, .066, .094, .098, .080, .044, .042, .034, .028, .016, .007, .005),
    "sand":       (.170, .205, .260, .310, .330, .345, .355, .365, .375, .370, .440, .390),
    "wet sand":   (.090, .105, .135, .160, .172, .178, .183, .185, .185, .165, .135, .095),
    "mud":        (.065, .078, .100, .118, .132, .142, .148, .150, .150, .125, .095, .065),
    "forest":     (.018, .026, .052, .034, .085, .230, .290, .315, .335, .330, .170, .080),
    "grass":      (.032, .046, .080, .078, .130, .215, .245, .265, .285, .280, .255, .160),
    "rock":       (.078, .092, .115, .135, .145, .152, .158, .165, .172, .172, .210, .185),
    "foam":       (.330, .380, .385, .370, .345, .325, .315, .295, .285, .230, .095, .055),
    "cloud":      (.560, .550, .540, .545, .555, .565, .570, .575, .580, .440, .390, .300),
}
"""Reflectance of each cover, in the order of `L2A`."""

ATTENUATION = (
    #               B01   B02   B03   B04   B05   B06   B07   B08   B8A   B09   B11   B12
    np.array([      .03,  .04,  .09,  .36,  .62,  2.4,  2.5,  3.5,  4.6,  10.,  90.,  200.])
)
"""Diffuse attenuation of clear water, per metre (pure water's absorption from the red on)."""
# fmt: on

LIGHT_IN_SHADOW = np.linspace(0.62, 0.30, len(L2A))
"""Share of the light that remains in a cloud's shadow: scattered by the sky, so mostly blue."""


class Sky(NamedTuple):
    """What stands between the ground and the sensor over a window, each (height, width), 0–1."""

    cloud: NDArray[np.float32]
    shadow: NDArray[np.float32]


class Surface(NamedTuple):
    """What the pixels of a window are made of; every field is (height, width) float32."""

    water: NDArray[np.float32]
    """Share of the pixel that is water, from the exact line."""
    land_covers: dict[str, NDArray[np.float32]]
    """Shares of the land part by the names of `SPECTRA`; they add up to 1."""
    texture: NDArray[np.float32]
    """Factor on the land's reflectance, about 1."""
    depth_m: NDArray[np.float32]
    turbidity: NDArray[np.float32]
    """0 clear to 1 turbid."""
    sandy_bottom: NDArray[np.float32]
    """0 weeds or rock to 1 sand."""
    foam: NDArray[np.float32]
    """Share of the water that is white."""
    glint: NDArray[np.float32]
    """Reflectance of the sun's mirror image, nearly the same in all bands."""


def reflectance(
    surface: Surface, sky: Sky, band: int, spectra: dict[str, NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Return what the band would see of each pixel with a perfect sensor.

    Args:
        surface: What the pixels are made of.
        sky: Clouds and their shadows.
        band: Index into `L2A`.
        spectra: `SPECTRA` as they are in this scene, each (bands,).

    Returns:
        (height, width), 0 to about 0.7.
    """

    def of(cover: str) -> np.float32:
        return spectra[cover][band]

    land = np.zeros_like(surface.water)
    for cover, share in surface.land_covers.items():
        land += share * of(cover)
    land *= surface.texture

    column = of("deep") + surface.turbidity * (of("turbid") - of("deep"))
    bottom = of("mud") * np.float32(0.6) + surface.sandy_bottom * (
        of("wet sand") - of("mud") * np.float32(0.6)
    )
    attenuation = np.float32(ATTENUATION[band]) + np.float32(0.9) * surface.turbidity
    # Down and up again; light that comes back out at an angle has gone a little further.
    seen = np.exp(np.float32(-2.2) * attenuation * surface.depth_m)
    water = column + (bottom - column) * seen + surface.glint
    water += surface.foam * (of("foam") - water)

    ground = land + surface.water * (water - land)
    ground *= 1 - sky.shadow * np.float32(1 - LIGHT_IN_SHADOW[band])
    return ground + sky.cloud * (of("cloud") - ground)
