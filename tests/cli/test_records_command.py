"""``hevitpose records``: what is chosen, what is left out, and the exit code."""

from __future__ import annotations

from pathlib import Path

import pytest

from hevitpose.cli import execute
from hevitpose.models.spec import WEIGHTS
from hevitpose.records import RecordStore
from tests.records.test_records import make

#: Two ids alike in their beginning, and another.
IDS = ("ab" * 10, "ab" * 9 + "cd", "9" * 20)


@pytest.fixture
def runs(tmp_path) -> Path:
    for name in IDS:
        (tmp_path / "train" / name).mkdir(parents=True)
        (tmp_path / "train" / name / WEIGHTS).write_bytes(b"x")
    return tmp_path


def weights(runs: Path) -> set[str]:
    return {path.parent.name for path in (runs / "train").glob(f"*/{WEIGHTS}")}


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([""], "record id '': expected 1 to 20"),
        (["zz"], "record id 'zz': expected 1 to 20"),
        (["99", "ab"], "record id 'ab' is ambiguous"),
        (["99", "c"], "no weights of a training whose id starts with 'c'"),
    ],
)
def test_prune_takes_a_beginning_for_one_id_or_removes_nothing(runs, ids, message, capsys):
    assert execute(["records", "prune", *ids, "--runs", str(runs), "--remove"]) == 2
    assert message in capsys.readouterr().err
    assert weights(runs) == set(IDS)


def test_prune_removes_what_was_named(runs):
    assert execute(["records", "prune", "9", "99", "--runs", str(runs), "--remove"]) == 0
    assert weights(runs) == set(IDS[:2])
    assert execute(["records", "prune", "--runs", str(runs), "--remove"]) == 0
    assert not weights(runs)


@pytest.fixture
def stores(tmp_path, monkeypatch) -> tuple[RecordStore, RecordStore]:
    """The records of this folder's runs, with one that cannot be read, and another store."""
    monkeypatch.chdir(tmp_path)
    here, there = RecordStore("runs/records"), RecordStore("there")
    for seed in range(2):
        here.add(make(seed))
    here.add_failure(make(1, status="failed", error="boom", metrics={}))
    (here.root / f"{'0' * 20}.json").write_text("{}")
    return here, there


def test_export_names_what_it_leaves_out(stores, capsys):
    here, _ = stores
    assert execute(["records", "export", "out.jsonl"]) == 1
    captured = capsys.readouterr()
    assert captured.out == "out.jsonl: 2 records\n"
    assert f"not usable: {'0' * 20}.json" in captured.err
    assert execute(["records", "export", "out.jsonl", make(1).id]) == 0
    (here.root / f"{make(1).id}.2.failed.json").write_text("{}")
    assert execute(["records", "export", "out.jsonl", make(1).id, "--failed"]) == 1
    captured = capsys.readouterr()
    assert captured.out.endswith("out.jsonl: 2 records\n")
    assert f"not usable: {make(1).id}.2.failed.json" in captured.err


def test_import_ends_with_1_where_something_was_left_out(stores, capsys):
    assert execute(["records", "import", "runs", "--store", "there"]) == 1
    captured = capsys.readouterr()
    assert captured.out == "3 added, 0 there already\n"
    assert f"not usable: {'0' * 20}.json" in captured.err


@pytest.mark.parametrize("command", ["import", "promote"])
def test_another_result_of_an_id_is_left_out_and_named(stores, command, capsys):
    _, there = stores
    there.add(make(metrics={"PCKh": 62.5}))
    there.add(make(1, seconds=9.0, machine={"gpu": "another GPU"}))
    assert execute(["records", "export", "out.jsonl", make().id, make(1).id]) == 0
    words = {"import": ["out.jsonl", "--store", "there"]}
    words["promote"] = [make().id, make(1).id, "--to", "there"]
    capsys.readouterr()
    assert execute(["records", command, *words[command]]) == 1
    captured = capsys.readouterr()
    assert captured.out == "0 added, 1 there already\n"
    assert captured.err.count("not usable: ") == 1
    assert f"another result of {make().id}: metrics.PCKh 62.5 and 61.5" in captured.err
    assert there.get(make().id).metrics == {"PCKh": 62.5}


def test_what_is_damaged_is_not_there_already(stores, capsys):
    _, there = stores
    there.root.mkdir()
    (there.root / f"{make().id}.json").write_text("{}")
    assert execute(["records", "promote", make().id, "--to", "there"]) == 1
    assert "not added, what is there is no record" in capsys.readouterr().err
