"""The fused form of a network, for inference: parameters folded into as few operations as can be.

What is folded (all exact in real numbers):

- BatchNorm into the convolution before it, also into a transposed one and through a pixel shuffle;
- the shortcut around a depthwise convolution into the kernel's centre;
- in CGSR-MHA the affine part of k's and v's LayerNorm, all per-head convolutions, the softmax
  scale and the group's Linear into two small matrices; the spatial reduction is a product.

On a CPU in float32, convolutions keep their weights in oneDNN's own layout and do ReLU and the sum
with the shortcut in the same pass. Everywhere else (also when traced, exported or compiled) they
are PyTorch's.
"""

from __future__ import annotations

import copy
import itertools
import os
import shutil
from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from timm.layers import SqueezeExcite
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_conv_bn_weights

from hevitpose.errors import UsageError
from hevitpose.models.attention import CGSRAttention, GroupAttention
from hevitpose.models.ffn import FFN
from hevitpose.models.layers import ConvBN, DWConv, Residual
from hevitpose.optimization.train_form import to_channels_last

AnyConv = nn.Conv2d | nn.ConvTranspose2d


def fused_form(model: nn.Module) -> nn.Module:
    """``mode="fused"``: see the module's text. The result is in evaluation mode and frozen."""
    fused = _fuse(copy.deepcopy(model).eval()).requires_grad_(False)
    fused.register_forward_pre_hook(to_channels_last)
    return fused


def compiled_form(model: nn.Module) -> nn.Module:
    """``mode="compile"``: the fused form through TorchInductor, its parameters frozen.

    The first call at each input size compiles, which takes a minute or so.

    Raises:
        UsageError: no compiler for the model's device (a C++ compiler, or triton).
    """
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
    compiled = torch.compile(fused_form(model), dynamic=False, options={"freezing": True})
    return cast(nn.Module, compiled)


def _fuse(module: nn.Module) -> nn.Module:
    """The module with every part that has a fused form replaced by it."""
    rule = _RULES.get(type(module))
    if rule is not None:
        return rule(module)
    _fold_neighbours(module)
    for name, child in module.named_children():
        setattr(module, name, _fuse(child))
    return module


def _fold_neighbours(module: nn.Module) -> None:
    """Fold each BatchNorm into the convolution registered just before it (as all peers do it)."""
    children = list(module.named_children())
    for (name, conv), (next_name, norm) in itertools.pairwise(children):
        if not isinstance(conv, AnyConv) or not isinstance(norm, nn.BatchNorm2d):
            continue
        if conv.out_channels != norm.num_features:
            continue
        setattr(module, name, _folded(conv, norm))
        # timm's norms bring their activation along; a plain BatchNorm leaves nothing.
        rest = [part for key in ("drop", "act") if (part := getattr(norm, key, None)) is not None]
        setattr(module, next_name, nn.Sequential(*rest) if rest else nn.Identity())


def _folded(conv: AnyConv, norm: nn.BatchNorm2d | None) -> AnyConv:
    if norm is None:
        return conv
    transposed = isinstance(conv, nn.ConvTranspose2d)
    if not transposed or conv.groups == 1:
        plain_norm = nn.BatchNorm2d.__new__(nn.BatchNorm2d)
        plain_norm.__dict__ = norm.__dict__
        return fuse_conv_bn_eval(conv, plain_norm, transpose=transposed)
    raise UsageError("fused: a grouped transposed convolution before BatchNorm has no folded form")


