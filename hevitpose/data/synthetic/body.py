"""An articulated body: proportions and forward kinematics.

Lengths are in statures (the body's height is 1), after the segment lengths of Drillis and Contini
as tabulated in Winter, *Biomechanics and Motor Control of Human Movement* (table 4.1). Frames are
right-handed with columns (left, up, forward) **of the person**; poses are in degrees.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: The joints that are annotated: COCO's 17 in COCO's order, then MPII's torso and head points.
POINTS = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear"),
    *("left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist"),
    *("left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle"),
    *("pelvis", "thorax", "upper_neck", "head_top"),
)
#: Points of the skeleton that are drawn but not annotated.
EXTRA_POINTS = (
    *("lumbar", "head_centre", "left_hand", "right_hand"),
    *("left_heel", "right_heel", "left_toe", "right_toe"),
)
INDEX = {name: i for i, name in enumerate((*POINTS, *EXTRA_POINTS))}


@dataclass(frozen=True)
class Build:
    """Segment lengths and girths of one person, in statures."""

    upper_arm: float = 0.180
    forearm: float = 0.150
    hand: float = 0.055
    thigh: float = 0.245
    shank: float = 0.245
    foot: float = 0.105
    shoulder: float = 0.108  # half the distance between the shoulder joints
    hip: float = 0.057  # half the distance between the hip joints
    lumbar: float = 0.075  # pelvis to lumbar joint
    trunk: float = 0.215  # lumbar joint to thorax
    neck: float = 0.035  # thorax to upper neck
    head: float = 0.150  # upper neck to head top, as MPII's annotators set them
    girth: float = 1.0  # factor on every radius


@dataclass(frozen=True)
class Skeleton:
    """A posed body.

    Attributes:
        points: (29, 3) world positions (left, up, forward at zero yaw), indexed by ``INDEX``.
        pelvis: (3, 3) frame of the pelvis, columns left, up, forward.
        chest: (3, 3) frame of the chest.
        head: (3, 3) frame of the head.
    """

    points: np.ndarray
    pelvis: np.ndarray
    chest: np.ndarray
    head: np.ndarray

    def __getitem__(self, name: str) -> np.ndarray:
        return self.points[INDEX[name]]


def sample_build(rng: np.random.Generator) -> Build:
    """Proportions of a random person; one in eight is a child (large head, short limbs)."""
    child = rng.random() < 0.12
    limb, head = (0.92, 1.2) if child else (1.0, 1.0)
    j = rng.normal(1.0, 0.04, 12).clip(0.9, 1.1)
    return Build(
        upper_arm=0.180 * limb * j[0],
        forearm=0.150 * limb * j[1],
        hand=0.055 * limb,
        thigh=0.245 * limb * j[2],
        shank=0.245 * limb * j[3],
        foot=0.105 * limb * j[4],
        shoulder=0.108 * limb * j[5],
        hip=0.057 * j[6],
        lumbar=0.075 * j[7],
        trunk=0.215 * j[8],
        neck=0.035 * j[9],
        head=0.150 * head * j[10],
        girth=float(np.clip(rng.normal(1.05, 0.12), 0.82, 1.4)),
    )


def _rot_x(a: float) -> np.ndarray:
    c, s = np.cos(a), np.sin(a)
    return np.array(((1, 0, 0), (0, c, -s), (0, s, c)))


def _rot_y(a: float) -> np.ndarray:
    c, s = np.cos(a), np.sin(a)
    return np.array(((c, 0, s), (0, 1, 0), (-s, 0, c)))


def _rot_z(a: float) -> np.ndarray:
    c, s = np.cos(a), np.sin(a)
    return np.array(((c, -s, 0), (s, c, 0), (0, 0, 1)))


def pose_body(build: Build, pose: dict[str, float]) -> Skeleton:
    """Forward kinematics.

    Args:
        build: the person's proportions.
        pose: angles in degrees under the names of ``poses.LIMITS``, the sided ones with
            ``left_`` or ``right_`` in front, and of the whole body ``yaw`` (positive turns to the
            person's left), ``pitch`` (positive bows forward), ``roll``, and ``turn`` (about its
            own long axis). Absent angles are 0.

    Returns:
        The skeleton with the pelvis at the origin.
    """
    a = {name: np.deg2rad(value) for name, value in pose.items()}
    get = lambda name: a.get(name, 0.0)  # noqa: E731
    p = np.zeros((len(INDEX), 3))

    pelvis = _rot_y(get("yaw")) @ _rot_x(get("pitch")) @ _rot_z(get("roll")) @ _rot_y(get("turn"))
    bend = _rot_y(get("spine_twist")) @ _rot_x(get("spine_flex")) @ _rot_z(get("spine_side"))
    chest = pelvis @ bend
    lumbar = pelvis[:, 1] * build.lumbar
    thorax = lumbar + chest[:, 1] * build.trunk
    neck = chest @ _rot_x(0.5 * get("neck_flex")) @ _rot_z(0.5 * get("neck_side"))
    upper_neck = thorax + neck @ (0, build.neck, 0.12 * build.neck)
    head = neck @ _rot_y(get("neck_twist")) @ _rot_x(0.5 * get("neck_flex"))
    head = head @ _rot_z(0.5 * get("neck_side"))
    h = build.head / 0.150
    on_head = {
        "head_top": (0, 0.150, 0.004),
        "head_centre": (0, 0.080, 0.008),
        "nose": (0, 0.064, 0.078),
        "left_eye": (0.020, 0.085, 0.064),
        "right_eye": (-0.020, 0.085, 0.064),
        "left_ear": (0.052, 0.074, 0.002),
        "right_ear": (-0.052, 0.074, 0.002),
    }
    for name, offset in on_head.items():
        p[INDEX[name]] = upper_neck + head @ (np.array(offset) * h)
    p[INDEX["lumbar"]], p[INDEX["thorax"]], p[INDEX["upper_neck"]] = lumbar, thorax, upper_neck
    for side, sign in (("left_", 1.0), ("right_", -1.0)):
        _arm(p, build, chest, lumbar, side, sign, get)
        _leg(p, build, pelvis, side, sign, get)
    return Skeleton(p, pelvis, chest, head)


def _arm(p, build, chest, lumbar, side, sign, get) -> None:
    lift = get(side + "arm_lift")
    plane = sign * get(side + "arm_plane")
    shrug = 0.035 * max(0.0, np.sin(lift / 2 - 0.35))  # the shoulder blade rises with the arm
    shoulder = lumbar + chest @ (
        sign * (build.shoulder - 0.4 * shrug),
        build.trunk - 0.012 + shrug,
        0.0,
    )
    swing = _rot_y(plane) @ _rot_x(-lift) @ _rot_y(sign * get(side + "arm_roll") - plane)
    upper = chest @ swing
    elbow = shoulder - upper[:, 1] * build.upper_arm
    lower = upper @ _rot_x(-get(side + "elbow"))
    wrist = elbow - lower[:, 1] * build.forearm
    for name, value in (("shoulder", shoulder), ("elbow", elbow), ("wrist", wrist)):
        p[INDEX[side + name]] = value
    p[INDEX[side + "hand"]] = wrist - lower[:, 1] * build.hand


def _leg(p, build, pelvis, side, sign, get) -> None:
    hip = pelvis[:, 0] * sign * build.hip
    upper = (
        pelvis
        @ _rot_x(-get(side + "hip_flex"))
        @ _rot_z(sign * get(side + "hip_side"))
        @ _rot_y(sign * get(side + "hip_roll"))
    )
    knee = hip - upper[:, 1] * build.thigh
    lower = upper @ _rot_x(get(side + "knee"))
    ankle = knee - lower[:, 1] * build.shank
    foot = lower @ _rot_x(-get(side + "ankle"))
    for name, value in (("hip", hip), ("knee", knee), ("ankle", ankle)):
        p[INDEX[side + name]] = value
    p[INDEX[side + "heel"]] = ankle + foot @ (0, -0.028, -0.022)
    p[INDEX[side + "toe"]] = ankle + foot @ (0, -0.030, build.foot)
