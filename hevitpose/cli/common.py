"""What several commands share: options, sizes, printing."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from hevitpose.errors import UsageError, on_one_line
from hevitpose.progress import progress_bar
from hevitpose.sizes import is_number
from hevitpose.text_table import counted, left_out

Cfg = Annotated[
    str, typer.Option("--cfg", help="A shipped config (mpii, coco, ...) or a yaml file.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="key=value, or the authors' upper-case pairs: TRAIN.LR 1e-3."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Boxes = Annotated[str | None, typer.Option("--boxes", help="gt, or a detector's json.")]
BoxThreshold = Annotated[
    float | None, typer.Option("--box-threshold", help="Detections scored lower are dropped.")
]
Checkpoint = Annotated[
    Path | None,
    typer.Option("--weights", "--checkpoint", help="Weights: a file, or a name that ships."),
]
Gpus = Annotated[str | None, typer.Option("--gpus", help="CUDA device numbers: 0,1.")]
Devices = Annotated[int | None, typer.Option("--devices", min=1, help="Processes per node.")]
Nodes = Annotated[int | None, typer.Option("--nodes", min=1, help="Machines.")]
Imports = Annotated[
    list[Path] | None,
    typer.Option(
        "--import", help="A module of yours that registers an attention, or a detector; repeatable."
    ),
]
Runtime = Annotated[
    str | None,
    typer.Option("--runtime", help="Of an .onnx file: openvino, ...", show_default="onnxruntime"),
]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Leave out what cannot be read, and list it.")
]


def make_config(
    cfg: str | None,
    overrides: list[str] | None,
    gpus: str | None = None,
    devices: int | None = None,
    nodes: int | None = None,
    **options: Any,
) -> Any:
    """The config of a command; ``--gpus 0,1`` shows the process those devices only.

    Args:
        cfg: name or file.
        overrides: words of the command line.
        gpus: CUDA device numbers.
        devices: processes per node.
        nodes: machines.
        options: values of command-line options by config key, ``__`` for a dot; None: not given.
    """
    from hevitpose.config import load_config

    extra: dict[str, Any] = {
        key.replace("__", "."): value for key, value in options.items() if value is not None
    }
    if gpus is not None:
        numbers = gpus.split(",")
        if not all(map(is_number, numbers)):
            raise UsageError(f"--gpus {gpus!r}: expected device numbers like 0,1")
        if devices not in (None, len(numbers)):
            raise UsageError(f"--devices {devices} contradicts --gpus {gpus}")
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus
        extra |= {"device": "cuda", "devices": len(numbers)}
    elif devices is not None:
        extra["devices"] = devices
    if nodes is not None:
        extra["nodes"] = nodes
    return load_config(cfg, overrides or []).with_overrides(extra)


def note(line: str) -> None:
    """Say one thing beside the results, on standard error."""
    print(f"note: {on_one_line(line)}", file=sys.stderr)


def of_checkpoint(config: Any, overrides: list[str] | None) -> Any:
    """The config with its checkpoint's network, codec and input, but for what was overridden.

    An override that differs from the checkpoint is said.

    Raises:
        UsageError: its keypoints are not as many as the dataset's.
    """
    from hevitpose.config import parse_overrides
    from hevitpose.data.files import declared
    from hevitpose.models.checkpoint_config import checkpoint_config

    keypoints = len(declared(config.data.dataset).layout)
    resolved, lines = checkpoint_config(config, parse_overrides(overrides or ()), keypoints)
    for line in lines:
        note(line)
    return resolved


def prepare_data(config: Any) -> None:
    """Render synthetic people on first use; all other data must be there.

    Raises:
        UsageError: what would be trained could not be scored, or not on this machine.
        DataError: annotations are absent; found before people are rendered to start from.
    """
    from hevitpose import runs
    from hevitpose.data.apart import require_two_files
    from hevitpose.data.files import locate
    from hevitpose.data.minival import split_of_files
    from hevitpose.data.registry import is_rendered
    from hevitpose.data.unseen import require_scorable

    require_scorable(config)
    require_two_files(config)
    missing = runs.unrendered([config])
    if missing:  # rendering takes minutes: first what would refuse the training after it
        runs.require_machine(config)
    if missing and not is_rendered(config.data.dataset):
        for split in (config.data.train_split, config.data.val_split):
            locate(config.data.dataset, config.data.folder, split_of_files(config.data, split))
    for data in missing:
        _render(data)


def prepare_evaluation(configs: Sequence[Any], runtime: str, again: bool) -> None:
    """Render the synthetic people of evaluations on first use; those that are there are taken.

    Args:
        configs: of one set of people.
        runtime: of an exported file.
        again: what is recorded is evaluated too.

    Raises:
        UsageError: this machine cannot evaluate them, or the folder holds something else.
    """
    from hevitpose import runs
    from hevitpose.data.registry import is_rendered
    from hevitpose.data.synthetic import read_marker
    from hevitpose.data.unseen import require_scorable
    from hevitpose.training.devices import device_of

    config = configs[0]
    if not is_rendered(config.data.dataset) or read_marker(config.data.folder) is not None:
        return
    require_scorable(config)
    if not again and all(runs.is_evaluated(each, runtime=runtime) for each in configs):
        return
    device_of(config)
    _render(config.data)


def _render(data: Any) -> None:
    from hevitpose.data.synthetic import generate

    with progress_bar("synthetic people", "images") as progress:
        generate(data.folder, people=data.people, size=data.image_size, progress=progress)


def print_record(record: Any, as_json: bool, training: Any = None) -> None:
    """An evaluation's metrics with what they, and its training, were taken on."""
    facts = msgspec.to_builtins(record.dataset)
    metrics = {
        key: float("nan") if value is None else value for key, value in record.metrics.items()
    }
    condition = record.inputs["config"].get("evaluation", {}).get("condition")
    if condition is not None:
        facts["condition"] = condition
    trained_on = None if training is None else msgspec.to_builtins(training.dataset)
    print_metrics(metrics if not as_json else dict(record.metrics), facts, as_json, trained_on)


def print_metrics(
    metrics: dict[str, Any],
    facts: dict[str, Any],
    as_json: bool,
    trained_on: dict[str, Any] | None = None,
) -> None:
    """Metrics with what they were taken on, as text or JSON."""
    from hevitpose.data.registry import label_of

    label = label_of(facts["name"])
    if as_json:
        said = {"label": label} if label else {}
        before = {"trained_on": trained_on} if trained_on else {}
        print(json.dumps({**metrics, "dataset": {**facts, **said}, **before}))
        return
    under = f", condition {facts['condition']}" if "condition" in facts else ""
    lines = [f"{facts['name']} {facts['split']}, boxes {facts['boxes']}{under}"]
    lines += [f"  {label}"] if label else []
    lines += [f"  {name:<18} {value:8.3f}" for name, value in metrics.items()]
    lines += [f"  {line}" for line in counted(facts["counts"], facts.get("skipped", ()))]
    if trained_on:
        lines += [f"  {line}" for line in left_out(trained_on["skipped"], trained_on["split"])]
    print("\n".join(map(on_one_line, lines)))
