"""Training: a config goes in, weights come out. Evaluation: weights go in, metrics come out.

The loop, devices, precision and distribution are Lightning's. Ours are the order of samples (a pure
function of seed and step), the recipe's schedule, evaluation, and checkpoints that resume a run
bit-identically: one is written after every chunk of steps, and a chunk is what Lightning calls an
epoch, so that a resumed run always starts at a clean boundary.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytorch_lightning as L
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger
from torch import nn

from hevitpose.config import Config
from hevitpose.config.start import start_kind
from hevitpose.data.apart import require_two_files
from hevitpose.data.files import declared
from hevitpose.data.keypoints import require_same_order
from hevitpose.data.minival import MINIVAL, held_out_digest, is_minival, split_minival
from hevitpose.data.registry import is_rendered
from hevitpose.data.table import PoseTable
from hevitpose.data.unseen import require_scorable, require_unseen
from hevitpose.errors import DataError, UsageError
from hevitpose.evaluation.conditions import Applied, apply
from hevitpose.evaluation.score import Predictions, mean_pose, score
from hevitpose.leases import owning
from hevitpose.models import create_for_input, gate
from hevitpose.models.checkpoint import Stored, load_weights, read_checkpoint
from hevitpose.models.checkpoint_config import require_keypoints
from hevitpose.models.imports import import_files
from hevitpose.models.onnx_file import runtime_network
from hevitpose.models.shipped import locate
from hevitpose.models.spec import WEIGHTS
from hevitpose.progress import Progress, silent
from hevitpose.records.identity import file_digest
from hevitpose.records.schema import BASELINE_PREFIX
from hevitpose.training.callbacks import (
    AveragedWeights,
    Collect,
    Curve,
    Evaluate,
    Report,
)
from hevitpose.training.devices import device_of, keep_freed_memory, peak_memory
from hevitpose.training.loaders import PeopleModule, dataset_facts, load_split, tell_seen
from hevitpose.training.loggers import Examples, logging_to
from hevitpose.training.module import Origin, PoseModule
from hevitpose.training.outputs import REMOVED, require_apart
from hevitpose.training.resume import facts_of, restoring, stored_run
from hevitpose.training.schedule import Plan
from hevitpose.training.trainer import build, determinism, make_trainer, quiet


@dataclass(frozen=True)
class TrainResult:
    """What a finished training hands to its record."""

    train: dict[str, Any]  # epochs, steps, seconds, images_per_s, best_epoch, lr, total_batch, loss
    curve: list[dict[str, float]]  # the rows of curve.csv
    artifacts: dict[str, Path]  # model, last, curve
    dataset: dict[str, Any]  # of the train split: name, split, fingerprint, boxes, counts
    peak_memory: int  # bytes


@dataclass(frozen=True)
class EvaluationResult:
    """What an evaluation hands to its record."""

    metrics: dict[str, float]
    dataset: dict[str, Any]  # of the split: name, split, fingerprint, boxes, counts
    people: PoseTable = field(repr=False)
    predictions: Predictions = field(repr=False)
    peak_memory: int  # bytes


def train(
    config: Config, out: Path, *, resume: bool = True, progress: Progress = silent
) -> TrainResult:
    """Train a network.

    Args:
        config: the run.
        out: its folder; receives ``curve.csv``, ``last.ckpt`` (for resuming) and
            ``model.safetensors`` (the selected weights, complete in themselves).
        resume: continue from ``last.ckpt`` where there is one; a finished run is evaluated again
            and its folder left as it is, but for damaged weights, which are written again.
            Otherwise the folder's weights are removed first.
        progress: told the steps done and the steps there are.

    Raises:
        UsageError: the config does not fit the data or the machine, names no logger, or reads a
            file that would be replaced.
        UnavailableError: a logger's package is not installed.
        DataError: annotations or images are absent or damaged (before the first step).
        DivergedError: the loss is no longer finite; ``last.ckpt`` holds the last good chunk.
        HEViTPoseError: another process trains in this folder, or it cannot be written.
    """
    require_apart(config, out)
    if device_of(config) == "cpu":
        keep_freed_memory()
    with quiet(), determinism(config), logging_to(config.training.loggers, out) as loggers:
        return _train(config, out, loggers, resume=resume, progress=progress)


def _train(
    config: Config, out: Path, loggers: list[Logger], *, resume: bool, progress: Progress
) -> TrainResult:
    require_scorable(config)
    require_two_files(config)
    people = load_split(config, config.data.train_split, training=True)
    if config.training.selection == MINIVAL:
        people, held = split_minival(people, config.data.minival)
    else:  # by ground-truth boxes: the boxes of an evaluation decide no training
        held = load_split(config, config.data.val_split, training=False, boxes="gt")
    tell_seen(config, people, held)
    if not len(people):
        raise DataError(f"{people.annotation_file}: no people to train on")
    plan, origin = Plan.of(config, len(people)), _origin(config, held)
    model = build(config, len(people.layout.names), config.training.start_from)
    module = PoseModule(config, model, people, plan, origin=origin)

    evaluate = Evaluate(out, held, config)
    curve, examples = Curve(out, config, evaluate, loggers), Examples(loggers)
    callbacks: list[Callback] = [evaluate, curve, Report(progress, plan.steps), examples]
    if config.training.ema_decay is not None:
        callbacks.insert(1, AveragedWeights(decay=config.training.ema_decay))
    trainer = make_trainer(config, callbacks, plan)
    selected_weights, last = out / WEIGHTS, out / "last.ckpt"
    with owning(out) if trainer.is_global_zero else nullcontext():
        complete = _fit(trainer, module, evaluate, curve, people, resume)
        if config.training.selection != "last" and evaluate.step != plan.steps:
            # The end competes too; again where a finished run is asked again, to say how it went.
            alone = trainer.world_size == 1
            final = make_trainer(config, [evaluate, examples]) if alone else trainer
            _evaluate(final, module, config, held)
            curve.add_end(evaluate.metrics)
        if _select(module, out, complete) and trainer.is_global_zero:
            module.save(selected_weights)
    selected = plan.steps if config.training.selection == "last" else evaluate.best_step
    return TrainResult(
        train={
            "epochs": plan.steps / plan.steps_per_epoch,
            "steps": plan.steps,
            "seconds": curve.seconds,
            "images_per_s": plan.steps * config.total_batch / max(curve.seconds, 1e-9),
            "best_epoch": selected / plan.steps_per_epoch,
            "loss": curve.rows[-1]["loss"] if curve.rows else math.nan,
            "lr": config.learning_rate,
            "total_batch": config.total_batch,
            "people": len(people),
        },
        curve=curve.rows,
        artifacts={"model": selected_weights, "last": last, "curve": out / "curve.csv"},
        dataset=dataset_facts(config, people),
        peak_memory=peak_memory(),
    )


def _origin(config: Config, held: PoseTable) -> Origin:
    """What a training starts from, and whom it holds out.

    Raises:
        UsageError: it would be scored on people behind what it starts from.
        DataError: that file's keypoints are in another order.
    """
    start = config.training.start_from
    held_out = held_out_digest(held) if config.training.selection == MINIVAL else ""
    if start is None or start_kind(start) != "weights":
        return Origin(start or "", held_out=held_out, facts=facts_of(config))
    stored = read_checkpoint(start)
    if stored.layout is not None and len(stored.layout) == len(held.layout):  # else a new head
        require_same_order(start, stored.layout.names, held.layout)
    before = [*stored.earlier, *([stored.trained] if stored.trained else [])]
    earlier = [item for item in before if not is_rendered(item.dataset)]
    require_unseen(config, start, earlier, held_out=held_out)
    return Origin(file_digest(locate(start)), earlier, held_out, facts_of(config))


def _fit(
    trainer: L.Trainer,
    module: PoseModule,
    evaluate: Evaluate,
    curve: Curve,
    people: PoseTable,
    resume: bool,
) -> bool:
    """Take the steps that are left, from the folder's last checkpoint or from the beginning.

    Returns:
        Whether none was left.
    """
    config, plan, out = module.config, module.plan, curve.out
    last = out / "last.ckpt"
    stored = stored_run(last, module) if resume else None
    if stored is not None and stored["global_step"] == plan.steps:
        with restoring(last):
            for callback in (evaluate, curve):
                callback.load_state_dict(stored["callbacks"][callback.state_key])
        load_weights(module.model, last)  # the averaged ones, where they are averaged
        return True
    if stored is None and trainer.is_global_zero:
        for name in REMOVED:  # another run's
            (out / name).unlink(missing_ok=True)
    data = PeopleModule(config, plan, people, evaluate.table)
    try:
        with restoring(last, until=lambda: stored is None or curve.began):
            trainer.fit(module, datamodule=data, ckpt_path=last if stored else None)
    except SystemExit:  # what Lightning makes of Ctrl-C
        raise KeyboardInterrupt from None
    return False


def _select(module: PoseModule, out: Path, complete: bool) -> bool:
    """Fill the network with the weights that were selected.

    Args:
        module: after its last step.
        out: the run's folder.
        complete: the run was finished before: its file of weights may be damaged, but is all there
            is where somebody removed the best ones.

    Returns:
        Whether that was possible, and the file is to be written.

    Raises:
        DataError: there are no weights, neither selected nor best ones.
    """
    if module.config.training.selection == "last":
        return True
    best = out / "best.safetensors"
    try:
        load_weights(module.model, best)
    except DataError as error:
        if complete and (out / WEIGHTS).exists():
            return False
        raise DataError(f"{error}; --no-resume trains again") from error
    return True


def _evaluate(
    trainer: L.Trainer,
    module: PoseModule,
    config: Config,
    table: PoseTable,
    change: Applied | None = None,
) -> None:
    people = PeopleModule(config, None, None, table, change)
    trainer.validate(module, datamodule=people, verbose=False)


def _floor(config: Config, val: PoseTable) -> dict[str, float]:
    """What the average pose would score on rendered people, beside what the network does.

    Only of the plain evaluation: it sees no picture, so a condition tells nothing of it.
    """
    if not is_rendered(config.data.dataset) or config.evaluation.condition is not None:
        return {}
    people = load_split(config, config.data.train_split, training=True, look=False)
    metrics = score(val, mean_pose(people, val))
    return {f"{BASELINE_PREFIX}{name}": metrics[name] for name in ("Mean", "Mean@0.1", "AP")}


def evaluate(
    config: Config, *, runtime: str = "torch", progress: Progress = silent
) -> EvaluationResult:
    """Evaluate the weights of ``model.checkpoint`` on the val split.

    Args:
        config: see :func:`infer`.
        runtime: of an exported file.
        progress: told the batches done and those there are.

    Raises:
        UsageError: no checkpoint is named.
        DataError: the checkpoint does not fit what was given, or the split cannot be scored.
    """
    table, predictions = infer(config, runtime=runtime, progress=progress)
    metrics = score(
        table,
        predictions,
        nms_threshold=config.evaluation.nms_threshold,
        max_detections=config.evaluation.max_detections,
    )
    return EvaluationResult(
        metrics=metrics | _floor(config, table),
        dataset=dataset_facts(config, table),
        people=table,
        predictions=predictions,
        peak_memory=peak_memory(),
    )


def infer(
    config: Config, *, scored: bool = True, runtime: str = "torch", progress: Progress = silent
) -> tuple[PoseTable, Predictions]:
    """Predict every person of the val split (``data.val_split``) with saved weights.

    Args:
        config: as it is; :func:`~hevitpose.models.checkpoint_config.checkpoint_config` puts
            the checkpoint's own network, codec and input in.
        scored: refuse a split that cannot be scored, before predicting; else one that lacks
            photographs, which are a server's to score.
        runtime: what runs an exported file; weights run in torch.
        progress: told the batches done and those there are.

    Returns:
        (people, predictions), complete on every process; with jittered boxes
        (``evaluation.condition``), the people are in the boxes that were used.

    Raises:
        UsageError: no checkpoint is named, or it predicts another number of keypoints.
        DataError: the checkpoint does not fit the config's model, or has other keypoints.
    """
    path = config.model.checkpoint
    if path is None:
        raise UsageError("model.checkpoint: not given, expected the weights to evaluate")
    if device_of(config) == "cpu":
        keep_freed_memory()
    with quiet(), determinism(config):
        require_scorable(config)
        stored, dataset = read_checkpoint(path), config.data.dataset
        require_keypoints(path, stored, dataset, len(declared(dataset).layout))
        table = load_split(config, config.data.val_split, training=False, scored=scored)
        if not scored and table.counts.get("absent_images"):
            raise DataError(
                f"{table.image_root}: {table.counts['absent_images']} photographs of "
                f"{table.annotation_file} are absent, expected all: the server scores them all"
            )
        if scored:
            held_out = held_out_digest(table) if is_minival(config.data, table.split) else ""
            require_unseen(config, path, stored.earlier, stored.trained, held_out)
        applied = apply(config, table)
        table = table if applied is None else applied.people()
        layout = stored.layout
        if layout is not None and len(layout) == len(table.layout):
            require_same_order(str(path), layout.names, table.layout)
        model = _network(config, stored, len(table.layout), runtime)
        plan = Plan.of(config, len(table))
        module = PoseModule(config, model, table, plan, selecting=False)
        collect = Collect()
        trainer = make_trainer(config, [collect, Report(progress, plan.steps)])
        _evaluate(trainer, module, config, table, applied)
        found = collect.predictions
        assert found is not None
        return table, found if applied is None else applied.restore(found)


def _network(config: Config, stored: Stored, count: int, runtime: str) -> nn.Module:
    """The network of ``model.checkpoint``: built and filled, or an exported file in its runtime.

    Raises:
        UsageError: the file is of another input size or number of keypoints.
    """
    path, size = config.model.checkpoint, config.data.input_size
    if stored.exported:
        theirs = tuple(stored.exported["input_size"])
        if theirs != tuple(size) or stored.model.get("num_keypoints") != count:
            raise UsageError(
                f"{path}: takes {theirs[1]}x{theirs[0]} (H x W) and gives "
                f"{stored.model.get('num_keypoints')} keypoints, asked for are {size[1]}x{size[0]} "
                f"and {count}"
            )
        return runtime_network(path, stored.model, stored.exported, runtime)
    import_files(config.imports)
    options = config.model.options()
    gate.require_described(
        path,
        stored.state,
        options,
        lambda: create_for_input(config.model.name, count, size, **options),
    )
    model = build(config, count)
    load_weights(model, path)
    return model
