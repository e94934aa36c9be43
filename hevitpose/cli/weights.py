"""The command on weights of others: import-weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

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
