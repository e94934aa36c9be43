"""PCK as a curve over its threshold, joint by joint, and the area under it."""

from __future__ import annotations

import numpy as np

#: Thresholds of the curve, and the end of the area, as MPII's AUC has it.
THRESHOLDS = np.linspace(0, 0.5, 11)


def pck_curves(
    errors_NK: np.ndarray, counted_NK: np.ndarray, thresholds: np.ndarray = THRESHOLDS
) -> np.ndarray:
    """Share of each joint's counted errors that are at most a threshold.

    Args:
        errors_NK: in units of the person's size (head, box); infinite where nobody was predicted.
        counted_NK: bool.
        thresholds: (T,) in the same units.

    Returns:
        (K, T) in 0..1; NaN for a joint that is never counted.
    """
    hits = (errors_NK[..., None] <= thresholds) & counted_NK[..., None]
    return _share(hits.sum(0), counted_NK.sum(0)[:, None])


def pck_auc(errors_NK: np.ndarray, counted_NK: np.ndarray) -> np.ndarray:
    """Area under each joint's curve from 0 to the last threshold ``end``, divided by ``end``.

    Exact, without a grid: an error e adds ``max(0, end - e)`` to the area under the steps.

    Args:
        errors_NK: as for :func:`pck_curves`.
        counted_NK: bool.

    Returns:
        (K,) in 0..1; NaN for a joint that is never counted.
    """
    end = float(THRESHOLDS[-1])
    areas = np.clip(1 - np.minimum(errors_NK, end) / end, 0, 1) * counted_NK
    return _share(areas.sum(0), counted_NK.sum(0))


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)
