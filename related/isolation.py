"""Deep isolation forest (Li et al. 2020, arXiv 2003.09365): out-of-distribution scores of a network's stages.

For every stage of the network and every class a forest is fitted on the globally averaged features of the
training images of that class. An image's score at a stage is the least that the forests of the classes
give it, as it need be like one class alone; the score is the mean over stages. How the classes and the stages
are joined was not found: both are a reading, after the class-conditional Gaussians of Lee et al. 2018.

Shapes: N images, F features of a stage, S stages, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest
from torch import Tensor, fx

from dermlens.models.classifier import LesionClassifier
from dermlens.training.drop_block import stage_outputs

Floats = NDArray[np.float64]


class DeepIsolationForest:
    """Forests by stage and class.

    Args:
        trees: of each forest.
        samples: that a tree is grown on, at the most.
        seed: of all.
    """

    def __init__(self, trees: int = 100, samples: int = 256, seed: int = 0) -> None:
        self.trees, self.samples, self.seed = trees, samples, seed
        self.forests: list[list[IsolationForest]] = []

    def fit(self, stages: Sequence[Floats], target_N: NDArray[np.int64]) -> DeepIsolationForest:
        """Grow the forests.

        Args:
            stages: features_NF of each stage, of training images.
            target_N: their classes; one that has no image has no forest.
        """
        self.forests = [
            [self._grown(features_NF[target_N == one]) for one in np.unique(target_N)]
            for features_NF in stages
        ]
        return self

    def scores(self, stages: Sequence[Floats]) -> Floats:
        """score_N in 0 … 1, the higher the rarer: 2^(−E[h]/c(ψ)) of Liu et al. 2008, joined as above."""
        by_stage = [
            np.min([-forest.score_samples(features_NF) for forest in forests], axis=0)
            for forests, features_NF in zip(self.forests, stages, strict=True)
        ]
        return np.asarray(np.mean(by_stage, axis=0), dtype=np.float64)

    def _grown(self, features_NF: Floats) -> IsolationForest:
        samples = min(self.samples, len(features_NF))
        forest = IsolationForest(n_estimators=self.trees, max_samples=samples, random_state=self.seed)
        return forest.fit(features_NF)


class _Stages(fx.Interpreter):
    """Runs a graph and keeps what some of its nodes gave."""

    def __init__(self, module: fx.GraphModule, wanted: Sequence[fx.Node]) -> None:
        super().__init__(module)
        self.wanted = list(wanted)
        self.kept: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        found = super().run_node(n)
        if n in self.wanted:
            self.kept[n.name] = found
        return found


def stage_features(model: LesionClassifier, x_BCHW: Tensor) -> list[Floats]:
    """The globally averaged output of each stage of a network's backbone, (B, F) each, the last stage last.

    Args:
        model: in evaluation mode.
        x_BCHW: pixels of 0 to 255.
    """
    backbone = model.backbone
    assert isinstance(backbone, fx.GraphModule)
    nodes = stage_outputs(model)
    stages = _Stages(backbone, nodes)
    with torch.inference_mode():
        stages.run(model.normalize(x_BCHW))
    return [stages.kept[node.name].mean(dim=(2, 3)).double().numpy() for node in nodes]
