"""From someone's folder of images to batches: tables, splits, pixels, metadata, augmentation."""
