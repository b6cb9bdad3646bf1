"""What a look at a scene tells that its metadata do not: nodata nobody declared, a wrong scale.

These are warnings: each says what was seen, where, what it means and what to do about it.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from geounet.bands import Band
from geounet.errors import SceneError
from geounet.scene.glance import Glance, glance
from geounet.scene.reflectance import BRIGHTEST_MEDIAN
from geounet.scene.remote import is_remote

if TYPE_CHECKING:
    from geounet.scene.scene import Scene

DELIVERED = frozenset(["safe", "landsat"])
"""Kinds of products whose metadata say nodata, scale and offset."""
Fill = int | Literal["max", "min"]
FILLS: tuple[Fill, ...] = (0, "max", "min", -9999)
"""What fills up a scene beyond its edge: a value, or the largest or smallest of the type."""
UNDECLARED_SHARE = 0.005
"""Of a look, in one piece from its border: less may be a dark corner."""
DARKEST_PERCENT = 0.5
"""Of a band's pixels; what is below may be damage or the edge of a swath."""
FEWEST_PIXELS = 200
"""By which reflectance is judged."""
ABOUT_OFFSET = (0.9, 1.4)
"""Times the offset: between these lie the darkest pixels where it was not taken off. Clear water
comes out a little below 0, and glint and haze lift it up to 0.04."""
TWICE = 0.5
"""Times the offset: below minus that, it was taken off where there was none."""
DARK_OVER_WATER = frozenset(["nir", "nir08", "swir16", "swir22"])
"""Common names of bands in which water and shadow reflect next to nothing, through any air."""
NOT_JUDGED = frozenset(["cirrus", "nir09", "lwir", "lwir11", "lwir12"])
"""Common names of bands that see little of the ground, or its warmth."""


@dataclass(frozen=True)
class OffsetRule:
    """The offset that a kind of product has in its numbers."""

    reflectance: float
    scale: float
    products: str
    """For people."""


SENTINEL2 = OffsetRule(0.1, 0.0001, "Sentinel-2 from baseline 04.00")
LANDSAT_SURFACE = OffsetRule(0.2, 0.0000275, "Landsat Collection 2, level 2")
LANDSAT_TOP = OffsetRule(0.1, 0.00002, "Landsat 8 and 9, level 1")


def advise(scene: "Scene") -> None:
    """Look at a scene and warn of what is seen there.

    Products as they were delivered are not looked at, unless the user overrides what they say of
    themselves: their metadata tell what there is to find, and in a zip file every look has to
    unpack its way there. Nor is a damaged one: the band may be one that nobody needs, and who does
    need it finds out.

    Raises:
        SceneError: A server fails; whoever goes on has to wait for it as long again.
    """
    product = scene._product
    said = product.options.scale, product.options.offset
    if product.kind in DELIVERED and said == (None, None):
        return
    try:
        seen = glance(scene)
    except SceneError:
        if any(is_remote(layer.path) for layer in product.layers):
            raise
        return
    if seen is None:
        return
    for text in find_advice(seen, sensor=scene.sensor, level=scene.level):
        scene.warn(text)


def find_advice(seen: Glance, *, sensor: str | None, level: str | None) -> list[str]:
    """Return what is to be said of a scene, a sentence or two each.

    Args:
        seen: A look at it.
        sensor: Key of `SENSORS`, or None where it is not known.
        level: `L1C`, `L2A`, `L1`, `L2`, or None.
    """
    said = undeclared_nodata(seen)
    judged = _judged_pixels(seen)
    if int(judged.sum()) < FEWEST_PIXELS:
        return said
    medians = _medians(seen, judged)
    if large := {i: median for i, median in medians.items() if median > BRIGHTEST_MEDIAN}:
        # Floats that nobody gives a scale are refused when they are read.
        return said + (digital_numbers(seen, large, sensor, level) if _all_said(seen) else [])
    return [*said, *wrong_offset(seen, judged, sensor, level)]


