"""Pictures in any form that programs hold them in, as arrays of RGB."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import PIL.Image
import PIL.ImageOps
import torch
from torch import Tensor

from hevitpose.data.images import read_image
from hevitpose.data.readers.detections import SMALLEST
from hevitpose.data.readers.fields import LIMIT
from hevitpose.errors import DataError, UsageError, first_line

#: A file, a PIL image, (H, W, 3) or grey (H, W) uint8, or a tensor (3, H, W), uint8 or 0..1.
Picture: TypeAlias = "os.PathLike[str] | str | np.ndarray | PIL.Image.Image | Tensor"
Colour = Literal["rgb", "bgr"]

#: PIL's modes of up to 8 bits a channel. Its own conversion of the others clips them to white.
_EIGHT_BITS = frozenset("1 L LA P PA RGB RGBA RGBa RGBX CMYK YCbCr HSV".split())


def listed(pictures: Picture | Iterable[Picture]) -> list[Any]:
    """One picture or several as a list; a batch is an array or tensor of four dimensions.

    Raises:
        UsageError: neither.
    """
    if isinstance(pictures, Tensor):
        _require_dense(pictures)
    if isinstance(pictures, (np.ndarray, Tensor)):
        return list(pictures) if pictures.ndim == 4 else [pictures]
    if isinstance(pictures, (str, os.PathLike, PIL.Image.Image)):
        return [pictures]
    if not isinstance(pictures, Iterable):
        raise _unknown(pictures)
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
    if isinstance(picture, (str, os.PathLike)):
        path = os.fspath(picture)
        if not isinstance(path, str):
            raise _unknown(path)
        return read_image(Path(path))[..., ::-1]
    if isinstance(picture, PIL.Image.Image):
        return _of_pil(picture)
    if isinstance(picture, Tensor):
        picture = _of_tensor(picture)
    if not isinstance(picture, np.ndarray):
        raise _unknown(picture)
    pixels = picture
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
        raise UsageError(
            f"image: {picture.dtype} of shape {picture.shape}, expected uint8 (H, W, 3) or (H, W)"
        )
    return pixels[..., ::-1] if colour == "bgr" else pixels


def _unknown(picture: Any) -> UsageError:
    return UsageError(
        f"image: {type(picture).__name__}, expected a path, an array, a tensor or a PIL image"
    )


def _of_pil(picture: PIL.Image.Image) -> np.ndarray:
    """As the reader of files has it: turned as EXIF says, of 16 bits the upper 8."""
    if not picture.width or not picture.height:
        raise UsageError(f"image: a PIL image of {picture.width}x{picture.height} pixels")
    try:
        picture = PIL.ImageOps.exif_transpose(picture)
        if picture.mode.startswith("I;16"):
            grey = (np.asarray(picture).astype(np.uint16) >> 8).astype(np.uint8)
            return np.repeat(grey[..., None], 3, axis=2)
        if picture.mode in _EIGHT_BITS:
            return np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError, AttributeError) as error:  # cut, or closed
        why = first_line(str(error), type(error).__name__)
        raise DataError(f"image: a PIL image that cannot be read ({why})") from None
    raise UsageError(
        f"image: a PIL image of mode {picture.mode}, expected 8 bits a channel or I;16"
    )


def _require_dense(picture: Tensor) -> None:
    """Refuse tensors whose values cannot be had one by one.

    Raises:
        UsageError: meta, sparse or quantised.
    """
    if picture.is_meta or picture.layout != torch.strided or picture.is_quantized:
        raise UsageError(
            f"image: a tensor of {picture.dtype}, {picture.layout}, on {picture.device}, "
            "expected a dense one of uint8, or of floats in 0..1"
        )


def _of_tensor(picture: Tensor) -> np.ndarray:
    """(3, H, W), uint8 or floats in 0..1 as torchvision has them, to (H, W, 3) uint8."""
    _require_dense(picture)
    if picture.ndim != 3 or picture.shape[0] not in (1, 3):
        raise UsageError(f"image: a tensor of shape {tuple(picture.shape)}, expected (3, H, W)")
    pixels = picture.detach().cpu()
    if pixels.is_floating_point():
        pixels = pixels.float()  # float8 cannot be compared
        if not bool(((pixels >= 0) & (pixels <= 1)).all()):  # also false for NaN
            raise UsageError("image: a tensor of floats outside of 0..1, expected 0..1 or uint8")
        values = (pixels * 255).round().numpy().astype(np.uint8)
    else:
        try:
            values = pixels.numpy()
        except (TypeError, RuntimeError):
            raise UsageError(
                f"image: a tensor of {picture.dtype}, expected uint8, or floats in 0..1"
            ) from None
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
        found = np.asarray(boxes, np.float64)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise UsageError(f"boxes of {where}: expected rows of numbers x, y, w, h") from None
    found = found.reshape(-1, 4) if found.size == 0 else found
    if found.ndim != 2 or found.shape[1] != 4:
        raise UsageError(
            f"boxes of {where} have shape {found.shape}, expected (P, 4): x, y, w, h with w, h > 0"
        )
    for bad, expected in (
        (~np.isfinite(found), "finite numbers x, y, w, h"),
        (np.abs(found) > LIMIT, f"x, y, w, h of at most {LIMIT:.0e} pixels"),
        (found[:, 2:] < SMALLEST, f"x, y, w, h with w, h > 0, at least {SMALLEST}"),
    ):
        rows = np.flatnonzero(bad.any(axis=1))
        if len(rows):
            raise UsageError(
                f"boxes of {where}: row {rows[0]} is {found[rows[0]].tolist()}, expected {expected}"
            )
    return found.astype(np.float32)
