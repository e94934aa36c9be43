"""Which errors a set of predictions makes, joint by joint, and what each type of error costs.

Ruggero Ronchi & Perona, Benchmarking and Error Diagnosis in Multi-Instance Pose Estimation, ICCV
2017: every labelled joint of a matched person is good, jitter, inversion, swap or miss. Nothing
here loads torch.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from hevitpose.data import mpii
from hevitpose.data.cocoformat import read
from hevitpose.data.files import find
from hevitpose.data.registry import declared
from hevitpose.data.table import PoseTable, require_truth
from hevitpose.diagnosis.calibration import calibrate, targets
from hevitpose.diagnosis.heads import diagnose_heads
from hevitpose.diagnosis.labels import ERRORS, LETTERS, TYPES
from hevitpose.diagnosis.matching import THRESHOLDS, mean_counted
from hevitpose.diagnosis.progressive import STEPS, AreaDiagnosis, diagnose_areas
from hevitpose.diagnosis.rescoring import score_errors
from hevitpose.diagnosis.result import Diagnosis, Person, Step
from hevitpose.diagnosis.scene import Scene, make_scene
from hevitpose.errors import DataError, UsageError
from hevitpose.metrics import cocoformat
from hevitpose.predictions import read_arrays, read_results

__all__ = ["Diagnosis", "diagnose"]

_SIZE = (256, 256)  # of a crop; it has no part in any score


def diagnose(
    dataset: str,
    ground_truth: str | Path,
    predictions: str | Path,
    *,
    reference: bool = False,
    skip_bad: bool = False,
) -> Diagnosis:
    """Find the errors of a prediction file, ours or anybody's, as it is.

    Args:
        dataset: coco, ochuman, crowdpose, mpii, synthetic (MPII's format), or the yaml file of a
            custom dataset, whose category, sigmas and ``use_area`` are obeyed.
        ground_truth: a COCO-format annotation file; MPII: ``mpii_val.json`` or ``mpii_gt_val.mat``,
            each with the other beside it.
        predictions: a COCO-style result list; MPII: 1-based pixels, ``.npy`` or ``.mat``.
        reference: exactly as coco-analyze does it, also where that is odd.
        skip_bad: leave bad annotations out instead of refusing them.

    Raises:
        UsageError: an unknown dataset, or ``reference`` for MPII, which coco-analyze cannot read.
        DataError: a file that is damaged, malformed or of another dataset.
    """
    said, path = declared(dataset), Path(ground_truth)
    if said.protocol.startswith("pckh"):
        if reference:
            raise UsageError(f"reference: coco-analyze has no rules for {said.name}, expected coco")
        return _diagnose_mpii(dataset, path, predictions, skip_bad)
    table = require_truth(
        read(path, path.parent, said, split="", input_size=_SIZE, skip_bad=skip_bad)
    )
    results = cocoformat.check_results(
        read_results(predictions),
        len(said.layout),
        image_ids=table.image_ids.tolist(),
        category_ids=(table.category_id,),
        source=str(predictions),
    )
    return diagnose_results(table, results, reference=reference)


def diagnose_results(
    table: PoseTable, results: list[dict[str, Any]], *, reference: bool = False
) -> Diagnosis:
    """Find the errors of checked results; see :func:`diagnose`.

    Args:
        table: with ``truth``.
        results: entries of a COCO result file, of images of the table.
        reference: as coco-analyze does it.
    """
    scene = make_scene(table, results)
    areas = diagnose_areas(scene, reference=reference)
    everybody = areas[0]
    oks = scene.oks(scene.keypoints)
    expected, compared = targets(scene, oks)
    return Diagnosis(
        dataset=table.dataset,
        rules="coco-analyze" if reference else "default",
        metric="AP",
        layout=scene.layout,
        detections=len(scene.scores),
        people=int((~everybody.ignored).sum()),
        matched=len(everybody.labels.detection),
        joint_counts=everybody.labels.counts(),
        steps=_steps(everybody.ap),
        alone=everybody.alone,
        background=(
            int(everybody.false_positives[0].sum()),
            int(everybody.false_negatives[0].sum()),
        ),
        scores=score_errors(scene, oks, scene.scores, everybody.ignored),
        calibration=calibrate(scene.scores[compared], expected[compared]),
        worst=_worst(scene, table, everybody),
        details=_details(scene, areas),
    )


def _steps(ap_ST: np.ndarray) -> tuple[Step, ...]:
    values = [mean_counted(row) for row in ap_ST]
    found, before = [], None
    for name, value, row in zip(STEPS, values, ap_ST, strict=True):
        at = {f"{THRESHOLDS[level]:g}": float(row[level]) for level in (0, 5)}
        counted = before is not None and min(before, value) > -1
        found.append(Step(name, value, at, value - before if counted else None))
        before = value
    return tuple(found)


def _details(scene: Scene, areas: list[AreaDiagnosis]) -> dict[str, Any]:
    """What coco-analyze writes, as it writes it: ids count detections from 1."""
    labels = areas[0].labels
    everybody, medium, large = (mean_counted(area.ap[0]) for area in areas)
    ar, ar_medium, ar_large = (mean_counted(area.recall[0]) for area in areas)
    ap, recall = areas[0].ap[0].tolist(), areas[0].recall[0].tolist()
    stats = [everybody, ap[0], ap[5], medium, large, ar, recall[0], recall[5], ar_medium, ar_large]
    keys = {
        (area.name, level): f"{area.name}@{threshold:g}"
        for area in areas
        for level, threshold in enumerate(THRESHOLDS)
    }
    return {
        "keypoints": int(scene.labelled[labels.person].sum()),
        "matches": [
            {
                "detection": int(detection) + 1,
                "gt": int(scene.ids[person]),
                "oks": float(oks),
                "ignore": int(ignored),
                "labels": letters,
                "corrected": points.round(4).ravel().tolist(),
            }
            for detection, person, oks, ignored, letters, points in zip(
                labels.detection,
                labels.person,
                labels.oks,
                labels.ignored,
                labels.letters(),
                labels.corrected,
                strict=True,
            )
        ],
        "coco_stats": stats,
        "opt_score_and_max_oks": {
            str(number): [float(score), float(best)]
            for number, (score, best) in enumerate(
                zip(areas[0].optimal, areas[0].best, strict=True), 1
            )
        },
        "false_positives": {
            key: int(area.false_positives[level].sum())
            for area in areas
            for level in range(len(THRESHOLDS))
            for key in (keys[area.name, level],)
        },
        "false_negatives": {
            key: int(area.false_negatives[level].sum())
            for area in areas
            for level in range(len(THRESHOLDS))
            for key in (keys[area.name, level],)
        },
        "false_positive_ids_all_050": (np.flatnonzero(areas[0].false_positives[0]) + 1).tolist(),
        "false_negative_ids_all_050": scene.ids[areas[0].false_negatives[0]].tolist(),
        "progressive": [
            {
                "err": name,
                "oks": float(THRESHOLDS[level]),
                "area": area.name,
                "ap": float(area.ap[step, level]),
                "recall": float(area.recall[step, level]),
            }
            for step, name in enumerate(STEPS)
            for level in reversed(range(len(THRESHOLDS)))
            for area in areas
        ],
    }


def _worst(scene: Scene, table: PoseTable, found: AreaDiagnosis) -> tuple[Person, ...]:
    """People who count, by the OKS of their detection; then those whom nobody found."""
    names = dict(zip(table.image_ids.tolist(), table.image_names.tolist(), strict=True))
    labels, letters = found.labels, found.labels.letters()
    rows = [row for row in np.argsort(labels.oks, kind="stable") if not labels.ignored[row]]
    missed = np.setdiff1d(np.flatnonzero(~found.ignored), labels.person)

    def person(index: int, quality: float, word: str, points: np.ndarray | None) -> Person:
        image = int(scene.image_ids[scene.people_image[index]])
        return Person(
            image=names[image].decode(),
            image_id=image,
            id=int(scene.ids[index]),
            quality=quality,
            letters=word,
            truth=scene.truth[index],
            labelled=scene.labelled[index],
            predicted=points,
        )

    matched = [
        person(
            int(labels.person[row]),
            float(labels.oks[row]),
            letters[row],
            scene.keypoints[labels.detection[row]],
        )
        for row in rows
    ]
    return (*matched, *(person(int(i), 0.0, "-" * len(scene.layout), None) for i in missed))


def _diagnose_mpii(dataset: str, path: Path, predictions: str | Path, skip_bad: bool) -> Diagnosis:
    if path.suffix.lower() == ".mat":  # who is in one photograph, only the list of people says
        path = find(path.parent, {"val": mpii.ANNOTATIONS["val"]}, "val")
    table = mpii.read(
        path, path.parent, dataset=dataset, split="val", input_size=_SIZE, skip_bad=skip_bad
    )
    if table.heads is None:
        raise DataError(
            f"{path}: no {' or '.join(mpii.GROUND_TRUTH)} beside it, "
            "expected the head boxes that distances are measured in"
        )
    people = int(table.person_ids.max()) + 1 if skip_bad else len(table)
    keypoints = read_arrays(predictions, num_people=people)[table.person_ids if skip_bad else ...]
    found = diagnose_heads(table, keypoints)
    counted = found.codes > 0
    return Diagnosis(
        dataset=table.dataset,
        rules="head sizes (ours)",
        metric="PCKh@0.5",
        layout=table.layout,
        detections=len(table),
        people=int(counted.any(1).sum()),
        matched=int(counted.any(1).sum()),
        joint_counts=np.stack([(found.codes == code).sum(0) for code in range(1, 1 + len(TYPES))]),
        steps=_pckh_steps(found.pckh),
        alone={},
        worst=_worst_heads(table, found.codes, found.errors, keypoints),
    )


def _pckh_steps(values: dict[str, float]) -> tuple[Step, ...]:
    names = ("baseline", *ERRORS)
    costs = [None, *(values[b] - values[a] for a, b in pairwise(names))]
    return tuple(
        Step(name, values[name], {}, cost) for name, cost in zip(names, costs, strict=True)
    )


def _worst_heads(
    table: PoseTable, codes: np.ndarray, errors: np.ndarray, keypoints: np.ndarray
) -> tuple[Person, ...]:
    assert table.heads is not None
    counted = codes > 0
    mean = (errors * counted).sum(1) / np.maximum(counted.sum(1), 1)
    alphabet = np.array(list(LETTERS))
    return tuple(
        Person(
            image=table.image_names[table.image_index[row]].decode(),
            image_id=int(table.image_ids[table.image_index[row]]),
            id=int(table.person_ids[row]),
            quality=float(mean[row]),
            letters="".join(alphabet[codes[row]]),
            truth=table.heads.keypoints[row] - 1,
            labelled=counted[row],
            predicted=keypoints[row] - 1,
        )
        for row in np.argsort(-mean, kind="stable")
        if counted[row].any()
    )
