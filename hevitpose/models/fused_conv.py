"""Convolutions with their BatchNorm folded in, their ReLU and their shortcut: one operation.

On a CPU in float32 they keep their weights in oneDNN's own layout and do ReLU and the sum with the
shortcut in the same pass. Everywhere else (also when traced, exported or compiled) they are
PyTorch's.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, cast, get_args

import torch
import torch.nn.functional as F
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from hevitpose.errors import UsageError

AnyConv = nn.Conv2d | nn.ConvTranspose2d
_NORMS = (nn.BatchNorm2d, BatchNormAct2d)


#: Libraries whose blocks apply their layers in the order in which they register them.
_IN_ORDER = ("timm", "torchvision", "hevitpose")


def fold_neighbours(module: nn.Module) -> None:
    """Fold each BatchNorm into the convolution before it, where that is what it is applied to.

    Nothing but the order of registration tells, and only ``nn.Sequential`` and the blocks of the
    peers are known to keep to it: other modules stay as they are.
    """
    plain_sequence = type(module).forward is nn.Sequential.forward
    if not plain_sequence and type(module).__module__.partition(".")[0] not in _IN_ORDER:
        return
    children = list(module.named_children())
    for (name, conv), (next_name, norm) in itertools.pairwise(children):
        # Subclasses may change the weight or the map on the way.
        if type(conv) not in get_args(AnyConv) or type(norm) not in _NORMS:
            continue
        if conv.out_channels != norm.num_features or norm.running_mean is None:
            continue
        setattr(module, name, _folded(cast(AnyConv, conv), cast(nn.BatchNorm2d, norm)))
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
        self._packed: tuple[tuple[Any, ...], Tensor] | None = None

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
        # An inference tensor has no version; loading into one is told below.
        version = 0 if conv.weight.is_inference() else conv.weight._version
        key = (tuple(x.shape), conv.weight.data_ptr(), version)
        if self._packed is None or self._packed[0] != key:
            reorder = (
                ops._reorder_convolution_transpose_weight
                if transposed
                else ops._reorder_convolution_weight
            )
            # A layout that suits one size is right for all; it is only made again to stay fast.
            self._packed = key, reorder(conv.weight, *place, list(x.shape))
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

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._packed = None
        super()._load_from_state_dict(*args, **kwargs)

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


def fused_conv_bn(part: nn.Module) -> FusedConv:
    """A :class:`~hevitpose.models.hevitpose.ConvBN` as one convolution."""
    conv, norm = cast(nn.Conv2d, part.conv), cast(nn.BatchNorm2d, part.norm)
    return FusedConv(conv, norm, relu=hasattr(part, "act"))
