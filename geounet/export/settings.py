"""What is asked of an export, and what the numbers of a scene are taken for."""

import math
from dataclasses import dataclass
from typing import Literal

from geounet.errors import ConfigError
from geounet.model_file import ModelHeader

Form = Literal["onnx", "pt2", "deepness", "mlm"]
FORMS: dict[str, str] = {
    "onnx": "an ONNX file",
    "pt2": "a program of torch.export",
    "deepness": "an ONNX file for the QGIS plugin Deepness",
    "mlm": "a STAC item with the Machine Learning Model extension",
}


@dataclass(frozen=True)
class Dn:
    """How the numbers of a scene become reflectance: (DN + offset) × scale."""

    scale: float
    offset: float
    nodata: float | None
    """What means no data, besides NaN."""

    def __str__(self) -> str:
        offset = f" {'−' if self.offset < 0 else '+'} {abs(self.offset):g}" if self.offset else ""
        no = "NaN" if self.nodata is None else f"{self.nodata:g} or NaN"
        return f"reflectance = (DN{offset}) × {self.scale:g}, no data is {no}"


USUAL: dict[tuple[str, str], Dn] = {
    ("s2", "L1C"): Dn(1e-4, -1000.0, 0.0),
    ("s2", "L2A"): Dn(1e-4, -1000.0, 0.0),
    # Collection 2; at the top of the atmosphere each scene has its own.
    **{(sensor, "L2"): Dn(2.75e-5, -0.2 / 2.75e-5, 0.0) for sensor in ("l5", "l7", "l8", "l9")},
}
"""By sensor and level: Sentinel-2 from baseline 04.00 on, Landsat Collection 2."""


@dataclass(frozen=True)
class ExportSettings:
    """What a user may say of an export; the model file says the rest."""

    half: bool = False
    """Whether the network computes in 16 bits."""
    scale: float | None = None
    """Of the numbers that the graph takes; None for those usual of the model's sensor."""
    offset: float | None = None
    """Likewise, in DN."""
    nodata: float | Literal["none"] | None = None
    """Number that means no data; `none` where NaN alone does; None for 0, but of reflectance."""
    size: int | None = None
    """Side of Deepness's tiles, in pixels; None chooses it."""
    licence: str | None = None
    """Of the weights, for a catalogue; None for what the model file says."""
    doi: str | None = None
    """Of a publication about the model, likewise."""
    overwrite: bool = False
    """Whether a file that is there may be replaced."""

    def check(self, form: str) -> None:
        """Refuse what does not go with a form.

        Raises:
            ConfigError: It does not.
        """
        of_catalogue = {"--licence": self.licence, "--doi": self.doi}
        of_graph = {
            "--half": self.half or None,
            "--scale": self.scale,
            "--offset": self.offset,
            "--nodata": self.nodata,
        }
        wrong = [option for option, said in of_catalogue.items() if said and form != "mlm"]
        wrong += [option for option, said in of_graph.items() if said is not None and form == "mlm"]
        wrong += ["--size"] * (self.size is not None and form != "deepness")
        if wrong:
            forms = {"--size": "deepness", "--licence": "mlm", "--doi": "mlm"}
            other = forms.get(wrong[0], "onnx, pt2 or deepness")
            raise ConfigError(f"{wrong[0]} does not go with --to {form}: it is for --to {other}.")


def choose_dn(header: ModelHeader, settings: ExportSettings, path: object) -> Dn:
    """Return what the graph's numbers are, as the user says or as is usual of the sensor.

    Raises:
        ConfigError: Nobody says, or a number makes no sense.
    """
    usual = USUAL.get((header.sensor or "", header.level or ""))
    nodata = _nodata(settings)
    for option, number in (("--scale", settings.scale), ("--offset", settings.offset)):
        if number is not None and not math.isfinite(number):
            raise ConfigError(f"{option} {number} is no number that DN could have.")
    if settings.scale is not None and settings.scale <= 0:
        raise ConfigError(f"--scale {settings.scale:g} is not above 0: reflectance grows with DN.")
    if nodata is not None and math.isinf(nodata):
        raise ConfigError("--nodata is a finite number, or none.")
    if settings.scale is not None:
        return Dn(settings.scale, settings.offset or 0.0, nodata)
    if usual is None:
        what = " ".join(filter(None, (header.sensor, header.level))) or "an unknown sensor"
        raise ConfigError(
            f"{path} is of {what}, whose numbers have no scale that always holds. Give --scale and "
            "--offset of the scenes that the export is for; --scale 1 takes reflectance."
        )
    offset = usual.offset if settings.offset is None else settings.offset
    return Dn(usual.scale, offset, nodata)


def _nodata(settings: ExportSettings) -> float | None:
    """Return the number that means no data; None where NaN alone does."""
    said = settings.nodata
    if said is None:
        return None if settings.scale == 1 else 0.0
    if isinstance(said, str) or math.isnan(said):
        return None
    return said
