"""Train and evaluate a config, each once, and write down what came out."""

from __future__ import annotations

import datetime
import io
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hevitpose.config.load import start_config
from hevitpose.config.schema import Config
from hevitpose.errors import DataError, DivergedError, HEViTPoseError, UsageError
from hevitpose.files import write_atomically
from hevitpose.leases import is_untouched, owning
from hevitpose.models.spec import WEIGHTS
from hevitpose.progress import Progress, silent
from hevitpose.records import Record, RecordStore, Run
from hevitpose.records.identity import file_digest
from hevitpose.runs.facts import as_trained, record_facts
from hevitpose.runs.folders import (
    RUNS,
    evaluation_folder,
    measured,
    store_of,
    training_by_weights,
    training_folder,
)
from hevitpose.runs.look import look_first
from hevitpose.runs.plan import evaluation_run, start_of, training_run
from hevitpose.runs.weights import holds, network_of, recorded_weights, runtime_inputs

if TYPE_CHECKING:
    from hevitpose.evaluation.score import Predictions
    from hevitpose.training.fit import EvaluationResult, TrainResult


@dataclass(frozen=True)
class Finished:
    """What a training and its evaluation left."""

    training: Record
    evaluation: Record
    weights: Path
    trained: bool  # False: it was recorded and its weights were there
    evaluated: bool


def train_and_record(
    config: Config,
    out: Path | None = None,
    *,
    runs: Path = RUNS,
    resume: bool = True,
    progress: Progress = silent,
) -> Finished | None:
    """Train a config and evaluate it, each unless that is recorded; a failure is recorded as one.

    Args:
        config: the run.
        out: the training's folder; ``runs/train/ID`` where none is given.
        runs: the folder that holds the store.
        resume: continue from the folder's last checkpoint, or leave a finished run as it is.
        progress: told the steps done and the steps there are.

    Returns:
        None on every process but the first.

    Raises:
        HEViTPoseError: it failed; where it had begun, the failure is in the store. Or another
            process works in the folder.
    """
    from hevitpose.data.apart import require_two_files
    from hevitpose.data.unseen import require_scorable
    from hevitpose.training.outputs import require_apart
    from hevitpose.training.processes import is_first_process

    require_scorable(config)
    require_two_files(config)
    run = training_run(config)
    folder = out or training_folder(runs, run.id)
    whose = start_of(config)
    start = None if whose is None else training_folder(runs, whose) / WEIGHTS
    require_apart(with_start(config, start), folder)
    weights, store = folder / WEIGHTS, store_of(runs)
    record, started = store.get(run.id), config
    if not (resume and record is not None and holds(weights, record)):
        if is_first_process(config):
            missing = whose is not None and recorded_weights(runs, whose, [store]) is None
            look_first(config, folder if resume else None, after_another=missing)
        started = with_start(config, _start_weights(config, runs, resume, progress))
    # Until its weights are evaluated, lest they are another's by then.
    with owning(folder) if is_first_process(config) else nullcontext():
        record = store.get(run.id)
        done = resume and record is not None and holds(weights, record)
        if not done:
            record = _recorded(
                *(config, run, store, folder),
                lambda: train_fields(started, folder, resume, progress),
                {},
            )
        if not is_first_process(config):
            return None
        assert record is not None
        found = evaluate_and_record(config, weights, runs=runs, training=run.id, progress=progress)
        assert found is not None
        return Finished(record, found[0], weights, not done, found[1])


def _start_weights(config: Config, runs: Path, resume: bool, progress: Progress) -> Path | None:
    """The weights of the training that a config starts from, which is run first if it must be.

    Raises:
        UsageError: its weights are not there, and cannot be made here.
    """
    from hevitpose.training.processes import process_count

    whose = start_of(config)
    if whose is None:
        return None
    found = recorded_weights(runs, whose, [store_of(runs)])
    if found is not None:
        return found
    start = start_config(config)
    if start is None or process_count() != 1:
        first = "by one process, first"
        if start is None:
            first = "hevitpose train of that config makes them, or give the file that has them"
        raise UsageError(
            f"training.start_from: {config.training.start_from}: no weights of training {whose} "
            f"in {training_folder(runs, whose)}; {first}"
        )
    made = train_and_record(start, runs=runs, resume=resume, progress=progress)
    assert made is not None  # one process
    return made.weights


