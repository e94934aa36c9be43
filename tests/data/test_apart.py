"""Train and val of a custom dataset: one file is refused, shared photographs are told."""

from __future__ import annotations

import json
import warnings

import pytest

from hevitpose.cli import execute
from hevitpose.config import load_config
from hevitpose.data.apart import real_paths, require_two_files
from hevitpose.data.tools.check import check
from hevitpose.errors import Notice, UsageError
from hevitpose.runs import train_and_record
from hevitpose.training.fit import train
from hevitpose.training.loaders import load_split, tell_seen
from tests import tiny
from tests.data import annotation_files as files
from tests.data.feeding_back import custom

TINY = {**tiny.TINY, "data.workers": 0, "training.selection": "last"}


def people_in(*names):
    """A COCO file with one person in each of some photographs."""
    content = files.coco(people=1)
    shape = {"width": files.SIZE[0], "height": files.SIZE[1]}
    content["images"] = [
        {"id": n, "file_name": name, **shape} for n, name in enumerate(names, start=10)
    ]
    person = content["annotations"][0]
    content["annotations"] = [
        person | {"id": 100 + n, "image_id": 10 + n} for n in range(len(names))
    ]
    return content


def dataset(folder, train, val, images=("images", "images"), **others):
    """A yaml whose train and val are in some photographs, or one the very file of the other."""
    for split, content, where in zip(("train", "val"), (train, val), images, strict=True):
        if isinstance(content, dict):
            files.write(folder / f"{split}.json", content)
            for image in content["images"]:
                files.image(folder / where / image["file_name"])
    splits = {
        split: {
            "annotations": content if isinstance(content, str) else f"{split}.json",
            "images": where,
        }
        for split, content, where in zip(("train", "val"), (train, val), images, strict=True)
    }
    return custom(folder, None, splits=splits | others)


def config(path, **changes):
    return load_config("coco", {"data.dataset": str(path), **TINY, **changes})


def told(path, **changes):
    """What is said before the first step."""
    made = config(path, **changes)
    require_two_files(made)
    people = load_split(made, made.data.train_split, training=True)
    held = load_split(made, made.data.val_split, training=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tell_seen(made, people, held)
    return [str(each.message) for each in caught]


ONE = "have the same annotations .* would be scored, expected others .*data.val_split=train"


@pytest.mark.parametrize("kind", ["named twice", "a link", "a copy"])
def test_one_file_is_no_two_splits(tmp_path, kind, capsys):
    content = people_in("a.jpg", "b.jpg")
    path = dataset(tmp_path, content, "./train.json" if kind == "named twice" else "val.json")
    if kind == "a link":
        (tmp_path / "val.json").symlink_to(tmp_path / "train.json")
    elif kind == "a copy":
        files.write(tmp_path / "val.json", content)
    for starts in (
        lambda: train(config(path), tmp_path / "run"),
        lambda: train(config(path, **{"training.selection": "minival"}), tmp_path / "run"),
        lambda: train_and_record(config(path), runs=tmp_path / "run"),
    ):
        with pytest.raises(UsageError, match=ONE) as caught:
            starts()
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
    assert execute(["train", f"data.dataset={path}", "preset=overfit"]) == 2
    assert "have the same annotations" in capsys.readouterr().err
    rows = check(tmp_path, [str(path)])
    assert [row.of_train for row in rows] == [False, True]
    assert rows[1].note == "the annotations are those of train" and not rows[0].note
    assert execute(["data", "check", str(path)]) == 1


def test_an_overfit_proof_is_asked_for_by_name(tmp_path):
    path = dataset(tmp_path, people_in("a.jpg", "b.jpg"), "train.json")
    assert told(path, **{"data.val_split": "train"}) == []
    train(config(path, **{"data.val_split": "train"}), tmp_path / "run")


def test_a_held_out_slice_needs_no_val(tmp_path):
    """Neither one beside it, nor another file."""
    path = dataset(tmp_path, people_in("a.jpg", "b.jpg"), "train.json")
    held_out = {"training.selection": "minival", "data.val_split": "minival"}
    require_two_files(config(path, **held_out))


def test_shared_photographs_are_told(tmp_path, capsys):
    """Also where only a link, or the form of a name, is another."""
    (tmp_path / "pool").mkdir()
    files.image(tmp_path / "pool" / "b.jpg")
    path = dataset(
        tmp_path,
        people_in("a.jpg", "b.jpg", "c.jpg"),
        people_in("./a.jpg", "d.jpg", "e.jpg", "linked.jpg"),
        images=("images", "others/../images"),
    )
    for link in ("b.jpg", "linked.jpg"):
        (tmp_path / "images" / link).unlink()
        (tmp_path / "images" / link).symlink_to(tmp_path / "pool" / "b.jpg")
    (tmp_path / "others").mkdir(exist_ok=True)
    said = f"2 of 4 photographs are also in train, the first is {tmp_path / 'images' / 'a.jpg'}"
    (line,) = told(path)
    assert line == (f"{tmp_path / 'val.json'}: {said}; scores are of pictures that were trained on")
    rows = check(tmp_path, [str(path)])
    assert [row.note for row in rows] == ["", said] and not any(row.of_train for row in rows)
    assert execute(["data", "check", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[1]["note"] == said


@pytest.mark.parametrize("selection", ["last", "minival"])
def test_a_training_tells_them(tmp_path, selection):
    """Also one that chooses by a slice of train, and reads val once it is made."""
    names = [f"{n}.jpg" for n in range(8)]
    path = dataset(tmp_path, people_in(*names), people_in(*names, "x.jpg"))
    with pytest.warns(Notice, match=r"\d of 9 photographs are also in train"):
        train(config(path, **{"training.selection": selection}), tmp_path / "run")


def test_nothing_is_told_of_splits_that_are_apart(tmp_path):
    """Equal names in two folders; a split that is made of both; photographs without people."""
    both = {"annotations": "train.json", "images": "one"}
    path = dataset(
        *(tmp_path, people_in("a.jpg", "b.jpg"), people_in("a.jpg", "c.jpg")),
        images=("one", "two"),
        trainval=both,
    )
    content = people_in("a.jpg", "b.jpg")
    content["annotations"].pop()
    files.write(tmp_path / "train.json", content)
    assert told(path) == told(path, **{"data.train_split": "trainval"}) == []
    assert [row.note for row in check(tmp_path, [str(path)])] == [""] * 3


def test_one_file_may_be_divided_by_two_folders(tmp_path):
    path = dataset(tmp_path, people_in("a.jpg", "b.jpg"), "train.json", images=("one", "two"))
    files.image(tmp_path / "two" / "b.jpg")
    (tmp_path / "one" / "b.jpg").unlink()
    assert told(path, **{"data.present_only": True}) == []
    assert not any(row.of_train for row in check(tmp_path, [str(path)]))
    with pytest.raises(UsageError, match=ONE):
        require_two_files(config(path))


def test_real_paths(tmp_path):
    """As ``resolve`` gives them, one by one."""
    files.image(tmp_path / "pool" / "deep" / "a.jpg")
    (tmp_path / "linked").symlink_to(tmp_path / "pool")
    (tmp_path / "pool" / "b.jpg").symlink_to(tmp_path / "pool" / "deep" / "a.jpg")
    names = ["deep/a.jpg", "./deep/../b.jpg", "b.jpg", "absent.jpg", "deep/absent.jpg"]
    plain = [str((tmp_path / "linked" / name).resolve()) for name in names]
    assert real_paths(tmp_path / "linked", names) == plain
