"""What bounds a model: every operation's MACs, bytes, time, and share of what the machine can do.

    python bench/roofline.py                                     # hevitpose_b, eager, CPU
    python bench/roofline.py --model t --mode fused --depth 3
    python bench/roofline.py --model pose_hrnet_w32 --plot hrnet.svg

The machine's peaks are measured in the same run, one for each kind of product (matrix product,
convolution, grouped convolution: a depthwise one has no reuse that could reach the first's), and
the bandwidth of a large copy (memory) and of a small one (cache). A roof is the best that this run
saw, in a probe or in the pass itself, so that nothing lies above its own. Attainable is
min(peak of its kind, intensity x bandwidth), intensity being FLOPs (2 per MAC) per byte that an
operation must read or write: its inputs, weights and outputs, once; what a call moves decides
between cache and memory. Operations are timed one by one where torch dispatches them; what a pass
takes beyond their sum is Python and dispatch.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from torch.utils.module_tracker import ModuleTracker

from bench.command import Parser, exit_code
from hevitpose.cost.latency import Conditions, forms, randomise_norms_, summarize
from hevitpose.errors import HEViTPoseError, UsageError
from hevitpose.models.spec import full_name
from hevitpose.records import provenance
from hevitpose.sizes import parse_size

PASSES = 15
MATRIX, CONVOLUTION, GROUPED = "matrix product", "convolution", "grouped convolution"


@dataclass(frozen=True)
class Peaks:
    """What the machine reached in this run."""

    flops: dict[str, float]  # kind of product -> fp32 FLOP/s
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


def measure_peaks(device: str) -> Peaks:
    """The best of several large products and copies."""
    a, b = (torch.randn(2048, 2048, device=device) for _ in range(2))
    out = torch.empty_like(a)
    large = [torch.ones(64 << 20, device=device) for _ in range(2)]  # 256 MiB each
    small = [torch.ones(1 << 18, device=device) for _ in range(2)]  # 1 MiB each
    images = torch.randn(1, 256, 64, 64, device=device)
    dense = torch.randn(256, 256, 3, 3, device=device)
    depthwise = torch.randn(256, 1, 3, 3, device=device)
    conv = torch.nn.functional.conv2d
    macs = 64 * 64 * 256 * 9  # of the depthwise one
    return Peaks(
        flops={
            MATRIX: 2 * 2048**3 / _best(lambda: torch.mm(a, b, out=out), 12, device),
            CONVOLUTION: 512 * macs / _best(lambda: conv(images, dense, padding=1), 12, device),
            GROUPED: 2
            * macs
            / _best(lambda: conv(images, depthwise, padding=1, groups=256), 100, device),
        },
        memory=2 * large[0].nbytes / _best(lambda: large[0].copy_(large[1]), 12, device),
        cache=2 * small[0].nbytes / _best(lambda: small[0].copy_(small[1]), 500, device),
    )


def _best(call: Callable[[], Any], repeats: int, device: str) -> float:
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
    weight = given.get("weight", given.get("w"))
    kernel = "x".join(map(str, weight.shape[-2:]))
    if given.get("transposed") or "transpose" in name:
        return f"deconv {kernel}"
    if given["groups"] == 1:
        return f"conv {kernel}"
    per_filter = weight.numel() // math.prod(weight.shape[-2:])
    images = given.get("input", given.get("x"))
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


def record(network: Any, images: Tensor, device: str, passes: int = PASSES) -> list[Operation]:
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


# --------------------------------------------------------------------------------------- showing


def show(operations: list[Operation], peaks: Peaks, total: float, title: str, depth: int) -> None:
    """Two tables, by module and by kind of operation, and the sum's distance to the pass."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if Console().is_terminal else 140)
    for heading, key in (("module", at_depth(depth)), ("operation", lambda o: o.kind)):
        table = Table(title=f"{title}, by {heading}")
        table.add_column(heading)
        for name in ("calls", "ms", "% of pass", "MMACs", "MB", "FLOP/B", "GFLOP/s", "of roof"):
            table.add_column(name, justify="right")
        least: dict[str, float] = {}
        for o in operations:
            least[key(o)] = least.get(key(o), 0.0) + peaks.seconds(o)
        for o in grouped(operations, key):
            table.add_row(
                o.module,
                str(o.calls),
                f"{o.seconds * 1e3:.2f}",
                f"{100 * o.seconds / total:.1f}",
                f"{o.macs / 1e6:.1f}",
                f"{o.bytes / 1e6:.1f}",
                f"{o.intensity:.1f}",
                f"{2 * o.macs / o.seconds / 1e9:.1f}" if o.seconds else "",
                f"{least[o.module] / o.seconds:.2f}" if o.seconds else "",
            )
        console.print(table)
    spent = sum(o.seconds for o in operations)
    macs = sum(o.macs for o in operations)
    roof = sum(peaks.seconds(o) for o in operations)
    reached = ", ".join(f"{rate / 1e9:.1f} GFLOP/s {name}" for name, rate in peaks.flops.items())
    console.print(
        f"A pass takes {total * 1e3:.1f} ms: {spent * 1e3:.1f} ms in {len(operations)} operations "
        f"(roof {roof * 1e3:.1f} ms), the rest Python and dispatch. It reaches "
        f"{2 * macs / total / 1e9:.1f} GFLOP/s, {200 * macs / total / peaks.flops[MATRIX]:.0f}% of "
        f"a matrix product's.\nBest of this run: {reached}, "
        f"{peaks.memory / 1e9:.1f} GB/s from memory, {peaks.cache / 1e9:.1f} GB/s from the cache.",
        highlight=False,
        soft_wrap=True,
    )


