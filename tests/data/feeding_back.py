"""Truth fed in as predictions: the measure of a reading that is one."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import yaml

from hevitpose.data import PoseTable, load, verify_images
from hevitpose.data.keypoints import COCO
from hevitpose.data.table import require_truth
from hevitpose.data.truth import coco_truth
from hevitpose.evaluation.score import Predictions, score
from tests.data import annotation_files as files

SIZE = (192, 256)


def custom(folder, content, layout=COCO, **changed):
    """A custom dataset of the content, with images a.jpg and b.jpg; ``None`` removes a yaml key."""
    said = {
        "name": "mine",
        "keypoints": list(layout.names),
        "flip_pairs": [list(pair) for pair in layout.flip_pairs],
        "sigmas": list(layout.sigmas),
        "splits": {s: {"annotations": "ann.json", "images": "images"} for s in ("train", "val")},
    }
    said = {k: v for k, v in (said | changed).items() if v is not None}
    if content is not None:
        files.write(folder / "ann.json", content)
    for name in ("a.jpg", "b.jpg"):
        files.image(folder / "images" / name)
    return files.write(folder / "data.yaml", yaml.safe_dump(said))


def read(path, **options) -> PoseTable:
    """The val split as training and ``valid`` read it, refused where it cannot be scored."""
    options = {"input_size": SIZE, "scored": True, **options}
    skip_bad = options.get("skip_bad", False)
    return require_truth(
        verify_images(load(str(path), path.parent, "val", **options), skip_bad=skip_bad)
    )


def perfect(table: PoseTable) -> Predictions:
    return Predictions(
        np.arange(len(table)), table.keypoints, np.ones(table.visibility.shape, np.float32)
    )


def ap(table: PoseTable) -> tuple[float, float]:
    """AP of the table's own people: by our path, and by pycocotools alone on the written truth.

    To 12 digits, since pycocotools divides n by n + 2e-16. Nobody is suppressed for resembling a
    neighbour: truth may hold two people in one place.
    """
    ours = score(table, perfect(table), nms_threshold=1.0)["AP"]
    return round(ours, 12), round(pycocotools_ap(coco_truth(table), table.declared.sigmas), 12)


def pycocotools_ap(truth, sigmas) -> float:
    from pycocotools import coco
    from pycocotools.cocoeval import COCOeval

    counted = [a for a in truth["annotations"] if not a["iscrowd"] and a["num_keypoints"]]
    results = [
        {key: a[key] for key in ("image_id", "category_id", "keypoints")} | {"score": 1.0}
        for a in counted
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        api = coco.COCO()
        api.dataset = truth | {"info": {}}
        api.createIndex()
        evaluator = COCOeval(api, api.loadRes(results), "keypoints")
        evaluator.params.kpt_oks_sigmas = np.array(sigmas)
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return float(evaluator.stats[0])
