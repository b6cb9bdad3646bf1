"""What can be set: a network, a loss, how chips are varied, a training; each with its default."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Settings(BaseModel):
    """Settings that are checked when they are made, and never change."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )


class UNetSettings(Settings):
    """One of the family of U-Nets, whose 3×3 convolutions come in pairs."""

    kind: Literal["unet"] = "unet"
    depth: int = Field(default=4, ge=1, le=6)
    """How often it pools; its stride is 2 to this power."""
    base_width: int = Field(default=64, ge=1, le=512)
    """Feature maps at full resolution; they double with every pooling."""
    padding: Literal["same", "valid"] = "same"
    """Whether convolutions see zeros beyond the edge, so that the output is as large as the input,
    or nothing is computed from what is not there and the output is smaller on each side."""
    norm: Literal["batch", "none"] = "batch"
    """Normalisation between each convolution of a pair and its ReLU."""
    bias: bool = False
    """Whether the convolutions of the pairs have a bias."""
    upsampling: Literal["transposed", "deconv4", "bilinear"] = "transposed"
    """By a 2×2 transposed convolution, a 4×4 one, or bilinear with half as many feature maps."""
    align_corners: bool = False
    """Of bilinear upsampling: True, as in milesial/Pytorch-UNet, makes the answer depend on the
    window's size, so that a scene is predicted in windows that are blended."""
    skip: Literal["concat", "add", "none"] = "concat"
    """How what the encoder saw at a level joins what comes from below."""
    join: Literal["skip-first", "upsampled-first"] = "skip-first"
    """The order of the two when they are concatenated."""
    dropout: Literal["none", "bottom", "pooling"] = "none"
    """Nowhere; after the last encoder level and the bottom; after every pooling."""
    dropout_rate: float = Field(default=0.5, ge=0, lt=1)
    """Share of values that dropout sets to zero while training."""
    head: Literal["1x1", "3x3"] = "1x1"
    """A 1×1 convolution to the classes, or two 3×3 with batch normalisation and ReLU between."""
    target: Literal["classes", "bands"] = "classes"
    """What comes out: logits of the classes, or, of an autoencoder, the bands that went in."""
    init: Literal["torch", "he", "he-in"] = "torch"
    """Torch's own start, or He-normal with biases of zero: by the values that one weighs in on
    (fan out), or by those that make one output (fan in), as in the paper."""

    @model_validator(mode="after")
    def _corners_can_be_kept(self) -> "UNetSettings":
        if self.align_corners and (self.upsampling != "bilinear" or self.padding == "valid"):
            raise ValueError(
                "align_corners: true is of bilinear upsampling with same padding; leave it out"
            )
        return self


