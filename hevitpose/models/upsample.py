"""Upsampling layers of the head that are alternatives, and the fast forms of all of them.

The paper's, a transposed convolution, is in ``hevitpose.models.hevitpose``. For ONNX runtimes it is
spelled out as convolutions, in float32 with three quarters of the multiplications
(:class:`Upsample`), in bf16 and int8 plainly (:class:`PlainUpsample`).
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from hevitpose.models.forms import register_form
from hevitpose.models.fused_conv import FusedConv
from hevitpose.models.hevitpose import Deconv, HeatmapHead
from hevitpose.models.registry import register

#: Of a transposed kernel of 4 at stride 2, padding 1, what outputs of even and of odd index take:
#: ``y[2 i + p] = x[i - 1 + p] w[_TAPS[p][0]] + x[i + p] w[_TAPS[p][1]]``.
_TAPS = ([3, 1], [2, 0])


@register("upsampler", "pixel-shuffle")
class PixelShuffle(nn.Sequential):
    """Sub-pixel convolution (ESPCN, Shi et al. 2016): 3x3 to four times the channels, shuffled."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        conv = nn.Conv2d(in_channels, 4 * out_channels, 3, padding=1, bias=False)
        super().__init__(
            OrderedDict(
                conv=conv,
                shuffle=nn.PixelShuffle(2),
                norm=nn.BatchNorm2d(out_channels),
                act=nn.ReLU(inplace=True),
            )
        )


@register("upsampler", "bilinear")
class Bilinear(nn.Sequential):
    """Bilinear upsampling, then 3x3 convolution, BN, ReLU (Odena et al. 2016: no checkerboard)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        upsample = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        norm = nn.BatchNorm2d(out_channels)
        super().__init__(
            OrderedDict(upsample=upsample, conv=conv, norm=norm, act=nn.ReLU(inplace=True))
        )


# Fused -------------------------------------------------------------------------------------------


@register_form("fused", Deconv)
def _fuse_deconv(layers: Deconv) -> nn.Module:
    parts: Any = layers
    return FusedConv(parts.deconv, parts.norm, relu=True)


@register_form("fused", PixelShuffle)
def _fuse_pixel_shuffle(layers: PixelShuffle) -> nn.Module:
    """BatchNorm folded through the shuffle: each of its channels is four of the convolution's."""
    parts: Any = layers
    conv, norm = parts.conv, parts.norm
    mean, variance, weight, bias = (
        tensor.repeat_interleave(4)
        for tensor in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    conv.weight, conv.bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, mean, variance, norm.eps, weight, bias
    )
    return nn.Sequential(FusedConv(conv, relu=True), parts.shuffle)


@register_form("fused", Bilinear)
def _fuse_bilinear(layers: Bilinear) -> nn.Module:
    parts: Any = layers
    return nn.Sequential(parts.upsample, FusedConv(parts.conv, parts.norm, relu=True))


# ONNX --------------------------------------------------------------------------------------------


@register_form("onnx", HeatmapHead)
def _onnx_head(head: HeatmapHead) -> HeatmapHead:
    return _spelled_out(head, Upsample)


@register_form("onnx-low", HeatmapHead)
def _low_head(head: HeatmapHead) -> HeatmapHead:
    return _spelled_out(head, PlainUpsample)


def _spelled_out(
    head: HeatmapHead, form: Callable[[FusedConv, nn.Conv2d | None], nn.Module]
) -> HeatmapHead:
    """Fused transposed convolutions spelled out; the last one takes the 1x1 convolution along."""
    names = list(head._modules)
    for name, next_name in itertools.pairwise(names):
        up, last = head._modules[name], head._modules[next_name]
        if not isinstance(up, FusedConv) or not _doubles(up.conv):
            continue
        if isinstance(last, nn.Conv2d) and _pointwise(last):
            setattr(head, name, form(up, last))
            setattr(head, next_name, nn.Identity())
        else:
            setattr(head, name, form(up, None))
    return head


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
        products = []
        for kernel in _parities(up.conv):
            first, second = kernel.split(1, dim=-1)
            products += [first, first + second, -second]
        self.products = nn.ParameterList(part.contiguous() for part in products)
        self.products.requires_grad_(False)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        if int(x_NCHW.shape[3]) % 2:
            y_NCHW = self.up(x_NCHW)
            return y_NCHW if self.last is None else self.last(y_NCHW)
        features = self._features(x_NCHW)
        rows = []
        for a in (0, 1):
            columns = [self._pair(features[2 * b :][:3], a, b) for b in (0, 1)]
            # In the order of the columns that they are: 4 t + 2 (second of the pair) + b.
            rows.append([columns[b][j] for j in (0, 1) for b in (0, 1)])
        return _put_together(rows)

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


class PlainUpsample(nn.Module):
    """The same as four convolutions of kernel 2x2, one for each parity of row and column.

    Products in bf16 and int8 cost less than the sums that save a quarter of them.

    Args:
        up: the transposed convolution with its ReLU.
        last: the 1x1 convolution, if one follows.
    """

    def __init__(self, up: FusedConv, last: nn.Conv2d | None = None) -> None:
        super().__init__()
        self.up, self.last = up, last
        self.kernels = nn.ParameterList(kernel.contiguous() for kernel in _parities(up.conv))
        self.kernels.requires_grad_(False)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        rows = [[self._parity(x_NCHW, a, b) for b in (0, 1)] for a in (0, 1)]
        return _put_together(rows)

    def _parity(self, x_NCHW: Tensor, a: int, b: int) -> Tensor:
        """Outputs in rows of parity a and columns of parity b, a map (N, C, H, W)."""
        pad = (1 - a, 1 - b, a, b)
        y = _convolve(x_NCHW, self.kernels[2 * a + b], self.up.conv.bias, (1, 1), pad, 1)
        y = F.relu(y) if self.up.relu else y
        return y if self.last is None else self.last(y)


def _parities(up: nn.Module) -> list[Tensor]:
    """Kernels 2x2 of the outputs in rows and columns of parity (0, 0), (0, 1), (1, 0), (1, 1)."""
    weight = cast(Tensor, up.weight).detach().transpose(0, 1)
    return [weight[:, :, rows][..., columns] for rows in _TAPS for columns in _TAPS]


def _put_together(parts: list[list[Tensor]]) -> Tensor:
    """Maps (N, C, H, W / P) as one (N, C, 2 H, 2 W), of which ``parts[a][j]`` are rows a + 2 i.

    In every row the 2 P parts follow one another column by column.
    """
    rows = []
    for part in parts:
        row_NCHW = torch.cat(part, dim=1)
        height, width = (int(side) for side in row_NCHW.shape[2:])
        # By permute: onnxruntime makes it part of its own change of layout.
        row_NHWC = row_NCHW.permute(0, 2, 3, 1)
        rows.append(row_NHWC.reshape(-1, height, 1, width * row_NCHW.shape[1]))
    columns = len(parts[0])
    channels = row_NCHW.shape[1] // columns
    y_NHWC = torch.cat(rows, dim=2).reshape(-1, 2 * height, width * columns, channels)
    return y_NHWC.permute(0, 3, 1, 2)


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


def _convolve(*arguments: Any) -> Tensor:
    return cast(Tensor, _Convolution.apply(*arguments))  # type: ignore[no-untyped-call]
