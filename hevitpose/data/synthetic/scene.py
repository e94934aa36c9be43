"""One picture: a background, some people, what stands before them, and who shows where."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from hevitpose.data.synthetic import background as bg
from hevitpose.data.synthetic.body import POINTS, pose_body, sample_build, sample_pose
from hevitpose.data.synthetic.person import FLESH, Body, bounds, camera, place, sample_outfit
from hevitpose.data.synthetic.render import Canvas, Capsule, Ellipsoid, Light

#: Points of the head; they are left unlabelled where the person's own head hides them, as
#: annotators of COCO do.
FACE = np.array([name.split("_")[-1] in ("nose", "eye", "ear") for name in POINTS])


@dataclass(frozen=True)
class Person:
    """What the annotations say about one person.

    Attributes:
        points: (21, 2) pixels, 0-based, of ``POINTS``; also where they are outside the image.
        visibility: (21,) 0 outside the image or not labelled, 1 hidden, 2 visible.
        box: (4,) x, y, w, h of the whole silhouette, hidden parts too, clipped to the image.
        head_box: (4,) x0, y0, x1, y1 around the head from upper neck to head top, not clipped.
        span: longer side in pixels of the whole silhouette, not clipped.
        centre: (2,) centre of the whole silhouette, not clipped.
        area: visible pixels.
        polygons: outlines of what is visible, each a flat list x, y, x, y ...
        family: which kind of pose, ``walk`` for instance.
    """

    points: np.ndarray
    visibility: np.ndarray
    box: np.ndarray
    head_box: np.ndarray
    span: float
    centre: np.ndarray
    area: int
    polygons: list[list[float]]
    family: str


@dataclass(frozen=True)
class Scene:
    """``image`` (size, size, 3) uint8 BGR and the people in it."""

    image: np.ndarray
    people: list[Person]


@dataclass
class _Placed:
    """A person on the canvas, before and after it is painted."""

    body: Body
    family: str
    solids: list[Capsule | Ellipsoid]
    scale: float
    offset: np.ndarray
    box: np.ndarray  # x0, y0, x1, y1
    self_hidden: np.ndarray | None = None


def _yaw(rng: np.random.Generator) -> float:
    """Half the people face the camera, as in photographs; the others face anywhere."""
    return float(rng.normal(0, 35) if rng.random() < 0.55 else rng.uniform(-180, 180))


def _sample_person(rng: np.random.Generator, elevation: float, roll: float) -> tuple[Body, str]:
    build, outfit = sample_build(rng), sample_outfit(rng)
    family, pose = sample_pose(rng)
    pose["yaw"] = _yaw(rng)
    view = camera(elevation, roll, rng.uniform(2.8, 8.0))
    return Body(pose_body(build, pose), build, outfit, view), family


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over the smaller of two boxes x0, y0, x1, y1."""
    wh = (np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])).clip(0)
    smaller = min(np.prod(a[2:] - a[:2]), np.prod(b[2:] - b[:2]))
    return float(wh[0] * wh[1] / smaller)


def _arrange(rng: np.random.Generator, bodies: list[tuple[Body, str]], size: int) -> list[_Placed]:
    """Sizes and positions: people may overlap, but by no more than about a third."""
    placed: list[_Placed] = []
    low, high = ((0.62, 0.96), (0.48, 0.8), (0.4, 0.68))[min(len(bodies), 3) - 1]
    truncate = rng.random() < 0.06
    for body, family in bodies:
        unit = body.solids()
        box = bounds(unit)
        best, best_worst = None, np.inf
        for _ in range(12):
            scale = rng.uniform(low, high) * size / float((box[2:] - box[:2]).max())
            room = size - (box[2:] - box[:2]) * scale
            slack = 0.25 * size if truncate else 0.0
            corner = rng.uniform(np.minimum(-slack, room), np.maximum(room + slack, 1e-3))
            offset = corner - box[:2] * scale
            here = box * scale + np.tile(offset, 2)
            worst = max((_overlap(here, other.box) for other in placed), default=0.0)
            candidate = _Placed(body, family, [], scale, offset, here)
            if worst < best_worst:
                best, best_worst = candidate, worst
            if best_worst < rng.uniform(0.1, 0.5):
                break
        best.solids = place(unit, best.scale, best.offset)
        placed.append(best)
    placed.sort(key=lambda p: p.scale)  # larger is nearer
    return placed


def _polygons(mask: np.ndarray, box: tuple[int, int, int, int]) -> list[list[float]]:
    x0, y0, x1, y1 = box
    contours, _ = cv2.findContours(
        mask[y0:y1, x0:x1].astype(np.uint8),
        cv2.RETR_EXTERNAL,
        cv2.CHAIN_APPROX_SIMPLE,
        offset=(x0, y0),
    )
    # A polygon needs three corners; specks of a pixel or two are left out.
    return [c.reshape(-1).astype(float).tolist() for c in contours if len(c) >= 3]


