"""The fuzzers find what they are made to find, and a few inputs of each find nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest

from hevitpose.errors import DataError, UsageError
from tests.fuzz import campaign, mutation
from tests.fuzz.campaign import Target

ROOT = Path(__file__).resolve().parents[2]


def found(tmp_path, reading, count=1, monkeypatch=None, **options) -> dict[int, str]:
    """Kinds of findings by the number of the input, of a target that does this."""
    target = Target("mine", lambda shared: lambda rng, folder: [lambda: reading(folder)], **options)
    return {
        finding.number: finding.kind for finding in campaign.run(target, count, 0, tmp_path / "f")
    }


def raises(error):
    def reading(folder):
        raise error

    return reading


def test_what_counts(tmp_path):
    assert found(tmp_path, lambda folder: None) == {}
    assert found(tmp_path, raises(DataError("a.json: x is 1\n, expected 2"))) == {}
    assert found(tmp_path, raises(UsageError("a", "b")), lines=True) == {}
    assert found(tmp_path, raises(UsageError("a", "b")))[0] == "message of several lines"
    assert found(tmp_path, raises(KeyError("x")))[0].startswith("KeyError at tests/fuzz/test_fuzz")
    assert found(tmp_path, raises(DataError("")))[0] == "message of several lines"


def test_code_that_ran(tmp_path):
    kinds = found(tmp_path, lambda folder: (folder / mutation.MARKER).mkdir())
    assert kinds == {0: "EXECUTED"}


def test_a_dying_and_a_hanging_child_are_findings_and_the_rest_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(campaign, "HANGS", 0.5)
    numbers = tmp_path / "numbers"

    def reading(folder):
        with numbers.open("a") as file:
            file.write("x")
        size = numbers.stat().st_size
        if size == 2:
            os._exit(3)
        if size == 3:
            time.sleep(100)

    assert found(tmp_path, reading, 5) == {1: "died (3)", 2: "hangs"}
    assert numbers.stat().st_size == 5


def test_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(campaign, "MEMORY", 50 * 2**20)
    assert found(tmp_path, lambda folder: len(b"x" * 2**28))[0] == "memory"
    assert "memory" in found(tmp_path, raises(MemoryError()))[0].lower()


def test_inputs_are_functions_of_their_number():
    for seed in range(200):
        one, other = (
            mutation.to_json(rng, mutation.tree(rng, {"a": [1, {"b": "c"}], "id": 7}))
            for rng in (Random(seed), Random(seed))
        )
        assert one == other


def test_raw_tokens_and_keys_that_are_there_twice():
    content = {"a": mutation.raw("1e999"), mutation._TWICE + "a": [1], "b": mutation.raw("01")}
    text = mutation.to_json(Random(0), content).decode()
    assert "1e999" in text and text.count('"a"') == 2 and "raw" not in text
    with pytest.raises(json.JSONDecodeError):
        json.loads(text)


@pytest.mark.slow
def test_a_few_inputs_of_every_target(tmp_path):
    command = [sys.executable, "-m", "tests.fuzz", "--inputs", "100", "--seed", "7"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-5000:]
