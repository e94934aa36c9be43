"""Export a network to a file that runs without this package, and prove that it computes the same.

Formats: ``onnx`` (opset 20; a fused HEViTPose opset 23, whose attention is one operator, for which
onnxruntime must be 1.23 or newer), ``torchscript`` (traced and frozen) and ``torch.export`` (a
``.pt2`` program). Input ``images`` (N, 3, H, W) float32, normalised; output
``heatmaps`` (N, K, H/4, W/4), or ``simcc_x`` and ``simcc_y`` for a SimCC head.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hevitpose.data.images import read_image
from hevitpose.data.loader import normalise
from hevitpose.data.transforms import crop_people
from hevitpose.errors import HEViTPoseError, UsageError, first_line, unknown_name
from hevitpose.files import replacing
from hevitpose.models.exported import FORMATS, load_exported, quiet, write_file
from hevitpose.records.provenance import machine

#: Largest error of the exported form relative to the largest output value.
PARITY_LIMIT = 1e-4
#: The same in half precision, whose numbers have eleven bits.
HALF_PARITY_LIMIT = 2e-2
#: The latency is of so many calls, or of those that fit into so many seconds.
TIMED_CALLS, TIMED_SECONDS = 20, 3.0


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

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready object."""
        return asdict(self) | {"path": str(self.path), "input_size": list(self.input_size)}

    def __str__(self) -> str:
        width, height = self.input_size
        form = [self.to if self.opset is None else f"{self.to} opset {self.opset}"]
        form += ["fused"] if self.fused else []
        form += ["fp16"] if self.half else []
        size = f"{height}x{width}" + " or other multiples of 32" * self.dynamic_size
        batch = "any batch" if self.batch is None else f"batch {self.batch}"
        return (
            f"{self.path}: {self.model}, {', '.join(form)}, {size}, {batch}, "
            f"{self.bytes / 1e6:.1f} MB\n"
            f"parity: differs by {self.parity:.1e} of the largest output on "
            f"{_several(self.crops, 'crop')}\n"
            f"latency: {self.latency_ms:.1f} ms for a batch of {self.timed_batch} (median of "
            f"{_several(self.calls, 'call')}, {_several(self.threads, 'thread')}, {self.machine})"
        )


def export(
    model: nn.Module,
    path: Path | str,
    to: str = "onnx",
    *,
    input_size: tuple[int, int] = (256, 256),
    batch: int = 1,
    dynamic_batch: bool = False,
    dynamic_size: bool = False,
    half: bool = False,
    fuse: bool = False,
    crops: Tensor | None = None,
) -> ExportReport:
    """Write a network to a file, compare what the file computes with the network, and time it.

    The latency is one machine's in one short moment; ``bench/latency.py`` measures.

    Args:
        model: as ``create_model`` or a checkpoint gives it; it is not changed.
        path: the file; it appears complete and compared, or not at all.
        to: a name of :data:`FORMATS`.
        input_size: (W, H), fixed in the file, or the example's with ``dynamic_size``.
        batch: images in a call.
        dynamic_batch: take any number of images; ``batch`` is then only the example's.
        dynamic_size: onnx: take any height and width that are multiples of 32.
        half: onnx: weights and arithmetic in float16; input and output stay float32.
        fuse: export the form of ``hevitpose.optimize(mode="fused")``.
        crops: (N, 3, H, W) normalised crops to compare on; synthetic people where None.

    Raises:
        UsageError: unknown format, an option that it does not have, an input that does not fit the
            model, too few crops.
        HEViTPoseError: the model cannot be exported, or the file computes something else; then
            nothing is written.
    """
    _check_request(to, batch, dynamic_size, half, fuse)
    path, limit = Path(path), HALF_PARITY_LIMIT if half else PARITY_LIMIT
    network = copy.deepcopy(model).cpu().float().eval().requires_grad_(False)
    crops = example_crops(batch + 1, input_size) if crops is None else crops.cpu().float()
    needed = batch + 1 if dynamic_batch else batch
    if len(crops) < needed:
        raise UsageError(f"crops: {len(crops)} given, expected at least {needed} to compare on")
    with torch.inference_mode():
        reference = network(crops[:needed])
    exported = _fused(network) if fuse else network
    with replacing(path) as file:
        temporary = Path(file.name)
        opset = write_file(exported, temporary, to, input_size, batch, dynamic_batch, dynamic_size)
        if half:
            _halve(temporary)
        run = load_exported(temporary, to)
        parity = _compare(run, crops, reference, batch, dynamic_batch)
        if dynamic_size:
            parity = max(parity, _compare_elsewhere(run, network, batch, input_size))
        if not parity <= limit:
            raise HEViTPoseError(
                f"{path}: {to} differs from the model by {parity:.2g} of its largest output, "
                f"expected at most {limit:.0e}; not written"
            )
        size = temporary.stat().st_size
        times = _timed(run, crops[:batch])
    return ExportReport(
        path=path,
        to=to,
        model=str(getattr(model, "name", type(model).__name__)),
        input_size=tuple(input_size),  # type: ignore[arg-type]
        batch=None if dynamic_batch else batch,
        fused=fuse,
        opset=opset,
        bytes=size,
        parity=parity,
        crops=needed,
        latency_ms=statistics.median(times),
        timed_batch=batch,
        dynamic_size=dynamic_size,
        half=half,
        calls=len(times),
        threads=torch.get_num_threads(),
        machine=machine()["cpu"] or "unknown processor",
    )


