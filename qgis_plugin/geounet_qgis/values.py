"""What was chosen in QGIS, as geounet's command line says it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qgis.core import (
    NULL,
    QgsCoordinateReferenceSystem,
    QgsMapLayer,
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingUtils,
    QgsRasterLayer,
    QgsVectorLayer,
)

from geounet_qgis.options import Kind, Option
from geounet_qgis.program import ProblemError

READ_AS_THEY_ARE = ["gpkg", "shp", "geojson", "json", "fgb", "kml", "gml", "parquet"]
"""Endings of vector files that geounet is given itself; others are exported as GeoPackage."""


def is_given(value: Any) -> bool:
    """Whether a parameter has a value: QGIS has several ways to say that it has none."""
    return value not in (None, "", []) and value != NULL


class Values:
    """What one run of an algorithm was given."""

    def __init__(
        self,
        algorithm: QgsProcessingAlgorithm,
        parameters: dict[str, Any],
        context: QgsProcessingContext,
        feedback: QgsProcessingFeedback,
    ) -> None:
        self._algorithm, self._parameters = algorithm, parameters
        self._context, self._feedback = context, feedback

    def texts(self, option: Option) -> list[str]:
        """Return the values of an option, each as the command takes it; none where none is given.

        A flag that is set has one, which is empty.

        Raises:
            ProblemError: A layer is no file and cannot be made one.
        """
        if not is_given(self._parameters.get(option.name)):
            return []
        return _READERS[option.kind](self, option)

    def _as(self, what: str, option: Option) -> Any:
        read = getattr(self._algorithm, f"parameterAs{what}")
        return read(self._parameters, option.name, self._context)

    def _text(self, option: Option) -> list[str]:
        text = self._as("String", option).strip()
        return [text] if text and text != option.default else []

    def _number(self, option: Option) -> list[str]:
        value = self._as("Int" if option.kind is Kind.INTEGER else "Double", option)
        return [f"{value:.15g}"] if value != option.default else []

    def _flag(self, option: Option) -> list[str]:
        return [""] if self._as("Bool", option) else []

    def _choices(self, option: Option) -> list[str]:
        chosen = self._as("EnumStrings", option)
        return [",".join(chosen)] if chosen else []

    def _choice(self, option: Option) -> list[str]:
        text = self._as("EnumString", option)
        return [text] if text and text != option.default else []

    def _crs(self, option: Option) -> list[str]:
        crs = self._as("Crs", option)
        return [crs.authid() or crs.toWkt()] if crs.isValid() else []

    def _place(self, option: Option) -> list[str]:
        degrees = QgsCoordinateReferenceSystem("EPSG:4326")
        point = self._algorithm.parameterAsPoint(
            self._parameters, option.name, self._context, degrees
        )
        return [f"{point.x():.7f},{point.y():.7f}"]

    def _written(self, option: Option) -> list[str]:
        return [self._as("FileOutput", option)]

    def _files(self, option: Option) -> list[str]:
        return [file for file in self._as("FileList", option) if file]

    def _raster(self, option: Option) -> list[str]:
        return [self._of_layer(self._as("RasterLayer", option), option)]

    def _vector(self, option: Option) -> list[str]:
        named = self._algorithm.parameterAsCompatibleSourceLayerPathAndLayerName(
            self._parameters,
            option.name,
            self._context,
            READ_AS_THEY_ARE,
            "gpkg",
            self._feedback,
        )
        return [_with_layer(*named)]

    def _layer(self, option: Option) -> list[str]:
        return [self._of_layer(self._as("Layer", option), option)]

    def _layers(self, option: Option) -> list[str]:
        return [self._of_layer(layer, option) for layer in self._as("LayerList", option)]

    def _of_layer(self, layer: QgsMapLayer | None, option: Option) -> str:
        """Return the file that a layer is of, with `|` and its name in there."""
        if layer is None:
            raise ProblemError(f"{option.label}: QGIS cannot open what was given.")
        if isinstance(layer, QgsRasterLayer):
            if layer.providerType() != "gdal":
                raise ProblemError(
                    f"{option.label}: the layer {layer.name()} is no file, but of "
                    f"{layer.providerType()}. Save it as GeoTIFF first: its menu, Export ▸ Save As."
                )
            return str(layer.source().partition("|")[0])
        if not isinstance(layer, QgsVectorLayer):
            raise ProblemError(f"{option.label}: {layer.name()} is neither raster nor vector.")
        named = QgsProcessingUtils.convertToCompatibleFormatAndLayerName(
            layer, False, option.name, READ_AS_THEY_ARE, "gpkg", self._context, self._feedback
        )
        return _with_layer(*named)


def _with_layer(path: str, layer: str) -> str:
    return f"{path}|{layer}" if layer else path


_READERS: dict[Kind, Callable[[Values, Option], list[str]]] = {
    Kind.RASTER: Values._raster,
    Kind.RASTERS: Values._layers,
    Kind.VECTOR: Values._vector,
    Kind.LAYER: Values._layer,
    Kind.LAYERS: Values._layers,
    Kind.FILE: Values._text,
    Kind.FILES: Values._files,
    Kind.FOLDER: Values._text,
    Kind.FILE_OUT: Values._written,
    Kind.FOLDER_OUT: Values._written,
    Kind.TEXT: Values._text,
    Kind.NUMBER: Values._number,
    Kind.INTEGER: Values._number,
    Kind.FLAG: Values._flag,
    Kind.CHOICE: Values._choice,
    Kind.CHOICES: Values._choices,
    Kind.CRS: Values._crs,
    Kind.PLACE: Values._place,
}
