"""Model files: a round trip, the same bytes, and one line for whatever else a file may be."""

import json
import os
import pickle
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save, save_file

from geounet.bands import Band
from geounet.classes import LAND_WATER
from geounet.config import SmpSettings, UNetSettings
from geounet.errors import ModelFileError, OutputError
from geounet.model_file import (
    METADATA_KEY,
    ModelHeader,
    NetworkRecord,
    load_model,
    read_header,
    save_model,
)
from geounet.networks import Network, build_network

BANDS = (Band("B04", "s2", 664.6, "red"), Band("B08", "s2", 832.8, "nir"))
CLASSES = tuple(one.to_dict() for one in LAND_WATER)
TINY = UNetSettings(depth=1, base_width=2)
NAN = float("nan")
BLEND = {"window": 64, "overlap": 16, "why": "attention"}


def header(**changes: object) -> ModelHeader:
    fields = {
        "network": NetworkRecord(name="unet-same", settings=TINY),
        "bands": tuple(band.to_dict() for band in BANDS),
        "sensor": "s2",
        "level": "L2A",
        "mean": (0.1, 1 / 3),
        "std": (0.05, 1e-9),
        "classes": tuple(one.to_dict() for one in LAND_WATER),
        "stride": 2,
        "halo_exact": 10,
        "halo_default": 6,
        "halo_error": 0.1 + 0.2,
        "res_m": (10.0, 20.0),
        "training": {"fingerprint": "ab" * 32, "scores": {"val": {"iou": 0.99}}, "licence": "Øre"},
    }
    return ModelHeader.model_validate(fields | changes)


def network(seed: int = 0, said: ModelHeader | None = None) -> Network:
    """A network whose every number, running statistics included, is one of its own."""
    torch.manual_seed(seed)
    said = said or header()
    built = build_network(said.network.settings, bands=said.input_names, classes=len(said.classes))
    built(torch.randn(4, len(said.bands), 4 * built.stride, 4 * built.stride))
    return built.eval()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_model(path, network(), header())
    return path


def complaint(path: Path) -> str:
    """What reading the whole file says; reading the header says no more."""
    with pytest.raises(ModelFileError) as error:
        load_model(path)
    text = str(error.value)
    assert "\n" not in text
    assert path.name in text
    return text


def with_header(model: Path, **changes: object) -> Path:
    """The file with other fields in its header."""
    with safe_open(model, framework="pt") as file:
        fields = json.loads(file.metadata()[METADATA_KEY])
    return with_text(model, json.dumps(fields | changes))


def with_text(model: Path, text: str) -> Path:
    save_file(load_file(model), model, metadata={METADATA_KEY: text})
    return model


# The round trip


