"""YAML of unknown origin, read one way: plain data, one meaning, bounded. Torch-free.

Regular files up to a size; no tags but YAML's own; no key twice, empty or of several parts; nesting
up to :data:`DEPTH`. Anchors are followed up to :data:`NODES` values: with them a few lines can say
a billion, or contain themselves.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from hevitpose import files
from hevitpose.errors import DataError, UsageError, first_line
from hevitpose.files import broken_text

LIMIT = 4 * 2**20  # bytes
DEPTH = 32
NODES = 100_000  # values, as often as they are said
#: The tag of the key ``<<``.
MERGE = "tag:yaml.org,2002:merge"


class YamlError(ValueError):
    """Text that is not YAML as the module says; one line."""


class BadKeyError(YamlError):
    """A key twice, empty or of several parts: YAML, but nothing that can be asked for."""


class _Loader(yaml.SafeLoader):
    """Safe yaml that refuses what has no one meaning."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.nesting = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.nesting += 1
        if self.nesting > DEPTH:
            raise YamlError(f"nested more than {DEPTH} deep")
        node = super().compose_node(parent, index)
        self.nesting -= 1
        return node

    def get_single_node(self) -> Any:
        node = super().get_single_node()
        if node is not None and _size(node, {})[0] > NODES:
            raise YamlError(f"its anchors expand to more than {NODES} values")
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key_node, _ in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == MERGE:
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                raise BadKeyError(f"line {line}: a key of several parts, expected a name")
            key = self.construct_object(key_node, deep=True)
            if key is None or key == "":
                raise BadKeyError(f"line {line}: an empty key, expected a name")
            if key in seen:
                raise BadKeyError(f"key {key!r} given twice (line {line})")
            seen.add(key)
        return super().construct_mapping(node, deep)


def _size(node: yaml.Node, known: dict[int, tuple[int, int] | None]) -> tuple[int, int]:
    """Values that a node says with its anchors followed, and how deep they nest.

    Raises:
        YamlError: it contains itself, or nests too deep.
    """
    if id(node) in known:
        found = known[id(node)]
        if found is None:
            raise YamlError(f"line {node.start_mark.line + 1}: a value that contains itself")
        return found
    known[id(node)] = None
    children = node.value if isinstance(node, yaml.CollectionNode) else ()
    if isinstance(node, yaml.MappingNode):
        children = [part for pair in node.value for part in pair]
    sizes = [_size(child, known) for child in children]
    depth = 1 + max((depth for _, depth in sizes), default=0)
    if depth > DEPTH:
        raise YamlError(f"nested more than {DEPTH} deep")
    known[id(node)] = found = 1 + sum(size for size, _ in sizes), depth
    return found


def parse(text: str) -> Any:
    """The value of a YAML text.

    Raises:
        YamlError: it is not YAML as the module says.
    """
    try:
        value = yaml.load(text, _Loader)  # noqa: S506 (a SafeLoader)
    except YamlError:
        raise
    except yaml.YAMLError as error:
        raise YamlError(" ".join(str(error).split())[:300]) from None
    except Exception as error:  # of a value that looks like a date, a number or bytes, and is none
        raise YamlError(f"an invalid value ({first_line(str(error))})") from None
    broken = broken_text(value)
    if broken is not None:
        raise YamlError(f"text {broken[:40]!a} has an unpaired surrogate")
    return value


def compose(text: str) -> yaml.Node | None:
    """The nodes of a YAML text, which know their lines; None for an empty one.

    Raises:
        YamlError: it nests too deep, or its anchors say too much.
        yaml.YAMLError: it is not YAML; the error knows the line.
    """
    return _Loader(text).get_single_node()


def read(path: Path) -> Any:
    """The content of a file.

    Raises:
        UsageError: a key twice, empty or of several parts, as other keys that nobody knows.
        DataError: it is absent, no regular file, too large, or no YAML as the module says.
    """
    try:
        return parse(text_of(path))
    except BadKeyError as error:
        raise UsageError(f"{path}: {error}") from None
    except YamlError as error:
        raise DataError(f"{path}: not yaml: {error}") from None


def text_of(path: Path) -> str:
    """The text of a file of YAML.

    Raises:
        DataError: it is absent, no regular file, too large, or not UTF-8.
    """
    try:
        return files.text_of(files.content(path, LIMIT, "a yaml file"))
    except ValueError as error:
        raise DataError(f"{path}: {error}, expected a yaml file") from None
