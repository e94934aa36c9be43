"""The codec once more, joint by joint in NumPy and OpenCV: slow, plain, written from the protocol.

It computes in float32 where the field's code does, so that agreement includes its rounding.
"""

from __future__ import annotations

import cv2
import numpy as np


def encode(keypoints, visible, input_size, heatmap_size, sigma=2, method="standard"):
    W, H = heatmap_size
    last = 1 if method == "udp" else 0
    stride = (np.array(input_size) - last) / (np.array(heatmap_size) - last)
    N, K = visible.shape
    heatmaps = np.zeros((N, K, H, W), np.float32)
    weights = np.zeros((N, K), np.float32)
    for n in range(N):
        for k in range(K):
            if not visible[n, k] > 0:
                continue
            mean = keypoints[n, k].astype(np.float64) / stride
            centre = mean
            if method != "unbiased":
                centre = np.array([int(mean[0] + 0.5), int(mean[1] + 0.5)])
            low, high = centre - 3 * sigma, centre + 3 * sigma + 1
            if low[0] >= W or low[1] >= H or high[0] < 0 or high[1] < 0:
                continue
            weights[n, k] = 1
            about = centre if method == "standard" else mean
            for y in range(H):
                for x in range(W):
                    on_patch = low[0] <= x < high[0] and low[1] <= y < high[1]
                    if method == "unbiased" or on_patch:
                        squared = (x - about[0]) ** 2 + (y - about[1]) ** 2
                        heatmaps[n, k, y, x] = np.exp(-squared / (2 * sigma**2))
    return heatmaps, weights


def decode(heatmaps, method="default"):
    N, K = heatmaps.shape[:2]
    xy = np.zeros((N, K, 2), np.float32)
    scores = np.zeros((N, K), np.float32)
    for n in range(N):
        for k in range(K):
            heatmap = np.array(heatmaps[n, k], np.float32)
            at = np.argmax(heatmap)
            y, x = divmod(int(at), heatmap.shape[1])
            scores[n, k] = heatmap[y, x]
            if scores[n, k] <= 0:
                xy[n, k] = -1
                continue
            xy[n, k] = x, y
            xy[n, k] += STEPS[method](heatmap, x, y)
    return xy, scores


def _stay(heatmap, x, y):
    return np.zeros(2)


def _quarter(heatmap, x, y):
    H, W = heatmap.shape
    if not (1 < x < W - 1 and 1 < y < H - 1):
        return np.zeros(2)
    towards = [heatmap[y, x + 1] - heatmap[y, x - 1], heatmap[y + 1, x] - heatmap[y - 1, x]]
    return 0.25 * np.sign(towards)


def _quarter_1x(heatmap, x, y):
    H, W = heatmap.shape
    step = np.zeros(2)
    if 1 < x < W - 1 and 0 < y < H:
        step[0] = 0.25 * np.sign(heatmap[y, x + 1] - heatmap[y, x - 1])
    if 1 < y < H - 1 and 0 < x < W:
        step[1] = 0.25 * np.sign(heatmap[y + 1, x] - heatmap[y - 1, x])
    return step


def _rescaled_blur(heatmap):
    padded = np.pad(heatmap, 5)
    blurred = cv2.GaussianBlur(padded, (11, 11), 0)[5:-5, 5:-5]
    return blurred * (heatmap.max() / blurred.max())


def _dark(heatmap, x, y):
    H, W = heatmap.shape
    if not (1 < x < W - 2 and 1 < y < H - 2):
        return np.zeros(2)
    h = np.log(np.maximum(_rescaled_blur(heatmap), 1e-10))
    dx = (h[y, x + 1] - h[y, x - 1]) / 2
    dy = (h[y + 1, x] - h[y - 1, x]) / 2
    dxx = (h[y, x + 2] - 2 * h[y, x] + h[y, x - 2]) / 4
    dyy = (h[y + 2, x] - 2 * h[y, x] + h[y - 2, x]) / 4
    dxy = (h[y + 1, x + 1] - h[y - 1, x + 1] - h[y + 1, x - 1] + h[y - 1, x - 1]) / 4
    if dxx * dyy - dxy * dxy == 0:
        return np.zeros(2)
    return -np.linalg.inv(np.array([[dxx, dxy], [dxy, dyy]], float)) @ np.array([dx, dy], float)


def _udp(heatmap, x, y):
    return _udp_step(cv2.GaussianBlur(heatmap, (11, 11), 2), x, y)


def _udp_1x(heatmap, x, y):
    return _udp_step(_rescaled_blur(heatmap), x, y)


def _udp_step(blurred, x, y):
    h = np.pad(np.log(np.clip(blurred, 0.001, 50)), 1, mode="edge")
    x, y = x + 1, y + 1
    dx = (h[y, x + 1] - h[y, x - 1]) / 2
    dy = (h[y + 1, x] - h[y - 1, x]) / 2
    dxx = h[y, x + 1] - 2 * h[y, x] + h[y, x - 1]
    dyy = h[y + 1, x] - 2 * h[y, x] + h[y - 1, x]
    dxy = (
        h[y + 1, x + 1] - h[y, x + 1] - h[y + 1, x] + 2 * h[y, x]
        - h[y, x - 1] - h[y - 1, x] + h[y - 1, x - 1]
    ) / 2  # fmt: skip
    hessian = np.array([[dxx, dxy], [dxy, dyy]], float) + np.finfo(np.float32).eps * np.eye(2)
    return -np.linalg.inv(hessian) @ np.array([dx, dy], float)


STEPS = {
    "argmax": _stay,
    "default": _quarter,
    "default-1x": _quarter_1x,
    "dark": _dark,
    "udp": _udp,
    "udp-1x": _udp_1x,
}


def flip_back(heatmaps, flip_pairs, shift=True):
    partner = {a: b for a, b in flip_pairs} | {b: a for a, b in flip_pairs}
    result = np.empty_like(heatmaps)
    W = heatmaps.shape[3]
    for k in range(heatmaps.shape[1]):
        for x in range(W):
            source = max(x - 1, 0) if shift else x
            result[:, k, :, x] = heatmaps[:, partner.get(k, k), :, W - 1 - source]
    return result
