"""Other pose networks to compare with: timm backbones with MMPose's heads.

Every name of ``hevitpose.models.spec.PEERS`` has a builder of that name; ``hevitpose.create_model``
calls :func:`create_peer`. Their parameters and GFLOPs: ``counts.py``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from hevitpose.errors import UsageError, unknown_name
from hevitpose.models.peers.base import Peer
from hevitpose.models.peers.convolutional import (
    pose_hrnet_w32,
    pose_mobilenetv2,
    pose_resnest50,
    pose_resnet50,
    pose_resnext50,
    pose_shufflenetv2,
)
from hevitpose.models.peers.hrformer import hrformer_s
from hevitpose.models.peers.rtmpose import rtmpose_m, rtmpose_s
from hevitpose.models.peers.small import (
    pose_hrnet_nano,
    pose_resnet50_nano,
    rtmpose_nano,
    vitpose_nano,
)
from hevitpose.models.peers.transformers import (
    pose_efficientvit_m4,
    pose_pvtv2_b2,
    pose_swin_b,
    pose_swin_s,
    pose_swin_t,
    vitpose_b,
    vitpose_s,
)
from hevitpose.models.spec import PEERS, is_integer

__all__ = ["Peer", "create_peer"]

_BUILDERS: dict[str, Callable[..., Peer]] = {
    "pose_resnet50": pose_resnet50,
    "pose_resnext50": pose_resnext50,
    "pose_resnest50": pose_resnest50,
    "pose_hrnet_w32": pose_hrnet_w32,
    "pose_mobilenetv2": pose_mobilenetv2,
    "pose_shufflenetv2": pose_shufflenetv2,
    "pose_swin_t": pose_swin_t,
    "pose_swin_s": pose_swin_s,
    "pose_swin_b": pose_swin_b,
    "pose_pvtv2_b2": pose_pvtv2_b2,
    "pose_efficientvit_m4": pose_efficientvit_m4,
    "vitpose_s": vitpose_s,
    "vitpose_b": vitpose_b,
    "hrformer_s": hrformer_s,
    "rtmpose_s": rtmpose_s,
    "rtmpose_m": rtmpose_m,
    "pose_resnet50_nano": pose_resnet50_nano,
    "pose_hrnet_nano": pose_hrnet_nano,
    "rtmpose_nano": rtmpose_nano,
    "vitpose_nano": vitpose_nano,
}


def create_peer(name: str, num_keypoints: int = 17, **overrides: Any) -> Peer:
    """Build a peer with fresh weights.

    Args:
        name: one of ``hevitpose.models.spec.PEERS``.
        num_keypoints: K.
        overrides: ``input_size``, the (W, H) the network is built for (it matters where weights
            depend on it: the positions of ViTPose, the head of RTMPose; elsewhere it is only
            checked), and ``drop_path_rate`` where the network has stochastic depth (default 0).

    Returns:
        The network; its ``codec`` says what its output is: ``"heatmap"`` (N, K, H / 4, W / 4), or
        ``"simcc"``, a pair of logits (N, K, 2 W) and (N, K, 2 H).

    Raises:
        UsageError: an unknown name or override, or an input size that does not fit.
    """
    if name not in _BUILDERS:
        raise unknown_name("peer", name, PEERS)
    builder = _BUILDERS[name]
    known = [key for key in inspect.signature(builder).parameters if key != "num_keypoints"]
    for key in overrides:
        if key not in known:
            raise unknown_name(f"option of {name}", key, known)
    size = overrides.get("input_size")
    if size is not None:
        pair = size if isinstance(size, (tuple, list)) else ()
        if len(pair) != 2 or not all(is_integer(n) and n > 0 for n in pair):
            raise UsageError(f"input_size: {size!r:.80}, expected two positive integers (W, H)")
        overrides["input_size"] = tuple(map(int, pair))
    rate = overrides.get("drop_path_rate", 0.0)
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate < 1:
        raise UsageError(f"drop_path_rate: {rate!r:.80}, expected [0, 1)")
    model = builder(num_keypoints, **overrides)
    model.name = name
    model.num_keypoints = num_keypoints
    model.options = overrides  # type: ignore[assignment]  # what a checkpoint rebuilds it with
    return model
