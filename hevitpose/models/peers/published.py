"""What was published about the size of each network, beside what this code gives.

Where the two agree to the printed digits or 0.5% (whichever is wider), the published pair stands
alone. Where they cannot, :attr:`Published.here` holds this code's numbers, and the note says why.
Tests hold the code to whichever applies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Published:
    """Parameters and GFLOPs as printed (strings keep the digits), and under what conditions."""

    params_m: str | None  # millions
    gflops: str | None  # multiply-accumulates / 1e9, `mmcv` convention unless the note says
    source: str
    input_size: tuple[int, int] = (256, 256)  # (W, H)
    num_keypoints: int = 16
    here: tuple[str | None, str | None] = (None, None)  # ours, where ours differs
    note: str = ""

    @property
    def expected(self) -> tuple[str | None, str | None]:
        """(params_m, gflops) that this code must give."""
        return (self.here[0] or self.params_m, self.here[1] or self.gflops)


#: Half a printed digit, or this fraction, whichever is wider, counts as agreement.
TOLERANCE = 0.005

_HEVITPOSE = "HEViTPose README"
_FIGURE = "HEViTPose README, PerformanceComparison figure"
_COCO: dict[str, Any] = {"input_size": (192, 256), "num_keypoints": 17}

PUBLISHED: dict[str, Published] = {
    "hevitpose_t": Published("3.21", "1.75", _HEVITPOSE),
    "hevitpose_s": Published("5.88", "3.64", _HEVITPOSE),
    "hevitpose_b": Published("10.63", "5.58", _HEVITPOSE),
    "pose_resnet50": Published("34.00", "7.28", _FIGURE),
    "pose_resnext50": Published("33.47", "7.48", _FIGURE),
    "pose_resnest50": Published("35.93", "8.97", _FIGURE),
    "pose_hrnet_w32": Published(
        "28.02",
        "9.85",
        _FIGURE + "; LEViTPose README",
        here=("28.54", "10.27"),
        note="stock HRNet-W32 is 28.54M and 9.5 to 10.3G depending on the counter; the authors' "
        "own curve over input sides (16.1G at 320, 64.2G at 640) is that of 10.27G at 256",
    ),
    "pose_mobilenetv2": Published("9.57", "2.12", _FIGURE),
    "pose_shufflenetv2": Published("7.55", "1.83", _FIGURE),
    "pose_swin_s": Published("54.08", "15.40", "arXiv 2311.13615 abstract (from its ratios)"),
    "pose_swin_t": Published(
        None, None, "MMPose prints none for Swin", here=("32.77", "6.13"), **_COCO
    ),
    "pose_swin_b": Published(
        None, None, "MMPose prints none for Swin", here=("93.04", "18.56"), **_COCO
    ),
    "pose_pvtv2_b2": Published(
        "29.05",
        "5.77",
        _FIGURE,
        here=(None, "6.58"),
        note="5.77G leaves out q, kv and output projections, hidden in nn.MultiheadAttention",
    ),
    "pose_efficientvit_m4": Published(
        "9.84", "5.91", _FIGURE, note="9.84M measured from the figure (to 0.7%)"
    ),
    "vitpose_s": Published(
        None, None, "ViTPose (NeurIPS 2022) prints none for S", here=("24.29", "5.26"), **_COCO
    ),
    "vitpose_b": Published("90", None, "ViTPose model card", here=(None, "17.85"), **_COCO),
    "hrformer_s": Published(
        "7.8",
        "2.8",
        "HRFormer (NeurIPS 2021)",
        here=("7.75", "3.05"),
        note="2.8G counts convolutions and linears only, divided by 1024^3 (as HRNet's paper "
        "does): that count of this code is 2.77",
        **_COCO,
    ),
    "rtmpose_s": Published("5.47", "0.68", "RTMPose README", **_COCO),
    "rtmpose_m": Published("13.59", "1.93", "RTMPose README", **_COCO),
}

#: GFLOPs by the side of a square input, measured from the authors' ComputationalOverhead figure
#: (to about 0.3).
PUBLISHED_SIDES: dict[str, dict[int, float]] = {
    "hevitpose_b": {160: 2.2, 320: 8.7, 480: 19.6, 640: 34.9, 800: 54.5, 960: 78.3},
    "pose_hrnet_w32": {160: 4.4, 320: 16.1, 480: 36.2, 640: 64.2, 800: 100.3, 960: 144.3},
    "pose_resnest50": {160: 3.8, 320: 14.1, 480: 31.6, 640: 56.1, 800: 87.7, 960: 125.9},
    "pose_resnet50": {160: 3.1, 320: 11.4, 480: 25.6, 640: 45.5, 800: 71.1, 960: 102.3},
    "pose_swin_s": {160: 6.1, 320: 20.9, 480: 49.5, 640: 81.7, 800: 132.0},
    "pose_pvtv2_b2": {320: 9.5, 480: 20.6, 640: 36.2, 800: 56.4, 960: 81.0},
}


def agrees(measured: float, printed: str, tolerance: float = TOLERANCE) -> bool:
    """Whether a number equals a printed one to its digits or to `tolerance`, the wider of the two.

    Args:
        measured: in the printed number's unit.
        printed: e.g. ``"28.54"``, whose last digit is good to 0.005.
        tolerance: fraction of the printed number.
    """
    decimals = len(printed.partition(".")[2])
    return abs(measured - float(printed)) <= max(
        0.5 * 10**-decimals + 1e-9, tolerance * float(printed)
    )
