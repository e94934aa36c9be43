"""Training: a config goes in, the weights and their metrics come out.

The loop, devices, precision and distribution are Lightning's. Ours are the order of samples (a pure
function of seed and step), the recipe's schedule, evaluation, and checkpoints that resume a run
bit-identically: one is written after every chunk of steps, and a chunk is what Lightning calls an
epoch, so that a resumed run always starts at a clean boundary.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import logging
import math
import os
import resource
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as L
import torch
from pytorch_lightning.callbacks import Callback, Checkpoint, EMAWeightAveraging
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import Tensor, nn
from torch.utils.data import DataLoader

from hevitpose.checkpoint import (
    describe,
    load_weights,
    read_checkpoint,
    save_checkpoint,
)
from hevitpose.config import Config
from hevitpose.data import load, verify_images
from hevitpose.data.loader import PoseDataset, normalise
from hevitpose.data.stream import RankSlice, SampleStream
from hevitpose.data.table import PoseTable
from hevitpose.data.transforms import Augmentation
from hevitpose.errors import DataError, DivergedError, UsageError
from hevitpose.evaluation import (
    Predictions,
    box_pck,
    codec_of,
    mean_pose,
    predict_batch,
    score,
)
from hevitpose.files import replacing, write_atomically
from hevitpose.models import create_for_input
from hevitpose.optimize import optimize
from hevitpose.progress import Progress, silent

_PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
_DROP = 3  # key of the drop-path stream


@dataclass(frozen=True)
class TrainResult:
    """What a finished run hands to the record."""

    metrics: dict[str, float]  # of the selected weights, on the val split
    train: dict[str, Any]  # epochs, steps, seconds, images_per_s, best_epoch, lr, total_batch, loss
    curve: list[dict[str, float]]  # the rows of curve.csv
    artifacts: dict[str, Path]  # model, last, curve
    dataset: dict[str, Any]  # name, split, fingerprint, boxes, counts
    peak_memory: int  # bytes
    predictions: Predictions = field(repr=False)


@dataclass(frozen=True)
class Plan:
    """How many steps, and where chunks and evaluations fall."""

    steps: int  # optimiser steps of the whole run
    steps_per_epoch: float
    chunk: int  # steps between checkpoints; an evaluation falls on a multiple
    eval_chunks: int  # chunks between evaluations

    @classmethod
    def of(cls, config: Config, people: int) -> Plan:
        """The plan of a config on ``people`` training people."""
        recipe = config.training
        per_epoch = people / config.total_batch
        steps = recipe.steps or max(1, math.ceil(recipe.epochs * per_epoch))
        chunk = recipe.checkpoint_steps or max(1, min(math.ceil(per_epoch), math.ceil(steps / 10)))
        return cls(
            steps=steps,
            steps_per_epoch=per_epoch,
            chunk=min(chunk, steps),
            eval_chunks=max(1, round(recipe.eval_every * per_epoch / chunk)),
        )


def learning_rate_factor(config: Config, plan: Plan) -> Callable[[int], float]:
    """The factor on the learning rate at a step: linear warm-up, then steps, a cosine, or nothing.

    Source: MMPose 0.29's ``lr_config`` (policy step, warmup linear).
    """
    recipe = config.training
    milestones = [m * plan.steps_per_epoch for m in recipe.milestones]

    def factor(step: int) -> float:
        if recipe.schedule == "cosine":
            after = max(1, plan.steps - recipe.warmup_steps)
            done = min(1.0, max(0, step - recipe.warmup_steps) / after)
            value = 0.5 * (1 + math.cos(math.pi * done))
        elif recipe.schedule == "step":
            value = recipe.gamma ** sum(step >= m for m in milestones)
        else:
            value = 1.0
        if step < recipe.warmup_steps:
            warm = 1 - (1 - step / recipe.warmup_steps) * (1 - recipe.warmup_ratio)
            value *= warm
        return value

    return factor


class PoseModule(L.LightningModule):
    """One training step of a pose network, and its predictions on an evaluation batch."""

    joint_weights: Tensor

    def __init__(self, config: Config, model: nn.Module, table: PoseTable, plan: Plan) -> None:
        super().__init__()
        self.config, self.plan, self.model = config, plan, model
        self.codec = codec_of(model, config)
        self.layout = layout = table.layout
        self.flip_pairs = layout.flip_pairs if config.codec.flip_test else None
        weights = layout.joint_weights if config.codec.joint_weights else (1.0,) * len(layout)
        self.register_buffer("joint_weights", torch.tensor(weights), persistent=False)
        self.losses: list[Tensor] = []
        self.predicted: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Drop-path draws from a stream of (seed, rank, step), so a resumed run draws the same."""
        key = np.random.SeedSequence(
            (self.config.seed, _DROP, self.global_rank, self.global_step)
        ).generate_state(1, np.uint64)
        torch.manual_seed(int(key[0] >> 1))

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        channels_last = self.config.training.channels_last
        images = normalise(
            batch["image"], torch.channels_last if channels_last else torch.contiguous_format
        )
        codec: Any = self.codec
        target, weights = codec.encode(batch["keypoints"], batch["visible"])
        loss = codec.loss(self.model(images), target, weights * self.joint_weights)
        self.losses.append(loss.detach())
        if self.device.type == "cpu" or self.global_step % 50 == 0:  # a check is a synchronise
            self.check_finite(loss)
        return loss

    def check_finite(self, loss: Tensor) -> None:
        """Stop before a checkpoint or a metric is made from numbers that are none."""
        if not bool(torch.isfinite(loss)):
            raise DivergedError(
                f"loss is {loss.item():g} at step {self.global_step} "
                f"(training.lr {self.config.learning_rate:g}, seed {self.config.seed}); "
                "try a smaller training.lr or training.clip_norm"
            )

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        xy, scores = predict_batch(self.model, batch, self.codec, self.flip_pairs)
        self.predicted.append((batch["index"].cpu().numpy(), xy, scores))

    def configure_optimizers(self) -> Any:
        recipe = self.config.training
        decay = [p for p in self.model.parameters() if p.ndim > 1]
        plain = [p for p in self.model.parameters() if p.ndim <= 1]  # norms and biases
        groups = [
            {"params": decay, "weight_decay": recipe.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]
        kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimizer]
        optimizer = kind(groups, lr=self.config.learning_rate, fused=True)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, learning_rate_factor(self.config, self.plan)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def save(self, path: Path) -> None:
        """The weights, complete in themselves (:func:`~hevitpose.checkpoint.save_checkpoint`)."""
        save_checkpoint(self.model, path, self.config.dump(), self.layout)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """What a reader of the weights needs, and what a resume is checked against."""
        checkpoint["hevitpose"] = {
            "model": describe(self.model),
            "config": self.config.dump(),
            "layout": dataclasses.asdict(self.layout),
            "digest": self.config.digest,
            "plan": [self.plan.steps, self.plan.chunk],
        }


