"""Hostile inputs out of good ones: values, structure, text, bytes, and what is no file at all."""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import yaml

#: A directory that only executed code would make, in the folder of an input.
MARKER = "executed"
_RAW = "\x01raw:"
_TWICE = "\x01twice:"


def raw(token: str) -> str:
    """A stand-in for a token that no value of Python writes, as 1e999."""
    return _RAW + token


#: What stands where a number, a text or a list is expected.
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 3, 17, 0.5, -0.0, 7.0, 1e-300, 1e300),
    *(2**31, 2**53 + 1, 2**63, -(2**63) - 1, 10**40, 10**308 * 10),
    *(float("nan"), float("inf"), -float("inf")),
    *map(raw, ("1e999", "-1e999", "1" * 400, "1" * 5000, "01", "+1", ".5", "nan", "'a'", "")),
    *map(raw, ("[" * 500 + "]" * 500, '{"a":' * 500 + "1" + "}" * 500, "[" * 5000)),
    *("", " ", "a", "a\nb", "a\r\n\nb", "\x1b[2J", "\x00", "\x85", "\u2028x", "\ud800", "\udfffx"),
    *("../../x", "/etc/passwd", "C:\\x", "a" * 300, "a/" * 300, "=1+1", "＝1+1", "-", "1e5"),
    *("person", "a.jpg", "train", "val", "nano", "hevitpose_b", "all", "gt", "0" * 20, "1e-3"),
    *([], {}, [[]], [{}], [None], {"": 1}, {"\ud800": "\ud800"}, {"a\nb": 1}, {"id": 1}, [1, 2]),
    *([0] * 3, [1.5] * 4, [[0, 0, 0]], ["a", "b"], list(range(51)), [10**30] * 4, [-1e308, 1e308]),
)
KEYS = ("", " ", "a\nb", "\ud800", "id", "name", "__class__", "data", "model", "seed", "1", "＝")


