"""What records of runs say of their config, and of the training of the weights they scored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hevitpose.config import parse_config
from hevitpose.config.schema import Config
from hevitpose.data.minival import is_minival
from hevitpose.models.spec import SIMCC, VARIANTS, full_name
from hevitpose.records import Record, Run, provenance
from hevitpose.records.identity import config_hash
from hevitpose.runs.folders import portable

#: Keys of the section ``training`` that an evaluation has of its own.
_OF_EVALUATION = ("precision", "threads")


def record_facts(config: Config, run: Run) -> dict[str, Any]:
    """The fields that every record of a config has, whatever came out."""
    name = full_name(config.model.name)  # type: ignore[attr-defined]
    facts: dict[str, Any] = {
        "id": run.id,
        "kind": run.kind,
        "model": name,
        "variant": name.removeprefix("hevitpose_") if name in VARIANTS else None,
        "cell_id": run.cell_id,
        "config": portable(config.dump()),
        "config_hash": run.config_hash,
        "inputs": run.inputs,
        "code": provenance.code(),
        "machine": provenance.machine(),
        "versions": provenance.versions(),
    }
    if run.kind in ("training", "evaluation"):
        facts |= {"seed": config.seed, "precision": config.training.precision}
    if run.kind == "training":
        facts["selection"] = config.training.selection
    if run.kind == "evaluation":
        whose = run.inputs["weights"]
        facts |= {
            "training": None if whose.startswith("sha256:") else whose,
            "flip_test": config.evaluation.flip_test,
            "decoder": "simcc" if name in SIMCC else config.codec.decoder,
            "selection": config.training.selection,
            "precision": run.inputs["runtime"]["precision"],
            "versions": provenance.versions() | _version(run.inputs["runtime"]["name"]),
            "condition": config.evaluation.condition,
        }
    if run.kind != "complexity":
        facts["threads"] = config.training.threads
    return facts


def _version(runtime: str) -> dict[str, str | None]:
    """The version of a runtime of exported files; torch's is always recorded."""
    if runtime == "torch":
        return {}
    from hevitpose.models.runtimes import runtime_version

    return {runtime: runtime_version(runtime)}


def as_trained(config: Config, weights: Path, training: Record | None) -> dict[str, Any]:
    """Fields of an evaluation of given weights: how these were trained, not how the config would.

    Args:
        config: of the evaluation.
        weights: the file; where no training is known it says how it was trained, or nobody does.
        training: that left them, if one is recorded.

    Raises:
        DataError: the file is damaged or not ours.
        UsageError: its config is of another version.
    """
    theirs, asked = _told(weights, training)
    own, recipe = config.dump(), theirs.get("training") or {}
    own["training"] = recipe | {key: own["training"][key] for key in _OF_EVALUATION}
    own |= {"seed": theirs.get("seed"), "preset": theirs.get("preset")}
    data, of = config.data, theirs.get("data") or {}
    same = Path(str(of.get("dataset"))).name == Path(data.dataset).name
    # Minival is held out of the evaluation's own train split.
    if same and "train_split" in of and not is_minival(data, data.val_split):
        own["data"]["train_split"] = of["train_split"]
    return {
        "config": portable({key: value for key, value in own.items() if value is not None}),
        "config_hash": config_hash(config, asked),
        "seed": own["seed"],
        "selection": recipe.get("selection"),
    }


def _told(weights: Path, training: Record | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """The config of a training, and what its id has of it; empty where nobody says."""
    if training is not None:
        start = training.inputs.get("pretrained") or training.config["training"].get("start_from")
        asked = {**training.inputs["config"], **({"start_from": start} if start else {})}
        return training.config, asked
    from hevitpose.models.checkpoint import read_checkpoint

    stored = read_checkpoint(weights).config
    if not stored:
        return {}, {}
    config = parse_config(stored, str(weights))
    return config.dump(), config.id_inputs("training")
