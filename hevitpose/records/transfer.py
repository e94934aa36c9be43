"""Records travel: between machines as one file, and into the committed store by promotion."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from hevitpose import json_file
from hevitpose.errors import DataError, HEViTPoseError
from hevitpose.files import is_dir, write_atomically
from hevitpose.records.schema import SCHEMA_VERSION, Record
from hevitpose.records.store import Problem, RecordStore, one_line, parse_record

_EXPORT_FORMAT = "hevitpose-records"


class ImportReport(NamedTuple):
    """What an import did."""

    added: list[str]  # ids
    present: list[str]  # ids that the store had already, with the same result
    problems: list[Problem]  # what was left out


def contradiction(one: Record, other: Record) -> str | None:
    """Where two records of one id say different things; None where they agree.

    Times, machines and dates may differ.
    """
    for name in ("params", "flops"):
        values = getattr(one, name), getattr(other, name)
        if values[0] != values[1]:
            return f"{name} {values[0]} and {values[1]}"
    for name in sorted(one.metrics.keys() | other.metrics.keys()):
        values = one.metrics.get(name), other.metrics.get(name)
        if values[0] != values[1] or (name in one.metrics) != (name in other.metrics):
            return f"metrics.{name} {values[0]} and {values[1]}"
    return None


def export_records(
    store: RecordStore,
    file: Path | str,
    ids: Sequence[str] | None = None,
    *,
    failures: bool = False,
) -> int:
    """Writes records to one file that another store can import; nothing about them changes.

    Args:
        store: where they are.
        file: JSON lines, a header first; replaced as a whole if it exists.
        ids: ids or their beginnings; all when None.
        failures: also failed attempts (of the selected, or of all).

    Returns:
        How many; what cannot be read is left out, and in the store's ``problems``.

    Raises:
        UsageError: an unknown id.
        HEViTPoseError: the file cannot be written.
    """
    if ids is None:
        records = store.load(failures=failures)
    else:
        store.problems = []
        records = [store.find(prefix) for prefix in ids]
        if failures:
            records = list(store.iter(ids={record.id for record in records}))
    header = {
        "format": _EXPORT_FORMAT,
        "schema_version": SCHEMA_VERSION,
        "records": len(records),
        "exported_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    lines = [json.dumps(header)]
    lines += [
        json.dumps(record.to_dict(), allow_nan=False, ensure_ascii=False) for record in records
    ]
    write_atomically(Path(file), "\n".join(lines) + "\n")
    return len(records)


def import_records(store: RecordStore, file: Path | str) -> ImportReport:
    """Import what :func:`export_records` wrote; each record keeps its provenance.

    Importing twice changes nothing, and what is there already stays: another result of the same id
    is a problem. A folder is taken too: a store, or one that holds ``records``.

    Raises:
        DataError: the file is absent, not an export, or was cut short.
        HEViTPoseError: the store cannot be written.
    """
    path = Path(file)
    report = ImportReport([], [], [])
    if is_dir(path):
        folder = path / "records"
        found = RecordStore(folder if is_dir(folder) else path)
        for record in found.load(failures=True):
            _take_over(store, record, report, f"{record.id}.json")
        report.problems.extend(found.problems)
        return report
    try:
        text = json_file.decoded(json_file.read_regular(path, "export"))
        lines = text.removesuffix("\n").split("\n")  # not at U+2028, which a text may hold
        header = json_file.parse(lines[0])
        if header["format"] != _EXPORT_FORMAT:
            raise ValueError
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, IndexError, TypeError):
        raise DataError(f"{path}: not a file that `hevitpose records export` wrote") from None
    if header.get("records") != len(lines) - 1:
        raise DataError(
            f"{path}: holds {len(lines) - 1} records, its first line says {header.get('records')}"
        )
    for number, line in enumerate(lines[1:], start=2):
        try:
            record = parse_record(line)
        except ValueError as error:
            report.problems.append(Problem(f"{path.name}:{number}", one_line(error)))
            continue
        _take_over(store, record, report, f"{path.name}:{number}")
    return report


def _take_over(store: RecordStore, record: Record, report: ImportReport, source: str) -> None:
    """Adds a record, a failure too; ``source`` says where it was read."""
    if record.status == "ok":
        _add(store, record, report, source)
        return
    new = record not in store.failures(record.id)
    if new:
        store.add_failure(record)
    (report.added if new else report.present).append(record.id)


def _add(store: RecordStore, record: Record, report: ImportReport, source: str) -> None:
    if store.add(record):
        report.added.append(record.id)
        return
    try:
        kept = store.get(record.id)
    except DataError as error:
        report.problems.append(Problem(source, f"not added, what is there is no record: {error}"))
        return
    found = contradiction(kept, record) if kept is not None else None
    if found is None:
        report.present.append(record.id)
    else:
        said = f"not added, {store.root} has another result of {record.id}: {found}"
        report.problems.append(Problem(source, said))


def promote(store: RecordStore, ids: Iterable[str], target: RecordStore) -> ImportReport:
    """Copies chosen records, unchanged, to the store that is committed (``results/measured``).

    Raises:
        UsageError: an unknown id.
        HEViTPoseError: a record failed, was trained on the split that it is scored on, or names an
            absolute path of the machine it was made on.
    """
    records = [store.find(prefix) for prefix in ids]
    for record in records:
        if record.status != "ok":
            raise HEViTPoseError(f"record {record.id}: status {record.status!r}, expected ok")
        data = record.config.get("data") or {}
        trained = record.kind in ("training", "evaluation") and "train_split" in data
        scored = data.get("val_split")
        if trained and (data["train_split"], scored) in {(scored, scored), ("trainval", "val")}:
            raise HEViTPoseError(
                f"record {record.id}: trained on {data['train_split']} and scored on {scored} (an "
                "overfit proof, say), expected a result"
            )
        named = {key: record.to_dict()[key] for key in ("config", "artifacts")}
        for key, value in _absolute_paths(named):
            raise HEViTPoseError(
                f"record {record.id}: {key} is {value!r}, expected no absolute path"
            )
    report = ImportReport([], [], [])
    for record in records:
        _add(target, record, report, f"{record.id}.json")
    return report


def _absolute_paths(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _absolute_paths(item, f"{key}.{name}" if key else str(name))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _absolute_paths(item, key)
    elif isinstance(value, (str, Path)) and Path(value).is_absolute():
        yield key, str(value)
