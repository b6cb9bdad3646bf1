"""What every network here has, so that a scene can be cut into windows for it."""

from torch import Tensor, nn


class Sizes:
    """Which heights and widths a network takes, and how much smaller its output is."""

    stride: int
    """Total stride, in pixels: windows whose origins differ by multiples of it get the same
    answer."""
    margin: int = 0
    """Pixels by which the output is smaller than the input, on each side; 0 with same padding."""
    remainder: int = 0
    """What heights and widths leave when they are divided by the stride."""
    least: int = 0
    """Pixels below which it takes no height or width, where its margin and stride do not say so."""

    def fit(self, side: int) -> int:
        """Return the smallest height or width that it takes and that is not below `side`."""
        side = max(side, 2 * self.margin + 1, self.least)
        return side + (self.remainder - side) % self.stride

    def nearest_sizes(self, side: int) -> tuple[int, ...]:
        """Return the sizes that it takes and that are nearest to `side`, below and above."""
        above = self.fit(side)
        below = above - self.stride
        return (above,) if above == side or below != self.fit(below) else (below, above)


class Network(Sizes, nn.Module):
    """A network that gives (B, outputs, H − 2 · margin, W − 2 · margin) for (B, bands, H, W).

    It is given standardised values. What comes out are the logits of classes, or for one whose
    target is its bands, these.
    """

    def check_size(self, x: Tensor) -> None:
        """Refuse a size that the network cannot take.

        Raises:
            ValueError: It does not take the height or the width of `x`; names the nearest sizes
                that work.
        """
        height, width = x.shape[-2:]
        if self.fit(height) != height or self.fit(width) != width:
            more = f" plus {self.remainder}" * bool(self.remainder)
            least = f", from {self.fit(0)} on" * bool(self.margin or self.least)
            raise ValueError(
                f"This network takes heights and widths that are multiples of {self.stride}{more}"
                f"{least}, not {height} × {width}; nearest are {self._nearest(height)} × "
                f"{self._nearest(width)}."
            )

    def fold_upsampling(self, sample: Tensor) -> None:
        """Make one step of upsampling and the convolution after it, in place.

        For a network that no longer learns, on a CPU: it is faster, and takes less memory.

        Args:
            sample: (B, bands, H, W) that the network takes.
        """

    def _nearest(self, side: int) -> str:
        return " or ".join(str(size) for size in self.nearest_sizes(side))
