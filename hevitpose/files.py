"""Files written as a whole: a reader sees the old one or the new one, never a part. Torch-free.

A killed writer leaves a temporary file. The next writer in the same folder removes it: the kernel
drops a lock with its process, which tells such a file from one that is being written.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from hevitpose.errors import DataError, HEViTPoseError, UsageError

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file beside ``path`` to write to; it takes its place when the block ends well.

    What writes by name writes to ``file.name``; only through the file itself does a full disk stay
    an ``OSError`` (torch's writer says of it that a position was unexpected).

    Raises:
        HEViTPoseError: it cannot be written (full or read-only disk); what was there stays.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent)
        with temporary(path) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
    except HEViTPoseError:
        raise
    except Exception as error:
        failure = _os_error(error)
        if failure is None:
            raise
        reason = failure.strerror or failure
        raise HEViTPoseError(f"{path}: cannot be written ({reason})") from None


@contextlib.contextmanager
def temporary(path: Path) -> Iterator[BinaryIO]:
    """A locked new file beside ``path``, gone with the block unless it was renamed."""
    while True:
        made = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        file = made.open("xb")
        fcntl.flock(file, fcntl.LOCK_EX)
        if is_at(file.fileno(), made):
            break
        file.close()  # swept between the two lines
    try:
        with file:
            yield file
    finally:
        made.unlink(missing_ok=True)


def sweep(folder: Path) -> list[str]:
    """Remove the temporary files that killed writers left in a folder; give their names."""
    removed = []
    try:
        found = [entry.name for entry in os.scandir(folder) if _TEMPORARY.fullmatch(entry.name)]
    except OSError:  # no such folder: nothing was left in it
        return []
    for name in found:
        try:
            with (folder / name).open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                (folder / name).unlink()
        except OSError:  # locked by its writer, or gone in the meantime
            continue
        removed.append(name)
    return removed


class NotRegularError(ValueError):
    """A file of another kind, or a larger one, than is read; one line without its name."""


def read_regular(path: Path, limit: int, what: str) -> bytes:
    """The bytes of a regular file.

    A pipe, a device or a folder is refused before anything is read, and so is a link to one.

    Args:
        path: the file.
        limit: bytes that it may have.
        what: it is, for messages.

    Raises:
        OSError: it cannot be opened.
        NotRegularError: it is no regular file, or too large.
    """
    # Without O_NONBLOCK opening a pipe waits for its writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        state = os.fstat(descriptor)
        if found := other_kind(state.st_mode):
            raise NotRegularError(f"is {found}, expected {what} as a regular file")
        if state.st_size > limit:
            raise NotRegularError(f"{state.st_size} bytes, expected {what} of at most {limit}")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(state.st_size)
    finally:
        os.close(descriptor)


def content(path: Path, limit: int, what: str) -> bytes:
    """As :func:`read_regular`, for callers without a line of their own.

    Raises:
        DataError: it cannot be opened, is no regular file, or too large.
    """
    try:
        return read_regular(path, limit, what)
    except NotRegularError as error:
        raise DataError(f"{path}: {error}") from None
    except (OSError, ValueError) as error:  # a name with a zero byte
        raise DataError(f"{path}: {_why(error)}, expected {what}") from None


def _why(error: OSError | ValueError) -> str:
    return getattr(error, "strerror", None) or str(error)


#: How texts begin that are not UTF-8: with their mark, or with the zero bytes of "{" and "[".
_ENCODINGS = (
    (b"\xff\xfe\0\0", "UTF-32"), (b"\0\0\xfe\xff", "UTF-32"), (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"), (b"{\0", "UTF-16"), (b"[\0", "UTF-16"), (b"\0{", "UTF-16"),
    (b"\0[", "UTF-16"),
)  # fmt: skip


def text_of(data: bytes) -> str:
    """Bytes in UTF-8, with or without a byte order mark, as text.

    Raises:
        ValueError: they are not; one line that names the encoding where it shows.
    """
    if data.startswith(b"\x1f\x8b"):
        raise ValueError("compressed by gzip, unpack it")
    name = next((name for start, name in _ENCODINGS if data.startswith(start)), None)
    if name is not None:
        raise ValueError(f"text in {name}, expected UTF-8 (save it as such)")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8") from None


def require_regular(path: Path, what: str) -> None:
    """Refuse pipes, devices and folders before they are opened.

    Raises:
        DataError: it is one, or cannot be looked at.
    """
    try:
        found = other_kind(path.stat().st_mode)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {_why(error)}, expected {what}") from None
    if found:
        raise DataError(f"{path}: is {found}, expected {what}")


_KINDS = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))


def is_file(path: Path) -> bool:
    """Whether a regular file is there; a name that no file can have, being too long, is none."""
    return os.path.isfile(path)  # noqa: PTH113 (pathlib's raises at a name of 256 bytes)


def is_dir(path: Path) -> bool:
    """Likewise a folder."""
    return os.path.isdir(path)  # noqa: PTH112


def exists(path: Path) -> bool:
    """Likewise anything."""
    return os.path.exists(path)  # noqa: PTH110


def same(path: Path, other: Path) -> bool:
    """Whether two names are one file, also through links; names without a file are compared."""
    try:
        return path.samefile(other)
    except (OSError, ValueError):
        return os.path.abspath(path) == os.path.abspath(other)  # noqa: PTH100


def require_folder(path: Path, option: str = "") -> None:
    """Refuse an output folder that cannot be made or written, before hours are spent on it.

    Args:
        path: the folder; it need not exist.
        option: of the command, for the message.

    Raises:
        UsageError: it, or what is to hold it, is a file or cannot be written.
    """
    _require_place(path, path, option)


def require_file(path: Path, option: str = "") -> None:
    """Likewise for an output file, which may exist and is replaced.

    Raises:
        UsageError: it is a folder, or its folder cannot be made or written.
    """
    if is_dir(path):
        raise UsageError(f"{option} {path}: is a folder, expected a file to write".lstrip())
    _require_place(path.absolute().parent, path, option)


def _require_place(folder: Path, path: Path, option: str) -> None:
    # lexists: a link to nothing is in the way of a folder.
    above = next(p for p in (folder, *folder.absolute().parents) if os.path.lexists(p))
    if not is_dir(above) or not os.access(above, os.W_OK | os.X_OK):
        raise UsageError(f"{option} {path}: {above} is not a folder that can be written".lstrip())


def other_kind(mode: int) -> str | None:
    """What a file of this ``st_mode`` is in words, unless it is a regular one."""
    if stat.S_ISREG(mode):
        return None
    return next((name for test, name in _KINDS if test(mode)), "a device")


def is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file is the one of this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _os_error(error: BaseException | None) -> OSError | None:
    """The first ``OSError`` among an error and those that it was raised over."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


def write_if_other(path: Path, content: bytes) -> Path:
    """:func:`write_atomically`, unless the file holds just that: then it is left as it is."""
    with contextlib.suppress(OSError):  # absent or unreadable: written
        if path.stat().st_size == len(content) and path.read_bytes() == content:
            return path
    return write_atomically(path, content)


def write_atomically(path: Path, content: str | bytes) -> Path:
    """Replaces a file as a whole; text is written as UTF-8.

    Raises:
        HEViTPoseError: it cannot be written; what was there stays.
    """
    with replacing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)
    return path


def broken_text(value: Any) -> str | None:
    """The first text in plain data that has half of a surrogate pair: no file can hold it."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return value
        return None
    parts: Iterable[Any] = ()
    if isinstance(value, dict):
        parts = (*value, *value.values())
    elif isinstance(value, (list, tuple, set)):
        parts = value
    return next((text for part in parts if (text := broken_text(part)) is not None), None)
