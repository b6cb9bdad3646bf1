"""What `predict` may be given as a model, and what runs it: a model file by torch, ONNX by its own.

An ONNX file of ours says as much as a model file. One of anyone else's says nothing but its shapes,
and the user says the rest, `ForeignOptions`.
"""

import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from geounet.bands import Band, parse_band, parse_level, parse_sensor
from geounet.classes import LAND_WATER, LabelClass
from geounet.config import UNetSettings
from geounet.engine import (
    Backend,
    Engine,
    Precision,
    Runner,
    choose_backend,
    choose_device,
    choose_precision,
)
from geounet.errors import ConfigError, ModelFileError
from geounet.model_file import BlendRecord, ModelHeader, NetworkRecord, load_model
from geounet.networks import Network, Sizes
from geounet.onnx_engine import OnnxEngine, OnnxSizes
from geounet.onnx_file import OnnxFile, is_onnx, open_onnx
from geounet.outputs import sha256_of
from geounet.windows import blend_overlap

FOREIGN_STRIDE = 32
"""Of a network of which nobody says it: that of most."""
COLORS = ("#decba4", "#1f77b4", "#66a61e", "#e7298a", "#7570b3", "#e6ab02", "#a6761d", "#666666")
"""Of classes of which only the names are known; land and water have their own."""


@dataclass(frozen=True)
class ForeignOptions:
    """What a user says of an ONNX file that is not ours."""

    bands: tuple[str, ...] = ()
    """Names of the bands that it takes, in its order."""
    sensor: str | None = None
    """Whose the names are."""
    level: str | None = None
    """Processing level of the scenes that it is for; None for any."""
    mean: tuple[float, ...] = ()
    """Reflectance taken from each band, or from all; nothing by default."""
    std: tuple[float, ...] = ()
    """Reflectance by which it is divided then; 1 by default."""
    classes: tuple[str, ...] = ()
    """Names of its classes, in the order of its outputs; land and water by default."""
    stride: int = FOREIGN_STRIDE
    """Its total stride, in pixels."""
    given: tuple[str, ...] = ()
    """Options that the user gave for such a file alone."""

    @classmethod
    def from_text(
        cls,
        *,
        bands: str | None,
        scene_bands: str | None,
        sensor: str | None,
        level: str | None,
        mean: str | None,
        std: str | None,
        classes: str | None,
        stride: int | None,
    ) -> Self:
        """Return the options as the command line has them.

        Raises:
            ConfigError: A number is none.
        """
        said = {
            "--model-bands": bands,
            "--model-mean": mean,
            "--model-std": std,
            "--model-classes": classes,
            "--model-stride": stride,
        }
        return cls(
            bands=tuple(name for name in _names(bands or scene_bands) if name != "-"),
            sensor=sensor,
            level=level,
            mean=_numbers("--model-mean", mean),
            std=_numbers("--model-std", std),
            classes=_names(classes),
            stride=FOREIGN_STRIDE if stride is None else stride,
            given=tuple(option for option, value in said.items() if value is not None),
        )


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",")) if text else ()


def _numbers(option: str, text: str | None) -> tuple[float, ...]:
    try:
        numbers = tuple(float(number) for number in _names(text))
    except ValueError:
        raise ConfigError(f"{option} {text} is no list of numbers. Write 0.1,0.2,0.3.") from None
    if not all(map(math.isfinite, numbers)):
        raise ConfigError(f"{option} {text} has numbers that are not finite.")
    return numbers


@dataclass(frozen=True)
class Opened:
    """A model that is ready to be run."""

    header: ModelHeader
    sizes: Sizes
    """The heights and widths that it takes."""
    sha256: str
    runner: Runner
    exact: Runner | None
    """The same in fp32, to hold another precision against; None where it is that."""
    window: int | None
    """Side of the core of a window where the model leaves no choice, in pixels."""
    told: dict[str, str]
    """What is to be recorded of how it is run."""
    is_ours: bool = True
    """Whether it says itself what it takes."""


