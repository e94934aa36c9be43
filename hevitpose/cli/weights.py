"""Commands on weights: import-weights, export, export-checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hevitpose.cli.common import Imports
from hevitpose.errors import UsageError
from hevitpose.sizes import parse_size


def import_weights(
    file: Annotated[Path, typer.Argument(help="MMPose's or ViTPose's .pth.")],
    model: Annotated[str, typer.Option("--model", help="A peer's name: pose_hrnet_w32.")],
    out: Annotated[Path, typer.Option("--out", help="The .safetensors file to write.")],
    input_size: Annotated[str, typer.Option("--input", help="HEIGHTxWIDTH.")] = "256x192",
    keypoints: Annotated[
        int | None,
        typer.Option("--keypoints", min=1, help="Another number than the file's: a fresh head."),
    ] = None,
) -> None:
    """Turn published weights into a file of this package, with codec, input and decoder.

    The file is read as data; nothing in it is executed. `valid`, `predict` and `export` take OUT.
    """
    if out.suffix != ".safetensors":
        raise UsageError(f"{out}: expected a file name that ends in .safetensors")
    from hevitpose.inference.pretrained import from_published
    from hevitpose.models.checkpoint import save_checkpoint

    size = parse_size(input_size, "--input")
    network = from_published(model, file, input_size=size, num_keypoints=keypoints)
    about: Any = network.pretrained_from
    save_checkpoint(network, out, about.config, about.layout, about.source)
    codec = about.config["codec"]
    print(f"{out}: {model}, {network.num_keypoints} keypoints, {input_size} (H x W)")
    print(f"from {about.source['origin']}; decoder {codec.get('decode', 'simcc')}")
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
        load_weights,
        read_checkpoint,
        save_checkpoint,
    )
    from hevitpose.models.imports import import_files

    import_files(imports or ())
    if out.suffix != ".safetensors":
        raise UsageError(f"{out}: expected a file name that ends in .safetensors")
    stored = read_checkpoint(checkpoint)
    model = from_pretrained(
        checkpoint, num_keypoints=keypoints, reset_keypoints=keypoints is not None
    )
    reset = load_weights(model, checkpoint, reset_keypoints=keypoints is not None)
    layout = stored.layout if keypoints in (None, stored.model["num_keypoints"]) else None
    save_checkpoint(model, out, stored.config, layout, stored.source)
    print(f"{out}: {stored.model['name']}, {model.num_keypoints} keypoints")
    for name in reset:
        print(f"reinitialised: {name}")


def export(
    checkpoint: Annotated[Path, typer.Argument(help="Weights.")],
    out: Annotated[Path, typer.Argument(help="The file to write.")],
    to: Annotated[str, typer.Option("--to", help="onnx, torchscript or torch.export.")] = "onnx",
    input_size: Annotated[
        str | None, typer.Option("--input", help="HEIGHTxWIDTH.", show_default="the checkpoint's")
    ] = None,
    batch: Annotated[int, typer.Option("--batch", min=1)] = 1,
    dynamic_batch: Annotated[bool, typer.Option("--dynamic-batch")] = False,
    dynamic_size: Annotated[
        bool, typer.Option("--dynamic-size", help="onnx: any multiples of 32.")
    ] = False,
    half: Annotated[bool, typer.Option("--half", help="onnx: in float16.")] = False,
    fuse: Annotated[bool, typer.Option("--fuse", help="Fold norms into convolutions.")] = False,
    pictures: Annotated[
        list[str] | None,
        typer.Option(
            "--pictures",
            help="Compare on these pictures of people (files, folders, globs).",
            show_default="rendered",
        ),
    ] = None,
    imports: Imports = None,
) -> None:
    """Write a network for another runtime, compared with the original before it is kept.

    Prints the difference and what a call of the file takes on this machine.
    """
    from hevitpose.inference.export import export as write
    from hevitpose.inference.export import picture_crops
    from hevitpose.inference.pictures import find_images
    from hevitpose.models.checkpoint import from_pretrained, read_checkpoint
    from hevitpose.models.imports import import_files

    import_files(imports or ())
    config = read_checkpoint(checkpoint).config
    size = tuple(config.get("data", {}).get("input_size", (256, 256)))
    size = size if input_size is None else parse_size(input_size, "--input")
    found = find_images(pictures)[: batch + 1] if pictures else []
    report = write(
        from_pretrained(checkpoint),
        out,
        to,
        input_size=size,
        crops=picture_crops(found, size) if found else None,
        batch=batch,
        dynamic_batch=dynamic_batch,
        dynamic_size=dynamic_size,
        half=half,
        fuse=fuse,
    )
    print(report)
