"""Which errors a set of predictions makes, joint by joint, and what each type of error costs.

Ruggero Ronchi & Perona, Benchmarking and Error Diagnosis in Multi-Instance Pose Estimation, ICCV
2017: every labelled joint of a matched person is good, jitter, inversion, swap or miss. Nothing
here loads torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from hevitpose.data.files import declared, find
from hevitpose.data.readers import mpii
from hevitpose.data.readers.image_ids import ImageIds
from hevitpose.data.readers.results import read_results
from hevitpose.data.registry import Declared
from hevitpose.data.table import PoseTable
from hevitpose.errors import DataError, UsageError
from hevitpose.evaluation.diagnosis.calibration import (
    Isotonic,
    Rescored,
    calibrate,
    fit_isotonic,
    targets,
)
from hevitpose.evaluation.diagnosis.details import details
from hevitpose.evaluation.diagnosis.heads import diagnose_heads
from hevitpose.evaluation.diagnosis.labels import ERRORS, LETTERS, TYPES
from hevitpose.evaluation.diagnosis.matching import (
    THRESHOLDS,
    average_precision,
    match,
    mean_counted,
)
from hevitpose.evaluation.diagnosis.progressive import (
    STEPS,
    AreaDiagnosis,
    areas_of,
    diagnose_areas,
)
from hevitpose.evaluation.diagnosis.rescoring import score_errors
from hevitpose.evaluation.diagnosis.result import Diagnosis, Person, Step
from hevitpose.evaluation.diagnosis.scene import Scene, make_scene
from hevitpose.evaluation.prediction_files import read_arrays, read_truth
from hevitpose.evaluation.score import tell_crowded
from hevitpose.files import same
from hevitpose.metrics.coco_api import MAX_DETECTIONS
from hevitpose.metrics.pckh import load_ground_truth

__all__ = ["Diagnosis", "diagnose"]

_SIZE = (256, 256)  # of a crop; it has no part in any score


def diagnose(
    dataset: str,
    ground_truth: str | Path,
    predictions: str | Path,
    *,
    reference: bool = False,
    fit: tuple[str | Path, str | Path] | None = None,
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
        fit: ground truth and predictions of a split that is not reported, such as ``minival``:
            scores are also rescored by what fits there, and that is reported apart.
        skip_bad: leave bad annotations out instead of refusing them.

    Raises:
        UsageError: an unknown dataset, ``reference`` or ``fit`` for MPII, which has no OKS, or a
            fit on people who are reported.
        DataError: a file that is damaged, malformed or of another dataset.
    """
    said = declared(dataset)
    if said.protocol == "pck":
        raise UsageError(f"{dataset}: format mpii has no errors by type, expected format: coco")
    if said.protocol.startswith("pckh"):
        if reference or fit is not None:
            option = "reference" if reference else "fit"
            raise UsageError(f"{option}: {said.name} has no OKS, expected a COCO-format dataset")
        return _diagnose_mpii(dataset, Path(ground_truth), predictions, skip_bad)
    table, results = _read(dataset, said, ground_truth, predictions, skip_bad)
    fitted = None
    if fit is not None:
        if same(Path(fit[1]), Path(predictions)):
            raise UsageError(f"fit: {fit[1]} is what is reported, expected another split's")
        there, of_there = _read(dataset, said, *fit, skip_bad)
        _require_other_people(there, table)
        fitted = _fit(there, of_there, Path(fit[1]).name)
    return diagnose_results(table, results, reference=reference, fitted=fitted)


def _read(
    dataset: str, said: Declared, ground_truth: str | Path, predictions: str | Path, skip_bad: bool
) -> tuple[PoseTable, list[dict[str, Any]]]:
    table = read_truth(dataset, said, Path(ground_truth), skip_bad)
    results = read_results(
        predictions,
        len(said.layout),
        images=ImageIds(table.image_ids.tolist(), [n.decode() for n in table.image_names]),
        category_ids=table.category_ids,
    )
    return table, results


def _require_other_people(fit: PoseTable, reported: PoseTable) -> None:
    """Refuse to fit scores on people who are reported: they would only seem calibrated.

    Raises:
        UsageError: somebody is in both; ids and names of images may mean others in each split.
    """
    both = _people(fit) & _people(reported)
    if both:
        raise UsageError(
            f"fit: {len(both)} people of {fit.annotation_file} are in {reported.annotation_file}, "
            "too; expected a split that is not reported"
        )


def _people(table: PoseTable) -> set[bytes]:
    """What tells people with labelled joints apart: where these and their box are."""
    truth = table.truth
    assert truth is not None
    seen = truth.visibility > 0
    points = np.where(seen[..., None], truth.keypoints, -1).astype(np.float32)
    boxes = truth.boxes.astype(np.float32)
    return {boxes[row].tobytes() + points[row].tobytes() for row in np.flatnonzero(seen.any(1))}


@dataclass(frozen=True)
class _Fitted:
    function: Isotonic
    name: str
    detections: int
    skipped: tuple[str, ...]  # what was left out of its people


def _fit(table: PoseTable, results: list[dict[str, Any]], name: str) -> _Fitted:
    scene = make_scene(table, results)
    expected, compared = targets(scene, scene.oks(scene.keypoints))
    function = fit_isotonic(scene.scores[compared], expected[compared])
    return _Fitted(function, name, int(compared.sum()), _skipped(table))


