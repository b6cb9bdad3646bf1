"""How far a network sees: the halo that makes windows agree with one pass over the whole scene."""

import copy
import logging
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from geounet.networks.network import Network

logger = logging.getLogger(__name__)

PROBE_STRIDES = (12, 24, 48)
"""How far the probe reaches to each side, in strides; the next where something arrives at its end.
Wider than the last is too wide to pay for: a window would be all halo."""

_SIZE_DEPENDENT = {
    "_softmax": "attention",
    "_scaled_dot_product_flash_attention_for_cpu": "attention",
    "_scaled_dot_product_attention_math": "attention",
    "_native_multi_head_attention": "attention",
    "_adaptive_avg_pool2d": "pooling to a fixed size",
    "adaptive_max_pool2d": "pooling to a fixed size",
    "max_pool2d_with_indices": "a max pooling that is not a layer of its own",
    "native_group_norm": "normalisation over the whole window",
}
"""Operations whose answer depends on the window's size or that a gradient does not follow.
Attention in windows has a finite reach, but not the phase of the stride."""
_ALIGNABLE = ("upsample_bilinear2d", "upsample_bicubic2d", "_upsample_bilinear2d_aa")
"""Resizing; with `align_corners` it depends on the window's size."""


class View(NamedTuple):
    """How far a network sees."""

    halo: int | None
    """Pixels around a window that matter, as `exact_halo` gives them."""
    obstacle: str | None
    """Why there is no such number, for people."""


def exact_halo(network: Network, bands: int) -> int | None:
    """Return how many pixels around a window matter, at most, for what the network says inside it.

    As `measure_view`, which says besides why there is none.
    """
    return measure_view(network, bands).halo


