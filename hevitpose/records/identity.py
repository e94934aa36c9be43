"""Ids: a hash of a record's inputs and of a result version, and of nothing else.

- *training*: everything that changes weights: the network, encoder, flip pairs, augmentation,
  optimiser, the data's fingerprint, seed, threads, precision, device type, the training that it
  starts from, and the sha256 of imported files (and of what they import of the user's) and of
  other weights to start from. It knows
  nothing of decoders, flip test, detector boxes or runtimes; the evaluation that selects a
  checkpoint within it is fixed.
- *evaluation*: whose weights (the training's id, or the sha256 of foreign ones), and the condition:
  split, boxes, decoder, flip test, sigmas, ``use_area``, runtime.
- *complexity*: network and input. *latency*: network, conditions, machine, versions, attempt.

The result versions below are raised by hand. Nobody has to remember when: ``pytest -m golden``
compares crops, targets, decodes, a rendered picture, counts and twenty steps of training directly,
and names the version to raise where one differs. Library versions, commit and machine are
recorded, not hashed (a latency's excepted). Torch-free.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from hevitpose.config.renamed import with_first_names
from hevitpose.config.start import start_kind
from hevitpose.errors import DataError
from hevitpose.models.shipped import locate
from hevitpose.models.spec import PEERS, full_name, options_of
from hevitpose.records.imported import own_modules

if TYPE_CHECKING:  # a config is only read here
    from hevitpose.config import Config

Kind = Literal["complexity", "latency", "training", "evaluation"]
KINDS: tuple[Kind, ...] = ("complexity", "latency", "training", "evaluation")

#: Frozen: it rises only for a reason worth training everything again.
#: 1: the first with ids that are explained by their inputs alone; exactly symmetric targets.
TRAINING = 1
#: 1: the first apart from the training; scored on the reader's people.
EVALUATION = 1
#: 1: as counted since the first release.
COMPLEXITY = 1
#: 1: as timed since the first release.
LATENCY = 1
#: 1: as rendered since the first release.
RENDERED_PEOPLE = 1
#: Of the robustness conditions; in an evaluation's id only under one.
#: 1: the first.
CONDITIONS = 1

VERSIONS: dict[Kind, int] = {
    "training": TRAINING,
    "evaluation": EVALUATION,
    "complexity": COMPLEXITY,
    "latency": LATENCY,
}

ID_LENGTH = 20

_BOTH: tuple[Kind, ...] = ("training", "evaluation")
#: Config fields that enter ids through something made of them, not by their own value: the kinds.
BY_PROXY: dict[str, tuple[Kind, ...]] = {
    "training.start_from": ("training",),  # id of the training it names, or sha256 of the weights
    "model.checkpoint": ("evaluation",),  # likewise, of those that are evaluated
    "data.dataset": _BOTH,  # what it declares, and its fingerprint
    "data.people": _BOTH,  # the fingerprint of rendered people
    "data.image_size": _BOTH,  # likewise
    "data.box_source": ("evaluation",),  # sha256 of the detections
    "device": _BOTH,  # its type
    "devices": ("training",),  # total_batch
    "nodes": ("training",),  # likewise
    "training.checkpoint_steps": ("training",),  # its value, unless the last checkpoint is kept
    # sha256 of each file and of what it imports; of an evaluation where the weights were trained
    # without.
    "imports": (*_BOTH, "complexity", "latency"),
}
#: Config fields that are in no id: paths, workers, display.
IN_NO_ID = frozenset(
    (
        "preset",
        "data.root",
        "data.workers",
        "data.eval_batch_size",
        "training.loggers",
    )
)


def proxies_of(kind: Kind) -> frozenset[str]:
    """The keys of :data:`BY_PROXY` that an id of this kind depends on."""
    return frozenset(key for key, kinds in BY_PROXY.items() if kind in kinds)


@dataclass(frozen=True)
class Run:
    """A measurement before it is made."""

    kind: Kind
    id: str
    inputs: dict[str, Any]  # what the id is a hash of
    cell_id: str  # the network and its input: joins its records of every kind
    config_hash: str  # of the whole config but for the seed: equal for the seeds of a cell


@dataclass(frozen=True)
class DataInputs:
    """What the data of a run contribute to its ids; made by :mod:`hevitpose.runs`."""

    num_keypoints: int
    train: Mapping[str, Any] = field(default_factory=dict)  # fingerprint, and what is declared
    val: Mapping[str, Any] = field(default_factory=dict)  # likewise, and the boxes


def digest(value: Any) -> str:
    """Hash of plain data: canonical JSON (sorted keys, 2.0 as 2), so equal data have equal hashes.

    Args:
        value: dicts with string keys, lists, tuples (as lists), strings, finite numbers, None.

    Raises:
        TypeError, ValueError: the value is not such data, or holds NaN or infinity.
    """
    text = json.dumps(_canonical(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:ID_LENGTH]


def digest_of_json(value: Mapping[str, Any]) -> str:
    """:func:`digest` of an object from a JSON file: quick where thousands share most of its parts.

    Args:
        value: with finite numbers, as a parser gives it.
    """
    try:
        parts = [(key, msgspec.json.encode(part)) for key, part in sorted(value.items())]
    except (OverflowError, ValueError):  # an integer of more than 64 bits
        return digest(value)
    text = ",".join(f"{_quoted(key)}:{_canonical_text(part)}" for key, part in parts)
    return hashlib.sha256(f"{{{text}}}".encode()).hexdigest()[:ID_LENGTH]


_quoted = lru_cache(maxsize=4096)(json.dumps)


@lru_cache(maxsize=4096)
def _canonical_text(encoded: bytes) -> str:
    value = _canonical(msgspec.json.decode(encoded))
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _canonical(value: Any) -> Any:
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None:
        return value
    if kind is float:
        return int(value) if value.is_integer() else value
    if isinstance(value, (list, tuple)):
        return [_canonical(item) for item in value]
    if kind is dict or isinstance(value, Mapping):
        return {key: _canonical(item) for key, item in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() else value


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


def model_inputs(config: Config, num_keypoints: int | None) -> dict[str, Any]:
    """The network completely: name, every option, keypoints, and users' files it may come from.

    Two configurations that spell the same network differently have the same.

    Raises:
        DataError: an imported file cannot be read.
    """
    model: Any = config.model
    name = full_name(model.name)
    options = {}
    if name not in PEERS:
        options = with_first_names({"model": options_of(model.spec())})["model"]
    inputs: dict[str, Any] = {"name": name, "num_keypoints": num_keypoints, **options}
    if config.imports:
        inputs["imports"] = imports_digests(config.imports)
    return inputs


def imports_digests(files: Sequence[Path]) -> list[str]:
    """sha256 of users' files as they are named, then of what these import of the user's, sorted.

    Raises:
        DataError: a file cannot be read.
    """
    named = [file_digest(file) for file in files]
    return named + sorted({file_digest(file) for file in own_modules(files)} - {*named})


def cell_id(model: Mapping[str, Any], input_size: Sequence[int]) -> str:
    """Joins a network's records of all kinds.

    Args:
        model: of :func:`model_inputs`.
        input_size: (W, H) in pixels.
    """
    return digest({"model": dict(model), "input": list(input_size)})


def training_run(config: Config, data: DataInputs, device: str, start: str | None = None) -> Run:
    """The training of a config.

    Args:
        config: the run.
        data: of its train split; with ``training.selection: val`` the val split decides too.
        device: its type, ``cpu`` or ``cuda``.
        start: the id of the training whose weights it starts from, if it names one.

    Raises:
        DataError: imported files, or weights to start from, cannot be read.
    """
    model = model_inputs(config, data.num_keypoints)
    inputs: dict[str, Any] = {"model": model, "data": dict(data.train), "device": device}
    inputs |= {"config": config.id_inputs("training")}
    if start is not None:
        inputs["start_from"] = start
    elif config.training.start_from is not None:
        inputs["pretrained"] = _weights_named(config.training.start_from)
    if config.training.selection == "val":
        inputs["selected_on"] = dict(data.val)
    return _run("training", inputs, model, config)


def evaluation_run(
    config: Config,
    data: DataInputs,
    device: str,
    weights: str,
    runtime: Mapping[str, Any] | None = None,
    tuned: Mapping[str, Any] | None = None,
    trained: Mapping[str, Any] | None = None,
) -> Run:
    """The evaluation of some weights under a config's condition.

    Args:
        config: the condition.
        data: of its val split.
        device: its type.
        weights: the id of the training that they come from, or ``sha256:...`` of foreign ones.
        runtime: of an exported file: ``name``, ``precision`` and how it was exported; None: torch
            in the config's precision.
        tuned: key -> values that the config's own was chosen from; apart from an untuned run.
        trained: :func:`model_inputs` of the network that the weights were trained in; None: the
            config's. In another one they score something else.

    Raises:
        DataError: imported files cannot be read.
    """
    model = model_inputs(config, data.num_keypoints)
    inputs: dict[str, Any] = {
        "weights": weights,
        "data": dict(data.val),
        "config": config.id_inputs("evaluation"),
        "runtime": {
            "name": "torch",
            "precision": config.training.precision,
            "device": device,
            **(runtime or {}),
        },
    }
    if config.evaluation.condition is not None:
        inputs["conditions"] = CONDITIONS
    if trained is not None and not _same_network(model, trained):
        inputs["model"] = model
    if tuned:
        inputs["tuned"] = {key: list(values) for key, values in tuned.items()}
    return _run("evaluation", inputs, model, config)


def _same_network(model: Mapping[str, Any], trained: Mapping[str, Any]) -> bool:
    """Whether weights run in what they were trained in; the files that either needs aside.

    An evaluation may do without a file that its training imported (a loss, say), but what it
    imports itself is part of its network.
    """
    apart = {"num_keypoints"} if "imports" in model else {"num_keypoints", "imports"}
    one, other = ({k: v for k, v in each.items() if k not in apart} for each in (model, trained))
    return digest(one) == digest(other)


def complexity_run(config: Config, num_keypoints: int) -> Run:
    """Parameters and FLOPs of a config's network at its input size."""
    model = model_inputs(config, num_keypoints)
    inputs = {"model": model, "input": list(config.data.input_size)}
    return _run("complexity", inputs, model, config)


