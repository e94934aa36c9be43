"""The people that a file in lower precision is calibrated and judged on.

A folder of pictures: each picture whole, calibrated on and judged by how few key points leave the
place where float32 has them. A dataset's folder, as ``data/coco_small`` or the folder of rendered
people: calibrated on people of its train split, judged on others of that split, its minival, by
the PCK that selects checkpoints, since what is chosen by a score may not be chosen on val.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hevitpose.config import Config, load_config
from hevitpose.data.keypoints import require_same_order
from hevitpose.data.loader import PoseDataset, normalise
from hevitpose.data.minival import MINIVAL, split_minival
from hevitpose.data.registry import placed
from hevitpose.data.synthetic import read_marker
from hevitpose.data.table import PoseTable
from hevitpose.errors import DataError, UsageError
from hevitpose.evaluation.predict import codec_of, predict_batch
from hevitpose.evaluation.score import Predictions, box_pck
from hevitpose.files import is_dir
from hevitpose.inference.export import picture_crops
from hevitpose.inference.lower_precision import Judge, People
from hevitpose.inference.pictures import find_images
from hevitpose.models.checkpoint import read_checkpoint
from hevitpose.models.checkpoint_config import checkpoint_config
from hevitpose.models.onnx_file import RuntimeNetwork
from hevitpose.models.runtimes import Run
from hevitpose.records import digest
from hevitpose.records.identity import file_digest
from hevitpose.training.loaders import dataset_facts, evaluation_loader, load_split

#: People to calibrate on where no number is given, and to judge each kind of layer on.
PEOPLE, FEW = 64, 100
#: Share of the crop's longer side within which a key point has stayed.
STAYED = 0.05


def parse_calibration(text: str) -> tuple[Path, int]:
    """``FOLDER[:n]`` to the folder and the number of people.

    Raises:
        UsageError: no such folder, or no positive number.
    """
    folder, colon, number = text.rpartition(":")
    if not colon or not re.fullmatch("[0-9]{1,9}", number):
        folder, number = text, str(PEOPLE)
    if not int(number):
        raise UsageError(f"--calibration {text}: expected at least 1 person")
    if not folder or not is_dir(Path(folder)):  # "" would be the working directory
        raise UsageError(f"--calibration {folder or text}: no such folder, expected FOLDER[:n]")
    return Path(folder), int(number)


def people_of(
    text: str, weights: Path, model: nn.Module, input_size: tuple[int, int], batch: int | None
) -> People:
    """Who a file is calibrated and judged on.

    Args:
        text: ``FOLDER[:n]``: pictures, a folder of the registry's (``data/coco_small``), or
            rendered people (``data/synthetic``).
        weights: whose codec, decoder and flip test are used.
        model: their network.
        input_size: (W, H) of the file.
        batch: that the file takes; None: any.

    Raises:
        UsageError: no such folder, or fewer people than a batch.
        DataError: a picture or an annotation cannot be read, or the keypoints are others.
    """
    folder, count = parse_calibration(text)
    wrap = _network(model, batch)
    dataset = _dataset(folder)
    if dataset:
        found = _of_dataset(dataset, count, weights, input_size, wrap)
    else:
        found = _of_pictures(folder, count, _config(weights, input_size), model, wrap)
    if len(found.crops) < (batch or 1):
        raise UsageError(
            f"--calibration {text}: {len(found.crops)} people, expected a batch of {batch}"
        )
    return found


def _network(model: nn.Module, batch: int | None) -> Any:
    def wrap(run: Run) -> RuntimeNetwork:
        codec, count = str(getattr(model, "codec", "heatmap")), int(model.num_keypoints)  # type: ignore[arg-type]
        return RuntimeNetwork(run, batch, codec, count, str(model.name))

    return wrap


def _config(weights: Path, input_size: tuple[int, int], **data: Any) -> Config:
    given = {"model.checkpoint": str(weights), "device": "cpu", "data.workers": 0}
    given |= {f"data.{key}": value for key, value in data.items()}
    config, _ = checkpoint_config(load_config("coco").with_overrides(given))
    return config.with_overrides({"data.input_size": list(input_size)})


def _dataset(folder: Path) -> dict[str, Any]:
    """The section ``data`` of a config for the dataset in a folder; empty where it holds none."""
    rendered = read_marker(folder)
    if rendered is not None:
        people = {"people": rendered.people, "image_size": rendered.size}
        return {"dataset": "synthetic", "root": str(folder), **people}
    whole = folder.absolute()  # not resolved: the name is the link's, and so is its folder
    if whole.name in placed() and is_dir(whole / "annotations"):
        return {"dataset": whole.name, "root": str(whole.parent)}
    return {}


def _of_dataset(
    data: dict[str, Any], count: int, weights: Path, input_size: tuple[int, int], wrap: Any
) -> People:
    config = _config(weights, input_size, **data)
    split, share = config.data.train_split, config.data.minival
    train, _ = split_minival(load_split(config, split, training=True, look=False), share)
    held = load_split(config, MINIVAL, training=False, scored=False, look=False)
    layout = read_checkpoint(weights).layout
    if layout is not None:
        require_same_order(str(weights), layout.names, held.layout)
    chosen = _spread(len(train), count)
    dataset = PoseDataset(train.take(chosen), config.data.input_size, udp=config.codec.udp)
    images = np.stack([dataset[index]["image"] for index in range(len(dataset))])
    facts = dataset_facts(config, train)
    named = {
        "dataset": facts["name"],
        "split": facts["split"],
        "judged on": held.split,
        "fingerprint": facts["fingerprint"],
        "people": train.person_ids[chosen].tolist(),
    }
    return People(
        crops=normalise(torch.from_numpy(images)).contiguous(),
        named=named,
        metric="PCK by 5% of the box",
        few=_by_score(config, _of_photographs(held, FEW), wrap),
        all=_by_score(config, held, wrap),
        judges=f"{len(held):,} people",
    )


def _of_photographs(table: PoseTable, people: int) -> PoseTable:
    """The people of whole photographs, spread over a table, until there are enough of them."""
    photographs = np.unique(table.image_index)
    share = max(1, round(len(photographs) * people / len(table)))
    kept = photographs[_spread(len(photographs), share)]
    gone = ~np.isin(np.arange(len(table.image_ids)), kept)
    return table.without_images(gone)


def _by_score(config: Config, table: PoseTable, wrap: Any) -> Judge:
    """Points of PCK, by the weights' decoder and flip test; crops are kept."""
    batches: list[dict[str, Tensor]] = []

    def judge(run: Run) -> float:
        if not batches:
            batches.extend(evaluation_loader(config, table))
        network = wrap(run)
        codec = codec_of(network, config)
        pairs = table.layout.flip_pairs if config.evaluation.flip_test else None
        parts = [
            (batch["index"].numpy(), *predict_batch(network, batch, codec, pairs))
            for batch in batches
        ]
        return box_pck(table, Predictions.join(parts))

    return judge


