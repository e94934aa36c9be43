"""Pictures in any form that programs hold them in, as arrays of RGB."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import PIL.Image
from torch import Tensor

from hevitpose.data.images import read_image
from hevitpose.errors import UsageError

#: A file, a PIL image, (H, W, 3) or grey (H, W) uint8, or a tensor (3, H, W), uint8 or 0..1.
Picture: TypeAlias = "Path | str | np.ndarray | PIL.Image.Image | Tensor"
Colour = Literal["rgb", "bgr"]


def listed(pictures: Picture | Sequence[Picture]) -> list[Any]:
    """One picture or several as a list; a batch is an array or tensor of four dimensions."""
    if isinstance(pictures, (np.ndarray, Tensor)):
        return list(pictures) if pictures.ndim == 4 else [pictures]
    if isinstance(pictures, (str, Path, PIL.Image.Image)):
        return [pictures]
    return list(pictures)


def as_rgb(picture: Picture, colour: Colour) -> np.ndarray:
    """(H, W, 3) uint8 RGB.

    Args:
        picture: as :data:`Picture`.
        colour: order of the channels of arrays and tensors; files and PIL images know theirs.

    Raises:
        DataError: a file is absent or damaged.
        UsageError: another type, shape or range.
    """
    if isinstance(picture, (str, Path)):
        return read_image(Path(picture))[..., ::-1]
    if isinstance(picture, PIL.Image.Image):
        return np.asarray(picture.convert("RGB"))
    if isinstance(picture, Tensor):
        picture = _of_tensor(picture)
    if not isinstance(picture, np.ndarray):
        raise UsageError(
            f"image: {type(picture).__name__}, expected a path, an array, a tensor or a PIL image"
        )
    pixels = picture
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
        raise UsageError(
            f"image: {picture.dtype} of shape {picture.shape}, expected uint8 (H, W, 3) or (H, W)"
        )
    return pixels[..., ::-1] if colour == "bgr" else pixels


def _of_tensor(picture: Tensor) -> np.ndarray:
    """(3, H, W), uint8 or floats in 0..1 as torchvision has them, to (H, W, 3) uint8."""
    if picture.ndim != 3 or picture.shape[0] not in (1, 3):
        raise UsageError(f"image: a tensor of shape {tuple(picture.shape)}, expected (3, H, W)")
    pixels = picture.detach().cpu()
    if pixels.is_floating_point():
        if not bool(((pixels >= 0) & (pixels <= 1)).all()):  # also false for NaN
            raise UsageError("image: a tensor of floats outside of 0..1, expected 0..1 or uint8")
        values = (pixels.float() * 255).round().numpy().astype(np.uint8)
    else:
        values = pixels.numpy()
    return np.repeat(values, 3 // values.shape[0], axis=0).transpose(1, 2, 0)


def checked_boxes(boxes: Any, size: tuple[int, int], where: str) -> np.ndarray:
    """(P, 4) float32 x, y, w, h; the whole image where none are given.

    Raises:
        UsageError: another shape, or a value that no box has.
    """
    if boxes is None:
        return np.array([[0, 0, *size]], np.float32)
    try:
        if isinstance(boxes, Tensor):
            boxes = boxes.detach().cpu().numpy()
        found = np.asarray(boxes, np.float32)
    except (TypeError, ValueError):
        raise UsageError(f"boxes of {where}: expected rows of numbers x, y, w, h") from None
    found = found.reshape(-1, 4) if found.size == 0 else found
    if found.ndim != 2 or found.shape[1] != 4:
        raise UsageError(
            f"boxes of {where} have shape {found.shape}, expected (P, 4): x, y, w, h with w, h > 0"
        )
    bad = np.flatnonzero(~np.isfinite(found).all(axis=1))
    if len(bad):
        raise UsageError(
            f"boxes of {where}: row {bad[0]} is {found[bad[0]].tolist()}, "
            "expected finite numbers x, y, w, h"
        )
    bad = np.flatnonzero((found[:, 2:] <= 0).any(axis=1))
    if len(bad):
        raise UsageError(
            f"boxes of {where}: row {bad[0]} is {found[bad[0]].tolist()}, "
            "expected x, y, w, h with w, h > 0"
        )
    return found
