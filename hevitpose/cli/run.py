"""Commands on models and runs: info, train, valid, infer-testdev and scoring."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from hevitpose.cli.common import (
    AsJson,
    Boxes,
    BoxThreshold,
    Cfg,
    Checkpoint,
    Devices,
    Gpus,
    Imports,
    Nodes,
    Overrides,
    Runtime,
    SkipBad,
    make_config,
    of_checkpoint,
    prepare_data,
    prepare_evaluation,
    print_record,
)
from hevitpose.config import Config
from hevitpose.errors import UsageError, on_one_line
from hevitpose.files import require_file, require_folder, same, write_atomically
from hevitpose.models.shipped import locate
from hevitpose.progress import progress_bar
from hevitpose.sizes import parse_size
from hevitpose.text_table import counted

Conditions = Annotated[
    list[str] | None,
    typer.Option("--condition", help="NAME:LEVEL, as fog:3; repeatable, or with commas."),
]
PredictionsOut = Annotated[
    Path | None, typer.Option("--predictions", help="Also write the keypoints here (.npz).")
]


def info(
    model: Annotated[str, typer.Argument(help="A model name: hevitpose_b, b, pose_hrnet_w32.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Options of the network: model.attention=mhsa.")
    ] = None,
    input_size: Annotated[str, typer.Option("--input", help="HEIGHTxWIDTH.")] = "256x256",
    keypoints: Annotated[int, typer.Option("--keypoints", min=1)] = 17,
    convention: Annotated[str, typer.Option("--convention", help="mmcv, fvcore, torch.")] = "mmcv",
    depth: Annotated[int, typer.Option("--depth", min=0, help="Levels of modules shown.")] = 2,
    imports: Imports = None,
    as_json: AsJson = False,
) -> None:
    """Parameters and GFLOPs of a model, module by module, under a named convention."""
    from hevitpose.config import network_options
    from hevitpose.cost.complexity import count, render
    from hevitpose.models import create_for_input
    from hevitpose.models.imports import import_files
    from hevitpose.models.spec import full_name

    size = parse_size(input_size, "--input")
    options, files = network_options(full_name(model), overrides or ())
    import_files([*files, *(imports or ())])
    network = create_for_input(full_name(model), keypoints, size, **options)
    result = count(network, size, convention=convention)
    if as_json:
        print(json.dumps({"model": full_name(model), "keypoints": keypoints, **result.to_dict()}))
    else:
        print(render(result, depth=depth))


def train(
    cfg: Cfg = "synthetic",
    overrides: Overrides = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The run's folder.", show_default="runs/train/ID")
    ] = None,
    gpus: Gpus = None,
    devices: Devices = None,
    nodes: Nodes = None,
    skip_bad: SkipBad = False,
    resume: Annotated[
        bool, typer.Option(help="Continue from the folder's last checkpoint.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Train a model and evaluate it on the val split, each recorded, and not done twice."""
    if out is not None:
        require_folder(out, "--out")
    config = make_config(cfg, overrides, gpus, devices, nodes, data__skip_bad=skip_bad or None)
    prepare_data(config)
    from hevitpose.runs import train_and_record

    with progress_bar("training", "steps") as progress:
        found = train_and_record(config, out, resume=resume, progress=progress)
    if found is None:  # another rank of the same run
        return
    print_record(found.evaluation, as_json, found.training)
    if not as_json:
        before = "" if found.trained else ", recorded before"
        print(f"weights    {found.weights}\ntraining   {found.training.id}{before}")
        before = "" if found.evaluated else ", recorded before"
        print(f"evaluation {found.evaluation.id}{before}")


