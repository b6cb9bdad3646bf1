"""The commands together, and how their errors are reported."""

import typer

from geounet.errors import GeounetError
from geounet_cli import baseline, configs, demo, doctor, evaluate, info, predict, tile, train
from geounet_cli.console import show_warnings

app = typer.Typer(
    name="geounet",
    help="Satellite scenes to land/water masks and coastlines.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a traceback of ours is a defect: show it as Python does
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(tile.tile)
app.command()(train.train)
app.command()(predict.predict)
app.command()(evaluate.evaluate)
app.command()(baseline.baseline)
app.command()(info.info)
app.command()(doctor.doctor)
app.command()(demo.demo)
app.command()(configs.configs)


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
    try:
        app(args=arguments)
    except GeounetError as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        typer.echo("stopped: nothing half-written is left behind", err=True)
        raise SystemExit(130) from None
