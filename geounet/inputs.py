"""What is read is not written over."""

from collections.abc import Iterable
from pathlib import Path

from geounet.errors import OutputError
from geounet.outputs import existing_files


def refuse_inputs(folder: Path, name: str, inputs: Iterable[Path]) -> None:
    """Refuse to write the set `name` where it would take the place of what it is made from.

    Raises:
        OutputError: One of the inputs belongs to such a set in `folder`, or is called like it.
    """
    going = {path.resolve() for path in existing_files(folder, name)}
    for path in inputs:
        place = path.resolve()
        if place in going or (place.stem == name and place.parent == folder.resolve()):
            raise OutputError(
                f"{path} is read, and {name} in {folder} would take its place. "
                "Give another --out or --name."
            )


def refuse_files(files: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Refuse to write files that are inputs.

    Raises:
        OutputError: One of them is.
    """
    read = {path.resolve() for path in inputs}
    for file in files:
        if file.resolve() in read:
            raise OutputError(f"{file} is read, and would be replaced. Give another --json.")
