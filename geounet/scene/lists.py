"""Lists of scenes: a text file with one in each line."""

import sys
from pathlib import Path

from geounet.errors import SceneError
from geounet.scene.remote import is_remote

STANDARD_INPUT = "-"


def read_scene_list(place: str) -> list[str]:
    """Return the scenes that a list names, in its order.

    Empty lines and those that begin with `#` are passed over; a `#` further on is part of an
    address, as in `items.json#ID`. Paths are relative to the list's folder, those of standard
    input to the current one; addresses stay as they are.

    Args:
        place: A text file in UTF-8, or `-` for standard input.

    Raises:
        SceneError: It cannot be read, names none, or names one twice.
    """
    folder = Path() if place == STANDARD_INPUT else Path(place).parent
    shown = "The list on standard input" if place == STANDARD_INPUT else place
    lines: dict[str, int] = {}
    for number, line in enumerate(_text(place, shown).splitlines(), start=1):
        entry = line.strip()
        if not entry or entry.startswith("#"):
            continue
        whole = entry if is_remote(entry) or entry.startswith("/vsi") else str(folder / entry)
        if whole in lines:
            raise SceneError(
                f"{shown} names {entry} in line {lines[whole]} and in line {number}. Leave one out."
            )
        lines[whole] = number
    if not lines:
        raise SceneError(
            f"{shown} names no scene. Give one in each line; # at the beginning makes a comment."
        )
    return list(lines)


def _text(place: str, shown: str) -> str:
    try:
        content = sys.stdin.buffer.read() if place == STANDARD_INPUT else Path(place).read_bytes()
        text = content.decode("utf-8-sig")  # some editors put a mark before UTF-8
    except OSError as error:
        raise SceneError(f"{place} cannot be read: {error.strerror}. Check the path.") from None
    except ValueError:
        text = "\0"
    if "\0" in text:
        raise SceneError(
            f"{shown} is no list of scenes: it is not text in UTF-8. Give a text file with a scene "
            "in each line; a scene itself goes without --from."
        )
    return text
