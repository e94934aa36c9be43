"""The runner: records, cache, failures, leases, kills."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ablations import cli as command
from ablations.cli import session
from ablations.explain import describe, explain_record
from ablations.grid import load_grids, select_cells
from ablations.options import PRELOAD, Options
from ablations.plan import History, Plan, plan
from hevitpose.errors import HEViTPoseError, UsageError
from hevitpose.records import SCHEMA_VERSION, Record, RecordStore, identity
from hevitpose.records import store as store_module
from hevitpose.records.identity import file_digest
from hevitpose.runs import kept_weights, measured, remove_weights
from tests.ablations.stub import CLAIMED

RATIOS = "axes: {model.ffn_ratio: [1, 2, 4]}"
ROOT = Path(__file__).resolve().parent.parent.parent


def plan_of(options: Options) -> Plan:
    grids = load_grids(options.grid_names, options.base_config())
    if options.cell_names:
        grids = select_cells(grids, options.cell_names)
    return plan(grids, options.seed_numbers())


def dry(options: Options, **described) -> list[str]:
    store = RecordStore(options.out / "records")
    return describe(plan_of(options), [store], options.out, **described).splitlines()


def timeless(record: Record) -> dict:
    """A record without what two runs of the same differ in."""
    fields = record.to_dict()
    for key in ("started_at", "seconds", "peak_memory"):
        fields.pop(key)
    for key in ("seconds", "images_per_s"):
        (fields["train"] or {}).pop(key, None)
    for key in ("commit", "dirty"):  # somebody may commit while the test runs
        fields["code"].pop(key)
    return fields


def state(out: Path) -> dict[str, object]:
    """Every file of a run folder, records without times."""
    found: dict[str, object] = {}
    for path in sorted(out.rglob("*")):
        if path.is_file():
            name = path.relative_to(out).as_posix()
            found[name] = path.read_bytes()
            if path.parent.name == "records" and not path.name.startswith("."):
                found[name] = timeless(store_module.parse_record(path.read_bytes()))
    return found


class TestRun:
    def test_records_of_a_cell_then_cached(self, options_for, grid, capsys):
        options = options_for(grid(RATIOS), seeds="0,1")
        assert session(options) == 0
        store = RecordStore(options.out / "records")
        found = store.load()
        assert len(found) == 3 * (1 + 1 + 2 + 2) and not store.problems
        by_cell = {r.cell_id: set() for r in found}
        for record in found:
            by_cell[record.cell_id].add((record.kind, record.seed))
        kinds = {("complexity", None), ("latency", None)}
        kinds |= {(kind, seed) for kind in ("training", "evaluation") for seed in (0, 1)}
        assert all(kinds == of for of in by_cell.values()) and len(by_cell) == 3
        assert {(r.grid, r.cell) for r in found} == {
            (None, "default"), ("mini", "1"), ("mini", "4"),
        }  # fmt: skip
        one, of_it = sorted(
            (r for r in found if r.cell == "4" and r.seed == 1), key=lambda r: r.kind, reverse=True
        )
        assert (one.kind, of_it.training, of_it.weights) == ("training", one.id, one.weights)
        assert (
            one.axes == {"model.ffn_ratio": 4} and one.threads == one.config["training"]["threads"]
        )
        assert one.config["data"]["root"].startswith(".../")  # no folders of this machine
        assert list(one.artifacts) == ["model"]
        weights = options.out / "train" / one.id / one.artifacts["model"].path
        assert file_digest(weights) == one.weights
        before = state(options.out)
        (options.out / "cells").mkdir()  # as a runner leaves it that is killed at its end
        assert session(options) == 0
        assert state(options.out) == before and not (options.out / "cells").exists()
        assert "0 measured, 18 recorded before, 0 failed" in capsys.readouterr().out
        # nothing but records and artifacts is left
        rest = {
            n for n in before if not n.startswith("records/") and not n.endswith(".safetensors")
        }
        assert not rest and not (options.out / "leases").exists()

    def test_seed_0_of_all_cells_first(self, options_for, grid):
        jobs = plan_of(options_for(grid(RATIOS), seeds="3,1")).jobs
        assert [j.seed for j in jobs if j.kind == "training"] == [3, 3, 3, 1, 1, 1]
        assert [j.kind for j in jobs[6:]] == ["training", "evaluation"] * 6
        assert [j.kind for j in jobs[:6]] == ["complexity"] * 3 + ["latency"] * 3

    def test_grids_share_the_default(self, options_for, grid):
        other = grid("axes: {model.peow: [0, 3]}", "other")
        made = plan_of(options_for(grid(RATIOS), other))
        assert len(made.jobs) == 4 * 4  # of 2, 1, 4 and PEOW 0
        assert made.members["mini"]["2"] == made.members["other"]["3"]

    def test_what_cells_start_from_runs_first_and_once(self, options_for, grid, capsys):
        body = f"{RATIOS}\ncells:\n  sigma: {{codec.sigma: 3}}\n"
        start = "training.start_from=quick:synthetic"
        options = options_for(grid(body), overrides=[start], seeds="2,0")
        jobs = plan_of(options).jobs
        costs, trainings = jobs[:6], [job for job in jobs if job.kind == "training"]
        assert {job.kind for job in costs} == {"complexity", "latency"}
        # 3 networks, whose starts both seeds and the other recipe share
        assert jobs[6:9] == trainings[:3] and all(j.needs is None for j in trainings[:3])
        assert [job.seed for job in trainings[:3]] == [0, 0, 0]
        assert trainings[0].cell == "start of default"
        assert [job.seed for job in trainings[3:]] == [2] * 4 + [0] * 4
        assert {job.needs for job in trainings[3:]} == {job.id for job in trainings[:3]}
        assert session(options) == 0
        text = capsys.readouterr().out
        assert "0 recorded before, 0 failed" in text
        store = RecordStore(options.out / "records")
        first = trainings[0]
        started = next(r for r in store.load() if r.inputs.get("start_from") == first.id)
        assert started.config["training"]["start_from"] == "quick:synthetic"
        # Weights that are gone are made again for whom they are needed, and only for them.
        remove_weights(kept_weights(options.out))
        more = dataclasses.replace(options, seeds="2,0,1", cells="sigma")
        assert session(more) == 0
        assert len(kept_weights(options.out)) == 1 + 2  # the start, and seed 1 of two cells

    def test_a_start_that_fails_takes_along_what_needs_it(self, options_for, grid, capsys):
        body = "cells:\n  started: {training.start_from: 'standard:synthetic'}\n"
        options = options_for(grid(body))
        assert session(options) == 1
        text = capsys.readouterr().out
        assert text.count("failed: ") == 1 and "start of started" in text
        assert len(RecordStore(options.out / "records").load()) == 2 + 2 + 1

    def test_what_cells_read_is_looked_at_before_anything_runs(self, options_for, grid, tmp_path):
        start = ["training.start_from=quick:synthetic", "training.loggers=[nonesuch]"]
        boxes = tmp_path / "boxes.json"
        boxes.write_text(
            '[{"image_id": 99999, "category_id": 1, "bbox": [1, 1, 9, 9], "score": 1}]'
        )
        others = [f"data.box_source={boxes}", "data.dataset=coco"]
        for overrides, says in ((start, "logger in"), (others, "99999")):
            options = options_for(grid(RATIOS), overrides=overrides)
            with pytest.raises(HEViTPoseError, match=says):
                session(options)
            assert not RecordStore(options.out / "records").load()

    def test_a_start_by_id_must_be_there_before_anything_runs(self, options_for, grid):
        whose = "0123456789abcdef0123"
        options = options_for(grid(RATIOS), overrides=[f"training.start_from={whose}"])
        with pytest.raises(UsageError, match=rf"start_from: {whose}: no weights") as caught:
            session(options)
        assert "\n" not in str(caught.value)
        assert not RecordStore(options.out / "records").load()

    def test_other_weights_in_a_trainings_place_are_none(self, options_for, grid, capsys):
        """Whatever was copied there: what starts from it, or scores it, says whose it is."""
        alone = options_for(grid("evaluate: {dark: {codec.decoder: dark}}"), cells="default")
        assert session(alone) == 0
        (kept,) = kept_weights(alone.out)
        kept.path.write_text("0" * 64)
        started = dataclasses.replace(alone, words=[*alone.words, f"training.start_from={kept.id}"])
        with pytest.raises(UsageError, match=rf"start_from: {kept.id}: no weights of this train"):
            session(started)
        more = dataclasses.replace(alone, cells=None)
        assert dry(more)[-1].startswith("2 of 5 would run")
        assert session(more) == 0
        assert "1 measured, 4 recorded before, 0 failed" in capsys.readouterr().out
        assert file_digest(kept.path) == kept.record.weights
        assert session(started) == 0
        kept.path.write_text("0" * 64)
        preset = options_for(grid(RATIOS), overrides=["training.start_from=quick:synthetic"])
        assert session(preset) == 0
        store = RecordStore(preset.out / "records")
        start = next(
            s for r in store.load() if (s := r.inputs.get("start_from")) not in (None, kept.id)
        )
        weights = preset.out / "train" / start / "model.safetensors"
        weights.write_text("0" * 64)
        assert session(dataclasses.replace(preset, seeds="1")) == 0
        assert file_digest(weights) == store.get(start).weights

    def test_failures_are_rows(self, options_for, grid, capsys):
        body = (
            "cells:\n  raise: {training.clip_norm: 1}\n  kill: {training.clip_norm: 2}\n"
            "  hang: {training.clip_norm: 3}\n  diverge: {training.clip_norm: 4}\n"
            "  memory: {training.clip_norm: 5}\n"
        )
        options = options_for(grid(body), timeout=1.5)
        assert session(options) == 1
        text = capsys.readouterr().out
        # The cells are one network: two costs, and of the default a training and an evaluation.
        assert "4 measured, 0 recorded before, 5 failed" in text
        store = RecordStore(options.out / "records")
        failed = {r.cell: r for r in store.load() if r.status != "ok"}
        statuses = {cell: record.status for cell, record in failed.items()}
        assert statuses == {
            "raise": "failed",
            "kill": "oom",
            "hang": "failed",
            "diverge": "diverged",
            "memory": "oom",
        }
        assert failed["raise"].error.startswith("ValueError: a broken cell (stub.py:")
        assert "a line of the log" in failed["raise"].error
        assert "Traceback" in failed["raise"].error
        assert "no sign of life" in failed["hang"].error
        assert not list((options.out / "records").glob(f"{failed['raise'].id}.json"))
        # not again unless asked
        assert session(options) == 1
        assert "0 measured, 4 recorded before, 5 failed" in capsys.readouterr().out
        again = dataclasses.replace(options, retry_failed=True, cells="raise")
        assert session(again) == 1
        assert len(store.failures(failed["raise"].id)) == 2

    @pytest.mark.slow
    def test_executors_agree(self, options_for, grid, tmp_path):
        results = []
        for name, workers in (("local", None), ("processes", 2)):
            options = options_for(
                grid(RATIOS), seeds="0,1", threads=1, executor=name, workers=workers,
                out=tmp_path / name,
            )  # fmt: skip
            assert session(options) == 0
            results.append(state(options.out))
        assert results[0] == results[1]

    def test_changed_data_are_not_recorded(self, options_for, grid, people, tmp_path, capsys):
        data = shutil.copytree(people, tmp_path / "changed")
        (data / CLAIMED).write_text("synthetic:v1:other")
        options = options_for(grid("axes: {model.ffn_ratio: [2]}"), data=data)
        assert session(options) == 1
        assert "the data changed during the run: synthetic:v1:other" in capsys.readouterr().out

    def test_users_own_attention(self, options_for, grid, tmp_path):
        module = tmp_path / "my_attention.py"
        text = (
            "import os, pathlib\n"
            "from hevitpose.config import Config\n"
            f"pathlib.Path({str(tmp_path)!r}, 'loaded').touch()\n"
            "def register(kind, name): return lambda thing: thing\n"
            "@register('attention', 'mine')\n"
            "def mine(dim): return None\n"
        )
        module.write_text(text)
        options = options_for(grid("axes: {model.attention: [mine]}"), imports=[module])
        ids = {j.id for j in plan_of(options).jobs}
        assert session(options) == 0
        assert (tmp_path / "loaded").exists()
        records = RecordStore(options.out / "records").load()
        record = next(r for r in records if r.cell == "mine" and r.kind == "training")
        assert record.inputs["model"]["imports"] == [file_digest(module)]
        module.write_text(text.replace("return None", "return 1"))
        edited = {j.id for j in plan_of(options).jobs}
        assert len(ids) == 8 and not edited & ids  # whether a cell uses it, nobody can tell
        module.write_text("1 / 0")
        bare = options_for(grid("axes: {model.ffn_ratio: [2]}"), imports=[module])
        assert session(bare) == 1  # every cell fails with the reason, none is lost


class TestDryRun:
    def test_reasons(self, options_for, grid):
        path = grid(RATIOS)
        options = options_for(path)
        lines = dry(options)
        assert len(lines) == 13 and all("would run absent" in line for line in lines[:12])
        assert lines[-1] == "12 of 12 would run: no earlier times"
        session(options)
        assert all(" recorded " in line for line in dry(options)[:12])
        assert dry(options)[-1] == "0 of 12 would run"
        lines = dry(dataclasses.replace(options, words=[*options.words, "training.lr=1"]))
        assert sum(" recorded " in line for line in lines) == 6  # complexity, latency
        assert sum("changed: training.lr: 0.001 -> 1" in line for line in lines) == 3
        assert sum("changed: weights: " in line for line in lines) == 3
        assert lines[-1].startswith("6 of 12 would run: about ")

    def test_changed_data_and_version(self, options_for, grid, tmp_path, monkeypatch):
        options = options_for(grid(RATIOS))
        session(options)
        elsewhere = tmp_path / "not rendered yet"
        others = [*options.words, "data.people=24"]
        lines = dry(dataclasses.replace(options, data=elsewhere, words=others))
        changed = "changed: data: synthetic:v1:seed0:people20:size64 -> synthetic:v1:seed0:people24"
        assert sum(changed in line for line in lines) == 6
        monkeypatch.setitem(identity.VERSIONS, "training", 1000)
        lines = dry(options)
        assert sum("changed: version: 1 -> 1000" in line for line in lines) == 3
        assert lines[-1].startswith("6 of 12 would run")  # and the evaluations of those weights
        monkeypatch.undo()
        monkeypatch.setitem(identity.VERSIONS, "evaluation", 1000)
        assert dry(options)[-1].startswith("3 of 12 would run")

    def test_weights_that_are_gone_train_again(self, options_for, grid, capsys):
        options = options_for(grid("evaluate: {dark: {codec.decoder: dark}}"), cells="default")
        assert session(options) == 0
        store = RecordStore(options.out / "records")
        (training,) = [r for r in store.load() if r.kind == "training"]
        (kept,) = kept_weights(options.out)
        assert remove_weights([kept]) == kept.bytes
        # Everything that is asked for is recorded: nobody needs the weights.
        assert dry(options)[-1] == "0 of 4 would run"
        more = dataclasses.replace(options, cells=None)
        lines = dry(more)
        assert [line for line in lines if "trains again: its weights are missing" in line]
        assert lines[-1].startswith("2 of 5 would run")
        capsys.readouterr()
        assert session(more) == 0
        assert "1 measured, 4 recorded before, 0 failed" in capsys.readouterr().out
        assert file_digest(kept.path) == training.weights == store.get(training.id).weights

    def test_other_weights_of_the_same_training_are_refused(self, options_for, grid, capsys):
        options = options_for(grid("evaluate: {dark: {codec.decoder: dark}}"), cells="default")
        assert session(options) == 0
        (path,) = [
            p for p in (options.out / "records").iterdir() if '"kind": "training"' in p.read_text()
        ]
        (kept,) = kept_weights(options.out)
        path.write_text(path.read_text().replace(kept.record.weights, "0" * 64))
        remove_weights([kept])
        assert session(dataclasses.replace(options, cells=None)) == 1
        assert f"says {'0' * 64}: of another machine" in capsys.readouterr().out
        assert "0" * 64 in path.read_text()  # never overwritten

    def test_failed_before(self, options_for, grid):
        options = options_for(grid("cells: {raise: {training.clip_norm: 1}}"))
        session(options)
        assert any("left out  failed before (1 x): ValueError" in x for x in dry(options))
        assert any("would run failed before" in x for x in dry(options, retry_failed=True))

    def test_no_people_are_rendered_for_what_cannot_be_trained_here(
        self, options_for, grid, tmp_path, monkeypatch
    ):
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
        monkeypatch.setattr("hevitpose.data.synthetic.generate", lambda *_, **__: pytest.fail())
        options = options_for(grid(RATIOS), overrides=["device=cuda"], data=tmp_path / "none")
        with pytest.raises(UsageError, match="no usable CUDA device"):
            session(options)

    def test_explain(self, options_for, grid):
        options = options_for(grid(RATIOS))
        session(options)
        record = next(
            r for r in RecordStore(options.out / "records").load() if r.kind == "training"
        )
        text = explain_record(record.id[:10], options.out, options.data)
        assert "fingerprint: 'synthetic:v1:seed0:people20:size64'" in text and "lr: 0.001" in text
        assert text.splitlines()[-1] == "now: the same"

    def test_explain_opens_committed_records(self, options_for, tmp_path):
        committed = next(iter(measured().iter(failures=False)))
        assert committed.id in explain_record(committed.id, tmp_path / "nothing here")

    def test_estimates_do_not_read_the_store_again_and_again(self, options_for, grid):
        options = options_for(grid(RATIOS), seeds="0,1")
        session(options)
        history = History(RecordStore(options.out / "records"))
        other = dataclasses.replace(options, words=[*options.words, "codec.sigma=3"])
        for job in plan_of(other).jobs:
            if job.kind == "training":  # of its own cell and seed, not of any
                nearest = history._nearest(job)
                assert (nearest.cell, nearest.seed) == (job.cell, job.seed)
                assert history.seconds(job) == nearest.seconds
        third = plan_of(dataclasses.replace(options, seeds="7")).jobs[-1]
        of_kind = [r.seconds for r in history.done.values() if r.kind == third.kind]
        assert min(of_kind) <= history.seconds(third) <= max(of_kind)


class TestTwoRunners:
    @pytest.mark.slow
    def test_one_record_per_id_and_hardly_a_cell_twice(self, options_for, grid):
        options = options_for(
            grid("axes: {model.ffn_ratio: [1, 2, 3, 4]}"), seeds="0,1",
            overrides=["training.steps=20"],
        )  # fmt: skip
        codes: list[int] = []
        script = "import sys; from tests.ablations.zygote import main; main()"
        line = json.dumps(dataclasses.asdict(options), default=str)
        runners = [
            subprocess.Popen(
                [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                text=True, cwd=ROOT,
            )
            for _ in range(2)
        ]  # fmt: skip
        for runner in runners:
            runner.stdin.write(line + "\n\n")
            runner.stdin.flush()
        for runner in runners:
            output, _ = runner.communicate(timeout=60)
            codes.append(int(output.split()[1]))
        assert codes == [0, 0]
        records = RecordStore(options.out / "records").load()
        assert len(records) == 4 * (1 + 1 + 2 + 2)
        assert not (options.out / "leases").exists()


class TestDisk:
    def test_full(self, options_for, grid, monkeypatch):
        def full(*_):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        options = options_for(grid(RATIOS))
        with monkeypatch.context() as patched:
            patched.setattr(store_module.os, "link", full)
            with pytest.raises(HEViTPoseError, match="No space left"):
                session(options)
        assert not list((options.out / "records").iterdir())
        assert not (options.out / "leases").exists()
        assert session(options) == 0

    def test_newer_store(self, options_for, grid):
        options = options_for(grid(RATIOS))
        session(options)
        path = next((options.out / "records").iterdir())
        version = '"schema_version": '
        text = path.read_text().replace(f"{version}{SCHEMA_VERSION}", f"{version}999")
        path.write_text(text)
        with pytest.raises(HEViTPoseError, match="newer schema"):
            session(options)


class TestCommand:
    @pytest.mark.parametrize("option", ["--timeout", "--gpus-per-run"])
    @pytest.mark.parametrize("value", ["nan", "inf"])
    def test_numbers_that_no_run_can_have_exit_2(self, capsys, tmp_path, option, value):
        assert command.main(["run", "--dry-run", option, value, "--out", str(tmp_path)]) == 2
        said = {"inf": f"{option} inf: expected a finite number", "nan": f"'{option}'"}  # typer's
        assert said[value] in capsys.readouterr().err

    def test_an_output_folder_that_cannot_be_exits_2(self, capsys, tmp_path):
        (tmp_path / "note").touch()
        assert command.main(["run", "--out", str(tmp_path / "note" / "x")]) == 2
        assert "is not a folder that can be written" in capsys.readouterr().err

    def test_usage_errors_exit_2(self, capsys, tmp_path):
        for arguments in (
            ["run", "attenton"],
            ["run", "--cells", "mhs"],
            ["run", "--seeds", "0,x"],
            ["run", "--seeds", "0", "--num-seeds", "2"],
            ["run", "--executor", "slurm"],
            ["run", "training.lrr=1"],
            ["run", "--variant", "x"],
            ["run", "--no-such-option"],
            ["explain", "zz", "--out", str(tmp_path)],
        ):
            common = ["--data", str(tmp_path)] if "run" in arguments else []
            assert command.main([*arguments, *common]) == 2, arguments
            assert "Traceback" not in capsys.readouterr().err

    def test_list(self, capsys):
        assert command.main(["list"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) < 24 and max(map(len, lines)) <= 100
        parts = next(i for i, line in enumerate(lines) if line.startswith("attention_parts "))
        assert "9 cells" in lines[parts]
        assert lines[parts + 1].startswith("  by PCKh@0.5 no cell was shown to differ")
        assert command.main(["list", "attention_parts", "robustness"]) == 0
        text = capsys.readouterr().out
        assert max(map(len, text.splitlines())) <= 100
        for words in (
            "no-cascade",
            "nox -s ablation -- --grid attention_parts",
            "no cell was shown",
        ):
            assert words in " ".join(text.split())
        assert "each at" in text and "box-jitter-2" in text
        assert command.main(["list", "nothing"]) == 2
        assert "unknown grid 'nothing'" in capsys.readouterr().err

    def test_everything_that_children_start_with_is_there(self):
        for name in PRELOAD:
            importlib.import_module(name)

    def test_no_torch_for_a_plan(self):
        code = (
            "import sys; from ablations import cli, explain, grid, plan, run, tune, workers; "
            "sys.exit(bool({'torch', 'scipy'} & set(sys.modules)))"
        )
        assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


class Zygote:
    """Runners that can be killed; see ``zygote.py``."""

    def __enter__(self) -> Zygote:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.ablations.zygote"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip
        return self

    def __exit__(self, *_) -> None:
        self._process.stdin.close()
        self._process.wait(10)

    def ask(self, line: str) -> int:
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


@pytest.mark.slow
def test_killed_at_random_points_ends_as_if_it_had_not_been(options_for, grid, tmp_path):
    """A 6-cell grid, SIGKILL to the runner; ``nox -s kills`` does so hundreds of times."""
    body = "axes: {model.ffn_ratio: [1, 2, 3, 4]}\ncells: {a: {codec.sigma: 3}, b: {model.peow: 0}}"
    options = options_for(grid(body), overrides=["training.steps=20"])
    plain = dataclasses.replace(options, out=tmp_path / "plain")
    with Zygote() as zygote:
        zygote.ask(json.dumps(dataclasses.asdict(plain), default=str))
        assert zygote.ask("") == 0
        total = len(list(plain.out.glob("records/*.json")))
        assert total == 22  # 6 trained and scored, 5 networks twice: `a` has the default's
        rng = random.Random(0)
        line = json.dumps(dataclasses.asdict(options), default=str)
        recorded: set[str] = set()
        for attempt in range(8):
            runner = zygote.ask(line)
            if attempt % 2:  # in the thick of it: soon after the next record or two
                more = len(recorded) + rng.randint(1, 2)
                deadline = time.monotonic() + 200  # a busy machine is no fault
                while len(list(options.out.glob("records/*.json"))) < min(more, total):
                    assert time.monotonic() < deadline, "no progress"
                    time.sleep(0.001)
                time.sleep(rng.uniform(0, 0.08))
            else:  # anywhere, the start included
                time.sleep(rng.uniform(0, 0.8))
            with contextlib.suppress(ProcessLookupError):
                os.kill(runner, signal.SIGKILL)
            zygote.ask("")
            store = RecordStore(options.out / "records")
            now = {record.id for record in store.load()}
            assert recorded <= now and not store.problems  # none lost, none half-written
            recorded = now
        zygote.ask(line)
        assert zygote.ask("") == 0
    assert state(options.out) == state(plain.out)
    folders = {p.name for p in options.out.iterdir()}
    assert folders == {"records", "train"}


def test_sigterm_ends_children_and_goes_on_later(options_for, grid):
    options = options_for(grid("cells: {slow: {training.clip_norm: 6}}"))
    seen: list[object] = []

    def stop_soon() -> None:
        deadline = time.monotonic() + 200  # a busy machine is no fault
        while time.monotonic() < deadline and not list(options.out.glob("train/*/last.ckpt")):
            time.sleep(0.02)
        seen.extend(options.out.glob("train/*/last.ckpt"))
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop_soon)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        session(options)
    thread.join()
    assert seen and not (options.out / "leases").exists()
    assert session(options) == 0
    shutil.rmtree(options.out)
