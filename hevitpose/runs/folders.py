"""Where runs and their records lie, and the weights that are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hevitpose.errors import DataError
from hevitpose.models.spec import WEIGHTS
from hevitpose.records import Record, RecordStore, provenance

RUNS = Path("runs")
MEASURED = Path("results/measured")


def store_of(runs: Path) -> RecordStore:
    """The record store of a runs folder."""
    return RecordStore(runs / "records")


def training_folder(runs: Path, training_id: str) -> Path:
    """Where a training writes its weights and curve."""
    return runs / "train" / training_id


def evaluation_folder(runs: Path, evaluation_id: str) -> Path:
    """Where an evaluation writes its predictions."""
    return runs / "evaluate" / evaluation_id


def measured() -> RecordStore:
    """The committed records of the checkout that this code is in, wherever it is called from."""
    return RecordStore(provenance.ROOT / MEASURED)


def training_by_weights(sha256: str, stores: Sequence[RecordStore]) -> Record | None:
    """The training that left a file of this sha256, if one is recorded."""
    for store in stores:
        for record in store.iter(failures=False, naming=sha256):
            if record.kind == "training" and record.weights == sha256:
                return record
    return None


def portable(value: Any) -> Any:
    """Absolute paths as their last two parts: a record says nothing of the machine's folders."""
    if isinstance(value, Mapping):
        return {key: portable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [portable(item) for item in value]
    if isinstance(value, str) and value.startswith("/"):
        return "/".join(["...", *value.strip("/").split("/")[-2:]])
    return value


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
