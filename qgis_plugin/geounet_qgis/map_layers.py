"""Results on the map: styled by their files, one group for each, in the order they are drawn."""

from __future__ import annotations

from typing import Any

from qgis.core import (
    QgsLayerTreeGroup,
    QgsLayerTreeNode,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingLayerPostProcessorInterface,
    QgsProcessingUtils,
    QgsVectorLayer,
)

from geounet_qgis.options import Command, Kind, Output
from geounet_qgis.results import Result

_RANK = "geounet/rank"
_HINTS = {
    Kind.RASTER: QgsProcessingUtils.LayerHint.Raster,
    Kind.VECTOR: QgsProcessingUtils.LayerHint.Vector,
}


def show(
    result: Result,
    command: Command,
    context: QgsProcessingContext,
    feedback: QgsProcessingFeedback,
) -> None:
    """Have QGIS put a result on the map once the algorithm is done."""
    if context.project() is None:
        return
    group = _Group(result.name)
    for rank, (output, source) in enumerate(result.layers(command)):
        if output.kind is Kind.VECTOR and not QgsVectorLayer(source, "", "ogr").isValid():
            # GDAL often comes without a driver for GeoParquet.
            feedback.pushInfo(f"{source} is not put on the map: this QGIS does not read it.")
            continue
        details = QgsProcessingContext.LayerDetails(
            output.label, context.project(), "", _HINTS[output.kind]
        )
        details.forceName = True
        details.setPostProcessor(_Placer.keep(group, output, rank))
        context.addLayerToLoadOnCompletion(source, details)


class _Group:
    """The group of one result, made when its first layer is there.

    A second run on a scene has a group of its own, whatever that of the first is called.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._node: QgsLayerTreeGroup | None = None

    def take(self, node: QgsLayerTreeNode, rank: int, root: QgsLayerTreeGroup) -> None:
        """Put a layer above those of a higher rank."""
        if self._node is None:
            self._node = root.insertGroup(0, self._name)
        node.setCustomProperty(_RANK, rank)
        ranks = [int(other.customProperty(_RANK, -1)) for other in self._node.children()]
        self._node.insertChildNode(sum(other < rank for other in ranks), node)


class _Placer(QgsProcessingLayerPostProcessorInterface):
    """Gives a layer the style of its file, and moves it into the group of its result."""

    _waiting: set[_Placer] = set()  # noqa: RUF012  QGIS keeps the address alone
    """Those that have yet to be called; Python would take them for done with."""

    def __init__(self, group: _Group, output: Output, rank: int) -> None:
        super().__init__()
        self._group, self._output, self._rank = group, output, rank

    @classmethod
    def keep(cls, group: _Group, output: Output, rank: int) -> _Placer:
        """Return one that lives until it has been called."""
        placer = cls(group, output, rank)
        cls._waiting.add(placer)
        return placer

    def postProcessLayer(  # noqa: N802  QGIS calls it so
        self, layer: Any, context: QgsProcessingContext, _feedback: QgsProcessingFeedback
    ) -> None:
        """Style a layer that has just come onto the map, and move it."""
        self._waiting.discard(self)
        layer.loadDefaultStyle()  # its file's; Processing has given it one of its own
        root = context.project().layerTreeRoot()
        loaded = root.findLayer(layer.id())
        if loaded is None:
            return
        node = loaded.clone()
        node.setItemVisibilityChecked(self._output.shown)
        node.setExpanded(False)
        self._group.take(node, self._rank, root)
        loaded.parent().removeChildNode(loaded)
