"""Runs and their records: what a config trains and evaluates, done once and written down.

``runs/`` holds ``records/`` (one file per record), ``train/ID/`` (a training's weights and curve)
and ``evaluate/ID/`` (an evaluation's predictions). A training that is recorded is not repeated;
its weights are found by every later evaluation. Torch is imported where something is computed: a
plan of sixty cells takes well under a second.
"""

from __future__ import annotations

import datetime
import io
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hevitpose.config.schema import Config, DataConfig
from hevitpose.errors import DataError, DivergedError, HEViTPoseError
from hevitpose.files import write_atomically
from hevitpose.models.spec import VARIANTS, full_name
from hevitpose.progress import Progress, silent
from hevitpose.records import Record, RecordStore, Run, identity, provenance
from hevitpose.records.identity import DataInputs, file_digest

if TYPE_CHECKING:
    from hevitpose.evaluation.predict import Predictions
    from hevitpose.training.fit import EvaluationResult, TrainResult

RUNS = Path("runs")
MEASURED = Path("results/measured")
WEIGHTS = "model.safetensors"


def store_of(runs: Path) -> RecordStore:
    """The record store of a runs folder."""
    return RecordStore(runs / "records")


def training_folder(runs: Path, training_id: str) -> Path:
    """Where a training writes its weights and curve."""
    return runs / "train" / training_id


def evaluation_folder(runs: Path, evaluation_id: str) -> Path:
    """Where an evaluation writes its predictions."""
    return runs / "evaluate" / evaluation_id


def weights_of(runs: Path, training_id: str) -> Path | None:
    """The weights that a finished training left, if they are still there."""
    path = training_folder(runs, training_id) / WEIGHTS
    return path if path.is_file() else None


# Ids -------------------------------------------------------------------------------------------


def training_run(config: Config) -> Run:
    """The training of a config.

    Raises:
        DataError: annotations or imported files are absent.
        UsageError: the dataset is not known, or has no such split.
    """
    data = config.data
    val = _val_inputs(config, "gt") if config.training.selection == "val" else {}
    inputs = DataInputs(num_keypoints(config), _inputs(config, data.train_split, "training"), val)
    return identity.training_run(config, inputs, provenance.device_type(config.device))


def evaluation_run(
    config: Config, weights: str | None = None, tuned: Mapping[str, Any] | None = None
) -> Run:
    """The evaluation of weights under a config's condition.

    Args:
        config: the condition.
        weights: a training's id, or ``sha256:...`` of foreign weights; None: those of the
            config's own training.
        tuned: key -> values that the config's own was chosen from.

    Raises:
        DataError: annotations, boxes or imported files are absent.
    """
    weights = training_run(config).id if weights is None else weights
    inputs = DataInputs(num_keypoints(config), val=_val_inputs(config, config.data.box_source))
    device = provenance.device_type(config.device)
    return identity.evaluation_run(config, inputs, device, weights, tuned=tuned)


def complexity_run(config: Config) -> Run:
    """The count of a config's network."""
    return identity.complexity_run(config, num_keypoints(config))


def latency_run(config: Config, conditions: Mapping[str, Any], attempt: int = 1) -> Run:
    """A timing of a config's network on this machine, under named conditions."""
    return identity.latency_run(
        config,
        num_keypoints(config),
        conditions,
        machine=provenance.machine(),
        versions=provenance.versions(),
        attempt=attempt,
    )


def num_keypoints(config: Config) -> int:
    """K: the config's, else the dataset's."""
    from hevitpose.data import declared

    given = config.model.num_keypoints  # type: ignore[attr-defined]
    return given or len(declared(config.data.dataset).layout)


def _inputs(config: Config, split: str, kind: str) -> dict[str, Any]:
    """What a split of the data contributes to an id."""
    from hevitpose.data import declared

    said = declared(config.data.dataset)
    declares = said.training_inputs() if kind == "training" else said.evaluation_inputs()
    found = _fingerprint(config.data, split)
    return {"fingerprint": found, "split": split, "declared": declares}


@contextmanager
def looked_at_once() -> Iterator[None]:
    """Within this block each split's files are hashed once: a plan asks for one sixty times."""
    global _looked
    before, _looked = _looked, {}
    try:
        yield
    finally:
        _looked = before


_looked: dict[tuple[str, Path, str], str] | None = None


def _fingerprint(data: DataConfig, split: str) -> str:
    from hevitpose.data.fingerprint import fingerprint

    if _looked is None:
        return fingerprint(data, split)
    key = (data.dataset, data.folder, split)
    if key not in _looked:
        _looked[key] = fingerprint(data, split)
    return _looked[key]


