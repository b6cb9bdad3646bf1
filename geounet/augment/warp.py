"""Moving pixels to where none were: turns by any angle, shifts, scale, elastic deformation.

A warp says, for each pixel of the result, from where in the source it comes. Values are
interpolated between the pixels there that have data, and so are shares of water; classes are those
of the nearest. kornia has
such warps too, but draws them from torch's global chance, which an interruption would change.
"""

from math import ceil, log, radians

import torch
import torch.nn.functional as F
from torch import Tensor

from geounet.augment.chance import Chance, Drawn
from geounet.classes import IGNORE
from geounet.config import AugmentSettings

_REACH = 4
"""Standard deviations after which a Gaussian is cut off."""


def moves(settings: AugmentSettings) -> bool:
    """Return whether any pixel would be moved to where none was."""
    elastic = settings.elastic_grid or settings.elastic_field
    return bool(settings.turn or settings.shift or settings.scale > 1 or elastic)


def draw_places(settings: AugmentSettings, side: int, chance: Chance) -> Tensor:
    """Return from where each pixel comes.

    Args:
        settings: How far things move.
        side: Rows and columns of a sample.
        chance: Of the samples.

    Returns:
        (B, 2, side, side), row and column in pixels; whole numbers are centres of pixels.
    """
    span = torch.arange(side, device=chance.device, dtype=torch.float32) - (side - 1) / 2
    rows, cols = torch.meshgrid(span, span, indexing="ij")  # from the centre of the sample
    turn = radians(settings.turn)
    angle = chance.uniform(Drawn.TURN, 1, 1, low=-turn, high=turn)  # (B, 1, 1)
    larger = log(settings.scale)  # twice as large is as likely as half as large
    shrink = chance.uniform(Drawn.SCALE, 1, 1, low=-larger, high=larger).exp()
    shift = chance.uniform(Drawn.SHIFT, 2, 1, 1, low=-settings.shift, high=settings.shift)
    cos, sin = angle.cos() * shrink, angle.sin() * shrink
    places = torch.stack([cos * rows - sin * cols, sin * rows + cos * cols], dim=1)
    places += shift + (side - 1) / 2
    if settings.elastic_grid:
        places += draw_elastic_grid(settings, side, chance)
    if settings.elastic_field:
        places += draw_elastic_field(settings, side, chance)
    return places


def draw_elastic_grid(settings: AugmentSettings, side: int, chance: Chance) -> Tensor:
    """Return displacements that are drawn at a few points and bicubic between them [1]_.

    Returns:
        (B, 2, side, side), in pixels; the outermost points lie on the outermost pixels.

    References:
        .. [1] Ronneberger et al. (2015), "U-Net", section 3.1 (a 3 × 3 grid, standard deviation of
           10 pixels), arXiv:1505.04597.
    """
    points = settings.elastic_points
    drawn = settings.elastic_grid * chance.normal(Drawn.ELASTIC_GRID, 2, points, points)
    return F.interpolate(drawn, (side, side), mode="bicubic", align_corners=True)


def draw_elastic_field(settings: AugmentSettings, side: int, chance: Chance) -> Tensor:
    """Return displacements drawn at every pixel and smoothed by a Gaussian [1]_.

    Uniform in (−1, 1), smoothed, times `elastic_field`. What is smoothed reaches beyond the sample,
    so that pixels at the edge move as those inside do. The standard deviation that remains is
    elastic_field / √3 / (2 √π · elastic_smoothing) pixels.

    Returns:
        (B, 2, side, side), in pixels.

    References:
        .. [1] Simard et al. (2003), "Best practices for convolutional neural networks applied to
           visual document analysis", section 2, doi 10.1109/ICDAR.2003.1227801.
    """
    sigma = settings.elastic_smoothing
    reach = ceil(_REACH * sigma)
    wide = side + 2 * reach
    drawn = chance.uniform(Drawn.ELASTIC_FIELD, 2, wide, wide, low=-1)  # (B, 2, wide, wide)
    offsets = (
        torch.arange(wide, device=chance.device) - torch.arange(side, device=chance.device)[:, None]
    )
    distance = (offsets - reach).float()  # (side, wide), of each source from each pixel
    weights = torch.exp(-0.5 * (distance / sigma) ** 2).where(distance.abs() <= reach, 0)
    weights /= weights.sum(dim=1, keepdim=True)
    return settings.elastic_field * (weights @ drawn @ weights.T)


def take_values(image: Tensor, valid: Tensor, places: Tensor) -> Tensor:
    """Return the values at `places`, bilinear between the pixels that have data.

    Args:
        image: (B, bands, S, S), 0 where not valid.
        valid: (B, S, S) bool.
        places: (B, 2, S, S), row and column in pixels.

    Returns:
        (B, bands, S, S), 0 where no pixel around has data.
    """
    side = image.shape[-1]
    # As fractions of the sample from −1 to 1, column first.
    grid = (places.flip(1).movedim(1, -1) * 2 + 1) / side - 1  # (B, S, S, 2)
    stack = torch.cat([image, valid.unsqueeze(1).to(image.dtype)], dim=1)
    taken = F.grid_sample(stack, grid, mode="bilinear", align_corners=False)
    # Zeros were summed where there is no data: what is left is divided by the weight it has.
    weight = taken[:, -1:]
    return torch.where(weight > 0, taken[:, :-1] / weight, 0)


def take_nearest(stack: Tensor, places: Tensor, *, outside: float) -> Tensor:
    """Return what the pixels nearest to `places` hold.

    Args:
        stack: (B, S, S), of any type.
        places: (B, 2, S, S), row and column in pixels.
        outside: What there is beyond the sample.
    """
    side = stack.shape[-1]
    nearest = places.round().long()
    inside = ((nearest >= 0) & (nearest < side)).all(dim=1)  # (B, S, S)
    row, col = nearest.clamp(0, side - 1).unbind(dim=1)
    taken = stack.flatten(1).gather(1, (row * side + col).flatten(1)).view_as(stack)
    return taken.masked_fill(~inside, outside)


def take_shares(shares: Tensor, places: Tensor) -> Tensor:
    """Return the shares of water at `places`, bilinear between the pixels that are known.

    Args:
        shares: (B, S, S), 0–1, NaN unknown.
        places: (B, 2, S, S), row and column in pixels.

    Returns:
        (B, S, S), unknown where the nearest pixel is, as classes are.
    """
    known = ~shares.isnan()
    taken = take_values(shares.nan_to_num().unsqueeze(1), known, places).squeeze(1)
    lost = ~take_nearest(known, places, outside=False)
    return taken.clamp(0, 1).masked_fill(lost, unknown(shares))


def unknown(label: Tensor) -> float:
    """Return what stands in a label for an unknown class: 255, or NaN among shares of water."""
    return float("nan") if label.is_floating_point() else IGNORE
