"""The model file: weights, and everything that is needed to use them.

One `.safetensors`, whose header is JSON under a single key. Nothing is ever run from a file.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from geounet import __version__
from geounet.bands import Band
from geounet.classes import IGNORE, LabelClass
from geounet.config import NetworkSettings, UNetSettings
from geounet.errors import ConfigError, ModelFileError
from geounet.networks import Network, build_network
from geounet.outputs import stage_file

FORMAT = 1
"""What this geounet writes, and the newest that it reads."""
MOST_STRIDES = 64
"""Of a halo: one that `networks.halo` finds is of 48, and a margin of 6 besides. A few digits of a
damaged header ask for windows that no memory holds."""
LARGEST_BLEND = 8192
"""Side of windows that are blended, in pixels, likewise."""
METADATA_KEY = "geounet"
"""One key: safetensors does not keep several in an order."""
STANDARDISED = "(reflectance - mean) / std, 0 where invalid; reflectance = (DN + offset) * scale"
"""What a network is given."""


class NetworkRecord(BaseModel):
    """Which network the weights are of."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """As the recipe called it, for people."""
    settings: NetworkSettings
    """All that is needed to build it again."""


class BlendRecord(BaseModel):
    """How windows are put together where no halo makes them agree."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    window: int = Field(ge=2, le=LARGEST_BLEND)
    """Side of the windows, in pixels: that of the chips that the network was trained on."""
    overlap: int = Field(ge=1)
    """Pixels that neighbours share."""
    why: str
    """What keeps the network from having an exact halo, for people."""

    @model_validator(mode="after")
    def _leaves_a_step(self) -> Self:
        if 2 * self.overlap > self.window:
            raise ValueError(f"windows of {self.window} overlap by {self.overlap}, over half")
        if not self.why.isprintable():
            raise ValueError(f"why windows are blended is {self.why!r}, which cannot be shown")
        return self


