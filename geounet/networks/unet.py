"""The family of U-Nets: one class, whose presets are configurations of it."""

from typing import assert_never

import torch
from torch import Tensor, nn

from geounet.config import UNetSettings
from geounet.networks.network import Network
from geounet.networks.upsampling import UpConvolution


class UNet(Network):
    """U-Net [1]_, with same-padded convolutions or with none padded.

    `depth` times two 3×3 convolutions and a 2×2 max pooling, the width doubling; two convolutions
    at the bottom; `depth` times upsampling by two, joined by what the encoder had at that level,
    and two 3×3 convolutions; then the head.

    With `padding: valid` nothing is computed from pixels that are not there: convolutions give
    less than they are given, what the encoder had is cropped around its centre to join it, and
    the output lacks `margin` pixels of the input on each side.

    References:
        .. [1] Ronneberger et al. (2015), "U-Net", arXiv:1505.04597.
    """

    def __init__(self, settings: UNetSettings, *, bands: int, classes: int) -> None:
        super().__init__()
        self.stride = 2**settings.depth
        self.margin, self.remainder = _valid_geometry(settings)
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
        outputs = bands if settings.target == "bands" else classes
        self.head = _head(widths[0], outputs, settings)
        self.pool = nn.MaxPool2d(2)
        rate = settings.dropout_rate
        self.pool_dropout = nn.Dropout(rate) if settings.dropout == "pooling" else nn.Identity()
        self.bottom_dropout = nn.Dropout(rate) if settings.dropout == "bottom" else nn.Identity()
        _start(self, settings)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits or bands (B, outputs, H − 2 · margin, W − 2 · margin).

        Args:
            x: (B, bands, H, W), standardised.

        Raises:
            ValueError: It does not take such an H or W.
        """
        self.check_size(x)
        # Layer by layer: an `nn.Sequential` that is called has its input in memory until its last
        # layer is done, at the first level the largest array of all.
        skips = []
        for level, pair in enumerate(self.encoder):
            for layer in pair.children():
                x = layer(x)
            if level == len(self.encoder) - 1:
                x = self.bottom_dropout(x)  # the skip is taken after it
            skips.append(x)  # (B, width · 2^level, H / 2^level, W / 2^level), less what is lost
            x = self.pool_dropout(self.pool(x))
        x = self.bottom_dropout(self.bottom(x))
        for level in reversed(range(len(self.decoder))):
            up = self.up[level]
            if isinstance(up, UpConvolution):
                x = up(x, skips.pop())
            else:
                x = self._join(skips.pop(), up(x))
            for layer in self.decoder[level].children():
                x = layer(x)
        return self.head(x)

    def fold_upsampling(self, sample: Tensor) -> None:  # noqa: ARG002  as any network's
        """Make one step of upsampling, joining and the convolution after them, in place."""
        if self.skip != "concat":
            return
        for level, pair in enumerate(self.decoder):
            assert isinstance(pair, nn.Sequential)
            up, conv = self.up[level], pair[0]
            if isinstance(up, nn.ConvTranspose2d) and isinstance(conv, nn.Conv2d):
                both = UpConvolution.fold(conv, up, skip_first=self.skip_first)
                if both is not None:
                    self.up[level], pair[0] = both, nn.Identity()

    def _join(self, skip: Tensor, upsampled: Tensor) -> Tensor:
        if self.skip == "none":
            return upsampled
        skip = _centre(skip, upsampled.shape[-2], upsampled.shape[-1])
        if self.skip == "add":
            return upsampled + skip
        return torch.cat((skip, upsampled) if self.skip_first else (upsampled, skip), dim=1)


class _Cropped(nn.Module):
    """Leaves out a rim that is made up of what lies beyond the edge."""

    def __init__(self, rim: int) -> None:
        super().__init__()
        self.rim = rim

    def forward(self, x: Tensor) -> Tensor:
        return _centre(x, x.shape[-2] - 2 * self.rim, x.shape[-1] - 2 * self.rim)


def _centre(x: Tensor, height: int, width: int) -> Tensor:
    """Return the middle of `x`, (B, C, height, width)."""
    top, left = (x.shape[-2] - height) // 2, (x.shape[-1] - width) // 2
    return x[..., top : top + height, left : left + width]


def _valid_geometry(settings: UNetSettings) -> tuple[int, int]:
    """Return margin and remainder of the network, in pixels."""
    if settings.padding == "same":
        return 0, 0
    # A pair of convolutions takes 4 pixels of its level from height and width, upsampling from
    # neighbours 2 more; a pixel of a level is 2^level of the input's.
    rim = 0 if settings.upsampling == "transposed" else 2
    stride = 2**settings.depth
    encoder, decoder = 4 * (stride - 1), (4 + rim) * (stride - 1)
    lost = encoder + 4 * stride + decoder + (4 if settings.head == "3x3" else 0)
    # Every pooling wants an even side: a multiple of the stride, and what the encoder loses.
    return lost // 2, encoder % stride


def _pair(before: int, middle: int, after: int, settings: UNetSettings) -> nn.Sequential:
    """Two times convolution, normalisation, ReLU."""
    layers: list[nn.Module] = []
    for width_in, width_out in ((before, middle), (middle, after)):
        layers.append(
            nn.Conv2d(width_in, width_out, 3, padding=_padding(settings), bias=settings.bias)
        )
        if settings.norm == "batch":
            layers.append(nn.BatchNorm2d(width_out))
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def _padding(settings: UNetSettings) -> int:
    """Return the padding of a 3×3 convolution."""
    return 1 if settings.padding == "same" else 0


def _upsampling(before: int, after: int, settings: UNetSettings) -> nn.Module:
    valid = settings.padding == "valid"
    match settings.upsampling:
        case "transposed":
            return nn.ConvTranspose2d(before, after, 2, stride=2)
        case "deconv4":
            # Its padding crops: by 2 also the rim that one pixel alone has a say in, not two.
            return nn.ConvTranspose2d(before, after, 4, stride=2, padding=2 if valid else 1)
        case "bilinear":
            # With corners aligned the result depends on the window's size.
            doubled = nn.Upsample(
                scale_factor=2, mode="bilinear", align_corners=settings.align_corners
            )
            return nn.Sequential(doubled, _Cropped(1)) if valid else doubled
        case _:
            assert_never(settings.upsampling)


def _head(width: int, outputs: int, settings: UNetSettings) -> nn.Module:
    if settings.head == "1x1":
        return nn.Conv2d(width, outputs, 1)
    return nn.Sequential(
        nn.Conv2d(width, outputs, 3, padding=_padding(settings)),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(outputs, outputs, 3, padding=_padding(settings)),
    )


def _start(network: UNet, settings: UNetSettings) -> None:
    """Draw the weights that the settings want, from torch's global generator."""
    if settings.init == "torch":
        return  # as the layers were made
    for module in network.modules():
        if not isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            continue
        if settings.init == "he":
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        else:
            nn.init.normal_(module.weight, std=(2 / _incoming(module)) ** 0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _incoming(module: nn.Conv2d | nn.ConvTranspose2d) -> int:
    """Return how many values make one output; torch counts otherwise for transposed ones."""
    reached = module.kernel_size[0] * module.kernel_size[1]
    if isinstance(module, nn.ConvTranspose2d):
        reached //= module.stride[0] * module.stride[1]
    return module.in_channels * reached
