"""The doctor, and originals to what the readers take."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat, savemat

from hevitpose.cli import execute
from hevitpose.data import load
from hevitpose.data.keypoints import COCO
from hevitpose.data.tools.check import as_json, check, render
from hevitpose.data.tools.prepare import prepare
from hevitpose.data.tools.prepared import find_original
from hevitpose.errors import DataError, Notice, UsageError
from tests.data import annotation_files as files
from tests.data.feeding_back import custom

SIZE = (64, 64)


def row(rows, dataset, split):
    return next(r for r in rows if (r.dataset, r.split) == (dataset, split))


def test_check_counts(tmp_path):
    content = files.coco()
    content["annotations"][0]["bbox"] = [-2.0, 4.0, 30.0, 20.0]
    content["annotations"][1]["area"] = None
    root = files.root(tmp_path, coco=content)
    (root / "coco/images/val2017/b.jpg").unlink()
    before = sorted(p for p in root.rglob("*"))
    rows = check(root)
    assert sorted(p for p in root.rglob("*")) == before
    val = row(rows, "coco", "val")
    assert (val.status, val.images, val.absent_images, val.people) == ("present", 2, 1, 2)
    assert (val.keypoints, val.boxes_outside, val.bad) == (32, 1, 1)
    assert "area is" in val.note and "first b.jpg" in val.note and "cocodataset" in val.page
    mpii = row(rows, "mpii", "val")
    assert (mpii.people, mpii.keypoints, mpii.boxes_outside) == (2, 30, None)
    assert "mpii_gt_val.mat is missing" in mpii.note
    gone = row(rows, "ochuman", "val")
    assert gone.status == "missing" and "OCHumanApi" in gone.page
    text = render(rows)
    assert "crowdpose   test" in text and "get coco from https://cocodataset.org" in text
    assert json.loads(json.dumps(as_json(rows)))[1]["boxes_outside"] == 1
    assert {r.dataset for r in check(root, ["mpii"])} == {"mpii"}


@pytest.mark.parametrize(
    ("dataset", "split", "picture"),
    [
        ("coco", "val", "coco/images/val2017/a.jpg"),
        ("mpii", "val", "mpii/images/a.jpg"),
        ("crowdpose", "test", "crowdpose/images/a.jpg"),
    ],
)
def test_check_looks_into_photographs(tmp_path, dataset, split, picture):
    """What a training would refuse is known beforehand."""
    content = files.coco()
    content["annotations"][2]["image_id"] = 9  # somebody is in b.jpg, too
    people = files.mpii()
    people[1]["image"] = "b.jpg"
    crowd = files.crowdpose()
    crowd["annotations"][2]["image_id"] = 9
    root = files.root(tmp_path, coco=content, mpii=people, crowdpose=crowd)
    told = []
    sound = check(root, [dataset], progress=lambda done, total: told.append((done, total)))
    assert row(sound, dataset, split).bad == 0 and told[-1] == (2, 2)
    whole = (root / picture).read_bytes()
    for damage, says in ((b"", "image a.jpg: zero bytes"), (whole[:300], "image a.jpg: ")):
        (root / picture).write_bytes(damage)
        found = row(check(root, [dataset]), dataset, split)
        assert (found.status, found.bad, found.absent_images) == ("present", 1, 0)
        assert says in found.note
    (root / picture).with_name("b.jpg").write_bytes(whole[:300])  # nobody is left
    found = row(check(root, [dataset]), dataset, split)
    assert (found.status, found.bad) == ("present", 2) and "image a.jpg: " in found.note


def test_check_real_samples(samples):
    rows = check(samples)
    assert row(rows, "coco", "val").people == 12 and row(rows, "coco", "val").absent_images == 0
    mpii = row(rows, "mpii", "val")
    assert (mpii.images, mpii.absent_images, mpii.people) == (2729, 2724, 2958)
    assert row(rows, "crowdpose", "test").people == 4
    assert row(rows, "ochuman", "test").people == 5


def test_check_bad_file(tmp_path):
    rows = check(files.root(tmp_path, coco='{"images": ['))
    assert row(rows, "coco", "val").status == "bad"
    assert "truncated" in row(rows, "coco", "val").note
    with pytest.raises(UsageError, match="unknown dataset 'cocoa'"):
        check(tmp_path, ["cocoa"])
    with pytest.raises(DataError, match="no such folder"):
        check(tmp_path / "nowhere")


def test_a_strangers_file_moves_no_terminal(tmp_path):
    rows = check(tmp_path, ["coco"])
    odd = replace(rows[0], note="x\x1b[31m.jpg\nerror: y", annotations="\x1b[2J.json")
    text = render([odd, *rows[1:]])
    assert "\x1b" not in text and "\nerror: y" not in text and "x.jpg" not in text


def test_check_test_dev(tmp_path):
    root = files.root(tmp_path)
    files.write(root / "coco/annotations/coco_test.json", {"images": files.coco()["images"]})
    found = row(check(root), "coco", "test")
    assert (found.images, found.absent_images, found.people) == (2, 2, None)


def test_leak_is_found_by_content(tmp_path):
    """Renamed and recompressed, the picture is still COCO's; others of that size are not."""
    root = files.root(tmp_path)
    rng = np.random.default_rng(0)
    for name in ("coco/images/val2017/a.jpg", "coco/images/val2017/b.jpg"):
        picture = cv2.GaussianBlur(rng.integers(0, 256, (48, 64, 3), np.uint8), (0, 0), 5)
        cv2.imwrite(str(root / name), cv2.normalize(picture, None, 0, 255, cv2.NORM_MINMAX))
    picture = cv2.imread(str(root / "coco/images/val2017/b.jpg"))
    cv2.imwrite(str(root / "crowdpose/images/a.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 70])
    (root / "crowdpose/annotations/crowdpose_test.json").rename(
        root / "crowdpose/annotations/crowdpose_trainval.json"
    )
    note = row(check(root), "crowdpose", "trainval").note
    assert note.startswith("1 images are also in COCO val") and "(a.jpg)" in note
    (root / "coco/annotations/coco_val.json").unlink()
    assert "not compared" in row(check(root), "crowdpose", "trainval").note


# ---------------------------------------------------------------- MPII's release


def struct(**values):
    return values


def rectangle(rng, points=16, scale=2.0):
    joints = np.round(rng.uniform(10, 900, (points, 2)), 2)
    return struct(
        x1=1.0,
        scale=scale,
        objpos=struct(x=100.0, y=200.0),
        annopoints=struct(
            point=np.array(
                [
                    (x, y, number, rng.integers(0, 2))
                    for number, (x, y) in zip(rng.permutation(16), joints, strict=False)
                ],
                dtype=[("x", "O"), ("y", "O"), ("id", "O"), ("is_visible", "O")],
            )
        ),
    )


def cells(items):
    out = np.empty(len(items), object)
    for index, item in enumerate(items):
        out[index] = item
    return out


def structs(items):
    keys = list(dict.fromkeys(key for item in items for key in item))
    out = np.empty(len(items), dtype=[(key, "O") for key in keys])
    for index, item in enumerate(items):
        for key in keys:
            out[index][key] = item.get(key, np.zeros((0, 0)))
    return out


@pytest.fixture
def release(tmp_path):
    """Six images: train, train with two people, val and a bystander, bare, test, empty."""
    rng = np.random.default_rng(0)
    people = [
        [rectangle(rng)],
        [rectangle(rng), rectangle(rng, points=9)],
        [rectangle(rng), rectangle(rng, points=12)],
        [struct(x1=1.0, x2=3.0)],  # a head box only
        [struct(scale=3.0, objpos=struct(x=5.0, y=6.0)), struct(x1=2.0)],
        [],
    ]
    images = [
        struct(image=struct(name=f"{i}.jpg"), annorect=structs(p) if p else np.zeros((0, 0)))
        for i, p in enumerate(people)
    ]
    source = tmp_path / "original"
    (source / "images").mkdir(parents=True)
    savemat(
        source / "mpii_human_pose_v1_u12_1.mat",
        {
            "RELEASE": struct(
                annolist=structs(images),
                img_train=np.array([1, 1, 1, 1, 0, 0]),
                single_person=cells([[1.0], [1.0, 2.0], [1.0], [], [1.0], []]),
            )
        },
    )
    val = [people[2][1]]  # the second rectangle of image 2
    truth, missing = np.zeros((16, 2, 1)), np.ones((16, 1), np.uint8)
    for x, y, joint, _ in val[0]["annopoints"]["point"]:
        truth[joint, :, 0], missing[joint] = (x + 1e-5, y - 1e-5), 0
    truth[val[0]["annopoints"]["point"][0][2], 0, 0] = 0.0  # as 13 joints of the real one are
    savemat(source / "mpii_gt_val.mat", {"pos_gt_src": truth, "jnt_missing": missing})
    return source, people


def test_prepare_mpii(tmp_path, release):
    source, people = release
    before = {p: p.read_bytes() for p in source.rglob("*") if p.is_file()}
    root = tmp_path / "data"
    done = prepare(root, "mpii", source)
    assert [d.status for d in done] == ["written"] * 3 + ["linked"]
    annotations = root / "mpii/annotations"
    train, val, test = (
        json.loads((annotations / f"mpii_{split}.json").read_text())
        for split in ("train", "val", "test")
    )
    # image 2's bystander is in neither; image 3 has nobody annotated
    assert [p["image"] for p in train] == ["0.jpg", "1.jpg", "1.jpg"]
    assert [p["image"] for p in val] == ["2.jpg"]
    points = people[2][1]["annopoints"]["point"]
    assert sum(val[0]["joints_vis"]) == len(points) == 12
    for x, y, joint, _ in points:
        assert val[0]["joints"][joint] == [x, y] and val[0]["joints_vis"][joint] == 1
    assert val[0]["center"] == [100.0, 200.0] and val[0]["scale"] == 2.0
    assert test == [
        {"image": "4.jpg", "center": [5.0, 6.0], "scale": 3.0}
        | {"annolist_index": 5, "person_index": 1}
    ]
    for number in range(6):
        files.image(source / f"images/{number}.jpg")
    for split, count in (("train", 3), ("val", 1), ("test", 1)):
        assert len(load("mpii", root, split, input_size=SIZE)) == count
    stamps = {p: p.stat().st_mtime_ns for p in annotations.iterdir()}
    assert [d.status for d in prepare(root, "mpii", source)] == ["exists"] * 4
    assert {p: p.stat().st_mtime_ns for p in annotations.iterdir()} == stamps
    assert all(p.read_bytes() == content for p, content in before.items())


def test_prepare_mpii_says_what_is_missing(tmp_path, release):
    source, _ = release
    truth = loadmat(source / "mpii_gt_val.mat")
    (source / "mpii_gt_val.mat").unlink()
    with pytest.raises(DataError, match=r"no mpii_gt_val.mat.*mpii_annotations\.tar"):
        prepare(tmp_path / "data", "mpii", source)
    truth = {key: truth[key] for key in ("pos_gt_src", "jnt_missing")}
    savemat(source / "mpii_gt_val.mat", truth | {"pos_gt_src": truth["pos_gt_src"] + 7})
    with pytest.raises(DataError, match="1 of 1 people are not in the release"):
        prepare(tmp_path / "data", "mpii", source)
    assert not list((tmp_path / "data").rglob("*"))
    (source / "mpii_human_pose_v1_u12_1.mat").write_bytes(b"MATLAB 5.0" + b"x" * 500)
    with pytest.raises(DataError, match=r"u12_1\.mat"):
        prepare(tmp_path / "data", "mpii", source)
    (source / "mpii_human_pose_v1_u12_1.mat").unlink()
    with pytest.raises(DataError, match=r"u12_1\.mat.*human-pose\.mpi-inf\.mpg\.de"):
        prepare(tmp_path / "data", "mpii", source)


def test_real_val_is_found_among_its_own_people(samples):
    """The matching finds all 2,958 people of the real ground truth in the field's joints."""
    from hevitpose.data.readers.mpii_release import _find_val, _Person

    people = json.loads((samples / "mpii/annotations/mpii_val.json").read_text())
    order = np.random.default_rng(0).permutation(len(people))
    shuffled = [
        _Person(
            people[i]["image"],
            0,
            0,
            True,
            True,
            None,
            None,
            np.array(people[i]["joints"], float),
            np.array(people[i]["joints_vis"], bool),
        )
        for i in order
    ]
    found = _find_val(shuffled, samples / "mpii/annotations/mpii_gt_val.mat")
    np.testing.assert_array_equal(order[found], np.arange(len(people)))


# ---------------------------------------------------------------- CrowdPose, OCHuman


def test_prepare_crowdpose(tmp_path):
    source = tmp_path / "original"
    content = files.crowdpose()
    for person in content["annotations"]:
        person.pop("iscrowd")
        person.pop("num_keypoints")
    for split in ("train", "val", "test"):
        files.write(source / f"json/crowdpose_{split}.json", content)
    for name in ("a.jpg", "b.jpg"):
        files.image(source / "images" / name)
    done = prepare(tmp_path / "data", "crowdpose", source)
    assert [d.status for d in done] == ["written"] * 3 + ["linked"]
    made = json.loads((tmp_path / "data/crowdpose/annotations/crowdpose_val.json").read_text())
    assert made["annotations"][0]["num_keypoints"] == 13
    assert made["annotations"][0]["iscrowd"] == 0 and made["images"][0]["crowdIndex"] == 0.5
    assert len(load("crowdpose", tmp_path / "data", "val", input_size=SIZE)) == 3
    assert {d.status for d in prepare(tmp_path / "data", "crowdpose", source)} == {"exists"}
    (source / "json/crowdpose_val.json").unlink()
    with pytest.raises(DataError, match=r"no crowdpose_val\.json.*github"):
        prepare(tmp_path / "other", "crowdpose", source)


def originals(folder, dataset, release):
    """The folder of a release's files, and the name of one of them."""
    if dataset == "mpii":
        shutil.copytree(release[0], folder)
        return "mpii_human_pose_v1_u12_1.mat"
    names = {
        "crowdpose": [f"crowdpose_{split}.json" for split in ("train", "val", "test")],
        "ochuman": ["ochuman.json"],
    }[dataset]
    for name in names:
        files.write(
            folder / name, ochuman_original(4) if dataset == "ochuman" else files.crowdpose()
        )
    return names[0]


@pytest.mark.parametrize("dataset", ["mpii", "crowdpose", "ochuman"])
def test_originals_that_differ_are_refused(tmp_path, dataset, release, capsys):
    """None is taken for the first letter of its folder; copies, and the usual place, are one."""
    source, root = tmp_path / "source", tmp_path / "data"
    name = originals(source / "current", dataset, release)
    shutil.copytree(source / "current", source / "backup")
    command = ["data", "prepare", dataset, "--source", str(source), "--root", str(root)]
    assert execute(command) == 0  # copies
    target = next((root / dataset / "annotations").glob("*.json"))
    assert f", from {source / 'backup' / name}" in capsys.readouterr().out
    with (source / "backup" / name).open("ab") as file:
        file.write(b" ")
    assert execute(command) == 0 and ", from" not in capsys.readouterr().out  # nothing to make
    shutil.rmtree(root)
    assert execute(command) == 1 and not list(root.rglob("*.json"))
    said = capsys.readouterr().err
    assert f"2 files called {name} that differ" in said and said.count("\n") == 1
    assert str(source / "backup" / name) in said and str(source / "current" / name) in said
    command[4] = str(source / "current")
    assert execute(command) == 0 and target.exists()
    assert f", from {source / 'current' / name}" in capsys.readouterr().out


def test_an_original_in_the_usual_place_is_meant(tmp_path):
    for place, byte in (("a", "1"), ("annotations", "2"), ("", "2")):
        files.write(tmp_path / place / "x.json", byte)
    assert find_original(tmp_path, "x.json") == tmp_path / "annotations" / "x.json"
    files.write(tmp_path / "x.json", "3")
    with pytest.raises(DataError, match=r"2 files called x\.json that differ"):
        find_original(tmp_path, "x.json")
    assert find_original(tmp_path, "y.json") is None


def ochuman_original(images=2503):
    names = ["head", "neck", *reversed(COCO.names)]
    points = []
    for number in range(19):
        points += [number, 40 - number, number % 4]
    person = {"bbox": [3, 4, 33, 44], "keypoints": points, "segms": {"outer": [[1]]}}
    return {
        "keypoint_names": names,
        "images": [
            {
                "image_id": f"{number:06d}",
                "file_name": f"{number:06d}.jpg",
                "width": 64,
                "height": 48,
                "annotations": [person, {**person, "segms": None}, {**person, "keypoints": None}],
            }
            for number in reversed(range(images))
        ],
    }


def test_prepare_ochuman_from_its_own_format(tmp_path):
    source = tmp_path / "original"
    files.write(source / "ochuman.json", ochuman_original())
    done = prepare(tmp_path / "data", "ochuman", source)
    assert [d.note for d in done] == ["2,500 people", "3 people"]
    made = json.loads((tmp_path / "data/ochuman/annotations/ochuman_test.json").read_text())
    assert [i["file_name"] for i in made["images"]] == [f"{n:06d}.jpg" for n in (2500, 2501, 2502)]
    person = made["annotations"][1]
    assert (person["id"], person["image_id"], person["area"]) == (2, 2, 1200)
    assert person["bbox"] == [3, 4, 30, 40]
    # the nose is the last name of the original, number 18 with flag 2; left eye: 17, flag 1
    assert person["keypoints"][:6] == [18, 22, 2, 17, 23, 2]
    assert person["keypoints"][6:12] == [16, 24, 0, 15, 25, 1]
    for image in made["images"]:
        files.image(tmp_path / "data/ochuman/images" / image["file_name"])
    assert len(load("ochuman", tmp_path / "data", "test", input_size=SIZE)) == 3


def test_prepare_ochuman_from_coco_style(tmp_path):
    source = tmp_path / "original"
    for split in ("val", "test"):
        files.write(source / f"ochuman_coco_format_{split}_range_0.00_1.00.json", files.coco())
    done = prepare(tmp_path / "data", "ochuman", source)
    assert [d.status for d in done] == ["written"] * 2
    assert {d.status for d in prepare(tmp_path / "data", "ochuman", source)} == {"exists"}


@pytest.mark.parametrize(
    "content", ["", "[]", '{"images": 3}', '{"images": [{}], "keypoint_names": []}']
)
def test_prepare_bad_original(tmp_path, content):
    files.write(tmp_path / "original/ochuman.json", content)
    with pytest.raises(DataError, match=r"ochuman\.json: "):
        prepare(tmp_path / "data", "ochuman", tmp_path / "original")


def test_prepare_usage(tmp_path):
    with pytest.raises(UsageError, match="needs no preparation"):
        prepare(tmp_path, "coco", tmp_path)
    with pytest.raises(UsageError, match="did you mean 'mpii'"):
        prepare(tmp_path, "mpi", tmp_path)
    with pytest.raises(DataError, match="expected the originals from"):
        prepare(tmp_path, "mpii", tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"neither .* nor ochuman\.json"):
        prepare(tmp_path / "data", "ochuman", tmp_path)


def test_check_of_a_custom_yaml(tmp_path, capsys):
    content = files.coco()
    content["annotations"][1].pop("bbox")
    path = custom(tmp_path, content)
    split = {"annotations": "ann.json", "images": "images"}
    path = custom(
        tmp_path, content, splits={"train": split, "val": split | {"annotations": "no.json"}}
    )
    train, val = check(tmp_path / "nowhere", [str(path)])
    assert (train.dataset, train.split, train.status) == ("mine", "train", "present")
    assert (train.images, train.people, train.bad, train.absent_images) == (2, 2, 1, 0)
    assert "bbox is missing" in train.note and "derive: true" in train.note
    assert (val.status, val.annotations) == ("missing", "no.json")
    good = (tmp_path / "images" / "a.jpg").read_bytes()
    (tmp_path / "images" / "a.jpg").unlink()
    assert check(tmp_path, [str(path)])[0].absent_images == 1
    content["annotations"][2]["image_id"] = 9  # somebody is in the other photograph, too
    files.write(tmp_path / "ann.json", content)
    for damage, says in ((b"", "zero bytes"), (good[:300], "a.jpg")):
        (tmp_path / "images" / "a.jpg").write_bytes(damage)
        train = check(tmp_path, [str(path)])[0]
        assert (train.status, train.bad, train.absent_images) == ("present", 2, 0)
        execute(["data", "check", str(path)])
        assert says in capsys.readouterr().out
    files.write(tmp_path / "ann.json", "[1]")
    assert check(tmp_path, [str(path)])[0].status == "bad"
    assert execute(["data", "check", str(path), "--json"]) == 1
    assert [row["status"] for row in json.loads(capsys.readouterr().out)] == ["bad", "missing"]
    path.write_text("name: mine")
    assert execute(["data", "check", str(path)]) == 2
    assert "keypoints" in capsys.readouterr().err
    assert execute(["data", "check", str(tmp_path / "none.yaml")]) == 1


def test_check_exits_with_1_if_something_is_wrong(tmp_path, capsys):
    """What is missing is none of it: splits, files, photographs."""
    root, coco = files.root(tmp_path), files.coco()
    command = ["data", "check", "coco", "ochuman", "--root", str(root)]
    assert execute(command) == 0
    (root / "coco/images/val2017/b.jpg").unlink()
    assert execute(command) == execute([*command, "--json"]) == 0
    assert "missing" in capsys.readouterr().out
    del coco["annotations"][0]["bbox"]
    val = root / "coco/annotations/coco_val.json"
    assert val.is_file()
    for wrong in (coco, "[1]"):  # a record, then the file
        files.write(val, wrong)
        assert execute(command) == execute([*command, "--json"]) == 1
        assert capsys.readouterr().err == ""


def test_check_tells_exifs_turns(tmp_path):
    path = custom(tmp_path, files.coco())
    with Image.open(tmp_path / "images" / "a.jpg") as picture:
        exif = picture.getexif()
        exif[0x0112] = 3
        picture.save(tmp_path / "images" / "a.jpg", exif=exif)
    with pytest.warns(Notice, match="EXIF turns 1 photographs"):
        check(tmp_path, [str(path)])


def test_check_says_how_a_dataset_is_made_of_another(tmp_path, capsys):
    from hevitpose.cli import execute

    execute(["data", "check", "coco_small", "--root", str(tmp_path)])
    assert (
        "then `hevitpose data prepare coco_small --source data/coco --root data`"
        in capsys.readouterr().out
    )
