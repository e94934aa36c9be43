"""What the error types mean, whatever the people; and what is said about bad input."""

from __future__ import annotations

import json
import re

import cv2
import numpy as np
import PIL.Image
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from hevitpose import diagnose
from hevitpose.cli import execute
from hevitpose.data.keypoints import COCO
from hevitpose.errors import DataError, Notice, UsageError
from hevitpose.evaluation.diagnosis.labels import GOOD, JITTER, LIMITS, TYPES, classify
from hevitpose.evaluation.diagnosis.picture import draw_worst, image_folders
from hevitpose.evaluation.diagnosis.report import render
from hevitpose.evaluation.score import score_results
from hevitpose.metrics.oks import evaluate_keypoints
from tests.evaluation.diagnosis.scenes import (
    SIDE,
    body,
    detection,
    diagnosed,
    mpii_files,
    person,
    random_case,
    table_of,
    truth_of,
)

SEEDS = st.integers(0, 2**32 - 1)
FEW = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def letters(found):
    """Labels by annotation id."""
    return {match["gt"]: match["labels"] for match in found.details["matches"]}


def similarity(points, area, a, b):
    """Of joint ``a`` predicted at where joint ``b`` is."""
    squared = ((points[a] - points[b]) ** 2).sum()
    return np.exp(-squared / (2 * (2 * COCO.sigmas[a]) ** 2 * area))


# What errors are ---------------------------------------------------------------------------------


@FEW
@given(SEEDS, st.integers(0, 16), st.booleans())
def test_joints_exchanged_between_people_are_swaps(tmp_path, seed, joint, reference):
    rng = np.random.default_rng(seed)
    one, other = body(rng), body(rng, corner=350)
    truth = truth_of([person(1, 1, one), person(2, 1, other)])
    area = truth["annotations"][0]["area"]
    assume(min(area, truth["annotations"][1]["area"]) > 100**2)
    moved, moved_other = one.copy(), other.copy()
    moved[joint], moved_other[joint] = other[joint], one[joint]
    results = [detection(1, moved), detection(1, moved_other)]
    found = letters(diagnosed(truth, results, tmp_path, reference=reference))
    expected = "".join("s" if k == joint else "g" for k in range(17))
    assert found == {1: expected, 2: expected}


@FEW
@given(SEEDS, st.sampled_from(COCO.flip_pairs), st.booleans())
def test_mirrored_pairs_are_inversions(tmp_path, seed, pair, reference):
    points = body(np.random.default_rng(seed), size=300)
    truth = truth_of([person(1, 1, points)])
    area = truth["annotations"][0]["area"]
    assume(all(similarity(points, area, a, b) < LIMITS[0] for a, b in (pair, pair[::-1])))
    mirrored = points.copy()
    mirrored[list(pair)] = points[list(pair[::-1])]
    found = letters(diagnosed(truth, [detection(1, mirrored)], tmp_path, reference=reference))
    assert found[1] == "".join("i" if k in pair else "g" for k in range(17))


@FEW
@given(SEEDS, st.booleans())
def test_any_case_adds_up(tmp_path, seed, reference):
    truth, results = random_case(seed)
    found = diagnosed(truth, results, tmp_path, reference=reference)
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))  # no NaN anywhere
    assert "nan" not in render(found)
    assert sum(found.counts.values()) == found.keypoints  # nothing is exactly at 0.85 here
    assert found.per_keypoint["inversion"][0] == 0  # the nose is its own opposite
    assert [sum(found.per_keypoint[name]) for name in TYPES] == list(found.counts.values())
    for match in data["matches"]:
        labelled = truth["annotations"][match["gt"] - 1]["keypoints"][2::3]
        assert [letter == "-" for letter in match["labels"]] == [v == 0 for v in labelled]
    values = [step.value for step in found.steps]
    for step, before in zip(found.steps[1:], values, strict=False):
        if min(step.value, before) == -1:  # coco-analyze ignored everybody who was left
            assert step.cost is None
        else:
            assert step.cost == pytest.approx(step.value - before)
    if not reference:
        assert values[-1] == pytest.approx(1)  # then nothing is wrong any more


