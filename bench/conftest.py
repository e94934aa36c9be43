"""What the micro-benchmarks share: how a module is timed and what is written beside the time.

``nox -s bench``; to compare two commits: ``nox -s bench -- --benchmark-save NAME``, then
``nox -s bench -- --benchmark-compare``. No time here ever fails a run.
"""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode


@pytest.fixture
def timed(benchmark):
    """Times ``module(inputs)`` in inference mode; GFLOPs, batch, dtype, threads beside it."""

    def run(module, channels, side, batch=1):
        generator = torch.Generator().manual_seed(0)
        x_NCHW = torch.randn(batch, channels, side, side, generator=generator)
        module = module.eval()
        with torch.inference_mode():
            with FlopCounterMode(display=False) as counter:
                module(x_NCHW)
            benchmark.extra_info.update(
                gflops=counter.get_total_flops() / 2e9,  # multiply-accumulates, with attention's
                params=sum(p.numel() for p in module.parameters()),
                batch=batch,
                dtype=str(x_NCHW.dtype).removeprefix("torch."),
                input=f"{channels}x{side}x{side}",
                threads=torch.get_num_threads(),
            )
            return benchmark.pedantic(module, (x_NCHW,), rounds=20, warmup_rounds=5)

    return run
