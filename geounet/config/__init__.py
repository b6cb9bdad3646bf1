"""Checked settings: what a network is, how it is trained, and the recipes that come with geounet.

The only module that reads configuration files. Defaults live in the classes here; a YAML file
states only what differs from them. A name is a file of ours, a value ending in `.yaml` a path.
"""

from geounet.config.loading import (
    load_config,
    load_network,
    nearest,
    purpose,
    settings_schema,
    shipped_configs,
    shipped_networks,
    shipped_text,
)
from geounet.config.settings import (
    AugmentSettings,
    BorderSettings,
    Config,
    LossSettings,
    NetworkSettings,
    Settings,
    SmpSettings,
    UNetSettings,
    restores_bands,
)

__all__ = [
    "AugmentSettings",
    "BorderSettings",
    "Config",
    "LossSettings",
    "NetworkSettings",
    "Settings",
    "SmpSettings",
    "UNetSettings",
    "load_config",
    "load_network",
    "nearest",
    "purpose",
    "restores_bands",
    "settings_schema",
    "shipped_configs",
    "shipped_networks",
    "shipped_text",
]
