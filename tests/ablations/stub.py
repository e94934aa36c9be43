"""Work that takes milliseconds: stands in for ``ablations.measurements`` in tests of the runner.

What a cell does is told by ``training.clip_norm``, which nothing else here uses: RAISE, KILL, HANG,
DIVERGE, MEMORY, SLOW. Training keeps a number and a checkpoint like a real trainer: resumable after
every step, and with a result that depends on every step having happened exactly once.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from pathlib import Path

from hevitpose.config import Config
from hevitpose.data.fingerprint import fingerprint
from hevitpose.errors import DivergedError
from hevitpose.records.identity import file_digest

RAISE, KILL, HANG, DIVERGE, MEMORY, SLOW = 1, 2, 3, 4, 5, 6
#: A file beside the data: the fingerprint that they have once a run has begun.
CLAIMED = "claimed"
#: The ``standard`` preset's, which no test trains: a training that others start from, and fails.
BROKEN_STEPS = 1500


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    temporary.replace(path)


def _told(config: Config) -> str:
    """What a training's result comes from."""
    start = config.training.start_from
    before = Path(start).read_text() if start else None
    parts = (config.seed, config.model.options(), config.codec.sigma, config.training.lr, before)
    return ":".join(map(str, parts))


def training(config: Config, folder: Path, report) -> dict:
    behaviour = config.training.clip_norm
    print("a line of the log")
    if behaviour == RAISE or config.training.steps == BROKEN_STEPS:
        raise ValueError("a broken cell")
    if behaviour == KILL:
        os.kill(os.getpid(), signal.SIGKILL)
    if behaviour == HANG:
        time.sleep(1000)
    if behaviour == DIVERGE:
        raise DivergedError("loss is nan at step 3")
    if behaviour == MEMORY:
        raise MemoryError
    checkpoint = folder / "last.ckpt"
    state = {"step": 0, "value": _told(config)}
    if checkpoint.exists():
        state = json.loads(checkpoint.read_text())
    steps = config.training.steps or 5
    if behaviour == SLOW:
        (folder / "pid").write_text(str(os.getpid()))
    while state["step"] < steps:
        time.sleep(0.3 if behaviour == SLOW else 0.004)
        value = hashlib.sha256(f"{state['value']}{state['step']}".encode()).hexdigest()
        state = {"step": state["step"] + 1, "value": value}
        _replace(checkpoint, json.dumps(state))
        report(state["step"], steps)
    _replace(folder / "model.safetensors", state["value"])
    score = int(state["value"][:6], 16) / 0xFFFFFF
    return {
        "weights": file_digest(folder / "model.safetensors"),
        "train": {"steps": steps, "seconds": 0.1},
        "curve": [{"step": steps, "loss": 1 - score, "minival_pck": 100 * score}],
        "artifacts": {"model": str(folder / "model.safetensors"), "last": str(checkpoint)},
        "dataset": _dataset(config, "train"),
        "peak_memory": 1,
    }


def evaluation(config: Config, folder: Path, report) -> dict:
    weights = config.model.checkpoint
    score = int(weights.read_text()[:6], 16) / 0xFFFFFF
    score *= {"default": 1.0, "dark": 0.99, "argmax": 0.9}.get(config.codec.decoder, 0.8)
    return {
        "weights": file_digest(weights),
        "metrics": {"Mean": 100 * score, "AP": score},
        "dataset": _dataset(config, "val"),
        "peak_memory": 1,
    }


def _dataset(config: Config, split: str) -> dict:
    return {
        "name": "synthetic",
        "split": split,
        "fingerprint": claimed.read_text()
        if (claimed := Path(config.data.root, CLAIMED)).exists()
        else fingerprint(config.data, split),
        "boxes": "gt",
    }


def complexity(config: Config, folder: Path, report) -> dict:
    return {"params": 1000 + config.model.spec().ffn_ratio, "flops": {"mmcv": 0.1, "torch": 0.1}}


def latency(config: Config, folder: Path, report) -> dict:
    return {"latency": {"conditions": {"batch": 1}, "samples": [1.0, 2.0], "p50": 1.5, "n": 2}}
