"""What the QGIS plugin Deepness is to know of a model: tiles and their overlap, classes, units.

Deepness cuts a layer into square tiles of one side, divides its numbers by 255, standardises them
by what the file says, and of two tiles that overlap keeps half of the overlap from each. Its
arithmetic is undone here (mean 0, standard deviation 1/255), so that the graph is given numbers as
the layer has them, nodata and all.
"""

import json
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from geounet.errors import ConfigError
from geounet.model_file import LARGEST_BLEND, ModelHeader
from geounet.networks import Network

SIDES = (256, 640)
"""Of tiles where nobody says it, in pixels: smaller ones are all overlap, larger ones take long
until the plugin shows that something happens."""
UNSAID = (256, 64)
"""Side and overlap of tiles where the model file does not say how windows are blended."""
MOST_PERCENT = 60
"""Of a tile that it may share with the next."""


class Tiles(NamedTuple):
    """How Deepness cuts a layer."""

    side: int
    """In pixels."""
    percent: int
    """Of the side that neighbours share."""


def choose_tiles(header: ModelHeader, network: Network, size: int | None) -> Tiles:
    """Choose tiles that agree with `predict`: half their overlap is the halo at least.

    Tiles step by whole strides, or pooling would not line up; the plugin takes the overlap in
    whole percent, so not every side will do. Of those that do, the one that has the least
    predicted twice is taken.

    Args:
        header: Of the model.
        network: It.
        size: Side that the user wishes, in pixels.

    Raises:
        ConfigError: There are no such tiles.
    """
    halo, stride, sides = header.halo_default, network.stride, [size or 0]
    if size is not None and size > LARGEST_BLEND:
        raise ConfigError(f"--size {size} is too large for a tile. Use {LARGEST_BLEND} or less.")
    if header.halo_exact is None:
        blend = header.blend
        wanted, shared = (blend.window, blend.overlap) if blend else UNSAID
        sides = [size or wanted]
        if found := list(_possible(network, sides, halo=0)):
            return min(found, key=lambda tiles: abs(tiles.side * tiles.percent / 100 - shared))
    else:
        if size is None:
            sides = list(range(SIDES[0], max(SIDES[1], 6 * halo) + 1))
        if found := list(_possible(network, sides, halo=halo)):
            return min(found, key=lambda tiles: (tiles.percent, tiles.side))
    raise ConfigError(
        f"Deepness cannot cut tiles of {sides[0]}"
        + (f" to {sides[-1]}" if len(sides) > 1 else "")
        + f" pixels for this network, with a halo of {halo} and steps of its stride, {stride}, in "
        f"whole percent. Use another --size: a larger one, a multiple of {stride}."
    )


def _possible(network: Network, sides: Iterable[int], *, halo: int) -> Iterator[Tiles]:
    """Yield tiles of whole strides, whole strides apart, that share two halos at least."""
    stride = network.stride
    for side in sides:
        # Rows begin above the layer, by what is missing to whole tiles: whole strides, too.
        if side % stride or side < network.least or side <= network.margin + stride:
            continue
        for percent in range(MOST_PERCENT + 1):
            shared, rest = divmod(side * percent, 100)
            if not rest and shared % stride == 0 and shared // 2 >= halo:
                yield Tiles(side, percent)


def deepness_metadata(header: ModelHeader, tiles: Tiles) -> dict[str, str]:
    """Return what Deepness reads of a file, each value as JSON.

    Raises:
        ConfigError: Pixels of the model are not square, which the plugin's are.
    """
    across, down = header.res_m or (0.0, 0.0)
    if abs(across - down) > 0.01 * across:
        raise ConfigError(
            f"The model is for pixels of {across:g} × {down:g} m, and Deepness has square ones. "
            "Use --to onnx."
        )
    bands = len(header.bands)
    said = {
        "model_type": "Segmentor",
        "class_names": {str(i): one.name for i, one in enumerate(header.label_classes)},
        "resolution": round(100 * across, 6),  # centimetres
        "tile_size": tiles.side,
        "tiles_size": tiles.side,  # as its documentation has it
        "tiles_overlap": tiles.percent,
        "standardization_mean": [0.0] * bands,
        "standardization_std": [1 / 255] * bands,
        "seg_thresh": 0.0,  # the most probable class, as `predict` has it
        "seg_small_segment": 0,
    }
    return {key: json.dumps(value) for key, value in said.items()}
