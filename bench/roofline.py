"""What bounds a model: every operation's MACs, bytes, time, and share of what the machine can do.

    python bench/roofline.py                                     # hevitpose_b, eager, CPU
    python bench/roofline.py --model t --mode fused --depth 3
    python bench/roofline.py --dtype bf16
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
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch

from bench.command import Parser, whole
from bench.operations import (
    CONVOLUTION,
    GROUPED,
    MATRIX,
    Operation,
    Peaks,
    at_depth,
    best_of,
    grouped,
    measure_peaks,
    record,
)
from hevitpose.cost.latency import Conditions, forms, randomise_norms_, summarize
from hevitpose.errors import UsageError
from hevitpose.files import require_file
from hevitpose.models.spec import full_name
from hevitpose.program import exit_code
from hevitpose.records import provenance
from hevitpose.sizes import parse_size
from reports.figures.style import plain_log_ticks

#: Of which each operation's time is the median.
PASSES = 15
#: Of --plot: kinds of pictures that matplotlib writes without another package.
SUFFIXES = (".svg", ".png", ".pdf")


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
        plain_log_ticks(axis)
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
    add("--dtype", default="fp32", choices=("fp32", "bf16", "fp16"), help="of all products")
    add("--input", default="256x256", help="HEIGHTxWIDTH")
    add("--batch", type=whole(), default=1)
    add("--gpu", action="store_true", help="on a CUDA GPU, or not at all")
    add("--threads", type=whole(), help="default: all this process may use")
    add("--depth", type=whole(), default=4, help="names of a module's path in the table")
    add("--keypoints", type=whole(), default=17)
    add("--plot", type=Path, help="default: runs/roofline/MODEL-MODE-DTYPE.svg")
    options = parser.parse_args(arguments)
    options.model = full_name(options.model)
    if options.plot and options.plot.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--plot {options.plot}: expected a name in {', '.join(SUFFIXES)}")
    if options.plot:
        require_file(options.plot, "--plot")
    options.conditions = Conditions(
        device="cuda" if options.gpu else "cpu",
        batch=options.batch,
        input_size=parse_size(options.input, "--input"),
        mode=options.mode,
        dtype=options.dtype,
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
        peaks = measure_peaks(device, images[0].dtype)
        for _ in range(3):
            network(images[0])
        total = summarize([best_of(lambda: network(images[0]), 1, device) for _ in range(30)]).p50
        operations = record(network, images[0], device, PASSES)
        peaks = peaks.covering(operations)
    width, height = size
    machine = provenance.machine()["gpu" if conditions.is_cuda else "cpu"]
    title = (
        f"{options.model}, {options.mode}, batch {conditions.batch}, {height}x{width}, "
        f"{options.dtype}, {machine}, {conditions.threads} threads"
    )
    show(operations, peaks, total, title, options.depth)
    name = f"{options.model}-{options.mode}-{options.dtype}.svg"
    path = options.plot or Path("runs/roofline") / name
    plot(operations, peaks, total, title, path)
    print(f"plot: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