def latency_run(
    config: Config,
    num_keypoints: int,
    conditions: Mapping[str, Any],
    *,
    machine: Mapping[str, Any],
    versions: Mapping[str, Any],
    attempt: int = 1,
) -> Run:
    """Times of a config's network; a re-timing has the next attempt number and is a new record.

    Args:
        config: the network and its input.
        num_keypoints: K.
        conditions: device, batch, input, dtype, mode, threads, ...
        machine: cpu, gpu, driver, ... (the ``machine`` field of a record).
        versions: of python, torch, cuda, ...
        attempt: from 1.
    """
    model = model_inputs(config, num_keypoints)
    inputs = {
        "model": model,
        "conditions": dict(conditions),
        "machine": dict(machine),
        "versions": dict(versions),
        "attempt": attempt,
    }
    return _run("latency", inputs, model, config)


def config_hash(config: Config, training: Mapping[str, Any] | None = None) -> str:
    """Equal for configs that are the same training and evaluation but for the seed and the data.

    Args:
        config: of the evaluation.
        training: what the id of the training of its weights has of a config; None: its own.
    """
    whole = _training_of(config, training)
    return digest({**whole, "evaluation": config.id_inputs("evaluation")})


def training_hash(config: Config) -> str:
    """Equal for configs that are the same training but for the seed and the data."""
    return digest(_training_of(config))


