"""Three conventions of counting operations: one multiply-accumulate is one in each.

==========  =====================================================================================
``mmcv``    what MMPose prints, and so what stands beside published numbers: a rule per *module*
            (convolution, linear, norm, ReLU, pooling, upsampling); everything functional is 0.
            The original goes by exact type; here a subclass counts as its base, so that the
            number is about the operation (timm's ``LayerNorm2d`` is a LayerNorm).
``fvcore``  ``fvcore.nn.FlopCountAnalysis``: a rule per *operator* of a trace, with a rule added
            for ``scaled_dot_product_attention``, which it has none for.
``torch``   ``torch.utils.flop_counter.FlopCounterMode`` / 2: matrix products, convolutions and
            attention products, nothing else.
==========  =====================================================================================

A counter takes a model in evaluation mode and its images, and gives the count of every module (its
dotted name, "" the whole) with what ran and has no rule. :mod:`hevitpose.cost.complexity` calls it.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from hevitpose.errors import HEViTPoseError, UsageError

Counted = tuple[dict[str, int], Counter[str]]

# ------------------------------------------------------------------------------------------- mmcv


def _convolution(module: Any, x: Tensor, y: Tensor) -> int:
    """Weights x output positions, and one per output element for the bias."""
    per_image_and_position = y.shape[0] * math.prod(y.shape[2:])
    bias = y.numel() if module.bias is not None else 0
    return module.weight.numel() * per_image_and_position + bias


def _transposed_convolution(module: Any, x: Tensor, y: Tensor) -> int:
    """Weights x *input* positions: each input pixel is multiplied with the whole kernel."""
    per_image_and_position = x.shape[0] * math.prod(x.shape[2:])
    bias = y.numel() if module.bias is not None else 0
    return module.weight.numel() * per_image_and_position + bias


def _linear(module: nn.Module, x: Tensor, y: Tensor) -> int:
    """Inputs x outputs per position; the bias counts 0 (unlike a convolution's)."""
    return x.numel() * y.shape[-1]


def _norm(module: nn.Module, x: Tensor, y: Tensor) -> int:
    """One per element, two where a scale and shift follow."""
    affine = getattr(module, "affine", False) or getattr(module, "elementwise_affine", False)
    return x.numel() * (2 if affine else 1)


def _per_input(module: nn.Module, x: Tensor, y: Tensor) -> int:
    return x.numel()


def _per_output(module: nn.Module, x: Tensor, y: Tensor) -> int:
    return y.numel()


_Rule = Callable[[Any, Tensor, Tensor], int]
# First match wins; ConvTranspose and Conv share a base that is in neither row.
_RULES: tuple[tuple[tuple[type[nn.Module], ...], _Rule], ...] = (
    ((nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d), _transposed_convolution),
    ((nn.Conv1d, nn.Conv2d, nn.Conv3d), _convolution),
    ((nn.Linear,), _linear),
    ((nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm), _norm),
    ((nn.ReLU, nn.ReLU6, nn.PReLU, nn.LeakyReLU, nn.ELU), _per_input),
    ((nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d), _per_input),
    ((nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d), _per_input),
    ((nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d), _per_input),
    ((nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d), _per_input),
    ((nn.Upsample,), _per_output),
)
# Modules of modules that multiply without calling them.
_FUNCTIONAL = (nn.MultiheadAttention,)
# They move nothing and compute nothing at evaluation; naming them would only be noise.
_SILENT = (nn.Identity, nn.modules.dropout._DropoutNd, nn.Flatten)


def _rule(module: nn.Module) -> _Rule | None:
    return next((rule for types, rule in _RULES if isinstance(module, types)), None)


def count_mmcv(model: nn.Module, images: Tensor) -> Counted:
    """One forward pass by ``mmcv``'s rules of modules."""
    flops: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    uncounted: Counter[str] = Counter()

    def hook_for(name: str, rule: _Rule | None) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple, kwargs: dict, output: Any) -> None:
            calls[name] += 1
            if rule is None:
                uncounted[type(module).__name__] += 1
            else:
                flops[name] += rule(
                    module, args[0] if args else next(iter(kwargs.values())), output
                )

        return hook

    handles, ruled = [], {}
    for name, module in model.named_modules():
        rule = _rule(module)
        composed = any(True for _ in module.children()) and not isinstance(module, _FUNCTIONAL)
        if rule is None and (isinstance(module, _SILENT) or composed):
            continue
        if rule is not None:
            ruled[name] = module
        handles.append(module.register_forward_hook(hook_for(name, rule), with_kwargs=True))
    try:
        model(images)
    finally:
        for handle in handles:
            handle.remove()
    for name, module in ruled.items():
        # Its weights may have been used by a function (nn.MultiheadAttention does): say so.
        if not calls[name] and any(True for _ in module.parameters()):
            uncounted[f"{type(module).__name__} never called as a module"] += 1
    return _with_parents(flops), uncounted


