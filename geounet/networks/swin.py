"""Swin V2 as torchvision and as timm write it: the same network, its tensors under other names."""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

_RULES = (
    (r"features\.0\.0\.", "patch_embed.proj."),
    (r"features\.0\.2\.", "patch_embed.norm."),
    (r"mlp\.0\.", "mlp.fc1."),
    (r"mlp\.3\.", "mlp.fc2."),
)


def timm_names(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tensors of torchvision's Swin V2 as timm's feature extractor calls them.

    Where torchvision alternates blocks and mergings in one list, timm has stages that begin with
    their merging. Of the bias of queries, keys and values timm keeps no part for the keys, which
    torchvision sets to zero whenever it runs.
    """
    renamed: dict[str, Any] = {}
    for theirs, tensor in state.items():
        if "relative_" in theirs:  # made anew for each size of window
            continue
        name = _timm_name(theirs)
        if name.endswith("attn.qkv.bias") and isinstance(tensor, Tensor):
            stem, third = name.removesuffix("qkv.bias"), len(tensor) // 3
            renamed[f"{stem}q_bias"], renamed[f"{stem}v_bias"] = tensor[:third], tensor[-third:]
        else:
            renamed[name] = tensor
    return renamed


def _timm_name(name: str) -> str:
    for old, new in _RULES:
        name = re.sub(rf"(?<![a-z_]){old}", new, name)
    match = re.fullmatch(r"features\.(\d+)\.(.*)", name)
    if match is None:
        return name
    number, rest = int(match[1]), match[2]
    inner = f"blocks.{rest}" if number % 2 else f"downsample.{rest}"
    return f"layers_{number // 2}.{inner}"
