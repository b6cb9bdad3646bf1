"""The graph that leaves home: what a scene holds goes in, probabilities come out."""

from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, export
from torch.nn import functional as F

from geounet.engine import Engine, fold_batch_norm
from geounet.errors import ConfigError
from geounet.export.settings import Dn
from geounet.model_file import LARGEST_BLEND, ModelHeader
from geounet.networks import Network
from geounet.onnx_file import GraphForm, GraphRecord

NUMBERS = ("uint8", "int16", "uint16", "int32", "float32")
"""Types of a scene's numbers for which it is said what a pixel takes."""
LIKE_NODATA = 1e-6
"""Of a nodata value: what is nearer to it counts as equal, after others' arithmetic on it."""
STRIDES = 4
"""Of the sample that a graph is traced with, beside what its margin takes."""


class Served(nn.Module):
    """A network with all that stands before and behind it: DN in, probabilities out."""

    def __init__(
        self,
        network: Network,
        header: ModelHeader,
        dn: Dn,
        *,
        half: bool,
        blank: bool,
        mirror: bool = False,
    ) -> None:
        """Put a graph together.

        Args:
            network: Of the model; it is taken over.
            header: Of the model.
            dn: How numbers become reflectance, and which of them is no data.
            half: Whether the network computes in 16 bits; what is around it does in 32.
            blank: Whether NaN comes out where there was no data.
            mirror: Whether windows are mirrored beyond their edges by what a network without
                padding loses, so that as much comes out as goes in; they are multiples of the
                stride then.
        """
        super().__init__()
        self.network = network.half() if half else network
        self.dtype = torch.float16 if half else torch.float32
        self.nodata, self.blank = dn.nodata, blank
        margin, remainder = network.margin, network.remainder
        self.cut = 0 if mirror else margin
        self.mirror = margin if mirror else 0
        # Read a little further below and on the right, as `plan_windows` does.
        self.surplus = (remainder - 2 * margin) % network.stride if mirror else 0
        mean, std = (torch.tensor(v, dtype=torch.float64) for v in (header.mean, header.std))
        # ((DN + offset) · scale − mean) / std in one step: no rounding between.
        slope, intercept = dn.scale / std, (dn.offset * dn.scale - mean) / std
        self.slope = nn.Buffer(slope[:, None, None].float())
        self.intercept = nn.Buffer(intercept[:, None, None].float())

    def forward(self, dn: Tensor) -> Tensor:
        """Return (B, classes, H, W), 0–1, less the margin on each side where nothing is mirrored.

        Args:
            dn: (B, bands, H, W) float32, numbers as the scene has them. Where one is NaN or the
                nodata value, the network is given 0 of every band, as in training.
        """
        invalid = torch.isnan(dn).any(dim=1, keepdim=True)  # (B, 1, H, W)
        if self.nodata is not None:
            near = (dn - self.nodata).abs() <= LIKE_NODATA * abs(self.nodata)
            invalid = invalid | near.any(dim=1, keepdim=True)
        # Filled and not multiplied: NaN × 0 is NaN.
        x = (dn * self.slope + self.intercept).masked_fill(invalid, 0.0).to(self.dtype)
        if self.mirror:
            x = F.pad(x, [self.mirror, self.mirror + self.surplus] * 2, mode="reflect")
        logits = self.network(x).float()
        if self.surplus:
            logits = logits[..., : -self.surplus, : -self.surplus]
        if logits.shape[1] > 1:
            probs = logits.softmax(dim=1)
        else:  # of the second of two classes
            second = logits.sigmoid()
            probs = torch.cat([1 - second, second], dim=1)
        if not self.blank:
            return probs
        if self.cut:
            invalid = invalid[..., self.cut : -self.cut, self.cut : -self.cut]
        return probs.masked_fill(invalid, torch.nan)


@dataclass(frozen=True)
class Traced:
    """A graph, and what is to be said of it."""

    program: ExportedProgram
    record: GraphRecord


def trace(
    header: ModelHeader,
    network: Network,
    dn: Dn,
    *,
    form: GraphForm,
    half: bool = False,
    side: int | None = None,
    mirror: bool = False,
) -> Traced:
    """Trace the graph of a model, for any batch.

    Args:
        header: Of the model.
        network: It; taken over.
        dn: How numbers become reflectance.
        form: For whom, as `GraphRecord.form` has it.
        half: Whether the network computes in 16 bits.
        side: Height and width for good; None for any that the network takes.
        mirror: As in `Served`.

    Raises:
        ConfigError: torch cannot trace it.
    """
    weighed = Engine(
        deepcopy(network),
        mean=header.mean,
        std=header.std,
        device="cpu",
        precision="fp32",
        fold_upsampling=False,  # runtimes know convolutions best
    )
    memory = {name: weighed.bytes_per_pixel(name) for name in NUMBERS}
    del weighed
    network = network.eval().requires_grad_(False)
    bands, stride = len(header.bands), network.stride
    example = network.fit(2 * stride)
    draw = torch.Generator().manual_seed(0)
    fold_batch_norm(network, torch.randn((1, bands, example, example), generator=draw))
    served = Served(network, header, dn, half=half, blank=form != "deepness", mirror=mirror).eval()
    program = _export(served, bands, side)
    for node in program.graph.nodes:  # where this was run is nobody's business
        node.meta.pop("stack_trace", None)
    record = GraphRecord(
        form=form,
        scale=dn.scale,
        offset=dn.offset,
        nodata=dn.nodata,
        precision="fp16" if half else "fp32",
        side=side,
        stride=stride,
        margin=served.cut,
        remainder=0 if mirror else network.remainder,
        least=network.least,
        bytes_per_pixel=memory,
    )
    return Traced(program, record)


def _export(served: Served, bands: int, side: int | None) -> ExportedProgram:
    network = served.network
    batch = Dim("batch", min=1, max=1024)
    shapes: dict[int, object] = {0: batch}
    sides = [side or 0, side or 0]
    if side is None:
        stride, least = network.stride, network.fit(0) // network.stride
        most = LARGEST_BLEND * 4 // stride
        sides = [network.fit((STRIDES + more) * stride + 2 * network.margin) for more in (0, 1)]
        for axis, name in ((2, "rows"), (3, "columns")):
            strides = Dim(f"{name}_of_strides", min=max(least, 1), max=most)
            shapes[axis] = (
                stride * strides + network.remainder if network.remainder else stride * strides
            )
    sample = torch.zeros(2, bands, *sides)
    try:
        return export(served, (sample,), dynamic_shapes={"dn": shapes})
    except Exception as error:
        # torch has no one error for it: what is traced decides which is raised.
        raise ConfigError(
            f"the graph cannot be traced ({' '.join(str(error).split())[:200]})"
        ) from error
