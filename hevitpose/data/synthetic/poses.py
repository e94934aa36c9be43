"""Joint angles of everyday and sport poses, within the limits of a body.

A pose is a dict of degrees, as :func:`hevitpose.data.synthetic.body.pose_body` takes it. Each
family is written for one side and mirrored half of the time.
"""

from __future__ import annotations

import numpy as np

from hevitpose.data.synthetic.chance import pick

#: Joint limits in degrees, of a supple adult; every sampled pose is clipped to them.
LIMITS = {
    "spine_flex": (-30, 85),
    "spine_side": (-30, 30),
    "spine_twist": (-40, 40),
    "neck_flex": (-40, 45),
    "neck_side": (-30, 30),
    "neck_twist": (-65, 65),
    "arm_lift": (0, 175),  # from hanging (0) over horizontal (90) to overhead
    "arm_plane": (-35, 170),  # the lift's plane: 0 forward, 90 sideways, above: backward
    "arm_roll": (-70, 60),  # about the upper arm; positive turns the forearm outward
    "elbow": (0, 145),
    "hip_flex": (-25, 125),
    "hip_side": (-15, 60),
    "hip_roll": (-35, 45),
    "knee": (0, 145),
    "ankle": (-40, 20),  # negative points the toes
}
_SIDED = ("arm_lift", "arm_plane", "arm_roll", "elbow", "hip_flex", "hip_side", "hip_roll")
SIDED = (*_SIDED, "knee", "ankle")

#: Everyday poses: (name, probability). Each has a function below.
FAMILIES = (
    ("stand", 0.28),
    ("walk", 0.19),
    ("run", 0.11),
    ("sit", 0.11),
    ("reach", 0.12),
    ("lie", 0.04),
    ("jump", 0.06),
    ("sport", 0.09),
)


def sample_pose(rng: np.random.Generator) -> tuple[str, dict[str, float]]:
    """A family's name and joint angles in degrees, within ``LIMITS``; ``yaw`` is left out."""
    family = pick(rng, FAMILIES)
    pose = _POSES[family](rng)
    noise = rng.normal(0.0, 1.0, len(LIMITS) * 2)
    for i, name in enumerate(LIMITS):
        spread = 4.0 if name.startswith(("spine", "neck", "ankle")) else 7.0
        for j, full in enumerate((f"left_{name}", f"right_{name}") if name in SIDED else (name,)):
            pose[full] = float(
                np.clip(pose.get(full, 0.0) + spread * noise[2 * i + j], *LIMITS[name])
            )
    pose["neck_twist"] = float(
        np.clip(pose["neck_twist"] + rng.normal(0, 18), *LIMITS["neck_twist"])
    )
    if rng.random() < 0.5:
        pose = mirror(pose)
    return family, pose


def mirror(pose: dict[str, float]) -> dict[str, float]:
    """The same pose seen in a mirror: sides exchanged, sideways and twisting angles negated."""
    out = {}
    for name, value in pose.items():
        if name.startswith("left_"):
            out["right_" + name[5:]] = value
        elif name.startswith("right_"):
            out["left_" + name[6:]] = value
        else:
            flips = name.endswith(("_side", "_twist")) or name in ("roll", "yaw", "turn")
            out[name] = -value if flips else value
    return out


def _both(**angles: float) -> dict[str, float]:
    return {side + name: value for name, value in angles.items() for side in ("left_", "right_")}


def _arms(rng: np.random.Generator) -> dict[str, float]:
    """Something for each arm to do while the body stands or sits."""
    out: dict[str, float] = {}
    for side in ("left_", "right_"):
        kind = pick(rng, ((0, 0.36), (1, 0.16), (2, 0.14), (3, 0.12), (4, 0.12), (5, 0.10)))
        lift, plane, roll, elbow = (
            (rng.uniform(5, 20), rng.uniform(40, 110), 0, rng.uniform(5, 30)),  # hanging
            (rng.uniform(30, 50), rng.uniform(85, 120), -60, rng.uniform(85, 115)),  # on the hip
            (rng.uniform(15, 45), rng.uniform(-10, 30), -35, rng.uniform(70, 125)),  # before chest
            (rng.uniform(50, 95), rng.uniform(-10, 60), 0, rng.uniform(0, 60)),  # pointing
            (
                rng.uniform(80, 130),
                rng.uniform(60, 100),
                rng.uniform(-20, 50),
                rng.uniform(60, 140),
            ),  # waving, phone
            (rng.uniform(70, 100), rng.uniform(80, 100), 0, rng.uniform(0, 20)),  # spread
        )[kind]
        out |= {side + "arm_lift": lift, side + "arm_plane": plane}
        out |= {side + "arm_roll": roll, side + "elbow": elbow}
    return out