@FEW
@given(SEEDS)
def test_the_baseline_is_what_the_evaluators_say(tmp_path, seed):
    truth, results = random_case(seed)
    table = table_of(truth, tmp_path)
    found = diagnosed(truth, results, tmp_path)
    expected = score_results(table, results)
    assert found.details["coco_stats"] == pytest.approx(list(expected.values()), abs=1e-9)
    assert found.steps[0].value == pytest.approx(expected["AP"], abs=1e-9)
    # Also of the file itself, which knows nothing of our reading.
    assert evaluate_keypoints(results, truth)["AP"] == pytest.approx(expected["AP"], abs=1e-9)


def test_corrections_have_the_similarity_they_were_given(tmp_path):
    points = body(np.random.default_rng(3), size=300)
    truth = truth_of([person(1, 1, points)])
    area, sigma = truth["annotations"][0]["area"], COCO.sigmas[11]
    wrong = points.copy()
    wrong[11, 1] += 1.0 * 2 * sigma * np.sqrt(area)  # similarity exp(-1/2) = 0.61: jitter
    for reference, power in ((False, 1), (True, 0.25)):
        found = diagnosed(truth, [detection(1, wrong)], tmp_path, reference=reference)
        (match,) = found.details["matches"]
        assert match["labels"][11] == "j"
        moved = np.array(match["corrected"]).reshape(17, 2)[11]
        assert moved[1] == points[11, 1] and moved[0] > points[11, 0]
        again = np.exp(-((moved - points[11]) ** 2).sum() / (2 * (2 * sigma) ** 2 * area))
        assert again == pytest.approx(0.85**power, abs=1e-3)


def test_a_step_can_cost_less_than_nothing_and_says_so(tmp_path):
    """Correcting a bad detection with a high score can push a good one's match aside."""
    truth, results = random_case(NEGATIVE)
    found = diagnosed(truth, results, tmp_path)
    costs = {step.name: step.cost for step in found.steps[1:]}
    assert min(costs.values()) < -1e-3, costs
    name = min(costs, key=costs.get)
    assert f"{costs[name]:+.3f}" in render(found)
    assert min(step["cost"] or 0 for step in found.to_dict()["steps"]) == costs[name]


NEGATIVE = 0  # a seed of random_case


def test_exactly_at_the_limit(tmp_path):
    limit = np.array([[LIMITS[0], LIMITS[1]]])
    own = np.zeros((1, 2), int)
    assert classify(own, limit, LIMITS).tolist() == [[JITTER, GOOD]]
    assert classify(own, limit, LIMITS, reference=True).tolist() == [[JITTER, 0]]


def test_rescoring_by_another_split_is_apart(tmp_path):
    paths = []
    for name, seed in (("minival", 3), ("val", 4)):
        truth, results = random_case(seed)
        for kind, content in (("truth", truth), ("results", results)):
            paths.append(tmp_path / f"{name}.{kind}.json")
            paths[-1].write_text(json.dumps(content))
    plain = diagnose("coco", *paths[2:])
    found = diagnose("coco", *paths[2:], fit=tuple(paths[:2]))
    assert plain.rescored is None and found.rescored.fitted_on == "minival.results.json"
    assert "rescored by" in render(found) and found.steps == plain.steps
    with pytest.raises(UsageError, match=r"fit: .*val\.results\.json is what is reported"):
        diagnose("coco", *paths[2:], fit=(paths[0], paths[3]))
    copies = tmp_path / "copy.truth.json", tmp_path / "copy.results.json"
    truth = json.loads(paths[2].read_text())
    truth["annotations"] = truth["annotations"][-1:]  # a part of the split
    copies[0].write_text(json.dumps(truth))
    copies[1].write_text("[]")
    with pytest.raises(
        UsageError, match=r"1 people of .*copy\.truth\.json are in .*val\.truth\.json"
    ):
        diagnose("coco", *paths[2:], fit=copies)


def test_people_who_do_not_count_are_told(tmp_path):
    rng = np.random.default_rng(1)
    crowd = [person(i, 1, body(rng, corner=5 * i)) for i in range(1, 22)]
    with pytest.warns(Notice, match=r"image 1: 21.*; evaluate-predictions --max-dets allows more"):
        diagnosed(truth_of(crowd), [], tmp_path)