def open_model(
    path: Path,
    *,
    device: str,
    precision: str,
    backend: str = "auto",
    halo: int | Literal["default", "exact"] = "default",
    foreign: ForeignOptions | None = None,
) -> Opened:
    """Open what was given as a model.

    Args:
        path: Model file, or ONNX file.
        device: As the user said.
        precision: Likewise.
        backend: Likewise.
        halo: Likewise; of an ONNX file that is not ours nobody else says it.
        foreign: What the user says of an ONNX file that is not ours.

    Raises:
        ModelFileError: It cannot be read, is damaged, or carries what is not to be run.
        ConfigError: Something is not said, does not go with it, or is not to be had here.
    """
    foreign = foreign or ForeignOptions()
    if is_onnx(path):
        if backend not in ("auto", "onnxruntime"):
            raise ConfigError(
                f"--backend {backend} does not go with {path}, which the ONNX runtime runs. Leave "
                "the option out."
            )
        return _open_onnx(path, device, precision, halo, foreign)
    _refuse_options(path, foreign)
    header, network = load_model(path)
    device = choose_device(device)
    chosen, exact = choose_precision(precision, device), None

    def ready(network: Network, precision: Precision, backend: Backend) -> Engine:
        return Engine(
            network,
            mean=header.mean,
            std=header.std,
            device=device,
            precision=precision,
            backend=backend,
        )

    if chosen != "fp32":  # what another one costs is measured on every scene
        exact = ready(network, "fp32", "eager")
        network = deepcopy(network)  # its batch normalisations are folded by now
    runner = ready(network, chosen, choose_backend(backend))
    return Opened(header, network, sha256_of(path), runner, exact, window=None, told={})


def _open_onnx(
    path: Path, device: str, precision: str, halo: int | str, foreign: ForeignOptions
) -> Opened:
    file = open_onnx(path)
    kept = file.graph.precision if file.graph else "fp32"
    if device not in ("auto", "cpu"):
        raise ConfigError(
            f"--device {device} does not go with {path}: geounet runs ONNX files on the CPU. Use "
            "the model file, model.safetensors, on a GPU."
        )
    if precision not in ("auto", kept):
        raise ConfigError(
            f"--precision {precision} does not go with {path}: what is in it is {kept}. Leave the "
            "option out."
        )
    if file.header is None or file.graph is None:
        header, sizes = _foreign_header(file, halo, foreign)
    else:
        _refuse_options(path, foreign)
        header, sizes = file.header, _own_sizes(file)
    runner = OnnxEngine(file, sizes, mean=header.mean, std=header.std)
    window = _only_window(file, header, sizes)
    told = {"runtime": runner.runtime}
    if file.header is None:
        told["origin"] = "not exported by geounet; what it takes is what the user said"
    ours = file.header is not None
    return Opened(header, sizes, file.sha256, runner, None, window, told, is_ours=ours)


def _refuse_options(path: Path, foreign: ForeignOptions) -> None:
    """Refuse what is for ONNX files that are not ours."""
    if foreign.given:
        raise ConfigError(
            f"{foreign.given[0]} does not go with {path}, which says itself what it takes. Leave "
            "the option out."
        )


def _own_sizes(file: OnnxFile) -> Sizes:
    """Return the sizes of a graph of ours; refuse one that is another program's."""
    graph = file.graph
    assert graph is not None
    if graph.form != "onnx":
        raise ModelFileError(
            f"{file.path} was exported for {graph.form.capitalize()}, whose tiles are not those of "
            "predict. Give the model file, or one that was exported with --to onnx."
        )
    return OnnxSizes(
        stride=graph.stride, margin=graph.margin, remainder=graph.remainder, least=graph.least
    )


def _only_window(file: OnnxFile, header: ModelHeader, sizes: Sizes) -> int | None:
    """Return the side of the core where the graph takes windows of one side alone."""
    height, width = file.takes[2:]
    if height is None and width is None:
        return None
    if height != width or height is None or sizes.fit(height) != height:
        raise ModelFileError(
            f"{file.path} takes windows of {height or 'any'} × {width or 'any'} pixels, and square "
            f"ones are needed whose side is a multiple of its stride, {sizes.stride}. Export it "
            "for any height and width, or say its stride: --model-stride."
        )
    if header.blend is not None:
        return height
    core = (height - 2 * header.halo_default) // sizes.stride * sizes.stride
    if core < sizes.stride:
        raise ConfigError(
            f"{file.path} takes windows of {height} pixels, of which a halo of "
            f"{header.halo_default} leaves nothing. Use a smaller --halo."
        )
    return core


