"""YAML of unknown origin, read one way: plain data, one meaning, bounded. Torch-free.

Regular files up to a size; no tags but YAML's own; no anchors, which can make a few lines into a
billion; no key twice, empty or of several parts; nesting up to :data:`DEPTH`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from hevitpose.errors import DataError, first_line
from hevitpose.files import other_kind

LIMIT = 4 * 2**20  # bytes
DEPTH = 32


class YamlError(ValueError):
    """Text that is not YAML as the module says; one line."""


class _Loader(yaml.SafeLoader):
    """Safe yaml that refuses what has no one meaning."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.nesting = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise YamlError(f"line {event.start_mark.line + 1}: an anchor, expected plain values")
        self.nesting += 1
        if self.nesting > DEPTH:
            raise YamlError(f"nested more than {DEPTH} deep")
        node = super().compose_node(parent, index)
        self.nesting -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key_node, _ in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise YamlError(f"line {line}: a key of several parts, expected a name")
            key = self.construct_object(key_node, deep=True)
            if key is None or key == "":
                raise YamlError(f"line {line}: an empty key, expected a name")
            if key in seen:
                raise YamlError(f"key {key!r} given twice (line {line})")
            seen.add(key)
        return super().construct_mapping(node, deep)


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
        raise YamlError(f"a value that is none ({first_line(str(error))})") from None
    _require_whole(value)
    return value


def read(path: Path) -> Any:
    """The content of a file.

    Raises:
        DataError: it is absent, no regular file, too large, or no YAML as the module says.
    """
    try:
        state = path.stat()
        if found := other_kind(state.st_mode):
            raise DataError(f"{path}: is {found}, expected a yaml file")
        if state.st_size > LIMIT:
            raise DataError(f"{path}: {state.st_size} bytes, expected yaml of at most {LIMIT}")
        return parse(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from None
    except YamlError as error:
        raise DataError(f"{path}: not yaml: {error}") from None


def _require_whole(value: Any) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            _require_whole(key)
            _require_whole(item)
    elif isinstance(value, (list, tuple, set)):
        for item in value:
            _require_whole(item)
    elif isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise YamlError(f"text {value[:40]!a} has half of a character") from None
