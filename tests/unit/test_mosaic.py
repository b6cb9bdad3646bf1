"""Strips shown as one raster are what they would be side by side in one file."""

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox

from geounet.mosaic import write_mosaic


@pytest.mark.parametrize(("dtype", "nodata"), [("float32", np.nan), ("uint8", 255)])
@pytest.mark.parametrize(
    "transform", [Affine(10, 0, 5e5, 0, -10, 5e6), Affine(3, 4, 5e5, 4, -3, 5e6)]
)
def test_strips_of_any_height_are_one_raster(tmp_path, dtype, nodata, transform) -> None:
    rng = np.random.default_rng(3)
    whole = rng.integers(0, 255, (1100, 70)).astype(dtype)
    whole[5:9, 3:60] = nodata
    tops, files = [0, 1, 600, 1099], {}
    for top, bottom in zip(tops, [*tops[1:], len(whole)], strict=True):
        folder = tmp_path / f"{top} & <more>"
        folder.mkdir()
        files[top] = folder / "a.tif"
        profile = {"count": 1, "dtype": dtype, "nodata": nodata, "tiled": True}
        with rasterio.open(
            files[top], "w", driver="GTiff", height=bottom - top, width=70, crs="EPSG:32630",
            transform=transform, blockxsize=512, blockysize=512, **profile,
        ) as dst:  # fmt: skip
            dst.write(whole[top:bottom], 1)
    geobox = GeoBox(whole.shape, transform, "EPSG:32630")
    write_mosaic(tmp_path / "all.vrt", geobox, files, dtype=dtype, nodata=nodata)
    with rasterio.open(tmp_path / "all.vrt") as src:
        np.testing.assert_array_equal(src.read(1), whole)
        np.testing.assert_array_equal(
            src.read(1, window=((590, 610), (10, 20))), whole[590:610, 10:20]
        )
        assert (src.shape, src.transform, src.crs.to_epsg()) == (whole.shape, transform, 32630)
        assert src.dtypes == (dtype,)
        assert np.isnan(src.nodata) if np.isnan(nodata) else src.nodata == nodata
        assert src.block_shapes == [(512, 512)] or src.block_shapes == [(512, 70)]
