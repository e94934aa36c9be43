"""The command that makes a record again, on this machine's data."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from functools import cache
from typing import Any

from hevitpose.config import load_config, shipped
from hevitpose.errors import UsageError
from hevitpose.models.spec import VARIANTS
from hevitpose.records import Record
from reports.load import h_by_w, input_size, is_plain_network, num_keypoints
from reports.settings import flatten

#: Keys of a config that say where and on what a run happened, not what was run.
_NO_OVERRIDE = ("preset", "data.root", "data.workers", "devices", "nodes", "device", "imports")


def repeat_command(record: Record) -> str:
    """The shell lines that make this record again, on this machine's data."""
    lines = []
    if record.code.commit:
        dirty = "  # the tree had changes that no commit holds" if record.code.dirty else ""
        lines.append(f"git checkout {shlex.quote(record.code.commit)}{dirty}")
    if record.kind in ("training", "evaluation"):
        lines.append(_train_command(record))
    elif record.grid or not is_plain_network(record):
        words = ["nox", "-s", "ablation", "--", "--grid", record.grid or "attention"]
        words += ["--cells", record.cell or "default"]
        if record.variant:
            words += ["--variant", record.variant]
        if record.config.get("preset"):
            words += ["--preset", str(record.config["preset"])]
        lines.append(shlex.join(words))
    elif record.kind == "complexity":
        words = ["hevitpose", "info", record.model, "--input", h_by_w(input_size(record))]
        lines.append(shlex.join([*words, "--keypoints", str(num_keypoints(record) or 17)]))
    else:
        lines.append(_latency_command(record))
    return "\n".join(lines)


def _train_command(record: Record) -> str:
    """``hevitpose train`` with every key that differs from the named config's own value."""
    config = flatten(record.config)
    dataset = str(config.get("data.dataset", "synthetic"))
    preset = config.get("preset")
    base = dataset if dataset in shipped() else "synthetic"
    given = [f"preset={preset}"] if preset else []
    known = _named_config(base, *given)
    if not known:
        given = []
    words = ["hevitpose", "train", "--cfg", base, *given]
    for key in sorted(config):
        value = config[key]
        if key in _NO_OVERRIDE or value is None or (key in known and known[key] == value):
            continue
        if key == "model.name" and record.model in VARIANTS:
            value = record.model
            if known.get(key) == value:
                continue
        words.append(f"{key}={json.dumps(value) if not isinstance(value, str) else value}")
    if "seed" not in config and record.seed is not None:
        words.append(f"seed={record.seed}")
    return shlex.join(words)


@cache
def _named_config(name: str, *overrides: str) -> dict[str, Any]:
    """A shipped config's values; none where this version knows no such preset."""
    try:
        return flatten(load_config(name, overrides).dump())
    except UsageError:
        return {}


def _latency_command(record: Record) -> str:
    assert record.latency is not None
    conditions: Mapping[str, Any] = record.latency.conditions
    words = ["python", "bench/latency.py", "--models", record.model]
    if str(conditions.get("device", "")).startswith("cuda"):
        words.append("--gpu")
    scope = {"model+decode": "decode", "end-to-end": "e2e"}
    for key, option in (
        ("mode", "--modes"), ("batch", "--batch"), ("input", "--input"), ("dtype", "--dtype"),
        ("layout", "--layout"), ("scope", "--scope"), ("threads", "--threads"),
    ):  # fmt: skip
        if conditions.get(key) is not None:
            value = str(conditions[key])
            words += [option, scope.get(value, value) if key == "scope" else value]
    words += ["--flip"] * bool(conditions.get("flip_test"))
    words += ["--tf32"] * bool(conditions.get("tf32"))
    words += ["--cold-l2"] * (conditions.get("l2") == "cold")
    keypoints = num_keypoints(record)
    return shlex.join([*words, *(["--keypoints", str(keypoints)] if keypoints else [])])
