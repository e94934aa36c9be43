"""Loggers: told what the curve says, shown heatmaps, and of no consequence for the training."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch
from pytorch_lightning import loggers as lightning

from hevitpose.config import load_config
from hevitpose.errors import DivergedError, UnavailableError, UsageError
from hevitpose.training import callbacks
from hevitpose.training.fit import train
from hevitpose.training.loggers import examples
from tests import tiny

TINY = {
    **tiny.TINY,
    "data.eval_batch_size": 8,
    "training.steps": 4,
    "training.warmup_steps": 2,
    "training.checkpoint_steps": 2,
    "training.eval_every": 0.2,  # once a chunk
    "training.selection": "minival",
    "data.minival": 0.3,
    "training.ema_decay": 0.5,
}


@pytest.fixture
def config(synthetic_root):
    return load_config("synthetic", {**TINY, "data.root": synthetic_root})


class Fake(lightning.CSVLogger):
    """Stands in for W&B's."""

    made: list[Fake]

    def __init__(self, save_dir, project, name):
        super().__init__(save_dir, name="unused")
        self.given = (save_dir, project, name)
        self.rows, self.images, self.status = [], [], None
        Fake.made.append(self)

    def log_metrics(self, metrics, step):
        self.rows.append({"step": step, **metrics})

    def log_image(self, key, images, step):
        self.images.append((key, images, step))

    def finalize(self, status):
        self.status = status


@pytest.fixture
def wandb(monkeypatch):
    Fake.made = []
    monkeypatch.setattr(lightning, "WandbLogger", Fake)
    return Fake.made


def test_a_logger_changes_nothing_and_is_told_the_curve(config, wandb, tmp_path):
    train(config, tmp_path / "plain")
    assert not wandb
    logged = config.with_overrides({"training.loggers": ["csv", "wandb", "wandb"]})
    train(logged, tmp_path / "logged")
    for name in ("model.safetensors", "best.safetensors", "curve.csv"):
        files = [tmp_path / folder / name for folder in ("plain", "logged")]
        assert files[0].read_bytes() == files[1].read_bytes(), name
    (made,) = wandb
    assert made.given == (str(tmp_path / "logged"), "hevitpose", "logged")
    assert made.status == "success"
    with (tmp_path / "logged" / "curve.csv").open() as file:
        curve = list(csv.DictReader(file))
    assert [float(row["loss"]) for row in curve] == [row["loss"] for row in made.rows]
    assert [row["step"] for row in made.rows] == [2, 4]
    assert "minival_pck" in made.rows[-1]
    assert [(key, step) for key, _, step in made.images] == [("heatmaps", 2), ("heatmaps", 4)]
    (shape,) = {images[0].shape for _, images, _ in made.images}
    assert shape[0] == 64 and shape[1] in (64, 128, 192, 256) and shape[2] == 3


def test_a_failed_run_says_so(config, wandb, tmp_path, monkeypatch):
    def diverges(*_):
        raise DivergedError("loss")

    monkeypatch.setattr(callbacks, "write_curve", diverges)
    with pytest.raises(DivergedError):
        train(config.with_overrides({"training.loggers": ["wandb"]}), tmp_path)
    assert wandb[0].status == "failed"


def test_loggers_that_cannot_be_are_found_first(config, tmp_path, monkeypatch):
    def absent(*, save_dir, name):
        raise ModuleNotFoundError("Requirement 'mlflow' not met.\nmore")

    monkeypatch.setattr(lightning, "MLFlowLogger", absent)
    for name, error, says in (
        (
            "mlflow",
            UnavailableError,
            r"mlflow needs a package .*\(Requirement 'mlflow' not met\.\)",
        ),
        ("tensorbord", UsageError, "did you mean 'tensorboard'"),
    ):
        given = {"training.loggers": [name], "data.root": tmp_path / "absent"}
        with pytest.raises(error, match=says):
            train(config.with_overrides(given), tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_heatmaps_lie_where_the_joints_are():
    maps = np.zeros((2, 3, 16, 16), np.float32)
    maps[1, 2, 4, 8] = 2
    picture = examples(np.full((2, 64, 64, 3), 100, np.uint8), maps)
    assert picture.shape == (64, 128, 3)
    assert np.unravel_index(picture.sum(axis=2).argmax(), (64, 128)) == pytest.approx(
        (18, 64 + 34), abs=3
    )
    assert (picture[:, :64] == 45).all()


def test_tensorboard(config, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(config.with_overrides({"training.loggers": ["tensorboard"]}), tmp_path)
    (events,) = (tmp_path / "tensorboard").glob("events.*")
    found = EventAccumulator(str(events)).Reload()
    assert {"loss", "lr", "minival_pck"} <= set(found.Tags()["scalars"])
    assert [event.step for event in found.Scalars("loss")] == [2, 4]
    assert [event.step for event in found.Images("heatmaps")] == [2, 4]
    assert torch.isfinite(torch.tensor(found.Scalars("loss")[0].value))
