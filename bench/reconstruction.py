"""How far candidate networks are from the parameters and GFLOPs that the paper prints.

    python bench/reconstruction.py                    # one choice for T, S and B, nearest first
    python bench/reconstruction.py --variant t,b      # S left out
    python bench/reconstruction.py --step 64 --top 30 --csv candidates.csv

A *choice* is what the sizes share: channel groups, spatial reductions, heads of a group and head
filters. Each size has widths and depths of its own. For every choice the nearest network of every
size is looked for, over all widths and depths that never fall from stage to stage; a choice is as
far off as the worst of its sizes. To search elsewhere, edit the constants below.

Distances are in printed hundredths: the larger error of millions of parameters and of GFLOPs
(256x256, 16 keypoints, the ``mmcv`` convention), times 100. At most 0.5 is every printed digit.
Networks are counted by formula, a term for each layer, ninety million in seconds; tests hold the
formulas equal to ``hevitpose.cost.complexity``.
"""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from bench.command import Parser, whole
from hevitpose.errors import HEViTPoseError, UsageError, unknown_name
from hevitpose.files import require_file, write_atomically
from hevitpose.models.spec import VARIANTS
from hevitpose.program import exit_code
from hevitpose.progress import Progress, progress_bar, silent
from reports.published import published

SIZES = ("t", "s", "b")
KEYPOINTS = 16  # MPII's, of which the counts were printed
AREAS = (64 * 64, 32 * 32, 16 * 16)  # of the three stages' maps at 256x256

GROUPS = ((1, 1, 1), (2, 2, 2), (4, 4, 4), (1, 2, 4), (2, 4, 8), (4, 4, 8), (4, 2, 1), (8, 4, 2))
REDUCTIONS = (
    *((1, 1, 1), (2, 1, 1), (2, 2, 1), (2, 2, 2), (4, 2, 1), (4, 4, 2)),
    *((8, 2, 1), (8, 4, 1), (8, 4, 2)),
)
HEADS = (1, 2, 4, 8)
FILTERS = tuple(
    (first, second)
    for first in (64, 96, 128, 192, 256)
    for second in (48, 64, 96, 128, 192, 256)
    if second <= first
)
WIDEST = 512
DEEPEST = 4
STEP = 32  # widths are multiples of it, unless asked otherwise
EXACT = 0.5  # hundredths: rounds to the printed digits

#: An integer, or an array of one per candidate.
Number = Any


# ---------------------------------------------------------------------------------------- counting


@dataclass(frozen=True)
class Cost:
    """Parameters and multiply-accumulates, the latter by the ``mmcv`` convention."""

    params: Number
    macs: Number

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.params + other.params, self.macs + other.macs)

    def __mul__(self, times: Number) -> Cost:
        return Cost(self.params * times, self.macs * times)


def convolution(weights: Number, out: Number, area: int, bias: bool = False) -> Cost:
    """A convolution with this many weights, on this many positions."""
    extra = out if bias else 0 * out
    return Cost(weights + extra, (weights + extra) * area)


def norm(channels: Number, area: int) -> Cost:
    """BatchNorm or LayerNorm: two parameters a channel, two operations an element."""
    return Cost(2 * channels, 2 * channels * area)


def relu(channels: Number, area: int) -> Cost:
    """One operation an element."""
    return Cost(0 * channels, channels * area)


def dwconv(channels: Number, area: int) -> Cost:
    """Depthwise 3x3 and BatchNorm."""
    return convolution(9 * channels, channels, area) + norm(channels, area)


def ffn(channels: Number, area: int) -> Cost:
    """1x1 to twice the channels, BatchNorm, ReLU, 1x1 back, BatchNorm."""
    hidden = 2 * channels
    there = convolution(channels * hidden, hidden, area) + norm(hidden, area) + relu(hidden, area)
    return there + convolution(hidden * channels, channels, area) + norm(channels, area)


