"""The training form of a network: its own parameters, computed with fewer and larger operations."""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hevitpose.models.attention import MHSA, SRA, CGSRAttention, GroupAttention


def train_form(model: nn.Module) -> nn.Module:
    """``mode="train"``: channels-last throughout, attention in few operations; see the classes."""
    tensors = [*model.parameters(), *model.buffers()]
    fast = copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})
    for module in fast.modules():
        # The copy has the same attributes; only how it computes differs.
        module.__class__ = _TRAIN_CLASSES.get(type(module), type(module))
    fast.register_forward_pre_hook(to_channels_last)
    return fast


def to_channels_last(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """A forward pre-hook: the first argument, a map (N, C, H, W), in channels-last memory."""
    image, *rest = args
    return (image.contiguous(memory_format=torch.channels_last), *rest)


def tokens(x_NCHW: Tensor) -> Tensor:
    """(N, C, H, W) to (N, H * W, C); no copy where the map is channels-last."""
    return x_NCHW.flatten(2).transpose(1, 2)


def _heads(x_NTC: Tensor, heads: int) -> Tensor:
    """(N, T, M * D) to (N, M, T, D), a view."""
    return x_NTC.unflatten(-1, (heads, -1)).transpose(1, 2)


def _linear(x_NTC: Tensor, conv: nn.Conv2d) -> Tensor:
    """A 1x1 convolution on tokens."""
    return F.linear(x_NTC, conv.weight.flatten(1), conv.bias)


def _norm(x_NTC: Tensor, norm: nn.LayerNorm) -> Tensor:
    return F.layer_norm(x_NTC, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


def _attend(q_NTC: Tensor, k_NSC: Tensor, v_NSC: Tensor, heads: int, scale: float) -> Tensor:
    q_NMTD, k_NMSD, v_NMSD = (_heads(part, heads) for part in (q_NTC, k_NSC, v_NSC))
    y_NMTD = F.scaled_dot_product_attention(q_NMTD, k_NMSD, v_NMSD, scale=scale)
    return y_NMTD.transpose(1, 2).flatten(2)


class _TrainCGSR(CGSRAttention):
    """CGSR-MHA on tokens (N, T, c), with two products fewer on each side of the attention.

    Scores are bilinear in q and k, so q's per-head convolution moves to k's side, where there are
    R^2 times fewer tokens, and joins k's: ``q^T Wq^T Wk k``. The output is linear in v, so v's
    joins the group's Linear. Both are products of small matrices, made for all groups at once.
    """

    def forward(self, x_NCHW: Tensor) -> Tensor:
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
            q = _norm(u_NTc, group.norm_q)
            k = _norm(_linear(r_NSc, group.k), group.norm_k)
            v = _norm(_linear(r_NSc, group.v), group.norm_v)
            if keys is not None:
                k = F.linear(k, keys[index])
            y = _attend(q, k, v, group.heads, group.attend.scale)
            if values is not None:
                y = F.linear(y, values[index], getattr(group.linear, "bias", None))
            outputs.append(_norm(y, group.norm))
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
        linear, head_v = (
            not isinstance(getattr(self._groups()[0], name), nn.Identity)
            for name in ("linear", "head_v")
        )
        if not (linear or head_v):
            return None
        if not linear:
            return _block_diagonal(self._stacked("head_v")).unbind(0)
        linear_GOC = torch.stack(
            [cast(nn.Conv2d, group.linear).weight.flatten(1) for group in self._groups()]
        )
        if not head_v:
            return linear_GOC.unbind(0)
        heads = self._groups()[0].heads
        linear_GMOD = linear_GOC.unflatten(-1, (heads, -1)).transpose(1, 2)
        return (linear_GMOD @ self._stacked("head_v")).transpose(1, 2).flatten(2).unbind(0)

    def _stacked(self, name: str) -> Tensor:
        """The per-head weights of all groups, (G, M, D out, D in)."""
        weights = [getattr(group, name).weight.flatten(1) for group in self._groups()]
        return torch.stack(weights).unflatten(1, (self._groups()[0].heads, -1))


def _block_diagonal(blocks_GMOD: Tensor) -> Tensor:
    """(G, M, D, D) to (G, M * D, M * D)."""
    heads = blocks_GMOD.shape[1]
    eye_MM = torch.eye(heads, dtype=blocks_GMOD.dtype, device=blocks_GMOD.device)
    blocks_GMOMD = blocks_GMOD[:, :, :, None, :] * eye_MM[:, None, :, None]
    return blocks_GMOMD.flatten(3, 4).flatten(1, 2)


class _TrainMHSA(MHSA):
    """Global attention on tokens, without the matrix of scores."""

    def forward(self, x_NCHW: Tensor) -> Tensor:
        q_NTC, k_NTC, v_NTC = _linear(_norm(tokens(x_NCHW), self.norm), self.qkv).chunk(3, dim=-1)
        y_NTC = _attend(q_NTC, k_NTC, v_NTC, self.heads, self.attend.scale)
        return _linear(y_NTC, self.projection).transpose(1, 2).unflatten(-1, x_NCHW.shape[-2:])


class _TrainSRA(SRA):
    """Spatial-reduction attention on tokens, without the matrix of scores."""

    def forward(self, x_NCHW: Tensor) -> Tensor:
        x = self.norm(x_NCHW)
        q_NTC = _linear(tokens(x), self.q)
        k_NSC, v_NSC = _linear(tokens(self.reduce(x)), self.kv).chunk(2, dim=-1)
        y_NTC = _attend(q_NTC, k_NSC, v_NSC, self.heads, self.attend.scale)
        return _linear(y_NTC, self.projection).transpose(1, 2).unflatten(-1, x.shape[-2:])


_TRAIN_CLASSES: dict[type[nn.Module], type[nn.Module]] = {
    CGSRAttention: _TrainCGSR,
    MHSA: _TrainMHSA,
    SRA: _TrainSRA,
}
