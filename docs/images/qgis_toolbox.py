#!/usr/bin/python3
"""Draw the plugin in QGIS: the window of `geounet:predict`, and beside it what comes on the map.

    /usr/bin/python3 qgis_toolbox.py build/geounet-qgis-VERSION.zip SCENE.tif MODEL OUT.png

With the system's Python, which has PyQGIS, and geounet on PATH; `demo/` has a scene and a model.
"""
# ruff: noqa: N802, D102  the window is QGIS's, and so are the names

import os
import sys
import tempfile
import traceback
import zipfile
from pathlib import Path
from unittest.mock import MagicMock

scratch = tempfile.TemporaryDirectory()
for name in ("PROJ_LIB", "PROJ_DATA", "GDAL_DATA", "PYTHONHOME", "PYTHONPATH"):
    os.environ.pop(name, None)  # of a virtual environment, and not for QGIS's libraries
os.environ["QT_QPA_PLATFORM"] = "offscreen"
os.environ["XDG_RUNTIME_DIR"] = os.environ["QGIS_CUSTOM_CONFIG_PATH"] = scratch.name
sys.path[:0] = [scratch.name, "/usr/share/qgis/python/plugins"]

import qgis.utils  # noqa: E402
from qgis.core import (  # noqa: E402
    QgsApplication,
    QgsLayerTreeModel,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProject,
    QgsRasterLayer,
)
from qgis.gui import QgsGui, QgsLayerTreeView, QgsMapCanvas  # noqa: E402
from qgis.PyQt.QtCore import QEventLoop, QTimer  # noqa: E402
from qgis.PyQt.QtGui import QImage, QPainter  # noqa: E402

DIALOG, TREE, MAP = (760, 640), (400, 180), (400, 460)


class Window:
    """As much of QGIS's window as the dialog asks for."""

    def __init__(self, canvas):
        self._canvas = canvas

    def mapCanvas(self):
        return self._canvas

    def mainWindow(self):
        return None

    def browserModel(self):
        return None

    def layerTreeView(self):
        return None

    def activeLayer(self):
        return None

    def __getattr__(self, name):
        return MagicMock()


def wait(milliseconds):
    """Let QGIS draw."""
    loop = QEventLoop()
    QTimer.singleShot(milliseconds, loop.quit)
    loop.exec_()


def draw_dialog(algorithm, parameters):
    """Return the window of an algorithm, filled in."""
    from processing.gui.AlgorithmDialog import AlgorithmDialog

    dialog = AlgorithmDialog(algorithm, False, None)
    dialog.setParameters(parameters)
    dialog.resize(*DIALOG)
    dialog.show()
    wait(300)
    return dialog.grab().toImage()


def run(algorithm, parameters):
    """Run an algorithm, and have its results on the map."""
    from processing.gui.Postprocessing import handleAlgorithmResults

    context, feedback = QgsProcessingContext(), QgsProcessingFeedback(False)
    context.setProject(QgsProject.instance())
    _, done = algorithm.run(parameters, context, feedback)
    assert done, feedback.textLog()
    assert handleAlgorithmResults(algorithm, context, feedback), feedback.textLog()


def draw_map(canvas, scene):
    """Return the layer tree and the map."""
    root = QgsProject.instance().layerTreeRoot()
    view, model = QgsLayerTreeView(), QgsLayerTreeModel(root)
    model.setFlag(QgsLayerTreeModel.AllowNodeChangeVisibility)
    view.setModel(model)
    view.resize(*TREE)
    view.show()
    canvas.setDestinationCrs(scene.crs())
    canvas.setLayers([one for one in root.layerOrder() if one in root.checkedLayers()])
    canvas.resize(*MAP)
    canvas.setExtent(scene.extent())
    canvas.show()
    canvas.refresh()
    canvas.waitWhileRendering()
    wait(1000)
    return view.grab().toImage(), canvas.grab().toImage()


def join(dialog, tree, drawn):
    """Return the dialog, and right of it the layer tree above the map."""
    joined = QImage(dialog.width() + drawn.width(), dialog.height(), QImage.Format_RGB32)
    painter = QPainter(joined)
    painter.drawImage(0, 0, dialog)
    painter.drawImage(dialog.width(), 0, tree)
    painter.drawImage(dialog.width(), tree.height(), drawn)
    painter.end()
    return joined


def main(package, scene, model, out):
    """Draw all of it."""
    with zipfile.ZipFile(package) as archive:
        archive.extractall(scratch.name)
    from processing.core.Processing import Processing

    canvas = QgsMapCanvas()
    qgis.utils.iface = Window(canvas)
    Processing.initialize()
    QgsGui.editorWidgetRegistry().initEditors(canvas)
    import geounet_qgis

    plugin = geounet_qgis.classFactory(qgis.utils.iface)
    plugin.initGui()
    layer = QgsRasterLayer(scene, Path(scene).stem)
    QgsProject.instance().addMapLayer(layer)
    create = QgsApplication.processingRegistry().createAlgorithmById
    shown = {"SCENE": layer.id(), "MODEL": Path(model).name, "LAND": True}
    dialog = draw_dialog(create("geounet:predict"), shown)
    folder = str(Path(scratch.name, "out"))
    run(create("geounet:predict"), {**shown, "MODEL": model, "OUT": folder})
    QgsProject.instance().removeMapLayer(layer)
    mask = QgsRasterLayer(f"{folder}/{Path(scene).stem}_mask.tif")
    picture = join(dialog, *draw_map(canvas, mask))
    picture.save(out, quality=0)  # as small as it gets


if __name__ == "__main__":
    QgsApplication.setPrefixPath("/usr", True)
    application = QgsApplication([], True)
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
