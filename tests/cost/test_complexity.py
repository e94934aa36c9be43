"""The counters against arithmetic done by hand, one tiny layer at a time."""

from __future__ import annotations

import copy
import sys

import pytest
import torch
from timm.layers import BatchNormAct2d, LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional as F

from hevitpose.cost.complexity import (
    CONVENTIONS,
    count,
    describe_uncounted,
    meta_copy,
    parameters,
    render,
)
from hevitpose.cost.conventions import attention_products
from hevitpose.errors import HEViTPoseError, UsageError

SIZE = (10, 8)  # W, H: not square, so that a swap shows
PIXELS = 80


class Tokens(nn.Module):
    """Runs a layer on the image's pixels as tokens (N, 80, 3)."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.flatten(2).transpose(1, 2))


class Function(nn.Module):
    """Runs a function; there is nothing in it that a rule per module could see."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Attention(nn.Module):
    """Attention without projections: 2 heads, 6 queries, 10 keys of 4 numbers, and 10 values."""

    def __init__(self, value: int = 4) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        n = x.shape[0]
        flat = x.flatten(1)
        query = flat[:, : 2 * 6 * 4].reshape(n, 2, 6, 4)
        key = flat[:, : 2 * 10 * 4].reshape(n, 2, 10, 4)
        value = flat[:, : 2 * 10 * self.value].reshape(n, 2, 10, self.value)
        return F.scaled_dot_product_attention(query, key, value)


def mmcv(layer: nn.Module, batch: int = 1) -> int:
    return count(layer, SIZE, "mmcv", batch).flops


# ------------------------------------------------------------------------------ the mmcv rule


def test_convolution():
    # 3x3 kernel, 3 -> 4 channels: 3*3*3*4 = 108 per position; padded: 8*10 = 80 positions.
    assert mmcv(nn.Conv2d(3, 4, 3, padding=1, bias=False)) == 108 * 80
    # The bias adds one per output element: 4 * 80.
    assert mmcv(nn.Conv2d(3, 4, 3, padding=1)) == 108 * 80 + 320
    # Stride 2 without padding: (8-3)//2+1 = 3 rows, (10-3)//2+1 = 4 columns: 12 positions.
    assert mmcv(nn.Conv2d(3, 4, 3, stride=2, bias=False)) == 108 * 12
    # Two images, twice the work.
    assert mmcv(nn.Conv2d(3, 4, 3, stride=2), batch=2) == 2 * (108 * 12 + 4 * 12)


def test_convolution_of_uneven_kernel_and_dilation():
    # 1x3 kernel over rows of 10: 3*1*3*2 = 18 per position, 8 rows x (10-2) columns.
    assert mmcv(nn.Conv2d(3, 2, (1, 3), bias=False)) == 18 * 64
    # Dilation 2 makes 3x3 span 5x5: (8-4) x (10-4) = 24 positions, the weights stay 9.
    assert mmcv(nn.Conv2d(3, 1, 3, dilation=2, bias=False)) == 27 * 24


def test_grouped_and_depthwise_convolution():
    # 3 groups of 1 -> 2 channels, 3x3: 3 * (9*1*2) = 54 per position.
    assert mmcv(nn.Conv2d(3, 6, 3, padding=1, groups=3, bias=False)) == 54 * 80
    # Depthwise: 9 per channel, 27 per position; bias 3 * 80.
    assert mmcv(nn.Conv2d(3, 3, 3, padding=1, groups=3)) == 27 * 80 + 240


def test_transposed_convolution_counts_input_positions():
    # k4 s2 p1, 3 -> 5: 4*4*3*5 = 240 for each of the 80 *input* positions (output has 320).
    assert mmcv(nn.ConvTranspose2d(3, 5, 4, stride=2, padding=1, bias=False)) == 240 * 80
    # The bias counts output elements: 16 * 20 * 5 = 1600.
    assert mmcv(nn.ConvTranspose2d(3, 5, 4, stride=2, padding=1)) == 240 * 80 + 1600
    # 3 groups: 4*4*1*2*3 = 96 per input position.
    assert mmcv(nn.ConvTranspose2d(3, 6, 4, stride=2, padding=1, groups=3, bias=False)) == 96 * 80