def measure_view(network: Network, bands: int) -> View:
    """Find how many pixels around a window matter, at most, for what the network says inside it.

    A window read with this halo, and on to a size that the network takes, gets exactly the answer
    of one pass over the whole scene, if its origin is a multiple of the stride away from that
    pass's. Without padding that is the network's margin: what comes out has seen all there is.

    Found by gradient: which inputs does a block of `stride` × `stride` outputs depend on? The
    block has every phase of the pooling grid once, and a core, being a multiple of the stride,
    consists of such blocks. In the network as it is, dependence hides: a ReLU or a max pooling
    passes on some inputs only, positive and negative weights cancel, and in float32 the far ones
    underflow. So a copy is asked whose weights are positive, whose activations are left out,
    whose max poolings are averages, in float64. Zeros that convolutions pad with are covered: who
    sees the padding sees the pixels beside it. Rows and columns are asked one after the other
    with a strip as narrow as the stride, since every layer reaches straight ahead.

    Args:
        network: Any weights; it is not changed.
        bands: How many bands it takes.

    Returns:
        Pixels, the margin and a multiple of the stride; none where the whole scene matters, where
        the answer depends on the window's size, or where the halo is wider than 48 strides.
    """
    probed = _positive_copy(network)
    jump, obstacle = _look_once(probed, bands)
    if obstacle:
        logger.info("The network has no exact halo: it uses %s.", obstacle)
        return View(None, obstacle)
    halos = []
    for axis in (2, 3):
        halo = _reach(probed, bands, axis=axis, jump=jump)
        if halo is None:
            widest = network.stride * PROBE_STRIDES[-1] - jump
            logger.info("The network has no exact halo: none is found up to %d pixels.", widest)
            return View(None, f"a view wider than {widest} pixels")
        halos.append(halo)
    beyond = max(0, max(halos) - network.margin)
    return View(network.margin + -(-beyond // network.stride) * network.stride, None)


def default_halo(
    network: Network, samples: Iterable[Tensor], *, exact: int, tolerance: float = 1 / 255
) -> tuple[int, float]:
    """Return a halo that is narrower than the exact one and nearly as good, and how good it is.

    What is far away matters little to a trained network. The halo is the smallest multiple of the
    stride whose probabilities differ from those with the exact halo by less than `tolerance`, at
    every pixel of every sample; then one stride more for safety, and never above `exact`.

    Args:
        network: In evaluation mode; on the device of the samples. Two classes or more.
        samples: Standardised bands (bands, H, W), each so large that around a core, which is
            judged, there are 2 × `exact` pixels more in height and width, `exact` on each side; H
            and W are sizes that the network takes. With none the halo is the exact one.
        exact: What `exact_halo` gives.
        tolerance: Of a probability.

    Returns:
        The halo in pixels, and the largest difference of a probability at that halo.

    Raises:
        ValueError: A sample has no core.
    """
    if exact == network.margin:
        return exact, 0.0  # no halo is narrower
    samples = list(samples)
    if not samples:
        return exact, 0.0
    for sample in samples:
        if min(sample.shape[-2:]) <= 2 * exact:
            raise ValueError(
                f"a sample of {tuple(sample.shape[-2:])} pixels has no core inside {exact} on "
                "each side"
            )
    references = [_core_probs(network, sample, exact=exact, halo=exact) for sample in samples]

    def error(index: int, halo: int) -> float:
        """How far off the core of one sample is with `halo`."""
        probs = _core_probs(network, samples[index], exact=exact, halo=halo)
        return float((probs - references[index]).abs().max())

    for halo in range(network.margin, exact, network.stride):
        if all(error(index, halo) < tolerance for index in range(len(samples))):
            chosen = halo + network.stride
            return chosen, max(error(index, chosen) for index in range(len(samples)))
    return exact, 0.0


@torch.inference_mode()
def _core_probs(network: Network, sample: Tensor, *, exact: int, halo: int) -> Tensor:
    """Return the probabilities (classes, h, w) of a sample's core, seen with `halo` around it."""
    cut = exact - halo  # a multiple of the stride: the phase stays
    height, width = sample.shape[-2:]
    window = sample[:, cut : height - cut, cut : width - cut]
    probs = network(window.unsqueeze(0)).float().softmax(dim=1)[0]
    rim = halo - network.margin  # of what came out
    return probs[:, rim : probs.shape[-2] - rim, rim : probs.shape[-1] - rim]


def _reach(probed: Network, bands: int, *, axis: int, jump: int) -> int | None:
    """Return the halo that a block of outputs needs along one axis, in pixels.

    What lies beyond the probe's end cannot be touched, so it has to be excluded: a layer that saw
    it would sit less than a `jump` from the end, and touch what it sits on.
    """
    stride, margin = probed.stride, probed.margin
    # A window whose core is a multiple of the stride is read so much further than its halo.
    surplus = (probed.remainder - 2 * margin) % stride
    for strides in PROBE_STRIDES:
        start = margin + stride * strides  # of the block
        shape = [1, bands, probed.fit(stride), probed.fit(stride)]
        shape[axis] = probed.fit(2 * start + stride)
        x = torch.ones(shape, dtype=torch.float64, requires_grad=True)
        block = probed(x).narrow(axis, start - margin, stride)
        (gradient,) = torch.autograd.grad(block.sum(), x)
        touched = gradient.abs().sum(dim=[d for d in range(4) if d != axis]).nonzero()
        if not len(touched):
            return None  # something that is no layer lets nothing through
        before = start - int(touched.min())
        after = int(touched.max()) - (start + stride - 1)
        if max(before, after) < start - jump:
            return max(before, after - surplus)
    return None


def _look_once(probed: Network, bands: int) -> tuple[int, str | None]:
    """Return how far any one layer reaches, in pixels, and what keeps the halo from being found."""
    # Some pool further than their stride says.
    side = probed.fit(8 * probed.stride + 2 * probed.margin)
    jumps = [2 * probed.stride]  # for what is no layer: resizing by a function

    def measure(layer: nn.Module, args: tuple[Tensor, ...]) -> None:
        for axis in (0, 1):
            steps = _pair(layer.kernel_size)[axis] - 1
            steps *= _pair(getattr(layer, "dilation", 1))[axis]
            jumps.append(steps * side // args[0].shape[2 + axis])

    layers = [m for m in probed.modules() if hasattr(m, "kernel_size")]
    hooks = [layer.register_forward_pre_hook(measure) for layer in layers]
    with _Watch() as watch, torch.no_grad():
        probed(torch.ones(1, bands, side, side, dtype=torch.float64))
    for hook in hooks:
        hook.remove()
    return max(jumps), watch.seen


def _pair(sides: Any) -> tuple[int, int]:
    """Return (rows, cols) of what a layer states for both at once, or for each."""
    return (sides, sides) if isinstance(sides, int) else sides


def _positive_copy(network: Network) -> Network:
    """Return a copy in which whatever could matter does: see `exact_halo`."""
    copied = copy.deepcopy(network).cpu().double().eval().requires_grad_(False)
    for module in list(copied.modules()):
        for name, child in module.named_children():
            if replaced := _linear_stand_in(child):
                setattr(module, name, replaced)
    draw = torch.Generator().manual_seed(0)
    for name, parameter in copied.named_parameters():
        if parameter.ndim > 1:
            # Not all the same: layers that subtract a mean (weight standardisation, layer
            # normalisation) would leave nothing. About 1 / fan in keeps values near 1.
            parameter.uniform_(0.5, 1.5, generator=draw)
            parameter.div_(parameter[0].numel())
        else:
            parameter.fill_(0.0 if name.endswith("bias") else 1.0)
    for module in copied.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase):
            module.reset_running_stats()
    return copied


def _linear_stand_in(module: nn.Module) -> nn.Module | None:
    """Return what takes the place of a layer that lets some inputs through only, or None."""
    if isinstance(module, nn.MaxPool2d):
        return nn.AvgPool2d(
            module.kernel_size, module.stride, module.padding, ceil_mode=module.ceil_mode
        )
    if isinstance(module, nn.Softmax | nn.Softmax2d | nn.LogSoftmax | nn.MultiheadAttention):
        return None  # attention, to be seen
    if type(module).__module__.startswith(
        ("torch.nn.modules.activation", "timm.layers.activation")
    ):
        return nn.Identity()
    return None


class _Watch(TorchDispatchMode):
    """Sees every operation that runs, whether a layer does it or not."""

    seen: str | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in _SIZE_DEPENDENT:
            self.seen = _SIZE_DEPENDENT[name]
        elif name in _ALIGNABLE and args[2]:
            self.seen = "resizing with align_corners"
        elif name == "mean" and _is_over_window(*args):
            self.seen = "the mean of the whole window"
        return func(*args, **(kwargs or {}))


def _is_over_window(values: Tensor, over: Sequence[int] | None = None, *_: Any) -> bool:
    """Whether a mean is one of activations (1, C, H, W) over H, W or both, not of weights."""
    return values.ndim == 4 and values.shape[0] == 1 and (over is None or len(over) > 1)
