"""What files of weights are, as far as records and ids ask."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hevitpose.config import parse_config
from hevitpose.errors import DataError, UsageError
from hevitpose.records import Record, RecordStore
from hevitpose.records.identity import file_digest, model_inputs
from hevitpose.runs.folders import WEIGHTS, portable, training_folder


def is_of(weights: Path, record: Record) -> bool:
    """Whether a file holds the weights of a training: to the bit, where that is repeatable.

    On CUDA another run of it leaves other bits; there the file has to say that it was trained so.

    Raises:
        DataError: the file is no weights of ours.
    """
    if not weights.is_file():
        return False
    if file_digest(weights) == record.weights:
        return True
    if record.inputs["device"] != "cuda":
        return False
    from hevitpose.models.checkpoint import read_checkpoint

    try:
        stored = parse_config(read_checkpoint(weights).config, str(weights))
    except UsageError:  # a config of another version, so not the one that is recorded
        return False
    return stored.of_weights() == parse_config(record.config, record.id).of_weights()


def holds(weights: Path, record: Record) -> bool:
    """:func:`is_of`, asked again only once the file is another; a damaged file holds nothing."""
    try:
        found = weights.stat()
    except OSError:
        return False
    stamp = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    key = (record.id, record.weights, stamp)
    if key not in _held:
        try:
            _held[key] = is_of(weights, record)
        except DataError:
            _held[key] = False
    return _held[key]


_held: dict[tuple[str, str | None, tuple[int, ...]], bool] = {}


def recorded_weights(runs: Path, training_id: str, stores: Sequence[RecordStore]) -> Path | None:
    """The weights that a training left in its folder, if they are there and its own.

    Args:
        runs: the runs folder.
        training_id: whose.
        stores: the first that has its record says what they are.

    Raises:
        DataError: the record is damaged.
    """
    record = next((r for store in stores if (r := store.get(training_id)) is not None), None)
    return None if record is None else weights_of(runs, record)


def weights_of(runs: Path, training: Record) -> Path | None:
    """The weights that a recorded training left in its folder, if they are there and its own."""
    weights = training_folder(runs, training.id) / WEIGHTS
    return weights if holds(weights, training) else None


def network_of(weights: Path) -> dict[str, Any]:
    """The inputs of the network that a file's weights were trained in, as the file says it.

    Without the modules that its training imported, which need not be here.
    """
    from hevitpose.models.checkpoint_config import network_config

    return model_inputs(network_config(weights).with_overrides({"imports": []}), None)


def runtime_inputs(weights: Path, runtime: str) -> dict[str, Any] | None:
    """Of an exported file its runtime, precision, source and the people it was calibrated on."""
    if runtime == "torch":
        return None
    from hevitpose.models.checkpoint import read_checkpoint

    exported = portable(read_checkpoint(weights).exported)
    return {"name": runtime, "precision": exported["precision"], "exported": exported}
