"""Recipes and networks from YAML files and the command line, checked, with errors in words."""

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import ValidationError
from pydantic.json_schema import models_json_schema

from geounet.config.settings import Config, Settings, SmpSettings, UNetSettings
from geounet.errors import ConfigError

S = TypeVar("S", bound=Settings)
_NETWORK_KINDS: Mapping[str, type[UNetSettings] | type[SmpSettings]] = {
    "unet": UNetSettings,
    "smp": SmpSettings,
}


def load_config(name_or_path: str, overrides: Sequence[str] = ()) -> Config:
    """Return the settings of a recipe, with what the command line changes in it.

    The network that it names is looked up too, so that nothing is wrong with it either.

    Args:
        name_or_path: A name that `shipped_configs` has, or a path ending in `.yaml`.
        overrides: `key=value`, nested by dots (`loss.dice=0.5`); values are read as YAML.

    Raises:
        ConfigError: There is no such recipe, an unknown key, or a value of the wrong type.
    """
    fields, where = _read(name_or_path, shipped_configs(), kind="recipe")
    changed = []
    for text in overrides:
        keys, value = _parse_override(text)
        _put(fields, keys, value, text)
        changed.append(keys)
    config = _checked(Config, fields, where=where, overridden=changed)
    if config.network.endswith(".yaml"):
        said_here = name_or_path.endswith(".yaml") and ("network",) not in changed
        folder = Path(name_or_path).parent if said_here else Path()
        config = config.model_copy(update={"network": str(folder / config.network)})
    load_network(config.network, config.network_settings)
    return config


def load_network(name: str, overrides: Mapping[str, Any]) -> UNetSettings | SmpSettings:
    """Return what a network's name means, with some settings changed.

    Args:
        name: A name that `shipped_networks` has, `smp/DECODER/ENCODER`, or a path ending in
            `.yaml`.
        overrides: Settings that differ from it.

    Raises:
        ConfigError: There is no such network, an unknown key, or a value of the wrong type.
    """
    if name.startswith("smp/"):
        parts = name.split("/")
        if len(parts) != 3 or not all(parts):
            raise ConfigError(
                f"Network {name}: write smp/DECODER/ENCODER, for example smp/unet/resnet34."
            )
        fields, where = {"kind": "smp", "decoder": parts[1], "encoder": parts[2]}, f"network {name}"
    else:
        fields, where = _read(name, shipped_networks(), kind="network")
    fields |= overrides
    kind = fields.setdefault("kind", "unet")
    if not isinstance(kind, str) or kind not in _NETWORK_KINDS:
        raise ConfigError(f"{where}: `kind` is {kind!r}; it can be {_listed(_NETWORK_KINDS)}.")
    return _checked(
        _NETWORK_KINDS[kind],
        fields,
        where=where,
        overridden=[(key,) for key in overrides],
        prefix="network_settings.",
    )


def shipped_configs() -> dict[str, Traversable]:
    """Return the recipes that come with geounet, by name."""
    return _yaml_files(_configs_folder())


def shipped_networks() -> dict[str, Traversable]:
    """Return the networks that come with geounet, by name."""
    return _yaml_files(_configs_folder() / "networks")


def purpose(config: Traversable) -> str:
    """Return what a configuration file is for: its first line, which is a comment."""
    return config.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")


def shipped_text(name: str) -> str:
    """Return the text of a recipe or a network that comes with geounet.

    Raises:
        ConfigError: There is neither of that name.
    """
    shipped = {**shipped_networks(), **shipped_configs()}
    if name not in shipped:
        raise ConfigError(
            f"There is no recipe or network {name!r}{_did_you_mean(name, shipped)} to print; there "
            f"is {_listed(shipped)}. Networks called smp/DECODER/ENCODER have no file: their name "
            "is all that a recipe needs."
        )
    return shipped[name].read_text(encoding="utf-8")


def settings_schema() -> dict[str, Any]:
    """Return the JSON schema of a recipe; that of each kind of network is among its `$defs`."""
    models = [(model, "validation") for model in (Config, *_NETWORK_KINDS.values())]
    _, schema = models_json_schema(models, title="geounet settings")  # type: ignore[arg-type]  # a list of pairs is what it takes
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema} | {
        "$ref": "#/$defs/Config"
    }


def nearest(word: str, known: Iterable[str], *, count: int = 3) -> list[str]:
    """Return those of `known` that someone who wrote `word` may have meant, likeliest first."""
    by_lower = {name.lower(): name for name in known}
    return [by_lower[m] for m in difflib.get_close_matches(word.lower(), by_lower, n=count)]


def _configs_folder() -> Traversable:
    packaged = files("geounet") / "configs"  # where a wheel has them
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "configs"