def with_start(config: Config, weights: Path | None) -> Config:
    """A config as it is trained: what it starts from is a file."""
    if weights is None:
        return config
    return config.with_overrides({"training.start_from": str(weights)})


def evaluate_and_record(
    config: Config,
    weights: Path,
    *,
    runs: Path = RUNS,
    training: str | None = None,
    progress: Progress = silent,
    again: bool = False,
    runtime: str = "torch",
) -> tuple[Record, bool] | None:
    """Evaluate weights under a config's condition, unless that is recorded.

    Args:
        config: the condition.
        weights: the file.
        runs: the folder that holds the store.
        training: the id of the training they come from, the config's own; None: looked for by
            their sha256.
        progress: told the batches done and the batches there are.
        again: also where it is recorded; the record stays as it is.
        runtime: of an exported file; weights run in torch.

    Returns:
        The record, and whether it was made now; None on every process but the first.

    Raises:
        HEViTPoseError: the weights do not fit, the data are bad, the store cannot be written.
    """
    store = store_of(runs)
    run = _evaluation_of(config, weights, store, training, runtime)
    known = store.get(run.id)
    if known is not None and not again:
        return known, False
    config = config.with_overrides({"model.checkpoint": str(weights)})
    folder, alone, told = evaluation_folder(runs, run.id), config, {}
    if training is not None:  # the other processes that trained have ended
        alone = config.with_overrides({"devices": 1, "nodes": 1})
    else:
        whose = run.inputs["weights"]
        known_as = next((r for each in (store, measured()) if (r := each.get(whose))), None)
        told = as_trained(config, weights, known_as)
        alone = config.with_overrides({"seed": told["seed"] or 0})  # of the resampling
    record = _recorded(
        *(config, run, store, folder),
        lambda: evaluation_fields(alone, folder, progress, runtime),
        told,
    )
    return None if record is None else (known or record, known is None)


def is_evaluated(config: Config, *, runtime: str = "torch") -> bool:
    """Whether the evaluation of a config's weights is recorded; nothing need be there but them."""
    store, weights = store_of(RUNS), config.model.checkpoint  # type: ignore[attr-defined]
    return store.get(_evaluation_of(config, weights, store, None, runtime).id) is not None


def _evaluation_of(
    config: Config, weights: Path, store: RecordStore, training: str | None, runtime: str
) -> Run:
    if training is None:
        sha256 = file_digest(weights)
        record = training_by_weights(sha256, [store, measured()])
        whose = f"sha256:{sha256}" if record is None else record.id
        network = network_of(weights) if record is None else record.inputs["model"]
    else:
        whose, network = training, None
    return evaluation_run(config, whose, runtime=runtime_inputs(weights, runtime), trained=network)


def _recorded(
    config: Config,
    run: Run,
    store: RecordStore,
    folder: Path,
    measure: Any,
    told: Mapping[str, Any],
) -> Record | None:
    """Measure, and store what came out or why nothing did.

    Args:
        config: of the run.
        run: what is recorded.
        store: where.
        folder: of the files that it leaves.
        measure: gives the fields that come out.
        told: fields that are not what the config says.
    """
    from hevitpose.training.processes import is_first_process

    started, clock = datetime.datetime.now(datetime.UTC), time.perf_counter()
    facts = record_facts(config, run) | {"started_at": started, **told}
    try:
        fields = measure()
    except HEViTPoseError as error:
        if not is_untouched(folder) and is_first_process(config):
            status = "diverged" if isinstance(error, DivergedError) else "failed"
            seconds = time.perf_counter() - clock
            store.add_failure(
                Record.of({**facts, "status": status, "error": str(error), "seconds": seconds})
            )
        raise
    if fields is None:
        return None
    fields["artifacts"] = artifacts(fields["artifacts"], folder)
    seconds = time.perf_counter() - clock
    record = Record.of({**facts, **fields, "seconds": seconds})
    add(store, record, folder)
    return record


