"""The fused form of a network, written with the operations that ONNX runtimes are fast at.

Attention is ONNX's own operator (opset 23), and the head's transposed convolutions are spelled out
with three quarters of the multiplications. Standard operators alone: any runtime of that opset
reads the file. Equal to the fused form in real numbers.
"""

from __future__ import annotations

import copy
import itertools
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hevitpose.optimization.fusion import FusedConv, FusedGroup, attend

#: The first opset that has an operator for attention.
ATTENTION_OPSET = 23
#: Of a transposed kernel of 4 at stride 2, padding 1, what outputs of even and of odd index take:
#: ``y[2 i + p] = x[i - 1 + p] w[_TAPS[p][0]] + x[i + p] w[_TAPS[p][1]]``.
_TAPS = ([3, 1], [2, 0])


def onnx_form(network: nn.Module) -> nn.Module:
    """A copy with every fused part that has a form of its own for ONNX replaced by it.

    Args:
        network: any; of one that was not fused, nothing is replaced.
    """
    network = copy.deepcopy(network)
    for module in list(network.modules()):
        if isinstance(module, FusedGroup):
            module.attend = _attend
        if not isinstance(module, nn.Sequential):
            continue
        names = list(module._modules)
        for name, next_name in itertools.zip_longest(names, names[1:]):
            up = module._modules[name]
            if not isinstance(up, FusedConv) or not _doubles(up.conv):
                continue
            last = module._modules[next_name] if next_name else None
            if next_name and isinstance(last, nn.Conv2d) and _pointwise(last):
                setattr(module, name, Upsample(up, last))
                setattr(module, next_name, nn.Identity())
            else:
                setattr(module, name, Upsample(up))
    return network


