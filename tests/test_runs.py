"""Runs and their records: done once, kept whole, and what is kept of a failure."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ablations import measurements
from hevitpose.config import Config, load_config
from hevitpose.errors import DataError, DivergedError, HEViTPoseError, Notice, UsageError
from hevitpose.evaluation.score import Predictions, score
from hevitpose.models import create_model
from hevitpose.models.checkpoint import from_pretrained, read_checkpoint, save_checkpoint
from hevitpose.models.shipped import SHIPPED, SHIPPED_NAMES, locate
from hevitpose.records import RecordStore, promote, provenance
from hevitpose.records.identity import file_digest
from hevitpose.runs import (
    complexity_run,
    evaluate_and_record,
    evaluation_folder,
    kept_weights,
    latency_run,
    recorded_weights,
    remove_weights,
    store_of,
    train_and_record,
    training_folder,
    training_run,
)
from hevitpose.runs.plan import start_of
from hevitpose.runs.record import evaluation_fields
from hevitpose.runs.weights import holds, is_of, network_of
from hevitpose.training import devices, fit
from hevitpose.training.devices import device_of
from hevitpose.training.fit import EvaluationResult
from hevitpose.training.outputs import require_apart
from tests.evaluation.diagnosis.scenes import body, person, table_of, truth_of


@pytest.fixture(scope="module")
def config(synthetic_root):
    return load_config(
        "synthetic",
        {
            "data.root": str(synthetic_root),
            "data.input_size": [64, 64],
            "training.steps": 2,
            "training.batch_size": 4,
            "training.threads": 1,
        },
    )


@pytest.fixture(scope="module")
def done(config, tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    return runs, train_and_record(config, runs=runs)


def test_a_success_is_two_complete_records(config, done):
    runs, found = done
    folder = training_folder(runs, training_run(config).id)
    assert found.weights == folder / "model.safetensors" and found.trained and found.evaluated
    stored = {record.kind: record for record in store_of(runs).load()}
    assert stored == {"training": found.training, "evaluation": found.evaluation}
    training, evaluation = found.training, found.evaluation
    assert training.weights == evaluation.weights == file_digest(found.weights)
    assert evaluation.training == training.id and not training.metrics
    interval = evaluation.intervals["Mean"]
    assert interval.low <= evaluation.metrics["Mean"] <= interval.high
    assert training.train.total_batch == 4 and training.train.lr == config.learning_rate
    assert (training.dataset.split, evaluation.dataset.split) == ("train", "val")
    places = (folder, training), (evaluation_folder(runs, evaluation.id), evaluation)
    for place, record in places:
        for artifact in record.artifacts.values():
            assert file_digest(place / artifact.path) == artifact.sha256
        assert str(runs) not in record.to_json()  # nothing of this machine's folders
    with np.load(places[1][0] / "predictions.npz") as saved:
        assert saved["keypoints"].shape == (evaluation.dataset.counts["people"], 16, 2)


def test_the_same_again_trains_and_evaluates_nothing(config, done, monkeypatch):
    import hevitpose.training.fit as training

    runs, first = done
    for name in ("train", "evaluate"):
        monkeypatch.setattr(training, name, lambda *_, **__: pytest.fail("done before"))
    again = train_and_record(config, runs=runs)
    assert (again.training, again.evaluation) == (first.training, first.evaluation)
    assert not again.trained and not again.evaluated


def test_one_training_many_evaluations(config, done, monkeypatch):
    import hevitpose.training.fit as training

    runs, first = done
    monkeypatch.setattr(training, "train", lambda *_, **__: pytest.fail("trained again"))
    plain = train_and_record(config.with_overrides({"evaluation.flip_test": False}), runs=runs)
    assert plain.training == first.training and plain.evaluated
    assert plain.evaluation.id != first.evaluation.id
    predictions = [f.evaluation.artifacts["predictions"].sha256 for f in (plain, first)]
    assert predictions[0] != predictions[1]


def test_weights_are_known_by_their_bytes(config, done, tmp_path):
    runs, first = done
    copy = tmp_path / "renamed.safetensors"
    copy.write_bytes(first.weights.read_bytes())
    record, new = evaluate_and_record(config, copy, runs=runs)
    assert (record, new) == (first.evaluation, False)
    record, new = evaluate_and_record(config, copy, runs=tmp_path / "elsewhere")
    assert new and record.training is None  # nobody knows them there
    assert record.inputs["weights"] == f"sha256:{first.training.weights}"
    assert record.metrics == first.evaluation.metrics


@pytest.mark.parametrize("known", [True, False])
def test_an_evaluation_says_how_its_weights_were_trained(config, done, tmp_path, known):
    runs, first = done
    runs = runs if known else tmp_path  # where nobody knows whose they are, the file says it
    asked = {"training.lr": 0.5, "training.selection": "minival", "seed": 7, "training.steps": 9}
    without_flip = {"evaluation.flip_test": False, "evaluation.nms_threshold": 0.8}
    record, new = evaluate_and_record(
        config.with_overrides(asked | without_flip), first.weights, runs=runs
    )
    assert new and (record.training is not None) == known
    assert (record.seed, record.selection) == (config.seed, "last")
    told = record.config["training"]
    assert (told["lr"], told["steps"]) == (config.training.lr, 2)
    assert record.config["evaluation"]["nms_threshold"] == 0.8
    other, _ = evaluate_and_record(config.with_overrides(without_flip), first.weights, runs=runs)
    assert other.id == record.id


def test_of_weights_that_say_nothing_nobody_knows_how_they_were_trained(config, tmp_path):
    model = create_model("hevitpose_nano", 16, seed=3)
    save_checkpoint(model, tmp_path / "a.safetensors")
    record, _ = evaluate_and_record(config, tmp_path / "a.safetensors", runs=tmp_path)
    assert record.seed is None and record.selection is None
    assert record.config["training"].keys() == {"precision", "threads"}


def test_seeds_that_valid_scored_are_those_of_one_cell(config, done, tmp_path):
    runs, first = done
    shutil.copytree(runs, tmp_path / "runs")
    plain = config.with_overrides({"evaluation.nms_threshold": 0.7})
    second = train_and_record(plain.with_overrides({"seed": 1}), runs=tmp_path / "runs")
    asked = plain.with_overrides({"training.lr": 0.5})
    record, new = evaluate_and_record(asked, first.weights, runs=tmp_path / "runs")
    assert new and (record.seed, second.evaluation.seed) == (0, 1)
    assert record.config_hash == second.evaluation.config_hash


def test_an_overfit_proof_is_not_promoted_by_another_evaluation(config, tmp_path):
    overfit = config.with_overrides({"data.train_split": "val"})
    weights = train_and_record(overfit, runs=tmp_path).weights
    plain = config.with_overrides({"evaluation.flip_test": False})
    record, _ = evaluate_and_record(plain, weights, runs=tmp_path)
    with pytest.raises(HEViTPoseError, match="trained on val and scored on val"):
        promote(store_of(tmp_path), [record.id], RecordStore(tmp_path / "kept"))


@pytest.mark.parametrize("known", [True, False])
def test_weights_in_another_network_are_another_evaluation(config, done, tmp_path, known):
    runs, first = done
    runs = runs if known else tmp_path  # where nobody knows whose they are, the file says it
    changed = config.with_overrides({"model.cascade": False})  # of the same shapes
    other, new = evaluate_and_record(changed, first.weights, runs=runs)
    assert new and other.inputs["model"]["cascade"] is False
    plain, _ = evaluate_and_record(config, first.weights, runs=runs)
    assert "model" not in plain.inputs and plain.id != other.id
    assert plain.metrics == first.evaluation.metrics


@pytest.mark.parametrize("known", [True, False])
def test_an_imported_file_is_part_of_the_evaluation(config, done, tmp_path, known):
    runs, first = done
    runs = runs if known else tmp_path
    mine = tmp_path / "mine.py"
    ids = {evaluate_and_record(config, first.weights, runs=runs)[0].id}
    for text in ("MINE = 1\n", "MINE = 2\n"):
        mine.write_text(text)
        imported = config.with_overrides({"imports": [str(mine)]})
        ids.add(evaluate_and_record(imported, first.weights, runs=runs)[0].id)
    assert len(ids) == 3


def test_modules_of_a_training_need_not_be_here(config, done, tmp_path):
    """A Lightning checkpoint names them by the paths that they had."""
    _, first = done
    stored = read_checkpoint(first.weights)
    named = stored.config | {"imports": [str(tmp_path / "gone.py")]}
    path = save_checkpoint(from_pretrained(first.weights), tmp_path / "m.safetensors", named)
    assert network_of(path) == network_of(first.weights)
    older = {**stored.config, "training": dict(stored.config["training"])}
    usual = Config().of_weights()["training"]
    key = next(key for key, value in older["training"].items() if usual.get(key) == value)
    del older["training"][key]  # as before there was such a key
    path = save_checkpoint(from_pretrained(first.weights), tmp_path / "old.safetensors", older)
    on_cuda = first.training.inputs | {"device": "cuda"}
    assert is_of(path, replace(first.training, inputs=on_cuda, weights="0" * 64))


def test_on_cuda_a_file_has_to_say_what_trained_it(config, done, tmp_path):
    _, first = done
    record = replace(first.training, weights="0" * 64)  # as another run of it leaves them
    assert not is_of(first.weights, record)
    on_cuda = replace(record, inputs=record.inputs | {"device": "cuda"})
    assert is_of(first.weights, on_cuda)
    longer = on_cuda.config | {"training": on_cuda.config["training"] | {"steps": 3}}
    assert not is_of(first.weights, replace(on_cuda, config=longer))
    junk = tmp_path / "model.safetensors"
    junk.write_bytes(b"junk")
    with pytest.raises(DataError, match=r"model\.safetensors"):
        is_of(junk, on_cuda)


def test_a_trainings_weights_are_its_own_or_none(done, tmp_path):
    _, first = done
    folder = training_folder(tmp_path, first.training.id)
    shutil.copytree(first.weights.parent, folder)
    weights, own, others = (
        folder / "model.safetensors",
        store_of(tmp_path),
        store_of(tmp_path / "b"),
    )

    def find(*stores):
        return recorded_weights(tmp_path, first.training.id, stores)

    assert find(own, others) is None  # nobody says what they are
    others.add(first.training)
    assert find(own, others) == weights
    own.add(replace(first.training, weights="0" * 64))
    assert find(own, others) is None
    assert find(others) == weights
    whole = weights.read_bytes()
    for content in (whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1])):
        weights.write_bytes(content)
        assert find(others) is None
    weights.write_bytes(whole)
    assert find(others) == weights
    weights.unlink()
    assert find(others) is None
    on_cuda = replace(first.training, inputs=first.training.inputs | {"device": "cuda"})
    weights.write_bytes(b"junk")
    assert not holds(weights, on_cuda)
    with safe_open(first.weights, "pt") as file:
        metadata = file.metadata()
    described = json.loads(metadata["hevitpose"])
    described["config"]["training"]["unknown"] = 1  # a key of a later version
    metadata["hevitpose"] = json.dumps(described)
    save_file(load_file(first.weights), weights, metadata)
    assert not holds(weights, on_cuda)


def test_max_detections_is_that_of_every_part_of_a_record(tmp_path, monkeypatch):
    import hevitpose.training.fit as training

    rng = np.random.default_rng(0)
    people = [person(i, 1 + i % 2, body(rng)) for i in range(50)]  # 25 a photograph
    table = table_of(truth_of(people, 2), tmp_path)
    perfect = Predictions(np.arange(50), table.keypoints, np.ones((50, 17), np.float32))
    (tmp_path / "model").write_bytes(b"")

    def aps(limit):
        changed = {"evaluation.max_detections": limit, "model.checkpoint": str(tmp_path / "model")}
        metrics = score(table, perfect, max_detections=limit)
        result = EvaluationResult(metrics, {}, table, perfect, 0)
        monkeypatch.setattr(training, "evaluate", lambda *_, **__: result)
        found = evaluation_fields(load_config("coco", changed), tmp_path, lambda *_: None)
        groups = found["breakdown"]["groups"]
        return (
            found["metrics"]["AP"],
            groups["visible_joints"]["16-17"]["ap"],
            groups["size"]["large"]["ap"],
            *set(found["resampled"]["values"]),
        )

    assert aps(30) == pytest.approx((1, 1, 1, 1))
    with pytest.warns(Notice, match="more than 20 people"):
        few = aps(20)
    # Photographs of equal scores: 20 of 25 are found, at 80 of 101 recalls or one more.
    assert few == pytest.approx([few[0]] * 4, abs=1e-5) and few[0] == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize(
    ("rank", "first"),
    [
        ({}, True),
        ({"NODE_RANK": "0", "LOCAL_RANK": "1"}, False),
        ({"NODE_RANK": "1", "LOCAL_RANK": "0"}, False),  # as Lightning leaves it on the 2nd node
        ({"RANK": "2", "GROUP_RANK": "1", "LOCAL_RANK": "0"}, False),  # torchrun
        ({"SLURM_PROCID": "2"}, False),
        ({"RANK": "0", "GROUP_RANK": "0", "LOCAL_RANK": "0", "SLURM_PROCID": "0"}, True),
    ],
)
def test_one_process_of_all_nodes_records(rank, first, config, done, tmp_path, monkeypatch):
    import hevitpose.runs.record as record
    import hevitpose.training.fit as training

    for name, value in rank.items():
        monkeypatch.setenv(name, value)
    evaluated = []
    for name in ("train", "evaluate"):
        monkeypatch.setattr(training, name, lambda *_, **__: None)  # as on any process
    monkeypatch.setattr(record, "_recorded", lambda *_: done[1].training)
    monkeypatch.setattr(
        record, "evaluate_and_record", lambda *_, **__: evaluated.append(1) or (None, True)
    )
    several = config.with_overrides({"nodes": 2, "devices": 2})
    assert (train_and_record(several, runs=tmp_path) is not None) == first == bool(evaluated)
    if not first:
        assert record.train_fields(several, tmp_path, False, lambda *_: None) is None
        assert evaluation_fields(several, tmp_path, lambda *_: None) is None


def test_a_recorded_training_that_comes_out_otherwise(config, done, tmp_path):
    _, first = done
    store = store_of(tmp_path)
    store.add(replace(first.training, weights="0" * 64))
    with pytest.raises(
        DataError, match=r"model\.safetensors: sha256 \w{64}, record \w+ says 0{64}.*--no-resume"
    ):
        train_and_record(config, runs=tmp_path)
    assert store.get(first.training.id).weights == "0" * 64  # never overwritten


def test_kept_weights_are_listed_and_removed(config, tmp_path):
    found = train_and_record(config, runs=tmp_path)
    (kept,) = kept_weights(tmp_path)
    assert (kept.id, kept.path, kept.record) == (found.training.id, found.weights, found.training)
    assert remove_weights([kept]) == kept.bytes and not kept_weights(tmp_path)
    again = train_and_record(config, runs=tmp_path)
    assert again.trained and not again.evaluated
    assert file_digest(again.weights) == found.training.weights


def test_a_failure_is_recorded_as_one(config, tmp_path):
    broken = config.with_overrides({"training.lr": 1e30, "training.warmup_steps": 0})
    with pytest.raises(DivergedError):
        train_and_record(broken, runs=tmp_path)
    store = store_of(tmp_path)
    assert store.get(training_run(broken).id) is None
    (failure,) = store.load()
    assert (failure.kind, failure.status, failure.metrics) == ("training", "diverged", {})
    assert "step" in failure.error


def test_nothing_is_recorded_of_a_run_that_never_began(config, tmp_path):
    absent = config.with_overrides({"training.start_from": str(tmp_path / "none.safetensors")})
    with pytest.raises(Exception, match=r"none\.safetensors"):
        train_and_record(absent, runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_equal_trainings_leave_equal_files(config, done, tmp_path):
    """Whatever they were asked to be evaluated with, and wherever the data were."""
    import shutil

    _, first = done
    root = shutil.copytree(config.data.root, tmp_path / "elsewhere")
    other = config.with_overrides(
        {
            "data.root": str(root),
            "data.workers": 0,
            "codec.decoder": "dark",
            "evaluation.flip_test": False,
        }
    )
    again = train_and_record(other, runs=tmp_path / "runs")
    assert again.training.id == first.training.id
    assert again.training.weights == first.training.weights


CUSTOM = """
name: hands
keypoints: [a, b, c, d, e]
flip_pairs: []
sigmas: [0.05, 0.05, 0.05, 0.05, 0.05]
splits: {val: {annotations: truth.json, images: .}}
"""


def test_a_custom_dataset_says_its_keypoints(tmp_path):
    """Also to what never reads its people: a grid's counts and times."""
    (tmp_path / "hands.yaml").write_text(CUSTOM)
    dataset = str(tmp_path / "hands.yaml")
    config = load_config(None, {"model.name": "nano", "data.dataset": dataset})
    assert config.model.num_keypoints is None
    counted = complexity_run(config)
    timed = latency_run(config, {"batch": 1})
    assert counted.inputs["model"]["num_keypoints"] == 5
    assert timed.inputs["model"]["num_keypoints"] == 5
    assert measurements.build(config).num_keypoints == 5
    other = config.with_overrides({"model.num_keypoints": 7})
    assert complexity_run(other).id != counted.id
    small = config.with_overrides({"data.input_size": [64, 64]})
    fields = measurements.complexity(small, tmp_path, lambda done, total: None)
    assert fields["params"] > 0 and fields["flops"]["mmcv"] > 0


