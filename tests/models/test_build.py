"""Names and options: create_model, register_attention, timm's registry."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from hevitpose.errors import UsageError
from hevitpose.models import attention as attention_module
from hevitpose.models import create_model, register_attention
from hevitpose.spec import ATTENTIONS, VARIANTS


def test_model_says_what_it_is() -> None:
    model = create_model("nano", 14, peow=1)
    assert (model.name, model.num_keypoints, model.spec.peow) == ("hevitpose_nano", 14, 1)
    assert create_model("nano", heads=1).spec.heads == 1


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("hevitpose_x", {}, "unknown model 'hevitpose_x'"),
        ("nano", {"atention": "cgsr"}, "did you mean 'attention'"),
        ("nano", {"attention": "windows"}, "unknown model.attention 'windows'; did you mean"),
        ("nano", {"ffn": "mix"}, "unknown model.ffn"),
        ("nano", {"num_keypoints": 0}, "num_keypoints: 0"),
        ("nano", {"groups": (3, 2, 2)}, "stage 1 has 32 channels"),
        ("nano", {"attention": "cga", "groups": (5, 2, 2)}, "stage 1 has 32 channels"),
    ],
)
def test_bad_requests(name: str, options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message.replace("(", r"\(")):
        create_model(name, **options)


def test_built_in_attentions_are_registered() -> None:
    assert {*attention_module._FACTORIES, "none"} >= set(ATTENTIONS)


def test_register_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention_module, "_FACTORIES", dict(attention_module._FACTORIES))

    @register_attention("pool-mixer")
    class PoolMixer(nn.Module):
        def __init__(self, spec, stage: int, block: int) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(spec.widths[stage], 1, 1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.scale * x.mean((2, 3), keepdim=True)

    model = create_model("nano", 3, attention="pool-mixer")
    assert isinstance(model.backbone.stages[0].blocks[0].attention.branch, PoolMixer)
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 3, 16, 16)
    with pytest.raises(UsageError, match="already registered"):
        register_attention("pool-mixer")
    with pytest.raises(UsageError, match="already registered"):
        register_attention("cgsr")


def test_timm_registry() -> None:
    assert set(timm.list_models("hevitpose_*")) == set(VARIANTS)
    model = timm.create_model("hevitpose_nano", num_keypoints=5, drop_path_rate=0.1)
    assert (model.num_keypoints, model.spec.drop_path_rate) == (5, 0.1)
    with pytest.raises(UsageError, match="pretrained"):
        timm.create_model("hevitpose_nano", pretrained=True)
    with pytest.raises(UsageError, match="unknown model option"):
        timm.create_model("hevitpose_nano", num_classes=10)
