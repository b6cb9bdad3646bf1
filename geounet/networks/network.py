"""What every network here has, so that a scene can be cut into windows for it."""

from torch import Tensor, nn


class Network(nn.Module):
    """A network that gives (B, classes, H, W) logits for (B, bands, H, W) standardised values."""

    stride: int
    """Total stride, in pixels: heights and widths are multiples of it, and windows whose origins
    differ by multiples of it get the same answer."""
    margin: int = 0
    """Pixels by which the output is smaller than the input, on each side."""

    def check_size(self, x: Tensor) -> None:
        """Refuse a size that the network cannot take.

        Raises:
            ValueError: Height or width of `x` is not a positive multiple of the stride; names the
                nearest sizes that work.
        """
        height, width = x.shape[-2:]
        if height % self.stride or width % self.stride or not height or not width:
            raise ValueError(
                f"This network takes heights and widths that are multiples of {self.stride}, "
                f"not {height} × {width}; nearest are {self._nearest(height)} × "
                f"{self._nearest(width)}."
            )

    def _nearest(self, side: int) -> str:
        below = side // self.stride * self.stride
        if below == side and side:
            return str(side)
        return f"{below} or {below + self.stride}" if below else str(self.stride)