class Collect(Callback):
    """Puts together what all ranks predicted in an evaluation pass, each person once."""

    def __init__(self) -> None:
        self.predictions: Predictions | None = None

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, PoseModule)
        parts = pl_module.predicted
        pl_module.predicted = []
        if trainer.world_size > 1:
            gathered: list[Any] = [None] * trainer.world_size
            torch.distributed.all_gather_object(gathered, parts)
            parts = [part for rank in gathered for part in rank]
        self.predictions = Predictions.join(parts)


class Evaluate(Collect):
    """Scores an evaluation pass, and keeps the best weights.

    It stands before the weight averaging, whose callback swaps the training weights back in the
    same hook: what is saved here is what was evaluated.
    """

    def __init__(self, out: Path, table: PoseTable, config: Config) -> None:
        super().__init__()
        self.out, self.table, self.config = out, table, config
        self.best = -math.inf
        self.best_step = 0
        self.metrics: dict[str, float] = {}

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_validation_epoch_end(trainer, pl_module)
        assert isinstance(pl_module, PoseModule) and self.predictions is not None
        self.metrics = self.evaluate(self.predictions)
        value = primary(self.metrics)
        if trainer.state.fn == "fit" and value > self.best:
            self.best, self.best_step = value, trainer.global_step
            if trainer.is_global_zero and self.config.training.selection != "last":
                pl_module.save(self.out / "best.safetensors")

    def evaluate(self, predictions: Predictions) -> dict[str, float]:
        """The metrics of the table's dataset; a box PCK on a held-out slice of training people."""
        if self.table.split == "minival":
            return {"minival_pck": box_pck(self.table, predictions)}
        return score(self.table, predictions, nms_threshold=self.config.codec.nms_threshold)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "best_step": self.best_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.best_step = state_dict["best"], state_dict["best_step"]


