"""Geometry against plain loops, and augmentation against its stated distribution."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from hevitpose.codec import to_image
from hevitpose.data.keypoints import COCO, CROWDPOSE, MPII
from hevitpose.data.registry import ROWS
from hevitpose.data.transforms import (
    Augmentation,
    CropParameters,
    affine_matrix,
    box_to_center_size,
    crop,
    crop_matrix,
    crop_people,
    sample_augmentation,
    transform_points,
)
from tests.data.reference_crop import bilinear_crop, box_to_crop, flip_person, to_crop


def boxes(count=40, seed=0):
    rng = np.random.default_rng(seed)
    return np.concatenate((rng.uniform(-50, 500, (count, 2)), rng.uniform(1, 400, (count, 2))), 1)


@pytest.mark.parametrize("aspect", [1.0, 0.75, 2.0])
def test_box_to_center_size(aspect):
    center, size = box_to_center_size(boxes(), aspect)
    for box, c, s in zip(boxes(), center, size, strict=True):
        expected_center, expected_size = box_to_crop(box, aspect)
        np.testing.assert_allclose(c, expected_center)
        np.testing.assert_allclose(s, expected_size)
        assert s[0] / s[1] == pytest.approx(aspect)
    unpadded = box_to_center_size(boxes(), aspect, padding=1.0)[1]
    np.testing.assert_allclose(size, unpadded * 1.25)


@pytest.mark.parametrize("udp", [False, True])
@pytest.mark.parametrize("output", [(256, 256), (192, 256), (256, 128)])
def test_affine_matrix_against_directions(udp, output):
    rng = np.random.default_rng(1)
    center, size = box_to_center_size(boxes(), output[0] / output[1])
    degrees = rng.uniform(-180, 180, len(center))
    matrix = affine_matrix(center, size, degrees, output, udp=udp)
    points = rng.uniform(-100, 900, (len(center), 7, 2))
    moved = transform_points(points, matrix)
    for n in range(len(center)):
        for k in range(7):
            expected = to_crop(points[n, k], center[n], size[n], degrees[n], output, udp)
            np.testing.assert_allclose(moved[n, k], expected, atol=1e-8)


def test_affine_by_hand():
    # a 100 x 100 box at (50, 50) to 200 x 200: the centre to the middle, the corner to 0
    matrix = affine_matrix(np.array([[100.0, 100]]), np.array([[100.0, 100]]), 0, (200, 200))
    np.testing.assert_allclose(matrix[0] @ [100, 100, 1], (100, 100))
    np.testing.assert_allclose(matrix[0] @ [50, 50, 1], (0, 0), atol=1e-12)
    # turned by 90 degrees, up in the crop is right in the image: the right edge comes to the top
    turned = affine_matrix(np.array([[100.0, 100]]), np.array([[100.0, 100]]), 90, (200, 200))
    np.testing.assert_allclose(turned[0] @ [150, 100, 1], (100, 0), atol=1e-12)
    # UDP: corners of the box to the corner pixels
    udp = affine_matrix(np.array([[100.0, 100]]), np.array([[100.0, 100]]), 0, (200, 200), udp=True)
    np.testing.assert_allclose(udp[0] @ [50, 50, 1], (0, 0), atol=1e-12)
    np.testing.assert_allclose(udp[0] @ [150, 150, 1], (199, 199), atol=1e-12)


@pytest.mark.parametrize("udp", [False, True])
def test_inverse_and_kinds(udp):
    center, size = box_to_center_size(boxes(), 0.75)
    degrees = np.linspace(-80, 80, len(center))
    forward = affine_matrix(center, size, degrees, (192, 256), udp=udp)
    inverse = affine_matrix(center, size, degrees, (192, 256), udp=udp, inverse=True)
    points = np.random.default_rng(2).uniform(0, 700, (len(center), 5, 2))
    back = transform_points(transform_points(points, forward), inverse)
    np.testing.assert_allclose(back, points, atol=1e-9)
    tensor = affine_matrix(
        torch.tensor(center), torch.tensor(size), torch.tensor(degrees), (192, 256), udp=udp
    )
    assert torch.is_tensor(tensor) and tensor.dtype == torch.float64
    np.testing.assert_allclose(tensor.numpy(), forward, atol=1e-9)
    single = affine_matrix(torch.tensor(center[0]).float(), torch.tensor(size[0]), 0, (192, 256))
    assert single.shape == (2, 3) and single.dtype == torch.float32
    tensor_center, tensor_size = box_to_center_size(torch.tensor(boxes()), 0.75)
    np.testing.assert_allclose(tensor_center.numpy(), center)
    np.testing.assert_allclose(tensor_size.numpy(), size)


@pytest.mark.parametrize("udp", [False, True])
def test_to_image_inverts_the_crop(udp):
    """A joint's crop position, in heatmap pixels, comes back to the image where it was."""
    center, size = box_to_center_size(boxes(), 0.75)
    points = np.random.default_rng(3).uniform(0, 600, (len(center), 6, 2))
    inside = transform_points(points, affine_matrix(center, size, 0, (192, 256), udp=udp))
    per_cell = np.array([191 / 47, 255 / 63]) if udp else 4.0
    back = to_image(inside / per_cell, center, size, (48, 64), udp=udp)
    np.testing.assert_allclose(back, points, atol=1e-9)
    tensor = to_image(
        *(torch.tensor(value) for value in (inside / per_cell, center, size)), (48, 64), udp=udp
    )
    np.testing.assert_allclose(tensor.numpy(), points, atol=1e-9)


