"""Checked settings: what a network is, how it is trained, and the recipes that come with geounet.

The only module that reads configuration files. Defaults live in the classes here; a YAML file
states only what differs from them. A name is a file of ours, a value ending in `.yaml` a path.
"""

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.json_schema import models_json_schema

from geounet.errors import ConfigError


class Settings(BaseModel):
    """Settings that are checked when they are made, and never change."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )


class UNetSettings(Settings):
    """One of the family of U-Nets, whose 3×3 convolutions come in pairs."""

    kind: Literal["unet"] = "unet"
    depth: int = Field(default=4, ge=1, le=6)
    """How often it pools; its stride is 2 to this power."""
    base_width: int = Field(default=64, ge=1, le=512)
    """Feature maps at full resolution; they double with every pooling."""
    padding: Literal["same", "valid"] = "same"
    """Whether convolutions see zeros beyond the edge, so that the output is as large as the input,
    or nothing is computed from what is not there and the output is smaller on each side."""
    norm: Literal["batch", "none"] = "batch"
    """Normalisation between each convolution of a pair and its ReLU."""
    bias: bool = False
    """Whether the convolutions of the pairs have a bias."""
    upsampling: Literal["transposed", "deconv4", "bilinear"] = "transposed"
    """By a 2×2 transposed convolution, a 4×4 one, or bilinear with half as many feature maps."""
    align_corners: bool = False
    """Of bilinear upsampling: True, as in milesial/Pytorch-UNet, makes the answer depend on the
    window's size, so that a scene cannot be predicted in windows without seams."""
    skip: Literal["concat", "add", "none"] = "concat"
    """How what the encoder saw at a level joins what comes from below."""
    join: Literal["skip-first", "upsampled-first"] = "skip-first"
    """The order of the two when they are concatenated."""
    dropout: Literal["none", "bottom", "pooling"] = "none"
    """Nowhere; after the last encoder level and the bottom; after every pooling."""
    dropout_rate: float = Field(default=0.5, ge=0, lt=1)
    """Share of values that dropout sets to zero while training."""
    head: Literal["1x1", "3x3"] = "1x1"
    """A 1×1 convolution to the classes, or two 3×3 with batch normalisation and ReLU between."""
    target: Literal["classes", "bands"] = "classes"
    """What comes out: logits of the classes, or, of an autoencoder, the bands that went in."""
    init: Literal["torch", "he", "he-in"] = "torch"
    """Torch's own start, or He-normal with biases of zero: by the values that one weighs in on
    (fan out), or by those that make one output (fan in), as in the paper."""

    @model_validator(mode="after")
    def _corners_can_be_kept(self) -> "UNetSettings":
        if self.align_corners and (self.upsampling != "bilinear" or self.padding == "valid"):
            raise ValueError(
                "align_corners: true is of bilinear upsampling with same padding; leave it out"
            )
        return self


