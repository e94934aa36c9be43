"""Twenty synthetic people, and runs that use the stub instead of training."""

from __future__ import annotations

from pathlib import Path

import pytest

from ablations.options import Options

WORK = "tests.ablations.stub"
PRELOAD = ("ablations.workers.local", WORK)
SMALL = ("data.people=20", "data.image_size=64", "training.steps=5", "training.lr=0.001")


@pytest.fixture(scope="session")
def people(tmp_path_factory) -> Path:
    from hevitpose.data.synthetic import generate

    root = tmp_path_factory.mktemp("people") / "synthetic"
    generate(root, people=20, size=64)
    return root


@pytest.fixture
def grid(tmp_path):
    """Writes a grid file and gives its path."""

    def write(body: str, name: str = "mini") -> str:
        path = tmp_path / f"{name}.yaml"
        path.write_text(
            f"question: q\ncommand: c\nexpected: e\nfinding: f\n{body.rstrip()}\n"
            "primary: {synthetic: Mean, mpii: Mean, other: AP}\n"
        )
        return str(path)

    return write


@pytest.fixture
def options_for(tmp_path, people):
    """Options on the stub: ``options_for(grids, seeds="0,1", out=...)``."""

    def make(*grids: str, overrides=(), **options) -> Options:
        values = {
            "words": [*grids, *SMALL, *overrides],
            "data": people,
            "out": tmp_path / "out",
            "work": WORK,
            "preload": PRELOAD,
            "tables": False,
            "timeout": 20.0,
        }
        return Options(**(values | options))

    return make
