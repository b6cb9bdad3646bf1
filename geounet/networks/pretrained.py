"""Weights that encoders start from and that know their bands: torchgeo's by name, and files.

torchgeo says in which order the bands of its weights are and how their numbers were scaled. Here
both are turned into what geounet has: bands by name, and reflectance.
"""

import hashlib
import logging
import pickle
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from geounet.bands import COMMON_NAMES, Band, parse_band
from geounet.config import SmpSettings, nearest
from geounet.errors import BandError, ConfigError
from geounet.networks.inputs import match_names
from geounet.networks.swin import timm_names

logger = logging.getLogger(__name__)

_ENCODERS: Mapping[str, tuple[str, ...]] = {
    "ResNet18": ("resnet18", "tu-resnet18"),
    "ResNet50": ("resnet50", "tu-resnet50"),
    "ResNet152": ("resnet152", "tu-resnet152"),
    "ViTSmall16": ("tu-vit_small_patch16_224",),
    "ViTBase16": ("tu-vit_base_patch16_224",),
    "ViTLarge16": ("tu-vit_large_patch16_224",),
    "Swin_V2_T": ("tu-swinv2_tiny_window8_256",),
    "Swin_V2_B": ("tu-swinv2_base_window8_256",),
}
"""Encoders of smp that are what torchgeo's weights are of, by the class of the weights. Its own
`meta["model"]` is wrong for some. Transformers whose patches are 14 pixels wide go with no decoder
of smp: DPT joins levels that double from 4 pixels to 32."""
_SENSORS = {"SENTINEL2": "s2", "TM": "l5", "ETM": "l7", "OLI": "l8", "LANDSAT": "l8"}
"""By what names of weights have in them; the last is Satlas', of Landsat 8 and 9."""
_LEVELS = {"SSL4EO-S12": "L1C", "SatlasPretrain": "L1C", "CrisisLandMark": "L1C"}
"""Processing level of Sentinel-2 data sets, as far as it is known."""
_SPARE = ("norm.weight", "norm.bias", "head.weight", "head.bias")
"""Tensors that weights may lack, at the end of ViTs: torchgeo's do. Others by the name of `norm`
are of a level, and not to be missed."""
_CONTAINERS = ("state_dict", "model", "model_state_dict", "teacher")
"""What files call the dict that holds the tensors; DINO's network in use is its teacher."""
_NO_WEIGHTS = (
    OSError, RuntimeError, EOFError, SafetensorError, LookupError, ValueError, TypeError,
    AttributeError, AssertionError,
)  # fmt: skip
"""What reading comes to where a file is cut off, or holds something else: a web page, say. torch
takes its first bytes for a pickle, which can fail in any way."""
_TRUE_COLOUR = 0.3558 / 255
"""Reflectance of a step of Sentinel-2's L1C true colour image (ESA, S2 PSD 14.9, TCI)."""


@dataclass(frozen=True)
class EncoderWeights:
    """Pre-trained weights, and what they were trained on."""

    name: str
    encoders: tuple[str, ...] | None
    """Those of smp that they are for; None for a file, which does not say."""
    bands: tuple[Band, ...]
    """In the order of the first convolution's kernels."""
    level: str | None
    """Processing level of what they were trained on, where it is known."""
    mean: tuple[float | None, ...]
    """What they were trained to have taken from each band, reflectance; None is unknown."""
    std: tuple[float | None, ...]
    """What they were trained to have it divided by then, likewise."""
    fetch: Callable[[], Mapping[str, Any]]
    """Returns the tensors, from the net if need be."""

    @property
    def names(self) -> list[str]:
        """What `build_network` calls the bands."""
        return [band.common_name or band.name for band in self.bands]

    def places(self, names: Sequence[str]) -> list[int | None]:
        """Return where bands of those names are among the weights' own."""
        return match_names(names, self.names)


def find_weights(settings: SmpSettings) -> EncoderWeights | None:
    """Return the weights that settings name, if they know their bands; smp's own do not.

    Raises:
        ConfigError: There are no such weights, or they are of another encoder, or their bands are
            not known.
    """
    match settings.weights_of:
        case "torchgeo":
            found = _of_torchgeo(str(settings.weights))
        case "file":
            found = _of_file(Path(str(settings.weights)), settings.weights_bands)
        case _:
            return None
    if found.encoders is not None and settings.encoder not in found.encoders:
        raise ConfigError(
            f"Weights {found.name} are of {' or '.join(found.encoders)}, and the encoder is "
            f"{settings.encoder}. Use smp/{settings.decoder}/{found.encoders[0]}, or other weights."
        )
    return found


def torchgeo_weights() -> dict[str, Any]:
    """Return torchgeo's weights of Sentinel-2 and Landsat that an encoder of smp takes, by name."""
    import torchgeo.models as models  # two seconds: only when named

    classes = [getattr(models, f"{name}_Weights", ()) for name in _ENCODERS]
    return {str(one): one for members in classes for one in members if _sensor(one.name)}


