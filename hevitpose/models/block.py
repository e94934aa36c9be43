"""The HEViTPose block."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from hevitpose.models.attention import create_attention
from hevitpose.models.ffn import create_ffn
from hevitpose.models.layers import DWConv, Residual
from hevitpose.spec import HEViTPoseSpec


class HEViTPoseBlock(nn.Sequential):
    """DWConv, FFN, attention, DWConv, FFN (the paper's block figure), each with its own shortcut.

    A line that the spec switches off (``attention="none"``, ``dwconv=False``,
    ``ffns_per_block=1``) is absent.

    Args:
        spec: the network.
        stage: 0, 1 or 2.
        block: the block's number over all blocks of the network, from 0.
        drop_path: probability of dropping a branch for a sample, the same for all five.
    """

    def __init__(self, spec: HEViTPoseSpec, stage: int, block: int, drop_path: float = 0.0) -> None:
        dim = spec.widths[stage]
        branches: dict[str, nn.Module] = {}
        if spec.dwconv:
            branches["dwconv1"] = DWConv(dim)
        branches["ffn1"] = create_ffn(spec.ffn, dim, spec.ffn_ratio)
        if spec.attention != "none":
            branches["attention"] = create_attention(spec, stage, block)
        if spec.dwconv:
            branches["dwconv2"] = DWConv(dim)
        if spec.ffns_per_block == 2:
            branches["ffn2"] = create_ffn(spec.ffn, dim, spec.ffn_ratio)
        super().__init__(
            OrderedDict((name, Residual(part, drop_path)) for name, part in branches.items())
        )