def primary(metrics: dict[str, float]) -> float:
    """The one number that selects a checkpoint: PCKh, AP, or the held-out slice's PCK."""
    for name in ("Mean", "AP", "minival_pck"):
        if name in metrics:
            return metrics[name]
    raise UsageError("this split has no ground truth: nothing to select a checkpoint by")


class Curve(Checkpoint):
    """After every chunk: a row of the curve, then the checkpoint, each written in one step."""

    def __init__(self, out: Path, config: Config, evaluate: Evaluate) -> None:
        self.out, self.config, self.evaluate = out, config, evaluate
        self.rows: list[dict[str, float]] = []
        self.seconds = 0.0
        self._start = 0.0
        self._evaluated = False

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._start = time.perf_counter()
        self._evaluated = False

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._evaluated = not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, PoseModule)
        loss = torch.stack(pl_module.losses).mean()
        pl_module.losses.clear()
        if trainer.world_size > 1:
            loss = trainer.strategy.reduce(loss, reduce_op="mean")
        pl_module.check_finite(loss)
        for name, value in pl_module.model.state_dict().items():
            if value.is_floating_point() and not bool(torch.isfinite(value).all()):
                raise DivergedError(f"{name} is not finite after step {trainer.global_step}")
        self.seconds += time.perf_counter() - self._start
        row = {
            "step": trainer.global_step,
            "epoch": trainer.global_step / pl_module.plan.steps_per_epoch,
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
            "loss": float(loss),
        }
        if self._evaluated:
            row |= self.evaluate.metrics
        self.rows.append(row)
        if trainer.is_global_zero:
            write_curve(self.out / "curve.csv", self.rows)
        trainer.save_checkpoint(self.out / "last.ckpt")

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows, self.seconds = list(state_dict["rows"]), state_dict["seconds"]


