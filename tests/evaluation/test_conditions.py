"""Conditions: one picture for one seed everywhere, level 0 is nothing, bad names are refused."""

from __future__ import annotations

import dataclasses
import hashlib
import multiprocessing
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from hevitpose.config import load_config
from hevitpose.config.conditions import CORRUPTIONS, LEVELS, Condition, parse_condition
from hevitpose.data import decoded, load
from hevitpose.data.decoded import decoded_images
from hevitpose.data.loader import PoseDataset
from hevitpose.data.transforms import affine_matrix, transform_points
from hevitpose.errors import UsageError
from hevitpose.evaluation.conditions import BOX_JITTER, Applied, coarse
from hevitpose.evaluation.conditions.corruptions import FUNCTIONS
from hevitpose.evaluation.conditions.draws import UNIT, Draws
from hevitpose.evaluation.conditions.filters import convolve, gaussian, sample, smooth_field
from hevitpose.evaluation.score import Predictions
from hevitpose.records import identity
from hevitpose.runs import evaluation_run, training_run

#: First digits of the sha256 of :func:`picture` under each corruption at level 3.
GOLDEN = {
    "gaussian-noise": "2fc102d0f6a2",
    "shot-noise": "ced6a82d4314",
    "impulse-noise": "390f72911c1e",
    "defocus-blur": "50048b08542f",
    "glass-blur": "735851bea2be",
    "motion-blur": "07cd10aae334",
    "zoom-blur": "f3a63ae711c5",
    "snow": "1c965bf178ef",
    "frost": "79126cb21ed5",
    "fog": "28a9f891d05b",
    "brightness": "740ead829b4d",
    "contrast": "f148be813d17",
    "elastic-transform": "bfa5400a19ae",
    "pixelate": "e0fde560a1f1",
    "jpeg-compression": "b13643a31460",
}


@pytest.fixture(scope="module")
def table(synthetic_root):
    return load("synthetic", synthetic_root, "val", input_size=(64, 64), scored=True)


def applied(table, text, udp=False):
    name, level = text.split(":")
    return Applied(Condition(name, int(level)), table, (64, 64), udp)


