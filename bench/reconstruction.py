"""How far candidate networks are from the paper's printed parameters and GFLOPs.

    python bench/reconstruction.py               # groups x reductions x heads x head filters
    python bench/reconstruction.py --top 30

Every candidate shares one choice over T, S and B, as the paper's figure does. The distance is the
largest relative error over the printed counts (mmcv convention, 256x256, 16 keypoints); printed
digits are given to 0.005, so a distance below about 0.002 is an exact match of T's smallest number.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from hevitpose.complexity import count
from hevitpose.errors import UsageError
from hevitpose.models import create_model
from hevitpose.progress import progress_bar

#: Printed millions of parameters and GFLOPs; HEViTPose README, as in results/published.
PRINTED = {
    "hevitpose_t": (3.21, 1.75),
    "hevitpose_s": (5.88, 3.64),
    "hevitpose_b": (10.63, 5.58),
}
GROUPS = ((1, 1, 1), (2, 2, 2), (4, 4, 4), (1, 2, 4), (2, 4, 8), (8, 4, 2))
REDUCTIONS = ((8, 4, 2), (8, 2, 1), (4, 2, 1), (2, 2, 1), (1, 1, 1))
HEADS = (2, 4, 8)
HEAD_FILTERS = ((256, 256), (256, 128), (192, 96), (128, 64))


def distances(candidate: dict[str, object]) -> list[tuple[float, float]] | None:
    """Per size, (millions of parameters, GFLOPs); None where channels cannot be split so."""
    found = []
    for name in PRINTED:
        try:
            with torch.device("meta"):
                model = create_model(name, num_keypoints=16, **candidate)
        except UsageError:
            return None
        result = count(model, (256, 256), convention="mmcv")
        found.append((result.params / 1e6, result.flops / 1e9))
    return found


def error(counts: list[tuple[float, float]]) -> float:
    """The largest relative error over all printed counts."""
    pairs = zip(counts, PRINTED.values(), strict=True)
    return max(abs(a / b - 1) for have, want in pairs for a, b in zip(have, want, strict=True))


def main() -> None:
    """Count, sort, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--top", type=int, default=12, help="rows to print")
    top = parser.parse_args().top
    keys = ("groups", "reductions", "heads", "head_filters")
    candidates = list(itertools.product(GROUPS, REDUCTIONS, HEADS, HEAD_FILTERS))
    rows = []
    with progress_bar("counting", "candidates") as report:
        for number, values in enumerate(candidates, 1):
            counts = distances(dict(zip(keys, values, strict=True)))
            if counts is not None:
                rows.append((error(counts), values, counts))
            report(number, len(candidates))
    rows.sort(key=lambda row: row[0])
    print(f"{len(rows)} of {len(candidates)} candidates can be built; nearest to the printed first")
    print("distance  groups     reductions  heads  filters     T                S                B")
    for distance, (groups, reductions, heads, filters), counts in rows[:top]:
        sizes = "  ".join(f"{params:7.4f}M {flops:.4f}G" for params, flops in counts)
        print(
            f"{distance:8.4f}  {groups!s:<10} {reductions!s:<11} {heads:<6} {filters!s:<11} {sizes}"
        )


if __name__ == "__main__":
    main()
