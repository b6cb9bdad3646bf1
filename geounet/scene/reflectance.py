"""From digital numbers to reflectance: reflectance = (DN + offset) × scale, and nowhere else.

GDAL and STAC say the same thing as DN × scale + offset; that is converted here, on reading.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geounet.errors import SceneError

BRIGHTEST_MEDIAN = 2.0
"""Above it the values of a band are no reflectance: snow in full sun is about 1."""


@dataclass(frozen=True)
class Scaling:
    """How the digital numbers of some bands become reflectance, band by band."""

    scale: tuple[float, ...]
    offset: tuple[float, ...]
    """In digital numbers, added before scaling: −1000 for Sentinel-2 from baseline 04.00."""
    source: str
    """Where the facts came from, for people and records."""

    def reflectance(self, dn: NDArray[Any]) -> NDArray[np.float32]:
        """Return (DN + offset) × scale.

        Adding first keeps DN = −offset at exactly 0, whatever the scale.

        Args:
            dn: (bands, height, width), any dtype.

        Returns:
            (bands, height, width), reflectance.
        """
        values = dn.astype(np.float32)
        if any(self.offset):
            values += np.array(self.offset, dtype=np.float32)[:, None, None]
        if any(scale != 1 for scale in self.scale):
            values *= np.array(self.scale, dtype=np.float32)[:, None, None]
        return values

    def coefficients(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return slope and intercept, (bands,) each, of reflectance = DN × slope + intercept."""
        scale = np.array(self.scale, dtype=np.float64)
        offset = np.array(self.offset, dtype=np.float64)
        return scale.astype(np.float32), (offset * scale).astype(np.float32)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON has them."""
        return {"scale": list(self.scale), "offset": list(self.offset), "source": self.source}


@dataclass(frozen=True)
class LayerScaling:
    """What is known of the scaling of one band; None is nothing."""

    scale: float | None = None
    offset: float | None = None
    """In digital numbers, added before scaling."""
    source: str = ""
    """Where this was found, for people and records."""


def from_gdal(
    scale: float, offset: float, *, where: str, source: str = "GDAL metadata"
) -> LayerScaling:
    """Convert DN × scale + offset, as GDAL and STAC have it; (1, 0) says nothing.

    Args:
        scale: Factor.
        offset: Added after scaling, so in reflectance.
        where: File, for messages.
        source: What says so, for people and records.

    Raises:
        SceneError: The scale is zero or not finite.
    """
    if scale == 1 and offset == 0:
        return LayerScaling()
    if scale == 0 or not all(map(math.isfinite, (scale, offset, offset / scale))):
        raise SceneError(
            f"{where} declares the impossible scale {scale} and offset {offset}. "
            "Give --scale and --offset."
        )
    in_dn = offset / scale
    whole = round(in_dn)
    # Files keep scale and offset rounded; DN 1000 with offset −1000 has to give exactly 0.
    if abs(in_dn - whole) <= 1e-6 * max(1.0, abs(in_dn)):
        in_dn = float(whole)
    return LayerScaling(scale=scale, offset=in_dn, source=source)


def settle_scaling(
    layers: Sequence[LayerScaling],
    *,
    said: Sequence[LayerScaling],
    origins: tuple[str, str] = ("--scale", "--offset"),
) -> Scaling | None:
    """Put together what the product and the user say; the user's word counts more.

    Args:
        layers: What the product says, band by band.
        said: What the user says, band by band.
        origins: Where the user says scale and offset, for people.

    Returns:
        The scaling, or None where some band has no scale.
    """
    pairs = list(zip(layers, said, strict=True))
    scales = [layer.scale if user.scale is None else user.scale for layer, user in pairs]
    offsets = [layer.offset if user.offset is None else user.offset for layer, user in pairs]
    known = [s for s in scales if s is not None]
    if len(known) < len(layers):
        return None
    sources = dict.fromkeys(_source(layer, user, origins) for layer, user in pairs)
    return Scaling(tuple(known), tuple(o or 0.0 for o in offsets), "; ".join(filter(None, sources)))


def _source(layer: LayerScaling, user: LayerScaling, origins: tuple[str, str]) -> str:
    """Return, for people, where the scaling of one band is from."""
    values = zip(origins, (user.scale, user.offset), strict=True)
    said = [origin for origin, value in values if value is not None]
    if layer.source and user.scale is None:
        said.append(f"scale from {layer.source}" if said else layer.source)
    elif layer.source and user.offset is None and layer.offset:
        said.append(f"offset from {layer.source}")
    return ", ".join(said)
