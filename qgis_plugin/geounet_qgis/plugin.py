"""The plugin: it brings a provider of algorithms, with and without a window."""

from __future__ import annotations

from typing import Any

from qgis.core import QgsApplication

from geounet_qgis.provider import GeounetProvider


class GeounetPlugin:
    """What QGIS switches on and off."""

    def __init__(self, _iface: Any) -> None:
        self._provider: GeounetProvider | None = None

    def initProcessing(self) -> None:  # noqa: N802  QGIS calls it so, qgis_process this alone
        """Add the algorithms."""
        self._provider = GeounetProvider()
        QgsApplication.processingRegistry().addProvider(self._provider)

    def initGui(self) -> None:  # noqa: N802  QGIS calls it so
        """Add the algorithms; there is nothing else in the window."""
        self.initProcessing()

    def unload(self) -> None:
        """Take the algorithms away again."""
        if self._provider is not None:
            QgsApplication.processingRegistry().removeProvider(self._provider)
            self._provider = None