class FusedConv(nn.Module):
    """A convolution (plain or transposed) with its BatchNorm folded in, its ReLU and its shortcut.

    Args:
        conv: the convolution.
        norm: the BatchNorm after it.
        relu: whether a ReLU follows.
    """

    def __init__(
        self, conv: AnyConv, norm: nn.BatchNorm2d | None = None, relu: bool = False
    ) -> None:
        super().__init__()
        self.conv = _folded(conv, norm).to(memory_format=torch.channels_last)
        self.relu = relu
        self._packed: tuple[tuple[int, ...], Tensor] | None = None

    def forward(self, x_NCHW: Tensor, shortcut: Tensor | None = None) -> Tensor:
        if _onednn(x_NCHW):
            return self._forward_onednn(x_NCHW, shortcut)
        y = self.conv(x_NCHW)
        if shortcut is not None:
            y = y + shortcut
        return F.relu(y) if self.relu else y

    def _forward_onednn(self, x: Tensor, shortcut: Tensor | None) -> Tensor:
        conv, ops = self.conv, torch.ops.mkldnn
        transposed = isinstance(conv, nn.ConvTranspose2d)
        place = [list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups]
        if transposed:
            place.insert(1, list(conv.output_padding))
        if self._packed is None or self._packed[0] != tuple(x.shape):
            reorder = (
                ops._reorder_convolution_transpose_weight
                if transposed
                else ops._reorder_convolution_weight
            )
            # A layout that suits one size is right for all; it is only made again to stay fast.
            self._packed = tuple(x.shape), reorder(conv.weight, *place, list(x.shape))
        arguments = (self._packed[1], conv.bias, *place)
        activation = "relu" if self.relu else "none"
        if transposed:
            return ops._convolution_transpose_pointwise(x, *arguments, activation, [], "")
        if shortcut is None:
            return ops._convolution_pointwise(x, *arguments, activation, [], "")
        return ops._convolution_pointwise.binary(
            x, shortcut, *arguments, "add", None, None, [], None
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> FusedConv:
        self._packed = None
        return super()._apply(fn, recurse)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_packed": None}


def _onednn(x: Tensor) -> bool:
    """Whether to call oneDNN's fused operators: eager float32 on a CPU that has them."""
    return (
        # First: the compiler cannot trace the check for oneDNN and would break the graph there.
        not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and torch.backends.mkldnn.is_available()
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and x.is_contiguous(memory_format=torch.channels_last)
    )


class FusedFFN(nn.Module):
    """``x + FFN(x)``: the sum is part of the second convolution."""

    def __init__(self, ffn: FFN) -> None:
        super().__init__()
        self.expand, self.project = _conv_bn(ffn.expand), _conv_bn(ffn.project)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.project(self.expand(x_NCHW), x_NCHW)


class FusedSqueezeExcite(nn.Module):
    """Squeeze-excite on vectors (N, C) instead of maps of one pixel."""

    def __init__(self, se: SqueezeExcite) -> None:
        super().__init__()
        self.squeeze, self.excite = (_as_linear(conv) for conv in (se.fc1, se.fc2))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        scale_NC = self.excite(F.relu(self.squeeze(x_NCHW.mean((2, 3))))).sigmoid()
        return x_NCHW * scale_NC[:, :, None, None]


def attend(q_NTC: Tensor, k_NSC: Tensor, v_NSC: Tensor, heads: int) -> Tensor:
    """``softmax(q k^T) v`` of each head, (N, T, C) as the queries."""
    q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (q_NTC, k_NSC, v_NSC))
    return F.scaled_dot_product_attention(q, k, v, scale=1.0).transpose(1, 2).flatten(2)


