"""Lightning's trainer, the network and torch's settings, as a config asks for them."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as L
import torch
from pytorch_lightning.callbacks import Callback, Checkpoint
from torch import nn

from hevitpose.config import Config
from hevitpose.errors import Notice, UsageError
from hevitpose.models import create_for_input
from hevitpose.models.forms import optimize
from hevitpose.models.imports import import_files
from hevitpose.models.published import start_from
from hevitpose.training.callbacks import AtomicCheckpointIO
from hevitpose.training.devices import device_of
from hevitpose.training.processes import strategy
from hevitpose.training.schedule import Plan

_PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


@contextmanager
def quiet() -> Iterator[None]:
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


@contextmanager
def determinism(config: Config) -> Iterator[None]:
    """The config's threads, and torch's global settings as they were afterwards."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    filling: Any = torch.utils.deterministic
    fills = filling.fill_uninitialized_memory
    torch.set_num_threads(config.training.threads)
    # Nothing here reads memory before it is written; writing NaN first costs a pass over every map.
    filling.fill_uninitialized_memory = False
    try:
        with torch.random.fork_rng():
            yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)
        filling.fill_uninitialized_memory = fills


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
        strategy=strategy(config),
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


def build(config: Config, num_keypoints: int, start: str | None = None) -> nn.Module:
    """The config's network in its training form, from its seed or from ``imagenet`` or a file.

    Raises:
        DataError: the file is of another network.
    """
    import_files(config.imports)
    options = config.model.options()
    if config.model.num_keypoints not in (None, num_keypoints):
        raise UsageError(
            f"model.num_keypoints: {config.model.num_keypoints}, the dataset has {num_keypoints}"
        )
    model = create_for_input(
        config.model.name, num_keypoints, config.data.input_size, seed=config.seed, **options
    )
    if start is not None:
        reset = start_from(model, start)
        if reset:
            told = f"{', '.join(reset)} initialised anew, for {num_keypoints} keypoints"
            warnings.warn(f"{start}: {told}", Notice, stacklevel=2)
    if config.training.channels_last:
        model = model.to(memory_format=torch.channels_last)
    return optimize(model, mode="train") if config.training.fast_form else model
