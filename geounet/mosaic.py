"""Strips of rows, a file each, as one raster: without copying them."""

import math
from collections.abc import Mapping
from pathlib import Path
from xml.etree.ElementTree import Element, ElementTree, SubElement

from odc.geo.geobox import GeoBox

from geounet.stitch import BLOCK

GDAL_TYPES = {"uint8": "Byte", "float32": "Float32"}


def write_mosaic(
    path: Path, geobox: GeoBox, strips: Mapping[int, Path], *, dtype: str, nodata: float
) -> None:
    """Write a VRT that shows strips, one below the other, as one raster.

    Args:
        path: The file to write.
        geobox: Of the whole raster, whose width every strip has.
        strips: A raster of one band for each strip, by the first row it is at, from top to bottom.
        dtype: Of all of them.
        nodata: Likewise.
    """
    height, width = geobox.shape
    tops = list(strips)
    root = Element("VRTDataset", rasterXSize=str(width), rasterYSize=str(height))
    if geobox.crs is not None:
        SubElement(root, "SRS").text = geobox.crs.to_wkt()
    transform = geobox.transform.to_gdal()
    SubElement(root, "GeoTransform").text = ", ".join(repr(float(term)) for term in transform)
    band = SubElement(
        root, "VRTRasterBand", dataType=GDAL_TYPES[dtype], band="1",
        blockXSize=str(BLOCK), blockYSize=str(BLOCK),
    )  # fmt: skip
    SubElement(band, "NoDataValue").text = "nan" if math.isnan(nodata) else str(nodata)
    for (top, strip), bottom in zip(strips.items(), [*tops[1:], height], strict=True):
        source = SubElement(band, "SimpleSource")
        SubElement(source, "SourceFilename", relativeToVRT="0").text = str(strip.resolve())
        SubElement(source, "SourceBand").text = "1"
        columns, rows = str(width), str(bottom - top)
        SubElement(
            source, "SourceProperties", RasterXSize=columns, RasterYSize=rows,
            DataType=GDAL_TYPES[dtype], BlockXSize=str(BLOCK), BlockYSize=str(BLOCK),
        )  # fmt: skip
        SubElement(source, "SrcRect", xOff="0", yOff="0", xSize=columns, ySize=rows)
        SubElement(source, "DstRect", xOff="0", yOff=str(top), xSize=columns, ySize=rows)
    ElementTree(root).write(path, encoding="utf-8")
