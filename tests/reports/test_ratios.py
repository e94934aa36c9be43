"""How much faster, from runs that timed both networks in turn: every condition, GPUs first."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace

from hevitpose.records.schema import VERDICT_ROUNDS
from reports.claims import claims_table, load_claims
from reports.load import check
from reports.published import load as load_published
from reports.ratios import interleaved
from reports.tables.short import short_tables

GPU = {"device": "cuda", "mode": "fused+cudagraph", "threads": 16}


@pytest.fixture(scope="module")
def published():
    return load_published()


def measured(records):
    return check((f"{record.id}.json", record) for record in records)


@pytest.fixture
def every_condition(make):
    """A GPU at batch 64, twice, and at batch 1; a processor; the last is of two modes."""

    def timing(model, details, batch=1, **conditions):
        record = make.latency(batch=batch, conditions=conditions, grid=str(details))
        started = record.started_at + timedelta(minutes=details.pop("minute", 0))
        gpu = "Example GPU" if conditions.get("device") == "cuda" else None
        return replace(
            record, model=model, config={}, started_at=started,
            machine=replace(record.machine, gpu=gpu),
            latency=replace(record.latency, details=details),
        )  # fmt: skip

    def to_both(value, **more):
        ratio = {"ratio": value, "low": value / 1.025, "high": value * 1.025, "rounds": 15}
        other = {"ratio": 3.0, "low": 2.9, "high": 3.1, "rounds": 15}
        return {"ratios": {"hrformer_s": ratio, "rtmpose_m": other}, **more}

    slower = {"ratio": 1.5, "low": 1.4, "high": 1.6, "rounds": 20}
    return [
        timing("hevitpose_b", to_both(0.8), 64, dtype="bf16", **GPU),
        timing("hevitpose_b", to_both(0.4, minute=1), 64, dtype="bf16", **GPU),
        timing("hevitpose_b", to_both(0.5), tf32=True, **GPU),
        timing("hrformer_s", {"ratio": {"to": "hevitpose_b:fused", **slower}}, clock="cpu"),
        timing("hrformer_s", {"ratio": {"to": "hevitpose_b:eager", **slower}, "minute": 9}),
    ]


def test_a_ratio_of_few_rounds_is_not_shown(every_condition, published):
    slower = every_condition[3]
    for rounds, shown in ((VERDICT_ROUNDS - 1, False), (VERDICT_ROUNDS, True)):
        ratio = slower.latency.details["ratio"] | {"rounds": rounds}
        record = replace(slower, latency=replace(slower.latency, details={"ratio": ratio}))
        table = claims_table(measured([record]), published, [])
        row = next(row for row in table.rows if "HRFormer" in row[0].text)
        assert (row[2].text != "not measured") is shown


def test_every_condition_of_a_speed_claim_is_listed_and_gpus_first(every_condition, published):
    """A processor's record holds one ratio, a GPU's one for every peer."""
    table = claims_table(measured(every_condition), published, [])
    row = next(row for row in table.rows if "HRFormer" in row[0].text)
    # 1 / 0.4, 1 / 0.5 and the ratio itself, which is HRFormer's to ours
    assert row[2].text == "2.50x [2.44, 2.56]; 2.00x [1.95, 2.05]; 1.50x [1.40, 1.60]"
    assert row[2].records == tuple(record.id for record in every_condition[1:4])
    assert row[3].text == (
        "not comparable: no device named; "
        "2.50x on Example GPU, batch 64, fused+cudagraph, bf16, 128x128; "
        "2.00x on Example GPU, batch 1, fused+cudagraph, tf32, 128x128; "
        "1.50x on example cpu, 2 threads, processor time, batch 1, fused, fp32, 128x128"
    )
    assert [note.count("Example GPU") for note in row[2].notes] == [1, 1, 0]
    assert "15 rounds" in row[2].notes[0] and "20 rounds" in row[2].notes[2]
    short = next(t for t in short_tables([table]) if t.name == "short-claims")
    answer = next(row[1].text for row in short.rows if "HRFormer" in row[0].text)
    assert answer == "2.50x; 2.00x; 1.50x"


@pytest.mark.parametrize(
    ("device", "verdict"),
    [
        ("Example GPU", "depends on the condition: 2.50x on Example GPU, batch 64"),
        ("example cpu", "differs: 1.50x on example cpu"),
        ("another GPU", "not comparable: published for another GPU; 2.50x on Example GPU"),
    ],
)
def test_a_speed_is_compared_on_the_device_it_was_published_for(
    every_condition, published, device, verdict
):
    claim = load_claims()["hrformer-speed"].model_copy(update={"device": device})
    table = claims_table(measured(every_condition), published, [], {"one": claim})
    assert table.rows[0][3].text.startswith(verdict)
    assert ("example cpu" in table.rows[0][3].text) == (device != "Example GPU")


@pytest.mark.parametrize(
    ("dtype", "own", "to", "found"),
    [
        ("fp32", "", "", True),
        ("bf16", "", "", True),  # of both, by the command's --dtype
        ("bf16", ":bf16", ":bf16", True),
        ("fp32", "", ":fp32", True),
        ("int8", ":int8", "", False),  # the other in the command's
        ("int8", ":int8", ":fp32", False),
    ],
)
def test_a_ratio_is_of_one_precision(make, dtype, own, to, found):
    record = make.latency(conditions={"mode": "onnxruntime", "dtype": dtype})
    ratio = {"to": f"pose_hrnet_w32:onnxruntime{to}", "ratio": 0.5, "low": 0.4, "high": 0.6}
    labels = [f"hevitpose_b:onnxruntime{own}", ratio["to"]]
    details = {"ratio": ratio | {"rounds": 20}, "interleaved_with": labels}
    record = replace(
        record, model="hevitpose_b", config={}, latency=replace(record.latency, details=details)
    )
    ratios = interleaved(measured([record]), "hevitpose_b", "pose_hrnet_w32")
    assert [each.times.value for each in ratios] == ([2.0] if found else [])
