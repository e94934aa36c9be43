"""CrowdPose's AP, by xtcocotools.

Li et al., CrowdPose: Efficient Crowded Scenes Pose Estimation and a New Benchmark, CVPR 2019.
xtcocotools is loaded on first use: its wheel does not work with numpy 2, so it is an extra step.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hevitpose.errors import DataError, HEViTPoseError
from hevitpose.metrics import coco_format

#: The nine numbers, in xtcocotools' order.
CROWDPOSE_METRICS = (
    *("AP", "AP50", "AP75", "AR", "AR50", "AR75"),
    *("AP_easy", "AP_medium", "AP_hard"),
)
#: OKS constants: l/r shoulder, elbow, wrist, hip, knee, ankle, head top, neck.
SIGMAS = (
    *(0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107),
    *(0.107, 0.087, 0.087, 0.089, 0.089, 0.079, 0.079),
)
#: crowdIndex below the first is easy, below the second medium, else hard. These are the limits in
#: xtcocotools (and in CrowdPose's own tool), behind every published number ...
TOOL_SPLITS = (0.2, 0.8)
#: ... and these are the limits in CrowdPose's paper.
PAPER_SPLITS = (0.1, 0.8)


def evaluate_crowdpose(
    results: Sequence[dict[str, Any]],
    ground_truth: str | Path | dict[str, Any],
    splits: tuple[float, float] = TOOL_SPLITS,
    image_ids: Collection[int] | None = None,
    source: str = "results",
) -> dict[str, float]:
    """CrowdPose's AP and AR.

    xtcocotools' ``keypoints_crowd`` with CrowdPose's sigmas and ``use_area=False``: an area is
    0.53 x the box's, since the annotations have none.

    Args:
        results: entries of :func:`hevitpose.metrics.oks.coco_results`; none at all scores 0.
        ground_truth: annotation file with a ``crowdIndex`` per image, or its content.
        splits: limits of easy and medium.
        image_ids: evaluate these images only; None means all.
        source: what errors call the results.

    Returns:
        AP, AP50, AP75, AR, AR50, AR75, AP_easy, AP_medium, AP_hard in 0..1; the last three are
        rounded to 4 digits, and -1 where there is no such image, as xtcocotools has it.

    Raises:
        HEViTPoseError: xtcocotools is not installed, or does not load.
        DataError: not CrowdPose annotations, or results of another dataset.
    """
    coco, coco_eval = require_xtcocotools()
    truth, entries = coco_format.checked(
        results, ground_truth, len(SIGMAS), use_area=False, image_ids=image_ids, source=source
    )
    name = "ground truth" if isinstance(ground_truth, dict) else str(ground_truth)
    levels: tuple[list[int], list[int], list[int]] = ([], [], [])
    for image in truth["images"]:
        index = image.get("crowdIndex")
        if isinstance(index, bool) or not isinstance(index, int | float) or not 0 <= index <= 1:
            raise DataError(
                f"{name}: image {image['id']} has crowdIndex {index!r}, expected a number in 0..1"
            )
        levels[sum(index >= limit for limit in splits)].append(image["id"])
    with contextlib.redirect_stdout(io.StringIO()):  # xtcocotools prints its progress
        people = coco_format.indexed(coco, truth)
        found = coco_format.with_results(coco, people, entries)
        evaluator = coco_eval(people, found, "keypoints_crowd", np.array(SIGMAS), use_area=False)
        # It would read the annotation file once more, and split by limits of its own.
        evaluator.anno_file = (None, None)
        evaluator.split = lambda *_: levels
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return dict(zip(CROWDPOSE_METRICS, map(float, evaluator.stats), strict=True))


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
