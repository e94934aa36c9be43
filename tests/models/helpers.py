"""What the tests of the models share."""

from __future__ import annotations

import torch
from torch import nn

from hevitpose.models import HEViTPose

#: Every alternative of the ablations, as overrides of a variant.
ALTERNATIVES: dict[str, dict[str, object]] = {
    "default": {},
    **{name: {"attention": name} for name in ("mhsa", "sra", "linear-sra", "cga", "window")},
    "no-attention": {"attention": "none"},
    "no-cascade": {"cascade": False},
    "no-reduction": {"reductions": (1, 1, 1)},
    "no-grouping": {"groups": (1, 1, 1)},
    "one-head": {"num_heads": 1},
    "no-head-conv": {"per_head_conv": False},
    "no-group-linear": {"group_linear": False},
    "no-head-conv-no-linear": {"per_head_conv": False, "group_linear": False},
    "batch-norm": {"norm": "batch"},
    "batch-norm-no-linear": {"norm": "batch", "per_head_conv": False, "group_linear": False},
    "avg-pool": {"reduction_mode": "avg-pool"},
    **{f"peow-{peow}": {"peow": peow} for peow in (0, 1, 5)},
    **{
        name: {"downsampling": name}
        for name in ("subsample-only", "ope", "non-overlapping", "patch-merging", "max-pool")
    },
    "mix-ffn": {"ffn": "mix-ffn"},
    "gated": {"ffn": "gated"},
    "ratio-1": {"ffn_ratio": 1},
    "ratio-4": {"ffn_ratio": 4},
    "one-ffn": {"ffns_per_block": 1},
    "no-dwconv": {"dwconv": False},
    "pixel-shuffle": {"upsampler": "pixel-shuffle"},
    "bilinear": {"upsampler": "bilinear"},
    "wide-head": {"upsampler_channels": (256, 256)},
}


def randomise_norms(model: nn.Module, seed: int = 0) -> nn.Module:
    """BN weights and statistics as training would leave them, so that no branch is invisible.

    All norms' weights 0.5 to 1.5 and small biases; running means and variances likewise; biases of
    convolutions small instead of zero. The head's last convolution 100 times what it starts with:
    else its bias would be all of the output.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(tensor: torch.Tensor, low: float, high: float) -> None:
        random = torch.rand(tensor.shape, generator=generator, dtype=torch.float64)
        tensor.copy_(low + (high - low) * random)

    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
                uniform(module.weight, 0.5, 1.5)
            if isinstance(module, nn.BatchNorm2d) and module.track_running_stats:
                uniform(module.running_mean, -0.2, 0.2)
                uniform(module.running_var, 0.5, 1.5)
            if isinstance(getattr(module, "bias", None), torch.Tensor):
                uniform(module.bias, -0.2, 0.2)
        if isinstance(model, HEViTPose):
            model.head.final.weight.mul_(100)
    return model


def image(*size: int, seed: int = 1, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """A standard normal tensor that depends on nothing but its arguments."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*size, generator=generator, dtype=torch.float64).to(dtype)