class SmpSettings(Settings):
    """A network of segmentation-models-pytorch."""

    kind: Literal["smp"] = "smp"
    decoder: str
    """As smp calls its architectures, in lower case: unet, unetplusplus, linknet …"""
    encoder: str
    """As smp calls it: resnet34, mobilenet_v2, tu-convnext_tiny …"""
    weights: str | None = None
    """Pre-trained weights of the encoder: what smp offers, such as imagenet; torchgeo's, such as
    ResNet50_Weights.SENTINEL2_ALL_MOCO; or a path ending in .pth, .pt or .safetensors. None by
    default."""
    weights_bands: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Bands of weights in a file, in their order: s2:B04, or common names such as red."""
    first_conv: Literal["random", "rgb", "bands"] = "random"
    """How the first convolution starts: `random` is He-normal; `rgb` takes the pre-trained kernels
    for red, green and blue, their mean for every other band, all times 3 / number of bands;
    `bands` takes those of each band by its name, zeros for a band that has none. If not said:
    `rgb` with weights of smp, `bands` with others, else `random`."""

    @model_validator(mode="before")
    @classmethod
    def _settle_first_conv(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and isinstance(fields.get("weights_bands"), list):
            # What comes out of here is no JSON any more, in which a list would do for a tuple.
            fields = {**fields, "weights_bands": tuple(fields["weights_bands"])}
        if isinstance(fields, dict) and "first_conv" not in fields and fields.get("weights"):
            by_name = _weights_source(str(fields["weights"])) != "smp"
            return {**fields, "first_conv": "bands" if by_name else "rgb"}
        return fields

    @model_validator(mode="after")
    def _weights_and_bands_go_together(self) -> "SmpSettings":
        if self.first_conv == "rgb" and self.weights is None:
            raise ValueError("first_conv: rgb needs pre-trained weights; set weights: imagenet")
        if self.first_conv == "rgb" and self.weights_of != "smp":
            raise ValueError("first_conv: rgb is of smp's weights; leave it out with others")
        if self.first_conv == "bands" and self.weights_of in (None, "smp"):
            raise ValueError("first_conv: bands needs weights that know their bands: torchgeo's")
        if self.weights_bands is not None and self.weights_of != "file":
            raise ValueError("weights_bands is of weights in a file; leave it out with others")
        return self

    @property
    def weights_of(self) -> Literal["smp", "torchgeo", "file"] | None:
        """Where the weights are from."""
        return None if self.weights is None else _weights_source(self.weights)


def _weights_source(name: str) -> Literal["smp", "torchgeo", "file"]:
    if name.endswith((".pth", ".pt", ".safetensors")):
        return "file"
    return "torchgeo" if "_Weights." in name else "smp"


def restores_bands(settings: "UNetSettings | SmpSettings") -> bool:
    """Return whether a network gives back the bands it is given, and tells no classes."""
    return isinstance(settings, UNetSettings) and settings.target == "bands"


NetworkSettings = Annotated[UNetSettings | SmpSettings, Field(discriminator="kind")]
"""What a network is, whichever its kind."""


class BorderSettings(Settings):
    """What a pixel between two objects weighs more in the cross entropy, as in the U-Net paper.

    w0 · exp(−(d1 + d2)² / (2σ²)), with the distances to the borders of the two nearest objects.
    """

    w0: float = Field(default=10.0, ge=0)
    """Weight where two objects touch, beside the weight of the class."""
    sigma: float = Field(default=5.0, gt=0)
    """How soon it falls with the width of the gap, in pixels."""
    objects: Literal["land", "water", "both"] = "land"
    """Pieces of land (channels stay open), of water (bars and dams stay closed), or the greater of
    the two weights."""


class LossSettings(Settings):
    """What training minimises: a weighted sum, over pixels whose label is known."""

    cross_entropy: float = Field(default=1.0, ge=0)
    """Weight of the cross entropy."""
    dice: float = Field(default=1.0, ge=0)
    """Weight of the Dice loss."""
    jaccard: float = Field(default=0.0, ge=0)
    """Weight of the Jaccard loss: 1 − IoU of probabilities, class by class."""
    tversky: float = Field(default=0.0, ge=0)
    """Weight of the Tversky loss: Dice with a price each for what is found in vain and missed."""
    lovasz: float = Field(default=0.0, ge=0)
    """Weight of the Lovász softmax loss: a convex stand-in for 1 − IoU."""
    mcc: float = Field(default=0.0, ge=0)
    """Weight of 1 − Matthews' correlation coefficient."""
    focal: float = Field(default=0.0, ge=0)
    """Weight of the focal loss, each class against all others, which looks at hard pixels."""
    soft_cross_entropy: float = Field(default=0.0, ge=0)
    """Weight of the cross entropy with smoothed labels."""
    soft_bce: float = Field(default=0.0, ge=0)
    """Weight of the binary cross entropy of each class with smoothed labels."""
    boundary: float = Field(default=0.0, ge=0)
    """Weight of the boundary loss: probability on the wrong side, times pixels from the boundary;
    0.01 to 0.1 beside a loss of overlap."""
    sobel: float = Field(default=0.0, ge=0)
    """Weight of the squared difference of edges, found by Sobel's filters."""
    class_weights: tuple[float, ...] | None = None
    """Weight of each class in the cross entropy, in the order of the classes; equal by default."""
    border: BorderSettings | None = None
    """More weight in the cross entropy for pixels between two objects; none by default."""
    focal_gamma: float = Field(default=2.0, ge=1)
    """Power by which the focal loss turns from pixels that are right already."""
    tversky_alpha: float = Field(default=0.3, ge=0)
    """Price of a pixel found in vain, in the Tversky loss."""
    tversky_beta: float = Field(default=0.7, ge=0)
    """Price of a pixel missed, in the Tversky loss."""
    smoothing: float = Field(default=0.1, ge=0, lt=0.5)
    """Share of a label that the two soft losses give to other classes."""

    @property
    def parts(self) -> dict[str, float]:
        """The losses that count, and their weights."""
        no_parts = {"class_weights", "border", "focal_gamma", "tversky_alpha", "tversky_beta"}
        fields = self.model_dump(exclude=no_parts | {"smoothing"})
        return {name: weight for name, weight in fields.items() if weight > 0}

    @model_validator(mode="after")
    def _something_to_minimise(self) -> "LossSettings":
        if not self.parts:
            raise ValueError("all losses have the weight 0: there is nothing to minimise")
        if self.border is not None and not self.cross_entropy:
            raise ValueError("loss.border weighs pixels of cross_entropy, whose weight is 0")
        if self.tversky and not (self.tversky_alpha or self.tversky_beta):
            raise ValueError("tversky_alpha and tversky_beta are both 0: no error has a price")
        if self.class_weights is not None and (
            min(self.class_weights, default=0) < 0 or sum(self.class_weights) == 0
        ):
            raise ValueError("class_weights are to be 0 or more, and not all 0")
        return self


