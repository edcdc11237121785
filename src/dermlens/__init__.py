"""Train, evaluate, explain and ship classifiers of dermoscopic skin-lesion images."""

__version__ = "0.1.0"
