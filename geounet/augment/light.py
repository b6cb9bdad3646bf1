"""What changes values and moves nothing: gain, offset, noise, lost bands, shadows, holes.

Images are standardised, and light acts on reflectance: f times the reflectance is, standardised,
f · (x − dark) + dark, where dark = −mean / std is a reflectance of 0. Only bands that see sunlight
know of it: a cloud darkens no radar and no elevation model.
"""

import logging
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from geounet.augment.chance import Chance, Drawn
from geounet.bands import Band, list_bands
from geounet.config import AugmentSettings

logger = logging.getLogger(__name__)

_SUNLIGHT_NM = 4000
"""Wavelength beyond which what the Earth itself radiates is more than what it reflects."""
_POINTS = 5
"""Points to a side between which the shape of a shadow or a hole is drawn."""
_PENUMBRA = 0.25
"""Width of a shadow's edge, in the unit of the shape's field, whose standard deviation is 1."""
_COARSE = 8
"""Pixels between those on which the size of a shape is measured."""


def changes_values(settings: AugmentSettings) -> bool:
    """Return whether any value would be changed."""
    light = settings.gain or settings.offset or settings.shadows
    return bool(light or settings.noise or settings.band_dropout or settings.holes)


def sunlit(bands: Sequence[Band]) -> Tensor:
    """Return which bands see reflected sunlight, (bands,) bool."""
    return torch.tensor(
        [band.wavelength_nm is not None and band.wavelength_nm < _SUNLIGHT_NM for band in bands]
    )


def warn_of_no_light(settings: AugmentSettings, bands: Sequence[Band]) -> None:
    """Say so where settings are of light, and none of the bands is known to see it."""
    wanted = [name for name in ("gain", "shadows") if getattr(settings, name)]
    if wanted and not sunlit(bands).any():
        logger.warning(
            "%s nothing: no band (%s) is known to see sunlight. `geounet tile --sensor` says whose "
            "bands they are; augment.offset changes any band.",
            " and ".join(f"augment.{name}" for name in wanted)
            + (" change" if len(wanted) > 1 else " changes"),
            list_bands(bands),
        )


def shade(
    image: Tensor, settings: AugmentSettings, dark: Tensor, lit: Tensor, chance: Chance
) -> Tensor:
    """Return the image under other light: a gain for each band, and the shadows of clouds.

    Args:
        image: (B, bands, S, S), standardised.
        settings: How much.
        dark: (bands,), the standardised value of a reflectance of 0, −mean / std.
        lit: (bands,) bool, which see sunlight.
        chance: Of the samples.
    """
    gain = settings.gain
    light = 1 + chance.uniform(Drawn.GAIN, len(lit), 1, 1, low=-gain, high=gain)  # (B, bands, 1, 1)
    if settings.shadows:
        light = light * draw_shadows(settings, image.shape[-1], chance)  # (B, bands, S, S)
    light = torch.where(lit[:, None, None], light, 1)
    dark = dark[:, None, None]
    return torch.addcmul(dark, image - dark, light)


def disturb(image: Tensor, settings: AugmentSettings, spread: Tensor, chance: Chance) -> Tensor:
    """Return the image with an offset for each band and noise at each pixel of each.

    Args:
        image: (B, bands, S, S), standardised.
        settings: How much.
        spread: (bands,), standard deviation of the chips, standardised: 1 if by their own.
        chance: Of the samples.
    """
    most = settings.offset
    added = chance.uniform(Drawn.OFFSET, len(spread), 1, 1, low=-most, high=most)
    if settings.noise:
        added = added + settings.noise * chance.normal(Drawn.NOISE, *image.shape[1:])
    return torch.addcmul(image, added, spread[:, None, None])


def draw_shadows(settings: AugmentSettings, side: int, chance: Chance) -> Tensor:
    """Return the light that clouds leave, (B, 1, side, side), 1 without a shadow."""
    drawn = chance.uniform(Drawn.SHADOW, 3, 1, 1).unbind(dim=1)  # (B, 1, 1) each
    darkness = settings.shadow_depth * (1 + drawn[1]) / 2  # at least half of the most
    field, level = _draw_shape(Drawn.SHADOW_SHAPE, settings.shadow_share * drawn[2], side, chance)
    shadow = ((field - level) / _PENUMBRA + 0.5).clamp(0, 1) * (drawn[0] < settings.shadows)
    return (1 - darkness * shadow).unsqueeze(1)


def draw_holes(settings: AugmentSettings, side: int, chance: Chance) -> Tensor:
    """Return where there is no data, (B, side, side) bool."""
    drawn = chance.uniform(Drawn.HOLE, 2, 1, 1).unbind(dim=1)
    field, level = _draw_shape(Drawn.HOLE_SHAPE, settings.hole_share * drawn[1], side, chance)
    return (field > level) & (drawn[0] < settings.holes)


def lose_bands(image: Tensor, settings: AugmentSettings, chance: Chance) -> Tensor:
    """Return the image, (B, bands, S, S), with some bands 0 all over, but never all."""
    drawn = chance.uniform(Drawn.BANDS_LOST, image.shape[1], 1, 1)
    kept = (drawn >= settings.band_dropout) | (drawn == drawn.amax(dim=1, keepdim=True))
    return image * kept


def _draw_shape(drawn: Drawn, share: Tensor, side: int, chance: Chance) -> tuple[Tensor, Tensor]:
    """Return a smooth field, and the level above which about `share` of it lies.

    Args:
        drawn: For what.
        share: (B, 1, 1), 0 to 1.
        side: Rows and columns.
        chance: Of the samples.

    Returns:
        (B, side, side) and (B, 1, 1).
    """
    points = chance.normal(drawn, 1, _POINTS, _POINTS)
    field = F.interpolate(points, (side, side), mode="bicubic", align_corners=True)[:, 0]
    ordered = field[:, ::_COARSE, ::_COARSE].flatten(1).sort(dim=1, descending=True).values
    place = (share[:, 0] * ordered.shape[1]).long().clamp(max=ordered.shape[1] - 1)  # (B, 1)
    return field, ordered.gather(1, place).unsqueeze(-1)
