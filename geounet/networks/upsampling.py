"""Upsampling and the convolution after it as one step, for networks that no longer learn."""

from typing import Self

import torch
from torch import Tensor, nn


class UpConvolution(nn.Module):
    """A 3×3 convolution over what was upsampled by two and, beside it, what a skip brings.

    Nothing bends between an upsampling and the convolution that follows, so the two are one
    transposed convolution, of 4×4: 4 products a pixel and pair of maps in place of 9, and neither
    what was upsampled nor what it is joined with is ever in memory. With weights of whole numbers
    the answer is the same to the bit; else it is rounded in another order.
    """

    def __init__(self, up: nn.ConvTranspose2d, skip: nn.Conv2d | None, edges: Tensor) -> None:
        super().__init__()
        self.up, self.skip = up, skip
        self.edges = nn.Parameter(edges, requires_grad=False)
        """(maps, 3, 3): what is added along the first and last rows and columns, 0 elsewhere."""
        self._has_edges = bool(edges.any())

    @classmethod
    @torch.no_grad()
    def fold(
        cls, conv: nn.Conv2d, up: nn.ConvTranspose2d | int, *, skip_first: bool = False
    ) -> Self | None:
        """Make one of a convolution and of what upsamples before it.

        Args:
            conv: Of the maps that were upsampled and of those of the skip, joined.
            up: What upsamples; or of how many maps the nearest pixel is taken.
            skip_first: Whether the maps of the skip are joined before the others.

        Returns:
            None where that is not possible, or saves nothing.
        """
        shape = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups)
        if shape != ((3, 3), (1, 1), (1, 1), (1, 1), 1):
            return None
        bias = None
        if isinstance(up, int):
            taps = torch.eye(up)[:, :, None, None].expand(-1, -1, 2, 2)
        else:
            shape = (up.kernel_size, up.stride, up.padding, up.output_padding, up.groups)
            if shape != ((2, 2), (2, 2), (0, 0), (0, 0), 1):
                return None
            taps, bias = up.weight, up.bias
        maps, weight = taps.shape[1], conv.weight  # (below, maps, 2, 2), (after, joined, 3, 3)
        others = weight.shape[1] - maps
        of_skip, of_up = weight[:, maps:], weight[:, :maps]
        if skip_first:
            of_skip, of_up = weight[:, :others], weight[:, others:]
        return cls(
            _transposed(taps, of_up, conv.bias, bias),
            _plain(of_skip) if others else None,
            _edges(of_up, bias),
        )

    def forward(self, x: Tensor, skip: Tensor | None) -> Tensor:
        """Return (B, maps, 2 · H, 2 · W).

        Args:
            x: (B, below, H, W).
            skip: (B, others, 2 · H, 2 · W); None where the convolution is of no others.
        """
        y: Tensor = self.up(x)
        if self.skip is not None and skip is not None:
            y += self.skip(skip)
        if self._has_edges:
            across = torch.ones(y.shape[3], dtype=torch.long, device=y.device)
            across[0], across[-1] = 0, 2
            y[:, :, 0] += self.edges[:, 0, across]
            y[:, :, -1] += self.edges[:, 2, across]
            y[:, :, 1:-1, 0] += self.edges[:, 1, :1]
            y[:, :, 1:-1, -1] += self.edges[:, 1, 2:]
        return y


def _transposed(
    taps: Tensor, weight: Tensor, bias: Tensor | None, before: Tensor | None
) -> nn.ConvTranspose2d:
    """Return the transposed convolution that upsampling by `taps` and then `weight` is."""
    # Every tap's pixel is weighed by each of the kernel, whose last comes first where it goes on.
    kernel = nn.functional.conv_transpose2d(taps, weight.flip(2, 3).transpose(0, 1))
    below, maps = kernel.shape[:2]
    both = nn.ConvTranspose2d(below, maps, 4, stride=2, padding=1)
    constant = torch.zeros(maps) if bias is None else bias.clone()
    if before is not None:
        constant = constant + weight.sum(dim=(2, 3)) @ before
    both.weight, both.bias = (nn.Parameter(t, requires_grad=False) for t in (kernel, constant))
    return both


def _plain(weight: Tensor) -> nn.Conv2d:
    after, before = weight.shape[:2]
    conv = nn.Conv2d(before, after, 3, padding=1, bias=False)
    conv.weight = nn.Parameter(weight.clone(), requires_grad=False)
    return conv


def _edges(weight: Tensor, before: Tensor | None) -> Tensor:
    """Return what a constant added by upsampling lacks along the edges, where zeros lie beyond."""
    if before is None:
        return torch.zeros(len(weight), 3, 3)
    constant = before[None, :, None, None].expand(1, -1, 3, 3)
    said = nn.functional.conv2d(constant, weight, padding=1)[0]
    return said - said[:, 1:2, 1:2]
