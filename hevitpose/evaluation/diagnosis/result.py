"""What a diagnosis found, as one object: for the table, the picture and json."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from hevitpose.data.registry import label_of
from hevitpose.evaluation.diagnosis.calibration import Calibration, Rescored
from hevitpose.evaluation.diagnosis.labels import TYPES
from hevitpose.evaluation.diagnosis.rescoring import ScoreErrors
from hevitpose.models.keypoints import KeypointLayout


@dataclass(frozen=True)
class Step:
    """The metric after correcting one more type of error; -1 where nobody counts."""

    name: str
    value: float  # AP in 0..1, or PCKh@0.5 in percent
    at: dict[str, float]  # at single thresholds: {"0.5": ..., "0.75": ...}
    cost: float | None  # what the correction gains, also below 0; None for the baseline


@dataclass(frozen=True, eq=False)
class Person:
    """One annotated person, with what was predicted, for looking at."""

    image: str  # file name below the folder of images
    image_size: tuple[int, int]  # (W, H) by the annotations; 0 where they do not say
    image_id: int
    id: int  # the annotation's, or the position in the file
    quality: float  # OKS, or the mean error in head sizes
    letters: str  # a label per joint
    truth: np.ndarray  # (K, 2) image pixels, 0-based
    labelled: np.ndarray  # (K,) bool
    predicted: np.ndarray | None  # (K, 2); None: nobody was matched


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """Which errors a set of predictions makes, and what each type of error costs."""

    dataset: str
    rules: str  # "default", "coco-analyze", "ours, in head sizes"
    metric: str  # "AP", "PCKh@0.5"
    layout: KeypointLayout
    stored_pixels: bool  # photographs are read without EXIF's orientation
    detections: int
    people: int  # who count
    matched: int  # detections that belong to somebody
    joint_counts: np.ndarray  # (5, K) int: joints by type, in the order of TYPES
    steps: tuple[Step, ...]
    alone: dict[str, float]  # the metric after correcting one type alone
    people_counts: dict[str, int] = field(default_factory=dict)  # of the annotation file
    skipped: tuple[str, ...] = ()  # what was left out of it
    background: tuple[int, int] | None = None  # false positives, false negatives at OKS 0.5
    scores: ScoreErrors | None = None
    calibration: Calibration | None = None
    rescored: Rescored | None = None
    #: Matched people by rising OKS, or falling error in head sizes; then those whom nobody found.
    worst: tuple[Person, ...] = field(default=(), repr=False)
    details: dict[str, Any] = field(default_factory=dict, repr=False)  # more, for json alone

    @property
    def counts(self) -> dict[str, int]:
        """Joints of each type."""
        return dict(zip(TYPES, self.joint_counts.sum(1).tolist(), strict=True))

    @property
    def per_keypoint(self) -> dict[str, list[int]]:
        """Joints of each type, joint by joint in the layout's order."""
        return dict(zip(TYPES, self.joint_counts.tolist(), strict=True))

    @property
    def keypoints(self) -> int:
        """Labelled joints of matched people."""
        labels = self.details.get("keypoints")
        return int(self.joint_counts.sum() if labels is None else labels)

    def to_dict(self) -> dict[str, Any]:
        """Plain json data; -1 stands for "nobody counts", as in COCO's evaluators."""
        return {
            "dataset": self.dataset,
            **({"label": label} if (label := label_of(self.dataset)) else {}),
            "rules": self.rules,
            "metric": self.metric,
            "names": list(self.layout.names),
            "detections": self.detections,
            "people": self.people,
            "matched": self.matched,
            "people_counts": self.people_counts,
            "skipped": self.skipped,
            "keypoints": self.keypoints,
            "counts": self.counts,
            "per_keypoint": self.per_keypoint,
            "steps": [asdict(step) for step in self.steps],
            "alone": self.alone,
            "score_errors": None if self.scores is None else asdict(self.scores),
            "calibration": None if self.calibration is None else asdict(self.calibration),
            "rescored": None if self.rescored is None else asdict(self.rescored),
            **self.details,
        }
