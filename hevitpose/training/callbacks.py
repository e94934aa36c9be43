"""What happens around the steps: evaluation, the curve, checkpoints, progress."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as L
import torch
from pytorch_lightning.callbacks import Callback, Checkpoint, EMAWeightAveraging
from pytorch_lightning.loggers import Logger
from pytorch_lightning.plugins.io import TorchCheckpointIO

from hevitpose.config import Config
from hevitpose.data.minival import MINIVAL
from hevitpose.data.table import PoseTable
from hevitpose.errors import DivergedError, UsageError
from hevitpose.evaluation.score import Predictions, box_pck, score
from hevitpose.files import replacing, write_atomically
from hevitpose.progress import Progress
from hevitpose.training.loggers import log_row
from hevitpose.training.module import PoseModule


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
        self.best_step = self.step = 0  # of the best and of the latest evaluation
        self.metrics: dict[str, float] = {}

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_validation_epoch_end(trainer, pl_module)
        assert isinstance(pl_module, PoseModule) and self.predictions is not None
        self.metrics = self.evaluate(self.predictions)
        fits = trainer.state.fn == "fit"
        self.step = trainer.global_step if fits else pl_module.plan.steps
        value = primary(self.metrics)
        if not value <= self.best:  # where there is nothing to compare by, the latest
            self.best, self.best_step = value, self.step
            if trainer.is_global_zero and self.config.training.selection != "last":
                pl_module.save(self.out / "best.safetensors")

    def evaluate(self, predictions: Predictions) -> dict[str, float]:
        """The metrics of the table's dataset; a box PCK where training people are held out."""
        if self.config.training.selection == MINIVAL:
            return {"minival_pck": box_pck(self.table, predictions)}
        return score(self.table, predictions)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "best_step": self.best_step, "step": self.step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.best_step = float(state_dict["best"]), int(state_dict["best_step"])
        self.step = int(state_dict["step"])


class AveragedWeights(EMAWeightAveraging):
    """An exponential average of the weights, evaluated and saved in their place.

    Lightning's also swaps it in when training is over and other weights are to be evaluated.
    """

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.state.fn == "fit":
            super().on_validation_epoch_start(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.state.fn == "fit":
            super().on_validation_epoch_end(trainer, pl_module)


def primary(metrics: dict[str, float]) -> float:
    """The one number that selects a checkpoint: PCKh, AP, PCK, or the held-out slice's PCK."""
    for name in ("Mean", "AP", "PCKh", "PCK", "minival_pck"):
        if name in metrics:
            return metrics[name]
    raise UsageError("this split has no ground truth: nothing to select a checkpoint by")


class Curve(Checkpoint):
    """After every chunk: a row of the curve, then the checkpoint, each written in one step."""

    def __init__(
        self, out: Path, config: Config, evaluate: Evaluate, loggers: Sequence[Logger] = ()
    ) -> None:
        self.out, self.config, self.evaluate = out, config, evaluate
        self.loggers = loggers
        self.rows: list[dict[str, float]] = []
        self.seconds = 0.0
        self.began = False  # every state of a run that is continued is restored
        self._start = 0.0
        self._evaluated = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.began = True

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
            log_row(self.loggers, row)
        trainer.save_checkpoint(self.out / "last.ckpt")

    def add_end(self, metrics: dict[str, float]) -> None:
        """The scores after the last step, where no chunk ended with an evaluation."""
        if self.rows:
            self.rows[-1] = self.rows[-1] | metrics
            write_curve(self.out / "curve.csv", self.rows)
            log_row(self.loggers, self.rows[-1])

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = [{str(k): v + 0 for k, v in row.items()} for row in state_dict["rows"]]
        if not all({"step", "loss"} <= row.keys() for row in self.rows):
            raise KeyError("a row of the curve without step or loss")
        self.seconds = float(state_dict["seconds"])


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
