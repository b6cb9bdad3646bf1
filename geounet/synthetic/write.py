"""Writing a synthetic scene and its exact waterline to disk."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import rasterio
from affine import Affine
from rasterio.windows import Window

from geounet import __version__
from geounet.outputs import stage_set
from geounet.progress import Progress, silent
from geounet.scene import gdal_environment
from geounet.synthetic.image import DN_OFFSET, DN_SCALE, Imaging, SyntheticImage
from geounet.synthetic.noise import derive_rng
from geounet.synthetic.shape import Coast
from geounet.synthetic.spectra import L2A
from geounet.synthetic.truth import TruthWriter, plan_sheets, trace_sheet

BLOCKSIZE = 512
"""Side of the file's blocks, and of the windows in which it is made."""


@dataclass(frozen=True)
class CoastSettings:
    """What a synthetic scene is to be."""

    height: int
    width: int
    seed: int
    res: float = 10.0
    """Side of a pixel in the unit of `crs`. The scene looks as at 10 m, whatever this is."""
    crs: str = "EPSG:32630"
    upper_left: tuple[float, float] = (600_000.0, 5_500_020.0)
    """(x, y) of the scene's corner."""
    min_wavelength_px: float = 4.0
    """The coast has no features smaller than this; without a smallest its length has no limit."""
    clouds: bool = True
    swath: bool = True
    """Whether the swath's edge leaves a part without data."""

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ValueError(f"a scene of {self.height} × {self.width} pixels")
        if self.min_wavelength_px < 1:
            # The line is traced from eight samples a pixel: four in half a wavelength.
            raise ValueError(f"min_wavelength_px {self.min_wavelength_px} is below 1")

    @property
    def time(self) -> datetime:
        """When the scene was taken, in UTC; another seed, another day."""
        days = int(derive_rng(self.seed, "time").integers(6 * 365))
        return datetime(2019, 1, 3, 10, 56, 31, tzinfo=UTC) + timedelta(days=days)

    @property
    def transform(self) -> Affine:
        """(col, row) of a pixel's corner → (x, y)."""
        x, y = self.upper_left
        return Affine(self.res, 0, x, 0, -self.res, y)


@dataclass(frozen=True)
class SyntheticCoast:
    """Where a synthetic scene and the truth about it are."""

    scene: Path
    """GeoTIFF: the twelve bands of Sentinel-2 L2A as uint16 digital numbers, 0 where no data."""
    truth: Path
    """GeoPackage: the layers `waterline` (lines), `water` and `cloud` (polygons)."""


def write_coast(
    path: Path,
    settings: CoastSettings,
    *,
    overwrite: bool = False,
    progress: Progress = silent,
) -> SyntheticCoast:
    """Make a synthetic scene and its exact waterline, window by window.

    Args:
        path: The scene, `NAME.tif`; `NAME_truth.gpkg` and the record `NAME.json` come beside it.
        settings: What it is to be; the same settings give the same bytes.
        overwrite: Whether existing files may be replaced.
        progress: Told of every window and sheet.

    Returns:
        The files.

    Raises:
        OutputError: The files exist or cannot be written.
        ValueError: `path` does not end in `.tif`.
    """
    if path.suffix != ".tif":
        raise ValueError(f"{path} does not end in .tif")
    coast = Coast(
        settings.height,
        settings.width,
        seed=settings.seed,
        min_wavelength_px=settings.min_wavelength_px,
    )
    image = SyntheticImage(coast, Imaging(clouds=settings.clouds, swath=settings.swath))
    with stage_set(path.parent, path.stem, overwrite=overwrite) as (stage, record):
        _write_image(stage.path(".tif"), image, settings, progress)
        truth = stage.path("_truth.gpkg")
        writer = TruthWriter(
            truth, transform=settings.transform, crs=settings.crs, time=settings.time
        )
        sheets = list(plan_sheets(settings.height, settings.width))
        for sheet in progress(sheets, label="Exact waterline", total=len(sheets)):
            writer.write(trace_sheet(image, sheet))
        record |= {"format": 1, "geounet": __version__, "settings": asdict(settings)}
    return SyntheticCoast(scene=path, truth=path.with_name(truth.name))


def _write_image(
    path: Path, image: SyntheticImage, settings: CoastSettings, progress: Progress
) -> None:
    windows = list(_plan_blocks(settings.height, settings.width))
    profile = {
        "driver": "GTiff",
        "dtype": "uint16",
        "count": len(L2A),
        "height": settings.height,
        "width": settings.width,
        "crs": settings.crs,
        "transform": settings.transform,
        "nodata": 0,
        "tiled": True,
        "blockxsize": BLOCKSIZE,
        "blockysize": BLOCKSIZE,
        "interleave": "band",
        "compress": "deflate",
        "predictor": 2,
        "zlevel": 1,  # the noise does not compress, whatever the effort
        "bigtiff": "if_safer",
    }
    with gdal_environment(), rasterio.open(path, "w", **profile) as dst:
        dst.descriptions = tuple(band.name for band in L2A)
        # GDAL's convention is DN × scale + offset.
        dst.scales = (DN_SCALE,) * len(L2A)
        dst.offsets = (DN_OFFSET * DN_SCALE,) * len(L2A)
        dst.update_tags(sensor="s2", level="L2A")
        dst.update_tags(ns="IMAGERY", ACQUISITIONDATETIME=f"{settings.time:%Y-%m-%d %H:%M:%S}")
        for window in progress(windows, label="Scene", total=len(windows)):
            dst.write(image.digital_numbers(window), window=window)


def _plan_blocks(height: int, width: int) -> Iterator[Window]:
    """Yield windows that are the file's blocks."""
    for row in range(0, height, BLOCKSIZE):
        for col in range(0, width, BLOCKSIZE):
            yield Window(
                row_off=row,
                col_off=col,
                height=min(BLOCKSIZE, height - row),
                width=min(BLOCKSIZE, width - col),
            )
