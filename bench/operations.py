"""The operations of a pass, each with its MACs, bytes and time, and what the machine can do."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from torch.utils.module_tracker import ModuleTracker

from hevitpose.errors import HEViTPoseError

MATRIX, CONVOLUTION, GROUPED = "matrix product", "convolution", "grouped convolution"


@dataclass(frozen=True)
class Peaks:
    """What the machine reached in this run."""

    flops: dict[str, float]  # kind of product -> FLOP/s
    memory: float  # bytes/s, read and written, of a copy larger than any cache
    cache: float  # bytes/s of a copy of 1 MiB
    cached: int = 2 << 20  # bytes that a call moves, up to which the cache is its roof

    def seconds(self, operation: Operation) -> float:
        """The least that an operation can take under its roof."""
        compute = 2 * operation.macs / self.flops[operation.product]
        return max(compute, operation.bytes / self._bandwidth(operation))

    def _bandwidth(self, operation: Operation) -> float:
        return self.cache if operation.bytes <= self.cached * operation.calls else self.memory

    def covering(self, operations: Iterable[Operation]) -> Peaks:
        """These peaks, raised to what the operations themselves reached."""
        flops, memory, cache = dict(self.flops), self.memory, self.cache
        for o in operations:
            if not o.seconds:
                continue
            flops[o.product] = max(flops[o.product], 2 * o.macs / o.seconds)
            if o.bytes <= self.cached * o.calls:
                cache = max(cache, o.bytes / o.seconds)
            else:
                memory = max(memory, o.bytes / o.seconds)
        return replace(self, flops=flops, memory=memory, cache=max(cache, memory))


@dataclass(frozen=True)
class Operation:
    """One dispatched operation of a pass, or several together."""

    module: str  # dotted path
    kind: str  # "conv 1x1", "depthwise 3x3", "layer_norm" ...
    macs: int
    bytes: int
    seconds: float
    calls: int = 1

    @property
    def product(self) -> str:
        """The kind of product that its roof is measured by."""
        if self.kind.startswith(("depthwise", "grouped")):
            return GROUPED
        return CONVOLUTION if self.kind.startswith(("conv", "deconv")) else MATRIX

    @property
    def intensity(self) -> float:
        """FLOPs per byte; 0 for what only moves data."""
        return 2 * self.macs / self.bytes if self.bytes else 0.0


def measure_peaks(device: str, dtype: torch.dtype = torch.float32) -> Peaks:
    """The best of several large products in a precision, and of copies."""
    a, b = (torch.randn(2048, 2048, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(a)
    large = [torch.ones(64 << 20, device=device) for _ in range(2)]  # 256 MiB each
    small = [torch.ones(1 << 18, device=device) for _ in range(2)]  # 1 MiB each
    images, dense, depthwise = (
        torch.randn(shape, device=device).to(dtype)
        for shape in ((1, 256, 64, 64), (256, 256, 3, 3), (256, 1, 3, 3))
    )
    conv = torch.nn.functional.conv2d
    macs = 64 * 64 * 256 * 9  # of the depthwise one
    return Peaks(
        flops={
            MATRIX: 2 * 2048**3 / best_of(lambda: torch.mm(a, b, out=out), 12, device),
            CONVOLUTION: 512 * macs / best_of(lambda: conv(images, dense, padding=1), 12, device),
            GROUPED: 2
            * macs
            / best_of(lambda: conv(images, depthwise, padding=1, groups=256), 100, device),
        },
        memory=2 * large[0].nbytes / best_of(lambda: large[0].copy_(large[1]), 12, device),
        cache=2 * small[0].nbytes / best_of(lambda: small[0].copy_(small[1]), 500, device),
    )


def best_of(call: Callable[[], Any], repeats: int, device: str) -> float:
    """Seconds of the quickest of some calls, the device's work included."""
    times = []
    for _ in range(repeats):
        _synchronise(device)
        start = time.perf_counter()
        call()
        _synchronise(device)
        times.append(time.perf_counter() - start)
    return min(times)