def test_what_is_saved_comes_back(model: Path) -> None:
    said, loaded = load_model(model)
    assert said == header()
    assert read_header(model) == said
    assert not loaded.training
    x = torch.randn(1, 2, 6, 8, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert torch.equal(loaded(x), network()(x))


def test_the_header_knows_its_bands_and_classes(model: Path) -> None:
    said = read_header(model)
    assert said.band_list == BANDS
    assert said.label_classes == LAND_WATER
    assert said.input_names == ["red", "nir"]


def test_a_layer_without_a_common_name_goes_by_its_own() -> None:
    bands = (BANDS[0].to_dict(), Band("VV", None, None, None).to_dict())
    assert header(bands=bands).input_names == ["red", "VV"]


def test_a_network_of_smp_comes_back_and_nothing_is_fetched_for_it(tmp_path: Path) -> None:
    # Its weights were ImageNet's once, and are in the file now.
    record = NetworkRecord(
        name="smp/linknet/mobilenet_v2",
        settings=SmpSettings(decoder="linknet", encoder="mobilenet_v2", weights="imagenet"),
    )
    started = SmpSettings(decoder="linknet", encoder="mobilenet_v2")
    plain = header(network=NetworkRecord(name="plain", settings=started), stride=32)
    trained = network(said=plain)
    save_model(tmp_path / "m.safetensors", trained, header(network=record, stride=32))
    said, loaded = load_model(tmp_path / "m.safetensors")
    assert said.network == record
    x = torch.randn(1, 2, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert torch.equal(loaded(x), trained(x))


finite = st.floats(allow_nan=False, allow_infinity=False)
positive = st.floats(min_value=1e-300, allow_infinity=False)


@given(mean=st.tuples(finite, finite), std=st.tuples(positive, positive), u95=st.none() | positive)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # the file is overwritten
def test_every_number_comes_back_to_the_last_bit(tmp_path: Path, mean, std, u95) -> None:
    said = header(mean=mean, std=std, position_u95_m=u95, training={"loss": list(mean)})
    save_model(tmp_path / "m.safetensors", network(), said)
    assert read_header(tmp_path / "m.safetensors") == said


def test_the_same_contents_are_the_same_bytes(tmp_path: Path) -> None:
    files = [tmp_path / f"{i}.safetensors" for i in range(3)]
    shuffled = dict(reversed(header().training.items()))
    save_model(files[0], network(), header())
    save_model(files[1], network().to(memory_format=torch.channels_last), header())
    save_model(files[2], network(), header(training=shuffled))
    assert files[0].read_bytes() == files[1].read_bytes() == files[2].read_bytes()
    save_model(files[0], network(seed=1), header())
    assert files[0].read_bytes() != files[1].read_bytes()


def test_there_is_one_metadata_key_and_it_is_json(model: Path) -> None:
    with safe_open(model, framework="pt") as file:
        metadata = file.metadata()
    assert list(metadata) == [METADATA_KEY]
    fields = json.loads(metadata[METADATA_KEY])
    assert fields["format"] == 1
    assert fields["network"]["settings"]["base_width"] == 2


def test_weights_that_share_memory_are_each_saved(tmp_path: Path) -> None:
    tied = network()
    tied.decoder[0][0].weight.data = tied.decoder[0][0].weight.data.clone()
    tied.encoder[0][4].bias = tied.encoder[0][1].bias
    save_model(tmp_path / "m.safetensors", tied, header())
    assert torch.equal(
        load_model(tmp_path / "m.safetensors")[1].encoder[0][4].bias, tied.encoder[0][1].bias
    )


def test_a_model_is_there_whole_or_not_at_all(model: Path, monkeypatch) -> None:
    before = model.read_bytes()

    def stops(_weights: object, draft: Path, **_: object) -> None:
        draft.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("geounet.model_file.save_file", stops)
    with pytest.raises(KeyboardInterrupt):
        save_model(model, network(), header())
    assert model.read_bytes() == before
    assert list(model.parent.iterdir()) == [model]


def test_a_model_is_for_whoever_may_read_other_new_files(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        save_model(tmp_path / "m.safetensors", network(), header())
    finally:
        os.umask(before)
    assert (tmp_path / "m.safetensors").stat().st_mode & 0o777 == 0o640


def test_a_model_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        save_model(tmp_path / "file" / "m.safetensors", network(), header())


def test_how_windows_are_blended_is_in_the_file_only_where_they_are(tmp_path: Path) -> None:
    halos = {"halo_exact": None, "halo_default": 0, "halo_error": 0.0}
    for name, said in [("blended", halos | {"blend": BLEND}), ("other", halos), ("exact", {})]:
        path = tmp_path / f"{name}.safetensors"
        save_model(path, network(), header(**said))
        with safe_open(path, framework="pt") as file:
            fields = json.loads(file.metadata()[METADATA_KEY])
        assert ("blend" in fields) == (name == "blended")
        assert read_header(path) == header(**said)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_the_caller_s_mistake(tmp_path: Path, number: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        header(mean=(number, 0.0))
    with pytest.raises(ValueError, match="JSON"):
        save_model(tmp_path / "m.safetensors", network(), header(training={"loss": number}))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mean": (0.1,)}, "2 bands, 1 means"),
        ({"std": (0.1, 0.0)}, "not positive"),
        ({"classes": ({"value": 0, "name": "land"},) * 2}, "color"),
        ({"bands": ({"name": "B04"},) * 2}, "sensor"),
        ({"bands": ()}, "at least 1"),
        ({"halo_default": -1}, "greater than or equal"),
        ({"author": "me"}, "Extra"),
        ({"bands": (BANDS[0].to_dict(),) * 2}, "s2:B04 is there twice"),
        ({"bands": (BANDS[0].to_dict() | {"gain": 2}, BANDS[1].to_dict())}, "gain"),
        ({"bands": (BANDS[0].to_dict() | {"wavelength_nm": NAN}, BANDS[1].to_dict())}, "nan nm"),
        ({"classes": (CLASSES[0], CLASSES[0] | {"name": "ice"})}, "the same value"),
        ({"classes": (CLASSES[0], CLASSES[1] | {"name": "land"})}, "the same name"),
        ({"classes": (CLASSES[0], CLASSES[1] | {"value": 255})}, "255, not one of 0 to 254"),
        ({"classes": (CLASSES[0], CLASSES[1] | {"value": "1"})}, "as geounet writes it"),
        ({"classes": (CLASSES[0], CLASSES[1] | {"color": "blue"})}, "no #rrggbb"),
        ({"classes": (CLASSES[0], CLASSES[1] | {"name": "sea\n"})}, "cannot be shown"),
        ({"res_m": (10.0, 0.0)}, "pixel size"),
        ({"halo_exact": 5}, "wider than the exact"),
        ({"blend": BLEND}, "do not go together"),
        ({"halo_exact": None, "blend": BLEND | {"overlap": 33}}, "over half"),
        ({"halo_exact": None, "blend": BLEND | {"overlap": 0}}, "greater than or equal to 1"),
        ({"halo_exact": None, "blend": BLEND | {"window": 1 << 20}}, "less than or equal"),
        ({"halo_exact": None, "blend": BLEND | {"why": "\x1b[31m"}}, "cannot be shown"),
        ({"halo_exact": 10**12}, "wider than 64 strides"),
        ({"halo_exact": None, "halo_default": 130}, "wider than 64 strides"),
        ({"training": {"start": "a model"}}, "no record"),
        ({"training": {"start": {"chips_mean": [0.1]}}}, "2 bands"),
        ({"training": {"start": {"chips_std": ["wide", 1]}}}, "number"),
    ],
)
def test_a_header_that_does_not_agree_with_itself_is_refused(changes, said) -> None:
    with pytest.raises(ValueError, match=said):
        header(**changes)


# What a file may be instead


def test_a_missing_file(tmp_path: Path) -> None:
    assert "no such file" in complaint(tmp_path / "none.safetensors")


def test_a_folder(tmp_path: Path) -> None:
    assert "is a folder without a model file" in complaint(tmp_path)
    (tmp_path / "net.safetensors").touch()
    assert f"give the file, {tmp_path / 'net.safetensors'}." in complaint(tmp_path)


@pytest.mark.parametrize("name", ["model.pth", "last.ckpt", "renamed.safetensors"])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_is_named_and_never_opened(tmp_path: Path, name: str, zipped: bool) -> None:
    class Malice:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "ran",))

    path = tmp_path / name
    torch.save({"x": Malice()}, path, _use_new_zipfile_serialization=zipped)
    assert "is a pickle" in complaint(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_bare_pickle_is_named_whatever_its_protocol(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(pickle.dumps({"weights": [1.0]}, protocol=protocol))
    assert "is a pickle" in complaint(path)


def test_a_model_file_that_begins_like_a_pickle_is_none(tmp_path: Path) -> None:
    # The length of the header comes first: 0x0280 to 0x0580 begin like protocols 2 to 5.
    path, begins = tmp_path / "m.safetensors", set()
    for length in range(0, 1500, 8):
        path.write_bytes(save({"a": torch.zeros(1)}, metadata={METADATA_KEY: "x" * length}))
        start = path.read_bytes()[:2]
        if start in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
            assert "damaged header" in complaint(path)
            begins.add(start)
    assert len(begins) == 4


def test_every_beginning_of_a_model_file_is_refused_in_one_line(model: Path) -> None:
    whole = model.read_bytes()
    end_of_header = 8 + struct.unpack("<Q", whole[:8])[0]
    lengths = {*range(16), *range(16, len(whole), 97), end_of_header - 1, end_of_header}
    for length in sorted(lengths | {len(whole) - 1}):
        model.write_bytes(whole[:length])
        assert "truncated or not a model file" in complaint(model), length


@given(data=st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # the file is overwritten
def test_any_bytes_are_refused_in_one_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(data)
    complaint(path)


@given(where=st.integers(0, 3000), to=st.binary(min_size=1, max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
def test_a_damaged_file_is_refused_in_one_line_or_read(tmp_path: Path, where, to) -> None:
    path = tmp_path / "m.safetensors"
    if not path.exists():
        save_model(path, network(), header())
    whole = path.read_bytes()
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(whole[:where] + to + whole[where + len(to) :])
    try:
        load_model(damaged)  # a damaged weight or name is not noticed, and need not be
    except ModelFileError:
        complaint(damaged)


def test_a_longer_file_is_refused(model: Path) -> None:
    model.write_bytes(model.read_bytes() + b"more")
    assert "not a model file" in complaint(model)


def test_a_newer_format_asks_for_an_upgrade(model: Path) -> None:
    text = complaint(with_header(model, format=2, geounet="9.1", unheard_of=[1, 2]))
    assert "format 2, written by geounet 9.1" in text
    assert "Upgrade geounet" in text


def test_weights_of_somebody_else_are_not_one_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    for metadata in (None, {"format": "pt"}):
        save_file({"a": torch.zeros(1)}, path, metadata=metadata)
        assert "not one of geounet's" in complaint(path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "3", "{}", '{"format": "1"}', '{"format": true}', "[" * 100_000]
)
def test_a_header_that_is_no_header_is_damaged(model: Path, text: str) -> None:
    assert "damaged header" in complaint(with_text(model, text))


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"format": 0}, "format"),
        ({"stride": "wide"}, "stride"),
        ({"bands": [{"name": "B04"}, {"name": "B08"}]}, "sensor"),
        ({"network": {"name": "x", "settings": {"kind": "unet", "depth": 99}}}, "depth"),
        ({"network": {"name": "x", "settings": {"kind": "mlp"}}}, "network.settings"),
        ({"mean": [0.1]}, "means"),
        ({"author": "me"}, "author"),
    ],
)
def test_a_header_with_a_wrong_field_names_it(model: Path, changes, place) -> None:
    text = complaint(with_header(model, **changes))
    assert "damaged header" in text
    assert place in text