class AugmentSettings(Settings):
    """How training chips are varied."""

    flips: bool = True
    """Mirror at random, left-right and up-down."""
    rotations: bool = True
    """Turn at random by a multiple of 90°."""
    turn: float = Field(default=0.0, ge=0, le=180)
    """Turn by up to so many degrees, either way, after that."""
    shift: float = Field(default=0.0, ge=0)
    """Move by up to so many pixels, down or up and left or right."""
    scale: float = Field(default=1.0, ge=1, le=4)
    """Enlarge or shrink by up to this factor."""
    elastic_grid: float = Field(default=0.0, ge=0)
    """Bend: standard deviation, in pixels, of displacements at a few points, bicubic between."""
    elastic_points: int = Field(default=3, ge=2, le=32)
    """Of those points, how many to a side."""
    elastic_field: float = Field(default=0.0, ge=0)
    """Bend: scale, in pixels, of displacements drawn at each pixel and smoothed; see smoothing."""
    elastic_smoothing: float = Field(default=8.0, gt=0, le=64)
    """Standard deviation, in pixels, of the Gaussian that smooths them."""
    gain: float = Field(default=0.0, ge=0, lt=1)
    """Brighten or darken each band by up to this share of its reflectance."""
    offset: float = Field(default=0.0, ge=0)
    """Add to each band up to so many of its standard deviations, or take them away."""
    noise: float = Field(default=0.0, ge=0)
    """Standard deviation of noise at each pixel, in standard deviations of the band."""
    band_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Chance that a band is lost, and its mean stands in its place; one at least is left."""
    shadows: float = Field(default=0.0, ge=0, le=1)
    """Chance that a chip lies partly in the shadow of clouds."""
    shadow_depth: float = Field(default=0.6, gt=0, le=1)
    """Share of the light that is missing there, at most."""
    shadow_share: float = Field(default=0.5, gt=0, le=1)
    """Share of the chip that lies in it, at most."""
    holes: float = Field(default=0.0, ge=0, le=1)
    """Chance that a part of a chip has no data."""
    hole_share: float = Field(default=0.3, gt=0, lt=1)
    """Share of the chip that is lost, at most."""


class Config(Settings):
    """How a network is trained."""

    network: str = "unet-same"
    """A name that `geounet configs` lists, smp/DECODER/ENCODER, or a path ending in .yaml."""
    network_settings: dict[str, Any] = Field(default_factory=dict)
    """Settings of the network that differ from what the name means."""
    bands: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Names of the bands to use, in this order; by default all that the chips have."""
    labels: Literal["classes", "shares"] = "classes"
    """What chips teach: the class of each pixel; or how much of it is water, which `tile
    --water-shares` writes."""
    loss: LossSettings = LossSettings()
    augment: AugmentSettings = AugmentSettings()
    epochs: int = Field(default=100, ge=1)
    """How often all training chips are gone through, at most."""
    repeats: int = Field(default=1, ge=1)
    """How often an epoch shows each chip: an epoch of few steps is spent on checkpoints."""
    batch: int = Field(default=8, ge=1)
    """Chips that pass through the network at a time, over all devices together."""
    accumulate: int = Field(default=1, ge=1)
    """Batches per step, their gradients averaged: for steps of more chips than fit in memory."""
    sampling: Literal["each", "balanced"] = "each"
    """Each chip once per epoch; or, balanced, chips of much and little water and coast equally
    often."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """AdamW, or stochastic gradient descent with momentum."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Of sgd."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """At the start of a cosine that ends at zero."""
    warmup: int = Field(default=0, ge=0)
    """Steps in which the learning rate rises to that, before the cosine."""
    clip_norm: float | None = Field(default=None, gt=0)
    """Norm of the gradient, over all weights, that none exceeds; by default it may be any."""
    weight_decay: float = Field(default=1e-2, ge=0)
    """How strongly weights are drawn to zero."""
    patience: int = Field(default=20, ge=1)
    """Epochs without a better validation loss before training stops."""
    start: str | None = None
    """Path of a model file whose weights training starts from, as with --from."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Of the weights' start, the order of the chips and their variation."""
    checkpoint_every: int | None = Field(default=None, ge=1)
    """Steps after which a checkpoint is written to go on from, besides that of each epoch."""
    workers: int = Field(default=2, ge=0)
    """Processes that read chips; 0 reads in the main one."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Number format of the forward pass; auto is bf16 where the hardware is made for it."""
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    """auto, cpu, cuda or cuda:N."""
    devices: int = Field(default=1, ge=1)
    """GPUs of each machine that train together, a process each; with `device: cpu`, processes."""
    nodes: int = Field(default=1, ge=1)
    """Machines that train together, each with the same command."""
    compile: bool = False
    """Whether torch compiles the network: minutes at first, and each step is faster."""
