"""The command line, ``hevitpose ...``: parse, call, print. Heavy modules load inside commands."""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer

from hevitpose import __version__
from hevitpose.errors import HEViTPoseError, UsageError

app = typer.Typer(
    help="HEViTPose: train, evaluate and measure a light vision transformer for human pose.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Datasets: render, check, convert.", no_args_is_help=True)
records_app = typer.Typer(help="Result records: list, show, move.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(records_app, name="records")

_INTERRUPTED = 130  # what typer returns for Ctrl-C
_debug = False

Cfg = Annotated[
    str, typer.Option("--cfg", help="A shipped config (mpii, coco, ...) or a yaml file.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="key=value, or the authors' upper-case pairs: TRAIN.LR 1e-3."),
]
Out = Annotated[Path | None, typer.Option("--out", help="Folder for what the run writes.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one json object instead of a table.")]
Gpus = Annotated[str | None, typer.Option("--gpus", help="CUDA device numbers: 0,1.")]
Devices = Annotated[int | None, typer.Option("--devices", min=1, help="Processes per node.")]
Nodes = Annotated[int | None, typer.Option("--nodes", min=1, help="Machines.")]


@app.callback(invoke_without_command=True)
def _root(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    global _debug
    _debug = debug
    if version:
        print(__version__)
        raise typer.Exit


def _config(
    cfg: str | None,
    overrides: list[str] | None,
    gpus: str | None = None,
    devices: int | None = None,
    nodes: int | None = None,
) -> Any:
    """The config of a command; ``--gpus 0,1`` shows the process those devices only."""
    from hevitpose.config import load_config

    config = load_config(cfg, overrides or [])
    extra: dict[str, Any] = {}
    if gpus is not None:
        numbers = gpus.split(",")
        if not all(n.isdigit() for n in numbers):
            raise UsageError(f"--gpus {gpus!r}: expected device numbers like 0,1")
        if devices not in (None, len(numbers)):
            raise UsageError(f"--devices {devices} contradicts --gpus {gpus}")
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus
        extra = {"device": "cuda", "devices": len(numbers)}
    elif devices is not None:
        extra["devices"] = devices
    if nodes is not None:
        extra["nodes"] = nodes
    return config.with_overrides(extra) if extra else config


def _size(text: str, flag: str) -> tuple[int, int]:
    """``256x192``, height x width as the field writes it, to (W, H)."""
    height, _, width = text.partition("x")
    if not (height.isdigit() and width.isdigit()):
        raise UsageError(f"{flag} {text!r}: expected HEIGHTxWIDTH like 256x192")
    return int(width), int(height)


def _print_metrics(metrics: dict[str, float], facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps({**metrics, "dataset": facts}))
        return
    print(f"{facts['name']} {facts['split']}, boxes {facts['boxes']}")
    for name, value in metrics.items():
        print(f"  {name:<10} {value:8.3f}")
    left_out = {k: v for k, v in facts["counts"].items() if v and k not in ("people", "images")}
    if left_out:
        print("  left out:  " + ", ".join(f"{k} {v}" for k, v in left_out.items()))


@app.command()
def info(
    model: Annotated[str, typer.Argument(help="A model name: hevitpose_b, b, pose_hrnet_w32.")],
    input_size: Annotated[str, typer.Option("--input", help="HEIGHTxWIDTH.")] = "256x256",
    keypoints: Annotated[int, typer.Option("--keypoints", min=1)] = 17,
    convention: Annotated[str, typer.Option("--convention")] = "mmcv",
    depth: Annotated[int, typer.Option("--depth", min=0, help="Levels of modules shown.")] = 2,
    as_json: AsJson = False,
) -> None:
    """Parameters and GFLOPs of a model, module by module, under a named convention."""
    from hevitpose.complexity import count, render
    from hevitpose.models import create_model
    from hevitpose.spec import full_name

    size = _size(input_size, "--input")
    network = create_model(full_name(model), num_keypoints=keypoints)
    result = count(network, size, convention=convention)
    if as_json:
        print(json.dumps({"model": full_name(model), "keypoints": keypoints, **result.to_dict()}))
    else:
        print(render(result, depth=depth))


@app.command()
def train(
    cfg: Cfg = "synthetic",
    overrides: Overrides = None,
    out: Out = None,
    gpus: Gpus = None,
    devices: Devices = None,
    nodes: Nodes = None,
    resume: Annotated[
        bool, typer.Option(help="Continue from the folder's last checkpoint.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Train a model, evaluate it on the val split, and record the result."""
    from hevitpose.runs import train_and_record

    config = _config(cfg, overrides, gpus, devices, nodes)
    _prepare_data(config)
    with _bar("training", "steps") as progress:
        result, record, folder = train_and_record(config, out, resume=resume, progress=progress)
    if record is None:  # another rank of the same run
        return
    _print_metrics(result.metrics, result.dataset, as_json)
    if not as_json:
        print(f"weights {folder / 'model.safetensors'}\nrecord  {record}")


def _bar(description: str, unit: str) -> Any:
    from hevitpose.progress import progress_bar

    return progress_bar(description, unit)


def _prepare_data(config: Any) -> None:
    """Synthetic people are rendered on first use; all other data must be there."""
    if config.data.dataset != "synthetic":
        return
    from hevitpose.data.synthetic import generate

    with _bar("synthetic people", "images") as progress:
        generate(
            config.data.folder,
            people=config.data.people,
            size=config.data.image_size,
            progress=progress,
        )


@app.command()
def valid(
    cfg: Cfg = "synthetic",
    overrides: Overrides = None,
    checkpoint: Annotated[Path | None, typer.Option("--checkpoint", help="Weights.")] = None,
    boxes: Annotated[str | None, typer.Option("--boxes", help="gt, or a detector's json.")] = None,
    gpus: Gpus = None,
    devices: Devices = None,
    nodes: Nodes = None,
    predictions: Annotated[
        Path | None, typer.Option("--predictions", help="Also write the keypoints here (.npz).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate saved weights on the val split."""
    from hevitpose.runs import write_predictions
    from hevitpose.training import validate, world

    config = _config(cfg, overrides, gpus, devices, nodes)
    given = {"model.checkpoint": checkpoint, "data.boxes": boxes}
    config = config.with_overrides({k: v for k, v in given.items() if v is not None})
    with _bar("evaluation", "batches") as progress:
        metrics, found, facts = validate(config, progress=progress)
    if world()[0] != 0:  # another rank of the same run
        return
    if predictions is not None:
        write_predictions(predictions, found)
    _print_metrics(metrics, facts, as_json)


@data_app.command("synth")
def data_synth(
    root: Annotated[Path, typer.Option("--root")] = Path("data/synthetic"),
    people: Annotated[int, typer.Option("--people", min=20)] = 5000,
    size: Annotated[int, typer.Option("--size", min=64, help="Side of an image in pixels.")] = 256,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
    workers: Annotated[int | None, typer.Option("--workers", min=1)] = None,
    sheet: Annotated[
        Path | None, typer.Option("--sheet", help="Also write a contact sheet.")
    ] = None,
) -> None:
    """Render synthetic people with annotations in all four formats."""
    from hevitpose.data.synthetic import contact_sheet, generate

    with _bar("synthetic people", "images") as progress:
        made = generate(
            root, people=people, size=size, seed=seed, workers=workers, progress=progress
        )
    print(f"{root}: {made.people} people in {made.images} images")
    if sheet is not None:
        contact_sheet(root, "val", sheet)
        print(f"{sheet}: contact sheet")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 asked for something that cannot be."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: list[str]) -> int:
    """Run the command line.

    Returns:
        The exit code. An error is one line on standard error, a traceback only with ``--debug``.
    """
    try:
        result = app(args=arguments, prog_name="hevitpose", standalone_mode=False)
        if result != _INTERRUPTED:
            return result if isinstance(result, int) else 0
        message, code = "interrupted; the same command continues where it stopped", 1
    except HEViTPoseError as error:
        message, code = str(error), error.exit_code
    except KeyboardInterrupt:
        message, code = "interrupted; the same command continues where it stopped", 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if not hasattr(error, "format_message"):  # typer's own usage errors have one
            message, code = _unexpected(error), 1
        else:
            message, code = error.format_message(), getattr(error, "exit_code", 2)
    if _debug:
        traceback.print_exc()
    print(f"error: {message}", file=sys.stderr)
    return code


def _unexpected(error: Exception) -> str:
    text = " ".join(str(error).split()) or "no message"
    return f"{type(error).__name__}: {text} (--debug shows where)"


if __name__ == "__main__":
    main()
