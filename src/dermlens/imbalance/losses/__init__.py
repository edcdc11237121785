"""Losses, one a file: a decorated function here and its settings in `imbalance/config.py` add one."""
