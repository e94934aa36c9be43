"""Shaded solids on a small z-buffered canvas: tapered capsules, ellipsoids, panels.

Everything is in the camera frame, in pixels: x right, y down, z into the scene; pixel (i, j) has
its centre at x = j, y = i. Solids are drawn under a locally parallel projection (perspective has
already scaled positions and radii). Edges are antialiased by coverage, which composes correctly
when solids are drawn from far to near; the z-buffer settles which of two touching solids shows.
Arrays are float32 throughout; scalars are Python floats, since a NumPy scalar would widen them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

#: A material: gets a surface's coordinates, returns its colour, broadcastable to (3, h, w).
#: Capsules and panels pass (t, side): along the axis, 0 to 1, and across it, -1 to 1.
#: Ellipsoids pass their unit-sphere coordinates (x, y, z).
Material = Callable[..., np.ndarray]
#: Coverage 0 to 1, depth, normal (x, y, z), and the material's arguments, arrays of (h, w).
Surface = tuple[np.ndarray, np.ndarray, tuple, tuple]


def _unit(a: np.ndarray) -> np.ndarray:
    """Clipped to 0..1; a third of the time of ``ndarray.clip`` on arrays as small as these."""
    return np.minimum(np.maximum(a, 0.0), 1.0)


@dataclass(frozen=True)
class Light:
    """One sun and a sky.

    Attributes:
        direction: (3,) unit vector towards the sun, camera frame.
        ambient: share of light that comes from everywhere, 0 to 1.
    """

    direction: np.ndarray
    ambient: float


@dataclass(frozen=True)
class Capsule:
    """A tapered limb from ``a`` to ``b`` ((3,) pixels) with radii ``ra`` and ``rb`` (pixels)."""

    a: np.ndarray
    b: np.ndarray
    ra: float
    rb: float
    material: Material
    folds: float = 0.0  # contrast of the cloth's folds
    blend: float = 0.0  # depth in pixels over which it fades into what it touches

    @property
    def depth(self) -> float:
        """Of its middle, for sorting."""
        return float(self.a[2] + self.b[2]) / 2

    def bounds(self) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1 in pixels."""
        return (
            min(self.a[0] - self.ra, self.b[0] - self.rb),
            min(self.a[1] - self.ra, self.b[1] - self.rb),
            max(self.a[0] + self.ra, self.b[0] + self.rb),
            max(self.a[1] + self.ra, self.b[1] + self.rb),
        )

    def surface(self, x: np.ndarray, y: np.ndarray) -> Surface:
        """At pixels x (1, w), y (h, 1)."""
        ax, ay, az = self.a.tolist()
        dx, dy, dz = (self.b - self.a).tolist()
        x, y = x - ax, y - ay
        length2 = max(dx * dx + dy * dy, 1e-6)
        t = _unit(x * (dx / length2) + y * (dy / length2))
        ex, ey = x - t * dx, y - t * dy
        r = self.ra + t * (self.rb - self.ra)
        d2 = ex * ex + ey * ey
        coverage = _unit(r - np.sqrt(d2) + 0.5)
        inv = 1.0 / r
        height = np.sqrt(np.maximum(r * r - d2, 0.0))
        z = az + t * dz - height
        if dz * dz > length2:  # seen end-on: the near end is a ball in front of the strip
            bx, by, bz, radius = (0.0, 0.0, az, self.ra) if dz > 0 else (dx, dy, az + dz, self.rb)
            ball = radius * radius - (x - bx) ** 2 - (y - by) ** 2
            z = np.where(ball > 0, np.minimum(z, bz - np.sqrt(np.maximum(ball, 0.0))), z)
        side = (ex * dy - ey * dx) * (inv / length2**0.5)
        return coverage, z, (ex * inv, ey * inv, -height * inv), (t, side)


