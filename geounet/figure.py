"""What all figures share: names as they are written, and the file."""

import warnings
from pathlib import Path

from matplotlib.figure import Figure


def as_written(text: str) -> str:
    """Return text as matplotlib draws it letter by letter.

    Between two dollars it would read mathematics, and a file's name that is none is an error.
    """
    return text.replace("$", r"\$")


def save_png(figure: Figure, path: Path, *, dpi: int) -> None:
    """Write a figure as PNG, of the same bytes wherever matplotlib draws the same."""
    with warnings.catch_warnings():
        # Names may be in any script; what the font lacks is a box, and no news to anyone.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        # Matplotlib's version in the file would make the same figure differ.
        figure.savefig(path, format="png", dpi=dpi, metadata={"Software": None})
