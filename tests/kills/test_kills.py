"""The harness sees what it is there for; a few real kills."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kills import harness
from tests.kills.harness import FailedError

ROOT = Path(__file__).resolve().parents[2]


def test_what_is_left_is_seen(tmp_path):
    (tmp_path / "runs/train/a").mkdir(parents=True)
    (tmp_path / "runs/train/a/curve.csv").write_text("x")
    (tmp_path / harness.LOG).write_text("y")
    assert list(harness.state(tmp_path)) == ["runs/train/a/curve.csv"]
    for name in (".curve.csv.0123abcd.tmp", "owner.lease"):
        (tmp_path / "runs/train/a" / name).touch()
        with pytest.raises(FailedError, match="is left"):
            harness.state(tmp_path)
        (tmp_path / "runs/train/a" / name).unlink()


def test_what_differs_is_named():
    harness.compare({"a": "1", "b": "2"}, {"b": "2", "a": "1"})
    for found, says in (
        ({"a": "1"}, "b is less"),
        ({"a": "1", "b": "2", "c": ""}, "c is more"),
        ({"a": "1", "b": "3"}, "b is another one"),
    ):
        with pytest.raises(FailedError, match=says):
            harness.compare(found, {"a": "1", "b": "2"})


def test_a_damaged_record_is_seen(tmp_path):
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / f"{'0' * 20}.json").write_text("{")
    with pytest.raises(FailedError, match="not usable"):
        harness.state(tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="orphans come to the harness")
def test_a_few_kills(tmp_path):
    command = [sys.executable, "-m", "tests.kills", "--kills", "5"]
    for name in ("train minival averaged", "data synth, other seed", "records"):
        command += ["--only", name]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-5000:]
