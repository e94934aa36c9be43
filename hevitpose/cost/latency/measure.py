"""Measure a model under named conditions: raw samples, statistics, and all that qualifies them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hevitpose.collector import no_garbage_collection
from hevitpose.cost.latency import forms
from hevitpose.cost.latency.conditions import Conditions
from hevitpose.cost.latency.machine_state import energy_per_call, machine_state
from hevitpose.cost.latency.statistics import Summary, summarize
from hevitpose.cost.latency.timers import Call, EventTimer, Timer, WallTimer
from hevitpose.models.runtimes import runtime_version
from hevitpose.records import provenance

#: Two consecutive warm-up blocks whose medians differ by no more than this are stable.
STABLE = 0.02


@dataclass(frozen=True)
class Budget:
    """How long to warm up and to sample."""

    samples: int = 200  # enough; sampling stops there
    min_samples: int = 10  # taken even where `max_seconds` is over
    max_seconds: float = 20.0  # of sampling
    warmup_seconds: float = 1.0  # at least
    warmup_cap_s: float = 15.0  # at most; a warm-up that ends here is recorded as capped
    block_seconds: float = 0.4  # of a warm-up block and of a round
    energy: bool = True  # measure it where the GPU reports it (5 s more)
    name: str | None = None  # its condition in records, which old ones lack: None


STANDARD = Budget()
#: About two seconds a measurement: for cells of an ablation and for smoke runs.
QUICK = Budget(
    samples=100,
    min_samples=5,
    max_seconds=1.0,
    warmup_seconds=0.2,
    warmup_cap_s=1.0,
    block_seconds=0.1,
    energy=False,
)


@dataclass(frozen=True)
class WarmUp:
    """What the warm-up did."""

    first_ms: float  # the very first call: lazy initialisation, compilation
    calls: int
    seconds: float
    block_medians_ms: tuple[float, ...]
    capped: bool  # the cap came before two consecutive blocks agreed


@dataclass(frozen=True)
class LatencyResult:
    """One measurement. ``wall`` is what a caller waits; ``stream`` what a CUDA stream was busy."""

    conditions: Conditions
    samples: tuple[float, ...]  # wall clock, ms per call
    wall: Summary
    warmup: WarmUp
    overhead_ms: float  # the harness around an empty call, included in every sample
    parity: float | None = None  # relative error to eager fp32; None for eager fp32 itself
    keypoints_px: float | None = None  # mean distance of key points to eager fp32's, input pixels
    runtime: str | None = None  # the version of what runs an ONNX file
    stream_samples: tuple[float, ...] = ()
    stream: Summary | None = None
    # Bytes; cuda: of tensors (None of a CUDA graph), cpu: resident set of the process.
    peak_memory: int | None = None
    energy_j: float | None = None  # per call
    state_before: dict[str, Any] = field(default_factory=dict)  # clocks, throttle reasons
    state_after: dict[str, Any] = field(default_factory=dict)

    @property
    def p50(self) -> float:
        """Median wall time of a call, ms."""
        return self.wall.p50

    @property
    def images_per_s(self) -> float:
        """Batch / p50: images, not iterations."""
        return 1000 * self.conditions.batch / self.wall.p50

    def record_fields(self) -> dict[str, Any]:
        """What the ``latency`` part of a result record holds (``hevitpose.records.Latency``)."""
        wall = self.wall.to_dict()
        warmup = {key: getattr(self.warmup, key) for key in self.warmup.__dataclass_fields__}
        warmup["block_medians_ms"] = list(self.warmup.block_medians_ms)
        details: dict[str, Any] = {
            "images_per_s": self.images_per_s,
            "overhead_ms": self.overhead_ms,
            "warmup": warmup,
            "state_before": self.state_before,
            "state_after": self.state_after,
            "energy_j": self.energy_j,
            "peak_memory_of": "tensors" if self.conditions.is_cuda else "process",
        }
        if self.keypoints_px is not None:
            details["keypoints_px"] = self.keypoints_px
        if self.runtime is not None:
            details["runtime"] = self.runtime
        if self.stream is not None:
            details["stream"] = {**self.stream.to_dict(), "samples": list(self.stream_samples)}
        return {
            "conditions": self.conditions.columns(),
            "samples": list(self.samples),
            **wall,
            "parity": self.parity,
            "details": details,
        }


def warm_up(timer: Timer, call: Call, inputs: Sequence[Any], budget: Budget) -> WarmUp:
    """Call until two consecutive blocks' medians are within 2%, or the cap is reached.

    The first call loads and compiles; a cap that counted it would leave no blocks to compare.
    """
    first = timer(call, inputs, 1)[0]
    second = timer(call, inputs, 1)[0]
    per_block = _calls_in(budget.block_seconds, second)
    total, calls = (first + second) / 1000, 2
    medians: list[float] = []
    while True:
        times = timer(call, inputs, per_block)
        calls += len(times)
        total += sum(times) / 1000
        medians.append(summarize(times).p50)
        stable = len(medians) > 1 and abs(medians[-1] - medians[-2]) <= STABLE * medians[-2]
        if stable and total >= budget.warmup_seconds:
            return WarmUp(first, calls, total, tuple(medians), capped=False)
        if total - first / 1000 >= budget.warmup_cap_s:
            return WarmUp(first, calls, total, tuple(medians), capped=True)


def take_samples(
    timer: Timer,
    call: Call,
    inputs: Sequence[Any],
    budget: Budget,
    before: Callable[[], None] | None = None,
) -> list[float]:
    """Raw times until there are enough, or the time is over and there are the fewest wanted."""
    samples: list[float] = []
    while len(samples) < budget.samples:
        spent = sum(samples) / 1000
        if spent >= budget.max_seconds and len(samples) >= budget.min_samples:
            break
        chunk = 1 if not samples else _calls_in(0.1, samples[-1])
        chunk = min(chunk, budget.samples - len(samples))
        samples += timer(call, inputs, chunk, before)
    return samples


def _calls_in(seconds: float, call_ms: float) -> int:
    return max(3, min(1000, round(seconds * 1000 / max(call_ms, 1e-3))))


class Prepared:
    """A model made ready under its conditions: warmed up, its parity checked. A context manager.

    Args:
        model: as ``create_model`` returns it; it is copied, not changed.
        conditions: see there.
        budget: of warm-up and sampling.
        seed: of the random inputs.
        timer: instead of the wall clock, for tests.
        stream_timer: instead of CUDA events, for tests; on the CPU there is none.
        check: compare with eager fp32 first.

    Raises:
        UnavailableError: the mode or device is unavailable on this machine.
        UsageError: the input does not fit the model.
        HEViTPoseError: the form's output is not that of the model.
    """

    def __init__(
        self,
        model: nn.Module,
        conditions: Conditions,
        budget: Budget = STANDARD,
        *,
        seed: int = 0,
        timer: Timer | None = None,
        stream_timer: Timer | None = None,
        check: bool = True,
    ) -> None:
        forms.check_device(conditions.device)
        self.model, self.conditions, self.budget = model, conditions, budget
        self.seed, self.check = seed, check
        synchronise = None
        if conditions.is_cuda:
            device = torch.device(conditions.device)
            synchronise = lambda: torch.cuda.synchronize(device)  # noqa: E731
            stream_timer = stream_timer or EventTimer(
                lambda: torch.cuda.Event(enable_timing=True), synchronise
            )
        clock = time.thread_time_ns if conditions.clock == "cpu" else time.perf_counter_ns
        self.timer = timer or WallTimer(synchronise, clock)
        self.stream_timer = stream_timer
        self._stack = ExitStack()

    def __enter__(self) -> Prepared:
        with ExitStack() as stack:
            stack.enter_context(forms.settings(self.conditions))
            stack.enter_context(torch.inference_mode())
            if self.conditions.is_cuda:
                stack.enter_context(torch.cuda.device(self.conditions.device))
            images = forms.random_images(self.conditions, self.seed)
            network = forms.build_network(self.model, self.conditions, images[0])
            self.parity = self.keypoints_px = None
            if self.check and not self.conditions.is_plain:
                found = forms.check_parity(self.model, network, self.conditions, images[0])
                self.parity, self.keypoints_px = found.error, found.keypoints_px
            self.call = forms.build_call(self.model, network, self.conditions)
            self.inputs: Sequence[Any] = images
            if self.conditions.scope == "e2e":
                self.inputs = forms.random_crowds(self.conditions, self.seed)
            self.before = cache_flush(self.conditions)
            self.warmup = warm_up(self.timer, self.call, self.inputs, self.budget)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._stack.close()

    def round(self) -> list[float]:
        """Wall times of about ``block_seconds`` of calls, at least three: a round of A B A B."""
        times = self.timer(self.call, self.inputs, 1)  # the other contender's caches, once
        per_round = _calls_in(self.budget.block_seconds, times[0])
        return self.timer(self.call, self.inputs, per_round, self.before)

    def result(self, samples: Sequence[float] = ()) -> LatencyResult:
        """Sample, then measure memory and energy, each in a pass of its own.

        Args:
            samples: wall times taken already, by :meth:`round`; none: take them now.
        """
        device = self.conditions.device
        before = machine_state(device)
        with no_garbage_collection():
            samples = samples or take_samples(
                self.timer, self.call, self.inputs, self.budget, self.before
            )
            stream: list[float] = []
            if self.stream_timer is not None:
                stream = self.stream_timer(self.call, self.inputs, len(samples), self.before)
            overhead = summarize(self.timer(lambda _: None, self.inputs, 200)).p50
        after = machine_state(device)
        return LatencyResult(
            conditions=self.conditions,
            samples=tuple(samples),
            wall=summarize(samples),
            warmup=self.warmup,
            overhead_ms=overhead,
            parity=self.parity,
            keypoints_px=self.keypoints_px,
            runtime=runtime_version(self.conditions.backend),
            stream_samples=tuple(stream),
            stream=summarize(stream) if stream else None,
            # A CUDA graph took its memory when it was captured; a replay takes none.
            peak_memory=(
                None
                if self.conditions.backend == "cudagraph"
                else peak_memory(lambda: self.call(self.inputs[0]), device)
            ),
            energy_j=(
                energy_per_call(lambda: self.call(self.inputs[0]), device)
                if self.budget.energy
                else None
            ),
            state_before=before,
            state_after=after,
        )


def measure(
    model: nn.Module,
    *,
    batch: int = 1,
    input_size: tuple[int, int] = (256, 256),
    device: str = "cpu",
    dtype: str = "fp32",
    tf32: bool = False,
    layout: str = "nchw",
    threads: int | None = None,
    mode: str = "eager",
    scope: str = "model",
    flip: bool = False,
    l2: str = "warm",
    budget: Budget = STANDARD,
    seed: int = 0,
) -> LatencyResult:
    """Time a model under named conditions.

    The model is copied and put into evaluation mode; inference mode, random inputs on the device
    in rotation, warm-up until stable, then raw samples.

    Args:
        model: as ``create_model`` returns it.
        batch: images in a call (scope ``e2e``: people in one image).
        input_size: (W, H) in pixels.
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:N"``; never another than asked for.
        dtype: of weights and activations: ``fp32``, ``bf16``, ``fp16``.
        tf32: fp32 products in TF32 (GPU).
        layout: ``nchw`` or ``nhwc`` (channels-last).
        threads: of the CPU's operators; None takes what torch is set to.
        mode: one of :data:`~hevitpose.cost.latency.MODES`.
        scope: ``model``, ``decode`` (and decoding) or ``e2e`` (from a uint8 image to keypoints).
        flip: with the flip test.
        l2: ``cold`` writes a buffer larger than the cache before each call.
        budget: :data:`STANDARD` or :data:`QUICK` (about two seconds), or one's own.
        seed: of the random inputs.

    Raises:
        UsageError: unknown names, sizes that do not fit the model.
        UnavailableError: no such device, compiler or runtime here.
        HEViTPoseError: the form's output is not that of the model.
    """
    conditions = Conditions(
        device=device,
        batch=batch,
        input_size=tuple(input_size),  # type: ignore[arg-type]
        dtype=dtype,
        tf32=tf32,
        layout=layout,
        mode=mode,
        threads=torch.get_num_threads() if threads is None else threads,
        flip=flip,
        scope=scope,
        l2=l2,
    )
    with Prepared(model, conditions, budget, seed=seed) as prepared:
        return prepared.result()


def cache_flush(conditions: Conditions) -> Callable[[], None] | None:
    """What runs, untimed, before each call: nothing (warm), or a write through all caches."""
    if conditions.l2 == "warm":
        return None
    size = 256 << 20  # above the L2 of any GPU and the L3 of nearly any CPU
    buffer = torch.empty(size, dtype=torch.int8, device=conditions.device)

    def flush() -> None:
        buffer.zero_()

    return flush


def peak_memory(call: Callable[[], Any], device: str) -> int | None:
    """Most memory during one call, bytes: tensors on a GPU, the process's resident set on a CPU.

    None where the system does not tell.
    """
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
        call()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device)
    reset = Path("/proc/self/clear_refs")
    if not reset.exists():
        call()
        return provenance.resident_peak()
    try:
        reset.write_text("5")  # the peak (VmHWM) starts again from here
    except OSError:
        return None
    call()
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return None
