"""What workers are told and what becomes of their answers, with workers that do nothing."""

from __future__ import annotations

import sys
import types

import pytest

from ablations.cli import session
from ablations.grid import load_grids
from ablations.plan import plan
from ablations.recording import tidy
from ablations.run import Runner
from ablations.workers import check_executor
from ablations.workers import ray as ray_workers
from hevitpose import runs
from hevitpose.errors import BusyError, UsageError
from hevitpose.isolated import Outcome
from hevitpose.leases import owning
from hevitpose.records import RecordStore, provenance

RATIOS = "axes: {model.ffn_ratio: [1, 2]}"


class Answering:
    """Workers that do not work, but give an outcome."""

    slots = 1

    def __init__(self, outcome: Outcome) -> None:
        self.outcome, self.told, self.running = outcome, [], []

    def start(self, key, payload, threads) -> None:
        self.told.append(payload)
        self.running.append(key)

    def wait(self, seconds):
        ended, self.running = self.running, []
        return [(key, self.outcome) for key in ended]

    def progress(self, key):
        return 0, 0

    def close(self) -> None:
        pass


@pytest.fixture
def run(options_for, grid):
    def make(outcome: Outcome):
        options = options_for(grid(RATIOS))
        made = plan(load_grids(options.grid_names, options.base_config()), [0])
        workers = Answering(outcome)
        return workers, Runner(made, options.out, workers).run(), options.out

    return make


def test_auto_is_the_device_of_the_id(run, monkeypatch):
    """A worker of another machine refuses where it is not there, and takes no other in silence."""
    monkeypatch.setattr(
        provenance, "device_type", lambda asked: "cuda" if asked == "auto" else asked
    )
    workers, summary, _ = run(Outcome("failed", "no"))
    assert {payload["config"]["device"] for payload in workers.told} == {"cuda"}
    trained = [job for job, _ in summary.failed if job.kind == "training"]
    assert trained and all(job.run.inputs["device"] == "cuda" for job in trained)


def test_a_folder_in_use_is_no_failure_of_the_job(run):
    _, summary, out = run(Outcome.of(BusyError("process 7 is using it")))
    assert summary.exit_code == 1 and {reason for _, reason in summary.failed} == {
        "process 7 is using it"
    }
    assert not RecordStore(out / "records").load()
    workers, *_ = run(Outcome("failed", "no"))  # tried again without --retry-failed
    assert any(payload["kind"] == "training" for payload in workers.told)


def test_a_folder_in_use_by_another_process_is_busy(tmp_path, monkeypatch):
    import hevitpose.leases as leases

    monkeypatch.setattr(leases, "_PATIENCE_SECONDS", 0.0)
    held = leases.Leases(tmp_path)
    assert held.acquire(leases.OWNER)
    with pytest.raises(BusyError, match="is using it"), owning(tmp_path):
        pass
    held.close()


def test_tidying_leaves_what_a_users_logger_wrote(tmp_path, monkeypatch):
    import hevitpose.leases as leases

    mine = ["curve.csv", "model.safetensors", "metrics.csv", "tensorboard/events.out"]
    passing = ["log.txt", "last.ckpt", "best.safetensors", ".last.ckpt.0123abcd.tmp", "owner.lease"]
    for name in (*mine, *passing):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    monkeypatch.setattr(leases, "_PATIENCE_SECONDS", 0.0)
    held = leases.Leases(tmp_path)
    assert held.acquire(leases.OWNER)
    tidy(tmp_path)
    assert (tmp_path / "last.ckpt").exists()  # somebody works with it
    held.close()
    tidy(tmp_path)
    left = [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()]
    assert sorted(left) == sorted(mine)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"gpus_per_run": 0.5}, "--gpus-per-run 0.5: is ray's"),
        ({"executor": "local", "address": "auto"}, "--address auto: is ray's"),
    ],
)
def test_rays_options_are_refused_without_it(options_for, grid, given, says):
    with pytest.raises(UsageError, match=says):
        session(options_for(grid(RATIOS), dry_run=True, **given))
    check_executor("ray", None, "auto", 0.5)


@pytest.mark.parametrize("how", ["devices=2", "nodes=2"])
def test_a_cell_has_one_device(options_for, grid, how):
    with pytest.raises(UsageError, match=r"on one device, expected 1 .*hevitpose train --devices"):
        session(options_for(grid(RATIOS), dry_run=True, overrides=[how]))


def test_committed_trainings_choose_too(options_for, grid, capsys, monkeypatch, tmp_path):
    """``--tune --use-committed``: what is committed is not trained again."""
    options = options_for(grid(RATIOS), tune="training.lr=1e-3,2e-3", cells="2")
    assert session(options) == 0
    monkeypatch.setattr(runs, "measured", lambda: RecordStore(options.out / "records"))
    capsys.readouterr()
    there = {"tune": options.tune, "cells": "2", "out": tmp_path / "else", "use_committed": True}
    assert session(options_for(grid(RATIOS), dry_run=True, **there)) == 0
    assert "0 of 4 would run" in capsys.readouterr().out
    assert session(options_for(grid(RATIOS), **there)) == 0
    out = capsys.readouterr().out
    assert "0 measured, 4 recorded before" in out and "best training.lr of each cell" in out


def test_tuning_overwrites_no_cells_own_value(options_for, grid):
    body = "cells:\n  slow: {training.lr: 1.0e-4}"
    with pytest.raises(UsageError, match=r"grid mini, line \d: cell 'slow' has its own training.l"):
        session(options_for(grid(body), tune="training.lr=1e-3,2e-3", dry_run=True))


class _Ray(types.ModuleType):
    """As much of ray as the workers ask for: a cluster of four cores whose tasks never end."""

    exceptions = types.SimpleNamespace(RayError=RuntimeError)

    def __init__(self) -> None:
        super().__init__("ray")
        self.reports: dict[str, tuple[int, int]] = {}

    def init(self, **options) -> None: ...

    def shutdown(self) -> None: ...

    def cancel(self, reference, force) -> None: ...

    def cluster_resources(self):
        return {"CPU": 4}

    def remote(self, *args, **options):
        made = types.SimpleNamespace(remote=lambda *a: object())
        made.options = lambda **kwargs: made
        board = types.SimpleNamespace(read=types.SimpleNamespace(remote=lambda: None))
        return lambda what: (
            made if what is ray_workers._job else (types.SimpleNamespace(remote=lambda: board))
        )

    def wait(self, references, timeout):
        return [], references

    def get(self, reference, timeout):
        return self.reports


def test_ray_takes_no_more_than_fits_and_waits_without_a_timeout(monkeypatch):
    ray = _Ray()
    monkeypatch.setitem(sys.modules, "ray", ray)
    workers = ray_workers.RayWorkers(9, threads=2, timeout=0.0)
    assert workers.slots == 2
    workers.start("a", {}, 2)
    assert workers.wait(0) == []  # it has no worker yet
    ray.reports["a"] = (0, 0)
    ((key, outcome),) = workers.wait(0) or workers.wait(0)
    assert key == "a" and outcome.is_late and not workers._running
    workers.close()
