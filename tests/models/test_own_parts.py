"""A user's part whose maps are not what its kind promises, or that fails, is one line."""

from __future__ import annotations

import random

import pytest
import torch
from torch import nn

from hevitpose.cli import execute
from hevitpose.errors import HEViTPoseError, Notice, UsageError
from hevitpose.models import create_model, register, registry
from hevitpose.models.build import create_for_input
from hevitpose.models.imports import import_files

CHANNELS = "in_channels, out_channels"
#: Bodies of ``forward`` that break the promise, and what the line says of the first such part.
BROKEN = {
    "mean": ("attention", "x.mean((2, 3), keepdim=True)", "(1, 32, 1, 1) for (1, 32, 16, 16)"),
    "row": ("attention", "x.mean((1, 2), keepdim=True)", "(1, 1, 1, 16) for (1, 32, 16, 16)"),
    "pair": ("attention", "(x, x)", "a tuple for (1, 32, 16, 16)"),
    "shrunk": ("ffn", "x[:, :, :1]", "(1, 32, 1, 16) for (1, 32, 16, 16)"),
    "whole": ("downsampling", "self.conv(x)", "(1, 64, 16, 16) for (1, 32, 16, 16)"),
    "narrow": ("downsampling", "x[:, :, ::2, ::2]", "(1, 32, 8, 8) for (1, 32, 16, 16)"),
    "kept": ("upsampler", "self.conv(x)", "(1, 96, 4, 4) for (1, 96, 4, 4)"),
}
#: A downsampling that is right for 64x64 images alone.
POOL = "self.pool = nn.AdaptiveAvgPool2d(8 if in_channels == 32 else 4)"


@pytest.fixture(autouse=True)
def _own_names(monkeypatch: pytest.MonkeyPatch) -> None:
    registry.load()
    parts = {kind: dict(parts) for kind, parts in registry._PARTS.items()}
    monkeypatch.setattr(registry, "_PARTS", parts)


@pytest.fixture
def file(tmp_path):
    """Writes a file of one part and names it."""

    def write(kind: str, forward: str, constructor: str = "pass"):
        numbers = CHANNELS if kind in ("downsampling", "upsampler") else "dim"
        first, last = (numbers.split(", ") * 2)[:2]
        path = tmp_path / f"{kind}_file.py"
        path.write_text(
            "from torch import nn\nfrom hevitpose.models import register\n\n"
            f"@register('{kind}', 'odd')\nclass Odd(nn.Module):\n"
            f"    def __init__(self, {numbers}):\n        super().__init__()\n"
            f"        self.conv = nn.Conv2d({first}, {last}, 1)\n        {constructor}\n\n"
            f"    def forward(self, x):\n        return {forward}\n"
        )
        return path

    return write


@pytest.mark.parametrize("case", BROKEN)
def test_a_wrong_shape_is_refused(file, case):
    kind, forward, says = BROKEN[case]
    import_files([file(kind, forward)])
    with pytest.raises(UsageError) as caught:
        create_for_input("nano", 3, (64, 64), **{kind: "odd"})
    line = str(caught.value)
    assert line.startswith(f"{kind} 'odd' ({kind}_file.py:4, Odd): gives {says}, expected (1, ")
    assert "\n" not in line
    if case in ("whole", "kept"):  # maps of another size may be right for another image
        create_model("nano", 3, **{kind: "odd"})
    else:
        with pytest.raises(UsageError, match="odd"):
            create_model("nano", 3, **{kind: "odd"})


def test_a_part_for_one_size_loads_without_it(file):
    """A file of weights is read before anyone says what image the network is given."""
    import_files([file("downsampling", "self.pool(self.conv(x))", POOL)])
    create_for_input("nano", 3, (64, 64), downsampling="odd")
    create_model("nano", 3, downsampling="odd")
    with pytest.raises(UsageError, match="expected"):
        create_for_input("nano", 3, (128, 128), downsampling="odd")


