"""Prediction files: read from any system, scored under our protocol, written for the servers.

COCO-style result lists (``.json``) for COCO, CrowdPose, OCHuman and custom datasets; arrays of
1-based pixels (``.npy``, or ``preds`` in a ``.mat``) for MPII. Nothing is ever unpickled.
"""

from __future__ import annotations

import io
import json
import re
import struct
import zipfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hevitpose import files, mat_file
from hevitpose.data.files import declared
from hevitpose.data.readers import coco_format, custom
from hevitpose.data.readers.image_ids import ImageIds
from hevitpose.data.readers.results import check_results, read_results
from hevitpose.data.registry import Declared, is_custom, label_of
from hevitpose.data.table import PoseTable, require_people, require_truth
from hevitpose.errors import DataError, UsageError, first_line
from hevitpose.evaluation.score import Predictions, score_pck, score_results
from hevitpose.files import write_atomically
from hevitpose.metrics.coco_api import MAX_DETECTIONS
from hevitpose.metrics.pckh import load_ground_truth, pckh

_LIST_LIMIT = 64 * 2**20  # bytes of a list of images


def evaluate_predictions(
    dataset: str,
    ground_truth: str | Path,
    predictions: str | Path,
    *,
    images: Collection[str] | None = None,
    max_detections: int = MAX_DETECTIONS,
    skip_bad: bool = False,
) -> dict[str, Any]:
    """Score a prediction file as it is: nothing is rescored, suppressed or shifted.

    Args:
        dataset: mpii, synthetic (MPII's format), coco, ochuman, crowdpose; or the yaml file of a
            custom dataset, whose category, sigmas, ``use_area`` and ``pck`` are obeyed.
        ground_truth: ``mpii_gt_val.mat``, or an annotation file, read by the same rules as for
            training.
        predictions: MPII: 1-based pixels, like the ground truth (:func:`read_arrays`); else a
            result list, whose images are ids or file names. A custom dataset's PCK takes arrays,
            a row for each person who is read, 0-based (``format: mpii``: 1-based).
        images: score these only, by ids or file names (not for MPII's ground truth, which has
            neither).
        max_detections: people of an image that count for AP, by descending score.
        skip_bad: leave bad annotations out instead of refusing them (not of MPII's ground truth).

    Returns:
        MPII: Head, Shoulder, Elbow, Wrist, Hip, Knee, Ankle, Mean, Mean@0.1 in percent. Arrays of
        a custom dataset: PCK or PCKh, and AUC, in percent. Else the AP and AR numbers in 0..1,
        ``boxes: "as given"``, the dataset's ``label`` where it has one, and ``max_detections`` and
        ``images`` where they are not the usual. All but MPII's with the ``counts`` of the
        annotation file, and what was left out of it (``skipped``).

    Raises:
        UsageError: an unknown dataset, or an option that it does not have.
        DataError: a file that is damaged, malformed or of another dataset.
    """
    said = declared(dataset)
    if said.protocol.startswith("pckh"):
        if images is not None or max_detections != MAX_DETECTIONS:
            raise UsageError(f"{dataset}: PCKh is of all people, expected neither images nor more")
        if skip_bad:
            raise UsageError(f"{dataset}: PCKh is of all people, expected no --skip-bad")
        truth = load_ground_truth(ground_truth)
        keypoints = read_arrays(predictions, num_people=len(truth))
        return dict(pckh(keypoints, truth.keypoints, truth.head_boxes, truth.missing))
    table = read_truth(dataset, said, Path(ground_truth), skip_bad)
    wanted = None if images is None else _images(table, images)
    if said.pck is not None and Path(predictions).suffix.lower() in (".npy", ".mat"):
        if max_detections != MAX_DETECTIONS:
            raise UsageError(f"{predictions}: PCK is of all people, expected no --max-dets")
        return _pck_of_arrays(table, Path(predictions), wanted)
    if said.protocol == "pck":
        raise UsageError(f"{predictions}: format mpii is scored by arrays, expected .npy or .mat")
    results = read_results(
        predictions, len(said.layout), images=_image_ids(table), category_ids=table.category_ids
    )
    metrics = score_results(table, results, wanted, max_detections)
    facts: dict[str, Any] = {"boxes": "as given"}
    if label := label_of(said.name):
        facts["label"] = label
    if max_detections != MAX_DETECTIONS:
        facts["max_detections"] = max_detections
    if wanted is not None:
        facts["images"] = len(wanted)
    return {**metrics, **facts, **_read_facts(table)}


