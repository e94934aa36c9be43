"""The authors' upper-case keys (of their first README, CID's), and what they are called here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hevitpose.errors import UsageError

#: An empty name has no counterpart.
ALIASES = {
    "DATASET.DATASET": "data.dataset",
    "DATASET.ROOT": "data.root",
    "DATASET.TRAIN": "data.train_split",
    "DATASET.TEST": "data.val_split",
    "DATASET.FLIP": "training.augmentation.flip",
    "DATASET.SCALE_FACTOR": "training.augmentation.scale",
    "DATASET.ROT_FACTOR": "training.augmentation.rotation",
    "WORKERS": "data.workers",
    "MODEL.NAME": "model.name",
    "MODEL.NUM_JOINTS": "model.num_keypoints",
    "MODEL.PRETRAINED": "training.start_from",
    "MODEL.IMAGE_SIZE": "data.input_size",
    "MODEL.SIGMA": "codec.sigma",
    "TRAIN.BATCH_SIZE_PER_GPU": "training.batch_size",
    "TRAIN.IMAGES_PER_GPU": "training.batch_size",
    "TRAIN.BEGIN_EPOCH": "",
    "TRAIN.END_EPOCH": "training.epochs",
    "TRAIN.LR": "training.lr",
    "TRAIN.LR_FACTOR": "training.gamma",
    "TRAIN.LR_STEP": "training.milestones",
    "TRAIN.OPTIMIZER": "training.optimizer",
    "TRAIN.WD": "training.weight_decay",
    "TEST.BATCH_SIZE_PER_GPU": "data.eval_batch_size",
    "TEST.IMAGES_PER_GPU": "data.eval_batch_size",
    "TEST.COCO_BBOX_FILE": "data.box_source",
    "TEST.FLIP_TEST": "evaluation.flip_test",
    "TEST.IMAGE_THRE": "data.box_threshold",
    "TEST.MODEL_FILE": "model.checkpoint",
    "TEST.NMS_THRE": "",
    "TEST.OKS_THRE": "evaluation.nms_threshold",
    "TEST.USE_GT_BBOX": "data.box_source",
}

#: Those of them that are on or off, and what they are called here is not.
SWITCHES = ("DATASET.FLIP", "TEST.USE_GT_BBOX")

#: What ``DATASET.FLIP True`` means.
_FLIP_RATE = 0.5


def read_switch(key: str, text: str, value: Any) -> bool:
    """An upper-case key that is on or off.

    Raises:
        UsageError: it is neither.
    """
    if not isinstance(value, bool):
        number = f"; {ALIASES[key]} takes a rate" if key == "DATASET.FLIP" else ""
        raise UsageError(f"override {key}: {text!r}, expected True or False{number}")
    return value


def apply_switches(given: dict[str, Any], switches: Mapping[str, bool]) -> dict[str, Any]:
    """What the authors' switches say of keys that are no switches here.

    Raises:
        UsageError: detector boxes are asked for and no file of them is named.
    """
    if (flip := switches.get("DATASET.FLIP")) is not None:
        given[ALIASES["DATASET.FLIP"]] = _FLIP_RATE if flip else 0.0
    if (ground_truth := switches.get("TEST.USE_GT_BBOX")) is not None:
        if ground_truth:  # the authors' code then reads no file, named or not
            given |= {"data.box_source": "gt", "data.box_threshold": 0.0}
        elif given.get("data.box_source", "gt") == "gt":
            raise UsageError(
                "override TEST.USE_GT_BBOX False: names no boxes, give TEST.COCO_BBOX_FILE FILE too"
            )
    if "training.epochs" in given:  # a preset's number of steps would win over it
        given.setdefault("training.steps", None)
    return given
