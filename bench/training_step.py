"""The fast training form beside the plain one: one step of each in turn, and the ratio.

    python bench/training_step.py                                  # B, 256x256, batch 8
    python bench/training_step.py --model nano --input 128x128 --batch 16 --threads 1 --clock cpu
    python bench/training_step.py --forms plain,plain+bf16,train+bf16

A step is forward, mean squared error, backward and AdamW, on noise; all forms start from the same
weights. It is in float32, of a form ``+bf16`` with products in bfloat16 (as training does with
``training.precision=bf16``), which is another precision, not a faster way to the same
numbers. Freed memory is kept by the process, as training keeps it, unless ``--give-back-memory``
leaves the C library its way. Page faults show the difference, one form at a time (``--forms
train``): two share a heap, which the C library then seldom shrinks.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch

from bench.command import Parser, require_distinct, whole
from hevitpose.cost.latency import interleave, ratio_of_rounds
from hevitpose.errors import UsageError, unknown_name
from hevitpose.models import create_for_input
from hevitpose.models.forms import optimize
from hevitpose.models.spec import HEATMAP_STRIDE
from hevitpose.program import exit_code
from hevitpose.progress import progress_bar
from hevitpose.records import provenance
from hevitpose.sizes import parse_size
from hevitpose.training.devices import keep_freed_memory

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
FORMS = ("plain", "train")
#: What may follow a form's name: TF32 or bfloat16 products, weights and images in channels-last
#: memory (the training form has that anyway), forward and backward through torch.compile, cuDNN's
#: algorithms chosen by trying.
OPTIONS = ("tf32", "bf16", "nhwc", "compile", "autotune")
KEYPOINTS = 17
WARMUP_ROUNDS = 2


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line.

    Raises:
        UsageError: a value that cannot be read or is out of range.
    """
    parser = Parser("bench/training_step.py", __doc__)
    add = parser.add_argument
    add("--model", default="b", help="a network that has a training form (default b)")
    add("--batch", type=whole(), default=8)
    add("--input", default="256x256", help="HEIGHTxWIDTH")
    add("--rounds", type=whole(), default=10)
    add("--threads", type=whole(), default=provenance.cores(), help="default: all it may use")
    add("--forms", default="plain,train", help="by comma: plain or train, then +tf32, +bf16 ...")
    add("--device", default="cpu", choices=("cpu", "cuda"))
    add("--clock", choices=CLOCKS, default="wall", help="cpu: processor time, on a busy machine")
    add("--give-back-memory", action="store_true", help="do not keep what is freed")
    options = parser.parse_args(arguments)
    given, options.forms = options.forms, options.forms.split(",")
    for form in options.forms:
        check_form(form)
    named = (form.split("+") for form in options.forms)
    require_distinct([(name, frozenset(added)) for name, *added in named], "--forms", given)
    if options.device != "cpu" and not torch.cuda.is_available():
        raise UsageError(f"--device {options.device}: no CUDA GPU is available here")
    options.input = parse_size(options.input, "--input")
    return options


def check_form(form: str) -> None:
    """Refuse a form that is none.

    Raises:
        UsageError: another name than of :data:`FORMS`, or another option than of :data:`OPTIONS`.
    """
    name, *given = form.split("+")
    if name not in FORMS:
        raise unknown_name("form", name, FORMS)
    for option in given:
        if option not in OPTIONS:
            raise unknown_name("option of a form", option, OPTIONS)


@contextmanager
def settings(options: Sequence[str]) -> Iterator[None]:
    """The settings of torch that a form's options ask for; what was set before comes back.

    They are the whole process's, and forms take turns in it. Setting them takes microseconds.
    """
    cudnn, precision = torch.backends.cudnn, torch.get_float32_matmul_precision()
    before = cudnn.allow_tf32, cudnn.benchmark
    torch.set_float32_matmul_precision("high" if "tf32" in options else "highest")
    cudnn.allow_tf32, cudnn.benchmark = "tf32" in options, "autotune" in options
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)
        cudnn.allow_tf32, cudnn.benchmark = before


def step_of(form: str, options: argparse.Namespace) -> Callable[[], None]:
    """One training step of a network in one of :data:`FORMS`, with some of :data:`OPTIONS`.

    Args:
        form: such as ``train+bf16``.
        options: ``model``, ``batch``, ``input`` (W, H), ``device``.
    """
    name, *given = form.split("+")
    device = torch.device(options.device)
    nhwc = name == "train" or "nhwc" in given
    layout = torch.channels_last if nhwc else torch.contiguous_format
    network = create_for_input(options.model, KEYPOINTS, options.input, seed=0).train()
    network = network.to(device).to(memory_format=layout)
    if name == "train":
        network = optimize(network, mode="train")
    forward = torch.compile(network, dynamic=False) if "compile" in given else network
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
    width, height = options.input
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(options.batch, 3, height, width, generator=generator)
    images = images.to(device, memory_format=layout)
    shape = (options.batch, KEYPOINTS, height // HEATMAP_STRIDE, width // HEATMAP_STRIDE)
    target = torch.rand(shape, generator=generator).to(device)

    def step() -> None:
        with settings(given):
            optimizer.zero_grad()
            with torch.autocast(device.type, torch.bfloat16, enabled="bf16" in given):
                heatmaps = forward(images)
            torch.nn.functional.mse_loss(heatmaps.float(), target).backward()
            optimizer.step()

    return step


def measure(options: argparse.Namespace) -> dict[str, list[list[float]]]:
    """By form a (seconds, page faults) pair for every round; a round is one step.

    Raises:
        UsageError: unknown model, or sides that its strides do not divide.
    """
    torch.set_num_threads(options.threads)
    if not options.give_back_memory:
        keep_freed_memory()
    now = CLOCKS[options.clock]
    wait = torch.cuda.synchronize if options.device != "cpu" else lambda: None

    def timed(step: Callable[[], None]) -> Callable[[], list[float]]:
        def once() -> list[float]:
            faults, start = _page_faults(), now()
            step()
            wait()
            return [now() - start, _page_faults() - faults]

        return once

    forms = {form: timed(step_of(form, options)) for form in options.forms}
    with progress_bar("training steps", "rounds") as report:
        interleave(forms, WARMUP_ROUNDS)
        return interleave(forms, options.rounds, report)


def _page_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit code."""
    return exit_code(lambda: _run(parse(arguments)))


def _run(options: argparse.Namespace) -> int:
    rounds = measure(options)
    for form, pairs in rounds.items():
        seconds, faults = np.array(pairs).T
        low, median, high = np.percentile(seconds, (25, 50, 75))
        quartiles = f"[{low:.3f}, {high:.3f}] quartiles"
        print(f"{form:10}  {median:.3f} s  {quartiles}, {np.median(faults):.0f} page faults")
    times = {form: [pair[:1] for pair in pairs] for form, pairs in rounds.items()}
    if plain := times.pop("plain", None):
        for form, steps in times.items():
            ratio = ratio_of_rounds(steps, plain, np.random.default_rng(0))
            print(f"{form} / plain: {ratio}: {ratio.verdict}")
    width, height = options.input
    print(
        f"{options.model}, batch {options.batch}, {height}x{width}, {options.threads} "
        f"threads, {options.clock} clock, "
        f"{provenance.machine()['cpu' if options.device == 'cpu' else 'gpu']}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
