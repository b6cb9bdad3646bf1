"""geounet in QGIS's toolbox: algorithms that run an installed geounet, and show what it makes."""

from __future__ import annotations

from typing import Any


def classFactory(iface: Any) -> Any:  # noqa: N802  QGIS calls it so
    """Return the plugin; QGIS calls this when it is switched on."""
    from geounet_qgis.plugin import GeounetPlugin  # only where there is QGIS

    return GeounetPlugin(iface)
