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
from predicting import MEAN, OFFSET, SCALE, STD, normalise_like_trained, wavy_dn
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


def taught(network: nn.Module) -> None:
    """Teach a network that what is dark in the mean over a few pixels is water: evenly, as trained.

    Where answers flicker from pixel to pixel, as random ones do, what is beyond a scene's edge
    changes many.
    """
    torch.manual_seed(0)
    bands = torch.from_numpy(wavy_dn(400, 400, bands=len(NAMES)).astype(np.float32))
    x = ((bands + OFFSET) * SCALE - MEAN) / STD
    evened = nn.functional.avg_pool2d(x.mean(dim=0)[None, None], 9, stride=1, padding=4)[0, 0]
    label = (evened < 0).long()
    margin, side = network.margin, network.fit(2 * network.margin + 96)
    adam = torch.optim.Adam(network.parameters(), lr=3e-3)
    draw = torch.Generator().manual_seed(0)
    network.train()
    for _ in range(60):
        at = [int(torch.randint(400 - side, (1,), generator=draw)) for _ in range(2)]
        rows, cols = (slice(start, start + side) for start in at)
        inner = [slice(s.start + margin, s.stop - margin) for s in (rows, cols)]
        loss = nn.functional.cross_entropy(network(x[None, :, rows, cols]), label[None, *inner])
        adam.zero_grad()
        loss.backward()
        adam.step()
    network.eval()


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
