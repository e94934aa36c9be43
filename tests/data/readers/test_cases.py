"""Files that people's tools really write: truth fed back scores 1.000, or one line refuses them.

Named after the public reports they stand for; see ``feeding_back`` for how they are scored.
"""

from __future__ import annotations

import json
import re
import warnings

import numpy as np
import pytest
from PIL import Image

from hevitpose.cli import execute
from hevitpose.data import declared, load
from hevitpose.data.keypoints import COCO
from hevitpose.data.loader import PoseDataset
from hevitpose.data.registry import ROWS
from hevitpose.data.tools.check import check
from hevitpose.errors import DataError, HEViTPoseError, Notice, UsageError
from hevitpose.evaluation.prediction_files import evaluate_predictions, read_truth
from hevitpose.evaluation.score import results_of, score
from hevitpose.models.keypoints import KeypointLayout
from tests.data import annotation_files as files
from tests.data.feeding_back import SIZE, ap, custom, perfect, read

NAN = float("nan")
NAMES = list(COCO.names)


def each(**changed):
    """Every annotation changed; ``None`` removes a key."""

    def change(content):
        for record in content["annotations"]:
            record.update(changed)
            for key in [k for k, v in changed.items() if v is None]:
                del record[key]

    return change


def one(index, **changed):
    def change(content):
        record = content["annotations"][index]
        record.update(changed)
        for key in [k for k, v in changed.items() if v is None]:
            del record[key]

    return change


def visibility_3(content):
    content["annotations"][1]["keypoints"][2] = 3


def duplicate_person(content):
    content["annotations"].append(dict(content["annotations"][1]))


def image_twice(content):
    content["images"].append(dict(content["images"][0]))


def dogs(content):
    """A second category that has keypoints, too, of which one is broken."""
    content["categories"].insert(
        0, {"id": 2, "name": "dog", "keypoints": [f"p{n}" for n in range(17)]}
    )
    dog = content["annotations"][0] | {"id": 900, "category_id": 2}
    content["annotations"] += [dog, dog | {"id": 901, "bbox": None, "keypoints": [1, 2]}]


def cars(content):
    content["categories"].append({"id": 2, "name": "car"})
    car = {"id": 900, "image_id": 7, "category_id": 2, "bbox": [1, 1, 9, 9], "area": 81.0}
    content["annotations"].append(car)


def category_7(content):
    content["categories"][0]["id"] = 7
    each(category_id=7)(content)


def unlabelled(value):
    def change(content):
        for record in content["annotations"]:
            for at in range(0, len(record["keypoints"]), 3):
                if not record["keypoints"][at + 2]:
                    record["keypoints"][at : at + 2] = [value, value]

    return change


def some_areas(content):
    for record in content["annotations"][::2]:
        del record["area"]


def floats(content):
    for record in content["images"]:
        record |= {key: float(record[key]) for key in ("id", "width", "height")}
    for record in content["annotations"]:
        record |= {key: float(record[key]) for key in ("id", "image_id", "category_id", "iscrowd")}


def backslashes(content):
    for record in content["images"]:
        record["file_name"] = f"deep\\er\\{record['file_name']}"


def nested(*, depth=1, unlabelled=False):
    """``[[x, y, v], ...]``, the same in more brackets, or null for a joint that is not labelled."""

    def change(content):
        for record in content["annotations"]:
            flat = record["keypoints"]
            joints = [flat[at : at + 3] for at in range(0, len(flat), 3)]
            if unlabelled:
                joints = [joint if joint[2] else unlabelled[0] for joint in joints]
            for _ in range(depth - 1):
                joints = [joints]
            record["keypoints"] = joints

    return change


def in_halves(content):
    """Brackets around groups of joints, as exporters of face and hands write them."""
    nested()(content)
    for record in content["annotations"]:
        joints = record["keypoints"]
        record["keypoints"] = [joints[:5], [joints[5:9], joints[9:]]]


def nothing_at_unlabelled(value):
    """All three values are none where a joint is not labelled."""

    def change(content):
        for record in content["annotations"]:
            for at in range(0, len(record["keypoints"]), 3):
                if not record["keypoints"][at + 2]:
                    record["keypoints"][at : at + 3] = [value] * 3

    return change


def booleans(content):
    for record in content["annotations"]:
        record["keypoints"][2::3] = [bool(v) for v in record["keypoints"][2::3]]


def text_ids(form):
    """Ids of images as text, in images and people alike."""

    def change(content):
        for record in content["images"]:
            record["id"] = form.format(record["id"])
        for record in content["annotations"]:
            record["image_id"] = form.format(record["image_id"])

    return change


def text_in_people(content):
    """As VIA writes it: the images have numbers, the people text, the category its name."""
    for record in content["annotations"]:
        record |= {"image_id": f" {record['image_id']} ", "id": str(record["id"])}
        record["category_id"] = "person"


def without_sizes(content):
    del content["images"][0]["width"], content["images"][1]["height"]


