"""From a person's box to the network's input: affine matrices, augmentation, the crop.

Points are (x, y), y down; sizes are (W, H); boxes are (x, y, w, h). The functions on arrays take
NumPy arrays or torch tensors and return what they were given; torch is loaded only by whoever
passes a tensor. Constants: ``MMPose 0.29``, the usual reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np

from hevitpose.models.keypoints import KeypointLayout

#: An array or a tensor; the same kind comes back.
Array = Any
#: A crop's sides by its box's, which was extended to the aspect ratio.
PADDING = 1.25


def _is_tensor(value: Array) -> bool:
    return type(value).__module__.partition(".")[0] == "torch"


def _namespace(value: Array) -> Any:
    """The library that computes with ``value``: torch or NumPy."""
    if not _is_tensor(value):
        return np
    import torch

    return torch


def box_to_center_size(
    boxes: Array, aspect_ratio: float, padding: float = PADDING
) -> tuple[Array, Array]:
    """What a crop around a box covers: the shorter side extended to the aspect ratio, padded.

    Nothing is clipped.

    Args:
        boxes: (N, 4) or (4,) x, y, w, h in pixels.
        aspect_ratio: W / H of the network's input.
        padding: factor on both sides after the extension.

    Returns:
        Centres (N, 2) and sizes (N, 2) in pixels.
    """
    boxes = _float(boxes)
    center = boxes[..., :2] + boxes[..., 2:] * 0.5
    width, height = boxes[..., 2], boxes[..., 3]
    xp = _namespace(boxes)
    width, height = (
        xp.maximum(width, height * aspect_ratio),
        xp.maximum(height, width / aspect_ratio),
    )
    return center, xp.stack((width, height), -1) * padding


def _float(value: Array) -> Array:
    """Lists become arrays and whole numbers become floats; floats keep their precision."""
    if _is_tensor(value):
        return value if value.is_floating_point() else value.double()
    value = np.asarray(value)
    return value if value.dtype.kind == "f" else value.astype(np.float64)


def affine_matrix(
    center: Array,
    size: Array,
    rotation_degrees: Array,
    output_size: tuple[int, int],
    udp: bool = False,
    inverse: bool = False,
) -> Array:
    """The similarity from image pixels to crop pixels, or back.

    The box's width is mapped to the output's width and its centre to (W/2, H/2). With rotation r
    the crop's upward direction is (sin r, -cos r) in the image. With ``udp`` (Huang et al., *The
    Devil is in the Details*, CVPR 2020) the box is mapped to (W-1, H-1), its centre to
    ((W-1)/2, (H-1)/2), and the crop's two axes are scaled separately.

    Args:
        center: (N, 2) or (2,) box centres in pixels.
        size: (N, 2) or (2,) box sizes in pixels, positive.
        rotation_degrees: a number, or (N,).
        output_size: the crop's (W, H).
        udp: the unbiased variant.
        inverse: crop to image instead of image to crop.

    Returns:
        (N, 2, 3), or (2, 3) for one unbatched box. NumPy's comes in float64, a tensor's in the
        floating type of ``center`` (computed in double precision where the device has it).
    """
    xp, tensor = _namespace(center), _is_tensor(center)
    if tensor:
        dtype = center.dtype if center.is_floating_point() else xp.get_default_dtype()
        work = xp.float32 if center.device.type == "mps" else xp.float64
        center = center.to(work)
        size = xp.as_tensor(size, dtype=work, device=center.device)
        radians = xp.deg2rad(xp.as_tensor(rotation_degrees, dtype=work, device=center.device))
    else:
        center = np.asarray(center, np.float64)
        size = np.asarray(size, np.float64)
        radians = np.deg2rad(np.asarray(rotation_degrees, np.float64))
    extent = (output_size[0] - 1, output_size[1] - 1) if udp else output_size
    scale_x = extent[0] / size[..., 0]
    scale_y = extent[1] / size[..., 1] if udp else scale_x
    out_x, out_y = extent[0] / 2, extent[1] / 2
    radians = radians + 0 * scale_x  # one angle for all boxes
    cos, sin = xp.cos(radians), xp.sin(radians)
    x, y = center[..., 0], center[..., 1]
    if inverse:  # p = R(r) S^-1 (q - out) + c
        a, b = cos / scale_x, -sin / scale_y
        c, d = sin / scale_x, cos / scale_y
        rows = (a, b, x - a * out_x - b * out_y, c, d, y - c * out_x - d * out_y)
    else:  # q = S R(-r) (p - c) + out
        a, b = cos * scale_x, sin * scale_x
        c, d = -sin * scale_y, cos * scale_y
        rows = (a, b, out_x - a * x - b * y, c, d, out_y - c * x - d * y)
    matrix = xp.stack(rows, -1).reshape((*rows[0].shape, 2, 3))
    return matrix.to(dtype) if tensor else matrix


def transform_points(points: Array, matrix: Array) -> Array:
    """Points through affine matrices.

    Args:
        points: (..., K, 2).
        matrix: (..., 2, 3) of the same kind.

    Returns:
        (..., K, 2) in the points' floating type.
    """
    moved = points @ matrix[..., :2].swapaxes(-1, -2) + matrix[..., None, :, 2]
    return moved.to(points.dtype) if _is_tensor(points) else moved.astype(points.dtype)


class Crops(NamedTuple):
    """People cut out of one image, for the network."""

    images: np.ndarray  # (P, H, W, 3), the image's own type and channel order
    centers: np.ndarray  # (P, 2) of what each covers, in image pixels
    sizes: np.ndarray  # (P, 2) likewise


def crop_people(
    image: np.ndarray, boxes: np.ndarray, input_size: tuple[int, int], *, udp: bool = False
) -> Crops:
    """Crops of the people in an image as an evaluation has them: padded, upright, unflipped.

    Args:
        image: (h, w, 3).
        boxes: (P, 4) x, y, w, h in pixels, of positive sides.
        input_size: the network's (W, H).
        udp: crop by the UDP variant.

    Returns:
        ``centers`` and ``sizes`` take keypoints back into the image (``codec.to_image``).
    """
    width, height = input_size
    centers, sizes = box_to_center_size(boxes, width / height)
    matrices = affine_matrix(centers, sizes, np.zeros(len(boxes)), input_size, udp=udp)
    images = np.empty((len(boxes), height, width, 3), image.dtype)
    for window, matrix in zip(images, matrices, strict=True):
        window[:] = crop(image, matrix, input_size)
    return Crops(images, centers, sizes)


@dataclass(frozen=True)
class Augmentation:
    """Training-time augmentation; the defaults are MMPose's for every dataset.

    Shifts and half bodies are COCO's and CrowdPose's alone, see their rows of the registry.
    """

    flip: float = 0.5  # probability
    scale: float = 0.5  # factor clip(N(0, 1) * scale + 1, 1 - scale, 1 + scale)
    rotation: float = 40.0  # degrees: clip(N(0, 1) * rotation, -2 * rotation, 2 * rotation)
    rotation_probability: float = 0.6
    shift: float = 0.16  # of the padded box, uniformly in +-shift
    shift_probability: float = 0.0
    half_body_probability: float = 0.0
    half_body_joints: int = 8  # only people with more visible joints
    half_body_padding: float = 1.5


@dataclass(frozen=True)
class CropParameters:
    """One drawn augmentation: where to crop, in the *unflipped* image, and whether to flip."""

    center: np.ndarray  # (2,) float64
    size: np.ndarray  # (2,) float64
    rotation: float  # degrees, of the flipped image where ``flip``
    flip: bool


def sample_augmentation(
    rng: np.random.Generator,
    augmentation: Augmentation,
    center: np.ndarray,
    size: np.ndarray,
    keypoints: np.ndarray,
    visible: np.ndarray,
    layout: KeypointLayout,
    aspect_ratio: float,
) -> CropParameters:
    """Draws one augmentation, in the order of MMPose 0.29: shift, flip, half body, scale, turn.

    Flipping the image about its own middle commutes with shifting and with choosing half a body,
    so everything is computed on the unflipped person and the flip is left to the caller.

    Args:
        rng: the sample's own generator.
        augmentation: probabilities and ranges.
        center: (2,) of the box.
        size: (2,) of the padded, extended box.
        keypoints: (K, 2) in image pixels.
        visible: (K,), labelled where > 0.
        layout: which joints are the upper body.
        aspect_ratio: W / H of the crop.
    """
    center, size = np.array(center, np.float64), np.array(size, np.float64)
    if rng.random() < augmentation.shift_probability:
        center = center + rng.uniform(-1, 1, 2) * augmentation.shift * size
    flip = bool(rng.random() < augmentation.flip)
    labelled = visible > 0
    if (
        layout.upper_body
        and labelled.sum() > augmentation.half_body_joints
        and rng.random() < augmentation.half_body_probability
    ):
        center, size = _half_body(
            rng, center, size, keypoints, labelled, layout, aspect_ratio, augmentation
        )
    factor = np.clip(
        rng.standard_normal() * augmentation.scale + 1,
        1 - augmentation.scale,
        1 + augmentation.scale,
    )
    limit = 2 * augmentation.rotation
    rotation = float(np.clip(rng.standard_normal() * augmentation.rotation, -limit, limit))
    if rng.random() >= augmentation.rotation_probability:
        rotation = 0.0
    return CropParameters(center, size * factor, rotation, flip)


def _half_body(
    rng: np.random.Generator,
    center: np.ndarray,
    size: np.ndarray,
    keypoints: np.ndarray,
    labelled: np.ndarray,
    layout: KeypointLayout,
    aspect_ratio: float,
    augmentation: Augmentation,
) -> tuple[np.ndarray, np.ndarray]:
    """Centre and size around the upper or the lower labelled joints.

    The upper half is taken where N(0, 1) < 0.5, as the reference does (about 69%), or where the
    lower one has fewer than three joints. A half of less than two joints changes nothing.
    """
    is_upper = np.zeros(len(layout), bool)
    is_upper[list(layout.upper_body)] = True
    upper, lower = keypoints[labelled & is_upper], keypoints[labelled & ~is_upper]
    prefers_upper = rng.standard_normal() < 0.5
    half = upper if (prefers_upper and len(upper) > 2) or len(lower) <= 2 else lower
    extent = np.ptp(half, axis=0) if len(half) >= 2 else np.zeros(2)
    if not extent.any():
        return center, size
    box = np.array([0, 0, *extent], np.float64)
    _, half_size = box_to_center_size(box, aspect_ratio, augmentation.half_body_padding)
    return half.mean(axis=0, dtype=np.float64), half_size


def crop_matrix(
    parameters: CropParameters,
    image_width: int,
    output_size: tuple[int, int],
    udp: bool = False,
) -> np.ndarray:
    """Image to crop, (2, 3) float64, the flip x' = image_width - x - 1 included."""
    center = parameters.center
    if parameters.flip:
        center = np.array([image_width - center[0] - 1, center[1]])
    matrix = affine_matrix(center, parameters.size, parameters.rotation, output_size, udp)
    if parameters.flip:
        matrix = matrix @ np.array([[-1.0, 0, image_width - 1], [0, 1, 0], [0, 0, 1]])
    return matrix


def crop(image: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The crop that a matrix from image to crop describes.

    Args:
        image: (h, w, 3) or (h, w), uint8 or float32.
        matrix: (2, 3).
        size: the crop's (W, H).

    Returns:
        (H, W, 3) or (H, W), bilinear, zero outside the image.
    """
    return cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR)
