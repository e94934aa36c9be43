"""AP over draws of photographs, against pycocotools where photographs stand repeatedly."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from hevitpose.data.readers.results import check_results
from hevitpose.evaluation import resampling
from hevitpose.evaluation.diagnosis.matching import THRESHOLDS, match
from hevitpose.evaluation.diagnosis.scene import make_scene
from hevitpose.evaluation.resampling import DRAWS, ap_of_draws, draws
from hevitpose.evaluation.score import Predictions
from hevitpose.evaluation.statistics import paired_difference
from hevitpose.metrics.oks import evaluate_keypoints
from tests.evaluation.diagnosis.scenes import (
    body,
    person,
    random_case,
    table_of,
    truth_of,
)


def repeated(truth, results, often):
    """Truth and results of a val set where photograph i stands ``often[i]`` times."""
    images, people, found = [], [], []
    for image, times in zip(truth["images"], often, strict=True):
        for number in range(times):
            new = image["id"] * 100 + number
            images.append(image | {"id": new})
            for source, target in ((truth["annotations"], people), (results, found)):
                mine = [copy.deepcopy(e) for e in source if e["image_id"] == image["id"]]
                target += [e | {"image_id": new} for e in mine]
    people = [e | {"id": i} for i, e in enumerate(people, 1)]
    return truth | {"images": images, "annotations": people}, found


@pytest.mark.parametrize("seed", range(12))
def test_a_draw_is_what_pycocotools_says_of_the_repeated_photographs(tmp_path, seed):
    truth, results = random_case(seed)
    rng = np.random.default_rng(seed)
    for result in results:  # without ties, whose order a repetition changes
        result["score"] += float(rng.uniform(0, 0.01))
    scene = make_scene(table_of(truth, tmp_path), check_results(results, 17))
    oks = scene.oks(scene.keypoints)
    matches = match(scene, oks, scene.scores, THRESHOLDS, scene.unscored)
    times = rng.integers(0, 3, (4, len(truth["images"])))
    times[0] = 1
    for often, ours in zip(times, ap_of_draws(matches, scene.people_image, times), strict=True):
        truth_there, results_there = repeated(truth, results, often)
        theirs = evaluate_keypoints(results_there, truth_there)["AP"]
        assert theirs == pytest.approx(-1 if np.isnan(ours) else ours, abs=1e-12)


def test_every_evaluation_of_a_set_has_the_same_draws():
    assert (draws(30) == draws(30)).all()
    assert draws(30).shape == (DRAWS, 30)
    assert (draws(30).sum(1) == 30).all()


def people_in(photographs, folder):
    rng = np.random.default_rng(0)
    people = [person(i, i, body(rng)) for i in range(1, photographs + 1)]
    return table_of(truth_of(people, photographs), folder)


def test_truth_as_predictions_is_1_in_every_draw(tmp_path):
    table = people_in(12, tmp_path)
    perfect = Predictions(
        np.arange(len(table)), table.keypoints, np.ones(table.keypoints.shape[:2], np.float32)
    )
    found = resampling.resampled_ap(table, perfect)
    assert found is not None and found["photographs"] == 12
    assert set(found["values"]) == {1.0}


def test_large_sets_have_none(tmp_path, monkeypatch):
    table = people_in(5, tmp_path)
    nobody = Predictions(np.arange(0), table.keypoints[:0], np.ones((0, 17), np.float32))
    monkeypatch.setattr(resampling, "SMALL", 4)
    assert resampling.resampled_ap(table, nobody) is None


def test_what_is_hard_for_both_falls_out_of_the_difference():
    rng = np.random.default_rng(0)
    hard = rng.normal(0, 5, DRAWS)  # draws differ by points, the two networks hardly
    cell = {s: 31 + hard + rng.normal(0, 0.1, DRAWS) for s in range(3)}
    default = {s: 30 + hard + rng.normal(0, 0.1, DRAWS) for s in range(1, 5)}
    found = paired_difference(cell, default)
    assert found.n == 2
    assert found.value == pytest.approx(1, abs=0.02)
    assert found.half == pytest.approx(1.96 * 0.1, rel=0.15)
    assert paired_difference(cell, {7: hard}) is None
