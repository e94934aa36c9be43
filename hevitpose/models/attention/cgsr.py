"""CGSR-MHA in fewer operations: for training, fused for inference, and for ONNX runtimes.

The form that reads like the equations is :class:`hevitpose.models.hevitpose.CGSRMHA`; it is what
these are tested against.

Fused (all exact in real numbers): the affine part of k's and v's LayerNorm, all per-head
convolutions, the softmax scale and the group's Linear become two small matrices; the spatial
reduction is a product. For ONNX, attention is one operator of opset 23, and in bf16 and int8 maps
become tokens without a copy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hevitpose.models.attention.tokens import attend, linear, norm, tokens
from hevitpose.models.forms import register_form
from hevitpose.models.fused_conv import fused_conv_bn
from hevitpose.models.hevitpose import CGSRMHA, GroupAttention


@register_form("train", CGSRMHA)
class TrainCGSR(CGSRMHA):
    """CGSR-MHA on tokens (N, T, c), with two products fewer on each side of the attention.

    Scores are bilinear in q and k, so q's per-head convolution moves to k's side, where there are
    R^2 times fewer tokens, and joins k's: ``q^T Wq^T Wk k``. The output is linear in v, so v's
    joins the group's Linear. Both are products of small matrices, made for all groups at once.
    """

    def forward(self, x_NCHW: Tensor) -> Tensor:
        if isinstance(self._groups()[0].norm, nn.BatchNorm2d):
            return super().forward(x_NCHW)  # BatchNorm is fastest on maps
        height, width = x_NCHW.shape[-2:]
        x_NTC = tokens(x_NCHW)
        keys, values = self._key_weights(), self._value_weights()
        outputs: list[Tensor] = []
        for index, (group, x_i) in enumerate(
            zip(self._groups(), x_NTC.chunk(len(self.groups), dim=-1), strict=True)
        ):
            u_NTc = x_i + outputs[-1] if self.cascade and outputs else x_i
            r_NSc = u_NTc
            if not isinstance(group.reduce, nn.Identity):
                u_NcHW = u_NTc.transpose(1, 2).unflatten(-1, (height, width))
                r_NSc = tokens(group.reduce(u_NcHW))
            q = norm(u_NTc, group.norm_q)
            k = norm(linear(r_NSc, group.k), group.norm_k)
            v = norm(linear(r_NSc, group.v), group.norm_v)
            if keys is not None:
                k = F.linear(k, keys[index])
            y = attend(q, k, v, group.num_heads, group.attend.scale)
            if values is not None:
                y = F.linear(y, values[index], getattr(group.linear, "bias", None))
            outputs.append(norm(y, group.norm))
        y_NTC = torch.cat(outputs, dim=-1)
        return self.projection(y_NTC.transpose(1, 2).unflatten(-1, (height, width)))

    def _groups(self) -> list[GroupAttention]:
        return [cast(GroupAttention, group) for group in self.groups]

    def _key_weights(self) -> tuple[Tensor, ...] | None:
        """Per group the (c, c) matrix, block-diagonal over heads, of ``Wq^T Wk``."""
        if isinstance(self._groups()[0].head_q, nn.Identity):
            return None
        q_GMOD = self._stacked("head_q")
        k_GMOD = self._stacked("head_k")
        return _block_diagonal(q_GMOD.transpose(-2, -1) @ k_GMOD).unbind(0)

    def _value_weights(self) -> tuple[Tensor, ...] | None:
        """Per group the (c, c) matrix of the Linear after v's per-head convolutions."""
        has_linear, has_head_v = (
            not isinstance(getattr(self._groups()[0], name), nn.Identity)
            for name in ("linear", "head_v")
        )
        if not (has_linear or has_head_v):
            return None
        if not has_linear:
            return _block_diagonal(self._stacked("head_v")).unbind(0)
        linear_GOC = torch.stack(
            [cast(nn.Conv2d, group.linear).weight.flatten(1) for group in self._groups()]
        )
        if not has_head_v:
            return linear_GOC.unbind(0)
        num_heads = self._groups()[0].num_heads
        linear_GMOD = linear_GOC.unflatten(-1, (num_heads, -1)).transpose(1, 2)
        return (linear_GMOD @ self._stacked("head_v")).transpose(1, 2).flatten(2).unbind(0)

    def _stacked(self, name: str) -> Tensor:
        """The per-head weights of all groups, (G, M, D out, D in)."""
        weights = [getattr(group, name).weight.flatten(1) for group in self._groups()]
        return torch.stack(weights).unflatten(1, (self._groups()[0].num_heads, -1))