def test_weights_that_do_not_fit_say_which(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    with safe_open(model, framework="pt") as file:
        metadata = file.metadata()
    weights = load_file(model)

    def with_weights(**changes: torch.Tensor | None) -> str:
        changed = {k: v for k, v in (weights | changes).items() if v is not None}
        save_file(changed, path, metadata=metadata)
        return complaint(path)

    assert "head.weight is missing" in with_weights(**{"head.weight": None})
    assert "extra has no place" in with_weights(extra=torch.zeros(1))
    assert "head.weight is (3, 2, 1, 1), not (2, 2, 1, 1)" in with_weights(
        **{"head.weight": torch.zeros(3, 2, 1, 1)}
    )
    assert "head.bias holds values that are not finite" in with_weights(
        **{"head.bias": torch.tensor([0.0, torch.nan])}
    )
    assert "head.bias is torch.int64, not torch.float32" in with_weights(
        **{"head.bias": torch.tensor([1, 2])}
    )
    # A double that is finite is infinite as the single that it is loaded into.
    assert "head.bias holds values that are not finite" in with_weights(
        **{"head.bias": torch.tensor([0.0, 1e300], dtype=torch.float64)}
    )
    assert "a name has no place" in with_weights(**{"a\nname": torch.zeros(1)})


def test_a_header_of_a_network_that_fills_the_memory_is_refused_before_it_does(
    model: Path, monkeypatch
) -> None:
    monkeypatch.setattr("geounet.networks.unet._start", lambda network, _: _on_no_device(network))
    settings = {"kind": "unet", "depth": 6, "base_width": 512}
    text = complaint(with_header(model, network={"name": "x", "settings": settings}, stride=64))
    assert "is missing" in text


def _on_no_device(network: torch.nn.Module) -> None:
    assert {weights.device.type for weights in network.parameters()} == {"meta"}


@pytest.mark.parametrize(
    "changes",
    [
        {"network": {"name": "a\nb", "settings": {"kind": "unet", "depth": 1, "base_width": 4}}},
        {"network": {"name": "x", "settings": {"kind": "a\nb"}}},
        {"a\nb": 1},
        {"format": 2, "geounet": "9\n1"},
    ],
)
def test_what_a_header_says_is_told_in_one_line(model: Path, changes) -> None:
    complaint(with_header(model, **changes))


def test_a_network_that_there_is_not_is_one_line(model: Path) -> None:
    settings = SmpSettings(decoder="nonet", encoder="resnet18").model_dump()
    text = complaint(with_header(model, network={"name": "x", "settings": settings}))
    assert "no decoder 'nonet'" in text


def test_a_stride_that_is_not_the_network_s_is_refused(model: Path) -> None:
    assert "stride" in complaint(with_header(model, stride=4))


def test_nothing_here_can_unpickle() -> None:
    source = (Path(__file__).parents[2] / "geounet" / "model_file.py").read_text()
    assert "torch.load" not in source
    assert "import pickle" not in source


def test_the_network_that_is_saved_stays_as_it_was(tmp_path: Path) -> None:
    trained = network().double()
    save_model(tmp_path / "m.safetensors", trained, header())
    assert next(trained.parameters()).dtype == torch.float64
    assert next(load_model(tmp_path / "m.safetensors")[1].parameters()).dtype == torch.float32