class FusedGroup(nn.Module):
    """One group of CGSR-MHA on tokens u (N, H * W, c) to Y, of the same shape.

    ``Y = LN(value(softmax(LN(u) key(LN(K r))^T) LN(V r)))`` with the two inner norms bare of their
    affine part.
    """

    def __init__(self, group: GroupAttention) -> None:
        super().__init__()
        self.heads, self.attend = group.heads, attend
        dim = group.k.in_channels
        self.norm_q, self.norm = _plain_norm(group.norm_q), _plain_norm(group.norm)
        self.reduction, self.reduce = _as_window_linear(group.reduce)
        self.bare_norm = nn.LayerNorm(dim, eps=group.norm_k.eps, elementwise_affine=False)
        self.k, self.v, self.key = (nn.Linear(dim, dim, bias=False) for _ in range(3))
        self.value = nn.Linear(dim, dim)
        self.to(group.k.weight)
        with torch.no_grad():
            self.k.weight.copy_(group.k.weight.flatten(1))
            self.v.weight.copy_(group.v.weight.flatten(1))
            head_q, head_k, head_v, linear = (
                _dense(part, group.k.weight)
                for part in (group.head_q, group.head_k, group.head_v, group.linear)
            )
            # q^T Wq^T Wk (gain k + bias): the bias is the same for all keys, so softmax drops it.
            key = head_q.T @ head_k * group.norm_k.weight
            self.key.weight.copy_(key * group.attend.scale)
            # Rows of the softmax sum to 1, so v's bias comes through as it is.
            linear = linear @ head_v
            self.value.weight.copy_(linear * group.norm_v.weight)
            bias = linear @ group.norm_v.bias
            if isinstance(group.linear, nn.Conv2d) and group.linear.bias is not None:
                bias = bias + group.linear.bias
            self.value.bias.copy_(bias)

    def forward(self, u_NTC: Tensor, size: tuple[int, int]) -> Tensor:
        r_NSC = self._reduced(u_NTC, size)
        k_NSC, v_NSC = self.bare_norm(self.k(r_NSC)), self.bare_norm(self.v(r_NSC))
        y_NTC = self.attend(self.norm_q(u_NTC), self.key(k_NSC), v_NSC, self.heads)
        return self.norm(self.value(y_NTC))

    def _reduced(self, u_NTC: Tensor, size: tuple[int, int]) -> Tensor:
        """Spatial reduction as a product: windows of R x R tokens, each read as one vector."""
        side = self.reduction
        if side == 1:
            return u_NTC
        u_NHWC = u_NTC.unflatten(1, size)
        height, width = (length // side for length in size)
        if size != (height * side, width * side):  # a rest takes no part
            u_NHWC = u_NHWC[:, : height * side, : width * side]
        windows = u_NHWC.reshape(-1, height, side, width, side, u_NHWC.shape[-1]).transpose(2, 3)
        if self.reduce is None:
            return windows.mean((3, 4)).flatten(1, 2)
        return self.reduce(windows.reshape(-1, height * width, self.reduce.in_features))


class FusedCGSR(nn.Module):
    """``x + CGSR-MHA(x)``: the sum is part of the projection."""

    def __init__(self, attention: CGSRAttention) -> None:
        super().__init__()
        self.cascade = attention.cascade
        self.groups = nn.ModuleList(
            FusedGroup(cast(GroupAttention, group)) for group in attention.groups
        )
        self.projection = _conv_bn(attention.projection)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        height, width = (int(side) for side in x_NCHW.shape[2:])
        # Permuted before anything else: onnxruntime makes it part of its own change of layout.
        x_NTC = x_NCHW.permute(0, 2, 3, 1).flatten(1, 2)
        outputs: list[Tensor] = []
        for group, x_i in zip(self.groups, x_NTC.chunk(len(self.groups), dim=-1), strict=True):
            u_i = x_i + outputs[-1] if self.cascade and outputs else x_i
            outputs.append(group(u_i, (height, width)))
        y_NHWC = torch.cat(outputs, dim=-1).unflatten(1, (height, width))
        return self.projection(y_NHWC.permute(0, 3, 1, 2), x_NCHW)


def _conv_bn(part: nn.Module) -> FusedConv:
    conv, norm = cast(nn.Conv2d, part.conv), cast(nn.BatchNorm2d, part.norm)
    return FusedConv(conv, norm, relu=hasattr(part, "act"))


def _plain_norm(norm: nn.LayerNorm) -> nn.LayerNorm:
    """LayerNorm2d as a LayerNorm on tokens."""
    plain = nn.LayerNorm(norm.normalized_shape, eps=norm.eps)
    plain.weight, plain.bias = norm.weight, norm.bias
    return plain


def _as_linear(conv: nn.Module) -> nn.Linear:
    conv = cast(nn.Conv2d, conv)
    linear = nn.Linear(conv.in_channels, conv.out_channels, bias=conv.bias is not None)
    linear.weight = nn.Parameter(conv.weight.flatten(1))
    linear.bias = cast(nn.Parameter, conv.bias)
    return linear


def _as_window_linear(reduce: nn.Module) -> tuple[int, nn.Linear | None]:
    """R and, where the reduction is a convolution, its product on a window's tokens in a row."""
    if isinstance(reduce, nn.Identity):
        return 1, None
    if isinstance(reduce, nn.AvgPool2d):
        return cast(int, reduce.kernel_size), None
    conv = cast(nn.Conv2d, reduce)
    weight = conv.weight.permute(0, 2, 3, 1).flatten(1)
    linear = nn.Linear(weight.shape[1], weight.shape[0])
    linear.weight, linear.bias = nn.Parameter(weight.contiguous()), cast(nn.Parameter, conv.bias)
    return conv.kernel_size[0], linear


def _dense(conv: nn.Module, like: Tensor) -> Tensor:
    """A 1x1 convolution, grouped or not (or none at all), as a matrix of ``like``'s first side."""
    if isinstance(conv, nn.Identity):
        return torch.eye(len(like), dtype=like.dtype, device=like.device)
    conv = cast(nn.Conv2d, conv)
    return torch.block_diag(*conv.weight.flatten(1).chunk(conv.groups))


def _fuse_residual(residual: nn.Module) -> nn.Module:
    branch = cast(nn.Module, residual.branch)
    if type(branch) is DWConv:
        fused = _conv_bn(branch)
        with torch.no_grad():
            fused.conv.weight[:, :, 1, 1] += 1.0  # the shortcut
        return fused
    if type(branch) is FFN:
        return FusedFFN(branch)
    if type(branch) is CGSRAttention:
        return FusedCGSR(branch)
    residual.branch = _fuse(branch)
    return residual


def _fuse_sequential(layers: nn.Module) -> nn.Module:
    """An upsampling layer of the head, by its parts' names; any other as its parts."""
    parts = dict(layers.named_children())
    if set(parts) == {"deconv", "norm", "act"}:
        return FusedConv(cast(AnyConv, parts["deconv"]), cast(nn.BatchNorm2d, parts["norm"]), True)
    if set(parts) == {"conv", "shuffle", "norm", "act"}:
        conv, norm = cast(nn.Conv2d, parts["conv"]), cast(nn.BatchNorm2d, parts["norm"])
        spread = [
            cast(Tensor, tensor).repeat_interleave(4)
            for tensor in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
        ]
        weight, bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, spread[0], spread[1], norm.eps, spread[2], spread[3]
        )
        conv.weight, conv.bias = weight, bias
        return nn.Sequential(FusedConv(conv, relu=True), parts["shuffle"])
    if set(parts) == {"upsample", "conv", "norm", "act"}:
        conv, norm = cast(nn.Conv2d, parts["conv"]), cast(nn.BatchNorm2d, parts["norm"])
        return nn.Sequential(parts["upsample"], FusedConv(conv, norm, relu=True))
    _fold_neighbours(layers)
    for name, child in layers.named_children():
        setattr(layers, name, _fuse(child))
    return layers


_RULES: dict[type[nn.Module], Callable[[nn.Module], nn.Module]] = {
    ConvBN: _conv_bn,
    DWConv: _conv_bn,
    Residual: _fuse_residual,
    SqueezeExcite: lambda se: FusedSqueezeExcite(cast(SqueezeExcite, se)),
    nn.Sequential: _fuse_sequential,
}
