#!/usr/bin/python3
"""Draw QGIS projects side by side, with their legends below.

    /usr/bin/python3 qgis_layout.py OUT.png PROJECT.qgz…

Run by `lines_in_qgis.py` with the system's Python, which has PyQGIS.
"""

import os
import sys
import tempfile
import traceback
from pathlib import Path

scratch = tempfile.TemporaryDirectory()
for name in ("PROJ_LIB", "PROJ_DATA", "GDAL_DATA", "PYTHONHOME", "PYTHONPATH"):
    os.environ.pop(name, None)  # of a virtual environment, and not for QGIS's libraries
os.environ["QT_QPA_PLATFORM"] = "offscreen"
os.environ["XDG_RUNTIME_DIR"] = os.environ["QGIS_CUSTOM_CONFIG_PATH"] = scratch.name

from qgis.core import (  # noqa: E402
    QgsApplication,
    QgsLayoutExporter,
    QgsLayoutItemLegend,
    QgsLayoutPoint,
    QgsLayoutSize,
    QgsLegendRenderer,
    QgsLegendStyle,
    QgsMapLayerLegendUtils,
    QgsMapRendererParallelJob,
    QgsMapSettings,
    QgsPrintLayout,
    QgsProject,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QSize, Qt  # noqa: E402
from qgis.PyQt.QtGui import QFont, QImage, QPainter  # noqa: E402

WIDTH, HEIGHT, LEGEND, DPI = 92.0, 88.0, 22.0, 120
"""Millimetres of a map and of the legend below it."""


def draw_map(project):
    """Return the map of a project, as it opens."""
    root = project.layerTreeRoot()
    settings = QgsMapSettings()
    settings.setLayers([one for one in root.layerOrder() if one in root.checkedLayers()])
    settings.setDestinationCrs(project.crs())
    settings.setExtent(project.viewSettings().defaultViewExtent())
    settings.setOutputDpi(DPI)
    settings.setOutputSize(QSize(int((WIDTH - 3) / 25.4 * DPI), int((HEIGHT - 2) / 25.4 * DPI)))
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    return job.renderedImage()


def draw(path, png):
    """Draw a project, and the legend of its lines below it."""
    project = QgsProject()
    assert project.read(path), path
    layout = QgsPrintLayout(project)
    layout.initializeDefaults()
    layout.pageCollection().page(0).setPageSize(QgsLayoutSize(WIDTH, HEIGHT + LEGEND))
    root = project.layerTreeRoot()
    legend = QgsLayoutItemLegend(layout)
    legend.setAutoUpdateModel(False)
    tree = legend.model().rootGroup()
    tree.removeAllChildren()
    several = len(root.findGroups()) > 1
    for node in root.findLayers():
        layer = node.layer()
        if isinstance(layer, QgsVectorLayer) and layer.geometryType() == 1:
            added = tree.addLayer(layer)
            if several:  # colour and date of each will do
                QgsMapLayerLegendUtils.setLegendNodeOrder(added, [0])
                legend.model().refreshLayerLegend(added)
            QgsLegendRenderer.setNodeLegendStyle(added, QgsLegendStyle.Hidden)
    legend.setStyleFont(QgsLegendStyle.SymbolLabel, QFont("DejaVu Sans", 7))
    legend.rstyle(QgsLegendStyle.Symbol).setMargin(QgsLegendStyle.Top, 0.8)
    legend.setColumnCount(3 if several else 1)
    legend.attemptMove(QgsLayoutPoint(1, HEIGHT))
    layout.addLayoutItem(legend)
    settings = QgsLayoutExporter.ImageExportSettings()
    settings.dpi = DPI
    assert QgsLayoutExporter(layout).exportToImage(png, settings) == 0
    page = QImage(png)
    painter = QPainter(page)
    painter.drawImage(4, 4, draw_map(project))
    painter.end()
    page.save(png)


def main(out, *projects):
    """Draw each, and join them."""
    parts = []
    for number, path in enumerate(projects):
        png = str(Path(scratch.name, f"{number}.png"))
        draw(path, png)
        parts.append(QImage(png))
    joined = QImage(sum(p.width() for p in parts), parts[0].height(), QImage.Format_RGB32)
    painter = QPainter(joined)
    left = 0
    for part in parts:
        painter.drawImage(left, 0, part)
        left += part.width()
    painter.end()
    joined.convertToFormat(QImage.Format_Indexed8, Qt.AvoidDither).save(out)


if __name__ == "__main__":
    QgsApplication.setPrefixPath("/usr", True)
    application = QgsApplication([], False)
    application.initQgis()
    status = 1
    try:
        main(*sys.argv[1:])
        status = 0
    except Exception:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        scratch.cleanup()
        os._exit(status)  # leaving with layers still alive ends in a segmentation fault
