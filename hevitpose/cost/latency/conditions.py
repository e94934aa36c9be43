"""The conditions of a measurement: every one of them a column beside the time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hevitpose.errors import UsageError, unknown_name
from hevitpose.sizes import is_number

#: How the network is run. ``fused+X`` is X on the form of ``hevitpose.optimize(mode="fused")``;
#: ``fused`` alone is that form, eagerly. ``autocast``: float32 weights, products in the dtype.
#: ``onnxruntime``, ``openvino``, ``tensorrt`` read the exported ONNX file.
MODES = (
    "eager",
    "fused",
    "compile",
    "fused+compile",
    "cudagraph",
    "fused+cudagraph",
    "onnxruntime",
    "fused+onnxruntime",
    "torchscript",
    "fused+torchscript",
    "torch.export",
    "fused+torch.export",
    "autocast",
    "fused+autocast",
    "openvino",
    "fused+openvino",
    "tensorrt",
    "fused+tensorrt",
)
DTYPES = ("fp32", "bf16", "fp16", "int8")
#: Modes that run an exported ONNX file.
RUNTIMES = ("onnxruntime", "openvino", "tensorrt")
#: What a call does: the network; the network and decoding; all from a uint8 image to keypoints.
SCOPES = ("model", "decode", "e2e")
MEMORY_LAYOUTS = ("nchw", "nhwc")
L2 = ("warm", "cold")
#: ``cpu``: the processor time of the calling thread instead of the wall clock. On a machine that is
#: busy with other things it still tells what the work costs; with one thread only.
CLOCKS = ("wall", "cpu")


def _one_of(kind: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise unknown_name(kind, value, known)


@dataclass(frozen=True)
class Conditions:
    """Under what a time was taken.

    Raises:
        UsageError: a name outside its set, or a count that is not positive.
    """

    device: str = "cpu"  # "cpu", "cuda", "cuda:1"
    batch: int = 1
    input_size: tuple[int, int] = (256, 256)  # (W, H), pixels
    dtype: str = "fp32"  # of weights and activations; of a file and of autocast, of products
    tf32: bool = False  # fp32 products in TF32; only means something on a GPU
    layout: str = "nchw"  # nhwc: channels-last weights and input
    mode: str = "eager"
    threads: int = 1  # of the CPU's operators
    flip: bool = False  # flip test: a second pass over the mirrored batch, averaged
    scope: str = "model"
    l2: str = "warm"  # cold: a buffer larger than the cache is written before each call
    clock: str = "wall"

    def __post_init__(self) -> None:
        _one_of("mode", self.mode, MODES)
        _one_of("dtype", self.dtype, DTYPES)
        _one_of("scope", self.scope, SCOPES)
        _one_of("layout", self.layout, MEMORY_LAYOUTS)
        _one_of("l2", self.l2, L2)
        _one_of("clock", self.clock, CLOCKS)
        for key in ("batch", "threads"):
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UsageError(f"{key}: {value!r}, expected a positive integer")
        size = self.input_size
        if len(size) != 2 or any(not isinstance(side, int) or side < 1 for side in size):
            raise UsageError(f"input size: {size!r}, expected two positive integers (W, H)")
        kind, _, index = self.device.partition(":")
        if kind not in ("cpu", "cuda") or (index and not is_number(index)):
            raise UsageError(f"device: {self.device!r}, expected cpu, cuda or cuda:N")
        if self.clock == "cpu" and (self.is_cuda or self.threads != 1):
            raise UsageError("clock: 'cpu' counts one thread, expected device cpu and threads 1")

    @property
    def is_cuda(self) -> bool:
        """Whether the device is a CUDA GPU."""
        return self.device.startswith("cuda")

    @property
    def is_plain(self) -> bool:
        """Whether this is the form that all others are compared with: eager fp32."""
        return (self.mode, self.dtype, self.layout, self.tf32) == ("eager", "fp32", "nchw", False)

    @property
    def fused(self) -> bool:
        """Whether the network is first turned into its fused form."""
        return self.mode.startswith("fused")

    @property
    def backend(self) -> str:
        """What runs the network: the mode without ``fused``; ``eager`` for ``fused`` alone."""
        return self.mode.removeprefix("fused").removeprefix("+") or "eager"

    @property
    def tensor_dtype(self) -> str:
        """In what images and weights are given: lower precision is a file's own, or autocast's."""
        own = self.backend in (*RUNTIMES, "autocast") or self.dtype == "int8"
        return "fp32" if own else self.dtype

    def columns(self) -> dict[str, Any]:
        """One scalar per column; ``input`` is H x W, as tables print it.

        ``clock`` is a column only where it is not the wall clock.
        """
        width, height = self.input_size
        columns = {
            "device": self.device,
            "batch": self.batch,
            "input": f"{height}x{width}",
            "dtype": self.dtype,
            "tf32": self.tf32,
            "layout": self.layout,
            "mode": self.mode,
            "threads": self.threads,
            "flip_test": self.flip,
            "scope": self.scope,
            "l2": self.l2,
        }
        return columns if self.clock == "wall" else columns | {"clock": self.clock}
