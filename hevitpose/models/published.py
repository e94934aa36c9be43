"""Published weights of the peers: MMPose 1.x and 0.x, ViTPose's own files, timm's ImageNet.

The names are translated by ``keytables``; the files are read as data by ``torchfile``. What belongs
to the weights besides (codec, input, decoder) is put beside them by
``hevitpose.inference.pretrained``.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from hevitpose.errors import DataError, HEViTPoseError, UsageError, unknown_name
from hevitpose.models.build import create_for_input
from hevitpose.models.checkpoint import LAST_LAYER, load_weights
from hevitpose.models.keymaps import KeyMap
from hevitpose.models.keytables import KEY_MAPS, VIT_ORIGINAL
from hevitpose.models.peers.transformers import PATCH, resize_positions
from hevitpose.models.spec import IMAGENET
from hevitpose.models.torchfile import read_content

#: What all peers but a few are published for, (W, H).
PUBLISHED_SIZE = (192, 256)
_POSITIONS = "backbone.net.pos_embed"
#: Grids (h, w) of ViT's positions by their number: of inputs 256x192 and 384x288 (H x W).
_GRIDS = {192: (16, 12), 432: (24, 18)}


@dataclass(frozen=True)
class Foreign:
    """A network with the weights of a published file."""

    model: nn.Module  # in evaluation mode
    origin: str  # whose code wrote the file: "MMPose 1.x", "MMPose 0.x" or "ViTPose"
    reset: tuple[str, ...]  # entries that were initialised anew, for another number of keypoints
    dataset: str = ""  # whose keypoints the file says to predict; "": not said
    keypoints: tuple[str, ...] = ()  # their names in the file's order; empty: not said


def read_published(
    name: str,
    path: Path | str,
    *,
    input_size: tuple[int, int] = PUBLISHED_SIZE,
    num_keypoints: int | None = None,
) -> Foreign:
    """A peer with the weights that its publisher's file holds; see ``hevitpose.from_published``.

    Raises:
        UsageError: nobody publishes this network, or the size does not fit it.
        DataError: the file is damaged, unsafe, or of another network.
    """
    if name not in KEY_MAPS:
        raise unknown_name("published network", name, KEY_MAPS)
    content = read_content(path)
    theirs: Mapping[str, Tensor] = content.state
    older = any("keypoint_head." in key for key in theirs)
    theirs = dict(_renamed(theirs))
    trained = _keypoints(path, theirs)
    if content.keypoints and len(content.keypoints) != trained:
        raise DataError(
            f"{path}: meta.dataset_meta names {len(content.keypoints)} keypoints "
            f"({content.dataset or 'no dataset'}), its head predicts {trained}"
        )
    model = create_for_input(name, num_keypoints or trained, input_size).eval()
    wanted = model.state_dict()
    fits = [_fit(keys, theirs, wanted, input_size, trained) for keys in KEY_MAPS[name]]
    keys, (state, problems) = min(
        zip(KEY_MAPS[name], fits, strict=True), key=lambda pair: len(pair[1][1])
    )
    if problems:
        experts = any(".experts." in key for key in theirs)
        raise DataError(
            f"{path}: does not fit {name}"
            + (" (it is a ViTPose+, another network)" if experts else "")
            + f", {len(problems)} keys differ: {'; '.join(problems[:3])}"
        )
    reset = LAST_LAYER if num_keypoints not in (None, trained) else ()
    model.load_state_dict({**wanted, **{k: v for k, v in state.items() if k not in reset}})
    mmpose = "MMPose 0.x" if older else "MMPose 1.x"
    origin = "ViTPose" if keys is VIT_ORIGINAL else mmpose
    return Foreign(model, origin, reset, content.dataset, content.keypoints)


def _renamed(theirs: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Their names as MMPose 1.x spells them, without what wraps or repeats the network.

    mmcv keeps a second copy of averaged weights as buffers ``ema_...``; what it saves under the
    plain names are the averages already, and so it is with mmengine's ``ema_state_dict``.
    """
    for name, tensor in theirs.items():
        key = name.removeprefix("module.")
        if key.startswith("ema_"):
            continue
        yield (
            "head." + key.removeprefix("keypoint_head.")
            if key.startswith("keypoint_head.")
            else key,
            tensor,
        )


def _keypoints(path: Path | str, theirs: Mapping[str, Tensor]) -> int:
    last = theirs.get("head.final_layer.weight")
    if last is None or last.ndim != 4:
        raise DataError(
            f"{path}: not a pose network of MMPose or ViTPose, expected head.final_layer.weight "
            f"or keypoint_head.final_layer.weight; it has {', '.join(list(theirs)[:3])}, ..."
        )
    return len(last)


