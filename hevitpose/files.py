"""Files written as a whole: a reader sees the old one or the new one, never a part. Torch-free."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from hevitpose.errors import HEViTPoseError


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file beside ``path`` to write to; it takes its place when the block ends well.

    What writes by name writes to ``file.name``; only through the file itself does a full disk stay
    an ``OSError`` (torch's writer says of it that a position was unexpected).

    Raises:
        HEViTPoseError: it cannot be written (full or read-only disk); what was there stays.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except HEViTPoseError:
        raise
    except Exception as error:
        failure = _os_error(error)
        if failure is None:
            raise
        reason = failure.strerror or failure
        raise HEViTPoseError(f"{path}: cannot be written ({reason})") from None


def _os_error(error: BaseException | None) -> OSError | None:
    """The first ``OSError`` among an error and those that it was raised over."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


def write_atomically(path: Path, content: str | bytes) -> Path:
    """Replaces a file as a whole; text is written as UTF-8.

    Raises:
        HEViTPoseError: it cannot be written; what was there stays.
    """
    with replacing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)
    return path
