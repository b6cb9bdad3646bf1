"""geounet configs."""

from typing import Annotated

import typer


def configs(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Print this recipe or network, to copy and change.", show_default=False
        ),
    ] = None,
    schema: Annotated[
        bool,
        typer.Option("--schema", help="Print the JSON schema of a recipe, for an editor to check."),
    ] = False,
) -> None:
    """List the recipes and networks that come with geounet, and what each is for.

    A recipe is how to train (--config NAME), a network what to train (`network: NAME` in a recipe).

    Example: geounet configs coast > mine.yaml
    """
    import json

    from geounet.config import (  # pydantic: half of the time that --help may take
        purpose,
        settings_schema,
        shipped_configs,
        shipped_networks,
        shipped_text,
    )

    if schema:
        typer.echo(json.dumps(settings_schema(), indent=2, ensure_ascii=False))
        return
    if name is not None:
        typer.echo(shipped_text(name), nl=False)
        return
    recipes = {name: purpose(file) for name, file in shipped_configs().items()}
    networks = {name: purpose(file) for name, file in shipped_networks().items()}
    networks["smp/DECODER/ENCODER"] = (
        "Any of segmentation-models-pytorch, for example smp/unet/resnet34."
    )
    width = max(map(len, [*recipes, *networks]))
    for title, table in (
        ("Recipes (--config NAME)", recipes),
        ("Networks (network: NAME)", networks),
    ):
        typer.echo(title)
        for entry, text in table.items():
            typer.echo(f"  {entry:{width}}  {text}")