class SmpSettings(Settings):
    """A network of segmentation-models-pytorch."""

    kind: Literal["smp"] = "smp"
    decoder: str
    """As smp calls its architectures, in lower case: unet, unetplusplus, linknet …"""
    encoder: str
    """As smp calls it: resnet34, mobilenet_v2, tu-convnext_tiny …"""
    weights: str | None = None
    """Pre-trained weights of the encoder: what smp offers, such as imagenet; torchgeo's, such as
    ResNet50_Weights.SENTINEL2_ALL_MOCO; or a path ending in .pth, .pt or .safetensors. None by
    default."""
    weights_bands: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Bands of weights in a file, in their order: s2:B04, or common names such as red."""
    first_conv: Literal["random", "rgb", "bands"] = "random"
    """How the first convolution starts: `random` is He-normal; `rgb` takes the pre-trained kernels
    for red, green and blue, their mean for every other band, all times 3 / number of bands;
    `bands` takes those of each band by its name, zeros for a band that has none. If not said:
    `rgb` with weights of smp, `bands` with others, else `random`."""

    @model_validator(mode="before")
    @classmethod
    def _settle_first_conv(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and isinstance(fields.get("weights_bands"), list):
            # What comes out of here is no JSON any more, in which a list would do for a tuple.
            fields = {**fields, "weights_bands": tuple(fields["weights_bands"])}
        if isinstance(fields, dict) and "first_conv" not in fields and fields.get("weights"):
            by_name = _weights_source(str(fields["weights"])) != "smp"
            return {**fields, "first_conv": "bands" if by_name else "rgb"}
        return fields

    @model_validator(mode="after")
    def _weights_and_bands_go_together(self) -> "SmpSettings":
        if self.first_conv == "rgb" and self.weights is None:
            raise ValueError("first_conv: rgb needs pre-trained weights; set weights: imagenet")
        if self.first_conv == "rgb" and self.weights_of != "smp":
            raise ValueError("first_conv: rgb is of smp's weights; leave it out with others")
        if self.first_conv == "bands" and self.weights_of in (None, "smp"):
            raise ValueError("first_conv: bands needs weights that know their bands: torchgeo's")
        if self.weights_bands is not None and self.weights_of != "file":
            raise ValueError("weights_bands is of weights in a file; leave it out with others")
        return self

    @property
    def weights_of(self) -> Literal["smp", "torchgeo", "file"] | None:
        """Where the weights are from."""
        return None if self.weights is None else _weights_source(self.weights)


def _weights_source(name: str) -> Literal["smp", "torchgeo", "file"]:
    if name.endswith((".pth", ".pt", ".safetensors")):
        return "file"
    return "torchgeo" if "_Weights." in name else "smp"


def restores_bands(settings: "UNetSettings | SmpSettings") -> bool:
    """Return whether a network gives back the bands it is given, and tells no classes."""
    return isinstance(settings, UNetSettings) and settings.target == "bands"


NetworkSettings = Annotated[UNetSettings | SmpSettings, Field(discriminator="kind")]
"""What a network is, whichever its kind."""


class BorderSettings(Settings):
    """What a pixel between two objects weighs more in the cross entropy, as in the U-Net paper.

    w0 · exp(−(d1 + d2)² / (2σ²)), with the distances to the borders of the two nearest objects.
    """

    w0: float = Field(default=10.0, ge=0)
    """Weight where two objects touch, beside the weight of the class."""
    sigma: float = Field(default=5.0, gt=0)
    """How soon it falls with the width of the gap, in pixels."""
    objects: Literal["land", "water", "both"] = "land"
    """Pieces of land (channels stay open), of water (bars and dams stay closed), or the greater of
    the two weights."""


class LossSettings(Settings):
    """What training minimises: a weighted sum, over pixels whose label is known."""

    cross_entropy: float = Field(default=1.0, ge=0)
    """Weight of the cross entropy."""
    dice: float = Field(default=1.0, ge=0)
    """Weight of the Dice loss."""
    jaccard: float = Field(default=0.0, ge=0)
    """Weight of the Jaccard loss: 1 − IoU of probabilities, class by class."""
    tversky: float = Field(default=0.0, ge=0)
    """Weight of the Tversky loss: Dice with a price each for what is found in vain and missed."""
    lovasz: float = Field(default=0.0, ge=0)
    """Weight of the Lovász softmax loss: a convex stand-in for 1 − IoU."""
    mcc: float = Field(default=0.0, ge=0)
    """Weight of 1 − Matthews' correlation coefficient."""
    focal: float = Field(default=0.0, ge=0)
    """Weight of the focal loss, each class against all others, which looks at hard pixels."""
    soft_cross_entropy: float = Field(default=0.0, ge=0)
    """Weight of the cross entropy with smoothed labels."""
    soft_bce: float = Field(default=0.0, ge=0)
    """Weight of the binary cross entropy of each class with smoothed labels."""
    boundary: float = Field(default=0.0, ge=0)
    """Weight of the boundary loss: probability on the wrong side, times pixels from the boundary;
    0.01 to 0.1 beside a loss of overlap."""
    sobel: float = Field(default=0.0, ge=0)
    """Weight of the squared difference of edges, found by Sobel's filters."""
    class_weights: tuple[float, ...] | None = None
    """Weight of each class in the cross entropy, in the order of the classes; equal by default."""
    border: BorderSettings | None = None
    """More weight in the cross entropy for pixels between two objects; none by default."""
    focal_gamma: float = Field(default=2.0, ge=1)
    """Power by which the focal loss turns from pixels that are right already."""
    tversky_alpha: float = Field(default=0.3, ge=0)
    """Price of a pixel found in vain, in the Tversky loss."""
    tversky_beta: float = Field(default=0.7, ge=0)
    """Price of a pixel missed, in the Tversky loss."""
    smoothing: float = Field(default=0.1, ge=0, lt=0.5)
    """Share of a label that the two soft losses give to other classes."""

    @property
    def parts(self) -> dict[str, float]:
        """The losses that count, and their weights."""
        no_parts = {"class_weights", "border", "focal_gamma", "tversky_alpha", "tversky_beta"}
        fields = self.model_dump(exclude=no_parts | {"smoothing"})
        return {name: weight for name, weight in fields.items() if weight > 0}

    @model_validator(mode="after")
    def _something_to_minimise(self) -> "LossSettings":
        if not self.parts:
            raise ValueError("all losses have the weight 0: there is nothing to minimise")
        if self.border is not None and not self.cross_entropy:
            raise ValueError("loss.border weighs pixels of cross_entropy, whose weight is 0")
        if self.tversky and not (self.tversky_alpha or self.tversky_beta):
            raise ValueError("tversky_alpha and tversky_beta are both 0: no error has a price")
        if self.class_weights is not None and (
            min(self.class_weights, default=0) < 0 or sum(self.class_weights) == 0
        ):
            raise ValueError("class_weights are to be 0 or more, and not all 0")
        return self


