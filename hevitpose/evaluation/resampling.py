"""What another choice of photographs would have scored: the bootstrap of AP.

Intervals over seeds say nothing of whom the val set happens to hold; with a few hundred
photographs that matters as much. Every evaluation of a small val set records its AP in the same
:data:`DRAWS` draws of its photographs, so that two of them can be compared draw by draw: what is
hard in a photograph is hard for both, and falls out of the difference.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hevitpose.data.table import PoseTable
from hevitpose.evaluation.diagnosis.matching import (
    THRESHOLDS,
    Matches,
    accumulate,
    counted_detections,
    match,
)
from hevitpose.evaluation.diagnosis.scene import make_scene
from hevitpose.evaluation.score import Predictions, results_of
from hevitpose.metrics.coco_api import MAX_DETECTIONS

#: Draws of photographs, each as many as there are, with repetition.
DRAWS = 1000
#: Val sets of more photographs are large enough to leave the choice of people out.
SMALL = 1000
_KEY = 0xB007  # of the draws' stream, the same for all evaluations


def resampled_ap(
    table: PoseTable,
    predictions: Predictions,
    *,
    nms_threshold: float = 0.9,
    max_detections: int = MAX_DETECTIONS,
) -> dict[str, Any] | None:
    """An evaluation's AP in every draw of the photographs.

    Args:
        table: the people, with what the reader kept to compare with.
        predictions: of all of them or of some; who is not predicted is missed.
        nms_threshold: as for :func:`hevitpose.evaluation.score.score`.
        max_detections: likewise.

    Returns:
        Fields of :class:`hevitpose.records.schema.Resampled`, AP in 0..1; None where the protocol
        is not COCO's, with more photographs than :data:`SMALL`, or with so few that a draw holds
        nobody.
    """
    if table.declared.protocol != "oks":
        return None
    rows = table.take(predictions.index)
    scene = make_scene(table, results_of(rows, predictions, nms_threshold=nms_threshold))
    photographs = len(scene.image_ids)
    if not 0 < photographs <= SMALL:
        return None
    oks = scene.oks(scene.keypoints)
    matches = match(
        scene, oks, scene.scores, THRESHOLDS, scene.unscored, max_detections=max_detections
    )
    values = ap_of_draws(matches, scene.people_image, draws(photographs))
    if np.isnan(values).any():
        return None
    return {"metric": "AP", "photographs": photographs, "values": values.round(5).tolist()}


def draws(photographs: int) -> np.ndarray:
    """(DRAWS, photographs) int64: how often each photograph, by its id, is in each draw."""
    generator = np.random.default_rng((_KEY, photographs))
    share = np.full(photographs, 1 / photographs)
    return generator.multinomial(photographs, share, size=DRAWS)


def ap_of_draws(matches: Matches, people_image: np.ndarray, times: np.ndarray) -> np.ndarray:
    """AP where every photograph stands in the val set as often as a draw has it.

    Photographs do not see each other in the matching, so a draw only weighs what was matched.

    Args:
        matches: at T thresholds.
        people_image: (A,) number of each person's photograph.
        times: (B, I) how often.

    Returns:
        (B,) in 0..1, the mean over thresholds; NaN where a draw holds nobody.
    """
    top = counted_detections(matches)
    counts = ~matches.ignored[:, top]
    right = (matches.person[:, top] >= 0) & counts
    wrong = (matches.person[:, top] < 0) & counts
    image = matches.image[top]
    people = times[:, people_image[~matches.ignored_people]].sum(1)
    found = np.full(len(times), np.nan)
    for draw in np.flatnonzero(people):
        often = times[draw, image]
        counted = np.full(len(right), people[draw])
        found[draw] = accumulate(right * often, wrong * often, counted)[0].mean()
    return found
