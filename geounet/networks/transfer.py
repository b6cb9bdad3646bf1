"""What one network can take over from another: everything, or its encoder, and kernels by band."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from geounet.config import SmpSettings, UNetSettings
from geounet.errors import ConfigError
from geounet.networks.inputs import input_convolutions, match_names, pick_kernels
from geounet.networks.network import Network

_ENCODERS = ("encoder.", "bottom.", "network.encoder.")
"""How names of an encoder's tensors begin; the bottom of a U-Net belongs to it."""
_HEADS = ("head.", "network.segmentation_head.")
_ENCODER_SETTINGS = ("depth", "base_width", "padding", "norm", "bias")
"""What makes the encoder of a U-Net what it is."""
_TRAINING_ONLY = {"init", "dropout", "dropout_rate", "weights", "weights_bands", "first_conv"}
"""Settings on which a trained network's weights do not depend."""


class Transfer(NamedTuple):
    """What became of a network's tensors."""

    taken: list[str]
    """Names of those that were taken over."""
    fresh: list[str]
    """Names of those that start anew."""

    def part(self, names: Sequence[str]) -> list[str]:
        """Return the parts of the network that tensors are of, for people."""
        depth = 2 if any(name.startswith("network.") for name in names) else 1
        return list(dict.fromkeys(".".join(name.split(".")[:depth]) for name in names))


def is_encoder_only(
    theirs: UNetSettings | SmpSettings, ours: UNetSettings | SmpSettings, *, where: str
) -> bool:
    """Return whether two networks share their encoder alone, not all but the head.

    Args:
        theirs: The network whose weights there are.
        ours: The network that is to start from them.
        where: The file of the weights, for the error.

    Raises:
        ConfigError: They have not even that in common.
    """
    left = {key: (was, now) for key, was, now in _differences(theirs, ours)}
    if not left or left.keys() == {"target"}:
        return bool(left)
    if isinstance(ours, SmpSettings) and isinstance(theirs, SmpSettings):
        shared = "encoder" not in left
    else:
        shared = theirs.kind == ours.kind and not left.keys() & set(_ENCODER_SETTINGS)
    if not shared:
        differing = ", ".join(
            f"`{key}` is {was} there and {now} here" for key, (was, now) in left.items()
        )
        raise ConfigError(
            f"{where} is of another network, with another encoder: {differing}. Train the network "
            "that it is of, or one with the same encoder; `geounet info` shows its settings."
        )
    return True


def _differences(
    theirs: UNetSettings | SmpSettings, ours: UNetSettings | SmpSettings
) -> list[tuple[str, object, object]]:
    """Return settings that matter to weights and differ, with their values there and here."""
    there, here = (one.model_dump(exclude=_TRAINING_ONLY) for one in (theirs, ours))
    if theirs.kind != ours.kind:
        return [("kind", theirs.kind, ours.kind)]
    return [(key, there[key], here[key]) for key in here if there[key] != here[key]]


def take_over(
    network: Network,
    given: Mapping[str, Tensor],
    *,
    bands: Sequence[str],
    their_bands: Sequence[str],
    encoder_only: bool,
    same_outputs: bool,
) -> Transfer:
    """Start a network from the weights of another, in place.

    Tensors go by name and shape; the kernels that see the bands by the bands' names, and are zero
    for a band that the other did not have.

    Args:
        network: With fresh weights.
        given: The other's weights, finite.
        bands: Names of our bands, in order.
        their_bands: Names of the other's.
        encoder_only: Whether nothing but the encoder is to be taken.
        same_outputs: Whether both heads give the same classes (or bands) in the same order.
    """
    places = match_names(bands, their_bands)
    first = input_convolutions(network, len(bands), side=network.fit(2 * network.stride))
    inputs = {f"{name}.weight" for name in first}
    taken, fresh = [], []
    for name, own in network.state_dict().items():
        there = given.get(name)
        wanted = name.startswith(_ENCODERS) if encoder_only else True
        if there is not None and name in inputs:
            there = pick_kernels(there, places)
        if not same_outputs and name.startswith(_HEADS):
            wanted = False
        if not wanted or there is None or there.shape != own.shape:
            fresh.append(name)
            continue
        own.copy_(there)
        taken.append(name)
    return Transfer(taken, fresh)