def test_bfloat16_that_is_computed_wrongly_is_refused(config, monkeypatch):
    assert 0 < devices.bf16_error() < 0.01  # as the tests' environment has it
    monkeypatch.setattr(devices, "bf16_error", lambda: 1.34)
    config = config.with_overrides({"device": "cpu"})
    assert device_of(config) == "cpu"
    with pytest.raises(UsageError, match=r"training\.precision: bf16, .* off by 134% here"):
        device_of(config.with_overrides({"training.precision": "bf16"}))


def test_float16_is_no_precision_of_a_cpu(config):
    """Lightning would train in bfloat16, under an id that says float16."""
    with pytest.raises(UsageError, match=r"training\.precision: fp16 needs a CUDA device"):
        device_of(config.with_overrides({"training.precision": "fp16", "device": "cpu"}))


def test_the_evaluation_after_several_processes_joins_its_training(config, tmp_path, monkeypatch):
    """It runs in one, but its hash is of the total batch that the weights were trained with."""
    import hevitpose.runs.record as record

    ran = []

    def recorded(config, run, store, folder, measure, told):
        ran.append(run)
        measure()

    monkeypatch.setattr(record, "_recorded", recorded)
    monkeypatch.setattr(record, "evaluation_fields", lambda config, *_: ran.append(config))
    several = config.with_overrides({"devices": 2})
    weights = tmp_path / "model.safetensors"
    evaluate_and_record(several, weights, runs=tmp_path, training="0" * 20)
    run, alone = ran
    assert run.config_hash == training_run(several).config_hash and alone.devices == 1


