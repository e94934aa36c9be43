"""Ids are hashes of what decides a result, and of nothing else.

Never part of an id: paths, worker counts, display, commit, times. The configuration that enters
an id is ``Config.hash_inputs()``, which leaves those out and also leaves out fields at the neutral
value that means the behaviour of before they existed: adding such a field changes no id.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

ID_LENGTH = 20


class Identity(NamedTuple):
    """An id and what it is a hash of."""

    id: str
    inputs: dict[str, Any]


def digest(value: Any) -> str:
    """Hash of plain data: canonical JSON (sorted keys, 2.0 as 2), so equal data have equal hashes.

    Args:
        value: dicts with string keys, lists, tuples (as lists), strings, finite numbers, None.

    Raises:
        TypeError, ValueError: the value is not such data, or holds NaN or infinity.
    """
    text = json.dumps(_canonical(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:ID_LENGTH]


def _canonical(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _canonical(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def identify(inputs: Mapping[str, Any]) -> Identity:
    """The identity of plain inputs; they are normalised to what JSON gives back."""
    plain = json.loads(json.dumps(inputs, allow_nan=False))
    return Identity(digest(plain), plain)


def accuracy_id(
    *,
    model: Mapping[str, Any],
    config: Mapping[str, Any],
    fingerprint: str,
    seed: int,
    threads: int,
    precision: str,
    device: str,
    source_hash: str,
) -> Identity:
    """Identity of a training and its evaluation.

    Args:
        model: name and every option of the network.
        config: training and evaluation settings (boxes, flip test, decoder, selection).
        fingerprint: of the data that is trained and evaluated on.
        seed: keys every random stream of the run.
        threads: of the run; the count changes float results.
        precision: e.g. ``"32"`` or ``"bf16-mixed"``.
        device: its type, ``"cpu"`` or ``"cuda"``.
        source_hash: of the definitions that the run reaches.
    """
    return identify(
        {
            "kind": "accuracy",
            "model": dict(model),
            "config": dict(config),
            "data": fingerprint,
            "seed": seed,
            "threads": threads,
            "precision": precision,
            "device": device,
            "source": source_hash,
        }
    )


def complexity_id(
    *, model: Mapping[str, Any], input_size: tuple[int, int], source_hash: str
) -> Identity:
    """Identity of a count of parameters and FLOPs.

    Args:
        model: name, every option and the number of keypoints.
        input_size: (W, H) in pixels.
        source_hash: of the definitions that build and count the network.
    """
    return identify(
        {
            "kind": "complexity",
            "model": dict(model),
            "input": list(input_size),
            "source": source_hash,
        }
    )


def latency_id(
    *,
    model: Mapping[str, Any],
    conditions: Mapping[str, Any],
    machine: Mapping[str, Any],
    versions: Mapping[str, Any],
    source_hash: str,
    attempt: int = 1,
) -> Identity:
    """Identity of a timing; a re-timing has the next attempt number and is a new row.

    Args:
        model: name, every option and the number of keypoints.
        conditions: device, batch, input, dtype, mode, threads, ...
        machine: cpu, gpu, driver, ... (the ``machine`` field of a record).
        versions: of python, torch, cuda, ...
        source_hash: of the definitions that build and time the network.
        attempt: from 1.
    """
    return identify(
        {
            "kind": "latency",
            "model": dict(model),
            "conditions": dict(conditions),
            "machine": dict(machine),
            "versions": dict(versions),
            "source": source_hash,
            "attempt": attempt,
        }
    )


def cell_id(model: Mapping[str, Any], input_size: tuple[int, int]) -> str:
    """Joins a network's complexity, latency and accuracy records.

    Args:
        model: name, every option and the number of keypoints.
        input_size: (W, H) in pixels.
    """
    return identify({"model": dict(model), "input": list(input_size)}).id


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Where two nested mappings differ, as ``key: old -> new`` with dotted keys."""
    found: list[str] = []
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += differences(before, after, f"{prefix}{key}.")
        elif before != after or (key in old) != (key in new):
            found.append(f"{prefix}{key}: {before!r} -> {after!r}")
    return found
