"""The size of each network as this code counts it, and where that differs from what was printed.

What others printed is in ``results/published/numbers.csv`` alone. Tests hold the code to these
numbers, and these to the printed ones wherever no note says why they cannot agree.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Counts:
    """Parameters and GFLOPs (strings keep the digits that are held), and at what input."""

    params_m: str  # millions
    gflops: str  # multiply-accumulates / 1e9, `mmcv` convention
    input_size: tuple[int, int] = (256, 256)  # (W, H)
    num_keypoints: int = 16
    note: str = ""  # why a printed number differs


#: Half a printed digit, or this fraction, whichever is wider, counts as agreement.
TOLERANCE = 0.005

_COCO = (192, 256), 17

COUNTS: dict[str, Counts] = {
    "hevitpose_t": Counts("3.21", "1.75"),
    "hevitpose_s": Counts("5.88", "3.64"),
    "hevitpose_b": Counts("10.63", "5.58"),
    "pose_resnet50": Counts("34.00", "7.28"),
    "pose_resnext50": Counts("33.47", "7.48"),
    "pose_resnest50": Counts("35.93", "8.97"),
    "pose_hrnet_w32": Counts(
        "28.54",
        "10.27",
        note="stock HRNet-W32 is 28.54M and 9.5 to 10.3G depending on the counter; the authors' "
        "own curve over input sides (16.1G at 320, 64.2G at 640) is that of 10.27G at 256",
    ),
    "pose_mobilenetv2": Counts("9.57", "2.12"),
    "pose_shufflenetv2": Counts("7.55", "1.83"),
    "pose_swin_t": Counts("32.77", "6.13", *_COCO),
    "pose_swin_s": Counts("54.08", "15.40"),
    "pose_swin_b": Counts("93.04", "18.56", *_COCO),
    "pose_pvtv2_b2": Counts(
        "29.05",
        "6.58",
        note="5.77G leaves out q, kv and output projections, hidden in nn.MultiheadAttention",
    ),
    "pose_efficientvit_m4": Counts("9.87", "5.91"),
    "vitpose_s": Counts("24.29", "5.26", *_COCO),
    "vitpose_b": Counts("89.99", "17.85", *_COCO),
    "hrformer_s": Counts(
        "7.75",
        "3.05",
        *_COCO,
        note="2.8G counts convolutions and linears only, divided by 1024^3 (as HRNet's paper "
        "does): that count of this code is 2.77",
    ),
    "rtmpose_s": Counts("5.47", "0.68", *_COCO),
    "rtmpose_m": Counts("13.59", "1.93", *_COCO),
    "pose_resnet50_nano": Counts("0.936", "0.2798", *_COCO),
    "pose_hrnet_nano": Counts("0.885", "0.2778", *_COCO),
    "rtmpose_nano": Counts("2.671", "0.2830", *_COCO),
    "vitpose_nano": Counts("1.326", "0.2853", *_COCO),
}


def agrees(measured: float, printed: str) -> bool:
    """Whether a number equals a printed one to its digits or to :data:`TOLERANCE`, the wider.

    Args:
        measured: in the printed number's unit.
        printed: e.g. ``"28.54"``, whose last digit is good to 0.005.
    """
    decimals = len(printed.partition(".")[2])
    return abs(measured - float(printed)) <= max(
        0.5 * 10**-decimals + 1e-9, TOLERANCE * float(printed)
    )
