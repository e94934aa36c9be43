"""Lightning's loggers, which are told the rows of the curve and see examples of heatmaps."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytorch_lightning as L
from pytorch_lightning import loggers as lightning
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger, TensorBoardLogger
from torch import Tensor

from hevitpose.codec import SimCCCodec
from hevitpose.errors import UnavailableError, first_line, unknown_name
from hevitpose.training.module import PoseModule

#: ``curve.csv``, which every run writes by itself.
CSV = "csv"
#: What loggers of Lightning import: one of these. Of others only making one tells.
_PACKAGES = {
    "comet": ("comet_ml",),
    "mlflow": ("mlflow",),
    "tensorboard": ("tensorboard", "tensorboardX"),
    "wandb": ("wandb",),
}
EXAMPLES = 4  # people whose heatmaps are shown


@contextmanager
def logging_to(names: Sequence[str], out: Path) -> Iterator[list[Logger]]:
    """The loggers of a run, closed with the block.

    Args:
        names: ``csv``, ``tensorboard``, or another of Lightning's in small letters (``wandb``,
            ``mlflow``, ``comet``).
        out: the run's folder, where those that write files do.

    Raises:
        UsageError: Lightning has no such logger.
        UnavailableError: its package is not installed.
    """
    loggers = [_create(name, out) for name in dict.fromkeys(names) if name != CSV]
    status = "failed"
    try:
        yield loggers
        status = "success"
    finally:
        for logger in loggers:
            logger.finalize(status)


def require_loggers(names: Sequence[str]) -> None:
    """Refuses what :func:`logging_to` would, as far as it shows without making a logger.

    Raises:
        UsageError: Lightning has no such logger.
        UnavailableError: its package is not installed.
    """
    for name in names:
        if name != CSV:
            _class_of(name)
            packages = _PACKAGES.get(name, ())
            if packages and not any(map(find_spec, packages)):
                raise _not_installed(name, f"no module named {packages[0]}")


def log_row(loggers: Sequence[Logger], row: Mapping[str, float]) -> None:
    """Tell a row of the curve; its ``step`` is the logger's."""
    values = {name: value for name, value in row.items() if name != "step"}
    for logger in loggers:
        logger.log_metrics(values, step=int(row["step"]))


class Examples(Callback):
    """Shows the heatmaps of the first people of every evaluation to loggers that take images.

    They are those of the evaluation's own pass: nothing is computed for them.
    """

    def __init__(self, loggers: Sequence[Logger]) -> None:
        self.loggers = [logger for logger in loggers if _takes_images(logger)]
        self._maps: list[Tensor] = []
        self._hook: Any = None

    def on_validation_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        assert isinstance(pl_module, PoseModule)
        has_maps = not isinstance(pl_module.codec, SimCCCodec)
        if self.loggers and has_maps and batch_idx == 0 and trainer.is_global_zero:
            self._hook = pl_module.model.register_forward_hook(
                lambda module, inputs, outputs: self._maps.append(outputs.detach())
            )

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        *_: Any,
    ) -> None:
        if self._hook is None:
            return
        assert isinstance(pl_module, PoseModule)
        self._hook.remove()
        maps, self._hook, self._maps = self._maps[0], None, []
        step = trainer.global_step if trainer.state.fn == "fit" else pl_module.plan.steps
        images = batch["image"][:EXAMPLES].cpu().numpy()
        picture = examples(images, maps[:EXAMPLES].float().cpu().numpy())
        for logger in self.loggers:
            _show(logger, picture, step)


def examples(images_NHW3: np.ndarray, maps_NKhw: np.ndarray) -> np.ndarray:
    """(H, N W, 3) uint8 RGB: crops in grey, side by side, under the maximum of their maps.

    Args:
        images_NHW3: uint8 RGB.
        maps_NKhw: in 0..1; clipped.
    """
    tiles = []
    for image, maps in zip(images_NHW3, maps_NKhw, strict=True):
        size = image.shape[1::-1]
        heat = cv2.resize(np.clip(maps.max(axis=0), 0, 1), size, interpolation=cv2.INTER_LINEAR)
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
        tile = grey * 0.45 + heat[..., None] * np.array([255, 210, 90])
        tiles.append(np.clip(tile, 0, 255).astype(np.uint8))
    return np.hstack(tiles)


def _class_of(name: str) -> Any:
    classes = {
        each.removesuffix("Logger").lower(): getattr(lightning, each)
        for each in lightning.__all__
        if each not in ("Logger", "CSVLogger")
    }
    if name not in classes:
        raise unknown_name("logger in training.loggers", name, [CSV, *classes])
    return classes[name]


def _not_installed(name: str, why: str) -> UnavailableError:
    return UnavailableError(
        f"training.loggers: {name} needs a package that is not installed ({why})"
    )


def _create(name: str, out: Path) -> Logger:
    kind = _class_of(name)
    offered = {
        **{key: str(out) for key in ("save_dir", "root_dir")},
        **{key: "hevitpose" for key in ("project", "experiment_name")},
        **{key: out.name for key in ("name", "run_name")},
    }
    if name == "tensorboard":  # its name is a folder
        offered |= {"name": name, "version": ""}
    wanted = inspect.signature(kind).parameters
    try:
        return kind(**{key: value for key, value in offered.items() if key in wanted})
    except ModuleNotFoundError as error:
        raise _not_installed(name, first_line(str(error), "its module is absent")) from None


def _takes_images(logger: Logger) -> bool:
    return isinstance(logger, TensorBoardLogger) or hasattr(logger, "log_image")


def _show(logger: Any, picture: np.ndarray, step: int) -> None:
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.add_image("heatmaps", picture, step, dataformats="HWC")
    else:
        logger.log_image("heatmaps", [picture], step=step)
