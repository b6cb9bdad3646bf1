"""Running an ONNX file on the CPU: a scene's numbers in, class probabilities out.

In the place of `engine.Engine`, and with the same face (`engine.Runner`).
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geounet.engine import Backend, Precision
from geounet.errors import ConfigError, ModelFileError, reason
from geounet.networks import Sizes
from geounet.onnx_file import EXTRA, OnnxFile, activation_bytes

SMALL = 1e-7
"""In reflectance: by which a number that has data, and is the graph's nodata value, is moved."""


def import_onnxruntime() -> Any:
    """Return the library `onnxruntime`.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError(
            f"ONNX files are run by the library onnxruntime. Install it: {EXTRA}."
        ) from error
    return onnxruntime


class OnnxSizes(Sizes):
    """The heights and widths that a graph takes."""

    def __init__(self, *, stride: int, margin: int = 0, remainder: int = 0, least: int = 0) -> None:
        self.stride, self.margin, self.remainder, self.least = stride, margin, remainder, least


class OnnxEngine:
    """A graph, made ready to run by ONNX Runtime."""

    device = "cpu"

    def __init__(
        self, file: OnnxFile, sizes: Sizes, *, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        """Make a graph ready.

        Args:
            file: It.
            sizes: The heights and widths that it takes.
            mean: Of each band, reflectance: what a graph that is not ours wants subtracted before.
            std: Likewise, by which it wants that divided then.

        Raises:
            ModelFileError: ONNX Runtime does not take it.
            ConfigError: ONNX Runtime is not installed.
        """
        self.stride, self.margin, self.remainder = sizes.stride, sizes.margin, sizes.remainder
        self.fit = sizes.fit
        self.precision: Precision = file.graph.precision if file.graph else "fp32"
        self.backend: Backend = "onnxruntime"
        self._file, self._bands = file, len(mean)
        graph = file.graph
        # The graph is given (reflectance − mean) / std: DN if it is ours, else what users say.
        self._mean, self._std = np.array(mean), np.array(std)
        if graph is not None:
            self._mean = np.full(self._bands, graph.offset * graph.scale)
            self._std = np.full(self._bands, graph.scale)
        self._runtime = import_onnxruntime()
        self._session = self._open()

    def _open(self) -> Any:
        options = self._runtime.SessionOptions()
        options.log_severity_level = 4  # what is wrong is raised
        options.intra_op_num_threads = torch.get_num_threads()
        # What it holds would grow from one shape of windows to the next.
        options.enable_cpu_mem_arena = options.enable_mem_pattern = False
        try:
            return self._runtime.InferenceSession(
                str(self._file.path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its errors have no base of their own
            raise ModelFileError(
                f"{self._file.path} is not taken by ONNX Runtime {self._runtime.__version__} "
                f"({reason(error)}). Export the network again."
            ) from error

    @property
    def runtime(self) -> str:
        """What runs the graph, and its version."""
        return f"onnxruntime {self._runtime.__version__}"

    def probabilities(
        self,
        dn: NDArray[Any],
        valid: NDArray[np.bool_],
        slope: NDArray[np.float32],
        intercept: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """Return the probability of each class at each pixel, as `Engine.probabilities`."""
        x = self._given(dn, valid, slope, intercept)
        height, width = x.shape[2:]
        x = self._widened(x)
        try:
            (found,) = self._session.run(None, {self._session.get_inputs()[0].name: x})
        except Exception as error:  # likewise
            said = reason(error)
            if "alloc" in said.lower():
                raise MemoryError(said) from error
            raise ModelFileError(
                f"{self._file.path} does not run on windows of {x.shape[2]} × {x.shape[3]} pixels "
                f"({said})."
            ) from error
        self._check_shape(found, x)
        cut = 2 * self.margin
        probs = self._normalised(found[:, :, : height - cut, : width - cut])
        inside = slice(self.margin, -self.margin or None)
        # Ours say NaN where there is no data.
        np.copyto(probs, 0, where=~valid[:, None, inside, inside])
        return probs

    def submit(
        self,
        dn: NDArray[Any],
        valid: NDArray[np.bool_],
        slope: NDArray[np.float32],
        intercept: NDArray[np.float32],
    ) -> Callable[[], NDArray[np.float32]]:
        """Do what `probabilities` does, and return what gives its answer, as `Engine.submit`."""
        probs = self.probabilities(dn, valid, slope, intercept)
        return lambda: probs

    def _given(
        self,
        dn: NDArray[Any],
        valid: NDArray[np.bool_],
        slope: NDArray[np.float32],
        intercept: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """Return (B, C, H, W) in the graph's own numbers, a copy."""
        x = dn.astype(np.float32)
        factor = (slope / self._std).astype(np.float32)
        summand = ((intercept - self._mean) / self._std).astype(np.float32)
        x *= factor[:, None, None]
        x += summand[:, None, None]
        graph = self._file.graph
        if graph is None:
            np.copyto(x, 0, where=~valid[:, None])  # promise 6
            return x
        if graph.nodata is not None:
            nodata = graph.nodata
            near = 2e-6 * abs(nodata)
            np.copyto(
                x, nodata + max(SMALL / graph.scale, 2 * near), where=np.abs(x - nodata) <= near
            )
        np.copyto(x, np.nan, where=~valid[:, None])
        return x

    def _widened(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return windows as large as a graph takes that takes one size alone."""
        sides = [
            side or there for side, there in zip(self._file.takes[2:], x.shape[2:], strict=True)
        ]
        more = [(0, side - there) for side, there in zip(sides, x.shape[2:], strict=True)]
        if not any(after for _, after in more):
            return x
        # Mirrored once more; what is seen from the core lies before it.
        return np.pad(x, [(0, 0), (0, 0), *more], mode="reflect")

    def _check_shape(self, found: NDArray[Any], x: NDArray[np.float32]) -> None:
        sides = tuple(side - 2 * self.margin for side in x.shape[2:])
        outputs = self._file.gives[1] or found.shape[1]
        if found.ndim != 4 or found.shape != (x.shape[0], outputs, *sides):
            raise ModelFileError(
                f"{self._file.path} gives an array of {found.shape} for one of {x.shape}, and "
                f"(batch, classes, {sides[0]}, {sides[1]}) is needed: as many rows and columns "
                "as it takes."
            )

    def _normalised(self, found: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return probabilities of all classes, an array of its own."""
        if self._file.graph is not None or self._file.normalises:
            second = found
        elif found.shape[1] == 1:
            second = np.reciprocal(1 + np.exp(-np.clip(found, -80, 80)))
        else:
            shifted = np.exp(found - found.max(axis=1, keepdims=True))
            return shifted / shifted.sum(axis=1, keepdims=True)
        if found.shape[1] == 1:
            return np.concatenate([1 - second, second], axis=1)
        return np.array(second)

    def bytes_per_pixel(self, dtype: str) -> int:
        """Return what a pixel of a window takes while it is predicted, at most.

        Args:
            dtype: Of the numbers that `probabilities` will be given.
        """
        if self._file.graph is None:
            return activation_bytes(self._file, self._bands)
        known = self._file.graph.bytes_per_pixel
        return known.get(dtype, known["float32"])
