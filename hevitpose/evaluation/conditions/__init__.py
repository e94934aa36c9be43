"""Robustness conditions: the same people and the same weights, a worse picture or a worse box.

Conditions are named ``NAME:LEVEL`` (:mod:`hevitpose.config.conditions`). Each is a function of the
image's (or person's) id and of nothing else that an evaluation has: neither the order of images,
nor the number of workers, nor the training's seed.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import cv2
import numpy as np

from hevitpose.config import Config
from hevitpose.config.conditions import CORRUPTIONS, Condition, parse_condition
from hevitpose.data.synthetic.occluders import draw_occluders
from hevitpose.data.table import PoseTable
from hevitpose.data.transforms import PADDING
from hevitpose.evaluation.conditions.corruptions import FUNCTIONS
from hevitpose.evaluation.conditions.draws import UNIT, Draws
from hevitpose.evaluation.score import Predictions
from hevitpose.records.identity import CONDITIONS

#: Of all pictures: a condition is one fixed data set, as COCO-C is, for every training's seed.
SEED = 0
#: Standard deviations of a jittered box's centre (of its sides) and scale (factor), by level.
BOX_JITTER = (0.05, 0.1, 0.15)
_FARTHEST = 2 * UNIT  # no error is larger than two standard deviations


@dataclass(frozen=True)
class Applied:
    """A condition on the people of one table.

    Args:
        condition: at a level above 0.
        table: the people as they are annotated.
        udp: crops are made by the UDP variant.
        input_size: the crop's (W, H).
    """

    condition: Condition
    table: PoseTable
    input_size: tuple[int, int]
    udp: bool = False

    @property
    def key(self) -> str:
        """Equal for equal pictures of one table."""
        return f"{self.condition} seed{SEED} v{CONDITIONS}"

    def people(self) -> PoseTable:
        """The table to crop by; what it is scored by stays."""
        if self.condition.name != "box-jitter":
            return self.table
        return jittered(self.table, BOX_JITTER[self.condition.level - 1], self.condition)

    @property
    def changes_pictures(self) -> bool:
        """Whether :meth:`picture` does anything: what it makes is worth keeping."""
        return self.condition.name in (*CORRUPTIONS, "occluders")

    def picture(self, image: np.ndarray, number: int) -> np.ndarray:
        """An image of the table under the condition.

        Args:
            image: (h, w, 3) uint8 BGR; not changed.
            number: its place in the table.
        """
        name, level = self.condition
        draws = Draws(SEED, f"image {self.table.image_ids[number]}", self.condition)
        if name in FUNCTIONS:
            return FUNCTIONS[name](image, draws, level)
        if name != "occluders":
            return image
        generator = np.random.Generator(np.random.Philox(key=draws.key))
        return draw_occluders(generator, image, self._around_joints(number), level)

    def _around_joints(self, number: int) -> np.ndarray:
        """(P, 4) x0, y0, x1, y1 of the labelled joints of each person of an image."""
        table = self.table
        found = []
        for person in np.flatnonzero(table.image_index == number):
            joints = table.keypoints[person][table.visibility[person] > 0].astype(np.float64)
            if len(joints) > 1:
                found.append((*joints.min(0), *joints.max(0)))
        return np.array(found).reshape(-1, 4)

    def crop(self, window: np.ndarray) -> np.ndarray:
        """A crop under the condition.

        Args:
            window: (H, W, 3) uint8 BGR.
        """
        name, level = self.condition
        if name == "flip":
            return np.ascontiguousarray(window[:, ::-1])
        if name == "grey":
            return cv2.cvtColor(cv2.cvtColor(window, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
        if name == "resolution":
            return coarse(window, 2**level)
        return window

    def restore(self, predictions: Predictions) -> Predictions:
        """Predictions in the image as it is annotated: a mirrored person is mirrored back."""
        if self.condition.name != "flip":
            return predictions
        rows = self.table.take(predictions.index)
        swapped = list(rows.layout.flip_order)
        keypoints = predictions.keypoints[:, swapped].astype(np.float64)
        # Pixel u of a crop of W becomes W - 1 - u; without UDP the box's middle is at W / 2.
        pixel = 0.0 if self.udp else rows.sizes[:, 0] / self.input_size[0]
        keypoints[..., 0] = (2 * rows.centers[:, 0] - pixel)[:, None] - keypoints[..., 0]
        return dataclasses.replace(
            predictions,
            keypoints=keypoints.astype(np.float32),
            scores=predictions.scores[:, swapped],
        )


def apply(config: Config, table: PoseTable) -> Applied | None:
    """The config's condition on some people; None for the plain evaluation."""
    if config.evaluation.condition is None:
        return None
    condition = parse_condition(config.evaluation.condition)
    assert condition is not None  # the config keeps no level 0
    return Applied(condition, table, config.data.input_size, config.codec.udp)


def jittered(table: PoseTable, deviation: float, condition: Condition) -> PoseTable:
    """People in boxes as a detector would give them: centre and scale off at random.

    Centre + side * N(0, deviation), scale * (1 + N(0, deviation)), each cut at two deviations:
    the Gaussian model of Fang et al. (RMPE, ICCV 2017), who fit it to their detector's offsets.

    Args:
        table: with annotated or detected boxes.
        deviation: of the box's sides, and of the factor.
        condition: part of each person's key.
    """
    errors = np.stack(
        [
            Draws(SEED, f"person {person}", condition).normal((3,))
            for person in table.person_ids.tolist()
        ]
    ).clip(-_FARTHEST, _FARTHEST) * (deviation / UNIT)
    sides = table.sizes.astype(np.float64) / PADDING
    centers = table.centers + errors[:, :2] * sides
    sizes = table.sizes * (1 + errors[:, 2:])
    return dataclasses.replace(
        table, centers=centers.astype(np.float32), sizes=sizes.astype(np.float32)
    )


def coarse(window: np.ndarray, factor: int) -> np.ndarray:
    """A crop with one value for ``factor`` x ``factor`` pixels, brought back bilinearly.

    Args:
        window: (H, W, 3) uint8, H and W multiples of ``factor``.
        factor: a power of two.
    """
    height, width = window.shape[:2]
    blocks = window.reshape(height // factor, factor, width // factor, factor, 3)
    total = blocks.sum((1, 3), dtype=np.int64)
    small = ((total + factor * factor // 2) // (factor * factor)).astype(np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR_EXACT)
