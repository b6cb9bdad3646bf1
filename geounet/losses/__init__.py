"""What training makes small: a weighted sum of losses over the pixels whose class is known."""

from geounet.losses.segmentation import SegmentationLoss

__all__ = ["SegmentationLoss"]