def _stand(rng: np.random.Generator) -> dict[str, float]:
    spread = rng.uniform(0, 16)
    pose = _arms(rng) | _both(hip_side=spread, hip_roll=10.0)
    pose["pitch"] = rng.normal(0, 4)
    if rng.random() < 0.45:  # weight on one leg
        bend = rng.uniform(8, 35)
        pose |= {"left_hip_flex": bend, "left_knee": bend * 1.3, "roll": rng.normal(0, 5)}
    if rng.random() < 0.15:  # bowing
        pose |= {"spine_flex": rng.uniform(20, 70), "pitch": rng.uniform(5, 25)}
        pose |= _both(hip_flex=pose["pitch"], arm_plane=0.0)
    return pose


def _stride(rng: np.random.Generator, reach: float, kick: float, elbow: float, swing: float):
    phase = rng.uniform(0, 1)
    front, back = reach * (0.4 + 0.6 * phase), -reach * 0.7 * phase
    pose = {
        "left_hip_flex": front,
        "right_hip_flex": back,
        "left_knee": kick * rng.uniform(0.1, 0.7) * (1.2 - 0.7 * phase),
        "right_knee": kick * rng.uniform(0.2, 1.0),
        "right_ankle": -20.0 * phase,
        "left_arm_lift": swing * phase,
        "left_arm_plane": 160.0,
        "right_arm_lift": swing * phase,
        "right_arm_plane": 5.0,
        "spine_twist": 10.0 * phase,
    }
    return pose | _both(elbow=elbow * rng.uniform(0.7, 1.2), hip_side=3.0)


def _walk(rng: np.random.Generator) -> dict[str, float]:
    pose = _stride(rng, reach=32, kick=45, elbow=25, swing=32) | {"pitch": rng.normal(2, 3)}
    if rng.random() < 0.25:  # carrying or gesturing
        pose |= {k: v for k, v in _arms(rng).items() if k.startswith("right_")}
    return pose


def _run(rng: np.random.Generator) -> dict[str, float]:
    pose = _stride(rng, reach=65, kick=105, elbow=90, swing=55)
    return pose | {"pitch": rng.uniform(4, 18), "spine_flex": rng.uniform(0, 12)}


def _sit(rng: np.random.Generator) -> dict[str, float]:
    pose = _arms(rng) | {"pitch": rng.uniform(-15, 5), "spine_flex": rng.uniform(0, 30)}
    kind = rng.random()
    for side in ("left_", "right_"):
        if kind < 0.55:  # on a chair
            angles = (rng.uniform(70, 95), rng.uniform(2, 22), 0, rng.uniform(60, 105))
        elif kind < 0.75:  # cross-legged
            angles = (rng.uniform(80, 95), rng.uniform(35, 50), 40, rng.uniform(110, 130))
        elif kind < 0.9:  # on the floor, legs out
            angles = (rng.uniform(75, 95), rng.uniform(5, 25), 10, rng.uniform(0, 60))
        else:  # kneeling
            angles = (rng.uniform(0, 30), rng.uniform(5, 15), 0, rng.uniform(100, 140))
        for name, value in zip(("hip_flex", "hip_side", "hip_roll", "knee"), angles, strict=True):
            pose[side + name] = value
    if rng.random() < 0.5:  # hands on the legs
        pose |= _both(arm_lift=rng.uniform(20, 45), arm_plane=10.0, elbow=rng.uniform(30, 70))
    return pose


def _reach(rng: np.random.Generator) -> dict[str, float]:
    pose = _stand(rng)
    pose |= {
        "right_arm_lift": rng.uniform(90, 172),
        "right_arm_plane": rng.uniform(0, 100),
        "right_arm_roll": 0.0,
        "right_elbow": rng.uniform(0, 45),
        "spine_side": rng.uniform(0, 22),
        "neck_flex": rng.uniform(-30, 0),
    }
    if rng.random() < 0.4:  # with both
        pose |= {
            "left_arm_lift": rng.uniform(100, 172),
            "left_elbow": rng.uniform(0, 60),
            "left_arm_plane": rng.uniform(0, 100),
            "spine_side": 0.0,
        }
    return pose


