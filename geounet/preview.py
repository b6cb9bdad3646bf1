"""What training chips look like when the network is shown them, to be looked at before the rest."""

from pathlib import Path

import numpy as np
import torch

from geounet.dataset import Samples
from geounet.report import VariedChip, draw_augmented_sheet, picture_bands
from geounet.training_plan import TrainingPlan

CHIPS = 3
"""Training chips on the sheet: those with the most coast."""
STEPS = 5
"""Of the training that is about to begin, each a column."""


def draw_preview(plan: TrainingPlan, path: Path) -> None:
    """Draw training chips as they are, and as they are in each of the first steps; a PNG.

    Nothing is drawn where the sheet is there already.
    """
    if path.is_file():  # of the run that is gone on with
        return
    reader = plan.reader
    index = reader.folder.index.set_index("chip").loc[plan.splits["train"]].sort_index()
    names = index.sort_values("coast_m", ascending=False, kind="stable").index[:CHIPS]
    chips = [reader.read(name) for name in names]
    image, label = torch.stack([c.image for c in chips]), torch.stack([c.label for c in chips])
    views = [Samples(image, label)]
    for step in range(STEPS):
        views.append(Samples(*plan.augmenter(image, label, seed=plan.config.seed, step=step)))
    bands, kind = picture_bands(reader.bands)
    indexes = [reader.bands.index(band) for band in bands]
    mean, std = reader.mean[indexes, None, None], reader.std[indexes, None, None]
    varied = []
    for number, name in enumerate(names):
        images = torch.stack([view.image[number] for view in views])  # (views, bands, S, S)
        valid = (images != 0).any(dim=1, keepdim=True)
        values = (images[:, indexes] * std + mean).where(valid, np.nan)
        labels = torch.stack([view.label[number] for view in views])
        varied.append(VariedChip(name, values.numpy(), labels.numpy()))
    draw_augmented_sheet(varied, reader.classes, path, kind=kind)