def _skipped(table: PoseTable) -> tuple[str, ...]:
    return tuple(map(str, table.skipped))


def diagnose_results(
    table: PoseTable,
    results: list[dict[str, Any]],
    *,
    reference: bool = False,
    fitted: _Fitted | None = None,
) -> Diagnosis:
    """Find the errors of checked results; see :func:`diagnose`.

    Args:
        table: with ``truth``.
        results: entries of a COCO result file, of images of the table.
        reference: as coco-analyze does it.
        fitted: a function of the score to report apart.
    """
    tell_crowded(table, MAX_DETECTIONS, "evaluate-predictions --max-dets")
    scene = make_scene(table, results)
    areas = diagnose_areas(scene, reference=reference)
    everybody = areas[0]
    oks = scene.oks(scene.keypoints)
    expected, compared = targets(scene, oks)
    rescored = None
    if fitted is not None:
        scores = fitted.function(scene.scores)
        limits = areas_of(reference)[everybody.name]
        matches = match(scene, oks, scores, THRESHOLDS, everybody.ignored, limits)
        after = calibrate(scores[compared], expected[compared])
        rescored = Rescored(
            fitted_on=fitted.name,
            detections=fitted.detections,
            error=None if after is None else after.error,
            ap=mean_counted(average_precision(matches)[0]),
            skipped=fitted.skipped,
        )
    return Diagnosis(
        dataset=table.dataset,
        rules="coco-analyze" if reference else "default",
        metric="AP",
        layout=scene.layout,
        stored_pixels=table.declared.stored_pixels,
        detections=len(scene.scores),
        people=int((~everybody.ignored).sum()),
        matched=len(everybody.labels.detection),
        joint_counts=everybody.labels.counts(),
        steps=_steps(everybody.ap),
        alone=everybody.alone,
        people_counts=dict(table.counts),
        skipped=_skipped(table),
        background=(
            int(everybody.false_positives[0].sum()),
            int(everybody.false_negatives[0].sum()),
        ),
        scores=score_errors(scene, oks, scene.scores, everybody.ignored),
        calibration=calibrate(scene.scores[compared], expected[compared]),
        rescored=rescored,
        worst=_worst(scene, table, everybody),
        details=details(scene, areas),
    )


def _steps(ap_ST: np.ndarray) -> tuple[Step, ...]:
    values = [mean_counted(row) for row in ap_ST]
    costs: list[float | None] = [None]
    costs += [
        after - before if min(before, after) > -1 else None for before, after in pairwise(values)
    ]
    return tuple(
        Step(name, value, {f"{THRESHOLDS[level]:g}": float(row[level]) for level in (0, 5)}, cost)
        for name, value, row, cost in zip(STEPS, values, ap_ST, costs, strict=True)
    )


def _worst(scene: Scene, table: PoseTable, found: AreaDiagnosis) -> tuple[Person, ...]:
    """People who count, by the OKS of their detection; then those whom nobody found."""
    place = {number: row for row, number in enumerate(table.image_ids.tolist())}
    labels, letters = found.labels, found.labels.letters()
    rows = [row for row in np.argsort(labels.oks, kind="stable") if not labels.ignored[row]]
    missed = np.setdiff1d(np.flatnonzero(~found.ignored), labels.person)

    def person(index: int, quality: float, word: str, points: np.ndarray | None) -> Person:
        image = int(scene.image_ids[scene.people_image[index]])
        return Person(
            image=table.image_names[place[image]].decode(),
            image_size=_size(table, place[image]),
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


def _size(table: PoseTable, image: int) -> tuple[int, int]:
    width, height = table.image_sizes[image].tolist()
    return width, height


def _diagnose_mpii(dataset: str, path: Path, predictions: str | Path, skip_bad: bool) -> Diagnosis:
    said = declared(dataset)
    files = said.layout_on_disk
    assert files is not None
    options: dict[str, Any] = {"split": "val", "input_size": _SIZE, "skip_bad": skip_bad}
    if path.suffix.lower() == ".mat":  # who is in one photograph, only the list of people says
        load_ground_truth(path)  # what was named is the first to be refused
        options["head_file"] = path
        path = find(path.parent, files.annotations, "val")
    table = mpii.read(path, path.parent, said, **options)
    if table.heads is None:
        raise DataError(
            f"{path}: no {' or '.join(mpii.head_files(said, 'val'))} beside it, "
            "expected the head boxes that distances are measured in"
        )
    people = len(table) + len(table.skipped)  # of the file: val keeps all who are not bad
    keypoints = read_arrays(predictions, num_people=people)[table.person_ids]
    found = diagnose_heads(table, keypoints)
    counted = found.codes > 0
    return Diagnosis(
        dataset=table.dataset,
        rules="ours, in head sizes",
        metric="PCKh@0.5",
        layout=table.layout,
        stored_pixels=said.stored_pixels,
        detections=len(table),
        people=int(counted.any(1).sum()),
        matched=int(counted.any(1).sum()),
        joint_counts=np.stack([(found.codes == code).sum(0) for code in range(1, 1 + len(TYPES))]),
        steps=_pckh_steps(found.pckh),
        alone={},
        people_counts=dict(table.counts),
        skipped=_skipped(table),
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
            image_size=_size(table, table.image_index[row]),
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
