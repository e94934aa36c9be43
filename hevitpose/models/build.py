"""``create_model``: a name and overrides to a network; the same names in timm's registry."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from timm.models import register_model
from torch import nn

from hevitpose.errors import UsageError
from hevitpose.models.hevitpose import HEViTPose
from hevitpose.models.own_parts import try_own_parts
from hevitpose.models.spec import PEERS, full_name, is_integer, resolve


def create_model(
    name: str, num_keypoints: int = 17, *, seed: int | None = None, **overrides: Any
) -> nn.Module:
    """Build a network with fresh weights.

    Args:
        name: a variant (``"hevitpose_b"``, short ``"b"``) or a peer (``"pose_resnet50"``).
        num_keypoints: heatmaps, e.g. 17 for COCO, 16 for MPII, 14 for CrowdPose.
        seed: weights drawn from this seed alone, the global generator left as it was. ``None``
            draws from the global generator.
        overrides: fields of :class:`hevitpose.models.spec.HEViTPoseSpec`, e.g.
            ``attention="mhsa"``; of a peer, what that peer takes.

    Returns:
        The network in training mode, the form that reads like the equations;
        ``hevitpose.optimize`` makes the fast one. It has ``name``, ``num_keypoints`` and ``spec``.

    Raises:
        UsageError: an unknown name or option, a value that the network cannot have, or a part of
            your own whose output has another shape than the others of its kind.
    """
    network = _built(name, num_keypoints, seed, overrides)
    try_own_parts(network)
    return network


def _built(name: str, num_keypoints: int, seed: int | None, overrides: dict[str, Any]) -> nn.Module:
    name = full_name(name)
    num_keypoints = _whole("num_keypoints", num_keypoints)
    if num_keypoints < 1:
        raise UsageError(f"num_keypoints: {num_keypoints}, expected an integer of at least 1")
    if seed is not None and not -(2**63) <= (seed := _whole("seed", seed)) < 2**64:
        raise UsageError(f"seed: {seed}, expected an integer of 64 bits")
    with _seeded(seed):
        if name in PEERS:
            from hevitpose.models.peers import create_peer

            return create_peer(name, num_keypoints, **overrides)
        return HEViTPose(resolve(name, **overrides), num_keypoints, name)


def create_for_input(
    name: str,
    num_keypoints: int,
    input_size: tuple[int, int],
    *,
    seed: int | None = None,
    **overrides: Any,
) -> nn.Module:
    """:func:`create_model` for an input size (W, H), which the weights of some peers depend on."""
    if full_name(name) in PEERS:
        overrides.setdefault("input_size", tuple(input_size))
    network = _built(name, num_keypoints, seed, overrides)
    try_own_parts(network, input_size)
    return network


def _whole(name: str, value: Any) -> int:
    """An integer of any library.

    Raises:
        UsageError: it is none.
    """
    if not is_integer(value):
        raise UsageError(f"{name}: {value!r:.80}, expected an integer")
    return int(value)


@contextlib.contextmanager
def _seeded(seed: int | None) -> Any:
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: it would also reseed the accelerators, which fork_rng leaves out.
        torch.default_generator.manual_seed(seed)
        yield


def _timm_entry(name: str, pretrained: bool, options: dict[str, Any]) -> nn.Module:
    """Build for timm: its own options dropped, pretrained weights refused."""
    if pretrained:
        raise UsageError(
            f"{name}: pretrained=True is not supported; hevitpose.from_pretrained(NAME) gives the "
            "networks that ship, with what their keypoints mean"
        )
    for key in ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"):
        options.pop(key, None)
    return create_model(name, **options)


@register_model
def hevitpose_nano(pretrained: bool = False, **options: Any) -> nn.Module:
    """HEViTPose-nano, not in the paper; for CPU-sized work."""
    return _timm_entry("hevitpose_nano", pretrained, options)


@register_model
def hevitpose_t(pretrained: bool = False, **options: Any) -> nn.Module:
    """HEViTPose-T: 3.21M parameters, 1.75 GFLOPs at 256x256 (K = 16)."""
    return _timm_entry("hevitpose_t", pretrained, options)


@register_model
def hevitpose_s(pretrained: bool = False, **options: Any) -> nn.Module:
    """HEViTPose-S: 5.88M parameters, 3.65 GFLOPs at 256x256 (K = 16)."""
    return _timm_entry("hevitpose_s", pretrained, options)


@register_model
def hevitpose_b(pretrained: bool = False, **options: Any) -> nn.Module:
    """HEViTPose-B: 10.63M parameters, 5.58 GFLOPs at 256x256 (K = 16)."""
    return _timm_entry("hevitpose_b", pretrained, options)
