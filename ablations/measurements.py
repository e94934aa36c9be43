"""The measurements of a cell, each a function that a worker calls by name.

A function takes the resolved config, the job's folder and a progress report, and gives the fields
of a record. Another module with the same functions can stand in for this one (the tests' stub
does).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hevitpose.config import Config
from hevitpose.progress import Progress


def training(config: Config, folder: Path, report: Progress) -> dict[str, Any]:
    """Trains from scratch, or from the folder's last checkpoint."""
    from hevitpose.runs import train_fields

    fields = train_fields(config, folder, True, report)
    assert fields is not None  # one process a cell
    return fields


def evaluation(config: Config, folder: Path, report: Progress) -> dict[str, Any]:
    """Scores the weights of ``model.checkpoint`` under the config's condition."""
    from hevitpose.runs import evaluation_fields

    fields = evaluation_fields(config, folder, report)
    assert fields is not None  # one process a cell
    return fields


def complexity(config: Config, folder: Path, report: Progress) -> dict[str, Any]:
    """Parameters, and GFLOPs under the mmcv and torch conventions."""
    from hevitpose.cost.complexity import count, meta_copy

    model = meta_copy(build(config))
    counts = {c: count(model, config.data.input_size, convention=c) for c in ("mmcv", "torch")}
    return {
        "params": counts["mmcv"].params,
        "flops": {convention: result.flops / 1e9 for convention, result in counts.items()},
    }


def latency(config: Config, folder: Path, report: Progress) -> dict[str, Any]:
    """Milliseconds of one image, eager fp32, as ``create_model`` returns the network."""
    from hevitpose.cost.latency import QUICK, measure

    result = measure(build(config), budget=QUICK, **conditions_of(config))
    return {"latency": result.record_fields(), "peak_memory": result.peak_memory}


def conditions_of(config: Config) -> dict[str, Any]:
    """Under which a cell is timed: arguments of ``hevitpose.cost.latency.measure``."""
    from hevitpose.records.provenance import device_type

    return {
        "batch": 1,
        "input_size": config.data.input_size,
        "device": device_type(config.device),
        "dtype": "fp32",
        "threads": config.training.threads,
        "mode": "eager",
        "scope": "model",
    }


def build(config: Config) -> Any:
    """A config's network, as it is counted and timed."""
    from hevitpose.models import create_for_input
    from hevitpose.runs import num_keypoints

    model: Any = config.model
    return create_for_input(
        model.name, num_keypoints(config), config.data.input_size, seed=0, **model.options()
    )
