"""What a run *is*: from a configuration and its data to the ids that records are named by.

Torch-free: a plan of sixty cells, or the check whether a run is recorded already, takes well under
a second.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hevitpose import fingerprints, machine, records
from hevitpose.config import Config
from hevitpose.data.files import find_boxes
from hevitpose.data.keypoints import LAYOUTS
from hevitpose.errors import DataError
from hevitpose.sourcehash import Axis, Rules, SourceHash, source_hash
from hevitpose.spec import (
    ATTENTIONS,
    DATASETS,
    DOWNSAMPLINGS,
    FFNS,
    HEADS,
    PEERS,
    VARIANTS,
    full_name,
)

#: Modules whose code does not decide a result.
_NO_RESULT = tuple(
    f"hevitpose.{name}"
    for name in ("cli", "errors", "files", "identity", "machine", "progress", "records", "runs",
                 "sourcehash", "statistics", "visualize")
)  # fmt: skip
#: Where training starts.
_TRAINING = ("hevitpose.training:train",)
#: Reached by name through ``optimize``, of which training takes its own form alone.
_NOT_TRAINED = ("hevitpose.optimization.fusion",)
_SCHEMAS = ("hevitpose.config", "hevitpose.spec")
#: Options of the network added after the first release, with the value that means the behaviour of
#: before: left out of ids at that value, so that old ids stay.
NEUTRAL_OPTIONS: dict[str, Any] = {}
_OWN_INPUTS = ("model", "seed")


@dataclass(frozen=True)
class Run:
    """A measurement before it is made."""

    kind: records.Kind
    id: str
    inputs: dict[str, Any]  # what the id is a hash of
    cell_id: str
    config_hash: str
    source: SourceHash


def model_inputs(config: Config) -> dict[str, Any]:
    """The network completely: name, every option, keypoints, digest of pretrained weights.

    Two configurations that spell the same network differently have the same.

    Raises:
        DataError: the pretrained weights cannot be read.
    """
    model: Any = config.model
    name = full_name(model.name)
    options = {} if name in PEERS else asdict(model.spec())
    dataset = "mpii" if config.data.dataset == "synthetic" else config.data.dataset
    keypoints = model.num_keypoints
    if keypoints is None and dataset in LAYOUTS:
        keypoints = len(LAYOUTS[dataset].names)
    inputs = {"name": name, "num_keypoints": keypoints} | {
        key: value
        for key, value in options.items()
        if key not in NEUTRAL_OPTIONS or value != NEUTRAL_OPTIONS[key]
    }
    if model.pretrained is not None:
        inputs["pretrained"] = file_digest(model.pretrained)
    return inputs


def config_hash(config: Config) -> str:
    """Equal for configurations that are the same run but for the seed."""
    inputs = config.hash_inputs() | {"model": model_inputs(config)}
    inputs.pop("seed", None)
    return records.digest(inputs)


def file_digest(path: Path) -> str:
    """sha256 of a file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None


def data_fingerprint(config: Config) -> str:
    """Of everything that a run of this config trains and is evaluated on.

    Raises:
        DataError: the data are absent or damaged.
    """
    data = config.data
    return _fingerprint(
        data.dataset,
        data.folder,
        tuple(dict.fromkeys((data.train_split, data.val_split))),
        data.val_split,
        data.boxes,
        data.box_threshold,
        data.present_only,
        data.skip_bad,
    )


@cache
def _fingerprint(
    dataset: str,
    folder: Path,
    splits: tuple[str, ...],
    val_split: str,
    boxes: str,
    threshold: float,
    present_only: bool,
    skip_bad: bool,
) -> str:
    if dataset == "synthetic":
        from hevitpose.data.synthetic import fingerprint

        return fingerprint(folder)
    parts = [
        _split_fingerprint(
            dataset,
            folder,
            split,
            boxes=boxes if split == val_split else "gt",
            box_threshold=threshold if split == val_split else 0.0,
            present_only=present_only,
            skip_bad=skip_bad,
        )
        for split in splits
    ]
    return "+".join(dict.fromkeys(parts))


def _split_fingerprint(dataset: str, folder: Path, split: str, **options: Any) -> str:
    """Read from the data, unless they are as they were when that was done before."""
    from hevitpose.data import load

    def look() -> tuple[str, set[Path]]:
        table = load(dataset, folder, split, input_size=(256, 256), **options)
        inside = {Path(name.decode()).parent for name in table.image_names}
        folders = {table.annotation_file.parent, *(table.image_root / each for each in inside)}
        if options["boxes"] != "gt":
            folders.add(Path(find_boxes(folder / dataset, options["boxes"])).parent)
        return table.fingerprint, folders

    if dataset not in DATASETS:  # a user's yaml file says where its files are
        return look()[0]
    code = source_hash(
        ["hevitpose.data:load", f"hevitpose.data.{dataset}:load"], rules=Rules(skip=_NO_RESULT)
    )
    key = records.digest([dataset, str(folder.resolve()), split, options, code.hash])
    return fingerprints.remembered(key, look)