class Report(Callback):
    """Tells a progress display how far the training, or else the evaluation, is."""

    def __init__(self, progress: Progress, steps: int) -> None:
        self.progress, self.steps = progress, steps

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        if trainer.is_global_zero:
            self.progress(trainer.global_step, self.steps)

    def on_validation_batch_end(
        self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        if trainer.is_global_zero and trainer.state.fn != "fit":
            self.progress(batch_idx + 1, int(trainer.num_val_batches[0]))


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints written aside and renamed, on the same disk."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        with replacing(Path(path)) as temporary:
            torch.save(checkpoint, temporary)


def write_curve(path: Path, rows: list[dict[str, float]]) -> None:
    """The learning curve as csv, in one step."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue())


def split_minival(table: PoseTable, share: float) -> tuple[PoseTable, PoseTable]:
    """People of held-out training images apart from the rest.

    Whole images, so that nobody's neighbour leaks; chosen by a fixed generator over the sorted
    image ids, so that every seed and every cell of a grid holds out the same ones.

    Args:
        table: the training people.
        share: of the images, in (0, 1).

    Returns:
        (training people, held-out people).

    Raises:
        DataError: too few images to hold any out.
    """
    used = np.unique(table.image_index)
    count = max(1, round(share * len(used)))
    if count >= len(used):
        raise DataError(
            f"{table.annotation_file}: {len(used)} images, too few to hold some out for "
            "selection; use training.selection=last"
        )
    order = used[np.argsort(table.image_ids[used], kind="stable")]
    held = np.random.default_rng(20_230).permutation(order)[:count]
    mask = np.isin(table.image_index, held)
    return table.take(~mask), dataclasses.replace(table.take(mask), split="minival")


def augmentation(config: Config, table: PoseTable) -> Augmentation:
    """The config's augmentation; shift and half-body belong to COCO-format data only."""
    given = config.training.augmentation
    coco = table.dataset in ("coco", "crowdpose")
    return Augmentation(
        flip=given.flip,
        scale=given.scale,
        rotation=given.rotation,
        rotation_probability=given.rotation_probability,
        shift=given.shift,
        shift_probability=given.shift_probability if coco else 0.0,
        half_body_probability=given.half_body if coco else 0.0,
    )


def device_of(config: Config) -> str:
    """``cpu`` or ``cuda``, as asked; never another one in silence.

    Raises:
        UsageError: CUDA was asked for and is not there.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("device: cuda was asked for, this machine has no usable CUDA device")
    if config.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return config.device


def load_split(config: Config, split: str, *, training: bool) -> PoseTable:
    """The people of one split, as the config wants them, every image looked into."""
    data = config.data
    table = load(
        data.dataset,
        data.folder,
        split,
        input_size=data.input_size,
        boxes="gt" if training else data.boxes,
        box_threshold=data.box_threshold,
        training=training,
        present_only=data.present_only,
        skip_bad=data.skip_bad,
    )
    return verify_images(table, skip_bad=data.skip_bad)


def _workers(config: Config) -> int:
    if config.data.workers is not None:
        return config.data.workers
    cores = os.cpu_count() or 1
    return 0 if device_of(config) == "cpu" and cores <= 2 else min(8, max(1, cores - 1))


def _loader(config: Config, dataset: PoseDataset, sampler: Any, batch_size: int) -> DataLoader:
    workers = _workers(config)
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        pin_memory=device_of(config) == "cuda",
    )


def evaluation_loader(
    config: Config, table: PoseTable, rank: int = 0, world: int = 1
) -> DataLoader:
    """Crops of a table, each person once over all ranks."""
    dataset = PoseDataset(table, config.data.input_size, udp=config.codec.udp)
    return _loader(config, dataset, RankSlice(len(table), rank, world), config.data.eval_batch_size)


class _Data(L.LightningDataModule):
    """Loaders that know the rank, which exists only once the trainer runs."""

    def __init__(self, config: Config, plan: Plan | None, train: PoseTable | None, held: PoseTable):
        super().__init__()
        self.config, self.plan, self.train_table, self.held = config, plan, train, held

    def _ranks(self) -> tuple[int, int]:
        assert self.trainer is not None
        return self.trainer.global_rank, self.trainer.world_size

    def train_dataloader(self) -> DataLoader:
        assert self.plan is not None and self.train_table is not None and self.trainer is not None
        batch, (rank, world) = self.config.training.batch_size, self._ranks()
        dataset = PoseDataset(
            self.train_table,
            self.config.data.input_size,
            augmentation=augmentation(self.config, self.train_table),
            seed=self.config.seed,
            udp=self.config.codec.udp,
        )
        first = self.trainer.global_step  # a loader per chunk, from wherever the run is
        steps = range(first, min(first + self.plan.chunk, self.plan.steps))
        stream = SampleStream(len(self.train_table), batch, steps, self.config.seed, rank, world)
        return _loader(self.config, dataset, stream, batch)

    def val_dataloader(self) -> DataLoader:
        return evaluation_loader(self.config, self.held, *self._ranks())


@contextmanager
def _quiet() -> Iterator[None]:
    """Lightning's notes on hardware and workers say nothing that a record does not."""
    loggers = [logging.getLogger(n) for n in ("pytorch_lightning", "lightning", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric")
            warnings.filterwarnings("ignore", message=".*LeafSpec.*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def make_trainer(config: Config, callbacks: list[Callback], plan: Plan | None = None) -> L.Trainer:
    """Lightning's trainer for a config: devices, precision, determinism, no loggers of its own."""
    device, many = device_of(config), config.devices * config.nodes > 1
    if many and device == "cpu" and plan is not None and config.training.sync_bn:
        raise UsageError(
            "training.sync_bn: SyncBN needs CUDA; several CPU processes need training.sync_bn=false"
        )
    limits: dict[str, Any] = {}
    if plan is not None:
        limits = {
            "max_epochs": math.ceil(plan.steps / plan.chunk),
            "reload_dataloaders_every_n_epochs": 1,
            "check_val_every_n_epoch": plan.eval_chunks,
        }
    return L.Trainer(
        accelerator="gpu" if device == "cuda" else "cpu",
        devices=config.devices,
        num_nodes=config.nodes,
        strategy="ddp" if many else "auto",
        precision=_PRECISION[config.training.precision],  # type: ignore[arg-type]
        sync_batchnorm=many and config.training.sync_bn and device == "cuda",
        gradient_clip_val=config.training.clip_norm,
        deterministic=config.training.deterministic,
        use_distributed_sampler=False,  # the streams know their rank
        callbacks=callbacks,
        plugins=[AtomicCheckpointIO()],
        logger=False,
        enable_checkpointing=any(isinstance(c, Checkpoint) for c in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **limits,
    )


def build(config: Config, num_keypoints: int) -> nn.Module:
    """The config's network, from its seed or from pretrained weights, in its training form."""
    options = config.model.options()
    if config.model.num_keypoints not in (None, num_keypoints):
        raise UsageError(
            f"model.num_keypoints: {config.model.num_keypoints}, the dataset has {num_keypoints}"
        )
    model = create_for_input(
        config.model.name, num_keypoints, config.data.input_size, seed=config.seed, **options
    )
    if config.model.pretrained is not None:
        load_weights(model, config.model.pretrained, reset_keypoints=True)
    if config.training.channels_last:
        model = model.to(memory_format=torch.channels_last)
    return optimize(model, mode="train") if config.training.optimize else model


def train(
    config: Config, out: Path, *, resume: bool = True, progress: Progress = silent
) -> TrainResult:
    """Train a network and evaluate it on the val split.

    Args:
        config: the run.
        out: its folder; receives ``config.yaml``, ``curve.csv``, ``last.ckpt`` (for resuming) and
            ``model.safetensors`` (the selected weights, complete in themselves).
        resume: continue from ``last.ckpt`` where there is one.
        progress: told the steps done and the steps there are.

    Raises:
        UsageError: the config does not fit the data or the machine.
        DataError: annotations or images are absent or damaged (before the first step).
        DivergedError: the loss is no longer finite; ``last.ckpt`` holds the last good chunk.
    """
    with _quiet(), _determinism(config):
        return _train(config, out, resume=resume, progress=progress)


@contextmanager
def _determinism(config: Config) -> Iterator[None]:
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(config.training.threads)
    try:
        with torch.random.fork_rng():
            yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)


def _train(config: Config, out: Path, *, resume: bool, progress: Progress) -> TrainResult:
    people = load_split(config, config.data.train_split, training=True)
    val = load_split(config, config.data.val_split, training=False)
    held = val
    if config.training.selection == "minival":
        people, held = split_minival(people, config.data.minival)
    if not len(people):
        raise DataError(f"{people.annotation_file}: no people to train on")
    plan = Plan.of(config, len(people))
    module = PoseModule(config, build(config, len(people.layout.names)), people, plan)

    evaluate = Evaluate(out, held, config)
    curve = Curve(out, config, evaluate)
    callbacks: list[Callback] = [evaluate, curve, Report(progress, plan.steps)]
    if config.training.ema_decay is not None:
        callbacks.insert(1, EMAWeightAveraging(decay=config.training.ema_decay))
    trainer = make_trainer(config, callbacks, plan)
    last = out / "last.ckpt"
    checkpoint = _resumable(last, config, plan) if resume else None
    try:
        trainer.fit(module, datamodule=_Data(config, plan, people, held), ckpt_path=checkpoint)
    except SystemExit:  # what Lightning makes of Ctrl-C
        raise KeyboardInterrupt from None

    if config.training.selection != "last" and (out / "best.safetensors").exists():
        load_weights(module.model, out / "best.safetensors")
    evaluate.table = val
    final = make_trainer(config, [evaluate]) if trainer.world_size == 1 else trainer
    final.validate(module, datamodule=_Data(config, None, None, val), verbose=False)
    if trainer.is_global_zero:
        module.save(out / "model.safetensors")
    assert evaluate.predictions is not None
    selected = plan.steps if config.training.selection == "last" else evaluate.best_step
    return TrainResult(
        metrics=evaluate.metrics | _floor(people, val),
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
        artifacts={"model": out / "model.safetensors", "last": last, "curve": out / "curve.csv"},
        dataset=dataset_facts(val),
        peak_memory=peak_memory(),
        predictions=evaluate.predictions,
    )


def _floor(people: PoseTable, val: PoseTable) -> dict[str, float]:
    """What the average pose would score on synthetic people, beside what the network does."""
    if val.dataset != "synthetic":
        return {}
    metrics = score(val, mean_pose(people, val))
    return {f"mean_pose_{name}": metrics[name] for name in ("Mean", "Mean@0.1", "AP")}


def _resumable(last: Path, config: Config, plan: Plan) -> Path | None:
    """The checkpoint to continue from, if it is of this very run.

    Raises:
        UsageError: the folder holds another run's checkpoint.
    """
    if not last.exists():
        return None
    read_checkpoint(last)
    ours = torch.load(last, map_location="cpu", weights_only=True)["hevitpose"]
    if ours["digest"] != config.digest or ours["plan"] != [plan.steps, plan.chunk]:
        raise UsageError(
            f"{last}: is of a run with another config; use another --out, or --no-resume"
        )
    return last


def validate(
    config: Config, *, progress: Progress = silent
) -> tuple[dict[str, float], Predictions, dict[str, Any]]:
    """Evaluate the weights of ``model.checkpoint`` on the val split.

    Returns:
        (metrics, predictions, facts of the dataset).

    Raises:
        UsageError: no checkpoint is named.
        DataError: the checkpoint does not fit the config's model.
    """
    table, predictions = infer(config, progress=progress)
    metrics = score(table, predictions, nms_threshold=config.codec.nms_threshold)
    return metrics, predictions, dataset_facts(table)


def infer(config: Config, *, progress: Progress = silent) -> tuple[PoseTable, Predictions]:
    """Predict every person of the val split (``data.val_split``) with saved weights.

    Returns:
        (people, predictions), complete on every process.

    Raises:
        UsageError: no checkpoint is named.
        DataError: the checkpoint does not fit the config's model.
    """
    if config.model.checkpoint is None:
        raise UsageError("model.checkpoint: not given, expected the weights to evaluate")
    with _quiet(), _determinism(config):
        table = load_split(config, config.data.val_split, training=False)
        model = build(config, len(table.layout))
        load_weights(model, config.model.checkpoint)
        plan = Plan.of(config, len(table))
        module = PoseModule(config, model, table, plan)
        collect = Collect()
        trainer = make_trainer(config, [collect, Report(progress, plan.steps)])
        trainer.validate(module, datamodule=_Data(config, None, None, table), verbose=False)
        assert collect.predictions is not None
        return table, collect.predictions


def world() -> tuple[int, int]:
    """This process's rank and how many there are, also after training has ended."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return int(os.environ.get("LOCAL_RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def dataset_facts(table: PoseTable) -> dict[str, Any]:
    """What a record says of the data a metric was taken on."""
    return {
        "name": table.dataset,
        "split": table.split,
        "fingerprint": table.fingerprint,
        "boxes": table.boxes,
        "counts": dict(table.counts),
        "skipped": [str(item) for item in table.skipped],
    }


def peak_memory() -> int:
    """Bytes: the device's peak on a GPU, the process's resident peak on a CPU."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


__all__ = ["PoseModule", "TrainResult", "train", "validate"]
