"""What the docs show works as shown."""

from __future__ import annotations

import re
from pathlib import Path

import torch
import yaml

from hevitpose import create_model

DOCS = Path(__file__).parent.parent / "docs"


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / name).read_text(), re.S)


def test_the_example_attention_runs_and_is_a_grid(tmp_path):
    from ablations.grids import load_grids
    from hevitpose.config import load_config

    (tmp_path / "my_attention.py").write_text(blocks("attention.md", "python")[0])
    (tmp_path / "my_grid.yaml").write_text(blocks("attention.md", "yaml")[0])
    exec(compile(blocks("attention.md", "python")[0], "my_attention.py", "exec"), {})
    model = create_model("nano", num_keypoints=16, attention="pooled")
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 16, 16, 16)
    base = load_config("synthetic").model_copy(update={"imports": (tmp_path / "my_attention.py",)})
    grids = load_grids([str(tmp_path / "my_grid.yaml")], base)
    assert "pooled" in {cell.name for cell in grids[0].cells}


def test_the_example_dataset_is_one():
    from hevitpose.data.custom import CustomDataset

    layout = CustomDataset.model_validate(yaml.safe_load(blocks("dataset.md", "yaml")[0])).layout()
    assert layout.flip_pairs == ((2, 3),)
