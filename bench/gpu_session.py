"""What the parts of ``bench/gpu.py`` share: sizes, the time that is left, and rows as they come."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.worker import Task, run_group
from hevitpose.cost.latency import Budget, Conditions
from hevitpose.isolated import Outcome
from hevitpose.records import provenance

#: Joints of COCO, which everything here is measured with.
KEYPOINTS = 17
#: Rows of the earlier call that are not measured again; a failure is tried again.
SETTLED = ("ok", "skipped")


@dataclass(frozen=True)
class Way:
    """How a network is run: the part of its conditions that a row is named by."""

    batch: int
    mode: str = "eager"
    dtype: str = "fp32"  # or tf32
    layout: str = "nchw"

    def __str__(self) -> str:
        return f"{self.mode} {self.dtype} {self.layout} batch {self.batch}"

    def conditions(self, device: str, size: tuple[int, int]) -> Conditions:
        """The conditions on a device at an input of (W, H)."""
        return Conditions(
            device=device,
            batch=self.batch,
            input_size=size,
            dtype="fp32" if self.dtype == "tf32" else self.dtype,
            tf32=self.dtype == "tf32",
            layout=self.layout,
            mode=self.mode,
            threads=provenance.cores() if device == "cuda" else 1,
        )


@dataclass(frozen=True)
class Scale:
    """What is measured and how large: the campaign's, or the rehearsal's of the same things."""

    ours: tuple[str, ...]  # the networks of the project
    peers: tuple[str, ...]
    contenders: tuple[str, ...]  # of ours, against every peer
    compiled: tuple[str, ...]  # a minute each, so not all
    size: tuple[int, int]  # (W, H) of latency
    checks: tuple[Way, ...]
    compiled_way: Way
    versus: tuple[Way, ...]
    ways: tuple[Way, ...]  # in the order of their worth
    budget: Budget
    rounds: int  # of the interleaved ratios
    energy: tuple[str, ...]  # whose energy is measured, in the last of `versus`
    train_size: tuple[int, int]  # (W, H)
    train_batch: int
    train_forms: tuple[str, ...]  # of bench/training_step.py
    step_seconds: float  # of a throughput
    loader_steps: int  # batches that each worker loads
    probe_steps: int  # of the training that is timed to plan the real one
    attentions: tuple[str, ...]
    most_steps: int | None = None  # of a training; None: what the time allows


def _ways(batch: int, *texts: str) -> tuple[Way, ...]:
    """``"fused bf16 nhwc"`` and so on."""
    return tuple(Way(batch, *text.split()) for text in texts)


_BRIEF = Budget(
    samples=200,
    min_samples=10,
    max_seconds=0.3,
    warmup_seconds=0.15,
    warmup_cap_s=0.8,
    block_seconds=0.05,
    energy=False,
)
FULL = Scale(
    ours=("hevitpose_t", "hevitpose_b", "hevitpose_s"),
    peers=("pose_hrnet_w32", "rtmpose_m", "vitpose_s", "hrformer_s"),
    contenders=("hevitpose_t", "hevitpose_b", "hevitpose_s"),
    compiled=("hevitpose_b", "hevitpose_t"),
    size=(256, 256),
    checks=_ways(
        1,
        "eager tf32 nchw",
        "eager bf16 nchw",
        "eager fp16 nchw",
        "fused fp32 nchw",
        "fused bf16 nhwc",
        "cudagraph fp32 nchw",
        "fused+cudagraph bf16 nhwc",
        "fused+cudagraph fp16 nhwc",
    ),
    compiled_way=Way(1, "fused+compile", "bf16", "nhwc"),
    versus=(
        *_ways(1, "fused+cudagraph bf16 nhwc"),
        *_ways(64, "fused+cudagraph bf16 nhwc"),
    ),
    ways=(
        *_ways(1, "eager fp32 nchw"),
        *_ways(64, "eager bf16 nchw", "fused bf16 nhwc"),
        *_ways(1, "eager bf16 nchw", "fused bf16 nhwc"),
        *_ways(64, "eager tf32 nchw", "eager fp32 nchw"),
        *_ways(1, "eager tf32 nchw", "fused+cudagraph fp32 nhwc", "fused+cudagraph fp16 nhwc"),
        *_ways(64, "fused tf32 nhwc", "fused fp16 nhwc", "fused fp32 nhwc"),
    ),
    budget=_BRIEF,
    rounds=15,
    energy=("hevitpose_t", "pose_hrnet_w32"),
    train_size=(192, 256),
    train_batch=128,
    train_forms=(
        "train+bf16",
        "plain+bf16",
        "train+tf32",
        "train",
        "plain+bf16+nhwc",
        "train+bf16+autotune",
        "plain",
    ),
    step_seconds=1.2,
    loader_steps=12,
    probe_steps=60,
    attentions=("cgsr", "mhsa", "sra", "linear-sra", "cga", "window", "none"),
)
REHEARSAL = Scale(
    ours=("hevitpose_nano",),
    peers=("pose_mobilenetv2",),
    contenders=("hevitpose_nano",),
    compiled=(),
    size=(64, 64),
    checks=_ways(1, "eager bf16 nchw", "fused fp32 nchw", "fused+cudagraph bf16 nhwc"),
    compiled_way=FULL.compiled_way,
    versus=_ways(1, "fused bf16 nhwc"),
    ways=_ways(2, "eager tf32 nchw", "fused+cudagraph fp16 nhwc", "fused fp32 nhwc"),
    budget=Budget(5, 3, 0.02, 0.0, 0.02, 0.005, energy=False),
    rounds=3,
    energy=("hevitpose_nano",),
    train_size=(64, 64),
    train_batch=4,
    train_forms=("plain", "train+bf16"),
    step_seconds=0.1,
    loader_steps=4,
    probe_steps=4,
    attentions=("mhsa",),
    most_steps=6,
)


#: Part a's children are waited for in threads.
_LOCK = threading.Lock()


@dataclass
class Log:
    """Rows in a file, one JSON object a line, each written when it is known."""

    path: Path
    rows: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def open(cls, path: Path) -> Log:
        """The rows of earlier calls; a line that was cut short is left out."""
        log = cls(path)
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        whole, end, cut = text.rpartition("\n")
        rows = [json.loads(line) for line in whole.splitlines()]
        log.rows = list({(row["part"], row["key"]): row for row in rows}.values())  # the latest
        if cut:
            path.write_text(whole + end, encoding="utf-8")
        return log

    def find(self, part: str, key: str) -> dict[str, Any] | None:
        """The row of this name that need not be measured again."""
        for row in reversed(self.rows):
            if (row["part"], row["key"]) == (part, key) and row["status"] in SETTLED:
                return row
        return None

    def add(self, part: str, key: str, status: str, **facts: Any) -> None:
        """Keep a row; one of the same name that failed earlier no longer counts."""
        row = {"part": part, "key": key, "status": status, **facts}
        with _LOCK:
            self.rows = [r for r in self.rows if (r["part"], r["key"]) != (part, key)] + [row]
            self._append(row)

    def _append(self, row: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


@dataclass
class Session:
    """One call: where, how large, until when."""

    out: Path
    device: str  # cpu or cuda
    scale: Scale
    data: Path
    log: Log
    end: float  # monotonic, of the whole call
    part: str = ""
    part_end: float = 0.0  # monotonic
    header: dict[str, Any] = field(default_factory=dict)  # of the folder, see bench/gpu_folder.py

    @property
    def left(self) -> float:
        """Seconds of the part that runs; at least 0."""
        return max(0.0, self.part_end - time.monotonic())

    def say(self, text: str) -> None:
        """A line on standard error with what is left of the part and of all."""
        total = max(0.0, self.end - time.monotonic())
        print(
            f"[{self.part}] {text}; {self.left:.0f} s left, {total:.0f} s in all", file=sys.stderr
        )

    def todo(self, names: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
        """The (key, job) pairs that no row settles."""
        return [(key, job) for key, job in names if self.log.find(self.part, key) is None]

    def keep(self, key: str, outcome: Outcome, facts: dict[str, Any]) -> None:
        """Log an outcome and say it."""
        reason = {"reason": outcome.reason} if outcome.reason else {}
        self.log.add(self.part, key, outcome.status, **reason, **facts)
        values = ", ".join(f"{name} {_short(value)}" for name, value in facts.items())
        self.say(f"{key}: {values if outcome.status == 'ok' else outcome.reason}")

    def group(
        self,
        jobs: Iterable[tuple[str, Any]],
        work: Callable[[Any], Any],
        facts: Callable[[str, Any, Outcome], dict[str, Any]],
        *,
        seconds: float | None = None,
        unfinished: Callable[[Any], str | None] = lambda result: None,
    ) -> None:
        """Do what is not done, all of it in one child, and log each row as it comes.

        Args:
            jobs: (key, job) pairs.
            work: see :func:`bench.worker.run_group`.
            facts: of the row, from key, job and outcome.
            seconds: for all; default what the part has left.
            unfinished: why the next call has to do it again, of a result that lacks something.
        """
        todo = self.todo(jobs)
        limit = self.left if seconds is None else seconds
        if not todo or limit <= 0:
            return
        outcomes = run_group([job for _, job in todo], limit, work)
        for number, ((key, job), outcome) in enumerate(zip(todo, outcomes, strict=False), 1):
            if outcome.is_late:  # nothing is wrong with it: the next call has time
                self.log.add(self.part, key, "late", reason=outcome.reason)
                self.say(f"{key}: {outcome.reason}; {len(todo) - number} more not reached")
            else:
                found = facts(key, job, outcome)
                reason = unfinished(outcome.result) if outcome.status == "ok" else None
                self.keep(key, Outcome("late", reason) if reason else outcome, found)

    def task(self, model: str, way: Way, energy: bool = False) -> Task:
        """A latency measurement."""
        budget = replace(self.scale.budget, energy=energy)
        return Task(model, KEYPOINTS, way.conditions(self.device, self.scale.size), budget)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
