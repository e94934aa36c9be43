"""The record's schema, ids and store."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from hevitpose import records
from hevitpose.errors import DataError, HEViTPoseError, UsageError
from hevitpose.records import Record, RecordStore
from hevitpose.records import store as store_module

FIXTURES = Path(__file__).parent / "examples"


def make(seed: int = 0, **changes) -> Record:
    inputs = {"kind": "evaluation", "version": 1, "weights": "0" * 19 + "a", "seed": seed}
    values = {
        "id": records.digest(inputs),
        "inputs": inputs,
        "kind": "evaluation",
        "model": "hevitpose_nano",
        "seed": seed,
        "metrics": {"PCKh": 61.5},
        "started_at": datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC),
        "seconds": 1.5,
    } | changes
    return Record.of(values)


def files(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


class TestSchema:
    def test_roundtrip_is_identical(self):
        record = make(
            latency={"conditions": {"batch": 1}, "samples": [1.25, 1.5], "p50": 1.375, "n": 2},
            curve=[{"epoch": 1, "loss": 0.1}],
            artifacts={"weights": {"path": "cells/x/best.safetensors", "sha256": "0" * 64}},
            dataset={"name": "coco", "split": "val", "fingerprint": "sha256:0", "boxes": "gt"},
        )
        assert records.parse_record(record.to_json()) == record
        assert records.parse_record(record.to_json()).to_json() == record.to_json()

    @pytest.mark.parametrize(
        "changes",
        [
            {"status": "failed"},  # no reason
            {"error": "it broke"},  # ok with an error
            {"metrics": {}},  # ok without its measurement
            {"metrics": {"PCKh": float("nan")}},
            {"kind": "complexity"},
            {"kind": "latency", "latency": {"conditions": {}}},
            {"kind": "training", "train": {"steps": 1}},  # whose weights nobody could find again
            {"surprise": 1},
            {"started_at": datetime(2025, 1, 1)},  # no time zone
            {"source": "published"},
            {"id": "../../etc/passwd"},
            {"seconds": -1},
        ],
    )
    def test_contradictions_are_refused(self, changes):
        with pytest.raises(ValueError):
            make(**changes)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"surprise": 1}, "unknown field `surprise`"),
            ({"seconds": -1}, "seconds: -1, expected `float` >= 0.0"),
            ({"status": "fine"}, "status: 'fine', expected one of ok, failed, oom"),
            ({"flops": {"mmcv": "x"}}, "flops.mmcv: 'x', expected `float | null`, got `str`"),
            ({"curve": [{"loss": 1}, {"loss": []}]}, "curve.1.loss: [], expected"),
            ({"metrics": {"Mean": 1.0, "Hip": "x"}}, "metrics.Hip: 'x', expected `float | null`"),
            ({"metrics": {"Mean": float("inf")}}, "metrics.Mean: inf, expected a finite number"),
            ({"inputs": {"seeds": [1, float("nan")]}}, "inputs.seeds[1]: nan, expected a finite"),
            ({"train": {"lr": 1, "speed": 2}}, "train: Object contains unknown field `speed`"),
            ({"intervals": {"Mean": {"low": 1.0}}}, "intervals.Mean: .*missing.*`high`"),
        ],
    )
    def test_a_refusal_names_the_key_and_what_was_expected(self, changes, message):
        with pytest.raises(
            ValueError, match=message.replace("[", r"\[").replace("|", r"\|")
        ) as caught:
            make(**changes)
        assert "\n" not in str(caught.value)

    def test_numbers_of_numpy_are_taken(self):
        record = make(metrics={"Mean": np.float32(50.5)}, params=np.int64(3), seconds=np.float64(2))
        assert (record.metrics, record.params, record.seconds) == ({"Mean": 50.5}, 3, 2.0)
        assert records.parse_record(record.to_json()) == record

    def test_a_nan_in_a_file_is_none_in_a_metric_and_refused_elsewhere(self):
        text = make(metrics={"Mean": 50.0, "Hip": 1.0}).to_json()
        assert records.parse_record(text.replace('"Hip": 1.0', '"Hip": NaN')).metrics["Hip"] is None
        with pytest.raises(ValueError, match="seconds: nan, expected a finite number"):
            records.parse_record(text.replace('"seconds": 1.5', '"seconds": NaN'))

    def test_a_metric_of_nobody_is_none(self):
        assert make(metrics={"Mean": 50.0, "Hip": float("nan")}).metrics["Hip"] is None
        with pytest.raises(ValueError):
            make(metrics={"Mean": float("inf")})

    def test_published(self):
        assert make(source="published: arXiv 2311.13615").source.endswith("13615")


class TestIds:
    def test_order_of_keys_does_not_matter(self):
        assert records.digest({"a": 1, "b": [2]}) == records.digest({"b": (2,), "a": 1})

    def test_differences(self):
        old = {"config": {"lr": 1, "gone": 0}, "seed": 0}
        new = {"config": {"lr": 2, "new": 1}, "seed": 0}
        assert [str(each) for each in records.differences(old, new)] == [
            "config.gone: 0 -> None",
            "config.lr: 1 -> 2",
            "config.new: None -> 1",
        ]


class TestStore:
    def test_success_once(self, tmp_path):
        store = RecordStore(tmp_path / "records")
        assert store.add(make())
        assert not store.add(make(metrics={"PCKh": 1.0}))  # at most one: the first stays
        assert store.get(make().id) == make()
        assert files(store.root) == [f"{make().id}.json"]
        assert make().id in store and make(seed=1).id not in store
        assert store.get(make(seed=1).id) is None

    def test_failures_are_numbered_and_never_successes(self, tmp_path):
        store = RecordStore(tmp_path)
        first = make(status="failed", error="boom", metrics={})
        second = make(status="oom", error="killed", metrics={})
        assert store.add_failure(first).name == f"{first.id}.1.failed.json"
        assert store.add_failure(second).name == f"{first.id}.2.failed.json"
        assert store.failures(first.id) == [first, second]
        assert store.get(first.id) is None and first.id not in store
        assert store.find(first.id[:6]) == second
        with pytest.raises(HEViTPoseError, match="not a success"):
            store.add(first)
        with pytest.raises(HEViTPoseError, match="not a failure"):
            store.add_failure(make())
        assert len(store.load()) == 2 and store.load(failures=False) == []

    def test_unusable_files_are_named_not_fatal(self, tmp_path):
        store = RecordStore(tmp_path)
        good, other = make(), make(seed=1)
        store.add(good)
        (tmp_path / f"{other.id}.json").write_text(good.to_json())  # under another's name
        (tmp_path / "notes.json").write_text("{}")
        (tmp_path / f"{'0' * 20}.json").write_text("{ truncated")
        (tmp_path / f"{'1' * 20}.json").write_bytes(b"\xff\xfe")
        (tmp_path / f"{'2' * 20}.json").write_text("[]")
        (tmp_path / f"{'3' * 20}.json").write_text('{"schema_version": "x"}')
        (tmp_path / f"{'4' * 20}.json").write_text(make(status="failed", error="e").to_json())
        changed = json.loads(good.to_json()) | {"inputs": {"seed": 7}}
        (tmp_path / f"{good.id}.1.failed.json").write_text(json.dumps(changed))
        (tmp_path / "README.md").write_text("not looked at")
        assert store.load() == [good]
        assert {problem.file for problem in store.problems} == {
            f"{other.id}.json",
            "notes.json",
            *(f"{digit * 20}.json" for digit in "01234"),
            f"{good.id}.1.failed.json",
        }
        assert all("\n" not in str(problem) for problem in store.problems)
        with pytest.raises(DataError, match="not JSON"):
            store.get("0" * 20)

    def test_newer_schema_makes_the_store_read_only(self, tmp_path):
        store = RecordStore(tmp_path)
        store.add(make())
        newer = json.loads(make(seed=1).to_json()) | {"schema_version": 4, "novel": 1}
        (tmp_path / f"{make(seed=1).id}.json").write_text(json.dumps(newer))
        store = RecordStore(tmp_path)
        with pytest.raises(HEViTPoseError, match=r"newer schema than 3.*read but not written"):
            store.add(make(seed=2))
        assert store.load() == [make()]
        assert "reads up to 3" in store.problems[0].reason
        assert len(files(tmp_path)) == 2

    def test_only_the_files_of_some_ids_are_opened(self, tmp_path):
        store = RecordStore(tmp_path)
        wanted, other = make(seed=1), make(seed=2)
        store.add(wanted)
        store.add(other)
        failure = make(seed=3, status="failed", error="why", metrics={})
        store.add_failure(failure)
        (tmp_path / f"{other.id}.json").write_text("{")  # a look would name it
        assert list(store.iter(ids={wanted.id, failure.id})) == sorted(
            [wanted, failure], key=lambda record: record.id
        )
        assert not store.problems

    def test_only_the_files_that_name_something_are_parsed(self, tmp_path):
        store = RecordStore(tmp_path)
        wanted, other = make(seed=1, weights="a" * 64), make(seed=2, weights="b" * 64)
        store.add(wanted)
        store.add(other)
        (tmp_path / f"{other.id}.json").write_text("{")  # a look would name it
        assert list(store.iter(naming="a" * 64)) == [wanted] and not store.problems
        assert not list(store.iter(naming="c" * 64)) and not store.problems

    def test_find(self, tmp_path):
        store = RecordStore(tmp_path)
        for seed in range(40):
            store.add(make(seed))
        assert store.find(make(3).id) == make(3)
        with pytest.raises(UsageError, match="ambiguous"):
            store.find(next(d for d in "0123456789abcdef" if len(list(tmp_path.glob(f"{d}*"))) > 1))
        with pytest.raises(UsageError, match="no record"):
            store.find("0" * 20)
        with pytest.raises(UsageError, match="hexadecimal"):
            store.find("../x")

    @pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
    @pytest.mark.parametrize("call", ["fsync", "link"])
    def test_full_or_read_only_disk(self, tmp_path, monkeypatch, code, call):
        def fail(*_):
            raise OSError(code, os.strerror(code))

        store = RecordStore(tmp_path)
        monkeypatch.setattr(store_module.os, call, fail)
        with pytest.raises(HEViTPoseError, match=os.strerror(code)) as error:
            store.add(make())
        assert "\n" not in str(error.value)
        assert files(tmp_path) == []

    def test_root_that_cannot_be(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(HEViTPoseError, match="cannot"):
            RecordStore(tmp_path / "file" / "records").add(make())


def _write_forever(root: str) -> None:
    store = RecordStore(root)
    for seed in range(10**6):
        store.add(make(seed))


def _write_same(root: str, barrier, queue) -> None:
    store = RecordStore(root)
    barrier.wait()
    queue.put(sum(store.add(make(seed)) for seed in range(40)))


class TestConcurrency:
    def test_killed_writers_leave_whole_records(self, tmp_path):
        context = multiprocessing.get_context("fork")
        for _ in range(8):
            process = context.Process(target=_write_forever, args=(str(tmp_path),))
            process.start()
            before = len(files(tmp_path))
            while len(files(tmp_path)) < before + 3:
                time.sleep(0.001)
            os.kill(process.pid, signal.SIGKILL)
            process.join()
        store = RecordStore(tmp_path)
        found = store.load()
        assert len(found) > 8 and store.problems == []
        store.sweep()
        assert len(files(tmp_path)) == len(found)

    def test_two_runners_one_record(self, tmp_path):
        context = multiprocessing.get_context("fork")
        barrier, queue = context.Barrier(2), context.Queue()
        workers = [
            context.Process(target=_write_same, args=(str(tmp_path), barrier, queue))
            for _ in range(2)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert queue.get() + queue.get() == 40 == len(files(tmp_path))


class TestTransfer:
    def test_export_import_keeps_everything(self, tmp_path):
        here, there = RecordStore(tmp_path / "a"), RecordStore(tmp_path / "b")
        good = make(machine={"gpu": "example GPU"}, code={"commit": "c0ffee"})
        failed = make(1, status="failed", error="boom", metrics={})
        here.add(good)
        here.add_failure(failed)
        file = tmp_path / "out" / "records.jsonl"
        assert records.export_records(here, file) == 1
        assert records.export_records(here, file, failures=True) == 2
        for added, present in ((2, 0), (0, 2)):  # the second time changes nothing
            report = records.import_records(there, file)
            assert (len(report.added), len(report.present)) == (added, present)
        assert files(here.root) == files(there.root)
        assert there.get(good.id).to_json() == good.to_json()

    def test_texts_may_hold_what_ends_lines_and_half_letters(self, tmp_path):
        here, there = RecordStore(tmp_path / "a"), RecordStore(tmp_path / "b")
        here.add(make(cell="a\u2028b\x85c\u2029d"))
        here.add_failure(make(1, status="failed", error="no \udcff.jpg", metrics={}))
        file = tmp_path / "records.jsonl"
        assert records.export_records(here, file, failures=True) == 2
        report = records.import_records(there, file)
        assert len(report.added) == 2 and not report.problems
        assert {r.cell for r in there.load()} == {"a\u2028b\x85c\u2029d", None}
        assert [r.error for r in there.load() if r.error] == [r"no \udcff.jpg"]

    def test_a_folder_is_imported_as_it_is(self, tmp_path):
        here, there = RecordStore(tmp_path / "runs/records"), RecordStore(tmp_path / "b")
        here.add(make())
        here.add_failure(make(1, status="failed", error="boom", metrics={}))
        (here.root / f"{'0' * 20}.json").write_text("{}")
        for folder, added in ((tmp_path / "runs", 2), (here.root, 0)):
            report = records.import_records(there, folder)
            assert (len(report.added), len(report.present)) == (added, 2 - added)
            assert [problem.file for problem in report.problems] == [f"{'0' * 20}.json"]

    def test_bad_files(self, tmp_path):
        store, file = RecordStore(tmp_path / "a"), tmp_path / "x.jsonl"
        with pytest.raises(DataError, match="cannot be read"):
            records.import_records(store, file)
        for text in ("", "[]", "{}", "\x00", '{"format": "other"}'):
            file.write_text(text)
            with pytest.raises(DataError, match="not a file that"):
                records.import_records(store, file)
        for seed in range(2):
            store.add(make(seed))
        records.export_records(store, file)
        lines = file.read_text().splitlines()
        file.write_text("\n".join(lines[:-1]))
        with pytest.raises(DataError, match="holds 1 records, its first line says 2"):
            records.import_records(store, file)
        file.write_text("\n".join([*lines[:-1], lines[-1].replace("61.5", "oops")]))
        report = records.import_records(RecordStore(tmp_path / "b"), file)
        assert len(report.added) == 1 and report.problems[0].file == "x.jsonl:3"

    def test_promote(self, tmp_path):
        here, there = RecordStore(tmp_path / "a"), RecordStore(tmp_path / "b")
        good = make()
        here.add(good)
        assert records.promote(here, [good.id[:8]], there).added == [good.id]
        assert records.promote(here, [good.id], there).present == [good.id]
        assert there.get(good.id) == good
        here.add(make(1, config={"data": {"root": "/home/someone/data"}}))
        with pytest.raises(HEViTPoseError, match=r"config\.data\.root.*no absolute path"):
            records.promote(here, [make(1).id], there)
        for number, trained in enumerate(("val", "trainval"), 3):
            here.add(make(number, config={"data": {"train_split": trained, "val_split": "val"}}))
            with pytest.raises(HEViTPoseError, match=f"trained on {trained} and scored on val"):
                records.promote(here, [make(number).id], there)
        here.add_failure(make(2, status="failed", error="boom"))
        with pytest.raises(HEViTPoseError, match="expected ok"):
            records.promote(here, [make(2).id], there)
        assert len(there.load()) == 1


def test_stored_examples_of_every_schema_load():
    found = {path.name: path for path in FIXTURES.glob("*.json")}
    assert set(found) == {f"schema{n}.json" for n in range(1, records.SCHEMA_VERSION + 1)}
    old = records.parse_record(found["schema1.json"].read_text())
    assert old.kind == "evaluation"  # then one with its training
    assert old.metrics["PCKh"] == 61.5 and old.train.steps == 300
    renamed = records.parse_record(found["schema2.json"].read_text())  # keys of the config
    assert renamed.config["codec"] == {"decoder": "dark", "sigma": 1.0}
    assert renamed.config["evaluation"] == {"flip_test": True}
    assert renamed.config["data"] == {"box_source": "gt"}
    assert renamed.axes == {"codec.decoder": "dark"}
    current = records.parse_record(found["schema3.json"].read_text())
    assert (current.kind, current.training) == ("evaluation", "0" * 19 + "a")


@pytest.mark.parametrize("version", [0, -1, True, None, "1"])
def test_versions_that_never_were(version):
    with pytest.raises(ValueError, match="schema_version"):
        records.parse_record(json.dumps({"schema_version": version}))


def test_torch_free():
    code = "import hevitpose.records, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_listing():
    from hevitpose.records.listing import render

    failed = make(1, status="failed", error="boom\nlog", metrics={})
    lines = render([failed, make(grid="attention", cell="mhsa")]).splitlines()
    assert len(lines) == 3 and "attention/mhsa" in lines[1] + lines[2]
    assert any("failed" in line and "boom" in line for line in lines)
    assert any("PCKh 61.5" in line for line in lines)


def test_a_strangers_record_moves_no_terminal(tmp_path, capsys):
    from hevitpose.cli import execute
    from hevitpose.records.listing import render

    odd = "\x1b[31mred\x1b[0m\nline\x9b2J"
    of = {"model": odd, "cell": odd, "source": f"published: {odd}"}
    failed = make(1, status="failed", error=f"a{odd}", metrics={}, **of)
    shown = render([make(2, **of, metrics={odd: 1.0}), failed])
    assert len(shown.splitlines()) == 3 and shown.replace("\n", "").isprintable()
    assert r"\x1b[31mred\x1b[0m\nline\x9b2J" in shown
    store = records.RecordStore(tmp_path / "store")
    record = make(3, **of)
    store.add(record)
    assert execute(["records", "show", record.id, "--store", str(store.root)]) == 0
    text = capsys.readouterr().out
    assert text.replace("\n", "").isprintable() and records.parse_record(text) == record


def test_listing_shows_a_dash_for_what_was_not_measured():
    from hevitpose.records.listing import HEADER, row

    kinds = {
        "complexity": {"params": 401_234, "flops": {"mmcv": None, "torch": 0.1}},
        "training": {"train": {"steps": 300, "loss": None}, "weights": "0" * 64},
    }
    result = HEADER.index("result")
    assert row(make(1, kind="complexity", **kinds["complexity"]))[result] == "0.4012M -"
    assert row(make(1, kind="training", **kinds["training"]))[result] == "300 steps, loss -"
    kinds["training"]["train"]["loss"] = 0.0
    assert row(make(1, kind="training", **kinds["training"]))[result] == "300 steps, loss 0"


@pytest.mark.parametrize("key", ["model", "runtime"])
def test_inputs_that_are_no_sections_are_refused(key):
    record = make(1).to_dict()
    inputs = record["inputs"] | {key: "cpu"}
    text = json.dumps(record | {"inputs": inputs, "id": records.digest(inputs)})
    with pytest.raises(ValueError, match=rf"inputs\.{key}: 'cpu', expected an object"):
        records.parse_record(text)