def test_linear_bias_is_free():
    # 80 tokens x 3 x 7 = 1680, with or without bias.
    assert mmcv(Tokens(nn.Linear(3, 7))) == 1680
    assert mmcv(Tokens(nn.Linear(3, 7, bias=False))) == 1680
    # A 1x1 convolution does the same and is charged for its bias: + 7 * 80.
    assert mmcv(nn.Conv2d(3, 7, 1)) == 1680 + 560


@pytest.mark.parametrize(
    ("affine", "plain"),
    [
        (nn.BatchNorm2d(3), nn.BatchNorm2d(3, affine=False)),
        (nn.GroupNorm(3, 3), nn.GroupNorm(3, 3, affine=False)),
        (nn.InstanceNorm2d(3, affine=True), nn.InstanceNorm2d(3)),
        (Tokens(nn.LayerNorm(3)), Tokens(nn.LayerNorm(3, elementwise_affine=False))),
    ],
)
def test_norm(affine, plain):
    # 3 * 80 = 240 elements: two each where a scale and shift follow, else one.
    assert mmcv(affine) == 480
    assert mmcv(plain) == 240


def test_activations():
    # ReLU and its family: one per element, 240. GELU, SiLU, sigmoid, softmax: nothing.
    for layer in (nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6(), nn.LeakyReLU(), nn.ELU()):
        assert mmcv(layer) == 240
    assert mmcv(nn.PReLU(3)) == 240
    for layer in (nn.GELU(), nn.SiLU(), nn.Sigmoid(), nn.Softmax(dim=1), nn.Hardswish()):
        assert mmcv(layer) == 0


def test_pooling_counts_input_elements():
    # The input has 240 elements, whatever the kernel, stride or output size.
    assert mmcv(nn.MaxPool2d(2)) == 240
    assert mmcv(nn.MaxPool2d(3, stride=1, padding=1)) == 240
    assert mmcv(nn.AvgPool2d(4)) == 240
    assert mmcv(nn.AdaptiveAvgPool2d(1)) == 240
    assert mmcv(nn.AdaptiveMaxPool2d(7)) == 240


def test_upsample_counts_output_elements():
    # 3 * 16 * 20 = 960 out; as a function: nothing.
    assert mmcv(nn.Upsample(scale_factor=2)) == 960
    assert mmcv(nn.Upsample(scale_factor=2, mode="bilinear")) == 960
    assert mmcv(Function(lambda x: F.interpolate(x, scale_factor=2))) == 0


def test_functions_count_nothing():
    weight = torch.ones(4, 3, 3, 3)
    assert mmcv(Function(lambda x: F.conv2d(x, weight))) == 0
    assert mmcv(Function(lambda x: x.flatten(2) @ x.flatten(2).transpose(1, 2))) == 0
    assert mmcv(Function(lambda x: F.gelu(F.relu(x)).mean((2, 3)))) == 0
    assert mmcv(Attention()) == 0


def test_subclass_counts_as_its_base():
    class OwnConv(nn.Conv2d):
        pass

    assert mmcv(OwnConv(3, 4, 3, padding=1, bias=False)) == 108 * 80
    # timm's LayerNorm over channels is a LayerNorm: 2 * 240.
    assert mmcv(LayerNorm2d(3)) == 480
    # timm's BatchNorm with activation: 2 * 240, and its ReLU inside another 240.
    assert mmcv(BatchNormAct2d(3)) == 720


def test_module_called_twice_counts_twice():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(self.conv(x))

    # 9 * 80, twice; its 9 parameters once.
    result = count(Twice(), SIZE)
    assert (result.flops, result.params) == (1440, 9)


