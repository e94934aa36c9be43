"""ONNX files as a runtime computes them: onnxruntime, OpenVINO, and TensorRT through onnxruntime.

A runtime that is not installed, or a precision that it has no arithmetic for here, is an
:class:`UnavailableError` with the reason: nothing is ever computed in another one instead.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hevitpose.errors import HEViTPoseError, UnavailableError, first_line, unknown_name

#: Runtimes of ONNX files, and the precisions in which each computes.
RUNTIMES = {
    "onnxruntime": ("fp32", "fp16", "int8"),
    "openvino": ("fp32", "bf16", "int8"),
    "tensorrt": ("fp32", "fp16", "int8"),
}
_TF32 = "NVIDIA_TF32_OVERRIDE"
#: What a runtime needs beside itself.
_NEEDS = {"onnxruntime": "onnxruntime", "openvino": "openvino", "tensorrt": "onnxruntime"}
INPUT = "images"

Run = Callable[[Tensor], Any]


def require_runtime(runtime: str, precision: str | None = None) -> None:
    """Refuse what cannot be computed here, before anything is exported.

    Args:
        runtime: of :data:`RUNTIMES`.
        precision: of the products; what has no form in it stays in floats. None: not known yet.

    Raises:
        UsageError: no such runtime.
        UnavailableError: it is not installed, or has no arithmetic of this precision here.
    """
    if runtime not in RUNTIMES:
        raise unknown_name("runtime", runtime, RUNTIMES)
    if precision is not None and precision not in RUNTIMES[runtime]:
        raise UnavailableError(
            f"{runtime}: computes in {', '.join(RUNTIMES[runtime])}, not in {precision}"
        )
    for package in ("onnx", _NEEDS[runtime]):
        if importlib.util.find_spec(package) is None:
            raise UnavailableError(f"{package} is not installed: pip install {package}")
    if runtime == "tensorrt" and "TensorrtExecutionProvider" not in _providers():
        raise UnavailableError("tensorrt: this onnxruntime has no TensorrtExecutionProvider")
    # Its provider has no option for it; CUDA reads the variable when it starts.
    if runtime == "tensorrt" and precision == "fp32" and os.environ.get(_TF32) != "0":
        raise UnavailableError(
            f"tensorrt: would compute fp32 in TF32, start with {_TF32}=0 in the environment"
        )
    if runtime == "openvino" and precision == "bf16" and not has_bfloat16():
        raise UnavailableError("openvino: this processor has no bfloat16 arithmetic")


def runtime_version(runtime: str) -> str | None:
    """The version of a runtime's package; None of ``torch`` and of what is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(_NEEDS[runtime]) if runtime in _NEEDS else None
    except PackageNotFoundError:
        return None


def has_bfloat16() -> bool:
    """Whether OpenVINO computes in bfloat16 here rather than in disguised float32."""
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def load_onnx(
    path: Path, runtime: str = "onnxruntime", precision: str = "fp32", threads: int | None = None
) -> Run:
    """What an ONNX file computes, as a function of images (N, 3, H, W) float32.

    Args:
        path: the file.
        runtime: of :data:`RUNTIMES`.
        precision: ``bf16``: OpenVINO's products of a file with float32 weights; ``int8``: the
            file's own quantised layers, and around them bf16 in OpenVINO where the processor has
            it, float32 in onnxruntime.
        threads: per operator; None takes what torch is set to.

    Returns:
        The function; of a network with two outputs it returns a tuple.

    Raises:
        UsageError, UnavailableError: see :func:`require_runtime`.
        HEViTPoseError: the runtime cannot read the file; called, that it cannot compute it.
    """
    require_runtime(runtime, precision)
    threads = threads or torch.get_num_threads()
    call = _openvino(path, precision, threads) if runtime == "openvino" else None
    if call is None:
        call = _onnxruntime(path, runtime, precision, threads)

    def run(images: Tensor) -> Any:
        try:
            found = call(images.cpu().contiguous().numpy())
        except Exception as error:  # the runtimes' errors share no base class
            why = first_line(str(error), repr(error))
            raise HEViTPoseError(f"{path}: {runtime} cannot compute it ({why})") from error
        outputs = [torch.from_numpy(output) for output in found]
        return tuple(outputs) if len(outputs) > 1 else outputs[0]

    return run


def _onnxruntime(
    path: Path, runtime: str, precision: str, threads: int
) -> Callable[[Any], list[Any]]:
    """All graph optimisations and so many threads per operator."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Threads wait busily within a call; after it they would go on and slow down whatever runs next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    providers: list[Any] = ["CPUExecutionProvider"]
    if runtime == "tensorrt":
        half = {"trt_fp16_enable": precision != "fp32", "trt_int8_enable": precision == "int8"}
        providers = [("TensorrtExecutionProvider", half)]
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # its errors share no base class
        raise _unreadable(path, runtime, error) from error
    return lambda images: session.run(None, {INPUT: images})


def _openvino(path: Path, precision: str, threads: int) -> Callable[[Any], list[Any]]:
    """One stream of so many threads, in the calling thread where it is one."""
    import openvino

    low = precision == "bf16" or (precision == "int8" and has_bfloat16())
    hints = {
        "INFERENCE_PRECISION_HINT": "bf16" if low else "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
    }
    core = openvino.Core()
    try:
        compiled = core.compile_model(core.read_model(str(path)), "CPU", hints)
    except Exception as error:  # RuntimeError, or its text is no text
        raise _unreadable(path, "openvino", error) from error
    request = compiled.create_infer_request()
    count = len(compiled.outputs)

    def call(images: Any) -> list[Any]:
        found = request.infer([images])  # copies: the next call leaves them alone
        return [found[index] for index in range(count)]

    return call


def _unreadable(path: Path, runtime: str, error: Exception) -> HEViTPoseError:
    return HEViTPoseError(
        f"{path}: {runtime} cannot read it ({first_line(str(error), repr(error))})"
    )


def _providers() -> list[str]:
    import onnxruntime

    return list(onnxruntime.get_available_providers())
