"""Where a run happened: machine, versions, commit. Torch-free; works from a bare checkout.

Nothing here needs package metadata, git or a GPU driver: what cannot be found is None.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from hevitpose import __version__

ROOT = Path(__file__).resolve().parents[2]
#: What ``dirty`` looks at: paths whose content decides results.
SOURCE_PATHS = ("hevitpose", "ablations", "bench")
#: Instructions that decide how fast a network runs, and in which precisions.
_FLAGS = (
    "avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16", "amx_tile",
    "amx_bf16", "amx_int8", "asimd", "asimddp", "bf16", "i8mm", "sve",
)  # fmt: skip
_PACKAGES = ("numpy", "opencv-python-headless", "pycocotools", "pytorch-lightning", "timm")
#: Another distribution of what records call by the name on the left, looked for first. Latency ids
#: hash the names, so OpenCV keeps the one it had: the two builds give the same pixels.
_PROVIDERS = {"opencv-python-headless": "opencv-contrib-python-headless"}


@cache
def machine() -> dict[str, Any]:
    """``cpu``, ``threads`` (this process may use), ``gpu``, ``driver``, ``ram`` (GiB), ``details``.

    All of it is hashed into a latency's id: ``details`` tells two processors of one name apart.
    Records from before it have none, and keep their ids, which are hashes of their own inputs.
    """
    name, driver = _gpu()
    return {
        "cpu": _cpu(),
        "threads": cores(),
        "gpu": name,
        "driver": driver,
        "ram": _ram(),
        "details": _processor(),
    }


def cores() -> int:
    """Logical processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def resident_peak() -> int:
    """The most memory that this process has had so far, bytes of its resident set."""
    import resource  # here: the rest is for every system

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@cache
def versions() -> dict[str, str | None]:
    """Of Python, torch, CUDA (as torch was built) and the packages that results depend on."""
    torch, cuda = _torch()
    found: dict[str, str | None] = {
        "python": platform.python_version(),
        "torch": torch,
        "cuda": cuda,
    }
    for package in _PACKAGES:
        provider = _PROVIDERS.get(package)
        found[package] = (_version(provider) if provider else None) or _version(package)
    return found


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


@cache
def code() -> dict[str, Any]:
    """``commit``, ``dirty``, ``version`` of the code that this process imports.

    The commit is ``HEVITPOSE_COMMIT`` where that is set (a copy on another machine may lie in a
    repository that knows nothing of it), else git's, else None; ``dirty`` is about source paths
    only, and None where git is not asked.
    """
    commit, dirty = os.environ.get("HEVITPOSE_COMMIT") or None, None
    if commit is None and _git("rev-parse", "--show-toplevel") == str(
        ROOT
    ):  # not a repository that surrounds us
        commit = _git("rev-parse", "HEAD")
        status = _git("status", "--porcelain", "--", *SOURCE_PATHS)
        dirty = None if status is None else bool(status)
    return {
        "commit": commit,
        "dirty": dirty,
        "version": __version__,
    }


def device_type(requested: str) -> str:
    """``auto`` to ``cuda`` where there is a GPU and a torch for it, else ``cpu``.

    This is what ids say. A run refuses to begin where torch finds otherwise
    (:func:`hevitpose.training.devices.device_of`).
    """
    if requested != "auto":
        return requested
    return "cuda" if _gpu()[0] is not None and _torch()[1] is not None else "cpu"


def _git(*arguments: str) -> str | None:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        return None
    result = subprocess.run(
        ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, timeout=30
    )
    return result.stdout.strip() if result.returncode == 0 else None


def _cpu() -> str | None:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine() or None


def _processor() -> dict[str, Any]:
    """Family, model, stepping, caches, instructions that matter, hypervisor; what is known of it.

    A name such as "AMD EPYC" is no machine: hypervisors hide the product behind it.
    """
    facts: dict[str, str] = {}
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines():
            key, _, value = line.partition(":")
            facts[key.strip()] = value.strip()
    except OSError:
        return {}
    flags = set(facts.get("flags", "").split())
    found: dict[str, Any] = {
        key: facts[name]
        for key, name in (("family", "cpu family"), ("model", "model"), ("stepping", "stepping"))
        if name in facts
    }
    found["caches"] = _caches()
    found["flags"] = [flag for flag in _FLAGS if flag in flags]
    found["hypervisor"] = "hypervisor" in flags
    return found


def _caches() -> dict[str, str]:
    """Size of each cache of the first processor: ``L1 Data``, ``L2 Unified`` ..."""
    sizes = {}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            level, kind, size = (
                (folder / name).read_text(encoding="ascii").strip()
                for name in ("level", "type", "size")
            )
        except (OSError, UnicodeDecodeError):
            continue
        sizes[f"L{level} {kind}"] = size
    return sizes


def _ram() -> float | None:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
    return round(size / 2**30, 1)


@cache
def _gpu() -> tuple[str | None, str | None]:
    """Name and driver of the first visible NVIDIA GPU."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if shutil.which("nvidia-smi") is None or visible in ("", "-1"):
        return None, None
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    if visible and not visible.startswith("MIG"):  # of a part of a GPU nvidia-smi knows no index
        command += ["-i", visible.split(",")[0].strip()]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except subprocess.TimeoutExpired:
        return None, None
    lines = result.stdout.strip().splitlines()
    if result.returncode or not lines or "," not in lines[0]:
        return None, None
    name, driver = lines[0].rsplit(",", 1)
    return name.strip(), driver.strip()


@cache
def _torch() -> tuple[str | None, str | None]:
    """Version and CUDA version of the installed torch, read without importing it."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None, None
    values: dict[str, Any] = {}
    try:
        source = (Path(spec.origin).parent / "version.py").read_text(encoding="utf-8")
        exec(compile(source, "torch/version.py", "exec"), values)  # noqa: S102 (torch's own file)
    except OSError:
        return None, None
    return values.get("__version__"), values.get("cuda")