def _block_diagonal(blocks_GMOD: Tensor) -> Tensor:
    """(G, M, D, D) to (G, M * D, M * D)."""
    heads = blocks_GMOD.shape[1]
    eye_MM = torch.eye(heads, dtype=blocks_GMOD.dtype, device=blocks_GMOD.device)
    blocks_GMOMD = blocks_GMOD[:, :, :, None, :] * eye_MM[:, None, :, None]
    return blocks_GMOMD.flatten(3, 4).flatten(1, 2)


class FusedGroup(nn.Module):
    """One group of CGSR-MHA on tokens u (N, H * W, c) to Y, of the same shape.

    ``Y = LN(value(softmax(LN(u) key(LN(K r))^T) LN(V r)))`` with the two inner norms bare of their
    affine part. Of BatchNorms, q's is a gain and a bias, and all others are part of the products.
    """

    key: nn.Module
    norm_q: nn.Module
    norm: nn.Module
    bare_norm: nn.Module

    def __init__(self, group: GroupAttention) -> None:
        super().__init__()
        self.num_heads = group.num_heads
        self.attend: Callable[[Tensor, Tensor, Tensor, int], Tensor] = attend
        dim = group.k.in_channels
        self.reduction, self.reduce = _as_window_linear(group.reduce)
        folds = isinstance(group.norm, nn.BatchNorm2d)
        self.k, self.v = (nn.Linear(dim, dim, bias=folds) for _ in range(2))
        self.value = nn.Linear(dim, dim)
        self.to(group.k.weight)
        with torch.no_grad():
            if folds:
                self._fold_batch_norms(group)
            else:
                self._keep_layer_norms(group)

    def _keep_layer_norms(self, group: GroupAttention) -> None:
        dim = group.k.in_channels
        self.norm_q, self.norm = _plain_norm(group.norm_q), _plain_norm(group.norm)
        self.bare_norm = nn.LayerNorm(dim, eps=group.norm_k.eps, elementwise_affine=False)
        self.k.weight.copy_(group.k.weight.flatten(1))
        self.v.weight.copy_(group.v.weight.flatten(1))
        key, linear, bias = _products(group)
        # k's bias is the same for all keys of a query, so softmax drops it.
        self.key = _linear((key * group.norm_k.weight).to(group.k.weight))
        # Rows of the softmax sum to 1, so v's bias comes through as it is.
        self.value.weight.copy_(linear * group.norm_v.weight)
        self.value.bias.copy_(linear @ group.norm_v.bias.double() + bias)

    def _fold_batch_norms(self, group: GroupAttention) -> None:
        self.norm_q = Affine(*_gain_and_bias(group.norm_q)).to(group.k.weight)
        self.norm = nn.Identity()
        self.bare_norm, self.key = nn.Identity(), nn.Identity()
        key, linear, bias = _products(group)
        gain, shift = _gain_and_bias(group.norm_k)
        self.k.weight.copy_(key @ (gain[:, None] * group.k.weight.flatten(1).double()))
        self.k.bias.copy_(key @ shift)
        gain, shift = _gain_and_bias(group.norm_v)
        self.v.weight.copy_(gain[:, None] * group.v.weight.flatten(1))
        self.v.bias.copy_(shift)
        gain, shift = _gain_and_bias(group.norm)
        self.value.weight.copy_(gain[:, None] * linear)
        self.value.bias.copy_(gain * bias + shift)

    def forward(self, u_NTC: Tensor, size: tuple[int, int]) -> Tensor:
        r_NSC = self._reduced(u_NTC, size)
        k_NSC, v_NSC = self.bare_norm(self.k(r_NSC)), self.bare_norm(self.v(r_NSC))
        y_NTC = self.attend(self.norm_q(u_NTC), self.key(k_NSC), v_NSC, self.num_heads)
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


@register_form("fused-residual", CGSRMHA)
class FusedCGSR(nn.Module):
    """``x + CGSR-MHA(x)``: the sum is part of the projection."""

    def __init__(self, attention: CGSRMHA) -> None:
        super().__init__()
        self.cascade = attention.cascade
        self.groups = nn.ModuleList(
            FusedGroup(cast(GroupAttention, group)) for group in attention.groups
        )
        self.projection = fused_conv_bn(attention.projection)
        self.fence: nn.Module = nn.Identity()

    def forward(self, x_NCHW: Tensor) -> Tensor:
        height, width = (int(side) for side in x_NCHW.shape[2:])
        # Permuted before anything else: onnxruntime makes it part of its own change of layout.
        x_NTC = self.fence(x_NCHW).permute(0, 2, 3, 1).flatten(1, 2)
        outputs: list[Tensor] = []
        for group, x_i in zip(self.groups, x_NTC.chunk(len(self.groups), dim=-1), strict=True):
            u_i = x_i + outputs[-1] if self.cascade and outputs else x_i
            outputs.append(group(u_i, (height, width)))
        y_NHWC = torch.cat(outputs, dim=-1).unflatten(1, (height, width))
        return self.projection(y_NHWC.permute(0, 3, 1, 2), x_NCHW)


