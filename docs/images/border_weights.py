"""Draw the border weights of two islands with a channel: python docs/images/border_weights.py."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap
from numpy.typing import NDArray

from geounet.classes import LAND, WATER
from geounet.config import BorderSettings
from geounet.losses.border import border_weights

HERE = Path(__file__).parent


def two_islands(height: int = 72, width: int = 112) -> NDArray[np.uint8]:
    """Return a label of two islands; the channel widens from 2 pixels to some 20 southward."""
    rows, cols = np.mgrid[:height, :width]
    island = ((rows - 36) / 27) ** 2 + ((cols - 56) / 46) ** 2 < 1 + 0.12 * np.sin(cols / 7)
    middle = 52 + 5 * np.sin(rows / 9)
    half_width = 1 + np.clip(rows - 22, 0, None) ** 1.5 / 24
    land = island & (np.abs(cols - middle) > half_width)
    return np.where(land, LAND.value, WATER.value).astype(np.uint8)


def draw(out: Path) -> None:
    """Draw label and weights beside each other."""
    label, settings = two_islands(), BorderSettings()
    weights = border_weights(label, settings, water=[WATER.value])
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
    left.imshow(label, cmap=ListedColormap([LAND.color, WATER.color]))
    left.set_title("label: two islands and a channel")
    shown = right.imshow(weights, cmap="magma", vmin=0, vmax=settings.w0)
    right.contour(label, levels=[0.5], colors="white", linewidths=0.8)
    right.set_title(f"border weight, w0 = {settings.w0:g}, σ = {settings.sigma:g} pixels")
    figure.colorbar(shown, ax=right, label="added to the weight of the class")
    for axes in (left, right):
        axes.set(xticks=[], yticks=[])
    figure.savefig(out, dpi=80, metadata={"Software": None})


if __name__ == "__main__":
    draw(HERE / "border_weights.png")
