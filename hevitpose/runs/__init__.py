"""Runs and their records: what a config trains and evaluates, done once and written down.

``runs/`` holds ``records/`` (one file per record), ``train/ID/`` (a training's weights and curve)
and ``evaluate/ID/`` (an evaluation's predictions). A training that is recorded is not repeated;
its weights are found by every later evaluation. Torch is imported where something is computed: a
plan of sixty cells takes well under a second.
"""

from __future__ import annotations

from hevitpose.runs.facts import record_facts
from hevitpose.runs.folders import (
    RUNS,
    evaluation_folder,
    kept_weights,
    measured,
    remove_weights,
    store_of,
    training_folder,
)
from hevitpose.runs.look import look_first, require_machine
from hevitpose.runs.plan import (
    complexity_run,
    evaluation_run,
    latency_run,
    looked_at_once,
    num_keypoints,
    training_run,
    unrendered,
)
from hevitpose.runs.record import (
    add,
    artifacts,
    evaluate_and_record,
    evaluation_fields,
    is_evaluated,
    train_and_record,
    train_fields,
    with_start,
)
from hevitpose.runs.weights import recorded_weights, weights_of

__all__ = [
    "RUNS",
    "add",
    "artifacts",
    "complexity_run",
    "evaluate_and_record",
    "evaluation_fields",
    "evaluation_folder",
    "evaluation_run",
    "is_evaluated",
    "kept_weights",
    "latency_run",
    "look_first",
    "looked_at_once",
    "measured",
    "num_keypoints",
    "record_facts",
    "recorded_weights",
    "remove_weights",
    "require_machine",
    "store_of",
    "train_and_record",
    "train_fields",
    "training_folder",
    "training_run",
    "unrendered",
    "weights_of",
    "with_start",
]
