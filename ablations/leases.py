"""Leases: two runners on one store rarely do the same run.

A lease is a file that its runner holds locked and touches regularly. The kernel drops the lock of
a killed runner, so that its lease is free at once on this machine; one of another machine counts
until its heartbeat is old. Leases only save work: that there is at most one record per id is the
store's doing.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import threading
import time
from pathlib import Path

from hevitpose import json_file
from hevitpose.errors import HEViTPoseError

HEARTBEAT_SECONDS = 10.0
EXPIRY_SECONDS = 60.0


class Leases:
    """The leases that this runner holds, kept alive by a thread.

    Args:
        folder: shared by all runners of a store.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._held: dict[str, int] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def acquire(self, name: str) -> bool:
        """Takes the lease; False while another runner has it.

        Raises:
            HEViTPoseError: the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = self._take(self.folder / f"{name}.lease")
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

    def release(self, name: str) -> None:
        """Gives it back."""
        with self._lock:
            descriptor = self._held.pop(name)
        (self.folder / f"{name}.lease").unlink(missing_ok=True)
        os.close(descriptor)

    def close(self) -> None:
        """Gives all back, and removes what dead runners left."""
        self._stopped.set()
        for name in list(self._held):
            self.release(name)
        for path in self.folder.glob("*.lease"):
            descriptor = self._take(path, create=False)
            if descriptor is not None:
                path.unlink(missing_ok=True)
                os.close(descriptor)
        try:
            self.folder.rmdir()
        except OSError:  # somebody else's leases are in it, or it never was
            pass

    def _take(self, path: Path, *, create: bool = True) -> int | None:
        """The locked file, or None where it is somebody's."""
        while True:
            try:
                descriptor = os.open(path, os.O_RDWR | (os.O_CREAT if create else 0), 0o644)
            except FileNotFoundError:
                if not create:
                    return None
                self.folder.mkdir(parents=True, exist_ok=True)  # removed by a runner that ended
                continue
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(descriptor)
                return None
            if not _is_at(descriptor, path):  # released between our opening and our locking
                os.close(descriptor)
                continue
            if self._alive_elsewhere(descriptor):
                os.close(descriptor)
                return None
            owner = {"host": platform.node(), "pid": os.getpid()}
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(owner).encode(), 0)
            return descriptor

    def _alive_elsewhere(self, descriptor: int) -> bool:
        """Whether a runner of another machine, whose lock we might not see, still beats."""
        try:
            owner = json_file.parse(os.pread(descriptor, json_file.LIMITS["lease"], 0))
            if owner["host"] == platform.node():
                return False
        except (ValueError, KeyError, TypeError):
            return False
        return time.time() - os.fstat(descriptor).st_mtime < EXPIRY_SECONDS

    def _beat(self) -> None:
        while not self._stopped.wait(HEARTBEAT_SECONDS):
            with self._lock:
                for descriptor in self._held.values():
                    os.utime(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