class Upsample(nn.Module):
    """A fused transposed convolution of kernel 4 and stride 2, and the 1x1 convolution after it.

    It is four convolutions of kernel 2x2, one for each parity (a, b) of the output's row and
    column. Along a row, two neighbouring outputs of one parity share products (Winograd 1980,
    F(2, 2)): three instead of four,

    ``x0 g0 + x1 g1 = (x0 - x1) g0 + x1 (g0 + g1)`` and
    ``x1 g0 + x2 g1 = x1 (g0 + g1) - (x1 - x2) g1``

    with x0, x1, x2 in columns 2 t - 1 + b to 2 t + 1 + b. A 1x1 convolution commutes with putting
    the parities together, so it comes first, where there is less to move afterwards.

    Args:
        up: the transposed convolution with its ReLU.
        last: the 1x1 convolution, if one follows.
    """

    def __init__(self, up: FusedConv, last: nn.Conv2d | None = None) -> None:
        super().__init__()
        self.up, self.last = up, last
        weight = up.conv.weight.detach().transpose(0, 1)
        products = []
        for rows in _TAPS:
            for columns in _TAPS:
                first, second = weight[:, :, rows][..., columns].split(1, dim=-1)
                products += [first, first + second, -second]
        self.products = nn.ParameterList(part.contiguous() for part in products)
        self.products.requires_grad_(False)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        height, width = (int(side) for side in x_NCHW.shape[2:])
        if width % 2:
            y_NCHW = self.up(x_NCHW)
            return y_NCHW if self.last is None else self.last(y_NCHW)
        features = self._features(x_NCHW)
        rows = []
        for a in (0, 1):
            columns = [self._pair(features[2 * b :][:3], a, b) for b in (0, 1)]
            # In the order of the columns that they are: 4 t + 2 (second of the pair) + b.
            four_NCHW = torch.cat([columns[b][j] for j in (0, 1) for b in (0, 1)], dim=1)
            # By permute: onnxruntime makes it part of its own change of layout.
            row_NHWC = four_NCHW.permute(0, 2, 3, 1)
            rows.append(row_NHWC.reshape(-1, height, 1, width // 2 * four_NCHW.shape[1]))
        y_NHWC = torch.cat(rows, dim=2).reshape(-1, 2 * height, 2 * width, four_NCHW.shape[1] // 4)
        return y_NHWC.permute(0, 3, 1, 2)

    def _features(self, x_NCHW: Tensor) -> list[Tensor]:
        """x[2 t - 1] - x[2 t], x[2 t], x[2 t] - x[2 t + 1], x[2 t + 1], x[2 t + 1] - x[2 t + 2]."""
        channels = self.up.conv.in_channels
        kernels = (
            ([1, -1], 1, 0),
            ([1], 0, 0),
            ([1, -1], 0, 0),
            ([0, 1], 0, 0),
            ([0, 1, -1], 0, 1),
        )
        features = []
        for kernel, left, right in kernels:
            weight = x_NCHW.new_tensor(kernel).expand(channels, 1, 1, -1).contiguous()
            features.append(_convolve(x_NCHW, weight, None, (1, 2), (0, left, 0, right), channels))
        return features

    def _pair(self, features: list[Tensor], a: int, b: int) -> list[Tensor]:
        """Two neighbouring outputs of parity (a, b) in every row, maps (N, C, H, W / 2)."""
        before, middle, after = self.products[6 * a + 3 * b :][:3]
        pad = (1 - a, 0, a, 0)
        shared = _convolve(features[1], middle, self.up.conv.bias, (1, 1), pad, 1)
        outputs = []
        for feature, weight in ((features[0], before), (features[2], after)):
            y = _convolve(feature, weight, None, (1, 1), pad, 1) + shared
            y = F.relu(y) if self.up.relu else y
            outputs.append(y if self.last is None else self.last(y))
        return outputs


def _doubles(conv: nn.Module) -> bool:
    return isinstance(conv, nn.ConvTranspose2d) and (
        conv.kernel_size == (4, 4)
        and conv.stride == (2, 2)
        and conv.padding == (1, 1)
        and conv.output_padding == (0, 0)
        and conv.dilation == (1, 1)
        and conv.groups == 1
    )


def _pointwise(conv: nn.Conv2d) -> bool:
    return (conv.kernel_size, conv.stride, conv.padding) == ((1, 1), (1, 1), (0, 0))


class _Attention(torch.autograd.Function):
    """:func:`attend`, in ONNX one operator."""

    @staticmethod
    def forward(ctx: Any, q_NTC: Tensor, k_NSC: Tensor, v_NSC: Tensor, heads: int) -> Tensor:
        return attend(q_NTC, k_NSC, v_NSC, heads)

    @staticmethod
    def symbolic(g: Any, q_NTC: Any, k_NSC: Any, v_NSC: Any, heads: int) -> Any:
        attributes = {"q_num_heads_i": heads, "kv_num_heads_i": heads, "scale_f": 1.0}
        return g.op("Attention", q_NTC, k_NSC, v_NSC, **attributes).setTypeAs(q_NTC)


class _Convolution(torch.autograd.Function):
    """A convolution padded differently on each side, which PyTorch exports as two operators."""

    @staticmethod
    def forward(
        ctx: Any,
        x_NCHW: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: tuple[int, int],
        pad: tuple[int, int, int, int],  # top, left, bottom, right
        groups: int,
    ) -> Tensor:
        top, left, bottom, right = pad
        x_NCHW = F.pad(x_NCHW, (left, right, top, bottom))
        return F.conv2d(x_NCHW, weight, bias, stride, groups=groups)

    @staticmethod
    def symbolic(g: Any, x: Any, weight: Any, bias: Any, stride: Any, pad: Any, groups: int) -> Any:
        inputs = [x, weight] if bias is None else [x, weight, bias]
        return g.op("Conv", *inputs, strides_i=list(stride), pads_i=list(pad), group_i=groups)


def _attend(q_NTC: Tensor, k_NSC: Tensor, v_NSC: Tensor, heads: int) -> Tensor:
    return cast(Tensor, _Attention.apply(q_NTC, k_NSC, v_NSC, heads))  # type: ignore[no-untyped-call]


def _convolve(*arguments: Any) -> Tensor:
    return cast(Tensor, _Convolution.apply(*arguments))  # type: ignore[no-untyped-call]
