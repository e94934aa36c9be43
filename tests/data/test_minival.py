"""minival: who is held out of a training is who is scored, by the dataset's own metrics."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hevitpose.config import load_config
from hevitpose.data import load
from hevitpose.data.minival import held_out_digest, is_minival, split_minival
from hevitpose.errors import UsageError
from hevitpose.runs import evaluation_run, training_run
from hevitpose.training.fit import evaluate, train
from hevitpose.training.loaders import load_split
from tests import tiny
from tests.data import annotation_files as files
from tests.data.feeding_back import ap, custom

HELD_OUT = {"data.val_split": "minival", "training.selection": "minival", "data.minival": 0.3}
TINY = {**tiny.TINY, "data.workers": 0}


def scattered(photographs: int):
    """A COCO file with one person a photograph, and in each a crowd."""
    content = files.coco(people=1)
    person, crowd = content["annotations"][:2]
    shape = {"width": files.SIZE[0], "height": files.SIZE[1]}
    ids = range(10, 10 + photographs)
    content["images"] = [{"id": i, "file_name": f"{i}.jpg", **shape} for i in ids]
    content["annotations"] = [
        record | {"id": 1000 * image + number, "image_id": image}
        for image in ids
        for number, record in enumerate((person, crowd))
    ]
    return content


def of_photographs(folder, content, **changed):
    """The custom dataset with every photograph of the content."""
    for record in content["images"]:
        files.image(folder / "images" / record["file_name"])
    return custom(folder, content, **changed)


@pytest.fixture
def config(tmp_path):
    path = of_photographs(tmp_path, scattered(10))
    return load_config("coco", {"data.dataset": str(path), **TINY, **HELD_OUT})


def test_whole_images_are_held_out(synthetic_root):
    table = load("synthetic", synthetic_root, "train", input_size=(64, 64))
    people, held = split_minival(table, 0.2)
    assert len(people) + len(held) == len(table)
    held_ids = held.image_ids[held.image_index]
    assert not set(people.image_ids[people.image_index]) & set(held_ids)
    assert set(held_ids) == set(held.image_ids)
    assert held.split == "minival"
    again = split_minival(table, 0.2)[1]
    assert (again.person_ids == held.person_ids).all()


def test_photographs_with_several_records_are_whole_too(tmp_path):
    """As merged files have them: one image record a person. Who is drawn stays who it was."""
    content = scattered(20)
    alone = of_photographs(tmp_path / "alone", content)
    twice = json.loads(json.dumps(content))
    for record in content["images"]:
        same = {"id": record["id"] + 100, "file_name": f"./{record['file_name']}"}
        twice["images"].append(record | same)
    for record in content["annotations"]:
        more = {"id": record["id"] + 10**6, "image_id": record["image_id"] + 100}
        twice["annotations"].append(record | more)
    both = of_photographs(tmp_path / "both", twice)
    held_out = []
    for path, people in ((alone, 20), (both, 40)):
        table = load(str(path), path.parent, "train", input_size=(64, 64))
        assert len(table) == people
        rest, held = split_minival(table, 0.2)
        held_out.append({Path(name.decode()) for name in held.image_names})
        assert len(held) == people / 5
        seen = rest.image_names[rest.image_index]
        assert not held_out[-1] & {Path(name.decode()) for name in seen}
    assert held_out[0] == held_out[1]


def test_who_is_scored_is_who_is_held_out(config):
    people, held = split_minival(load_split(config, "train", training=True), 0.3)
    scored = load_split(config, "minival", training=False)
    assert (scored.person_ids == held.person_ids).all() and len(scored) == 3 and len(people) == 7
    names = [scored.image_ids[i] for i in scored.image_index]
    assert set(names) == set(scored.image_ids) == set(scored.person_ids // 1000)
    assert scored.truth is not None and len(scored.truth) == 6  # each with the photograph's crowd
    assert set(scored.image_ids[scored.truth.image_index]) == set(scored.image_ids)
    assert scored.counts["images"] == scored.counts["people"] == 3
    assert ap(scored) == (1.0, 1.0)


def test_a_training_is_scored_by_the_metrics_of_its_data(config, tmp_path):
    train(config, tmp_path / "run")
    weights = {"model.checkpoint": str(tmp_path / "run" / "model.safetensors")}
    found = evaluate(config.with_overrides(weights))
    assert "AP" in found.metrics and len(found.people) == 3
    assert found.dataset["split"] == "minival" and found.dataset["counts"]["people"] == 3
    assert found.dataset["fingerprint"] == training_run(config).inputs["data"]["fingerprint"]
    with pytest.raises(UsageError, match="and on people of minival"):  # of another slice
        evaluate(config.with_overrides(weights | {"data.minival": 0.2}))


def test_weights_of_a_training_that_held_nobody_out(config, tmp_path):
    """As they are, and as what a training starts from that does hold them out."""
    last = {"training.selection": "last", "data.val_split": "train"}
    train(config.with_overrides(last), tmp_path / "run")
    path = str(tmp_path / "run" / "model.safetensors")
    with pytest.raises(UsageError, match=r"on data.yaml train, and on people of minival"):
        evaluate(config.with_overrides({"model.checkpoint": path}))
    with pytest.raises(UsageError, match=r"on data.yaml train, and on people of minival"):
        train(config.with_overrides({"training.start_from": path}), tmp_path / "never")
    assert not (tmp_path / "never").exists()


def test_a_start_that_held_the_same_people_out(config, tmp_path):
    train(config, tmp_path / "start")
    start = {"training.start_from": str(tmp_path / "start" / "model.safetensors")}
    train(config.with_overrides(start), tmp_path / "run")
    weights = {"model.checkpoint": str(tmp_path / "run" / "model.safetensors")}
    assert "AP" in evaluate(config.with_overrides(weights)).metrics
    smaller = {"data.minival": 0.2}
    with pytest.raises(UsageError, match="and on people of minival"):
        train(config.with_overrides(start | smaller), tmp_path / "never")


def test_a_start_that_is_not_made_yet_and_held_nobody_out(config):
    """A custom dataset goes by the name that its weights will say."""
    start = {"training.start_from": f"real:{config.data.dataset}"}
    with pytest.raises(UsageError, match="and on people of minival"):
        evaluation_run(config.with_overrides(start), "w")


def test_who_cannot_be_read_changes_nobody_elses_place(tmp_path):
    """The slice is of the photographs that training reads, however many are damaged or absent."""
    content = scattered(20)
    path = of_photographs(tmp_path, content)
    cut = tmp_path / "images" / "13.jpg"
    cut.write_bytes(cut.read_bytes()[:300])
    (tmp_path / "images" / "15.jpg").unlink()
    given = {"data.skip_bad": True, "data.present_only": True}
    made = load_config("coco", {"data.dataset": str(path), **TINY, **HELD_OUT, **given})
    people, held = split_minival(load_split(made, "train", training=True), 0.3)
    scored = load_split(made, "minival", training=False)
    assert len(people) == 13 and len(held) == 5
    assert (scored.person_ids == held.person_ids).all()
    assert held_out_digest(scored) == held_out_digest(held)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"training.selection": "last"}, "expected training.selection=minival"),
        ({"training.selection": "val"}, "expected training.selection=minival"),
        ({"data.box_source": "boxes.json"}, "expected gt"),
    ],
)
def test_refused_before_anything_trains(config, tmp_path, changes, words):
    changed = config.with_overrides(changes)
    for starts in (lambda: evaluation_run(changed), lambda: train(changed, tmp_path / "run")):
        with pytest.raises(UsageError, match=words):
            starts()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("dataset", ["synthetic", "mpii"])
def test_head_boxes_are_of_val_only(dataset):
    with pytest.raises(UsageError, match=f"minival of {dataset}: PCKh needs head boxes"):
        evaluation_run(load_config("mpii", {"data.dataset": dataset, **TINY, **HELD_OUT}), "w")


def test_ids(config):
    """Another slice is another evaluation; the split that is scored changes no training."""
    on_val = config.with_overrides({"data.val_split": "val"})
    assert training_run(config).id == training_run(on_val).id
    smaller = config.with_overrides({"data.minival": 0.2})
    assert len({evaluation_run(c, "w").id for c in (config, on_val, smaller)}) == 3
    on_val, smaller = on_val.with_overrides({"data.minival": 0.2}), on_val
    assert evaluation_run(on_val, "w").id == evaluation_run(smaller, "w").id


def test_a_datasets_own_split_of_that_name_is_one(tmp_path):
    """It is read from its own file, and selects by the dataset's metric."""
    files.write(tmp_path / "own.json", files.coco())
    place = {"images": "images"}
    splits = {
        "train": {"annotations": "ann.json", **place},
        "minival": {"annotations": "own.json", **place},
    }
    path = of_photographs(tmp_path, scattered(10), splits=splits)
    given = {"data.val_split": "minival", "training.selection": "val"}
    config = load_config("coco", {"data.dataset": str(path), **TINY, **given})
    assert not is_minival(config.data, "minival")
    evaluation_run(config)
    found = train(config, tmp_path / "run")
    assert "AP" in found.curve[-1] and "minival_pck" not in found.curve[-1]
    assert list(np.unique(load_split(config, "minival", training=False).image_ids)) == [7, 9]