@dataclass(frozen=True)
class Ellipsoid:
    """A solid with centre (3,) and axes (3, 3): orthogonal columns, the half-axes, in pixels."""

    centre: np.ndarray
    axes: np.ndarray
    material: Material
    folds: float = 0.0
    blend: float = 0.0

    @property
    def depth(self) -> float:
        """Of its centre, for sorting."""
        return float(self.centre[2])

    def bounds(self) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1 in pixels."""
        hx, hy = np.sqrt((self.axes[:2] ** 2).sum(1)).tolist()
        cx, cy = self.centre[:2].tolist()
        return (cx - hx, cy - hy, cx + hx, cy + hy)

    def surface(self, x: np.ndarray, y: np.ndarray) -> Surface:
        """At pixels x (1, w), y (h, 1)."""
        inv = (self.axes / (self.axes**2).sum(0)).T  # the columns are orthogonal
        # The surface is p' quad p = 1. Substituting p = (x, y, z) gives a quadratic in z whose
        # discriminant vanishes on the outline; the outline is an ellipse, and its matrix is the
        # Schur complement of quad's last row and column.
        (qxx, qxy, qxz), (_, qyy, qyz), (_, _, qzz) = (inv.T @ inv).tolist()
        inv = inv.tolist()
        cx, cy, cz = self.centre.tolist()
        x, y = x - cx, y - cy
        kx, ky = qxz / qzz, qyz / qzz
        gx = (qxx - qxz * kx) * x + (qxy - qxz * ky) * y
        gy = (qxy - qxz * ky) * x + (qyy - qyz * ky) * y
        f = 1.0 - gx * x - gy * y
        # First-order distance to the outline: f / |grad f|.
        coverage = _unit(0.5 * f / np.sqrt(gx * gx + gy * gy + 1e-12) + 0.5)
        z = -(kx * x + ky * y) - np.sqrt(np.maximum(f, 0.0) * (1.0 / qzz))
        u = tuple(row[0] * x + row[1] * y + row[2] * z for row in inv)
        n = tuple(inv[0][i] * u[0] + inv[1][i] * u[1] + inv[2][i] * u[2] for i in range(3))
        unit = 1.0 / np.sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2])
        return coverage, cz + z, tuple(c * unit for c in n), u


@dataclass(frozen=True)
class Panel:
    """A flat rectangle facing the camera: centre (3,), half sides (pixels), angle (radians)."""

    centre: np.ndarray
    half: tuple[float, float]
    angle: float
    material: Material
    folds: float = 0.0
    blend: float = 0.0

    @property
    def depth(self) -> float:
        """For sorting."""
        return float(self.centre[2])

    def bounds(self) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1 in pixels."""
        c, s = abs(np.cos(self.angle)), abs(np.sin(self.angle))
        hx, hy = c * self.half[0] + s * self.half[1], s * self.half[0] + c * self.half[1]
        cx, cy = self.centre[:2].tolist()
        return (cx - hx, cy - hy, cx + hx, cy + hy)

    def surface(self, x: np.ndarray, y: np.ndarray) -> Surface:
        """At pixels x (1, w), y (h, 1)."""
        c, s = float(np.cos(self.angle)), float(np.sin(self.angle))
        cx, cy, cz = self.centre.tolist()
        x, y = x - cx, y - cy
        u, v = c * x + s * y, c * y - s * x
        margin = np.minimum(self.half[0] - np.abs(u), self.half[1] - np.abs(v))
        where = (u * (0.5 / self.half[0]) + 0.5, v * (1.0 / self.half[1]))
        return _unit(margin + 0.5), np.full_like(u, cz), (0.1, -0.25, -0.96), where


Solid = Capsule | Ellipsoid | Panel


class Canvas:
    """A picture being painted: colours, and for the current body a depth and a mask.

    Attributes:
        image: (3, H, W) float32, 0 to 255, in the order of the colours given (BGR here).
        owner: (H, W) int16, the number of the body or occluder that shows; 0 is background.
        depth: (H, W) float32 of the body drawn last, infinite where it is not.
    """

    def __init__(self, background: np.ndarray, light: Light, folds: np.ndarray) -> None:
        """Start from a background.

        Args:
            background: (3, H, W) float32, painted over in place.
            light: of the whole picture.
            folds: (H, W) float32 in about -1 to 1: the relief of cloth.
        """
        self.image = background
        height, width = background.shape[1:]
        self.owner = np.zeros((height, width), np.int16)
        self.depth = np.full((height, width), np.inf, np.float32)
        self._light = light
        self._folds = folds
        self._x = np.arange(width, dtype=np.float32)[None]
        self._y = np.arange(height, dtype=np.float32)[:, None]

    def draw(self, solids: list[Solid], owner: int) -> None:
        """Paint one body over what is there; afterwards ``depth`` is that body's alone."""
        self.depth.fill(np.inf)
        for solid in sorted(solids, key=lambda s: -s.depth):
            self._draw(solid, owner)

    def shadow(self, x: float, y: float, half: tuple[float, float], strength: float) -> None:
        """Darken what is there softly around (x, y): what a body does to the ground."""
        (x0, x1), (y0, y1) = (
            (max(int(c - 1.8 * h), 0), min(int(c + 1.8 * h) + 1, n))
            for c, h, n in zip((x, y), half, self.owner.shape[::-1], strict=True)
        )
        if x0 < x1 and y0 < y1:
            dx = np.exp(-(((self._x[:, x0:x1] - x) / half[0]) ** 2))
            dy = np.exp(-(((self._y[y0:y1] - y) / half[1]) ** 2))
            self.image[:, y0:y1, x0:x1] *= 1.0 - strength * (dx * dy)

    def _draw(self, solid: Solid, owner: int) -> None:
        height, width = self.owner.shape
        x0, y0, x1, y1 = solid.bounds()
        x0, y0 = max(int(x0) - 1, 0), max(int(y0) - 1, 0)
        x1, y1 = min(int(x1) + 3, width), min(int(y1) + 3, height)
        if x0 >= x1 or y0 >= y1:
            return
        at = (slice(y0, y1), slice(x0, x1))
        coverage, z, (nx, ny, nz), where = solid.surface(self._x[:, at[1]], self._y[at[0]])
        depth = self.depth[at]
        in_front = (coverage > 0.5) & (z < depth)
        # Where two solids meet, their colours fade into each other instead of showing a crease.
        coverage *= _unit((depth - z) * (0.5 / max(solid.blend, 0.75)) + 0.5)
        np.copyto(depth, z, where=in_front)
        self.owner[at][in_front] = owner
        ambient = self._light.ambient
        sx, sy, sz = ((1.0 - ambient) * self._light.direction).tolist()
        shade = np.maximum(sx * nx + sy * ny + sz * nz, 0.0)
        shade = shade + (ambient - 0.25 * ambient * ny)  # the sky is brighter than the ground
        shade *= 0.74 - 0.26 * nz  # surfaces turn dark towards their outline
        if solid.folds:
            shade *= 1.0 + solid.folds * self._folds[at]
        image = self.image[:, y0:y1, x0:x1]
        change = solid.material(*where) * shade - image
        change *= coverage
        image += change