def _head_box(points: np.ndarray, body: Body, scale: float, offset: np.ndarray) -> np.ndarray:
    """Upright rectangle around the head from upper neck to head top, ears included."""
    h = body.build.head / 0.130
    s = body.skeleton
    corners = [s["upper_neck"], s["head_top"]]
    for x, z in ((0.05, 0.0), (-0.05, 0.0), (0.0, 0.065), (0.0, -0.05)):
        corners.append(s["head_centre"] + s.head @ (np.array((x, 0.0, z)) * h))
    xy = body._project(np.stack(corners))[0][:, :2] * scale + offset
    return np.concatenate((xy.min(0), xy.max(0)))


def _visible(p: _Placed, canvas: Canvas, points: np.ndarray) -> np.ndarray:
    """Which points show on their own body: nothing of it lies clearly nearer to the camera."""
    size = canvas.owner.shape[0]
    n = len(POINTS)
    depth = p.body.xyz[:n, 2] * p.scale
    flesh = FLESH * p.body.build.girth * p.body.scales[:n] * p.scale
    ij = np.round(points).astype(int).clip(0, size - 1)
    surface = canvas.depth[ij[:, 1], ij[:, 0]]
    return (surface >= depth - 1.35 * flesh - 0.5) | ~np.isfinite(surface)


def _annotate(p: _Placed, number: int, owner: np.ndarray) -> Person:
    size = owner.shape[0]
    points = p.body.xyz[: len(POINTS), :2] * p.scale + p.offset
    inside = ((points >= 0) & (points <= size - 1)).all(1)
    ij = np.round(points).astype(int).clip(0, size - 1)
    shown = owner[ij[:, 1], ij[:, 0]]
    # A joint at the silhouette's edge may round to the background: only a later body hides it.
    hidden = p.self_hidden | (shown > number)
    visibility = np.where(inside, np.where(hidden, 1, 2), 0)
    visibility[FACE & p.self_hidden] = 0
    x0, y0 = p.box[:2].clip(0, size - 1)
    x1, y1 = p.box[2:].clip(0, size - 1)
    mask = owner == number
    region = (int(x0), int(y0), min(int(x1) + 2, size), min(int(y1) + 2, size))
    return Person(
        points=points,
        visibility=visibility,
        box=np.array((x0, y0, x1 - x0, y1 - y0)),
        head_box=_head_box(points, p.body, p.scale, p.offset),
        span=float((p.box[2:] - p.box[:2]).max()),
        centre=(p.box[:2] + p.box[2:]) / 2,
        area=int(np.count_nonzero(mask)),
        polygons=_polygons(mask, region),
        family=p.family,
    )


def render_scene(rng: np.random.Generator, people: int, size: int) -> Scene:
    """A picture with ``people`` people.

    Args:
        rng: the only source of randomness.
        people: how many, at least 1.
        size: side of the picture in pixels.
    """
    elevation = float(np.clip(rng.normal(8, 14), -25, 65))
    roll = float(rng.normal(0, 5))
    sun = np.array((rng.uniform(-1, 1), rng.uniform(-1, 0.1), rng.uniform(-1, -0.25)))
    light = Light(sun / np.linalg.norm(sun), float(rng.uniform(0.35, 0.65)))
    canvas = Canvas(bg.background(rng, size), light, bg.folds(rng, size))
    for _ in range(20):
        bodies = [_sample_person(rng, elevation, roll) for _ in range(people)]
        placed = _arrange(rng, bodies, size)
        if all(_enough_inside(p, size) for p in placed):
            break
    for number, p in enumerate(placed, 1):
        canvas.draw(p.solids, number)
        points = p.body.xyz[: len(POINTS), :2] * p.scale + p.offset
        p.self_hidden = ~_visible(p, canvas, points)
    if rng.random() < 0.25:
        target = placed[rng.integers(len(placed))]
        canvas.draw(bg.occluder(rng, target.box), len(placed) + 1)
    people_ = [_annotate(p, number, canvas.owner) for number, p in enumerate(placed, 1)]
    return Scene(_develop(rng, canvas.image), people_)


def _enough_inside(p: _Placed, size: int) -> bool:
    points = p.body.xyz[: len(POINTS), :2] * p.scale + p.offset
    return int(((points >= 0) & (points <= size - 1)).all(1).sum()) >= 12


def _develop(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Exposure, and the sensor's noise; (3, H, W) float to (H, W, 3) uint8."""
    gain = rng.uniform(0.8, 1.15)
    size = image.shape[1]
    grain = rng.integers(-4, 5, (size, size), np.int8).astype(np.float32)
    image = image * gain + grain * rng.uniform(0, 1)
    return np.ascontiguousarray(image.clip(0, 255).astype(np.uint8).transpose(1, 2, 0))
