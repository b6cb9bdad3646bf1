"""The group of algorithms in QGIS's toolbox, and its setting."""
# ruff: noqa: N802  QGIS calls the methods so

from __future__ import annotations

from pathlib import Path

from processing.core.ProcessingConfig import ProcessingConfig, Setting
from qgis.core import QgsProcessingProvider
from qgis.PyQt.QtGui import QIcon

from geounet_qgis.algorithm import GeounetAlgorithm
from geounet_qgis.coastline import COASTLINE
from geounet_qgis.evaluate import EVALUATE
from geounet_qgis.predict import PREDICT
from geounet_qgis.program import SETTING
from geounet_qgis.tile import TILE

COMMANDS = (PREDICT, COASTLINE, EVALUATE, TILE)
ICON = Path(__file__).with_name("icon.svg")


class GeounetProvider(QgsProcessingProvider):
    """Algorithms that run commands of geounet."""

    def id(self) -> str:
        """What their names begin with: `geounet:predict`."""
        return "geounet"

    def name(self) -> str:
        """What the toolbox calls it."""
        return "geounet"

    def icon(self) -> QIcon:
        """The picture beside it."""
        return QIcon(str(ICON))

    def svgIconPath(self) -> str:
        """The picture, to be drawn in any size."""
        return str(ICON)

    def load(self) -> bool:
        """Add the setting that says where geounet is, and the algorithms."""
        ProcessingConfig.settingIcons[self.name()] = self.icon()
        ProcessingConfig.addSetting(
            Setting(
                self.name(),
                SETTING,
                "Command geounet, or the Python or folder of its environment",
                "",
                valuetype=Setting.FILE,
                placeholder="found on PATH",
            )
        )
        ProcessingConfig.readSettings()
        return super().load()

    def unload(self) -> None:
        """Take the setting away."""
        ProcessingConfig.removeSetting(SETTING)

    def loadAlgorithms(self) -> None:
        """Add an algorithm for each command."""
        for command in COMMANDS:
            self.addAlgorithm(GeounetAlgorithm(command))
