"""A dressed person: wardrobe, the solids that make up the body, projection to the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hevitpose.data.synthetic.body import INDEX, POINTS, Build, Skeleton
from hevitpose.data.synthetic.render import Capsule, Ellipsoid, Material

#: Skin from light to dark, BGR.
SKINS = (
    (200, 215, 240),
    (165, 190, 230),
    (130, 165, 215),
    (95, 130, 185),
    (65, 90, 140),
    (45, 62, 95),
)
#: Black, brown, blond, red, grey, white, BGR.
HAIRS = (
    (25, 22, 22),
    (35, 45, 70),
    (45, 70, 105),
    (110, 175, 215),
    (50, 90, 160),
    (130, 130, 135),
    (205, 205, 210),
)


@dataclass(frozen=True)
class Outfit:
    """What a person wears; colours are (3, 1, 1) BGR."""

    skin: np.ndarray
    hair: np.ndarray
    hair_style: str  # short | long | bald | hat | bun
    shirt: np.ndarray
    shirt_second: np.ndarray
    pattern: str  # plain | stripes | halves | print
    sleeve: float  # covered share of the arm: 0 none, 0.5 to the elbow, 1 to the wrist
    trousers: np.ndarray
    leg: float  # covered share of the leg
    shoes: np.ndarray
    backpack: np.ndarray | None


def _colour(rng: np.random.Generator) -> np.ndarray:
    """A cloth colour: often dark, light or muted, sometimes bright."""
    hue = rng.uniform(0, 6)
    saturation = rng.choice((0.1, 0.45, 0.8), p=(0.3, 0.35, 0.35))
    value = rng.uniform(35, 245)
    k = (np.array((1.0, 3.0, 5.0)) + hue) % 6
    channel = value * (1 - saturation * np.clip(np.minimum(k, 4 - k), 0, 1))
    return channel.astype(np.float32)[:, None, None]


def sample_outfit(rng: np.random.Generator) -> Outfit:
    """Random clothes, skin and hair."""
    tint = lambda c, s: (np.array(c, np.float32) * rng.normal(1, s, 3)).clip(8, 250)[:, None, None]  # noqa: E731
    return Outfit(
        skin=tint(SKINS[rng.integers(len(SKINS))], 0.04).astype(np.float32),
        hair=tint(HAIRS[rng.integers(len(HAIRS))], 0.08).astype(np.float32),
        hair_style=str(
            rng.choice(("short", "long", "bald", "hat", "bun"), p=(0.46, 0.24, 0.07, 0.13, 0.10))
        ),
        shirt=_colour(rng),
        shirt_second=_colour(rng),
        pattern=str(rng.choice(("plain", "stripes", "halves", "print"), p=(0.5, 0.2, 0.1, 0.2))),
        sleeve=float(rng.choice((0.05, 0.33, 0.97), p=(0.15, 0.45, 0.4))),
        trousers=_colour(rng),
        leg=float(rng.choice((0.3, 0.48, 0.97), p=(0.2, 0.15, 0.65))),
        shoes=_colour(rng),
        backpack=_colour(rng) if rng.random() < 0.08 else None,
    )


def _plain(colour: np.ndarray) -> Material:
    return lambda *_: colour


def _split(inner: np.ndarray, outer: np.ndarray, at: float) -> Material:
    """The first colour up to t = ``at`` along a limb, the second beyond."""
    if at <= 0 or at >= 1:
        return _plain(inner if at >= 1 else outer)
    return lambda t, _: inner + ((t - at) * 25.0).clip(0.0, 1.0) * (outer - inner)


def _shirt(outfit: Outfit) -> Material:
    """The chest: a pattern, and on the front a neckline and buttons."""
    first, second = outfit.shirt, outfit.shirt_second

    def material(x, y, z):
        if outfit.pattern == "stripes":
            mix = (np.sin(y * 13.0) * 2.0 + 0.5).clip(0.0, 1.0)
        elif outfit.pattern == "halves":
            mix = (y * 12.0).clip(0.0, 1.0)
        elif outfit.pattern == "print":  # on the front
            mix = ((0.16 - x * x - (y - 0.1) ** 2) * 30.0).clip(0.0, 1.0) * (z > 0)
        else:  # a placket down the front
            mix = ((0.06 - np.abs(x)) * 40.0).clip(0.0, 0.35) * (z > 0)
        colour = first + mix * (second - first)
        neckline = ((y - 0.62 - 1.1 * np.abs(x)) * 12.0).clip(0.0, 1.0) * (z > 0)
        return colour + neckline * (outfit.skin - colour)

    return material


def _head(outfit: Outfit) -> Material:
    """Face in front, hair on top and behind."""
    skin, hair = outfit.skin, outfit.hair
    bald = outfit.hair_style == "bald"

    def material(x, y, z):
        edge = (y * 0.75 - z * 0.75 - 0.12) if not bald else (-z - y - 0.1 - 2 * (y > 0.2))
        colour = skin + (edge * 14.0).clip(0.0, 1.0) * (hair - skin)
        front = z > 0.2
        ax = np.abs(x)
        eyes = (ax - 0.36) ** 2 * 30.0 + (y - 0.06) ** 2 * 60.0 < 1.0
        brows = (ax - 0.36) ** 2 * 18.0 + (y - 0.3) ** 2 * 300.0 < 1.0
        mouth = ax * ax * 10.0 + (y + 0.52) ** 2 * 160.0 < 1.0
        dark = ((eyes | brows) & front) * 0.8 + (mouth & front) * 0.45
        return colour * (1.0 - dark)

    return material


@dataclass(frozen=True)
class View:
    """A camera: rotation (3, 3) world to camera, and its distance from the body in statures."""

    rotation: np.ndarray
    distance: float


def camera(elevation: float, roll: float, distance: float) -> View:
    """A camera that looks at the body from ``elevation`` degrees above, rolled by ``roll``."""
    e, r = np.deg2rad((elevation, roll))
    # World (left, up, towards the camera) to camera (right, down, into the scene).
    facing = np.diag((1.0, -1.0, -1.0))
    tilt = np.array(((1, 0, 0), (0, np.cos(e), -np.sin(e)), (0, np.sin(e), np.cos(e))))
    turn = np.array(((np.cos(r), -np.sin(r), 0), (np.sin(r), np.cos(r), 0), (0, 0, 1)))
    return View(turn @ facing @ tilt, distance)


class Body:
    """A skeleton seen by a camera, in statures on the image plane, before it is placed.

    Attributes:
        skeleton, build, outfit: what it was made of.
        xyz: (29, 3) projected points: x, y on the image plane at the pelvis' scale, z depth.
        scales: (29,) perspective magnification at each point.
    """

    def __init__(self, skeleton: Skeleton, build: Build, outfit: Outfit, view: View) -> None:
        self.skeleton, self.build, self.outfit, self.view = skeleton, build, outfit, view
        self.xyz, self.scales = self._project(skeleton.points)

    def _project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        p = points @ self.view.rotation.T
        scales = self.view.distance / (self.view.distance + p[..., 2])
        p = p.copy()
        p[..., :2] *= scales[..., None]
        return p, scales

    def solids(self) -> list[Capsule | Ellipsoid]:
        """The body at one pixel per stature at the origin; :func:`place` scales and moves it."""
        return [*self._trunk(), *self._head(), *self._arms(), *self._legs()]

    def _capsule(self, a, b, ra, rb, material, wrinkles=0.0) -> Capsule:
        ends, scales = self._project(np.stack((a, b)))
        g = self.build.girth
        return Capsule(ends[0], ends[1], ra * g * scales[0], rb * g * scales[1], material, wrinkles)

    def _ellipsoid(self, centre, frame, half_axes, material, wrinkles=0.0) -> Ellipsoid:
        c, scale = self._project(centre)
        axes = self.view.rotation @ frame * np.asarray(half_axes) * scale
        return Ellipsoid(c, axes, material, wrinkles)

    def _trunk(self) -> list[Capsule | Ellipsoid]:
        s, o, b, g = self.skeleton, self.outfit, self.build, self.build.girth
        shirt, plain = _shirt(o), _plain(o.shirt)
        up, forward = s.chest[:, 1], s.chest[:, 2]
        chest = s["thorax"] - up * 0.085
        waist = s["lumbar"] + up * 0.035
        width = b.shoulder / 0.108
        solids: list[Capsule | Ellipsoid] = [
            self._ellipsoid(
                s["pelvis"] + s.pelvis[:, 1] * 0.015,
                s.pelvis,
                (0.093 * g, 0.085, 0.070 * g),
                _plain(o.trousers),
                0.12,
            ),
            self._ellipsoid(waist, s.chest, (0.082 * g, 0.125, 0.062 * g), plain, 0.2),
            self._ellipsoid(chest, s.chest, (0.098 * g * width, 0.125, 0.068 * g), shirt, 0.15),
            self._capsule(
                s["thorax"], s["upper_neck"] + s.head[:, 1] * 0.02, 0.034, 0.031, _plain(o.skin)
            ),
        ]
        for side in ("left_", "right_"):
            solids.append(
                self._capsule(
                    s["thorax"] - up * 0.02, s[side + "shoulder"], 0.042, 0.040, plain, 0.1
                )
            )
        if o.backpack is not None:
            solids.append(
                self._ellipsoid(
                    chest - forward * 0.08, s.chest, (0.08, 0.13, 0.055), _plain(o.backpack), 0.1
                )
            )
        return solids

    def _head(self) -> list[Capsule | Ellipsoid]:
        s, o = self.skeleton, self.outfit
        h = self.build.head / 0.130
        at = lambda x, y, z: s["head_centre"] + s.head @ (np.array((x, y, z)) * h)  # noqa: E731
        solids: list[Capsule | Ellipsoid] = [
            self._ellipsoid(
                s["head_centre"], s.head, np.array((0.050, 0.067, 0.060)) * h, _head(o)
            ),
            self._ellipsoid(
                at(0, -0.012, 0.058), s.head, np.array((0.009, 0.015, 0.014)) * h, _plain(o.skin)
            ),
        ]
        for x in (0.048, -0.048):
            solids.append(
                self._ellipsoid(
                    at(x, -0.006, -0.002),
                    s.head,
                    np.array((0.008, 0.018, 0.012)) * h,
                    _plain(o.skin),
                )
            )
        hair = _plain(o.hair)
        if o.hair_style == "long":
            solids.append(
                self._ellipsoid(
                    at(0, -0.035, -0.030), s.head, np.array((0.056, 0.085, 0.036)) * h, hair, 0.3
                )
            )
        elif o.hair_style == "bun":
            solids.append(
                self._ellipsoid(
                    at(0, 0.045, -0.055), s.head, np.array((0.026, 0.026, 0.026)) * h, hair
                )
            )
        elif o.hair_style == "hat":
            cap = _plain(o.shirt_second)
            solids.append(
                self._ellipsoid(
                    at(0, 0.034, -0.004), s.head, np.array((0.055, 0.042, 0.063)) * h, cap
                )
            )
            solids.append(
                self._ellipsoid(
                    at(0, 0.028, 0.066), s.head, np.array((0.038, 0.006, 0.034)) * h, cap
                )
            )
        return solids

    def _arms(self) -> list[Capsule | Ellipsoid]:
        s, o = self.skeleton, self.outfit
        upper = _split(o.shirt, o.skin, o.sleeve * 2)
        lower = _split(o.shirt, o.skin, o.sleeve * 2 - 1)
        loose = 1.12 if o.sleeve > 0.9 else 1.0
        solids: list[Capsule | Ellipsoid] = []
        for side in ("left_", "right_"):
            shoulder, elbow = s[side + "shoulder"], s[side + "elbow"]
            wrist, hand = s[side + "wrist"], s[side + "hand"]
            solids += [
                self._capsule(shoulder, elbow, 0.038, 0.028 * loose, upper, 0.15),
                self._capsule(elbow, wrist, 0.028 * loose, 0.020 * loose, lower, 0.1),
                self._capsule(wrist, hand, 0.018, 0.021, _plain(o.skin)),
            ]
        return solids

    def _legs(self) -> list[Capsule | Ellipsoid]:
        s, o = self.skeleton, self.outfit
        upper = _split(o.trousers, o.skin, o.leg * 2)
        lower = _split(o.trousers, o.skin, o.leg * 2 - 1)
        loose = 1.12 if o.leg > 0.9 else 1.0
        solids: list[Capsule | Ellipsoid] = []
        for side in ("left_", "right_"):
            hip, knee, ankle = s[side + "hip"], s[side + "knee"], s[side + "ankle"]
            solids += [
                self._capsule(hip, knee, 0.058, 0.040 * loose, upper, 0.15),
                self._capsule(knee, ankle, 0.039 * loose, 0.025 * loose, lower, 0.12),
                self._capsule(s[side + "heel"], s[side + "toe"], 0.026, 0.018, _plain(o.shoes)),
                self._capsule(ankle, s[side + "heel"], 0.024, 0.026, _plain(o.shoes)),
            ]
        return solids


def bounds(solids: list[Capsule | Ellipsoid]) -> np.ndarray:
    """(4,) x0, y0, x1, y1 of everything."""
    b = np.array([solid.bounds() for solid in solids])
    return np.concatenate((b[:, :2].min(0), b[:, 2:].max(0)))


def place(solids: list[Capsule | Ellipsoid], scale: float, offset: np.ndarray):
    """The same solids, ``scale`` times as large, moved by ``offset`` (2,) pixels."""
    move = np.array((offset[0], offset[1], 0.0))
    out: list[Capsule | Ellipsoid] = []
    for s in solids:
        if isinstance(s, Capsule):
            out.append(
                Capsule(
                    s.a * scale + move,
                    s.b * scale + move,
                    s.ra * scale,
                    s.rb * scale,
                    s.material,
                    s.wrinkles,
                )
            )
        else:
            out.append(Ellipsoid(s.centre * scale + move, s.axes * scale, s.material, s.wrinkles))
    return out


#: How deep under the nearest surface of its own limb a joint may lie, in statures.
_FLESH = {"pelvis": 0.10, "thorax": 0.10, "upper_neck": 0.09, "head_top": 0.06}
FLESH = np.array(
    [_FLESH.get(n, 0.03 if n.split("_")[-1] in ("nose", "eye", "ear") else 0.065) for n in POINTS]
)
ANNOTATED = slice(0, len(POINTS))
assert all(INDEX[name] == i for i, name in enumerate(POINTS))