def undeclared_nodata(seen: Glance) -> list[str]:
    """Say so where one of `FILLS` fills a region from the scene's border.

    It has to be the value of every band, over pixels that hang together (side by side) and reach
    the border: the black or white around a swath or a polygon. Zeros scattered over dark water or
    in deep shadow are in small pieces, or not in all bands, or inside. Extra layers, which have
    numbers of their own, do not count. A scene with a mask is left alone, and so is a value that
    some band declares.
    """
    spectral = _spectral(seen)
    layers = [seen.layers[i] for i in spectral]
    if any(layer.mask for layer in layers):
        return []
    declared = {layer.nodata for layer in layers if layer.nodata is not None}
    found = []
    for fill in FILLS:
        value = _fill_of(layers[0].dtype, fill)
        share = float(seen.weights[_from_border(_filled(seen, fill))].sum())
        if share < UNDECLARED_SHARE or value in declared:
            continue
        bands = f"all {len(layers)} bands" if len(layers) > 1 else layers[0].band.name
        said = "only other values are declared as nodata" if declared else "nothing declares nodata"
        found.append(
            f"about {_percent(share)} of it, hanging together with its border, is {value} in "
            f"{bands}, and {said}: it would be taken for ground, and its edge for "
            f"coast. Give --nodata {value} if that means no data"
        )
    return found


def _spectral(seen: Glance) -> list[int]:
    """Return the indexes of the bands of sensors, or of all where there is none."""
    found = [i for i, band in enumerate(seen.bands) if band.sensor is not None]
    return found or list(range(len(seen.bands)))


def _filled(seen: Glance, fill: Fill) -> NDArray[np.bool_]:
    """Return where every spectral band has the value that is often taken to fill up its type."""
    spectral = _spectral(seen)
    values = [_fill_of(seen.layers[i].dtype, fill) for i in spectral]
    if None in values or len(set(values)) > 1:
        return np.zeros(seen.valid.shape, dtype=np.bool_)
    return (seen.dn[spectral] == values[0]).all(axis=0)


def _fill_of(dtype: str, fill: Fill) -> int | None:
    """Return the value meant; None where numbers of that type cannot have it, or it is 0."""
    kind = np.dtype(dtype)
    if isinstance(fill, int):
        return fill if fill >= 0 or (kind.kind in "fci" and kind.itemsize > 1) else None
    if kind.kind in "fc":
        return None  # the limits of floats fill nothing
    limits = np.iinfo(kind)
    return int(getattr(limits, fill)) or None


