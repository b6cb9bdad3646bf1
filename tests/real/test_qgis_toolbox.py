"""The plugin in QGIS itself, where this machine has it (Debian: qgis, python3-qgis).

What an algorithm makes is held against what the command makes of the same.
"""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import geopandas
import numpy as np
import pytest
from fuzzing.products import BANDS, make_products
from predicting import DARK, L2A, TRANSFORM, water_is_dark, wavy_dn, write_model, write_scene
from shapely import box
from toolbox import Toolbox, as_arguments, find_qgis_process, install, why_no_qgis

from geounet.synthetic import CoastSettings, write_coast

OF_THE_RUN = ("command_line", "timings", "seconds", "started")
"""What two runs may say differently of the same result."""
WATER = {"name": "Water", "shown": True, "style": "singleSymbol", "colors": ["#1f77b4"]}
LAND = {"name": "Land", "shown": True, "style": "singleSymbol", "colors": ["#decba4"]}


@pytest.fixture(scope="session")
def toolbox(tmp_path_factory: pytest.TempPathFactory) -> Toolbox:
    if why := why_no_qgis():
        pytest.skip(why)
    return install(tmp_path_factory.mktemp("toolbox"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "dark.safetensors"
    return write_model(path, overrides=DARK, prepare=water_is_dark(7))


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return write_scene(tmp_path / "scene.tif", wavy_dn(60, 80))


def square(left: int, top: int, right: int, bottom: int):
    """A rectangle by (col, row) of a scene."""
    return box(*(TRANSFORM @ (left, bottom)), *(TRANSFORM @ (right, top)))


def write_bands(folder: Path, dn) -> Path:
    """Write a scene as a folder of single-band files."""
    folder.mkdir()
    for name, band in zip(L2A, dn, strict=True):
        write_scene(folder / f"{name}.tif", band[np.newaxis], names=[name])
    return folder


def hold_same(made: Path, expected: Path) -> None:
    """Check that two folders hold the same, but for what is of the run alone."""
    names = [sorted(str(f.relative_to(one)) for f in one.rglob("*")) for one in (made, expected)]
    assert names[0] == names[1]
    assert names[0]
    for name in names[0]:
        files = [one / name for one in (made, expected)]
        if files[0].is_dir():
            continue
        if name.endswith(".json"):
            said = [json.loads(file.read_text()) for file in files]
            for one in said:
                for key in OF_THE_RUN:
                    one.pop(key, None)
            assert said[0] == said[1], name
        else:
            assert files[0].read_bytes() == files[1].read_bytes(), name


def wait_until(is_so: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_predict_makes_the_files_of_the_command(toolbox, geounet, model, tmp_path):
    settings = CoastSettings(height=200, width=150, seed=0)  # as the demo's, but smaller
    scene = write_coast(tmp_path / "scene.tif", settings).scene
    results = toolbox.run("predict", SCENE=scene, MODEL=model, OUT=tmp_path / "qgis")
    assert geounet("predict", scene, "--model", model, "--out", tmp_path / "command").status == 0
    hold_same(tmp_path / "qgis", tmp_path / "command")
    out = tmp_path / "qgis"
    assert results == {
        "OUT": str(out),
        "COASTLINE": f"{out}/scene.gpkg|layername=coastline",
        "WATER_AREAS": f"{out}/scene.gpkg|layername=water",
        "MASK": f"{out}/scene_mask.tif",
        "PROBABILITY": f"{out}/scene_probability.tif",
        "PICTURE": f"{out}/scene_rgb.tif",
        "PROJECT": f"{out}/scene.qgz",
        "RECORD": f"{out}/scene.json",
    }


def test_what_is_chosen_reaches_the_command(toolbox, geounet, scene, model, tmp_path):
    area = tmp_path / "areas.gpkg"
    for layer, shape in (("west", square(0, 0, 40, 60)), ("east", square(40, 0, 80, 60))):
        geopandas.GeoDataFrame(geometry=[shape], crs="EPSG:32630").to_file(area, layer=layer)
    gauge = tmp_path / "gauge.csv"
    gauge.write_text("time,level_m\n2024-05-17T10:00:00Z,-1.5\n2024-05-17T11:00:00Z,0.5\n")
    toolbox.run(
        "predict", SCENE=scene, MODEL=model, OUT=tmp_path / "qgis", THRESHOLD=0.4,
        AOI=f"{area}|layername=east", AOI_BUFFER=25, SEA_PLACE="600500,5099800 [EPSG:32630]",
        LAND=1, PROBABILITY_TYPE="float32", WINDOW=32, BATCH=2, PRECISION="fp32",
        DEVICE="cpu", HALO="exact", SCALE=0.0001, OFFSET=-1000, MIN_LENGTH=50, SIMPLIFY=2.5,
        WATER_LEVELS=gauge, LEVEL_DATUM="EGM2008, west", FORMAT="geojson,fgb", CRS="EPSG:3035",
        BANDS=",".join(L2A),
    )  # fmt: skip
    place = geopandas.GeoSeries.from_xy([600500], [5099800], crs="EPSG:32630").to_crs(4326)
    run = geounet(
        "predict", scene, "--model", model, "--out", tmp_path / "command", "--threshold", 0.4,
        "--aoi", f"{area}|east", "--aoi-buffer", 25,
        "--sea", f"{place.x[0]:.7f},{place.y[0]:.7f}",
        "--land", "--probability", "float32", "--window", 32, "--batch", 2,
        "--precision", "fp32", "--device", "cpu", "--halo", "exact", "--scale", 0.0001,
        "--offset", -1000, "--min-length", 50, "--simplify", 2.5, "--water-levels", gauge,
        "--level-datum", "EGM2008, west", "--format", "geojson,fgb", "--crs", "EPSG:3035",
        "--bands", ",".join(L2A),
    )  # fmt: skip
    assert run.status == 0, run.err
    hold_same(tmp_path / "qgis", tmp_path / "command")


def test_a_product_goes_to_the_command_as_it_is_written(toolbox, geounet, model, tmp_path):
    folder = write_bands(tmp_path / "bands with a space", wavy_dn(40, 50))
    toolbox.run("predict", PRODUCT=folder, MODEL=model, OUT=tmp_path / "qgis")
    run = geounet("predict", folder, "--model", model, "--out", tmp_path / "command")
    assert run.status == 0, run.err
    hold_same(tmp_path / "qgis", tmp_path / "command")


def test_a_product_may_be_chosen_by_one_of_its_files(toolbox, geounet, tmp_path):
    product = make_products(tmp_path / "products")["l2a"].give
    document = tmp_path / "products/l2a" / product / "MTD_MSIL2A.xml"
    dark = water_is_dark(BANDS.index("B08"))
    model = write_model(tmp_path / "dark.safetensors", overrides=DARK, prepare=dark, names=BANDS)
    toolbox.run("predict", PRODUCT=document, MODEL=model, OUT=tmp_path / "qgis")
    run = geounet("predict", document, "--model", model, "--out", tmp_path / "command")
    assert run.status == 0, run.err
    hold_same(tmp_path / "qgis", tmp_path / "command")


def test_coastline_makes_the_files_of_the_command(toolbox, geounet, scene, model, tmp_path):
    geounet("predict", scene, "--model", model, "--out", tmp_path / "out")
    raster = tmp_path / "out/scene_probability.tif"
    results = toolbox.run(
        "coastline", RASTER=raster, LEVEL="0.3", NAME="drawn", LAND="true", OUT=tmp_path / "qgis"
    )
    run = geounet(
        "coastline", raster, "--level", 0.3, "--name", "drawn", "--land",
        "--out", tmp_path / "command",
    )  # fmt: skip
    assert run.status == 0, run.err
    hold_same(tmp_path / "qgis", tmp_path / "command")
    assert results["LAND_AREAS"] == f"{tmp_path}/qgis/drawn.gpkg|layername=land"


def test_evaluate_makes_the_files_of_the_command(toolbox, geounet, scene, model, tmp_path):
    for name, threshold in (("out", 0.5), ("truth", 0.4)):
        arguments = ("--model", model, "--out", tmp_path / name, "--threshold", threshold)
        assert geounet("predict", scene, *arguments).status == 0
    truth = tmp_path / "truth/scene.gpkg"
    results = toolbox.run(
        "evaluate", RESULTS=tmp_path / "out", REFERENCE=f"{truth}|layername=water", STEP=0.5
    )
    names = ("scene.errors.gpkg", "scene.scores.png", "scene.scores.json")
    files = [tmp_path / "out" / name for name in names]
    made = [file.read_bytes() for file in files]
    run = geounet(
        "evaluate", tmp_path / "out", "--reference", f"{truth}|water", "--step", 0.5, "--overwrite"
    )
    assert run.status == 0, run.err
    assert [file.read_bytes() for file in files] == made
    scores = json.loads(made[2])
    assert results["RMSE_M"] == scores["lines"]["predicted"]["metres"]["rmse"] > 0
    assert results["ACCURACY"] == scores["pixels"]["accuracy"] < 1
    assert results["SCORES"] == f"{tmp_path}/out/scene.scores.json"
    assert results["ERRORS"] == f"{tmp_path}/out/scene.errors.gpkg|layername=errors"


def test_tile_makes_the_files_of_the_command(toolbox, geounet, tmp_path):
    scene = write_scene(tmp_path / "1.tif", wavy_dn(240, 320))
    folder = write_bands(tmp_path / "2", wavy_dn(240, 320, seed=2))
    labels = tmp_path / "water.gpkg"
    shapes = [square(0, 0, 150, 240), square(200, 0, 320, 240)]
    frame = geopandas.GeoDataFrame({"kind": ["sea", "pool"]}, geometry=shapes, crs="EPSG:32630")
    frame.to_file(labels, layer="water")
    toolbox.run(
        "tile", SCENES=scene, PRODUCTS=folder, LABELS=labels, OUT=tmp_path / "qgis", SIZE=16,
        BLOCK=800, VAL=0.2, LABELS_WHERE="kind = 'sea'", SEED=3,
    )  # fmt: skip
    run = geounet(
        "tile", scene, folder, "--labels", labels, "--out", tmp_path / "command", "--size", 16,
        "--block", 800, "--val", 0.2, "--labels-where", "kind = 'sea'", "--seed", 3,
    )  # fmt: skip
    assert run.status == 0, run.err
    hold_same(tmp_path / "qgis", tmp_path / "command")


def test_how_many_chips_there_are_is_told(toolbox, tmp_path):
    scene = write_scene(tmp_path / "scene.tif", wavy_dn(240, 320))
    said = toolbox.window("tile", SCENES=[scene], OUT=tmp_path / "chips", SIZE=16, BLOCK=800)
    assert said["done"], said
    assert any(kind == "console" and "train" in text for kind, text in said["said"])
    assert not [text for kind, text in said["said"] if kind == "error"]
    index = f"{tmp_path}/chips/index.parquet"
    assert said["results"]["CHIPS"] == index
    # GDAL is often without a driver for GeoParquet.
    unread = ["info", f"{index} is not put on the map: this QGIS does not read it."]
    assert said["tree"] == [] if unread in said["said"] else said["tree"][0][0] == "chips"


def test_results_are_on_the_map_styled_and_grouped_by_scene(toolbox, scene, model, tmp_path):
    said = toolbox.window(
        "predict", SCENE=scene, MODEL=model, OUT=tmp_path / "out", LAND=True, REPORT=True
    )
    assert said["done"]
    assert (tmp_path / "out/scene_report.html").exists()
    ((group, layers),) = said["tree"]
    assert group == "scene"
    assert layers == [
        {
            "name": "Coastline",
            "shown": True,
            "style": "RuleRenderer",
            "colors": ["#d62728", "#d62728", "#ffd92f"],
        },
        WATER,
        LAND,
        {"name": "Mask", "shown": False, "style": "paletted", "colors": []},
        {
            "name": "Probability of water",
            "shown": False,
            "style": "singlebandpseudocolor",
            "colors": [],
        },
        {"name": "Scene", "shown": True, "style": "multibandcolor", "colors": []},
    ]
    assert "land" in said["results"]["LAND_AREAS"]


def test_each_scene_of_a_list_has_its_group(toolbox, model, tmp_path):
    for name in ("a", "b"):
        write_scene(tmp_path / f"{name}.tif", wavy_dn(30, 40, seed=ord(name)))
    listed = tmp_path / "scenes.txt"
    listed.write_text("a.tif\nb.tif\n")
    said = toolbox.window("predict", LIST=listed, MODEL=model, OUT=tmp_path / "out")
    assert sorted(group for group, _ in said["tree"]) == ["a", "b"]
    assert [len(layers) for _, layers in said["tree"]] == [5, 5]
    assert said["results"] == {"OUT": str(tmp_path / "out")}


def test_nothing_is_put_on_the_map_unless_that_is_wished(toolbox, scene, model, tmp_path):
    said = toolbox.window("predict", SCENE=scene, MODEL=model, OUT=tmp_path / "out", LOAD=False)
    assert said["done"]
    assert said["tree"] == []


def test_layers_that_are_no_files_are_exported(toolbox, geounet, scene, model, tmp_path):
    areas = tmp_path / "areas.gpkg"
    shapes = {"east": square(40, 10, 70, 50), "west": square(10, 10, 40, 50)}
    frame = geopandas.GeoDataFrame(
        {"side": list(shapes)}, geometry=list(shapes.values()), crs="EPSG:32630"
    )
    frame.to_file(areas)
    for side, shape in shapes.items():
        only = tmp_path / f"{side}.gpkg"
        geopandas.GeoDataFrame(geometry=[shape], crs="EPSG:32630").to_file(only)
        out = tmp_path / side
        run = geounet("predict", scene, "--model", model, "--aoi", only, "--out", out)
        assert run.status == 0
    layers = {
        "drawn": ("east", {"wkt": shapes["east"].wkt, "crs": "EPSG:32630"}),
        "filtered": ("west", {"path": str(areas), "where": "side = 'west'"}),
        "selected": ("east", {"path": str(areas), "select": "side = 'east'"}),
    }
    for how, (side, layer) in layers.items():
        out = tmp_path / how
        toolbox.window("predict", SCENE=scene, MODEL=model, OUT=out, AOI=layer)
        for name in ("scene_mask.tif", "scene.gpkg"):
            assert (out / name).read_bytes() == (tmp_path / side / name).read_bytes(), how
    masks = [(tmp_path / side / "scene_mask.tif").read_bytes() for side in shapes]
    assert masks[0] != masks[1]


def test_a_raster_that_is_no_file_is_refused(toolbox, scene, model, tmp_path):
    layer = {"virtual": str(scene)}
    said = toolbox.window("predict", SCENE=layer, MODEL=model, OUT=tmp_path / "out")
    assert not said["done"]
    errors = [text for kind, text in said["said"] if kind == "error"]
    assert errors == [
        "Scene: the layer computed is no file, but of virtualraster. Save it as GeoTIFF first: its "
        "menu, Export ▸ Save As."
    ]


def test_the_errors_of_an_evaluation_are_on_the_map(toolbox, geounet, scene, model, tmp_path):
    for name, threshold in (("out", 0.5), ("truth", 0.4)):
        arguments = ("--model", model, "--out", tmp_path / name, "--threshold", threshold)
        geounet("predict", scene, *arguments)
    said = toolbox.window(
        "evaluate",
        RESULTS=tmp_path / "out",
        REFERENCE=[f"{tmp_path}/truth/scene.gpkg|layername=water"],
    )
    ((group, (layer,)),) = said["tree"]
    assert group == "scene"
    assert layer["name"] == "Distances between the lines"
    assert layer["style"] == "RuleRenderer"
    tables = [text for kind, text in said["said"] if kind == "console"]
    (row,) = [line for line in tables if "completeness" in line]
    assert "  " not in row  # which the log would draw together
    assert "\N{NO-BREAK SPACE}" in row


def test_progress_and_warnings_are_shown(toolbox, model, tmp_path):
    scene = write_scene(tmp_path / "scene.tif", wavy_dn(60, 80), level=None)
    said = toolbox.window(
        "predict", SCENE=scene, MODEL=model, OUT=tmp_path / "out", WINDOW=8, LOAD=False
    )
    assert ["doing", "scene"] in said["said"]
    assert {0.0, 100.0} <= set(said["percents"])
    assert not any(text.startswith("{") for _, text in said["said"])
    (warning,) = [text for kind, text in said["said"] if kind == "warning"]
    assert "its processing level is not known" in warning


@pytest.fixture
def long_work(model, tmp_path) -> dict[str, object]:
    """A prediction of forty thousand windows."""
    scene = write_scene(tmp_path / "scene.tif", wavy_dn(800, 800))
    return {"SCENE": scene, "MODEL": model, "OUT": tmp_path / "out", "WINDOW": 4, "HALO": "0"}


def test_cancelling_leaves_nothing_half_written(toolbox, long_work):
    said = toolbox.window("predict", **long_work, cancel_at=1)
    assert said["cancelled"]
    assert max(said["percents"]) < 50
    assert said["results"] == {}
    assert said["tree"] == []
    assert ["info", "stopped"] in said["said"]
    assert not long_work["OUT"].exists()


def test_nothing_goes_on_when_qgis_is_gone(toolbox, long_work):
    out = long_work["OUT"]
    qgis = subprocess.Popen(
        [find_qgis_process(), "run", "geounet:predict", "--", *as_arguments(long_work)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=toolbox.environment(),
    )
    try:
        wait_until(lambda: any(out.glob(".scene.partial/*")))
    finally:
        qgis.kill()
        qgis.wait()
    wait_until(lambda: not out.exists())


def test_a_missing_band_is_the_error_of_the_algorithm(toolbox, geounet, model, tmp_path):
    names = [name for name in L2A if name != "B08"]
    scene = write_scene(tmp_path / "scene.tif", wavy_dn(60, 80, bands=11), names=names)
    said = toolbox.complaint("predict", SCENE=scene, MODEL=model, OUT=tmp_path / "out")
    run = geounet("predict", scene, "--model", model, "--out", tmp_path / "out")
    assert run.complaint == f"error: {said}"
    assert "B08" in said
    assert not (tmp_path / "out").exists()


def test_an_option_that_the_command_refuses_is_an_error(toolbox, scene, model, tmp_path):
    said = toolbox.complaint("predict", SCENE=scene, MODEL=model, OUT=tmp_path / "out", HALO="wide")
    assert "wide is neither default, exact nor a number of pixels." in said


def test_without_geounet_the_error_says_what_to_do(toolbox, scene, model, tmp_path):
    given = {"SCENE": scene, "MODEL": model, "OUT": tmp_path / "out"}
    said = toolbox.complaint("predict", path="/usr/bin:/bin", **given)
    assert said.startswith("geounet is not found: nothing on PATH is called so. Install it")
    assert said.endswith("in Settings ▸ Options ▸ Processing ▸ Providers ▸ geounet.")


def test_the_setting_names_the_geounet_to_run(toolbox, scene, model, tmp_path):
    given = {"SCENE": scene, "MODEL": model, "LOAD": False}
    for setting in (toolbox.bin / "geounet", toolbox.bin.parent):  # the command; its environment
        said = toolbox.window(
            "predict", path="/usr/bin:/bin", setting=str(setting), OUT=tmp_path / setting.name,
            **given,
        )  # fmt: skip
        assert said["done"], said
    said = toolbox.window("predict", setting=str(scene), OUT=tmp_path / "out", **given)
    assert not said["done"]
    (error,) = [text for kind, text in said["said"] if kind == "error"]
    assert error.startswith(f"geounet is not found: {scene} is no command.")


def test_what_excludes_one_another_is_not_taken_together(toolbox, scene, model, tmp_path):
    sea = tmp_path / "sea.gpkg"
    geopandas.GeoDataFrame(geometry=[square(0, 0, 9, 9)], crs="EPSG:32630").to_file(sea)
    scenes = "Give one of these, and no more: Scene (SCENE), or a product (PRODUCT), or a list"
    places = "Give one of these at most: Where the sea is (SEA), or a place in the sea (SEA_PLACE)"
    for given, problem in (
        ({}, scenes),
        ({"SCENE": scene, "PRODUCT": scene}, scenes),
        ({"SCENE": scene, "SEA": sea, "SEA_PLACE": "1,2"}, places),
    ):
        arguments = as_arguments({"MODEL": model, "OUT": tmp_path / "out", **given})
        ended = toolbox.process("run", "geounet:predict", "--", *arguments)
        assert ended.returncode == 1
        assert problem in ended.stdout + ended.stderr


@pytest.fixture(scope="session")
def helped(toolbox) -> Callable[[str], str]:
    return lambda algorithm: toolbox.process("help", f"geounet:{algorithm}").stdout


@pytest.mark.parametrize("algorithm", ["predict", "coastline", "evaluate", "tile"])
def test_every_algorithm_explains_itself(helped, algorithm):
    said = helped(algorithm)
    assert f"(geounet:{algorithm})" in said
    assert "LOAD: Add the results to the map" in said
