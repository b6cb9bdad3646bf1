"""What a network starts training from: weights of others, and the reflectance they are used to."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file

from geounet.bands import Band
from geounet.config import NetworkSettings, SmpSettings, UNetSettings
from geounet.dataset import ChipReader
from geounet.errors import ConfigError
from geounet.model_file import ModelHeader, load_model
from geounet.networks import Network
from geounet.networks.inputs import match_names
from geounet.networks.pretrained import EncoderWeights, find_weights
from geounet.networks.transfer import is_encoder_only, take_over

logger = logging.getLogger(__name__)


class Start(NamedTuple):
    """Where a training begins."""

    reader: ChipReader
    """Standardises chips as the weights want it."""
    record: dict[str, Any] | None
    """What was taken over, for the model file; None where all is fresh."""


def start_network(
    network: Network, settings: NetworkSettings, reader: ChipReader, model: str | None
) -> Start:
    """Give a fresh network what it starts from, and say what that is.

    Args:
        network: Changed in place where it starts from a model file. Its pre-trained weights, which
            `settings` name, are in it already.
        settings: What it is.
        reader: How chips are read.
        model: Path of a model file to start from.

    Raises:
        ConfigError: The model file is of a network that has nothing in common with this one.
        ModelFileError: It cannot be used.
    """
    if model is not None:
        return _from_model(network, settings, reader, Path(model))
    if isinstance(settings, SmpSettings) and (source := find_weights(settings)):
        return _from_weights(source, settings, reader)
    return Start(reader, None)


def _from_weights(source: EncoderWeights, settings: SmpSettings, reader: ChipReader) -> Start:
    """Say what pre-trained weights are for these chips, and standardise as they are used to."""
    info = reader.folder.info
    if settings.first_conv == "bands":
        places = source.places(_names(reader.bands))
        _tell_bands(source.name, reader.bands, source.bands, places)
    else:
        places = [None] * len(reader.bands)
    _tell_level(source.name, source.level, info.level)
    mean, std = reader.mean.tolist(), reader.std.tolist()
    unknown = []
    for i, at in enumerate(places):
        taken = None if at is None else (source.mean[at], source.std[at])
        if taken is None or taken[0] is None or taken[1] is None:
            unknown.append(reader.bands[i].id)
        else:
            mean[i], std[i] = taken
    adopted = len(unknown) < len(places)
    if adopted:
        logger.info("%s: bands are standardised as they were for these weights.", source.name)
    if unknown:
        logger.warning(
            "%s: how %s were scaled for these weights is not known in reflectance: they are "
            "standardised by the training chips.",
            source.name,
            ", ".join(unknown),
        )
    record = {
        "weights": source.name,
        "level": source.level,
        "bands": [b.id for b, at in zip(reader.bands, places, strict=True) if at is not None],
        "new_bands": [b.id for b, at in zip(reader.bands, places, strict=True) if at is None],
        "standardised_as_before": adopted,
        **_chip_statistics(reader),
    }
    return Start(_standardised(reader, mean, std), record)


def _from_model(
    network: Network, settings: UNetSettings | SmpSettings, reader: ChipReader, path: Path
) -> Start:
    """Start from a model file of ours."""
    header, _ = load_model(path)  # which checks it
    encoder_only = is_encoder_only(header.network.settings, settings, where=str(path))
    theirs, theirs_named = header.band_list, header.input_names
    same_sensor = {b.sensor for b in theirs} == {b.sensor for b in reader.bands}
    ours_named = _names(reader.bands)
    if same_sensor:  # names of a sensor are its own; common names may be of two bands
        ours_named, theirs_named = [b.id for b in reader.bands], [b.id for b in theirs]
    places = match_names(ours_named, theirs_named)
    _tell_bands(str(path), reader.bands, theirs, places)
    _tell_level(str(path), header.level, reader.folder.info.level)
    transfer = take_over(
        network,
        load_file(path),
        bands=ours_named,
        their_bands=theirs_named,
        encoder_only=encoder_only,
        same_outputs=_outputs(header.network.settings, theirs_named, _class_names(header))
        == _outputs(settings, ours_named, [c.name for c in reader.classes]),
    )
    logger.info("%s: taken over: %s.", path, ", ".join(transfer.part(transfer.taken)))
    if transfer.fresh:
        logger.warning(
            "%s: these parts start anew: %s.", path, ", ".join(transfer.part(transfer.fresh))
        )
    mean, std = reader.mean.tolist(), reader.std.tolist()
    for i, at in enumerate(places):
        if at is not None:
            mean[i], std[i] = header.mean[at], header.std[at]
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    record = {
        "model": path.name,
        "sha256": digest,
        "level": header.level,
        "taken": transfer.part(transfer.taken),
        "new": transfer.part(transfer.fresh),
        "bands": [b.id for b, at in zip(reader.bands, places, strict=True) if at is not None],
        "new_bands": [b.id for b, at in zip(reader.bands, places, strict=True) if at is None],
        **_chip_statistics(reader),
    }
    return Start(_standardised(reader, mean, std), record)


def _chip_statistics(reader: ChipReader) -> dict[str, list[float]]:
    """Return what the training chips themselves are like, which the header no longer says."""
    return {"chips_mean": reader.mean.tolist(), "chips_std": reader.std.tolist()}


def _outputs(
    settings: UNetSettings | SmpSettings, bands: Sequence[str], classes: Sequence[str]
) -> tuple[str, ...]:
    """Return what the channels of a network's output are."""
    to_bands = isinstance(settings, UNetSettings) and settings.target == "bands"
    return ("bands", *bands) if to_bands else ("classes", *classes)


