"""Networks: tensors in, tensors out; they know nothing of maps."""

from collections.abc import Sequence

from geounet.config import SmpSettings, UNetSettings
from geounet.networks.network import Network, Sizes
from geounet.networks.unet import UNet

__all__ = ["Network", "Sizes", "build_network"]


def build_network(
    settings: UNetSettings | SmpSettings,
    *,
    bands: Sequence[str],
    classes: int,
    pretrained: bool = True,
) -> Network:
    """Return a network with fresh weights, drawn from torch's global generator.

    Args:
        settings: What the network is.
        bands: Name of each input band in order: its common name (`red`), where it has one.
        classes: How many classes there are.
        pretrained: Whether to fetch the pre-trained weights that `settings` names; no where other
            weights are loaded next.

    Raises:
        ConfigError: There is no such network, or its pre-trained weights cannot be had.
    """
    if isinstance(settings, UNetSettings):
        return UNet(settings, bands=len(bands), classes=classes)
    # Half a second that a U-Net of our own need not wait for.
    from geounet.networks.encoders import build_smp_network

    return build_smp_network(settings, bands=bands, classes=classes, pretrained=pretrained)