def width_false(c):
    c["images"][0]["width"] = False


def sizes_0(content):
    content["images"][0]["width"] = content["images"][1]["height"] = 0


def category_text(content):
    content["categories"][0]["id"] = "1"


def without_ids(content):
    each(id=None)(content)


def species(content):
    """Two of three categories have people, as AP-10K's 54 have."""
    names = content["categories"][0]["keypoints"]
    content["categories"] = [
        {"id": 3, "name": "antelope", "keypoints": names},
        {"id": 9, "name": "argali sheep", "keypoints": names},
        {"id": 4, "name": "zebra", "keypoints": names},
    ]
    for record, category in zip(content["annotations"], (3, 9, 4, 3, 9), strict=True):
        record["category_id"] = category


def same_name(content):
    content["categories"].append({"id": 4, "name": "person"})


def more_names(content):
    """Human-Art: 21 names, 17 points."""
    content["categories"][0]["keypoints"] += ["left_finger", "right_finger", "left_toe", "x"]


def fewer_names(content):
    content["categories"][0]["keypoints"] = NAMES[:5]


def unnamed_category(content):
    """People of a category that the file does not list; the yaml gives its id."""
    each(category_id=4)(content)


def no_change(content):
    pass


#: change of the file, keys of the yaml, ``skip_bad``, people read
PERFECT = {
    "A1 num_keypoints 0": (each(num_keypoints=0), {}, False, 3),
    "A1 num_keypoints absent": (each(num_keypoints=None), {}, False, 3),
    "A1 num_keypoints text": (each(num_keypoints="many"), {}, False, 3),
    "A3 no bbox": (one(1, bbox=None), {}, True, 2),
    "A4 visibility 3": (visibility_3, {}, True, 2),
    "A5 empty box": (one(1, bbox=[10, 10, 0, 0]), {}, True, 2),
    "A6 duplicate record": (duplicate_person, {}, True, 3),
    "A9 unlabelled without area": (one(4, area=None), {}, False, 3),
    "A9 crowd without anything": (one(3, area=None, bbox=None, keypoints=None), {}, False, 3),
    "A11 second category": (dogs, {}, True, 3),
    "A11 named category": (dogs, {"category": "person"}, False, 3),
    "A14 photograph listed twice": (image_twice, {}, True, 3),
    "B1 some areas": (some_areas, {"use_area": False}, False, 3),
    "B2 no areas": (each(area=None), {"use_area": False}, False, 3),
    "B3 areas 0": (each(area=0), {"use_area": False}, False, 3),
    "B3 areas of text": (each(area="big"), {"use_area": False}, False, 3),
    "B area 0 of one": (one(1, area=0), {}, False, 2),
    "D2 upper body": (no_change, {"upper_body": list(range(11))}, False, 3),
    "E1 iscrowd false": (each(iscrowd=False), {}, False, 3),
    "E1 iscrowd absent": (each(iscrowd=None), {}, False, 3),
    "R1 iscrowd false, no areas": (each(iscrowd=False, area=None), {"use_area": False}, False, 3),
    "E2 no names": (lambda c: c["categories"][0].update(keypoints=[]), {}, False, 3),
    "E2 null names": (lambda c: c["categories"][0].update(keypoints=None), {}, False, 3),
    "E4 NaN where unlabelled": (unlabelled(NAN), {}, False, 3),
    "E5 null where unlabelled": (unlabelled(None), {}, False, 3),
    "E8 floats": (floats, {}, False, 3),
    "E10 cars": (cars, {"category": "person"}, False, 3),
    "E12 category 7": (category_7, {}, False, 3),
    "E1 iscrowd 0.0": (each(iscrowd=0.0), {}, False, 3),
    "E4 empty text where unlabelled": (unlabelled(""), {}, False, 3),
    "E4 nothing at all where unlabelled": (nothing_at_unlabelled(NAN), {}, False, 3),
    "E5 null at all where unlabelled": (nothing_at_unlabelled(None), {}, False, 3),
    "E4 empty text at all": (nothing_at_unlabelled(""), {}, False, 3),
    "E visibility as a truth value": (booleans, {}, False, 3),
    "E6 no bbox": (each(bbox=None), {"derive": True}, False, 3),
    "E6 an empty bbox": (each(bbox=[]), {"derive": True}, False, 3),
    "E6 one without bbox": (one(1, bbox=None), {"derive": True}, False, 3),
    "E7 no width and height": (without_sizes, {"derive": True}, False, 3),
    "E7 width or height 0": (sizes_0, {"derive": True}, False, 3),
    "E9 text id of the category": (category_text, {"derive": True}, False, 3),
    "E9 text ids of people": (text_in_people, {"derive": True}, False, 3),
    "E9 text ids, numbers": (text_ids("{}"), {"derive": True}, False, 3),
    "E9 text ids, zeros": (text_ids("{:012}"), {"derive": True}, False, 3),
    "E9 text ids, words": (text_ids("img_{}"), {"derive": True}, False, 3),
    "E no ids of people": (without_ids, {"derive": True}, False, 3),
    "E10 a list of names": (cars, {"category": ["person"]}, False, 3),
    "K two categories of a name": (same_name, {"category": 1}, False, 3),
    "R2 two species": (species, {"category": ["argali sheep", "antelope"]}, False, 2),
    "R2 one species": (species, {"category": "zebra"}, False, 1),
    "R3 an id that is not listed": (unnamed_category, {"category": 4}, False, 3),
    "R6 more names": (more_names, {}, False, 3),
    "R6 fewer names": (fewer_names, {}, False, 3),
    "R7 nested": (nested(), {}, False, 3),
    "R7 nested deeper": (nested(depth=3), {}, False, 3),
    "R7 nested with null": (nested(unlabelled=[None]), {}, False, 3),
    "R7 nested with nothing": (nested(depth=2, unlabelled=[[]]), {}, False, 3),
    "R7 groups": (in_halves, {}, False, 3),
    "R11 all of it": (
        lambda c: [change(c) for change in (text_in_people, without_sizes, each(bbox=None))],
        {"derive": True},
        False,
        3,
    ),
}


