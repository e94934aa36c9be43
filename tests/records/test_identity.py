"""Ids: which config field is in which, and what changes one or must not."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from hevitpose.config import load_config
from hevitpose.config.schema import Config, _ModelFields
from hevitpose.config.section import ids_of
from hevitpose.models import create_model
from hevitpose.models.checkpoint import describe, from_pretrained, save_checkpoint
from hevitpose.records import identity
from hevitpose.runs import complexity_run, evaluation_run, latency_run, training_run

ROOT = Path(__file__).resolve().parents[2]
OWN = {"training", "evaluation"}


def fields(section: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, tuple[str, ...]]]:
    """Every config key with the ids that its own value is in."""
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, _ModelFields):
            own = {"pretrained", "checkpoint"}
            for key in kind.model_fields:
                yield f"model.{key}", () if key in own else ("training", "complexity", "latency")
        elif isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from fields(kind, f"{prefix}{name}.")
        else:
            yield prefix + name, ids_of(field)


def test_every_config_field_is_in_an_id_or_on_the_short_list():
    found = dict(fields(Config))
    assert len(found) > 70  # the whole config, the network's options included
    for key, ids in found.items():
        assert set(ids) <= {*OWN, "complexity", "latency"}, key
        homeless = not ids and key not in identity.BY_PROXY and key not in identity.IN_NO_ID
        assert not homeless, f"{key}: in no id; if it decides no result, add it to IN_NO_ID"
        assert not (ids and key in identity.IN_NO_ID), key
    assert identity.BY_PROXY.keys() | identity.IN_NO_ID <= found.keys()
    evaluation = {key for key, ids in found.items() if ids == ("evaluation",)}
    assert evaluation == {
        "data.val_split", "data.box_threshold", "codec.decoder", "evaluation.flip_test",
        "evaluation.nms_threshold", "evaluation.max_detections", "evaluation.condition",
    }  # fmt: skip


CHANGES = {
    "evaluation.flip_test=false": {"evaluation"},
    "codec.decoder=dark": {"evaluation"},
    "evaluation.nms_threshold=0.8": {"evaluation"},
    "data.val_split=test": {"evaluation"},
    "evaluation.condition=fog:3": {"evaluation"},
    "evaluation.max_detections=30": {"evaluation"},
    "evaluation.max_detections=20": set(),
    "evaluation.condition=fog:0": set(),
    "codec.sigma=3": {"training", "evaluation"},  # the evaluation is of other weights
    "training.joint_weights=true": {"training", "evaluation"},
    "training.lr=1": {"training", "evaluation"},
    "training.threads=7": {"training", "evaluation"},
    "training.augmentation.rotation=7": {"training", "evaluation"},
    "seed=1": {"training", "evaluation"},
    "devices=2": {"training", "evaluation"},  # the total batch
    "device=cuda": {"training", "evaluation"},
    "data.people=100": {"training", "evaluation"},
    "model.attention=mhsa": {"training", "evaluation", "complexity", "latency"},
    "model.num_keypoints=5": {"training", "evaluation", "complexity", "latency"},
    "data.input_size=64,64": {"training", "evaluation", "complexity"},
    "data.workers=3": set(),
    "data.eval_batch_size=7": set(),
    "training.checkpoint_steps=7": set(),
    "training.loggers=[csv,tensorboard]": set(),
}


@pytest.mark.parametrize(("change", "changed"), CHANGES.items(), ids=CHANGES)
def test_what_changes_an_id(change, changed, tmp_path):
    where = f"data.root={tmp_path}"  # nothing is rendered there: the fingerprint is known
    base, other = load_config("synthetic", [where]), load_config("synthetic", [where, change])
    assert {kind for kind, run in runs(base).items() if run != runs(other)[kind]} == changed


def test_the_threshold_of_detections_changes_an_evaluation(tmp_path):
    (tmp_path / "b.json").write_text("[]")
    where = [f"data.root={tmp_path}", f"data.box_source={tmp_path / 'b.json'}"]
    base, other = (
        load_config("synthetic", [*where, f"data.box_threshold={value}"]) for value in (0, 0.3)
    )
    assert {kind for kind, run in runs(base).items() if run != runs(other)[kind]} == {"evaluation"}


def runs(config: Config) -> dict[str, str]:
    return {
        "training": training_run(config).id,
        "evaluation": evaluation_run(config).id,
        "complexity": complexity_run(config).id,
        "latency": latency_run(config, {"batch": 1}).id,
    }


def test_where_checkpoints_compete_the_steps_between_them_decide(tmp_path):
    where = [f"data.root={tmp_path}", "training.selection=minival"]
    ids = {
        training_run(load_config("synthetic", [*where, *given])).id
        for given in ([], ["training.checkpoint_steps=7"], ["training.checkpoint_steps=8"])
    }
    assert len(ids) == 3


def test_the_checkpoint_that_val_selects_is_chosen_by_that_split(tmp_path):
    where = [f"data.root={tmp_path}", "training.selection=val"]
    base = load_config("synthetic", where)
    other = load_config("synthetic", [*where, "data.val_split=test"])
    assert training_run(base).id != training_run(other).id
    boxes = load_config("synthetic", [*where, "evaluation.flip_test=false"])
    assert training_run(boxes).id == training_run(base).id  # the selection is fixed


def custom(folder: Path, **changes) -> str:
    folder.mkdir(exist_ok=True)
    for split in ("train", "val"):
        (folder / f"{split}.json").write_text('{"images": [], "annotations": []}')
    (folder / "images").mkdir(exist_ok=True)
    described = {
        "name": "hands", "keypoints": ["wrist", "left", "right"],
        "flip_pairs": [["left", "right"]], "sigmas": [0.06, 0.05, 0.05],
        "splits": {s: {"annotations": f"{s}.json", "images": "images"} for s in ("train", "val")},
    } | changes  # fmt: skip
    (folder / "hands.yaml").write_text(yaml.safe_dump(described))
    return str(folder / "hands.yaml")


@pytest.mark.parametrize(
    ("change", "retrains"),
    [
        ({"sigmas": [0.06, 0.05, 0.09]}, False),
        ({"flip_pairs": []}, True),
        ({"use_area": False}, True),  # it decides who counts
        ({"joint_weights": [1, 2, 2]}, True),
        ({"skeleton": [["wrist", "left"]]}, None),  # it is only drawn
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_editing_a_custom_yaml(tmp_path, change, retrains):
    def now(**changes):
        config = load_config("coco", [f"data.dataset={custom(tmp_path / 'own', **changes)}"])
        return training_run(config).id, evaluation_run(config).id

    before, after = now(), now(**change)
    assert (before[0] != after[0]) == bool(retrains)
    assert (before[1] != after[1]) == (retrains is not None)


def test_photographs_and_annotations_are_in_the_id(tmp_path):
    config = load_config("coco", [f"data.dataset={custom(tmp_path / 'own')}"])
    seen = {training_run(config).id}
    photograph = tmp_path / "own" / "images" / "a.jpg"
    for content in (b"1", b"22"):
        photograph.write_bytes(content)
        seen.add(training_run(config).id)
    (tmp_path / "own" / "train.json").write_text('{"images": []}')
    seen.add(training_run(config).id)
    assert len(seen) == 4


class Reword(ast.NodeTransformer):
    """Rewords every docstring and every error, and drops the comments."""

    def visit_Raise(self, node: ast.Raise) -> ast.Raise:
        if isinstance(node.exc, ast.Call) and node.exc.args:
            node.exc.args[0] = ast.Constant("said otherwise")
        return node

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            value = body[0].value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                value.value = "Said otherwise."
        return node


@pytest.mark.slow
def test_rewording_and_moving_changes_no_id(tmp_path):
    """In a copy: every docstring, comment and error another, and a module under another name."""
    here, copy = ROOT / "hevitpose", tmp_path / "hevitpose"
    shutil.copytree(here, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for path in copy.rglob("*.py"):
        text = ast.unparse(Reword().visit(ast.parse(path.read_text())))
        path.write_text(text.replace("hevitpose.training.schedule", "hevitpose.training.timetable"))
    (copy / "training" / "schedule.py").rename(copy / "training" / "timetable.py")
    code = (
        "import json, hevitpose, hevitpose.training.fit, tests_identity as t\n"
        "print(json.dumps([hevitpose.__file__, t.runs(t.load_config('synthetic',"
        " ['data.root=nowhere']))]))"
    )
    shutil.copy(__file__, tmp_path / "tests_identity.py")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    file, ids = json.loads(done.stdout)
    assert Path(file).parent == copy
    assert ids == runs(load_config("synthetic", ["data.root=nowhere"]))


def test_the_quick_digest_of_json_is_the_digest():
    values = {
        "floats": [2.0, 2.5, -0.0, 1e16, 1e300, 0.1, -1e-7],
        "nested": {"b": {"z": [1.0, {"y": True}], "a": None}, "a": 2},
        "text": 'a "quote", ünïcode, \\ and 2.0',
        "big": 2**70,
        "empty": {},
    }
    for names in (["floats"], ["nested", "text"], ["text", "empty"], list(values)):
        given = {name: values[name] for name in names}
        same = json.loads(json.dumps(given))
        assert identity.digest_of_json(same) == identity.digest(given), names
    whole = {"x": {"lr": 1}}
    assert identity.digest_of_json(whole) == identity.digest({"x": {"lr": 1.0}})
    assert identity.digest_of_json(whole) != identity.digest({"x": {"lr": 1.5}})


def test_a_later_option_at_its_neutral_value_changes_no_id_and_no_file(tmp_path):
    base = load_config("synthetic", ["model.name=hevitpose_nano"])
    ids = {}
    for norm in (None, "layer", "batch"):
        config = base if norm is None else base.with_overrides({"model.norm": norm})
        inputs = identity.model_inputs(config, 16)
        ids[norm] = identity.cell_id(inputs, (128, 128)), identity.training_hash(config)
        assert ("norm" in inputs) == (norm == "batch")
        model = create_model("nano", num_keypoints=16, seed=0, norm=norm or "layer")
        assert ("norm" in describe(model)["options"]) == (norm == "batch")
    assert ids[None] == ids["layer"] != ids["batch"]
    again = from_pretrained(save_checkpoint(model, tmp_path / "batch.safetensors"))
    assert again.spec.norm == "batch"
