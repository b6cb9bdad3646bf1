"""Running a network fast on this device: a scene's numbers in, class probabilities out."""

import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import partial
from typing import Any, Literal, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from geounet.allocation import prefer_huge_pages
from geounet.errors import ConfigError
from geounet.networks import Network

Precision = Literal["fp32", "bf16", "fp16"]
"""fp16 is that of files that were exported so."""
Backend = Literal["eager", "compile", "onnxruntime"]
"""What runs a network: torch layer by layer, what torch compiles of it, or the ONNX runtime."""

prefer_huge_pages()

AT_ONCE = 2 << 20
"""Bytes of reflectance that are made at once on a CPU: they stay in its caches on the way from a
scene's numbers to what a network is fed, and take no memory beside it."""
_SAID_OF_THE_CPU = ("can't allocate memory", "not enough memory")
"""By torch; on a GPU it has an error of its own."""


def out_of_memory(error: Exception) -> bool:
    """Return whether torch or numpy found no memory."""
    found_none = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return found_none or any(said in str(error) for said in _SAID_OF_THE_CPU)


def standardise(reflectance: Tensor, valid: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Return what a network is fed, in training and prediction alike.

    Args:
        reflectance: (B, C, H, W) float; may hold NaN where not valid.
        valid: (B, H, W) bool, True is data.
        mean: (C,), of the training split, reflectance.
        std: (C,), likewise; positive.

    Returns:
        (B, C, H, W), of the type of `reflectance`; 0 where not valid (promise 6).
    """
    standardised = (reflectance - mean[:, None, None]).div_(std[:, None, None])
    # Filled and not multiplied: NaN × 0 is NaN.
    return standardised.masked_fill_(~valid[:, None], 0.0)


def choose_device(name: str) -> str:
    """Return the device that `auto`, `cpu`, `cuda` or `cuda:N` means on this machine.

    Raises:
        ConfigError: There is no such device here.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"There is no device called {name}. Use auto, cpu or cuda.") from None
    usable = {"cpu": 1, "cuda": torch.cuda.device_count()}.get(device.type, 0)
    if (device.index or 0) >= usable:
        gpus = torch.cuda.device_count()
        raise ConfigError(
            f"torch finds no device {name} here; it has the CPU and {gpus} CUDA devices. "
            "Use --device cpu, or see what geounet doctor says."
        )
    return name


def choose_precision(name: str, device: str) -> Precision:
    """Return what `auto`, `fp32` or `bf16` means on a device that `choose_device` gave.

    bf16 is chosen only where the hardware multiplies it: elsewhere it is emulated, and slower.
    """
    if name in ("fp32", "bf16"):
        return cast(Precision, name)
    if torch.device(device).type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16" if fast else "fp32"


def choose_backend(name: str) -> Backend:
    """Return what `auto`, `eager` or `compile` means for a network of torch.

    auto is eager: beside bf16, folding and channels last, compiling a resnet18 U-Net for a CPU took
    half a minute, and its windows as long as before; on a GPU it is yet to be measured.
    """
    return "compile" if name == "compile" else "eager"


