"""One picture: a background, some people, what stands before them, and who shows where."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from hevitpose.data.synthetic import background as bg
from hevitpose.data.synthetic.body import INDEX, POINTS, pose_body, sample_build
from hevitpose.data.synthetic.person import Body, camera
from hevitpose.data.synthetic.poses import sample_pose
from hevitpose.data.synthetic.render import Canvas, Light
from hevitpose.data.synthetic.wardrobe import sample_outfit

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
    """A person at a place in the picture; ``self_hidden`` comes with painting."""

    body: Body
    family: str
    scale: float  # pixels per stature
    offset: np.ndarray  # (2,) pixels
    box: np.ndarray  # x0, y0, x1, y1
    self_hidden: np.ndarray | None = None

    def points(self) -> np.ndarray:
        """(21, 2) pixels."""
        return self.body.xyz[:, :2] * self.scale + self.offset


def _yaw(rng: np.random.Generator) -> float:
    """Most people face the camera, as in photographs; the others face anywhere."""
    return float(rng.normal(0, 30) if rng.random() < 0.74 else rng.uniform(-180, 180))


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
    """Sizes and positions: people may overlap, rarely by more than half, save in a huddle."""
    placed: list[_Placed] = []
    low, high = ((0.62, 0.96), (0.48, 0.8), (0.4, 0.68))[min(len(bodies), 3) - 1]
    slack = 0.25 * size if rng.random() < 0.06 else 0.0  # how far the border may cut people
    huddle = rng.random() < 0.15  # what CrowdPose calls hard
    for body, family in bodies:
        box = body.bounds
        wanted = rng.uniform(0.05, 0.45)
        tries = []
        for _ in range(12):
            scale = float(rng.uniform(low, high) * size / (box[2:] - box[:2]).max())
            room = size - (box[2:] - box[:2]) * scale
            corner = rng.uniform(np.minimum(-slack, room), np.maximum(room + slack, 1e-3))
            if huddle and placed:
                angle = rng.uniform(0, 2 * np.pi)  # beside the first, so that both can be seen
                away = np.array((np.cos(angle), 0.5 * np.sin(angle))) * rng.uniform(0.13, 0.22)
                beside = placed[0].box.reshape(2, 2).mean(0) + away * size
                corner = (beside - (box[2:] - box[:2]) * scale / 2).clip(0, room.clip(0))
            offset = corner - box[:2] * scale
            here = box * scale + np.tile(offset, 2)
            worst = max((_overlap(here, other.box) for other in placed), default=0.0)
            tries.append((worst, _Placed(body, family, scale, offset, here)))
            if worst < wanted or huddle:
                break
        placed.append(min(tries, key=lambda pair: pair[0])[1])
    placed.sort(key=lambda p: p.scale)  # larger is nearer
    return placed


def _enough_inside(p: _Placed, size: int) -> bool:
    points = p.points()
    return int(((points >= 0) & (points <= size - 1)).all(1).sum()) >= 12


def _paint(rng: np.random.Generator, canvas: Canvas, p: _Placed, number: int, tilt: float) -> None:
    """The ground's shadow, a seat, the person; notes which points the body itself hides."""
    x0, y0, x1, y1 = p.box.tolist()
    if p.family != "jump" and rng.random() < 0.8:
        half = 0.45 * (x1 - x0)
        canvas.shadow((x0 + x1) / 2, y1 - 0.3 * tilt * half, (half, half * tilt), 0.5)
    if p.family == "sit" and rng.random() < 0.6:
        hips = p.points()[INDEX["pelvis"]]
        canvas.draw(bg.stool(rng, hips, float(max(x1 - x0, y1 - y0))), 0)
    canvas.draw(p.body.solids(p.scale, p.offset), number)
    ij = np.round(p.points()).astype(int).clip(0, canvas.owner.shape[0] - 1)
    surface = canvas.depth[ij[:, 1], ij[:, 0]]
    deep = (p.body.xyz[:, 2] - 1.35 * p.body.flesh) * p.scale - 0.5
    p.self_hidden = surface < deep


def _annotate(p: _Placed, number: int, owner: np.ndarray) -> Person:
    size = owner.shape[0]
    points = p.points()
    inside = ((points >= 0) & (points <= size - 1)).all(1)
    ij = np.round(points).astype(int).clip(0, size - 1)
    # A joint at the silhouette's edge may round to the background: only a later body hides it.
    hidden = p.self_hidden | (owner[ij[:, 1], ij[:, 0]] > number)
    visibility = np.where(inside, np.where(hidden, 1, 2), 0)
    visibility[FACE & p.self_hidden] = 0
    corner, far = p.box[:2].clip(0, size - 1), p.box[2:].clip(0, size - 1)
    mask = owner == number
    head = p.body.head_outline() * p.scale + p.offset
    return Person(
        points=points,
        visibility=visibility,
        box=np.concatenate((corner, far - corner)),
        head_box=np.concatenate((head.min(0), head.max(0))),
        span=float((p.box[2:] - p.box[:2]).max()),
        centre=(p.box[:2] + p.box[2:]) / 2,
        area=int(np.count_nonzero(mask)),
        polygons=_polygons(mask),
        family=p.family,
    )


def _polygons(mask: np.ndarray) -> list[list[float]]:
    """Outlines of a mask; a polygon needs three corners, specks of a pixel or two are left out."""
    contours, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [c.reshape(-1).astype(float).tolist() for c in contours if len(c) >= 3]


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
    light = Light(sun / np.linalg.norm(sun), float(rng.uniform(0.4, 0.65)))
    canvas = Canvas(bg.background(rng, size), light, bg.folds(rng, size))
    for _ in range(20):
        bodies = [_sample_person(rng, elevation, roll) for _ in range(people)]
        placed = _arrange(rng, bodies, size)
        if all(_enough_inside(p, size) for p in placed):
            break
    tilt = float(np.clip(np.sin(np.deg2rad(elevation)), 0.1, 1.0))
    for number, p in enumerate(placed, 1):
        _paint(rng, canvas, p, number, tilt)
    if rng.random() < 0.2:
        target = placed[rng.integers(len(placed))]
        canvas.draw(bg.occluder(rng, target.box), len(placed) + 1)
    return Scene(
        _develop(rng, canvas.image),
        [_annotate(p, number, canvas.owner) for number, p in enumerate(placed, 1)],
    )


def _develop(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Exposure, and the sensor's noise; (3, H, W) float32 to (H, W, 3) uint8."""
    size = image.shape[1]
    grain = rng.integers(-4, 5, (size, size), np.int8) * np.float32(rng.uniform(0, 1))
    image *= float(rng.uniform(0.85, 1.15))
    image += grain
    return cv2.merge([cv2.convertScaleAbs(channel.clip(0, 255)) for channel in image])