def axes_of(config: Config) -> dict[str, Axis]:
    """The alternatives that a config selects, as the source hash narrows by them."""
    name = full_name(config.model.name)  # type: ignore[attr-defined]
    axes = {"peer": Axis.of(name, PEERS)}
    if name not in PEERS:
        spec = config.model.spec()  # type: ignore[attr-defined]
        axes |= {
            "attention": Axis.of(spec.attention, ATTENTIONS),
            "downsampling": Axis.of(spec.downsampling, DOWNSAMPLINGS),
            "ffn": Axis.of(spec.ffn, FFNS),
            "head": Axis.of(spec.head, HEADS),
            "variant": Axis.of(name, VARIANTS),
        }
    return axes


def run_source(config: Config, entries: Sequence[str], skip: Sequence[str] = ()) -> SourceHash:
    """Hash of the code that a run of this config reaches.

    Args:
        config: narrows the alternatives; its ``imports`` count as a whole.
        entries: where the run starts, e.g. ``"hevitpose.training:train"``.
        skip: modules that are reached and do not decide this run's result.
    """
    skip = (*_NO_RESULT, *skip)
    if full_name(config.model.name) not in PEERS:  # type: ignore[attr-defined]
        skip += ("hevitpose.models.peers",)
    files = tuple((file, _stamp(file)) for file in config.imports)
    return _source(tuple(entries), skip, tuple(axes_of(config).items()), files)


@cache
def _source(
    entries: tuple[str, ...],
    skip: tuple[str, ...],
    axes: tuple[tuple[str, Axis], ...],
    files: tuple[tuple[Path, tuple[int, int] | None], ...],
) -> SourceHash:
    """Seeds and most cells of a grid reach the same code: it is followed once.

    Like an import, the project's own code is read once in a process; a user's file again when its
    stamp is another.
    """
    packages = tuple({"hevitpose", *(entry.partition(".")[0] for entry in entries)})
    return source_hash(
        entries,
        rules=Rules(packages=packages, skip=skip, schemas=_SCHEMAS),
        axes=dict(axes),
        files=[file for file, _ in files],
    )


def _stamp(file: Path) -> tuple[int, int] | None:
    """When a file was changed and how long it is; None where it cannot be asked."""
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size


def portable(value: Any) -> Any:
    """Absolute paths as their last two parts: a record says nothing of the machine's folders."""
    if isinstance(value, Mapping):
        return {key: portable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [portable(item) for item in value]
    if isinstance(value, str) and value.startswith("/"):
        return "/".join(["...", *value.strip("/").split("/")[-2:]])
    return value


def accuracy_source(config: Config, entries: Sequence[str] = _TRAINING) -> SourceHash:
    """The code that training and evaluation of a config reach."""
    reader = config.data.dataset
    if reader in DATASETS and reader not in ("synthetic", "mpii"):
        entries = (*entries, f"hevitpose.data.{reader}:load")  # found by name at run time
    return run_source(config, entries, skip=_NOT_TRAINED)


def accuracy_run(config: Config, entries: Sequence[str] = _TRAINING) -> Run:
    """Training and evaluation of a config.

    Raises:
        DataError: the data are absent or damaged.
    """
    source = accuracy_source(config, entries)
    model = model_inputs(config)
    inputs = {k: v for k, v in config.hash_inputs().items() if k not in _OWN_INPUTS}
    training = {k: v for k, v in inputs["training"].items() if k not in ("threads", "precision")}
    identity = records.accuracy_id(
        model=model,
        config=inputs | {"training": training},
        fingerprint=data_fingerprint(config),
        seed=config.seed,
        threads=config.training.threads,
        precision=config.training.precision,
        device=machine.device_type(config.device),
        source_hash=source.hash,
    )
    return _run("accuracy", identity, config, source)


def complexity_run(
    config: Config,
    entries: Sequence[str] = ("hevitpose.models:create_model", "hevitpose.complexity:count"),
) -> Run:
    """Parameters and FLOPs of a config's network at its input size."""
    # A network is counted in the form that reads like its equations, never in a faster one.
    source = run_source(config, entries, skip=("hevitpose.optimization",))
    identity = records.complexity_id(
        model=_shape_inputs(config), input_size=config.data.input_size, source_hash=source.hash
    )
    return _run("complexity", identity, config, source)


def latency_run(
    config: Config,
    conditions: Mapping[str, Any],
    entries: Sequence[str] = ("hevitpose.models:create_model", "hevitpose.latency:measure"),
    attempt: int = 1,
) -> Run:
    """Times of a config's network on this machine, under named conditions."""
    source = run_source(config, entries)
    identity = records.latency_id(
        model=_shape_inputs(config),
        conditions=conditions,
        machine=machine.machine(),
        versions=machine.versions(),
        source_hash=source.hash,
        attempt=attempt,
    )
    return _run("latency", identity, config, source)


def _shape_inputs(config: Config) -> dict[str, Any]:
    """The network without its weights."""
    return {key: value for key, value in model_inputs(config).items() if key != "pretrained"}


def _run(kind: records.Kind, identity: records.Identity, config: Config, source: SourceHash) -> Run:
    return Run(
        kind=kind,
        id=identity.id,
        inputs=identity.inputs,
        cell_id=records.cell_id(_shape_inputs(config), config.data.input_size),
        config_hash=config_hash(config),
        source=source,
    )