# Bad input ---------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path):
    """A writer of truth and results, as the command's options."""

    def write(truth, results):
        for name, content in (("truth", truth), ("results", results)):
            (tmp_path / f"{name}.json").write_text(json.dumps(content))
        return [
            *("diagnose", "--dataset", "coco", "--out", str(tmp_path / "out")),
            *("--ground-truth", str(tmp_path / "truth.json")),
            *("--predictions", str(tmp_path / "results.json")),
        ]

    return write


POINTS = body(np.random.default_rng(0))


def without_area():
    made = person(1, 1, POINTS)
    del made["area"]
    return made


@pytest.mark.parametrize(
    ("people", "results", "says"),
    [
        ([without_area()], [], "area is missing"),
        ([], [], "no usable people|no person with labelled keypoints"),
        ([person(1, 1, POINTS)], [detection(7, POINTS)], "image_id 7 is not in the ground truth"),
        ([person(1, 1, POINTS)], [detection(1, POINTS[:14])], "keypoints has 42 values"),
        ([person(1, 1, POINTS)], {"a": 1}, "dict, expected a list"),
        ([person(1, 1, POINTS)], [detection(1, POINTS * np.nan)], "NaN"),
        ([person(1, 1, POINTS[:14])], [], "expected 51"),
    ],
)
def test_bad_files_are_one_line(files, people, results, says, capsys):
    assert execute(files(truth_of(people), results)) == 1
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ") and "\n" not in error
    assert re.search(says, error), error


@pytest.mark.parametrize("options", [[], ["--reference"]])
def test_no_matches_are_an_empty_labelled_table(files, options, capsys, tmp_path):
    truth = truth_of([person(1, 1, POINTS)])
    for results in ([], [detection(1, POINTS + 5000)]):
        assert execute([*files(truth, results), *options, "--worst", "3"]) == 0
        shown = capsys.readouterr().out
        assert "no labelled joint was matched" in shown and "nan" not in shown.lower()
        for name in COCO.names:
            assert name in shown
        assert (tmp_path / "out" / "worst.png").stat().st_size > 1000
        assert execute([*files(truth, results), *options, "--json"]) == 0
        data = json.loads(capsys.readouterr().out)
        assert data["counts"] == dict.fromkeys(TYPES, 0)
        assert data["per_keypoint"] == dict.fromkeys(TYPES, [0] * 17)


def test_worst_people_are_drawn_over_their_images(files, capsys, tmp_path):
    arguments = files(truth_of([person(1, 1, POINTS)]), [detection(1, POINTS + 9)])
    sheets = []
    for picture in (None, np.full((SIDE, SIDE, 3), (0, 0, 200), np.uint8)):
        if picture is not None:
            cv2.imwrite(str(tmp_path / "1.jpg"), picture)
        assert execute([*arguments, "--worst", "1"]) == 0
        sheets.append(cv2.imread(str(tmp_path / "out" / "worst.png")))
        said = capsys.readouterr()
        assert ("without their image" in said.err) == (picture is None)
        assert "errors.png" in said.out
    assert sheets[0][2, 2].tolist() == [120] * 3  # grey
    assert sheets[1][2, 2, 2] > 100 > sheets[1][2, 2, 0]  # the red of the image, darkened


def test_worst_people_of_one_name_in_two_folders(tmp_path):
    found = diagnosed(truth_of([person(1, 1, POINTS)]), [detection(1, POINTS + 9)], tmp_path)
    for number, split in enumerate(("train", "val")):
        folder = tmp_path / "images" / split
        folder.mkdir(parents=True)
        cv2.imwrite(str(folder / "1.jpg"), np.full((SIDE, SIDE, 3), 250 * number, np.uint8))
    (tmp_path / "images/same").symlink_to(folder)
    sheet, folders = tmp_path / "worst.png", image_folders(tmp_path / "annotations/truth.json")
    with pytest.raises(UsageError, match=r"1\.jpg is in \S+ and \S+; --images FOLDER says which"):
        draw_worst(found, 1, folders, sheet)
    assert draw_worst(found, 1, [folder], sheet) == (sheet, 0)
    assert cv2.imread(str(sheet))[2, 2, 0] > 100
    (tmp_path / "images/train/1.jpg").unlink()  # one picture, by a link as well
    assert draw_worst(found, 1, folders, sheet) == (sheet, 0)


