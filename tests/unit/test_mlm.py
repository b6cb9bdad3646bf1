"""Items of the STAC MLM extension: valid without a network, read back, and true."""

import json
import socket
from pathlib import Path

import pystac
import pytest
from predicting import write_model
from pystac.validation import RegisteredValidator
from stac_model.schema import MLModelProperties

from geounet.classes import LabelClass
from geounet.errors import ConfigError, ModelFileError, OutputError
from geounet.export import ExportSettings, export_model
from geounet.outputs import sha256_of

SCHEMAS = Path(__file__).parents[1] / "stac_schemas"
NAMES = ("B03", "B08", "B11")
SOURCES = {"data": {"sources": [{"time": "2023-07-01T10:56:21Z"}, {"time": "2021-01-02T10:00:00"}]}}
CLASSES = (
    LabelClass(0, "land", "#decba4", water=False),
    LabelClass(4, "sea", "#1f77b4", water=True),
    LabelClass(7, "lake", "#17becf", water=True),
)


@pytest.fixture
def offline(monkeypatch) -> None:
    """Extension schemas from files, and no way to the net."""
    cache = RegisteredValidator.get_validator().schema_cache
    for file in SCHEMAS.glob("*.json"):
        name = file.stem.replace("-", "/", 1)
        uri = f"https://stac-extensions.github.io/{name}/schema.json"
        cache[uri] = json.loads(file.read_text())

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    (folder / "MODEL.md").write_text("# A card\n")
    return write_model(
        folder / "model.safetensors", "unet-same", {"base_width": 2, "depth": 2}, names=NAMES,
        classes=CLASSES, licence="CC-BY-4.0",
        training=SOURCES | {"versions": {"torch": "2.15.0+cu132"}},
    )  # fmt: skip


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("form", ["safetensors", "onnx", "deepness"])
def test_the_item_is_valid_and_pystac_reads_it_back(model, tmp_path, form):
    file = model if form == "safetensors" else export_model(model, tmp_path / "m.onnx", form)
    out = tmp_path / "items" / "item.json"
    export_model(file, out, "mlm", ExportSettings(doi="10.5281/zenodo.12345"))
    item = pystac.Item.from_file(str(out))
    validated = item.validate()
    assert any("/mlm/" in uri for uri in validated)
    assert len(validated) == 5  # core, mlm, eo, file, scientific
    mlm = item.ext.mlm
    assert mlm.input[0].bands == list(NAMES)
    assert mlm.input[0].input.dim_order == ["batch", "bands", "height", "width"]
    assert mlm.input[0].input.shape[1] == 3
    assert mlm.output[0].result.shape[1] == 3
    assert mlm.framework == ("PyTorch" if form == "safetensors" else "ONNX")
    asset = item.assets["model"]
    assert asset.ext.file.size == file.stat().st_size
    assert asset.ext.file.checksum == f"1220{sha256_of(file)}"
    assert Path(asset.get_absolute_href()).resolve() == file.resolve()


@pytest.mark.usefixtures("offline")
def test_what_is_wrong_in_an_item_is_noticed(model, tmp_path):
    out = export_model(model, tmp_path / "item.json", "mlm")
    for spoil in (
        lambda fields: fields["properties"].pop("mlm:output"),
        lambda fields: fields["properties"]["mlm:output"][0]["classification:classes"][0].update(
            color_hint="#decba4"
        ),
        lambda fields: fields["properties"]["mlm:input"][0]["value_scaling"][0].pop("stddev"),
        lambda fields: fields["assets"]["model"].pop("mlm:artifact_type"),
        lambda fields: fields["assets"]["model"].update({"file:size": "big"}),
        lambda fields: fields["properties"]["bands"][0].update({"eo:common_name": "ochre"}),
    ):
        fields = json.loads(out.read_text())
        spoil(fields)
        with pytest.raises(pystac.STACValidationError):
            pystac.Item.from_dict(fields).validate()


def test_properties_are_also_those_of_the_newest_version_of_the_extension(model, tmp_path):
    # Later versions have no other fields for what is said here; stac-model knows the newest.
    fields = json.loads(export_model(model, tmp_path / "item.json", "mlm").read_text())
    read = MLModelProperties.model_validate(fields["properties"])
    assert read.total_parameters > 100
    for one in fields["properties"]["mlm:input"]:
        assert "bands" in one["input"]["dim_order"]


def test_the_item_says_what_the_model_file_says(model, tmp_path):
    fields = json.loads(export_model(model, tmp_path / "item.json", "mlm").read_text())
    said = fields["properties"]
    assert (said["datetime"], said["start_datetime"], said["end_datetime"]) == (
        None, "2021-01-02T10:00:00Z", "2023-07-01T10:56:21Z",
    )  # fmt: skip
    assert said["license"] == "CC-BY-4.0"
    assert said["mlm:framework_version"] == "2.15.0+cu132"
    assert [band["eo:common_name"] for band in said["bands"]] == ["green", "nir", "swir16"]
    assert said["bands"][1]["eo:center_wavelength"] == 0.8328
    assert said["bands"] == fields["assets"]["model"]["bands"]
    classes = said["mlm:output"][0]["classification:classes"]
    assert [(c["value"], c["name"], c["color_hint"]) for c in classes] == [
        (0, "land", "DECBA4"), (4, "sea", "1F77B4"), (7, "lake", "17BECF"),
    ]  # fmt: skip
    assert said["mlm:input"][0]["value_scaling"][2] == {
        "type": "z-score", "mean": 0.15, "stddev": 0.1,
    }  # fmt: skip
    assert fields["assets"]["card"]["href"].endswith("MODEL.md")
    other = export_model(model, tmp_path / "o.json", "mlm", ExportSettings(licence="MIT"))
    assert json.loads(other.read_text())["properties"]["license"] == "MIT"


def test_without_dates_of_scenes_it_is_source_date_epoch(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    model = write_model(
        tmp_path / "m.safetensors", "unet-same", {"base_width": 2, "depth": 1}, names=NAMES
    )
    fields = json.loads(export_model(model, tmp_path / "item.json", "mlm").read_text())
    assert fields["properties"]["datetime"] == "2023-11-14T22:13:20Z"


def test_what_makes_no_sense_is_refused(model, tmp_path):
    out = tmp_path / "item.json"
    with pytest.raises(ConfigError, match="is no DOI"):
        export_model(model, out, "mlm", ExportSettings(doi="https://doi.org/10.1/x y"))
    with pytest.raises(ConfigError, match="--scale does not go with --to mlm"):
        export_model(model, out, "mlm", ExportSettings(scale=1.0))
    with pytest.raises(OutputError, match="is the model itself"):
        export_model(model, model, "mlm", ExportSettings(overwrite=True))
    with pytest.raises(ModelFileError):
        export_model(tmp_path / "absent.safetensors", out, "mlm")
    assert not out.exists()