@pytest.mark.parametrize("name", PERFECT)
def test_perfect(tmp_path, name):
    change, said, skip_bad, people = PERFECT[name]
    content = files.coco()
    change(content)
    table = read(custom(tmp_path, content, **said), skip_bad=skip_bad)
    assert len(table) == people == len(table.truth.take(~table.truth.ignored))
    assert ap(table) == (1.0, 1.0)
    assert bool(table.skipped) == skip_bad
    found = files.write(tmp_path / "r.json", results_of(table, perfect(table), nms_threshold=1.0))
    again = evaluate_predictions(
        str(tmp_path / "data.yaml"), tmp_path / "ann.json", found, skip_bad=skip_bad
    )
    assert round(again["AP"], 12) == 1.0


REFUSED = {
    "A3": (one(1, bbox=None), {}, "bbox is missing"),
    "A9 labelled without area": (one(1, area=None), {}, "area is missing.*use_area: false"),
    "A11": (dogs, {}, r"category_id 2 \(dog\), expected 1 \(person\), or .* category: NAME"),
    "E10": (cars, {}, r"category_id 2 \(car\), expected 1 \(person\), or .* category: NAME"),
    "B area too large": (one(1, area=2e10), {}, "area is 2e.10 pixels, expected at most 1e.10"),
    "C1": (no_change, {"name": "mpii"}, "name: 'mpii' is a dataset of its own"),
    "C2": (no_change, {"name": "COCO"}, "name: 'COCO' is a dataset of its own"),
    "C3": (no_change, {"name": "synthetic"}, "name: 'synthetic' is a dataset of its own"),
    "C4": (no_change, {"name": "crowdpose"}, "name: 'crowdpose' is a dataset of its own"),
    "D1": (
        lambda c: c["categories"][0].update(keypoints=NAMES[::-1]),
        {},
        "another order: right_ankle, left_ankle, .*; expected nose, left_eye, ",
    ),
    "D1 in upper case": (
        lambda c: c["categories"][0].update(
            keypoints=["Nose", "Right Eye", "Left-Eye", *NAMES[3:]]
        ),
        {},
        "another order",
    ),
    "two categories of a name": (
        lambda c: c["categories"].append({"id": 4, "name": "person"}),
        {},
        r"categories \[1, 4\] are called 'person'",
    ),
    "nobody": (each(area=-1.0), {}, "no usable people .*dropped_area 3"),
    "E6": (each(bbox=None), {}, "bbox is missing, expected 4 numbers.*derive: true"),
    "E6 null": (each(bbox=[]), {}, "bbox is missing, expected 4 numbers.*derive: true"),
    "E7": (without_sizes, {}, "width is missing.*height is missing.*derive: true"),
    "E9": (text_in_people, {}, r"category_id is .person., expected an integer.*derive: true"),
    "E9 words": (text_ids("img_{}"), {}, r"id is .img_7., expected an integer.*derive: true"),
    "E9 zeros twice": (
        lambda c: (text_ids("{}")(c), c["images"][1].update(id="007")),
        {"derive": True},
        "id 7 is a duplicate",
    ),
    "E9 empty": (text_ids(""), {"derive": True}, "id is empty, expected an id"),
    "E visibility none, point labelled": (
        lambda c: [a["keypoints"].__setitem__(5, None) for a in c["annotations"]],
        {},
        r"keypoints\[5\] is null, expected visibility",
    ),
    "E4 NaN where labelled": (
        lambda c: c["annotations"][0]["keypoints"].__setitem__(3, NAN),
        {},
        r"keypoints\[3\] is NaN, expected a finite number",
    ),
    "R2 nobody of them": (species, {"category": ["tiger"]}, r"it has antelope \(3\), argali"),
    "R2 of none": (category_7, {"category": 1}, r"no annotation is of 1; they are of person \(7\)"),
    "R3 an id that is not listed": (
        unnamed_category,
        {"category": ["person"]},
        r"they are of not in categories \(4\) \(category: 4 in the yaml chooses by id\)",
    ),
    "E7 false is no 0": (width_false, {"derive": True}, "width is false, expected an integer"),
    "E7 zeros": (sizes_0, {}, "width is 0, expected pixels.*height is 0.*derive: true"),
    "E9 text id of the category": (
        category_text,
        {},
        "id is .1., expected an integer.*derive: true",
    ),
    "R2 no names": (species, {"category": []}, "category: an empty list"),
    "R7 pairs": (
        lambda c: c["annotations"][0].update(keypoints=[[1, 2]] * 17),
        {},
        r"joint of 2 values, expected \[x, y, v\]",
    ),
    "R7 columns": (
        lambda c: c["annotations"][0].update(keypoints=[[1.0] * 17] * 3),
        {},
        r"joint of 17 values, expected \[x, y, v\]",
    ),
    "R7 half nested": (
        lambda c: c["annotations"][0].update(keypoints=[1, 2, 2, [3, 4, 2]] * 4),
        {},
        "among lists",
    ),
    "a category listed twice": (
        lambda c: c["categories"].append({"id": 1, "name": "dog"}),
        {},
        "category 1 is 'person' and 'dog'",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_when_loaded(tmp_path, name):
    change, said, message = REFUSED[name]
    content = files.coco()
    change(content)
    with pytest.raises(HEViTPoseError, match=message) as caught:
        read(custom(tmp_path, content, **said))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["absent", "empty", "cut", "other size"])
def test_damaged_photographs(tmp_path, name):
    """Who is in one is neither trained on nor scored."""
    content = files.coco()
    content["annotations"][0]["image_id"] = 9
    path = custom(tmp_path, content)
    victim = tmp_path / "images" / "b.jpg"
    if name == "absent":
        victim.unlink()
    elif name == "other size":
        files.image(victim, (30, 20))
    else:
        victim.write_bytes(victim.read_bytes()[: 300 if name == "cut" else 0])
    with pytest.raises(DataError, match=r"b\.jpg"):
        read(path)
    table = read(path, skip_bad=True)
    assert table.person_ids.tolist() == [101, 102]
    assert ap(table) == (1.0, 1.0)


def test_byte_order_mark(tmp_path):
    """As Windows editors write it: A12."""
    text = json.dumps(files.coco()).encode()
    path = custom(tmp_path, None)
    (tmp_path / "ann.json").write_bytes(b"\xef\xbb\xbf" + text)
    table = read(path)
    assert len(table) == 3 and ap(table) == (1.0, 1.0)
    results = files.write(tmp_path / "r.json", results_of(table, perfect(table)))
    results.write_bytes(b"\xef\xbb\xbf" + results.read_bytes())
    assert evaluate_predictions(str(path), tmp_path / "ann.json", results)["AP"] == 1


def test_backslashes(tmp_path):
    content = files.coco()
    backslashes(content)
    path = custom(tmp_path, content)
    (tmp_path / "images" / "deep").mkdir()
    for name in ("a.jpg", "b.jpg"):
        files.image(tmp_path / "images" / "deep" / "er" / name)
    table = read(path)
    assert len(table) == 3 and ap(table) == (1.0, 1.0)


def orient(path, orientation):
    """The file with an EXIF orientation, its pixels as they were."""
    with Image.open(path) as picture:
        exif = picture.getexif()
        exif[0x0112] = orientation
        picture.save(path, exif=exif, quality=95)


@pytest.mark.parametrize(
    ("orientation", "size", "says"),
    [
        (1, files.SIZE, None),
        (3, files.SIZE, r"EXIF turns 1 photographs; 1 \(a.jpg\) have it both ways"),
        (2, files.SIZE, "have it both ways, and are read as displayed"),
        (6, files.SIZE, "have the annotated size as stored, and are read as stored"),
        (6, files.SIZE[::-1], "have the annotated size as displayed"),
    ],
)
def test_exif(tmp_path, orientation, size, says):
    """K1: said, once, where the stored and the displayed photograph differ."""
    path = custom(tmp_path, files.coco())
    content = files.coco()
    content["images"][0] |= {"width": size[0], "height": size[1]}
    files.write(tmp_path / "ann.json", content)
    orient(tmp_path / "images" / "a.jpg", orientation)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        table = read(path)
        read(path)
    assert len(table) == 3 and ap(table) == (1.0, 1.0)
    lines = [str(w.message) for w in caught if issubclass(w.category, Notice)]
    assert len(lines) == (says is not None)
    if says:
        assert re.search(says, lines[0])


def test_exif_stored(tmp_path):
    """K1: by the yaml's word the pixels are those of the file."""
    path = custom(tmp_path, files.coco(), exif="stored")
    orient(tmp_path / "images" / "a.jpg", 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error", Notice)
        table = read(path)
    upright = custom(tmp_path / "upright", files.coco())
    plain = read(upright)
    mine, theirs = (PoseDataset(each, SIZE)._picture(0).astype(int) for each in (table, plain))
    assert np.abs(mine - theirs).mean() < 3  # JPEG
    declared = table.declared
    assert declared.training_inputs()["exif"] == declared.evaluation_inputs()["exif"] == "stored"
    assert "exif" not in plain.declared.training_inputs() | plain.declared.evaluation_inputs()
    without_sizes(content := files.coco())
    path = custom(tmp_path, content, derive=True, exif="stored")
    orient(tmp_path / "images" / "a.jpg", 6)
    assert read(path).image_sizes.tolist() == [list(files.SIZE)] * 2


def test_derived_sizes_are_those_of_the_picture_as_read(tmp_path):
    content = files.coco()
    without_sizes(content)
    path = custom(tmp_path, content, derive=True)
    orient(tmp_path / "images" / "a.jpg", 6)
    table = read(path)
    assert table.image_sizes.tolist() == [[48, 64], [64, 48]] and ap(table) == (1.0, 1.0)
    (tmp_path / "images" / "a.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"image id 7: .*a\.jpg: .*expected a photograph"):
        read(path)


def with_absent(folder, people):
    """The usual people, a.jpg of unknown size, and an absent photograph with people or without."""
    without_sizes(content := files.coco())
    content["images"].append({"id": 99, "file_name": "gone.jpg"})
    for row in range(people):
        person = content["annotations"][0] | {"id": 900 + row, "image_id": 99}
        content["annotations"].append(person)
    if people:  # beyond any border
        content["annotations"][-1]["bbox"] = [60.0, 40.0, 900.0, 900.0]
    return custom(folder, content, derive=True)


@pytest.mark.parametrize("present_only", [True, False])
def test_an_absent_photograph_that_nobody_is_in_has_no_size(tmp_path, present_only):
    path = with_absent(tmp_path, 0)
    table = read(path, present_only=present_only)
    assert len(table) == 3 and not table.skipped and ap(table) == (1.0, 1.0)
    assert (99 in table.image_ids) != present_only
    assert table.counts["absent_images"] == present_only
    assert (table.image_sizes[table.needed_images] > 0).all()
    plain = read(custom(tmp_path / "plain", files.coco()))
    assert np.array_equal(table.bboxes, plain.bboxes)
    assert len(read_truth(str(path), declared(path), tmp_path / "ann.json", False)) == 3


def test_people_of_absent_photographs_whose_size_is_not_stated(tmp_path):
    """Dropped, refused or skipped as elsewhere; scored nowhere, since the size decides who is."""
    path = with_absent(tmp_path, 2)
    table = read(path, present_only=True)
    assert len(table) == 3 and table.counts["absent_images"] == 1 and not table.skipped
    with pytest.raises(
        DataError, match=r"1 of the 2 images .* are absent, the first are gone"
    ) as e:
        read(path)
    assert "unknown" not in str(e.value)
    table = read(path, skip_bad=True)
    assert len(table) == 3 and [str(item) for item in table.skipped] == [
        "image gone.jpg: absent, expected a file"
    ]
    truth = str(path), declared(path), tmp_path / "ann.json"
    with pytest.raises(DataError, match=r"json: image id 99: .*gone\.jpg: absent, .* its width"):
        read_truth(*truth, False)
    table = read_truth(*truth, True)
    assert len(table) == 3 == len(table.truth.take(~table.truth.ignored)) and table.skipped
    [row, _] = check(tmp_path, [str(path)])
    assert (row.status, row.bad, row.absent_images) == ("present", 0, 1)


def test_derived_boxes(tmp_path):
    """The labelled points, and a tenth of the longer side around them."""
    content = files.coco(people=1)
    each(bbox=None)(content)
    flat_points = [0.0] * 51
    flat_points[:6] = [10, 20, 2, 30, 25, 1]
    content["annotations"][0] |= {"keypoints": flat_points}
    table = read(custom(tmp_path, content, derive=True))
    assert table.truth.boxes[0].tolist() == [8.0, 18.0, 24.0, 9.0]
    assert table.counts["derived_boxes"] == 1 and ap(table) == (1.0, 1.0)
    flat_points[5] = 0  # a single point: the box is grown about it
    content["annotations"][0] |= {"keypoints": flat_points}
    table = read(custom(tmp_path, content, derive=True))
    assert table.counts["grown_boxes"] == 1 and ap(table) == (1.0, 1.0)


def corners(content):
    for record in content["annotations"]:
        x, y, w, h = record["bbox"]
        record["bbox"] = [x + 25, y + 15, x + w + 25, y + h + 15]


@pytest.mark.parametrize(("change", "said"), [(corners, True), (no_change, False)])
def test_boxes_as_corners(tmp_path, change, said):
    """E13: a warning names the pattern; nothing is turned around by guess."""
    content = files.coco()
    change(content)
    path = custom(tmp_path, content)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read(path)
        read(path)
    lines = [str(w.message) for w in caught if "as corners" in str(w.message)]
    assert len(lines) == said
    assert not said or "3 of 3 boxes leave their image" in lines[0]


def test_more_people_than_count(tmp_path):
    content = files.coco()
    content["annotations"] = [
        content["annotations"][0] | {"id": n, "bbox": [1.0 + n, 4.0, 30.0, 20.0]} for n in range(22)
    ]
    rng = np.random.default_rng(0)
    for record in content["annotations"]:
        points = rng.uniform(1, 40, (17, 3))
        points[:, 2] = 2
        record["keypoints"] = points.ravel().tolist()
    path = custom(tmp_path, content)
    table = read(path)
    with pytest.warns(Notice, match=r"1 photographs have more than 20 people \(image 7: 22\)"):
        assert score(table, perfect(table), nms_threshold=1.0)["AR"] == pytest.approx(20 / 22)
    everybody = score(table, perfect(table), nms_threshold=1.0, max_detections=22)
    assert everybody["AP"] == pytest.approx(1)
    found = files.write(tmp_path / "r.json", results_of(table, perfect(table), nms_threshold=1.0))
    again = evaluate_predictions(str(path), tmp_path / "ann.json", found, max_detections=22)
    assert again["AP"] == pytest.approx(1) and again["max_detections"] == 22


@pytest.mark.parametrize(
    ("images", "prefix"),
    [
        ("images/val2017", "images/val2017/"),
        ("images/val2017", "val2017/"),
        ("images/val2017", "./"),
        ("images", "val2017/"),
        (".", "images\\val2017/"),
        ("images/val2017", "images/val2017\\"),
    ],
)
def test_names_that_repeat_their_folder(tmp_path, images, prefix):
    content = files.coco()
    for record in content["images"]:
        record["file_name"] = prefix + record["file_name"]
    split = {"annotations": "ann.json", "images": images}
    path = custom(tmp_path, content, splits={"train": split, "val": split})
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / "images" / name).unlink()
        files.image(tmp_path / "images" / "val2017" / name)
    table = read(path)
    assert len(table) == 3 and ap(table) == (1.0, 1.0)
    assert table.image_path(0).is_file()


def test_a_name_is_its_own_file_first(tmp_path):
    """Where both readings are files, the plain one is meant."""
    content = files.coco()
    content["images"][0]["file_name"] = "images/a.jpg"
    path = custom(tmp_path, content)
    inner = files.image(tmp_path / "images" / "images" / "a.jpg")
    assert read(path).image_path(0) == inner


def test_cocos_own_layout(tmp_path):
    """``coco/val2017`` beside ``coco/annotations``, as the official archives unpack."""
    root = files.root(tmp_path)
    (root / "coco/images/val2017").rename(root / "coco/val2017")
    (root / "coco/images").rmdir()
    table = load("coco", root, "val", input_size=(192, 256))
    assert len(table) == 3 and table.image_path(0) == root / "coco/val2017/a.jpg"


def flat(points, box):
    """One image with a person of a few points whose box is theirs, and its layout."""
    count = len(points)
    layout = KeypointLayout("flat", tuple(f"k{n}" for n in range(count)), (), (0.05,) * count)
    content = files.coco(people=1)
    content["annotations"] = content["annotations"][:1]
    flat_points = [v for x, y in points for v in (x, y, 2)]
    content["annotations"][0] |= {"keypoints": flat_points, "bbox": box, "area": 0.0}
    content["categories"][0]["keypoints"] = [str(n) for n in range(count)]
    return content, layout


@pytest.mark.parametrize(
    ("points", "box"),
    [
        ([(27.65, 18.18)], [27.65, 18.18, 0.0, 0.0]),
        ([(12.45, 31.01), (50.76, 31.01)], [12.45, 31.01, 38.31, 0.0]),
        ([(20.5, 5.0), (20.9, 40.0)], [20.5, 5.0, 0.4, 35.0]),
    ],
)
@pytest.mark.parametrize("use_area", [True, False])
def test_boxes_of_points_in_a_row(tmp_path, points, box, use_area):
    """R12: no area and no width by construction, since the exporter's box is that of the points."""
    content, layout = flat(points, box)
    path = custom(tmp_path, content, layout, use_area=use_area)
    table = read(path)
    assert len(table) == 1 == table.counts["grown_boxes"] and (table.sizes > 5).all()
    grown = table.truth.boxes[0]  # CrowdPose's evaluator takes the area of it
    assert grown[2:].min() > 0 and table.truth.areas[0] == pytest.approx(0.53 * grown[2] * grown[3])
    assert ap(table) == (1.0, 1.0)
    inside = np.abs(table.keypoints[0] - table.centers[0]) <= table.sizes[0] / 2
    assert inside.all()
    assert score(table, perfect(table))["AP"] == pytest.approx(1)
    # The file's own numbers, which are not those of a table in single precision.
    person = content["annotations"][0] | {"score": 1.0}
    found = files.write(tmp_path / "r.json", [person])
    again = evaluate_predictions(str(path), tmp_path / "ann.json", found)
    assert again["AP"] == pytest.approx(1)


def relative(content):
    """YOLO's coordinates: shares of the image's sides."""
    for record in content["annotations"]:
        scale = [1 / files.SIZE[0], 1 / files.SIZE[1]]
        record["keypoints"] = [v * [*scale, 1][n % 3] for n, v in enumerate(record["keypoints"])]
        record["bbox"] = [v * scale[n % 2] for n, v in enumerate(record["bbox"])]


@pytest.mark.parametrize("said", [{}, {"use_area": False}, {"derive": True}])
@pytest.mark.parametrize("boxes", [True, False])
def test_relative_coordinates(tmp_path, said, boxes):
    content = files.coco()
    relative(content)
    if not boxes:  # those of detection datasets stay in pixels
        for record in content["annotations"]:
            record["bbox"] = [3.0, 4.0, 30.0, 20.0]
    with pytest.raises(DataError, match=r"all 48 labelled keypoints are within 0\.\.1, expected p"):
        read(custom(tmp_path, content, **said))


@pytest.mark.parametrize(("names", "category", "first"), [(4, "doorknob", 1), (18, "person", 0)])
def test_whole_exports(tmp_path, names, category, first):
    """R9, R10: numbered points of an object; ids from 0 and a category of the project's name."""
    rng = np.random.default_rng(0)
    layout = KeypointLayout("own", tuple(f"k{n}" for n in range(names)), (), (0.05,) * names)
    people = []
    for n in range(6):
        points = np.concatenate((rng.uniform(4, 44, (names, 2)), np.full((names, 1), 2)), 1)
        low, size = points[:, :2].min(0), np.ptp(points[:, :2], axis=0)
        people.append(
            {
                "id": first + n,
                "image_id": first + n % 2,
                "category_id": 1,
                "bbox": [*low, *size],
                "area": float(size.prod()),
                "iscrowd": 0,
                "keypoints": points.ravel().tolist(),
            }
        )
    listed = [{"id": 1, "name": category, "keypoints": [str(n + 1) for n in range(names)]}]
    if first == 0:
        listed.insert(0, {"id": 0, "name": "objects-8vX8"})
    images = files.coco()["images"]
    content = {"images": images, "annotations": people, "categories": listed}
    for n, record in enumerate(images):
        record["id"] = first + n
    path = custom(tmp_path, content, layout, category=category)
    table = read(path)
    assert len(table) == 6 and ap(table) == (1.0, 1.0)
    found = files.write(tmp_path / "r.json", [person | {"score": 1.0} for person in people])
    assert evaluate_predictions(str(path), tmp_path / "ann.json", found)["AP"] == pytest.approx(1)


def test_a_flat_box_elsewhere_is_bad(tmp_path):
    content, layout = flat([(27.65, 18.18)], [10.0, 10.0, 0.0, 0.0])
    content["annotations"][0]["area"] = 1.0
    with pytest.raises(DataError, match="expected a positive width"):
        read(custom(tmp_path, content, layout))


def detections(table, category):
    rng = np.random.default_rng(0)
    found = [
        {
            "image_id": int(table.image_ids[table.image_index[n]]),
            "category_id": category,
            "bbox": (table.bboxes[n] + rng.uniform(-2, 2, 4)).tolist(),
            "score": 0.5 + 0.1 * n,
        }
        for n in range(len(table))
    ]
    return [*found, found[0] | {"category_id": category + 1}]


def test_the_truths_own_category(tmp_path):
    """E12, J1: in detections, in results, and in what is written for others."""
    content = files.coco()
    category_7(content)
    path = custom(tmp_path, content)
    truth = read(path)
    files.write(tmp_path / "boxes.json", detections(truth, 7))
    table = read(path, boxes=str(tmp_path / "boxes.json"))
    assert len(table) == 3 and table.counts["dropped_category"] == 1
    results = results_of(truth, perfect(truth))
    assert {entry["category_id"] for entry in results} == {7}
    file = files.write(tmp_path / "r.json", results)
    assert evaluate_predictions(str(path), tmp_path / "ann.json", file)["AP"] == 1
    files.write(tmp_path / "boxes.json", detections(truth, 1))
    with pytest.raises(DataError, match="dropped_category"):
        read(path, boxes=str(tmp_path / "boxes.json"))


@pytest.mark.parametrize("use_area", [True, False])
def test_use_area_is_obeyed_with_detections(tmp_path, use_area):
    """B: the setting decides, with either kind of boxes; areas are not looked for in values."""
    content = files.coco()
    each(area=9.0)(content)
    path = custom(tmp_path, content, use_area=use_area)
    gt = read(path)
    files.write(tmp_path / "boxes.json", detections(gt, 1))
    found = read(path, boxes=str(tmp_path / "boxes.json"))
    for table in (gt, found):
        expected = 9.0 if use_area else 0.53 * 30 * 20
        np.testing.assert_allclose(table.truth.areas[~table.truth.ignored], expected)
    off = perfect(gt)
    off.keypoints[:] += 1.5
    near = score(gt, off, nms_threshold=1.0)["AP"]
    assert near < 0.1 if use_area else near > 0.1
    file = files.write(tmp_path / "r.json", results_of(gt, off, nms_threshold=1.0))
    assert evaluate_predictions(str(path), tmp_path / "ann.json", file)["AP"] == near


def test_evaluate_predictions_obeys_the_yaml(tmp_path, capsys):
    """B2: no areas anywhere, on the command line; and a bad record only with --skip-bad."""
    content = files.coco()
    each(area=None)(content)
    path = custom(tmp_path, content, use_area=False)
    table = read(path)
    found = files.write(tmp_path / "r.json", results_of(table, perfect(table)))
    arguments = ["evaluate-predictions", "--dataset", str(path), "--predictions", str(found)]
    arguments += ["--ground-truth", str(tmp_path / "ann.json"), "--json"]
    assert execute(arguments) == 0
    assert json.loads(capsys.readouterr().out)["AP"] == pytest.approx(1)
    custom(tmp_path, content)  # use_area is true where nothing is said
    assert execute(arguments) == 1
    assert "area is missing" in capsys.readouterr().err
    content["annotations"][4]["keypoints"] = [1, 2]
    custom(tmp_path, content, use_area=False)
    assert execute(arguments) == 1
    assert "keypoints has 2 values" in capsys.readouterr().err
    assert execute([*arguments, "--skip-bad"]) == 0
    assert json.loads(capsys.readouterr().out)["AP"] == pytest.approx(1)


def test_ignored_people_are_regions(tmp_path):
    """A prediction on a crowd or on an unlabelled person is no false one, as COCO has it."""
    content = files.coco()
    path = custom(tmp_path, content)
    table = read(path)
    assert table.truth.ignored.tolist() == [False] * 3 + [True] * 2
    assert table.truth.crowd.tolist() == [False] * 3 + [True, False]


@pytest.mark.parametrize(("dataset", "split"), [("coco", "val"), ("ochuman", "test")])
def test_scores_are_pycocotools_on_the_original_file(samples, dataset, split):
    """Real people and a detector's boxes: the table's truth is the official one."""
    from hevitpose.metrics.oks import evaluate_keypoints

    boxes = "COCO_val2017_detections_AP_H_56_person.json" if dataset == "coco" else "gt"
    table = load(dataset, samples, split, input_size=SIZE, boxes=boxes, scored=True)
    people = load(dataset, samples, split, input_size=SIZE)
    rng = np.random.default_rng(0)
    nearest = np.array(
        [np.abs(people.centers - centre).sum(1).argmin() for centre in table.centers]
    )
    scale = 0.06 * np.sqrt(people.sizes[nearest].prod(1))[:, None, None]
    points = people.keypoints[nearest]
    points = points + scale * rng.uniform(0, 1, (len(points), 1, 1)) * rng.normal(size=points.shape)
    found = perfect(table)
    found = type(found)(found.index, points.astype(np.float32), found.scores)
    official = evaluate_keypoints(
        results_of(table, found),
        json.loads(table.annotation_file.read_text()),
        ROWS[dataset].layout.sigmas,
    )
    assert score(table, found) == official and 0 < official["AP"] < 1


def test_a_custom_yaml_of_cocos_file_scores_as_coco(samples, tmp_path):
    """The same file under a user's name, with detector boxes: the same number."""

    path = custom(tmp_path, json.loads((samples / "coco/annotations/coco_val.json").read_text()))
    text = path.read_text().replace("images: images", f"images: {samples}/coco/images/val2017")
    path.write_text(text)
    boxes = samples / "coco/person_detection_results/COCO_val2017_detections_AP_H_56_person.json"
    mine = load(str(path), "unused", "val", input_size=SIZE, boxes=str(boxes), scored=True)
    theirs = load("coco", samples, "val", input_size=SIZE, boxes=boxes.name, scored=True)
    assert score(mine, perfect(mine)) == score(theirs, perfect(theirs))


def test_declared_needs_no_annotations(tmp_path):
    path = custom(tmp_path, None, upper_body=[0, 1], use_area=False)
    said = declared(path)
    assert not (tmp_path / "ann.json").exists()
    before = said.training_inputs(), said.evaluation_inputs()
    text = path.read_text()
    path.write_text(text.replace("- 0.026\n", "- 0.027\n"))
    assert declared(path).training_inputs() == before[0]
    assert declared(path).evaluation_inputs() != before[1]
    path.write_text(text.replace("- - 1\n  - 2\n", ""))
    assert declared(path).training_inputs() != before[0]
    with pytest.raises(UsageError, match="unknown dataset 'cocos'"):
        declared("cocos")