@pytest.mark.parametrize("degrees", [0.0, 33.0])
def test_crop_is_bilinear_with_zero_border(degrees):
    image = np.random.default_rng(4).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    center, size = np.array([14.3, 12.1]), np.array([36.0, 36.0])
    matrix = affine_matrix(center, size, degrees, (24, 24))
    inverse = affine_matrix(center, size, degrees, (24, 24), inverse=True)
    expected = bilinear_crop(image, inverse, (24, 24))
    got = crop(image, matrix, (24, 24)).astype(float)
    # OpenCV rounds positions to 1/32 pixel, which white noise turns into a few grey levels
    assert np.abs(got - expected).mean() < 2.5
    assert np.abs(got - expected).max() < 20
    assert (got[expected == 0] == 0).all() or degrees


@pytest.mark.parametrize("udp", [False, True])
def test_flip_is_a_flip_of_the_image(udp):
    """Composing the flip into the matrix is flipping the image and the person, then cropping."""
    rng = np.random.default_rng(5)
    image = cv2.GaussianBlur(rng.integers(0, 256, (60, 81, 3), dtype=np.uint8), (0, 0), 2)
    points, visible = rng.uniform(0, 60, (17, 2)), rng.integers(0, 3, 17)
    center, size = np.array([30.0, 28]), np.array([50.0, 50])
    matrix = crop_matrix(CropParameters(center, size, 25.0, True), 81, (64, 64), udp)
    mirrored_center = np.array([81 - 30.0 - 1, 28])
    plain = affine_matrix(mirrored_center, size, 25.0, (64, 64), udp=udp)
    expected = crop(np.ascontiguousarray(image[:, ::-1]), plain, (64, 64))
    got = crop(image, matrix, (64, 64))
    assert np.abs(got.astype(int) - expected).max() <= 3
    flipped, seen = flip_person(points, visible, COCO.flip_pairs, 81)
    order = list(COCO.flip_order)
    np.testing.assert_allclose(
        transform_points(points[order], matrix), transform_points(flipped, plain), atol=1e-9
    )
    np.testing.assert_array_equal(visible[order], seen)


def draws(augmentation, layout=COCO, visible=None, count=4000):
    rng = np.random.default_rng(6)
    points = np.random.default_rng(7).uniform(100, 200, (len(layout), 2))
    seen = np.full(len(layout), 2) if visible is None else visible
    center, size = np.array([150.0, 160]), np.array([90.0, 120])
    return [
        sample_augmentation(rng, augmentation, center, size, points, seen, layout, 0.75)
        for _ in range(count)
    ]


def test_scale_rotation_and_flip_follow_the_protocol():
    found = draws(Augmentation())
    assert np.mean([p.flip for p in found]) == pytest.approx(0.5, abs=0.03)
    factor = np.array([p.size[0] / 90 for p in found])
    assert factor.min() == 0.5 and factor.max() == 1.5
    # N(1, 0.5) leaves 0.5 to 1.5 with probability 2 * 0.1587
    assert np.mean((factor == 0.5) | (factor == 1.5)) == pytest.approx(0.317, abs=0.03)
    assert all(p.size[0] / p.size[1] == pytest.approx(0.75) for p in found)
    turn = np.array([p.rotation for p in found])
    assert np.abs(turn).max() == 80
    assert np.mean(turn == 0) == pytest.approx(0.4, abs=0.03)
    # clipped at two standard deviations: 0.6 * 4.55%
    assert np.mean(np.abs(turn) == 80) == pytest.approx(0.0273, abs=0.01)
    assert all((p.center == (150, 160)).all() for p in found)