class Runner(Protocol):
    """A model that is ready to run, whatever runs it."""

    stride: int
    margin: int
    remainder: int
    """As `networks.Sizes` has them."""
    device: str
    precision: Precision
    backend: Backend

    @property
    def fit(self) -> Callable[[int], int]:
        """As `networks.Sizes.fit`."""

    def probabilities(
        self,
        dn: NDArray[Any],
        valid: NDArray[np.bool_],
        slope: NDArray[np.float32],
        intercept: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """As `Engine.probabilities`."""

    def submit(
        self,
        dn: NDArray[Any],
        valid: NDArray[np.bool_],
        slope: NDArray[np.float32],
        intercept: NDArray[np.float32],
    ) -> Callable[[], NDArray[np.float32]]:
        """As `Engine.submit`."""

    def bytes_per_pixel(self, dtype: str) -> int:
        """As `Engine.bytes_per_pixel`."""


class Engine:
    """A trained network, made ready to run on one device.

    Takes the network over: batch normalisation is folded into the convolutions before it, and
    weights are moved and converted in place.
    """

    def __init__(
        self,
        network: Network,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        device: str,
        precision: Precision,
        backend: Backend = "eager",
        fold_upsampling: bool = True,
    ) -> None:
        """Make `network` ready.

        Args:
            network: (B, C, H, W) standardised reflectance → (B, K, H, W) logits, less its margin
                on each side, C as in `mean`; K of 1 is the logit of the second of two classes.
            mean: Of each band, reflectance, as the model file has it.
            std: Likewise.
            device: As `choose_device` gives it.
            precision: As `choose_precision` gives it; of the convolutions, not of the rest.
            backend: As `choose_backend` gives it. What is compiled is so at the first window.
            fold_upsampling: Whether to do that, on a CPU; on a GPU it is not known what it brings.
        """
        self.stride, self.margin, self.remainder = (
            network.stride,
            network.margin,
            network.remainder,
        )
        self.fit = network.fit
        """As `Network.fit`: the sides that `probabilities` takes."""
        self.device = device
        self.precision = precision
        self.backend = backend
        self._device = torch.device(device)
        self._dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
        if self._device.type == "cuda":
            self._coming, self._going = (torch.cuda.Stream(self._device) for _ in range(2))
        self._mean = torch.tensor(mean, dtype=torch.float32, device=self._device)
        self._std = torch.tensor(std, dtype=torch.float32, device=self._device)
        network = network.eval().requires_grad_(False)
        side = self.fit(2 * self.stride)
        sample = torch.randn((1, len(mean), side, side), generator=torch.Generator().manual_seed(0))
        fold_batch_norm(network, sample)
        if fold_upsampling and self._device.type == "cpu":
            network.fold_upsampling(sample)
        # Channels last: oneDNN and cuDNN then convolve without reordering what they are given.
        network = network.to(self._device, self._dtype)
        self._network = network.to(memory_format=torch.channels_last)
        for module in network.modules():
            if isinstance(module, _BatchNorm):  # bf16 would round running means
                module.float()
        self._forward = self._network.forward  # a module that is called has its input to the end
        if backend == "compile":
            self._forward = _compiled(self._forward)

    def probabilities(
        self,
        dn: NDArray[Any],
        valid: NDArray[np.bool_],
        slope: NDArray[np.float32],
        intercept: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """Return the probability of each class at each pixel.

        Args:
            dn: (B, C, H, W) numbers as the scene has them; heights and widths are such as the
                network takes. They become reflectance on the device, so that a fraction of the
                bytes travels.
            valid: (B, H, W), True is data.
            slope: (C,), reflectance is dn · slope + intercept.
            intercept: (C,).

        Returns:
            (B, classes, H, W), less the margin on each side, 0–1; means nothing where not valid.
        """
        given = [torch.from_numpy(a).to(self._device) for a in (dn, valid, slope, intercept)]
        return self._run(given).numpy(force=True)

    def submit(
        self,
        dn: NDArray[Any],
        valid: NDArray[np.bool_],
        slope: NDArray[np.float32],
        intercept: NDArray[np.float32],
    ) -> Callable[[], NDArray[np.float32]]:
        """Begin what `probabilities` does, and return what waits for it and gives its answer.

        On a GPU numbers travel there, and answers back, from memory that does not move and in
        streams of their own, while the network runs on what was submitted before. On a CPU it is
        done when this returns.
        """
        if self._device.type != "cuda":
            probs = self.probabilities(dn, valid, slope, intercept)
            return lambda: probs
        network = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._coming):
            given = [
                torch.from_numpy(a).contiguous().pin_memory().to(self._device, non_blocking=True)
                for a in (dn, valid, slope, intercept)
            ]
        network.wait_stream(self._coming)
        for tensor in given:
            tensor.record_stream(network)  # or its memory is another's while the network reads it
        answer = self._run(given)
        self._going.wait_stream(network)
        with torch.cuda.stream(self._going):
            there = torch.empty(answer.shape, dtype=answer.dtype, pin_memory=True)
            there.copy_(answer, non_blocking=True)
            answer.record_stream(self._going)
            arrived = self._going.record_event()

        def wait() -> NDArray[np.float32]:
            arrived.synchronize()
            return there.numpy()

        return wait

    def _run(self, given: list[Tensor]) -> Tensor:
        """Return probabilities, on the device of what is given; the list is empty after."""
        with (
            torch.inference_mode(),
            # The same bytes every time; and fp32 is not the ten-bit TF32.
            torch.backends.cudnn.flags(
                enabled=True, benchmark=False, deterministic=True, allow_tf32=False
            ),
        ):
            rows = given[0].shape[2]
            if self._device.type == "cpu":
                rows = max(1, AT_ONCE // (given[0][:, :, :1].numel() * 4))
            x = [self._standardised(self._mean, self._std, *given, rows=rows)]
            given.clear()  # x may be all that is needed
            return _probabilities(self._forward(x.pop()))

    def _standardised(
        self,
        mean: Tensor,
        std: Tensor,
        dn: Tensor,
        valid: Tensor,
        slope: Tensor,
        intercept: Tensor,
        *,
        rows: int,
    ) -> Tensor:
        """(B, C, H, W), of the network's type and memory format, on the device of what is given.

        Args:
            mean: Of each band.
            std: Likewise.
            dn: As `probabilities` takes it, and so are the next three.
            valid: Where there is data.
            slope: Of each band.
            intercept: Likewise.
            rows: How many are made at once.
        """
        fed = torch.empty(
            dn.shape, dtype=self._dtype, device=dn.device, memory_format=torch.channels_last
        )
        for top in range(0, dn.shape[2], rows):
            few = slice(top, top + rows)
            reflectance = dn[:, :, few].to(torch.float32, copy=True)
            reflectance.mul_(slope[:, None, None]).add_(intercept[:, None, None])
            fed[:, :, few] = standardise(reflectance, valid[:, few], mean, std)
        return fed

    def bytes_per_pixel(self, dtype: str) -> int:
        """Return what a pixel of a window takes on the device while it is predicted, at most.

        Found by running a small window and following what is alive, not by asking how much memory
        is free: a plan made from it is the same on every machine.

        Args:
            dtype: Of the numbers that `probabilities` will be given.
        """
        device, side, bands = self._device, self.fit(4 * self.stride), len(self._mean)
        if self.margin:
            # In a window hardly wider than its margin most of the decoder would not be there. One
            # without values costs nothing, but for what torch loads to run it.
            device, side = torch.device("meta"), self.fit(64 * self.margin)
        network = self._network if device == self._device else deepcopy(self._network).to(device)
        numbers = torch.from_numpy(np.zeros(0, dtype)).dtype
        given = [torch.ones(bands, device=device), torch.ones(bands, device=device)]
        given += [torch.zeros(1, bands, side, side, dtype=numbers, device=device)]
        given += [torch.ones(1, side, side, dtype=torch.bool, device=device), *given[:2]]
        with torch.inference_mode(), _LiveBytes(apart=given) as memory:
            # What is given was counted where it was read. One row: on a CPU a large window is made
            # of few at once.
            x = [self._standardised(*given, rows=side if self._device.type == "cuda" else 1)]
            _probabilities(network.forward(x.pop()))
        return -(-memory.peak // side**2)


def _compiled(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Return what torch compiles of a network, at its first window.

    Raises (when that is run):
        ConfigError: torch cannot: there is no compiler, say.
    """
    from torch._dynamo.exc import TorchDynamoException  # a second, for those who compile
    from torch._inductor.exc import CppCompileError, InvalidCxxCompiler

    compiled = torch.compile(forward)

    def run(x: Tensor) -> Tensor:
        try:
            return compiled(x)
        except (TorchDynamoException, InvalidCxxCompiler, CppCompileError) as error:
            reason = next((line for line in str(error).splitlines() if line.strip()), "")
            raise ConfigError(
                f"torch cannot compile this network here ({reason.strip().rstrip('.')}). Use "
                "--backend eager."
            ) from error

    return run


def _probabilities(logits: Tensor) -> Tensor:
    """Return (B, classes, H, W); where there is one logit it is of the second of two classes."""
    logits = logits.float()
    if logits.shape[1] > 1:
        return logits.softmax(dim=1)
    second = logits.sigmoid()
    return torch.cat([1 - second, second], dim=1)


def fold_batch_norm(network: nn.Module, sample: Tensor) -> None:
    """Fold every batch normalisation that follows a convolution into its weights, in place.

    Saves a pass over the largest arrays there are, and a copy of them. What follows what is seen
    by running `sample` through the network, so it does not matter how its modules are nested.
    Where something else uses a convolution too, the answer would change, and nothing is folded.

    Args:
        network: In evaluation mode.
        sample: (B, C, H, W) that the network takes, not constant.
    """
    if not any(isinstance(module, nn.BatchNorm2d) for module in network.modules()):
        return
    with torch.no_grad():
        pairs = _pairs_to_fold(network, sample)
        before = network(sample)
        undo: list[Callable[[], None]] = []
        for parent in list(network.modules()):
            for name, norm in list(parent.named_children()):
                if isinstance(norm, nn.BatchNorm2d) and (conv := pairs.get(norm)):
                    undo.append(partial(setattr, parent, name, norm))
                    undo.append(partial(setattr, conv, "weight", conv.weight))
                    undo.append(partial(setattr, conv, "bias", conv.bias))
                    folded = fuse_conv_bn_eval(conv, norm)
                    conv.weight, conv.bias = folded.weight, folded.bias
                    setattr(parent, name, nn.Identity())
        if not torch.allclose(network(sample), before, rtol=1e-3, atol=1e-3):
            for restore in reversed(undo):
                restore()


def _pairs_to_fold(network: nn.Module, sample: Tensor) -> dict[nn.Module, nn.Conv2d]:
    """Batch normalisations and the convolution that each directly follows, both run once."""
    made_by: list[tuple[Tensor, nn.Conv2d]] = []
    runs: Counter[nn.Module] = Counter()
    follows: dict[nn.Module, nn.Conv2d] = {}

    def before(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        runs[module] += 1
        if type(module) is nn.BatchNorm2d:  # some that inherit from it also activate
            follows.update((module, conv) for made, conv in made_by if made is inputs[0])

    def after(module: nn.Module, _: Any, output: Tensor) -> None:
        if type(module) is nn.Conv2d:
            made_by.append((output, module))

    hooks = [m.register_forward_pre_hook(before) for m in network.modules()]
    hooks += [m.register_forward_hook(after) for m in network.modules()]
    network(sample)
    for hook in hooks:
        hook.remove()
    return {norm: conv for norm, conv in follows.items() if runs[norm] == runs[conv] == 1}


class _LiveBytes(TorchFunctionMode):
    """Follows how many bytes of results are alive, and how many there were at most."""

    def __init__(self, *, apart: Sequence[Tensor] = ()) -> None:
        """Begin; views of what is `apart` do not count."""
        super().__init__()
        self.peak = 0
        self._live = 0
        self._known = {tensor.untyped_storage()._cdata for tensor in apart}

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                place, size = storage._cdata, storage.nbytes()  # without values, no data_ptr
                if place not in self._known:
                    self._known.add(place)
                    self._live += size
                    self.peak = max(self.peak, self._live)
                    weakref.finalize(storage, self._gone, place, size)
        return result

    def _gone(self, place: int, size: int) -> None:
        self._known.discard(place)
        self._live -= size