class AugmentSettings(Settings):
    """How training chips are varied."""

    flips: bool = True
    """Mirror at random, left-right and up-down."""
    rotations: bool = True
    """Turn at random by a multiple of 90°."""
    turn: float = Field(default=0.0, ge=0, le=180)
    """Turn by up to so many degrees, either way, after that."""
    shift: float = Field(default=0.0, ge=0)
    """Move by up to so many pixels, down or up and left or right."""
    scale: float = Field(default=1.0, ge=1, le=4)
    """Enlarge or shrink by up to this factor."""
    elastic_grid: float = Field(default=0.0, ge=0)
    """Bend: standard deviation, in pixels, of displacements at a few points, bicubic between."""
    elastic_points: int = Field(default=3, ge=2, le=32)
    """Of those points, how many to a side."""
    elastic_field: float = Field(default=0.0, ge=0)
    """Bend: scale, in pixels, of displacements drawn at each pixel and smoothed; see smoothing."""
    elastic_smoothing: float = Field(default=8.0, gt=0, le=64)
    """Standard deviation, in pixels, of the Gaussian that smooths them."""
    gain: float = Field(default=0.0, ge=0, lt=1)
    """Brighten or darken each band by up to this share of its reflectance."""
    offset: float = Field(default=0.0, ge=0)
    """Add to each band up to so many of its standard deviations, or take them away."""
    noise: float = Field(default=0.0, ge=0)
    """Standard deviation of noise at each pixel, in standard deviations of the band."""
    band_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Chance that a band is lost, and its mean stands in its place; one at least is left."""
    shadows: float = Field(default=0.0, ge=0, le=1)
    """Chance that a chip lies partly in the shadow of clouds."""
    shadow_depth: float = Field(default=0.6, gt=0, le=1)
    """Share of the light that is missing there, at most."""
    shadow_share: float = Field(default=0.5, gt=0, le=1)
    """Share of the chip that lies in it, at most."""
    holes: float = Field(default=0.0, ge=0, le=1)
    """Chance that a part of a chip has no data."""
    hole_share: float = Field(default=0.3, gt=0, lt=1)
    """Share of the chip that is lost, at most."""


class Config(Settings):
    """How a network is trained."""

    network: str = "unet-same"
    """A name that `geounet configs` lists, smp/DECODER/ENCODER, or a path ending in .yaml."""
    network_settings: dict[str, Any] = Field(default_factory=dict)
    """Settings of the network that differ from what the name means."""
    bands: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Names of the bands to use, in this order; by default all that the chips have."""
    loss: LossSettings = LossSettings()
    augment: AugmentSettings = AugmentSettings()
    epochs: int = Field(default=100, ge=1)
    """How often all training chips are gone through, at most."""
    repeats: int = Field(default=1, ge=1)
    """How often an epoch shows each chip: an epoch of few steps is spent on checkpoints."""
    batch: int = Field(default=8, ge=1)
    """Chips that pass through the network at a time, over all devices together."""
    accumulate: int = Field(default=1, ge=1)
    """Batches per step, their gradients averaged: for steps of more chips than fit in memory."""
    sampling: Literal["each", "balanced"] = "each"
    """Each chip once per epoch; or, balanced, chips of much and little water and coast equally
    often."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """AdamW, or stochastic gradient descent with momentum."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Of sgd."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """At the start of a cosine that ends at zero."""
    warmup: int = Field(default=0, ge=0)
    """Steps in which the learning rate rises to that, before the cosine."""
    clip_norm: float | None = Field(default=None, gt=0)
    """Norm of the gradient, over all weights, that none exceeds; by default it may be any."""
    weight_decay: float = Field(default=1e-2, ge=0)
    """How strongly weights are drawn to zero."""
    patience: int = Field(default=20, ge=1)
    """Epochs without a better validation loss before training stops."""
    start: str | None = None
    """Path of a model file whose weights training starts from, as with --from."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Of the weights' start, the order of the chips and their variation."""
    checkpoint_every: int | None = Field(default=None, ge=1)
    """Steps after which a checkpoint is written to go on from, besides that of each epoch."""
    workers: int = Field(default=2, ge=0)
    """Processes that read chips; 0 reads in the main one."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Number format of the forward pass; auto is bf16 where the hardware is made for it."""
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    """auto, cpu, cuda or cuda:N."""
    devices: int = Field(default=1, ge=1)
    """GPUs of each machine that train together, a process each; with `device: cpu`, processes."""
    nodes: int = Field(default=1, ge=1)
    """Machines that train together, each with the same command."""
    compile: bool = False
    """Whether torch compiles the network: minutes at first, and each step is faster."""