def places(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a value, as a path of keys."""
    yield path
    if isinstance(content, (dict, list)):
        for key, value in content.items() if isinstance(content, dict) else enumerate(content):
            yield from places(value, (*path, key))


def tree(rng: Random, content: Any, values: tuple[Any, ...] = VALUES, most: int = 4) -> Any:
    """A copy of plain data with one to ``most`` changes."""
    content = copy.deepcopy(content)
    for _ in range(rng.randint(1, most)):
        content = _changed(rng, content, values)
    return content


def _changed(rng: Random, content: Any, values: tuple[Any, ...]) -> Any:
    found = [path for path in places(content) if path]
    if not found or rng.random() < 0.01:
        return copy.deepcopy(rng.choice(values))
    if rng.random() < 0.4:  # near the top, where a change is of structure
        found = [path for path in found if len(path) <= 2]
    path = rng.choice(found)
    parent = content
    for key in path[:-1]:
        parent = parent[key]
    last, value = path[-1], parent[path[-1]]
    action = rng.choice(("set",) * 8 + ("remove", "move", "wrap", "repeat", "as", "key", "twice"))
    if action == "set":
        parent[last] = copy.deepcopy(rng.choice(values))
    elif action == "remove":
        del parent[last]
    elif action == "move":
        other = content
        for key in rng.choice(list(places(content))):
            other = other[key]
        parent[last] = copy.deepcopy(other)
    elif action == "wrap":
        parent[last] = rng.choice(([value], {"a": value}, [[value]], [value, value]))
    elif action == "as":
        parent[last] = rng.choice((str, repr, _is_none, negative, float_of))(value)
    elif isinstance(parent, list):
        parent[last:last] = [value] * rng.choice((1, 2, 60))
    elif action == "key":
        parent[rng.choice(KEYS)] = parent.pop(last)
    elif isinstance(last, str):
        parent[_TWICE + last] = copy.deepcopy(rng.choice((value, *values)))
    return content


def _is_none(value: Any) -> bool:
    return value is None


def negative(value: Any) -> Any:
    """A number with the other sign."""
    return -value if type(value) in (int, float) else value


def float_of(value: Any) -> Any:
    """1 as 1.0; a huge integer, or what is none, as it is."""
    return float(value) if type(value) is int and abs(value) < 1e300 else value


# Text and bytes ----------------------------------------------------------------------------------


def to_json(rng: Random, content: Any) -> bytes:
    """Plain data as text, with what stands for raw tokens and for keys that are there twice."""
    text = json.dumps(content, ensure_ascii=rng.random() < 0.7, indent=rng.choice((None, None, 1)))
    escaped = re.escape(json.dumps("\x01")[1:-1])
    text = re.sub(rf'"{escaped}raw:((?:[^"\\]|\\.)*)"', lambda m: json.loads(f'"{m[1]}"'), text)
    text = re.sub(rf"{escaped}twice:", "", text)
    return text.encode("utf-8", "surrogatepass")


#: What YAML has beyond JSON.
_SNIPPETS = (
    '!!python/object/apply:os.mkdir ["{marker}"]', '!!python/object/new:os.mkdir ["{marker}"]',
    "!!python/name:os.mkdir", "!!python/module:os", '!!python/object/apply:eval ["1"]',
    "4!!python/name", "!!python/tuple [1]", "!local x", "!!binary ====", "!!binary aGk=",
    "!!timestamp x", "2001-02-30", "2001-13-01 25:00:00", "!!float abc", "!!int 08", "0o9", "1:99",
    "!!set {{a, b}}", "!!omap [a: 1]", "!!pairs [a: 1, a: 2]", "&a [*a]", "*nowhere", "&a x",
    "<<: *a", "<<: [1]", "? [a, b]\n: c", "? {{a: 1}}\n: 2", ": x", "~: x", "1: x", "true: x",
    "- ", "  ", "\t", "%YAML 9.9\n---\n", "---\n", "...\n", "# c", "|", ">", "'", '"', "@", "`",
    "{{", "[", "}}", "]", ", ", "\u0000", "\ufeff", "\x85", "\u2028", "1e400", ".inf", ".nan",
    "-.inf", "[" * 500, "{{a: " * 500, "- " * 500, "1" * 5000, '"\\ud800"', '"\\n"', "!!null x",
    "a: &a [x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]\n"
    "c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b]\nd: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c]\n"
    "e: &e [*d, *d, *d, *d, *d, *d, *d, *d, *d]\nf: [*e, *e, *e, *e, *e, *e, *e, *e, *e]\n",
)  # fmt: skip


def snippet(rng: Random, marker: Path) -> str:
    """A piece of YAML that a reader of data has no use for."""
    return rng.choice(_SNIPPETS).format(marker=marker)


def to_yaml(rng: Random, content: Any, marker: Path) -> bytes:
    """Plain data as block or flow YAML, with pieces of the language put in."""
    if rng.random() < 0.4:
        text = to_json(rng, content).decode("utf-8", "surrogatepass")
    else:
        plain = json.loads(json.dumps(content).replace("\\u0001raw:", "").replace("\\u0001", ""))
        text = yaml.safe_dump(plain, sort_keys=False, default_flow_style=rng.choice((None, False)))
    for _ in range(rng.choice((0, 0, 1, 1, 2))):
        lines = text.split("\n")
        at = rng.randrange(len(lines))
        head, colon, _ = lines[at].partition(": ")
        piece = snippet(rng, marker)
        if colon and rng.random() < 0.6:
            lines[at] = f"{head}: {piece}"
        elif rng.random() < 0.5:
            lines.insert(at, piece)
        else:
            lines[at] = rng.choice((" ", "  ", "- ", "")) + lines[at].strip()
        text = "\n".join(lines)
    return text.encode("utf-8", "surrogatepass")


def damaged(rng: Random, data: bytes) -> bytes:
    """A few changes of bytes: cut, repeated, replaced, put in, in another encoding."""
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice((1, 1, 2, 4, 8, 64, 1000)))
        action = rng.randrange(8)
        if action == 0:
            data = data[:at]
        elif action == 1:
            data = data[:at] + data[end:]
        elif action == 2:
            data = data[:end] + data[at:]
        elif action == 3:
            data = data[:at] + rng.randbytes(end - at) + data[end:]
        elif action == 4:
            data = data[:at] + rng.randbytes(rng.randint(1, 8)) + data[at:]
        elif action == 5:
            odd = (
                b"\0",
                b"\xff\xff\xff\xff",
                b"\xff\xff\xff\x7f",
                b"\0\0\0\x80",
                b"\n",
                b'"',
                b"[",
            )
            data = data[:at] + rng.choice(odd) + data[end:]
        elif action == 6:
            data = _in_another_encoding(rng, data)
        else:
            data = b"".join(
                sorted((data[:at], data[at:end], data[end:]), key=lambda _: rng.random())
            )
    return data


def _in_another_encoding(rng: Random, data: bytes) -> bytes:
    if len(data) > 100_000:
        return data
    text = data.decode("utf-8", "replace")
    name = rng.choice(("utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1"))
    return text.encode(name, "replace")


# Files -------------------------------------------------------------------------------------------


def _endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _loop(path: Path) -> None:
    path.symlink_to(path)


def _huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(5 * 2**30)  # of holes


def _zeros(path: Path) -> None:
    path.write_bytes(bytes(100_000))


#: What lies where a file is expected.
NO_FILES: tuple[Callable[[Path], object], ...] = (
    _endless, _loop, _huge, _zeros, Path.mkdir, os.mkfifo, Path.touch,
    lambda path: path.symlink_to("nowhere"), lambda path: path.write_bytes(b"\xef\xbb\xbf"),
    lambda path: path.write_bytes(b" \n" * 1000),
)  # fmt: skip


def put(rng: Random, path: Path, data: bytes, spoil: float = 0.25) -> Path:
    """Write a file, damaged in its bytes now and then, or put something else in its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    path.unlink(missing_ok=True)
    if rng.random() < 0.02:
        rng.choice(NO_FILES)(path)
    else:
        path.write_bytes(damaged(rng, data) if rng.random() < spoil else data)
    return path


def put_json(rng: Random, path: Path, content: Any) -> Path:
    """A mutated JSON file."""
    return put(rng, path, to_json(rng, tree(rng, content)), 0.15)


def put_yaml(rng: Random, path: Path, content: Any) -> Path:
    """A mutated YAML file; its hostile tags would make :data:`MARKER` beside it."""
    return put(rng, path, to_yaml(rng, tree(rng, content, most=2), path.parent / MARKER), 0.15)
