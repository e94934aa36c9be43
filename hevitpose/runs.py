"""A run and its record: train, then write down what came out and where it came from.

``runs/`` holds ``records/`` (one file per record) and ``train/ID/`` (weights, curve, predictions).
"""

from __future__ import annotations

import datetime
import io
import time
from pathlib import Path
from typing import Any

import numpy as np

from hevitpose import identity, machine
from hevitpose.config import Config
from hevitpose.errors import DivergedError, HEViTPoseError
from hevitpose.evaluation import Predictions, pckh_intervals
from hevitpose.files import write_atomically
from hevitpose.progress import Progress, silent
from hevitpose.records import Record, RecordStore
from hevitpose.spec import VARIANTS, full_name
from hevitpose.training import TrainResult, train, world

RUNS = Path("runs")


def store_of(runs: Path) -> RecordStore:
    """The record store of a runs folder."""
    return RecordStore(runs / "records")


def run_folder(runs: Path, run: identity.Run) -> Path:
    """Where a training writes its weights, curve and predictions."""
    return runs / "train" / run.id


def train_and_record(
    config: Config,
    out: Path | None = None,
    *,
    runs: Path = RUNS,
    resume: bool = True,
    progress: Progress = silent,
) -> tuple[TrainResult, Record | None, Path]:
    """Train a config and store its record; a failure is recorded as one.

    Args:
        config: the run.
        out: its folder; ``runs/train/ID`` where none is given.
        runs: the folder that holds the store.
        resume: continue from the folder's last checkpoint.
        progress: told the steps done and the steps there are.

    Returns:
        (result, record, folder); the record is None on every process but the first.

    Raises:
        HEViTPoseError: the training failed; where it had begun, the failure is in the store.
    """
    run = identity.accuracy_run(config)
    folder = out or run_folder(runs, run)
    started, clock = datetime.datetime.now(datetime.UTC), time.perf_counter()
    facts = record_facts(config, run) | {"started_at": started}
    try:
        result = train(config, folder, resume=resume, progress=progress)
    except HEViTPoseError as error:
        if folder.exists() and world()[0] == 0:
            status = "diverged" if isinstance(error, DivergedError) else "failed"
            seconds = time.perf_counter() - clock
            failure = Record.model_validate(
                {**facts, "status": status, "error": str(error), "seconds": seconds}
            )
            store_of(runs).add_failure(failure)
        raise
    if world()[0] != 0:
        return result, None, folder
    fields = accuracy_fields(config, result, folder)
    record = accuracy_record(facts, fields, folder, time.perf_counter() - clock)
    store_of(runs).add(record)
    return result, record, folder


def record_facts(config: Config, run: identity.Run) -> dict[str, Any]:
    """The fields that every record of a config has, whatever came out."""
    name = full_name(config.model.name)  # type: ignore[attr-defined]
    return {
        "id": run.id,
        "kind": run.kind,
        "model": name,
        "variant": name.removeprefix("hevitpose_") if name in VARIANTS else None,
        "cell_id": run.cell_id,
        "config": identity.portable(config.dump()),
        "config_hash": run.config_hash,
        "inputs": run.inputs,
        "seed": config.seed,
        "threads": config.training.threads,
        "precision": config.training.precision,
        "code": machine.code() | {"source_hash": run.source.hash, "sources": run.source.files},
        "machine": machine.machine(),
        "versions": machine.versions(),
    }


def accuracy_fields(config: Config, result: TrainResult, folder: Path) -> dict[str, Any]:
    """What a finished training gives its record; the predictions are written beside the weights.

    Args:
        config: the run.
        result: what the training returned.
        folder: of the run.

    Returns:
        Fields of a record; ``artifacts`` by name as paths.
    """
    predictions = folder / "predictions.npz"
    write_predictions(predictions, result.predictions)
    files = {**result.artifacts, "predictions": predictions}
    return {
        "metrics": result.metrics,
        "intervals": pckh_intervals(result.people, result.predictions, config.seed),
        "train": result.train,
        "curve": result.curve,
        "artifacts": {name: str(path) for name, path in files.items() if path.exists()},
        "dataset": result.dataset,
        "peak_memory": result.peak_memory,
    }


def accuracy_record(
    facts: dict[str, Any], fields: dict[str, Any], folder: Path, seconds: float
) -> Record:
    """The record of a finished training.

    Args:
        facts: of :func:`record_facts`, and ``started_at``.
        fields: of :func:`accuracy_fields`.
        folder: of the run; artifacts are named relative to it.
        seconds: from start to end.
    """
    config = facts["config"]
    artifacts = {
        name: {
            "path": str(Path(path).relative_to(folder)),
            "sha256": identity.file_digest(Path(path)),
        }
        for name, path in fields["artifacts"].items()
    }
    return Record.model_validate(
        {
            **facts,
            **fields,
            "artifacts": artifacts,
            "flip_test": config["codec"]["flip_test"],
            "decoder": config["codec"]["decode"],
            "selection": config["training"]["selection"],
            "seconds": seconds,
        }
    )


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Keypoints and scores of every person as a compressed ``.npz``, in one step."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        index=predictions.index,
        keypoints=predictions.keypoints,
        scores=predictions.scores,
    )
    write_atomically(path, buffer.getvalue())


__all__ = [
    "RUNS",
    "accuracy_fields",
    "accuracy_record",
    "record_facts",
    "run_folder",
    "store_of",
    "train_and_record",
    "write_predictions",
]