S = TypeVar("S", bound=Settings)
_NETWORK_KINDS: Mapping[str, type[UNetSettings] | type[SmpSettings]] = {
    "unet": UNetSettings,
    "smp": SmpSettings,
}


def load_config(name_or_path: str, overrides: Sequence[str] = ()) -> Config:
    """Return the settings of a recipe, with what the command line changes in it.

    The network that it names is looked up too, so that nothing is wrong with it either.

    Args:
        name_or_path: A name that `shipped_configs` has, or a path ending in `.yaml`.
        overrides: `key=value`, nested by dots (`loss.dice=0.5`); values are read as YAML.

    Raises:
        ConfigError: There is no such recipe, an unknown key, or a value of the wrong type.
    """
    fields, where = _read(name_or_path, shipped_configs(), kind="recipe")
    changed = []
    for text in overrides:
        keys, value = _parse_override(text)
        _put(fields, keys, value, text)
        changed.append(keys)
    config = _checked(Config, fields, where=where, overridden=changed)
    if config.network.endswith(".yaml"):
        said_here = name_or_path.endswith(".yaml") and ("network",) not in changed
        folder = Path(name_or_path).parent if said_here else Path()
        config = config.model_copy(update={"network": str(folder / config.network)})
    load_network(config.network, config.network_settings)
    return config


