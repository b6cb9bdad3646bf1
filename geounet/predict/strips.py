"""Strips of a scene: whole rows of windows, each of which can be predicted by itself."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, groupby

from rasterio.windows import Window

from geounet.windows import HaloWindow


@dataclass(frozen=True)
class StripOfScene:
    """Rows of windows, and the rows of pixels that are known once they were predicted.

    Which strips there are changes no byte of a result: a batch never reaches from one row of
    windows into the next, and what is blended in a strip is blended in the same order.
    """

    top: int
    """First row of pixels."""
    bottom: int
    """Row of pixels after the last."""
    windows: tuple[HaloWindow, ...]
    """Its own, in row-major order."""
    before: tuple[HaloWindow, ...] = ()
    """Windows of earlier strips that reach into its rows, as windows do that are blended."""

    @property
    def first_read(self) -> int:
        """Row at which its own windows begin to be read."""
        return int(self.windows[0].read.row_off)

    @property
    def name(self) -> str:
        """What its part is called: by its rows, so that those of another division differ."""
        return f"{self.top}-{self.bottom}"

    def inside(self, window: Window) -> Window:
        """Return a window of the scene as one of this strip; it must lie inside."""
        return Window(
            col_off=window.col_off,
            row_off=window.row_off - self.top,
            width=window.width,
            height=window.height,
        )


def divide(
    windows: Iterable[HaloWindow], *, height: int, width: int, most: float
) -> list[StripOfScene]:
    """Divide a scene into strips of whole rows of windows, as even as they can be.

    Args:
        windows: Of the scene, in row-major order.
        height: Of the scene, in pixels.
        width: Likewise.
        most: Pixels of a strip at most, unless one row of windows has more. A scene that has no
            more is one strip; 0 divides none.

    Returns:
        Strips from top to bottom; their rows partition the scene.
    """
    rows = [tuple(row) for _, row in groupby(windows, key=lambda window: window.read.row_off)]
    if not most or height * width <= most or len(rows) == 1:
        return [StripOfScene(0, height, tuple(chain(*rows)))]
    tops = [row[0].core.row_off for row in rows]
    per_strip = max(1, int(most * len(rows) / (height * width)))
    count = -(-len(rows) // per_strip)
    firsts = [number * len(rows) // count for number in range(count)]
    # Two rows of windows may both begin at the scene's edge, beyond which they reach.
    firsts = [first for first in firsts if first == 0 or tops[first] > 0]
    strips = []
    for first, stop in zip(firsts, [*firsts[1:], len(rows)], strict=True):
        top = tops[first]
        bottom = tops[stop] if stop < len(rows) else height
        reaching = first
        while reaching and _end(rows[reaching - 1]) > top:
            reaching -= 1
        own, before = rows[first:stop], rows[reaching:first]
        strips.append(StripOfScene(top, bottom, tuple(chain(*own)), tuple(chain(*before))))
    return strips


def _end(row: tuple[HaloWindow, ...]) -> int:
    """Return the row of pixels after the last that a row of windows reaches."""
    return int(row[0].core.row_off + row[0].core.height)
