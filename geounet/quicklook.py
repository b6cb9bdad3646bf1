"""A picture of a scene, for the eye: small, bright enough, transparent where there is no data."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geounet.errors import OutputError
from geounet.outputs import stage_file
from geounet.products import picture_bands
from geounet.scene import SceneOptions, gdal_environment, open_scene
from geounet.scene.glance import read_small

QUICKLOOK_SIDE = 1200
"""Pixels of a quicklook along the longer side, at most."""
DARKEST, BRIGHTEST = 1, 90
"""Percent of all pixels, and of the brighter ones, between which a quicklook is stretched."""
GAMMA = 0.5
"""Exponent that lifts what is dark in a quicklook."""
ISODATA_STEPS = 20


def write_quicklook(
    source: str | Path,
    out: Path,
    options: SceneOptions = SceneOptions(),  # noqa: B008  frozen
    *,
    overwrite: bool = False,
) -> None:
    """Write a picture of a scene as PNG, transparent where it has no data.

    Raises:
        GeounetError: It is no scene, or the file exists or cannot be written.
    """
    if out.suffix.lower() != ".png":
        raise OutputError(f"{out} does not end in .png, as a quicklook has to.")
    if out.is_dir():
        raise OutputError(f"{out} is a folder. Give a file that is to be written as --quicklook.")
    if out.exists() and not overwrite:
        raise OutputError(
            f"{out} exists already. Use --overwrite to replace it, or another --quicklook."
        )
    with gdal_environment(), open_scene(source, options, advise=False) as scene:
        values, valid = read_small(scene, picture_bands(scene), QUICKLOOK_SIDE)
    from matplotlib.image import imsave  # takes long to import

    no_version: Any = {"Software": None}  # the same scene gives the same bytes
    try:
        with stage_file(out) as draft:
            imsave(draft, draw(values, valid), format="png", metadata=no_version)
    except OutputError as error:
        raise OutputError(str(error).replace("--out", "--quicklook")) from error


def draw(values: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return a picture, (height, width, 4), for the eye: red, green, blue and opaqueness.

    Each band is stretched from its darkest pixels to the bright ones of its brighter part, and
    lifted: where nearly all is water, land is nearly all of what is to be seen.

    Args:
        values: (3, height, width), in any unit.
        valid: (height, width).
    """
    picture = np.zeros((*valid.shape, 4), np.uint8)
    for i, band in enumerate(values):
        seen = band[valid].astype(np.float64)
        if not seen.size:
            break
        low = np.percentile(seen, DARKEST)
        bright = seen[seen >= _between(seen)]
        high = max(np.percentile(bright, BRIGHTEST), low + 1e-6)
        share = np.clip((seen - low) / (high - low), 0, 1) ** GAMMA
        picture[valid, i] = np.rint(255 * share)
    picture[..., 3] = np.where(valid, 255, 0)
    return picture


def _between(values: NDArray[np.float64]) -> float:
    """Return what lies midway between the means of darker and brighter values (isodata)."""
    level = float(values.mean())
    for _ in range(ISODATA_STEPS):
        bright = values > level
        if not bright.any():
            break
        level = float(values[bright].mean() + values[~bright].mean()) / 2
    return level
