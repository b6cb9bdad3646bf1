"""Models to export whose answers differ from pixel to pixel, and what runs what was exported."""

import logging
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from predicting import OFFSET, SCALE, normalise_like_trained
from torch import nn

from geounet.engine import Engine
from geounet.model_file import load_model

# What torch tells a debugger of each step of a trace; pytest would keep all of it.
logging.getLogger("torch.__trace").propagate = False

NAMES = ("B02", "B03", "B04", "B08")
NETWORKS: dict[str, dict[str, Any]] = {
    "unet-same": {"base_width": 4},
    "unet-2015": {"base_width": 4},
    "smp/unet/resnet18": {},
    "smp/segformer/mit_b0": {},
}
"""And settings that make them small: batch-normalised, without padding, an encoder, attention."""


def lively(network: nn.Module) -> None:
    """Give a network statistics as of training, and logits that spread."""
    torch.manual_seed(3)
    if any(isinstance(module, nn.BatchNorm2d) for module in network.modules()):
        normalise_like_trained(network)
    network.eval()
    last = [module for module in network.modules() if isinstance(module, nn.Conv2d)][-1]
    side = network.fit(200)
    rough = nn.functional.interpolate(torch.randn(1, len(NAMES), 16, 16), side, mode="bilinear")
    with torch.no_grad():
        logits = network(rough)
        gain = 2 / logits.std()
        last.weight.mul_(gain)
        if last.bias is not None:
            last.bias.sub_(logits.mean(dim=(0, 2, 3))).mul_(gain)


@lru_cache(maxsize=2)
def engine(model: Path) -> Engine:
    header, network = load_model(model)
    return Engine(network, mean=header.mean, std=header.std, device="cpu", precision="fp32")


def by_geounet(model: Path, dn: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(B, classes, H, W) of (B, bands, H, W) as geounet itself has it."""
    bands = dn.shape[1]
    slope, intercept = np.full(bands, SCALE), np.full(bands, SCALE * OFFSET)
    return engine(model).probabilities(
        dn, valid, slope.astype(np.float32), intercept.astype(np.float32)
    )


@lru_cache(maxsize=2)
def session_of(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def by_onnx(path: Path, dn: NDArray[Any]) -> NDArray[np.float32]:
    (found,) = session_of(path).run(["probabilities"], {"dn": dn.astype(np.float32)})
    return found


@lru_cache(maxsize=2)
def program_of(path: Path) -> nn.Module:
    return torch.export.load(path).module()


def by_torch(path: Path, dn: NDArray[Any]) -> NDArray[np.float32]:
    with torch.inference_mode():
        return program_of(path)(torch.from_numpy(dn.astype(np.float32))).numpy()


def inside(valid: NDArray[np.bool_], margin: int) -> NDArray[np.bool_]:
    """(B, H, W) less a margin on each side."""
    kept = slice(margin, -margin or None)
    return valid[:, kept, kept]


RUNNERS: dict[str, Callable[[Path, NDArray[Any]], NDArray[np.float32]]] = {
    "onnx": by_onnx,
    "pt2": by_torch,
}
