#!/usr/bin/python3
"""Run an algorithm of the plugin in real QGIS as its window does, and print what became of it.

    /usr/bin/python3 in_qgis_toolbox.py PLUGINS < JOB.json

PLUGINS is the folder that the plugin was installed in. The job says `algorithm`, `parameters`, at
which percent it is to be cancelled (`cancel_at`, or null), and where geounet is (`setting`). A
parameter that is an object becomes a layer of the project: `wkt` and `crs` in memory, `path`
with the filter `where` or with what is selected by `select`, or a `virtual` raster of a file.
Run by tests with the system's Python; it knows nothing of geounet.
"""
# ruff: noqa: N802, N803, ARG002  QGIS calls the methods so

import json
import os
import sys
import tempfile
import traceback
import warnings
from pathlib import Path

scratch = tempfile.TemporaryDirectory()
for name in ("PROJ_LIB", "PROJ_DATA", "GDAL_DATA", "PYTHONHOME", "PYTHONPATH"):
    os.environ.pop(name, None)  # of a virtual environment, and not for QGIS's libraries
os.environ["QT_QPA_PLATFORM"] = "offscreen"
for name in ("XDG_RUNTIME_DIR", "QGIS_CUSTOM_CONFIG_PATH", "QGIS_AUTH_DB_DIR_PATH"):
    place = Path(scratch.name, name)
    place.mkdir(0o700)
    os.environ[name] = str(place)
warnings.filterwarnings("ignore", category=DeprecationWarning)
sys.path[:0] = [sys.argv[1], "/usr/share/qgis/python/plugins"]

from qgis.core import (  # noqa: E402
    QgsApplication,
    QgsFeature,
    QgsGeometry,
    QgsLayerTreeGroup,
    QgsProcessingContext,
    QgsProcessingFeatureSourceDefinition,
    QgsProcessingFeedback,
    QgsProject,
    QgsRasterDataProvider,
    QgsRasterLayer,
    QgsRenderContext,
    QgsVectorLayer,
)


def as_layer(value):
    if "virtual" in value:
        source = QgsRasterLayer(value["virtual"], "source")
        computed = QgsRasterDataProvider.VirtualRasterParameters()
        computed.crs, computed.extent = source.crs(), source.extent()
        computed.width, computed.height = source.width(), source.height()
        computed.formula = '"source@1" + 1'
        part = QgsRasterDataProvider.VirtualRasterInputLayers()
        part.name, part.uri, part.provider = "source", source.source(), "gdal"
        computed.rInputLayers = [part]
        uri = QgsRasterDataProvider.encodeVirtualRasterProviderUri(computed)
        layer = QgsRasterLayer(uri, "computed", "virtualraster")
        assert layer.isValid(), layer.error().message()
    elif "wkt" in value:
        layer = QgsVectorLayer(f"Polygon?crs={value['crs']}", "drawn here", "memory")
        feature = QgsFeature()
        feature.setGeometry(QgsGeometry.fromWkt(value["wkt"]))
        assert layer.dataProvider().addFeatures([feature])[0]
    else:
        layer = QgsVectorLayer(value["path"], "filtered", "ogr")
        assert layer.setSubsetString(value.get("where", ""))
    QgsProject.instance().addMapLayer(layer, False)
    if "select" in value:
        layer.selectByExpression(value["select"])
        return QgsProcessingFeatureSourceDefinition(layer.id(), True)
    return layer


class Feedback(QgsProcessingFeedback):
    def __init__(self, cancel_at):
        super().__init__(False)
        self.said, self.percents = [], []
        self._cancel_at = cancel_at
        self.progressChanged.connect(self._progress)

    def _progress(self, percent):
        self.percents.append(percent)
        if self._cancel_at is not None and percent >= self._cancel_at:
            self.cancel()

    def pushInfo(self, info):
        self.said.append(["info", info])

    def pushWarning(self, warning):
        self.said.append(["warning", warning])

    def pushCommandInfo(self, info):
        self.said.append(["command", info])

    def pushConsoleInfo(self, info):
        self.said.append(["console", info])

    def setProgressText(self, text):
        self.said.append(["doing", text])

    def reportError(self, error, fatalError=False):
        self.said.append(["error", error])


def describe(node):
    if isinstance(node, QgsLayerTreeGroup):
        return [node.name(), [describe(child) for child in node.children()]]
    layer = node.layer()
    renderer, symbols = layer.renderer(), []
    if isinstance(layer, QgsVectorLayer):
        symbols = renderer.symbols(QgsRenderContext())
    return {
        "name": node.name(), "shown": node.isVisible(), "style": renderer.type(),
        "colors": [symbol.color().name() for symbol in symbols],
    }  # fmt: skip


def main(job):
    from processing.core.Processing import Processing
    from processing.core.ProcessingConfig import ProcessingConfig
    from processing.gui.Postprocessing import handleAlgorithmResults

    Processing.initialize()
    import geounet_qgis

    plugin = geounet_qgis.classFactory(None)
    plugin.initGui()
    if job["setting"]:
        ProcessingConfig.setSettingValue("GEOUNET_COMMAND", job["setting"])
    parameters = {
        name: as_layer(value) if isinstance(value, dict) else value
        for name, value in job["parameters"].items()
    }
    feedback, context = Feedback(job["cancel_at"]), QgsProcessingContext()
    context.setProject(QgsProject.instance())
    context.setFeedback(feedback)
    registry = QgsApplication.processingRegistry()
    algorithm = registry.createAlgorithmById(f"geounet:{job['algorithm']}")
    results, done = algorithm.run(parameters, context, feedback)
    if done and not feedback.isCanceled():
        handleAlgorithmResults(algorithm, context, feedback)
    tree = describe(QgsProject.instance().layerTreeRoot())[1]
    plugin.unload()
    assert registry.algorithmById(f"geounet:{job['algorithm']}") is None
    return {
        "results": results, "done": done, "cancelled": feedback.isCanceled(), "tree": tree,
        "said": feedback.said, "percents": feedback.percents,
    }  # fmt: skip


if __name__ == "__main__":
    QgsApplication.setPrefixPath("/usr", True)
    application = QgsApplication([], False)
    application.initQgis()
    status = 1
    try:
        said = main(json.load(sys.stdin))
        sys.stdout.write(json.dumps(said))
        status = 0
    except Exception:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        sys.stdout.flush()
        scratch.cleanup()
        os._exit(status)  # leaving with layers still alive ends in a segmentation fault