def _val_inputs(config: Config, boxes: str) -> dict[str, Any]:
    from hevitpose.data.files import find_boxes

    data = config.data
    inputs = _inputs(config, data.val_split, "evaluation")
    if boxes == "gt":
        return inputs | {"boxes": "gt"}
    custom = data.dataset.endswith((".yaml", ".yml"))
    folder = Path(data.dataset).parent if custom else data.folder / data.dataset
    return inputs | {"boxes": f"sha256:{file_digest(Path(find_boxes(folder, boxes)))}"}


# Doing and recording ---------------------------------------------------------------------------


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
        HEViTPoseError: it failed; where it had begun, the failure is in the store.
    """
    from hevitpose.training.fit import world

    run = training_run(config)
    folder = out or training_folder(runs, run.id)
    weights, store = folder / WEIGHTS, store_of(runs)
    record = store.get(run.id)
    done = resume and record is not None and _is_of(weights, record)
    if not done:
        record = _recorded(
            config, run, store, folder, lambda: train_fields(config, folder, resume, progress)
        )
    if world()[0] != 0:
        return None
    assert record is not None
    alone = config.with_overrides({"devices": 1, "nodes": 1})
    found = evaluate_and_record(alone, weights, runs=runs, training=run.id, progress=progress)
    assert found is not None
    return Finished(record, found[0], weights, not done, found[1])


def _is_of(weights: Path, record: Record) -> bool:
    """Whether a file holds the weights of a training: to the bit, where that is repeatable."""
    if not weights.is_file():
        return False
    return record.inputs["device"] == "cuda" or file_digest(weights) == record.weights


def evaluate_and_record(
    config: Config,
    weights: Path,
    *,
    runs: Path = RUNS,
    training: str | None = None,
    progress: Progress = silent,
    again: bool = False,
) -> tuple[Record, bool] | None:
    """Evaluate weights under a config's condition, unless that is recorded.

    Args:
        config: the condition.
        weights: the file.
        runs: the folder that holds the store.
        training: the id of the training they come from; None: looked for by their sha256.
        progress: told the batches done and the batches there are.
        again: also where it is recorded; the record stays as it is.

    Returns:
        The record, and whether it was made now; None on every process but the first.

    Raises:
        HEViTPoseError: the weights do not fit, the data are bad, the store cannot be written.
    """
    store = store_of(runs)
    training = training or training_by_weights(file_digest(weights), [store, measured()])
    run = evaluation_run(config, training or f"sha256:{file_digest(weights)}")
    known = store.get(run.id)
    if known is not None and not again:
        return known, False
    config = config.with_overrides({"model.checkpoint": str(weights)})
    folder = evaluation_folder(runs, run.id)
    record = _recorded(
        config, run, store, folder, lambda: evaluation_fields(config, folder, progress)
    )
    return None if record is None else (known or record, known is None)


def measured() -> RecordStore:
    """The committed records of the checkout that this code is in, wherever it is called from."""
    return RecordStore(provenance.ROOT / MEASURED)


def training_by_weights(sha256: str, stores: Sequence[RecordStore]) -> str | None:
    """The id of the training that left a file of this sha256, if one is recorded."""
    for store in stores:
        for record in store.iter(failures=False):
            if record.kind == "training" and record.weights == sha256:
                return record.id
    return None


def _recorded(
    config: Config, run: Run, store: RecordStore, folder: Path, measure: Any
) -> Record | None:
    """Measure, and store what came out or why nothing did."""
    started, clock = datetime.datetime.now(datetime.UTC), time.perf_counter()
    facts = record_facts(config, run) | {"started_at": started}
    try:
        fields = measure()
    except HEViTPoseError as error:
        if folder.exists() and _first_process():
            status = "diverged" if isinstance(error, DivergedError) else "failed"
            seconds = time.perf_counter() - clock
            store.add_failure(
                Record.model_validate(
                    {**facts, "status": status, "error": str(error), "seconds": seconds}
                )
            )
        raise
    if fields is None:
        return None
    fields["artifacts"] = artifacts(fields["artifacts"], folder)
    seconds = time.perf_counter() - clock
    record = Record.model_validate({**facts, **fields, "seconds": seconds})
    add(store, record)
    return record


def add(store: RecordStore, record: Record) -> bool:
    """Store a success; a training that ran again must have left the weights that are recorded.

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
                f"record {record.id}: the training ran again and left weights {record.weights}, "
                f"recorded are {kept.weights} (another machine? give another --out)"
            )
    return False


