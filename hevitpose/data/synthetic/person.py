"""A dressed body in front of a camera: the solids that it is drawn with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hevitpose.data.synthetic import wardrobe
from hevitpose.data.synthetic.body import POINTS, Build, Skeleton
from hevitpose.data.synthetic.render import Capsule, Ellipsoid, Material, Solid
from hevitpose.data.synthetic.wardrobe import Outfit, plain, split

#: Over how much depth touching parts of a body fade into each other, in statures.
_BLEND = 0.016
#: How far under the nearest surface of its own limb a joint may lie, in statures.
_FLESH = {"pelvis": 0.10, "thorax": 0.10, "upper_neck": 0.09, "head_top": 0.06}
_FACE_FLESH = 0.03


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


class _Parts:
    """Solids in world coordinates, collected first and projected together."""

    def __init__(self) -> None:
        self.points: list[np.ndarray] = []  # two for a capsule, one for an ellipsoid
        self.capsules: list[tuple[int, float, float, Material, float]] = []
        self.ellipsoids: list[tuple[int, np.ndarray, tuple, Material, float]] = []

    def capsule(
        self, a: np.ndarray, b: np.ndarray, ra: float, rb: float, material: Material, folds=0.0
    ) -> None:
        """From ``a`` to ``b``, radii in statures."""
        self.capsules.append((len(self.points), ra, rb, material, folds))
        self.points += (a, b)

    def ellipsoid(
        self, at: np.ndarray, frame: np.ndarray, half_axes: tuple, material: Material, folds=0.0
    ) -> None:
        """Around ``at``, half-axes in statures along the columns of ``frame``."""
        self.ellipsoids.append((len(self.points), frame, half_axes, material, folds))
        self.points.append(at)


class Body:
    """A skeleton seen by a camera, in statures on the image plane, before it is placed.

    Attributes:
        skeleton: posed, in the world.
        build: its proportions.
        outfit: its clothes.
        xyz: (P, 3) annotated points: x, y on the image plane at the pelvis' scale, z depth.
        flesh: (P,) how far a point may lie behind the surface that shows it, like ``xyz``.
        bounds: (4,) x0, y0, x1, y1 of the silhouette, without what the hand holds.
    """

    def __init__(self, skeleton: Skeleton, build: Build, outfit: Outfit, view: View) -> None:
        self.skeleton, self.build, self.outfit, self._view = skeleton, build, outfit, view
        self.xyz, scales = self.project(skeleton.points[: len(POINTS)])
        face = [name.split("_")[-1] in ("nose", "eye", "ear") for name in POINTS]
        flesh = [_FLESH.get(name, 0.065) for name in POINTS]
        self.flesh = np.where(face, _FACE_FLESH, flesh) * build.girth * scales
        parts = _Parts()
        for draw in (self._trunk, self._head, self._arms, self._legs):
            draw(parts)
        bare = len(parts.points), len(parts.capsules), len(parts.ellipsoids)
        self._props(parts)
        self._parts = parts
        self._project_parts()
        self.bounds = self._bounds(*bare)

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """World points (N, 3) to (N, 3) x, y, depth, and their (N,) magnification."""
        p = points @ self._view.rotation.T
        scales = self._view.distance / (self._view.distance + p[:, 2])
        p[:, :2] *= scales[:, None]
        return p, scales

    def _project_parts(self) -> None:
        self._at, scales = self.project(np.array(self._parts.points))
        ends = np.array([part[0] for part in self._parts.capsules])
        radii = np.array([part[1:3] for part in self._parts.capsules]) * self.build.girth
        self._radii = radii * np.stack((scales[ends], scales[ends + 1]), 1)
        at = np.array([part[0] for part in self._parts.ellipsoids])
        frames = np.array([part[1] for part in self._parts.ellipsoids])
        half = np.array([part[2] for part in self._parts.ellipsoids]) * scales[at][:, None]
        self._axes = self._view.rotation @ frames * half[:, None]

    def _bounds(self, points: int, capsules: int, ellipsoids: int) -> np.ndarray:
        half = np.zeros((points, 2))
        ends = np.array([part[0] for part in self._parts.capsules[:capsules]])
        half[ends], half[ends + 1] = self._radii[:capsules, :1], self._radii[:capsules, 1:]
        at = [part[0] for part in self._parts.ellipsoids[:ellipsoids]]
        half[at] = np.sqrt((self._axes[:ellipsoids, :2] ** 2).sum(-1))
        xy = self._at[:points, :2]
        return np.concatenate(((xy - half).min(0), (xy + half).max(0)))

    def solids(self, scale: float, offset: np.ndarray) -> list[Solid]:
        """Everything to draw, at ``scale`` pixels per stature, the pelvis at ``offset`` (2,)."""
        at = self._at * scale + np.append(offset, 0.0)
        radii, axes, blend = (self._radii * scale).tolist(), self._axes * scale, _BLEND * scale
        solids: list[Solid] = [
            Capsule(at[i], at[i + 1], ra, rb, material, folds, blend)
            for (i, _, _, material, folds), (ra, rb) in zip(
                self._parts.capsules, radii, strict=True
            )
        ]
        for (i, _, _, material, folds), a in zip(self._parts.ellipsoids, axes, strict=True):
            solids.append(Ellipsoid(at[i], a, material, folds, blend))
        return solids

    def head_outline(self) -> np.ndarray:
        """(6, 2) points around the head from upper neck to head top, like ``xyz``."""
        s, h = self.skeleton, self.build.head / 0.150
        around = np.array(((0.054, 0, 0), (-0.054, 0, 0), (0, 0, 0.068), (0, 0, -0.055))) * h
        corners = (s["upper_neck"], s["head_top"], *(s["head_centre"] + around @ s.head.T))
        return self.project(np.stack(corners))[0][:, :2]

    def _trunk(self, parts: _Parts) -> None:
        s, o, g = self.skeleton, self.outfit, self.build.girth
        up, trunk = s.chest[:, 1], self.build.trunk
        wide = g * self.build.shoulder / 0.108
        belly = wardrobe.shirt(o, 0.035, 0.125, neckline=False)
        breast = wardrobe.shirt(o, trunk - 0.09, 0.125, neckline=True)
        hips, waist = s["pelvis"] + s.pelvis[:, 1] * 0.012, s["lumbar"] + up * 0.035
        parts.ellipsoid(hips, s.pelvis, (0.092 * g, 0.08, 0.07 * g), plain(o.trousers), 0.12)
        parts.ellipsoid(waist, s.chest, (0.084 * g, 0.125, 0.062 * g), belly, 0.2)
        chest = s["thorax"] - up * 0.09
        parts.ellipsoid(chest, s.chest, (0.104 * wide, 0.125, 0.07 * g), breast, 0.15)
        chin = s["upper_neck"] + s.head[:, 1] * 0.035
        parts.capsule(s["thorax"] - up * 0.02, chin, 0.036, 0.031, plain(o.skin))
        for side in ("left_", "right_"):
            shoulder = s[side + "shoulder"]
            parts.capsule(s["thorax"] - up * 0.022, shoulder, 0.034, 0.037, plain(o.shirt), 0.1)
            armpit = shoulder - up * 0.05 - 0.25 * (shoulder - s["thorax"])
            parts.capsule(armpit, shoulder, 0.045, 0.036, plain(o.shirt), 0.1)
        if o.backpack is not None:
            back = s["thorax"] - up * 0.1 - s.chest[:, 2] * 0.085
            parts.ellipsoid(back, s.chest, (0.08, 0.125, 0.05), plain(o.backpack), 0.1)

    def _head(self, parts: _Parts) -> None:
        s, o = self.skeleton, self.outfit
        h = self.build.head / 0.150

        def on_head(at: tuple, half_axes: tuple, material: Material, folds=0.0) -> None:
            centre = s["head_centre"] + s.head @ (np.array(at) * h)
            parts.ellipsoid(centre, s.head, tuple(a * h for a in half_axes), material, folds)

        skin, hair, cap = plain(o.skin), plain(o.hair), plain(o.second)
        on_head((0, 0, 0), (0.054, 0.073, 0.064), wardrobe.head(o))
        on_head((0, -0.014, 0.062), (0.009, 0.016, 0.014), skin)
        on_head((0.052, -0.006, -0.002), (0.008, 0.019, 0.013), skin)
        on_head((-0.052, -0.006, -0.002), (0.008, 0.019, 0.013), skin)
        if o.hair_style == "long":
            on_head((0, -0.03, -0.03), (0.06, 0.092, 0.042), hair, 0.3)
        elif o.hair_style == "bun":
            on_head((0, 0.05, -0.055), (0.027, 0.027, 0.027), hair)
        elif o.hair_style == "hat":
            on_head((0, 0.036, -0.004), (0.058, 0.044, 0.067), cap)
            on_head((0, 0.03, 0.07), (0.04, 0.006, 0.036), cap)

    def _arms(self, parts: _Parts) -> None:
        s, o = self.skeleton, self.outfit
        upper = split(o.shirt, o.skin, o.sleeve * 2)
        lower = split(o.shirt, o.skin, o.sleeve * 2 - 1)
        loose = 1.15 if o.sleeve > 0.9 else 1.0
        for side in ("left_", "right_"):
            shoulder, elbow = s[side + "shoulder"], s[side + "elbow"]
            wrist, hand = s[side + "wrist"], s[side + "hand"]
            parts.capsule(shoulder, elbow, 0.038, 0.028 * loose, upper, 0.15)
            parts.capsule(elbow, wrist, 0.028 * loose, 0.019 * loose, lower, 0.1)
            parts.capsule(wrist, hand, 0.018, 0.023, plain(o.skin))

    def _legs(self, parts: _Parts) -> None:
        s, o = self.skeleton, self.outfit
        upper = split(o.trousers, o.skin, o.leg * 2)
        lower = split(o.trousers, o.skin, o.leg * 2 - 1)
        loose = 1.15 if o.leg > 0.9 else 1.0
        for side in ("left_", "right_"):
            hip, knee, ankle = s[side + "hip"], s[side + "knee"], s[side + "ankle"]
            heel, toe = s[side + "heel"], s[side + "toe"]
            parts.capsule(hip, knee, 0.062, 0.040 * loose, upper, 0.15)
            parts.capsule(knee, ankle, 0.039 * loose, 0.024 * loose, lower, 0.12)
            calf = knee + 0.3 * (ankle - knee) + 0.03 * (heel - toe)
            parts.capsule(knee, calf, 0.038, 0.041, plain(o.skin if o.leg < 0.7 else o.trousers))
            parts.capsule(heel, toe, 0.027, 0.020, plain(o.shoes))
            parts.capsule(ankle, heel, 0.023, 0.027, plain(o.shoes))
            if o.skirt:
                hem = hip + 0.62 * (knee - hip)
                parts.capsule(hip, hem, 0.075, 0.082, plain(o.trousers), 0.3)

    def _props(self, parts: _Parts) -> None:
        """What the right hand holds, if anything."""
        s, o = self.skeleton, self.outfit
        hand, wrist = s["right_hand"], s["right_wrist"]
        along = (hand - wrist) / self.build.hand
        material = plain(o.prop_colour)
        if o.prop == "ball":
            parts.ellipsoid(hand + along * 0.06, np.eye(3), (0.06,) * 3, material)
        elif o.prop == "bag":
            down = hand - np.array((0, 0.13, 0))
            parts.capsule(hand, down, 0.006, 0.006, material)
            parts.ellipsoid(down, s.pelvis, (0.035, 0.075, 0.095), material, 0.1)
        elif o.prop == "stick":
            axis = np.cross(along, s.chest[:, 0]) + 1e-3
            axis *= 0.4 / np.linalg.norm(axis)
            parts.capsule(hand - 0.15 * axis, hand + axis, 0.008, 0.016, material)
