"""Objects before the people of a finished picture: those that the renderer itself draws."""

from __future__ import annotations

import cv2
import numpy as np

from hevitpose.data.synthetic import background as bg
from hevitpose.data.synthetic.render import Canvas, Light

_SUN = np.array((-0.4, -0.6, -0.7))


def draw_occluders(
    rng: np.random.Generator, image: np.ndarray, boxes: np.ndarray, count: int
) -> np.ndarray:
    """A picture with poles, balls, branches and boards over everybody.

    Args:
        rng: the only source of randomness.
        image: (h, w, 3) uint8 BGR; not changed.
        boxes: (P, 4) x0, y0, x1, y1 of the people in pixels.
        count: objects per person.

    Returns:
        (h, w, 3) uint8 BGR.
    """
    planes = np.ascontiguousarray(image.transpose(2, 0, 1)).astype(np.float32)
    light = Light(_SUN / np.linalg.norm(_SUN), 0.55)
    canvas = Canvas(planes, light, np.zeros(image.shape[:2], np.float32))
    for box in boxes:
        for number in range(count):
            canvas.draw(bg.occluder(rng, box), number + 1)
    return cv2.merge([cv2.convertScaleAbs(plane.clip(0, 255)) for plane in canvas.image])
