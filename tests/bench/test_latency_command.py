"""The command: requests, plans, children that fail, records, tables. Times are never asserted."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import json
import multiprocessing
import os
import signal
import time

import numpy as np
import pytest
import torch

from bench import cores, latency, worker
from bench import latency_tables as tables
from bench.cores import CoreProbe
from bench.worker import Task
from hevitpose.cost.latency import (
    Budget,
    Conditions,
    LatencyResult,
    WarmUp,
    summarize,
)
from hevitpose.errors import HEViTPoseError, UnavailableError
from hevitpose.isolated import Outcome
from hevitpose.records import RecordStore, provenance
from reports.output.repeat import repeat_command

TINY = Budget(5, 3, 0.02, 0.0, 0.02, 0.005, energy=False)
SMALL = Conditions(input_size=(64, 64))
COMPILED = Conditions(input_size=(64, 64), mode="compile")


def task(model="hevitpose_nano", conditions=SMALL):
    return Task(model, 17, conditions, TINY)


def result(conditions=SMALL, samples=(2.0, 2.0, 3.0), parity=None):
    warmup = WarmUp(9.0, 5, 0.1, (2.0, 2.0), capped=False)
    return LatencyResult(conditions, samples, summarize(samples), warmup, 1e-4, parity)


# Requests --------------------------------------------------------------------------------------


def test_gpu_without_a_gpu_is_one_line_and_exit_2(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(latency, "run", lambda *_: pytest.fail("measured on another device"))
    assert latency.main(["--gpu", "--models", "nano"]) == 2
    out, err = capsys.readouterr()
    assert err == "error: --gpu: no CUDA GPU is available here (nothing was measured)\n"
    assert not out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--models", "resnet"], "unknown model 'resnet'"),
        (["--modes", "eager,fuse"], "unknown mode 'fuse'; did you mean 'fused'?"),
        (["--dtype", "fp8"], "unknown dtype 'fp8'"),
        (["--scope", "all"], "unknown scope 'all'"),
        (["--layout", "hwc"], "unknown layout 'hwc'"),
        (["--input", "256"], "--input '256': expected HEIGHTxWIDTH"),
        (["--batch", "0"], "--batch '0': expected a positive integer"),
        (["--batch", "1,²"], "--batch '²': expected a positive integer"),
        (["--batch", "9" * 5000], "expected at most"),
        (["--tf32", "--models", "nano"], "--tf32: only a GPU has it"),
        (["--vs", "t,vitpose_s", "--input", "240x240"], "hevitpose_t:eager: "),
        (["--threads", "0"], "--threads: '0': expected a whole number, at least 1"),
        (["--keypoints", "9" * 5000], "--keypoints: '99"),
        (["--vs", "b,t", "--rounds", "1"], "--rounds: '1': expected a whole number, at least 2"),
        (["--seed", "-1"], f"--seed: '-1': expected a whole number, 0 to {2**64 - 1}"),
        (["--vs", "b,t", "--seed", f"{2**64}"], f"--seed: '{2**64}': expected a whole number"),
        (["--gpu", "--cpu"], "not allowed with"),
        (["--speed"], "unrecognized arguments: --speed"),
        (["--vs", "b"], "--vs 'b': expected at least two contenders"),
        (["--vs", "b,b"], "is named twice"),
        (["--vs", "nano:fused:fp32,nano:fused"], "hevitpose_nano:fused is named twice"),
        (["--batch", "1,01"], "--batch '1,01': one of them is given twice"),
        (["--input", "64x64,64x64"], "--input '64x64,64x64': one of them is given twice"),
        (["--modes", "eager,eager"], "--modes 'eager,eager': one of them is given twice"),
        (["--dtype", "fp32,fp32"], "--dtype 'fp32,fp32': one of them is given twice"),
        (["--layout", "nchw,nchw"], "--layout 'nchw,nchw': one of them is given twice"),
        (["--scope", "model,model"], "--scope 'model,model': one of them is given twice"),
        (["--out", f"{__file__}/x"], "is not a folder that can be written"),
        (["--timeout", "nan"], "--timeout nan: expected a finite number, more than 0"),
        (["--timeout", "inf"], "--timeout inf: expected a finite number, more than 0"),
        (["--timeout", "0"], "--timeout 0: expected a finite number, more than 0"),
        (["--vs", "b:eager:fp32:1,t"], "expected MODEL[:MODE[:DTYPE]]"),
        (["--vs", "b,t", "--batch", "1,8"], "--vs: expected one batch"),
    ],
)
def test_wrong_requests_are_one_line_and_exit_2(arguments, message, capsys):
    assert latency.main(arguments) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_plan_is_the_product_a_mode_at_a_time():
    options = latency.parse(
        ["--models", "t,nano", "--modes", "eager,fused", "--batch", "1,8", "--input", "256x192"]
    )
    names = [(t.conditions.batch, t.conditions.mode, t.model) for t in options.tasks]
    assert names == [
        (batch, mode, model)
        for batch in (1, 8)
        for mode in ("eager", "fused")
        for model in ("hevitpose_nano", "hevitpose_t")
    ]
    assert options.tasks[0].conditions.input_size == (192, 256)  # (W, H); text is H x W


# Children --------------------------------------------------------------------------------------


def _kill(task):
    os.kill(os.getpid(), signal.SIGKILL)


def _exit(task):
    os._exit(3)


def _hang(task):
    time.sleep(60)


def _raise(task):
    raise ValueError("first line\nsecond line")


def _unavailable(task):
    raise UnavailableError("no compiler")


def _does_not_fit(task):
    # More than any machine has: the limit of the child, not the system, refuses it.
    torch.empty(1 << 50, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("work", "status", "reason"),
    [
        (_raise, "failed", "ValueError: first line"),
        (_unavailable, "skipped", "no compiler"),
        (_does_not_fit, "oom", "RuntimeError"),
        (_kill, "oom", "killed by SIGKILL"),
        (_exit, "failed", "exit code 3"),
        (_hang, "failed", "timeout: no sign of life for 1 s"),
    ],
)
def test_whatever_happens_to_a_child_is_an_outcome(work, status, reason):
    outcome = worker.run(task(), timeout=1.0 if work is _hang else 60.0, work=work)
    assert outcome.status == status
    assert reason in outcome.reason
    assert "\n" not in outcome.reason


def test_a_child_measures():
    outcome = worker.run(task())
    assert outcome.status == "ok", outcome.reason
    assert outcome.result.wall.n >= 3


def test_an_input_that_does_not_fit_is_skipped_with_the_reason():
    outcome = worker.run(task(conditions=Conditions(input_size=(100, 64))))
    assert outcome.status == "skipped"
    assert "multiples of 32" in outcome.reason


@pytest.mark.slow
def test_contenders_answer_in_turn_and_end():
    with worker.contenders({"a": task(), "b": task()}) as ready:
        children = [contender.child for contender in ready.values()]
        rounds = [ready[name].round() for name in "abab"]
        results = ready["a"].result()
    assert all(len(times) >= 3 for times in rounds)
    assert results.samples == (*rounds[0], *rounds[2])
    assert not any(child.is_alive for child in children)


def test_a_contender_that_cannot_run_is_named():
    with (
        pytest.raises(HEViTPoseError, match="b: skipped: cudagraph: needs a CUDA device"),
        worker.contenders({"b": task(conditions=Conditions(mode="cudagraph"))}),
    ):
        pass


# Rows, records, tables -------------------------------------------------------------------------


@pytest.fixture
def outcomes(monkeypatch):
    """The command with scripted children: model to outcome."""
    script = {}
    monkeypatch.setattr(latency, "run", lambda task, timeout: script[task.model])
    return script


def test_failures_are_rows_and_records(outcomes, tmp_path, capsys):
    outcomes |= {
        "hevitpose_nano": Outcome("ok", result=result(COMPILED, parity=2e-6)),
        "hevitpose_t": Outcome("oom", "RuntimeError: not enough memory"),
        "hevitpose_b": Outcome("skipped", "compile: no C++ compiler"),
    }
    code = latency.main(["--models", "nano,t,b", "--modes", "compile", "--out", str(tmp_path)])
    assert code == 1  # something ran out of memory
    out, err = capsys.readouterr()
    for text in ("hevitpose_nano", "2.0e-06", "noisy", "oom: RuntimeError", "skipped: compile"):
        assert text in out
    assert "mode compile" in out  # the condition line
    assert "commit" in out
    assert err.count("s left") == 3
    store = RecordStore(tmp_path / "records")
    records = {record.model: record for record in store.load()}
    assert not store.problems
    assert {name: record.status for name, record in records.items()} == {
        "hevitpose_nano": "ok",
        "hevitpose_t": "oom",
        "hevitpose_b": "skipped",
    }
    kept = records["hevitpose_nano"].latency
    assert kept.samples == [2.0, 2.0, 3.0]
    assert kept.parity == 2e-6
    assert kept.conditions["mode"] == "compile"
    assert kept.noisy  # quartiles 2 and 2.5 about 2


def test_skipped_alone_is_no_failure_unless_nothing_was_measured(outcomes, tmp_path):
    outcomes["hevitpose_nano"] = Outcome("skipped", "not here")
    outcomes["hevitpose_t"] = Outcome("ok", result=result())
    arguments = ["--modes", "fused", "--out", str(tmp_path), "--models"]
    assert latency.main([*arguments, "nano,t"]) == 0
    assert latency.main([*arguments, "nano"]) == 2


def test_what_no_record_can_hold_is_not_measured(monkeypatch, tmp_path, capsys):
    """ViTPose takes 240x240, which a config refuses."""
    monkeypatch.setattr(latency, "run", lambda *_: pytest.fail("measured"))
    arguments = ["--models", "vitpose_s", "--modes", "eager", "--input", "240x240"]
    assert latency.main([*arguments, "--out", str(tmp_path)]) == 2
    assert "skipped (" in (err := capsys.readouterr().err) and "240" in err


def test_the_line_under_the_table_states_input_batch_and_keypoints(outcomes, tmp_path, capsys):
    outcomes["hevitpose_nano"] = Outcome("ok", result=result())
    arguments = ["--models", "nano", "--modes", "eager", "--batch", "4", "--input", "384x288"]
    assert latency.main([*arguments, "--out", str(tmp_path)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "threads, batch 4, input 384x288, 17 keypoints, fp32" in out


def test_options_of_the_network_are_shown(outcomes, tmp_path, capsys):
    outcomes["hevitpose_nano"] = Outcome("ok", result=result())
    arguments = ["--models", "nano", "--modes", "eager", "model.attention=mhsa"]
    arguments += ["--out", str(tmp_path)]
    assert latency.main(arguments) == 0
    out, err = capsys.readouterr()
    assert "hevitpose_nano attention=mhsa" in out and "hevitpose_nano attention=mhsa" in err
    assert latency.main([*arguments, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row["options"] == {"attention": "mhsa"} and row["keypoints"] == 17


def test_options_of_vs_are_for_its_contenders_alone():
    asked = latency.parse(["--vs", "b,t", "model.attention=mhsa"])  # no peer has an attention
    tasks = latency.versus_tasks(asked)
    assert {t.model: dict(t.options) for t in tasks.values()} == {
        "hevitpose_b": {"attention": "mhsa"},
        "hevitpose_t": {"attention": "mhsa"},
    }


def test_a_retiming_is_a_new_record(outcomes, tmp_path):
    outcomes["hevitpose_nano"] = Outcome("ok", result=result())
    for _ in range(2):
        latency.main(["--models", "nano", "--modes", "eager", "--out", str(tmp_path)])
    records = RecordStore(tmp_path / "records").load()
    assert sorted(record.inputs["attempt"] for record in records) == [1, 2]


def test_a_quick_timing_is_no_attempt_at_the_full_one(outcomes, tmp_path):
    outcomes["hevitpose_nano"] = Outcome("ok", result=result())
    arguments = ["--models", "nano", "--modes", "eager", "--input", "64x64", "--threads", "1"]
    for more in ([], ["--quick"], []):
        latency.main([*arguments, *more, "--out", str(tmp_path)])
    records = RecordStore(tmp_path / "records").load()
    found = {(r.latency.conditions.get("budget"), r.inputs["attempt"]) for r in records}
    assert found == {(None, 1), (None, 2), ("quick", 1)}
    # The full one names none, so that ids of before stay.
    plain = next(r for r in records if "budget" not in r.latency.conditions)
    assert plain.latency.conditions == SMALL.columns() == plain.inputs["conditions"]
    assert any("--quick" in repeat_command(r) for r in records if r is not plain)


def test_json(outcomes, tmp_path, capsys):
    outcomes["hevitpose_nano"] = Outcome("ok", result=result())
    arguments = ["--models", "nano", "--modes", "eager", "--out", str(tmp_path), "--json"]
    assert latency.main(arguments) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert (row["p50"], row["n"], row["p90"], row["status"]) == (2.0, 3, None, "ok")
    assert row["images_per_s"] == 500.0
    assert row["record"]


def test_quick_ends(outcomes, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(latency, "QUICK_SECONDS", 0.0)
    arguments = ["--models", "nano", "--modes", "eager", "--quick", "--out", str(tmp_path)]
    assert latency.main(arguments) == 2
    assert "the three minutes of --quick were over" in " ".join(capsys.readouterr().out.split())


@pytest.mark.slow
def test_vs_interleaves_and_records_the_ratio(tmp_path, capsys):
    arguments = ["--vs", "nano:eager,nano:torchscript", "--input", "64x64", "--rounds", "3"]
    arguments += ["--threads", "1"]  # two, beside other tests, wait for each other
    assert latency.main([*arguments, "--quick", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "time(hevitpose_nano:eager) / time(hevitpose_nano:torchscript) = " in out
    assert "(3 rounds)" in out
    records = RecordStore(tmp_path / "records").load()
    by_mode = {record.latency.conditions["mode"]: record.latency for record in records}
    assert by_mode["eager"].details["ratio"]["to"] == "hevitpose_nano:torchscript"
    assert by_mode["torchscript"].details["rounds"] == 3
    assert "ratio" not in by_mode["torchscript"].details


def test_vs_may_name_a_precision():
    asked = latency.parse(["--vs", "b:fused+openvino:int8,t:fused", "--dtype", "bf16"])
    tasks = latency.versus_tasks(asked)
    assert {label: task.conditions.dtype for label, task in tasks.items()} == {
        "hevitpose_b:fused+openvino:int8": "int8",
        "hevitpose_t:fused": "bf16",
    }


def test_streams_are_a_column_of_their_own():
    samples = (2.0, 2.0, 2.0)
    cuda = Conditions(device="cuda", input_size=(64, 64))
    measured = result(cuda)
    measured = LatencyResult(
        **{**vars(measured), "stream_samples": samples, "stream": summarize(samples)}
    )
    row = latency.Row(Task("hevitpose_b", 17, cuda, TINY), Outcome("ok", result=measured))
    assert "stream_p50" in tables.as_json([row], {})["rows"][0]
    assert len(list(tables._numbers(row, True))) == len(list(tables._numbers(row, False))) + 1


class FakeContender:
    """Takes the same time in every round, or another one in each."""

    def __init__(self, *ms):
        self.ms = itertools.cycle(ms)

    def round(self):
        return [next(self.ms)] * 3

    def result(self):
        return result()


@pytest.fixture
def fake_contenders(monkeypatch):
    def use(*fakes):
        @contextlib.contextmanager
        def contenders(tasks, timeout):
            yield dict(zip(tasks, fakes, strict=True))

        monkeypatch.setattr(latency, "contenders", contenders)

    return use


def test_an_interrupted_comparison_says_that_nothing_is_recorded(
    fake_contenders, monkeypatch, tmp_path, capsys
):
    class Interrupted(FakeContender):
        def round(self):
            raise KeyboardInterrupt

    fake_contenders(FakeContender(3.0), Interrupted(6.0))
    arguments = ["--threads", "1", "--out", str(tmp_path)]
    assert latency.main(["--vs", "t,nano", *arguments]) == 130
    assert capsys.readouterr().err.endswith("nothing is recorded\n")
    assert not list((tmp_path / "records").glob("*.json"))
    outcomes = itertools.chain([Outcome("ok", result=result())], itertools.repeat(None))

    def run(task, timeout):
        if (outcome := next(outcomes)) is None:
            raise KeyboardInterrupt
        return outcome

    monkeypatch.setattr(latency, "run", run)
    assert latency.main(["--models", "t,nano", "--modes", "eager", *arguments]) == 130
    assert capsys.readouterr().err.endswith("what was measured is recorded\n")
    assert len(list((tmp_path / "records").glob("*.json"))) == 1


def test_one_thread_is_a_number(outcomes, tmp_path, capsys):
    """``1 == True``: a caption must not say that threads are on."""
    outcomes["hevitpose_nano"] = Outcome("ok", result=result())
    arguments = ["--models", "nano", "--modes", "eager", "--threads", "1", "--json"]
    assert latency.main([*arguments, "--flip", "--out", str(tmp_path)]) == 0
    line = json.loads(capsys.readouterr().out)["conditions"]
    assert ", 1 threads," in line
    assert "flip test on" in line


def test_versus_divides_by_the_last(fake_contenders, tmp_path):
    fake_contenders(FakeContender(3.0), FakeContender(6.0), FakeContender(4.0))
    arguments = ["--vs", "b,t,nano", "--rounds", "4", "--threads", "1", "--out", str(tmp_path)]
    _, against = latency.versus(latency.parse(arguments))
    assert {label: (versus.to, versus.ratio.ratio) for label, versus in against.items()} == {
        "hevitpose_b:eager": ("hevitpose_nano:eager", 0.75),
        "hevitpose_t:eager": ("hevitpose_nano:eager", 1.5),
    }
    assert np.isfinite(against["hevitpose_b:eager"].ratio.low)
    assert against["hevitpose_b:eager"].close is None  # one thread: nothing is shared


def test_rounds_with_close_cores_are_told_apart(fake_contenders, monkeypatch, tmp_path, capsys):
    fake_contenders(FakeContender(3.0, 3.0, 8.0, 9.0), FakeContender(4.0))
    # A look before and one after each round of each contender, four rounds: the cores are apart
    # after A's third round, and before B's fourth.
    looks = iter([0.2] * 8 + [0.2, 0.5, 0.2, 0.2] + [0.2, 0.25, 0.5, 0.2])
    probe = type("Probe", (), {"round_trip_us": lambda self: next(looks)})()
    monkeypatch.setattr(latency, "_probe", lambda task: contextlib.nullcontext(probe))
    arguments = ["--vs", "b,nano", "--rounds", "4", "--out", str(tmp_path)]
    assert latency.main(arguments) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "with close cores 0.750 [0.750, 0.750] (2 rounds): no verdict (needs 8 rounds)" in out
    (details,) = (
        record.latency.details
        for record in RecordStore(tmp_path / "records").load()
        if record.model == "hevitpose_b"
    )
    assert details["core_round_trip_us"] == [0.2, 0.2, 0.5, 0.25]
    assert details["ratio"]["rounds"] == 4 and details["ratio"]["close_cores"]["rounds"] == 2


def test_cores_that_were_never_close_give_no_ratio():
    times = {"a": [[1.0], [1.0]], "b": [[2.0], [2.0]]}
    trips = {"a": [0.2, 0.6], "b": [0.6, 0.2]}
    (versus,) = latency._against_last(times, trips, np.random.default_rng(0)).values()
    assert versus.ratio.ratio == 0.5 and versus.close is None


@pytest.mark.skipif(provenance.cores() < 2, reason="one core has no other to be far from")
def test_two_processes_pass_a_byte():
    with CoreProbe() as probe:
        child = probe.child
        trips = [probe.round_trip_us() for _ in range(3)]
    assert all(trip > 0 for trip in trips)
    assert not child.is_alive


def test_a_probe_whose_parent_is_gone_does_not_look_for_ever(monkeypatch):
    monkeypatch.setattr(cores, "_MOST_LOOKS", 10)
    ours, theirs = multiprocessing.Pipe()
    ours.send("probe")
    cores._answer(theirs, (ctypes.c_ubyte * 1)())  # returns, though nobody writes the byte
    assert ours.recv() == "ready"
