"""Imports point one way: down the list in CONTRIBUTING.md, those inside functions too."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PRODUCT = ("ablations", "bench", "hevitpose", "reports")


def levels() -> dict[str, int]:
    """Module or package -> its line of the list, 0 for the lowest."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```layers\n(.*?)^```$", text, re.M | re.S)
    lines = [line.split() for line in block.splitlines()]
    assert len(set().union(*lines)) == sum(map(len, lines)), "a name stands in the list twice"
    return {name: level for level, line in enumerate(reversed(lines)) for name in line}


def entry(name: str, listed: dict[str, int]) -> str:
    """The longest name of the list that a module, or something in it, is below.

    Raises:
        LookupError: there is none.
    """
    parts = name.split(".")
    above = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
    found = next((each for each in above if each in listed), None)
    if found is None:
        raise LookupError(f"{name} is in no line of the list in CONTRIBUTING.md")
    return found


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything that is imported, wherever it stands in a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: relative, expected import hevitpose..."
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def upward(source: str, path: str, listed: dict[str, int]) -> list[str]:
    """The imports of a file that do not point down, as ``file:line: module -> import``."""
    parts = list(Path(path).with_suffix("").parts)
    module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    own, found = entry(module, listed), []
    if own == "hevitpose" != module:
        raise LookupError(f"{path} is in no line of the list in CONTRIBUTING.md")
    for line, name in imported(ast.parse(source)):
        if name.split(".")[0] not in (*PRODUCT, "hubconf"):
            continue
        other = entry(name, listed)
        if other != own and listed[other] >= listed[own]:
            found.append(f"{path}:{line}: {own} -> {name}")
    return found


def product_files() -> list[Path]:
    return [
        path.relative_to(ROOT)
        for top in (*PRODUCT, "hubconf.py")
        for path in ([ROOT / top] if top.endswith(".py") else sorted((ROOT / top).rglob("*.py")))
    ]


def test_imports_point_down_the_list():
    listed = levels()
    found = [
        problem
        for path in product_files()
        for problem in upward((ROOT / path).read_text(encoding="utf-8"), path.as_posix(), listed)
    ]
    assert not found, "\n".join(found)


def test_every_name_of_the_list_exists():
    missing = [
        name
        for name in levels()
        if name != "hevitpose.__version__"
        and not (ROOT / name.replace(".", "/")).is_dir()
        and not (ROOT / name.replace(".", "/")).with_suffix(".py").is_file()
    ]
    assert not missing


@pytest.mark.parametrize(
    ("path", "source", "problems"),
    [
        ("hevitpose/models/x.py", "from hevitpose.config import Config", 0),
        ("hevitpose/models/x.py", "from hevitpose.models import spec", 0),
        ("hevitpose/models/x.py", "import numpy, hevitpose.data.registry", 0),
        ("hevitpose/models/x.py", "import hevitpose.data.table", 1),
        ("hevitpose/models/x.py", "from hevitpose import data", 1),
        ("hevitpose/models/x.py", "from hevitpose import files, create_model", 1),
        ("hubconf.py", "from hevitpose import files, create_model", 0),
        ("hevitpose/models/__init__.py", "def f():\n    from hevitpose.cost import complexity", 1),
        ("hevitpose/codec/x.py", "from hevitpose.metrics import oks", 1),
        ("hevitpose/strange.py", "", LookupError),
        ("hevitpose/files.py", "import ablations", 1),
        ("reports/x.py", "from ablations.grid_file import OF\nfrom ablations.plan import Plan", 1),
        ("ablations/x.py", "from reports.tables import grid", 0),
    ],
)
def test_an_import_that_points_up_is_seen(path, source, problems):
    if problems is LookupError:
        with pytest.raises(LookupError, match="strange"):
            upward(source, path, levels())
    else:
        assert len(upward(source, path, levels())) == problems