def _yaml_files(folder: Traversable) -> dict[str, Traversable]:
    found = {f.name.removesuffix(".yaml"): f for f in folder.iterdir() if f.name.endswith(".yaml")}
    return dict(sorted(found.items()))


def _read(
    name: str, shipped: Mapping[str, Traversable], *, kind: str
) -> tuple[dict[str, Any], str]:
    """Return the fields of a configuration file, and how to name it in an error."""
    if name.endswith(".yaml"):
        file: Traversable = Path(name)
        where = name
        if not file.is_file():
            raise ConfigError(f"{name}: there is no such file.")
    elif name in shipped:
        file, where = shipped[name], f"{kind} {name}"
    else:
        hint = " A path ends in .yaml." if "/" in name or "." in name else ""
        raise ConfigError(
            f"There is no {kind} {name!r}{_did_you_mean(name, shipped)}; there is "
            f"{_listed(shipped)}.{hint} `geounet configs` says what each is for."
        )
    try:
        fields = yaml.load(file.read_text(encoding="utf-8"), _Loader)  # noqa: S506  a SafeLoader
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{where} cannot be read: {_one_line(error)}.") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} is not valid YAML: {_one_line(error)}.") from error
    if fields is None:  # only comments: all defaults
        return {}, where
    if not isinstance(fields, dict) or not all(isinstance(key, str) for key in fields):
        raise ConfigError(f"{where}: expected lines like `epochs: 50`, one setting each.")
    return fields, where


class _Loader(yaml.SafeLoader):
    """YAML, safely; `1e-3` is a number, as everywhere but in YAML 1.1."""


_Loader.yaml_implicit_resolvers = {
    k: list(v) for k, v in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def _parse_override(text: str) -> tuple[tuple[str, ...], Any]:
    """Return the keys and the value of a `key.key=value`."""
    key, equals, value = text.partition("=")
    keys = tuple(part.strip() for part in key.split("."))
    if not equals or not all(keys):
        raise ConfigError(f"--set {text}: write key=value, for example --set epochs=50.")
    try:
        return keys, yaml.load(value, _Loader)  # noqa: S506  a SafeLoader
    except yaml.YAMLError as error:
        raise ConfigError(
            f"--set {text}: the value is not valid YAML: {_one_line(error)}."
        ) from error


def _put(fields: dict[str, Any], keys: tuple[str, ...], value: Any, text: str) -> None:
    """Set a nested field."""
    for depth, key in enumerate(keys[:-1], start=1):
        inner = fields.setdefault(key, {})
        if not isinstance(inner, dict):
            raise ConfigError(
                f"--set {text}: `{'.'.join(keys[:depth])}` has no settings inside it."
            )
        fields = inner
    fields[keys[-1]] = value


def _checked(
    model: type[S],
    fields: Mapping[str, Any],
    *,
    where: str,
    overridden: Sequence[tuple[str, ...]],
    prefix: str = "",
) -> S:
    """Return `fields` as settings, or say in one line all that is wrong with them.

    Args:
        model: The class of the settings.
        fields: As a YAML file has them.
        where: Which file, for the error.
        overridden: Keys that the command line set, for the error to say so.
        prefix: What the command line writes before these keys.
    """
    try:
        # By way of JSON, strictly: a list is a tuple and 1 is 1.0, but "1" and `true` are not 1.
        return model.model_validate_json(json.dumps(fields, default=str), strict=True)
    except ValidationError as error:
        problems = []
        for problem in error.errors(include_url=False):
            keys = tuple(str(part) for part in problem["loc"])
            by_user = any(keys[: len(o)] == o for o in overridden)
            source = f"--set {prefix}{'.'.join(keys)}" if by_user else where
            problems.append(f"{source}: {_explain(model, keys, problem)}")
        raise ConfigError("; ".join(problems) + ".") from error


def _explain(model: type[Settings], keys: tuple[str, ...], problem: Mapping[str, Any]) -> str:
    """Return what is wrong with one setting, in words that a person can act on."""
    name = ".".join(keys)
    if problem["type"] == "extra_forbidden":
        known = _fields_at(model, keys[:-1])
        return (
            f"unknown setting `{name}`{_did_you_mean(keys[-1], known)}; there is {_listed(known)}"
        )
    if problem["type"] == "missing":
        return f"`{name}` is missing"
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    message = problem["msg"][0].lower() + problem["msg"][1:]
    return f"`{name}` is {json.dumps(problem['input'], ensure_ascii=False)}: {message}"


def _fields_at(model: type[Settings], keys: Sequence[str]) -> list[str]:
    """Return the names of the settings inside the group that `keys` lead to."""
    for key in keys:
        annotation = model.model_fields[key].annotation
        for inner in get_args(annotation) or [annotation]:  # of `Group | None`, the group
            if isinstance(inner, type) and issubclass(inner, Settings):
                model = inner
    return list(model.model_fields)


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    close = nearest(word, known, count=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
