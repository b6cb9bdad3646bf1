"""What to do when a batch does not fit in the memory of the device."""

import gc

import torch
from torch import Tensor

from geounet.dataset import Samples
from geounet.engine import out_of_memory
from geounet.errors import ConfigError
from geounet.task import SegmentationTask


def fits(task: SegmentationTask, image: Tensor, *, bf16: bool) -> bool:
    """Return whether a step can be done on `image`, (B, bands, H, W), by doing it without effect.

    Args:
        task: On a device.
        image: On that device.
        bf16: Whether the network runs in bf16.
    """
    weights = [p for p in task.parameters() if p.requires_grad]
    try:
        moments = [torch.empty_like(p) for p in weights for _ in range(2)]  # of AdamW
        with torch.autocast(image.device.type, torch.bfloat16, enabled=bf16):
            label = torch.zeros_like(image[:, 0], dtype=torch.uint8)
            loss = task.own_loss(task(image), Samples(image, label))
            torch.autograd.grad(loss, weights, allow_unused=True)
        del moments
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        return False
    return True


def too_large(
    task: SegmentationTask,
    *,
    chip: tuple[int, int, int],
    batch: int,
    world: int,
    device: str,
    bf16: bool,
) -> ConfigError:
    """Return the error that says which batch would fit, found by trying halves.

    Args:
        task: What could not be done.
        chip: Its shape: bands, height, width.
        batch: Chips that one device had to take and could not.
        world: How many devices had as many at once.
        device: Which.
        bf16: Whether the network runs in bf16.
    """
    task.to(device).train()
    task.loss.eval()  # so that it waits for no other process
    size = batch // 2
    while size:
        gc.collect()  # frames of what failed hold its tensors
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        if fits(task, torch.zeros(size, *chip, device=device), bf16=bf16):
            return ConfigError(
                f"{batch} chips do not fit in the memory of {device} at once; {size} do: --set "
                f"batch={size * world} --set accumulate={-(-batch // size)} makes steps of as many."
            )
        size //= 2
    return ConfigError(
        f"Not even one chip of {chip[1]} × {chip[2]} pixels fits in the memory of {device} with "
        "this network. Take a narrower one (--set network_settings.base_width=16), or tile with a "
        "smaller --size."
    )
