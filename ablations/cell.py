"""The work of a cell: its three measurements, each a function that a child calls by name.

A function takes the resolved config, the cell's folder and a progress report, and gives the fields
of a record. Another module with the same three functions can stand in for this one (the tests'
stub does).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hevitpose.config import Config
from hevitpose.progress import Progress

if TYPE_CHECKING:
    from hevitpose.evaluation import Predictions


def accuracy(config: Config, folder: Path, report: Progress) -> dict[str, Any]:
    """Trains from scratch (or from the folder's last checkpoint), evaluates on the val split."""
    from hevitpose.runs import write_predictions
    from hevitpose.training import train

    result = train(config, folder, resume=True, progress=report)
    predictions = folder / "predictions.npz"
    write_predictions(predictions, result.predictions)
    artifacts = {name: path for name, path in result.artifacts.items() if path.exists()}
    return {
        "metrics": result.metrics,
        "intervals": intervals(config, result.predictions),
        "train": result.train,
        "curve": result.curve,
        "artifacts": {
            name: str(path) for name, path in (artifacts | {"predictions": predictions}).items()
        },
        "dataset": result.dataset,
        "peak_memory": result.peak_memory,
    }


def intervals(config: Config, predictions: Predictions) -> dict[str, Any]:
    """Bootstrap over images of what is a ratio of sums: PCKh's Mean and Mean@0.1.

    AP is none; its interval needs several seeds.
    """
    if config.data.dataset not in ("mpii", "synthetic"):
        return {}
    import numpy as np

    from hevitpose.data.mpii import ground_truth_path
    from hevitpose.metrics.pckh import HEAD_SIZE, IN_MEAN, load_ground_truth
    from hevitpose.statistics import bootstrap_ratio
    from hevitpose.training import load_split

    table = load_split(config, config.data.val_split, training=False).take(predictions.index)
    truth = load_ground_truth(ground_truth_path(table.annotation_file.parent.parent.parent))
    people = table.person_ids
    corners = truth.head_boxes[people]
    heads = HEAD_SIZE * np.linalg.norm(corners[:, 1] - corners[:, 0], axis=-1)
    errors = np.linalg.norm(predictions.keypoints + 1 - truth.keypoints[people], axis=-1)
    counted = ~truth.missing[people][:, list(IN_MEAN)]
    relative = (errors / heads[:, None])[:, list(IN_MEAN)]
    images = len(np.unique(table.image_index))
    group = np.unique(table.image_index, return_inverse=True)[1]

    def per_image(values: np.ndarray) -> np.ndarray:
        return np.bincount(group, values.sum(1), minlength=images)

    found = {}
    for name, threshold in (("Mean", 0.5), ("Mean@0.1", 0.1)):
        hits = per_image((relative <= threshold) & counted)
        generator = np.random.default_rng((config.seed, 0xB007))
        interval = bootstrap_ratio(hits, per_image(counted), generator)
        found[name] = {
            "low": 100 * interval.low,
            "high": 100 * interval.high,
            "method": interval.method,
            "n": images,
        }
    return found


def complexity(config: Config, folder: Path, report: Progress) -> dict[str, Any]:
    """Parameters, and GFLOPs under the mmcv and torch conventions."""
    from hevitpose.complexity import count, meta_copy

    model = meta_copy(_build(config))
    counts = {c: count(model, config.data.input_size, convention=c) for c in ("mmcv", "torch")}
    return {
        "params": counts["mmcv"].params,
        "flops": {convention: result.flops / 1e9 for convention, result in counts.items()},
    }


def latency(config: Config, folder: Path, report: Progress) -> dict[str, Any]:
    """Milliseconds of one image, eager fp32, as ``create_model`` returns the network."""
    from hevitpose.latency import QUICK, measure

    result = measure(_build(config), budget=QUICK, **conditions_of(config))
    return {"latency": result.record_fields(), "peak_memory": result.peak_memory}


def conditions_of(config: Config) -> dict[str, Any]:
    """Under which a cell is timed: arguments of ``hevitpose.latency.measure``."""
    from hevitpose.machine import device_type

    return {
        "batch": 1,
        "input_size": config.data.input_size,
        "device": device_type(config.device),
        "dtype": "fp32",
        "threads": config.training.threads,
        "mode": "eager",
        "scope": "model",
    }


def _build(config: Config) -> Any:
    from hevitpose.identity import model_inputs
    from hevitpose.models import create_for_input

    model: Any = config.model
    keypoints = model_inputs(config)["num_keypoints"]
    return create_for_input(
        model.name, keypoints, config.data.input_size, seed=0, **model.options()
    )
