"""Fast forms equal the plain one: outputs, gradients, parameters."""

from __future__ import annotations

import copy

import pytest
import torch
from helpers import ALTERNATIVES, image, randomise_norms
from timm.layers import LayerNorm2d, SqueezeExcite
from torch import nn

from hevitpose.errors import UsageError
from hevitpose.models import create_for_input, create_model
from hevitpose.models.attention.cgsr import Fence, FusedCGSR, FusedGroup, _onnx_attend
from hevitpose.models.downsample import FusedLayerNorm2d
from hevitpose.models.forms import onnx_form, optimize
from hevitpose.models.fused_conv import FusedConv
from hevitpose.models.hevitpose import CGSRMHA, GroupAttention, HeatmapHead
from hevitpose.models.parity import relative_error
from hevitpose.models.spec import PEERS
from hevitpose.models.upsample import PlainUpsample, Upsample

# Another order of summation can push a value near zero to the other side of its ReLU: its gradient
# then jumps in one form and not in the other, which says nothing about the forms.
pytestmark = pytest.mark.usefixtures("one_thread")

#: float64: as far as rounding goes; float32: what its rounding makes of a deep network.
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
#: How the head's transposed convolutions are spelled out, by the precision of the products.
UPSAMPLES = {"fp32": Upsample, "bf16": PlainUpsample}
CELLS = [
    *(("hevitpose_nano", key, torch.float64) for key in ALTERNATIVES),
    ("hevitpose_nano", "default", torch.float32),
    ("hevitpose_t", "default", torch.float64),
    ("hevitpose_b", "default", torch.float32),
]


@pytest.fixture(scope="module", params=CELLS, ids=lambda cell: "-".join(map(str, cell)))
def plain(request: pytest.FixtureRequest) -> torch.nn.Module:
    """The network that forms are made of, in evaluation mode; whoever trains it takes a copy."""
    name, key, dtype = request.param
    return randomise_norms(create_model(name, 5, seed=0, **ALTERNATIVES[key]).to(dtype)).eval()


@pytest.fixture(scope="module")
def fused(plain: torch.nn.Module) -> torch.nn.Module:
    return optimize(plain, mode="fused")


def dtype_of(network: torch.nn.Module) -> torch.dtype:
    return next(network.parameters()).dtype


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a - b).abs().max() / b.abs().max()).item()


def test_train_form_equals_plain(plain: torch.nn.Module) -> None:
    plain, dtype = copy.deepcopy(plain), dtype_of(plain)
    fast = optimize(plain, mode="train")
    x, target = image(2, 3, 96, 64, dtype=dtype), image(2, 5, 24, 16, seed=2, dtype=dtype)
    assert relative(fast(x), plain(x)) < TOLERANCE[dtype]

    # In training mode BatchNorm and ReLU make float32 gradients of so small a batch differ by
    # percents from float64's, whichever form computes them: there float64 alone can tell.
    plain.train(dtype == torch.float64), fast.train(dtype == torch.float64)
    gradients = []
    for model in (plain, fast):
        model.zero_grad()
        (model(x) - target).square().mean().backward()
        gradients.append({n: p.grad for n, p in model.named_parameters()})
    largest = max(g.abs().max() for g in gradients[0].values())
    for parameter, expected in gradients[0].items():
        # Relative to the parameter's own gradient, unless that is rounding (see norm_k.bias).
        scale = max(expected.abs().max(), 1e-5 * largest)
        error = (gradients[1][parameter] - expected).abs().max() / scale
        assert error < TOLERANCE[dtype], parameter


def test_train_form_shares_parameters_and_buffers() -> None:
    plain = create_model("nano", 5, seed=0)
    fast = optimize(plain)
    assert list(fast.state_dict()) == list(plain.state_dict())
    for (name, a), (other, b) in zip(
        fast.named_parameters(), plain.named_parameters(), strict=True
    ):
        assert (name, a) == (other, b) or a is b
    fast.train()(image(2, 3, 64, 64))
    mine, theirs = fast.state_dict(), plain.state_dict()
    assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    assert (fast.name, fast.spec, fast.num_keypoints) == (plain.name, plain.spec, 5)
    assert type(plain.backbone.stages[0].blocks[0].attention.branch).__name__ == "CGSRMHA"


def test_train_form_returns_intermediates() -> None:
    plain = randomise_norms(create_model("nano", 5, seed=0)).eval()
    with torch.no_grad():
        expected = plain(image(1, 3, 64, 64), return_intermediates=True)
        got = optimize(plain)(image(1, 3, 64, 64), return_intermediates=True)
    for a, b in zip((got[0], *got[1]), (expected[0], *expected[1]), strict=True):
        assert relative(a, b) < 1e-4


