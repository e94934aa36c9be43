"""What an exported ONNX file says of itself, and such a file as a network to evaluate.

The description stands in the file's metadata, as a file of weights has it
(:mod:`hevitpose.models.checkpoint`), with one section more: how it was exported.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hevitpose import files, json_file
from hevitpose.errors import DataError, HEViTPoseError, UsageError, first_line
from hevitpose.models.runtimes import INPUT, RUNTIMES, load_onnx

METADATA = "hevitpose"
#: Section of the description: precision, runtime, input_size, batch, fused, source, calibration ...
EXPORTED = "exported"
_WHAT = "an ONNX file"
_MOST_BYTES = 2**30  # it is read as a whole; protobuf itself takes twice that
_FLOAT32 = 1  # onnx.TensorProto.FLOAT


def write_description(path: Path, description: Mapping[str, Any]) -> None:
    """Put a description into an ONNX file, in place of the one it had."""
    model = _load(path)
    entry = next((each for each in model.metadata_props if each.key == METADATA), None)
    entry = model.metadata_props.add() if entry is None else entry
    entry.key, entry.value = METADATA, json.dumps(description, sort_keys=True)
    path.write_bytes(model.SerializeToString())


def read_description(path: Path) -> dict[str, Any]:
    """The description in an ONNX file.

    Raises:
        DataError: no readable ONNX file, or not exported by this project.
        HEViTPoseError: onnx is not installed.
    """
    files.require_regular(path, _WHAT)
    if path.stat().st_size > _MOST_BYTES:
        raise DataError(f"{path}: {path.stat().st_size} bytes, expected at most {_MOST_BYTES}")
    try:
        model = _load(path)
    except HEViTPoseError:
        raise
    except Exception as error:  # protobuf's errors share no base class with onnx's
        why = first_line(str(error), type(error).__name__)[:200]
        raise DataError(f"{path}: not a readable ONNX file ({why})") from error
    nodes = [node for function in model.functions for node in function.node]
    if any(len(tensor.external_data) for tensor in _tensors(model.graph, nodes)):
        raise DataError(f"{path}: has tensors in other files, expected all in one")
    text = next((each.value for each in model.metadata_props if each.key == METADATA), None)
    if text is None:
        raise DataError(f"{path}: not exported by this project (no {METADATA!r} entry)")
    try:
        found = json_file.parse(text)
    except ValueError as error:
        raise DataError(f"{path}: its description is damaged ({error})") from error
    if not isinstance(found, dict) or not _complete(found.get(EXPORTED)):
        raise DataError(f"{path}: its description does not say how it was exported")
    _require_graph(path, model.graph, found[EXPORTED])
    return found


def _tensors(graph: Any, nodes: Iterable[Any] = ()) -> Iterator[Any]:
    """All constants of a graph and of those within it."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in (*graph.node, *nodes):
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for part in (attribute.g, *attribute.graphs):
                yield from _tensors(part)


def _require_graph(path: Path, graph: Any, exported: Mapping[str, Any]) -> None:
    """Refuse a graph that takes or gives something else than its description says.

    Raises:
        DataError: it does.
    """
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [each for each in graph.input if each.name not in weights]
    (width, height), batch = exported["input_size"], exported.get("batch")
    expected = (batch, 3, height, width)
    if [each.name for each in inputs] != [INPUT]:
        raise DataError(f"{path}: its graph has not one input {INPUT!r}")
    sides = [each.dim_value or None for each in inputs[0].type.tensor_type.shape.dim]
    free = (batch is None, False, True, True)  # any number of images, any height and width
    fits = len(sides) == len(expected) and all(
        found == side or (found is None and may)
        for found, side, may in zip(sides, expected, free, strict=True)
    )
    if not fits:
        raise DataError(
            f"{path}: its graph takes images of {_shape(sides)}, its description says "
            f"{_shape(expected)}"
        )
    kinds = {each.type.tensor_type.elem_type for each in (*inputs, *graph.output)}
    if kinds != {_FLOAT32}:
        raise DataError(f"{path}: its graph takes or gives other numbers than float32")
    if len(graph.output) != exported.get("outputs", 1):
        raise DataError(
            f"{path}: its graph has {len(graph.output)} outputs, its description says "
            f"{exported.get('outputs', 1)!r}"
        )