_COLORS = {MATRIX: "#0072b2", CONVOLUTION: "#009e73", GROUPED: "#d55e00"}


def plot(operations: list[Operation], peaks: Peaks, total: float, title: str, path: Path) -> None:
    """Kinds of operations under the roof; a point's area is its share of the pass."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    points = [o for o in grouped(operations, lambda o: o.kind) if o.bytes and o.macs]
    moving = sum(o.seconds for o in operations if not o.macs)
    fig, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    intensities = np.geomspace(0.1, 1000, 200)
    top = max(peaks.flops.values())
    for bandwidth, style, name in ((peaks.memory, "-", "memory"), (peaks.cache, "--", "cache")):
        label = f"{name}: {bandwidth / 1e9:.0f} GB/s"
        roof = np.minimum(top, intensities * bandwidth) / 1e9
        axes.plot(intensities, roof, style, color="0.3", label=label)
    for name, rate in peaks.flops.items():
        start = rate / peaks.cache  # where the cache could feed it
        axes.plot([start, intensities[-1]], [rate / 1e9] * 2, color=_COLORS[name], lw=1.4,
                  label=f"{name}: {rate / 1e9:.0f} GFLOP/s")  # fmt: skip
    rates = [2 * o.macs / o.seconds / 1e9 for o in points]
    for o, y in zip(points, rates, strict=True):
        share = o.seconds / total
        axes.scatter(o.intensity, y, s=3000 * share, alpha=0.55, color=_COLORS[o.product])
        if share < 0.005:
            continue
        right_is_taken = any(
            0 < math.log10(other.intensity / o.intensity) < 0.7 and abs(math.log10(v / y)) < 0.12
            for other, v in zip(points, rates, strict=True)
        )
        side = -1 if right_is_taken else 1
        axes.annotate(
            f"{o.kind} {100 * share:.0f}%",
            (o.intensity, y),
            textcoords="offset points",
            xytext=(side * (math.sqrt(3000 * share) / 2 + 3), 0),  # beside the circle
            ha="right" if right_is_taken else "left",
            va="center",
            fontsize=8,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},  # over the roof's lines
        )
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="FLOPs per byte",
        ylabel="GFLOP/s",
        title=f"{title}\narea: share of the pass; operations without MACs: "
        f"{100 * moving / total:.0f}% of it",
    )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.set_ylim(bottom=0.5 * min(rates))
    axes.title.set_fontsize(9)
    axes.legend(loc="lower right", title="roofs: the best of this run", fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(fig)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line.

    Raises:
        UsageError: an unknown model, or a value that cannot be read.
    """
    parser = Parser("bench/roofline.py", __doc__)
    add = parser.add_argument
    add("--model", default="hevitpose_b")
    add("--mode", default="eager", choices=("eager", "fused"))
    add("--input", default="256x256", help="HEIGHTxWIDTH")
    add("--batch", type=int, default=1)
    add("--gpu", action="store_true", help="on a CUDA GPU, or not at all")
    add("--threads", type=int, help="default: all this process may use")
    add("--depth", type=int, default=4, help="names of a module's path in the table")
    add("--keypoints", type=int, default=17)
    add("--plot", type=Path, help="default: runs/roofline/MODEL-MODE.svg")
    options = parser.parse_args(arguments)
    options.model = full_name(options.model)
    options.conditions = Conditions(
        device="cuda" if options.gpu else "cpu",
        batch=options.batch,
        input_size=parse_size(options.input, "--input"),
        mode=options.mode,
        threads=provenance.cores() if options.threads is None else options.threads,
    )
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """0; 2 for a wrong request, or --gpu without a GPU; 1 for what failed."""
    return exit_code(lambda: _run(parse(arguments)))


def _run(options: argparse.Namespace) -> int:
    from hevitpose.models import create_for_input

    conditions: Conditions = options.conditions
    if conditions.is_cuda and not torch.cuda.is_available():
        raise UsageError("--gpu: no CUDA GPU is available here (nothing was measured)")
    size = conditions.input_size
    model = randomise_norms_(create_for_input(options.model, options.keypoints, size, seed=0), size)
    device = conditions.device
    with forms.settings(conditions), torch.no_grad():
        images = forms.random_images(conditions, seed=0)
        network = forms.build_network(model, conditions, images[0])
        peaks = measure_peaks(device)
        for _ in range(3):
            network(images[0])
        total = summarize([_best(lambda: network(images[0]), 1, device) for _ in range(30)]).p50
        operations = record(network, images[0], device)
        peaks = peaks.covering(operations)
    width, height = size
    machine = provenance.machine()["gpu" if conditions.is_cuda else "cpu"]
    title = (
        f"{options.model}, {options.mode}, batch {conditions.batch}, {height}x{width}, fp32, "
        f"{machine}, {conditions.threads} threads"
    )
    show(operations, peaks, total, title, options.depth)
    path = options.plot or Path("runs/roofline") / f"{options.model}-{options.mode}.svg"
    plot(operations, peaks, total, title, path)
    print(f"plot: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