def _check_request(to: str, batch: int, dynamic_size: bool, half: bool, fuse: bool) -> None:
    if to not in FORMATS:
        raise unknown_name("export format", to, FORMATS)
    if batch < 1:
        raise UsageError(f"batch: {batch!r}, expected a positive integer")
    for name, given in (("dynamic_size", dynamic_size), ("half", half)):
        if given and to != "onnx":
            raise UsageError(f"{name}: {to} has no such option, expected onnx")
    if dynamic_size and fuse:
        raise UsageError("dynamic_size: the fused form has one size, expected either of the two")


def _halve(path: Path) -> None:
    """Rewrite an ONNX file in float16, with input and output as they were."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with quiet():
        onnx.save(convert_float_to_float16(onnx.load(str(path)), keep_io_types=True), str(path))


def _compare_elsewhere(
    run: Callable[[Tensor], Any], network: nn.Module, batch: int, input_size: tuple[int, int]
) -> float:
    """The worst error at a taller and at a wider input.

    Raises:
        HEViTPoseError: the network has one size, or the file.
    """
    worst = 0.0
    for size in ((input_size[0], input_size[1] + 64), (input_size[0] + 32, input_size[1])):
        crops = example_crops(batch, size)
        try:
            with torch.inference_mode():
                reference = network(crops)
            worst = max(worst, _compare(run, crops, reference, batch, False))
        except Exception as error:  # of torch and of onnxruntime, which share no base class
            why = first_line(str(error), repr(error))
            raise HEViTPoseError(
                f"dynamic_size: not at {size[1]}x{size[0]} ({why}); not written"
            ) from error
    return worst


def example_crops(count: int, input_size: tuple[int, int], seed: int = 0) -> Tensor:
    """Normalised crops (count, 3, H, W) of synthetic people, to compare two forms on."""
    from hevitpose.data.synthetic.scene import render_scene

    rng = np.random.default_rng(seed)
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


def _compare(
    run: Callable[[Tensor], Any], crops: Tensor, reference: Any, batch: int, dynamic_batch: bool
) -> float:
    """The worst error at the exported batch and, where it is free, at another one."""
    from hevitpose.models.parity import relative_error

    sizes = {batch, batch + 1} if dynamic_batch else {batch}
    worst = 0.0
    for size in sizes:
        references = reference if isinstance(reference, tuple) else (reference,)
        with torch.inference_mode():
            outputs = run(crops[:size])
        expected = tuple(part[:size] for part in references)
        outputs = outputs if isinstance(outputs, tuple | list) else (outputs,)
        if [part.shape for part in outputs] != [part.shape for part in expected]:
            return float("inf")
        worst = max(worst, relative_error(tuple(outputs), expected))
    return worst


def _timed(run: Callable[[Tensor], Any], images: Tensor) -> list[float]:
    """Milliseconds of each call, after some that are not timed."""
    times: list[float] = []
    with torch.inference_mode():
        for _ in range(3):
            run(images)
        started = time.perf_counter()
        while len(times) < TIMED_CALLS and time.perf_counter() - started < TIMED_SECONDS:
            start = time.perf_counter()
            run(images)
            times.append((time.perf_counter() - start) * 1e3)
    return times


def _several(count: int, noun: str) -> str:
    return f"{count} {noun}" + "s" * (count != 1)
