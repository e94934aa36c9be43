"""The seal of rendered people: the sha256 of every file, and whether the files still have it.

``synthetic.sha256`` is what ``sha256sum -c`` takes. It is checked by whoever first reads the
people, and again after a file's size or time of change is another. Sets that were rendered before
there were seals have none, and are taken as they are.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from hevitpose.errors import DataError, HEViTPoseError
from hevitpose.files import NotRegularError, read_regular, write_atomically
from hevitpose.records.identity import file_digest

if TYPE_CHECKING:
    from hevitpose.data.synthetic.formats import Picture

FORMATS = ("coco", "mpii", "crowdpose", "ochuman")
_LIMIT = 2**30  # bytes; a line of 120 for each picture
SEAL = "synthetic.sha256"
#: Remembers sizes and times under which the seal held.
CHECKED = ".synthetic.checked"


def write(root: Path, pictures: Iterable[Picture]) -> None:
    """Seal a finished set; of pictures the bytes that were rendered count, not what is on disk.

    Raises:
        OSError: it cannot be written.
        DataError: an annotation file cannot be read.
    """
    from hevitpose.data.synthetic.formats import folders

    digests = {
        f"{folder}/{picture.file_name}": picture.sha256
        for picture in pictures
        for folder in folders(picture.split)
    }
    for name in FORMATS:
        for path in (root / name / "annotations").iterdir():
            digests[path.relative_to(root).as_posix()] = file_digest(path)
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    (root / SEAL).write_text(lines, encoding="utf-8")


def names(root: Path) -> set[str]:
    """The files that a seal names; none where it cannot be read."""
    try:
        return set(_parse(root, read_regular(root / SEAL, _LIMIT, "a seal")))
    except (OSError, HEViTPoseError, NotRegularError):
        return set()


def check(root: Path) -> None:
    """Refuse a sealed set whose files are not those that were rendered.

    Raises:
        DataError: a file is another one, or is gone; or the seal is damaged.
    """
    try:
        text = read_regular(root / SEAL, _LIMIT, "a seal")
    except FileNotFoundError:
        return
    except NotRegularError as error:
        raise DataError(f"{root / SEAL}: {error}") from None
    except OSError as error:
        raise DataError(f"{root / SEAL}: cannot be read ({error.strerror})") from None
    digests = _parse(root, text)
    state = _state(root, text, digests)
    memory = root / CHECKED
    with contextlib.suppress(OSError):
        if memory.read_bytes() == state:
            return
    known: dict[int, str] = {}  # the formats' pictures are links to one file
    for name, digest in digests.items():
        inode = (root / name).stat().st_ino
        if inode not in known:
            known[inode] = file_digest(root / name)
        if known[inode] != digest:
            raise DataError(
                f"{root / name}: is not the file that was rendered, by {SEAL}; "
                f"remove {root} and render again"
            )
    with contextlib.suppress(HEViTPoseError):  # read-only: it is checked anew each time
        write_atomically(memory, state)


def _parse(root: Path, text: bytes) -> dict[str, str]:
    try:
        lines = [line.split("  ", 1) for line in text.decode().splitlines()]
        return {name: digest for digest, name in lines}
    except ValueError:
        raise DataError(f"{root / SEAL}: damaged, expected lines of sha256 and name") from None


def _state(root: Path, text: bytes, digests: Mapping[str, str]) -> bytes:
    """Hash of the seal, and of the size and time of change of every file that it names."""
    found = hashlib.sha256(text)
    for name in digests:
        try:
            status = os.stat(f"{root}/{name}")  # noqa: PTH116 (ten thousand names)
        except (OSError, ValueError) as error:  # no file can have a name with a zero in it
            why = getattr(error, "strerror", None) or error
            raise DataError(
                f"{root / name}: {why}, expected the file that was rendered; "
                f"remove {root} and render again"
            ) from None
        found.update(f"{status.st_size} {status.st_mtime_ns}\n".encode())
    return found.hexdigest().encode()