class ModelHeader(BaseModel):
    """All that is needed to use the weights, and where they come from."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        ser_json_inf_nan="constants",  # in `training`: to be refused on writing, not made null
        use_attribute_docstrings=True,
    )

    format: int = Field(default=FORMAT, ge=1)
    """Of this header."""
    geounet: str = __version__
    """The version that trained it."""
    network: NetworkRecord
    bands: tuple[dict[str, Any], ...] = Field(min_length=1)
    """The input bands in order, each as `Band.to_dict` writes it."""
    sensor: str | None
    """Of the training scenes."""
    level: str | None
    """Processing level of the training scenes."""
    reflectance: str = STANDARDISED
    """What the network is given."""
    mean: tuple[float, ...]
    """Reflectance taken from each band: the mean over the training split, or what the weights that
    training started from were used to."""
    std: tuple[float, ...]
    """Reflectance by which it is divided then, likewise; positive."""
    classes: tuple[dict[str, Any], ...] = Field(min_length=2)
    """In the order of the outputs, each as `LabelClass.to_dict` writes it."""
    stride: int = Field(ge=1)
    """Total stride, in pixels."""
    halo_exact: int | None = Field(ge=0)
    """Pixels around a window beyond which nothing matters; null where everything does."""
    halo_default: int = Field(ge=0)
    """Pixels around a window that keep the error of tiling at `halo_error`; 0 where windows are
    blended."""
    halo_error: float = Field(ge=0)
    """Largest difference of a probability at the default halo from that at the exact one; 0 where
    windows are blended: how far they disagree is measured on every scene."""
    blend: BlendRecord | None = None
    """How windows are blended where there is no exact halo; in the file only then."""
    res_m: tuple[float, float] | None
    """Pixel size (x, y) of the training chips, in metres; null where nobody says it, of a network
    that came as ONNX."""
    training: dict[str, Any] = Field(default_factory=dict)
    """Data fingerprint, settings, scores by split."""
    position_u95_m: float | None = Field(default=None, ge=0)
    """95 % of the distances between predicted and label line on held-out blocks, in metres."""
    suggested_threshold: float | None = Field(default=None, gt=0, lt=1)
    """Probability of water from which to call it water that is best on held-out blocks; taken only
    when asked for."""
    licence: str | None = None
    """Of the weights, where the one who trained them says so."""
    notes: tuple[str, ...] = ()
    """What the one who trained them wants users to know: where they fail, whom to ask."""

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if not len(self.bands) == len(self.mean) == len(self.std):
            raise ValueError(
                f"{len(self.bands)} bands, {len(self.mean)} means and {len(self.std)} standard "
                "deviations do not go together"
            )
        if self.blend is not None and self.halo_exact is not None:
            raise ValueError("an exact halo and blended windows do not go together")
        if min(self.std) <= 0:
            raise ValueError("a standard deviation is not positive")
        if self.res_m is not None and min(self.res_m) <= 0:
            raise ValueError("a pixel size is not positive")
        if self.halo_exact is not None and self.halo_default > self.halo_exact:
            raise ValueError("the default halo is wider than the exact one")
        if max(self.halo_default, self.halo_exact or 0) > MOST_STRIDES * self.stride:
            raise ValueError(f"a halo is wider than {MOST_STRIDES} strides")
        _check_bands(self.bands)
        _check_classes(self.classes)
        _check_start(self.training.get("start"), len(self.bands))
        return self

    @property
    def input_names(self) -> list[str]:
        """What `build_network` calls the bands: common names where there are some."""
        return [band.common_name or band.name for band in self.band_list]

    @property
    def chip_statistics(self) -> tuple[Sequence[float], Sequence[float]]:
        """Mean and standard deviation by band of the training chips, reflectance.

        They are not what the network is standardised by where it started from weights that were
        used to something else; and nobody knows them of a network that came as ONNX.
        """
        if self.res_m is None:
            return (), ()
        start = self.training.get("start") or {}
        return start.get("chips_mean", self.mean), start.get("chips_std", self.std)

    @property
    def band_list(self) -> tuple[Band, ...]:
        """The input bands, in order."""
        return tuple(Band.from_dict(band) for band in self.bands)

    @property
    def label_classes(self) -> tuple[LabelClass, ...]:
        """The classes, in the order of the outputs."""
        return tuple(LabelClass.from_dict(one) for one in self.classes)


_BAND, _CLASS = TypeAdapter(Band), TypeAdapter(LabelClass)
_NUMBERS = TypeAdapter(list[FiniteFloat])
_COLOR = re.compile("#[0-9a-fA-F]{6}")


def _check_bands(bands: Sequence[dict[str, Any]]) -> None:
    """Raise ValueError where `bands` are not each one of its own, as `Band.to_dict` writes it."""
    for fields in bands:
        if _BAND.validate_python(fields).to_dict() != fields:
            raise ValueError(f"a band is not as geounet writes it, with {', '.join(fields)}")
        nm = fields["wavelength_nm"]
        if nm is not None and not 0 < nm < math.inf:
            raise ValueError(f"band {fields['name']} has no such wavelength as {nm} nm")
    ids = [Band.from_dict(fields).id for fields in bands]
    if twice := [id_ for id_, times in Counter(ids).items() if times > 1]:
        raise ValueError(f"band {twice[0]} is there twice")


def _check_classes(classes: Sequence[dict[str, Any]]) -> None:
    """Raise ValueError where a mask could not hold `classes`, or a legend not tell them apart."""
    for fields in classes:
        one = _CLASS.validate_python(fields)
        if one.to_dict() != fields:
            raise ValueError(f"a class is not as geounet writes it, with {', '.join(fields)}")
        if not 0 <= one.value < IGNORE:
            raise ValueError(f"class {one.name} has the value {one.value}, not one of 0 to 254")
        if not _COLOR.fullmatch(one.color):
            raise ValueError(f"class {one.name} has the color {one.color!r}, which is no #rrggbb")
        if not one.name.isprintable():
            raise ValueError(f"a class is called {one.name!r}, which cannot be shown")
    for key in ("value", "name"):
        if len({fields[key] for fields in classes}) < len(classes):
            raise ValueError(f"two classes have the same {key}")


def _check_start(start: Any, bands: int) -> None:
    """Raise ValueError where `chip_statistics` could not be had from what training started from."""
    if start is None:
        return
    if not isinstance(start, dict):
        raise ValueError("`training.start` is no record")
    for key in ("chips_mean", "chips_std"):
        if key in start and len(_NUMBERS.validate_python(start[key])) != bands:
            raise ValueError(f"`training.start.{key}` is not of {bands} bands")


def save_model(path: Path, network: nn.Module, header: ModelHeader) -> None:
    """Write the weights of `network` and `header`; the same bytes for the same contents.

    Raises:
        ValueError: The header holds a number that is not finite, which JSON does not have.
        OutputError: The file cannot be written.
    """
    text = header_text(header)
    weights = {
        name: tensor.detach().to("cpu", copy=True).contiguous()
        for name, tensor in network.state_dict().items()
    }
    with stage_file(path) as draft:
        draft.touch()
        mode = draft.stat().st_mode  # that of any new file; safetensors lets its owner alone read
        save_file(weights, draft, metadata={METADATA_KEY: text})
        draft.chmod(mode)


def header_text(header: ModelHeader) -> str:
    """Return a header as a file has it.

    Raises:
        ValueError: It holds a number that is not finite, which JSON does not have.
    """
    # Older versions know no `blend`, and can read what has none.
    fields = header.model_dump(mode="json", exclude={"blend"} if header.blend is None else None)
    return json.dumps(fields, sort_keys=True, allow_nan=False, ensure_ascii=False)


def read_header(path: Path) -> ModelHeader:
    """Return what a model file says of itself, without its weights.

    Raises:
        ModelFileError: It is missing, damaged, of a newer format, or not one of ours.
    """
    text = _metadata(path).get(METADATA_KEY)
    if text is None:
        raise ModelFileError(
            f"{path} is a safetensors file, but not one of geounet's: it does not say which "
            "network and bands its weights are for. Train one with `geounet train`."
        )
    return parse_header(text, path)


def parse_header(text: str, path: Path) -> ModelHeader:
    """Return what the header of the file at `path` says, which is JSON.

    Raises:
        ModelFileError: It is damaged, or of a newer format.
    """
    try:
        fields = json.loads(text)
        version = fields["format"]
        if not isinstance(version, int) or isinstance(version, bool):
            raise TypeError("`format` is not a whole number")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ModelFileError(
            f"{path} has a damaged header ({_one_line(error)}). Get the file again."
        ) from error
    if version > FORMAT:
        raise ModelFileError(
            f"{path} is of format {version}, written by geounet "
            f"{_one_line(fields.get('geounet', '?'))}; this is geounet {__version__}, which reads "
            f"up to format {FORMAT}. Upgrade geounet."
        )
    try:
        return ModelHeader.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "it"
        problem = _one_line(f"{place}: {first['msg']}")
        raise ModelFileError(
            f"{path} has a damaged header ({problem}). Get the file again."
        ) from error


def load_model(path: Path) -> tuple[ModelHeader, Network]:
    """Return what a model file says of itself, and the network with its weights, for evaluation.

    Raises:
        ModelFileError: As `read_header`; or the weights are not those of the network it names.
    """
    header = read_header(path)
    weights = load_file(path)
    if isinstance(header.network.settings, UNetSettings):
        # A few digits of a damaged header ask for a network of a hundred gigabytes: first one
        # without values.
        with torch.device("meta"):
            _check_fit(path, _build(path, header), header, weights)
    network = _build(path, header)
    _check_fit(path, network, header, weights)
    network.load_state_dict(weights)
    return header, network.eval()


def _build(path: Path, header: ModelHeader) -> Network:
    """Return the network that a model file names, its weights drawn at random."""
    try:
        return build_network(
            header.network.settings,
            bands=header.input_names,
            classes=len(header.classes),
            pretrained=False,
        )
    except ConfigError as error:
        raise ModelFileError(f"{path}: {_one_line(error)}.") from error


def _check_fit(
    path: Path, network: Network, header: ModelHeader, weights: dict[str, Tensor]
) -> None:
    """Raise ModelFileError where the weights are not those of `network`."""
    if problem := _why_unfit(network, header, weights):
        raise ModelFileError(
            f"{path} does not fit the network {_one_line(header.network.name)} that it names "
            f"({_one_line(problem)}). Get the file again, or train anew."
        )


def _metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a safetensors file, or say what the file is instead."""
    if path.is_dir():
        inside = sorted(path.glob("*.safetensors"))
        if not inside:
            raise ModelFileError(
                f"{path} is a folder without a model file. Give the model.safetensors that "
                "`geounet train` wrote when it was done."
            )
        raise ModelFileError(f"{path} is a folder; give the file, {inside[0]}.")
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except FileNotFoundError:
        raise ModelFileError(f"{path}: there is no such file.") from None
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror}.") from error
    if _is_pickle(start):
        raise ModelFileError(
            f"{path} is a pickle or an archive of one (a torch checkpoint, a program of "
            "torch.export): opening one can run what is hidden in it, so geounet does not. Give "
            "the model.safetensors that `geounet train` wrote beside it, or train anew."
        )
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ModelFileError(
            f"{path} is truncated or not a model file ({_one_line(error)}). Copy or download it "
            "again."
        ) from error


