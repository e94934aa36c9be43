"""Section 2 of the protocol as plain loops on single points and people: what the fast code is
compared with. Nothing here is shared with the package.
"""

from __future__ import annotations

import math

import numpy as np


def box_to_crop(box, aspect, padding=1.25):
    """Box x y w h to (centre, size): the shorter side extended to W/H = aspect, times padding."""
    x, y, w, h = box
    center = (x + w / 2, y + h / 2)
    if w > aspect * h:
        h = w / aspect
    elif w < aspect * h:
        w = h * aspect
    return center, (w * padding, h * padding)


def to_crop(point, center, size, degrees, output_size, udp):
    """One image point to crop pixels, from the directions: the crop's up is (sin r, -cos r)."""
    up = (math.sin(math.radians(degrees)), -math.cos(math.radians(degrees)))
    right = (-up[1], up[0])  # a quarter turn clockwise from up, y down
    offset = (point[0] - center[0], point[1] - center[1])
    along = offset[0] * right[0] + offset[1] * right[1]
    down = -(offset[0] * up[0] + offset[1] * up[1])
    width, height = output_size
    if udp:
        return (
            along * (width - 1) / size[0] + (width - 1) / 2,
            down * (height - 1) / size[1] + (height - 1) / 2,
        )
    scale = width / size[0]
    return along * scale + width / 2, down * scale + height / 2


def flip_person(points, visible, pairs, image_width):
    """x' = W - x - 1 and left and right exchanged."""
    flipped = [(image_width - x - 1, y) for x, y in points]
    seen = list(visible)
    for left, right in pairs:
        flipped[left], flipped[right] = flipped[right], flipped[left]
        seen[left], seen[right] = seen[right], seen[left]
    return np.array(flipped), np.array(seen)


def bilinear_crop(image, inverse, output_size):
    """Every crop pixel looked up in the image, zero outside; float64."""
    width, height = output_size
    tall, wide = image.shape[:2]
    out = np.zeros((height, width, *image.shape[2:]))
    for v in range(height):
        for u in range(width):
            x, y = inverse @ np.array([u, v, 1.0])
            x0, y0 = math.floor(x), math.floor(y)
            for i in (0, 1):
                for j in (0, 1):
                    if 0 <= x0 + i < wide and 0 <= y0 + j < tall:
                        share = abs(1 - i - (x - x0)) * abs(1 - j - (y - y0))
                        out[v, u] += share * image[y0 + j, x0 + i]
    return out
