"""geounet doctor."""

from pathlib import Path
from typing import Annotated

import typer

COLORS = {"ok": "green", "warn": "yellow", "bad": "red"}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Say whether this machine is fit, and what to do where it is not.

    Looks at Python, libraries, torch and GPU, GDAL's formats, PROJ, memory, and disk space here.
    Ends with status 1 if something is bad.

    Example: geounet doctor
    """
    from geounet.doctor import examine_machine

    checks = list(examine_machine(Path()))
    if as_json:
        import json

        typer.echo(json.dumps([check.to_dict() for check in checks], indent=1, ensure_ascii=False))
    else:
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        table = Table(box=None, show_header=False, pad_edge=False)
        for check in checks:
            status = f"[{COLORS[check.status]}]{check.status}[/]"
            table.add_row(check.topic, status, escape(check.finding))
            if check.advice:
                table.add_row("", "", f"[bold]→ {escape(check.advice)}[/]")
        Console(highlight=False).print(table)
    if any(check.status == "bad" for check in checks):
        raise typer.Exit(1)