def _read_facts(table: PoseTable) -> dict[str, Any]:
    """Who was read, and what was left out: other people are another score."""
    return {"counts": dict(table.counts), "skipped": [str(item) for item in table.skipped]}


def read_truth(dataset: str, said: Declared, path: Path, skip_bad: bool) -> PoseTable:
    """People to compare predictions with, from any annotation file of a dataset's kind.

    Raises:
        DataError: the file is not what it should be, or has nobody to score.
    """
    if is_custom(dataset):
        return require_truth(require_people(custom.read_truth(Path(dataset), path, skip_bad)))
    # The crop's size has no part in the score, and no image is opened.
    options: dict[str, Any] = {"split": "", "input_size": (256, 256), "skip_bad": skip_bad}
    return require_truth(coco_format.read(path, path.parent, said, **options))


def read_image_list(path: Path) -> list[str]:
    """Ids or file names of images, one a line; empty lines are left out.

    Raises:
        DataError: it cannot be read as text.
    """
    try:
        text = files.text_of(files.content(path, _LIST_LIMIT, "a list of images"))
    except ValueError as error:
        raise DataError(f"{path}: {error}, expected one id or name per line") from None
    return [line.strip() for line in text.splitlines() if line.strip()]


def _image_ids(table: PoseTable) -> ImageIds:
    return ImageIds(table.image_ids.tolist(), [name.decode() for name in table.image_names])


def _images(table: PoseTable, wanted: Collection[str]) -> frozenset[int]:
    """The ids of images called by id or by file name.

    Raises:
        DataError: one of them is none of the table's.
    """
    known = _image_ids(table)
    try:
        found = frozenset(known.of({"image": each}, "image") for each in wanted)
    except ValueError as error:
        raise DataError(f"{table.annotation_file}: {error}") from None
    if not found:
        raise DataError(f"{table.annotation_file}: no images given, expected ids or file names")
    return found


def _pck_of_arrays(table: PoseTable, path: Path, wanted: frozenset[int] | None) -> dict[str, Any]:
    one_based = table.declared.format == "mpii"
    points = read_arrays(path, len(table), len(table.layout)) - one_based
    rows = np.arange(len(table))
    if wanted is not None:
        rows = rows[np.isin(table.image_ids[table.image_index], list(wanted))]
    scores = np.ones(points.shape[:2], np.float32)
    metrics = score_pck(table, Predictions(rows, points[rows], scores[rows]))
    return {**metrics, **_read_facts(table)}


def read_arrays(path: str | Path, num_people: int, num_keypoints: int = 16) -> np.ndarray:
    """Keypoints of MPII people, in the order of the ground truth.

    Args:
        path: ``.npy``; or ``.mat`` with ``preds``, each (N, K, 2), or with ``pos_pred_src``
            (K, 2, N), as MPII's own tools have it.
        num_people: N of the ground truth.
        num_keypoints: K.

    Returns:
        (N, K, 2) float64, as stored.

    Raises:
        DataError: absent, damaged, of another shape, or not finite.
    """
    path = Path(path)
    array = _load_mat(path) if path.suffix.lower() == ".mat" else _load_npy(path)
    shape = (num_people, num_keypoints, 2)
    if array.shape != shape or array.dtype.kind not in "iuf":
        raise DataError(f"{path}: {array.shape} {array.dtype}, expected numbers {shape}")
    if not np.isfinite(array).all():
        person, joint, _ = np.argwhere(~np.isfinite(array))[0]
        raise DataError(f"{path}: person {person}, joint {joint} is not a finite number")
    return array.astype(np.float64)


def write_results(results: Sequence[dict[str, Any]], out: str | Path) -> Path:
    """Write a result list as JSON, whole or not at all.

    Raises:
        HEViTPoseError: it cannot be written.
    """
    return write_atomically(Path(out), _dump(results))


