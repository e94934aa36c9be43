"""The forms in which a network is run, and the call that is timed.

A mode that this machine cannot run raises :class:`UnavailableError` with the reason; nothing here
ever runs another mode, device or precision than the one that was asked for.
"""

from __future__ import annotations

import copy
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from hevitpose.codec import make_codec
from hevitpose.cost.latency.conditions import RUNTIMES, Conditions
from hevitpose.data.keypoints import LAYOUTS
from hevitpose.data.loader import normalise
from hevitpose.data.transforms import crop_people
from hevitpose.errors import HEViTPoseError, UnavailableError, UsageError
from hevitpose.models.parity import mean_shift, relative_error

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
#: Largest error of an output relative to the largest value of eager fp32. A form that is further
#: off computes something else, and its time would mean nothing. Fresh weights let rounding grow as
#: trained ones do not: in bfloat16 eager RTMPose-m is 0.47 off, HRNet-W32 0.28, HEViTPose 0.04.
#: TF32 has as many digits as fp16; of float32's, Winograd's convolutions on a GPU may lose one.
#: In int8 each tensor has 256 values: HEViTPose-B is 0.14 off, HRNet-W32 0.63, RTMPose-m 0.94.
PARITY_LIMITS = {"fp32": 5e-3, "tf32": 0.1, "bf16": 0.6, "fp16": 0.1, "int8": 1.5}
#: Inputs in rotation.
ROTATION = 4
#: (W, H) of the images of the end-to-end scope.
IMAGE_SIZE = (640, 480)

Network = Callable[[Tensor], Any]


def check_device(device: str) -> None:
    """Refuse a GPU that is not there.

    Raises:
        UnavailableError: no such GPU.
    """
    if not device.startswith("cuda"):
        return
    if not torch.cuda.is_available():
        raise UnavailableError(f"device {device}: no CUDA GPU is available here")
    index = torch.device(device).index or 0
    if index >= torch.cuda.device_count():
        raise UnavailableError(
            f"device {device}: expected cuda:0 to cuda:{torch.cuda.device_count() - 1}"
        )


@contextmanager
def settings(conditions: Conditions) -> Iterator[None]:
    """Thread counts and TF32 of the conditions; what was set before comes back.

    OpenCV has threads of its own, which cut crops in the scope ``e2e``.
    """
    threads, threads_cv2 = torch.get_num_threads(), cv2.getNumThreads()
    precision = torch.get_float32_matmul_precision()
    torch.set_num_threads(conditions.threads)
    cv2.setNumThreads(conditions.threads)
    if conditions.is_cuda:
        convolutions = torch.backends.cudnn.allow_tf32
        torch.set_float32_matmul_precision("high" if conditions.tf32 else "highest")
        torch.backends.cudnn.allow_tf32 = conditions.tf32
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        cv2.setNumThreads(threads_cv2)
        if conditions.is_cuda:
            torch.set_float32_matmul_precision(precision)
            torch.backends.cudnn.allow_tf32 = convolutions


def random_images(conditions: Conditions, seed: int) -> list[Tensor]:
    """Batches to take in rotation: normal noise, as normalised images roughly are, never zeros."""
    generator = torch.Generator().manual_seed(seed)
    width, height = conditions.input_size
    layout = torch.channels_last if conditions.layout == "nhwc" else torch.contiguous_format
    return [
        torch.randn(conditions.batch, 3, height, width, generator=generator).to(
            conditions.device, _DTYPES[conditions.tensor_dtype], memory_format=layout
        )
        for _ in range(ROTATION)
    ]