def attention(channels: Number, groups: int, reduction: int, heads: int, area: int) -> Cost:
    """CGSR-MHA; its products are functional and count nothing."""
    c = channels // groups
    reduced = area // reduction**2
    group = convolution(c * c, c, reduced) * 2  # K and V
    group += norm(c, area) + norm(c, reduced) * 2  # of q, k and v
    group += convolution(c * c // heads, c, area)  # the heads' own, on q
    group += convolution(c * c // heads, c, reduced) * 2  # and on k and v
    group += convolution(c * c, c, area, bias=True) + norm(c, area)  # Linear, Y's norm
    if reduction > 1:
        group += convolution(c * c * reduction**2, c, reduced, bias=True)
    return group * groups + convolution(channels * channels, channels, area) + norm(channels, area)


def block(channels: Number, groups: int, reduction: int, heads: int, area: int) -> Cost:
    """DWConv, FFN, CGSR-MHA, DWConv, FFN."""
    return (dwconv(channels, area) + ffn(channels, area)) * 2 + attention(
        channels, groups, reduction, heads, area
    )


def stem(channels: Number, area: int) -> Cost:
    """The first embedding: 7x7 with bias on three channels, LayerNorm."""
    return convolution(147 * channels, channels, area, bias=True) + norm(channels, area)


def between(channels: Number, wider: Number, before: int, after: int) -> Cost:
    """Subsample & OPE, with the DWConv and FFN on either side of it."""
    hidden, squeezed = 4 * channels, channels
    cost = dwconv(channels, before) + ffn(channels, before)
    cost += convolution(channels * hidden, hidden, before)
    cost += norm(hidden, before) + relu(hidden, before)
    cost += dwconv(hidden, after) + relu(hidden, after)
    cost += convolution(hidden * squeezed, squeezed, 1, bias=True) + relu(squeezed, 1)
    cost += convolution(squeezed * hidden, hidden, 1, bias=True)
    cost += convolution(hidden * wider, wider, after) + norm(wider, after)
    return cost + dwconv(wider, after) + ffn(wider, after)


def head(channels: Number, filters: tuple[int, int]) -> Cost:
    """Two transposed convolutions k4 s2 with BatchNorm and ReLU, then 1x1 to the heatmaps."""
    cost, area = Cost(0, 0), AREAS[2]
    for width in filters:
        # A transposed convolution has its weights at every position of its *input*.
        cost += convolution(16 * channels * width, 0, area)
        area *= 4
        cost += norm(width, area) + relu(width, area)
        channels = width
    return cost + convolution(channels * KEYPOINTS, KEYPOINTS, area, bias=True)


def network(
    widths: Sequence[Number],
    depths: Sequence[Number],
    groups: Sequence[int],
    reductions: Sequence[int],
    heads: int,
    filters: tuple[int, int],
) -> Cost:
    """A whole HEViTPose at 256x256; widths and depths may be arrays of candidates."""
    return body(widths, depths, groups, reductions, heads) + head(widths[2], filters)


def body(
    widths: Sequence[Number],
    depths: Sequence[Number],
    groups: Sequence[int],
    reductions: Sequence[int],
    heads: int,
) -> Cost:
    """The three stages without the head."""
    cost = stem(widths[0], AREAS[0])
    for stage in (1, 2):
        cost += between(widths[stage - 1], widths[stage], AREAS[stage - 1], AREAS[stage])
    for stage, area in enumerate(AREAS):
        one = block(widths[stage], groups[stage], reductions[stage], heads, area)
        cost += one * depths[stage]
    return cost


# --------------------------------------------------------------------------------------- searching


class Choice(NamedTuple):
    """What T, S and B share."""

    groups: tuple[int, int, int]
    reductions: tuple[int, int, int]
    heads: int
    filters: tuple[int, int]


class Network(NamedTuple):
    """The nearest network of one size."""

    off: float  # printed hundredths
    widths: tuple[int, ...]
    depths: tuple[int, ...]
    params: float  # millions
    gflops: float


class Candidate(NamedTuple):
    """A choice with the nearest network of every size; candidates sort by distance."""

    off: float  # of the worst size
    choice: Choice
    networks: tuple[Network, ...]  # in the order of the sizes


class Space:
    """Every pair of widths and depths.

    Args:
        step: widths are multiples of it.
        widest: the largest width.
        deepest: the most blocks in a stage.
    """

    def __init__(self, step: int = STEP, widest: int = WIDEST, deepest: int = DEEPEST) -> None:
        rising = itertools.combinations_with_replacement
        self.widths = np.array(list(rising(range(step, widest + 1, step), 3)))  # (M, 3)
        self.depths = np.array(list(rising(range(1, deepest + 1), 3)))  # (D, 3)

    def candidates(
        self, targets: Sequence[tuple[float, float]], progress: Progress = silent
    ) -> tuple[list[Candidate], int]:
        """The nearest networks under every choice, nearest choice first.

        Args:
            targets: of each size, the printed millions of parameters and GFLOPs.
            progress: counts the choices, the filters aside.

        Returns:
            The candidates, and how many networks were counted.
        """
        found: list[Candidate] = []
        counted = 0
        bodies = list(itertools.product(GROUPS, REDUCTIONS, HEADS))
        for done, (groups, reductions, heads) in enumerate(bodies, 1):
            fits = (self.widths % (np.array(groups) * heads) == 0).all(axis=1)
            widths = self.widths[fits]
            columns = [widths[:, stage, None] for stage in range(3)]  # (M, 1) each
            depths = [self.depths[None, :, stage] for stage in range(3)]  # (1, D) each
            stages = body(columns, depths, groups, reductions, heads)
            for filters in FILTERS if len(widths) else ():
                cost = stages + head(columns[2], filters)
                nearest = tuple(self._nearest(cost, widths, target) for target in targets)
                choice = Choice(groups, reductions, heads, filters)
                found.append(Candidate(max(one.off for one in nearest), choice, nearest))
                counted += np.size(cost.params)
            progress(done, len(bodies))
        return sorted(found), counted

    def _nearest(self, cost: Cost, widths: np.ndarray, target: tuple[float, float]) -> Network:
        params, gflops = cost.params / 1e6, cost.macs / 1e9
        off = np.maximum(abs(params - target[0]), abs(gflops - target[1])) * 100
        m, d = np.unravel_index(np.argmin(off), off.shape)
        shape = tuple(widths[m].tolist()), tuple(self.depths[d].tolist())
        return Network(float(off[m, d]), *shape, float(params[m, d]), float(gflops[m, d]))


def printed(size: str) -> tuple[float, float]:
    """Millions of parameters and GFLOPs that the authors print for ``t``, ``s`` or ``b``.

    Raises:
        HEViTPoseError: ``results/published`` has no such row.
    """
    for row in published().of("mpii", "val"):
        if row.network == f"hevitpose_{size}" and row.params_m and row.gflops:
            return row.params_m, row.gflops
    raise HEViTPoseError(f"results/published: no counts of hevitpose_{size} on MPII val")


# ----------------------------------------------------------------------------------------- showing

#: What this project builds.
OURS = Choice(*(getattr(VARIANTS["hevitpose_b"], key) for key in (
    "groups", "reductions", "num_heads", "upsampler_channels",
)))  # fmt: skip


def render(found: Sequence[Candidate], sizes: Sequence[str], counted: int, top: int) -> str:
    """The nearest choices as a Markdown table, and how rare agreement is, below it."""
    names = [f"{size.upper()}: widths x depths, off" for size in sizes]
    table = [("", "off", "groups", "reductions", "heads", "filters", *names)]
    for rank, (off, choice, networks) in enumerate(found, 1):
        if rank <= top or choice == OURS:
            mark = f"{rank}, ours" if choice == OURS else f"{rank}"
            shared = (_join(choice.groups), _join(choice.reductions), str(choice.heads))
            own = (f"{_join(n.widths)} x {_join(n.depths)}, {n.off:.2f}" for n in networks)
            table.append((mark, f"{off:.2f}", *shared, _join(choice.filters), *own))
    pads = [max(map(len, column)) for column in zip(*table, strict=True)]
    table.insert(1, tuple("-" * pad for pad in pads))
    lines = [
        "| " + " | ".join(cell.ljust(pad) for cell, pad in zip(row, pads, strict=True)) + " |"
        for row in table
    ]
    return "\n".join((*lines, "", *_summary(found, sizes, counted)))


def _join(numbers: Sequence[int]) -> str:
    return ",".join(map(str, numbers))


def _summary(found: Sequence[Candidate], sizes: Sequence[str], counted: int) -> list[str]:
    """How many choices give every printed digit, beside what unrelated sizes would give."""
    exact = np.array([[n.off <= EXACT for n in c.networks] for c in found])
    lines = [
        f"{counted:,} networks of {len(found):,} choices. Choices under which every printed digit "
        "comes out:",
        "",
    ]
    for count in range(1, len(sizes) + 1):
        for members in itertools.combinations(range(len(sizes)), count):
            together = int(exact[:, members].all(axis=1).sum())
            name = " and ".join(sizes[i].upper() for i in members)
            chance = math.prod(exact[:, i].mean() for i in members) * len(found)
            by_chance = f" ({chance:.2f} expected by chance)" if count > 1 else ""
            lines.append(f"- {name}: {together} of them{by_chance}")
    return lines


def as_csv(found: Sequence[Candidate], sizes: Sequence[str]) -> str:
    """One row for every choice, nearest first."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    own = [f"{size}_{key}" for size in sizes for key in Network._fields]
    writer.writerow(("rank", "off", *Choice._fields, *own))
    for rank, (off, choice, networks) in enumerate(found, 1):
        values = [value for one in networks for value in one]
        row = (off, *choice, *values)
        cells = (_join(v) if isinstance(v, tuple) else f"{v:.6g}" for v in row)
        writer.writerow((rank, *cells))
    return file.getvalue()


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line.

    Raises:
        UsageError: an unknown size, or a number out of range.
    """
    parser = Parser("bench/reconstruction.py", __doc__)
    add = parser.add_argument
    add("--variant", default="t,s,b", help="the sizes to agree with, by comma: t, s, b")
    add(
        "--step",
        type=whole(8, WIDEST),
        default=STEP,
        help=f"widths are multiples of it (default {STEP})",
    )
    add("--top", type=whole(), default=10, help="rows to print (default 10)")
    add("--csv", type=Path, metavar="FILE", help="also write every choice here")
    options = parser.parse_args(arguments)
    options.variant = options.variant.split(",")
    for size in options.variant:
        if size not in SIZES:
            raise unknown_name("--variant", size, SIZES)
    if len(set(options.variant)) < len(options.variant):
        raise UsageError(f"--variant {','.join(options.variant)}: a size is given twice")
    if options.csv:
        require_file(options.csv, "--csv")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit code."""
    return exit_code(lambda: _run(parse(arguments)))


def _run(options: argparse.Namespace) -> int:
    targets = [printed(size) for size in options.variant]
    with progress_bar("counting", "choices") as progress:
        found, counted = Space(options.step).candidates(targets, progress)
    if not found:
        raise UsageError(f"--step {options.step}: no width is divided by any groups x heads")
    if options.csv is not None:
        write_atomically(options.csv, as_csv(found, options.variant))
    print(render(found, options.variant, counted, options.top))
    return 0


if __name__ == "__main__":
    sys.exit(main())