def test_input_given_by_keyword():
    class Keyword(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(input=x)

    assert mmcv(Keyword()) == 720


def test_uncounted_names_what_had_no_rule():
    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(3, 1, batch_first=True)
            self.act = nn.GELU()
            self.drop = nn.Dropout(0.5)

        def forward(self, x: Tensor) -> Tensor:
            x = x.flatten(2).transpose(1, 2)
            return self.act(self.drop(self.attention(x, x, x)[0]))

    result = count(Packed(), SIZE)
    # MultiheadAttention uses its projections as functions: this is how 5.77G hid in a 6.58G PVTv2.
    assert result.flops == 0
    assert "GELU x1" in describe_uncounted(result)
    assert "Linear never called as a module x1" in describe_uncounted(result)
    assert "Dropout" not in describe_uncounted(result)


class SelfAttention(nn.MultiheadAttention):
    """Attention of tokens (N, 80, 3) with themselves."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x, x, x)[0]


def self_attention(kind: str) -> nn.Module:
    """torch's own layers, of 3 channels and one head."""
    if kind == "attention":
        return Tokens(SelfAttention(3, 1, batch_first=True))
    layer = nn.TransformerEncoderLayer(3, 1, dim_feedforward=5, batch_first=True)
    return Tokens(layer if kind == "layer" else nn.TransformerEncoder(layer, 2))


# q, k, v: 80 * 3 * 9; q.k and attention.v: 80 * 80 * 3 each; projection: 80 * 3 * 3.
ATTENDING = 2160 + 2 * 19200 + 720


@pytest.mark.parametrize(
    ("kind", "products"),
    [
        ("attention", ATTENDING),
        ("layer", ATTENDING + 2 * 80 * 3 * 5),
        ("encoder", 2 * (ATTENDING + 2 * 80 * 3 * 5)),
    ],
)
def test_torchs_own_attention_is_no_silent_zero(kind, products):
    """In evaluation torch runs these as one operator, which no convention has a formula for."""
    model = self_attention(kind)
    before = torch.backends.mha.get_fastpath_enabled()
    assert count(model, SIZE, "torch").flops == products
    assert count(meta_copy(model), SIZE, "torch").flops == products
    by_module = count(model, SIZE, "mmcv")
    assert {"MultiheadAttention", "SelfAttention"} & set(dict(by_module.uncounted))
    if kind != "attention":
        assert by_module.flops > 0
    pytest.importorskip("fvcore")
    traced = count(model, SIZE, "fvcore")
    assert traced.flops >= products, traced.uncounted
    assert torch.backends.mha.get_fastpath_enabled() == before


def test_products_without_a_formula_are_listed():
    vector, matrix = torch.ones(10), torch.ones(10, 10)
    for function, name in (
        (lambda x: x.flatten() @ x.flatten(), "aten::dot"),
        (lambda x: matrix @ vector, "aten::mv"),
        (lambda x: torch.cdist(x[0], x[0]), "aten::_cdist_forward"),
    ):
        for convention in ("torch", "fvcore"):
            if convention == "fvcore":
                pytest.importorskip("fvcore")
            result = count(Function(function), SIZE, convention)
            assert result.flops > 0 or result.uncounted, (name, convention)
        if "cdist" not in name:  # 240 numbers each, or 10 rows of 10
            assert result.flops == {"aten::dot": 240, "aten::mv": 100}[name]
        assert name in dict(count(Function(function), SIZE, "torch").uncounted)


# ------------------------------------------------------------------------------ fvcore and torch


def test_fvcore_convolution_linear_and_norms():
    pytest.importorskip("fvcore")
    # A convolution's bias is free here: 108 * 80. A transposed one counts input positions too.
    assert count(nn.Conv2d(3, 4, 3, padding=1), SIZE, "fvcore").flops == 8640
    deconv = nn.ConvTranspose2d(3, 5, 4, stride=2, padding=1)
    assert count(deconv, SIZE, "fvcore").flops == 240 * 80
    assert count(Tokens(nn.Linear(3, 7)), SIZE, "fvcore").flops == 1680
    # Its own rule for LayerNorm is 5 per element; BatchNorm at evaluation 2.
    assert count(Tokens(nn.LayerNorm(3)), SIZE, "fvcore").flops == 5 * 240
    assert count(nn.BatchNorm2d(3), SIZE, "fvcore").flops == 480


def test_torch_convolution_linear_and_norms():
    assert count(nn.Conv2d(3, 4, 3, padding=1), SIZE, "torch").flops == 8640
    deconv = nn.ConvTranspose2d(3, 5, 4, stride=2, padding=1)
    assert count(deconv, SIZE, "torch").flops == 240 * 80
    assert count(Tokens(nn.Linear(3, 7)), SIZE, "torch").flops == 1680
    assert count(nn.Sequential(nn.BatchNorm2d(3), nn.ReLU()), SIZE, "torch").flops == 0


@pytest.mark.parametrize("convention", ["fvcore", "torch"])
def test_attention_products_are_counted(convention):
    if convention == "fvcore":
        pytest.importorskip("fvcore")
    # Per head q.k: 6 * 10 * 4 = 240, attention.v as much; two heads, three images.
    # (Without the added handle fvcore gives 0; without the MATH backend torch does on a CPU.)
    assert count(Attention(), SIZE, convention, batch=3).flops == (240 + 240) * 2 * 3
    # Values of 5 numbers: attention.v is 6 * 10 * 5 = 300.
    assert count(Attention(value=5), SIZE, convention, batch=3).flops == (240 + 300) * 2 * 3


@pytest.mark.parametrize("convention", ["fvcore", "torch"])
def test_attention_written_out_counts_the_same(convention):
    if convention == "fvcore":
        pytest.importorskip("fvcore")

    def products(x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        return (tokens @ tokens.transpose(1, 2)).softmax(dim=-1) @ tokens

    def fused(x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2).unsqueeze(1)
        return F.scaled_dot_product_attention(tokens, tokens, tokens)

    # 80 * 80 * 3, twice.
    assert count(Function(products), SIZE, convention).flops == 38400
    assert count(Function(fused), SIZE, convention).flops == 38400


def test_fvcore_lists_uncounted_operators():
    pytest.importorskip("fvcore")
    result = count(Function(lambda x: F.gelu(x) + F.gelu(x)), SIZE, "fvcore")
    assert dict(result.uncounted) == {"aten::gelu": 2, "aten::add": 1}


def test_fvcore_handle_reads_shapes_of_queries_keys_and_values():
    class Traced:
        def __init__(self, *sizes: int) -> None:
            self.sizes_ = list(sizes)

        def type(self):
            return self

        def sizes(self):
            return self.sizes_

    # Batch 2, heads 3: 2 * 3 * 4 * 5 * (6 + 7) = 1560.
    shapes = (Traced(2, 3, 4, 6), Traced(2, 3, 5, 6), Traced(2, 3, 5, 7))
    assert attention_products(shapes, ()) == 1560


def test_only_fvcore_needs_fvcore(monkeypatch):
    monkeypatch.setitem(sys.modules, "fvcore", None)
    monkeypatch.setitem(sys.modules, "fvcore.nn", None)
    conv = nn.Conv2d(3, 4, 1)
    assert count(conv, SIZE, "mmcv").flops > 0
    assert count(conv, SIZE, "torch").flops > 0
    with pytest.raises(HEViTPoseError, match="fvcore is not installed"):
        count(conv, SIZE, "fvcore")


# ------------------------------------------------------------------------------ all conventions


def small() -> nn.Module:
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU()),
        nn.Conv2d(4, 2, 1),
    )


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_modules_add_up(convention):
    if convention == "fvcore":
        pytest.importorskip("fvcore")
    result = count(small(), SIZE, convention)
    rows = {row.name: row for row in result.by_module}
    assert list(rows) == ["", "0", "0.0", "0.1", "0.2", "1"]
    assert rows[""].flops == result.flops == rows["0"].flops + rows["1"].flops
    assert rows["0"].flops == sum(rows[name].flops for name in ("0.0", "0.1", "0.2"))
    assert rows["0.0"].flops == 108 * 80
    # Conv 3*4*9 = 108, BN 4 + 4, conv 4*2 + 2.
    assert [row.params for row in result.by_module] == [126, 116, 108, 8, 0, 10]
    assert rows["0.1"].type == "BatchNorm2d"


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_model_is_left_as_it_was(convention):
    if convention == "fvcore":
        pytest.importorskip("fvcore")
    model = small()
    model.train()
    model[0][1].eval()  # a frozen norm stays frozen
    before = copy.deepcopy(model.state_dict())
    count(model, SIZE, convention)
    assert [m.training for m in model.modules()] == [True, True, True, False, True, True]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_a_failing_pass_leaves_no_hooks_and_restores_the_mode():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(5, 4, 1)).train()
    with pytest.raises(RuntimeError):
        count(model, SIZE)
    assert all(m.training for m in model.modules())
    assert not any(m._forward_hooks for m in model.modules())


