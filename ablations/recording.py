"""A job's outcome as a record."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ablations.plan import Job
from ablations.workers.job import LOG, Result, here, last_lines
from hevitpose import runs
from hevitpose.errors import BusyError, DataError
from hevitpose.isolated import Outcome
from hevitpose.leases import owning
from hevitpose.records import Record, identity

_PASSING = (LOG, "last.ckpt", "best.safetensors")
#: Of files that an owner of the folder removes: temporary ones, leases of the dead.
_SWEPT = (".tmp", ".lease")


def record_of(job: Job, result: Result, folder: Path) -> Record:
    """The record of a success.

    Args:
        job: what was done.
        result: what a worker says of it.
        folder: that it worked in.

    Raises:
        DataError: the data changed meanwhile, or an artifact is gone.
        ValueError: fields that no record can have.
    """
    fields = dict(result["fields"])
    dataset = fields.get("dataset")
    if dataset is not None and dataset["fingerprint"] != job.run.inputs["data"]["fingerprint"]:
        raise DataError(f"the data changed during the run: {dataset['fingerprint']}")
    files = {name: Path(path) for name, path in fields.pop("artifacts", {}).items()}
    fields["artifacts"] = runs.artifacts(files, folder)
    about = job.about() | _circumstances(result)
    if job.kind == "latency" and result["machine"] != job.run.inputs["machine"]:
        # A cluster timed it elsewhere: the record is about that machine.
        measured_on = {"machine": result["machine"], "versions": result["versions"]}
        inputs = job.run.inputs | measured_on
        about |= {"id": identity.digest(inputs), "inputs": inputs}
    return Record.of(about | fields)


def failure_of(job: Job, outcome: Outcome, folder: Path) -> Record:
    """The record of a failure, with the end of the job's log."""
    facts = outcome.result or {
        "started_at": datetime.now(UTC).isoformat(),
        "seconds": 0.0,
        **here(),
    }
    error = f"{outcome.reason}\n{last_lines(folder)}".strip()
    return Record.of(
        job.about() | _circumstances(facts) | {"status": outcome.status, "error": error}
    )


def _circumstances(result: Any) -> dict[str, Any]:
    """Where, when and with which code an outcome came to be."""
    return {key: value for key, value in result.items() if key != "fields"}


def remove_empty(out: Path) -> None:
    """Remove the folders below a run folder in which nothing that ran left a file."""
    for name in ("cells", "evaluate"):
        with suppress(OSError):
            (out / name).rmdir()


def tidy(folder: Path) -> None:
    """Remove what a run needs only while it goes on; what a user's logger wrote stays.

    Not while another process works in the folder.
    """
    if any(path.name in _PASSING or path.suffix in _SWEPT for path in folder.glob("*")):
        with suppress(BusyError), owning(folder):
            for name in _PASSING:
                (folder / name).unlink(missing_ok=True)
