"""The weights in the package are what their card says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

import hevitpose
from hevitpose import PosePredictor
from hevitpose.cli import execute
from hevitpose.data.keypoints import COCO
from hevitpose.inference.pretrained import model_card
from hevitpose.models.checkpoint import DEFAULT_WEIGHTS, read_checkpoint
from hevitpose.models.shipped import SHIPPED
from hevitpose.records import Record
from hevitpose.records.identity import file_digest

FOLDER = SHIPPED / DEFAULT_WEIGHTS
CARD = (FOLDER / "README.md").read_text(encoding="utf-8")
MEASURED = Path(__file__).parents[2] / "results" / "measured"


def committed(record_id: str) -> Record:
    (path,) = MEASURED.rglob(f"{record_id}.json")
    return Record.of(json.loads(path.read_text(encoding="utf-8")), from_json=True)


def stated(dataset: str) -> tuple[float, str]:
    """The AP that the card states, and the record it names."""
    row = re.search(rf"^\| {dataset} val .* \| AP \| ([\d.]+)[^|]*\| `(\w+)` \|$", CARD, re.M)
    assert row is not None
    return float(row[1]), row[2]


def rendered_in_cocos_format(folder: Path, people: int) -> Path:
    """Rendered people as a dataset of its own, so that nobody takes them for COCO's."""
    from hevitpose.data.synthetic import generate

    generate(folder, people=people, size=256, seed=0, workers=1)
    path = folder / "rendered.yaml"
    names = COCO.names
    content = {
        "name": "rendered-coco",
        "category": "person",
        "keypoints": list(names),
        "flip_pairs": [[names[a], names[b]] for a, b in COCO.flip_pairs],
        "sigmas": list(COCO.sigmas),
        "splits": {
            "val": {
                "annotations": "coco/annotations/coco_val.json",
                "images": "coco/images/val2017",
            }
        },
    }
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def test_they_are_small_and_say_what_they_are():
    assert (FOLDER / "model.safetensors").stat().st_size < 1.4e6
    assert "A demonstration, not a product" in CARD
    assert "not COCO val AP" in CARD.partition("## Results")[2]
    assert "| training data | coco_small (" in CARD and "; before it synthetic (" in CARD


def test_a_committed_training_on_the_train_split_alone_left_them():
    source = read_checkpoint(DEFAULT_WEIGHTS).source
    training = committed(source["origin"].removeprefix("training "))
    assert training.weights == source["sha256"]
    assert training.dataset is not None
    assert (training.dataset.name, training.dataset.split) == ("coco_small", "train")
    start = committed(training.inputs["start_from"])
    assert start.dataset is not None and start.dataset.name == "synthetic"
    assert training.code.dirty is False and start.code.dirty is False


def test_the_card_states_what_records_of_these_weights_say():
    for dataset in ("coco_small", "rendered-coco"):
        value, record_id = stated(dataset)
        record = committed(record_id)
        assert record.weights == file_digest(FOLDER / "model.safetensors")
        assert record.metrics["AP"] == pytest.approx(value, abs=5e-4)


def test_the_card_is_what_its_command_writes_today():
    """Of the records that it names, and of the notes in it."""
    training = read_checkpoint(DEFAULT_WEIGHTS).source["origin"].removeprefix("training ")
    ids = (training, *(stated(dataset)[1] for dataset in ("coco_small", "rendered-coco")))
    notes = CARD.partition("gives the network.\n\n")[2].partition("\n\n| | |")[0]
    network = hevitpose.from_pretrained(DEFAULT_WEIGHTS)
    about = network.pretrained_from
    card = model_card(
        network,
        DEFAULT_WEIGHTS,
        about.config,
        about.source,
        [committed(each) for each in ids],
        notes,
    )
    assert card == CARD


def test_they_are_what_predict_and_the_predictor_take_by_default(tmp_path, capsys):
    import cv2

    picture = np.random.default_rng(0).integers(0, 255, (120, 90, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "one.png"), picture)
    words = ["predict", str(tmp_path / "one.png"), "--out", str(tmp_path / "out")]
    assert execute([*words, "--detector", "none"]) == 0
    (person,) = json.loads((tmp_path / "out" / "keypoints.json").read_text())
    (pose,) = PosePredictor()(tmp_path / "one.png")
    drawn = np.reshape(person["keypoints"], (17, 3))[:, :2]
    assert np.allclose(drawn, pose.keypoints[0], atol=0.01)
    assert hevitpose.from_pretrained(DEFAULT_WEIGHTS).name == "hevitpose_nano"


def valid(config: list[str], capsys: pytest.CaptureFixture[str]) -> float:
    assert execute(["valid", *config, "--weights", DEFAULT_WEIGHTS, "--json"]) == 0
    return json.loads(capsys.readouterr().out)["AP"]


@pytest.mark.slow
def test_rendered_people(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = rendered_in_cocos_format(tmp_path, 400)
    found = valid(["--cfg", "coco", f"data.dataset={path}", "data.workers=0"], capsys)
    assert found == pytest.approx(stated("rendered-coco")[0], abs=0.01)


@pytest.mark.slow
def test_coco_small(samples, tmp_path, monkeypatch, capsys):
    if not (samples / "coco_small").is_dir():
        pytest.skip(f"coco_small is not at {samples}")
    monkeypatch.chdir(tmp_path)
    found = valid(["--cfg", "coco_small", f"data.root={samples}", "data.workers=0"], capsys)
    assert found == pytest.approx(stated("coco_small")[0], abs=2e-3)
