"""Fixtures that every room's tests share."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

# oneDNN's bfloat16 kernels for AMX (torch 2.14.1) compute a 4x4 convolution of stride 4 wrongly,
# off by more than its largest value (docs/measurement.md). It is read when torch is first imported.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")

# Networks of 8 to 90 million parameters, whose many tests take a third of the whole time.
LARGE = frozenset(
    "hrformer_s pose_hrnet_w32 pose_pvtv2_b2 pose_resnest50 pose_resnext50 pose_swin_b pose_swin_s "
    "vitpose_b vitpose_b_original".split()
)
# One fast test of each stays, and what reads names alone.
ALWAYS = ("test_output_shape_and_small_start", "test_the_speed_claim_takes_interleaved_times_only")


# With tests of a minute each: they begin first, so that at the end nobody waits for one of them.
LONG = (
    *("bench/test_gpu_command.py", "test_notebook.py", "ablations/test_runner.py"),
    *("inference/test_shipped.py", "training/test_distributed.py", "kills/test_kills.py"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests parametrised by a large network are slow ones; the longest come first."""
    items.sort(key=lambda item: not item.path.as_posix().endswith(LONG))
    for item in items:
        if not isinstance(item, pytest.Function) or item.originalname in ALWAYS:
            continue
        values = item.callspec.params.values() if hasattr(item, "callspec") else ()
        if any(isinstance(value, str) and value in LARGE for value in values):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def noxfile() -> ModuleType:
    """``noxfile.py`` as a module, loaded once: nox registers its sessions for the process."""
    spec = importlib.util.spec_from_file_location("project_noxfile", REPOSITORY / "noxfile.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
