"""A model file to a file that others can use."""

import logging
from pathlib import Path

import torch

from geounet.config import SmpSettings, restores_bands
from geounet.errors import ConfigError, ModelFileError, OutputError
from geounet.export.deepness import choose_tiles, deepness_metadata
from geounet.export.graph import Traced, trace
from geounet.export.mlm import write_item
from geounet.export.onnx_form import write_onnx
from geounet.export.settings import ExportSettings, Form, choose_dn
from geounet.model_file import ModelHeader, load_model
from geounet.networks import Network
from geounet.onnx_file import GraphForm, is_onnx, own_metadata
from geounet.outputs import stage_file

OF_ONE_SIZE = ("tu-swin",)
"""Encoders that cut windows by arithmetic on the height and width: for symbols in their place torch
is still at it after five minutes."""

logger = logging.getLogger(__name__)


def export_model(
    model: Path,
    out: Path,
    form: Form,
    settings: ExportSettings = ExportSettings(),  # noqa: B008  frozen
) -> Path:
    """Write a model in the form that others take.

    Args:
        model: Model file; for a catalogue also an ONNX file that was exported from one.
        out: File to write.
        form: For whom: `onnx`, `pt2`, `deepness` or `mlm`.
        settings: What else there is to say.

    Returns:
        `out`.

    Raises:
        ModelFileError: The model cannot be read, or tells no classes.
        ConfigError: The settings do not go with it, or a library is not installed.
        OutputError: The file exists, or cannot be written.
    """
    settings.check(form)
    if out.resolve() == model.resolve():
        raise OutputError(f"{out} is the model itself. Give another --out.")
    if out.exists() and not settings.overwrite:
        raise OutputError(f"{out} exists already. Use --overwrite to replace it.")
    if form == "mlm":
        return write_item(model, out, settings)
    if is_onnx(model):
        raise ModelFileError(
            f"{model} is an ONNX file, and cannot be exported again. Give the model.safetensors "
            "that `geounet train` wrote."
        )
    header, network = load_model(model)
    if restores_bands(header.network.settings):
        raise ModelFileError(
            f"{model} holds a network ({header.network.name}) that gives back the bands it is "
            "given and tells no classes: there is nothing to export."
        )
    if form == "deepness":
        return _export_deepness(model, header, network, out, settings)
    traced = _trace(model, header, network, form, settings)
    with stage_file(out) as draft:
        metadata = own_metadata(header, traced.record)
        if form == "onnx":
            write_onnx(draft, traced, metadata)
        else:
            torch.export.save(traced.program, draft, extra_files=metadata)
    return out


def _trace(
    model: Path, header: ModelHeader, network: Network, form: GraphForm, settings: ExportSettings
) -> Traced:
    """Trace a graph for any height and width, or for one where that is not to be had."""
    dn = choose_dn(header, settings, model)
    logger.info("%s takes %s: %s.", form, _bands(header), dn)
    side, built = None, header.network.settings
    if isinstance(built, SmpSettings) and built.encoder.startswith(OF_ONE_SIZE):
        side = network.fit(header.blend.window if header.blend else 256)
        logger.warning(
            "%s: the graph of encoder %s is one of a fixed size; what is written takes windows of "
            "%d pixels alone, those that predict blends",
            model,
            built.encoder,
            side,
        )
    try:
        return trace(header, network, dn, form=form, half=settings.half, side=side)
    except ConfigError as error:
        raise ConfigError(
            f"{model}: {error}. Use another form, or a network whose graph can be traced."
        ) from error


def _export_deepness(
    model: Path, header: ModelHeader, network: Network, out: Path, settings: ExportSettings
) -> Path:
    tiles = choose_tiles(header, network, settings.size)
    dn = choose_dn(header, settings, model)
    logger.info("Deepness is to be given a layer of %s, in this order: %s.", _bands(header), dn)
    logger.info("Its tiles are of %d pixels and overlap by %d %%.", tiles.side, tiles.percent)
    if header.halo_exact is None:
        logger.warning(
            "%s: the network has no exact halo, and Deepness does not blend: edges of tiles may "
            "be seen, and its mask is not predict's",
            model,
        )
    said = deepness_metadata(header, tiles)
    traced = trace(
        header,
        network,
        dn,
        form="deepness",
        half=settings.half,
        side=tiles.side,
        mirror=True,
    )
    with stage_file(out) as draft:
        write_onnx(draft, traced, said | own_metadata(header, traced.record))
    return out


def _bands(header: ModelHeader) -> str:
    return ", ".join(band.id for band in header.band_list)