def test_shift_and_half_body_belong_to_coco_and_crowdpose():
    own = {name for name, row in ROWS.items() if row.shift or row.half_body}
    assert own == {name for name, row in ROWS.items() if row.shift and row.half_body}
    assert own >= {"coco", "crowdpose"} and own.isdisjoint(("mpii", "ochuman", "synthetic"))
    plain = Augmentation()
    assert (plain.shift_probability, plain.half_body_probability) == (0, 0)


def test_shift():
    moved = draws(Augmentation(shift_probability=0.3))
    offset = np.array([p.center - (150, 160) for p in moved])
    changed = offset.any(axis=1)
    assert changed.mean() == pytest.approx(0.3, abs=0.03)
    assert np.abs(offset).max(axis=0) == pytest.approx((0.16 * 90, 0.16 * 120), rel=0.02)
    assert np.std(offset[changed], axis=0) == pytest.approx(
        np.array([0.16 * 90, 0.16 * 120]) / 3**0.5, rel=0.05
    )


def test_half_body():
    always = Augmentation(half_body_probability=1.0, scale=0.0, rotation_probability=0.0, flip=0.0)
    points = np.random.default_rng(7).uniform(100, 200, (17, 2))
    upper, lower = points[:11], points[11:]
    found = draws(always, count=2000)
    tops = [np.allclose(p.center, upper.mean(0)) for p in found]
    assert all(
        np.allclose(p.center, lower.mean(0)) for p, top in zip(found, tops, strict=True) if not top
    )
    assert np.mean(tops) == pytest.approx(0.691, abs=0.03)  # P(N(0, 1) < 0.5)
    for half, wanted in ((upper, True), (lower, False)):
        box = (0, 0, *np.ptp(half, axis=0))
        expected = box_to_crop(box, 0.75, padding=1.5)[1]
        sizes = [p.size for p, top in zip(found, tops, strict=True) if top == wanted]
        np.testing.assert_allclose(sizes, np.tile(expected, (len(sizes), 1)))


@pytest.mark.parametrize(
    ("labelled", "whole", "upper", "lower"),
    [
        (range(8), True, False, False),  # eight are not more than eight
        (range(9), False, True, False),  # the lower half has none
        ((*range(11), 11, 12), False, True, False),  # lower half: two only
        ((0, 1, *range(11, 17)), True, False, False),  # eight again
        ((0, 1, 5, *range(11, 17)), False, True, True),
    ],
)
def test_half_body_is_for_well_seen_people(labelled, whole, upper, lower):
    always = Augmentation(half_body_probability=1.0, scale=0.0, rotation_probability=0.0, flip=0.0)
    visible = np.zeros(17, int)
    visible[list(labelled)] = 2
    points = np.random.default_rng(7).uniform(100, 200, (17, 2))
    up = points[[i for i in labelled if i < 11]].mean(0)
    low = points[[i for i in labelled if i >= 11]]
    found = draws(always, visible=visible, count=200)
    assert any((p.center == (150, 160)).all() for p in found) == whole
    assert any(np.allclose(p.center, up) for p in found) == upper
    assert any(len(low) and np.allclose(p.center, low.mean(0)) for p in found) == lower


def test_half_body_of_one_point_changes_nothing():
    rng = np.random.default_rng(0)
    points = np.full((14, 2), 50.0)  # everybody in one place: no extent
    result = sample_augmentation(
        rng,
        Augmentation(half_body_probability=1.0, scale=0.0),
        np.array([50.0, 50]),
        np.array([10.0, 10]),
        points,
        np.ones(14),
        CROWDPOSE,
        1.0,
    )
    assert (result.size == 10).all() and len(MPII) == 16


@pytest.mark.parametrize("udp", [False, True])
def test_crop_people_is_the_crop_of_each_box(udp):
    """Beside the reference: box to centre and size, then to the crop, one person at a time."""
    rng = np.random.default_rng(3)
    image = rng.integers(0, 255, (90, 120, 3), np.uint8)
    boxes = np.array([(10.0, 12, 40, 50), (-8, 5, 30, 90), (0, 0, 120, 90)])
    crops = crop_people(image, boxes, (32, 48), udp=udp)
    assert crops.images.shape == (3, 48, 32, 3)
    for window, center, size, box in zip(*crops, boxes, strict=True):
        matrix = affine_matrix(center, size, 0.0, (32, 48), udp=udp)
        np.testing.assert_array_equal(window, crop(image, matrix, (32, 48)))
        np.testing.assert_allclose(center, box[:2] + box[2:] / 2)
        assert size[0] / size[1] == pytest.approx(32 / 48)
    assert crop_people(image, boxes[:0], (32, 48)).images.shape == (0, 48, 32, 3)
