"""The optimiser of a recipe, and which parameters it treats how."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from timm.optim import param_groups_weight_decay
from timm.optim.muon import zeropower_via_newtonschulz
from torch import Tensor, nn

from hevitpose.config.schema import TrainingConfig

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
        super().__init__(groups, {"lr": lr, "weight_decay": 0.0, "orthogonal": False, "steps": 0})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step; ``closure`` computes the gradients first, where it is given."""
        with torch.enable_grad():
            loss = closure() if closure is not None else None
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if parameters:
                group["steps"] += 1
                step = self._orthogonal_step if group["orthogonal"] else self._adam_step
                torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
                step(parameters, [p.grad for p in parameters], group)
        return loss

    def _states(self, parameters: list[Tensor], name: str) -> list[Tensor]:
        for parameter in parameters:
            if name not in self.state[parameter]:
                self.state[parameter][name] = torch.zeros_like(parameter)
        return [self.state[parameter][name] for parameter in parameters]

    def _orthogonal_step(
        self, parameters: list[Tensor], gradients: list[Any], group: dict[str, Any]
    ) -> None:
        momenta = self._states(parameters, "momentum")
        torch._foreach_lerp_(momenta, gradients, 1 - self.MOMENTUM)
        batches: dict[torch.Size, list[tuple[Tensor, Tensor, bool]]] = defaultdict(list)
        updates = torch._foreach_lerp(gradients, momenta, self.MOMENTUM)
        for parameter, update in zip(parameters, updates, strict=True):
            matrix = update.flatten(1)
            tall = matrix.shape[0] > matrix.shape[1]
            matrix = matrix.T if tall else matrix
            batches[matrix.shape].append((parameter, matrix, tall))
        for (_, longer), batch in batches.items():
            rate = group["lr"] * 0.2 * math.sqrt(longer)
            orthogonal = zeropower_via_newtonschulz(
                torch.stack([matrix for _, matrix, _ in batch]),
                len(self.NEWTON_SCHULZ),
                list(self.NEWTON_SCHULZ),
                eps=self.EPSILON,
                dtype=torch.float32,
            )
            for (parameter, _, tall), matrix in zip(batch, orthogonal, strict=True):
                matrix = matrix.T if tall else matrix
                parameter.add_(matrix.reshape(parameter.shape), alpha=-rate)

    def _adam_step(
        self, parameters: list[Tensor], gradients: list[Any], group: dict[str, Any]
    ) -> None:
        first, second = (self._states(parameters, name) for name in ("first", "second"))
        (beta1, beta2), steps = self.BETAS, group["steps"]
        torch._foreach_lerp_(first, gradients, 1 - beta1)
        torch._foreach_mul_(second, beta2)
        torch._foreach_addcmul_(second, gradients, gradients, 1 - beta2)
        ahead = torch._foreach_lerp(first, gradients, 1 - beta1)
        scale = torch._foreach_sqrt(second)
        torch._foreach_div_(scale, math.sqrt(1 - beta2**steps))
        torch._foreach_add_(scale, self.EPSILON)
        torch._foreach_addcdiv_(parameters, ahead, scale, -group["lr"] / (1 - beta1**steps))
