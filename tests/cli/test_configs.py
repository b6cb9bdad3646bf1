"""geounet configs."""

import json

import pytest
import yaml

from geounet.config import Config, shipped_configs, shipped_networks


def test_every_recipe_and_network_is_listed_with_what_it_is_for(geounet) -> None:
    run = geounet("configs")
    assert run.status == 0
    recipes, networks = run.out.split("Networks (network: NAME)\n")
    for part, shipped in ((recipes, shipped_configs()), (networks, shipped_networks())):
        lines = {line.split()[0]: line for line in part.splitlines() if line.startswith("  ")}
        assert set(shipped) <= set(lines)
        assert all(len(line.split()) > 5 for line in lines.values())
    assert "smp/DECODER/ENCODER" in networks


@pytest.mark.parametrize("name", ["coast", "unet-same"])
def test_a_name_prints_its_file_as_it_is(geounet, name: str) -> None:
    file = {**shipped_configs(), **shipped_networks()}[name]
    assert geounet("configs", name).out == file.read_text(encoding="utf-8")


def test_what_is_printed_is_a_recipe_when_saved(geounet, tmp_path) -> None:
    from geounet.config import load_config

    (tmp_path / "mine.yaml").write_text(geounet("configs", "demo").out)
    assert load_config(str(tmp_path / "mine.yaml")) == load_config("demo")


def test_the_schema_is_json_that_names_every_setting(geounet) -> None:
    schema = json.loads(geounet("configs", "--schema").out)
    assert set(schema["$defs"]["Config"]["properties"]) == set(Config.model_fields)
    stated = yaml.safe_load(geounet("configs", "demo").out)
    assert set(stated) <= set(schema["$defs"]["Config"]["properties"])


def test_an_unknown_name_is_answered_with_the_nearest(geounet) -> None:
    run = geounet("configs", "unet_same")
    assert run.status == 1
    assert "did you mean unet-same?" in run.complaint
