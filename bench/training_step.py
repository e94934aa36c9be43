"""The fast training form beside the plain one: one step of each in turn, and the ratio.

    python bench/training_step.py                                  # B, 256x256, batch 8
    python bench/training_step.py --model t --batch 16 --threads 1 --clock cpu

A step is forward, mean squared error, backward and AdamW, in float32, with freed memory kept as
training keeps it. Both forms start from the same weights and see the same noise.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch

from hevitpose import machine
from hevitpose.errors import HEViTPoseError, UsageError
from hevitpose.latency import Ratio, interleave, ratio_of_rounds
from hevitpose.models import create_for_input
from hevitpose.optimization import optimize
from hevitpose.progress import progress_bar
from hevitpose.spec import HEATMAP_STRIDE
from hevitpose.training.devices import keep_freed_memory

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
KEYPOINTS = 17


def step_of(model: str, form: str, batch: int, input_size: tuple[int, int]) -> Callable[[], None]:
    """One training step of a form of a network, ``plain`` or ``train``."""
    network = create_for_input(model, KEYPOINTS, input_size, seed=0).train()
    if form == "train":
        network = optimize(network, mode="train").to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
    width, height = input_size
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch, 3, height, width, generator=generator)
    target_size = (height // HEATMAP_STRIDE, width // HEATMAP_STRIDE)
    target = torch.rand(batch, KEYPOINTS, *target_size, generator=generator)

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(network(images), target).backward()
        optimizer.step()

    return step


def compare(
    model: str, batch: int, input_size: tuple[int, int], rounds: int, threads: int, clock: str
) -> tuple[dict[str, list[list[float]]], Ratio]:
    """Times in seconds by form, a round being one step, and train / plain.

    Raises:
        UsageError: unknown model, or sides that its strides do not divide.
    """
    torch.set_num_threads(threads)
    keep_freed_memory()
    now = CLOCKS[clock]

    def timed(step: Callable[[], None]) -> Callable[[], list[float]]:
        def once() -> list[float]:
            start = now()
            step()
            return [now() - start]

        return once

    forms = {form: timed(step_of(model, form, batch, input_size)) for form in ("plain", "train")}
    with progress_bar("training steps", "rounds") as report:
        interleave(forms, 2)  # warm-up
        times = interleave(forms, rounds, report)
    ratio = ratio_of_rounds(times["train"], times["plain"], np.random.default_rng(0))
    return times, ratio


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--model", default="b", help="a network that has a training form [b]")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--input", default="256x256", help="W x H")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    options = parser.parse_args(arguments)
    try:
        sides = options.input.split("x")
        if len(sides) != 2 or not all(side.isdigit() for side in sides):
            raise UsageError(f"--input {options.input!r}: expected WxH, e.g. 256x192")
        if min(options.batch, options.rounds, options.threads) < 1:
            raise UsageError("--batch, --rounds, --threads: expected at least 1")
        size = (int(sides[0]), int(sides[1]))
        times, ratio = compare(
            options.model, options.batch, size, options.rounds, options.threads, options.clock
        )
    except HEViTPoseError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    for form, rounds in times.items():
        low, median, high = np.percentile(np.concatenate(rounds), (25, 50, 75))
        print(f"{form:5}  {median:.3f} s  [{low:.3f}, {high:.3f}] quartiles")
    unit = f"batch {options.batch}, {options.input}, fp32, {options.threads} threads"
    print(f"train / plain: {ratio}")
    print(f"{options.model}, {unit}, {options.clock} clock, {machine.machine()['cpu']}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
