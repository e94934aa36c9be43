"""Export a network to a file that runs without this package, and prove that it computes the same.

Formats: ``onnx`` (opset 20; a fused HEViTPose opset 23, whose attention is one operator, for which
onnxruntime must be 1.23 or newer), ``torchscript`` (traced and frozen) and ``torch.export`` (a
``.pt2`` program). Input ``images`` (N, 3, H, W) float32, normalised; output
``heatmaps`` (N, K, H/4, W/4), or ``simcc_x`` and ``simcc_y`` for a SimCC head.
"""

from __future__ import annotations

import copy
import math
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hevitpose.codec import make_codec
from hevitpose.data.images import read_image
from hevitpose.data.loader import normalise
from hevitpose.data.transforms import crop_people
from hevitpose.errors import HEViTPoseError, UsageError, first_line
from hevitpose.files import replacing
from hevitpose.inference.export_request import LOWER, Request, about_file, require_suffix
from hevitpose.inference.lower_precision import (
    LowerPrecision,
    People,
    call_times,
    lower,
    whole_batches,
)
from hevitpose.models.exported import load_exported, write_file
from hevitpose.models.onnx_file import write_description
from hevitpose.models.parity import mean_shift
from hevitpose.models.quantize import halve
from hevitpose.models.spec import STRIDE_MULTIPLE
from hevitpose.records.provenance import machine


