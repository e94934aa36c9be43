"""What a machine does while it is timed: clocks, throttling, energy. Reads; never sets anything."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable
from typing import Any

import psutil
import torch

_QUERY = {
    "sm_mhz": "clocks.sm",
    "memory_mhz": "clocks.mem",
    "power_w": "power.draw",
    "power_limit_w": "power.limit",
    "temperature_c": "temperature.gpu",
    "throttle_reasons": "clocks_throttle_reasons.active",
}
ENERGY_SECONDS = 5.0


def machine_state(device: str) -> dict[str, Any]:
    """Clocks and throttle reasons now; what cannot be read is None.

    Args:
        device: ``cpu``, ``cuda`` or ``cuda:N``.
    """
    frequency = psutil.cpu_freq() if hasattr(psutil, "cpu_freq") else None
    state: dict[str, Any] = {
        "cpu_mhz": round(frequency.current) if frequency else None,
        "load_1min": round(psutil.getloadavg()[0], 2),
    }
    if device.startswith("cuda"):
        index = torch.device(device).index or 0
        state.update(_nvml(index) or _nvidia_smi(index))
    return state


def _nvml(index: int) -> dict[str, float | None] | None:
    """What :func:`_nvidia_smi` gives, without a process; None without ``pynvml`` or its driver."""
    try:
        import pynvml as nvml
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
        handle = nvml.nvmlDeviceGetHandleByUUID(_uuid(index))
    except nvml.NVMLError:
        return None
    reads: dict[str, Callable[[], float]] = {
        "sm_mhz": lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM),
        "memory_mhz": lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM),
        "power_w": lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1000,
        "power_limit_w": lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000,
        "temperature_c": lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
        "throttle_reasons": lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle),
    }
    state: dict[str, float | None] = dict.fromkeys(_QUERY)
    for name, read in reads.items():
        with contextlib.suppress(nvml.NVMLError):  # cards do not report everything
            state[name] = read()
    return state


def _nvidia_smi(index: int) -> dict[str, float | None]:
    command = [
        "nvidia-smi",
        f"--id={_uuid(index)}",
        f"--query-gpu={','.join(_QUERY.values())}",
        "--format=csv,noheader,nounits",
    ]
    try:
        output = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return dict.fromkeys(_QUERY)
    values = [_number(text) for text in output.stdout.split(",")]
    return dict.fromkeys(_QUERY) | dict(zip(_QUERY, values, strict=False))


def _number(text: str) -> float | None:
    """``1980``, ``61.5`` or ``0x4`` as a number; None of what cards say instead, like ``[N/A]``."""
    for kind in (lambda text: int(text, 0), float):
        with contextlib.suppress(ValueError):
            return kind(text.strip())
    return None


def _uuid(index: int) -> str:
    """The card's own name: torch's numbers follow CUDA_VISIBLE_DEVICES, nvidia-smi's do not."""
    uuid = getattr(torch.cuda.get_device_properties(index), "uuid", None)
    return f"GPU-{uuid}" if uuid else str(index)


def energy_per_call(call: Callable[[], Any], device: str) -> float | None:
    """Joules of a call, from the card's total-energy counter over at least five seconds.

    None on a CPU, without the ``pynvml`` module, or where the card does not report it.
    """
    if not device.startswith("cuda"):
        return None
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(_uuid(torch.device(device).index or 0))
        torch.cuda.synchronize(device)
        before = pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
        start, calls = time.monotonic(), 0
        while time.monotonic() - start < ENERGY_SECONDS:
            call()
            calls += 1
            torch.cuda.synchronize(device)
        after = pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except pynvml.NVMLError:
        return None
    return (after - before) / 1000 / calls
