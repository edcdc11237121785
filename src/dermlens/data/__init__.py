"""From someone's folder of images to batches: tables, splits, pixels, metadata, augmentation."""

from __future__ import annotations
