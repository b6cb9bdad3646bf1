"""An algorithm of QGIS that runs a command of geounet."""
# ruff: noqa: N802  QGIS calls the methods so

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

from processing.core.ProcessingConfig import ProcessingConfig
from qgis.core import (
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingParameterBoolean,
)
from qgis.PyQt.QtGui import QIcon

from geounet_qgis import map_layers
from geounet_qgis.options import Command, Kind
from geounet_qgis.parameters import define, define_outputs
from geounet_qgis.process import Ended, Step, run_command
from geounet_qgis.program import SETTING, ProblemError, check_version, find_program, surroundings
from geounet_qgis.results import find_results
from geounet_qgis.values import Values, is_given

LOAD = "LOAD"


class GeounetAlgorithm(QgsProcessingAlgorithm):
    """A command of geounet, by its table."""

    def __init__(self, command: Command) -> None:
        super().__init__()
        self._command = command
        self._arguments: list[str] = []
        self._folder: Path | None = None

    def createInstance(self) -> GeounetAlgorithm:
        """Return another for a run of its own."""
        return GeounetAlgorithm(self._command)

    def name(self) -> str:
        """What comes behind `geounet:`."""
        return self._command.name

    def displayName(self) -> str:
        """What the toolbox calls it."""
        return self._command.title

    def shortHelpString(self) -> str:
        """What stands beside the parameters."""
        return self._command.help

    def icon(self) -> QIcon:
        """The provider's picture."""
        return self.provider().icon()

    def initAlgorithm(self, _configuration: dict[str, Any]) -> None:
        """Define parameters and outputs."""
        for option in self._command.options:
            self.addParameter(define(option))
        self.addParameter(QgsProcessingParameterBoolean(LOAD, "Add the results to the map", True))
        for output in define_outputs(self._command):
            self.addOutput(output)

    def checkParameterValues(
        self, parameters: dict[str, Any], context: QgsProcessingContext
    ) -> tuple[bool, str]:
        """Check what no single parameter can tell: what is to be given one of, or once."""
        if problem := self._problem(parameters):
            return False, problem
        return super().checkParameterValues(parameters, context)

    def _problem(self, parameters: dict[str, Any]) -> str:
        command = self._command
        labels = {option.name: option.label for option in command.options}

        def given(names: tuple[str, ...]) -> list[str]:
            return [name for name in names if is_given(parameters.get(name))]

        def listed(names: tuple[str, ...]) -> str:
            return ", ".join(f"{labels[name].lstrip('… ')} ({name})" for name in names)

        if command.one_of and len(given(command.one_of)) != 1:
            return f"Give one of these, and no more: {listed(command.one_of)}."
        if command.any_of and not given(command.any_of):
            return f"Give one of these at least: {listed(command.any_of)}."
        for flag in dict.fromkeys(option.flag for option in command.options if option.flag):
            names = tuple(option.name for option in command.options if option.flag == flag)
            if len(given(names)) > 1:
                return f"Give one of these at most: {listed(names)}."
        return ""

    def prepareAlgorithm(
        self,
        parameters: dict[str, Any],
        context: QgsProcessingContext,
        feedback: QgsProcessingFeedback,
    ) -> bool:
        """Write the command line, in QGIS's own thread, where layers may be looked at.

        Raises:
            QgsProcessingException: A layer is no file and cannot be made one.
        """
        values = Values(self, parameters, context, feedback)
        places: list[str] = []
        named: list[str] = []
        try:
            for option in self._command.options:
                for text in values.texts(option):
                    if not option.flag:
                        places.append(text)
                    else:
                        # With `=`, what begins with a dash is no option.
                        named.append(f"{option.flag}={text}" if text else option.flag)
                    if option.kind is Kind.FOLDER_OUT:
                        self._folder = Path(text)
        except ProblemError as problem:
            raise QgsProcessingException(str(problem)) from None
        self._arguments = [self._command.name, *named, "--", *places]
        return True

    def processAlgorithm(
        self,
        parameters: dict[str, Any],
        context: QgsProcessingContext,
        feedback: QgsProcessingFeedback,
    ) -> dict[str, Any]:
        """Run the command to its end, or until it is cancelled.

        Raises:
            QgsProcessingException: geounet is not found or too old, or the command failed; the text
                is what it said.
        """
        try:
            program = find_program(str(ProcessingConfig.getSetting(SETTING) or ""))
            feedback.pushInfo(f"geounet {check_version(program)}, {program[0]}")
        except ProblemError as problem:
            raise QgsProcessingException(str(problem)) from None
        feedback.pushCommandInfo(shlex.join(["geounet", *self._arguments]))
        ended = run_command(
            [*program, *self._arguments],
            _Teller(feedback),
            feedback.isCanceled,
            surroundings(os.environ),
        )
        return self._take(ended, self.parameterAsBool(parameters, LOAD, context), context, feedback)

    def _take(
        self, ended: Ended, load: bool, context: QgsProcessingContext, feedback: Any
    ) -> dict[str, Any]:
        """Return what a run gives back, and have it put on the map.

        Raises:
            QgsProcessingException: The command failed.
        """
        if ended.status and ended.stopped:
            feedback.pushInfo("geounet has stopped. What was not finished is not there.")
            return {}
        if ended.status:
            raise QgsProcessingException(ended.complaint)
        results = find_results(ended.out, self._folder)
        given: dict[str, Any] = {} if self._folder is None else {"OUT": str(self._folder)}
        if len(results) == 1:
            given |= results[0].values(self._command)
        if load:
            for result in results:
                map_layers.show(result, self._command, context, feedback)
        return given


class _Teller:
    """Tells QGIS what a command says."""

    def __init__(self, feedback: QgsProcessingFeedback) -> None:
        self._feedback = feedback
        self._label = ""

    def step(self, step: Step) -> None:
        """Move the bar."""
        if step.label != self._label:
            self._label = step.label
            self._feedback.setProgressText(step.label)
        if step.percent is not None:
            self._feedback.setProgress(step.percent)

    def result(self, line: str) -> None:
        """Show a line of a table, or the path of a file."""
        if line.startswith(("│", "┃")):  # the log is HTML, where spaces are one
            line = line.replace("  ", 2 * "\N{NO-BREAK SPACE}")
        self._feedback.pushConsoleInfo(line)

    def note(self, line: str) -> None:
        """Show what a person should know."""
        if line.startswith("warning: "):
            self._feedback.pushWarning(line)
        else:
            self._feedback.pushInfo(line)
