"""The notebook runs from its first cell to its last and shows what it says."""

from __future__ import annotations

import base64
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "examples" / "quickstart.ipynb"


@pytest.fixture(scope="module")
def notebook():
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed ('.[dev]')")
    return nbformat.read(NOTEBOOK, as_version=4)


def test_it_is_committed_without_outputs(notebook):
    import nbformat

    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) > 5
    assert all(not cell.outputs and cell.execution_count is None for cell in code)


@pytest.mark.slow
def test_it_runs(notebook, tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed ('.[dev]')")
    cv2 = pytest.importorskip("cv2")
    manager = pytest.importorskip("jupyter_client.manager")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("MPLBACKEND", raising=False)  # pictures are shown in the notebook
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # what it writes goes with the test
    before = sorted(path.name for path in ROOT.iterdir())
    kernel = manager.AsyncKernelManager(kernel_name="python3")
    kernel.kernel_spec.argv[0] = sys.executable
    client = nbclient.NotebookClient(
        notebook, km=kernel, timeout=600, resources={"metadata": {"path": str(NOTEBOOK.parent)}}
    )
    client.execute()  # raises CellExecutionError, with the cell, where one fails
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    pictures = [o.data["image/png"] for o in outputs if "image/png" in o.get("data", {})]
    shown = cv2.imdecode(np.frombuffer(base64.b64decode(pictures[0]), np.uint8), 1)
    assert min(shown.shape[:2]) > 300 and shown.std() > 20
    text = "".join(output.get("text", "") for output in outputs)
    assert "(2, 17, 2) people" in text
    assert "10.6295M parameters" in text
    assert "2 recorded before" in text  # the ablation's first cell is what was trained above
    assert "Difference" in text and "cgsr (default)" in text
    assert "attention: none by" in text
    assert sorted(path.name for path in ROOT.iterdir()) == before  # nothing lands in the clone