@pytest.mark.parametrize("asked", ["auto", "cpu", "cuda"])
@pytest.mark.parametrize("smi", [True, False])
@pytest.mark.parametrize("usable", [True, False])
def test_the_device_of_the_id_is_that_of_the_run(monkeypatch, asked, smi, usable):
    """nvidia-smi and torch may see different things; then neither is believed."""
    monkeypatch.setattr(provenance, "_gpu", lambda: ("a GPU", "1") if smi else (None, None))
    monkeypatch.setattr(provenance, "_torch", lambda: ("2.11.0", "13.0"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: usable)
    config = load_config("synthetic", {"device": asked})
    if (asked == "auto" and smi != usable) or (asked == "cuda" and not usable):
        with pytest.raises(UsageError, match=r"^device: "):
            device_of(config)
    else:
        assert device_of(config) == provenance.device_type(asked)
        assert device_of(config) == ("cpu" if asked == "cpu" or not usable else "cuda")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "boxes.json"),
        ('[{"image_id": 1', "boxes.json: .*truncated"),
        ([{"image_id": 99999, "category_id": 1, "bbox": [1, 1, 9, 9], "score": 1}], "99999"),
    ],
)
def test_boxes_that_cannot_be_read_are_said_before_a_step(config, tmp_path, content, says):
    path = tmp_path / "boxes.json"
    if content is not None:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    wrong = config.with_overrides({"data.dataset": "coco", "data.box_source": str(path)})
    with pytest.raises(DataError, match=says):
        train_and_record(wrong, runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("key", ["data.box_source", "data.dataset", "annotations", "imports"])
def test_no_training_replaces_what_it_reads(tmp_path, key):
    """Whatever a file is called: a link from a name that a training writes leads to it."""
    (tmp_path / "hands.yaml").write_text(
        CUSTOM.replace("splits: {", "splits: {train: {annotations: all.json, images: .}, ")
    )
    read = tmp_path / {"data.dataset": "hands.yaml", "annotations": "all.json"}.get(key, "mine.py")
    read.touch()
    out = tmp_path / "out"
    out.mkdir()
    changes = {"data.dataset": str(tmp_path / "hands.yaml"), "data.val_split": "val"}
    if key in ("data.box_source", "imports"):
        changes[key] = [str(read)] if key == "imports" else str(read)
    config = load_config(None, changes)
    require_apart(config, out)
    (out / "curve.csv").symlink_to(read)
    with pytest.raises(UsageError, match=r"curve\.csv: would be replaced by this training"):
        require_apart(config, out)


class TestStartFrom:
    """A training that starts from another: that is a recorded training too, made first, once."""

    @pytest.fixture
    def started(self, config, monkeypatch, tmp_path):
        """The fixture's config from a preset of one step."""
        presets = tmp_path / "configs" / "presets"
        presets.mkdir(parents=True)
        (presets / "tiny.yaml").write_text(
            "model: {name: hevitpose_nano}\ndata: {input_size: [64, 64]}\n"
            "training: {steps: 1, batch_size: 4, selection: last}\n"
        )
        monkeypatch.setattr("hevitpose.config.load.CONFIGS", presets.parent)
        monkeypatch.setattr("hevitpose.config.load.PRESETS", ("tiny",))
        return config.with_overrides({"training.start_from": "tiny:synthetic"})

    def test_it_is_trained_first_recorded_and_shared(self, started, tmp_path):
        runs = tmp_path / "runs"
        found = train_and_record(started, runs=runs)
        start = found.training.inputs["start_from"]
        records = {r.id: r for r in store_of(runs).load() if r.kind == "training"}
        assert records.keys() == {start, found.training.id}
        assert records[start].train.steps == 1 and records[start].seed == 0
        again = train_and_record(started.with_overrides({"seed": 1}), runs=runs)
        assert again.training.inputs["start_from"] == start and again.trained
        assert len([r for r in store_of(runs).load() if r.kind == "training"]) == 3
        assert str(tmp_path) not in found.training.to_json()

    @pytest.mark.parametrize("split", ["train", "val"])
    def test_an_absent_photograph_is_said_before_the_start(
        self, started, tmp_path, monkeypatch, split
    ):
        """The start's own people, in their default place, are whole."""
        monkeypatch.chdir(tmp_path)
        shutil.copytree(started.data.root, tmp_path / "data/synthetic")
        root = shutil.copytree(started.data.root, tmp_path / "mine")
        picture = next((root / f"coco/images/{split}2017").iterdir())
        picture.unlink()
        mine = started.with_overrides({"data.dataset": "coco", "data.root": str(root)})
        with pytest.raises(DataError, match=picture.name):
            train_and_record(mine, runs=tmp_path / "runs")
        assert not (tmp_path / "runs").exists()

    def test_a_logger_that_is_none_is_said_before_the_start(self, started, tmp_path):
        wrong = started.with_overrides({"training.loggers": ["nonesuch"]})
        with pytest.raises(UsageError, match=r"logger in training\.loggers"):
            train_and_record(wrong, runs=tmp_path / "runs")
        assert not (tmp_path / "runs").exists()

    def test_the_folder_of_another_run_is_said_before_the_start(self, started, done, tmp_path):
        folder = training_folder(done[0], done[1].training.id)
        other = started.with_overrides({"seed": 3})
        with pytest.raises(UsageError, match=r"of a run with another config \(seed"):
            train_and_record(other, folder, runs=tmp_path / "runs")
        assert not (tmp_path / "runs").exists()

    def test_keypoints_in_another_order_are_refused(self, config, done, tmp_path):
        from hevitpose.models.checkpoint import read_checkpoint, save_checkpoint
        from hevitpose.training.trainer import build

        layout = read_checkpoint(done[1].weights).layout
        turned = dataclasses.replace(layout, names=layout.names[::-1])
        path = tmp_path / "turned.safetensors"
        save_checkpoint(build(config, len(layout)), path, config.of_weights(), turned)
        reversed_ = config.with_overrides({"training.start_from": str(path)})
        with pytest.raises(DataError, match="keypoints are in another order"):
            train_and_record(reversed_, runs=tmp_path / "runs")

    def test_its_weights_are_what_is_trained_on(self, config, started, tmp_path):
        found = train_and_record(started, runs=tmp_path / "runs")
        weights = training_folder(tmp_path / "runs", found.training.inputs["start_from"])
        same = config.with_overrides(
            {"training.start_from": str(weights / "model.safetensors")}
        )  # fmt: skip
        by_file = train_and_record(same, runs=tmp_path / "other")
        assert by_file.training.weights == found.training.weights
        assert by_file.training.id != found.training.id
        random = train_and_record(config, runs=tmp_path / "other")
        assert random.training.weights != found.training.weights
        hashes = {r.training.config_hash for r in (found, by_file, random)}
        assert len(hashes) == 3  # rows of their own

    def test_by_its_id(self, config, done, tmp_path):
        runs, first = done
        from_id = config.with_overrides({"training.start_from": first.training.id, "seed": 5})
        assert training_run(from_id).inputs["start_from"] == first.training.id
        found = train_and_record(from_id, runs=runs)
        assert found.trained
        with pytest.raises(UsageError, match=rf"no weights of training {first.training.id}"):
            train_and_record(from_id, runs=tmp_path)
        assert not (tmp_path / "train").exists()

    def test_a_folder_and_a_name_that_ships_are_the_file_they_hold(
        self, config, done, tmp_path, monkeypatch
    ):
        def run(start):
            return training_run(config.with_overrides({"training.start_from": start}))

        folder = done[1].weights.parent
        assert run(f"{folder}/") == run(str(folder)) == run(str(done[1].weights))
        shipped = run("hevitpose_nano")
        assert shipped.inputs["pretrained"] == file_digest(locate("hevitpose_nano"))
        with pytest.raises(DataError, match=r"none: no such checkpoint .*ships: hevitpose_nano\)"):
            run("mine/none")
        assert {path.parent.name for path in SHIPPED.glob("*/*.safetensors")} <= {*SHIPPED_NAMES}
        monkeypatch.setattr("hevitpose.models.shipped.SHIPPED", tmp_path)
        monkeypatch.setattr("hevitpose.models.shipped.SHIPPED_NAMES", ("mine",))
        shutil.copytree(folder, tmp_path / "mine")
        named = config.with_overrides({"training.start_from": "mine"})
        found = train_and_record(named, runs=tmp_path / "runs")
        assert found.training.config["training"]["start_from"] == "mine"
        assert found.training.inputs["pretrained"] == done[1].training.weights

    @pytest.mark.parametrize("linked", [False, True])
    def test_no_training_replaces_what_it_starts_from(self, config, done, tmp_path, linked):
        """By file, by folder and by id; whether a file there is it, or leads to it."""
        runs, mine = tmp_path / "runs", tmp_path / "mine"
        folder = training_folder(runs, done[1].training.id)
        shutil.copytree(training_folder(done[0], done[1].training.id), folder)
        mine.mkdir()
        (mine / "best.safetensors").symlink_to(folder / "model.safetensors")
        out = mine if linked else folder
        before = {path: path.read_bytes() for path in folder.iterdir()}
        for start in (folder / "model.safetensors", folder, done[1].training.id):
            other = config.with_overrides({"training.start_from": str(start)})
            with pytest.raises(UsageError, match=r"would be replaced by this training") as caught:
                train_and_record(other, out, runs=runs, resume=False)
            assert "\n" not in str(caught.value) and str(out) in str(caught.value)
        with pytest.raises(UsageError, match="would be replaced"):
            fit.train(config.with_overrides({"training.start_from": str(folder)}), out)
        assert before == {path: path.read_bytes() for path in folder.iterdir()}
        assert [path.name for path in mine.iterdir()] == ["best.safetensors"]
        assert not (runs / "records").exists()

    def test_a_start_is_not_made_where_its_training_would_replace_it(self, started, tmp_path):
        start = training_folder(tmp_path, start_of(started))
        with pytest.raises(UsageError, match="would be replaced"):
            train_and_record(started, start, runs=tmp_path)
        assert not start.exists()

    def test_a_damaged_start_is_mended_or_has_a_way_out(self, started, tmp_path, monkeypatch):
        runs = tmp_path / "runs"
        first = train_and_record(started, runs=runs)
        record = store_of(runs).get(first.training.inputs["start_from"])
        folder = training_folder(runs, record.id)
        weights, last = folder / "model.safetensors", folder / "last.ckpt"
        whole = weights.read_bytes()
        weights.write_bytes(whole[:-1])
        train_and_record(started.with_overrides({"seed": 1}), runs=runs)
        assert weights.read_bytes() == whole
        weights.write_bytes(whole[:-1])
        last.write_bytes(last.read_bytes()[:99])
        with pytest.raises(DataError, match=r"last\.ckpt: .*; remove it, or use --no-resume"):
            train_and_record(started.with_overrides({"seed": 2}), runs=runs)
        train_and_record(started.with_overrides({"seed": 2}), runs=runs, resume=False)
        assert weights.read_bytes() == whole
        assert store_of(runs).get(record.id) == record

    def test_of_another_network_is_one_line_before_a_step(self, config, done):
        runs, first = done
        other = config.with_overrides(
            {"training.start_from": first.training.id, "model.ffn_ratio": 3}
        )
        with pytest.raises(DataError, match=r"does not fit hevitpose_nano; shape: ") as caught:
            train_and_record(other, runs=runs)
        assert "\n" not in str(caught.value)

    def test_other_keypoints_are_said(self, done, tmp_path):
        from hevitpose.errors import Notice
        from hevitpose.training.trainer import build

        config = load_config(None, {"model.name": "hevitpose_nano", "data.input_size": [64, 64]})
        with pytest.warns(Notice, match=r"head\..*initialised anew, for 17 keypoints"):
            build(config, 17, str(done[1].weights))