def _training_of(config: Config, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    training = dict(config.id_inputs("training") if given is None else given)
    training.pop("seed", None)
    if given is None and config.training.start_from is not None:
        training["start_from"] = _weights_named(config.training.start_from)
    model = model_inputs(config, config.model.num_keypoints)  # type: ignore[attr-defined]
    return {"model": model, "training": training}


def _weights_named(start_from: str) -> str:
    """The sha256 of a file; what is no file is its own name."""
    return file_digest(locate(start_from)) if start_kind(start_from) == "weights" else start_from


def _run(kind: Kind, inputs: Mapping[str, Any], model: Mapping[str, Any], config: Config) -> Run:
    inputs = {"kind": kind, "version": VERSIONS[kind], **inputs}
    plain = json.loads(json.dumps(inputs, allow_nan=False))
    cell = cell_id(model, config.data.input_size)
    return Run(kind, digest(plain), plain, cell, config_hash(config))


class Difference(NamedTuple):
    """One value that differs."""

    key: str  # dotted
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.key}: {self.before!r} -> {self.after!r}"


def differences(
    old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = ""
) -> list[Difference]:
    """Where two nested mappings differ, by key."""
    found: list[Difference] = []
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += differences(before, after, f"{prefix}{key}.")
        elif before != after or (key in old) != (key in new):
            found.append(Difference(f"{prefix}{key}", before, after))
    return found
