"""Which layers of an exported file go into lower precision, by what that costs on people.

In int8 each kind of layer is quantised alone first: what it saves and what it loses is a row of
the table that ``hevitpose export --int8`` prints. Then all kinds together; while that loses too
much, the kind that lost most alone goes back to floats. Times decide nothing, so that equal inputs
give equal files.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hevitpose.cost.latency.timers import WallTimer
from hevitpose.data.registry import label_of
from hevitpose.errors import HEViTPoseError
from hevitpose.inference.defaults import MOST_LOST
from hevitpose.models.quantize import layer_kinds, write_bfloat16, write_int8
from hevitpose.models.runtimes import Run, load_onnx

#: A time is of so many calls, or of about those that fit into so many seconds.
TIMED_CALLS, TIMED_SECONDS = 20, 2.0
UNTIMED_CALLS = 3  # before them

Judge = Callable[[Run], float]  # what a file computes, to points of a metric, 0..100


@dataclass(frozen=True)
class People:
    """What files are calibrated and judged on; made by :mod:`hevitpose.inference.calibration`."""

    crops: Tensor  # (N, 3, H, W) normalised, to calibrate on
    named: dict[str, Any]  # who they are, as records name them
    metric: str
    few: Judge  # on some held-out people: the sensitivity of each kind
    all: Judge  # on all of them: what the whole file loses
    judges: str  # how many those are

    @property
    def told(self) -> str:
        """How many are calibrated on, who is judged on, and what has to be said of them."""
        who = self.judges
        if dataset := self.named.get("dataset"):
            label = f" ({label})" if (label := label_of(dataset)) else ""
            who += f" of {dataset} {self.named['judged on']}{label}"
        return f"calibrated on {len(self.crops)}, judged on {who}"


@dataclass(frozen=True)
class Kind:
    """A kind of layer, quantised alone."""

    name: str
    layers: int
    saved_ms: float  # processor time of a call, one thread
    lost: float  # points of the metric, on some people
    int8: bool  # in the file that was written


@dataclass(frozen=True)
class LowerPrecision:
    """A file in lower precision, as it was chosen."""

    precision: str
    runtime: str
    metric: str
    people: str  # calibrated and judged on
    full: float  # points in float32
    low: float  # points of the file
    kinds: tuple[Kind, ...] = ()  # of int8

    @property
    def lost(self) -> float:
        """Points that the file loses."""
        return self.full - self.low

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready object."""
        return asdict(self) | {"lost": self.lost}

    def lines(self) -> list[str]:
        """The table, and what the file loses as a whole."""
        told = [
            f"{self.precision} in {self.runtime}: {self.metric} {self.low:.2f}, "
            f"{self.full:.2f} in fp32, {self.lost:.2f} points lost",
            self.people,
        ]
        if self.kinds:
            told.append(f"{'layer kind':<24}{'layers':>8}{'ms saved':>10}{'lost':>8}  now in")
        for kind in self.kinds:
            told.append(
                f"{kind.name:<24}{kind.layers:>8}{kind.saved_ms:>10.2f}{kind.lost:>8.2f}  "
                f"{'int8' if kind.int8 else 'fp32'}"
            )
        return told


def lower(
    whole: Path,
    out: Path,
    precision: str,
    runtime: str,
    people: People,
    batch: int,
    *,
    accept_loss: bool = False,
) -> LowerPrecision:
    """Write a file in lower precision beside one in float32.

    Args:
        whole: the file in float32.
        out: the file to write.
        precision: ``int8`` or ``bf16``.
        runtime: in which it is judged and timed.
        people: to calibrate and to judge on.
        batch: images in a call of the file.
        accept_loss: keep what loses more than :data:`MOST_LOST`: all kinds stay in int8.

    Raises:
        HEViTPoseError: it loses more, whatever stays in floats; the message has the table.
    """
    whole_run = load_onnx(whole, runtime, threads=1)
    full = people.all(whole_run)
    made = partial(LowerPrecision, precision, runtime, people.metric, people.told, full)
    if precision == "bf16":
        write_bfloat16(whole, out)
        return _within(made(people.all(load_onnx(out, runtime, precision, threads=1))), accept_loss)
    batches = whole_batches(people.crops, batch)
    kinds = _sensitivity(whole, whole_run, out, runtime, people, batches)
    chosen = sorted(kinds, key=lambda kind: kind.lost)
    while True:
        names = [kind.name for kind in chosen]
        write_int8(whole, out, batches, names)
        low = people.all(load_onnx(out, runtime, precision, threads=1))
        if accept_loss or full - low <= MOST_LOST or len(chosen) == 1:
            break
        chosen.pop()
    shown = tuple(Kind(k.name, k.layers, k.saved_ms, k.lost, k.name in names) for k in kinds)
    return _within(made(low, shown), accept_loss)


def whole_batches(crops: Tensor, batch: int) -> list[Tensor]:
    """All crops, so many at a time; the last batch is filled up with the first ones again."""
    index = torch.arange(-(-len(crops) // batch) * batch) % len(crops)
    return list(crops[index].split(batch))


def _sensitivity(
    whole: Path,
    whole_run: Run,
    out: Path,
    runtime: str,
    people: People,
    batches: Sequence[Tensor],
) -> list[Kind]:
    """Each kind of layer in int8 alone; ``out`` is written over."""
    full, full_ms = people.few(whole_run), processor_ms(whole_run, batches[0])
    found = []
    for name, layers in layer_kinds(whole).items():
        write_int8(whole, out, batches, [name])
        run = load_onnx(out, runtime, "int8", threads=1)
        saved = full_ms - processor_ms(run, batches[0])
        found.append(Kind(name, len(layers), saved, full - people.few(run), True))
    if not found:
        raise HEViTPoseError("int8: the network has no layer that runtimes compute in int8")
    return found


def _within(found: LowerPrecision, accept_loss: bool) -> LowerPrecision:
    if found.lost <= MOST_LOST or accept_loss:
        return found
    raise HEViTPoseError(
        *found.lines(),
        f"{found.precision} loses {found.lost:.2f} points of {found.metric}, expected at most "
        f"{MOST_LOST}; not written (--accept-loss keeps it)",
    )


def call_times(
    run: Run, images: Tensor, clock: Callable[[], int] = time.perf_counter_ns
) -> list[float]:
    """Milliseconds of each call, after some that are not timed.

    Args:
        run: what is called.
        images: what with.
        clock: nanoseconds; ``time.thread_time_ns``, processor time, is blind to a busy machine.
    """
    timer = WallTimer(clock=clock)
    with torch.inference_mode():
        started = time.perf_counter()
        timer(run, [images], UNTIMED_CALLS)
        seconds = (time.perf_counter() - started) / UNTIMED_CALLS
        fitting = int(TIMED_SECONDS / seconds) if seconds else TIMED_CALLS
        return timer(run, [images], min(TIMED_CALLS, max(1, fitting)))


def processor_ms(run: Run, images: Tensor) -> float:
    """Processor time of a call in this thread, ms."""
    return statistics.median(call_times(run, images, time.thread_time_ns))