def _of_torchgeo(name: str) -> EncoderWeights:
    known = torchgeo_weights()
    if name not in known:
        close = nearest(name, known)
        # All of them are four thousand characters, in which the nearest would be lost.
        hint = f"Nearest: {', '.join(close)}." if close else f"These are {', '.join(known)}."
        there = "torchgeo has weights" if _is_torchgeo_s(name) else "torchgeo has no weights"
        raise ConfigError(
            f"{there} {name}{', but' if _is_torchgeo_s(name) else ';'} geounet takes those of "
            "Sentinel-2 and Landsat for an encoder that a decoder of segmentation-models-pytorch "
            f"takes. {hint}"
        )
    return _described(known[name], lambda: _download(known[name]))


def _is_torchgeo_s(name: str) -> bool:
    """Return whether torchgeo has weights of that name, whatever they are of."""
    import torchgeo.models as models  # two seconds: only when named

    kind, _, member = name.partition(".")
    return member in getattr(getattr(models, kind, None), "__members__", ())


def _described(weights: Any, fetch: Callable[[], Mapping[str, Any]]) -> EncoderWeights:
    """Return what torchgeo says of weights, in our terms."""
    sensor = _sensor(weights.name)
    bands = tuple(parse_band(b.removeprefix("SR_"), sensor) for b in weights.meta["bands"])
    dataset, surface = weights.meta["dataset"], "_SR_" in weights.name
    level = _LEVELS.get(dataset) if sensor == "s2" else f"L{2 if surface else 1}"
    units = [_unit(band, dataset, surface=surface) for band in bands]
    taken = _normalisation(weights.transforms, len(bands))
    kind = type(weights).__name__.removesuffix("_Weights")
    return EncoderWeights(
        name=str(weights),
        encoders=_ENCODERS[kind],
        bands=bands,
        level=level,
        mean=tuple(u and m * u[0] + u[1] for u, (m, _) in zip(units, taken, strict=True)),
        std=tuple(u and s * u[0] for u, (_, s) in zip(units, taken, strict=True)),
        fetch=(lambda: timm_names(fetch())) if kind.startswith("Swin") else fetch,
    )


def _sensor(name: str) -> str | None:
    """Return the sensor of weights of that name: a key of `bands.SENSORS`, or None."""
    parts = name.split("_")
    return next((sensor for key, sensor in _SENSORS.items() if key in parts), None)


def _unit(band: Band, dataset: str, *, surface: bool) -> tuple[float, float] | None:
    """Return a and b of reflectance = a · number + b in a data set; None where it is not known.

    Sources: torchgeo's `experiments/ssl4eo/landsat` (bytes from 0 to a reflectance of 0.4, or 0.3
    at the surface); Satlas' `Normalization.md` (true colour and digital numbers); the handbooks of
    Sentinel-2 and of Landsat's Collection 2.
    """
    if band.sensor is None or (band.common_name or "").startswith("lwir"):
        return None  # an index, a temperature
    if dataset == "SSL4EO-L":
        return (0.3 if surface else 0.4) / 255, 0.0
    if dataset == "SatlasPretrain" and band.sensor != "s2":
        return 2e-5, -0.1
    if dataset == "SatlasPretrain" and band.common_name in ("red", "green", "blue"):
        return _TRUE_COLOUR, 0.0
    if dataset in ("SatlasPretrain", "SSL4EO-S12", "SSL4Eco Dataset", "CrisisLandMark"):
        return 1e-4, 0.0
    return None


def _normalisation(transforms: Any, count: int) -> list[tuple[float, float]]:
    """Return mean and standard deviation that a row of transforms comes to, per band."""
    slope, intercept = torch.ones(count).double(), torch.zeros(count).double()
    for layer in transforms.modules():
        if hasattr(layer, "mean") and hasattr(layer, "std"):
            mean, std = (torch.tensor(list(v)).double() for v in (layer.mean, layer.std))
            slope, intercept = slope / std, (intercept - mean) / std
    return list(zip((-intercept / slope).tolist(), (1 / slope).tolist(), strict=True))


def _download(weights: Any) -> Mapping[str, Any]:
    """Return the tensors of torchgeo's weights, from torch hub's cache or the net."""
    try:
        state: Mapping[str, Any] = weights.get_state_dict(
            progress=False, check_hash=True, map_location="cpu", weights_only=True
        )
    except (*_NO_WEIGHTS, HTTPException, pickle.UnpicklingError) as error:
        raise ConfigError(
            f"Weights {weights} cannot be fetched from {weights.url} ({_one_line(error)}). Check "
            "the connection; or download that file elsewhere, keep its name, and put it into "
            f"{Path(torch.hub.get_dir()) / 'checkpoints'} or give its path as `weights`; or train "
            "without: --set network_settings.weights=null."
        ) from error
    return state


def _of_file(path: Path, names: Sequence[str] | None) -> EncoderWeights:
    """Return what is known of weights in a file."""
    if not path.is_file():
        raise ConfigError(f"`weights` is {path}: there is no such file.")
    if names is not None:
        bands = tuple(_band(name) for name in names)
        nothing = (None,) * len(bands)
        return EncoderWeights(
            str(path), None, bands, None, nothing, nothing, lambda: _read_file(path)
        )
    for weights in torchgeo_weights().values():
        if weights.url.endswith(f"/{path.name}"):
            _check_intact(path, weights.url)
            return _described(weights, lambda: _read_file(path))
    raise ConfigError(
        f"{path} does not say which bands its weights are for. Name them in their order: --set "
        "network_settings.weights_bands='[s2:B02, s2:B03, …]'. (A file of torchgeo's under its own "
        "name is known.)"
    )


