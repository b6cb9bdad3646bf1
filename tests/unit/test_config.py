"""Settings: what is read, refused, and shipped."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from geounet import config as config_module
from geounet.config import (
    Config,
    SmpSettings,
    UNetSettings,
    load_config,
    load_network,
    nearest,
    purpose,
    settings_schema,
    shipped_configs,
    shipped_networks,
    shipped_text,
)
from geounet.errors import ConfigError


def write(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def complaint(name: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as error:
        load_config(name, overrides)
    text = str(error.value)
    assert "\n" not in text
    return text


# What is shipped


def test_every_shipped_recipe_loads_and_says_what_it_is_for() -> None:
    assert {"coast", "demo"} <= set(shipped_configs())
    for name, file in shipped_configs().items():
        load_config(name)
        assert file.read_text(encoding="utf-8").startswith("# ")
        assert 20 < len(purpose(file)) < 100


def test_every_shipped_network_loads_and_says_what_it_is_for() -> None:
    assert "unet-same" in shipped_networks()
    for name, file in shipped_networks().items():
        load_network(name, {})
        assert file.read_text(encoding="utf-8").startswith("# ")
        assert 20 < len(purpose(file)) < 100


def test_no_name_is_both_a_recipe_and_a_network() -> None:
    assert not set(shipped_configs()) & set(shipped_networks())


def test_shipped_files_are_found_in_a_wheel_too(tmp_path: Path) -> None:
    # In a wheel, configs/ is inside the package; here one is put together by hand, in a zip, where
    # nothing but importlib.resources finds it.
    root = Path(config_module.__file__).parents[2]
    wheel = tmp_path / "geounet.zip"
    with zipfile.ZipFile(wheel, "w") as archive:
        parts = (
            "__init__",
            "errors",
            *(f"config/{n}" for n in ("__init__", "settings", "loading")),
        )
        for module in parts:
            archive.write(root / "geounet" / f"{module}.py", f"geounet/{module}.py")
        for file in (root / "configs").rglob("*.yaml"):
            archive.write(file, Path("geounet/configs") / file.relative_to(root / "configs"))
    script = (
        f"import sys; sys.path.insert(0, {str(wheel)!r}); import geounet.config as c; "
        "print(c.__file__, *c.shipped_configs(), *c.shipped_networks());"
        "print(c.load_config('demo').epochs)"
    )
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path
    ).stdout.split()
    assert said[0].startswith(str(wheel))
    assert said[1:-1] == [*shipped_configs(), *shipped_networks()]
    assert said[-1] == str(load_config("demo").epochs)


def test_a_network_of_smp_has_no_file_to_print_and_the_error_says_so() -> None:
    with pytest.raises(ConfigError, match=r"no recipe or network 'smp/unet/resnet34' to print"):
        shipped_text("smp/unet/resnet34")
    with pytest.raises(ConfigError, match=r"smp/DECODER/ENCODER have no file"):
        shipped_text("smp/unet/resnet34")


def test_a_shipped_file_states_only_what_differs_from_the_defaults() -> None:
    for name in shipped_configs():
        stated = yaml.safe_load(shipped_text(name))
        defaults = Config().model_dump(mode="json")
        said_again = {k for k, v in stated.items() if k != "network" and defaults[k] == v}
        assert not said_again, name


# What is read


def test_defaults_hold_where_a_file_says_nothing(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, "# nothing\n")) == Config()


def test_values_come_from_the_file_and_then_from_the_command_line(tmp_path: Path) -> None:
    path = write(tmp_path, "epochs: 3\nloss:\n  dice: 0.25\nbands: [B03, B08]\n")
    config = load_config(path, ["epochs=4", "loss.cross_entropy=2", "augment.flips=false"])
    assert config.epochs == 4
    assert (config.loss.dice, config.loss.cross_entropy) == (0.25, 2.0)
    assert config.bands == ("B03", "B08")
    assert (config.augment.flips, config.augment.rotations) == (False, True)


def test_the_command_line_can_give_lists_and_null() -> None:
    config = load_config("demo", ["bands=[green, nir]", "loss.class_weights=[1, 2.5]"])
    assert config.bands == ("green", "nir")
    assert config.loss.class_weights == (1.0, 2.5)
    assert load_config("demo", ["bands=null"]).bands is None


def test_the_command_line_changes_the_network() -> None:
    config = load_config("demo", ["network_settings.base_width=8"])
    network = load_network(config.network, config.network_settings)
    assert isinstance(network, UNetSettings)
    assert (network.base_width, network.depth) == (8, 2)


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "0.001", "1.0e-3", "+1e-3", ".1e-2"])
def test_a_number_is_one_however_it_is_written(text: str) -> None:
    assert load_config("demo", [f"learning_rate={text}"]).learning_rate == 0.001


def test_a_config_survives_json_and_yaml(tmp_path: Path) -> None:
    config = load_config("demo", ["bands=[green, nir]", "loss.class_weights=[1, 2.5]", "seed=7"])
    assert Config.model_validate_json(config.model_dump_json()) == config
    assert load_config(write(tmp_path, yaml.safe_dump(config.model_dump(mode="json")))) == config


def test_a_network_path_is_relative_to_the_recipe_that_names_it(
    tmp_path: Path, monkeypatch
) -> None:
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "thin.yaml").write_text("kind: unet\nbase_width: 4\n")
    recipe = write(tmp_path, "network: nets/thin.yaml\n")
    config = load_config(recipe)
    assert load_network(config.network, {}) == UNetSettings(base_width=4)
    monkeypatch.chdir(tmp_path / "nets")
    config = load_config("demo", ["network=thin.yaml", "network_settings.depth=2"])
    network = load_network(config.network, {"depth": 2})
    assert network == UNetSettings(base_width=4, depth=2)


def test_smp_networks_go_by_decoder_and_encoder() -> None:
    assert load_network("smp/unet/resnet34", {}) == SmpSettings(decoder="unet", encoder="resnet34")
    dotted = load_network("smp/fpn/tu-resnet50.a1_in1k", {})
    assert dotted == SmpSettings(decoder="fpn", encoder="tu-resnet50.a1_in1k")


def test_pre_trained_weights_start_the_first_convolution_from_rgb_unless_said_otherwise() -> None:
    def first_conv(**fields: str) -> str:
        network = load_network("smp/unet/resnet18", fields)
        assert isinstance(network, SmpSettings)
        return network.first_conv

    assert first_conv() == "random"
    assert first_conv(weights="imagenet") == "rgb"
    assert first_conv(weights="imagenet", first_conv="random") == "random"


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Config().epochs = 3  # type: ignore[misc]  # what must fail


# What is refused


def test_an_unknown_key_is_refused_with_the_nearest(tmp_path: Path) -> None:
    path = write(tmp_path, "learning_rat: 0.1\n")
    assert complaint(path).startswith(
        f"{path}: unknown setting `learning_rat` (did you mean learning_rate?); there is network,"
    )


def test_an_unknown_key_inside_a_group_is_refused_with_the_nearest_of_that_group() -> None:
    text = complaint("demo", "loss.dise=1")
    assert text.startswith("--set loss.dise: unknown setting `loss.dise` (did you mean dice?)")
    assert "there is cross_entropy, dice, jaccard, " in text


def test_an_unknown_setting_of_a_network_is_refused_with_the_nearest(tmp_path: Path) -> None:
    path = write(tmp_path, "network_settings: {base_with: 8}\n")
    assert (
        "--set network_settings.base_with: unknown setting `base_with` (did you mean base_width?)"
        in complaint(path)
    )
    assert "did you mean depth?" in complaint("demo", "network_settings.dept=2")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("epochs: many", '`epochs` is "many"'),
        ('epochs: "3"', '`epochs` is "3"'),
        ("epochs: true", "`epochs` is true"),
        ("epochs: 2.5", "`epochs` is 2.5"),
        ("epochs: 0", "`epochs` is 0"),
        ("epochs: 2020-01-01", '`epochs` is "2020-01-01"'),
        ("bands: B03", '`bands` is "B03"'),
        ("bands: []", "`bands` is []"),
        ("precision: fp16", '`precision` is "fp16"'),
        ("device: gpu", '`device` is "gpu"'),
        ("loss: 3", "`loss` is 3"),
        ("learning_rate: .inf", "learning_rate"),
        ("learning_rate: .nan", "learning_rate"),
        ("loss: {cross_entropy: 0, dice: 0}", "nothing to minimise"),
        ("loss: {class_weights: [0, 0]}", "class_weights"),
        ("- epochs", "one setting each"),
        ("3: 4", "one setting each"),
        ("epochs: [", "not valid YAML"),
        ("network: !!python/object/apply:os.system ['exit 1']", "not valid YAML"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_file(tmp_path: Path, line, said) -> None:
    path = write(tmp_path, line + "\n")
    text = complaint(path)
    assert path in text
    assert said in text


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    text = complaint(write(tmp_path, "epochs: none\nbatc: 3\n"), "seed=-1")
    assert "`epochs`" in text
    assert "did you mean batch?" in text
    assert "--set seed: `seed` is -1" in text


@pytest.mark.parametrize("text", ["epochs", "=3", "loss.=3", "epochs=[", "epochs.x=3"])
def test_a_malformed_override_is_quoted(text: str) -> None:
    assert complaint("demo", text).startswith(f"--set {text}")


def test_a_name_that_is_not_there_is_answered_with_the_nearest_and_all() -> None:
    text = complaint("costa")
    assert "did you mean coast?" in text
    assert all(name in text for name in shipped_configs())
    assert "did you mean unet-same?" in complaint("demo", "network=unet_same")


@pytest.mark.parametrize(
    "name", ["no/such.yaml", "smp/unet", "smp//resnet18", "smp/a/b/c", "mine.yml"]
)
def test_a_network_that_cannot_be_is_refused(name: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_network(name, {})
    assert name in str(error.value)


def test_an_unknown_kind_of_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="it can be unet, smp"):
        load_network("unet-same", {"kind": "vit"})
    with pytest.raises(ConfigError, match="`decoder` is missing"):
        load_network(write(tmp_path, "kind: smp\nencoder: resnet18\n"), {})


def test_rgb_kernels_need_weights() -> None:
    with pytest.raises(ConfigError, match="weights: imagenet"):
        load_network("smp/unet/resnet18", {"first_conv": "rgb"})


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    assert "cannot be read" in complaint(str(path))
    path.unlink()
    path.mkdir()
    assert "no such file" in complaint(str(path))


@given(name=st.sampled_from(sorted(Config.model_fields)), where=st.integers(0, 20))
def test_a_key_with_one_letter_missing_finds_its_name(name, where) -> None:
    where %= len(name)
    assert name in nearest(name[:where] + name[where + 1 :], Config.model_fields)


# The schema


def test_the_schema_describes_every_setting() -> None:
    definitions = json.loads(json.dumps(settings_schema()))["$defs"]
    for model in (Config, UNetSettings, SmpSettings):
        properties = definitions[model.__name__]["properties"]
        assert set(properties) == set(model.model_fields)
        undescribed = [
            name
            for name, field in properties.items()
            if not {"description", "$ref", "const"} & set(field)
        ]
        assert not undescribed
    assert settings_schema()["$ref"] == "#/$defs/Config"