def write_testdev(
    results: Sequence[dict[str, Any]],
    model_name: str,
    out: str | Path,
    image_ids: Collection[int] | None = None,
) -> tuple[Path, Path]:
    """Write what COCO's evaluation server takes for test-dev: the json, and a zip of it.

    Args:
        results: entries of :func:`hevitpose.metrics.oks.coco_results`.
        model_name: goes into the file names.
        out: folder.
        image_ids: test-dev's images (of ``image_info_test-dev2017.json``); None checks none.

    Returns:
        ``person_keypoints_test-dev2017_MODEL_results.json`` and the ``.zip``.

    Raises:
        UsageError: a model name that is no file name.
        DataError: results that the server would refuse.
        HEViTPoseError: a file cannot be written.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", model_name):
        raise UsageError(
            f"test-dev model name {model_name!r}, expected letters, digits, '.', '_' and '-'"
        )
    known = None if image_ids is None else ImageIds(list(image_ids))
    entries = check_results(results, 17, images=known, category_ids=(1,), source="test-dev results")
    if not entries:
        raise DataError("test-dev results: empty, expected people")
    path = Path(out) / f"person_keypoints_test-dev2017_{model_name}_results.json"
    content = _dump(entries)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        # The date is fixed, so that equal results make equal files.
        file.writestr(zipfile.ZipInfo(path.name), content, zipfile.ZIP_DEFLATED)
    return write_atomically(path, content), write_atomically(
        path.with_suffix(".zip"), archive.getvalue()
    )


def write_pred_mat(predictions_NK2: np.ndarray, people: np.ndarray, out: str | Path) -> Path:
    """Write what MPII's organisers take for the test split.

    Args:
        predictions_NK2: (N, 16, 2) image pixels, 0-based, in the order of ``mpii_test.json``.
        people: (N,) whose they are: positions in ``mpii_test.json``, all of them in order.
        out: folder.

    Returns:
        ``pred.mat`` with ``preds``, 1-based.

    Raises:
        DataError: another shape, a value that is not finite, or a person left out: everybody after
            would be scored as somebody else.
        HEViTPoseError: the file cannot be written.
    """
    from scipy.io import savemat

    predictions = np.asarray(predictions_NK2, np.float64)
    if predictions.ndim != 3 or predictions.shape[1:] != (16, 2) or not len(predictions):
        raise DataError(f"pred.mat: predictions {predictions.shape}, expected (N, 16, 2)")
    if not np.isfinite(predictions).all():
        person, joint, _ = np.argwhere(~np.isfinite(predictions))[0]
        raise DataError(f"pred.mat: person {person}, joint {joint} is not a finite number")
    expected = np.arange(len(predictions))
    if not np.array_equal(people, expected):
        found = np.asarray(people)
        absent = np.setdiff1d(np.arange(found.max(initial=0) + 1), found)
        first = f"person {absent[0]} is left out" if len(absent) else "not in the file's order"
        raise DataError(f"pred.mat: {first}, expected one row for each person of the test file")
    content = io.BytesIO()
    savemat(content, {"preds": predictions + 1}, do_compression=True)
    return write_atomically(Path(out) / "pred.mat", content.getvalue())


def _load_npy(path: Path) -> np.ndarray:
    files.require_regular(path, "a .npy array")
    try:  # mapped: a header cannot ask for more than the file has
        _require_npy_header(path)
        array = np.load(path, allow_pickle=False, mmap_mode="r")
    except Exception as error:  # numpy raises what the damage happens to hit
        why = first_line(str(error), type(error).__name__)
        raise DataError(f"{path}: not a .npy array or truncated ({why})") from error
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path}: an archive of arrays, expected one array (.npy)")
    return array


def _require_npy_header(path: Path) -> None:
    """Refuse a header longer than its file: numpy would make room for all of it."""
    with path.open("rb") as file:
        version, length = struct.unpack("<6xBxI", file.read(12).ljust(12, b"\0"))
    if version > 1 and length > path.stat().st_size:
        raise ValueError(f"a header of {length} bytes")


def _load_mat(path: Path) -> np.ndarray:
    content = mat_file.read(path, ("preds", "pos_pred_src"))
    found = [key for key in ("preds", "pos_pred_src") if key in content]
    if len(found) != 1:
        there = "both 'preds' and" if found else "no 'preds' or"
        raise DataError(f"{path}: {there} 'pos_pred_src', expected keypoints under one of them")
    array = content[found[0]]
    if found == ["pos_pred_src"]:
        if array.ndim != 3:
            raise DataError(f"{path}: pos_pred_src is {array.shape}, expected (K, 2, N)")
        return array.transpose(2, 0, 1)
    return array


def _dump(results: Sequence[dict[str, Any]]) -> bytes:
    return json.dumps(results, separators=(",", ":"), allow_nan=False).encode()
