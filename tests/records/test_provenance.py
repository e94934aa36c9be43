"""The machine of a record: processors of one name are told apart, old records keep their ids."""

from __future__ import annotations

import msgspec

from hevitpose.config import load_config
from hevitpose.records import RecordStore, digest, provenance
from hevitpose.records.identity import latency_run
from hevitpose.records.schema import Machine


def test_details_are_recorded_and_hashed():
    facts = provenance.machine()
    assert msgspec.convert(facts, Machine).details == facts["details"]
    if provenance.Path("/proc/cpuinfo").exists():
        assert set(facts["details"]) >= {"caches", "flags", "hypervisor"}
    config = load_config(None, preset="quick")
    ids = {
        latency_run(config, 16, {}, machine=facts | {"details": details}, versions={}).id
        for details in (facts["details"], facts["details"] | {"stepping": "another"})
    }
    assert len(ids) == 2


def test_timings_from_before_keep_their_ids():
    """Their inputs name a machine without details; nothing is added to them."""
    store = RecordStore(provenance.ROOT / "results" / "measured")
    before = [
        record
        for record in store.iter(failures=False)
        if record.kind == "latency" and "details" not in record.inputs["machine"]
    ]
    assert before and not store.problems
    assert all(digest(record.inputs) == record.id for record in before)
