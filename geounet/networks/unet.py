"""The family of U-Nets: one class, whose presets are configurations of it."""

from typing import assert_never

import torch
from torch import Tensor, nn

from geounet.config import UNetSettings
from geounet.networks.network import Network


class UNet(Network):
    """U-Net [1]_ with same-padded convolutions, so that its output is as large as its input.

    `depth` times two 3×3 convolutions and a 2×2 max pooling, the width doubling; two convolutions
    at the bottom; `depth` times upsampling by two, joined by what the encoder had at that level,
    and two 3×3 convolutions; then the head.

    References:
        .. [1] Ronneberger et al. (2015), "U-Net", arXiv:1505.04597.
    """

    def __init__(self, settings: UNetSettings, *, bands: int, classes: int) -> None:
        super().__init__()
        self.stride = 2**settings.depth
        self.skip, self.skip_first = settings.skip, settings.join == "skip-first"
        # Bilinear upsampling keeps the width, so the level below it ends on half as many maps.
        halves = settings.upsampling == "bilinear"
        widths = [settings.base_width * 2**level for level in range(settings.depth + 1)]
        ends = [w // 2 if halves and level else w for level, w in enumerate(widths)]
        joined = [2 * w if settings.skip == "concat" else w for w in widths]

        self.encoder = nn.ModuleList(
            _pair(below, width, width, settings)
            for below, width in zip([bands, *widths], widths[:-1], strict=False)
        )
        self.bottom = _pair(widths[-2], ends[-1], ends[-1], settings)
        self.up = nn.ModuleList(_upsampling(2 * width, width, settings) for width in widths[:-1])
        self.decoder = nn.ModuleList(
            _pair(joined[level], widths[level], ends[level], settings)
            for level in range(settings.depth)
        )
        self.head = _head(widths[0], classes, settings)
        self.pool = nn.MaxPool2d(2)
        rate = settings.dropout_rate
        self.pool_dropout = nn.Dropout(rate) if settings.dropout == "pooling" else nn.Identity()
        self.bottom_dropout = nn.Dropout(rate) if settings.dropout == "bottom" else nn.Identity()
        if settings.init == "he":
            self.apply(_start_he_normal)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, classes, H, W) for standardised bands `x` (B, bands, H, W).

        Raises:
            ValueError: H or W is not a multiple of the stride.
        """
        self.check_size(x)
        skips = []
        for level, pair in enumerate(self.encoder):
            x = pair(x)
            if level == len(self.encoder) - 1:
                x = self.bottom_dropout(x)  # the skip is taken after it
            skips.append(x)  # (B, width · 2^level, H / 2^level, W / 2^level)
            x = self.pool_dropout(self.pool(x))
        x = self.bottom_dropout(self.bottom(x))
        for level in reversed(range(len(self.decoder))):
            x = self.decoder[level](self._join(skips.pop(), self.up[level](x)))
        return self.head(x)

    def _join(self, skip: Tensor, upsampled: Tensor) -> Tensor:
        if self.skip == "concat":
            pair = (skip, upsampled) if self.skip_first else (upsampled, skip)
            return torch.cat(pair, dim=1)
        return upsampled + skip if self.skip == "add" else upsampled


def _pair(before: int, middle: int, after: int, settings: UNetSettings) -> nn.Sequential:
    """Two times convolution, normalisation, ReLU."""
    layers: list[nn.Module] = []
    for width_in, width_out in ((before, middle), (middle, after)):
        layers.append(nn.Conv2d(width_in, width_out, 3, padding=1, bias=settings.bias))
        if settings.norm == "batch":
            layers.append(nn.BatchNorm2d(width_out))
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def _upsampling(before: int, after: int, settings: UNetSettings) -> nn.Module:
    match settings.upsampling:
        case "transposed":
            return nn.ConvTranspose2d(before, after, 2, stride=2)
        case "deconv4":
            return nn.ConvTranspose2d(before, after, 4, stride=2, padding=1)
        case "bilinear":
            # With align_corners=True the result would depend on the window's size.
            return nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        case _:
            assert_never(settings.upsampling)


def _head(width: int, classes: int, settings: UNetSettings) -> nn.Module:
    if settings.head == "1x1":
        return nn.Conv2d(width, classes, 1)
    return nn.Sequential(
        nn.Conv2d(width, classes, 3, padding=1),
        nn.BatchNorm2d(classes),
        nn.ReLU(inplace=True),
        nn.Conv2d(classes, classes, 3, padding=1),
    )


def _start_he_normal(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
