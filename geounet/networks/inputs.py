"""What of a network sees the bands: the convolutions whose kernels belong to bands by name."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def input_convolutions(network: nn.Module, bands: int, side: int) -> dict[str, nn.Conv2d]:
    """Return the convolutions that see the bands themselves, by name: run it and look.

    Args:
        network: Takes (B, bands, side, side); left in training mode.
        bands: How many there are.
        side: Height and width that it takes, in pixels.
    """
    x = torch.zeros(1, bands, side, side)
    names = {m: name for name, m in network.named_modules() if isinstance(m, nn.Conv2d)}
    found: dict[str, nn.Conv2d] = {}

    def look(module: nn.Conv2d, args: tuple[Tensor, ...]) -> None:
        if args[0] is x:
            found[names[module]] = module

    hooks = [module.register_forward_pre_hook(look) for module in names]
    try:
        with torch.no_grad():
            network.eval()(x)
    finally:
        network.train()
        for hook in hooks:
            hook.remove()
    return found


def match_names(wanted: Sequence[str], present: Sequence[str]) -> list[int | None]:
    """Return where each of the `wanted` bands is among those `present`, None where it is not.

    A name that occurs more than once (Landsat 7 has its thermal band at two gains) is taken in
    order.
    """
    left = list(enumerate(present))
    found: list[int | None] = []
    for name in wanted:
        match = next((pair for pair in left if pair[1] == name), None)
        if match is not None:
            left.remove(match)
        found.append(None if match is None else match[0])
    return found


def pick_kernels(kernels: Tensor, places: Sequence[int | None]) -> Tensor:
    """Return kernels for bands from those of other bands.

    A band that has none gets zeros: at first the network answers as if it were not there, and
    learns from there what it is worth.

    Args:
        kernels: (maps, their bands, h, w).
        places: Of each of our bands, where it is among theirs; None where it is not.

    Returns:
        (maps, our bands, h, w).
    """
    nothing = torch.zeros_like(kernels[:, 0])  # (maps, h, w)
    return torch.stack([nothing if at is None else kernels[:, at] for at in places], dim=1)
