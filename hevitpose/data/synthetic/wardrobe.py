"""What people wear: colours, garments, and the materials that the renderer paints them with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hevitpose.data.synthetic.chance import pick
from hevitpose.data.synthetic.render import Material

#: Skin from light to dark, BGR.
SKINS = (
    *((195, 212, 240), (165, 190, 232), (135, 170, 220)),
    *((100, 138, 195), (70, 98, 150), (52, 72, 112)),
)
#: Black, brown, blond, red, grey, white, BGR.
HAIRS = (
    *((25, 22, 22), (35, 45, 70), (45, 70, 105), (110, 175, 215)),
    *((50, 90, 160), (130, 130, 135), (205, 205, 210)),
)
#: (name, probability)
HAIR_STYLES = (("short", 0.44), ("long", 0.26), ("bald", 0.06), ("hat", 0.13), ("bun", 0.11))
PATTERNS = (("plain", 0.30), ("stripes", 0.20), ("halves", 0.08), ("print", 0.22), ("open", 0.20))
PROPS = (("none", 0.74), ("ball", 0.09), ("stick", 0.09), ("bag", 0.08))
SLEEVES = ((0.05, 0.12), (0.33, 0.45), (0.97, 0.43))
LEGS = ((0.28, 0.20), (0.48, 0.12), (0.97, 0.68))

_FACE_DARK = 0.72


@dataclass(frozen=True)
class Outfit:
    """What a person looks like and wears; colours are (3, 1, 1) float32 BGR."""

    skin: np.ndarray
    hair: np.ndarray
    hair_style: str
    beard: bool
    glasses: bool
    shirt: np.ndarray
    second: np.ndarray  # of the shirt's pattern, of a cap
    pattern: str
    sleeve: float  # covered share of the arm: 0.5 reaches the elbow, 1 the wrist
    trousers: np.ndarray
    leg: float  # covered share of the leg
    skirt: bool
    shoes: np.ndarray
    backpack: np.ndarray | None
    prop: str  # in the right hand
    prop_colour: np.ndarray


def sample_outfit(rng: np.random.Generator) -> Outfit:
    """Random clothes, skin and hair."""
    leg = pick(rng, LEGS)
    return Outfit(
        skin=_tinted(rng, SKINS[rng.integers(len(SKINS))]),
        hair=_tinted(rng, HAIRS[rng.integers(len(HAIRS))]),
        hair_style=pick(rng, HAIR_STYLES),
        beard=rng.random() < 0.15,
        glasses=rng.random() < 0.12,
        shirt=cloth(rng),
        second=cloth(rng),
        pattern=pick(rng, PATTERNS),
        sleeve=pick(rng, SLEEVES),
        trousers=cloth(rng),
        leg=leg,
        skirt=leg < 0.4 and rng.random() < 0.5,
        shoes=cloth(rng),
        backpack=cloth(rng) if rng.random() < 0.06 else None,
        prop=pick(rng, PROPS),
        prop_colour=cloth(rng),
    )


def _tinted(rng: np.random.Generator, colour: tuple[int, int, int]) -> np.ndarray:
    varied = np.array(colour) * rng.normal(1, 0.05) * rng.normal(1, 0.025, 3)
    return varied.clip(8, 250).astype(np.float32)[:, None, None]


def cloth(rng: np.random.Generator) -> np.ndarray:
    """A cloth's colour, (3, 1, 1) float32 BGR: mostly dark, light or muted, sometimes bright."""
    hue = rng.uniform(0, 6)
    saturation = pick(rng, ((0.08, 0.35), (0.4, 0.35), (0.75, 0.3)))
    value = rng.uniform(*((30, 80), (80, 180), (180, 245))[rng.integers(3)])
    k = (np.array((1.0, 3.0, 5.0)) + hue) % 6
    channel = value * (1 - saturation * np.minimum(k, 4 - k).clip(0, 1))  # HSV to BGR
    return channel.astype(np.float32)[:, None, None]


def plain(colour: np.ndarray) -> Material:
    """One colour."""
    return lambda *_: colour


def split(inner: np.ndarray, outer: np.ndarray, at: float) -> Material:
    """The first colour up to t = ``at`` along a limb, the second beyond."""
    if at <= 0 or at >= 1:
        return plain(inner if at >= 1 else outer)
    return lambda t, _: inner + ((t - at) * 25.0).clip(0.0, 1.0) * (outer - inner)


def shirt(outfit: Outfit, height: float, half: float, neckline: bool) -> Material:
    """A part of the trunk, as an ellipsoid's material.

    Args:
        outfit: whose shirt.
        height: of the ellipsoid's centre above the waist, in statures, so that a pattern runs
            on from one part to the next.
        half: its half-axis along the trunk, in statures.
        neckline: show skin below the neck, in front.
    """
    first, second = outfit.shirt, outfit.second

    def material(x, y, z):
        v = y * half + height
        if outfit.pattern == "stripes":
            mix = (np.sin(v * 110.0) * 2.0 + 0.5).clip(0.0, 1.0)
        elif outfit.pattern == "halves":
            mix = ((v - 0.1) * 90.0).clip(0.0, 1.0)
        elif outfit.pattern == "print":  # on the breast
            mix = ((0.22 - x * x - (v - 0.13) * (v - 0.13) * 60.0) * 20.0).clip(0.0, 1.0)
            mix *= z > 0
        elif outfit.pattern == "open":  # a jacket, and what is under it
            mix = ((0.3 - np.abs(x)) * 14.0).clip(0.0, 1.0) * (z > 0)
        else:  # a placket with its shadow
            mix = ((0.07 - np.abs(x)) * 30.0).clip(0.0, 0.3) * (z > 0)
        colour = first + mix * (second - first)
        if neckline:
            bare = ((y - 0.6 - np.abs(x)) * 12.0).clip(0.0, 1.0) * (z > 0)
            colour = colour + bare * (outfit.skin - colour)
        return colour

    return material


def head(outfit: Outfit) -> Material:
    """Face in front, hair on top and behind."""
    skin, hair = outfit.skin, outfit.hair
    bald = outfit.hair_style == "bald"

    def material(x, y, z):
        if bald:
            edge = -z - 1.2 * np.abs(y + 0.1) + 0.2
        else:
            edge = y * 0.8 - z * 0.7 - 0.1
        colour = skin + (edge * 12.0).clip(0.0, 1.0) * (hair - skin)
        front, side = z > 0.15, np.abs(x)
        if outfit.beard:
            chin = ((-0.3 - y) * 8.0).clip(0.0, 0.85) * front
            colour = colour + chin * (hair - colour)
        eye = side - 0.36
        if outfit.glasses:
            dark = (eye * eye * 16.0 + (y - 0.04) ** 2 * 34.0 < 1.0) * _FACE_DARK
        else:
            dark = (eye * eye * 60.0 + (y - 0.04) ** 2 * 120.0 < 1.0) * _FACE_DARK
            dark += (eye * eye * 28.0 + (y - 0.24) ** 2 * 900.0 < 1.0) * 0.45
        dark += (side * side * 14.0 + (y + 0.5) ** 2 * 300.0 < 1.0) * 0.4
        return colour * (1.0 - dark.clip(0.0, 0.85) * front)

    return material
