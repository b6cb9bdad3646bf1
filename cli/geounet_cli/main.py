"""The commands together, and how their errors are reported."""

import inspect
import shlex
import signal
import sys
from collections.abc import Callable

import typer

from geounet.errors import GeounetError
from geounet_cli import (
    baseline,
    coastline,
    compare,
    configs,
    demo,
    doctor,
    evaluate,
    experiment,
    info,
    predict,
    qgis,
    report,
    tile,
    train,
    transects,
)
from geounet_cli.console import printable, show_warnings

STOPPED = 130
"""Status of a command that was ended by Ctrl-C, as typer and shells have it."""

app = typer.Typer(
    name="geounet",
    help="Satellite scenes to land/water masks and coastlines.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a traceback of ours is a defect: show it as Python does
    context_settings={"help_option_names": ["-h", "--help"]},
)

experiments = typer.Typer(
    name="experiment",
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
) -> None:
    """Satellite scenes to land/water masks and coastlines."""
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
    # A scheduler's polite end of a job is a Ctrl-C: everything half-written is cleared.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        # What was typed goes into the record of what it makes.
        typed = shlex.join(["geounet", *(sys.argv[1:] if arguments is None else arguments)])
        app(args=arguments, obj=typed)
    except GeounetError as error:
        typer.echo(f"error: {printable(str(error))}", err=True)
        raise SystemExit(1) from None
    except SystemExit as end:
        if end.code == STOPPED:
            typer.echo("stopped", err=True)
        raise
