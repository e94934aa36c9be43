"""What is asked of an exported file, whether it can be, and what an ONNX file says of itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from hevitpose.errors import UsageError, unknown_name
from hevitpose.files import require_file
from hevitpose.inference.lower_precision import LowerPrecision, People
from hevitpose.models.checkpoint import FORMAT, INPUT, PretrainedFrom, describe
from hevitpose.models.exported import FORMATS
from hevitpose.models.onnx_file import EXPORTED
from hevitpose.models.runtimes import require_runtime
from hevitpose.models.spec import is_integer
from hevitpose.sizes import LARGEST_SIDE

#: Largest error of the exported form relative to the largest output value.
PARITY_LIMIT = 1e-4
#: The same in half precision, whose numbers have eleven bits.
HALF_PARITY_LIMIT = 2e-2
#: Precisions whose loss is measured on people.
LOWER = ("int8", "bf16")
#: Pixels of all images of a call, 3 GB in float32: what an export is compared on is rendered first.
MOST_PIXELS = 2**28


@dataclass(frozen=True)
class Request:
    """What is asked of a file."""

    #: A name of :data:`~hevitpose.models.exported.FORMATS`.
    to: str = "onnx"
    #: (W, H) in pixels, fixed in the file, or the example's with ``dynamic_size``.
    input_size: tuple[int, int] = (256, 256)
    #: Images in a call.
    batch: int = 1
    #: Take any number of images; ``batch`` is then only the example's.
    dynamic_batch: bool = False
    #: onnx: take any height and width that are multiples of 32.
    dynamic_size: bool = False
    #: onnx: weights and arithmetic in float16; input and output stay float32.
    half: bool = False
    #: The form of ``hevitpose.optimize(mode="fused")``.
    fuse: bool = False
    #: onnx: in which the file is compared, judged and timed.
    runtime: str = "onnxruntime"
    #: onnx: ``int8`` or ``bf16`` (OpenVINO's), see :mod:`hevitpose.inference.lower_precision`.
    precision: str = "fp32"

    def __post_init__(self) -> None:
        """Refuse sizes before anything is rendered or cut out at them.

        Raises:
            UsageError: a side or a batch that nobody has the memory for.
        """
        given = self.input_size
        sides = given if isinstance(given, (tuple, list)) else (given,)
        if len(sides) != 2 or not all(is_integer(n) and 0 < n <= LARGEST_SIDE for n in sides):
            said = "x".join(map(str, reversed(sides)))
            raise UsageError(f"input size {said}: expected two sides from 1 to {LARGEST_SIDE}")
        if not is_integer(self.batch):
            raise UsageError(f"batch: {self.batch!r}, expected a positive integer")
        if self.batch * sides[0] * sides[1] > MOST_PIXELS:
            most = MOST_PIXELS // (sides[0] * sides[1])
            raise UsageError(
                f"batch: {self.batch}, expected at most {most} images of {sides[1]}x{sides[0]}"
            )

    @property
    def kind(self) -> str:
        """The precision of the file's products."""
        return "fp16" if self.half else self.precision

    @property
    def limit(self) -> float:
        """Of the parity; what int8 and bf16 may lose is measured on people."""
        limits = {"fp32": PARITY_LIMIT, "fp16": HALF_PARITY_LIMIT}
        return limits.get(self.kind, math.inf)

    @property
    def needed(self) -> int:
        """Crops to compare on."""
        return self.batch + 1 if self.dynamic_batch else self.batch

    def check(self, people: People | None) -> None:
        """Refuse what cannot be.

        Raises:
            UsageError, UnavailableError: see :func:`export`.
        """
        if self.to not in FORMATS:
            raise unknown_name("export format", self.to, FORMATS)
        if self.batch < 1:
            raise UsageError(f"batch: {self.batch!r}, expected a positive integer")
        if self.precision not in ("fp32", *LOWER):
            raise unknown_name("precision", self.precision, ("fp32", *LOWER))
        lower = self.precision in LOWER
        for name, given in (
            ("dynamic_size", self.dynamic_size),
            ("half", self.half),
            (self.precision, lower),
        ):
            if given and self.to != "onnx":
                raise UsageError(f"{name}: {self.to} has no such option, expected onnx")
        if self.dynamic_size and self.fuse:
            raise UsageError(
                "dynamic_size: the fused form has one size, expected either of the two"
            )
        if lower and (self.half or self.dynamic_size):
            raise UsageError(f"{self.precision}: excludes half and dynamic_size, give one")
        if lower and people is None:
            raise UsageError(f"{self.precision}: no people to compare it on, expected at least one")
        if self.to == "onnx":
            for precision in ("fp32", self.kind):  # it is compared with the file in float32
                require_runtime(self.runtime, precision)


def require_suffix(path: Path, to: str) -> None:
    """Refuse a file name that says another format than it will hold, or cannot be written.

    Raises:
        UsageError: it does, or there is no such format.
    """
    if to not in FORMATS:
        raise unknown_name("export format", to, FORMATS)
    if path.suffix != FORMATS[to]:
        raise UsageError(f"{path}: expected a file name that ends in {FORMATS[to]}, for {to}")
    require_file(path)


def about_file(
    model: nn.Module,
    request: Request,
    opset: int | None,
    found: LowerPrecision | None,
    people: People | None,
    source: Mapping[str, Any],
) -> dict[str, Any]:
    """The description of an ONNX file: the network, its settings, and how it was exported."""
    about = getattr(model, "pretrained_from", None) or PretrainedFrom({}, None, {})
    config = dict(about.config)
    if config:
        config["data"] = {**config.get("data", {}), "input_size": list(request.input_size)}
    exported: dict[str, Any] = {
        "precision": request.kind,
        "runtime": request.runtime,
        "fused": request.fuse,
        "input_size": list(request.input_size),
        "batch": None if request.dynamic_batch else request.batch,
        "outputs": 2 if getattr(model, "codec", "heatmap") == "simcc" else 1,
        "opset": opset,
        "source": dict(source),
    }
    if found is not None and people is not None:
        exported["int8"] = [kind.name for kind in found.kinds if kind.int8]
        exported["float32"] = [kind.name for kind in found.kinds if not kind.int8]
        exported["people"] = people.named
    network = describe(model) if hasattr(model, "name") else {}
    return {
        "format": FORMAT,
        "model": network,
        "config": config,
        "layout": asdict(about.layout) if about.layout else None,
        "input": INPUT,
        "source": about.source,
        EXPORTED: exported,
    }
