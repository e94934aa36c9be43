"""Encode, decode, flip and loss against the per-joint oracle and hand arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hevitpose import codec
from hevitpose.errors import UsageError
from tests.codec import codec_oracle as oracle

ENCODERS = ("standard", "unbiased", "udp")
DECODERS = ("argmax", "default", "default-1x", "dark", "udp", "udp-1x")
#: Input and heatmap (W, H): the square one, the tall one, an uneven stride, a tiny map.
SIZES = (((256, 256), (64, 64)), ((192, 256), (48, 64)), ((200, 120), (37, 31)), ((64, 32), (9, 7)))
PAIRS = [(0, 1), (3, 4)]
TOLERANCE = 2e-3  # pixels; what the field's float32 code is reproduced to


def bump(W, H, x, y, sigma=2.0, peak=1.0):
    columns, rows = np.arange(W), np.arange(H)[:, None]
    squared = (columns - x) ** 2 + (rows - y) ** 2
    return (peak * np.exp(-squared / (2 * sigma**2))).astype(np.float32)


def keypoints_around(rng, N, K, input_size):
    """Inside, on the border, just outside, far outside; exact halves, which rounding decides."""
    W, H = input_size
    points = rng.uniform(-0.25, 1.25, (N, K, 2)) * [W, H]
    points[0] = rng.integers(-12, W + 12, (K, 2))
    points[1, :, 0] = rng.choice([-26, -25.9, -2.0, -0.1, 0, W - 1, W + 21.9, W + 22], K)
    points[2, :4] = [[-1e6, 3], [1e6, 3], [3, np.nan], [np.inf, 3]]
    return points.astype(np.float32)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("method", ENCODERS)
@pytest.mark.parametrize("sigma", [2, 3])
def test_encode_equals_oracle(sizes, method, sigma):
    rng = np.random.default_rng(0)
    points = keypoints_around(rng, 5, 8, sizes[0])
    visible = rng.integers(0, 3, (5, 8)).astype(np.float32)
    visible[2, 2:4] = 0  # NaN and infinity belong to unlabelled joints
    heatmaps, weights = codec.encode(points, visible, *sizes, sigma, method)
    expected, expected_weights = oracle.encode(points, visible, *sizes, sigma, method)
    assert heatmaps.dtype == weights.dtype == np.float32
    assert np.array_equal(weights, expected_weights)
    np.testing.assert_allclose(heatmaps, expected, atol=5e-6)
    assert not heatmaps[weights == 0].any()


def test_encode_by_hand():
    # 256 -> 64: x = 81.9 is 20.475, whose nearest pixel is 20; y = 42 is exactly 10.5, up to 11.
    point, seen = np.array([[[81.9, 42.0]]]), np.ones((1, 1))
    heatmaps, _ = codec.encode(point, seen, (256, 256), (64, 64))
    assert heatmaps[0, 0, 11, 20] == 1
    assert heatmaps[0, 0, 11, 26] == pytest.approx(
        math.exp(-36 / 8), 1e-5
    )  # 3 sigma: still on the patch
    assert heatmaps[0, 0, 11, 27] == 0
    assert heatmaps[0, 0, 11, 14] > 0 and heatmaps[0, 0, 11, 13] == 0
    unbiased, _ = codec.encode(point, seen, (256, 256), (64, 64), method="unbiased")
    assert unbiased[0, 0, 11, 20] == pytest.approx(math.exp(-(0.475**2 + 0.5**2) / 8), abs=1e-6)
    assert unbiased[0, 0, 20, 20] > 0  # the whole map, no patch
    udp, _ = codec.encode(point, seen, (256, 256), (64, 64), method="udp")
    x, y = 81.9 * 63 / 255, 42 * 63 / 255
    assert udp[0, 0, 10, 20] == pytest.approx(math.exp(-((20 - x) ** 2 + (10 - y) ** 2) / 8), 1e-5)


def test_encode_weight_at_the_borders():
    # mean - 6 >= 64 loses the joint, mean + 7 < 0 loses it; at mean = -7 it keeps an empty map.
    xs = np.array([69.4, 69.6, -6.4, -7.4, -8.6]) * 4  # means 69, 70, -5 (int truncates), -6, -8
    points = np.stack((xs, np.full(5, 128.0)), -1)[None]
    heatmaps, weights = codec.encode(points, np.ones((1, 5)), (256, 256), (64, 64))
    assert weights[0].tolist() == [1, 0, 1, 1, 0]
    assert heatmaps[0, 0, 32, 63] > 0
    points[0, :, 0] = -7.6 * 4  # mean int(-7.1) = -7: mean + 7 = 0 is not below 0
    heatmaps, weights = codec.encode(points, np.ones((1, 5)), (256, 256), (64, 64))
    assert weights.all() and not heatmaps.any()
    # The real-valued mean decides for "unbiased": 69.6 - 6 < 64 still counts.
    points[0, :, 0] = xs
    assert codec.encode(points, np.ones((1, 5)), (256, 256), (64, 64), method="unbiased")[
        1
    ].tolist() == [[1, 1, 1, 0, 0]]


def adversarial_maps(rng, W, H):
    """Maps as a network makes them and maps as nobody should, (1, K, H, W)."""
    plateau = np.zeros((H, W), np.float32)
    plateau[H // 2 : H // 2 + 2, W // 3 : W // 3 + 3] = 0.7
    wide = np.full((H, W), 0.1, np.float32)
    wide[H // 4 : H - 1, W // 4 : W - 1] = 0.6
    two = np.maximum(bump(W, H, W - 4.0, 2), bump(W, H, 3.0, 2))
    spike = np.zeros((H, W), np.float32)
    spike[H // 2, W // 2] = 1
    below = -rng.random((H, W), dtype=np.float32) - 0.1
    maps = [
        np.zeros((H, W)), np.full((H, W), 0.5), np.full((H, W), -0.5), plateau, wide, two, spike,
        below, bump(W, H, W / 2, H / 2, peak=1e-6), bump(W, H, W / 2, H / 2, peak=200),
        bump(W, H, W / 2 + 0.3, H / 2 - 0.4, sigma=8), below + 2 * bump(W, H, W / 2.5, H / 2),
        bump(W, H, W / 3, H / 3, peak=5e-4), np.full((H, W), 60.0),
    ]  # fmt: skip
    for x in (0, 0.4, 1, 1.6, 2, W - 3, W - 2.4, W - 2, W - 1, W / 2):
        for y in (0, 1.4, 2, H - 3, H - 2.4, H - 1, H / 2 + 0.3):
            maps.append(bump(W, H, x, y) + 0.02 * rng.random((H, W)))
    for _ in range(40):
        x, y = rng.uniform(-1, W), rng.uniform(-1, H)
        noise = rng.normal(0, 0.01, (H, W))
        maps.append(bump(W, H, x, y, rng.uniform(1.5, 3), rng.uniform(0.05, 1.2)) + noise)
    return np.stack(maps).astype(np.float32)[None]


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("method", DECODERS)
def test_decode_equals_oracle(sizes, method):
    maps = adversarial_maps(np.random.default_rng(1), *sizes[1])
    before = maps.copy()
    xy, scores = codec.decode(maps, method)
    expected, expected_scores = oracle.decode(maps, method)
    assert np.array_equal(maps, before)  # the input is read only
    assert np.array_equal(scores, expected_scores)
    np.testing.assert_allclose(xy, expected, atol=TOLERANCE)


@pytest.mark.parametrize("method", DECODERS)
def test_decode_on_random_maps(method):
    rng = np.random.default_rng(2)
    noise = rng.random((20, 5, 64, 48)).astype(np.float32)
    xy, _ = codec.decode(noise, method)
    expected, _ = oracle.decode(noise, method)
    # A Newton step on noise has no bound, and float32 then decides; small steps must agree.
    sane = np.abs(expected - oracle.decode(noise, "argmax")[0]).max(-1) < 5
    assert sane.mean() > 0.7
    np.testing.assert_allclose(xy[sane], expected[sane], atol=TOLERANCE)


@pytest.mark.parametrize("method", DECODERS)
def test_first_of_equal_maxima(method):
    maps = np.zeros((1, 4, 64, 64), np.float32)
    maps[0, 0] = 1  # flat: the first pixel of all
    maps[0, 1, [5, 9, 9], [40, 3, 50]] = 1  # the higher row wins, whatever the column
    maps[0, 2, 7, [31, 30, 33]] = 1  # the first column of the row
    maps[0, 3] = -1
    xy, scores = codec.decode(maps, "argmax")
    assert xy[0].tolist() == [[0, 0], [40, 5], [30, 7], [-1, -1]]
    assert scores[0].tolist() == [1, 1, 1, -1]
    xy, _ = codec.decode(maps, method)
    if method != "udp-1x":  # which sees zeros around the map
        assert xy[0, 0].tolist() == pytest.approx([0, 0], abs=1e-6)  # flat ground has no slope
    assert xy[0, 3].tolist() == [-1, -1]


def test_quarter_pixel_by_hand():
    maps = np.zeros((1, 5, 8, 8), np.float32)
    maps[0, :, 4, 4] = 1
    maps[0, 0, 4, 5] = 0.5  # right is larger
    maps[0, 1, 3, 4] = 0.5  # above is larger
    maps[0, 3] = np.roll(maps[0, 0], -3, axis=1)  # px = 1: too close to the border
    maps[0, 4] = np.roll(maps[0, 0], 2, axis=1)  # px = W - 2 still moves
    xy, _ = codec.decode(maps, "default")
    assert xy[0].tolist() == [[4.25, 4], [4, 3.75], [4, 4], [1, 4], [6.25, 4]]
    maps[0, 3, 3, 1] = 0.5  # px = 1, above is larger: MMPose 1.x still moves along y
    assert codec.decode(maps, "default")[0][0, 3].tolist() == [1, 4]
    assert codec.decode(maps, "default-1x")[0][0, 3].tolist() == [1, 3.75]


@pytest.mark.parametrize(
    ("method", "decoder", "within"),
    [
        ("standard", "default", 0.75),
        ("standard", "default-1x", 0.75),
        ("unbiased", "dark", 1e-3),
        ("udp", "udp", 0.02),
        ("udp", "udp-1x", 0.02),
    ],
)
def test_round_trip(method, decoder, within):
    rng = np.random.default_rng(3)
    points = rng.uniform(20, 230, (10, 17, 2))
    seen = np.ones((10, 17))
    heatmaps, _ = codec.encode(points, seen, (256, 256), (64, 64), 2, method)
    xy, scores = codec.decode(heatmaps, decoder)
    stride = 255 / 63 if method == "udp" else 4
    assert np.abs(xy - points / stride).max() < within
    assert (scores > 0.9).all()


@pytest.mark.parametrize("shift", [True, False])
def test_flip_back_equals_oracle(shift):
    maps = np.random.default_rng(4).random((3, 6, 5, 7), dtype=np.float32)
    assert np.array_equal(codec.flip_back(maps, PAIRS, shift), oracle.flip_back(maps, PAIRS, shift))


def test_flip_back_undoes_a_mirrored_image():
    """A person and the mirror image meet at the same pixel, left as left, to 3/4 - 1 of a pixel."""
    points = np.array([[[100.0, 60], [180, 60], [128, 200]]])  # left, right, middle
    mirrored = points.copy()
    mirrored[..., 0] = 256 - 1 - points[..., 0]
    mirrored = mirrored[:, [1, 0, 2]]  # in the mirror the left hand looks like a right hand
    for method, shift, within in (("unbiased", True, 0.26), ("udp", False, 1e-3)):
        maps, _ = codec.encode(mirrored, np.ones((1, 3)), (256, 256), (64, 64), 2, method)
        decoder = "udp" if method == "udp" else "dark"
        xy, _ = codec.decode(codec.flip_back(maps, [(0, 1)], shift), decoder)
        stride = 255 / 63 if method == "udp" else 4
        assert np.abs(xy - points / stride).max() < within, method


def test_flip_test_averages():
    images = torch.rand(2, 3, 8, 8)

    def model(x):  # a map per joint that tells left from right
        return torch.cat((x[:, :2, ::2, ::2], x[:, :1, ::2, ::2] * 2), 1)

    maps = codec.flip_test(model, images, [(0, 1)])
    expected = (
        model(images).numpy()
        + oracle.flip_back(model(images.flip(-1)).numpy(), [(0, 1)], shift=True)
    ) / 2
    np.testing.assert_allclose(maps.numpy(), expected, rtol=1e-6)


def test_mse_loss_by_hand():
    # Two joints of 2x2 pixels, all errors 1; weights 1.5 and 0: (4 * 1.5^2 + 4 * 0) / 8.
    loss = codec.mse_loss(torch.ones(1, 2, 2, 2), torch.zeros(1, 2, 2, 2), torch.tensor([[1.5, 0]]))
    assert loss.item() == pytest.approx(4 * 2.25 / 8)


@pytest.mark.parametrize("udp", [False, True])
def test_to_image(udp):
    center, size = np.array([[50.0, 40.0]]), np.array([[32.0, 64.0]])
    last = (47, 63) if udp else (48, 64)
    corners = np.array([[[0, 0], last, (last[0] / 2, last[1] / 2)]], float)
    image = codec.to_image(corners, center, size, (48, 64), udp)
    assert image[0].tolist() == [[34, 8], [66, 72], [50, 40]]


@pytest.mark.parametrize("method", DECODERS)
def test_tensors_in_tensors_out(method):
    maps = adversarial_maps(np.random.default_rng(5), 48, 64)
    xy, scores = codec.decode(torch.from_numpy(maps), method)
    assert isinstance(xy, torch.Tensor) and isinstance(scores, torch.Tensor)
    as_array = codec.decode(maps, method)
    assert np.array_equal(xy.numpy(), as_array[0]) and np.array_equal(scores.numpy(), as_array[1])
    half = codec.decode(torch.from_numpy(maps).bfloat16(), method)[0]
    assert half.dtype == torch.float32
    strided = codec.decode(maps[:, ::-1, :, ::-1], method)[0]
    assert np.array_equal(strided, codec.decode(maps[:, ::-1, :, ::-1].copy(), method)[0])
    readonly = maps.copy()
    readonly.flags.writeable = False
    assert np.array_equal(codec.decode(readonly, method)[0], as_array[0])


@pytest.mark.parametrize("method", ENCODERS)
def test_encode_takes_tensors_and_empty_batches(method):
    points = torch.rand(3, 4, 2) * 256
    heatmaps, weights = codec.encode(points, torch.ones(3, 4), (256, 256), (64, 64), 2, method)
    expected, _ = codec.encode(points.numpy(), np.ones((3, 4)), (256, 256), (64, 64), 2, method)
    assert isinstance(weights, torch.Tensor) and np.array_equal(heatmaps.numpy(), expected)
    heatmaps, weights = codec.encode(points[:0], torch.ones(0, 4), (256, 256), (64, 64), 2, method)
    assert heatmaps.shape == (0, 4, 64, 64) and weights.shape == (0, 4)
    assert codec.decode(heatmaps, "dark")[0].shape == (0, 4, 2)


def test_nan_maps_are_told():
    maps = np.ones((1, 2, 8, 8), np.float32)
    maps[0, 0, 3:6, 3:6] = np.nan
    for method in DECODERS:
        xy, scores = codec.decode(maps, method)
        assert np.isnan(scores[0, 0]) and xy[0, 0].tolist() == [-1, -1]
        assert scores[0, 1] == 1


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    W=st.integers(3, 12), H=st.integers(3, 12), levels=st.integers(1, 4), seed=st.integers(0, 9999)
)
def test_decode_of_few_levels(W, H, levels, seed):
    """Small maps of few values: plateaus everywhere, kernels larger than the map."""
    rng = np.random.default_rng(seed)
    maps = rng.integers(-1, levels, (1, 6, H, W)).astype(np.float32) / 4
    for method in ("argmax", "default", "default-1x"):
        np.testing.assert_array_equal(codec.decode(maps, method)[0], oracle.decode(maps, method)[0])
    for method in ("dark", "udp", "udp-1x"):
        xy, scores = codec.decode(maps, method)
        assert np.isfinite(xy).all() and np.array_equal(scores, oracle.decode(maps, method)[1])


# ------------------------------------------------------------------------------------------ codecs


def test_heatmap_codec_binds_sizes_and_methods():
    bound = codec.make_codec("heatmap", (192, 256), sigma=None, method="udp", decoder="udp")
    assert bound == codec.HeatmapCodec((192, 256), (48, 64), 2.0, "udp", "udp")
    points = np.random.default_rng(6).uniform(20, 170, (2, 3, 2))
    target, weights = bound.encode(points, np.ones((2, 3)))
    xy, _ = bound.decode(target)
    center, size = np.array([[95.5, 127.5]] * 2), np.array([[191.0, 255]] * 2)
    assert np.abs(bound.to_image(xy, center, size) - points).max() < 0.1  # the crop is the image
    assert bound.loss(torch.from_numpy(target), torch.from_numpy(target), torch.ones(2, 3)) == 0
    assert bound.name == "heatmap" and weights.all()


def test_simcc_round_trip_and_flip():
    simcc = codec.make_codec("simcc", (192, 256))
    points = np.random.default_rng(7).integers(2, 380, (2, 4, 2)) / 2 * [0.9, 1]
    points = np.round(points * 2) / 2
    (x, y), weights = simcc.encode(points, np.ones((2, 4)))
    assert x.shape == (2, 4, 384) and y.shape == (2, 4, 512) and weights.all()
    xy, scores = simcc.decode((x, y))
    assert np.array_equal(xy, points) and (scores == 1).all()
    # 3 sigma (14.7 bins) outside: gone.
    _, weights = simcc.encode(np.array([[[-8.5, 5], [-7.0, 5], [200.0, 5]]]), np.ones((1, 3)))
    assert weights.tolist() == [[0, 1, 0]]
    mirrored = points[:, [1, 0, 2, 3]].copy()
    mirrored[..., 0] = 192 - 1 - mirrored[..., 0]
    flipped = simcc.flip_back(simcc.encode(mirrored, np.ones((2, 4)))[0], [(0, 1)], shift=True)
    assert np.array_equal(simcc.decode(flipped)[0], points)
    halfway = simcc.flip_back(simcc.encode(mirrored, np.ones((2, 4)))[0], [(0, 1)])
    assert np.array_equal(simcc.decode(halfway)[0], points + np.array([0.5, 0]))
    assert simcc.decode((-x, y))[0][0, 0].tolist() == [-0.5, -0.5]


def test_simcc_loss():
    simcc = codec.SimCCCodec((8, 8), sigma=(1.0, 1.0))
    points = torch.tensor([[[3.0, 4.0], [5.0, 2.0]]])
    target, weights = simcc.encode(points, torch.ones(1, 2))
    assert simcc.loss(target, target, weights).item() == pytest.approx(0, abs=1e-7)
    # Against a flat output, by the definition: sum p (log p - log 1/16) / 16, for x and for y.
    flat = (torch.zeros(1, 2, 16), torch.zeros(1, 2, 16))
    expected = 0.0
    for axis in target:
        p = torch.softmax(axis.double() * 10, -1)
        expected += ((p * (p.log() + math.log(16))).sum(-1) / 16).mean().item()
    assert simcc.loss(flat, target, weights).item() == pytest.approx(expected, rel=1e-5)
    assert simcc.loss(flat, target, torch.zeros(1, 2)) == 0


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: codec.decode(np.zeros((1, 1, 4, 4)), "drak"), "did you mean 'dark'"),
        (lambda: codec.decode(np.zeros((4, 4))), r"\(4, 4\), expected \(N, K, H, W\)"),
        (
            lambda: codec.encode(np.zeros((1, 2, 3)), np.ones((1, 2)), (8, 8), (4, 4)),
            r"\(1, 2, 3\)",
        ),
        (lambda: codec.encode(np.zeros((1, 2, 2)), np.ones((2, 1)), (8, 8), (4, 4)), r"\(2, 1\)"),
        (lambda: codec.encode(np.zeros((1, 2, 2)), np.ones((1, 2)), (8, 8), (4, 0)), "heatmap"),
        (lambda: codec.encode(np.zeros((1, 2, 2)), np.ones((1, 2)), (8, 8), (4, 4), 0), "sigma"),
        (lambda: codec.encode(np.zeros((1, 2, 2)), np.ones((1, 2)), (8, 8), (4, 4), 2, "x"), "'x'"),
        (lambda: codec.flip_back(np.zeros((1, 3, 4, 4)), [(0, 3)]), "joints 0 to 2"),
        (lambda: codec.flip_back(np.zeros((1, 3, 4, 4)), [(0, 1), (1, 2)]), "disjoint"),
        (lambda: codec.make_codec("heatmaps", (8, 8)), "did you mean 'heatmap'"),
        (lambda: codec.make_codec("simcc", (8, 8), heatmap_size=(2, 2)), "heatmap_size"),
        (lambda: codec.HeatmapCodec((8, 8), (2, 2), method="udq"), "udp"),
    ],
)
def test_bad_requests(call, says):
    with pytest.raises(UsageError, match=says):
        call()