def test_a_part_that_cannot_be_copied_is_said(file):
    own = "self.kept = self.conv.weight * 2"  # no leaf: deepcopy refuses it
    import_files([file("attention", "x.mean((2, 3), keepdim=True)", own)])
    with pytest.warns(Notice, match="shapes of attention 'odd' are not checked"):
        create_for_input("nano", 3, (64, 64), attention="odd")


def test_a_command_says_it(file, capsys):
    path = file("attention", "x.mean((2, 3), keepdim=True)")
    words = ["info", "nano", "model.attention=odd", "--input", "64x64", "--import", str(path)]
    assert execute(words) == 2
    assert "attention 'odd' (attention_file.py:4, Odd): gives (1, 32, 1, 1)" in (
        capsys.readouterr().err
    )


def test_a_part_that_fails_is_named_with_its_line(file):
    import_files([file("attention", "x", "assert dim % 5 == 0, f'dim {dim} not divisible'")])
    says = r"attention 'odd' \(attention_file.py:9, Odd\): AssertionError: dim 32 not divisible"
    with pytest.raises(HEViTPoseError, match=says):
        create_model("nano", 3, attention="odd")


def test_a_forward_that_fails_is_named_with_its_line(file):
    import_files([file("ffn", "x + x.new_zeros(5)")])
    with pytest.raises(HEViTPoseError, match=r"ffn 'odd' \(ffn_file.py:12, Odd\): RuntimeError: "):
        create_for_input("nano", 3, (64, 64), ffn="odd")
    create_model("nano", 3, ffn="odd")  # at a size that nobody named it may as well work


def test_errors_of_a_part_stay_what_they_are(file):
    import_files([file("attention", "x", "from hevitpose.models.registry import create as c")])

    @register("attention", "outer")
    def outer(dim: int) -> nn.Module:
        return registry.create("ffn", "absent", dim=dim)

    with pytest.raises(UsageError, match=r"^unknown model.ffn 'absent'"):
        create_model("nano", 3, attention="outer")

    @register("upsampler", "nothing")
    def nothing(in_channels: int) -> None: ...

    with pytest.raises(UsageError, match=r"'nothing'.*gives a NoneType, expected a torch module"):
        create_model("nano", 3, upsampler="nothing")


def test_the_trial_leaves_nothing_behind():
    """The network, its caches, hooks and modes, and the random numbers after it."""

    @register("attention", "remembering")
    class Remembering(nn.Module):
        def __init__(self, dim: int) -> None:
            super().__init__()
            self.mask = None
            self.register_buffer("calls", torch.zeros(()))
            self.norm = nn.BatchNorm2d(dim).eval()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.mask is None:
                self.mask = torch.rand_like(x[:1])
            self.calls += 1
            return x * self.mask

    seen = []
    for size in ((64, 64), None):
        torch.manual_seed(random.Random(1).randrange(100))
        options = {"attention": "remembering"}
        model = create_for_input("nano", 3, size, **options) if size else create_model(
            "nano", 3, **options
        )  # fmt: skip
        seen.append((torch.rand(1), *model.parameters()))
        part = model.backbone.stages[0].blocks[0].attention.branch
        assert part.mask is None and part.calls == 0
        assert part.training and not part.norm.training
        assert not part._forward_hooks and not part._forward_pre_hooks
    torch.manual_seed(random.Random(1).randrange(100))
    from hevitpose.models import build

    network = build._built("nano", 3, None, {"attention": "remembering"})
    seen.append((torch.rand(1), *network.parameters()))
    for other in seen[1:]:
        assert all(torch.equal(a, b) for a, b in zip(seen[0], other, strict=True))


def test_built_in_networks_and_sketches_are_not_tried(monkeypatch):
    monkeypatch.setattr("hevitpose.models.hevitpose.HEViTPose.forward", None)
    create_for_input("nano", 3, (64, 64))

    @register("attention", "wrong")
    def wrong(dim: int) -> nn.Module:
        return nn.AdaptiveAvgPool2d(1)

    with torch.device("meta"):
        create_for_input("nano", 3, (64, 64), attention="wrong")