def test_meta_copy_counts_the_same_and_copies_no_values():
    model = small()
    model[1].weight.requires_grad_(False)
    shadow = meta_copy(model)
    assert all(t.is_meta for t in (*shadow.parameters(), *shadow.buffers()))
    assert not any(t.is_meta for t in (*model.parameters(), *model.buffers()))
    assert not shadow[1].weight.requires_grad
    for convention in ("mmcv", "torch"):
        assert count(shadow, SIZE, convention) == count(model, SIZE, convention)
    pytest.importorskip("fvcore")
    with pytest.raises(UsageError, match="meta device"):
        count(shadow, SIZE, "fvcore")


def test_shared_and_frozen_parameters():
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1))
    model[1].weight = model[0].weight  # 9 shared, two biases of 3
    model[0].bias.requires_grad_(False)
    assert parameters(model) == 15
    assert parameters(meta_copy(model)) == 15


def test_half_precision_model():
    assert count(small().bfloat16(), SIZE).flops == count(small(), SIZE).flops


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"convention": "mmvc"}, "did you mean 'mmcv'"),
        ({"input_size": (256,)}, "two positive integers"),
        ({"input_size": (256, 0)}, "two positive integers"),
        ({"input_size": (256.0, 256.0)}, "two positive integers"),
        ({"batch": 0}, "batch: 0"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(UsageError, match=message):
        count(nn.Conv2d(3, 1, 1), **arguments)


def test_table_and_json():
    result = count(small(), SIZE)
    shallow, deep = render(result, depth=1), render(result, depth=None)
    assert "convention mmcv" in shallow and "input 8x10" in shallow
    assert "BatchNorm2d" not in shallow and "BatchNorm2d" in deep
    assert "100.0%" in shallow
    record = result.to_dict()
    assert type(record["params"]) is int and type(record["flops"]) is int
    assert record["convention"] == "mmcv" and record["input_size"] == [10, 8]


# ------------------------------------------------------------------------------ HEViTPose


@pytest.mark.parametrize(
    ("name", "params_m", "gflops"),
    [
        ("hevitpose_t", 3.2103, 1.7488),
        ("hevitpose_s", 5.8806, 3.6469),
        ("hevitpose_b", 10.6295, 5.5807),
    ],
)
def test_hevitpose_reproduces_the_paper(name, params_m, gflops):
    models = pytest.importorskip("hevitpose.models")
    result = count(meta_copy(models.create_model(name, num_keypoints=16)))
    assert round(result.params / 1e6, 4) == params_m
    assert result.flops / 1e9 == pytest.approx(gflops, abs=0.00005)


def test_hevitpose_b_with_attention_products():
    models = pytest.importorskip("hevitpose.models")
    model = meta_copy(models.create_model("hevitpose_b", num_keypoints=16))
    assert count(model, convention="torch").flops / 1e9 == pytest.approx(6.00, abs=0.005)
