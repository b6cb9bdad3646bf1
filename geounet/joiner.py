"""Pieces of strips that belong together, by the points that they share."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from geounet.contours import Geometries


class Joiner:
    """Finds which pieces belong together, and holds those that may yet have more below."""

    def __init__(self) -> None:
        self._pieces: Geometries = np.empty(0, dtype=object)
        self._groups = np.empty(0, dtype=np.intp)
        self._points = np.empty(0, dtype=np.complex128)
        self._point_groups = np.empty(0, dtype=np.intp)

    def add(
        self,
        pieces: Geometries,
        owners: NDArray[np.intp],
        points: NDArray[np.complex128],
        sweep_row: float,
    ) -> tuple[Geometries, NDArray[np.intp]]:
        """Take the pieces of the next strip.

        Args:
            pieces: Pieces of the strip.
            owners: For each of `points`, the index of the piece that it belongs to.
            points: col + 1j·row of points; pieces that share one belong together.
            sweep_row: The row on which pieces of the next strip may share points.

        Returns:
            Pieces of which nothing more can come, and the number of the group of each, ascending.
        """
        held = int(self._groups.max(initial=-1)) + 1
        all_points = np.concatenate([self._points, points])
        members = np.concatenate([self._point_groups, held + owners])
        order = np.argsort(all_points, kind="stable")
        same = all_points[order][1:] == all_points[order][:-1]
        one, other = members[order][:-1][same], members[order][1:][same]
        nodes = held + len(pieces)
        graph = coo_array((np.ones(len(one)), (one, other)), shape=(nodes, nodes))
        _, group_of = connected_components(graph, directed=False)

        all_pieces = np.concatenate([self._pieces, pieces])
        groups = np.concatenate([group_of[self._groups], group_of[held:]])
        at_sweep = points.imag == sweep_row
        point_groups = group_of[held + owners[at_sweep]]
        still_open = np.unique(point_groups)
        kept = np.isin(groups, still_open)
        self._pieces, self._groups = all_pieces[kept], np.searchsorted(still_open, groups[kept])
        self._points = points[at_sweep]
        self._point_groups = np.searchsorted(still_open, point_groups)

        done, done_groups = all_pieces[~kept], groups[~kept]
        order = np.argsort(done_groups, kind="stable")
        return done[order], np.unique(done_groups[order], return_inverse=True)[1]
