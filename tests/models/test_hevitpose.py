"""Every variant and every alternative: shapes, finite values, gradients, how it starts."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import torch
from helpers import ALTERNATIVES, image, randomise_norms

import hevitpose.models
from hevitpose.errors import UsageError
from hevitpose.models import create_model
from hevitpose.models.spec import PARTS, VARIANTS

CELLS = [
    *(("hevitpose_nano", key) for key in ALTERNATIVES),
    *((name, "default") for name in VARIANTS if name != "hevitpose_nano"),
]


def test_alternatives_are_complete() -> None:
    for axis in PARTS:
        default = getattr(VARIANTS["hevitpose_nano"], axis)
        assert {options.get(axis, default) for options in ALTERNATIVES.values()} == set(PARTS[axis])


def test_models_import_nothing_above_them() -> None:
    folder = Path(hevitpose.models.__file__).parent
    allowed = {"errors", "files", "markdown", "sizes", "config", "records", "models"}
    for file in folder.rglob("*.py"):
        nodes = ast.walk(ast.parse(file.read_text()))
        rooms = [node.module for node in nodes if isinstance(node, ast.ImportFrom)]
        ours = {str(room).split(".")[1] for room in rooms if str(room).startswith("hevitpose.")}
        assert ours <= allowed, file


def test_the_paper_imports_no_alternative() -> None:
    text = (Path(hevitpose.models.__file__).parent / "hevitpose.py").read_text()
    rooms = re.findall(r"from hevitpose\.(\S+) import", text)
    assert set(rooms) == {"models.common", "models.registry", "models.spec"}


@pytest.mark.parametrize(("name", "key"), CELLS)
def test_gradients_reach_every_parameter(name: str, key: str) -> None:
    # The bias of k's LayerNorm gets rounding only: softmax ignores what is equal for all keys.
    model = randomise_norms(create_model(name, 5, seed=0, drop_path_rate=0.0, **ALTERNATIVES[key]))
    heatmaps = model(image(2, 3, 64, 64))
    assert heatmaps.shape == (2, 5, 16, 16)
    (heatmaps - image(2, 5, 16, 16, seed=2)).square().mean().backward()
    dead = [
        parameter_name
        for parameter_name, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.isfinite().all() or not parameter.grad.any()
    ]
    assert not dead


@pytest.mark.parametrize("key", ALTERNATIVES)
def test_shapes_and_intermediates(key: str) -> None:
    model = create_model("nano", 14, seed=0, **ALTERNATIVES[key]).eval()
    with torch.no_grad():
        heatmaps, features = model(image(1, 3, 96, 64), return_intermediates=True)
        alone = model(image(1, 3, 96, 64))
    assert heatmaps.shape == (1, 14, 24, 16)
    assert [tuple(f.shape) for f in features] == [
        (1, 32, 24, 16),
        (1, 64, 12, 8),
        (1, 96, 6, 4),
    ]
    assert torch.equal(heatmaps, alone)


@pytest.mark.parametrize("name", VARIANTS)
def test_finite_in_float32_and_bfloat16(name: str) -> None:
    model = randomise_norms(create_model(name, 17, seed=0)).eval()
    x = image(1, 3, 64, 96)
    with torch.no_grad():
        exact = model(x)
        with torch.autocast("cpu", torch.bfloat16):
            half = model(x)
    assert exact.isfinite().all()
    assert half.isfinite().all()
    assert (half.float() - exact).abs().max() < 0.1 * exact.abs().max()


@pytest.mark.parametrize("key", ["mhsa", "sra", "linear-sra", "cga", "window", "gated", "bilinear"])
def test_alternatives_are_finite_in_bfloat16(key: str) -> None:
    model = randomise_norms(create_model("nano", 17, seed=0, **ALTERNATIVES[key])).eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert model(image(1, 3, 64, 96)).isfinite().all()


@pytest.mark.parametrize("name", VARIANTS)
def test_untrained_output_is_nearly_zero(name: str) -> None:
    model = create_model(name, 16, seed=0)
    with torch.no_grad():
        heatmaps = model(image(2, 3, 64, 64))
    assert 0 < heatmaps.std() < 0.05
    assert model.head.final.weight.std().item() == pytest.approx(0.001, rel=0.2)
    assert not model.head.final.bias.any()


def test_initialisation() -> None:
    model = create_model("b", seed=0)
    subsample = model.backbone.stages[1].downsample.subsample
    assert subsample.expand.conv.weight.std().item() == pytest.approx(0.02, rel=0.05)
    # Depthwise 3x3: fan-out 9, so sqrt(2 / 9).
    assert subsample.dwconv.conv.weight.std().item() == pytest.approx(0.4714, rel=0.05)
    # Stage 1: 7x7 to 128 channels, sqrt(2 / (49 * 128)).
    embedding = model.backbone.stages[0].downsample.conv
    assert embedding.weight.std().item() == pytest.approx(0.01786, rel=0.05)
    assert not embedding.bias.any()


def test_zero_init_residual_starts_blocks_as_identity() -> None:
    model = create_model("nano", seed=0, zero_init_residual=True).eval()
    block = model.backbone.stages[0].blocks[0]
    x = image(1, 32, 16, 16)
    assert torch.equal(block(x), x)


def test_drop_path_rises_linearly() -> None:
    model = create_model("t", seed=0, drop_path_rate=0.2)
    rates = [
        getattr(block.ffn1.drop_path, "drop_prob", 0.0)
        for stage in model.backbone.stages
        for block in stage.blocks
    ]
    assert rates == pytest.approx([0.0, 0.04, 0.08, 0.12, 0.16, 0.2])
    assert len(set(map(str, (model(image(2, 3, 64, 64)).sum().item() for _ in range(4))))) > 1


def test_same_seed_same_weights_and_golden_output() -> None:
    state = torch.random.get_rng_state()
    first = create_model("nano", 16, seed=0).eval()
    assert torch.equal(torch.random.get_rng_state(), state), "seed= must leave the generator alone"
    again = create_model("nano", 16, seed=0)
    other = create_model("nano", 16, seed=1)
    assert all(map(torch.equal, first.state_dict().values(), again.state_dict().values()))
    assert not torch.equal(first.head.final.weight, other.head.final.weight)

    ramp = torch.linspace(-2, 2, 3 * 64 * 64).reshape(1, 3, 64, 64)
    with torch.no_grad():
        heatmaps, features = first(ramp.sin(), return_intermediates=True)
    got = torch.stack([*(f.square().mean() for f in features), heatmaps.square().mean() * 1e3])
    assert torch.allclose(got, torch.tensor([6.39369, 0.0685815, 0.0960445, 0.00034262]), rtol=2e-4)


@pytest.mark.parametrize(
    ("attention", "sums"),
    [("window", [0.2376506, 0.0642793, 0.3893152]), ("cga", [0.3218499, -0.3241901, -0.1606493])],
)
def test_parameters_drawn_while_building_keep_their_order(attention: str, sums: list) -> None:
    """Recorded networks began from these: parts are built in one fixed order."""
    model = create_model("nano", 5, seed=0, attention=attention)
    tables = [p for n, p in model.named_parameters() if n.endswith("position_bias.table")]
    assert [table.sum().item() for table in tables] == pytest.approx(sums, rel=1e-4)


@pytest.mark.parametrize("size", [(1, 3, 250, 256), (1, 3, 256, 16), (1, 3, 0, 64)])
def test_sides_must_be_multiples_of_32(size: tuple[int, ...]) -> None:
    model = create_model("nano")
    with pytest.raises(UsageError, match=rf"{size[2]}x{size[3]} .*multiples of 32"):
        model(torch.zeros(size))


def test_other_inputs_are_refused() -> None:
    model = create_model("nano")
    with pytest.raises(UsageError, match=r"expected \(N, 3, H, W\)"):
        model(torch.zeros(1, 1, 64, 64))
    with pytest.raises(UsageError, match="normalised floats"):
        model(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))
    with pytest.raises(UsageError, match="multiples of 96"):
        create_model("nano", reductions=(3, 1, 1))(torch.zeros(1, 3, 64, 64))