def _of_pictures(folder: Path, count: int, config: Config, model: nn.Module, wrap: Any) -> People:
    found = find_images([str(folder)])
    paths = [found[index] for index in _spread(len(found), count)]
    crops = picture_crops(paths, config.data.input_size)
    codec = codec_of(model, config)

    def points(network: Any) -> Tensor:
        with torch.inference_mode():
            outputs = network(crops)
        xy, _ = codec.decode(outputs)
        size = torch.tensor([config.data.input_size] * len(crops), dtype=torch.float64)
        return codec.to_image(xy.double(), size / 2, size)

    expected = points(model)

    def judge(run: Run) -> float:
        moved = (points(wrap(run)) - expected).norm(dim=-1) / max(config.data.input_size)
        return 100 * float((moved <= STAYED).double().mean())

    named = {"pictures": [path.name for path in paths], "sha256": _digest(paths)}
    metric = f"key points within {STAYED} of float32's"
    judges = f"{len(crops)} pictures, {expected.shape[0] * expected.shape[1]} key points"
    return People(crops, named, metric, judge, judge, judges)


def _digest(paths: Sequence[Path]) -> str:
    return digest([file_digest(path) for path in paths])


def _spread(total: int, count: int) -> np.ndarray:
    """So many of a number of rows, evenly spread; all where there are no more."""
    if total == 0:
        raise DataError("calibration: no people, expected at least 1 person")
    return np.unique(np.linspace(0, total - 1, min(count, total)).round().astype(int))