def _foreign_header(
    file: OnnxFile, halo: int | str, said: ForeignOptions
) -> tuple[ModelHeader, Sizes]:
    """Make of what the user says what a model file would say."""
    bands = _foreign_bands(file, said)
    classes = _foreign_classes(file, said)
    mean = _each_band(file.path, "--model-mean", said.mean or (0.0,), len(bands))
    std = _each_band(file.path, "--model-std", said.std or (1.0,), len(bands))
    if min(std) <= 0:
        raise ConfigError("--model-std is what reflectance is divided by, and has to be above 0.")
    sizes = OnnxSizes(stride=said.stride)
    blend = None
    if halo == "exact":
        raise ConfigError(f"--halo exact does not go with {file.path}, which does not say it.")
    if isinstance(halo, str):
        side = sizes.fit(file.takes[2] or 256)
        overlap = blend_overlap(side, sizes.stride)
        blend = BlendRecord(window=side, overlap=overlap, why="nobody says its halo")
    fields = {
        "network": NetworkRecord(name=file.path.name, settings=UNetSettings()),
        "bands": tuple(band.to_dict() for band in bands),
        "sensor": said.sensor and parse_sensor(said.sensor),
        "level": said.level and parse_level(said.level, said.sensor and parse_sensor(said.sensor)),
        "mean": mean,
        "std": std,
        "classes": tuple(one.to_dict() for one in classes),
        "stride": said.stride,
        "halo_exact": None if blend else halo,
        "halo_default": 0 if blend else halo,
        "halo_error": 0.0,
        "blend": blend,
        "res_m": None,
    }
    return ModelHeader.model_validate(fields), sizes


def _foreign_bands(file: OnnxFile, said: ForeignOptions) -> list[Band]:
    takes = file.takes[1]
    if not said.bands:
        raise ConfigError(
            f"{file.path} was not exported by geounet, so it does not say which bands it takes. "
            f"Name {'them' if takes is None else f'its {takes}'} in its order with --bands (and "
            "--sensor), its halo with --halo, and what else it wants: see docs/export.md."
        )
    sensor = said.sensor and parse_sensor(said.sensor)
    bands = [parse_band(name, sensor) for name in said.bands]
    if takes not in (None, len(bands)):
        there = ", ".join(band.name for band in bands)
        raise ConfigError(
            f"{file.path} takes {takes} bands, and {len(bands)} are named: {there}. Name those it "
            "takes with --model-bands."
        )
    return bands


def _foreign_classes(file: OnnxFile, said: ForeignOptions) -> Sequence[LabelClass]:
    gives = file.gives[1]
    if not said.classes and gives in (1, 2):
        return LAND_WATER
    if gives == 1 and len(said.classes) == 2:
        gives = 2
    if gives not in (None, len(said.classes)):
        raise ConfigError(
            f"{file.path} gives {gives} classes, and {len(said.classes)} are named. Name them in "
            "its order with --model-classes land,water,…"
        )
    known = {one.name: one for one in LAND_WATER}
    names = [name.strip() for name in said.classes]
    wet = [name for name in names if name.lower().startswith("water")]
    if not wet or len(wet) == len(names) or len(names) < 2:
        raise ConfigError(
            "--model-classes names the classes in the order of the outputs, and those that are "
            "water begin with `water`: land,water,water-turbid. There is "
            f"{', '.join(names) or 'none'}."
        )
    return [
        LabelClass(
            value=i,
            name=name,
            color=known[name].color if name in known else COLORS[(i + 2) % len(COLORS)],
            water=name in wet,
        )
        for i, name in enumerate(names)
    ]


def _each_band(path: Path, option: str, values: tuple[float, ...], bands: int) -> tuple[float, ...]:
    if len(values) == 1:
        return values * bands
    if len(values) != bands:
        raise ConfigError(
            f"{option} has {len(values)} numbers, and {path} takes {bands} bands. Give one for "
            "each, or one for all."
        )
    return values
