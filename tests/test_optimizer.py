"""Which parameter is treated how."""

from __future__ import annotations

import pytest
import torch

from hevitpose.config import TrainingConfig
from hevitpose.models import create_model
from hevitpose.training.optimizer import create_optimizer


def moves(model, optimizer, name):
    """The update of one parameter, from a gradient of noise."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    before = model.get_parameter(name).detach().clone()
    optimizer.step()
    return (model.get_parameter(name).detach() - before).flatten(1)


def recipe(**changes):
    return TrainingConfig(optimizer="muon", weight_decay=0.0, **changes)


def spread(matrix):
    values = torch.linalg.svdvals(matrix)
    return float(values.max() / values.min())


def test_muon_orthogonalises_hidden_matrices_and_nothing_else():
    model = create_model("nano", num_keypoints=16, seed=0)
    names = {
        "backbone.stages.0.blocks.0.ffn1.branch.expand.conv.weight": True,
        "head.up1.deconv.weight": True,
        "head.final.weight": False,  # its rows are keypoints
        "backbone.stages.0.blocks.0.dwconv1.branch.conv.weight": False,  # one kernel a channel
    }
    known = dict(model.named_parameters())
    for name, orthogonal in names.items():
        assert name in known
        moved = moves(model, create_optimizer(model, recipe(), 1e-2), name)
        sizes = moved.abs()
        adam_like = bool((sizes.max() - sizes.min()) < 1e-4)  # a first step is +-lr everywhere
        assert adam_like is not orthogonal, name
        if orthogonal:
            assert spread(moved) < 3, name  # Newton-Schulz: singular values near 1, noise's are not


@pytest.mark.parametrize("name", ["hrformer_s", "rtmpose_s", "pose_swin_s"])
def test_output_layers_of_peers_fall_back(name):
    model = create_model(name, num_keypoints=16, seed=0)
    optimizer = create_optimizer(model, recipe(), 1e-2)
    fallback = {id(p) for g in optimizer.param_groups if g.get("use_fallback") for p in g["params"]}
    outputs = [n for n, p in model.named_parameters() if id(p) in fallback and p.ndim > 1]
    assert outputs and all(n.startswith("head.") for n in outputs)


@pytest.mark.parametrize("kind", ["adam", "adamw", "muon"])
def test_norms_and_biases_are_not_decayed(kind):
    model = create_model("nano", num_keypoints=16, seed=0)
    given = TrainingConfig(optimizer=kind, weight_decay=0.1)
    decay = {
        id(p): g["weight_decay"]
        for g in create_optimizer(model, given, 1e-2).param_groups
        for p in g["params"]
    }
    assert len(decay) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        assert decay[id(parameter)] == (0.1 if parameter.ndim > 1 else 0.0), name


@pytest.mark.parametrize(
    ("precision", "clip_norm", "fused"),
    [("fp32", 1.0, True), ("bf16", None, True), ("bf16", 1.0, False), ("fp16", 1.0, False)],
)
def test_a_step_that_unscales_by_itself_is_not_clipped(precision, clip_norm, fused):
    """Lightning refuses to clip the gradients of one, and its mark is this attribute."""
    given = TrainingConfig(optimizer="adamw", precision=precision, clip_norm=clip_norm)
    optimizer = create_optimizer(create_model("nano", num_keypoints=16, seed=0), given, 1e-3)
    assert getattr(optimizer, "_step_supports_amp_scaling", False) is fused