def _fit(
    keys: KeyMap,
    theirs: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    input_size: tuple[int, int],
    trained: int,
) -> tuple[dict[str, Tensor], list[str]]:
    """Their tensors under our names, and a line for each of their keys that does not fit."""
    found, strange = keys.to_ours(theirs)
    if _POSITIONS in found:
        found[_POSITIONS] = _fit_positions(found[_POSITIONS], input_size)
    problems = [f"{key} is not expected" for key in strange]
    for key, own in wanted.items():
        if key not in found:
            if not key.endswith("num_batches_tracked"):  # older files lack these counters
                problems.append(f"{keys.their_name(key)} is missing")
            continue
        shape, expected = tuple(found[key].shape), tuple(own.shape)
        if key in LAST_LAYER:
            expected = (trained, *expected[1:])
        if shape != expected:
            problems.append(f"{keys.their_name(key)} is {_shape(shape)}, not {_shape(expected)}")
    problems += [f"{keys.their_name(key)} is not expected" for key in found if key not in wanted]
    return found, problems


def _fit_positions(positions_1LC: Tensor, input_size: tuple[int, int]) -> Tensor:
    """ViT's positions for an input size; a class token's row is dropped, as mmpretrain does."""
    grid = (input_size[1] // PATCH, input_size[0] // PATCH)
    count = positions_1LC.shape[1]
    if count == math.prod(grid):
        return positions_1LC
    if count - 1 in (math.prod(grid), *_GRIDS):
        positions_1LC, count = positions_1LC[:, 1:], count - 1
    if count not in _GRIDS:
        return positions_1LC  # its shape says what is wrong
    return resize_positions(positions_1LC.float(), _GRIDS[count], grid)


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a number"


# ------------------------------------------------------------------------------ ImageNet

#: timm's pretrained network of a peer's backbone, and where in the peer it lies.
BACKBONES = {
    "pose_resnet50": ("resnet50.tv_in1k", "backbone"),
    "pose_resnext50": ("resnext50_32x4d.tv_in1k", "backbone"),
    "pose_resnest50": ("resnest50d.in1k", "backbone"),
    "pose_hrnet_w32": ("hrnet_w32.ms_in1k", "backbone.net"),
    "pose_mobilenetv2": ("mobilenetv2_100.ra_in1k", "backbone"),
    "pose_swin_t": ("swin_tiny_patch4_window7_224.ms_in1k", "backbone.net"),
    "pose_swin_s": ("swin_small_patch4_window7_224.ms_in1k", "backbone.net"),
    "pose_swin_b": ("swin_base_patch4_window7_224.ms_in1k", "backbone.net"),
    "pose_pvtv2_b2": ("pvt_v2_b2.in1k", "backbone"),
    "vitpose_b": ("vit_base_patch16_224.mae", "backbone.net"),  # what ViTPose starts from
}


def start_from(model: nn.Module, weights: str) -> tuple[str, ...]:
    """Fill a network that is to be trained.

    Args:
        model: the network.
        weights: a file, or ``imagenet``.

    Returns:
        Names of the entries that a file of another number of keypoints left as they were.

    Raises:
        DataError: the file is damaged or of another network.
        HEViTPoseError: the ImageNet weights cannot be fetched, or there are none.
    """
    if weights == IMAGENET:
        load_imagenet(model)
        return ()
    return load_weights(model, weights, reset_keypoints=True)


def load_imagenet(model: nn.Module) -> None:
    """Fill a peer's backbone with timm's ImageNet weights, in place.

    Raises:
        UsageError: timm has none for this network.
        HEViTPoseError: they are not in its cache and the network is not reachable.
    """
    name = str(model.name)
    if name not in BACKBONES:
        raise UsageError(
            f"training.start_from=imagenet: timm has no weights for {name} (it has for "
            f"{', '.join(BACKBONES)})"
        )
    source, place = BACKBONES[name]
    backbone = model.get_submodule(place)
    with _one_line(name, source):
        theirs = timm.create_model(source, pretrained=True, num_classes=0).state_dict()
    if "pos_embed" in theirs:
        positions_1LC = theirs["pos_embed"][:, 1:]
        side = math.isqrt(positions_1LC.shape[1])
        grid: Any = model.get_submodule("backbone").grid
        theirs["pos_embed"] = resize_positions(positions_1LC, (side, side), grid)
    own = backbone.state_dict()
    wrong = [k for k, x in own.items() if k not in theirs or theirs[k].shape != x.shape]
    if wrong:
        raise HEViTPoseError(f"timm {timm.__version__}: {source} does not fit {name}: {wrong[0]}")
    with torch.no_grad():
        backbone.load_state_dict({key: theirs[key] for key in own})


@contextlib.contextmanager
def _one_line(name: str, source: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # of whatever library fetches it
        raise HEViTPoseError(
            f"training.start_from=imagenet: timm's {source} for {name} could not be fetched "
            f"({type(error).__name__}); it needs the network once, or timm's cache"
        ) from error


__all__ = [
    "BACKBONES",
    "PUBLISHED_SIZE",
    "Foreign",
    "load_imagenet",
    "read_published",
    "start_from",
]
