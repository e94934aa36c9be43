"""Leases: one process at a time does a run, or works in a folder.

A lease is a file that its holder keeps locked and touches regularly. The kernel drops the lock of
a killed holder, so that its lease is free at once on this machine; one of another machine counts
until its heartbeat is old. Torch-free.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from hevitpose import files, json_file
from hevitpose.errors import BusyError, HEViTPoseError, on_one_line

HEARTBEAT_SECONDS = 10.0
EXPIRY_SECONDS = 60.0
#: A killed process may take a moment to be gone, and its lock with it.
_PATIENCE_SECONDS = 3.0
#: The lease of whoever works in a folder.
OWNER = "owner"


class Leases:
    """The leases that this process holds, kept alive by a thread.

    Args:
        folder: shared by all who might want one of them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._held: dict[str, int] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._unchanged: dict[Path, tuple[float, float]] = {}  # heartbeat, seen since

    def acquire(self, name: str) -> bool:
        """Takes the lease; False while another process has it.

        Raises:
            HEViTPoseError: the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = self._take(self._path(name))
        except OSError as error:
            raise HEViTPoseError(f"{self.folder}: cannot lease ({error.strerror})") from None
        if descriptor is None:
            return False
        with self._lock:
            self._held[name] = descriptor
        if self._thread is None:
            self._thread = threading.Thread(target=self._beat, daemon=True)
            self._thread.start()
        return True

    def holder(self, name: str) -> str:
        """Who has a lease, and since when, as far as its file says it."""
        try:
            owner = json_file.parse(json_file.read_regular(self._path(name), "lease"))
            return on_one_line(f"process {owner['pid']} on {owner['host']} since {owner['since']}")
        except (OSError, ValueError, KeyError, TypeError):
            return "another process"

    def release(self, name: str) -> None:
        """Gives it back."""
        with self._lock:
            descriptor = self._held.pop(name)
        self._path(name).unlink(missing_ok=True)
        # Not only closed: children that were forked meanwhile share the lock.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)

    def close(self) -> None:
        """Gives all back, and removes what dead processes left."""
        self._stopped.set()
        for name in list(self._held):
            self.release(name)
        for path in self.folder.glob("*.lease"):
            with contextlib.suppress(OSError):  # nothing that we would write
                descriptor = self._take(path, create=False)
                if descriptor is not None:
                    path.unlink(missing_ok=True)
                    os.close(descriptor)
        with contextlib.suppress(OSError):  # somebody else's files are in it, or it never was
            self.folder.rmdir()

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.lease"

    def _take(self, path: Path, *, create: bool = True) -> int | None:
        """The locked file, or None where it is somebody's."""
        flags = os.O_RDWR | os.O_NONBLOCK | (os.O_CREAT if create else 0)
        while True:
            try:
                descriptor = os.open(path, flags, 0o644)
            except FileNotFoundError:
                if not create:
                    return None
                self.folder.mkdir(parents=True, exist_ok=True)  # removed by one that ended
                continue
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(descriptor)
                return None
            if not files.is_at(descriptor, path):  # released between our opening and our locking
                os.close(descriptor)
                continue
            if self._alive_elsewhere(descriptor, path):
                os.close(descriptor)
                return None
            since = datetime.now(UTC).isoformat(timespec="seconds")
            owner = {"host": platform.node(), "pid": os.getpid(), "since": since}
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(owner).encode(), 0)
            return descriptor

    def _alive_elsewhere(self, descriptor: int, path: Path) -> bool:
        """Whether a holder on another machine, whose lock we might not see, still beats."""
        try:
            owner = json_file.parse(os.pread(descriptor, json_file.LIMITS["lease"], 0))
            if owner["host"] == platform.node():
                return False
        except (ValueError, KeyError, TypeError):
            return False
        state = os.fstat(descriptor)
        # A holder may set any time, and clocks differ: what the file system wrote down for the
        # change, and how long we ourselves have seen none, bound a heartbeat from the future.
        beat = min(state.st_mtime, state.st_ctime)
        before, seen = self._unchanged.get(path, (None, 0.0))
        if before != beat:
            seen = time.monotonic()
            self._unchanged[path] = beat, seen
        return max(time.time() - beat, time.monotonic() - seen) < EXPIRY_SECONDS

    def _beat(self) -> None:
        while not self._stopped.wait(HEARTBEAT_SECONDS):
            with self._lock:
                for descriptor in self._held.values():
                    os.utime(descriptor)


_owned: set[tuple[int, Path]] = set()  # by this process, not by one that it was forked from


@contextlib.contextmanager
def owning(folder: Path) -> Iterator[None]:
    """Work in a folder alone. Within the block this process may own it again.

    The folder is made if need be, and removed at the end if it is empty then. Temporary files that
    a killed owner left are removed.

    Raises:
        BusyError: another process is using it; the message says which.
        HEViTPoseError: it cannot be written.
    """
    folder = folder.resolve()
    mine = os.getpid(), folder
    if mine in _owned:
        yield
        return
    leases, begin = Leases(folder), time.monotonic()
    while not leases.acquire(OWNER):
        if time.monotonic() - begin > _PATIENCE_SECONDS:
            raise BusyError(
                f"{folder}: {leases.holder(OWNER)} is using it; wait until it finishes, "
                "or give another folder"
            )
        time.sleep(0.05)
    _owned.add(mine)
    try:
        files.sweep(folder)
        yield
    finally:
        _owned.discard(mine)
        leases.close()


def is_untouched(folder: Path) -> bool:
    """Whether nothing is in a folder, or is not there, but for its owner's lease."""
    try:
        return all(path.name == f"{OWNER}.lease" for path in folder.iterdir())
    except FileNotFoundError:
        return True
