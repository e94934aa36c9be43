"""What a trained network sees: crops of synthetic people, its keypoints and maps, for the report.

    python bench/gallery.py --checkpoint runs/train/ID/model.safetensors

People are taken at equal distances from the val split, not chosen by hand. The weights must be
those of a record (found by their digest in ``--records`` or among the committed ones), and the
data those it was evaluated on. Writes ``people.jpg`` (crops above, sums of maps below) and
``gallery.json`` (joints, the network's and the true ones, in crop pixels, and the record's id) into
``--out``; ``nox -s report`` draws them. Only rendered people: photographs are not ours to spread.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import default_collate

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.command import Parser, whole
from hevitpose.data import PoseTable
from hevitpose.data.fingerprint import fingerprint
from hevitpose.data.loader import PoseDataset, normalise
from hevitpose.data.registry import is_rendered
from hevitpose.data.transforms import affine_matrix, transform_points
from hevitpose.errors import DataError
from hevitpose.evaluation.predict import predict_batch
from hevitpose.files import require_folder, write_atomically
from hevitpose.inference.predictor import PosePredictor
from hevitpose.metrics.pckh import head_errors
from hevitpose.program import exit_code
from hevitpose.records import Record, RecordStore
from hevitpose.records.identity import file_digest
from hevitpose.training.loaders import load_split
from reports.load import is_conditional

RESULTS = Path(__file__).resolve().parent.parent / "results"
#: JPEG quality of the sheet: 90 keeps six people under 40 kB.
QUALITY = 90


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = Parser("bench/gallery.py", __doc__)
    add = parser.add_argument
    add("--checkpoint", type=Path, required=True, help="the run's model.safetensors")
    add("--data", type=Path, default=Path("data/synthetic"), help="of the synthetic people")
    add("--people", type=whole(1, 12), default=6)
    add("--records", type=Path, default=Path("runs/records"), help="where the run's record is")
    add("--out", type=Path, default=RESULTS / "gallery")
    options = parser.parse_args(arguments)
    require_folder(options.out, "--out")
    return options


def record_of(checkpoint: Path, stores: Sequence[Path]) -> Record:
    """The evaluation of these weights under their training's own condition.

    Raises:
        DataError: the file is absent, or no record names it.
    """
    if not checkpoint.is_file():
        raise DataError(f"{checkpoint}: no such file, expected weights")
    digest = file_digest(checkpoint)
    for store in stores:
        for record in RecordStore(store).iter():
            plain = record.kind == "evaluation" and not is_conditional(record)
            if plain and record.status == "ok" and record.weights == digest:
                return record
    names = ", ".join(map(str, stores))
    raise DataError(f"{checkpoint}: no record in {names} is of these weights")


def people_of(predictor: PosePredictor, record: Record, data: Path, count: int) -> PoseTable:
    """People of the val split at equal distances.

    Raises:
        DataError: not the synthetic people that the record was evaluated on.
    """
    facts = record.dataset
    if facts is None or not is_rendered(facts.name) or facts.split != "val":
        raise DataError(f"record {record.id}: expected a run on the val split of synthetic people")
    config = predictor.config.with_overrides({"data.root": str(data)})
    table = load_split(config, "val", training=False)
    found = fingerprint(config.data, "val")
    if found != facts.fingerprint:
        raise DataError(f"{data}: holds {found}, record {record.id} has {facts.fingerprint}")
    chosen = np.linspace(0, len(table) - 1, count).round().astype(int)
    return table.take(chosen)


def look(predictor: PosePredictor, table: PoseTable) -> tuple[list[dict[str, Any]], np.ndarray]:
    """What the network makes of these people.

    Returns:
        Per person its joints in crop pixels with their errors in head sizes, and the sheet of
        crops and sums of maps: (2 H, N W, 3) uint8 RGB.
    """
    config = predictor.config
    crops = PoseDataset(table, config.data.input_size, udp=config.codec.udp)
    batch = default_collate([crops[i] for i in range(len(table))])
    flip = table.layout.flip_pairs if config.evaluation.flip_test else None
    found, scores = predict_batch(predictor.model, batch, predictor.codec, flip)
    with torch.inference_mode():
        maps = predictor.model(normalise(batch["image"])).float().numpy()
    truth = table.heads
    assert truth is not None  # load_split refuses people who cannot be scored
    errors = head_errors(found + 1, truth.keypoints, truth.head_boxes)
    matrices = affine_matrix(
        table.centers, table.sizes, np.zeros(len(table)), crops.input_size, udp=crops.udp
    )
    people = [
        {
            "predicted": _rounded(transform_points(found[i], matrices[i])),
            "true": _rounded(batch["keypoints"][i].numpy()),
            "labelled": (~truth.missing[i]).tolist(),
            "scores": _rounded(scores[i], 3),
            "errors": _rounded(errors[i], 3),
        }
        for i in range(len(table))
    ]
    images = batch["image"].numpy()
    return people, np.hstack([_column(crop, heat) for crop, heat in zip(images, maps, strict=True)])


def _rounded(values: np.ndarray, digits: int = 1) -> list[Any]:
    return [
        [round(float(v), digits) for v in row] if np.ndim(row) else round(float(row), digits)
        for row in values
    ]


def _column(crop: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """A crop, and below it the sum of its maps in grey."""
    heat = np.clip(maps.sum(0), 0, 1)
    heat = cv2.resize(heat, crop.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    grey = np.repeat((255 * heat).round().astype(np.uint8)[..., None], 3, axis=2)
    return np.vstack((crop, grey))


def write(
    out: Path, record: Record, predictor: PosePredictor, people: list[dict[str, Any]],
    sheet: np.ndarray,
) -> list[Path]:  # fmt: skip
    """The two files; the text names the picture by its digest.

    Raises:
        HEViTPoseError: a file cannot be written.
    """
    ok, encoded = cv2.imencode(".jpg", sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert ok
    layout = predictor.layout
    facts = {
        "record": record.id,
        "size": list(predictor.config.data.input_size),
        "names": list(layout.names),
        "skeleton": [list(limb) for limb in layout.skeleton],
        "sheet": hashlib.sha256(encoded.tobytes()).hexdigest(),
    }
    people_lines = ",\n".join(f"  {json.dumps(person)}" for person in people)
    head = "".join(f" {json.dumps(key)}: {json.dumps(value)},\n" for key, value in facts.items())
    text = f'{{\n{head} "people": [\n{people_lines}\n ]\n}}\n'
    paths = [out / "people.jpg", out / "gallery.json"]
    write_atomically(paths[0], encoded.tobytes())
    write_atomically(paths[1], text)
    return paths


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit code."""
    return exit_code(lambda: _run(parse(arguments)))


def _run(options: argparse.Namespace) -> int:
    stores = [options.records, RESULTS / "measured"]
    record = record_of(options.checkpoint, [store for store in stores if store.is_dir()])
    predictor = PosePredictor(options.checkpoint)
    table = people_of(predictor, record, options.data, options.people)
    people, sheet = look(predictor, table)
    for path in write(options.out, record, predictor, people, sheet):
        print(f"{path}: {path.stat().st_size} bytes")
    print(f"of record {record.id}, to be committed with it: hevitpose records promote {record.id}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
