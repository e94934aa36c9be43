"""A run and its record: what is kept of a success, and of a failure."""

from __future__ import annotations

import numpy as np
import pytest

from hevitpose import identity
from hevitpose.config import load_config
from hevitpose.errors import DivergedError
from hevitpose.runs import run_folder, store_of, train_and_record


@pytest.fixture
def config(synthetic_root):
    return load_config(
        "synthetic",
        {
            "data.root": synthetic_root,
            "data.input_size": [64, 64],
            "training.steps": 2,
            "training.batch_size": 4,
            "training.threads": 1,
        },
    )


def test_a_success_is_one_complete_record(config, tmp_path):
    result, record, folder = train_and_record(config, runs=tmp_path)
    assert folder == run_folder(tmp_path, identity.accuracy_run(config))
    (stored,) = store_of(tmp_path).load()
    assert stored == record
    assert stored.metrics["Mean"] == result.metrics["Mean"]
    assert stored.intervals["Mean"].low <= stored.metrics["Mean"] <= stored.intervals["Mean"].high
    assert stored.train.total_batch == 4 and stored.train.lr == config.learning_rate
    for artifact in stored.artifacts.values():
        assert identity.file_digest(folder / artifact.path) == artifact.sha256
    with np.load(folder / "predictions.npz") as saved:
        assert saved["keypoints"].shape == (stored.dataset.counts["people"], 16, 2)
    assert str(tmp_path) not in stored.to_json()  # nothing of this machine's folders


def test_a_failure_is_recorded_as_one(config, tmp_path):
    broken = config.with_overrides({"training.lr": 1e30, "training.warmup_steps": 0})
    with pytest.raises(DivergedError):
        train_and_record(broken, runs=tmp_path)
    store = store_of(tmp_path)
    run = identity.accuracy_run(broken)
    assert store.get(run.id) is None
    (failure,) = store.load()
    assert (failure.status, failure.metrics) == ("diverged", {})
    assert "step" in failure.error


def test_nothing_is_recorded_of_a_run_that_never_began(config, tmp_path):
    absent = config.with_overrides({"model.pretrained": str(tmp_path / "none.safetensors")})
    with pytest.raises(Exception, match=r"none\.safetensors"):
        train_and_record(absent, runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_training_never_runs_what_its_source_leaves_out(config, monkeypatch, tmp_path):
    from hevitpose import optimization

    files = identity.accuracy_run(config).source.files
    assert "hevitpose/optimization/train_form.py" in files
    assert "hevitpose/optimization/fusion.py" not in files
    for form in ("fused_form", "compiled_form"):
        monkeypatch.setattr(optimization, form, lambda model: pytest.fail("not a training form"))
    train_and_record(config, runs=tmp_path)