def valid(
    cfg: Cfg = "synthetic",
    overrides: Overrides = None,
    checkpoint: Checkpoint = None,
    boxes: Boxes = None,
    box_threshold: BoxThreshold = None,
    gpus: Gpus = None,
    devices: Devices = None,
    nodes: Nodes = None,
    skip_bad: SkipBad = False,
    conditions: Conditions = None,
    predictions: PredictionsOut = None,
    runtime: Runtime = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate saved weights, or an exported ONNX file, on the val split.

    Network, codec and input size are the checkpoint's; key=value overrides them, with a note.
    A condition degrades images or boxes (docs/robustness.md); level 0 is the plain evaluation.
    """
    wanted = [name for given in conditions or () for name in given.split(",")]
    if predictions is not None and len(wanted) > 1:
        raise UsageError(f"--predictions: one file, {len(wanted)} conditions; expected one")
    config = make_config(
        cfg,
        overrides,
        gpus,
        devices,
        nodes,
        model__checkpoint=checkpoint,
        data__box_source=boxes,
        data__box_threshold=box_threshold,
        data__skip_bad=skip_bad or None,
    )
    if config.model.checkpoint is None:
        raise UsageError(
            "model.checkpoint: not given, expected the weights to evaluate (--weights FILE)"
        )
    if predictions is not None:
        _require_destination(predictions, config)
    config = of_checkpoint(config, overrides)
    config, runtime = _runtime_of(config, runtime)
    each = [config.with_overrides({"evaluation.condition": name}) for name in wanted] or [config]
    prepare_evaluation(each, runtime, again=predictions is not None)
    for one in each:
        _evaluate(one, runtime, predictions, as_json)


def _require_destination(path: Path, config: Config) -> None:
    """Refuses what the predictions could not be written to, or must not, before minutes are spent.

    Raises:
        UsageError: a folder, no .npz, below a file, or a file that is read.
    """
    read = [locate(config.model.checkpoint), Path(config.data.box_source)]  # type: ignore[attr-defined]
    read += [Path(config.data.dataset), *config.imports]
    if any(same(path, file) for file in read):
        raise UsageError(f"--predictions {path}: is an input of this evaluation, expected another")
    if path.suffix != ".npz":
        raise UsageError(f"--predictions {path}: expected a file to write, NAME.npz")
    require_file(path, "--predictions")


def _evaluate(config: Config, runtime: str, predictions: Path | None, as_json: bool) -> None:
    """Evaluate under one condition, unless that is recorded, and print what came out."""
    from hevitpose.runs import RUNS, evaluate_and_record, evaluation_folder

    with progress_bar("evaluation", "batches") as progress:
        found = evaluate_and_record(
            config,
            config.model.checkpoint,  # type: ignore[attr-defined]
            progress=progress,
            again=predictions is not None,
            runtime=runtime,
        )
    if found is None:  # another rank of the same run
        return
    record, new = found
    if predictions is not None:
        made = evaluation_folder(RUNS, record.id) / "predictions.npz"
        write_atomically(predictions, made.read_bytes())
    print_record(record, as_json)
    if not as_json:
        print(f"evaluation {record.id}{'' if new else ', recorded before'}")


def _runtime_of(config: Config, runtime: str | None) -> tuple[Config, str]:
    """What runs ``model.checkpoint``, and the config with its device.

    Raises:
        UsageError: weights, which run in torch, or no such runtime.
        UnavailableError: the runtime is not installed here.
    """
    from hevitpose.models.runtimes import require_runtime

    path = config.model.checkpoint  # type: ignore[attr-defined]
    if path.suffix != ".onnx":
        if runtime is not None:
            raise UsageError(
                f"--runtime {runtime}: {path} has weights, which run in torch; export it first"
            )
        return config, "torch"
    runtime = runtime or "onnxruntime"
    require_runtime(runtime)
    device = "cuda" if runtime == "tensorrt" else "cpu"
    return config.with_overrides({"device": device}), runtime


def infer_testdev(
    cfg: Cfg = "coco",
    overrides: Overrides = None,
    checkpoint: Checkpoint = None,
    boxes: Boxes = None,
    box_threshold: BoxThreshold = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for the files.")] = Path("runs"),
    gpus: Gpus = None,
    devices: Devices = None,
    nodes: Nodes = None,
    skip_bad: SkipBad = False,
) -> None:
    """Predict a test split without public ground truth, for its evaluation server.

    COCO test-dev: result json and zip, with detector boxes. MPII test: pred.mat.
    """
    require_folder(out, "--out")
    config = make_config(
        cfg,
        overrides,
        gpus,
        devices,
        nodes,
        model__checkpoint=checkpoint,
        data__box_source=boxes,
        data__box_threshold=box_threshold,
        data__val_split="test",
        data__skip_bad=skip_bad or None,
    )
    in_mpii_format = _withheld_format(config) == "mpii"
    from hevitpose.evaluation.prediction_files import write_pred_mat, write_testdev
    from hevitpose.evaluation.score import results_of
    from hevitpose.training.fit import infer
    from hevitpose.training.processes import is_first_process

    config = of_checkpoint(config, overrides)
    with progress_bar("inference", "batches") as progress:
        table, found = infer(config, scored=False, progress=progress)
    if not is_first_process(config):
        return
    rows = table.take(found.index)
    lines = [on_one_line(line) for line in counted(table.counts, table.skipped)]
    if in_mpii_format:
        path = write_pred_mat(found.keypoints, rows.person_ids, out)
        print("\n".join((f"{path}: {len(found.index)} people", *lines)))
        return
    results = results_of(rows, found, nms_threshold=config.evaluation.nms_threshold)
    files = write_testdev(results, config.model.name, out, image_ids=table.image_ids.tolist())
    print(f"{files[0]}: {len(results)} people\n{files[1]}: for the evaluation server")
    print("\n".join((*lines, "No AP: test-dev's answers are the server's alone.")))


def _withheld_format(config: Config) -> str:
    """The format of a dataset whose test split a server scores.

    Raises:
        UsageError: its answers are public, or the options do not suit what the server takes.
    """
    from hevitpose.data.files import declared
    from hevitpose.data.registry import ROWS

    said = declared(config.data.dataset)
    in_mpii_format = said.format == "mpii"
    if said.files is None or "test" not in said.files.withheld:
        none = " and ".join(n for n, row in ROWS.items() if row.files and row.files.withheld)
        raise UsageError(
            f"infer-testdev: {config.data.dataset}'s test split has answers, use valid "
            f"({none} have none)"
        )
    if not in_mpii_format and config.data.box_source == "gt":
        raise UsageError("infer-testdev: test-dev has no ground-truth boxes, give --boxes FILE")
    if config.evaluation.condition is not None:
        raise UsageError(
            f"infer-testdev: evaluation.condition={config.evaluation.condition} degrades what is "
            "sent to the server, expected none"
        )
    for key in ("skip_bad", "present_only") if in_mpii_format else ("present_only",):
        if getattr(config.data, key):
            whole = "the server scores all photographs"
            if in_mpii_format:
                whole = "pred.mat has one row for each person of the test file"
            raise UsageError(f"infer-testdev: data.{key}=true would leave people out, and {whole}")
    return said.format


def evaluate_predictions(
    dataset: Annotated[
        str, typer.Option("--dataset", help="mpii, coco, crowdpose, ochuman, or a custom yaml.")
    ],
    ground_truth: Annotated[Path, typer.Option("--ground-truth", help="Annotations.")],
    predictions: Annotated[
        Path, typer.Option("--predictions", help="Result json, or arrays: .npy, .mat.")
    ],
    images: Annotated[
        Path | None,
        typer.Option("--images", help="Score these only: a text file, an id or file name a line."),
    ] = None,
    max_detections: Annotated[
        int, typer.Option("--max-dets", min=1, help="People of an image that count for AP.")
    ] = 20,
    skip_bad: SkipBad = False,
    as_json: AsJson = False,
) -> None:
    """Score another system's predictions under our protocol, as they are."""
    from hevitpose.evaluation.prediction_files import evaluate_predictions as evaluate
    from hevitpose.evaluation.prediction_files import read_image_list

    scores = evaluate(
        dataset,
        ground_truth,
        predictions,
        images=None if images is None else read_image_list(images),
        max_detections=max_detections,
        skip_bad=skip_bad,
    )
    if as_json:
        absent = {name: None for name, value in scores.items() if value != value}  # NaN
        print(json.dumps(scores | absent, allow_nan=False))
        return
    left_out = scores.pop("skipped", ())
    lines = counted(scores.pop("counts"), left_out) if "counts" in scores else []
    for name, value in scores.items():
        print(f"{name:<10} {value:8.3f}" if isinstance(value, float) else f"{name:<10} {value}")
    for line in lines:
        print(on_one_line(line))
