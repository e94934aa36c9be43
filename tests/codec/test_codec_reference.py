"""Targets against MMPose's own (``codec.npz``), and the way from the image to the maps and back."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hevitpose import codec
from hevitpose.config import load_config
from hevitpose.data.transforms import CropParameters, crop_matrix, transform_points
from hevitpose.evaluation.predict import codec_of

SIZES = {"256x192": (192, 256), "256x256": (256, 256)}  # the file's H x W, our (W, H)
ENCODERS = {"msra": "standard", "msra_dark": "unbiased", "udp": "udp"}
SIMCC_SIGMA = {"256x192": (4.9, 5.66), "256x256": (5.66, 5.66)}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ENCODERS)
def test_heatmap_targets_are_the_references(reference, size, name):
    W, H = SIZES[size]
    points, visible = reference[f"keypoints_{size}"], reference[f"visible_{size}"]
    maps, weights = codec.encode(points, visible, (W, H), (W // 4, H // 4), method=ENCODERS[name])
    expected = reference[f"v029_{name}_{size}_weights"]
    np.testing.assert_array_equal(weights, expected)
    within = 2e-7 if name == "msra" else 5e-6  # a Gaussian about a real number is of two roundings
    np.testing.assert_allclose(maps[:1], reference[f"{name}_{size}_maps"], rtol=0, atol=within)
    sums = reference[f"v029_{name}_{size}_sums"]
    np.testing.assert_allclose(maps.sum((2, 3), dtype=np.float64), sums, atol=1e-4)


@pytest.mark.parametrize("size", SIZES)
def test_decoding_a_clean_target_moves_what_the_reference_moves(reference, size):
    W, H = SIZES[size]
    points, visible = reference[f"keypoints_{size}"], reference[f"visible_{size}"]
    maps, weights = codec.encode(points, visible, (W, H), (W // 4, H // 4))
    xy, scores = codec.decode(maps)
    expected = reference[f"v029_msra_{size}_decoded"]
    compared = (weights > 0) & np.isfinite(expected).all(-1) & (scores > 0)
    assert compared.sum() > 60
    np.testing.assert_allclose((xy * 4)[compared], expected[compared], atol=1e-4)


@pytest.mark.parametrize("size", SIZES)
def test_simcc_targets_are_the_references(reference, size):
    simcc = codec.SimCCCodec(SIZES[size], sigma=SIMCC_SIGMA[size])
    points, visible = reference[f"keypoints_{size}"], reference[f"visible_{size}"]
    (x, y), weights = simcc.encode(points, visible)
    np.testing.assert_array_equal(weights, reference[f"simcc_{size}_weights"])
    np.testing.assert_allclose(x[:1], reference[f"simcc_{size}_x"], atol=2e-6)
    np.testing.assert_allclose(y[:1], reference[f"simcc_{size}_y"], atol=2e-6)
    np.testing.assert_allclose(x.flatten()[::13], reference[f"simcc_{size}_x_sub"], atol=2e-6)
    np.testing.assert_allclose(y.flatten()[::13], reference[f"simcc_{size}_y_sub"], atol=2e-6)
    xy, scores = simcc.decode((x, y))
    found = (weights > 0) & (scores > 0)
    np.testing.assert_array_equal(xy[found], reference[f"simcc_{size}_decoded"][found])


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    sigma=st.sampled_from([1.0, 1.5, 2.0, 3.0]),
    stride=st.sampled_from([(4, 4), (4.1, 3.9)]),
    seed=st.integers(0, 9999),
)
def test_standard_targets_are_symmetric_to_the_bit(sigma, stride, seed):
    """Whatever the vector's body and tail round to: no clean target moves under the decoder."""
    rng = np.random.default_rng(seed)
    W, H = (int(n) for n in rng.integers(9, 70, 2))
    size = (W * stride[0], H * stride[1])
    points = rng.uniform(0, 1, (2, 9, 2)) * size
    maps, weights = codec.encode(points, np.ones((2, 9)), size, (W, H), sigma)
    plain, _ = codec.decode(maps, "argmax")
    moved, _ = codec.decode(maps, "default")
    np.testing.assert_array_equal(moved, plain)
    assert weights.all()
    for axis, length in ((3, W), (2, H)):  # the profile through the peak, mirrored about it
        for n, k in np.ndindex(2, 9):
            x, y = plain[n, k].astype(int)
            profile = maps[n, k, y] if axis == 3 else maps[n, k, :, x]
            at = x if axis == 3 else y
            reach = min(at, length - 1 - at, int(3 * sigma))
            np.testing.assert_array_equal(
                profile[at - reach : at + reach + 1], profile[at - reach : at + reach + 1][::-1]
            )


def codecs(udp: bool, size: tuple[int, int]) -> list[tuple[object, float]]:
    """Every codec of a geometry, and how many crop pixels its own targets may come back off."""
    simcc = codec.make_codec("simcc", size, udp=udp)
    if udp:
        return [
            (simcc, 0.26),
            (codec.make_codec("heatmap", size, method="udp", decoder="udp"), 0.1),
        ]
    heatmaps = [
        ("standard", "argmax", 2.01),
        ("standard", "default", 2.01),
        ("unbiased", "argmax", 2.01),
        ("unbiased", "default", 1.01),
        ("unbiased", "dark", 0.1),
    ]
    return [
        (simcc, 0.26),
        *(
            (codec.make_codec("heatmap", size, method=method, decoder=decoder), within)
            for method, decoder, within in heatmaps
        ),
    ]


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    udp=st.booleans(),
    size=st.sampled_from([(192, 256), (256, 256), (128, 96)]),
    seed=st.integers(0, 9999),
)
def test_image_to_crop_to_target_and_back(udp, size, seed):
    """Crop, encode, decode and ``to_image`` are of one geometry, whichever codec and box."""
    rng = np.random.default_rng(seed)
    center, height = rng.uniform(-50, 300, 2), rng.uniform(20, 600)
    box = np.array([height * size[0] / size[1], height])
    matrix = crop_matrix(CropParameters(center, box, 0.0, False), 640, size, udp)
    points = center + rng.uniform(-0.3, 0.3, (1, 12, 2)) * box
    crop_points = torch.from_numpy(transform_points(points, matrix))
    scale = box / size  # image pixels per crop pixel
    for bound, within in codecs(udp, size):
        assert bound.udp is udp
        target, weights = bound.encode(crop_points, torch.ones(1, 12))
        xy, _ = bound.decode(target)
        back = bound.to_image(
            xy.double(), torch.from_numpy(center)[None], torch.from_numpy(box)[None]
        )
        off = np.abs(back.numpy() - points) / scale
        assert weights.all() and off.max() < within, (bound, off.max())


@pytest.mark.parametrize("head", ["heatmap", "simcc"])
def test_a_config_gives_every_head_the_geometry_it_crops_with(head):
    config = load_config(None, {"codec.method": "udp", "codec.decoder": "udp"})
    assert config.codec.udp and codec_of(SimpleNamespace(codec=head), config).udp
    assert not codec_of(SimpleNamespace(codec=head), load_config(None)).udp
