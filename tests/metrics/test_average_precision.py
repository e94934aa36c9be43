"""AP of COCO, OCHuman and CrowdPose: our path against plain calls of the reference libraries."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hevitpose.data.keypoints import COCO, CROWDPOSE
from hevitpose.errors import HEViTPoseError
from hevitpose.metrics.crowdpose import PAPER_SPLITS, evaluate_crowdpose
from hevitpose.metrics.oks import COCO_METRICS, coco_results, evaluate_keypoints
from tests.metrics import reference_ap as reference

REAL = {
    "coco": "coco/annotations/coco_val.json",
    "ochuman": "ochuman/annotations/ochuman_test.json",
    "crowdpose": "crowdpose/annotations/crowdpose_test.json",
}


def ground_truths(dataset, source, count, request, tmp_path):
    """(path, content, generator) of each prediction set to come."""
    for seed in range(count):
        rng = np.random.default_rng(seed)
        if source == "real":
            path = request.getfixturevalue("samples") / REAL[dataset]
            yield path, json.loads(path.read_text()), rng
        else:
            crowd = dataset == "crowdpose"
            truth = reference.make_ground_truth(
                rng, 14 if crowd else 17, crowd_index=crowd, area=not crowd
            )
            yield reference.write(tmp_path / "truth.json", truth), truth, rng


@pytest.mark.parametrize(
    ("dataset", "source", "count"),
    [("coco", "generated", 200), ("coco", "real", 30), ("ochuman", "real", 200)],
)
def test_fuzz_against_pycocotools(dataset, source, count, request, tmp_path):
    thinned = 0
    spread = []
    for path, truth, rng in ground_truths(dataset, source, count, request, tmp_path):
        people = reference.wild_predictions(rng, truth, 17)
        xy, scores, rest = reference.columns(people)
        plain = coco_results(
            xy, scores, **rest, sigmas=reference.COCO_SIGMAS, rescoring=False, nms_threshold=None
        )
        expected = reference.pycocotools(path, reference.raw_list(people))
        assert list(evaluate_keypoints(plain, truth).values()) == pytest.approx(expected, abs=1e-9)

        full = coco_results(xy, scores, **rest, sigmas=reference.COCO_SIGMAS, nms_threshold=0.9)
        listed = reference.rescored_and_thinned(people, reference.COCO_SIGMAS, 0.9)
        assert len(full) == len(listed)
        expected = reference.pycocotools(path, listed)
        assert list(evaluate_keypoints(full, truth).values()) == pytest.approx(expected, abs=1e-9)
        thinned += len(people) - len(full)
        spread.append(expected[0])
    assert thinned > 50 and np.std(spread) > 0.05  # the fuzz reaches what it is for


@pytest.mark.parametrize(
    ("source", "count"),
    [pytest.param("generated", 200, marks=pytest.mark.slow), ("real", 30)],
)
def test_fuzz_against_xtcocotools(source, count, request, tmp_path):
    pytest.importorskip("xtcocotools.cocoeval", reason="xtcocotools is not installed")
    spread = []
    for path, truth, rng in ground_truths("crowdpose", source, count, request, tmp_path):
        people = reference.wild_predictions(rng, truth, 14)
        xy, scores, rest = reference.columns(people)
        plain = coco_results(
            xy, scores, **rest, sigmas=reference.CROWDPOSE_SIGMAS, rescoring=False,
            nms_threshold=None,
        )  # fmt: skip
        full = coco_results(
            xy, scores, **rest, sigmas=reference.CROWDPOSE_SIGMAS, nms_threshold=0.9
        )
        listed = reference.rescored_and_thinned(people, reference.CROWDPOSE_SIGMAS, 0.9)
        for ours, theirs in ((plain, reference.raw_list(people)), (full, listed)):
            file = reference.write(tmp_path / "results.json", theirs)
            expected = reference.xtcocotools(path, file)
            found = evaluate_crowdpose(ours, truth, CROWDPOSE.sigmas)
            assert list(found.values()) == pytest.approx(expected, abs=1e-9)
        spread.append(expected[-3:])
    assert (np.std(spread, axis=0) > (0.05 if source == "generated" else 0)).sum() >= 1


@pytest.mark.parametrize("dataset", ["coco", "ochuman"])
def test_perfect_predictions_on_real_people(dataset, samples):
    truth = json.loads((samples / REAL[dataset]).read_text())
    results = [
        {
            "image_id": person["image_id"],
            "category_id": 1,
            "keypoints": [
                value if i % 3 < 2 else 1.0 for i, value in enumerate(person["keypoints"])
            ],
            "score": 1.0,
        }
        for person in truth["annotations"]
        if person["num_keypoints"]
    ]
    metrics = evaluate_keypoints(results, truth)
    assert list(metrics) == list(COCO_METRICS)
    assert metrics["AP"] == metrics["AR"] == pytest.approx(1.0)
    shifted = [r | {"keypoints": [v + 40 for v in r["keypoints"]]} for r in results]
    assert evaluate_keypoints(shifted, truth)["AP"] < 0.6


def test_nothing_found_scores_zero():
    truth = reference.make_ground_truth(np.random.default_rng(3), 17)
    metrics = evaluate_keypoints([], truth)
    assert metrics["AP"] == metrics["AR"] == 0
    pytest.importorskip("xtcocotools.cocoeval")
    truth = reference.make_ground_truth(np.random.default_rng(3), 14, crowd_index=True)
    metrics = evaluate_crowdpose([], truth, CROWDPOSE.sigmas)
    assert metrics["AP"] == metrics["AR"] == 0


def test_ground_truth_is_left_alone_and_id_zero_matches():
    truth = reference.make_ground_truth(np.random.default_rng(4), 17)
    for person in truth["annotations"]:
        person["id"] -= 1  # pycocotools itself would never match id 0
        person["iscrowd"] = 0
    results = [
        {"image_id": p["image_id"], "category_id": 1, "keypoints": p["keypoints"], "score": 0.5}
        for p in truth["annotations"]
        if p["num_keypoints"]
    ]
    before = json.dumps([truth, results])
    assert evaluate_keypoints(results, truth)["AP"] == pytest.approx(1)
    assert json.dumps([truth, results]) == before


def test_custom_sigmas_images_and_people_a_photograph():
    rng = np.random.default_rng(5)
    truth = reference.make_ground_truth(rng, 3, images=6)
    for person in truth["annotations"]:
        person["iscrowd"] = 0
        person["keypoints"][2::3], person["num_keypoints"] = [2, 2, 2], 3
    results = [
        {
            "image_id": p["image_id"],
            "category_id": 1,
            "keypoints": [v + 2 for v in p["keypoints"]],
            "score": 0.5,
        }
        for p in truth["annotations"]
    ]
    strict = evaluate_keypoints(results, truth, sigmas=[0.01] * 3)
    lax = evaluate_keypoints(results, truth, sigmas=[0.5] * 3)
    assert strict["AP"] < 0.9 < lax["AP"] == pytest.approx(1)
    first = truth["annotations"][0]["image_id"]
    own = [result for result in results if result["image_id"] == first]
    one = evaluate_keypoints(own, truth, [0.5] * 3, image_ids=[first])
    assert one["AR"] == pytest.approx(1)


@pytest.mark.parametrize("library", ["pycocotools", "xtcocotools"])
def test_people_a_photograph(library):
    """25 people, well apart and all found: 20 of 25 by COCO's rule, all with a higher limit."""
    if library == "xtcocotools":
        pytest.importorskip("xtcocotools.cocoeval")
    crowd = library == "xtcocotools"
    count = 14 if crowd else 17
    rng = np.random.default_rng(6)
    truth = reference.make_ground_truth(rng, count, images=1, crowd_index=crowd)
    image = truth["images"][0]["id"]
    people, results = [], []
    for number in range(25):
        points = rng.uniform(0, 60, (count, 3))
        points[:, 0] += 300 * number
        points[:, 2] = 2
        person = {"id": number + 1, "image_id": image, "category_id": 1, "iscrowd": 0}
        person |= {"bbox": [300.0 * number, 0.0, 60.0, 60.0], "area": 3600.0}
        person |= {"keypoints": points.ravel().tolist(), "num_keypoints": count}
        people.append(person)
        result = {key: person[key] for key in ("image_id", "category_id", "keypoints")}
        results.append(result | {"score": 1 - number / 100})
    content = truth | {"annotations": people}
    evaluate, sigmas = evaluate_keypoints, COCO.sigmas
    if crowd:
        evaluate, sigmas = evaluate_crowdpose, CROWDPOSE.sigmas
    assert evaluate(results, content, sigmas)["AR"] == pytest.approx(20 / 25)
    everybody = evaluate(results, content, sigmas, max_detections=25)
    assert everybody["AR"] == everybody["AP"] == pytest.approx(1)
    one = evaluate(results, content, sigmas, max_detections=1)
    assert one["AR"] == pytest.approx(1 / 25)


