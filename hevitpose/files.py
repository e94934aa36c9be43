"""Files written as a whole: a reader sees the old one or the new one, never a part. Torch-free."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from hevitpose.errors import HEViTPoseError


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to; it takes its place when the block ends well.

    Raises:
        HEViTPoseError: it cannot be written (full or read-only disk); what was there stays.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise HEViTPoseError(f"{path}: cannot be written ({error.strerror or error})") from None


def write_atomically(path: Path, content: str | bytes) -> Path:
    """Replaces a file as a whole; text is written as UTF-8.

    Raises:
        HEViTPoseError: it cannot be written; what was there stays.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
    return path
