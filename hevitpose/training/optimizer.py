"""The optimiser of a recipe, and which parameters it treats how."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from timm.optim import param_groups_weight_decay
from timm.optim.muon import zeropower_via_newtonschulz
from timm.optim.nadamw import nadamw
from torch import Tensor, nn

from hevitpose.config import TrainingConfig

#: What turns features into keypoints. Its rows are keypoints or bins: no matrix between two layers.
_OUTPUTS = ("head.final.*", "head.cls_?.*")


def create_optimizer(
    model: nn.Module, recipe: TrainingConfig, learning_rate: float
) -> torch.optim.Optimizer:
    """Adam, AdamW or Muon; norms and biases are not decayed.

    Muon orthogonalises the update of every matrix between two layers. What is no such matrix
    (norms, biases, depthwise kernels, the output layer) goes by AdamW at the same rate.
    """
    groups = param_groups_weight_decay(model, recipe.weight_decay, fallback_list=_OUTPUTS)
    outputs = [bool(group.pop("use_fallback", False)) for group in groups]
    if recipe.optimizer == "muon":
        return Muon(
            [
                {**group, "params": chosen, "orthogonal": orthogonal}
                for group, output in zip(groups, outputs, strict=True)
                for orthogonal in (True, False)
                if (
                    chosen := [
                        p for p in group["params"] if (is_matrix(p) and not output) is orthogonal
                    ]
                )
            ],
            learning_rate,
        )
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimizer]
    # Under autocast a fused step unscales gradients itself, after they would have been clipped.
    mixed = recipe.precision != "fp32"
    return kind(groups, lr=learning_rate, fused=not (mixed and recipe.clip_norm))


def is_matrix(parameter: Tensor) -> bool:
    """Whether a parameter maps channels to channels; kernels count as (out, in * kernel area)."""
    if parameter.ndim < 2 or min(parameter.shape[:2]) == 1:
        return False
    sides = (len(parameter), parameter[0].numel())
    return min(sides) >= 4 and max(sides) <= 128 * min(sides)


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024), its step as long as AdamW's (Liu et al. 2025, 0.2 sqrt(max side)).

    The momentum's nearest orthogonal matrix, by five Newton-Schulz steps, for groups that are
    ``orthogonal``; AdamW with Nesterov momentum for the others. As timm's, but matrices of equal
    shape are one batch, and in float32: bfloat16 is slow where the processor has none.
    """

    MOMENTUM = 0.95
    BETAS = (0.9, 0.95)
    EPSILON = 1e-7
    #: (a, b, c) of each step ``X <- a X + (b A + c A^2) X`` with ``A = X X^T`` (leloykun, 2025).
    NEWTON_SCHULZ = (
        (4.0848, -6.8946, 2.9270),
        (3.9505, -6.3029, 2.6377),
        (3.7418, -5.5913, 2.3037),
        (2.8769, -3.1427, 1.2046),
        (2.8366, -3.0525, 1.2012),
    )

    def __init__(self, groups: list[dict[str, Any]], lr: float) -> None:
        super().__init__(groups, {"lr": lr, "weight_decay": 0.0, "orthogonal": False})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step; ``closure`` computes the gradients first, where it is given."""
        with torch.enable_grad():
            loss = closure() if closure is not None else None
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if parameters:
                step = self._orthogonal_step if group["orthogonal"] else self._adam_step
                step(parameters, [p.grad for p in parameters], group["lr"], group["weight_decay"])
        return loss

    def _states(self, parameters: list[Tensor], *names: str) -> list[list[Tensor]]:
        for parameter in parameters:
            state = self.state[parameter]
            for name in names if not state else ():
                scalar = name == "step"
                state[name] = torch.zeros(()) if scalar else torch.zeros_like(parameter)
        return [[self.state[p][name] for p in parameters] for name in names]

    def _orthogonal_step(
        self, parameters: list[Tensor], gradients: list[Tensor], lr: float, decay: float
    ) -> None:
        (momenta,) = self._states(parameters, "momentum")
        torch._foreach_mul_(parameters, 1 - lr * decay)
        torch._foreach_lerp_(momenta, gradients, 1 - self.MOMENTUM)
        batches: dict[torch.Size, list[tuple[Tensor, Tensor, bool]]] = defaultdict(list)
        updates = torch._foreach_lerp(gradients, momenta, self.MOMENTUM)
        for parameter, update in zip(parameters, updates, strict=True):
            matrix = update.flatten(1)
            tall = matrix.shape[0] > matrix.shape[1]
            matrix = matrix.T if tall else matrix
            batches[matrix.shape].append((parameter, matrix, tall))
        for (_, longer), batch in batches.items():
            orthogonal = zeropower_via_newtonschulz(
                torch.stack([matrix for _, matrix, _ in batch]),
                len(self.NEWTON_SCHULZ),
                list(self.NEWTON_SCHULZ),
                eps=self.EPSILON,
                dtype=torch.float32,
            )
            for (parameter, _, tall), matrix in zip(batch, orthogonal, strict=True):
                matrix = matrix.T if tall else matrix
                parameter.add_(matrix.reshape(parameter.shape), alpha=-lr * 0.2 * math.sqrt(longer))

    def _adam_step(
        self, parameters: list[Tensor], gradients: list[Tensor], lr: float, decay: float
    ) -> None:
        first, second, steps = self._states(parameters, "first", "second", "step")
        nadamw(
            parameters,
            gradients,
            first,
            second,
            steps,
            foreach=True,
            beta1=self.BETAS[0],
            beta2=self.BETAS[1],
            lr=lr,
            weight_decay=decay,
            eps=self.EPSILON,
            caution=False,
            maximize=False,
            max_lr=None,
        )
