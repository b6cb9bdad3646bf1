"""What a training will be, checked before it begins."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from geounet.augment import Augmenter, warn_of_no_light
from geounet.chipset import ChipSet
from geounet.config import Config, SmpSettings, UNetSettings, load_network, restores_bands
from geounet.dataset import ChipReader, open_reader, usable_splits
from geounet.engine import choose_device, choose_precision
from geounet.errors import ConfigError
from geounet.losses.segmentation import BY_CLASS
from geounet.networks import Network, build_network
from geounet.networks.halo import View, measure_view
from geounet.sampling import WHOLE, EvenBatches, Share, coast_groups
from geounet.starting import start_network

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingPlan:
    """A training of which all is checked that can be before it begins."""

    config: Config
    reader: ChipReader
    network_settings: UNetSettings | SmpSettings
    network: Network
    """With the weights that it starts from."""
    view: View
    """How far the network sees."""
    splits: Mapping[str, list[str]]
    """Names of the chips of train, val and test; val is empty where none can be judged."""
    device: str
    precision: str
    """Of the forward and backward pass: fp32 or bf16."""

    groups: list[list[int]] | None
    """Training chips that are seen equally often, by their number; None sees each once an epoch."""
    start: Mapping[str, Any] | None = None
    """What the network starts from, as `start_network` records it; None where all is fresh."""

    @property
    def restores(self) -> bool:
        """Whether the network gives back its bands, and tells no classes."""
        return restores_bands(self.network_settings)

    @property
    def teacher(self) -> ChipReader:
        """What reads the samples that are learned from; scores are always by classes."""
        return replace(self.reader, shares=self.config.labels == "shares")

    @property
    def batches(self) -> int:
        """Of one epoch."""
        return len(self.sampler(WHOLE))

    @property
    def steps(self) -> int:
        """Of the whole training, if nothing stops it early."""
        return self.config.epochs * (self.batches // self.config.accumulate)

    @property
    def augmenter(self) -> Augmenter:
        """What varies the training chips."""
        reader, info = self.reader, self.reader.folder.info
        spread = torch.tensor([info.std[info.band_list.index(band)] for band in reader.bands])
        augment = self.config.augment
        return Augmenter(augment, reader.bands, reader.mean, reader.std, spread=spread)

    def sampler(self, share: Share) -> EvenBatches:
        """Return what chooses the training chips of a process."""
        return EvenBatches(
            len(self.splits["train"]),
            self.config.batch,
            seed=self.config.seed,
            accumulate=self.config.accumulate,
            groups=self._groups_of_an_epoch,
            share=share,
        )

    @property
    def _groups_of_an_epoch(self) -> list[list[int]] | None:
        """What is seen equally often, each as often as an epoch repeats it."""
        if self.config.repeats == 1:
            return self.groups
        return (self.groups or [list(range(len(self.splits["train"])))]) * self.config.repeats

    @property
    def identity(self) -> str:
        """What a run must have in common with one that it resumes, as JSON."""
        # Where and how fast it runs may change; what `network` names is in its settings.
        free = {"workers", "device", "devices", "nodes", "precision", "compile", "network"}
        free |= {"checkpoint_every", "start"}
        settings = self.config.model_dump(mode="json", exclude=free)
        network = self.network_settings.model_dump(mode="json")
        chips = self.reader.folder.info.fingerprint
        record = {**settings, "network_settings": network, "chips": chips, "start": self.start}
        return json.dumps(record, sort_keys=True)


def plan_training(folder: ChipSet, config: Config) -> TrainingPlan:
    """Check that chips, config and network go together.

    Raises:
        ChipsError: There is nothing to train on.
        ConfigError: They do not.
    """
    settings = load_network(config.network, config.network_settings)
    splits = usable_splits(folder, by_label=not restores_bands(settings))
    _check_sampling(folder, config)
    reader = open_reader(folder, config.bands)
    _check_class_weights(config, reader)
    warn_of_no_light(config.augment, reader.bands)
    if config.labels == "shares":
        _check_shares(reader, config, restores=restores_bands(settings))
    device = choose_device(config.device)
    torch.manual_seed(config.seed)  # of the weights that the network starts from
    network = build_network(
        settings,
        bands=[band.common_name or band.name for band in reader.bands],
        classes=len(reader.classes),
        pretrained=config.start is None,
    )
    reader, start = start_network(network, settings, reader, config.start)
    plan = TrainingPlan(
        config=config,
        reader=_fitted(reader, network, config),
        network_settings=settings,
        network=network,
        view=_view(network, config, reader),
        splits=splits,
        groups=_groups(folder, splits["train"]) if config.sampling == "balanced" else None,
        device=device,
        precision=choose_precision(config.precision, device),
        start=start,
    )
    _check_sizes(plan)
    _check_steps(plan)
    return plan


def _check_sampling(folder: ChipSet, config: Config) -> None:
    if config.sampling == "balanced" and not folder.info.labelled:
        raise ConfigError(
            f"`sampling` is balanced, by the water and coast of labels, and {folder.path} has "
            "none. Leave it out."
        )


def _groups(folder: ChipSet, names: list[str]) -> list[list[int]]:
    """Return the groups of training chips that are seen equally often, and say what they are."""
    groups = coast_groups(folder.index, names)
    logger.info("balanced sampling: groups of %s chips", ", ".join(str(len(g)) for g in groups))
    return groups


def _check_steps(plan: TrainingPlan) -> None:
    """Refuse steps that cannot be made of these chips."""
    config, chips = plan.config, plan.sampler(WHOLE).count
    processes = config.devices * config.nodes
    if plan.batches % config.accumulate:
        raise ConfigError(
            f"`accumulate` is {config.accumulate}, and there are {chips} training chips: not one "
            f"for each batch of a step. Use --set accumulate={chips} at most."
        )
    if chips // plan.batches < processes:
        raise ConfigError(
            f"{processes} processes are to train, and batches have {chips // plan.batches} chips: "
            "not one for each. Use fewer --devices, or a greater `batch`."
        )
    if config.warmup >= plan.steps:
        raise ConfigError(
            f"`warmup` is {config.warmup} steps, and the whole training has {plan.steps}. Use "
            f"--set warmup={plan.steps // 10}."
        )
    if processes > 1 and ":" in config.device:
        raise ConfigError(
            f"`device` is {config.device}, and {processes} are to train. Use --set device=cuda."
        )
    if plan.device == "cuda" and (there := torch.cuda.device_count()) < config.devices:
        raise ConfigError(f"There are {there} GPUs here, and --devices is {config.devices}.")


def _view(network: Network, config: Config, reader: ChipReader) -> View:
    """Return how far the network sees, and say so where no halo makes windows agree."""
    view = measure_view(network, len(reader.bands))
    if view.halo is None:
        logger.warning(
            "Network %s has no exact halo (%s): `geounet predict` will blend windows that overlap, "
            "and say how far they disagree. One whose view is limited, such as unet-same or "
            "smp/unet/resnet34, needs none.",
            config.network,
            view.obstacle,
        )
    return view


def _fitted(reader: ChipReader, network: Network, config: Config) -> ChipReader:
    """Return what reads samples that the network takes, and say what is made up for it."""
    context = reader.folder.info.context
    if context < network.margin:
        logger.warning(
            "Network %s loses %d pixels on each side, and the chips have %d of context: the rest "
            "is their own, mirrored. `geounet tile --context %d` gives chips real neighbours.",
            config.network,
            network.margin,
            context,
            network.margin,
        )
    return reader.fitted(network)


def _check_class_weights(config: Config, reader: ChipReader) -> None:
    weights, names = config.loss.class_weights, [c.name for c in reader.classes]
    if weights is not None and len(weights) != len(names):
        raise ConfigError(
            f"`loss.class_weights` has {len(weights)} values, and the chips have {len(names)} "
            f"classes: {', '.join(names)}. Give one for each, in this order."
        )


def _check_shares(reader: ChipReader, config: Config, *, restores: bool) -> None:
    """Refuse to learn shares of water where there are none, or nothing would."""
    if restores:
        raise ConfigError(
            f"`labels` is shares, and {config.network} looks at no label. Leave it out."
        )
    if not reader.folder.info.shares:
        raise ConfigError(
            f"`labels` is shares, and the chips in {reader.folder.path} have none. Run tile with "
            "--water-shares, or leave it out."
        )
    if [one.water for one in reader.classes] not in ([False, True], [True, False]):
        raise ConfigError(
            "`labels` is shares, of land and water alone, and the chips have the classes "
            f"{', '.join(one.name for one in reader.classes)}. Leave it out."
        )
    if config.loss.parts.keys() <= BY_CLASS:
        raise ConfigError(
            f"`labels` is shares, and {', '.join(config.loss.parts)} of `loss` goes by classes. "
            "Give another a weight, for instance --set loss.cross_entropy=1."
        )


def _check_sizes(plan: TrainingPlan) -> None:
    """Refuse chips that the network cannot take."""
    info, side, network = plan.reader.folder.info, plan.reader.side, plan.network
    try:
        network.check_size(torch.empty(1, len(plan.reader.bands), side, side, device="meta"))
    except ValueError as error:
        context = f" ({info.size} and {info.context} of context on each side)" * bool(info.context)
        raise ConfigError(
            f"Network {plan.config.network} cannot take chips of {side} × {side} pixels{context}. "
            f"{error} {plan.reader.folder.OTHER_SIZE}"
        ) from None
    smallest = plan.sampler(WHOLE).count // plan.batches
    normalised = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in network.modules())
    if normalised and smallest * (side // network.stride) ** 2 < 2:
        raise ConfigError(
            f"A single chip of {side} × {side} pixels is one pixel at the bottom of network "
            f"{plan.config.network}, of which batch normalisation has no spread. Use larger chips, "
            "or a greater `batch`."
        )
    _check_pooled(plan, smallest)


def _check_pooled(plan: TrainingPlan, smallest: int) -> None:
    """Refuse batches of one chip where the network pools a chip to a pixel and normalises that."""
    network, side, pooled = plan.network, plan.reader.side, []

    def look(_: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        pooled.append(args[0].shape[-2:].numel() == 1)

    if smallest > 1 or plan.view.halo is not None:
        return
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    hooks = [module.register_forward_pre_hook(look) for module in norms]
    with torch.no_grad():
        network.eval()(torch.zeros(1, len(plan.reader.bands), side, side))
    network.train()
    for hook in hooks:
        hook.remove()
    if any(pooled):
        raise ConfigError(
            f"Network {plan.config.network} pools a whole chip to one pixel, of which, alone in a "
            "batch, batch normalisation has no spread. Use a greater `batch`."
        )
