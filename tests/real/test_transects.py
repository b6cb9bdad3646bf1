"""Shorelines that people and programs drew of an atoll, along transects of their reference line."""

from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import shapely

from geounet.transects import Casting, TransectSettings, measure_transects

SENTINEL = "Sentinel shoreline/Sentinel_shoreline_20220101_0331.geojson"
LANDSAT = "Landsat shoreline/Landsat_shoreline_20220101_0301.geojson"
MANUAL = "Manual shoreline/Isdhoo_manual_shoreline.geojson"


def test_positions_on_isdhoo_are_those_of_shapely_in_utm(shared_data: Path, tmp_path) -> None:
    folder = shared_data / "maldives_shorelines" / "Isdhoo"
    drawn = [folder / name for name in (SENTINEL, LANDSAT, MANUAL)]
    record = measure_transects(
        [str(path) for path in drawn],
        str(folder / "Reference line/Isdhoo_reference_line.geojson"),
        tmp_path / "out",
        TransectSettings(Casting(side="both"), figures=0),
    )
    positions = pd.read_csv(record.parent / "transects_positions.csv")
    layer = geopandas.read_file(record.parent / "transects.gpkg").set_index("transect").geometry
    assert layer.crs.to_epsg() == 32643
    for path in drawn:
        line = geopandas.read_file(path).to_crs(32643).union_all()
        mine = positions[positions["scene"] == path.stem].set_index("transect")["position_m"]
        crossed = layer[layer.intersects(line)]
        assert set(crossed.index) == set(mine.index)
        assert len(mine) == 95
        # Last along the transect, which begins 250 m landward of the baseline.
        along = [shapely.get_coordinates(one.intersection(line)) - one.coords[0] for one in crossed]
        far = np.array([np.hypot(*points.T).max() for points in along])
        # UTM's own scale is off by up to 4e-4, of 500 m here.
        true = far * 500 / crossed.length.to_numpy() - 250
        assert np.abs(mine.loc[crossed.index] - true).max() < 0.01
    wide = positions.pivot(index="transect", columns="scene", values="position_m")
    off = wide[SENTINEL.split("/")[1][:-8]] - wide[MANUAL.split("/")[1][:-8]]
    assert abs(off.median()) < 3, "what Sentinel-2 shows lies where people drew it"
