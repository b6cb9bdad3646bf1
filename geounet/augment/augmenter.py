"""A batch of chips as the network is shown it: each time another way."""

from collections.abc import Sequence

import torch
from torch import Tensor

from geounet.augment.chance import Chance
from geounet.augment.light import changes_values, disturb, draw_holes, lose_bands, shade, sunlit
from geounet.augment.poses import lay_each, poses
from geounet.augment.warp import (
    draw_places,
    moves,
    take_nearest,
    take_shares,
    take_values,
    unknown,
)
from geounet.bands import Band
from geounet.config import AugmentSettings


class Augmenter:
    """Varies chips, images and labels alike, by chance that depends on seed, step and sample."""

    def __init__(
        self,
        settings: AugmentSettings,
        bands: Sequence[Band],
        mean: Tensor,
        std: Tensor,
        *,
        spread: Tensor,
    ) -> None:
        """Prepare.

        Args:
            settings: How.
            bands: Of the images, in order.
            mean: (bands,), by which they are standardised.
            std: (bands,), likewise.
            spread: (bands,), standard deviation of the training chips, in which offset and noise
                are measured; another than `std` where that is of pre-trained weights.
        """
        self.settings = settings
        self.ways = poses(flips=settings.flips, rotations=settings.rotations)
        self.changes = moves(settings) or changes_values(settings)
        self.dark, self.lit, self.spread = -mean / std, sunlit(bands), spread / std

    @torch.no_grad()
    def __call__(
        self,
        image: Tensor,
        label: Tensor,
        *,
        seed: int,
        step: int,
    ) -> tuple[Tensor, Tensor]:
        """Return a batch as it is at a step of a training.

        Args:
            image: (B, bands, S, S), standardised, exactly 0 in all bands where there is no data.
            label: (B, S, S), class numbers and 255 unknown; or shares of water, floating point,
                and NaN unknown.
            seed: Of the training.
            step: Which, from 0; every batch of every process is one of its own.

        Returns:
            Image and label, of the same shapes and types. The image is 0 and the label unknown
            where there is no data.

        Raises:
            ValueError: Samples are not square.
        """
        chance = Chance(seed, step, len(image), image.device)
        ways = [self.ways[way] for way in chance.choice(len(self.ways))]
        image, label = lay_each(image, ways), lay_each(label, ways)
        if not self.changes:
            return image, label
        # Half the digits would move pixels by a tenth.
        with torch.autocast(image.device.type, enabled=False):
            return self._changed(image, label, chance)

    def _changed(self, image: Tensor, label: Tensor, chance: Chance) -> tuple[Tensor, Tensor]:
        """Apply what interpolates or changes values, where it is switched on."""
        settings, side = self.settings, image.shape[-1]
        valid = (image != 0).any(dim=1)  # (B, S, S)
        if moves(settings):
            places = draw_places(settings, side, chance)
            image = take_values(image, valid, places)
            if label.is_floating_point():
                label = take_shares(label, places)
            else:
                label = take_nearest(label, places, outside=unknown(label))
            valid = take_nearest(valid, places, outside=False)
        # Once: to send them at each step is to wait for the GPU at each step.
        self.dark, self.lit, self.spread = (
            of_bands.to(image.device) for of_bands in (self.dark, self.lit, self.spread)
        )
        if settings.gain or settings.shadows:
            image = shade(image, settings, self.dark, self.lit, chance)
        if settings.offset or settings.noise:
            image = disturb(image, settings, self.spread, chance)
        if settings.band_dropout:
            image = lose_bands(image, settings, chance)
        if settings.holes:
            holes = draw_holes(settings, side, chance)
            label = label.masked_fill(holes, unknown(label))
            valid = valid & ~holes
        return image * valid.unsqueeze(1), label
