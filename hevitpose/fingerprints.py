"""Fingerprints of large data, kept between commands: COCO is not read again to find it unchanged.

A fingerprint is kept with the state of every folder that it was read from (names, sizes and times
of change of all files), and counts while that state is the same. The time of change (ctime) cannot
be set by copying or touching a file. What was changed within seconds of being read is not kept, nor
what is read in no time. Whatever is wrong with a kept file, the data are read again.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from hevitpose.errors import HEViTPoseError
from hevitpose.files import write_atomically

#: What is read sooner is not kept.
MIN_SECONDS = 1.0
#: Files that changed this shortly before they were read may change again within one tick.
SETTLED_SECONDS = 10.0


def remembered(key: str, look: Callable[[], tuple[str, Iterable[Path]]]) -> str:
    """The fingerprint of a key: kept from before, or looked for.

    Args:
        key: a hash of everything but the files that decides the fingerprint, the code included.
        look: reads the data; gives the fingerprint and the folders that hold all it depends on.

    Raises:
        HEViTPoseError: what ``look`` raises.
    """
    path = folder() / f"{key}.json"
    with suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(path.read_text(encoding="utf-8"))
        if state(map(Path, kept["folders"]))[0] == kept["state"]:
            return str(kept["fingerprint"])
    began, clock = time.time(), time.monotonic()
    fingerprint, found = look()
    if time.monotonic() - clock < MIN_SECONDS:
        return fingerprint
    folders = sorted({each.resolve() for each in found})
    with suppress(OSError, HEViTPoseError):  # a read-only home only costs the next look its time
        now, changed = state(folders)
        if changed < began - SETTLED_SECONDS:
            entry = {
                "fingerprint": fingerprint,
                "state": now,
                "folders": [str(each) for each in folders],
            }
            write_atomically(path, json.dumps(entry, indent=1) + "\n")
    return fingerprint


def state(folders: Iterable[Path]) -> tuple[str, float]:
    """A hash of the names, sizes and times of all files of some folders, and the latest change.

    Raises:
        OSError: a folder cannot be listed.
    """
    digest, latest = hashlib.sha256(), 0
    for each in folders:
        with os.scandir(each) as entries:
            stats = sorted((entry.name, entry.stat()) for entry in entries if entry.is_file())
        for name, stat in stats:
            latest = max(latest, stat.st_ctime_ns, stat.st_mtime_ns)
            line = f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\0{stat.st_ctime_ns}\n"
            digest.update(line.encode(errors="surrogateescape"))
        digest.update(b"\0\n")
    return digest.hexdigest(), latest / 1e9


def folder() -> Path:
    """Where fingerprints are kept: ``$XDG_CACHE_HOME`` or ``~/.cache``, below ``hevitpose``."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "hevitpose" / "fingerprints"