def picture(height=96, width=120) -> np.ndarray:
    """A picture with ramps, an edge and some texture, without a random generator."""
    y, x = np.mgrid[:height, :width]
    texture = (x * 37 + y * 101 + x * y) % 64
    planes = [2 * x + texture // 2, 255 - 2 * y - texture // 4, (x > width // 2) * 180 + texture]
    return np.stack(planes, -1).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_is_one_picture_everywhere(name):
    image = picture()
    before = image.copy()
    made = FUNCTIONS[name](image, Draws(0, 7, name), 3)
    assert made.dtype == np.uint8 and made.shape == image.shape
    np.testing.assert_array_equal(image, before)
    digest = hashlib.sha256(made.tobytes()).hexdigest()[:12]
    assert digest == GOLDEN[name], (
        f"{name} draws another picture: undo it, or raise records.identity.CONDITIONS"
    )


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_severities_are_in_order_and_seeds_differ(name):
    image = picture()

    def away(severity, seed=0):
        made = FUNCTIONS[name](image, Draws(seed, 7, name), severity).astype(int)
        return np.abs(made - image).mean()

    far = [away(severity) for severity in range(1, 6)]
    if name in ("snow", "frost", "fog"):  # each severity draws its own weather
        assert far[0] < far[4]
    elif name != "elastic-transform":  # its levels 1 and 2 move whole parts, 3 to 5 wrinkle
        assert all(a < b * 1.02 for a, b in pairwise(far)), far
    fixed = {"defocus-blur", "zoom-blur", "brightness", "contrast", "pixelate", "jpeg-compression"}
    assert (away(3, seed=1) == far[2]) == (name in fixed)


@pytest.mark.parametrize("size", [(64, 64), (33, 47), (8, 200), (300, 20)])
def test_any_size(size):
    image = picture(*size)
    for name, function in FUNCTIONS.items():
        for severity in (1, 5):
            assert function(image, Draws(0, 0, name), severity).shape == image.shape


def test_numbers_are_those_of_their_distributions():
    draws = Draws(3, "x", "y")
    normal = draws.normal((200_000,)) / UNIT
    assert stats.kstest(normal, "norm").statistic < 0.005
    index = np.repeat([0, 1], 50_000)
    counts = draws.poisson(np.array([0.0, 4.5]), index)
    assert (counts[:50_000] == 0).all()
    assert counts[50_000:].mean() == pytest.approx(4.5, abs=0.05)
    assert counts[50_000:].var() == pytest.approx(4.5, abs=0.15)
    assert set(draws.integers(-2, 2, (1000,)).tolist()) == {-2, -1, 0, 1}
    assert (
        Draws(3, "x", "y").bits((5,)).tolist()
        == Draws(3, "x", "y").bits((3, 2)).ravel()[:5].tolist()
    )
    assert Draws(3, "x", "y").bits((4,)).tolist() != Draws(3, "x", "z").bits((4,)).tolist()


def test_integer_filters_are_scipys():
    image = picture()
    for sigma in (0.7, 1.5):
        wanted = ndimage.gaussian_filter(image.astype(float), (sigma, sigma, 0), mode="mirror")
        np.testing.assert_allclose(gaussian(image, sigma), wanted, atol=0.02)
    kernel = np.arange(1.0, 170).reshape(13, 13)
    wanted = ndimage.correlate(image[..., 0].astype(float), kernel / kernel.sum(), mode="mirror")
    np.testing.assert_allclose(convolve(image[..., 0], kernel), wanted, atol=0.05)
    noise = Draws(0, 0, 0).bits((40, 60)).astype(int) - 32768
    wanted = ndimage.gaussian_filter(noise.astype(float), 5, mode="mirror", truncate=3)
    np.testing.assert_allclose(smooth_field(noise, 5), wanted, atol=3)
    y, x = np.mgrid[:96, :120].astype(float)
    moved = sample(image, x + 0.25, y - 0.5).astype(float)
    for channel in range(3):
        wanted = ndimage.map_coordinates(
            image[..., channel].astype(float), (y - 0.5, x + 0.25), order=1, mode="mirror"
        )
        np.testing.assert_allclose(moved[..., channel], wanted, atol=0.51)


# On people ------------------------------------------------------------------------------------


def items(table, change, order=None):
    people = table if change is None else change.people()
    dataset = PoseDataset(people, (64, 64), change=change)
    return {index: dataset[index]["image"] for index in order or range(len(people))}


@pytest.mark.parametrize("text", ["fog:2", "occluders:2", "resolution:1", "grey:1", "flip:1"])
def test_a_crop_depends_on_nothing_but_its_person(table, text):
    change = applied(table, text)
    forward = items(table, change)
    backward = items(table, change, range(len(table) - 1, -1, -1))
    plain = items(table, None)
    assert any((forward[i] != plain[i]).any() for i in forward)
    for index, crop in forward.items():
        np.testing.assert_array_equal(backward[index], crop)
    loader = torch.utils.data.DataLoader(
        PoseDataset(table, (64, 64), change=change), batch_size=5, num_workers=2,
        multiprocessing_context=multiprocessing.get_context("fork"),
    )  # fmt: skip
    parallel = torch.cat([batch["image"] for batch in loader]).numpy()
    np.testing.assert_array_equal(parallel, np.stack([forward[i] for i in sorted(forward)]))


def test_kept_pictures_are_those_that_are_made(table, tmp_path, monkeypatch):
    change = applied(table, "gaussian-noise:2")
    kept = decoded_images(table, change)
    made = PoseDataset(table, (64, 64), change=change)
    read = PoseDataset(table, (64, 64), change=change, pictures=kept)
    for index in range(len(table)):
        np.testing.assert_array_equal(read[index]["image"], made[index]["image"])
    monkeypatch.setattr(decoded, "read_image", None)  # nothing is made again
    assert decoded_images(table, change).path == kept.path
    monkeypatch.undo()
    other = decoded_images(table, applied(table, "gaussian-noise:3"))
    assert kept.path.exists() and other.path != kept.path
    size = kept.path.stat().st_size
    last = decoded_images(table, applied(table, "fog:1"), limit=2 * size)
    assert not kept.path.exists() and other.path.exists() and last.path.exists()
    for path in (other.path, last.path):
        path.unlink()


@pytest.mark.parametrize("udp", [False, True])
def test_a_mirrored_person_is_mirrored_back(table, udp):
    """A marked pixel of the mirrored crop comes back to the place that it shows."""
    change = applied(table, "flip:1", udp)
    plain = PoseDataset(table, (64, 64), udp=udp)
    crop = plain[0]["keypoints"].astype(np.float64)  # in pixels of the crop
    mirrored = crop[list(table.layout.flip_order)].copy()
    mirrored[:, 0] = 63 - mirrored[:, 0]
    back = affine_matrix(table.centers[:1], table.sizes[:1], 0, (64, 64), udp, inverse=True)
    found = transform_points(mirrored[None], back).astype(np.float32)
    scores = np.arange(16, dtype=np.float32)[None]
    restored = change.restore(Predictions(np.array([0]), found, scores))
    labelled = table.visibility[0] > 0
    np.testing.assert_allclose(
        restored.keypoints[0][labelled], table.keypoints[0][labelled], atol=1e-3
    )
    assert restored.scores[0].tolist() == scores[0][list(table.layout.flip_order)].tolist()


def test_jittered_boxes_have_the_stated_errors(table):
    repeated = table.take(np.tile(np.arange(len(table)), 40))
    ids = np.arange(len(repeated))
    repeated = dataclasses.replace(repeated, person_ids=ids)
    for level, deviation in enumerate(BOX_JITTER, 1):
        moved = applied(repeated, f"box-jitter:{level}").people()
        off = (moved.centers - repeated.centers) / (repeated.sizes / 1.25)
        factor = moved.sizes / repeated.sizes
        cut = 0.88  # standard deviation of a normal variable cut (not drawn again) at two: 0.9
        for errors in (off, factor - 1):
            assert abs(errors.mean()) < 0.1 * deviation
            assert cut * deviation < errors.std() < deviation * 1.03
            assert np.abs(errors).max() <= 2.001 * deviation
        np.testing.assert_array_equal(factor[:, 0], factor[:, 1])
        assert moved.truth is repeated.truth and moved.heads is repeated.heads


def test_coarse_crops():
    window = picture(64, 96)
    assert coarse(np.full_like(window, 77), 4).tolist() == np.full_like(window, 77).tolist()
    assert coarse(window, 2).shape == window.shape
    assert len(np.unique(coarse(window, 4)[..., 2])) < len(np.unique(window[..., 2]))


# Names and ids --------------------------------------------------------------------------------


def test_names():
    assert len(CORRUPTIONS) == 15 and set(CORRUPTIONS) < LEVELS.keys()
    assert parse_condition("fog:3") == ("fog", 3)
    for name, top in LEVELS.items():
        assert parse_condition(f"{name}:0") is None
        assert parse_condition(f"{name}:{top}") == (name, top)
        with pytest.raises(UsageError, match=f"LEVEL from 0 to {top}"):
            parse_condition(f"{name}:{top + 1}")
    with pytest.raises(UsageError, match="did you mean 'fog'"):
        parse_condition("foog:1")
    for text in ("fog", "fog:", "fog:-1", "fog:1.5", "fog:x", "fog: 1", "fog:01"):
        with pytest.raises(UsageError, match="expected fog:LEVEL"):
            parse_condition(text)


def test_a_condition_is_in_the_id_and_level_0_is_not(tmp_path):
    where = f"data.root={tmp_path}"
    plain = load_config("synthetic", [where])
    ids = {evaluation_run(plain).id}
    for name in LEVELS:
        zero = load_config("synthetic", [where, f"evaluation.condition={name}:0"])
        assert zero == plain and evaluation_run(zero).id in ids
        ids.add(
            evaluation_run(load_config("synthetic", [where, f"evaluation.condition={name}:1"])).id
        )
    assert len(ids) == 1 + len(LEVELS)
    under = load_config("synthetic", [where, "evaluation.condition=fog:3"])
    assert training_run(under).id == training_run(plain).id
    run = evaluation_run(under)
    assert run.inputs["config"]["evaluation"]["condition"] == "fog:3"
    assert run.inputs["conditions"] == identity.CONDITIONS
    assert "conditions" not in evaluation_run(plain).inputs


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["evaluation.condition=foog:1"], "unknown condition 'foog'"),
        (["evaluation.condition=fog:6"], "LEVEL from 0 to 5"),
        (["data.dataset=coco", "evaluation.condition=occluders:1"], "coco has photographs"),
    ],
)
def test_bad_conditions_are_refused_before_anything(overrides, says):
    with pytest.raises(UsageError, match=says) as caught:
        load_config("synthetic", overrides)
    assert "\n" not in str(caught.value)