def load_network(name: str, overrides: Mapping[str, Any]) -> UNetSettings | SmpSettings:
    """Return what a network's name means, with some settings changed.

    Args:
        name: A name that `shipped_networks` has, `smp/DECODER/ENCODER`, or a path ending in
            `.yaml`.
        overrides: Settings that differ from it.

    Raises:
        ConfigError: There is no such network, an unknown key, or a value of the wrong type.
    """
    if name.startswith("smp/"):
        parts = name.split("/")
        if len(parts) != 3 or not all(parts):
            raise ConfigError(
                f"Network {name}: write smp/DECODER/ENCODER, for example smp/unet/resnet34."
            )
        fields, where = {"kind": "smp", "decoder": parts[1], "encoder": parts[2]}, f"network {name}"
    else:
        fields, where = _read(name, shipped_networks(), kind="network")
    fields |= overrides
    kind = fields.setdefault("kind", "unet")
    if not isinstance(kind, str) or kind not in _NETWORK_KINDS:
        raise ConfigError(f"{where}: `kind` is {kind!r}; it can be {_listed(_NETWORK_KINDS)}.")
    return _checked(
        _NETWORK_KINDS[kind],
        fields,
        where=where,
        overridden=[(key,) for key in overrides],
        prefix="network_settings.",
    )


def shipped_configs() -> dict[str, Traversable]:
    """Return the recipes that come with geounet, by name."""
    return _yaml_files(_configs_folder())


def shipped_networks() -> dict[str, Traversable]:
    """Return the networks that come with geounet, by name."""
    return _yaml_files(_configs_folder() / "networks")


def purpose(config: Traversable) -> str:
    """Return what a configuration file is for: its first line, which is a comment."""
    return config.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")


def shipped_text(name: str) -> str:
    """Return the text of a recipe or a network that comes with geounet.

    Raises:
        ConfigError: There is neither of that name.
    """
    shipped = {**shipped_networks(), **shipped_configs()}
    if name not in shipped:
        raise ConfigError(
            f"There is no recipe or network {name!r}{_did_you_mean(name, shipped)}; there is "
            f"{_listed(shipped)}."
        )
    return shipped[name].read_text(encoding="utf-8")


def settings_schema() -> dict[str, Any]:
    """Return the JSON schema of a recipe; that of each kind of network is among its `$defs`."""
    models = [(model, "validation") for model in (Config, *_NETWORK_KINDS.values())]
    _, schema = models_json_schema(models, title="geounet settings")  # type: ignore[arg-type]  # a list of pairs is what it takes
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema} | {
        "$ref": "#/$defs/Config"
    }


def nearest(word: str, known: Iterable[str], *, count: int = 3) -> list[str]:
    """Return those of `known` that someone who wrote `word` may have meant, likeliest first."""
    by_lower = {name.lower(): name for name in known}
    return [by_lower[m] for m in difflib.get_close_matches(word.lower(), by_lower, n=count)]


def _configs_folder() -> Traversable:
    packaged = files("geounet") / "configs"  # where a wheel has them
    return packaged if packaged.is_dir() else Path(__file__).parents[1] / "configs"


def _yaml_files(folder: Traversable) -> dict[str, Traversable]:
    found = {f.name.removesuffix(".yaml"): f for f in folder.iterdir() if f.name.endswith(".yaml")}
    return dict(sorted(found.items()))


def _read(
    name: str, shipped: Mapping[str, Traversable], *, kind: str
) -> tuple[dict[str, Any], str]:
    """Return the fields of a configuration file, and how to name it in an error."""
    if name.endswith(".yaml"):
        file: Traversable = Path(name)
        where = name
        if not file.is_file():
            raise ConfigError(f"{name}: there is no such file.")
    elif name in shipped:
        file, where = shipped[name], f"{kind} {name}"
    else:
        hint = " A path ends in .yaml." if "/" in name or "." in name else ""
        raise ConfigError(
            f"There is no {kind} {name!r}{_did_you_mean(name, shipped)}; there is "
            f"{_listed(shipped)}.{hint} `geounet configs` says what each is for."
        )
    try:
        fields = yaml.load(file.read_text(encoding="utf-8"), _Loader)  # noqa: S506  a SafeLoader
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{where} cannot be read: {_one_line(error)}.") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} is not valid YAML: {_one_line(error)}.") from error
    if fields is None:  # only comments: all defaults
        return {}, where
    if not isinstance(fields, dict) or not all(isinstance(key, str) for key in fields):
        raise ConfigError(f"{where}: expected lines like `epochs: 50`, one setting each.")
    return fields, where


