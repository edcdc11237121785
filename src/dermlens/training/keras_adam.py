"""Adam as Keras 2 has it: ε beside a √v that is not bias-corrected.

Keras:    p ← p − lr · √(1−β₂ᵗ)/(1−β₁ᵗ) · m / (√v + ε)
PyTorch:  p ← p − lr/(1−β₁ᵗ) · m / (√v/√(1−β₂ᵗ) + ε)

The two are one rule with ε_PyTorch = ε_Keras/√(1−β₂ᵗ), which for the paper's ε = 0.1 begins at 3.2, is 0.32
at step 100 and ends at 0.1: no fixed ε of PyTorch's Adam reproduces it. Source: Kingma & Ba 2015, end of
section 2 (the "ε̂" form); P§3.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, ParamsT


class KerasAdam(Optimizer):
    """Adam with Keras's place of ε.

    Args:
        params: parameters or groups of them.
        lr: learning rate.
        betas: decay of the running means of the gradient and of its square.
        eps: ε, added to √v.
    """

    def __init__(
        self, params: ParamsT, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-7
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One update of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                self._update(params, group)
        return loss

    def _update(self, params: list[Tensor], group: dict[str, Any]) -> None:
        """Update the parameters of one group, all tensors of them in a few calls."""
        lr, eps, (beta1, beta2) = group["lr"], group["eps"], group["betas"]
        for p in params:
            if not self.state[p]:
                self.state[p] = {"step": 0, "m": torch.zeros_like(p), "v": torch.zeros_like(p)}
            self.state[p]["step"] += 1
        grads = [p.grad for p in params if p.grad is not None]
        m, v = ([self.state[p][name] for p in params] for name in "mv")
        # A parameter counts its own steps: one frozen at first starts its bias correction when it thaws.
        steps = [self.state[p]["step"] for p in params]
        torch._foreach_lerp_(m, grads, 1 - beta1)
        torch._foreach_mul_(v, beta2)
        torch._foreach_addcmul_(v, grads, grads, 1 - beta2)
        denominators = torch._foreach_sqrt(v)
        torch._foreach_add_(denominators, eps)
        rates = [-lr * math.sqrt(1 - beta2**t) / (1 - beta1**t) for t in steps]
        torch._foreach_addcdiv_(params, m, denominators, rates)
