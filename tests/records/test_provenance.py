"""The machine of a record: processors of one name are told apart, old records keep their ids."""

from __future__ import annotations

import os
import sys
import types

import msgspec
import pytest
import torch

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


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, "small"),
        ("1", "large"),
        ("1,0", "large"),
        ("GPU-1", "large"),
        ("MIG-7", "small"),
        ("7", None),
        ("-1", None),
    ],
)
def test_the_gpu_is_the_first_that_is_visible(monkeypatch, tmp_path, visible, expected):
    smi = tmp_path / "nvidia-smi"
    smi.write_text(
        "#!/bin/sh\nsmall='small, 5'\nlarge='large, 5'\n"
        'case "$*" in *"-i 1" | *"-i GPU-1") echo "$large";; *"-i "*) exit 6;;\n'
        '*) echo "$small"; echo "$large";; esac\n'
    )
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert provenance._gpu.__wrapped__()[0] == expected


def test_either_build_of_opencv_is_recorded_by_one_name(monkeypatch):
    """Versions are hashed into latency ids, so the name stays whatever brought ``cv2``."""
    installed = {}

    def version(name):
        if name not in installed:
            raise provenance.importlib.metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(provenance.importlib.metadata, "version", version)
    for name in ("opencv-python-headless", "opencv-contrib-python-headless"):
        installed.clear()
        installed[name] = "5.1"
        provenance.versions.cache_clear()
        found = provenance.versions()
        assert found["opencv-python-headless"] == "5.1"
        assert "opencv-contrib-python-headless" not in found
    installed.clear()
    provenance.versions.cache_clear()
    assert provenance.versions()["opencv-python-headless"] is None
    provenance.versions.cache_clear()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_cores_are_those_that_the_process_may_use():
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert provenance.cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert provenance.cores() == len(allowed)


@pytest.mark.parametrize(("system", "unit"), [("linux", 1024), ("darwin", 1)])
def test_the_resident_peak_is_in_bytes(system, unit, monkeypatch):
    """The system gives KiB, macOS bytes."""
    import resource

    from hevitpose.cost.latency.measure import peak_memory as peak_of_call
    from hevitpose.training.devices import peak_memory

    usage = types.SimpleNamespace(ru_maxrss=7000)
    monkeypatch.setattr(resource, "getrusage", lambda _: usage)
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(provenance.Path, "exists", lambda _: False)  # no /proc
    assert peak_of_call(lambda: None, "cpu") == 7000 * unit
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert peak_memory() == 7000 * unit


@pytest.mark.parametrize("word", ["cpu_count(", "sched_getaffinity(", "ru_maxrss"])
def test_one_function_asks_the_system(word):
    """Whoever counts processors or memory anew forgets affinity, or macOS."""
    files = (provenance.ROOT / "hevitpose").rglob("*.py")
    assert [f.name for f in files if word in f.read_text()] == ["provenance.py"]