def _from_border(filled: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the part of `filled` that hangs together with the array's border, large pieces only.

    A piece counts from `UNDECLARED_SHARE` of the array on: small ones are dark pixels that happen
    to lie at the border.
    """
    if not filled.any():
        return filled
    from scipy.ndimage import label  # takes long to import: only where it is needed

    pieces, count = label(filled)
    at_border = np.zeros(count + 1, dtype=np.bool_)
    for edge in (pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]):
        at_border[edge] = True
    at_border[0] = False
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    return (at_border & (sizes >= UNDECLARED_SHARE * filled.size))[pieces]


def _judged_pixels(seen: Glance) -> NDArray[np.bool_]:
    """Return the pixels by which reflectance is judged: data, and not what fills up a scene.

    A 0 in any band is at best the edge of a swath, unless a band has nothing else.
    """
    judged = seen.valid.copy()
    for fill in FILLS:
        judged &= ~_filled(seen, fill)
    without_zeros = judged & (seen.dn != 0).all(axis=0)
    return without_zeros if int(without_zeros.sum()) >= FEWEST_PIXELS else judged


def sees_ground(band: Band) -> bool:
    """Whether a band shows the ground by its reflectance: nothing thermal, extra, or in the air."""
    return band.sensor is not None and band.common_name not in NOT_JUDGED


def _all_said(seen: Glance) -> bool:
    return all(known.said for known in seen.scalings)


def _medians(seen: Glance, judged: NDArray[np.bool_]) -> dict[int, float]:
    """Return the median reflectance of the bands that have one, by their index."""
    return {
        i: float(np.median(values))
        for i, band in enumerate(seen.bands)
        if sees_ground(band) and (values := seen.reflectance(i, judged)) is not None
    }


def digital_numbers(
    seen: Glance, large: dict[int, float], sensor: str | None, level: str | None
) -> list[str]:
    """Say that what is called reflectance has a median above 2, so is still digital numbers.

    Args:
        seen: A look at the scene.
        large: Medians by index of the band.
        sensor: Key of `SENSORS`, or None where it is not known.
        level: Of processing, or None.
    """
    brightest = max(large, key=lambda i: large[i])
    names = ", ".join(seen.bands[i].name for i in large)
    rule = offset_rule(seen, sensor, level)
    if rule is None:
        advice = "another --scale, 0.003922 if 255 stands for 1, 0.0001 if 10000 does"
    elif sensor == "s2":
        advice = f"--scale {_number(rule.scale)}, and --offset -1000 if of baseline 04.00 or later"
    else:
        advice = _options(rule.scale, -rule.reflectance / rule.scale)
    return [
        f"the median reflectance of {names} is up to {large[brightest]:.4g} "
        f"({seen.bands[brightest].name}) after scaling by {_number(seen.scalings[brightest].scale)}"
        f", and reflectance is between 0 and 1: these are digital numbers. Give {advice}"
    ]


def offset_rule(seen: Glance, sensor: str | None, level: str | None) -> OffsetRule | None:
    """Return the offset that products like this one may have in their numbers; None if none."""
    if any(layer.dtype == "uint8" for layer in seen.layers):
        return None  # somebody's picture of the product
    if sensor == "s2":
        return SENTINEL2
    if sensor is not None and level == "L2":
        signed = any(seen.layers[i].dtype == "int16" for i in _spectral(seen))
        return None if signed else LANDSAT_SURFACE  # Collection 1 is signed, and has no offset
    return LANDSAT_TOP if sensor in {"l8", "l9"} else None


def wrong_offset(
    seen: Glance, judged: NDArray[np.bool_], sensor: str | None, level: str | None
) -> list[str]:
    """Say so where the darkest pixels show that an offset was not taken off, or twice.

    Judged by the darkest half percent of each band. Not taken off: in near and short-wave infrared
    they all lie 0.9–1.4 offsets above 0, and in no band lower. There water, shadow and asphalt
    reflect nearly nothing at any level, while ground without any of them gets brighter from
    blue to infrared: a desert's darkest pixels are of different height. A scene with no infrared
    is judged by all its bands at surface level, where air no longer lifts blue. Taken off twice:
    half of the infrared bands have them below minus half an offset.
    """
    rule = offset_rule(seen, sensor, level)
    dark: dict[int, float] = {}
    for i, band in enumerate(seen.bands):
        if sees_ground(band) and (values := seen.reflectance(i, judged)) is not None:
            dark[i] = float(np.percentile(values, DARKEST_PERCENT))
    telling = [i for i in dark if seen.bands[i].common_name in DARK_OVER_WATER]
    if not telling and level in {"L2A", "L2"}:
        telling = list(dark)
    if rule is None or not telling:
        return []
    low, high = (factor * rule.reflectance for factor in ABOUT_OFFSET)
    levels = [dark[i] for i in telling]
    names = ", ".join(seen.bands[i].name for i in telling)
    span = f"{min(levels):.3f} to {max(levels):.3f}"
    scale, offset, _ = seen.scalings[telling[0]]
    assert scale is not None  # of these the reflectance is known
    step = rule.reflectance / scale
    if low <= min(levels) and max(levels) <= high and min(dark.values()) >= low:
        return [
            f"the darkest pixels of {names} have reflectance {span}, where water and shadow have "
            f"about 0: the offset of {rule.products} seems not to be taken off. Give "
            f"{_options(scale, offset - step)}"
        ]
    if float(np.median(levels)) < -TWICE * rule.reflectance:
        return [
            f"the darkest pixels of {names} have reflectance {span}, and there is none below 0: an "
            "offset seems to be taken off that the numbers do not have, or twice. Give "
            f"{_options(scale, offset + step)}"
        ]
    return []


def _options(scale: float, offset: float) -> str:
    """Return a scaling as options to paste."""
    return f"--scale {_number(scale)} --offset {_number(round(offset, 4) + 0.0)}"  # no -0


def _percent(share: float) -> str:
    return f"{100 * share:.{0 if share >= 0.01 else 1}f} %"


def _number(value: float | None) -> str:
    """Return a number as people write it, without an exponent."""
    return "–" if value is None else np.format_float_positional(value, precision=9, trim="-")
