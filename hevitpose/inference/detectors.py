"""People detectors by name: where the boxes of ``hevitpose predict`` come from.

One of your own is a function under a name, in a file that ``--import`` names::

    @register_detector("mine")
    def make(variant: str | None, weights: Path | None, device: str) -> Detector:
        def detect(image: np.ndarray) -> Found:  # (H, W, 3) uint8 RGB
            ...
            return Found(boxes, scores)

        return detect

It is called once: ``variant`` is what follows a colon (``--detector mine:large``), ``weights`` the
file of ``--detector-weights``, ``device`` that of ``--device``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np

from hevitpose.errors import UnavailableError, UsageError, unknown_name
from hevitpose.inference.boxes import suppress


class Found(NamedTuple):
    """The people that a detector sees in one image."""

    boxes: np.ndarray  # (P, 4) x, y, w, h in pixels
    scores: np.ndarray  # (P,) in 0..1


class Detector(Protocol):
    """Anything that finds people in an image."""

    def __call__(self, image: np.ndarray, /) -> Found:
        """The people in ``image``, (H, W, 3) uint8 RGB."""


Make = Callable[[str | None, Path | None, str], Detector]
_MAKERS: dict[str, Make] = {}


def register_detector(name: str) -> Callable[[Make], Make]:
    """Make a detector available as ``--detector NAME``.

    Args:
        name: without a colon; what follows one is the detector's variant.

    Raises:
        UsageError: the name is taken.
    """

    def decorate(make: Make) -> Make:
        if name in _MAKERS or ":" in name:
            raise UsageError(
                f"detector {name!r}: already registered, or has a colon; choose another name"
            )
        _MAKERS[name] = make
        return make

    return decorate


def create_detector(name: str, *, weights: Path | None = None, device: str = "cpu") -> Detector:
    """A detector by its name.

    Args:
        name: ``hog``, ``torchvision``, ``torchvision:NAME``, ``none``, or a registered one.
        weights: a file for those that have weights.
        device: ``cpu``, ``cuda``, ``cuda:1``.

    Raises:
        UsageError: no such detector or variant, or one without weights is given some.
        UnavailableError: this machine cannot run it; the message says what is missing.
        DataError: the weights cannot be read.
    """
    kind, colon, variant = name.partition(":")
    if kind not in _MAKERS:
        raise unknown_name("detector", kind, _MAKERS)
    made = _MAKERS[kind](variant if colon else None, weights, device)
    if not callable(made):
        raise UsageError(
            f"--detector {name}: its function returned {type(made).__name__}, expected a detector"
        )
    return made


def whole_image(image: np.ndarray) -> Found:
    """One person, who fills the image."""
    height, width = image.shape[:2]
    return Found(np.array([[0, 0, width, height]], np.float32), np.ones(1, np.float32))


@register_detector("none")
def _none(variant: str | None, weights: Path | None, device: str) -> Detector:
    _refuse("none", variant, weights)
    return whole_image


@register_detector("hog")
def _hog(variant: str | None, weights: Path | None, device: str) -> Detector:
    _refuse("hog", variant, weights)
    return HogDetector()


@register_detector("torchvision")
def _torchvision(variant: str | None, weights: Path | None, device: str) -> Detector:
    from hevitpose.inference.torchvision_detector import DEFAULT, TorchvisionDetector

    return TorchvisionDetector(DEFAULT if variant is None else variant, weights, device)


def _refuse(name: str, variant: str | None, weights: Path | None) -> None:
    if variant is not None:
        raise UsageError(f"--detector {name}:{variant}: {name} has no variants, expected {name}")
    if weights is not None:
        raise UsageError(f"--detector-weights {weights}: {name} has no weights")


class HogDetector:
    """OpenCV's people detector: gradients and a linear SVM (Dalal and Triggs, CVPR 2005).

    It comes with OpenCV, needs no download, and knows upright people whose whole body is in the
    image: it misses most people of ordinary photographs, and takes other upright things for some.

    Raises:
        UnavailableError: this OpenCV has none.
    """

    _SIDE = 400  # the longer side of the searched image: larger finds more, and more that is none
    _BORDER = 48  # repeated pixels around it: the windows are larger than their people
    _OVERLAP = 0.5  # of the smaller box: above it, the better detection stays
    # Of a detection (64 x 128 and its multiples), the part that the person takes.
    _INSIDE = np.array([0.1, 0.06, 0.8, 0.88])
    _SURE = 0.35  # distance from the SVM's plane that is scored 0.5

    def __init__(self) -> None:
        if not hasattr(cv2, "HOGDescriptor"):
            raise UnavailableError(
                f"--detector hog: OpenCV {cv2.__version__} is installed without its people "
                "detector; install opencv-contrib-python-headless in place of "
                "opencv-python-headless, or give another --detector or --boxes"
            )
        self._hog = cv2.HOGDescriptor()
        self._hog.setSVMDetector(np.asarray(cv2.HOGDescriptor.getDefaultPeopleDetector()))

    def __call__(self, image: np.ndarray, /) -> Found:
        """The people in an image, (H, W, 3) uint8 RGB, best first."""
        scale = self._SIDE / max(image.shape[:2])
        size = [max(1, round(side * scale)) for side in image.shape[1::-1]]
        shrunk = cv2.resize(image[..., ::-1], size, interpolation=cv2.INTER_AREA)
        around = self._BORDER
        shrunk = cv2.copyMakeBorder(shrunk, around, around, around, around, cv2.BORDER_REPLICATE)
        windows, distances = self._hog.detectMultiScale(
            shrunk, winStride=(8, 8), padding=(16, 16), scale=1.05, groupThreshold=0
        )
        if not len(windows):
            return Found(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
        corners, sides = np.hsplit(np.asarray(windows, np.float64), 2)
        corners = (corners - around + sides * self._INSIDE[:2]) / scale
        boxes = np.hstack([corners, sides * self._INSIDE[2:] / scale]).astype(np.float32)
        scores = 1 / (1 + np.exp(-2 * (np.asarray(distances).reshape(-1) - self._SURE)))
        kept = suppress(boxes, scores, self._OVERLAP)
        return Found(boxes[kept], scores[kept].astype(np.float32))
