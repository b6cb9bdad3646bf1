"""The rows of a command's table as parameters and outputs of QGIS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qgis.core import (
    QgsProcessing,
    QgsProcessingOutputDefinition,
    QgsProcessingOutputFile,
    QgsProcessingOutputNumber,
    QgsProcessingOutputRasterLayer,
    QgsProcessingOutputVectorLayer,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterCrs,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterEnum,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterFile,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterFolderDestination,
    QgsProcessingParameterMapLayer,
    QgsProcessingParameterMultipleLayers,
    QgsProcessingParameterNumber,
    QgsProcessingParameterPoint,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
)

from geounet_qgis.options import Command, Kind, Option

ALL_FILES = "All files (*)"
OUTPUTS = {
    Kind.RASTER: QgsProcessingOutputRasterLayer,
    Kind.VECTOR: QgsProcessingOutputVectorLayer,
    Kind.FILE: QgsProcessingOutputFile,
}


def define(option: Option) -> QgsProcessingParameterDefinition:
    """Return the parameter that asks for an option."""
    parameter = _MAKERS[option.kind](option)
    flags = parameter.flags()
    if not option.required and option.default is None:  # what has a default is never empty
        flags |= QgsProcessingParameterDefinition.FlagOptional
    if option.advanced:
        flags |= QgsProcessingParameterDefinition.FlagAdvanced
    parameter.setFlags(flags)
    parameter.setHelp(option.help)
    return parameter


def define_outputs(command: Command) -> list[QgsProcessingOutputDefinition]:
    """Return what an algorithm gives back besides its folder."""
    files = [OUTPUTS[one.kind](one.name, one.label) for one in command.outputs]
    return files + [QgsProcessingOutputNumber(one.name, one.label) for one in command.numbers]


def _number(option: Option) -> Any:
    integer = option.kind is Kind.INTEGER
    parameter = QgsProcessingParameterNumber(
        option.name,
        option.label,
        QgsProcessingParameterNumber.Integer if integer else QgsProcessingParameterNumber.Double,
        option.default,
        optional=option.default is None,
    )
    if option.least is not None:
        parameter.setMinimum(option.least)
    if option.most is not None:
        parameter.setMaximum(option.most)
    return parameter


def _choice(option: Option) -> Any:
    several = option.kind is Kind.CHOICES
    return QgsProcessingParameterEnum(
        option.name,
        option.label,
        list(option.choices),
        allowMultiple=several,
        defaultValue=option.default,
        optional=option.default is None,
        usesStaticStrings=True,
    )


def _file(option: Option) -> Any:
    folder = option.kind is Kind.FOLDER
    return QgsProcessingParameterFile(
        option.name,
        option.label,
        QgsProcessingParameterFile.Folder if folder else QgsProcessingParameterFile.File,
        fileFilter="" if folder else option.only or ALL_FILES,
    )


def _file_out(option: Option) -> Any:
    return QgsProcessingParameterFileDestination(
        option.name, option.label, option.only or ALL_FILES, None, True, False
    )


def _several(of: int) -> Callable[[Option], Any]:
    return lambda option: QgsProcessingParameterMultipleLayers(option.name, option.label, of)


def _plain(make: Callable[..., Any]) -> Callable[[Option], Any]:
    """Return what makes a parameter of which nothing need be said but its name."""
    return lambda option: make(option.name, option.label)


_MAKERS: dict[Kind, Callable[[Option], Any]] = {
    Kind.RASTER: _plain(QgsProcessingParameterRasterLayer),
    Kind.RASTERS: _several(QgsProcessing.TypeRaster),
    Kind.VECTOR: _plain(QgsProcessingParameterFeatureSource),
    Kind.LAYER: _plain(QgsProcessingParameterMapLayer),
    Kind.LAYERS: _several(QgsProcessing.TypeMapLayer),
    Kind.FILE: _file,
    Kind.FILES: _several(QgsProcessing.TypeFile),
    Kind.FOLDER: _file,
    Kind.FILE_OUT: _file_out,
    Kind.FOLDER_OUT: _plain(QgsProcessingParameterFolderDestination),
    Kind.TEXT: lambda option: QgsProcessingParameterString(
        option.name, option.label, option.default
    ),
    Kind.NUMBER: _number,
    Kind.INTEGER: _number,
    Kind.FLAG: lambda option: QgsProcessingParameterBoolean(
        option.name, option.label, option.default
    ),
    Kind.CHOICE: _choice,
    Kind.CHOICES: _choice,
    Kind.CRS: _plain(QgsProcessingParameterCrs),
    Kind.PLACE: _plain(QgsProcessingParameterPoint),
}
