"""The systems that the paper compares itself with, on one ground, outside the wheel: python -m related."""
