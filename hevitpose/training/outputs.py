"""The files that a training writes: none of them may be one that it reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from hevitpose import files
from hevitpose.config.schema import Config
from hevitpose.config.start import start_kind
from hevitpose.data.files import locate
from hevitpose.data.minival import split_of_files
from hevitpose.data.registry import is_custom, is_rendered
from hevitpose.errors import DataError, UsageError
from hevitpose.models.shipped import places
from hevitpose.models.spec import WEIGHTS

#: What a training that begins anew removes of the run before.
REMOVED = ("best.safetensors", "last.ckpt", WEIGHTS)
_WRITTEN = (*REMOVED, "curve.csv")


def require_apart(config: Config, out: Path) -> None:
    """Refuse a folder where a training would replace a file that it, or its evaluation, reads.

    Args:
        config: what is read.
        out: where the training writes.

    Raises:
        UsageError: it would, also through links.
    """
    for read in _read(config):
        for name in _WRITTEN:
            if files.same(out / name, read):
                raise UsageError(
                    f"{out / name}: would be replaced by this training, which reads it; "
                    "expected another --out"
                )


def _read(config: Config) -> Iterator[Path]:
    start, data = config.training.start_from, config.data
    if start is not None and start_kind(start) == "weights":
        yield from places(start)
    yield from config.imports
    custom = is_custom(data.dataset)
    folder = Path(data.dataset).parent if custom else data.folder / data.dataset
    if data.box_source != "gt":
        yield from (
            Path(data.box_source),
            folder / "person_detection_results" / data.box_source,
        )
    if custom:
        yield Path(data.dataset)
    if not is_rendered(data.dataset):
        for split in (data.train_split, data.val_split):
            with suppress(DataError):  # nothing is there to be replaced; its reader says so
                yield from locate(data.dataset, data.folder, split_of_files(data, split))[0]
