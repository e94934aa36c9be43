"""How long 10,000 records take from files to tables, and how much memory.

    python bench/records.py
    python bench/records.py --records 2000

The records are the committed ones, again with other seeds until there are enough: each has an id of
its own, of its own inputs. A fresh process loads them and makes every table in every format.
Processor seconds, so that a busy machine counts less.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.command import Parser, whole
from hevitpose.errors import UsageError
from hevitpose.program import exit_code
from hevitpose.records import digest

MEASURED = Path(__file__).resolve().parent.parent / "results" / "measured"


def more_seeds(records: Sequence[dict[str, Any]], turn: int) -> Iterator[dict[str, Any]]:
    """Copies of trainings and of their evaluations with seeds that no other turn has."""
    ids: dict[str, str] = {}
    for record in sorted(records, key=lambda record: record["kind"] != "training"):
        if record["kind"] not in ("training", "evaluation") or record["status"] != "ok":
            continue
        copy = json.loads(json.dumps(record))
        copy["seed"] = copy["config"]["seed"] = 10_000 * turn + (record["seed"] or 0)
        copy["inputs"]["copy"] = turn
        if record["kind"] == "evaluation" and record["training"] in ids:
            copy["training"] = copy["inputs"]["weights"] = ids[record["training"]]
        copy["id"] = ids[record["id"]] = digest(copy["inputs"])
        yield copy


def write_store(folder: Path, count: int) -> None:
    """So many records, as files."""
    own = [json.loads(path.read_text(encoding="utf-8")) for path in MEASURED.glob("*.json")]
    own = [record for record in own if record["status"] == "ok"]
    if not own:
        raise UsageError(f"{MEASURED}: no records, expected the committed ones")
    turn, found = 1, own[:count]
    while len(found) < count:
        found += list(more_seeds(own, turn))[: count - len(found)]
        turn += 1
    for record in found:
        lines = (f" {json.dumps(key)}: {json.dumps(value)}" for key, value in record.items())
        text = "{\n" + ",\n".join(lines) + "\n}\n"
        (folder / f"{record['id']}.json").write_text(text, encoding="utf-8")


def measure(folder: Path) -> None:
    """Load and tabulate in this process, from before the first import."""
    from reports.build import make

    imported = time.process_time()
    book = make([folder])
    texts = book.texts()
    used, memory = time.process_time(), _peak_kib()
    records = len(book.measured.records) + len(book.measured.under)
    print(
        f"{records:,} records to {len(texts)} files of tables: {used:.2f} s of the processor "
        f"({imported:.2f} s of imports), {memory / 1024:.0f} MiB at most"
    )
    for problem in book.measured.problems[:5]:
        print(f"left out: {problem}")


def _peak_kib() -> int:
    """Most memory of this process; what ``getrusage`` says is also of the one that started it."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0])


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line.

    Raises:
        UsageError: a value that cannot be read, or fewer than one record.
    """
    parser = Parser("bench/records.py", __doc__)
    parser.add_argument("--records", type=whole(), default=10_000, help="how many (10000)")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _run(options: argparse.Namespace) -> int:
    if options.measure is not None:
        measure(options.measure)
        return 0
    with tempfile.TemporaryDirectory(prefix="hevitpose-records-") as folder:
        write_store(Path(folder), options.records)
        command = [sys.executable, __file__, "--measure", folder]
        alike = {"OPENBLAS_NUM_THREADS": "1", **os.environ}  # what ``python -m reports`` sets
        return subprocess.run(command, check=False, env=alike).returncode


def main(arguments: Sequence[str] | None = None) -> int:
    """0; 2 for a wrong request."""
    return exit_code(lambda: _run(parse(arguments)))


if __name__ == "__main__":
    sys.exit(main())
