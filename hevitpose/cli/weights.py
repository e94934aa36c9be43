"""Commands on weights: import-weights, export, export-checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from hevitpose import files
from hevitpose.cli.common import Imports, Runtime
from hevitpose.errors import UsageError, notice_once, on_one_line
from hevitpose.models.shipped import locate
from hevitpose.sizes import parse_size

#: Pictures that a file is compared on with its network, at most.
COMPARED = 64

InputSize = Annotated[
    str | None, typer.Option("--input", help="HEIGHTxWIDTH.", show_default="the checkpoint's")
]
DynamicSize = Annotated[bool, typer.Option("--dynamic-size", help="onnx: any multiples of 32.")]
Pictures = Annotated[
    list[str] | None,
    typer.Option(
        "--pictures",
        help="Compare on these pictures of people (files, folders, globs).",
        show_default="rendered",
    ),
]
Int8 = Annotated[
    bool, typer.Option("--int8", help="onnx: convolutions and wide linear layers in int8.")
]
Bf16 = Annotated[
    bool, typer.Option("--bf16", help="onnx: for OpenVINO in bfloat16, by --calibration.")
]
Calibration = Annotated[
    str | None,
    typer.Option("--calibration", help="FOLDER[:n]: pictures, or a dataset (data/coco_small)."),
]
AcceptLoss = Annotated[
    bool, typer.Option("--accept-loss", help="Keep int8 or bf16 that loses over 0.5 points.")
]


def import_weights(
    file: Annotated[Path, typer.Argument(help="MMPose's or ViTPose's .pth.")],
    model: Annotated[str, typer.Option("--model", help="A peer's name: pose_hrnet_w32.")],
    out: Annotated[Path, typer.Option("--out", help="The .safetensors file to write.")],
    input_size: Annotated[str, typer.Option("--input", help="HEIGHTxWIDTH.")] = "256x192",
    keypoints: Annotated[
        int | None,
        typer.Option("--keypoints", min=1, help="A number other than the file's: a new head."),
    ] = None,
) -> None:
    """Turn published weights into a file of this package, with codec, input and decoder.

    The file is read as data; nothing in it is executed. `valid`, `predict` and `export` take OUT.
    """
    _require_safetensors(out, "--out")
    _require_another(out, file)
    from hevitpose.inference.pretrained import from_published
    from hevitpose.models.checkpoint import save_checkpoint

    size = parse_size(input_size, "--input")
    network = from_published(model, file, input_size=size, num_keypoints=keypoints)
    about: Any = network.pretrained_from
    save_checkpoint(network, out, about.config, about.layout, about.source)
    codec = about.config["codec"]
    of = f" ({about.layout.name})" if about.layout else ""
    print(f"{out}: {model}, {network.num_keypoints} keypoints{of}, {input_size} (H x W)")
    print(f"from {on_one_line(about.source['origin'])}; decoder {codec.get('decode', 'simcc')}")
    for name in about.source.get("reset", ()):
        print(f"reinitialised: {name}")


def export_checkpoint(
    checkpoint: Annotated[Path, typer.Argument(help="A run's last.ckpt, or any checkpoint.")],
    out: Annotated[Path, typer.Argument(help="The .safetensors file to write.")],
    keypoints: Annotated[
        int | None, typer.Option("--keypoints", min=1, help="Another number of keypoints.")
    ] = None,
    imports: Imports = None,
) -> None:
    """Weights alone, complete in themselves, from a training checkpoint."""
    from hevitpose.models.checkpoint import (
        from_pretrained,
        read_checkpoint,
        save_checkpoint,
    )
    from hevitpose.models.imports import import_files

    import_files(imports or ())
    _require_safetensors(out)
    checkpoint = locate(checkpoint)
    _require_another(out, checkpoint)
    trained = read_checkpoint(checkpoint).model.get("num_keypoints")
    anew = keypoints not in (None, trained)
    model = from_pretrained(checkpoint, num_keypoints=keypoints, reset_keypoints=anew)
    about: Any = model.pretrained_from
    save_checkpoint(model, out, about.config, about.layout, about.source)
    print(f"{out}: {model.name}, {model.num_keypoints} keypoints")
    for name in about.source["reset"] if anew else ():
        print(f"reinitialised: {name}")


def export(
    checkpoint: Annotated[Path, typer.Argument(help="Weights.")],
    out: Annotated[Path, typer.Argument(help="The file to write.")],
    to: Annotated[str, typer.Option("--to", help="onnx, torchscript or torch.export.")] = "onnx",
    input_size: InputSize = None,
    batch: Annotated[int, typer.Option("--batch", min=1)] = 1,
    dynamic_batch: Annotated[bool, typer.Option("--dynamic-batch")] = False,
    dynamic_size: DynamicSize = False,
    half: Annotated[bool, typer.Option("--half", help="onnx: in float16.")] = False,
    fuse: Annotated[bool, typer.Option("--fuse", help="Fold norms into convolutions.")] = False,
    pictures: Pictures = None,
    int8: Int8 = False,
    bf16: Bf16 = False,
    calibration: Calibration = None,
    accept_loss: AcceptLoss = False,
    runtime: Runtime = None,
    imports: Imports = None,
) -> None:
    """Write a network for another runtime, compared with the original before it is kept.

    Prints the difference and what a call of the file takes on this machine. Of --int8 and --bf16
    also what each kind of layer saves and loses; a file that loses over 0.5 points of PCK on
    held-out training people (on pictures: of key points that stay in place) is not written.
    """
    from hevitpose.inference.calibration import people_of
    from hevitpose.inference.export import Request, picture_crops
    from hevitpose.inference.export import export as write
    from hevitpose.inference.export_request import require_suffix
    from hevitpose.models.checkpoint import from_pretrained
    from hevitpose.models.imports import import_files
    from hevitpose.records.identity import file_digest

    precision = _precision(int8, bf16, calibration)
    require_suffix(out, to)
    _require_used(to, runtime, precision, accept_loss)
    import_files(imports or ())
    weights = locate(checkpoint)
    _require_another(out, weights)
    size = _stored_size(weights) if input_size is None else parse_size(input_size, "--input")
    request = Request(
        to,
        input_size=size,
        batch=batch,
        dynamic_batch=dynamic_batch,
        dynamic_size=dynamic_size,
        half=half,
        fuse=fuse,
        runtime=runtime if runtime is not None else "openvino" if bf16 else "onnxruntime",
        precision=precision,
    )
    fixed = None if dynamic_batch else batch
    found = _to_compare(pictures, batch) if pictures else []
    model = from_pretrained(weights)
    report = write(
        model,
        out,
        request,
        crops=picture_crops(found, size) if found else None,
        people=people_of(calibration, weights, model, size, fixed)
        if calibration is not None
        else None,
        accept_loss=accept_loss,
        source={"file": weights.name, "sha256": file_digest(weights)},
    )
    print(report)


def _require_safetensors(out: Path, option: str = "") -> None:
    """Refuse another suffix, and a file that cannot be written.

    Raises:
        UsageError: it is one.
    """
    if out.suffix != ".safetensors":
        raise UsageError(f"{out}: expected a file name that ends in .safetensors")
    files.require_file(out, option)


def _require_another(out: Path, read: Path) -> None:
    """Refuse to replace the weights that are read.

    Raises:
        UsageError: ``out`` is their file, also through links.
    """
    if files.same(out, read):
        raise UsageError(f"{out}: is the file of weights that is read, expected another name")


def _to_compare(pictures: Sequence[str], batch: int) -> list[Path]:
    """The pictures that a file is compared on with its network."""
    from hevitpose.inference.pictures import find_images

    found, most = find_images(pictures), max(COMPARED, batch + 1)
    if len(found) > most:
        notice_once(f"--pictures: the first {most} of {len(found)} are compared")
    return found[:most]


def _precision(int8: bool, bf16: bool, calibration: str | None) -> str:
    """Of the file's products.

    Raises:
        UsageError: the options contradict each other.
    """
    if int8 and bf16:
        raise UsageError("--int8 and --bf16: expected one of the two")
    if (calibration is None) == (int8 or bf16):
        raise UsageError("--calibration FOLDER[:n] goes with --int8 or --bf16, and each needs it")
    return "int8" if int8 else "bf16" if bf16 else "fp32"


def _require_used(to: str, runtime: str | None, precision: str, accept_loss: bool) -> None:
    """Refuse options that would change nothing.

    Raises:
        UsageError: one was given.
    """
    if runtime is not None and to != "onnx":
        raise UsageError(f"--runtime {runtime}: {to} has no such option, expected --to onnx")
    if accept_loss and precision == "fp32":
        raise UsageError("--accept-loss: nothing is lost without --int8 or --bf16, give one")


def _stored_size(weights: Path) -> tuple[int, int]:
    """(W, H) that a network was trained at; the default, and a line, where its file says none."""
    from hevitpose.config import Config
    from hevitpose.models.checkpoint import read_checkpoint

    said = read_checkpoint(weights).config.get("data", {}).get("input_size")
    width, height = said or Config().data.input_size
    if said is None:
        notice_once(f"{weights} says no input size: {height}x{width} is taken (--input)")
    return width, height
