"""Shaded solids on a small z-buffered canvas: tapered capsules and ellipsoids.

Everything is in the camera frame, in pixels: x right, y down, z into the scene; pixel (i, j) has
its centre at x = j, y = i. Solids are drawn under a locally parallel projection (perspective has
already scaled positions and radii). Edges are antialiased by coverage, which composes correctly
when solids are drawn from far to near; the z-buffer settles which of two touching solids shows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

#: A material: gets a surface's coordinates, returns its colour, broadcastable to (3, h, w).
#: Capsules pass (t, side): the position along the axis, 0 to 1, and across it, -1 to 1.
#: Ellipsoids pass their unit-sphere coordinates (x, y, z).
Material = Callable[..., np.ndarray]


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
    wrinkles: float = 0.0  # contrast of the cloth's folds

    @property
    def depth(self) -> float:
        return float(self.a[2] + self.b[2]) / 2

    def bounds(self) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1 in pixels."""
        return (
            min(self.a[0] - self.ra, self.b[0] - self.rb),
            min(self.a[1] - self.ra, self.b[1] - self.rb),
            max(self.a[0] + self.ra, self.b[0] + self.rb),
            max(self.a[1] + self.ra, self.b[1] + self.rb),
        )

    def surface(self, x: np.ndarray, y: np.ndarray):
        """Coverage, depth, normal and material coordinates at pixels x (1, w), y (h, 1)."""
        d = self.b - self.a
        x, y = x - self.a[0], y - self.a[1]
        length2 = max(float(d[0] * d[0] + d[1] * d[1]), 1e-6)
        t = (x * (d[0] / length2) + y * (d[1] / length2)).clip(0.0, 1.0)
        ex, ey = x - t * d[0], y - t * d[1]
        r = self.ra + t * (self.rb - self.ra)
        d2 = ex * ex + ey * ey
        coverage = (r - np.sqrt(d2) + 0.5).clip(0.0, 1.0)
        inv = 1.0 / r
        height = np.sqrt((r * r - d2).clip(0.0))
        z = self.a[2] + t * d[2] - height
        if d[2] * d[2] > length2:  # seen end-on: the near end is a ball in front of the strip
            end, radius = (self.a, self.ra) if d[2] > 0 else (self.b, self.rb)
            bx, by = x + (self.a[0] - end[0]), y + (self.a[1] - end[1])
            ball = radius * radius - bx * bx - by * by
            z = np.where(ball > 0, np.minimum(z, end[2] - np.sqrt(ball.clip(0.0))), z)
        side = (ex * d[1] - ey * d[0]) * (inv / np.sqrt(length2))
        return coverage, z, (ex * inv, ey * inv, -height * inv), (t, side)


@dataclass(frozen=True)
class Ellipsoid:
    """A solid with centre (3,) and axes (3, 3): columns are the half-axes, all in pixels."""

    centre: np.ndarray
    axes: np.ndarray
    material: Material
    wrinkles: float = 0.0

    @property
    def depth(self) -> float:
        return float(self.centre[2])

    def bounds(self) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1 in pixels."""
        hx, hy = np.sqrt((self.axes[:2] ** 2).sum(1))
        cx, cy = self.centre[:2]
        return (cx - hx, cy - hy, cx + hx, cy + hy)

    def surface(self, x: np.ndarray, y: np.ndarray):
        """Coverage, depth, normal and material coordinates at pixels x (1, w), y (h, 1)."""
        inv = np.linalg.inv(self.axes)
        quad = inv.T @ inv  # the surface is p' quad p = 1
        x, y = x - self.centre[0], y - self.centre[1]
        # Substituting p = (x, y, z) gives a quadratic in z whose discriminant vanishes on the
        # outline; the outline itself is an ellipse with the Schur complement as its matrix.
        kx, ky = quad[2, 0] / quad[2, 2], quad[2, 1] / quad[2, 2]
        sxx = quad[0, 0] - quad[2, 0] * kx
        sxy = quad[0, 1] - quad[2, 0] * ky
        syy = quad[1, 1] - quad[2, 1] * ky
        gx, gy = sxx * x + sxy * y, sxy * x + syy * y
        f = 1.0 - gx * x - gy * y
        distance = 0.5 * f / np.sqrt(gx * gx + gy * gy + 1e-12)
        coverage = (distance + 0.5).clip(0.0, 1.0)
        z = -(kx * x + ky * y) - np.sqrt(f.clip(0.0) * (1.0 / quad[2, 2]))
        u = [inv[i, 0] * x + inv[i, 1] * y + inv[i, 2] * z for i in range(3)]
        n = [inv[0, i] * u[0] + inv[1, i] * u[1] + inv[2, i] * u[2] for i in range(3)]
        scale = 1.0 / np.sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2])
        return coverage, self.centre[2] + z, tuple(c * scale for c in n), u


class Canvas:
    """A picture being painted: colours, and for the current body a depth and a mask.

    Attributes:
        image: (3, H, W) float32, 0 to 255, in the order of the colours given (BGR here).
        owner: (H, W) int16, the number of the body or occluder that shows; 0 is background.
    """

    def __init__(self, background: np.ndarray, light: Light, folds: np.ndarray) -> None:
        """Args: background (3, H, W) float32, folds (>= H, >= W) float32 in -1..1 for cloth."""
        self.image = background
        height, width = background.shape[1:]
        self.owner = np.zeros((height, width), np.int16)
        self.depth = np.full((height, width), np.inf, np.float32)
        self.light = light
        self.folds = folds
        self._x = np.arange(width, dtype=np.float32)[None]
        self._y = np.arange(height, dtype=np.float32)[:, None]

    def draw(self, solids: list[Capsule | Ellipsoid], owner: int) -> None:
        """Paint one body over what is there; afterwards ``depth`` is that body's alone."""
        self.depth.fill(np.inf)
        for solid in sorted(solids, key=lambda s: -s.depth):
            self._draw(solid, owner)

    def _draw(self, solid: Capsule | Ellipsoid, owner: int) -> None:
        height, width = self.owner.shape
        x0, y0, x1, y1 = solid.bounds()
        x0, y0 = max(int(x0) - 1, 0), max(int(y0) - 1, 0)
        x1, y1 = min(int(x1) + 3, width), min(int(y1) + 3, height)
        if x0 >= x1 or y0 >= y1:
            return
        at = (slice(y0, y1), slice(x0, x1))
        coverage, z, (nx, ny, nz), where = solid.surface(self._x[:, at[1]], self._y[at[0]])
        depth = self.depth[at]
        coverage = coverage * (z < depth)
        solid_here = coverage > 0.5
        np.copyto(depth, z, where=solid_here)
        self.owner[at][solid_here] = owner
        sun = self.light.direction
        shade = (sun[0] * nx + sun[1] * ny + sun[2] * nz).clip(0.0)
        shade *= 1.0 - self.light.ambient
        shade += self.light.ambient * (1.0 - 0.25 * ny)  # the sky is brighter than the ground
        shade *= 0.72 - 0.28 * nz  # surfaces turn dark towards their outline
        if solid.wrinkles:
            shade *= 1.0 + solid.wrinkles * self.folds[at]
        image = self.image[:, y0:y1, x0:x1]
        image += coverage * (solid.material(*where) * shade - image)
