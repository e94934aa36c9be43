"""How programs end: on signals, on full disks, with one line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from hevitpose import program
from hevitpose.errors import DataError
from hevitpose.program import interruptible

ROOT = Path(__file__).resolve().parent.parent
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT]
TRAIN = [
    *("hevitpose.cli", "train", "--out", "run", "training.steps=100000", "training.threads=1"),
    *("data.input_size=64,64", "data.people=60", "data.image_size=128", "training.batch_size=4"),
    *("training.checkpoint_steps=2", "training.warmup_steps=2", "device=cpu"),
]
GRID = [
    *("ablations", "run", "--cells", "default", "--num-seeds", "1", "--out", "runs"),
    *("training.steps=100000", "data.people=60", "data.image_size=128", "training.threads=1"),
    *("data.input_size=64,64", "training.batch_size=4", "training.warmup_steps=2"),
]


def run(words, cwd, **options) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=cwd,
        env=environment | options.pop("env", {}),
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts its background jobs with SIGINT ignored, and children inherit that.
        preexec_fn=lambda: [signal.signal(number, signal.SIG_DFL) for number in SIGNALS],
        **options,
    )


def wait_for(condition, process) -> None:
    over = time.monotonic() + 120
    while not condition():
        assert process.poll() is None and time.monotonic() < over, process.stderr.read()
        time.sleep(0.02)


# The last two go the way of SIGTERM, which a test of the block alone sees too.
@pytest.mark.parametrize(
    "number", [*SIGNALS[:2], *(pytest.param(n, marks=pytest.mark.slow) for n in SIGNALS[2:])]
)
def test_train_ends_with_one_line(synthetic_root, tmp_path, number):
    process = run([*TRAIN, f"data.root={synthetic_root}"], tmp_path, stdout=subprocess.DEVNULL)
    wait_for((tmp_path / "run" / "last.ckpt").exists, process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    lines = [line for line in errors.splitlines() if "steps" not in line]  # progress
    assert lines == ["error: interrupted; the same command continues where it stopped"], errors
    assert process.returncode == 1
    assert {p.name for p in (tmp_path / "run").iterdir()} == {"curve.csv", "last.ckpt"}


@pytest.mark.slow
def test_train_ends_with_one_line_at_any_moment(synthetic_root, tmp_path):
    for number, delay in ((15, 1.0), (1, 1.5), (3, 2.0), (15, 2.5), (15, 3.0), (15, 4.0)):
        process = run([*TRAIN, f"data.root={synthetic_root}"], tmp_path, stdout=subprocess.DEVNULL)
        time.sleep(delay)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
        lines = [line for line in errors.splitlines() if "steps" not in line]
        assert lines == ["error: interrupted; the same command continues where it stopped"], errors


def test_what_fails_in_clearing_up_is_the_interrupt():
    with pytest.raises(KeyboardInterrupt), interruptible():
        try:
            try:
                raise KeyboardInterrupt
            finally:  # as Lightning, between two loaders
                raise RuntimeError("please call iter() first")
        except RuntimeError as error:
            raise DataError("cannot be continued from") from error
    with pytest.raises(DataError), interruptible():
        with suppress(KeyboardInterrupt):  # one that was dealt with
            raise KeyboardInterrupt
        raise DataError("a file")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_grid_leaves_no_leases(synthetic_root, tmp_path, number):
    words = [*GRID, "--data", str(synthetic_root)]
    process = run(words, tmp_path, stdout=subprocess.DEVNULL)
    wait_for(lambda: list((tmp_path / "runs").glob("leases/*.lease")), process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert errors.splitlines()[-1] == "interrupted; the same command goes on from here"
    assert process.returncode == 130
    assert not (tmp_path / "runs" / "leases").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize(
    "words",
    [
        ("hevitpose.cli", "records", "list"),
        ("ablations", "list"),
        ("hevitpose.cli", "--version"),
        ("bench.records", "--measure", "nothing"),
    ],
)
def test_a_full_standard_output_is_one_line(tmp_path, words):
    with Path("/dev/full").open("w") as full:
        process = run(words, tmp_path, stdout=full)
        _, errors = process.communicate(timeout=120)
    last = errors.splitlines()[-1]
    assert last == "error: standard output: cannot be written (No space left on device)", errors
    assert "Traceback" not in errors and process.returncode == 1


def test_signals_raise_within_the_block_alone():
    for number in SIGNALS[1:]:
        ours = signal.signal(number, signal.SIG_DFL)  # nohup starts a suite with SIGHUP ignored
        try:
            with pytest.raises(KeyboardInterrupt), interruptible():
                os.kill(os.getpid(), number)
                time.sleep(5)
            assert signal.getsignal(number) == signal.SIG_DFL
        finally:
            signal.signal(number, ours)


def test_what_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_lost_interrupt_ends_the_process_all_the_same(tmp_path):
    code = (
        "import os, signal, time; from hevitpose import program\n"
        "program._PATIENCE_SECONDS = 0.3\n"
        "with program.interruptible():\n"
        "    try: os.kill(os.getpid(), signal.SIGTERM); time.sleep(9)\n"
        "    except KeyboardInterrupt: pass\n"
        "    time.sleep(60)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (
        1, "error: interrupted, and ended without clearing up\n",
    )  # fmt: skip
    assert program._PATIENCE_SECONDS > 5