class _Loader(yaml.SafeLoader):
    """YAML, safely; `1e-3` is a number, as everywhere but in YAML 1.1."""


_Loader.yaml_implicit_resolvers = {
    k: list(v) for k, v in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def _parse_override(text: str) -> tuple[tuple[str, ...], Any]:
    """Return the keys and the value of a `key.key=value`."""
    key, equals, value = text.partition("=")
    keys = tuple(part.strip() for part in key.split("."))
    if not equals or not all(keys):
        raise ConfigError(f"--set {text}: write key=value, for example --set epochs=50.")
    try:
        return keys, yaml.load(value, _Loader)  # noqa: S506  a SafeLoader
    except yaml.YAMLError as error:
        raise ConfigError(
            f"--set {text}: the value is not valid YAML: {_one_line(error)}."
        ) from error


def _put(fields: dict[str, Any], keys: tuple[str, ...], value: Any, text: str) -> None:
    """Set a nested field."""
    for depth, key in enumerate(keys[:-1], start=1):
        inner = fields.setdefault(key, {})
        if not isinstance(inner, dict):
            raise ConfigError(
                f"--set {text}: `{'.'.join(keys[:depth])}` has no settings inside it."
            )
        fields = inner
    fields[keys[-1]] = value


def _checked(
    model: type[S],
    fields: Mapping[str, Any],
    *,
    where: str,
    overridden: Sequence[tuple[str, ...]],
    prefix: str = "",
) -> S:
    """Return `fields` as settings, or say in one line all that is wrong with them.

    Args:
        model: The class of the settings.
        fields: As a YAML file has them.
        where: Which file, for the error.
        overridden: Keys that the command line set, for the error to say so.
        prefix: What the command line writes before these keys.
    """
    try:
        # By way of JSON, strictly: a list is a tuple and 1 is 1.0, but "1" and `true` are not 1.
        return model.model_validate_json(json.dumps(fields, default=str), strict=True)
    except ValidationError as error:
        problems = []
        for problem in error.errors(include_url=False):
            keys = tuple(str(part) for part in problem["loc"])
            by_user = any(keys[: len(o)] == o for o in overridden)
            source = f"--set {prefix}{'.'.join(keys)}" if by_user else where
            problems.append(f"{source}: {_explain(model, keys, problem)}")
        raise ConfigError("; ".join(problems) + ".") from error


def _explain(model: type[Settings], keys: tuple[str, ...], problem: Mapping[str, Any]) -> str:
    """Return what is wrong with one setting, in words that a person can act on."""
    name = ".".join(keys)
    if problem["type"] == "extra_forbidden":
        known = _fields_at(model, keys[:-1])
        return (
            f"unknown setting `{name}`{_did_you_mean(keys[-1], known)}; there is {_listed(known)}"
        )
    if problem["type"] == "missing":
        return f"`{name}` is missing"
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    message = problem["msg"][0].lower() + problem["msg"][1:]
    return f"`{name}` is {json.dumps(problem['input'], ensure_ascii=False)}: {message}"


def _fields_at(model: type[Settings], keys: Sequence[str]) -> list[str]:
    """Return the names of the settings inside the group that `keys` lead to."""
    for key in keys:
        annotation = model.model_fields[key].annotation
        for inner in get_args(annotation) or [annotation]:  # of `Group | None`, the group
            if isinstance(inner, type) and issubclass(inner, Settings):
                model = inner
    return list(model.model_fields)


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    close = nearest(word, known, count=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