def _shape(sides: Sequence[int | None]) -> str:
    return " x ".join("any" if side is None else str(side) for side in sides)


def require_weights(path: Path | str, exported: Mapping[str, Any]) -> None:
    """Refuse an exported file where weights are needed.

    Raises:
        DataError: it is one.
    """
    if exported:
        raise DataError(f"{path}: an exported file, which `valid` takes; expected weights")


def _complete(exported: Any) -> bool:
    if not isinstance(exported, dict):
        return False
    size, batch = exported.get("input_size"), exported.get("batch")
    return (
        isinstance(exported.get("precision"), str)
        and isinstance(size, list)
        and len(size) == 2
        and all(type(side) is int for side in size)
        and (batch is None or (type(batch) is int and batch > 0))
    )


def _load(path: Path) -> Any:
    try:
        import onnx
    except ImportError:
        raise HEViTPoseError("onnx is not installed: pip install onnx") from None
    return onnx.load(str(path), load_external_data=False)


class RuntimeNetwork(nn.Module):
    """A function of images as a network of so many keypoints, in batches that it takes.

    Args:
        run: images (batch, 3, H, W) to outputs.
        batch: images in a call; None: any number.
        codec: by name, of its output.
        num_keypoints: K.
        name: of the network.
    """

    def __init__(
        self, run: Any, batch: int | None, codec: str, num_keypoints: int, name: str
    ) -> None:
        super().__init__()
        self.run, self.batch, self.codec = run, batch, codec
        self.num_keypoints, self.name = num_keypoints, name

    def forward(self, image_N3HW: Tensor) -> Any:
        if self.batch is None:
            return self._run(image_N3HW)
        parts = [self._part(images) for images in image_N3HW.split(self.batch)]
        if not isinstance(parts[0], tuple):
            return torch.cat(parts)
        return tuple(torch.cat(outputs) for outputs in zip(*parts, strict=True))

    def _part(self, images: Tensor) -> Any:
        """A last batch is filled up, and what comes of the filling left out."""
        assert self.batch is not None
        count = len(images)
        output = self._run(F.pad(images, (0, 0, 0, 0, 0, 0, 0, self.batch - count)))
        return tuple(o[:count] for o in output) if isinstance(output, tuple) else output[:count]

    def _run(self, images: Tensor) -> Any:
        output = self.run(images)
        expected, sides = (len(images), self.num_keypoints), 3 if self.codec == "simcc" else 4
        for each in output if isinstance(output, tuple) else (output,):
            if tuple(each.shape[:2]) != expected or each.ndim != sides:
                raise DataError(
                    f"exported {self.name}: gives {_shape(each.shape)} for {expected[0]} images, "
                    f"expected {expected[1]} keypoints of each"
                )
        return output


def runtime_network(
    path: Path, model: Mapping[str, Any], exported: Mapping[str, Any], runtime: str
) -> RuntimeNetwork:
    """An exported file in a runtime.

    Args:
        path: the file.
        model: that section of its description.
        exported: and that one.
        runtime: of :data:`hevitpose.models.runtimes.RUNTIMES`.

    Raises:
        DataError: the description names no network.
        UsageError: no such runtime, or one that does not compute in the file's precision.
        UnavailableError: the runtime is not installed here.
        HEViTPoseError: it cannot read the file.
    """
    precision = exported["precision"]
    if runtime in RUNTIMES and precision not in RUNTIMES[runtime]:
        able = " or ".join(name for name, known in RUNTIMES.items() if precision in known)
        raise UsageError(f"{path}: {runtime} does not run {precision}; use --runtime {able}")
    name, count = model.get("name"), model.get("num_keypoints")
    if not isinstance(name, str) or type(count) is not int:
        raise DataError(f"{path}: does not say which network it holds, of how many keypoints")
    run = load_onnx(path, runtime, precision)
    codec = "simcc" if exported.get("outputs") == 2 else "heatmap"
    return RuntimeNetwork(run, exported.get("batch"), codec, count, name)
