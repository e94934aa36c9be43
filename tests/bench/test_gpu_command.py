"""The GPU campaign, rehearsed on the CPU: rows, records, a second call, parts that fail."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from bench import gpu, gpu_data, gpu_folder, gpu_latency, gpu_training, worker
from bench.gpu_session import FULL, REHEARSAL, Log, Session, Way
from bench.training_step import check_form
from bench.worker import Task, run_group
from hevitpose import records
from hevitpose.cli import execute
from hevitpose.codec import make_codec
from hevitpose.cost.latency import Conditions
from hevitpose.data.loader import normalise
from hevitpose.errors import DataError
from hevitpose.isolated import Outcome
from hevitpose.models import create_for_input
from hevitpose.models.forms import optimize
from hevitpose.records import RecordStore

ROOT = Path(__file__).resolve().parents[2]


def session(out, *, seconds=60.0, data=None):
    out.mkdir(parents=True, exist_ok=True)
    now = time.monotonic()
    log = Log.open(out / "rows.jsonl")
    data = data or out / "stand_in"
    return Session(out, "cpu", REHEARSAL, data, log, now + seconds, "d", now + seconds)


def rows(out):
    return [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]


# The whole ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory):
    out = tmp_path_factory.mktemp("gpu") / "out"
    return out, gpu.main(["--rehearse", "--out", str(out)])


@pytest.mark.slow
def test_a_rehearsal_leaves_rows_of_every_part_records_and_a_summary(rehearsed):
    out, code = rehearsed
    found = rows(out)
    assert code == 0, [row for row in found if row["status"] not in ("ok", "skipped")]
    assert {row["part"] for row in found} == set(gpu.PARTS)
    keys = {row["key"]: row for row in found}
    assert keys["hevitpose_nano fused fp32 nchw batch 1"]["error"] < 1e-4
    ratio = keys["hevitpose_nano / pose_mobilenetv2 fused bf16 nhwc batch 1"]
    assert ratio["low"] <= ratio["ratio"] <= ratio["high"]
    assert keys["hevitpose_nano train+bf16"]["images_per_s"] > 0
    trained = keys["hevitpose_nano 6 steps"]
    assert trained["steps"] == keys["steps of hevitpose_nano"]["steps"]  # stated before
    record = RecordStore(out / "records").find(trained["record"])
    assert record.precision == "bf16"
    scores = RecordStore(out / "records").find(trained["evaluation"])
    assert "AP" in scores.metrics and scores.flip_test
    summary = json.loads((out / "summary.json").read_text())
    assert len(summary["rows"]) == len({(row["part"], row["key"]) for row in found})
    assert trained["record"] and "hevitpose_nano 6 steps" in (out / "summary.txt").read_text()


@pytest.mark.slow
def test_the_same_call_again_measures_nothing(rehearsed, monkeypatch):
    out, _ = rehearsed
    before = {row["key"] for row in rows(out)}
    monkeypatch.setattr("bench.gpu_session.run_group", lambda *_, **__: pytest.fail("measured"))
    monkeypatch.setattr(gpu_training, "warm_up", lambda session: None)
    assert gpu.main(["--rehearse", "--out", str(out)]) == 0
    assert {row["key"] for row in rows(out)} == before


@pytest.mark.slow
def test_its_folder_is_imported(rehearsed, tmp_path, capsys):
    out, _ = rehearsed
    count = len(list((out / "records").glob("*.json")))
    for said in (f"{count} added, 0 there", f"0 added, {count} there"):
        assert execute(["records", "import", str(out), "--store", str(tmp_path / "s")]) == 0
        assert said in capsys.readouterr().out
    report = records.import_records(RecordStore(tmp_path / "t"), out / "records")
    assert len(report.added) == count and not report.problems


# Requests -------------------------------------------------------------------------------------


def test_without_a_gpu_it_is_one_line_and_exit_2(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main(["--out", str(tmp_path / "out"), "--data", str(tmp_path)]) == 2
    assert (
        capsys.readouterr().err == "error: no CUDA GPU is available here (--rehearse needs none)\n"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--parts", "a,e"], "unknown part 'e'"),
        (["--minutes", "0"], "--minutes 0: expected a finite number, more than 0"),
        (["--out", f"{__file__}/x", "--data", "x"], "is not a folder that can be written"),
        (["--minutes", "nan"], "--minutes nan: expected a finite number"),
        (["--minutes", "inf"], "--minutes inf: expected a finite number"),
        (["--parts", "c"], "--data: not given"),
        (["--fast"], "unrecognized arguments: --fast"),
    ],
)
def test_wrong_requests_are_one_line_and_exit_2(arguments, says, capsys):
    assert gpu.main(arguments) == 2
    err = capsys.readouterr().err
    assert says in err and err.count("\n") == 1


def test_what_the_campaign_names_exists():
    for way in (*FULL.checks, *FULL.ways, *FULL.versus, FULL.compiled_way):
        way.conditions("cuda", FULL.size)  # refuses an unknown mode, dtype, layout
    for form in (*FULL.train_forms, "train+bf16+compile"):
        check_form(form)
    assert {*FULL.contenders, *FULL.compiled} <= set(FULL.ours)
    assert gpu_training.TRAINED in FULL.ours


def test_tf32_is_a_setting_of_fp32():
    conditions = Way(1, dtype="tf32").conditions("cuda", (256, 256))
    assert (conditions.dtype, conditions.tf32) == ("fp32", True)


@pytest.fixture
def no_parts(monkeypatch, tmp_path):
    """The command on a machine that is told, with parts that do nothing but ``rows`` says."""
    machine = {"cpu": "A processor", "gpu": "H100", "driver": "1", "threads": 2}
    versions = {"torch": "2.9", "cuda": "13"}
    ran = []

    def call(*arguments, **facts):
        given = {**machine, **versions, **facts}
        monkeypatch.setattr(gpu_folder.provenance, "machine", lambda: given)
        monkeypatch.setattr(gpu_folder.provenance, "versions", lambda: given)
        monkeypatch.setattr(gpu_folder.provenance, "code", lambda: {"commit": given.get("commit")})
        return gpu.main([*arguments, "--out", str(tmp_path / "out")])

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu, "make_stand_in", lambda root: None)
    monkeypatch.setattr(gpu_training, "warm_up", lambda session: None)
    monkeypatch.setattr(gpu, "run_parts", lambda session, parts: ran.append(session))
    call.ran, call.out = ran, tmp_path / "out"
    return call


@pytest.mark.parametrize(
    ("again", "says"),
    [
        ({"gpu": "H200"}, "begun with device H100, this call's is H200: expected another --out"),
        ({"torch": "2.10"}, "begun with torch 2.9, this call's is 2.10"),
        ({"rehearse": True}, "begun with scale full, this call's is rehearsal"),
        ({"annotations": "b"}, "begun with annotations sha256:"),
    ],
)
def test_a_folder_takes_rows_of_one_kind_only(no_parts, tmp_path, capsys, again, says):
    data = tmp_path / "data/coco_small/annotations"
    data.mkdir(parents=True)
    for split in ("train", "val"):
        (data / f"coco_small_{split}.json").write_text("a")
    call = ["--data", str(tmp_path / "data")]
    assert no_parts("--parts", "a", commit="c1") == 0  # knows no data yet
    assert no_parts(*call, commit="c2") == 0
    out = capsys.readouterr().out
    assert out.endswith("H100, driver 1, 2 cores; torch 2.9, CUDA 13; full scale; commit c1, c2\n")
    call += ["--rehearse"] if again.pop("rehearse", False) else []
    (data / "coco_small_val.json").write_text(again.pop("annotations", "a"))
    assert no_parts(*call, **again) == 2
    assert len(no_parts.ran) == 2  # nothing is measured
    err = capsys.readouterr().err
    assert says in err and err.count("\n") == 1


def test_rows_without_a_header_are_not_continued(no_parts, capsys):
    no_parts.out.mkdir()
    (no_parts.out / "rows.jsonl").write_text("")
    assert no_parts("--rehearse") == 2
    assert "rows.jsonl without a header.json" in capsys.readouterr().err


@pytest.mark.parametrize("status", ["diverged", "late", "failed", "oom"])
def test_what_did_not_come_about_is_exit_1(no_parts, monkeypatch, status):
    monkeypatch.setattr(
        gpu, "run_parts", lambda here, _: here.log.add("d", "x", status, reason="y")
    )
    assert no_parts("--rehearse") == 1


def test_the_summary_states_what_is_constant_in_a_part():
    found = [{"part": part, "key": "x", "status": "ok"} for part in gpu.PARTS]
    header = gpu_folder.header_of("full", "cpu", Path("nowhere"))
    text = gpu.summary(found, header, FULL)
    assert [line for line in text.splitlines() if line[:2] in ("a:", "b:", "c:", "d:")] == [
        "a: forms and precisions agree; input 256x256, batch 1",
        "b: latency; input 256x256",
        "c: training throughput; input 256x192, batch 128",
        "d: a real training; input 256x192, batch 128",
    ]


# Parts ----------------------------------------------------------------------------------------


def test_a_part_that_fails_is_a_row_and_the_next_one_runs(monkeypatch, tmp_path, capsys):
    ran = []

    def broken(session):
        raise ZeroDivisionError("by hand")

    def refused(session):
        raise DataError("no people")

    parts = {"a": ("x", 0.5, broken), "b": ("y", 0.3, refused), "c": ("z", 0.2, ran.append)}
    monkeypatch.setattr(gpu, "PARTS", parts)
    here = session(tmp_path)
    gpu.run_parts(here, ["a", "b", "c"])
    assert ran == [here]
    found = {row["part"]: row for row in rows(tmp_path)}
    assert found["a"]["reason"] == "ZeroDivisionError: by hand"
    assert found["b"]["reason"] == "no people"
    assert found["c"]["status"] == "ok"


def test_a_part_hands_on_the_time_it_does_not_need(monkeypatch, tmp_path):
    lefts = {}
    parts = {
        name: (name, share, lambda session: lefts.update({session.part: session.left}))
        for name, share in (("a", 0.25), ("b", 0.25), ("c", 0.5))
    }
    monkeypatch.setattr(gpu, "PARTS", parts)
    gpu.run_parts(session(tmp_path, seconds=100.0), ["c", "a"])
    assert list(lefts) == ["c", "a"]  # as asked for
    assert lefts["c"] == pytest.approx(200 / 3, abs=1)
    assert lefts["a"] == pytest.approx(100, abs=1)


def test_a_part_that_overruns_leaves_the_others_their_shares_of_the_rest(monkeypatch, tmp_path):
    here, lefts = session(tmp_path, seconds=100.0), {}

    def overrun(session):
        session.end -= 60.0  # as if so much time had passed

    parts = {
        "a": ("a", 0.4, overrun),
        **{n: (n, 0.3, lambda s: lefts.update({s.part: s.left})) for n in "bc"},
    }
    monkeypatch.setattr(gpu, "PARTS", parts)
    gpu.run_parts(here, ["a", "b", "c"])
    assert lefts == {"b": pytest.approx(20, abs=1), "c": pytest.approx(40, abs=1)}


def test_the_log_survives_a_cut_line_and_tries_failures_again(tmp_path):
    log = Log.open(tmp_path / "rows.jsonl")
    log.add("a", "x", "failed", reason="once")
    log.add("a", "y", "ok", ms=1.0)
    with log.path.open("a") as file:
        file.write('{"part": "a", "key": "z", "sta')
    log = Log.open(log.path)
    assert log.find("a", "x") is None and log.find("a", "y")["ms"] == 1.0
    assert log.find("b", "y") is None and log.find("a", "z") is None
    log.add("a", "x", "ok")
    assert [(r["key"], r["status"]) for r in Log.open(log.path).rows] == [("x", "ok"), ("y", "ok")]


def test_steps_are_chosen_from_the_pace_and_kept(tmp_path, monkeypatch):
    here = session(tmp_path)
    monkeypatch.setattr(here, "scale", FULL)
    pace = {"images_per_s": 1280.0, "fixed_s": 20.0, "people": 4600}
    steps = gpu_training.planned(here, "steps", pace, 100.0)
    assert steps == 900  # 100 s at 10 batches of 128 a second, nine tenths of it
    slower = pace | {"images_per_s": 1.0}
    assert gpu_training.planned(session(tmp_path), "steps", slower, 1.0) == 900
    assert gpu_training.planned(here, "none left", pace, -1.0) == 1


def test_a_device_that_cannot_train_in_bf16_has_no_part_d(tmp_path, monkeypatch, capsys):
    here = session(tmp_path)
    job = gpu_training.TrainJob(Conditions(), {"model.name": "hevitpose_nano"})
    monkeypatch.setattr(gpu_training, "train_job", lambda session: job)
    asked = []
    monkeypatch.setattr(here, "group", lambda jobs, *rest, **more: asked.append(jobs[0][0]))
    here.log.add(here.part, "probe", "skipped", reason="bf16 is not measured on a CPU")
    gpu_training.real(here)
    assert asked == ["probe"]  # and nothing is planned from it
    assert "its probe was skipped" in capsys.readouterr().err


@pytest.mark.slow
def test_a_row_that_time_did_not_reach_is_no_failure(tmp_path):
    here = session(tmp_path, seconds=15.0)
    names = ("first", "hangs", "never")
    jobs = [(name, Task(name, 17, Conditions(), None)) for name in names]
    here.group(jobs, _in_turn, lambda key, job, outcome: {"result": outcome.result[0]})
    assert [(row["key"], row["status"]) for row in rows(tmp_path)] == [
        ("first", "ok"),
        ("hangs", "late"),
    ]
    assert [key for key, _ in here.todo(jobs)] == ["hangs", "never"]


def test_a_contender_that_breaks_the_process_is_a_row_and_the_others_start_again(
    monkeypatch, tmp_path
):
    def run_group(jobs, timeout, work):
        for job in jobs:
            asked.append(list(job.tasks))
            if "b" in job.tasks:
                yield Outcome("failed", "b: AcceleratorError: device-side assert")
            else:
                yield Outcome("ok", result=gpu_latency.Interleaved({}, {}, {}))

    asked = []
    monkeypatch.setattr("bench.gpu_session.run_group", run_group)
    here = session(tmp_path)
    here.scale = replace(REHEARSAL, contenders=("a", "b"), peers=("c",))
    gpu_latency.versus(here, None)
    assert asked == [["a", "b", "c"], ["a", "c"]]
    found = {row["key"]: (row["status"], row.get("reason")) for row in here.log.rows}
    key = "vs fused bf16 nhwc batch 1"
    assert found == {
        f"b {key}": ("failed", "AcceleratorError: device-side assert"),
        key: ("ok", None),
    }


def test_a_comparison_without_a_late_contender_is_done_again_by_the_next_call(
    monkeypatch, tmp_path
):
    def run_group(jobs, timeout, work):
        for job in jobs:
            asked.append(list(job.tasks))
            yield Outcome("ok", result=gpu_latency.Interleaved({}, {}, outs.pop(0)))

    asked, outs = [], [{"c": Outcome("late", "timeout: not ready after 1 s")}, {}]
    monkeypatch.setattr("bench.gpu_session.run_group", run_group)
    key, statuses = "vs fused bf16 nhwc batch 1", []
    for _ in range(3):
        here = session(tmp_path)  # another call
        here.scale = replace(REHEARSAL, contenders=("a",), peers=("c",))
        gpu_latency.versus(here, None)
        [row] = [row for row in here.log.rows if row["key"] == key]
        statuses.append((row["status"], row.get("reason")))
    assert asked == [["a", "c"], ["a", "c"]]
    assert statuses == [("late", "without c"), ("ok", None), ("ok", None)]
    left = [row["key"] for row in here.log.rows if row["status"] == "late"]
    assert left == ["c fused bf16 nhwc batch 1 interleaved"]  # a result has the same name


def test_the_time_to_make_contenders_ready_ends(tmp_path):
    here = session(tmp_path)
    names = ["hevitpose_nano", "pose_mobilenetv2"]
    job = gpu_latency.interleaving(here, REHEARSAL.versus[0], names)
    found = gpu_latency.measure_in_turn(replace(job, seconds=-1.0))
    assert (found.times, list(found.out)) == ({}, names)
    assert {outcome.status for outcome in found.out.values()} == {"late"}


def test_a_row_is_written_while_its_child_goes_on(tmp_path):
    here = session(tmp_path)
    tasks = [Task(name, 17, Conditions(), None) for name in ("first", str(here.log.path))]
    here.group(
        [(task.model, task) for task in tasks],
        _waits_for_a_file,
        lambda key, task, outcome: {"found": outcome.result},
    )
    assert here.log.rows[1]["found"] is True


@pytest.mark.slow
def test_the_server_of_children_leaves_the_gpu_alone():
    """Where it asked CUDA anything, no child that is forked from it could use the GPU."""
    code = (
        "import torch\n"
        "def refuse(*_, **__): raise SystemExit('asked for a GPU')\n"
        "for name in ('is_available', 'device_count', 'init', '_lazy_init'):\n"
        "    setattr(torch.cuda, name, refuse)\n"
        f"for name in {(*worker._PRELOAD, *gpu_training.PRELOAD)}: __import__(name)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_a_reduced_form_of_the_data_has_its_own_name(tmp_path, monkeypatch):
    here = session(tmp_path)
    gpu_data.make_stand_in(here.data)
    assert gpu_data.dataset_of(here) == str(tmp_path / "coco_small_96px.yaml")
    path = here.data / "coco_small/annotations/coco_small_val.json"
    path.write_text(path.read_text().replace("Reduced", "Drawn"))
    monkeypatch.setattr(gpu_data, "ROWS", ("coco",))
    assert gpu_data.dataset_of(here) == str(tmp_path / "coco_small.yaml")
    monkeypatch.setattr(gpu_data, "ROWS", ("coco", "coco_small"))
    assert gpu_data.dataset_of(here) == "coco_small"


def test_data_that_are_not_there_are_one_line(tmp_path):
    with pytest.raises(DataError, match=r"coco_small_val\.json: .*, expected --data ROOT"):
        gpu_data.dataset_of(session(tmp_path, data=tmp_path / "nowhere"))


# Without a GPU, what would run on one ----------------------------------------------------------


def _on_a_fake_gpu(network, mode, dtype=None):
    """Parameters and buffers as tensors that have a CUDA device and no data."""

    def fake(tensor):
        kind = dtype if dtype and tensor.is_floating_point() else tensor.dtype
        with mode:
            return torch.empty_strided(tensor.shape, tensor.stride(), dtype=kind, device="cuda")

    for module in network.modules():
        for name, value in module._parameters.items():
            if value is not None:
                module._parameters[name] = nn.Parameter(fake(value), requires_grad=False)
        for name, value in module._buffers.items():
            if value is not None:
                module._buffers[name] = fake(value)
    return network


@pytest.mark.slow
@pytest.mark.parametrize("name", [*FULL.ours, *FULL.peers])
@pytest.mark.parametrize(("fused", "dtype"), [(False, torch.bfloat16), (True, torch.float16)])
def test_a_network_makes_no_tensor_of_another_device_or_dtype(name, fused, dtype):
    network = create_for_input(name, 17, (64, 64)).eval().requires_grad_(False)
    network = optimize(network, mode="fused").eval() if fused else network
    mode = FakeTensorMode()
    network = _on_a_fake_gpu(network, mode, dtype)
    with mode, torch.no_grad():
        outputs = network(torch.empty(2, 3, 64, 64, device="cuda", dtype=dtype))
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    assert {(y.device.type, y.dtype) for y in outputs} == {("cuda", dtype)}


@pytest.mark.parametrize("attention", FULL.attentions)
def test_a_training_step_makes_no_tensor_of_another_device(attention):
    network = create_for_input("hevitpose_t", 17, (64, 64), attention=attention)
    mode = FakeTensorMode()
    network = _on_a_fake_gpu(optimize(network, mode="train").train(), mode)
    codec = make_codec("heatmap", (64, 64))
    with mode:
        images = normalise(torch.empty(2, 64, 64, 3, dtype=torch.uint8, device="cuda"))
        points, visible = torch.rand(2, 17, 2, device="cuda"), torch.ones(2, 17, device="cuda")
        loss = codec.loss(network(images), *codec.encode(points, visible))
        with torch.no_grad():
            maps = codec.flip_test(network.eval(), images, ((1, 2),))
            found = codec.decode(maps)
    assert (loss.device.type, loss.dtype) == ("cuda", torch.float32)
    assert {tensor.device.type for tensor in (maps, *found)} == {"cuda"}


# Groups ---------------------------------------------------------------------------------------


def _waits_for_a_file(task):
    if task.model == "first":
        return True
    end = time.monotonic() + 20
    while not Path(task.model).exists() and time.monotonic() < end:
        time.sleep(0.02)
    return Path(task.model).exists()


def _in_turn(task):
    import os

    if task.model == "dies":
        os._exit(3)
    if task.model == "fails":
        raise ValueError("this one")
    if task.model == "hangs":
        time.sleep(600)
    return task.model, os.getpid()


def test_a_group_shares_a_child_until_one_fails():
    names = ["first", "second", "fails", "third", "dies", "last"]
    tasks = [Task(name, 17, Conditions(), None) for name in names]
    outcomes = list(run_group(tasks, 60.0, _in_turn))
    assert [outcome.status for outcome in outcomes] == ["ok", "ok", "failed", "ok", "failed", "ok"]
    assert (
        outcomes[2].reason.startswith("ValueError: this one (test_gpu_command.py:")
        and "exit code 3" in outcomes[4].reason
    )
    pids = [outcome.result[1] for outcome in outcomes if outcome.status == "ok"]
    assert pids[0] == pids[1] and len(set(pids)) == 3


@pytest.mark.slow
def test_a_group_that_is_late_ends_with_that():
    tasks = [Task(name, 17, Conditions(), None) for name in ("first", "hangs", "never")]
    list(run_group(tasks[:1], 60.0, _in_turn))  # starts the server of children, whatever it takes
    started = time.monotonic()
    list(run_group(tasks[:1], 60.0, _in_turn))
    limit = math.ceil(3 + 5 * (time.monotonic() - started))  # a busy machine starts children slowly
    outcomes = list(run_group(tasks, limit, _in_turn))
    assert [outcome.status for outcome in outcomes] == ["ok", "failed"]
    assert outcomes[1].is_late and outcomes[1].reason.endswith(f"for {limit} s")


def test_stand_in_has_the_layout_of_coco_small(tmp_path):
    gpu_data.make_stand_in(tmp_path)
    names = {str(path.relative_to(tmp_path)) for path in Path(tmp_path).rglob("*.json")}
    assert names == {f"coco_small/annotations/coco_small_{s}.json" for s in ("train", "val")}
    assert len(list((tmp_path / "coco_small/images").iterdir())) == 18
