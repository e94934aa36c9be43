"""What an exported ONNX file says of itself, and such a file as a network to evaluate.

The description stands in the file's metadata, as a file of weights has it
(:mod:`hevitpose.models.checkpoint`), with one section more: how it was exported.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hevitpose import files, json_file
from hevitpose.errors import DataError, HEViTPoseError, UsageError, first_line

METADATA = "hevitpose"
#: Section of the description: precision, runtime, input_size, batch, fused, source, calibration ...
EXPORTED = "exported"
_WHAT = "an ONNX file"


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
    try:
        model = _load(path)
    except HEViTPoseError:
        raise
    except Exception as error:  # protobuf's errors share no base class with onnx's
        why = first_line(str(error), type(error).__name__)[:200]
        raise DataError(f"{path}: not a readable ONNX file ({why})") from error
    if any(len(tensor.external_data) for tensor in model.graph.initializer):
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
    return found


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
        raise HEViTPoseError("onnx is not installed: pip install -e '.[export]'") from None
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
            return self.run(image_N3HW)
        parts = [self._part(images) for images in image_N3HW.split(self.batch)]
        if not isinstance(parts[0], tuple):
            return torch.cat(parts)
        return tuple(torch.cat(outputs) for outputs in zip(*parts, strict=True))

    def _part(self, images: Tensor) -> Any:
        """A last batch is filled up, and what comes of the filling left out."""
        assert self.batch is not None
        count = len(images)
        output = self.run(F.pad(images, (0, 0, 0, 0, 0, 0, 0, self.batch - count)))
        return tuple(o[:count] for o in output) if isinstance(output, tuple) else output[:count]


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
    from hevitpose.models.runtimes import RUNTIMES, load_onnx

    precision = exported["precision"]
    if runtime in RUNTIMES and precision not in RUNTIMES[runtime]:
        able = " or ".join(name for name, known in RUNTIMES.items() if precision in known)
        raise UsageError(f"{path}: {precision}, which {runtime} has not; use --runtime {able}")
    if not isinstance(model.get("name"), str):
        raise DataError(f"{path}: does not say which network it holds")
    run = load_onnx(path, runtime, precision)
    codec = "simcc" if exported.get("outputs") == 2 else "heatmap"
    count = int(model["num_keypoints"])
    return RuntimeNetwork(run, exported["batch"], codec, count, str(model["name"]))
