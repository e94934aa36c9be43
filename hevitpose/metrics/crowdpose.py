"""CrowdPose's AP, by xtcocotools.

Li et al., CrowdPose: Efficient Crowded Scenes Pose Estimation and a New Benchmark, CVPR 2019.
xtcocotools is loaded on first use: its wheel does not work with numpy 2, so it is an extra step.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from hevitpose.errors import HEViTPoseError
from hevitpose.metrics import coco_api

#: The nine numbers, in xtcocotools' order.
CROWDPOSE_METRICS = (
    *("AP", "AP50", "AP75", "AR", "AR50", "AR75"),
    *("AP_easy", "AP_medium", "AP_hard"),
)
#: crowdIndex below the first is easy, below the second medium, else hard. These are the limits in
#: xtcocotools (and in CrowdPose's own tool), behind every published number ...
TOOL_SPLITS = (0.2, 0.8)
#: ... and these are the limits in CrowdPose's paper.
PAPER_SPLITS = (0.1, 0.8)


def evaluate_crowdpose(
    results: Sequence[dict[str, Any]],
    ground_truth: dict[str, Any],
    sigmas: Sequence[float],
    splits: tuple[float, float] = TOOL_SPLITS,
    image_ids: Collection[int] | None = None,
    max_detections: int = coco_api.MAX_DETECTIONS,
) -> dict[str, float]:
    """CrowdPose's AP and AR.

    xtcocotools' ``keypoints_crowd`` with ``use_area=False``: an area is 0.53 x the box's, since the
    annotations have none.

    Args:
        results: as for :func:`hevitpose.metrics.oks.evaluate_keypoints`.
        ground_truth: likewise, with a ``crowdIndex`` in 0..1 per image.
        sigmas: K constants; CrowdPose's are those of ``hevitpose.data.keypoints.CROWDPOSE``.
        splits: limits of easy and medium.
        image_ids: evaluate these images only; None means all.
        max_detections: people of an image that count, by descending score.

    Returns:
        AP, AP50, AP75, AR, AR50, AR75, AP_easy, AP_medium, AP_hard in 0..1; the last three are
        rounded to 4 digits, and -1 where there is no such image, as xtcocotools has it.

    Raises:
        HEViTPoseError: xtcocotools is not installed, or does not load.
    """
    coco, coco_eval = require_xtcocotools()
    truth, entries = coco_api.limited(ground_truth, results, image_ids)
    levels: tuple[list[int], list[int], list[int]] = ([], [], [])
    for image in truth["images"]:
        levels[sum(image["crowdIndex"] >= limit for limit in splits)].append(image["id"])
    with contextlib.redirect_stdout(io.StringIO()):  # xtcocotools prints its progress
        people = coco_api.indexed(coco, truth)
        found = coco_api.with_results(coco, people, entries)
        evaluator = coco_eval(people, found, "keypoints_crowd", np.array(sigmas), use_area=False)
        # It would read the annotation file once more, and split by limits of its own.
        evaluator.anno_file = (None, None)
        evaluator.split = lambda *_: levels
        stats = coco_api.stats(evaluator, max_detections)
    return dict(zip(CROWDPOSE_METRICS, stats, strict=True))


def require_xtcocotools() -> tuple[type, type]:
    """Its COCO and COCOeval.

    Raises:
        HEViTPoseError: it is not installed, or does not load.
    """
    try:
        from xtcocotools.coco import COCO
        from xtcocotools.cocoeval import COCOeval
    except (ImportError, ValueError) as error:  # ValueError: built against another numpy
        raise HEViTPoseError(
            f"CrowdPose evaluation needs xtcocotools ({error}): install setuptools>=70.1, cython "
            "and numpy, then pip install --no-build-isolation --no-binary xtcocotools xtcocotools"
        ) from error
    return COCO, COCOeval
