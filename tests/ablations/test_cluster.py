"""The ray executor on a real local cluster, with a worker killed during the run."""

from __future__ import annotations

import importlib.util
import os
import signal
import threading
import time

import pytest

from ablations.cli import session
from ablations.workers import check_executor
from hevitpose.errors import HEViTPoseError, UsageError
from hevitpose.records import RecordStore

without_ray = importlib.util.find_spec("ray") is None
needs_ray = pytest.mark.skipif(without_ray, reason="ray is not installed (extra cluster)")


def metrics(out) -> dict[str, dict]:
    records = RecordStore(out / "records").load()
    return {r.id: r.metrics for r in records if r.kind == "evaluation"}


@pytest.mark.slow
@needs_ray
def test_same_metrics_and_a_killed_worker(options_for, grid, tmp_path):
    """One cell is slow enough to be killed in the middle; ray retries it, it resumes."""
    path = grid("axes: {model.ffn_ratio: [1, 2]}\ncells: {slow: {training.clip_norm: 6}}")
    local = options_for(path, threads=1, out=tmp_path / "local")
    assert session(local) == 0
    options = options_for(path, threads=1, executor="ray", out=tmp_path / "ray", timeout=120.0)
    killed: list[int] = []

    def kill_once() -> None:
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline and not killed:
            for checkpoint in options.out.glob("train/*/last.ckpt"):
                pid = checkpoint.with_name("pid")
                if pid.exists() and pid.read_text():
                    killed.append(int(pid.read_text()))
                    os.kill(killed[0], signal.SIGKILL)
                    return
            time.sleep(0.02)

    thread = threading.Thread(target=kill_once)
    thread.start()
    assert session(options) == 0
    thread.join()
    assert killed
    assert metrics(options.out) == metrics(local.out) and len(metrics(local.out)) == 3
    store = RecordStore(options.out / "records")
    assert len(store.load()) == 10 and not store.problems
    assert {p.name for p in options.out.iterdir()} == {"records", "train"}


@needs_ray
def test_unreachable(options_for, grid):
    path = grid("axes: {model.ffn_ratio: [1, 2]}")
    options = options_for(path, executor="ray", address="127.0.0.1:1")
    with pytest.raises(HEViTPoseError, match=r"ray at 127\.0\.0\.1:1") as error:
        session(options)
    assert "\n" not in str(error.value)


@pytest.mark.skipif(not without_ray, reason="ray is installed")
def test_absent(options_for, grid):
    with pytest.raises(HEViTPoseError, match=r"ray is not installed \(pip install"):
        session(options_for(grid("axes: {model.ffn_ratio: [1, 2]}"), executor="ray"))


def test_names():
    with pytest.raises(UsageError, match="unknown executor 'rai'; did you mean 'ray'"):
        check_executor("rai", None)
    with pytest.raises(UsageError, match="one cell at a time"):
        check_executor("local", 2)
