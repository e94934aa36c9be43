"""Prediction files: read from any system, scored under our protocol, written for the servers.

COCO-style result lists (``.json``) for COCO, CrowdPose, OCHuman and custom datasets; arrays of
1-based pixels (``.npy``, or ``preds`` in a ``.mat``) for MPII. Nothing is ever unpickled.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hevitpose import json_file
from hevitpose.data.readers.coco_format import read
from hevitpose.data.registry import declared
from hevitpose.data.table import require_truth
from hevitpose.errors import DataError, UsageError
from hevitpose.evaluation.score import score_results
from hevitpose.files import write_atomically
from hevitpose.metrics import coco_format
from hevitpose.metrics.pckh import load_ground_truth, pckh


def evaluate_predictions(
    dataset: str,
    ground_truth: str | Path,
    predictions: str | Path,
    *,
    image_ids: Collection[int] | None = None,
    skip_bad: bool = False,
) -> dict[str, Any]:
    """Score a prediction file as it is: nothing is rescored, suppressed or shifted.

    Args:
        dataset: mpii, synthetic (MPII's format), coco, ochuman, crowdpose; or the yaml file of a
            custom dataset, whose category, sigmas and ``use_area`` are obeyed.
        ground_truth: ``mpii_gt_val.mat``, or a COCO-format annotation file, read by the same rules
            as for training.
        predictions: MPII: 1-based pixels, like the ground truth; else a result list.
        image_ids: score these images only (result lists).
        skip_bad: leave bad annotations out instead of refusing them.

    Returns:
        MPII: Head, Shoulder, Elbow, Wrist, Hip, Knee, Ankle, Mean, Mean@0.1 in percent. Else the
        AP and AR numbers in 0..1, and ``boxes: "as given"``.

    Raises:
        UsageError: an unknown dataset.
        DataError: a file that is damaged, malformed or of another dataset.
    """
    said = declared(dataset)
    if said.protocol.startswith("pckh"):
        truth = load_ground_truth(ground_truth)
        keypoints = read_arrays(predictions, num_people=len(truth))
        return dict(pckh(keypoints, truth.keypoints, truth.head_boxes, truth.missing))
    path = Path(ground_truth)
    # The crop's size has no part in the score, and no image is opened.
    table = read(path, path.parent, said, split="", input_size=(256, 256), skip_bad=skip_bad)
    results = read_results(predictions)
    metrics = score_results(require_truth(table), results, str(predictions), image_ids)
    return {**metrics, "boxes": "as given"}


def read_arrays(path: str | Path, num_people: int, num_keypoints: int = 16) -> np.ndarray:
    """Keypoints of MPII people, in the order of the ground truth.

    Args:
        path: ``.npy``, or ``.mat`` with ``preds``; (N, K, 2).
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


def read_results(path: str | Path) -> Any:
    """The content of a COCO-style result file, not checked yet.

    Raises:
        DataError: absent, truncated, or not JSON.
    """
    return json_file.read(Path(path), "results")


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
    entries = coco_format.check_results(
        results, 17, image_ids=image_ids, category_ids=(1,), source="test-dev results"
    )
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
    try:
        array = np.load(path, allow_pickle=False)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}, expected a .npy array") from None
    except Exception as error:  # numpy raises what the damage happens to hit
        raise DataError(f"{path}: not a .npy array or truncated ({error})") from error
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path}: an archive of arrays, expected one array (.npy)")
    return array


def _load_mat(path: Path) -> np.ndarray:
    from scipy.io import loadmat

    try:
        content = loadmat(str(path), variable_names=("preds",), appendmat=False)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}, expected a .mat file") from None
    except Exception as error:  # scipy raises what the damage happens to hit
        raise DataError(f"{path}: not a MATLAB 5 file or truncated ({error})") from error
    if "preds" not in content:
        raise DataError(f"{path}: no 'preds', expected keypoints (N, 16, 2)")
    return content["preds"]


def _dump(results: Sequence[dict[str, Any]]) -> bytes:
    return json.dumps(results, separators=(",", ":"), allow_nan=False).encode()