def test_unknown_mode() -> None:
    with pytest.raises(UsageError, match="unknown optimize mode 'fast'"):
        optimize(create_model("nano"), mode="fast")


def test_fused_form_equals_plain(plain: torch.nn.Module, fused: torch.nn.Module) -> None:
    dtype = dtype_of(plain)
    assert not fused.training
    assert not any(parameter.requires_grad for parameter in fused.parameters())
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in fused.modules())
    with torch.no_grad():
        for x in (image(2, 3, 96, 64, dtype=dtype), image(1, 3, 64, 64, dtype=dtype)):
            assert relative(fused(x), plain(x)) < TOLERANCE[dtype]
    if dtype == torch.float32:  # PyTorch's own operators instead of oneDNN's
        assert relative(fused(x).detach(), plain(x).detach()) < TOLERANCE[dtype]


def test_fused_form_equals_plain_by_onednn(plain: torch.nn.Module, fused: torch.nn.Module) -> None:
    x = image(1, 3, 64, 96)
    with torch.inference_mode():
        expected = plain(x.to(dtype_of(plain)))
        assert relative(copy.deepcopy(fused).float()(x), expected) < 1e-4


@pytest.mark.parametrize("mode", ["conv", "avg-pool"])
def test_fused_group_reduces_maps_that_do_not_divide(mode: str) -> None:
    group = GroupAttention(8, num_heads=2, reduction=3, reduction_mode=mode).double()
    u_NCHW = image(2, 8, 7, 11, dtype=torch.float64)
    with torch.no_grad():
        expected = group(u_NCHW).flatten(2).transpose(1, 2)
        assert relative(FusedGroup(group)(u_NCHW.flatten(2).mT, u_NCHW.shape[2:]), expected) < 1e-9


def test_onnx_forms_equal_fused(plain: torch.nn.Module, fused: torch.nn.Module) -> None:
    dtype = dtype_of(plain)
    images = image(2, 3, 96, 64, dtype=dtype), image(1, 3, 32, 64, dtype=dtype)
    with torch.no_grad():
        expected = [plain(x) for x in images]
    for precision, upsample in UPSAMPLES.items():
        form = onnx_form(fused, precision)
        assert not any(isinstance(module, upsample) for module in fused.modules())
        if plain.spec.upsampler == "deconv":
            assert sum(isinstance(module, upsample) for module in form.modules()) == 2
        attentions = [module for module in form.modules() if isinstance(module, FusedCGSR)]
        for attention in attentions:
            assert isinstance(attention.fence, Fence) == (precision != "fp32")
            assert all(group.attend is _onnx_attend for group in attention.groups)
        with torch.no_grad():
            for x, wanted in zip(images, expected, strict=True):
                assert relative(form(x), wanted) < TOLERANCE[dtype], precision


def test_onnx_form_of_int8_is_that_of_bf16() -> None:
    fused = optimize(randomise_norms(create_model("nano", 5, seed=0)), mode="fused")
    one, other = (onnx_form(fused, precision) for precision in ("int8", "bf16"))
    assert [type(module) for module in one.modules()] == [type(m) for m in other.modules()]
    theirs = other.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in one.state_dict().items())


def test_onnx_form_leaves_a_plain_model_alone() -> None:
    plain = create_model("nano", 5, seed=0)
    form = onnx_form(plain)
    assert [type(module) for module in form.modules()] == [type(m) for m in plain.modules()]


@pytest.mark.parametrize("name", PEERS)
def test_onnx_form_equals_every_peer(name: str) -> None:
    plain = randomise_norms(create_for_input(name, 5, (64, 64), seed=0)).eval()
    x = image(1, 3, 64, 64)
    with torch.no_grad():
        expected = plain(x)
        for network in (plain, optimize(plain, mode="fused")):
            assert relative_error(onnx_form(network)(x), expected) < TOLERANCE[torch.float32]


@pytest.mark.parametrize("form", [Upsample, PlainUpsample])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("width", [6, 5])
@pytest.mark.parametrize("relu", [True, False])
def test_upsample_equals_its_transposed_convolution(
    last: bool, width: int, relu: bool, form: type[torch.nn.Module]
) -> None:
    conv = torch.nn.ConvTranspose2d(4, 6, 4, stride=2, padding=1).double()
    pointwise = torch.nn.Conv2d(6, 3, 1).double() if last else None
    up = FusedConv(conv, relu=relu)
    x = image(2, 4, 7, width, dtype=torch.float64)
    with torch.no_grad():
        expected = up(x) if pointwise is None else pointwise(up(x))
        assert relative(form(up, pointwise)(x), expected) < 1e-12


