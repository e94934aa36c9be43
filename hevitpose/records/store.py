"""The store: a folder with one file per record, named by its id.

Only success is ``ID.json``, and it is created exclusively: however many runners share a store,
there is at most one. Failures are ``ID.N.failed.json``. A file is written beside its final name,
flushed, and then linked to it, so that it is there completely or not at all; a process that is
killed in between leaves a dot-file which the next writer removes (:func:`hevitpose.files.sweep`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from hevitpose import files, json_file
from hevitpose.errors import DataError, HEViTPoseError, UsageError, first_line, on_one_line
from hevitpose.records.identity import digest, digest_of_json
from hevitpose.records.migrations import NewerSchemaError, migrate
from hevitpose.records.schema import ID_PATTERN, SCHEMA_VERSION, Record
from hevitpose.records.shape import misshapen

_FILE = re.compile(rf"({ID_PATTERN})(?:\.([1-9][0-9]*)\.failed)?\.json")


class Problem(NamedTuple):
    """A file (or line) that is not a usable record, and why."""

    file: str
    reason: str

    def __str__(self) -> str:
        return on_one_line(f"{self.file}: {self.reason}")


def parse_record(text: str | bytes) -> Record:
    """One record of any known schema version from its JSON.

    Raises:
        NewerSchemaError: written by a newer release.
        ValueError: not a record; the message is one line.
    """
    data = json_file.at_first_sight(text) if isinstance(text, bytes) else json_file.UNSURE
    finite = data is not json_file.UNSURE
    if not finite:  # or not known to be
        data = json_file.parse(text, literals=True)
    if not isinstance(data, dict):
        raise ValueError("expected a JSON object")
    try:
        record = Record.of(migrate(data), from_json=finite)
    except UsageError as error:  # a key under its old and its new name
        raise ValueError(str(error)) from None
    except (KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"not a record of its schema version ({error!r})") from None
    if (wrong := misshapen(record)) is not None:
        raise ValueError(wrong)
    of_inputs = digest_of_json if finite else digest
    if record.inputs and (found := of_inputs(record.inputs)) != record.id:
        raise ValueError(f"id {record.id} is not the hash of its inputs ({found})")
    return record


class RecordStore:
    """Records under one folder.

    Args:
        root: the folder; made when the first record is written.

    Attributes:
        problems: files that the last :meth:`load` or :meth:`iter` could not use.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        self.problems: list[Problem] = []
        self._writable: bool | None = None  # not known before the first look

    # Reading -------------------------------------------------------------------------------

    def load(self, *, failures: bool = True) -> list[Record]:
        """Every usable record, in the order of file names; see :attr:`problems` for the rest.

        Args:
            failures: also the records of failed attempts.
        """
        return list(self.iter(failures=failures))

    def iter(
        self,
        *,
        failures: bool = True,
        ids: Collection[str] | None = None,
        naming: str | None = None,
    ) -> Iterator[Record]:
        """Like :meth:`load`, one at a time.

        Args:
            failures: also the records of failed attempts.
            ids: only these; other files are not opened.
            naming: only those with this text, say a sha256, somewhere; others are not parsed.
        """
        self.problems = []
        newer = False
        for path in self._files():
            match = _FILE.fullmatch(path.name)
            if match and match[2] and not failures:
                continue
            if ids is not None and (not match or match[1] not in ids):
                continue
            try:
                if not match:
                    raise ValueError("foreign file: its name is not that of a record")
                if naming is None or naming.encode() in json_file.read_regular(path, "record"):
                    yield self._read(path, match)
            except NewerSchemaError as error:
                newer = True
                self.problems.append(Problem(path.name, str(error)))
            except (ValueError, OSError) as error:
                self.problems.append(Problem(path.name, one_line(error)))
        if ids is None and naming is None:
            self._writable = not newer

    def get(self, record_id: str) -> Record | None:
        """The successful record of this id, or None.

        Raises:
            DataError: there is a file of this name, but it is not that record.
        """
        path = self.root / f"{record_id}.json"
        try:
            return self._read(path, _FILE.fullmatch(path.name))
        except FileNotFoundError:
            return None
        except (ValueError, OSError) as error:
            raise DataError(f"{path}: {one_line(error)}") from None

    def __contains__(self, record_id: str) -> bool:
        return (self.root / f"{record_id}.json").exists()

    def failures(self, record_id: str) -> list[Record]:
        """Earlier failed attempts, oldest first; unreadable ones are left out."""
        found: list[tuple[int, Record]] = []
        for path in self.root.glob(f"{record_id}.*.failed.json"):
            match = _FILE.fullmatch(path.name)
            try:
                if match:
                    found.append((int(match[2]), self._read(path, match)))
            except (ValueError, OSError):
                continue  # load() names it
        return [record for _, record in sorted(found, key=lambda item: item[0])]

    def find(self, prefix: str) -> Record:
        """The record whose id starts with this; of a run that never succeeded, its last failure.

        Raises:
            UsageError: no record, or more than one id, starts with it.
        """
        return find([self], prefix)

    def ids(self) -> set[str]:
        """Of all records, failures among them; whether they can be read or not."""
        return {match[1] for path in self._files() if (match := _FILE.fullmatch(path.name))}

    def _files(self) -> list[Path]:
        try:
            names = sorted(os.listdir(self.root))  # noqa: PTH208 (sorting ten thousand paths is slow)
            return [
                self.root / name
                for name in names
                if name.endswith(".json") and not name.startswith(".")
            ]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise HEViTPoseError(f"{self.root}: cannot be read as a store ({error})") from None

    def _read(self, path: Path, match: re.Match[str] | None) -> Record:
        record = parse_record(json_file.read_regular(path, "record"))
        if match is None or record.id != match[1]:
            raise ValueError(f"holds the record {record.id}, not the one of its name")
        if (record.status == "ok") == bool(match[2]):
            raise ValueError(f"status {record.status!r} does not belong under this file name")
        return record

    # Writing -------------------------------------------------------------------------------

    def add(self, record: Record) -> bool:
        """Stores a success; at most one per id, whoever else is writing.

        Returns:
            False if the store had this id already: then nothing is changed.

        Raises:
            HEViTPoseError: the record failed, the disk is full or read-only, or the store holds
                records of a newer release. Nothing is left half-written.
        """
        if record.status != "ok":
            raise HEViTPoseError(f"record {record.id}: status {record.status!r} is not a success")
        return self._write(record, lambda _: f"{record.id}.json") == 1

    def add_failure(self, record: Record) -> Path:
        """Stores a failed attempt under the next free number.

        Returns:
            Its file, ``ID.N.failed.json``.

        Raises:
            HEViTPoseError: as :meth:`add`; also for a record that did not fail.
        """
        if record.status == "ok":
            raise HEViTPoseError(f"record {record.id}: status 'ok' is not a failure")
        number = self._write(record, lambda n: f"{record.id}.{n}.failed.json", several=True)
        return self.root / f"{record.id}.{number}.failed.json"

    def check_writable(self) -> None:
        """Refuses a store that holds records of a newer release: it is read-only here.

        Raises:
            HEViTPoseError: it does.
        """
        if self._writable is None:
            kept = self.problems
            for _ in self.iter():
                pass
            self.problems = kept
        if not self._writable:
            raise HEViTPoseError(
                f"{self.root}: holds records of a newer schema than {SCHEMA_VERSION}; it can be "
                "read but not written by this release (update, or write to another folder)"
            )

    def sweep(self) -> list[str]:
        """Removes what killed writers left; files that are being written are left alone."""
        return files.sweep(self.root)

    def _write(self, record: Record, name: Callable[[int], str], *, several: bool = False) -> int:
        """Links the record's text to the first free ``name(n)``; 0 where the only one is taken."""
        self.check_writable()
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self.sweep()
            with files.temporary(self.root / record.id) as file:
                file.write(record.to_json().encode())
                file.flush()
                os.fsync(file.fileno())
                number = 1
                while True:
                    try:
                        os.link(file.name, self.root / name(number))
                        break
                    except FileExistsError:
                        if not several:
                            return 0
                        number += 1
            _sync_folder(self.root)
        except OSError as error:
            raise HEViTPoseError(
                f"{self.root}: cannot write record {record.id} ({error.strerror or error})"
            ) from None
        return number


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def whole_id(prefix: str, ids: Iterable[str], absent: str) -> str:
    """The one id that starts with this.

    Args:
        prefix: an id or its beginning, as a user gave it.
        ids: those that there are.
        absent: the beginning of the message where there is none.

    Raises:
        UsageError: no id, more than one, or not 1 to 20 hexadecimal digits.
    """
    if not re.fullmatch(r"[0-9a-f]{1,20}", prefix):
        raise UsageError(f"record id {prefix!r}: expected 1 to 20 hexadecimal digits")
    found = sorted({each for each in ids if each.startswith(prefix)})
    if not found:
        raise UsageError(f"{absent} whose id starts with {prefix!r}")
    if len(found) > 1:
        raise UsageError(f"record id {prefix!r} is ambiguous: {', '.join(found)}")
    return found[0]


def find(stores: Sequence[RecordStore], prefix: str) -> Record:
    """The record whose id starts with this, of the first store that has the id.

    Raises:
        UsageError: no record, or more than one id of all stores, starts with it.
        DataError: it cannot be read.
    """
    ids = {store: store.ids() for store in stores}
    where = ", ".join(str(store.root) for store in stores)
    found = whole_id(prefix, set().union(*ids.values()), f"{where}: no record")
    store = next(store for store in stores if found in ids[store])
    record = store.get(found) or next(reversed(store.failures(found)), None)
    if record is None:
        raise DataError(f"{store.root}: the failure records of {found} cannot be read")
    return record


def one_line(error: Exception) -> str:
    """The first line of an error."""
    return first_line(str(error), repr(error))
