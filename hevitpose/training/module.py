"""One training step, and the predictions on an evaluation batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as L
import torch
from torch import Tensor, nn

from hevitpose.config import Config
from hevitpose.data.loader import normalise
from hevitpose.data.table import PoseTable
from hevitpose.errors import DivergedError
from hevitpose.evaluation.predict import codec_of, predict_batch
from hevitpose.models.checkpoint import describe, save_checkpoint
from hevitpose.models.trained import Trained, to_source
from hevitpose.training.optimizer import create_optimizer
from hevitpose.training.schedule import Plan, learning_rate_factor

_DROP = 3  # key of the drop-path stream; order and augmentation have 1 and 2


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where the weights of a training come from, and whom they must not be scored on."""

    start: str = ""  # sha256 of the weights that it starts from, or "imagenet"; empty: random ones
    earlier: Sequence[Trained] = ()  # the trainings on photographs behind them
    held_out: str = ""  # hash of the images that are held out of it
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # data, users' files, device

    def source(self) -> dict[str, Any]:
        """As files of weights say it."""
        return to_source(self.earlier, self.held_out)


class PoseModule(L.LightningModule):
    """One training step of a pose network, and its predictions on an evaluation batch.

    Args:
        config: the run.
        model: its network.
        table: gives the keypoint layout.
        plan: of the steps.
        selecting: evaluations choose a checkpoint: with the encoder's own decoder and no flip
            test, whatever the config says, since that is not in a training's id.
        origin: of the training's weights.
    """

    joint_weights: Tensor

    def __init__(
        self,
        config: Config,
        model: nn.Module,
        table: PoseTable,
        plan: Plan,
        *,
        selecting: bool = True,
        origin: Origin | None = None,
    ) -> None:
        super().__init__()
        self.origin = origin or Origin()
        self.config, self.plan, self.model = config, plan, model
        self.codec = codec_of(model, config.for_selection() if selecting else config)
        self.layout = layout = table.layout
        flip = config.evaluation.flip_test and not selecting
        self.flip_pairs = layout.flip_pairs if flip else None
        weights = layout.joint_weights if config.training.joint_weights else (1.0,) * len(layout)
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
        target, weights = codec.encode(batch["keypoints"], batch["visibility"])
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
        recipe, rate = self.config.training, self.config.learning_rate
        optimizer = create_optimizer(self.model, recipe, rate)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, learning_rate_factor(self.config, self.plan)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def save(self, path: Path) -> None:
        """Write the weights: :func:`~hevitpose.models.checkpoint.save_checkpoint`."""
        source = self.origin.source()
        save_checkpoint(self.model, path, self.config.of_weights(), self.layout, source)

    def resumed_by(self) -> dict[str, Any]:
        """What a run and the checkpoint that it goes on from must agree in."""
        return {
            "digest": self.config.digest,
            "plan": [self.plan.steps, self.plan.chunk],
            "start": self.origin.start,
            "facts": dict(self.origin.facts),
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """What a reader of the weights needs, and what a resume is checked against."""
        checkpoint["hevitpose"] = {
            "model": describe(self.model),
            "config": self.config.dump(),
            "layout": dataclasses.asdict(self.layout),
            "source": self.origin.source(),
            **self.resumed_by(),
        }
