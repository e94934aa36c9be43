"""Is a detection's score the OKS to expect of it? Reliability, and rescoring by another split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression

from hevitpose.errors import DataError
from hevitpose.evaluation.diagnosis.rescoring import best_oks
from hevitpose.evaluation.diagnosis.scene import Scene

BINS = 10  # of the reliability curve, equally wide


@dataclass(frozen=True)
class Bin:
    """The detections whose score is in one interval."""

    low: float
    high: float
    count: int
    score: float | None  # mean; None without detections
    oks: float | None


@dataclass(frozen=True)
class Calibration:
    """How far scores are from the OKS that they promise."""

    detections: int
    error: float | None  # expected calibration error, 0..1; None without detections
    bins: tuple[Bin, ...]


def targets(scene: Scene, oks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What scores are compared with.

    Args:
        scene: people, detections, pairs.
        oks: (P,) of the pairs.

    Returns:
        (D,) highest OKS with a person who counts, 0 without any; (D,) bool: compared at all, which
        a detection is not whose nearest is a crowd or somebody without labelled joints.
    """
    counting = best_oks(scene, oks, scene.unscored)
    anybody = best_oks(scene, oks, np.zeros(len(scene.ids), bool))
    return counting, anybody <= counting


def calibrate(scores: np.ndarray, oks: np.ndarray) -> Calibration | None:
    """Reliability curve and expected calibration error.

    The error is the mean over detections of |mean score - mean OKS| of their bin (Guo et al., On
    Calibration of Modern Neural Networks, ICML 2017), with the OKS in place of "right or wrong".

    Args:
        scores: (N,).
        oks: (N,) in 0..1.

    Returns:
        None where a score is outside 0..1, which then promises no OKS.
    """
    if len(scores) and not (scores.min() >= 0 and scores.max() <= 1):
        return None
    place = np.minimum((scores * BINS).astype(np.int64), BINS - 1)
    counts = np.bincount(place, minlength=BINS)
    promised, found = (np.bincount(place, values, minlength=BINS) for values in (scores, oks))
    rows = tuple(
        Bin(
            low=number / BINS,
            high=(number + 1) / BINS,
            count=int(count),
            score=float(promised[number] / count) if count else None,
            oks=float(found[number] / count) if count else None,
        )
        for number, count in enumerate(counts)
    )
    error = float(np.abs(promised - found).sum() / len(scores)) if len(scores) else None
    return Calibration(len(scores), error, rows)


@dataclass(frozen=True, eq=False)
class Isotonic:
    """A rising step function from score to OKS, between its steps linear."""

    scores: np.ndarray  # (S,) rising
    values: np.ndarray  # (S,) not falling, in 0..1

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Rescore; beyond the fitted scores the end values hold."""
        return np.interp(scores, self.scores, self.values)


@dataclass(frozen=True)
class Rescored:
    """The same detections with scores of a function that was fitted on another split."""

    fitted_on: str  # name of the prediction file
    detections: int  # that it was fitted on
    error: float | None  # expected calibration error after it
    ap: float  # after it; -1 where nobody counts
    skipped: tuple[str, ...] = ()  # what was left out of that split's annotations


def fit_isotonic(scores: np.ndarray, oks: np.ndarray) -> Isotonic:
    """The rising function of the score with the least squared error to the OKS.

    Detections of one score are one value that weighs as much as they are many.
    Ranking hardly changes, as the function rises; what it gives is a score that means something.

    Args:
        scores: (N,) of detections on a split that is not reported, such as ``minival``.
        oks: (N,) of :func:`targets`.

    Raises:
        DataError: no detections.
    """
    if not len(scores):
        raise DataError("rescoring: no detections to fit it on, expected at least one")
    levels, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    means = np.bincount(inverse, oks) / counts
    return Isotonic(levels, isotonic_regression(means, weights=counts).x)
