"""Backgrounds, furniture, and the objects that stand in front of people."""

from __future__ import annotations

import cv2
import numpy as np

from hevitpose.data.synthetic.chance import pick
from hevitpose.data.synthetic.render import Capsule, Ellipsoid, Panel, Solid

_SHIFT = 4  # cv2's fixed-point bits: coordinates in 1/16 pixel


def _noise(rng: np.random.Generator, size: int, cells: int, channels: int = 3) -> np.ndarray:
    """(size, size, channels) float32 smooth noise in -1..1 with ``cells`` bumps along a side."""
    small = rng.integers(0, 256, (cells, cells, channels), np.uint8).astype(np.float32)
    small -= 127.5
    small *= 1 / 127.5
    out = cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC)
    return out.reshape(size, size, channels)


def folds(rng: np.random.Generator, size: int) -> np.ndarray:
    """(size, size) float32 in about -1..1 that shades cloth."""
    return _noise(rng, size, max(size // 10, 4), 1)[..., 0]


def _palette(rng: np.random.Generator, n: int) -> np.ndarray:
    """(n, 3) float32 BGR colours around a common tone, muted more often than bright."""
    chroma = pick(rng, ((10.0, 0.4), (25.0, 0.4), (55.0, 0.2)))
    tone = rng.uniform(50, 205) + rng.normal(0, chroma, 3)
    value = rng.normal(0, 35, (n, 1)) + rng.normal(0, chroma, (n, 3))
    return (tone + value).clip(5, 250).astype(np.float32)


def _ramp(ends: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Colours ``ends`` (2, 3) mixed by ``t`` (h, w) or (3, h, w): (h, w, 3)."""
    first, last = ends[:, :, None, None]
    # Channel by channel: NumPy is slow over an innermost axis of three.
    return np.ascontiguousarray((first + t * (last - first)).transpose(1, 2, 0))


def _gradient(rng: np.random.Generator, size: int) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi)
    axis = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    across, down = float(np.cos(angle)), float(np.sin(angle))
    return _ramp(_palette(rng, 2), (across * axis[None] + down * axis[:, None] + 0.5).clip(0, 1))


def _clouds(rng: np.random.Generator, size: int) -> np.ndarray:
    noise = _noise(rng, size, int(rng.integers(3, 9))).transpose(2, 0, 1)
    return _ramp(_palette(rng, 1) + np.array(((0,), (45,)), np.float32), noise)


def _stripes(rng: np.random.Generator, size: int) -> np.ndarray:
    angle = rng.choice((0.0, np.pi / 2, rng.uniform(0, np.pi)))
    turn = 2 * np.pi / (rng.uniform(0.04, 0.3) * size)
    axis = np.arange(size, dtype=np.float32)
    phase = axis[None] * float(np.cos(angle) * turn) + axis[:, None] * float(np.sin(angle) * turn)
    wave = np.sin(phase) * float(rng.uniform(0.5, 5)) + 0.5
    return _ramp(_palette(rng, 2), wave.clip(0, 1))


def _tiles(rng: np.random.Generator, size: int) -> np.ndarray:
    """Bricks or tiles, each row shifted, each of its own shade."""
    wall, joint = _palette(rng, 2)
    high = max(int(rng.uniform(0.05, 0.16) * size), 5)
    wide = int(high * rng.uniform(1.0, 3.0))
    image = np.empty((size, size, 3), np.float32)
    image[:] = joint
    for row, y in enumerate(range(0, size, high)):
        for x in range(-(row % 2) * wide // 2, size, wide):
            image[y : y + high - 1, max(x, 0) : max(x + wide - 1, 0)] = wall * rng.uniform(0.8, 1.1)
    return image


def _place(rng: np.random.Generator, size: int) -> np.ndarray:
    """A wall or a sky over a floor: things along the horizon, lines running away on the floor."""
    wall, floor, line, *things = _palette(rng, 9)
    if rng.random() < 0.4:  # outdoors
        wall = np.array((rng.uniform(190, 245), rng.uniform(165, 215), rng.uniform(120, 190)))
        floor = np.array((rng.uniform(30, 90), rng.uniform(80, 150), rng.uniform(50, 130)))
    horizon = int(size * rng.uniform(0.35, 0.8))
    fade = np.linspace(0.8, 1.15, size, dtype=np.float32)[:, None, None]
    image = np.empty((size, size, 3), np.float32)
    image[:horizon], image[horizon:] = wall, floor
    image *= fade if rng.random() < 0.5 else fade[::-1]
    if rng.random() < 0.5:
        vanish = (rng.uniform(0, size), horizon - 0.05 * size)
        for x in np.linspace(-2 * size, 3 * size, int(rng.integers(6, 24))):
            share = (horizon - vanish[1]) / (2 * size - vanish[1])
            start = np.array((vanish[0] + share * (x - vanish[0]), horizon))
            _line(image, start, np.array((x, 2.0 * size)), line, 1)
    for colour in things[: rng.integers(0, 7)]:
        w, h = rng.uniform(0.06, 0.35, 2) * size
        x = rng.uniform(-0.1, 1.0) * size
        base = horizon + rng.uniform(-0.02, 0.08) * size
        if rng.random() < 0.6:
            corners = ((x, base), (x + w, base), (x + w, base - h), (x, base - h))
            cv2.fillConvexPoly(image, np.array(corners, np.int32), colour.tolist())
        else:  # a tree
            _line(image, np.array((x, base)), np.array((x, base - h)), colour * 0.5, size // 60 + 1)
            crown = (int(w / 2) + 1, int(h / 2) + 1)
            cv2.ellipse(image, (int(x), int(base - h)), crown, 0, 0, 360, colour.tolist(), -1)
    return image


def _line(image: np.ndarray, a: np.ndarray, b: np.ndarray, colour: np.ndarray, width: int) -> None:
    first, last = np.round(np.array((a, b)) * (1 << _SHIFT)).astype(int).tolist()
    cv2.line(image, first, last, colour.tolist(), width, cv2.LINE_8, _SHIFT)


def _clutter(rng: np.random.Generator, image: np.ndarray, count: int) -> None:
    """Convex shapes, bars and ellipses."""
    size = image.shape[0]
    for colour in _palette(rng, count):
        centre = rng.uniform(0, size, 2)
        kind = pick(rng, (("shape", 0.45), ("bar", 0.2), ("ellipse", 0.35)))
        if kind == "shape":
            angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 7)))
            ring = np.stack((np.cos(angles), np.sin(angles)), 1)
            corners = (centre + rng.uniform(0.04, 0.2) * size * ring).astype(np.int32)
            cv2.fillConvexPoly(image, corners, colour.tolist())
        elif kind == "bar":
            end = centre + rng.normal(0, 0.25 * size, 2)
            _line(image, centre, end, colour, int(rng.uniform(0.01, 0.05) * size) + 1)
        else:
            axes = (rng.uniform(0.02, 0.12, 2) * size + 1).astype(int).tolist()
            at = centre.astype(int).tolist()
            cv2.ellipse(image, at, axes, rng.uniform(0, 180), 0, 360, colour.tolist(), -1)


_KINDS = (
    (_gradient, 0.12),
    (_clouds, 0.13),
    (_stripes, 0.10),
    (_tiles, 0.15),
    (_place, 0.50),
)


def background(rng: np.random.Generator, size: int) -> np.ndarray:
    """(3, size, size) float32 BGR picture without people, 0 to 255."""
    image = pick(rng, _KINDS)(rng, size)
    _clutter(rng, image, pick(rng, ((0, 0.4), (3, 0.4), (8, 0.2))))
    # Out of focus, as behind a portrait; a little always, since shapes were drawn with hard edges.
    blur = size / 256 * pick(rng, ((0.6, 0.4), (1.2, 0.35), (2.5, 0.25)))
    image = cv2.GaussianBlur(image, (0, 0), float(blur))
    cells = max(size // int(rng.integers(3, 24)), 3)
    grain = _noise(rng, size, cells, 1)[..., 0] * float(rng.uniform(2, 16))
    planes = np.ascontiguousarray(image.transpose(2, 0, 1))
    planes += grain
    return planes


def stool(rng: np.random.Generator, hips: np.ndarray, span: float) -> list[Solid]:
    """Something to sit on, below (2,) ``hips``, for a person of ``span`` pixels."""
    colour = _palette(rng, 1)[0][:, None, None]
    x, y = hips
    w, h = rng.uniform(0.1, 0.16) * span, 0.35 * span
    seat = Panel(np.array((x, y + 0.1 * span, 0.0)), (w, 0.025 * span), 0.0, lambda *_: colour)
    if rng.random() < 0.5:  # a box
        body = Panel(np.array((x, y + 0.1 * span + h / 2, 1.0)), (w, h / 2), 0.0, lambda *_: colour)
        return [seat, body]
    legs: list[Solid] = []
    for sign in (-1.0, 1.0):
        top = np.array((x + sign * 0.8 * w, y + 0.1 * span, 1.0))
        foot = top + np.array((sign * 0.1 * w, h, 0.0))
        legs.append(Capsule(top, foot, 0.012 * span, 0.012 * span, lambda *_: colour))
    return [seat, *legs]


def occluder(rng: np.random.Generator, box: np.ndarray) -> list[Solid]:
    """A pole, a ball, a branch or a board that hides a part of a person.

    Args:
        rng: source of randomness.
        box: (4,) x0, y0, x1, y1 of the person in pixels.

    Returns:
        Its solids.
    """
    span = float((box[2:] - box[:2]).max())
    centre = np.append(rng.uniform(box[:2], box[2:]), 0.0)
    first, second = _palette(rng, 2)[:, :, None, None]
    bands = rng.uniform(0, 25)

    def material(t, *_):
        return first + (np.sin(t * float(bands)) * 3.0).clip(0, 1) * (second - first)

    kind = pick(rng, (("pole", 0.3), ("ball", 0.2), ("branch", 0.25), ("board", 0.25)))
    if kind == "pole":
        radius = rng.uniform(0.015, 0.035) * span
        lean = np.array((rng.normal(0, 0.15), 2.0, 0.0)) * span
        return [Capsule(centre - lean, centre + lean, radius, radius, material)]
    if kind == "ball":
        return [Ellipsoid(centre, np.eye(3) * (rng.uniform(0.05, 0.1) * span), material)]
    angle = rng.uniform(0, np.pi)
    if kind == "branch":
        arm = np.array((np.cos(angle), np.sin(angle), 0.0)) * rng.uniform(0.15, 0.35) * span
        radius = rng.uniform(0.02, 0.05) * span
        return [Capsule(centre - arm, centre + arm, radius, radius * 0.7, material)]
    half = (rng.uniform(0.08, 0.22) * span, rng.uniform(0.05, 0.12) * span)
    return [Panel(centre, half, float(rng.normal(0, 0.15)), material)]