def random_crowds(conditions: Conditions, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(image (480, 640, 3) uint8, boxes (batch, 4) xywh) to take in rotation."""
    rng = np.random.default_rng(seed)
    width, height = IMAGE_SIZE
    crowds = []
    for _ in range(ROTATION):
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        corners = rng.uniform((0, 0), (width / 2, height / 2), (conditions.batch, 2))
        sides = rng.uniform((60, 120), (width / 2, height / 2), (conditions.batch, 2))
        crowds.append((image, np.concatenate((corners, sides), axis=1).astype(np.float32)))
    return crowds


def build_network(model: nn.Module, conditions: Conditions, example: Tensor) -> Network:
    """The network in the form of the conditions, on their device; the given model stays as it is.

    Args:
        model: as ``create_model`` returns it.
        conditions: mode, dtype, layout, device.
        example: one batch, as the network will be called with.

    Raises:
        UnavailableError: the mode cannot run here.
    """
    check_device(conditions.device)
    network = copy.deepcopy(model).eval().requires_grad_(False)
    if conditions.fused:
        from hevitpose.models.forms import optimize

        try:
            network = optimize(network, mode="fused").eval()
        except UsageError as error:
            raise UnavailableError(f"fused: {error}") from None
    if conditions.backend in RUNTIMES:
        return _run_by(network, conditions, example)
    if conditions.dtype == "int8":
        raise UnavailableError(f"{conditions.mode}: has no int8, {' and '.join(RUNTIMES)} have")
    if conditions.backend in ("torchscript", "torch.export"):
        return _exported(network, conditions)
    network = network.to(conditions.device, _DTYPES[conditions.tensor_dtype])
    if conditions.layout == "nhwc":
        network = network.to(memory_format=torch.channels_last)
    if conditions.backend == "autocast":
        return _autocast(network, conditions)
    if conditions.backend == "compile":
        return _compiled(network, conditions)
    if conditions.backend == "cudagraph":
        return _captured(network, conditions, example)
    return network


def _compiled(network: nn.Module, conditions: Conditions) -> Network:
    if conditions.is_cuda:
        try:
            import triton  # noqa: F401
        except ImportError:
            raise UnavailableError("compile: triton is not installed") from None
    else:
        names = [os.environ.get("CXX", ""), "g++", "clang++"]
        if not any(name and shutil.which(name) for name in names):
            raise UnavailableError("compile: no C++ compiler (g++, clang++ or $CXX)")
    # Freezing folds the weights in as constants: inference only, which is what is timed. The whole
    # network in one graph, or an error: parts that quietly stay eager would be another mode.
    return torch.compile(network, fullgraph=True, dynamic=False, options={"freezing": True})  # type: ignore[return-value]


@dataclass(frozen=True)
class Replay:
    """A captured call of a network. The next one overwrites its output.

    The graph reads weights and buffers at their addresses: with the network gone, that memory would
    be given to other tensors.
    """

    graph: Any  # torch.cuda.CUDAGraph
    images: Tensor  # the graph's own
    output: Any
    network: nn.Module

    def __call__(self, images: Tensor) -> Any:
        """The graph's own output for a batch of the captured shape."""
        self.images.copy_(images)
        self.graph.replay()
        return self.output


def _captured(network: nn.Module, conditions: Conditions, example: Tensor) -> Network:
    """A CUDA graph of one call; the copy of the input into the graph's own memory is timed too."""
    if not conditions.is_cuda:
        raise UnavailableError("cudagraph: needs a CUDA device")
    static = example.clone()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # lazy initialisation must not be captured
        for _ in range(3):
            network(static)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = network(static)
    return Replay(graph, static, output, network)


def _autocast(network: nn.Module, conditions: Conditions) -> Network:
    """Float32 weights; torch computes products and convolutions in the lower precision."""
    if conditions.dtype == "fp32":
        raise UnavailableError("autocast: of a lower precision, expected dtype bf16 or fp16")
    kind, dtype = torch.device(conditions.device).type, _DTYPES[conditions.dtype]

    def call(images: Tensor) -> Any:
        with torch.autocast(kind, dtype):
            return network(images)

    return call


def _exported(network: nn.Module, conditions: Conditions) -> Network:
    """What torch's exported file computes, as a user of the file would run it."""
    backend = conditions.backend
    if (conditions.dtype, conditions.layout) != ("fp32", "nchw"):
        raise UnavailableError(
            f"{backend}: files are exported in fp32 and nchw, not {conditions.dtype} and "
            f"{conditions.layout}"
        )
    if conditions.is_cuda:
        raise UnavailableError(f"{backend}: exported files are run on the CPU here")
    from hevitpose.models.exported import load_exported, write_file

    with tempfile.TemporaryDirectory(prefix="hevitpose-export-") as folder:
        path = Path(folder) / "model"
        write_file(network, path, backend, conditions.input_size, conditions.batch)
        return load_exported(path, backend)


def _run_by(network: nn.Module, conditions: Conditions, example: Tensor) -> Network:
    """What an ONNX file computes in its runtime; int8 is calibrated on inputs like the timed ones.

    Untrained weights on noise: such a file is for its time. ``hevitpose export --int8`` calibrates
    on people, and measures the accuracy.
    """
    runtime, precision = conditions.backend, conditions.dtype
    if conditions.layout != "nchw":
        raise UnavailableError(f"{runtime}: files are in nchw, not {conditions.layout}")
    if conditions.is_cuda != (runtime == "tensorrt"):
        needed = "a CUDA device" if runtime == "tensorrt" else "the CPU"
        raise UnavailableError(f"{runtime}: runs files on {needed} here")
    from hevitpose.models.exported import write_file
    from hevitpose.models.quantize import halve, write_int8
    from hevitpose.models.runtimes import load_onnx, require_runtime

    require_runtime(runtime, precision)
    with tempfile.TemporaryDirectory(prefix="hevitpose-export-") as folder:
        path = Path(folder) / "model.onnx"
        size, batch = conditions.input_size, conditions.batch
        write_file(network, path, "onnx", size, batch, precision=precision)
        if precision == "fp16" and runtime == "onnxruntime":  # TensorRT rounds by itself
            halve(path)
        if precision == "int8":
            path, whole = Path(folder) / "int8.onnx", path
            write_int8(whole, path, [example])
        return load_onnx(path, runtime, precision, conditions.threads)


@dataclass(frozen=True)
class Parity:
    """How far a form is from plain eager fp32 on the same inputs."""

    error: float  # largest difference over the largest value
    keypoints_px: float  # mean distance that key points move, input pixels


def check_parity(
    model: nn.Module, network: Network, conditions: Conditions, images: Tensor
) -> Parity:
    """How far the form is from the model's plain eager fp32 form on this device.

    Raises:
        HEViTPoseError: further than :data:`PARITY_LIMITS` allows.
    """
    plain = copy.deepcopy(model).eval().to(conditions.device)
    few = images[:2].float().contiguous()
    with settings(Conditions(device=conditions.device, threads=conditions.threads)):
        reference = plain(few)
    output = network(images)
    error = relative_error(output, reference)
    kind = "tf32" if conditions.tf32 and conditions.is_cuda else conditions.dtype
    limit = max(PARITY_LIMITS[kind], PARITY_LIMITS[conditions.dtype])
    if not error <= limit:
        raise HEViTPoseError(
            f"mode {conditions.mode}, {conditions.dtype}: output differs from eager fp32 by "
            f"{error:.2g} of its largest value, expected at most {limit:.2g}"
        )
    codec = make_codec(getattr(model, "codec", "heatmap"), conditions.input_size)
    return Parity(error, mean_shift(output, reference, codec))


def build_call(model: nn.Module, network: Network, conditions: Conditions) -> Callable[[Any], Any]:
    """The function that is timed: one input of the scope to its result."""
    codec: Any = make_codec(getattr(model, "codec", "heatmap"), conditions.input_size)
    pairs = _flip_pairs(int(model.num_keypoints)) if conditions.flip else None  # type: ignore[arg-type]
    if pairs is not None and isinstance(network, Replay):
        network = _kept(network)  # the flip test needs the first output after the second call

    def forward(images: Tensor) -> Any:
        return network(images) if pairs is None else codec.flip_test(network, images, pairs)

    def decoded(images: Tensor) -> Any:
        outputs = forward(images)
        outputs = (
            tuple(output.float() for output in outputs)
            if isinstance(outputs, tuple)
            else outputs.float()
        )
        return codec.decode(outputs)

    if conditions.scope == "model":
        return forward
    if conditions.scope == "decode":
        return decoded
    layout = torch.channels_last if conditions.layout == "nhwc" else torch.contiguous_format

    def end_to_end(crowd: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        image, boxes = crowd
        crops, centers, sizes = crop_people(image, boxes, conditions.input_size)
        images = normalise(torch.from_numpy(crops).to(conditions.device))
        images = images.to(_DTYPES[conditions.tensor_dtype], memory_format=layout)
        xy, scores = decoded(images)
        points = codec.to_image(xy.cpu(), torch.from_numpy(centers), torch.from_numpy(sizes))
        return points.numpy(), scores.cpu().numpy()

    return end_to_end


def _kept(network: Network) -> Network:
    """The same with outputs that the next call leaves alone."""

    def call(images: Tensor) -> Any:
        output = network(images)
        return tuple(o.clone() for o in output) if isinstance(output, tuple) else output.clone()

    return call


def _flip_pairs(num_keypoints: int) -> tuple[tuple[int, int], ...]:
    """The pairs of the layout with so many keypoints; any disjoint pairs cost the same."""
    for layout in LAYOUTS.values():
        if len(layout) == num_keypoints:
            return layout.flip_pairs
    return tuple((joint, joint + 1) for joint in range(0, num_keypoints - 1, 2))


@torch.no_grad()
def randomise_norms_(model: nn.Module, input_size: tuple[int, int], seed: int = 0) -> nn.Module:
    """Give a fresh network weights and statistics as a trained one has, in place.

    Fresh weights let maps fade to denormal numbers, on which a CPU is slow, and BatchNorm
    statistics of 0 and 1 make every fusing trivially right. Here BatchNorm weights are drawn from
    0.5 to 1.5, biases from N(0, 0.1), and the statistics are those of two random images.

    Args:
        model: any of ``create_model``.
        input_size: (W, H) of the images.
        seed: of the draws.

    Returns:
        The model, in evaluation mode.
    """
    generator = torch.Generator().manual_seed(seed)
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        if norm.affine:
            norm.weight.copy_(torch.rand(norm.weight.shape, generator=generator) + 0.5)
            norm.bias.copy_(torch.randn(norm.bias.shape, generator=generator) * 0.1)
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over batches: here, the batch itself
    model.train()
    model(torch.randn(2, 3, input_size[1], input_size[0], generator=generator))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return model.eval()
