"""Parameters and FLOPs of a model under three named conventions.

One network has many "GFLOPs"; a number without its convention is not a number. What each counts:
:mod:`hevitpose.cost.conventions`.

Values do not matter, only shapes: under ``mmcv`` and ``torch`` a model on the ``meta`` device is
counted without computing or allocating anything, and :func:`meta_copy` makes such a copy of any
model. ``fvcore`` traces the model, which needs real tensors.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from hevitpose.cost.conventions import COUNTERS
from hevitpose.errors import UsageError, unknown_name
from hevitpose.text_table import text_table

CONVENTIONS = tuple(COUNTERS)


@dataclass(frozen=True)
class ModuleRow:
    """One module with everything inside it."""

    name: str  # dotted path; "" is the whole model
    type: str  # class name
    params: int
    flops: int


@dataclass(frozen=True)
class Complexity:
    """What one forward pass of a model costs."""

    params: int  # trainable or not, shared parameters once
    flops: int  # multiply-accumulates of the whole batch, under `convention`
    convention: str
    input_size: tuple[int, int]  # (W, H), pixels
    batch: int
    by_module: tuple[ModuleRow, ...]  # depth-first, the model itself first
    uncounted: tuple[tuple[str, int], ...]  # (what ran without a rule, how often), by name

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready object: everything but the per-module rows."""
        return {
            "params": self.params,
            "flops": self.flops,
            "convention": self.convention,
            "input_size": list(self.input_size),
            "batch": self.batch,
            "uncounted": dict(self.uncounted),
        }


def count(
    model: nn.Module,
    input_size: tuple[int, int] = (256, 256),
    convention: str = "mmcv",
    batch: int = 1,
) -> Complexity:
    """Count the parameters and FLOPs of one forward pass in evaluation mode.

    The pass runs on the model's own device and in its own precision; the mode of every module is
    restored and no hook stays behind, also when the pass fails.

    Args:
        model: takes one image tensor (N, 3, H, W).
        input_size: (W, H) in pixels.
        convention: one of :data:`CONVENTIONS`.
        batch: images in the pass; ``flops`` is for all of them.

    Raises:
        UsageError: an unknown convention, an input size or batch that is not positive, or
            ``fvcore`` on a meta model.
        HEViTPoseError: fvcore is asked for and not installed.
    """
    if convention not in CONVENTIONS:
        raise unknown_name("convention", convention, CONVENTIONS)
    if len(input_size) != 2 or any(not isinstance(side, int) or side < 1 for side in input_size):
        raise UsageError(f"input size: {input_size!r}, expected two positive integers (W, H)")
    if not isinstance(batch, int) or batch < 1:
        raise UsageError(f"batch: {batch!r}, expected a positive integer")
    width, height = input_size
    parameter = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    images = torch.zeros(batch, 3, height, width, device=parameter.device, dtype=parameter.dtype)
    with _evaluation(model), _written_out(), torch.no_grad():
        flops, uncounted = COUNTERS[convention](model, images)
    rows = tuple(
        ModuleRow(name, type(module).__name__, parameters(module), flops.get(name, 0))
        for name, module in model.named_modules()
    )
    return Complexity(
        params=rows[0].params,
        flops=rows[0].flops,
        convention=convention,
        input_size=(width, height),
        batch=batch,
        by_module=rows,
        uncounted=tuple(sorted(uncounted.items())),
    )


def parameters(module: nn.Module) -> int:
    """Numbers in a module's parameters, frozen ones included, shared ones once."""
    return sum(p.numel() for p in module.parameters())


def meta_copy(model: nn.Module) -> nn.Module:
    """A copy that has shapes and no values: counting it needs no memory and no time.

    Parameters and buffers are never duplicated on the way; the model itself stays as it is.
    """
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.to("meta"), parameter.requires_grad)
    for buffer in model.buffers():
        memo[id(buffer)] = buffer.to("meta")
    return copy.deepcopy(model, memo)


def render(complexity: Complexity, depth: int | None = 2) -> str:
    """The per-module table as text, the convention in its first line.

    Args:
        complexity: from :func:`count`.
        depth: dots below the model that are shown; ``None`` for all of them.
    """
    width, height = complexity.input_size
    title = (
        f"convention {complexity.convention}, input {height}x{width}, batch {complexity.batch}: "
        f"{complexity.params / 1e6:.4f}M parameters, {complexity.flops / 1e9:.4f}G FLOPs"
    )
    table = [("module", "type", "params", "MFLOPs", "share")]
    for row in complexity.by_module:
        level = row.name.count(".") + 1 if row.name else 0
        if depth is not None and level > depth:
            continue
        table.append(
            (
                "  " * level + (row.name.rpartition(".")[2] or "(model)"),
                row.type,
                f"{row.params:,}",
                f"{row.flops / 1e6:,.3f}",
                f"{row.flops / complexity.flops:.1%}" if complexity.flops else "-",
            )
        )
    lines = [title, text_table(table, right=(2, 3, 4))]
    if complexity.uncounted:
        lines.append("ran without a rule, counted as 0: " + describe_uncounted(complexity))
    return "\n".join(lines)


def describe_uncounted(complexity: Complexity) -> str:
    """``aten::gelu x12, aten::softmax x6``: what ran and has no rule in the convention."""
    return ", ".join(f"{name} x{calls}" for name, calls in complexity.uncounted)


@contextmanager
def _evaluation(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; afterwards every module has the mode it came with."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def _written_out() -> Iterator[None]:
    """Torch's own transformer layers run operator by operator, not as one that nobody counts."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
