"""The runs that a config asks for: their ids, before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hevitpose.config.load import start_config
from hevitpose.config.schema import Config, DataConfig
from hevitpose.config.start import start_kind
from hevitpose.data.registry import is_custom, is_rendered
from hevitpose.records import Run, identity, provenance
from hevitpose.records.identity import DataInputs, file_digest


def training_run(config: Config) -> Run:
    """The training of a config.

    Raises:
        DataError: annotations or imported files are absent.
        UsageError: the dataset is not known, or has no such split.
    """
    data, device = config.data, provenance.device_type(config.device)
    val = _val_inputs(config, "gt") if config.training.selection == "val" else {}
    inputs = DataInputs(num_keypoints(config), _inputs(config, data.train_split, "training"), val)
    return identity.training_run(config, inputs, device, start_of(config))


def start_of(config: Config) -> str | None:
    """The id of the training whose weights a config starts from, if it names one."""
    start = start_config(config)
    if start is not None:
        return training_run(start).id
    named = config.training.start_from
    return named if named is not None and start_kind(named) == "training" else None


def evaluation_run(
    config: Config,
    weights: str | None = None,
    tuned: Mapping[str, Any] | None = None,
    runtime: Mapping[str, Any] | None = None,
    trained: Mapping[str, Any] | None = None,
) -> Run:
    """The evaluation of weights under a config's condition.

    Args:
        config: the condition.
        weights: a training's id, or ``sha256:...`` of foreign weights; None: those of the
            config's own training.
        tuned: key -> values that the config's own was chosen from.
        runtime: of an exported file; see :func:`hevitpose.records.identity.evaluation_run`.
        trained: the network that the weights were trained in, where it may be another; likewise.

    Raises:
        DataError: annotations, boxes or imported files are absent.
    """
    weights = training_run(config).id if weights is None else weights
    inputs = DataInputs(num_keypoints(config), val=_val_inputs(config, config.data.box_source))
    device = provenance.device_type(config.device)
    return identity.evaluation_run(config, inputs, device, weights, runtime, tuned, trained)


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


def unrendered(configs: Iterable[Config]) -> list[DataConfig]:
    """Rendered people that configs, and what they start from, need and that are not there yet."""
    from hevitpose.data import synthetic

    missing: dict[tuple[Path, int, int], DataConfig] = {}
    for config in configs:
        each: Config | None = config
        while each is not None:
            data, each = each.data, start_config(each)
            key = (data.folder, data.people, data.image_size)
            if is_rendered(data.dataset) and not synthetic.is_complete(*key):
                missing[key] = data
    return list(missing.values())


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
    from hevitpose.data.minival import split_of_files

    split = split_of_files(data, split)
    if _looked is None:
        return fingerprint(data, split)
    key = (data.dataset, data.folder, split)
    if key not in _looked:
        _looked[key] = fingerprint(data, split)
    return _looked[key]


def _val_inputs(config: Config, boxes: str) -> dict[str, Any]:
    from hevitpose.data.files import find_boxes
    from hevitpose.data.minival import is_minival
    from hevitpose.data.unseen import require_scorable

    require_scorable(config)
    data = config.data
    inputs = _inputs(config, data.val_split, "evaluation")
    if is_minival(data, data.val_split):
        inputs["held_out"] = {"of": data.train_split, "share": data.minival}
    if boxes == "gt":
        return inputs | {"boxes": "gt"}
    custom = is_custom(data.dataset)
    folder = Path(data.dataset).parent if custom else data.folder / data.dataset
    return inputs | {"boxes": f"sha256:{file_digest(Path(find_boxes(folder, boxes)))}"}
