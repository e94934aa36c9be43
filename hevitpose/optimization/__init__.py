"""Fast forms of a network, equal to the one that ``create_model`` returns.

``create_model`` gives the form that reads like the equations; training and measuring use these:

- ``train``: the same parameters in the same places, shared with the plain model, computed with
  fewer and larger operations. State dicts interchange.
- ``fused``: for inference; parameters folded into as few operations as there can be.
- ``compile``: the fused form through ``torch.compile`` with its parameters frozen.

Each is equal to the plain form, outputs (and, of ``train``, gradients) to 1e-9 in float64 and 1e-4
relative in float32. ``bench/NOTES.md`` has what was tried and did not pay.
"""

from __future__ import annotations

from torch import nn

from hevitpose.errors import unknown_name
from hevitpose.optimization.fusion import compiled_form, fused_form
from hevitpose.optimization.train_form import train_form

#: What ``optimize(model, mode=...)`` takes.
MODES = ("train", "fused", "compile")


def optimize(model: nn.Module, mode: str = "train") -> nn.Module:
    """A fast form of a model.

    Args:
        model: what ``create_model`` returned (HEViTPose or a peer), already on its device.
        mode: one of :data:`MODES`.

    Returns:
        A new module; ``model`` is left as it is. Of ``train``, it shares every parameter and
        buffer with ``model`` under the same names. Of the others, it is in evaluation mode and
        holds copies that do not train.

    Raises:
        UsageError: no such mode, or one that this machine lacks what it needs for.
    """
    if mode not in MODES:
        raise unknown_name("optimize mode", mode, MODES)
    forms = {"train": train_form, "fused": fused_form, "compile": compiled_form}
    return forms[mode](model)
