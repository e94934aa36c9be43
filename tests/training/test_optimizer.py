"""Which parameter is treated how."""

from __future__ import annotations

import math

import pytest
import torch
from timm.optim import Muon as TimmMuon
from torch import nn

from hevitpose.config.schema import TrainingConfig
from hevitpose.models import create_model
from hevitpose.training.optimizer import Muon, create_optimizer, is_matrix


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
    adam = {id(p) for g in optimizer.param_groups if not g["orthogonal"] for p in g["params"]}
    outputs = [n for n, p in model.named_parameters() if id(p) in adam and is_matrix(p)]
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


def toy(value: float) -> nn.Module:
    """One weight, no bias; nothing that a rule could exempt from decay but its shape."""
    model = nn.Module()
    model.weight = nn.Parameter(torch.full((1, 2), value, dtype=torch.float64))
    return model


def steps(kind: str, gradients: list[float], decay: float = 0.0) -> list[float]:
    model = toy(1.0)
    given = TrainingConfig(optimizer=kind, weight_decay=decay)
    optimizer = create_optimizer(model, given, 0.1)
    seen = []
    for gradient in gradients:
        model.weight.grad = torch.full_like(model.weight, gradient)
        optimizer.step()
        seen.append(model.weight[0, 0].item())
    return seen


def test_adam_by_hand():
    # Step 1: m = .1 * 2 = .2, v = .001 * 4; corrected 2 and 4: -0.1 * 2 / 2.
    # Step 2: m = .9 * .2 + .1 * 4 = .58, v = .999 * .004 + .001 * 16 = .019996;
    # corrected .58 / .19 and .019996 / .001999: -0.1 * 3.0526316 / 3.1627567.
    found = steps("adam", [2.0, 4.0])
    assert found == pytest.approx([0.9, 0.9 - 0.1 * (0.58 / 0.19) / math.sqrt(0.019996 / 0.001999)])


def test_adamw_decays_before_it_steps_and_adam_adds_to_the_gradient():
    # AdamW: 1 * (1 - 0.1 * 0.5) - 0.1. Adam: the gradient is 2 + 0.5 * 1, its sign all that counts.
    assert steps("adamw", [2.0], decay=0.5) == pytest.approx([0.95 - 0.1])
    assert steps("adam", [2.0], decay=0.5) == pytest.approx([0.9])
    # A second step tells: Adam's m, v of 2.5 and 2 + 0.5 * 0.9 = 2.45.
    m, v = 0.9 * 0.25 + 0.245, 0.999 * 0.00625 + 0.001 * 2.45**2
    wanted = 0.9 - 0.1 * (m / 0.19) / math.sqrt(v / 0.001999)
    assert steps("adam", [2.0, 2.0], decay=0.5)[1] == pytest.approx(wanted)


def test_muon_moves_no_matrix_by_nesterov_adamw():
    # m = .1 g, v = .05 g^2, corrected by 1 - .9 and 1 - .95; Nesterov: m + .1 (g - m) = .19 g,
    # so the step is 0.1 * .19 / .1 = 0.19 at g = 2 (epsilon 1e-7 beside 2), after decay to 0.95.
    assert steps("muon", [2.0], decay=0.5) == pytest.approx([0.95 - 0.19], abs=1e-6)
    # g = 4 next: m = .9 * .2 + .1 * 4 = .58, v = .95 * .2 + .05 * 16 = .99;
    # Nesterov .58 + .1 * (4 - .58) = .922; corrected by .19 and .0975.
    second = 0.81 - 0.1 * (0.922 / 0.19) / math.sqrt(0.99 / 0.0975)
    assert steps("muon", [2.0, 4.0])[1] == pytest.approx(second, abs=1e-6)


def quintic(value: float) -> float:
    """What five Newton-Schulz steps make of one singular value."""
    for a, b, c in (
        (4.0848, -6.8946, 2.9270),
        (3.9505, -6.3029, 2.6377),
        (3.7418, -5.5913, 2.3037),
        (2.8769, -3.1427, 1.2046),
        (2.8366, -3.0525, 1.2012),
    ):
        value = a * value + b * value**3 + c * value**5
    return value


