"""Where a setting stands in two places: a test for every row of "Which setting rules"."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hevitpose.cli import execute
from hevitpose.config import load_config
from hevitpose.data import declared
from hevitpose.data.unseen import require_scorable
from hevitpose.errors import DataError, Notice, UsageError
from hevitpose.evaluation.score import results_of, score
from hevitpose.inference.predictor import PosePredictor
from hevitpose.models import create_for_input
from hevitpose.models.checkpoint import read_checkpoint, save_checkpoint
from hevitpose.models.checkpoint_config import checkpoint_config
from hevitpose.training.fit import evaluate, train
from hevitpose.training.loaders import augmentation, load_split
from hevitpose.training.module import PoseModule
from tests.data import annotation_files as files
from tests.data.feeding_back import ap, custom, perfect, read

ROOT = Path(__file__).resolve().parents[2]


def rows() -> list[str]:
    """The first column of the table."""
    text = (ROOT / "docs" / "protocols.md").read_text(encoding="utf-8")
    table = text.split("## Which setting rules")[1].split("\n## ")[0]
    return [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")][1:]


def slug(row: str) -> str:
    return "test_" + re.sub(r"[^a-z]+", "_", row.lower()).strip("_")


def test_every_row_has_a_test():
    assert len(rows()) > 10
    assert [row for row in rows() if slug(row) not in globals()] == []


def changed(**keys):
    content = files.coco()
    for record in content["annotations"]:
        record.update(keys)
    return content


def test_labelled_keypoints(tmp_path):
    table = read(custom(tmp_path, changed(num_keypoints=0)))
    assert len(table) == 3 and ap(table) == (1.0, 1.0)


def test_area_of_oks(tmp_path):
    """Also in the file that ``evaluate-predictions`` reads: see ``test_cases``."""
    content = changed(area=123.0)
    path = custom(tmp_path, content, use_area=False)
    assert read(path).truth.areas[0] == pytest.approx(0.53 * 30 * 20)
    path = custom(tmp_path, content, use_area=None)
    assert read(path).truth.areas[0] == 123


def test_protocol(tmp_path):
    path = custom(tmp_path, files.coco(), name="my_mpii")
    assert read(path).declared.protocol == "oks"
    with pytest.raises(UsageError, match="name: 'mpii' is a dataset of its own"):
        read(custom(tmp_path, files.coco(), name="mpii"))


def test_category(tmp_path):
    content = changed(category_id=7)
    content["categories"] = [{"id": 7, "name": "person"}, {"id": 1, "name": "dog"}]
    content["annotations"].append(content["annotations"][0] | {"id": 999, "category_id": 1})
    with pytest.raises(DataError, match=r"category_id 1 \(dog\), expected 7 \(person\)"):
        read(custom(tmp_path, content))
    table = read(custom(tmp_path, content, category="person"))
    assert table.category_id == 7 and table.counts["dropped_category"] == 1
    assert {entry["category_id"] for entry in results_of(table, perfect(table))} == {7}
    assert ap(table) == (1.0, 1.0)


def test_keypoint_names(tmp_path):
    content = files.coco()
    names = content["categories"][0]["keypoints"]
    content["categories"][0]["keypoints"] = [f"my {name}" for name in names]
    assert len(read(custom(tmp_path, content))) == 3
    content["categories"][0]["keypoints"] = names[::-1]
    with pytest.raises(DataError, match=r"another order: right_ankle.*expected nose"):
        read(custom(tmp_path, content))


def test_what_is_missing(tmp_path):
    """Every kind of it: see ``test_cases``."""
    content = changed(bbox=None)
    with pytest.raises(DataError, match=r"bbox is missing.*derive: true"):
        read(custom(tmp_path, content))
    table = read(custom(tmp_path, content, derive=True))
    points = table.keypoints[0][table.visibility[0] > 0]
    low, high = points.min(0), points.max(0)
    margin = 0.1 * (high - low).max()
    assert table.truth.boxes[0, :2] == pytest.approx(low - margin)
    assert table.truth.boxes[0, 2:] == pytest.approx(high - low + 2 * margin)


def test_people_a_photograph(tmp_path):
    table = read(custom(tmp_path, files.coco(people=21)))
    with pytest.warns(Notice, match=r"more than 20 people \(image 7: 21\)"):
        assert score(table, perfect(table), nms_threshold=1.0)["AR"] == pytest.approx(20 / 21)
    everybody = score(table, perfect(table), nms_threshold=1.0, max_detections=21)
    assert everybody["AR"] == pytest.approx(1)


def test_image_size(tmp_path):
    content = files.coco()
    content["images"][0]["width"] = 65
    with pytest.raises(DataError, match="64x48 pixels, but the annotations say 65x48"):
        read(custom(tmp_path, content))


def test_number_of_keypoints(synthetic_root, tmp_path):
    config = small(synthetic_root, **{"model.num_keypoints": 17})
    with pytest.raises(UsageError, match="num_keypoints: 17, the dataset has 16"):
        train(config, tmp_path)


def custom_config(path, **keys):
    return load_config(
        "synthetic", {"data.dataset": str(path), "data.input_size": [64, 64], **keys}
    )


def test_half_body(tmp_path):
    path = custom(tmp_path, files.coco(), upper_body=list(range(11)))
    config = custom_config(path, **{"training.augmentation.half_body": 0.9})
    table = load_split(config, "train", training=True)
    assert augmentation(config, table).half_body_probability == 0.9
    assert augmentation(config, table).shift_probability == 0.3
    path = custom(tmp_path, files.coco())
    with pytest.warns(Notice, match="half_body=0.9 has no effect on mine: its yaml names no"):
        table = load_split(config, "train", training=True)
    assert augmentation(config, table).half_body_probability == 0
    rendered = load_config("synthetic", {"training.augmentation.half_body": 0.9})
    assert not declared(rendered.data.dataset).half_body


def test_a_notice_is_one_line(capsys):
    import warnings

    from hevitpose.cli import notices_as_lines

    with notices_as_lines():
        warnings.warn("a has no effect", Notice, stacklevel=1)
    assert capsys.readouterr().err == "note: a has no effect\n"


def test_half_body_of_a_registered_dataset_is_said(synthetic_root):
    config = small(synthetic_root, **{"training.augmentation.half_body": 0.9})
    with pytest.warns(Notice, match="half_body=0.9 has no effect on synthetic"):
        load_split(config, "train", training=True)


def test_joint_weights(synthetic_root):
    for on in (False, True):
        config = small(synthetic_root, **{"training.joint_weights": on})
        table = load_split(config, "train", training=True)
        model = create_for_input("nano", 16, (64, 64))
        weights = PoseModule(config, model, table, plan=None).joint_weights.tolist()
        assert weights == pytest.approx(list(table.layout.joint_weights) if on else [1.0] * 16)


def small(root, **keys):
    return load_config(
        "synthetic",
        {
            "model.name": "nano",
            "data.root": root,
            "data.input_size": [64, 64],
            "data.eval_batch_size": 8,
            "training.steps": 2,
            "training.batch_size": 4,
            "training.threads": 1,
            **keys,
        },
    )


@pytest.fixture(scope="module")
def trained(synthetic_root, tmp_path_factory):
    """A UDP network of 64x96, and what it scores under its own config."""
    out = tmp_path_factory.mktemp("trained")
    keys = {"data.input_size": [64, 96], "codec.method": "udp", "codec.decoder": "udp"}
    config = small(synthetic_root, **keys, **{"model.downsampling": "max-pool"})
    train(config, out)
    path = out / "model.safetensors"
    return path, evaluate(config.with_overrides({"model.checkpoint": path})).metrics


def test_network_codec_input(trained, synthetic_root, capsys, tmp_path, monkeypatch):
    """A checkpoint scores in ``valid`` what its own config scores, whatever --cfg says."""
    path, metrics = trained
    monkeypatch.chdir(tmp_path)
    keys = {"data.root": synthetic_root, "model.checkpoint": path, "training.threads": 1}
    keys["data.dataset"] = "synthetic"
    for other in ({}, {"model.name": "b", "codec.sigma": 3.0}):
        resolved, lines = checkpoint_config(load_config("mpii", {**keys, **other}))
        assert not lines and evaluate(resolved).metrics.items() >= metrics.items()
    given = {"codec.sigma": 3.0, "data.input_size": (64, 96), "model.name": "hevitpose_nano"}
    resolved, lines = checkpoint_config(load_config("synthetic", {**keys, **given}), given)
    assert lines == (f"codec.sigma: 3.0 as given; {path} was trained with 1.0",)
    assert resolved.codec.udp and resolved.codec.sigma == 3
    assert resolved.model.downsampling == "max-pool"
    arguments = ["valid", "--checkpoint", str(path), f"data.root={synthetic_root}"]
    arguments += ["data.people=60", "data.image_size=128", "training.threads=1"]
    assert execute([*arguments, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["AP"] == pytest.approx(metrics["AP"])
    assert execute([*arguments, "codec.sigma=3.0"]) == 0
    assert f"note: {lines[0]}\n" in capsys.readouterr().err
    assert execute([*arguments, "codec.decoder=dark"]) == 2
    assert "udp encodes and decodes together" in capsys.readouterr().err
    assert PosePredictor(path).config.codec.udp


def test_weights_alone_bring_their_network(trained, tmp_path, synthetic_root):
    """A file without a config: its network is known, and what is not is said."""
    path, _ = trained
    stored = read_checkpoint(path)
    model = PosePredictor(path).model
    model = create_for_input("nano", 16, (64, 96), downsampling="max-pool")
    model.load_state_dict(stored.state)
    bare = save_checkpoint(model, tmp_path / "bare.safetensors", None, stored.layout)
    config = small(synthetic_root, **{"model.checkpoint": bare, "model.name": "b"})
    resolved, lines = checkpoint_config(config)
    assert resolved.model.name == "hevitpose_nano" and resolved.model.downsampling == "max-pool"
    assert len(lines) == 1 and "says nothing of its codec and input" in lines[0]
    assert resolved.data.input_size == (64, 64)


def test_a_checkpoint_of_other_keypoints_is_refused(trained, tmp_path, synthetic_root):
    import dataclasses

    path, _ = trained
    stored = read_checkpoint(path)
    layout = dataclasses.replace(stored.layout, names=stored.layout.names[::-1])
    model = create_for_input("nano", 16, (64, 96), downsampling="max-pool")
    other = save_checkpoint(model, tmp_path / "o.safetensors", stored.config, layout)
    with pytest.raises(DataError, match="another order: left_wrist"):
        evaluate(small(synthetic_root, **{"model.checkpoint": other}))


def test_sigmas_flip_pairs(trained, tmp_path):
    """``valid`` scores by the dataset's; ``predict`` has the checkpoint's only."""
    path, _ = trained
    assert PosePredictor(path).layout.flip_pairs == read_checkpoint(path).layout.flip_pairs
    content = files.coco()
    table = read(custom(tmp_path, content, sigmas=[0.05] * 17, flip_pairs=[[1, 2]]))
    assert table.declared.sigmas == (0.05,) * 17
    assert table.layout.flip_pairs == ((1, 2),)


def test_preset(tmp_path):
    mine = files.write(tmp_path / "mine.yaml", "preset: quick\ntraining: {batch_size: 7}\n")
    quick, paper = load_config(mine), load_config(mine, preset="paper")
    assert quick.preset == "quick" and paper.preset == "paper"
    assert quick.training.lr != paper.training.lr
    assert quick.training.batch_size == paper.training.batch_size == 7


def detection(box):
    return [{"image_id": 7, "category_id": 1, "bbox": box, "score": 0.6}]


def test_box_file(tmp_path, monkeypatch):
    path = custom(tmp_path, files.coco())
    inside = files.write(tmp_path / "person_detection_results/b.json", detection([1, 1, 9, 9]))
    assert read(path, boxes="b.json").bboxes[0, 3] == 9
    files.write(tmp_path / "b.json", detection([1, 1, 9, 20]))
    monkeypatch.chdir(tmp_path)
    assert read(path, boxes="b.json").bboxes[0, 3] == 20
    assert read(path, boxes=str(inside)).bboxes[0, 3] == 9


def test_box_threshold(monkeypatch):
    from hevitpose.cli.common import make_config

    words = ["data.box_threshold=0.1", "data.box_source=b.json"]
    config = make_config("coco", words, data__box_threshold=0.5)
    assert config.data.box_threshold == 0.5


def test_devices(capsys):
    assert execute(["train", "--gpus", "0,1", "--devices", "3"]) == 2
    assert "--devices 3 contradicts --gpus 0,1" in capsys.readouterr().err


def test_what_cannot_be_scored_is_refused_before_a_step(tmp_path):
    """Labelled people to train on and nobody to score: no folder is written."""
    path = custom(tmp_path, files.coco())
    content = files.coco()
    for record in content["annotations"]:
        record["iscrowd"] = 1
    files.write(tmp_path / "val.json", content)
    text = path.read_text()
    at = text.index("val:")
    path.write_text(text[:at] + text[at:].replace("ann.json", "val.json", 1))
    config = custom_config(path, **{"model.name": "nano", "training.steps": 1})
    with pytest.raises(DataError, match=r"val.json: no usable people"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    boxes = files.write(tmp_path / "boxes.json", detection([1, 1, 20, 20]))
    config = config.with_overrides({"data.box_source": str(boxes)})
    with pytest.raises(DataError, match=r"val.json: no person with labelled keypoints to score"):
        load_split(config, "val", training=False)


def test_pckh_needs_head_boxes_before_a_step(synthetic_root, tmp_path):
    config = small(synthetic_root, **{"data.val_split": "train"})
    with pytest.raises(DataError, match="PCKh needs head boxes"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_nothing_reads_the_annotations_again(synthetic_root, tmp_path):
    """Once the table is there, its files may go."""
    import shutil

    for dataset in ("synthetic", "mpii", "coco", "crowdpose", "ochuman"):
        if dataset == "crowdpose":
            pytest.importorskip("xtcocotools", reason="xtcocotools is not built here")
        root = tmp_path / dataset
        shutil.copytree(synthetic_root, root)
        from hevitpose.data import load
        from hevitpose.evaluation.score import score

        table = load(dataset, root, "val", input_size=(64, 64), scored=True)
        shutil.rmtree(root)
        metrics = score(table, perfect(table))
        assert metrics.get("AP", 1) > 0.99 and metrics.get("Mean", 100) == pytest.approx(100)
        assert np.isfinite(list(metrics.values())).any()


@pytest.mark.parametrize("key", ["nms_threshold=0.8", "max_detections=30"])
def test_what_changes_ap_alone_is_refused_where_there_is_none(key):
    """It would be one number under two ids."""
    with pytest.raises(UsageError, match=f"evaluation.{key} has no effect on mpii: it has no AP"):
        require_scorable(load_config("mpii", [f"evaluation.{key}"]))
    for dataset in ("synthetic", "coco", "crowdpose"):
        require_scorable(load_config(dataset, [f"evaluation.{key}"]))
    require_scorable(load_config("mpii", ["evaluation.nms_threshold=0.9"]))


@pytest.mark.parametrize(
    ("name", "words", "says"),
    [
        ("rtmpose_nano", ["codec.decoder=dark"], "codec.decoder=dark has no effect on rtmpose_n"),
        ("rtmpose_nano", ["codec.decoder=default"], None),
        ("rtmpose_nano", ["codec.method=udp", "codec.decoder=udp"], None),
        ("rtmpose_nano", ["codec.simcc_split_ratio=3"], None),
        ("hevitpose_nano", ["codec.decoder=dark"], None),
        ("hevitpose_nano", ["codec.simcc_split_ratio=3"], "has no effect on hevitpose_nano"),
    ],
)
def test_a_codec_that_the_weights_do_not_have(monkeypatch, tmp_path, name, words, says):
    stored = SimpleNamespace(config={"model": {"name": name}})
    monkeypatch.setattr("hevitpose.models.checkpoint_config.read_checkpoint", lambda _: stored)
    weights = files.write(tmp_path / "w.safetensors", "")
    config = load_config("coco", [f"model.checkpoint={weights}", *words])
    given = [word.partition("=")[0] for word in words]
    if says is None:
        checkpoint_config(config, given)
        return
    with pytest.raises(UsageError, match=says):
        checkpoint_config(config, given)
