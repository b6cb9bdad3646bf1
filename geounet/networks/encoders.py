"""Networks of segmentation-models-pytorch, by name, for any number of bands.

Encoders are made for three bands, and what smp does for more (repeat the kernels for red, green
and blue over them) is right for none of a satellite's other bands. Here it is a setting,
`first_conv`. Weights that were trained on satellites' bands are in `pretrained`.
"""

import logging
from collections.abc import Sequence
from typing import Any, cast

import segmentation_models_pytorch as smp
import timm
import torch
from huggingface_hub.constants import HF_HUB_CACHE
from torch import Tensor, nn

from geounet.config import SmpSettings, nearest
from geounet.errors import ConfigError
from geounet.networks.inputs import input_convolutions, pick_kernels
from geounet.networks.network import Network
from geounet.networks.pretrained import EncoderWeights, find_weights, fit_state
from geounet.networks.upsampling import UpConvolution

logger = logging.getLogger(__name__)

DECODERS = tuple(smp.MODEL_ARCHITECTURES_MAPPING)
ENCODERS = tuple(name for name in smp.encoders.encoders if not name.startswith("timm-"))
"""Without the ones that smp calls deprecated; `tu-NAME` is timm's encoder NAME besides."""
RGB = ("red", "green", "blue")
"""The order of the bands of pre-trained weights."""