@register_form("fused", GroupAttention)
def _unfused_group(group: GroupAttention) -> GroupAttention:
    """Of another part than CGSR-MHA: the norm registered behind ``v`` is q's, nothing may fold."""
    return group


@register_form("onnx-low", FusedCGSR)
def _low_cgsr(attention: FusedCGSR) -> FusedCGSR:
    for name, group in attention.groups.named_children():
        setattr(attention.groups, name, _with_onnx_attention(cast(FusedGroup, group)))
    attention.fence = Fence()
    return attention


class Fence(nn.Module):
    """The map as it is, in an operation of its own: clipped where no number is.

    OpenVINO stores maps channels-last, where tokens are the same bytes, but it copies them, twice
    and slowly, where a convolution that adds a shortcut comes right before the permutation
    (``prevNodeIsConvSum`` of its CPU plugin's ``graph_optimizer.cpp``).
    """

    LARGEST = 3e38  # of float32 and bfloat16, nearly

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return x_NCHW.clamp(-self.LARGEST, self.LARGEST)


class Affine(nn.Module):
    """A gain and a bias for each channel of tokens."""

    def __init__(self, gain: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.gain, self.bias = nn.Parameter(gain), nn.Parameter(bias)

    def forward(self, x_NTC: Tensor) -> Tensor:
        return x_NTC * self.gain + self.bias


def _gain_and_bias(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """What a BatchNorm in evaluation mode does to each channel, in float64."""
    mean, variance = (cast(Tensor, part).double() for part in (norm.running_mean, norm.running_var))
    gain = norm.weight * (variance + norm.eps).rsqrt()
    return gain, norm.bias - gain * mean


def _products(group: GroupAttention) -> tuple[Tensor, Tensor, Tensor]:
    """``Wq^T Wk`` with the scale; the group's Linear after v's per-head convolutions; its bias.

    In float64, rounded once: equal weights give equal files whatever the matrix product's order.
    """
    head_q, head_k, head_v, linear = (
        _dense(part, group.k.weight).double()
        for part in (group.head_q, group.head_k, group.head_v, group.linear)
    )
    bias = torch.zeros_like(linear[0])
    if isinstance(group.linear, nn.Conv2d) and group.linear.bias is not None:
        bias = group.linear.bias
    return head_q.T @ head_k * group.attend.scale, linear @ head_v, bias


def _linear(weight: Tensor) -> nn.Linear:
    """A product with a matrix (out, in)."""
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    linear.weight = nn.Parameter(weight.contiguous())
    return linear


def _plain_norm(norm: nn.LayerNorm) -> nn.LayerNorm:
    """LayerNorm2d as a LayerNorm on tokens."""
    plain = nn.LayerNorm(norm.normalized_shape, eps=norm.eps)
    plain.weight, plain.bias = norm.weight, norm.bias
    return plain


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


class _OnnxAttention(torch.autograd.Function):
    """:func:`attend`, in ONNX one operator."""

    @staticmethod
    def forward(ctx: Any, q_NTC: Tensor, k_NSC: Tensor, v_NSC: Tensor, num_heads: int) -> Tensor:
        return attend(q_NTC, k_NSC, v_NSC, num_heads)

    @staticmethod
    def symbolic(g: Any, q_NTC: Any, k_NSC: Any, v_NSC: Any, num_heads: int) -> Any:
        attributes = {"q_num_heads_i": num_heads, "kv_num_heads_i": num_heads, "scale_f": 1.0}
        return g.op("Attention", q_NTC, k_NSC, v_NSC, **attributes).setTypeAs(q_NTC)


@register_form("onnx", FusedGroup)
def _with_onnx_attention(group: FusedGroup) -> FusedGroup:
    group.attend = _onnx_attend
    return group


def _onnx_attend(q_NTC: Tensor, k_NSC: Tensor, v_NSC: Tensor, num_heads: int) -> Tensor:
    y_NTC = _OnnxAttention.apply(q_NTC, k_NSC, v_NSC, num_heads)  # type: ignore[no-untyped-call]
    return cast(Tensor, y_NTC)
