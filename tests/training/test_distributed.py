"""Two processes evaluate what one does: each person once, the same numbers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from hevitpose import create_model
from hevitpose.data import load
from hevitpose.models.checkpoint import save_checkpoint

ROOT = Path(__file__).resolve().parents[2]


def valid(folder: Path, *arguments: str) -> dict:
    """``hevitpose valid`` in a folder of its own: in a shared one the second would be recorded."""
    folder.mkdir()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    environment["PYTHONPATH"] = str(ROOT)
    result = subprocess.run(
        [sys.executable, "-m", "hevitpose.cli", "valid", "--json", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        cwd=folder,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == 1, "one process prints"
    return json.loads(result.stdout)


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
def test_two_processes_give_the_metrics_of_one(synthetic_root, tmp_path):
    split = next(
        name
        for name in ("val", "train")
        if len(load("synthetic", synthetic_root, name, input_size=(64, 64))) % 2
    )
    if split == "train":
        pytest.skip("this set of people has an even val split")
    model = create_model("nano", num_keypoints=16, seed=3)
    torch.nn.init.normal_(model.head.final.weight, std=0.5)
    checkpoint = save_checkpoint(model, tmp_path / "model.safetensors")
    common = ["data.input_size=64,64", f"data.root={synthetic_root}", "device=cpu"]
    common += ["data.eval_batch_size=2", "--checkpoint", str(checkpoint)]
    one = valid(tmp_path / "one", *common, "--predictions", str(tmp_path / "one.npz"))
    more = ["--devices", "2", "--predictions", str(tmp_path / "two.npz")]
    two = valid(tmp_path / "two", *common, *more)
    assert two == one
    a, b = np.load(tmp_path / "one.npz"), np.load(tmp_path / "two.npz")
    np.testing.assert_array_equal(a["index"], np.arange(len(a["index"])))
    np.testing.assert_array_equal(b["index"], a["index"])
    np.testing.assert_allclose(b["keypoints"], a["keypoints"], atol=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
def test_nobody_is_let_in_and_no_rank_outlives_the_first(synthetic_root, tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    words = ["training.sync_bn=false", f"data.root={synthetic_root}", "data.people=60"]
    words += ["data.image_size=128", "data.input_size=64,64", "training.steps=100000"]
    words += ["training.batch_size=4", "training.warmup_steps=2", "training.threads=1"]
    words += ["training.checkpoint_steps=10", "device=cpu", "--devices", "2", "--out", "run"]
    run = subprocess.Popen(
        [sys.executable, "-m", "hevitpose.cli", "train", *words],
        cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while not (tmp_path / "run" / "last.ckpt").exists():
            assert run.poll() is None
            time.sleep(0.1)
        processes = [psutil.Process(run.pid), *psutil.Process(run.pid).children(recursive=True)]
        assert len(processes) > 1
        found = [c for p in processes for c in p.net_connections() if c.status == "LISTEN"]
        assert found and {c.laddr.ip for c in found} <= {"127.0.0.1", "::1"}
    finally:
        run.kill()
        run.wait()
    _, alive = psutil.wait_procs(processes[1:], timeout=5)
    assert not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]