class SmpNetwork(Network):
    """A network of segmentation-models-pytorch that refuses sizes it cannot take."""

    def __init__(self, network: nn.Module, *, stride: int, least: int = 0) -> None:
        super().__init__()
        self.network: Any = network
        self.stride = stride
        self.least = least

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, classes, H, W) for standardised bands `x` (B, bands, H, W).

        Raises:
            ValueError: H or W is not a multiple of the stride, or too small.
        """
        self.check_size(x)
        if type(self.network) is not smp.Unet:
            return cast(Tensor, self.network(x))
        features = self.network.encoder(x)
        del x
        return cast(Tensor, self.network.segmentation_head(_decode(self.network, features)))

    def fold_upsampling(self, sample: Tensor) -> None:
        """Make one step of upsampling, joining and the convolution after them, in a U-Net."""
        if type(self.network) is not smp.Unet:
            return
        sides = [feature.shape[2] for feature in self.network.encoder(sample)[::-1]]
        maps = self.network.encoder.out_channels[-1]
        for block, below, side in zip(self.network.decoder.blocks, sides, sides[1:], strict=False):
            conv, attention = block.conv1[0], block.attention1.attention
            is_plain = isinstance(conv, nn.Conv2d) and isinstance(attention, nn.Identity)
            if is_plain and block.interpolation_mode == "nearest" and side == 2 * below:
                block.conv1[0] = UpConvolution.fold(conv, maps) or conv
            maps = block.conv2[0].out_channels


def _decode(network: smp.Unet, features: list[Tensor]) -> Tensor:
    """Return what a U-Net's decoder makes of features, each of which it gives up once used.

    As smp's own does, layer by layer, and the same bits: but there every feature, and what every
    layer is made from, stays in memory to the end, half as much again as is needed at once.

    Args:
        network: The U-Net.
        features: As its encoder gives them, from the finest to the coarsest; empty afterwards.
    """
    sides = [feature.shape[2:] for feature in features[-2::-1]]
    del features[0]  # the image itself
    x = network.decoder.center(features.pop())
    for block, side in zip(network.decoder.blocks, sides, strict=True):
        first, *others = block.conv1
        if isinstance(first, UpConvolution):
            x = first(x, features.pop() if features else None)
        else:
            x = nn.functional.interpolate(x, size=side, mode=block.interpolation_mode)
            if features:
                x = torch.cat([x, features.pop()], dim=1)
                x = block.attention1(x)
            x = first(x)
        for layer in (*others, *block.conv2, block.attention2):
            x = layer(x)
    return x


def build_smp_network(
    settings: SmpSettings, *, bands: Sequence[str], classes: int, pretrained: bool
) -> SmpNetwork:
    """Return a network of smp, its first convolution started as `settings.first_conv` says.

    Args:
        settings: What the network is.
        bands: Name of each input band in order: its common name (`red`), where it has one.
        classes: How many classes there are.
        pretrained: Whether to fetch the pre-trained weights that `settings` names; no where other
            weights are loaded next.

    Raises:
        ConfigError: smp has no such decoder, encoder or weights, or they do not go together, or
            the weights cannot be fetched.
    """
    _check_names(settings)
    network = _create(settings, bands=len(bands), classes=classes, weights=None)
    if pretrained:
        _start_encoder(network, settings, bands)
    stride = network.encoder.output_stride
    if settings.decoder == "dpt":
        stride *= 2  # it halves the grid of patches, and joins the halves with the whole
    # PAN pools what the encoder gives three times more.
    return SmpNetwork(network, stride=stride, least=8 * stride if settings.decoder == "pan" else 0)


def _start_encoder(network: Any, settings: SmpSettings, bands: Sequence[str]) -> None:
    """Give an encoder the weights that its settings name, and start its first convolution."""
    stride = network.encoder.output_stride
    try:
        side = -(-64 // stride) * stride
        convolutions = input_convolutions(network.encoder, len(bands), side)
    except (AssertionError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"Encoder {settings.encoder} does not take images of any size ({_one_line(error)}). "
            "Use another."
        ) from error
    _check_decoder(network, settings, len(bands), 2 * side)  # PAN pools what is smaller to nothing
    if not convolutions:
        raise ConfigError(
            f"The first convolution of encoder {settings.encoder} cannot be found, so it cannot "
            "be adapted to the bands. Use another encoder."
        )
    kernels: dict[str, Tensor] = {}
    source = find_weights(settings)
    if settings.weights is not None:
        if source is None:
            donor = _create(settings, bands=3, classes=2, weights=settings.weights)
            state = donor.encoder.state_dict()
        else:
            state = _state_by_name(source, network.encoder.state_dict(), list(convolutions))
        kernels = {name: state[f"{name}.weight"] for name in convolutions}
        network.encoder.load_state_dict(
            state | {f"{name}.weight": conv.weight for name, conv in convolutions.items()}
        )
    for name, convolution in convolutions.items():
        if settings.first_conv == "rgb":
            convolution.weight.data.copy_(spread_rgb(kernels[name], bands))
        elif settings.first_conv == "bands" and source is not None:
            convolution.weight.data.copy_(pick_kernels(kernels[name], source.places(bands)))
        else:
            # Fan in: the answer has the same size whatever the number of bands.
            nn.init.kaiming_normal_(convolution.weight, mode="fan_in", nonlinearity="relu")


def _check_decoder(network: Any, settings: SmpSettings, bands: int, side: int) -> None:
    """Run a network once, as smp makes some that fail only then (DPT on patches of 14 pixels)."""
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, bands, side, side))
    except RuntimeError as error:
        raise _mismatch(settings, error) from error
    finally:
        network.train()


def _mismatch(settings: SmpSettings, error: Exception) -> ConfigError:
    return ConfigError(
        f"Decoder {settings.decoder} does not go with encoder {settings.encoder} "
        f"({_one_line(error)})."
    )


def _state_by_name(
    source: EncoderWeights, wanted: dict[str, Tensor], convolutions: Sequence[str]
) -> dict[str, Tensor]:
    """Return the tensors of an encoder from weights that know their bands."""
    inputs = [f"{name}.weight" for name in convolutions]
    state, left = fit_state(source.name, source.fetch(), wanted, inputs)
    for name in inputs:
        if state[name].shape[1] != len(source.bands):
            raise ConfigError(
                f"{source.name} has kernels for {state[name].shape[1]} bands, and "
                f"{len(source.bands)} are named: {', '.join(source.names)}. Correct "
                "`weights_bands`."
            )
    if left:
        logger.info("%s: %d tensors are no encoder's, and left: %s", source.name, len(left), left)
    return state


def spread_rgb(kernels: Tensor, bands: Sequence[str]) -> Tensor:
    """Return kernels for `bands` from those for red, green and blue.

    The bands called red, green and blue keep theirs; every other band gets the mean of the three,
    as no pre-trained network has seen it. All are multiplied by 3 / number of bands, so that the
    answer to the same value in all bands stays what it was.

    Args:
        kernels: (maps, 3, h, w).
        bands: Common names, in order.

    Returns:
        (maps, bands, h, w).
    """
    mean = kernels.mean(dim=1)  # (maps, h, w)
    chosen = [kernels[:, RGB.index(band)] if band in RGB else mean for band in bands]
    return torch.stack(chosen, dim=1) * (3 / len(bands))


def _check_names(settings: SmpSettings) -> None:
    if settings.decoder not in DECODERS:
        raise ConfigError(
            f"There is no decoder {settings.decoder!r}; segmentation-models-pytorch has "
            f"{', '.join(DECODERS)}.{_nearest(settings.decoder, DECODERS)}"
        )
    if settings.encoder.startswith("tu-"):
        name = settings.encoder.removeprefix("tu-")
        if not timm.is_model(name.partition(".")[0]):
            known = timm.list_models()
            raise ConfigError(f"timm has no encoder {name!r}.{_nearest(name, known, 'tu-')}")
        offered = ("timm",)
    elif settings.encoder in ENCODERS:
        offered = tuple(smp.encoders.encoders[settings.encoder]["pretrained_settings"])
    else:
        raise ConfigError(
            f"There is no encoder {settings.encoder!r} among the {len(ENCODERS)} of "
            f"segmentation-models-pytorch.{_nearest(settings.encoder, ENCODERS)} Those of timm "
            "are called tu-NAME."
        )
    if settings.weights_of == "smp" and settings.weights not in offered:
        raise ConfigError(
            f"Encoder {settings.encoder} has no weights {settings.weights!r}; it has "
            f"{', '.join(offered)}. Those of torchgeo are called as in "
            "ResNet50_Weights.SENTINEL2_ALL_MOCO, and a file ends in .pth."
        )


def _nearest(word: str, known: Sequence[str], prefix: str = "") -> str:
    close = [prefix + name for name in nearest(word, known)]
    return f" Nearest: {', '.join(close)}." if close else ""


def _create(settings: SmpSettings, *, bands: int, classes: int, weights: str | None) -> Any:
    """Return smp's module; it does not say of which types its parts are."""
    timm_encoder = settings.encoder.startswith("tu-")
    any_size = {}  # else transformers take images of one size alone
    if settings.encoder.startswith("tu-swinv2_"):
        any_size = {"strict_img_size": False}
    elif settings.decoder == "dpt":  # the one decoder for vision transformers
        any_size = {"dynamic_img_size": True}
    try:
        return smp.create_model(
            settings.decoder,
            settings.encoder,
            encoder_weights=True if weights and timm_encoder else weights,
            in_channels=bands,
            classes=classes,
            **any_size,
        )
    except OSError as error:
        raise ConfigError(
            f"The {weights} weights of encoder {settings.encoder} cannot be fetched "
            f"({_one_line(error)}). Check the connection; or copy the cache of huggingface_hub, "
            f"{HF_HUB_CACHE}, from a machine that has fetched them; or train without: --set "
            "network_settings.weights=null."
        ) from error
    except (ValueError, KeyError, NotImplementedError, RuntimeError, AttributeError) as error:
        raise _mismatch(settings, error) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")[:200]