def _lie(rng: np.random.Generator) -> dict[str, float]:
    pose = _arms(rng) | {"pitch": pick(rng, ((-90.0, 0.5), (90.0, 0.5))) + rng.normal(0, 8)}
    pose["turn"] = rng.uniform(-60, 60)  # about the body's own long axis
    for side in ("left_", "right_"):
        bend = float(rng.integers(2)) * rng.uniform(10, 85)
        pose |= {side + "hip_flex": bend, side + "knee": 1.3 * bend}
        pose[side + "hip_side"] = rng.uniform(2, 20)
    return pose


def _jump(rng: np.random.Generator) -> dict[str, float]:
    pose = {"pitch": rng.normal(0, 8), "spine_flex": rng.normal(-4, 8)}
    star = rng.random() < 0.4
    for side in ("left_", "right_"):
        pose |= {
            side + "arm_lift": rng.uniform(60, 170),
            side + "arm_plane": rng.uniform(50, 110),
            side + "elbow": rng.uniform(0, 50),
            side + "hip_flex": rng.uniform(-10, 20) if star else rng.uniform(10, 90),
            side + "hip_side": rng.uniform(20, 50) if star else rng.uniform(0, 15),
            side + "knee": rng.uniform(0, 25) if star else rng.uniform(40, 120),
            side + "ankle": -30.0,
        }
    return pose


def _sport(rng: np.random.Generator) -> dict[str, float]:
    kind = rng.integers(5)
    if kind == 0:  # kicking a ball
        pose = {
            "right_hip_flex": rng.uniform(40, 95),
            "right_knee": rng.uniform(5, 40),
            "left_knee": 15.0,
            "pitch": rng.uniform(-18, 0),
            "left_arm_lift": 80.0,
            "left_arm_plane": 70.0,
            "right_arm_lift": 60.0,
            "right_arm_plane": 120.0,
        }
        return pose | _both(elbow=rng.uniform(10, 40))
    if kind == 1:  # throwing, serving
        pose = _stride(rng, reach=35, kick=40, elbow=30, swing=20)
        return pose | {
            "right_arm_lift": rng.uniform(90, 140),
            "right_arm_plane": 100.0,
            "right_arm_roll": rng.uniform(20, 60),
            "right_elbow": rng.uniform(50, 110),
            "left_arm_lift": rng.uniform(60, 120),
            "left_arm_plane": 20.0,
            "spine_side": 12.0,
            "spine_twist": -25.0,
        }
    if kind == 2:  # squatting
        pose = _both(
            hip_flex=rng.uniform(70, 110),
            knee=rng.uniform(80, 130),
            hip_side=rng.uniform(8, 25),
            ankle=15.0,
            arm_lift=rng.uniform(50, 110),
            arm_plane=rng.uniform(0, 30),
            elbow=rng.uniform(0, 90),
        )
        return pose | {"pitch": rng.uniform(0, 20), "spine_flex": rng.uniform(10, 35)}
    if kind == 3:  # lunging: fencing, batting
        pose = {
            "left_hip_flex": rng.uniform(50, 85),
            "left_knee": rng.uniform(50, 90),
            "right_hip_flex": -20.0,
            "right_knee": rng.uniform(5, 40),
            "left_arm_lift": rng.uniform(60, 100),
            "left_arm_plane": rng.uniform(0, 70),
            "right_arm_lift": rng.uniform(30, 100),
            "right_arm_plane": rng.uniform(60, 130),
        }
        return pose | _both(elbow=rng.uniform(0, 70), hip_side=rng.uniform(5, 20))
    pose = {
        "roll": rng.uniform(20, 60),
        "right_hip_side": rng.uniform(30, 60),  # dancing
        "spine_side": rng.uniform(0, 25),
        "left_arm_lift": rng.uniform(60, 160),
        "right_arm_lift": rng.uniform(60, 160),
    }
    return pose | _both(arm_plane=85.0, elbow=rng.uniform(0, 40), knee=rng.uniform(0, 30))


_POSES = {
    "stand": _stand,
    "walk": _walk,
    "run": _run,
    "sit": _sit,
    "reach": _reach,
    "lie": _lie,
    "jump": _jump,
    "sport": _sport,
}
