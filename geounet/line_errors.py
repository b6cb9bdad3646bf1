"""How far the line that a network draws through a chip is from the label's, in metres.

Of chips nothing is known but their pixels and how large these are; over a chip's few kilometres the
ground is as flat as that. `evaluate` measures on the ellipsoid.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion

from geounet.coastline import LineSweep
from geounet.contours import cut_strips, trace
from geounet.distances import Coordinates, Pieces, nearest_on, points_along
from geounet.ragged import Lines
from geounet.tracing import Scale
from geounet.vector_layers import MEASURED_LEVEL

STRAY_PX = 5.0
"""A line further than this from the other one has none to match it, as in `evaluate`."""


class LineErrors(NamedTuple):
    """Points along the lines of some chips, on ground that the labels know, and how far they are.

    A point is infinitely far where its chip has no line of the other kind.
    """

    drawn_m: NDArray[np.float64]
    """(n,), from each point of the predicted line to the label's."""
    drawn_step_m: NDArray[np.float64]
    """(n,), the length of line that each stands for."""
    seaward: NDArray[np.int8]
    """(n,), 1 where the point is on the water side of the label's line, -1 on the land side."""
    true_m: NDArray[np.float64]
    """(m,), from each point of the label's line to the predicted one."""
    true_step_m: NDArray[np.float64]
    """(m,)"""

    @classmethod
    def joined(cls, parts: Sequence["LineErrors"]) -> "LineErrors":
        """Put the points of chips together."""
        if not parts:
            nothing = np.empty(0)
            return cls(nothing, nothing, np.empty(0, np.int8), nothing, nothing)
        return cls(*(np.concatenate(of) for of in zip(*parts, strict=True)))

    @property
    def u95_m(self) -> float | None:
        """95 % of the predicted line are within this of the label's; None where they are nowhere.

        A line that the labels have nothing like in the chip counts as infinitely far.
        """
        return _quantile(self.drawn_m, 0.95)

    def record(self, pixel_m: float) -> dict[str, Any]:
        """Return what is to be told of them; None where nothing defines it.

        Args:
            pixel_m: What one pixel is, in metres.
        """
        near = self.drawn_m <= STRAY_PX * pixel_m
        signed = self.drawn_m[near] * self.seaward[near]
        return {
            "drawn_m": round(float(self.drawn_step_m.sum()), 1),
            "true_m": round(float(self.true_step_m.sum()), 1),
            "median_m": _quantile(self.drawn_m, 0.5),
            "u95_m": self.u95_m,
            "mean_seaward_m": round(float(signed.mean()), 3) if len(signed) else None,
            "stray_share": _share(self.drawn_step_m, ~near),
            "missed_share": _share(self.true_step_m, self.true_m > STRAY_PX * pixel_m),
        }


def measure_lines(
    p_water: NDArray[np.float32],
    water: NDArray[np.bool_],
    known: NDArray[np.bool_],
    res_m: tuple[float, float],
) -> LineErrors:
    """Hold the line of one chip against the label's.

    A line may lie anywhere between two pixels; so a point counts if the pixel under it and the
    eight around it are known, which keeps points off the edges of the chip too.

    Args:
        p_water: (height, width), probability of water.
        water: (height, width), what the label says.
        known: (height, width), where it says anything.
        res_m: Size of a pixel along a row and down a column, in metres.
    """
    truth = _trace(np.where(known, water, np.nan).astype(np.float64), Scale.plain(0.5))
    # Where products draw it: in log-odds, in which it is a straight way from pixel to pixel.
    drawn = _trace(p_water, Scale.log_odds(MEASURED_LEVEL))
    counted = np.asarray(binary_erosion(known, np.ones((3, 3)), border_value=0))
    size = np.array([res_m[0], -res_m[1]])
    here, there = (line.transformed(lambda pixels: pixels * size) for line in (drawn, truth))
    step = float(np.sqrt(res_m[0] * res_m[1]))
    found = []
    for line, other in ((here, there), (there, here)):
        points = points_along(line, step)
        inside = _on(points.xy / size, counted)
        near = nearest_on(other, points.xy[inside], within=np.inf)
        away = np.hypot(*(points.xy[inside] - near.xy).T)
        found.append((np.where(near.found, away, np.inf), points.step[inside], near.side))
    (drawn_m, drawn_step_m, seaward), (true_m, true_step_m, _) = found
    return LineErrors(drawn_m, drawn_step_m, seaward, true_m, true_step_m)


def _trace(field: NDArray[np.floating[Any]], scale: Scale) -> Pieces:
    """Return the line through a field, by (col, row), low values on its left in the picture."""
    sweep, lines = LineSweep(), []
    for strip in cut_strips(lambda start, stop: field[start:stop], field.shape, scale=scale):
        lines.append(sweep.add(trace(strip), strip.sweep_row))
    return Pieces.from_lines(shapely.force_2d(Lines.joined(lines).shapes()))


def _on(pixels: Coordinates, marked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which points, by (col, row), lie on marked pixels."""
    height, width = marked.shape
    cols = np.clip(pixels[:, 0].astype(np.intp), 0, width - 1)
    rows = np.clip(pixels[:, 1].astype(np.intp), 0, height - 1)
    return marked[rows, cols]


def _quantile(distances: NDArray[np.float64], share: float) -> float | None:
    """Return the least distance that `share` of them do not exceed; None where there is none."""
    if not len(distances):
        return None
    # Not interpolated, since some may be infinite.
    found = float(np.quantile(distances, share, method="inverted_cdf"))
    return round(found, 3) if np.isfinite(found) else None


def _share(lengths: NDArray[np.float64], which: NDArray[np.bool_]) -> float | None:
    return round(float(lengths[which].sum() / lengths.sum()), 6) if len(lengths) else None
