"""The reference pages, which the site makes from the schema and the parsers."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
import typer

from hevitpose.config import PRESETS, Config, shipped

pytest.importorskip("mkdocs", reason="mkdocs is not installed (pip install -e '.[dev]')")
PATH = Path(__file__).parent.parent / "docs" / "reference.py"


@pytest.fixture(scope="module")
def reference():
    spec = importlib.util.spec_from_file_location("docs_reference", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows(text: str) -> dict[str, list[str]]:
    """First cell of each row of a page's tables to the others."""
    lines = re.findall(r"^\| (`.*?) \|$", text, re.M)
    cells = [[part.strip() for part in re.split(r"(?<!\\)\|", line)] for line in lines]
    return {first.strip("`"): rest for first, *rest in cells}


def keys(section, prefix=""):
    for name, field in section.model_fields.items():
        inner = getattr(field.annotation, "model_fields", None)
        if inner is not None:
            yield from keys(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def test_every_key_is_there_once_with_its_default_and_range(reference):
    text = reference.configuration()
    found = rows(text)
    assert set(keys(Config)) <= set(found)
    assert sorted(re.findall(r"^\| `([\w.]+)` \|", text, re.M)) == sorted([*keys(Config), *PRESETS])
    assert found["training.lr"][:3] == ["float, > 0", "`0.0005`", "training"]
    assert found["training.lr"][3].startswith("at base_batch")
    assert found["data.minival"][0] == "float, > 0, &lt; 1"
    assert found["data.input_size"][2] == "training and evaluation"
    assert found["evaluation.max_detections"][2:] == [
        "evaluation",
        "People a photograph that count for AP; COCO's evaluators have 20.",
    ]
    assert found["model.cascade"][:2] == ["true or false", "`true`"]
    assert found["model.attention"][0].startswith("`cgsr`, `mhsa`,")
    assert found["model.widths"][1] == "the variant's"
    assert found["device"][0] == "`auto`, `cpu`, `cuda`"
    assert all(f"`{name}`" in text for name in shipped())
    assert all(found[preset][0] for preset in PRESETS)


def test_every_command_and_option_is_there(reference):
    from ablations.cli import app as ablations
    from hevitpose.cli import app as hevitpose

    text = reference.command_line()

    def check(command, name):
        section = text.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        assert section, name
        for option in command.params:
            names = option.opts if option.param_type_name == "option" else []
            assert all(f"`{each}`" in section for each in names), (name, names)
        for below, each in getattr(command, "commands", {}).items():
            check(each, f"{name} {below}")

    check(typer.main.get_command(hevitpose), "hevitpose")
    check(typer.main.get_command(ablations), "python -m ablations")
    for name in ("reports", "bench/latency.py", "bench/complexity.py", "bench/reconstruction.py"):
        section = text.partition(f"## python {'-m ' if '/' not in name else ''}{name}\n")[2]
        assert "usage:" in section[:40]


def test_no_row_has_more_cells_than_its_table(reference):
    for text in (reference.configuration(), reference.command_line()):
        width = 0
        for line in text.splitlines():
            cells = len(re.split(r"(?<!\\)\|", line))
            if line.startswith("|---"):
                width = cells
            elif line.startswith("| `"):
                assert cells == width, line
