"""Files of at most 400 lines, functions of at most 60: what is longer has a second topic."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILE_LINES, FUNCTION_LINES = 400, 60


def long_functions(source: str) -> list[tuple[str, int]]:
    """Name and lines of the functions over the limit; a docstring does not count."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            said = first.end_lineno - first.lineno + 1 if ast.get_docstring(node) else 0
            lines = node.end_lineno - node.lineno + 1 - said
            if lines > FUNCTION_LINES:
                found.append((node.name, lines))
    return found


def test_files_and_functions_stay_short():
    found = []
    for top in ("ablations", "bench", "hevitpose", "reports"):
        for path in sorted((ROOT / top).rglob("*.py")):
            name, source = path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")
            lines = len(source.splitlines())
            if lines > FILE_LINES:
                found.append(f"{name}: {lines} lines, expected at most {FILE_LINES}")
            for function, length in long_functions(source):
                found.append(
                    f"{name}: {function} has {length} lines without its docstring, "
                    f"expected at most {FUNCTION_LINES}"
                )
    assert not found, "\n".join(found)


def test_a_long_function_is_seen_and_its_docstring_not_counted():
    body = "    x = 1\n" * (FUNCTION_LINES - 1)
    assert not long_functions(f"def f():\n{body}")
    assert not long_functions(f'def f():\n    """Do.\n\n    More.\n    """\n{body}')
    assert long_functions(f"class A:\n  async def f(self):\n{body}    x = 2\n") == [("f", 61)]
