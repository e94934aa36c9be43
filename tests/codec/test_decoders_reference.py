"""Decoders and flips against MMPose 0.29's and 1.x's own answers, where the checkout has them."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from hevitpose import codec
from hevitpose.data.keypoints import COCO

SIZES = {"256x192": (192, 256), "256x256": (256, 256)}  # the file's H x W, our (W, H)
#: Key of the file: our decoder, of the maps of the codec of that name.
DECODERS = {
    "v029_msra": "default",
    "msra": "default-1x",
    "v029_msra_dark": "dark",
    "msra_dark": "dark",
    "v029_udp": "udp",
    "udp": "udp-1x",
}
ENCODERS = {"msra": "standard", "msra_dark": "unbiased", "udp": "udp"}


def normal(name, shape):
    """The rule of the reference outputs; see tests/models/generated.py."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    return np.random.Generator(np.random.PCG64(seed)).standard_normal(shape)


def in_crop(xy, name, size):
    """Heatmap pixels to pixels of the network input, as the reference's answers are."""
    (W, H), last = SIZES[size], 1 if "udp" in name else 0
    return xy * [W / (W // 4 - last), H / (H // 4 - last)]


def pure_maps(size):
    W, H = SIZES[size]
    w, h = W // 4, H // 4
    z = np.abs(normal(f"codec.maps.{size}", (17, h, w))).astype(np.float32)
    z[0], z[1:6] = -1, 0
    z[2, 0, 0] = z[3, -1, -1] = z[4, 1, 1] = z[5, 10, 10] = z[5, 10, 11] = 1
    return z[None]


def noisy_maps(reference, name, size):
    W, H = SIZES[size]
    points, visible = reference[f"keypoints_{size}"], reference[f"visible_{size}"]
    method = ENCODERS[name.removeprefix("v029_")]
    maps, _ = codec.encode(points, visible, (W, H), (W // 4, H // 4), method=method)
    noise = [normal(f"codec.noise.{i}", maps.shape[1:]) for i in range(len(maps))]
    return (maps + 0.1 * np.stack(noise)).astype(np.float32)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("kind", ["noisy", "pure"])
def test_decoders_are_the_references(reference, name, size, kind):
    maps = pure_maps(size) if kind == "pure" else noisy_maps(reference, name, size)
    xy, scores = codec.decode(maps, DECODERS[name])
    key = f"{name}_{size}_{kind}"
    expected = reference[f"{key}_decoded"].reshape(xy.shape)
    expected_scores = reference[f"{key}_scores"].reshape(scores.shape)
    compared = np.isfinite(expected).all(-1) & (scores > 0)
    assert compared.sum() >= 15
    np.testing.assert_allclose(scores[compared], expected_scores[compared], atol=3e-6)
    # A Newton step on noise can leave the map, and rounding grows with it: 1e-3 of the step.
    step = np.abs(xy - codec.decode(maps, "argmax")[0]).max(-1)
    error = np.abs(in_crop(xy, name, size) - expected).max(-1) / 4
    assert (error <= 1e-3 * np.maximum(step, 0.25))[compared].all()


@pytest.mark.parametrize(("name", "moved"), [("default", 0.02), ("udp", 0.3)])
def test_the_two_versions_decode_otherwise(reference, name, moved):
    """So that neither name can stand for both: MSRA at the border, UDP on half of noisy points."""
    encoder = {"default": "msra", "udp": "udp"}[name]
    maps = noisy_maps(reference, encoder, "256x192")
    maps[:, ::4, 2:-2, 2:-2] = 0  # every fourth joint peaks at the border
    older, newer = (codec.decode(maps, method)[0] for method in (name, f"{name}-1x"))
    assert (np.abs(older - newer).max(-1) > 0.01).mean() > moved


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shift", [True, False])
def test_flip_is_the_references(reference, size, shift):
    flipped = codec.flip_back(pure_maps(size), COCO.flip_pairs, shift)
    expected = reference[f"flip_{'shift' if shift else 'noshift'}_{size}"]
    np.testing.assert_array_equal(flipped.flatten()[::29], expected)


@pytest.mark.parametrize("size", SIZES)
def test_a_codec_shifts_unless_it_is_udp(reference, size):
    """MSRA maps of the mirrored image are shifted by one; UDP's and SimCC's are not."""
    W, H = SIZES[size]
    maps = torch.from_numpy(pure_maps(size))
    for options, key in (
        ({"decoder": "default-1x"}, "flip_shift"),
        ({"method": "udp", "decoder": "udp-1x"}, "flip_noshift"),
    ):
        bound = codec.make_codec("heatmap", (W, H), **options)
        flipped = bound.flip_back(maps, COCO.flip_pairs).flatten()[::29]
        np.testing.assert_array_equal(flipped, reference[f"{key}_{size}"])


@pytest.mark.parametrize("size", SIZES)
def test_simcc_is_the_references(reference, size):
    sigma = (4.9, 5.66) if size == "256x192" else (5.66, 5.66)
    simcc = codec.SimCCCodec(SIZES[size], sigma=sigma)
    points, visible = reference[f"keypoints_{size}"], reference[f"visible_{size}"]
    labels, _ = simcc.encode(points, visible)
    noisy = tuple(
        (label + 0.1 * normal(f"codec.simcc_noise.{axis}", label.shape)).astype(np.float32)
        for axis, label in zip("xy", labels, strict=True)
    )
    xy, scores = simcc.decode(noisy)
    np.testing.assert_allclose(scores, reference[f"simcc_{size}_noisy_scores"], atol=2e-6)
    np.testing.assert_allclose(xy, reference[f"simcc_{size}_noisy_decoded"], atol=1e-6)
