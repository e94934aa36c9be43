"""ONNX files in lower precision: in float16, and with some kinds of layers in static int8.

In int8, weights per output channel, symmetric; activations per tensor, unsigned, between the least
and the largest value that they take on the calibration images. Written as QuantizeLinear and
DequantizeLinear around each layer (QDQ), standard operators that every runtime reads.
"""

from __future__ import annotations

import logging
import warnings
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hevitpose.models.runtimes import INPUT

#: Kinds of layers that runtimes compute in int8; products of two activations stay in floats.
DEPTHWISE, POINTWISE, SPATIAL, LINEAR = (
    "depthwise convolution", "1x1 convolution", "KxK convolution", "linear"
)  # fmt: skip
KINDS = (POINTWISE, SPATIAL, DEPTHWISE, LINEAR)
#: Linear layers with fewer inputs or outputs are slower in int8 (``bench/NOTES.md``).
SMALLEST_LINEAR = 128


def layer_kinds(path: Path) -> dict[str, list[str]]:
    """The names of the layers of each kind that an ONNX file has, in the order of :data:`KINDS`.

    Args:
        path: as :func:`hevitpose.models.exported.write_file` leaves it.
    """
    import onnx

    graph = onnx.load(str(path)).graph
    constants = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    found: dict[str, list[str]] = defaultdict(list)
    for node in graph.node:
        kind = _kind(node, constants)
        if kind is not None:
            found[kind].append(node.name)
    return {kind: found[kind] for kind in KINDS if kind in found}


def _kind(node: Any, constants: dict[str, tuple[int, ...]]) -> str | None:
    weight = constants.get(node.input[1]) if len(node.input) > 1 else None
    if weight is None:
        return None
    if node.op_type in ("MatMul", "Gemm"):
        return LINEAR if min(weight[-2:]) >= SMALLEST_LINEAR else None
    if node.op_type != "Conv":
        return None
    groups = next((a.i for a in node.attribute if a.name == "group"), 1)
    if groups > 1 and weight[1] == 1:
        return DEPTHWISE
    return POINTWISE if set(weight[2:]) == {1} else SPATIAL


def write_int8(
    path: Path, out: Path, batches: Sequence[Tensor], kinds: Collection[str] = KINDS
) -> None:
    """Write a file with the layers of some kinds in int8. Equal inputs give equal bytes.

    Args:
        path: the file in float32.
        out: the file to write.
        batches: images (N, 3, H, W) to calibrate on, of the batch that the file takes.
        kinds: of :data:`KINDS`.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    nodes = [name for kind, names in layer_kinds(path).items() if kind in kinds for name in names]
    nodes += _relus_after(path, nodes)
    with _silent():
        quantize_static(
            str(path),
            str(out),
            _reader(batches),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_quantize=nodes,
            op_types_to_quantize=["Conv", "Gemm", "MatMul", "Relu"],
        )
    _in_order(out)


def _relus_after(path: Path, layers: Collection[str]) -> list[str]:
    """The names of the ReLUs of some layers.

    Named to the quantiser, they become the least value, zero, of the layer's output, which else is
    rounded twice: before its ReLU and after it.
    """
    import onnx

    nodes = onnx.load(str(path)).graph.node
    chosen = set(layers)
    outputs = {output for node in nodes if node.name in chosen for output in node.output}
    return [node.name for node in nodes if node.op_type == "Relu" and node.input[0] in outputs]


def _in_order(path: Path) -> None:
    """Sort a file's tensors by name: the quantiser keeps them in sets, in an order of its own."""
    import onnx

    model = onnx.load(str(path))
    ordered = sorted(model.graph.initializer, key=lambda tensor: tensor.name)
    del model.graph.initializer[:]
    model.graph.initializer.extend(ordered)
    onnx.save(model, str(path))


def halve(path: Path) -> None:
    """Rewrite an ONNX file in float16, with input and output as they were."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        onnx.save(convert_float_to_float16(onnx.load(str(path)), keep_io_types=True), str(path))


def write_bfloat16(path: Path, out: Path) -> None:
    """Write a file with its matrices and kernels rounded to bfloat16, half the size.

    They are cast back where they are used, once for all when a runtime loads the file; OpenVINO
    then computes in bfloat16 where it is told to.
    """
    import onnx

    model = onnx.load(str(path))
    graph = model.graph
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or len(tensor.dims) < 2:
            continue
        name, values = tensor.name, torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy())
        raw = values.bfloat16().view(torch.int16).numpy().tobytes()
        rounded = f"{name}_bf16"
        kind = onnx.TensorProto.BFLOAT16
        tensor.CopyFrom(onnx.helper.make_tensor(rounded, kind, tensor.dims, raw, raw=True))
        casts.append(onnx.helper.make_node("Cast", [rounded], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.save(model, str(out))


def _reader(batches: Sequence[Tensor]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        """Gives the batches once."""

        def __init__(self) -> None:
            self.left = iter(batches)

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self.left, None)
            return None if batch is None else {INPUT: batch.cpu().numpy()}

    return Reader()


@contextmanager
def _silent() -> Iterator[None]:
    """Without the quantiser's advice on preprocessing, which logs to the root logger."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
