"""Each attention against its equations, written once more without the modules, in float64."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from helpers import image, randomise_norms
from torch import Tensor, nn

from hevitpose.models.registry import create
from hevitpose.models.spec import VARIANTS, HEViTPoseSpec

NANO = VARIANTS["hevitpose_nano"]
DOUBLE = torch.float64


def build(spec: HEViTPoseSpec, stage: int, block: int = 0) -> nn.Module:
    torch.manual_seed(0)
    numbers = spec.attention_numbers(stage, block)
    module = create("attention", spec.attention, dim=spec.widths[stage], **numbers).to(DOUBLE)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, 0.3)
    return randomise_norms(module).eval()


def layer_norm(x_NCT: Tensor, w: dict[str, Tensor], name: str, eps: float = 1e-6) -> Tensor:
    centred = x_NCT - x_NCT.mean(1, keepdim=True)
    unit = centred / (centred.square().mean(1, keepdim=True) + eps).sqrt()
    return unit * w[f"{name}.weight"][:, None] + w[f"{name}.bias"][:, None]


def batch_norm(x_NCHW: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
    def channel(key: str) -> Tensor:
        return w[f"{name}.{key}"][:, None, None]

    unit = (x_NCHW - channel("running_mean")) / (channel("running_var") + 1e-5).sqrt()
    return unit * channel("weight") + channel("bias")


def conv1x1(x_NC: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
    """Along dim 1 of (N, C, ...)."""
    y = torch.einsum("oc,nc...->no...", w[f"{name}.weight"].flatten(1), x_NC)
    bias = w.get(f"{name}.bias")
    return y if bias is None else y + bias.reshape(-1, *(1,) * (y.ndim - 2))


def attend(q_NDT: Tensor, k_NDS: Tensor, v_NDS: Tensor, bias: Tensor | float = 0.0) -> Tensor:
    scores = torch.einsum("ndt,nds->nts", q_NDT, k_NDS) / math.sqrt(q_NDT.shape[1]) + bias
    weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
    return torch.einsum("nts,nds->ndt", weights, v_NDS)


def cgsr_oracle(x_NCHW: Tensor, w: dict[str, Tensor], groups: int, heads: int, r: int) -> Tensor:
    """Section 1 of the model's description, line by line."""
    batch, channels, height, width = x_NCHW.shape
    c = channels // groups
    d = c // heads
    y_previous = torch.zeros(batch, c, height, width, dtype=x_NCHW.dtype)
    outputs = []
    for i in range(groups):
        u = x_NCHW[:, i * c : (i + 1) * c] + y_previous  # u_1 = X_1, u_i = X_i + Y_{i-1}
        reduced = u
        if r > 1:
            patches = u.reshape(batch, c, height // r, r, width // r, r)
            kernel, bias = w[f"groups.{i}.reduce.weight"], w[f"groups.{i}.reduce.bias"]
            reduced = torch.einsum("ncyaxb,ocab->noyx", patches, kernel) + bias[:, None, None]
        g = f"groups.{i}"
        q = layer_norm(u.flatten(2), w, f"{g}.norm_q")
        k = layer_norm(conv1x1(reduced.flatten(2), w, f"{g}.k"), w, f"{g}.norm_k")
        v = layer_norm(conv1x1(reduced.flatten(2), w, f"{g}.v"), w, f"{g}.norm_v")
        parts = []
        for h in range(heads):
            own = slice(h * d, (h + 1) * d)
            qh, kh, vh = (
                torch.einsum("oc,nct->not", w[f"{g}.head_{n}.weight"][own, :, 0, 0], part[:, own])
                for n, part in (("q", q), ("k", k), ("v", v))
            )
            parts.append(attend(qh, kh, vh))
        y = layer_norm(conv1x1(torch.cat(parts, 1), w, f"{g}.linear"), w, f"{g}.norm")
        y_previous = y.reshape(batch, c, height, width)
        outputs.append(y_previous)
    projected = conv1x1(torch.cat(outputs, 1), w, "projection.conv")
    return batch_norm(projected, w, "projection.norm")


@pytest.mark.parametrize(
    ("stage", "groups", "heads", "reduction"), [(0, 2, 2, 4), (1, 4, 4, 2), (2, 8, 2, 1)]
)
def test_cgsr_is_its_equations(stage: int, groups: int, heads: int, reduction: int) -> None:
    spec = replace(NANO, groups=(groups,) * 3, num_heads=heads, reductions=(reduction,) * 3)
    module = build(spec, stage)
    x = image(2, spec.widths[stage], 8, 12, dtype=DOUBLE)
    expected = cgsr_oracle(x, module.state_dict(), groups, heads, reduction)
    assert (module(x) - expected).abs().max() < 1e-9 * expected.abs().max()

    # The oracle sees a broken cascade: none at all, or one that receives the wrong group.
    broken = build(replace(spec, cascade=False), stage)
    broken.load_state_dict(module.state_dict())
    assert (broken(x) - expected).abs().max() > 1e-2 * expected.abs().max()


def test_cgsr_cascade_flows_forward_only() -> None:
    module = build(replace(NANO, groups=(4, 4, 4)), 0)
    x = image(1, 32, 8, 8, dtype=DOUBLE)
    seen: list[Tensor] = []
    module.projection.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    module(x)
    changed = x.clone()
    changed[:, 8:16] += 1.0 + image(1, 8, 8, 8, seed=5, dtype=DOUBLE)  # X_2 alone
    module(changed)
    moved = (seen[0] - seen[1]).abs().amax((0, 2, 3)).reshape(4, 8).amax(1) > 1e-6
    assert moved.tolist() == [False, True, True, True]


def test_cgsr_parts_switch_off() -> None:
    base = build(NANO, 0)
    names = {name for name, _ in base.named_parameters()}
    for options, gone in (
        ({"per_head_conv": False}, "head_"),
        ({"group_linear": False}, ".linear."),
        ({"reduction_mode": "avg-pool"}, ".reduce."),
        ({"reductions": (1, 1, 1)}, ".reduce."),
    ):
        left = {name for name, _ in build(replace(NANO, **options), 0).named_parameters()}
        assert left == {name for name in names if gone not in name}


def global_attention(
    q_NCT: Tensor, k_NCS: Tensor, v_NCS: Tensor, heads: int, bias: Tensor | None = None
) -> Tensor:
    d = q_NCT.shape[1] // heads
    return torch.cat(
        [
            attend(*(t[:, h * d : (h + 1) * d] for t in (q_NCT, k_NCS, v_NCS)), 0.0)
            if bias is None
            else attend(*(t[:, h * d : (h + 1) * d] for t in (q_NCT, k_NCS, v_NCS)), bias[h])
            for h in range(heads)
        ],
        dim=1,
    )


def test_mhsa_is_global_attention() -> None:
    module = build(replace(NANO, attention="mhsa"), 0)
    w = module.state_dict()
    x = image(2, 32, 4, 8, dtype=DOUBLE)
    q, k, v = conv1x1(layer_norm(x.flatten(2), w, "norm"), w, "qkv").chunk(3, 1)
    expected = conv1x1(global_attention(q, k, v, NANO.num_heads), w, "projection").reshape(x.shape)
    assert (module(x) - expected).abs().max() < 1e-9


@pytest.mark.parametrize("name", ["sra", "linear-sra"])
def test_spatial_reduction_attention(name: str) -> None:
    module = build(replace(NANO, attention=name), 0)
    w = module.state_dict()
    x = image(2, 32, 16, 8, dtype=DOUBLE)
    normed = layer_norm(x.flatten(2), w, "norm")
    if name == "sra":
        patches = normed.reshape(2, 32, 4, 4, 2, 4)
        reduced = torch.einsum("ncyaxb,ocab->noyx", patches, w["reduce.0.weight"]).flatten(2)
        reduced = layer_norm(reduced + w["reduce.0.bias"][:, None], w, "reduce.1", eps=1e-5)
    else:
        grid = normed.reshape(x.shape)
        rows = [(16 * i // 7, -(-16 * (i + 1) // 7)) for i in range(7)]
        columns = [(8 * i // 7, -(-8 * (i + 1) // 7)) for i in range(7)]
        pooled = torch.stack(
            [grid[:, :, a:b, c:d].mean((2, 3)) for a, b in rows for c, d in columns], dim=-1
        )
        reduced = layer_norm(conv1x1(pooled, w, "reduce.1"), w, "reduce.2", eps=1e-5)
        reduced = reduced * 0.5 * (1 + torch.erf(reduced / math.sqrt(2)))
    q = conv1x1(normed, w, "q")
    k, v = conv1x1(reduced, w, "kv").chunk(2, 1)
    expected = conv1x1(global_attention(q, k, v, NANO.num_heads), w, "projection").reshape(x.shape)
    assert (module(x) - expected).abs().max() < 1e-9


@pytest.mark.parametrize("block", [0, 1], ids=["plain", "shifted"])
@pytest.mark.parametrize("size", [(16, 24), (24, 8), (12, 20), (4, 6)])
def test_windows_are_masked_global_attention(block: int, size: tuple[int, int]) -> None:
    side = NANO.window
    module = build(replace(NANO, attention="window"), 0, block)
    w = module.state_dict()
    x = image(2, 32, *size, dtype=DOUBLE)

    def cell(length: int) -> Tensor:
        """The window of each token: windows start at the shift, where there are several."""
        shift = side // 2 if block == 1 and length > side else 0
        return torch.div(torch.arange(length) - shift, side, rounding_mode="floor")

    y, x_at = (t.flatten() for t in torch.meshgrid(*map(torch.arange, size), indexing="ij"))
    cy, cx = (t.flatten() for t in torch.meshgrid(*map(cell, size), indexing="ij"))
    together = (cy[:, None] == cy) & (cx[:, None] == cx)
    dy, dx = y[:, None] - y, x_at[:, None] - x_at
    index = (dy + side - 1) * (2 * side - 1) + dx + side - 1
    bias = w["position_bias.table"][:, index.where(together, 0)]
    bias = bias.masked_fill(~together, float("-inf"))

    q, k, v = conv1x1(layer_norm(x.flatten(2), w, "norm"), w, "qkv").chunk(3, 1)
    expected = conv1x1(global_attention(q, k, v, NANO.num_heads, bias), w, "projection")
    assert (module(x) - expected.reshape(x.shape)).abs().max() < 1e-9


def test_windows_alternate_over_the_whole_network() -> None:
    from hevitpose.models import create_model

    model = create_model("t", attention="window")
    shifts = [
        block.attention.branch.windows.shift
        for stage in model.backbone.stages
        for block in stage.blocks
    ]
    assert shifts == [0, 4, 0, 4, 0, 4]


@pytest.mark.parametrize("size", [(8, 16), (12, 8)])
def test_cga_is_a_cascade_within_windows(size: tuple[int, int]) -> None:
    groups, side = 2, NANO.window
    module = build(replace(NANO, attention="cga", groups=(groups,) * 3), 0)
    w = module.state_dict()
    x = image(1, 32, *size, dtype=DOUBLE)
    padded = F.pad(x, (0, -size[1] % side, 0, -size[0] % side))
    at_y, at_x = (t.flatten() for t in torch.meshgrid(*[torch.arange(side)] * 2, indexing="ij"))
    index = (at_y[:, None] - at_y).abs() * side + (at_x[:, None] - at_x).abs()

    expected = torch.zeros_like(padded)
    for top in range(0, padded.shape[2], side):
        for left in range(0, padded.shape[3], side):
            window = padded[:, :, top : top + side, left : left + side]
            real = (at_y + top < size[0]) & (at_x + left < size[1])
            previous: Tensor | float = 0.0
            outputs = []
            for i, x_i in enumerate(window.chunk(groups, 1)):
                name = f"heads.{i}"
                qkv = batch_norm(
                    conv1x1(x_i + previous, w, f"{name}.qkv.conv"), w, f"{name}.qkv.norm"
                )
                q, k, v = qkv[:, :16], qkv[:, 16:32], qkv[:, 32:]
                q = F.conv2d(q, w[f"{name}.dwconv.conv.weight"], padding=2, groups=16)
                q = batch_norm(q, w, f"{name}.dwconv.norm")
                bias = w["position_bias.table"][i][index]
                bias = bias.masked_fill(real[:, None] != real, float("-inf"))
                y = attend(q.flatten(2), k.flatten(2), v.flatten(2), bias)
                previous = y.reshape(x_i.shape)
                outputs.append(previous)
            projected = conv1x1(torch.cat(outputs, 1).clamp(min=0), w, "projection.conv")
            expected[:, :, top : top + side, left : left + side] = batch_norm(
                projected, w, "projection.norm"
            )
    assert (module(x) - expected[:, :, : size[0], : size[1]]).abs().max() < 1e-9
