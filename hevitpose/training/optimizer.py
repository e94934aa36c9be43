"""The optimiser of a recipe, and which parameters it treats how."""

from __future__ import annotations

import torch
from timm.optim import Muon, param_groups_weight_decay
from torch import nn

from hevitpose.config import TrainingConfig

#: What turns features into keypoints. Its rows are keypoints or bins: no matrix between two layers.
_OUTPUTS = ("head.final.*", "head.cls_?.*")


def create_optimizer(
    model: nn.Module, recipe: TrainingConfig, learning_rate: float
) -> torch.optim.Optimizer:
    """Adam, AdamW or Muon; norms and biases are not decayed.

    Muon (Jordan et al. 2024; timm's, its step as long as AdamW's) orthogonalises the update of
    every matrix between two layers. What is no such matrix (norms, biases, depthwise kernels, the
    output layer) goes by AdamW at the same rate.
    """
    groups = param_groups_weight_decay(model, recipe.weight_decay, fallback_list=_OUTPUTS)
    if recipe.optimizer == "muon":
        return Muon(groups, lr=learning_rate, nesterov=True)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimizer]
    for group in groups:
        group.pop("use_fallback", None)
    # Under autocast a fused step unscales gradients itself, after they would have been clipped.
    mixed = recipe.precision != "fp32"
    return kind(groups, lr=learning_rate, fused=not (mixed and recipe.clip_norm))