def _band(name: str) -> Band:
    """Return the band that `weights_bands` names; a common name is no sensor's."""
    if name.lower() in COMMON_NAMES:
        return Band(name.lower(), None, None, name.lower())
    try:
        return parse_band(name, None)
    except BandError as error:
        raise ConfigError(
            f"`weights_bands` has {name}: {error} Write s2:B04 or a common name, such as red."
        ) from error


def _check_intact(path: Path, url: str) -> None:
    """Refuse a file without the hash that its name ends on, as most of torchgeo's names do."""
    named = re.search(r"-([0-9a-f]{8,})$", path.stem)
    if named is None:
        logger.info("%s: there is no hash in its name, so it is taken as it is.", path)
        return
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({_one_line(error)}).") from error
    if not found.startswith(named[1]):
        raise ConfigError(
            f"{path} is cut off or was changed: its SHA-256 begins with {found[: len(named[1])]}, "
            f"not as its name says. Fetch it again from {url}; or, if it is another file, name its "
            "bands in `weights_bands`."
        )


def _read_file(path: Path) -> Mapping[str, Any]:
    """Return what a file of weights holds; nothing is run from it."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state: Mapping[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ConfigError(
            f"{path} holds more than tensors, or is damaged: reading it could run what is hidden "
            "in it, so geounet does not. Save its state dict alone, with torch.save."
        ) from error
    except _NO_WEIGHTS as error:
        raise ConfigError(
            f"{path} cannot be read as weights ({type(error).__name__}: {_one_line(error)}): it is "
            "cut off, or no such file. Fetch it again."
        ) from error
    return state


def fit_state(
    source: str, given: Mapping[str, Any], wanted: Mapping[str, Tensor], inputs: Sequence[str]
) -> tuple[dict[str, Tensor], list[str]]:
    """Return the tensors of an encoder from a file, whatever its names have in front.

    Args:
        source: Where they are from, for errors.
        given: What was read: tensors by name, perhaps inside `state_dict` or the like.
        wanted: The encoder's own state.
        inputs: Names of the encoder's kernels that see the bands; may have another number of them.

    Returns:
        A tensor for each of `wanted`, and the names of those that were not asked for.

    Raises:
        ConfigError: One is missing, or of another shape, or has values that are no numbers.
    """
    found_in: Any = given if isinstance(given, Mapping) else {}
    for key in _CONTAINERS:
        if isinstance(found_in.get(key), Mapping):
            found_in = found_in[key]
    tensors = {k: v for k, v in found_in.items() if isinstance(v, Tensor)}
    ours, theirs = _prefixes(wanted, tensors)
    found: dict[str, Tensor] = {}
    for name, own in wanted.items():
        there = theirs + name.removeprefix(ours)
        if there not in tensors:
            # Batch normalisation counts its batches only since torch 0.4.1.
            if name.removeprefix(ours) in _SPARE or name.endswith("num_batches_tracked"):
                found[name] = own
                continue
            some = ", ".join(list(tensors)[:3])
            raise ConfigError(
                f"{source} has no {there}, so it is not of this encoder; it has {len(tensors)} "
                f"tensors{some and f', {some} …'}. Use weights of this encoder."
            )
        tensor = tensors.pop(there)
        shape = tuple(own.shape)
        if name in inputs and tensor.ndim == own.ndim:
            shape = (shape[0], tensor.shape[1], *shape[2:])
        if tensor.shape != shape:
            raise ConfigError(
                f"{source} is of another encoder: {there} is {tuple(tensor.shape)} there, and "
                f"{shape} here."
            )
        if not _is_finite(tensor, like=own):
            raise ConfigError(
                f"{source} is of no use: {there} has values that are not finite numbers. Its "
                "training failed, or it is damaged; use another."
            )
        found[name] = tensor
    return found, list(tensors)


def _is_finite(tensor: Tensor, *, like: Tensor) -> bool:
    """Return whether values can stand for those of another tensor, and are finite."""
    if tensor.is_meta or tensor.layout != like.layout:
        return False
    if like.is_floating_point() and not tensor.is_floating_point():
        return False
    return bool(tensor.isfinite().all())


def _prefixes(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> tuple[str, str]:
    """Return what names of an encoder have in front, here and there.

    Encoders by way of timm have `model.`; files have `encoder.`, `module.encoder_q.` and the like.
    That under which most are found is taken, of several the first.
    """
    ours = "model." if all(name.startswith("model.") for name in wanted) else ""
    bare = [name.removeprefix(ours) for name in wanted]
    probe = bare[0]
    candidates = dict.fromkeys(name.removesuffix(probe) for name in given if name.endswith(probe))
    best = max(candidates, key=lambda c: sum(c + name in given for name in bare), default="")
    return ours, best


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")[:200]
