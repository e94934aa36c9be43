"""The files that a network is exported to, one writer and one reader a format.

:mod:`hevitpose.inference.export` compares what is written with the network. Exporters write to
memory: on a full disk torch's own writers end the interpreter.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hevitpose.errors import HEViTPoseError, first_line, unknown_name
from hevitpose.models.runtimes import INPUT, load_onnx

#: Formats by name, and the usual suffix of the file.
FORMATS = {"onnx": ".onnx", "torchscript": ".pt", "torch.export": ".pt2"}
OPSET = 20


def _onnx(
    network: nn.Module,
    input_size: tuple[int, int],
    batch: int,
    dynamic_batch: bool,
    dynamic_size: bool,
    precision: str,
) -> tuple[bytes, int]:
    # By torch's tracing exporter: after onnxruntime's optimisations its graph is as fast as that
    # of the newer "dynamo" exporter, and it is written in a tenth of the time.
    try:
        import onnx
    except ImportError:
        raise HEViTPoseError("onnx is not installed: pip install onnx") from None
    from hevitpose.models.forms import ATTENTION_OPSET, onnx_form

    outputs = ["heatmaps"]
    if getattr(network, "codec", "heatmap") == "simcc":
        outputs = ["simcc_x", "simcc_y"]
    axes: dict[str, dict[int, str]] = {name: {} for name in (INPUT, *outputs)}
    for name in axes if dynamic_batch else ():
        axes[name][0] = "N"
    if dynamic_size:
        axes[INPUT] |= {2: "H", 3: "W"}
        axes[outputs[0]] |= {2: "h", 3: "w"}
    with quiet():
        try:
            torch.onnx.export(
                onnx_form(network, precision),
                (_example(input_size, batch),),
                written := io.BytesIO(),  # type: ignore[arg-type]
                input_names=[INPUT],
                output_names=outputs,
                dynamic_axes=axes,
                opset_version=OPSET,
                dynamo=False,
            )
        except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
            raise HEViTPoseError(
                f"onnx: cannot export ({first_line(str(error), repr(error))})"
            ) from error
    model, opset = onnx.load_from_string(written.getvalue()), OPSET
    if any(node.op_type == "Attention" for node in model.graph.node):
        # Newer than the exporter knows; what else it wrote means the same there.
        model.opset_import[0].version = opset = ATTENTION_OPSET
        model.ir_version = onnx.helper.find_min_ir_version_for(model.opset_import)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(), opset


def _torchscript(
    network: nn.Module, input_size: tuple[int, int], batch: int, dynamic_batch: bool
) -> bytes:
    written = io.BytesIO()
    with quiet(), torch.no_grad():
        try:
            traced = torch.jit.trace(network, _example(input_size, batch), check_trace=False)
            torch.jit.save(torch.jit.freeze(traced), written)
        except RuntimeError as error:
            raise HEViTPoseError(
                f"torchscript: cannot export ({first_line(str(error), repr(error))})"
            ) from error
    return written.getvalue()


def _torch_export(
    network: nn.Module, input_size: tuple[int, int], batch: int, dynamic_batch: bool
) -> bytes:
    # torch.export takes an example of one image for a constant of the program.
    example = _example(input_size, max(batch, 2) if dynamic_batch else batch)
    shapes = ({0: torch.export.Dim("N", min=1)},) if dynamic_batch else None
    with quiet():
        try:
            program = torch.export.export(network, (example,), dynamic_shapes=shapes)
        except Exception as error:  # its errors share no base class; all mean the same here
            raise HEViTPoseError(
                f"torch.export: cannot export ({first_line(str(error), repr(error))})"
            ) from error
        written = io.BytesIO()
        torch.export.save(program, written)
    return written.getvalue()


_WRITERS: dict[str, Callable[[nn.Module, tuple[int, int], int, bool], bytes]] = {
    "torchscript": _torchscript,
    "torch.export": _torch_export,
}


def write_file(
    network: nn.Module,
    path: Path,
    to: str,
    input_size: tuple[int, int],
    batch: int,
    dynamic_batch: bool = False,
    dynamic_size: bool = False,
    precision: str = "fp32",
) -> int | None:
    """Write the bare file, in float32, not compared with the network.

    Args:
        network: what to write.
        path: the file.
        to: of :data:`FORMATS`.
        input_size: (W, H).
        batch: images in a call, where they are fixed.
        dynamic_batch: any number of images in a call.
        dynamic_size: any size of them (ONNX).
        precision: in which an ONNX file will be computed (:func:`~.forms.onnx_form`).

    Returns:
        The opset of an ONNX file.

    Raises:
        HEViTPoseError: the network has no such form; the message is the exporter's.
    """
    opset = None
    if to == "onnx":
        content, opset = _onnx(network, input_size, batch, dynamic_batch, dynamic_size, precision)
    else:
        content = _WRITERS[to](network, input_size, batch, dynamic_batch)
    path.write_bytes(content)
    return opset


def load_exported(
    path: Path,
    to: str,
    threads: int | None = None,
    runtime: str = "onnxruntime",
    precision: str = "fp32",
) -> Callable[[Tensor], Any]:
    """What an exported file computes, as a function of images (N, 3, H, W) on the CPU.

    Args:
        path: written by :func:`write_file`.
        to: its format.
        threads: of an ONNX file's runtime; None takes what torch is set to. The other formats run
            in torch.
        runtime: of an ONNX file (:data:`hevitpose.models.runtimes.RUNTIMES`).
        precision: of an ONNX file's products.

    Raises:
        UsageError: unknown format.
        UnavailableError: the runtime is not installed, or has no such precision here.
    """
    if to not in FORMATS:
        raise unknown_name("export format", to, FORMATS)
    if to == "torchscript":
        with quiet():
            return torch.jit.load(str(path), map_location="cpu")
    if to == "torch.export":
        with path.open("rb") as file:  # by a name it takes `.pt2` alone without a warning
            return torch.export.load(file).module()
    return load_onnx(path, runtime, precision, threads)


def _example(input_size: tuple[int, int], batch: int) -> Tensor:
    width, height = input_size
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(0))


@contextmanager
def quiet() -> Iterator[None]:
    """Without the exporters' own warnings: the comparison afterwards is what decides."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