def _is_pickle(start: bytes) -> bool:
    """Whether a file that starts so is a zip or a pickle, as torch writes them."""
    if start.startswith(b"PK"):
        return True
    # Protocol 2 to 5. A safetensors file begins with the length of its header in eight bytes, which
    # can look the same; but then comes the header's brace.
    return start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05" and start[8:] not in b"{"


def _why_unfit(network: Network, header: ModelHeader, weights: dict[str, Tensor]) -> str | None:
    """Return in what the file differs from what `network` is, or None."""
    if header.stride != network.stride:
        return f"its stride is {network.stride}, not {header.stride}"
    wanted = network.state_dict()
    if missing := sorted(wanted.keys() - weights.keys()):
        return f"{missing[0]} is missing"
    if extra := sorted(weights.keys() - wanted.keys()):
        return f"{extra[0]} has no place in it"
    for name, tensor in wanted.items():
        there = weights[name]
        if there.shape != tensor.shape:
            return f"{name} is {tuple(there.shape)}, not {tuple(tensor.shape)}"
        if there.is_floating_point() != tensor.is_floating_point():
            return f"{name} is {there.dtype}, not {tensor.dtype}"
        if not torch.isfinite(there.to(tensor.dtype)).all():  # some have more digits than it
            return f"{name} holds values that are not finite"
    return None


def _one_line(said: object) -> str:
    return " ".join(str(said).split()).rstrip(".")