def _class_names(header: ModelHeader) -> list[str]:
    return [one.name for one in header.label_classes]


def _names(bands: Sequence[Band]) -> list[str]:
    """Return what `build_network` calls bands."""
    return [band.common_name or band.name for band in bands]


def _tell_bands(
    where: str, ours: Sequence[Band], theirs: Sequence[Band], places: Sequence[int | None]
) -> None:
    """Say which kernels are taken, which are new, and which are dropped.

    Raises:
        ConfigError: No band is shared.
    """
    matched = [(band, theirs[at]) for band, at in zip(ours, places, strict=True) if at is not None]
    if not matched:
        raise ConfigError(
            f"{where} has been trained on other bands, {', '.join(b.id for b in theirs)}, and the "
            f"chips have {', '.join(b.id for b in ours)}. Use others, or start without."
        )
    if others := [
        f"{was.id} for {now.id}" for now, was in matched if was.sensor not in (None, now.sensor)
    ]:
        logger.warning("%s is of another sensor: kernels of %s.", where, ", ".join(others))
    if new := [band.id for band, at in zip(ours, places, strict=True) if at is None]:
        logger.warning(
            "%s has not seen %s: their kernels start at zero, as if the bands were not there.",
            where,
            ", ".join(new),
        )
    if dropped := [band.id for at, band in enumerate(theirs) if at not in places]:
        logger.info(
            "%s: kernels of %s are dropped, as the chips have no such bands.",
            where,
            ", ".join(dropped),
        )


def _tell_level(where: str, theirs: str | None, ours: str | None) -> None:
    """Warn of weights that saw the top of the atmosphere, and chips of the surface, or reversed."""
    # L2A is what other sensors call L2.
    if theirs is not None and ours is not None and theirs[:2] != ours[:2]:
        logger.warning(
            "%s has been trained on %s, and the chips are %s: their reflectances differ, most in "
            "blue and over water.",
            where,
            theirs,
            ours,
        )


def _standardised(reader: ChipReader, mean: list[float], std: list[float]) -> ChipReader:
    """Return a reader that standardises by these numbers."""
    return replace(reader, mean=torch.tensor(mean), std=torch.tensor(std))
