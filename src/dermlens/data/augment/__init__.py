"""What is drawn anew for each training image and step, on batches."""

from dermlens.data.augment.augmentation import Augmentation

__all__ = ["Augmentation"]