def _first_process() -> bool:
    from hevitpose.training.fit import world

    return world()[0] == 0


def record_facts(config: Config, run: Run) -> dict[str, Any]:
    """The fields that every record of a config has, whatever came out."""
    name = full_name(config.model.name)  # type: ignore[attr-defined]
    facts: dict[str, Any] = {
        "id": run.id,
        "kind": run.kind,
        "model": name,
        "variant": name.removeprefix("hevitpose_") if name in VARIANTS else None,
        "cell_id": run.cell_id,
        "config": portable(config.dump()),
        "config_hash": run.config_hash,
        "inputs": run.inputs,
        "code": provenance.code(),
        "machine": provenance.machine(),
        "versions": provenance.versions(),
    }
    if run.kind in ("training", "evaluation"):
        facts |= {"seed": config.seed, "precision": config.training.precision}
    if run.kind == "training":
        facts["selection"] = config.training.selection
    if run.kind == "evaluation":
        whose = run.inputs["weights"]
        facts |= {
            "training": None if whose.startswith("sha256:") else whose,
            "flip_test": config.evaluation.flip_test,
            "decoder": config.codec.decoder,
            "selection": config.training.selection,
            "condition": config.evaluation.condition,
        }
    if run.kind != "complexity":
        facts["threads"] = config.training.threads
    return facts


def portable(value: Any) -> Any:
    """Absolute paths as their last two parts: a record says nothing of the machine's folders."""
    if isinstance(value, Mapping):
        return {key: portable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [portable(item) for item in value]
    if isinstance(value, str) and value.startswith("/"):
        return "/".join(["...", *value.strip("/").split("/")[-2:]])
    return value


def train_fields(
    config: Config, folder: Path, resume: bool, progress: Progress
) -> dict[str, Any] | None:
    """Train; what a finished training gives its record, with ``artifacts`` by name as paths.

    None on every process but the first.
    """
    from hevitpose.training.fit import train, world

    result: TrainResult = train(config, folder, resume=resume, progress=progress)
    if world()[0] != 0:
        return None
    return {
        "weights": file_digest(result.artifacts["model"]),
        "train": result.train,
        "curve": result.curve,
        "artifacts": result.artifacts,
        "dataset": result.dataset,
        "peak_memory": result.peak_memory,
    }


def evaluation_fields(config: Config, folder: Path, progress: Progress) -> dict[str, Any] | None:
    """Evaluate ``model.checkpoint``; what that gives its record.

    None on every process but the first.

    Args:
        config: the condition, and the weights.
        folder: receives ``predictions.npz``.
        progress: told the batches done and the batches there are.
    """
    from hevitpose.evaluation.diagnosis.breakdown import breakdown
    from hevitpose.evaluation.predict import pckh_intervals
    from hevitpose.training.fit import evaluate, world

    result: EvaluationResult = evaluate(config, progress=progress)
    if world()[0] != 0:
        return None
    path = folder / "predictions.npz"
    write_predictions(path, result.predictions)
    weights = config.model.checkpoint  # type: ignore[attr-defined]
    return {
        "weights": file_digest(weights),
        "metrics": result.metrics,
        "intervals": pckh_intervals(result.people, result.predictions, config.seed),
        "breakdown": breakdown(
            result.people, result.predictions, nms_threshold=config.evaluation.nms_threshold
        ),
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


# Weights that are kept ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Kept:
    """The weights of one training below a runs folder."""

    id: str
    path: Path
    bytes: int
    record: Record | None  # None: the training was never recorded here


def kept_weights(runs: Path) -> list[Kept]:
    """Every training's weights below a runs folder, the largest first."""
    store = store_of(runs)
    found = []
    for path in sorted((runs / "train").glob(f"*/{WEIGHTS}")):
        name = path.parent.name
        known = name in store
        found.append(Kept(name, path, path.stat().st_size, store.get(name) if known else None))
    return sorted(found, key=lambda kept: -kept.bytes)


def remove_weights(kept: Sequence[Kept]) -> int:
    """Delete weights; their records stay, and an evaluation that needs them trains again.

    Returns:
        Bytes freed.

    Raises:
        DataError: a file cannot be removed.
    """
    for each in kept:
        try:
            each.path.unlink()
        except OSError as error:
            raise DataError(f"{each.path}: cannot be removed ({error.strerror})") from None
    return sum(each.bytes for each in kept)
