"""Heads on fixed features that say how sure they are (Poduval et al. 2020, arXiv 2005.11797, and rivals).

A head is a hidden layer and a layer of logits, trained on the features of a network that stays as it is.

    plain         softmax of the logits
    temperature   the same, divided by the temperature of least log loss on lesions that a head did not see
    dropout       hidden units dropped in prediction too; the mean of several draws (Gal, Ghahramani 2016)
    ensemble      the mean of several plain heads (Lakshminarayanan et al. 2017)
    variational   a distribution over the logits instead of the weights, as the article has it

The article's equations and prior were not found. `variational` is our reading of "Bayesian inference over
outputs": q(f | x) = N(μ(x), diag s²(x)) for the logits f, a prior N(m, s₀²·I), and for each image the loss
E_q[−log softmax(f)_y] + λ·KL(q ‖ prior). The answer is the mean softmax of draws from q.

Shapes: N images, F features, C classes, K draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from sklearn.model_selection import StratifiedGroupKFold
from torch import Tensor, nn

from dermlens.calibration.probabilities import fit_scaling
from related.classical import FeatureRecipe

Floats = NDArray[np.float64]
Kind = Literal["plain", "temperature", "dropout", "ensemble", "variational"]


class HeadRecipe(FeatureRecipe):
    """A head on features, by default those of a frozen network.

    Attributes:
        head: which of the five.
        hidden: width of the hidden layer.
        epochs, batch_size, lr, weight_decay: of its training by AdamW at a constant rate.
        dropout: share of hidden units that are dropped, by `dropout` alone.
        members: of the ensemble.
        draws: that an answer is the mean of: of dropped units, or of logits.
        folds: of the training lesions, that the temperature is fitted over.
        prior_sd: s₀ of `variational`.
        kl: λ of `variational`; 1 is the evidence lower bound.
    """

    head: Kind
    hidden: PositiveInt = 128
    epochs: PositiveInt = 30
    batch_size: PositiveInt = 128
    lr: PositiveFloat = 1e-3
    weight_decay: NonNegativeFloat = 1e-2
    dropout: Annotated[float, Field(gt=0, lt=1)] = 0.5
    members: Annotated[int, Field(ge=2)] = 5
    draws: PositiveInt = 20
    folds: Annotated[int, Field(ge=2)] = 5
    prior_sd: PositiveFloat = 3.0
    kl: NonNegativeFloat = 1.0


class Head(nn.Module):
    """Hidden layer and logits; with `variances`, the log variance of each logit as well.

    Args:
        features: F.
        classes: C.
        hidden: width.
        dropout: of the hidden layer.
        variances: whether there are any.
    """

    def __init__(
        self, features: int, classes: int, *, hidden: int, dropout: float = 0.0, variances: bool = False
    ) -> None:
        super().__init__()
        self.hidden, self.dropout = nn.Linear(features, hidden), nn.Dropout(dropout)
        self.mean = nn.Linear(hidden, classes)
        self.log_variance = nn.Linear(hidden, classes) if variances else None

    def forward(self, x_NF: Tensor) -> tuple[Tensor, Tensor | None]:
        """μ_NC, and ln s²_NC where there are variances."""
        h_ND = self.dropout(F.relu(self.hidden(x_NF)))
        return self.mean(h_ND), None if self.log_variance is None else self.log_variance(h_ND)


def gaussian_kl(mean_NC: Tensor, log_variance_NC: Tensor, prior_C: Tensor, prior_sd: float) -> Tensor:
    """kl_N = ½·Σ_c [(s_c² + (μ_c − m_c)²)/s₀² − 1 − ln(s_c²/s₀²)], in nats.

    Args:
        mean_NC: μ.
        log_variance_NC: ln s².
        prior_C: m.
        prior_sd: s₀.
    """
    scaled_NC = (log_variance_NC.exp() + (mean_NC - prior_C) ** 2) / prior_sd**2
    return 0.5 * (scaled_NC - 1 - log_variance_NC + 2 * math.log(prior_sd)).sum(1)


def drawn_logits(mean_NC: Tensor, log_variance_NC: Tensor, draws: int, generator: torch.Generator) -> Tensor:
    """f_KNC = μ + s·ε, differentiable in μ and s."""
    noise_KNC = torch.randn((draws, *mean_NC.shape), generator=generator, dtype=mean_NC.dtype)
    return mean_NC + (0.5 * log_variance_NC).exp() * noise_KNC


def variational_loss(
    mean_NC: Tensor,
    log_variance_NC: Tensor,
    target_N: Tensor,
    prior_C: Tensor,
    *,
    prior_sd: float,
    kl: float,
    generator: torch.Generator,
) -> Tensor:
    """Mean over images of E_q[−log softmax(f)_y] by one draw, and λ times the divergence from the prior."""
    logits_NC = drawn_logits(mean_NC, log_variance_NC, 1, generator)[0]
    divergence_N = gaussian_kl(mean_NC, log_variance_NC, prior_C, prior_sd)
    return F.cross_entropy(logits_NC, target_N) + kl * divergence_N.mean()


def prior_mean(target_N: NDArray[np.int64], classes: int) -> Tensor:
    """m_C: logs of the class shares, of mean 0; a class without an image counts as one image."""
    counts_C = np.maximum(np.bincount(target_N, minlength=classes), 1)
    log_C = np.log(counts_C / counts_C.sum())
    return torch.from_numpy(log_C - log_C.mean()).float()


class FittedHead:
    """A head that was trained, with the scale of its features and its temperature.

    Args:
        recipe: which head.
        seed: of weights, order, dropout and draws.
    """

    def __init__(self, recipe: HeadRecipe, seed: int) -> None:
        self.recipe, self.seed = recipe, seed
        self.temperature = 1.0
        self.heads: list[Head] = []

    def fit(
        self,
        features_NF: NDArray[np.floating],
        target_N: NDArray[np.int64],
        lesion_N: NDArray[np.str_],
        classes: int,
    ) -> FittedHead:
        """Train on images.

        Args:
            features_NF: of the images that train.
            target_N: their classes.
            lesion_N: their lesions: the temperature is fitted on lesions that the head for it did not see.
            classes: C.
        """
        self.mean_F = features_NF.mean(axis=0)
        self.spread_F = np.maximum(features_NF.std(axis=0), 1e-6)
        x_NF = self._scaled(features_NF)
        members = self.recipe.members if self.recipe.head == "ensemble" else 1
        self.heads = [self._trained(x_NF, target_N, classes, self._seed(member)) for member in range(members)]
        if self.recipe.head == "temperature":
            self.temperature = self._fitted_temperature(x_NF, target_N, lesion_N, classes)
        return self

    @property
    def parameters(self) -> int:
        """Of all members together."""
        return sum(one.numel() for head in self.heads for one in head.parameters())

    def probabilities(self, features_NF: NDArray[np.floating]) -> Floats:
        """p_NC, in double precision."""
        x_NF = self._scaled(features_NF)
        generator = torch.Generator().manual_seed(self._seed(10_000))
        with torch.inference_mode():
            return np.asarray(self._mean_softmax(x_NF, generator).numpy(), dtype=np.float64)

    def _mean_softmax(self, x_NF: Tensor, generator: torch.Generator) -> Tensor:
        draws = self.recipe.draws
        if self.recipe.head == "variational":
            mean_NC, log_variance_NC = self.heads[0](x_NF)
            logits_KNC = drawn_logits(mean_NC.double(), log_variance_NC.double(), draws, generator)
        elif self.recipe.head == "dropout":
            torch.manual_seed(self._seed(10_000))
            self.heads[0].train()
            logits_KNC = torch.stack([self.heads[0](x_NF)[0] for _ in range(draws)])
            self.heads[0].eval()
        else:
            logits_KNC = torch.stack([head(x_NF)[0] for head in self.heads])
        return (logits_KNC.double() / self.temperature).softmax(-1).mean(0)

    def _trained(self, x_NF: Tensor, target_N: NDArray[np.int64], classes: int, seed: int) -> Head:
        recipe = self.recipe
        torch.manual_seed(seed)
        head = Head(
            x_NF.shape[1],
            classes,
            hidden=recipe.hidden,
            dropout=recipe.dropout if recipe.head == "dropout" else 0.0,
            variances=recipe.head == "variational",
        )
        loss = self._loss(target_N, classes, torch.Generator().manual_seed(seed))
        y_N = torch.from_numpy(target_N)
        optimizer = torch.optim.AdamW(head.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
        for _ in range(recipe.epochs):
            for rows in torch.split(torch.randperm(len(x_NF)), recipe.batch_size):
                mean_BC, log_variance_BC = head(x_NF[rows])
                optimizer.zero_grad()
                torch.autograd.backward(loss(mean_BC, log_variance_BC, y_N[rows]))
                optimizer.step()
        return head.eval()

    def _loss(
        self, target_N: NDArray[np.int64], classes: int, generator: torch.Generator
    ) -> Callable[[Tensor, Tensor | None, Tensor], Tensor]:
        recipe, prior_C = self.recipe, prior_mean(target_N, classes)

        def loss(mean_BC: Tensor, log_variance_BC: Tensor | None, target_B: Tensor) -> Tensor:
            if log_variance_BC is None:
                return F.cross_entropy(mean_BC, target_B)
            return variational_loss(
                mean_BC, log_variance_BC, target_B, prior_C,
                prior_sd=recipe.prior_sd, kl=recipe.kl, generator=generator,
            )  # fmt: skip

        return loss

    def _fitted_temperature(
        self, x_NF: Tensor, target_N: NDArray[np.int64], lesion_N: NDArray[np.str_], classes: int
    ) -> float:
        """Of the logits that heads give to lesions that they did not see; all training images count alike."""
        folds = StratifiedGroupKFold(self.recipe.folds, shuffle=True, random_state=self.seed)
        logits_NC = np.empty((len(target_N), classes))
        for seen, unseen in folds.split(np.zeros(len(target_N)), target_N, lesion_N):
            head = self._trained(x_NF[seen], target_N[seen], classes, self._seed(0))
            with torch.inference_mode():
                logits_NC[unseen] = head(x_NF[unseen])[0].numpy()
        return fit_scaling("temperature", logits_NC, target_N, np.ones(len(target_N))).temperature

    def _scaled(self, features_NF: NDArray[np.floating]) -> Tensor:
        return torch.from_numpy(((features_NF - self.mean_F) / self.spread_F).astype(np.float32))

    def _seed(self, member: int) -> int:
        return 1_000_003 * self.seed + member
