"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of real samples; skips where there is none.

    ``HEVITPOSE_SAMPLES`` names it; else ``../shared/data`` beside the checkout.
    """
    root = Path(os.environ.get("HEVITPOSE_SAMPLES", REPOSITORY.parent / "shared" / "data"))
    if not root.is_dir():
        pytest.skip(f"no real samples at {root} (set HEVITPOSE_SAMPLES)")
    return root


@pytest.fixture(scope="session")
def synthetic_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small set of synthetic people, 60 of them in images of 128 pixels."""
    from hevitpose.data.synthetic import generate

    root = tmp_path_factory.mktemp("synthetic")
    generate(root, people=60, size=128, seed=0, workers=1)
    return root
