"""The command ``bench/complexity.py``: what it prints, what it records, how it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench import complexity as command
from hevitpose.models.peers.counts import COUNTS, agrees
from hevitpose.models.spec import PEERS, VARIANTS
from hevitpose.records import RecordStore
from reports.published import published

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def run(tmp_path, capsys):
    """Runs the command in a store of its own: (exit code, standard output, standard error)."""

    def call(*arguments: str) -> tuple[int, str, str]:
        code = command.main(["--out", str(tmp_path), *arguments])
        return code, *capsys.readouterr()

    return call


def test_json_record_and_second_run(run, tmp_path, monkeypatch):
    code, out, _ = run("--models", "nano", "--input", "64x32", "--json")
    (row,) = json.loads(out)["rows"]
    assert code == 0
    assert (row["model"], row["input_size"], row["keypoints"]) == ("hevitpose_nano", [32, 64], 16)
    assert row["status"] == "ok" and type(row["params"]) is int
    assert set(row["gflops"]) == {"mmcv", "fvcore", "torch"}
    (record,) = RecordStore(tmp_path / "records").load()
    assert (record.kind, record.id, record.params) == ("complexity", row["record"], row["params"])
    assert record.flops.mmcv == row["gflops"]["mmcv"]
    assert record.inputs["model"]["num_keypoints"] == 16 and record.inputs["input"] == [32, 64]
    # The second run reads it back and builds nothing.
    monkeypatch.setattr("hevitpose.models.create_for_input", None)
    code, out, _ = run("--models", "nano", "--input", "64x32", "--json")
    (again,) = json.loads(out)["rows"]
    assert code == 0 and again["gflops"] == row["gflops"]
    # A record does not know what had no rule: said, so that nobody reads it as "nothing".
    assert row["uncounted"]["fvcore"] and again["uncounted"] is None
    assert "--fresh counts again" in run("--models", "nano", "--input", "64x32")[1]


def test_a_record_that_is_there_is_compared(run, tmp_path, monkeypatch):
    def count(model, row, conventions):
        counted = dict.fromkeys(conventions, 0.5)
        return replace(row, params=10, gflops=counted, uncounted={name: {} for name in counted})

    monkeypatch.setattr(command, "count_row", count)
    monkeypatch.setattr("hevitpose.models.create_for_input", lambda *_, **__: None)
    arguments = ("--models", "nano", "--input", "32x32")
    (row,) = json.loads(run(*arguments, "--json")[1])["rows"]
    path = tmp_path / "records" / f"{row['record']}.json"
    record = json.loads(path.read_text())
    record["flops"]["fvcore"] = None  # as a grid leaves it
    path.write_text(json.dumps(record))
    code, out, _ = run(*arguments)
    assert code == 0 and f"record {row['record']} lacks fvcore, and stays as it is" in out
    (again,) = json.loads(run(*arguments, "--json")[1])["rows"]
    assert again["lacks"] == ["fvcore"] and again["gflops"] == row["gflops"]
    record["params"] += 1
    path.write_text(json.dumps(record))
    for conventions in ("mmcv,fvcore,torch", "mmcv"):
        code, out, _ = run(*arguments, "--fresh", "--conventions", conventions)
        told = f"{path} says params {row['params'] + 1}, counted now {row['params']}"
        assert code == 1 and f"hevitpose_nano failed: {told}" in out


def test_json_has_the_modules_too(run):
    arguments = ("--models", "nano", "--input", "32x32", "--conventions", "mmcv", "--per-module")
    (table,) = json.loads(run(*arguments, "--depth", "1", "--json")[1])["per_module"]
    assert (table["model"], table["convention"]) == ("hevitpose_nano", "mmcv")
    names = [module["name"] for module in table["modules"]]
    assert names[0] == "" and len(names) > 1 and not any("." in name for name in names)


def test_an_incomplete_count_is_not_recorded(run, tmp_path):
    code, out, _ = run("--models", "nano", "--input", "64x64", "--conventions", "mmcv")
    assert code == 0 and "G mmcv" in out and "G torch" not in out
    assert RecordStore(tmp_path / "records").load() == []


@pytest.mark.slow
def test_printed_numbers_and_per_module_table(run):
    code, out, _ = run("--models", "t", "--conventions", "mmcv,torch", "--per-module")
    assert code == 0
    assert "3.2103" in out and "1.7488" in out and "reproduced" in out
    assert "head" in out and "convention mmcv" in out and "convention torch" in out


def test_peers_get_a_second_row_at_the_input_of_their_paper(run):
    code, out, _ = run("--models", "rtmpose_s", "--conventions", "mmcv", "--json")
    first, second = json.loads(out)["rows"]
    assert code == 0
    assert (first["input_size"], first["published"]) == ([256, 256], None)
    assert (second["input_size"], second["keypoints"]) == ([192, 256], 17)
    assert second["agreement"] == "reproduced" and second["published"]["params_m"] == "5.47"


@pytest.mark.slow
def test_cost_by_side(run):
    code, out, _ = run("--models", "b,rtmpose_s", "--sides", "160,320", "--json")
    costs = json.loads(out)["sides"]
    assert code == 0 and [c["side"] for c in costs] == [160, 320, 160, 320]
    assert costs[0]["params"] == costs[1]["params"]
    assert costs[2]["params"] < costs[3]["params"]  # its head has weights per place
    # Modules grow with the area exactly; attention products faster.
    assert costs[1]["gflops_mmcv"] == pytest.approx(4 * costs[0]["gflops_mmcv"], rel=1e-3)
    assert costs[1]["gflops_torch"] > 4.02 * costs[0]["gflops_torch"]
    # Within what can be read off the authors' figure.
    assert costs[1]["gflops_mmcv"] == pytest.approx(costs[1]["published_gflops"], abs=0.3)


def test_an_input_that_does_not_fit_is_a_row(run):
    code, out, _ = run("--models", "nano,vitpose_s", "--input", "48x48", "--conventions", "mmcv")
    assert code == 0  # 48 is no multiple of 32, but of 16, which is all that ViTPose needs
    assert "hevitpose_nano skipped" in out and "multiples of 32" in out
    code, _, _ = run("--models", "nano", "--input", "48x48", "--conventions", "mmcv")
    assert code == 2


def test_a_failure_is_a_row_and_no_record(run, tmp_path, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("no memory\nmore")

    monkeypatch.setattr("hevitpose.models.create_for_input", broken)
    code, out, _ = run("--models", "nano", "--json")
    (row,) = json.loads(out)["rows"]
    assert code == 1
    assert (row["status"], row["error"]) == ("failed", "RuntimeError: no memory")
    assert RecordStore(tmp_path / "records").load() == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--models", "hevitpose_c"], "did you mean"),
        (["--models", "nope_*"], "unknown model"),
        (["--input", "256"], "HEIGHTxWIDTH"),
        (["--input", "0x64"], "HEIGHTxWIDTH"),
        (["--conventions", "mmvc"], "did you mean 'mmcv'"),
        (["--keypoints", "0"], "at least 1"),
        (["--depth", "-1"], "argument --depth: '-1': expected a whole number, at least 0"),
        (["--sides", "32", "--time", "--threads", "0"], "argument --threads: '0': expected"),
        (["--sides", "160,x"], "--sides 'x': expected a positive integer"),
        (["--sides", "160,²"], "--sides '²': expected a positive integer"),
        (["--sides", "4097"], "--sides '4097': expected at most 4096"),
        (["--input", "٣٢x٣٢"], "expected HEIGHTxWIDTH"),
        (["--time"], "expected --sides"),
        (["--out", f"{__file__}/x"], "is not a folder that can be written"),
        (["--sides", "160,0160"], "--sides '160,0160': one of them is given twice"),
        (["--input", "64x64,064x64"], "--input '64x64,064x64': one of them is given twice"),
        (["--conventions", "mmcv,mmcv"], "--conventions 'mmcv,mmcv': one of them is given twice"),
    ],
)
def test_bad_arguments(run, arguments, message):
    code, out, err = run(*arguments)
    assert code == 2 and out == ""
    assert message in err and err.count("\n") == 1


def test_names_and_wildcards():
    assert command.select_models("b,nano") == ["hevitpose_nano", "hevitpose_b"]
    assert command.select_models("rtmpose_?,rtmpose_s") == ["rtmpose_s", "rtmpose_m"]
    assert command.select_models("all") == [*VARIANTS, *PEERS]


@pytest.mark.slow
def test_it_runs_from_a_bare_checkout(tmp_path):
    arguments = ["--models", "nano", "--input", "32x32", "--conventions", "mmcv", "--json"]
    script = [sys.executable, str(ROOT / "bench" / "complexity.py"), *arguments]
    result = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(result.stdout)["rows"][0]["status"] == "ok"


def test_counts_agree_with_the_printed_ones_or_say_why():
    """The printed numbers have one home, ``results/published``; ours stand beside the code."""
    checked = 0
    for name, ours in COUNTS.items():
        found = published().counts(name, ours.input_size, ours.num_keypoints)
        if found is None:
            continue
        pairs = ((ours.params_m, found.params_m), (ours.gflops, found.gflops))
        same = [agrees(float(mine), str(theirs)) for mine, theirs in pairs]
        assert all(same) or ours.note, (name, pairs)
        assert not (all(same) and ours.note), f"{name}: a note on an agreement"
        checked += 1
    assert checked >= 14
