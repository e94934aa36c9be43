"""How far two forms of one network are apart."""

from __future__ import annotations

import math
from typing import Any

import torch


def relative_error(output: Any, reference: Any) -> float:
    """The largest difference over the largest magnitude of the reference, over all outputs.

    Args:
        output: a tensor or a tuple of tensors.
        reference: the same, of as many or fewer images: the first ones are compared.

    Returns:
        At least 0; inf where a value is not finite.
    """
    outputs = output if isinstance(output, tuple | list) else (output,)
    references = reference if isinstance(reference, tuple | list) else (reference,)
    worst = 0.0
    for out, ref in zip(outputs, references, strict=True):
        ref = ref.detach().double().cpu()
        difference = (out[: len(ref)].detach().double().cpu() - ref).abs().max().item()
        scale = ref.abs().max().item()
        if not math.isfinite(difference) or not math.isfinite(scale):
            return float("inf")
        worst = max(worst, difference / scale if scale else float(difference > 0))
    return worst


def mean_shift(output: Any, reference: Any, codec: Any) -> float:
    """How far key points move from one output to another: the mean distance, input pixels.

    Args:
        output: of a network, float or lower precision.
        reference: the same, of as many or fewer images: the first ones are compared.
        codec: of :mod:`hevitpose.codec`, which knows decoder and input size.
    """
    count = len(reference[0] if isinstance(reference, tuple) else reference)
    size = torch.tensor([codec.input_size] * count, dtype=torch.float64)
    points = []
    for found in (output, reference):
        parts = found if isinstance(found, tuple) else (found,)
        floats = tuple(part[:count].detach().float().cpu() for part in parts)
        xy, _ = codec.decode(floats if isinstance(found, tuple) else floats[0])
        points.append(codec.to_image(xy.double(), size / 2, size))
    return float((points[0] - points[1]).norm(dim=-1).mean())
