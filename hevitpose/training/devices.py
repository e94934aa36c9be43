"""Which device a run is on, and how much memory it took."""

from __future__ import annotations

import ctypes
import sys
from functools import cache

import torch
from torch.nn.functional import conv2d

from hevitpose.config import Config
from hevitpose.errors import UsageError
from hevitpose.models.parity import relative_error
from hevitpose.records import provenance

#: Of a convolution in bfloat16 to one in float32: rounding makes less than 0.01.
_BF16_ERROR = 0.1


def device_of(config: Config) -> str:
    """``cpu`` or ``cuda``, as asked and as the run's id says; never another one in silence.

    Raises:
        UsageError: CUDA was asked for and is not there, ``auto`` is not the same to torch as to the
            id, float16 was asked for on a CPU, or bfloat16 on one where torch computes it wrongly.
    """
    kind, usable = provenance.device_type(config.device), torch.cuda.is_available()
    if config.device == "cuda" and not usable:
        raise UsageError("device: cuda was asked for, this machine has no usable CUDA device")
    if config.device == "auto" and (kind == "cuda") != usable:
        smi, found = ("a GPU", "none that it can use") if kind == "cuda" else ("none", "one")
        raise UsageError(
            f"device: auto, nvidia-smi shows {smi} and torch finds {found}; choose one: "
            "device=cpu or device=cuda"
        )
    if kind == "cpu" and config.training.precision == "fp16":
        raise UsageError(  # Lightning would take bf16, with a warning
            "training.precision: fp16 needs a CUDA device, expected fp32 or bf16 on a CPU"
        )
    if kind == "cpu" and config.training.precision == "bf16" and bf16_error() > _BF16_ERROR:
        raise UsageError(
            f"training.precision: bf16, a convolution is off by {bf16_error():.0%} here (oneDNN "
            "with AMX, docs/measurement.md); expected fp32, or "
            "ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 in the environment"
        )
    return kind


@cache
def bf16_error() -> float:
    """How far the kind of convolution that AMX gets wrong is off in bfloat16, of its maximum.

    One as in CGSR-MHA's spatial reduction: 4x4, stride 4, 16 channels.
    """
    generator = torch.Generator().manual_seed(0)
    image, weight = (torch.randn(16, 16, side, side, generator=generator) for side in (16, 4))
    image, weight = image.bfloat16(), weight.bfloat16()
    with torch.inference_mode():
        exact = conv2d(image.float(), weight.float(), stride=4)
        return relative_error(conv2d(image, weight, stride=4).float(), exact)


def peak_memory() -> int:
    """Bytes: the device's peak on a GPU, the process's resident peak on a CPU."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated()
    return provenance.resident_peak()


def keep_freed_memory() -> None:
    """Let glibc keep what the process frees, where the C library is glibc.

    By default it hands large blocks, and the top of its heap, back to the system as they are freed:
    every training step then faults its activations in anew, page by page. Measured on the nano
    network (``bench/training_step.py --forms train --give-back-memory``, 128x128, batch 16, one
    thread): 23,000 to 29,000 faults a step without this, one with it, and 16 to 31% less processor
    time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD: map only blocks over 1 GiB
        mallopt(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD: give the top back only when it is over 2 GiB
