"""Settings that are in ids reach what they set, each of them."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

import hevitpose.cli.run
from hevitpose.cli import execute
from hevitpose.config import load_config
from hevitpose.config.schema import AugmentationConfig
from hevitpose.data import declared
from hevitpose.evaluation import prediction_files, resampling
from hevitpose.evaluation import score as scoring
from hevitpose.evaluation.diagnosis import breakdown
from hevitpose.evaluation.score import Predictions
from hevitpose.runs import record
from hevitpose.training import fit, loaders
from hevitpose.training.loaders import augmentation, load_split
from tests.data import annotation_files as files

#: Fields that a crop's augmentation calls otherwise.
CALLED = {"half_body": "half_body_probability"}
THRESHOLDS = {"nms_threshold": 0.4, "max_detections": 7}
#: No part of what is called is looked into.
NOTHING = Predictions(np.zeros(0, np.int64), np.zeros((0, 17, 2)), np.zeros((0, 17)))


@pytest.mark.parametrize("field", AugmentationConfig.model_fields)
def test_every_setting_of_augmentation(field):
    """And no other one; a new field is tested because it is there."""
    table = SimpleNamespace(declared=declared("coco"))  # which has shifts and half bodies
    usual = dataclasses.asdict(augmentation(load_config("coco"), table))
    name, default = CALLED.get(field, field), getattr(AugmentationConfig(), field)
    assert usual[name] == default
    value = default / 2
    assert value != default, "give this field a value here that is not its default"
    config = load_config("coco", {f"training.augmentation.{field}": value})
    assert dataclasses.asdict(augmentation(config, table)) == usual | {name: value}


def config_of(**keys):
    return load_config("coco", {f"evaluation.{key}": v for key, v in THRESHOLDS.items()} | keys)


def test_thresholds_of_scores(monkeypatch):
    given = []
    monkeypatch.setattr(fit, "infer", lambda *_, **__: (None, NOTHING))
    monkeypatch.setattr(fit, "score", lambda *_, **options: given.append(options) or {})
    monkeypatch.setattr(fit, "_floor", lambda *_: {})
    monkeypatch.setattr(fit, "dataset_facts", lambda *_: {})
    fit.evaluate(config_of())
    assert given == [THRESHOLDS]


def test_thresholds_of_what_a_record_has_beside_scores(monkeypatch, tmp_path):
    given = []
    weights = files.write(tmp_path / "w.safetensors", "")
    result = SimpleNamespace(
        people=None, predictions=NOTHING, metrics={}, dataset={}, peak_memory=0
    )
    monkeypatch.setattr(fit, "evaluate", lambda *_, **__: result)
    monkeypatch.setattr(scoring, "pckh_intervals", lambda *_: {})
    for module, name in ((breakdown, "breakdown"), (resampling, "resampled_ap")):
        monkeypatch.setattr(module, name, lambda *_, **options: given.append(options))
    config = config_of(**{"model.checkpoint": weights})
    record.evaluation_fields(config, tmp_path, lambda *_: None)
    assert given == [THRESHOLDS] * 2


def test_threshold_of_the_file_for_a_server(monkeypatch, tmp_path, capsys):
    given = []
    table = SimpleNamespace(
        take=lambda _: None, image_ids=np.zeros(0, np.int64), counts={}, skipped=()
    )
    monkeypatch.setattr(fit, "infer", lambda *_, **__: (table, NOTHING))
    monkeypatch.setattr(hevitpose.cli.run, "of_checkpoint", lambda config, _: config)
    monkeypatch.setattr(scoring, "results_of", lambda *_, **options: given.append(options) or [])
    monkeypatch.setattr(prediction_files, "write_testdev", lambda *_, **__: ("a", "b"))
    weights = files.write(tmp_path / "w.safetensors", "")
    command = ["infer-testdev", "--cfg", "coco", "--checkpoint", str(weights), "--boxes", "b.json"]
    assert execute([*command, "evaluation.nms_threshold=0.4"]) == 0, capsys.readouterr().err
    assert given == [{"nms_threshold": 0.4}]


def test_what_a_split_is_read_with(monkeypatch):
    given = []
    monkeypatch.setattr(loaders, "load", lambda *where, **options: given.append((where, options)))
    keys = {"root": "there", "input_size": [64, 96], "box_source": "b.json", "box_threshold": 0.3}
    keys |= {"present_only": True, "skip_bad": True, "dataset": "ochuman"}
    config = load_config("coco", {f"data.{key}": value for key, value in keys.items()})
    load_split(config, "val", training=False, scored=False, look=False)
    [(where, options)] = given
    assert tuple(map(str, where)) == ("ochuman", "there", "val")
    expected = {"input_size": (64, 96), "boxes": "b.json", "box_threshold": 0.3}
    expected |= {"present_only": True, "skip_bad": True, "training": False, "scored": False}
    assert options == expected


def test_box_threshold_drops_detections(tmp_path):
    root = files.root(tmp_path)
    keys = {"data.root": root, "data.box_source": "boxes.json", "data.val_split": "val"}
    scores = load_split(load_config("coco", keys), "val", training=False).box_scores
    between = float(np.sort(scores)[:2].mean())
    config = load_config("coco", keys | {"data.box_threshold": between})
    left = load_split(config, "val", training=False)
    assert left.box_scores.tolist() == scores[scores >= between].tolist()
    assert 0 < len(left) < len(scores) and left.boxes == f"boxes.json>={between:g}"
