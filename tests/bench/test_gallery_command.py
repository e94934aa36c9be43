"""The gallery's maker: what it writes is what the report takes, and agrees with the evaluation."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from msgspec.structs import replace

from bench.gallery import main
from hevitpose.config import load_config
from hevitpose.records import RecordStore
from hevitpose.runs import evaluation_folder, train_and_record
from reports.figures import gallery
from reports.load import load

TINY = {
    "data.input_size": [64, 64], "training.steps": 2, "training.batch_size": 4,
    "training.threads": 1, "training.warmup_steps": 1, "data.workers": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(synthetic_root, tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    config = load_config("synthetic", {**TINY, "data.root": str(synthetic_root)})
    found = train_and_record(config, runs=runs)
    return runs, found.evaluation, found.weights.parent


def given(trained, out, data, **more):
    runs, _, folder = trained
    options = {
        "checkpoint": folder / "model.safetensors", "data": data, "records": runs / "records",
        "out": out,
    } | more  # fmt: skip
    return [str(part) for key, value in options.items() for part in (f"--{key}", value)]


def test_the_report_takes_what_it_writes(trained, synthetic_root, tmp_path):
    runs, record, _ = trained
    assert main(given(trained, tmp_path / "g", synthetic_root, people=3)) == 0
    data, problems = gallery.load(tmp_path / "g", load([runs / "records"]))
    assert problems == [] and data["record"] == record.id
    assert len(data["people"]) == 3 and data["size"] == [64, 64]
    sheet = cv2.imread(str(tmp_path / "g" / "people.jpg"))
    assert sheet.shape == (128, 192, 3)
    # Its joints are the evaluation's own: the first and the last person of the split.
    found = np.load(evaluation_folder(runs, record.id) / "predictions.npz")
    order = np.argsort(found["index"])
    for person, row in ((0, order[0]), (2, order[-1])):
        scores = np.array(data["people"][person]["scores"])
        np.testing.assert_allclose(scores, found["scores"][row], atol=2e-3)


def test_errors_are_those_of_pckh(trained, synthetic_root, tmp_path):
    """Every person of the split: the share within half a head is the record's PCKh."""
    count = trained[1].dataset.counts["people"]
    assert count <= 12, "the fixture has become larger than a gallery"
    assert main(given(trained, tmp_path / "g", synthetic_root, people=count)) == 0
    people = json.loads((tmp_path / "g" / "gallery.json").read_text())["people"]
    names = json.loads((tmp_path / "g" / "gallery.json").read_text())["names"]
    left_out = {names.index("pelvis"), names.index("thorax")}
    hits = [
        error <= 0.5
        for person in people
        for joint, (error, known) in enumerate(
            zip(person["errors"], person["labelled"], strict=True)
        )
        if known and joint not in left_out
    ]
    assert 100 * np.mean(hits) == pytest.approx(trained[1].metrics["Mean"], abs=0.1)


def test_weights_without_a_record(trained, synthetic_root, tmp_path, capsys):
    assert main(given(trained, tmp_path / "g", synthetic_root, records=tmp_path)) == 1
    assert "is of these weights" in capsys.readouterr().err
    assert main(given(trained, tmp_path / "g", synthetic_root, checkpoint=tmp_path / "no")) == 1
    assert main(given(trained, tmp_path / "g", synthetic_root, people=0)) == 2
    assert not (tmp_path / "g").exists()


def test_photographs_are_refused(trained, synthetic_root, tmp_path, capsys):
    _, record, _ = trained
    facts = replace(record.dataset, name="mpii")
    store = RecordStore(tmp_path / "s")
    store.add(replace(record, dataset=facts))
    assert main(given(trained, tmp_path / "g", synthetic_root, records=tmp_path / "s")) == 1
    assert "synthetic people" in capsys.readouterr().err
