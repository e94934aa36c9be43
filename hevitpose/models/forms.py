"""Fast forms of a network, equal to the one that ``create_model`` returns.

``create_model`` gives the form that reads like the equations; training and measuring use these:

- ``train``: the same parameters in the same places, shared with the plain model, computed with
  fewer and larger operations. State dicts interchange.
- ``fused``: for inference; parameters folded into as few operations as possible.
- ``compile``: the fused form through ``torch.compile`` with its parameters frozen.
- :func:`onnx_form`: the fused form, written with the operators that ONNX runtimes are fast at.

Each is equal to the plain form, outputs (and, of ``train``, gradients) to 1e-9 in float64 and 1e-4
relative in float32. ``bench/NOTES.md`` has what was tried and did not pay.

A module's own forms stand beside it (``attention/``, ``ffn``, ``downsample``, ``upsample``) and are
registered here (:func:`register_form`); a module without one is computed as it is.
"""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch import nn

from hevitpose.errors import UsageError, unknown_name
from hevitpose.models import registry
from hevitpose.models.fused_conv import fold_neighbours, fused_conv_bn
from hevitpose.models.hevitpose import ConvBN, DWConv, Residual

#: What ``optimize(model, mode=...)`` takes.
MODES = ("train", "fused", "compile")
#: The first opset of ONNX that has an operator for attention.
ATTENTION_OPSET = 23

Form = TypeVar("Form", bound=Callable[..., Any])
_FORMS: dict[str, dict[type[nn.Module], Callable[..., Any]]] = {
    "train": {},
    "fused": {ConvBN: fused_conv_bn, DWConv: fused_conv_bn},
    "fused-residual": {},
    "onnx": {},
    "onnx-low": {},
}


def register_form(kind: str, plain: type[nn.Module]) -> Callable[[Form], Form]:
    """Register how modules of exactly this type are computed faster.

    Args:
        kind: ``"train"``: a subclass whose ``forward`` alone differs; ``"fused"``: called with a
            module in evaluation mode, returns what replaces it; ``"fused-residual"``: the same for
            the branch of a :class:`~hevitpose.models.hevitpose.Residual`, the shortcut included;
            ``"onnx"``: called with a module of the fused form, returns what replaces it;
            ``"onnx-low"``: the same, in its place where products are in bf16 or int8.
        plain: the type.
    """

    def decorate(form: Form) -> Form:
        _FORMS[kind][plain] = form
        return form

    return decorate


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
    registry.load()
    return {"train": _train, "fused": _fused, "compile": _compiled}[mode](model)


def onnx_form(network: nn.Module, precision: str = "fp32") -> nn.Module:
    """A copy with every fused part that has a form of its own for ONNX replaced by it.

    Attention is ONNX's own operator (opset 23), and the head's transposed convolutions are spelled
    out, in float32 with fewer multiplications. Standard operators alone: any runtime of that opset
    reads the file. Equal to the fused form in real numbers.

    Args:
        network: any; of one that was not fused, nothing is replaced.
        precision: of the products that the runtime will compute; ``bf16`` and ``int8``, whose
            products are cheap beside what surrounds them, have forms of their own.
    """
    registry.load()
    forms = _FORMS["onnx"]
    if precision in ("bf16", "int8"):
        forms = forms | _FORMS["onnx-low"]
    return _converted(copy.deepcopy(network), forms)


def to_channels_last(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """A forward pre-hook: the first argument, a map (N, C, H, W), in channels-last memory."""
    image, *rest = args
    return (image.contiguous(memory_format=torch.channels_last), *rest)


def _train(model: nn.Module) -> nn.Module:
    tensors = [*model.parameters(), *model.buffers()]
    fast = copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})
    for module in fast.modules():
        # The copy has the same attributes; only how it computes differs.
        module.__class__ = cast(type, _FORMS["train"].get(type(module), type(module)))
    fast.register_forward_pre_hook(to_channels_last)
    return fast


def _fused(model: nn.Module) -> nn.Module:
    fused = _fuse(copy.deepcopy(model).eval()).requires_grad_(False)
    fused.for_inference = True  # type: ignore[assignment]  # its weights are no longer the network's
    fused.register_forward_pre_hook(to_channels_last)
    return fused


def _compiled(model: nn.Module) -> nn.Module:
    """The first call at each input size compiles, which takes a minute or so."""
    device = next(model.parameters()).device
    if device.type == "cpu":
        names = (os.environ.get("CXX"), "g++", "clang++")
        if not any(name and shutil.which(name) for name in names):
            raise UsageError("optimize mode 'compile': no C++ compiler (g++, clang++ or $CXX)")
    else:
        try:
            import triton  # noqa: F401
        except ImportError:
            raise UsageError("optimize mode 'compile': triton is not installed") from None
    compiled = torch.compile(_fused(model), dynamic=False, options={"freezing": True})
    return cast(nn.Module, compiled)


def _fuse(module: nn.Module) -> nn.Module:
    return _converted(module, _FORMS["fused"], fold_neighbours)


def _converted(
    module: nn.Module,
    forms: dict[type[nn.Module], Callable[..., Any]],
    before: Callable[[nn.Module], None] | None = None,
) -> nn.Module:
    """The module with every part that has a form replaced by it, in place."""
    if type(module) in forms:
        return cast(nn.Module, forms[type(module)](module))
    if before is not None:
        before(module)
    for name, child in module.named_children():
        setattr(module, name, _converted(child, forms, before))
    return module


@register_form("fused", Residual)
def _fuse_residual(residual: Residual) -> nn.Module:
    form = _FORMS["fused-residual"].get(type(residual.branch))
    if form is not None:
        return cast(nn.Module, form(residual.branch))
    residual.branch = _fuse(residual.branch)
    return residual


@register_form("fused-residual", DWConv)
def _fuse_dwconv_residual(dwconv: DWConv) -> nn.Module:
    """``x + DWConv(x)``: the shortcut is part of the kernel's centre."""
    fused = fused_conv_bn(dwconv)
    with torch.no_grad():
        fused.conv.weight[:, :, 1, 1] += 1.0
    return fused
