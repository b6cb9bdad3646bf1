"""From a field to lines: the waterline of a scene, without seams, to a fraction of a pixel."""

import numpy as np
from numpy.typing import NDArray

from geounet.compiled import compiled_to_run_beside
from geounet.contours import Contours
from geounet.joiner import Joiner, Strings, Waiting
from geounet.ragged import Lines, Offsets, Points
from geounet.rings import in_order
from geounet.vertices import as_complex


class LineSweep:
    """Joins the lines of strips, from the top down, and hands out each as soon as it is whole.

    Lines keep land on their left as one looks at the picture. A ring starts at its smallest
    (row, col). Lines are handed out in the order of their last row, then of their start: whatever
    the height of the strips, the same lines come in the same order.
    """

    def __init__(self) -> None:
        self._joiner, self._waiting = Joiner(), Waiting()

    def add(self, contours: Contours, sweep_row: float) -> Lines:
        """Take the lines of the next strip.

        Args:
            contours: What is in the strip.
            sweep_row: Where the next strip begins.

        Returns:
            Lines that are whole now.
        """
        parts = [contours.lines, contours.rim_lines]
        loose = Lines.joined([part.take(~part.closed) for part in parts])
        owners = np.repeat(np.arange(len(loose)), 2)
        ends = np.column_stack([loose.offsets[:-1], loose.offsets[1:] - 1]).ravel()
        grouped = self._joiner.add(len(loose), owners, as_complex(loose.points[ends]), sweep_row)
        tied = self._waiting.add([Strings(loose, grouped.new)], grouped).tied().lines
        whole = [(part, np.flatnonzero(part.closed)) for part in parts]
        return in_order([*whole, (tied, np.arange(len(tied)))])


def median_widths(lines: Lines) -> NDArray[np.float64]:
    """Return the median width of each line, in metres; NaN where it is not known anywhere."""
    return _median_widths(lines.points, lines.offsets)


@compiled_to_run_beside
def _median_widths(points: Points, offsets: Offsets) -> NDArray[np.float64]:
    medians = np.full(len(offsets) - 1, np.nan)
    widths = np.empty(np.max(np.diff(offsets)) if len(medians) else 0)
    for line in range(len(medians)):
        known = 0
        for i in range(offsets[line], offsets[line + 1]):
            if points[i, 2] > 0:
                widths[known] = points[i, 2]
                known += 1
        if known:
            medians[line] = np.median(widths[:known])
    return medians
