"""The fifteen corruptions of Hendrycks & Dietterich, *Benchmarking Neural Network Robustness to
Common Corruptions and Perturbations*, ICLR 2019, at their five severities.

Parameters are those of the authors' ImageNet-C (the package ``imagenet_c``); like in its
generalisation to any size (``imagecorruptions``; Michaelis et al. 2019), those in pixels stay as
they are. Written anew in integer arithmetic, so that one seed gives one picture everywhere.
docs/robustness.md says where a corruption differs from the original.

Every function takes an image (h, w, 3) uint8 BGR, its random numbers and a severity from 1 to 5,
and gives a new image of the same kind.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image

from hevitpose.config.conditions import CORRUPTIONS
from hevitpose.evaluation.conditions.draws import UNIT, Draws
from hevitpose.evaluation.conditions.filters import (
    convolve,
    disk,
    gaussian,
    plasma,
    sample,
    smooth_field,
    streak,
    zoom,
)

Corruption = Callable[[np.ndarray, Draws, int], np.ndarray]


def _pixels(values: np.ndarray) -> np.ndarray:
    return np.rint(values).clip(0, 255).astype(np.uint8)


def _gaussian_noise(image: np.ndarray, draws: Draws, severity: int) -> np.ndarray:
    deviation = (0.08, 0.12, 0.18, 0.26, 0.38)[severity - 1]
    return _pixels(image + draws.normal(image.shape) * (255 * deviation / UNIT))


def _shot_noise(image: np.ndarray, draws: Draws, severity: int) -> np.ndarray:
    photons = (60, 25, 12, 5, 3)[severity - 1]
    counts = draws.poisson(np.arange(256) * photons / 255, image)
    return _pixels(counts * (255 / photons))


def _impulse_noise(image: np.ndarray, draws: Draws, severity: int) -> np.ndarray:
    amount = (0.03, 0.06, 0.09, 0.17, 0.27)[severity - 1]
    hit = draws.bits(image.shape) < round(amount * 65536)
    salt = (draws.bits(image.shape) & 1).astype(bool)
    return np.where(hit, np.where(salt, 255, 0), image).astype(np.uint8)


def _defocus_blur(image: np.ndarray, draws: Draws, severity: int) -> np.ndarray:
    radius, alias_blur = ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))[severity - 1]
    return _pixels(convolve(image, disk(radius, alias_blur)))


def _glass_blur(image: np.ndarray, draws: Draws, severity: int) -> np.ndarray:
    sigma, reach, rounds = ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2))[
        severity - 1
    ]
    image = _pixels(gaussian(image, sigma))
    height, width = image.shape[:2]
    apart = 2 * reach + 1  # pixels so far apart are exchanged at once: their partners differ
    for _ in range(rounds):
        moves = draws.integers(-reach, reach, (2, height, width))
        for top in range(reach, reach + apart):
            for left in range(reach, reach + apart):
                rows = np.arange(top, height - reach, apart)[:, None]
                columns = np.arange(left, width - reach, apart)[None]
                other_rows = rows + moves[0, rows, columns]
                other_columns = columns + moves[1, rows, columns]
                here = image[rows, columns].copy()
                image[rows, columns] = image[other_rows, other_columns]
                image[other_rows, other_columns] = here
    return _pixels(gaussian(image, sigma))


def _motion_blur(image: np.ndarray, draws: Draws, severity: int) -> np.ndarray:
    radius, sigma = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))[severity - 1]
    return _pixels(convolve(image, streak(radius, sigma, float(draws.uniform(-45, 45)))))


def _zoom_blur(image: np.ndarray, draws: Draws, severity: int) -> np.ndarray:
    last, step = ((110, 1), (115, 1), (120, 2), (125, 2), (130, 3))[severity - 1]
    percents = range(100, last + 1, step)
    total = image.astype(np.int64)
    for percent in percents:
        total += zoom(image, percent)
    return _pixels(total / (len(percents) + 1))


def _snow(image: np.ndarray, draws: Draws, severity: int) -> np.ndarray:
    mean, deviation, size, threshold, radius, sigma, kept = (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    )[severity - 1]
    layer = _pixels(255 * (mean + draws.normal(image.shape[:2]) * (deviation / UNIT)))
    layer = zoom(layer, round(100 * size))
    layer[layer < 255 * threshold] = 0
    flakes = convolve(layer, streak(radius, sigma, float(draws.uniform(-135, -45))))
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[..., None] * 1.5 + 127.5
    pale = kept * image + (1 - kept) * np.maximum(image, grey)
    return _pixels(pale + (np.rint(flakes) + np.rint(flakes[::-1, ::-1]))[..., None])


def _frost(image: np.ndarray, draws: Draws, severity: int) -> np.ndarray:
    kept, added = ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))[severity - 1]
    return _pixels(kept * image + added * _ice(image.shape[:2], draws))


def _ice(shape: tuple[int, int], draws: Draws) -> np.ndarray:
    """A frosted pane: bright ridges of fractal noise, denser in some parts; (h, w, 3) 0 to 255."""
    side = _power_of_two(max(shape))
    ridges = 1 - np.abs(2 * plasma(draws.bits((2, side, side)), 1.3) - 1)
    where = plasma(draws.bits((2, side, side)), 2)
    ice = (ridges * ridges * (0.35 + 0.65 * where))[: shape[0], : shape[1], None]
    return ice * np.array([255.0, 235.0, 220.0])  # bluish, in BGR


def _fog(image: np.ndarray, draws: Draws, severity: int) -> np.ndarray:
    thickness, decay = ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4))[severity - 1]
    height, width = image.shape[:2]
    side = _power_of_two(max(height, width))
    mist = plasma(draws.bits((2, side, side)), decay)[:height, :width, None]
    brightest = max(int(image.max()), 1)
    share = brightest / (brightest + 255 * thickness)
    return _pixels((image + 255 * thickness * mist) * share)


def _power_of_two(size: int) -> int:
    return 1 << max(size - 1, 1).bit_length()


def _brightness(image: np.ndarray, draws: Draws, severity: int) -> np.ndarray:
    """The value of HSV raised: the largest channel, the others in proportion."""
    value = image.max(2, keepdims=True).astype(np.int64)
    raised = np.minimum(value * 10 + 255 * severity, 2550)  # in tenths: 0.1 a severity
    scaled = image * raised / (10 * np.maximum(value, 1))
    return _pixels(np.where(value > 0, scaled, raised / 10))


def _contrast(image: np.ndarray, draws: Draws, severity: int) -> np.ndarray:
    kept = (0.4, 0.3, 0.2, 0.1, 0.05)[severity - 1]
    means = image.sum((0, 1), dtype=np.int64) / (image.shape[0] * image.shape[1])
    return _pixels((image - means) * kept + means)


def _elastic_transform(image: np.ndarray, draws: Draws, severity: int) -> np.ndarray:
    strength, sigma, shift = (
        (244 * 2, 244 * 0.7, 244 * 0.1),
        (244 * 2, 244 * 0.08, 244 * 0.2),
        (244 * 0.05, 244 * 0.01, 244 * 0.02),
        (244 * 0.07, 244 * 0.01, 244 * 0.02),
        (244 * 0.12, 244 * 0.01, 244 * 0.02),
    )[severity - 1]
    height, width = image.shape[:2]
    noise = draws.bits((2, height, width)).astype(np.int64) - 32768
    dx, dy = (smooth_field(field, sigma) * (strength / 32768) for field in noise)
    x, y = np.arange(width) + dx, np.arange(height)[:, None] + dy
    centre = np.array([width // 2, height // 2], np.float64)
    reach = min(height, width) // 3
    corners = centre + reach * np.array([[1.0, 1], [1, -1], [-1, -1]])
    moved = corners + draws.uniform(-shift, shift, (3, 2))
    # The affine map of the corners, undone: from the places they moved to, back to the image.
    u, v = (moved[0] - moved[1]) / (2 * reach), (moved[1] - moved[2]) / (2 * reach)
    determinant = v[0] * u[1] - v[1] * u[0]
    x, y = x - moved[1, 0], y - moved[1, 1]
    back_x = (x * u[1] - y * u[0]) / determinant + corners[1, 0]
    back_y = (y * v[0] - x * v[1]) / determinant + corners[1, 1]
    return sample(image, back_x, back_y)


def _pixelate(image: np.ndarray, draws: Draws, severity: int) -> np.ndarray:
    share = (60, 50, 40, 30, 25)[severity - 1]
    height, width = image.shape[:2]
    small = (max(width * share // 100, 1), max(height * share // 100, 1))
    picture = Image.fromarray(image).resize(small, Image.Resampling.BOX)
    return np.array(picture.resize((width, height), Image.Resampling.BOX))


def _jpeg_compression(image: np.ndarray, draws: Draws, severity: int) -> np.ndarray:
    quality = (25, 18, 15, 10, 7)[severity - 1]
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image[..., ::-1])).save(file, "JPEG", quality=quality)
    with Image.open(file) as picture:
        return np.ascontiguousarray(np.asarray(picture.convert("RGB"))[..., ::-1])


_FUNCTIONS: tuple[Corruption, ...] = (
    *(_gaussian_noise, _shot_noise, _impulse_noise),
    *(_defocus_blur, _glass_blur, _motion_blur, _zoom_blur),
    *(_snow, _frost, _fog, _brightness),
    *(_contrast, _elastic_transform, _pixelate, _jpeg_compression),
)
#: By name.
FUNCTIONS: dict[str, Corruption] = dict(zip(CORRUPTIONS, _FUNCTIONS, strict=True))