@pytest.mark.parametrize(
    ("orientation", "size", "exif", "corner"),
    [
        (6, (640, SIDE), "apply", "stored"),  # it fits the annotations as stored alone
        (6, (SIDE, 640), "apply", "turned"),
        (3, (640, SIDE), "apply", "turned"),
        (3, (640, SIDE), "stored", "stored"),
        (3, (SIDE, SIDE), "apply", None),  # no form of it is as annotated
    ],
)
def test_worst_people_are_drawn_over_what_was_scored(tmp_path, orientation, size, exif, corner):
    """A photograph that EXIF turns is drawn as training and scoring read it."""
    truth = truth_of([person(1, 1, POINTS)])
    truth["images"][0] |= {"width": size[0], "height": size[1]}
    pixels = np.full((SIDE, 640, 3), 20, np.uint8)
    pixels[: SIDE // 2, :320] = 250  # where the person is, unless the photograph is turned
    tags = PIL.Image.Exif()
    tags[0x0112] = orientation
    PIL.Image.fromarray(pixels).save(tmp_path / "1.jpg", exif=tags)
    dataset = {"name": "own", "keypoints": list(COCO.names), "flip_pairs": [], "exif": exif}
    dataset |= {
        "sigmas": list(COCO.sigmas),
        "splits": {"val": {"annotations": "t.json", "images": "."}},
    }
    for name, content in (("own.yaml", dataset), ("t.json", truth), ("p.json", [])):
        (tmp_path / name).write_text(json.dumps(content))
    found = diagnose(*(str(tmp_path / name) for name in ("own.yaml", "t.json", "p.json")))
    if corner is None:
        with pytest.raises(DataError, match="640x600 pixels, but the annotations say 600x600"):
            draw_worst(found, 1, [tmp_path], tmp_path / "worst.png")
        return
    draw_worst(found, 1, [tmp_path], tmp_path / "worst.png")
    middle = cv2.imread(str(tmp_path / "worst.png"))[100:180, 100:180].mean()
    assert (middle > 120) == (corner == "stored")


def test_one_person(files, capsys):
    assert execute([*files(truth_of([person(1, 1, POINTS)]), [detection(1, POINTS)])]) == 0
    shown = capsys.readouterr().out
    assert "1.000" in shown and "100.0%" in shown


def test_another_number_of_keypoints(tmp_path):
    truth = truth_of([person(1, 1, POINTS[:3])])
    truth["categories"][0] |= {"name": "hand", "keypoints": ["wrist", "left_tip", "right_tip"]}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "results.json").write_text(json.dumps([detection(1, POINTS[[0, 2, 1]])]))
    (tmp_path / "hands.yaml").write_text(
        "name: hands\ncategory: hand\nkeypoints: [wrist, left_tip, right_tip]\n"
        "flip_pairs: [[left_tip, right_tip]]\nsigmas: [0.05, 0.05, 0.05]\n"
        "splits: {val: {annotations: truth.json, images: .}}\n"
    )
    found = diagnose(
        str(tmp_path / "hands.yaml"), tmp_path / "truth.json", tmp_path / "results.json"
    )
    assert found.per_keypoint["good"] == [1, 0, 0] and found.per_keypoint["inversion"] == [0, 1, 1]


def test_crowdpose_agrees_with_its_evaluator(tmp_path):
    pytest.importorskip("xtcocotools.cocoeval", reason="xtcocotools is not installed")
    from hevitpose.data.keypoints import CROWDPOSE

    for seed in range(20):
        truth, results = random_case(seed, joints=14)
        truth["categories"][0]["keypoints"] = list(CROWDPOSE.names)
        for image in truth["images"]:
            image["crowdIndex"] = 0.5
        table = table_of(truth, tmp_path, "crowdpose")
        (tmp_path / "results.json").write_text(json.dumps(results))
        found = diagnose("crowdpose", tmp_path / "truth.json", tmp_path / "results.json")
        expected = score_results(table, results)
        assert found.steps[0].value == pytest.approx(expected["AP"], abs=1e-9), seed


# MPII --------------------------------------------------------------------------------------------


def test_mpii(samples, tmp_path):
    folder = samples / "mpii"
    truth = folder / "annotations/mpii_gt_val.mat"
    expected = json.loads((folder / "predictions/expected_pckh.json").read_text())
    for name, numbers in expected.items():
        found = diagnose("mpii", truth, folder / "predictions" / name)
        assert found.metric == "PCKh@0.5" and "ours" in found.rules
        assert found.steps[0].value == pytest.approx(numbers["Mean"], abs=1e-3)
        assert found.steps[-1].value == pytest.approx(100)
        assert all(step.cost >= 0 for step in found.steps[1:])
    with pytest.raises(UsageError, match="reference"):
        diagnose("mpii", truth, folder / "predictions" / name, reference=True)