def test_layer_norm_of_a_map_on_tokens() -> None:
    plain = LayerNorm2d(6, eps=1e-3).double()
    torch.nn.init.normal_(plain.weight), torch.nn.init.normal_(plain.bias)
    x = image(2, 6, 5, 7, dtype=torch.float64)
    with torch.no_grad():
        assert relative(FusedLayerNorm2d(plain)(x), plain(x)) < 1e-12


@pytest.mark.parametrize("changed", [{"kernel_size": 2, "padding": 0}, {"groups": 2}])
def test_onnx_form_keeps_other_transposed_convolutions(changed: dict[str, int]) -> None:
    options = {"kernel_size": 4, "stride": 2, "padding": 1} | changed
    head = HeatmapHead(4, 3, (4,))
    head.up1 = FusedConv(torch.nn.ConvTranspose2d(4, 4, **options))
    for precision in UPSAMPLES:
        assert isinstance(onnx_form(head, precision).up1, FusedConv)
    head.up1 = FusedConv(torch.nn.ConvTranspose2d(4, 4, 4, 2, 1))
    for precision, upsample in UPSAMPLES.items():
        assert isinstance(onnx_form(head, precision).up1, upsample)


def test_fused_form_follows_moves_and_copies() -> None:
    plain = randomise_norms(create_model("nano", 5, seed=0)).eval()
    fused = optimize(plain, mode="fused")
    x = image(1, 3, 64, 64)
    with torch.no_grad():
        before = fused(x)  # packs the weights
        copied = copy.deepcopy(fused)
        assert torch.equal(copied(x), before)
        double = copied.double()(x.double())
        assert relative(double, plain.double()(x.double())) < 1e-4
        for parameter in fused.parameters():
            parameter.zero_()
        fused.float()
        assert not fused(x).any()


def test_fused_form_of_the_train_form() -> None:
    plain = randomise_norms(create_model("nano", 5, seed=0)).eval()
    with torch.no_grad():
        x = image(1, 3, 64, 64)
        assert relative(optimize(optimize(plain), mode="fused")(x), plain(x)) < 1e-4


class PreNorm(nn.Module):
    """Registered in another order than applied."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.q = nn.Conv2d(dim, dim, 1)
        self.norm = nn.BatchNorm2d(dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.q(self.norm(x))


class Standardised(nn.Conv2d):
    """A convolution that does not use its weight as it is."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._conv_forward(x, self.weight / self.weight.norm(), self.bias)


PARTS = {
    "pre-norm": lambda: PreNorm(8),
    "wrapped": lambda: nn.Sequential(CGSRMHA(8, 2, 2, 2, norm="batch"), nn.ReLU()),
    "standardised": lambda: nn.Sequential(Standardised(8, 8, 1), nn.BatchNorm2d(8)),
    "no statistics": lambda: nn.Sequential(
        nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8, track_running_stats=False)
    ),
    "sequence": lambda: nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)),
    "squeeze": lambda: SqueezeExcite(8),
    "squeeze-silu": lambda: SqueezeExcite(8, act_layer=nn.SiLU),
    "squeeze-hard": lambda: SqueezeExcite(8, gate_layer=nn.Hardsigmoid),
    "squeeze-norm": lambda: SqueezeExcite(8, norm_layer=nn.BatchNorm2d),
    "squeeze-max": lambda: SqueezeExcite(8, add_maxpool=True),
}


@pytest.mark.parametrize("part", PARTS)
def test_fused_form_of_parts_of_all_kinds(part: str) -> None:
    """What a user's part may be made of; what cannot be folded stays as it is."""
    plain = randomise_norms(PARTS[part]()).double()
    fused = optimize(plain, mode="fused")
    x = image(2, 8, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        assert relative(fused(x), plain.eval()(x)) < 1e-9
    folds = not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    assert folds or part != "sequence"


def test_fused_form_follows_its_weights() -> None:
    x = image(1, 3, 64, 64)
    one, other = (
        optimize(randomise_norms(create_model("nano", 5, seed=seed), seed), mode="fused")
        for seed in (0, 1)
    )
    with torch.no_grad():
        one(x)  # packs the weights
        one.load_state_dict(other.state_dict())
        assert torch.equal(one(x), other(x))
    with torch.inference_mode():  # whose tensors have no version
        again = optimize(randomise_norms(create_model("nano", 5, seed=0), 0), mode="fused")
        again(x)
        again.load_state_dict(other.state_dict())
        assert torch.equal(again(x), other(x))


def test_compile_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(UsageError, match="no C\\+\\+ compiler"):
        optimize(create_model("nano"), mode="compile")