@pytest.mark.parametrize("shape", [(4, 8), (8, 4), (4, 2, 2, 2)])
def test_muon_moves_a_matrix_by_its_orthogonal_momentum(shape):
    model = nn.Module()
    model.weight = nn.Parameter(torch.ones(shape))
    twin = nn.Parameter(torch.ones(shape))
    model.twin = twin  # of the same shape: one batch, each by itself
    optimizer = create_optimizer(model, TrainingConfig(optimizer="muon", weight_decay=0.5), 0.1)
    # A gradient of singular values 3 and 4: its direction is what counts, of norm 5 (0.6 and 0.8).
    gradient = torch.zeros(shape).flatten(1)
    gradient[0, 0], gradient[1, 1] = 3.0, 4.0
    model.weight.grad, twin.grad = gradient.view(shape), -2 * gradient.view(shape)
    optimizer.step()
    # Decay to 1 - 0.1 * 0.5; step 0.1 * 0.2 * sqrt(8), the longer side.
    size = 0.1 * 0.2 * math.sqrt(8)
    wanted = torch.full_like(gradient, 0.95)
    wanted[0, 0], wanted[1, 1] = 0.95 - size * quintic(0.6), 0.95 - size * quintic(0.8)
    torch.testing.assert_close(model.weight.flatten(1), wanted, atol=1e-6, rtol=0)
    torch.testing.assert_close(twin.flatten(1), 1.9 - wanted, atol=1e-6, rtol=0)
    # Next, the first diagonal alone: the momentum keeps 0.95 of 0.05 of the old gradient, and the
    # update, Nesterov, is 0.05 g + 0.95 m with m = 0.95 * 0.05 * old + 0.05 g.
    model.weight.grad = torch.zeros(shape)
    model.weight.grad.view(shape[0], -1)[0, 0] = 5.0
    twin.grad = None
    optimizer.step()
    m = [0.95 * 0.05 * 3 + 0.05 * 5, 0.95 * 0.05 * 4]
    update = [0.05 * 5 + 0.95 * m[0], 0.95 * m[1]]
    norm = math.hypot(*update)
    wanted = wanted * 0.95
    wanted[0, 0] -= size * quintic(update[0] / norm)
    wanted[1, 1] -= size * quintic(update[1] / norm)
    torch.testing.assert_close(model.weight.flatten(1), wanted, atol=1e-6, rtol=0)


def test_muon_is_timms_in_float32(monkeypatch):
    """Batches and all: three steps of noise on a whole network."""
    from timm.optim import muon, param_groups_weight_decay

    from hevitpose.training.optimizer import _OUTPUTS

    newton_schulz = muon.zeropower_via_newtonschulz
    monkeypatch.setattr(
        muon,
        "zeropower_via_newtonschulz",
        lambda *given, **options: newton_schulz(*given, **options, dtype=torch.float32),
    )
    ours, theirs = (create_model("nano", num_keypoints=16, seed=0) for _ in range(2))
    a = create_optimizer(ours, TrainingConfig(optimizer="muon", weight_decay=0.1), 8e-3)
    groups = param_groups_weight_decay(theirs, 0.1, fallback_list=_OUTPUTS)
    b = TimmMuon(groups, lr=8e-3, nesterov=True)
    assert isinstance(a, Muon)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            p.grad = torch.randn(p.shape, generator=generator)
            q.grad = p.grad.clone()
        a.step()
        b.step()
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p, q, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("precision", "clip_norm", "fused"),
    [("fp32", 1.0, True), ("bf16", None, True), ("bf16", 1.0, False), ("fp16", 1.0, False)],
)
def test_a_step_that_unscales_by_itself_is_not_clipped(precision, clip_norm, fused):
    """Lightning refuses to clip the gradients of one, and its mark is this attribute."""
    given = TrainingConfig(optimizer="adamw", precision=precision, clip_norm=clip_norm)
    optimizer = create_optimizer(create_model("nano", num_keypoints=16, seed=0), given, 1e-3)
    assert getattr(optimizer, "_step_supports_amp_scaling", False) is fused