def test_mpii_labels(samples, tmp_path):
    from hevitpose.metrics.pckh import load_ground_truth

    truth = samples / "mpii/annotations/mpii_gt_val.mat"
    heads = load_ground_truth(truth)
    mirrored = heads.keypoints.copy()
    mirrored[:, [0, 5]] = heads.keypoints[:, [5, 0]]  # ankles
    np.save(tmp_path / "mirrored.npy", mirrored)
    found = diagnose("mpii", truth, tmp_path / "mirrored.npy")
    sizes = 0.6 * np.linalg.norm(heads.head_boxes[:, 1] - heads.head_boxes[:, 0], axis=1)
    apart = np.linalg.norm(heads.keypoints[:, 0] - heads.keypoints[:, 5], axis=1) / sizes
    both = ~heads.missing[:, 0] & ~heads.missing[:, 5]
    # Nobody's ankle is exactly where another's is, so that the opposite ankle is the nearest.
    assert found.per_keypoint["inversion"][0] == (both & (apart > 0)).sum()
    assert found.per_keypoint["inversion"][9] == 0
    np.save(tmp_path / "short.npy", mirrored[:7])
    with pytest.raises(DataError, match=r"short.npy: \(7, 16, 2\)"):
        diagnose("mpii", truth, tmp_path / "short.npy")


def test_mpii_without_bad_people_at_the_end(samples, tmp_path):
    """Predictions are of all people of the file, also of the last, whom nobody can read."""
    source = samples / "mpii/annotations"
    people = json.loads((source / "mpii_val.json").read_text())
    people[1]["scale"] = people[-1]["scale"] = -1.0
    (tmp_path / "mpii_val.json").write_text(json.dumps(people))
    (tmp_path / "mpii_gt_val.mat").write_bytes((source / "mpii_gt_val.mat").read_bytes())
    keypoints = np.random.default_rng(0).uniform(0, 500, (len(people), 16, 2))
    np.save(tmp_path / "all.npy", keypoints)
    given = ("mpii", tmp_path / "mpii_val.json", tmp_path / "all.npy")
    with pytest.raises(DataError, match="scale is -1"):
        diagnose(*given)
    found = diagnose(*given, skip_bad=True)
    assert found.detections == len(people) - 2
    for each in found.worst:  # everybody has their own predictions
        np.testing.assert_array_equal(each.predicted, keypoints[each.id] - 1)
    np.save(tmp_path / "all.npy", keypoints[:-2])  # of who is left: whose are they?
    with pytest.raises(DataError, match="expected numbers"):
        diagnose(*given, skip_bad=True)


def test_mpii_of_other_people(tmp_path):
    rows, _ = mpii_files(tmp_path)
    given = ("mpii", tmp_path / "mpii_val.json", tmp_path / "perfect.npy")
    assert diagnose(*given).steps[0].value == 100
    (tmp_path / "mpii_val.json").write_text(json.dumps(rows[::2]))
    with pytest.raises(DataError, match=r"gt_val\.mat: 6 people, .*val\.json has 3; expected the"):
        diagnose(*given)
    (tmp_path / "mpii_val.json").write_text(json.dumps([rows[1], rows[0], *rows[2:]]))
    with pytest.raises(DataError, match=r"of person 0 is \d+ px .*\(2 of 6 people differ\)"):
        diagnose(*given)


def test_mpii_reads_the_file_that_is_named(tmp_path):
    from scipy.io import savemat

    _, truth = mpii_files(tmp_path)
    predictions = tmp_path / "perfect.npy"
    with pytest.raises(DataError, match=r"absent\.mat: No such file"):
        diagnose("mpii", tmp_path / "absent.mat", predictions)
    truth["jnt_missing"] = truth["jnt_missing"].copy()
    truth["jnt_missing"][:, 1:] = 1
    savemat(tmp_path / "mine.mat", truth)
    assert diagnose("mpii", tmp_path / "mine.mat", predictions).people == 1