def _synchronise(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


class Recorder(TorchDispatchMode):
    """Times every operation of a pass where it is dispatched, and notes what it must move."""

    def __init__(self, device: str, tracker: ModuleTracker) -> None:
        super().__init__()
        self.device, self.tracker = device, tracker
        self.operations: list[Operation] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        _synchronise(self.device)
        start = time.perf_counter()
        out = func(*args, **kwargs)
        _synchronise(self.device)
        seconds = time.perf_counter() - start
        inputs, outputs = list(_tensors((args, kwargs))), list(_tensors(out))
        shared = {t.untyped_storage().data_ptr() for t in inputs if _has_storage(t)}
        in_place = func._schema.is_mutable
        is_view = not in_place and all(
            _has_storage(t) and t.untyped_storage().data_ptr() in shared for t in outputs
        )
        moved = 0 if is_view else sum(_nbytes(t) for t in (*inputs, *outputs))
        self.operations.append(
            Operation(
                module=self._module(),
                kind="view" if is_view else kind_of(func, args, kwargs),
                macs=macs_of(func, args, kwargs, out),
                bytes=moved,
                seconds=seconds,
            )
        )
        return out

    def _module(self) -> str:
        deepest = max(self.tracker.parents, key=len, default="Global")
        return deepest.partition(".")[2]


def _tensors(value: Any) -> Iterable[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)


def _has_storage(tensor: Tensor) -> bool:
    return tensor.layout == torch.strided


def _nbytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _named(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments by the names of the operator's schema, lower case (oneDNN's are X and W)."""
    names = [argument.name for argument in func._schema.arguments]
    given = dict(zip(names, args, strict=False)) | kwargs
    return {name.lower(): value for name, value in given.items()}


def kind_of(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> str:
    """A name a person reads: convolutions by kernel and grouping, the rest by operator."""
    name = func._schema.name.split("::")[1].strip("_")
    if "scaled_dot_product" in name:
        return "attention"
    if "convolution" not in name or "reorder" in name:
        return name
    given = _named(func, args, kwargs)
    weight = given["weight" if "weight" in given else "w"]
    kernel = "x".join(map(str, weight.shape[-2:]))
    if given.get("transposed") or "transpose" in name:
        return f"deconv {kernel}"
    if given["groups"] == 1:
        return f"conv {kernel}"
    per_filter = weight.numel() // math.prod(weight.shape[-2:])
    images = given["input" if "input" in given else "x"]
    return f"depthwise {kernel}" if per_filter == images.shape[1] else f"grouped conv {kernel}"


def macs_of(func: Any, args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> int:
    """Multiply-accumulates: torch's own rules, and those of the CPU's fused operators."""
    packet, name = func._overloadpacket, func._schema.name
    if packet in flop_registry:
        return int(flop_registry[packet](*args, **kwargs, out_val=out)) // 2
    if "scaled_dot_product" in name:
        query, key, value = args[:3]
        queries = query.numel() // query.shape[-1]  # over batch and heads too
        return queries * key.shape[-2] * (query.shape[-1] + value.shape[-1])
    if name.startswith("mkldnn::_convolution"):
        given = _named(func, args, kwargs)
        # Every weight meets every position: of the output, or, transposed, of the input.
        over = given["x"] if "transpose" in name else out
        return over.shape[0] * over.shape[-2] * over.shape[-1] * given["w"].numel()
    return 0


def record(network: Any, images: Tensor, device: str, passes: int) -> list[Operation]:
    """Every operation of a pass, its time the median over passes.

    Raises:
        HEViTPoseError: two passes did not dispatch the same operations.
    """
    runs: list[list[Operation]] = []
    for index in range(passes + 2):
        # Not inference mode: there, convolutions and products are dispatched under other names,
        # for which torch has no rules of counting.
        with (
            torch.no_grad(),
            ModuleTracker() as tracker,
            Recorder(device, tracker) as recorder,
        ):
            network(images)
        if index >= 2:  # the first two warm up
            runs.append(recorder.operations)
    if len({len(operations) for operations in runs}) != 1:
        raise HEViTPoseError("roofline: the passes differ in their operations")
    return [
        replace(same[0], seconds=statistics.median(operation.seconds for operation in same))
        for same in zip(*runs, strict=True)
    ]


def grouped(operations: Iterable[Operation], key: Callable[[Operation], str]) -> list[Operation]:
    """Operations with equal keys added up, the slowest group first."""
    groups: dict[str, list[Operation]] = {}
    for operation in operations:
        groups.setdefault(key(operation), []).append(operation)
    sums = [
        Operation(
            module=name,
            kind=name,
            macs=sum(o.macs for o in members),
            bytes=sum(o.bytes for o in members),
            seconds=sum(o.seconds for o in members),
            calls=len(members),
        )
        for name, members in groups.items()
    ]
    return sorted(sums, key=lambda o: -o.seconds)


def at_depth(depth: int) -> Callable[[Operation], str]:
    """A key: the module's path cut after so many names."""
    return lambda operation: ".".join(operation.module.split(".")[:depth]) or "(network)"