def test_crowd_levels():
    """One image per level and at the limits; whoever is missed shows which level an image is."""
    pytest.importorskip("xtcocotools.cocoeval")
    truth = reference.make_ground_truth(np.random.default_rng(6), 14, images=1, crowd_index=True)
    person = truth["annotations"][0] | {"iscrowd": 0}
    person["keypoints"] = (np.arange(42) * 3 + 2).tolist()
    person["num_keypoints"] = 14

    def level(crowd_index, **options):
        content = truth | {
            "images": [truth["images"][0] | {"crowdIndex": crowd_index}],
            "annotations": [person],
        }
        result = {k: person[k] for k in ("image_id", "category_id", "keypoints")} | {"score": 1.0}
        metrics = evaluate_crowdpose([result], content, CROWDPOSE.sigmas, **options)
        return [k for k in ("AP_easy", "AP_medium", "AP_hard") if metrics[k] == pytest.approx(1)]

    assert level(0.15) == ["AP_easy"] and level(0.15, splits=PAPER_SPLITS) == ["AP_medium"]
    assert level(0.05) == level(0.0, splits=PAPER_SPLITS) == ["AP_easy"]
    assert level(0.2) == level(0.79) == ["AP_medium"]
    assert level(0.8) == level(1.0, splits=PAPER_SPLITS) == ["AP_hard"]


def test_missing_xtcocotools_says_what_to_do(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "xtcocotools.coco", None)
    with pytest.raises(HEViTPoseError, match="--no-build-isolation --no-binary xtcocotools"):
        evaluate_crowdpose([], {"images": [], "annotations": [], "categories": []}, [])
