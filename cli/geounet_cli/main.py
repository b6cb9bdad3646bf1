"""The commands together, and how their errors are reported."""

import inspect
import os
import shlex
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Annotated, Any, Self

import typer
from typer.core import TyperGroup

from geounet.errors import GeounetError
from geounet.patience import is_stuck
from geounet_cli import (
    baseline,
    coastline,
    compare,
    configs,
    demo,
    doctor,
    evaluate,
    experiment,
    export,
    info,
    predict,
    qgis,
    report,
    tile,
    train,
    transects,
)
from geounet_cli.console import ProgressAs, printable, progress_as, show_warnings, stopped_by

STOPPED = 130
"""Status of a command that was ended by Ctrl-C, as typer and shells have it; by SIGTERM, 143."""


class _OnlyIfGiven:
    """In the place of what typer looks at an option with: what nobody gave needs no look."""

    def __init__(self, option: Any) -> None:
        self._usual = option.get_runtime_param

    def __call__(self) -> Self:
        """Return itself, which typer asks for."""
        return self

    def coerce(self, value: Any, *, param: Any, ctx: Any) -> Any:
        """Return the value of an option as its command has it."""
        if value is None or value == param.default:
            return value
        return self._usual().coerce(value, param=param, ctx=ctx)


class _Group(TyperGroup):
    """Commands whose help does not wait for pydantic.

    typer imports it to look at the options before a command, `--help` and those of completion among
    them, whether they are given or not: a fifth of the time of any help.
    """

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the options, each with a look that waits until it is given."""
        params: list[Any] = super().get_params(ctx)
        for option in params:
            look = getattr(option, "get_runtime_param", None)  # older versions of typer have none
            if look is not None and not isinstance(look, _OnlyIfGiven):
                option.get_runtime_param = _OnlyIfGiven(option)
        return params


app = typer.Typer(
    name="geounet",
    cls=_Group,
    help="Satellite scenes to land/water masks and coastlines.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a traceback of ours is a defect: show it as Python does
    context_settings={"help_option_names": ["-h", "--help"]},
)

experiments = typer.Typer(
    name="experiment",
    cls=_Group,
    help="Experiments on your own chips: what skips are worth, which bands matter.",
    epilog="Example: geounet experiment skips chips/ --out skips/ --steps 500",
    no_args_is_help=True,
)


def _add(command: Callable[..., None], to: typer.Typer = app) -> None:
    """Add a command whose docstring ends with a line to paste, `Example: geounet …`."""
    *paragraphs, example = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    reflowed = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    to.command(help=reflowed, epilog=example)(command)


_add(tile.tile)
_add(train.train)
_add(predict.predict)
_add(evaluate.evaluate)
_add(baseline.baseline)
_add(coastline.coastline)
_add(compare.compare)
_add(transects.transects)
_add(report.report)
_add(qgis.qgis)
_add(export.export)
_add(info.info)
_add(doctor.doctor)
_add(demo.demo)
_add(configs.configs)
for _command in experiment.COMMANDS:
    _add(_command, to=experiments)
app.add_typer(experiments)


@app.callback(invoke_without_command=True)
def root(
    version: bool = typer.Option(False, "--version", help="Print the version and stop."),
    progress: Annotated[
        ProgressAs,
        typer.Option(
            envvar="GEOUNET_PROGRESS",
            help="How far the work is, on stderr: auto is a bar where that is a terminal; json, "
            'for programs, is lines {"label": "scene", "done": 3, "total": 12}; none is nothing.',
        ),
    ] = "auto",
) -> None:
    """Satellite scenes to land/water masks and coastlines."""
    progress_as.set(progress)
    if version:
        from geounet import __version__

        typer.echo(f"geounet {__version__}")
        raise typer.Exit


def main(arguments: list[str] | None = None) -> None:
    """Run the command; report what the user can fix without a traceback.

    Args:
        arguments: What follows `geounet` on the command line; by default the process's own.
    """
    show_warnings()
    _stop_politely()
    try:
        # What was typed goes into the record of what it makes.
        typed = shlex.join(["geounet", *(sys.argv[1:] if arguments is None else arguments)])
        app(args=arguments, obj=typed)
    except GeounetError as error:
        typer.echo(f"error: {printable(str(error))}", err=True)
        if is_stuck():  # Python would wait for a read that does not end
            sys.stdout.flush()
            os._exit(1)
        raise SystemExit(1) from None
    except SystemExit as end:
        if end.code != STOPPED:
            raise
        raise SystemExit(_stopped(stopped_by)) from None
    except (Exception, KeyboardInterrupt):
        # A library that is interrupted while it is imported, say, makes another error of it.
        if not stopped_by:
            raise
        raise SystemExit(_stopped(stopped_by)) from None


def _stop_politely() -> None:
    """Make a Ctrl-C of a scheduler's end of a job, so that everything half-written is cleared."""
    stopped_by.clear()

    def stop(number: int, _: FrameType | None) -> None:
        stopped_by.append(number)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as in the background of a script
        signal.signal(signal.SIGINT, stop)


def _stopped(by: list[int]) -> int:
    """Say that the command was stopped; return its status, by the first signal that came."""
    typer.echo("stopped", err=True)
    return 128 + by[0] if by else STOPPED
