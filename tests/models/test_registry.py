"""Names and options: create_model, registered parts, timm's registry."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import nn

from hevitpose.errors import UsageError
from hevitpose.models import create_model, register, registry
from hevitpose.models.spec import ATTENTIONS, PARTS, VARIANTS, resolve


@pytest.fixture(autouse=True)
def _own_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten after it."""
    registry.load()
    parts = {kind: dict(parts) for kind, parts in registry._PARTS.items()}
    monkeypatch.setattr(registry, "_PARTS", parts)


def test_model_says_what_it_is() -> None:
    model = create_model("nano", 14, peow=1)
    assert (model.name, model.num_keypoints, model.spec.peow) == ("hevitpose_nano", 14, 1)
    assert create_model("nano", num_heads=1).spec.num_heads == 1


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("hevitpose_x", {}, "unknown model 'hevitpose_x'"),
        ("nano", {"atention": "cgsr"}, "did you mean 'attention'"),
        ("nano", {"attention": "windows"}, "unknown model.attention 'windows'; did you mean"),
        ("nano", {"ffn": "mix"}, "unknown model.ffn 'mix'.*known: gated, mix-ffn, standard"),
        ("nano", {"downsampling": "x"}, "unknown model.downsampling 'x'.*patch-merging"),
        (
            "nano",
            {"upsampler": "x"},
            "unknown model.upsampler 'x' .known: bilinear, deconv, pixel-shuffle",
        ),
        ("nano", {"num_keypoints": 0}, "num_keypoints: 0"),
        ("nano", {"num_keypoints": True}, "num_keypoints: True, expected an integer"),
        (None, {}, "model: None, expected a name"),
        (3, {}, "model: 3"),
        (["nano"], {}, "model: .'nano'., expected a name"),
        ("nano", {"widths": 32}, "model.widths: 32, expected three positive integers"),
        ("nano", {"widths": "abc"}, "model.widths: 'abc'"),
        ("nano", {"widths": (32, 64)}, "model.widths: .32, 64."),
        ("nano", {"depths": (1, 1, 0)}, "model.depths: .1, 1, 0."),
        ("nano", {"depths": (1, 1, True)}, "model.depths"),
        ("nano", {"num_heads": "2"}, "model.num_heads: '2', expected an integer"),
        ("nano", {"num_heads": 2.0}, "model.num_heads: 2.0, expected an integer"),
        ("nano", {"window": 2.5}, "model.window: 2.5"),
        ("nano", {"upsampler_channels": (96.0, 48.0)}, "two positive integers"),
        ("nano", {"drop_path_rate": "x"}, "model.drop_path_rate: 'x', expected a number"),
        ("nano", {"attention": None}, "model.attention: None, expected a name"),
        ("nano", {"attention": ["mhsa"]}, "model.attention: .'mhsa',., expected a name"),
        ("nano", {"dwconv": 1}, "model.dwconv: 1, expected true or false"),
        ("nano", {"seed": 1.5}, "seed: 1.5, expected an integer"),
        ("nano", {"seed": 2**70}, "seed: 1180591620717411303424, expected an integer of 64 bits"),
        ("rtmpose_s", {"input_size": 256}, "input_size: 256, expected two positive integers"),
        ("pose_swin_t", {"drop_path_rate": "x"}, "drop_path_rate: 'x'"),
        (
            "nano",
            {"groups": (3, 2, 2)},
            "stage 1 has 32 channels, which groups 3 x num_heads 2 does",
        ),
        (
            "nano",
            {"attention": "mhsa", "num_heads": 3},
            "stage 1 has 32 channels, which num_heads 3 does",
        ),
        ("nano", {"attention": "cga", "groups": (5, 2, 2)}, "32 channels, which groups 5 does"),
    ],
)
def test_bad_requests(name: Any, options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        create_model(name, **options)
    assert "\n" not in str(caught.value)


def test_integers_of_numpy() -> None:
    model = create_model("nano", np.int64(3), seed=np.int64(1), groups=list(np.array([1, 2, 4])))
    assert model.num_keypoints == 3 and model.spec.groups == (1, 2, 4)
    assert all(type(n) is int for n in (model.num_keypoints, *model.spec.groups))


def test_the_same_definition_again_replaces() -> None:
    """A notebook's cell is run many times; another definition of the name is refused."""

    def cell(module: str) -> type[nn.Module]:
        return register("attention", "cell")(type("Cell", (nn.Module,), {"__module__": module}))

    cell("__main__")
    again = cell("__main__")
    assert registry._PARTS["attention"]["cell"] is again
    with pytest.raises(UsageError, match="'cell': already registered"):
        cell("file")
    with pytest.raises(UsageError, match="'cell': already registered"):
        register("attention", "cell")(lambda dim: None)


def test_heads_are_no_matter_to_who_has_none() -> None:
    @register("attention", "headless")
    class Headless(nn.Module):
        def __init__(self, dim: int) -> None:
            super().__init__()
            self.mix = nn.Conv2d(dim, dim, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.mix(x)

    for name in ("cga", "none", "headless"):
        model = create_model("nano", 3, attention=name, num_heads=3)
        assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 3, 16, 16)


def test_built_in_parts_are_registered() -> None:
    """The names that are known without torch are those that the modules register."""
    for kind in PARTS:
        parts = registry._PARTS[kind].items()  # other tests' own are there as well
        ours = {name for name, part in parts if part.__module__.startswith("hevitpose.")}
        assert ours == set(PARTS[kind])


def test_attentions_use_what_the_spec_says() -> None:
    """``spec.ATTENTIONS`` repeats, for those who have no torch, what the modules ask for."""
    asked = {"groups": "groups", "num_heads": "num_heads", "reduction": "reductions"}
    for name, used in ATTENTIONS.items():
        parameters = inspect.signature(registry._PARTS["attention"][name]).parameters
        assert {asked[p] for p in parameters if p in asked} == set(used), name


@pytest.mark.slow
def test_the_paper_alone_needs_no_alternative() -> None:
    """``models/hevitpose.py`` can be read, and imported, without any other architecture."""
    code = (
        "import sys, hevitpose.models.hevitpose\n"
        "homes = ('attention', 'ffn', 'downsample', 'upsample', 'forms', 'peers', 'build')\n"
        "print([m for m in homes if f'hevitpose.models.{m}' in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_register_attention_by_the_numbers_it_asks_for() -> None:
    given = []

    @register("attention", "pool-mixer")
    class PoolMixer(nn.Module):
        def __init__(self, dim: int, reduction: int, block: int, own: float = 0.5) -> None:
            super().__init__()
            given.append((dim, reduction, block, own))
            self.scale = nn.Parameter(torch.ones(dim, 1, 1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (self.scale * x.mean((2, 3), keepdim=True)).expand_as(x)

    model = create_model("nano", 3, attention="pool-mixer", depths=(1, 2, 1))
    assert isinstance(model.backbone.stages[0].blocks[0].attention.branch, PoolMixer)
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 3, 16, 16)
    assert given == [(32, 4, 0, 0.5), (64, 2, 1, 0.5), (64, 2, 2, 0.5), (96, 1, 3, 0.5)]


def test_a_part_can_keep_its_own_start() -> None:
    @register("attention", "gate")
    class Gate(nn.Module):
        own_init = True

        def __init__(self, dim: int) -> None:
            super().__init__()
            self.gate = nn.Sequential(nn.Conv2d(dim, dim, 1), nn.BatchNorm2d(dim))
            nn.init.zeros_(self.gate[0].weight), nn.init.constant_(self.gate[0].bias, -2)
            nn.init.constant_(self.gate[1].weight, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.gate(x).sigmoid()

    for own in (True, False):
        Gate.own_init = own
        model = create_model("nano", 3, attention="gate", seed=0, zero_init_residual=own)
        conv, norm = model.backbone.stages[0].blocks[0].attention.branch.gate
        assert (not conv.weight.any(), bool((conv.bias == -2).all())) == (own, own)
        assert bool((norm.weight == (3 if own else 1)).all())


def test_register_every_other_kind() -> None:
    @register("ffn", "linear")
    def linear(dim: int, **rest: object) -> nn.Module:
        assert rest == {"ratio": 3}
        return nn.Conv2d(dim, dim, 1)

    @register("downsampling", "pool")
    def pool(in_channels: int, out_channels: int) -> nn.Module:
        return nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(in_channels, out_channels, 1))

    @register("upsampler", "nearest")
    def nearest(in_channels: int, out_channels: int) -> nn.Module:
        return nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(in_channels, out_channels, 1))

    model = create_model(
        "nano", 3, ffn="linear", ffn_ratio=3, downsampling="pool", upsampler="nearest"
    )
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 3, 16, 16)


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("attention", "cgsr", "attention 'cgsr': already registered"),
        ("attention", "none", "already registered"),
        ("ffn", "standard", "already registered"),
        ("attentions", "mine", "unknown kind of part 'attentions'; did you mean 'attention'"),
    ],
)
def test_names_that_cannot_be_registered(kind: str, name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        register(kind, name)(lambda dim: None)


def test_built_in_names_are_taken_before_they_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_PARTS", {kind: {} for kind in registry.OFFERED})
    with pytest.raises(UsageError, match="'mhsa': already registered"):
        register("attention", "mhsa")(lambda dim: None)


def test_a_parameter_that_nobody_gives_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'mine': parameter 'heads' has no.*num_heads, groups"):
        register("attention", "mine")(lambda dim, heads: None)
    assert "mine" not in registry.names("attention")


def test_numbers_of_the_spec_are_on_offer() -> None:
    spec = resolve("b")
    assert set(registry.OFFERED["attention"]) == {"dim", *spec.attention_numbers(0, 0)}
    assert spec.attention_numbers(2, 5) | {"cascade": None} == {
        "num_heads": 4,
        "groups": 8,
        "reduction": 1,
        "cascade": None,
        "reduction_mode": "conv",
        "per_head_conv": True,
        "group_linear": True,
        "norm": "layer",
        "window": 8,
        "stage": 2,
        "block": 5,
    }


def test_the_documentation_lists_what_is_on_offer() -> None:
    page = (Path(__file__).parents[2] / "docs" / "attention.md").read_text()
    for names in registry.OFFERED.values():
        assert all(f"`{name}`" in page for name in names)


def test_timm_registry() -> None:
    assert set(timm.list_models("hevitpose_*")) == set(VARIANTS)
    model = timm.create_model("hevitpose_nano", num_keypoints=5, drop_path_rate=0.1)
    assert (model.num_keypoints, model.spec.drop_path_rate) == (5, 0.1)
    with pytest.raises(UsageError, match="pretrained"):
        timm.create_model("hevitpose_nano", pretrained=True)
    with pytest.raises(UsageError, match="unknown model option"):
        timm.create_model("hevitpose_nano", num_classes=10)