def _with_parents(flops: Counter[str]) -> dict[str, int]:
    """Add every module's own number to all modules around it."""
    total: Counter[str] = Counter()
    for name, value in flops.items():
        total[name] += value
        while name:
            name = name.rpartition(".")[0]
            total[name] += value
    return dict(total)


# ----------------------------------------------------------------------------------------- fvcore


def attention_products(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """The rule that fvcore lacks: q.k and attention.v of ``scaled_dot_product_attention``.

    For queries (..., L, E), keys (..., S, E) and values (..., S, F): ... x L x S x (E + F).
    """
    query, key, value = (_trace_shape(item) for item in inputs[:3])
    return math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _matrix_products(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """The rule for ``matmul``: fvcore's, which fails where a factor is a vector."""
    from fvcore.nn.jit_handles import matmul_flop_jit

    left, right = (_trace_shape(item) for item in inputs)
    if min(len(left), len(right)) > 1:
        return int(matmul_flop_jit(inputs, outputs))
    return math.prod(_trace_shape(outputs[0])) * left[-1]


def _trace_shape(value: Any) -> list[int]:
    return value.type().sizes()


def count_fvcore(model: nn.Module, images: Tensor) -> Counted:
    """One traced pass by fvcore's rules of operators.

    Raises:
        UsageError: the model is on the meta device.
        HEViTPoseError: fvcore is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # importing it uses torch.jit, deprecated
            from fvcore.nn import FlopCountAnalysis
    except ImportError as error:
        raise HEViTPoseError(
            "convention 'fvcore': the package fvcore is not installed (pip install fvcore); "
            "'mmcv' and 'torch' work without it"
        ) from error
    if images.is_meta:
        raise UsageError(
            "convention 'fvcore': the model is on the meta device, which cannot be traced; "
            "expected a model with values (cpu or cuda)"
        )
    analysis = FlopCountAnalysis(model, images)
    # (Its set_op_handle(op, None) does not switch off an operator that has a default handle.)
    analysis.set_op_handle("aten::scaled_dot_product_attention", attention_products)
    analysis.set_op_handle("aten::matmul", _matrix_products)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    analysis.tracer_warnings("none")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # so does every trace
        flops = {name: int(value) for name, value in analysis.by_module().items()}
    return flops, Counter(analysis.unsupported_ops())


# ------------------------------------------------------------------------------------------ torch


# Operators of torch that multiply and that some torch has no formula for; an operator of somebody
# else's is listed whatever it does.
_PRODUCTS = frozenset(
    ("mv", "addmv", "dot", "vdot", "addr", "addbmm", "_cdist_forward", "_trilinear",
     "_native_multi_head_attention", "_transformer_encoder_layer_fwd", "mkldnn_rnn_layer",
     "_cudnn_rnn", "_thnn_fused_lstm_cell", "_thnn_fused_gru_cell", "_grouped_mm")
)  # fmt: skip


def count_torch(model: nn.Module, images: Tensor) -> Counted:
    """Half of what torch's own counter finds in one forward pass."""
    counter = FlopCounterMode(display=False)
    # On a CPU the fused attention kernel is not in the counter's registry and would count 0.
    with sdpa_kernel(SDPBackend.MATH), counter, _Products(counter.flop_registry) as watched:
        model(images)
    uncounted = Counter(dict(watched.calls))
    # Keys are "Global" and then dotted paths that begin with the model's class name.
    flops = {"": counter.get_total_flops() // 2}
    for path, operators in counter.get_flop_counts().items():
        root, _, name = path.partition(".")
        if root == type(model).__name__ and name:
            flops[name] = sum(operators.values()) // 2
    return flops, uncounted


class _Products(TorchDispatchMode):
    """Calls of operators that multiply, and that the counter has no formula for."""

    def __init__(self, formulas: Collection[Any]) -> None:
        super().__init__()
        self.formulas = formulas
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        space, name = func.namespace, func._schema.name.partition("::")[2]
        foreign = space not in ("aten", "prim", "prims")
        if (foreign or name in _PRODUCTS) and func.overloadpacket not in self.formulas:
            self.calls[f"{space}::{name}"] += 1
        return func(*args, **(kwargs or {}))


#: Convention -> what counts by it.
COUNTERS: dict[str, Callable[[nn.Module, Tensor], Counted]] = {
    "mmcv": count_mmcv,
    "fvcore": count_fvcore,
    "torch": count_torch,
}
