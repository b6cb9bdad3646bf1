#!/usr/bin/python3
"""Open a project in real QGIS, play it, and print what was found as JSON.

    /usr/bin/python3 in_qgis.py PROJECT.qgz [PICTURES]

Run by tests with the system's Python, which has PyQGIS; it knows nothing of geounet. With PICTURES,
the map is drawn there: `map.png` without time, and one picture for each step.
"""

import json
import os
import sys
import tempfile
import time
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

from qgis.core import (  # noqa: E402
    QgsApplication,
    QgsInterval,
    QgsMapRendererParallelJob,
    QgsMapSettings,
    QgsProject,
    QgsTemporalNavigationObject,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QSize, Qt  # noqa: E402
from qgis.PyQt.QtGui import QColor  # noqa: E402

SIDE, DPI = 400, 300  # so fine that widths of lines can be told apart in pixels
BACKGROUND = QColor("#fffffe")


def iso(when):
    return when.toUTC().toString(Qt.ISODate) if when.isValid() else None


def describe(layer):
    properties = layer.temporalProperties()
    said = {
        "source": layer.publicSource(),
        "valid": layer.isValid(),
        "crs": layer.crs().authid(),
        "temporal": properties.isActive(),
        "mode": int(properties.mode()),
        "range": [iso(properties.fixedTemporalRange().begin()),
                  iso(properties.fixedTemporalRange().end())],
        "rules": None,
    }  # fmt: skip
    if isinstance(layer, QgsVectorLayer):
        said["field"] = properties.startField()
        said["features"] = layer.featureCount()
        if layer.renderer().type() == "RuleRenderer":
            rules = layer.renderer().rootRule().children()
            said["rules"] = [
                [r.label(), r.filterExpression(), r.symbol().color().name()] for r in rules
            ]
    return said


def draw(layers, project, when=None, png=None):
    """Return how many pixels have which colour."""
    settings = QgsMapSettings()
    settings.setLayers(layers)
    settings.setDestinationCrs(project.crs())
    settings.setExtent(project.viewSettings().defaultViewExtent())
    settings.setOutputSize(QSize(SIDE, SIDE))
    settings.setBackgroundColor(BACKGROUND)
    if png is None:
        settings.setOutputDpi(DPI)
    settings.setFlag(QgsMapSettings.Antialiasing, png is not None)
    if when is not None:
        settings.setIsTemporal(True)
        settings.setTemporalRange(when)
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    assert not job.errors(), [error.message for error in job.errors()]
    picture = job.renderedImage()
    if png is not None:
        picture.save(png)
    count = {}
    for row in range(picture.height()):
        for col in range(picture.width()):
            color = f"#{picture.pixel(col, row) & 0xFFFFFF:06x}"
            count[color] = count.get(color, 0) + 1
    del count[BACKGROUND.name()]
    return count


def play(project):
    """Return the steps of QGIS's temporal controller, set as it sets itself from a project."""
    settings = project.timeSettings()
    controller = QgsTemporalNavigationObject()
    controller.setNavigationMode(QgsTemporalNavigationObject.Animated)
    controller.setTemporalExtents(settings.temporalRange())
    controller.setFrameDuration(QgsInterval(settings.timeStep(), settings.timeStepUnit()))
    return [controller.dateTimeRangeForFrameNumber(i) for i in range(controller.totalFrameCount())]


def main(path, pictures=None):
    began = time.perf_counter()
    project = QgsProject.instance()
    assert project.read(path), project.error()
    assert not project.error(), project.error()
    seconds = time.perf_counter() - began
    root = project.layerTreeRoot()
    shown = [layer for layer in root.layerOrder() if layer in root.checkedLayers()]
    lines = [one for one in shown if isinstance(one, QgsVectorLayer) and one.geometryType() == 1]
    steps = []
    for number, when in enumerate(play(project)):
        begin, end = iso(when.begin()), iso(when.end())
        steps.append({"begin": begin, "end": end, "lines": draw(lines, project, when)})
        if pictures:
            draw(shown, project, when, str(Path(pictures, f"step{number}.png")))
    whole = draw(shown, project, png=str(Path(pictures, "map.png")) if pictures else None)
    said = {
        "title": project.title(),
        "abstract": project.metadata().abstract(),
        "crs": project.crs().authid(),
        "range": [iso(project.timeSettings().temporalRange().begin()),
                  iso(project.timeSettings().temporalRange().end())],
        "groups": [
            [group.name(), [one.layer().name() for one in group.findLayers()]]
            for group in root.findGroups()
        ],
        "layers": [describe(one) for one in root.layerOrder()],
        "shown": len(shown),
        "lines": draw(lines, project),
        "map": whole,
        "steps": steps,
        "seconds": seconds,
    }  # fmt: skip
    sys.stdout.write(json.dumps(said))


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
        sys.stdout.flush()
        scratch.cleanup()
        os._exit(status)  # leaving with layers still alive ends in a segmentation fault