@dataclass(frozen=True)
class ExportReport:
    """What was written."""

    path: Path
    to: str
    model: str
    input_size: tuple[int, int]  # (W, H)
    batch: int | None  # None: any
    fused: bool
    opset: int | None  # onnx only
    bytes: int
    parity: float  # largest error relative to the largest output, over the crops compared
    crops: int  # how many were compared
    latency_ms: float  # median of the calls, wall clock, of ``timed_batch`` images each
    timed_batch: int
    dynamic_size: bool
    half: bool
    calls: int
    threads: int
    machine: str  # the processor
    runtime: str | None = None  # onnx: that the file was compared and timed in
    keypoints_px: float = 0.0  # mean distance that key points move on the crops, input pixels
    lower: LowerPrecision | None = None  # of int8 and bf16
    multiple: int = STRIDE_MULTIPLE  # of other sides, with dynamic_size

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready object."""
        return asdict(self) | {"path": str(self.path), "input_size": list(self.input_size)}

    def __str__(self) -> str:
        width, height = self.input_size
        form = [self.to if self.opset is None else f"{self.to} opset {self.opset}"]
        form += ["fused"] if self.fused else []
        form += ["fp16"] if self.half else []
        form += [self.lower.precision] if self.lower else []
        size = f"{height}x{width}" + f" or other multiples of {self.multiple}" * self.dynamic_size
        batch = "any batch" if self.batch is None else f"batch {self.batch}"
        return (
            f"{self.path}: {self.model}, {', '.join(form)}, {size}, {batch}, "
            f"{self.bytes / 1e6:.1f} MB\n"
            f"parity: differs by {self.parity:.1e} of the largest output on "
            f"{_several(self.crops, 'crop')}, key points by {self.keypoints_px:.2f} pixels\n"
            + "".join(f"{line}\n" for line in (self.lower.lines() if self.lower else ()))
            + f"latency: {self.latency_ms:.1f} ms for a batch of {self.timed_batch} (median of "
            f"{_several(self.calls, 'call')}, {_several(self.threads, 'thread')}, {self.machine}"
            f"{f', {self.runtime}' if self.runtime else ''})"
        )


def export(
    model: nn.Module,
    path: Path | str,
    request: Request,
    *,
    crops: Tensor | None = None,
    people: People | None = None,
    accept_loss: bool = False,
    source: Mapping[str, Any] | None = None,
) -> ExportReport:
    """Write a network to a file, compare what the file computes with the network, and time it.

    The latency is one machine's in one short moment; ``bench/latency.py`` measures.

    Args:
        model: as ``create_model`` or a checkpoint gives it; it is not changed.
        path: the file, with the suffix of its format; it appears complete and compared, or not at
            all.
        request: what is asked of the file.
        crops: (N, 3, H, W) normalised crops to compare on; synthetic people where None.
        people: for int8 and bf16, whom to calibrate and to judge on.
        accept_loss: keep a file that loses too much.
        source: where the weights are from, for the description in an ONNX file.

    Raises:
        UsageError: unknown format or another suffix, an option that it does not have, an input
            that does not fit the model, too few crops.
        UnavailableError: the runtime is not installed, or has no such precision here.
        HEViTPoseError: the model cannot be exported, or the file computes something else or loses
            too much; then nothing is written.
    """
    request.check(people)
    path = Path(path)
    require_suffix(path, request.to)
    network = copy.deepcopy(model).cpu().float().eval().requires_grad_(False)
    crops = (
        example_crops(request.needed, request.input_size) if crops is None else crops.cpu().float()
    )
    if len(crops) < request.needed:
        raise UsageError(
            f"crops: {len(crops)} given, expected at least {request.needed} to compare on"
        )
    with replacing(path) as file:
        temporary = Path(file.name)
        opset, found = _write(network, temporary, request, people, accept_loss)
        if request.to == "onnx":
            about = about_file(model, request, opset, found, people, source or {})
            write_description(temporary, about)
        run = load_exported(temporary, request.to, runtime=request.runtime, precision=request.kind)
        parity, moved = _compared(run, network, crops, request)
        if not parity <= request.limit:
            raise HEViTPoseError(
                f"{path}: {request.to} differs from the model by {parity:.2g} of its largest "
                f"output, expected at most {request.limit:.0e}; not written"
            )
        written, times = temporary.stat().st_size, call_times(run, crops[: request.batch])
    compared = len(crops), parity, moved
    return _report(path, model, request, opset, written, compared, times, found)


def _report(
    path: Path,
    model: nn.Module,
    request: Request,
    opset: int | None,
    size: int,
    compared: tuple[int, float, float],
    times: Sequence[float],
    found: LowerPrecision | None,
) -> ExportReport:
    crops, parity, moved = compared
    return ExportReport(
        path=path,
        to=request.to,
        model=str(getattr(model, "name", type(model).__name__)),
        input_size=request.input_size,
        batch=None if request.dynamic_batch else request.batch,
        fused=request.fuse,
        opset=opset,
        bytes=size,
        parity=parity,
        crops=crops,
        latency_ms=statistics.median(times),
        timed_batch=request.batch,
        dynamic_size=request.dynamic_size,
        half=request.half,
        calls=len(times),
        threads=torch.get_num_threads(),
        machine=machine()["cpu"] or "unknown processor",
        runtime=request.runtime if request.to == "onnx" else None,
        keypoints_px=moved,
        lower=found,
        multiple=side_multiple(model),
    )


def _write(
    network: nn.Module,
    path: Path,
    request: Request,
    people: People | None,
    accept_loss: bool,
) -> tuple[int | None, LowerPrecision | None]:
    """Write the file; its opset, and what a lower precision cost."""
    exported = _fused(network) if request.fuse else network
    arguments = request.input_size, request.batch, request.dynamic_batch, request.dynamic_size
    opset = write_file(exported, path, request.to, *arguments, precision=request.precision)
    if request.half:
        halve(path)
    if people is None or request.precision not in LOWER:
        return opset, None
    with tempfile.TemporaryDirectory(prefix="hevitpose-export-") as folder:
        whole = Path(folder) / "whole.onnx"
        whole.write_bytes(path.read_bytes())
        made = Path(folder) / "lower.onnx"
        asked = request.precision, request.runtime, people, request.batch
        found = lower(whole, made, *asked, accept_loss=accept_loss)
        path.write_bytes(made.read_bytes())
    return opset, found


def _compared(
    run: Callable[[Tensor], Any], network: nn.Module, crops: Tensor, request: Request
) -> tuple[float, float]:
    """The worst error, and the mean distance that key points move, over all crops."""
    parity, moved = 0.0, []
    predicts = hasattr(network, "num_keypoints")
    codec = make_codec(getattr(network, "codec", "heatmap"), request.input_size)
    if request.dynamic_batch:
        parity = _error(*_outputs(run, network, crops[: request.needed]))
    for part in whole_batches(crops, request.batch):
        output, reference = _outputs(run, network, part)
        parity = max(parity, _error(output, reference))
        if predicts and math.isfinite(parity):
            moved.append(mean_shift(output, reference, codec))
    if request.dynamic_size:
        elsewhere = _compare_elsewhere(run, network, request.batch, request.input_size)
        parity = max(parity, elsewhere)
    return parity, statistics.fmean(moved) if moved and math.isfinite(parity) else math.nan


def _compare_elsewhere(
    run: Callable[[Tensor], Any], network: nn.Module, batch: int, input_size: tuple[int, int]
) -> float:
    """The worst error at a taller and at a wider input.

    Raises:
        HEViTPoseError: the network has one size, or the file.
    """
    worst = 0.0
    step = side_multiple(network)
    for size in ((input_size[0], input_size[1] + 2 * step), (input_size[0] + step, input_size[1])):
        crops = example_crops(batch, size)
        try:
            worst = max(worst, _error(*_outputs(run, network, crops)))
        except Exception as error:  # of torch and of onnxruntime, which share no base class
            why = first_line(str(error), repr(error))
            raise HEViTPoseError(
                f"dynamic_size: not at {size[1]}x{size[0]} ({why}); not written"
            ) from error
    return worst


def side_multiple(network: nn.Module) -> int:
    """What sides of an input are multiples of."""
    return int(getattr(network, "side_multiple", STRIDE_MULTIPLE))


def example_crops(count: int, input_size: tuple[int, int]) -> Tensor:
    """Normalised crops (count, 3, H, W) of synthetic people, to compare two forms on."""
    from hevitpose.data.synthetic.scene import render_scene

    rng = np.random.default_rng(0)
    windows = []
    for _ in range(count):
        scene = render_scene(rng, people=1, size=256)
        box = np.asarray([scene.people[0].box], np.float64)
        windows.append(crop_people(scene.image, box, input_size).images)
    return _normalised(windows)


def picture_crops(paths: Sequence[Path], input_size: tuple[int, int]) -> Tensor:
    """Normalised crops (N, 3, H, W) of pictures of people, each taken whole.

    Raises:
        DataError: a picture cannot be read.
    """
    windows = []
    for path in paths:
        image = read_image(path)
        whole = np.array([(0, 0, image.shape[1], image.shape[0])], np.float64)
        windows.append(crop_people(image, whole, input_size).images)
    return _normalised(windows)


def _normalised(windows: Sequence[np.ndarray]) -> Tensor:
    """BGR crops of several images in one batch for the network."""
    return normalise(torch.from_numpy(np.concatenate(windows)[..., ::-1].copy()))


def _fused(network: nn.Module) -> nn.Module:
    from hevitpose.models.forms import optimize

    return optimize(network, mode="fused").eval()


def _outputs(run: Callable[[Tensor], Any], network: nn.Module, crops: Tensor) -> tuple[Any, Any]:
    """Of the file and of the network, as tuples where they are several."""
    with torch.inference_mode():
        output, reference = run(crops), network(crops)
    return tuple(output) if isinstance(output, list) else output, reference


def _error(output: Any, reference: Any) -> float:
    """The worst error; inf where the shapes differ."""
    from hevitpose.models.parity import relative_error

    shapes = [
        [part.shape for part in (found if isinstance(found, tuple) else (found,))]
        for found in (output, reference)
    ]
    return relative_error(output, reference) if shapes[0] == shapes[1] else math.inf


def _several(count: int, noun: str) -> str:
    return f"{count} {noun}" + "s" * (count != 1)
