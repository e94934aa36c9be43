"""Textured backgrounds and the objects that stand in front of people."""

from __future__ import annotations

import cv2
import numpy as np

from hevitpose.data.synthetic.render import Capsule, Ellipsoid

_SHIFT = 4  # cv2's fixed-point bits: polygons at 1/16 pixel


def _noise(rng: np.random.Generator, size: int, cells: int, channels: int = 3) -> np.ndarray:
    """(size, size, channels) smooth noise in -1..1 with ``cells`` bumps along a side."""
    small = rng.integers(0, 256, (cells, cells, channels), np.uint8).astype(np.float32)
    out = cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC)
    return (out.reshape(size, size, channels) - 127.5) / 127.5


def folds(rng: np.random.Generator, size: int) -> np.ndarray:
    """(size, size) float32 noise in about -1..1 that shades cloth like folds."""
    fine, coarse = max(size // 6, 4), max(size // 14, 3)
    return _noise(rng, size, coarse, 1)[..., 0] * 0.7 + _noise(rng, size, fine, 1)[..., 0] * 0.5


def _palette(rng: np.random.Generator, n: int) -> np.ndarray:
    """(n, 3) float32 colours around a common tone, BGR."""
    tone = rng.uniform(40, 215, 3)
    spread = rng.uniform(15, 60)
    return (tone + rng.normal(0, spread, (n, 3))).clip(5, 250).astype(np.float32)


def _gradient(rng: np.random.Generator, size: int) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi)
    axis = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    t = (np.cos(angle) * axis[None] + np.sin(angle) * axis[:, None] + 0.5).clip(0, 1)[..., None]
    a, b = _palette(rng, 2)
    return a + t * (b - a)


def _stripes(rng: np.random.Generator, size: int) -> np.ndarray:
    angle = rng.choice((0.0, np.pi / 2, rng.uniform(0, np.pi)))
    axis = np.arange(size, dtype=np.float32)
    phase = np.cos(angle) * axis[None] + np.sin(angle) * axis[:, None]
    period = rng.uniform(0.03, 0.25) * size
    t = (np.sin(phase * (2 * np.pi / period)) * rng.uniform(1, 6) + 0.5).clip(0, 1)[..., None]
    a, b = _palette(rng, 2)
    return a + t * (b - a)


def _room(rng: np.random.Generator, size: int) -> np.ndarray:
    """A wall or sky over a floor, with boxes along the horizon."""
    wall, floor, *things = _palette(rng, 8)
    horizon = int(size * rng.uniform(0.35, 0.85))
    fade = np.linspace(0.75, 1.2, size, dtype=np.float32)[:, None, None]
    image = np.empty((size, size, 3), np.float32)
    image[:horizon] = wall
    image[horizon:] = floor
    image *= fade if rng.random() < 0.5 else fade[::-1]
    image = np.ascontiguousarray(image)
    for colour in things[: rng.integers(0, 7)]:
        w, h = rng.uniform(0.06, 0.35, 2) * size
        x = rng.uniform(-0.1, 1.0) * size
        base = horizon + rng.uniform(-0.02, 0.08) * size
        _polygon(
            image, np.array(((x, base), (x + w, base), (x + w, base - h), (x, base - h))), colour
        )
    return image


def _polygon(image: np.ndarray, points: np.ndarray, colour: np.ndarray) -> None:
    fixed = np.round(points * (1 << _SHIFT)).astype(np.int32)
    # Anti-aliased filling exists for 8-bit images only; a background may have hard edges.
    cv2.fillConvexPoly(image, fixed, colour.tolist(), cv2.LINE_8, _SHIFT)


def _clutter(rng: np.random.Generator, image: np.ndarray, count: int) -> None:
    """Random convex shapes, limb-like bars and ellipses behind the people."""
    size = image.shape[0]
    for colour in _palette(rng, count):
        centre = rng.uniform(0, size, 2)
        kind = rng.integers(3)
        if kind == 0:
            angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 7)))
            radius = rng.uniform(0.04, 0.2) * size
            ring = np.stack((np.cos(angles), np.sin(angles)), 1)
            _polygon(image, centre + radius * ring, colour)
        elif kind == 1:
            end = centre + rng.normal(0, 0.25 * size, 2)
            cv2.line(
                image,
                centre.astype(int).tolist(),
                end.astype(int).tolist(),
                colour.tolist(),
                int(rng.uniform(0.01, 0.06) * size) + 1,
            )
        else:
            axes = (rng.uniform(0.02, 0.12, 2) * size + 1).astype(int)
            cv2.ellipse(
                image,
                centre.astype(int).tolist(),
                axes.tolist(),
                rng.uniform(0, 180),
                0,
                360,
                colour.tolist(),
                -1,
            )


def background(rng: np.random.Generator, size: int) -> np.ndarray:
    """(3, size, size) float32 BGR picture without people, 0 to 255."""
    kind = rng.choice(4, p=(0.2, 0.2, 0.15, 0.45))
    image = (
        _gradient(rng, size),
        _noise(rng, size, int(rng.integers(3, 9))) * 60.0 + _palette(rng, 1)[0],
        _stripes(rng, size),
        _room(rng, size),
    )[kind]
    image = np.ascontiguousarray(image, np.float32)
    _clutter(rng, image, int(rng.integers(0, 12)))
    texture = _noise(rng, size, max(size // int(rng.integers(3, 24)), 3), 1)
    image += texture * rng.uniform(2, 22)
    return np.ascontiguousarray(image.transpose(2, 0, 1))


def occluder(rng: np.random.Generator, box: np.ndarray) -> list[Capsule | Ellipsoid]:
    """A pole, a ball or a block that hides a small part of a person.

    Args:
        rng: source of randomness.
        box: (4,) x0, y0, x1, y1 of the person in pixels.

    Returns:
        Its solids.
    """
    span = float(max(box[2] - box[0], box[3] - box[1]))
    x, y = rng.uniform(box[:2], box[2:])
    first, second = _palette(rng, 2)[:, :, None, None]

    def material(t, side, *_):
        return first + (np.sin(t * 20.0) * 3.0).clip(0, 1) * (second - first)

    kind = rng.integers(3)
    if kind == 0:
        radius = rng.uniform(0.015, 0.035) * span
        lean = rng.normal(0, 0.1) * span
        return [
            Capsule(
                np.array((x - lean, y - 2 * span, 0.0)),
                np.array((x + lean, y + 2 * span, 0.0)),
                radius,
                radius,
                material,
            )
        ]
    if kind == 1:
        radius = rng.uniform(0.05, 0.1) * span
        return [Ellipsoid(np.array((x, y, 0.0)), np.eye(3) * radius, material)]
    length, radius = rng.uniform(0.15, 0.35) * span, rng.uniform(0.03, 0.07) * span
    angle = rng.uniform(0, np.pi)
    arm = np.array((np.cos(angle), np.sin(angle), 0.0)) * length
    centre = np.array((x, y, 0.0))
    return [Capsule(centre - arm, centre + arm, radius, radius * rng.uniform(0.6, 1), material)]