def add(store: RecordStore, record: Record, folder: Path) -> bool:
    """Store a success; a training that ran again must have left the weights that are recorded.

    Args:
        store: where.
        record: of the success.
        folder: that it left its files in.

    Returns:
        False if the store had the record already: then nothing is changed.

    Raises:
        DataError: it had, and this time the weights are others. (GPU trainings are not repeatable
            to the bit: of those, an evaluation's record says which weights it scored.)
        HEViTPoseError: the store cannot be written.
    """
    if store.add(record):
        return True
    kept = store.get(record.id)
    if kept is not None and record.kind == "training" and record.inputs["device"] == "cpu":
        if kept.weights != record.weights:
            raise DataError(
                f"{folder / WEIGHTS}: sha256 {record.weights}, record {record.id} says "
                f"{kept.weights}: of another machine (give another --out), or files of this folder "
                "are damaged (remove it to train again; hevitpose train: --no-resume)"
            )
    return False


def train_fields(
    config: Config, folder: Path, resume: bool, progress: Progress
) -> dict[str, Any] | None:
    """Train; what a finished training gives its record, with ``artifacts`` by name as paths.

    None on every process but the first.
    """
    from hevitpose.training.fit import train
    from hevitpose.training.processes import is_first_process

    result: TrainResult = train(config, folder, resume=resume, progress=progress)
    if not is_first_process(config):
        return None
    return {
        "weights": file_digest(result.artifacts["model"]),
        "train": result.train,
        "curve": result.curve,
        "artifacts": result.artifacts,
        "dataset": result.dataset,
        "peak_memory": result.peak_memory,
    }


def evaluation_fields(
    config: Config, folder: Path, progress: Progress, runtime: str = "torch"
) -> dict[str, Any] | None:
    """Evaluate ``model.checkpoint``; what that gives its record.

    None on every process but the first.

    Args:
        config: the condition, and the weights.
        folder: receives ``predictions.npz``.
        progress: told the batches done and the batches there are.
        runtime: of an exported file.
    """
    from hevitpose.evaluation.diagnosis.breakdown import breakdown
    from hevitpose.evaluation.resampling import resampled_ap
    from hevitpose.evaluation.score import pckh_intervals
    from hevitpose.training.fit import evaluate
    from hevitpose.training.processes import is_first_process

    result: EvaluationResult = evaluate(config, runtime=runtime, progress=progress)
    if not is_first_process(config):
        return None
    path = folder / "predictions.npz"
    write_predictions(path, result.predictions)
    weights = config.model.checkpoint  # type: ignore[attr-defined]
    people, predictions = result.people, result.predictions
    options: dict[str, Any] = {
        "nms_threshold": config.evaluation.nms_threshold,
        "max_detections": config.evaluation.max_detections,
    }
    return {
        "weights": file_digest(weights),
        "metrics": result.metrics,
        "intervals": pckh_intervals(people, predictions, config.seed),
        "breakdown": breakdown(people, predictions, **options),
        "resampled": resampled_ap(people, predictions, **options),
        "artifacts": {"predictions": path},
        "dataset": result.dataset,
        "peak_memory": result.peak_memory,
    }


def artifacts(files: Mapping[str, Path], folder: Path) -> dict[str, Any]:
    """Files that a run left, as its record names them: below its folder, with their sha256.

    The checkpoint that a run resumes from is none of them: it has done its work.
    """
    return {
        name: {"path": path.relative_to(folder).as_posix(), "sha256": file_digest(path)}
        for name, path in files.items()
        if name != "last" and path.exists()
    }


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Keypoints and scores of every person as a compressed ``.npz``, in one step."""
    import numpy as np

    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        index=predictions.index,
        keypoints=predictions.keypoints,
        scores=predictions.scores,
    )
    write_atomically(path, buffer.getvalue())
