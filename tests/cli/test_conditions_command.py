"""``hevitpose valid --condition``: level 0 is the plain evaluation to the bit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hevitpose.cli import execute
from hevitpose.records import RecordStore


@pytest.fixture
def trained(synthetic_root, tmp_path, monkeypatch, capsys):
    """Words of ``valid`` for weights of one step."""
    monkeypatch.chdir(tmp_path)
    words = ["model.name=nano", "data.input_size=64,64", f"data.root={synthetic_root}"]
    words += ["data.people=60", "data.image_size=128", "training.steps=1"]
    words += ["training.batch_size=2", "training.threads=1"]
    assert execute(["train", *words]) == 0
    (weights,) = (tmp_path / "runs" / "train").glob("*/model.safetensors")
    capsys.readouterr()
    return ["valid", "--weights", str(weights), *words]


def test_level_0_and_others(trained, tmp_path, capsys):
    def valid(name, *words):
        file = tmp_path / f"{name}.npz"
        assert execute([*trained, *words, "--predictions", str(file), "--json"]) == 0
        with np.load(file) as found:
            return json.loads(capsys.readouterr().out), dict(found)

    plain, keypoints = valid("plain")
    zero, same = valid("zero", "--condition", "fog:0")
    assert zero == plain and "condition" not in plain["dataset"]
    for name, values in keypoints.items():
        np.testing.assert_array_equal(same[name], values)
    store = RecordStore(tmp_path / "runs" / "records")
    assert sum(record.kind == "evaluation" for record in store.load()) == 1
    fog, moved = valid("fog", "--condition", "fog:3")
    assert fog["dataset"]["condition"] == "fog:3"
    assert (moved["keypoints"] != keypoints["keypoints"]).any()
    assert "mean_pose_Mean" in plain and "mean_pose_Mean" not in fog
    _, repeated = valid("again", "--condition", "fog:3", "data.eval_batch_size=3")
    np.testing.assert_allclose(repeated["keypoints"], moved["keypoints"], atol=1e-2)


def test_several_conditions_at_once(trained, tmp_path, capsys):
    assert execute([*trained, "--condition", "grey:1,flip:1", "--condition", "box-jitter:2"]) == 0
    out = capsys.readouterr().out
    assert [f"condition {name}" in out for name in ("grey:1", "flip:1", "box-jitter:2")] == [
        True
    ] * 3
    records = RecordStore(tmp_path / "runs" / "records").load()
    found = {r.condition for r in records if r.kind == "evaluation"}
    assert found == {None, "grey:1", "flip:1", "box-jitter:2"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--condition", "foog:1"], "unknown condition 'foog'; did you mean 'fog'?"),
        (["--condition", "fog:6"], "expected fog:LEVEL, LEVEL from 0 to 5"),
        (["--condition", "fog:1,fog"], "expected fog:LEVEL"),
        (["--condition", "fog:1,fog:2", "--predictions", "a.npz"], "2 conditions; expected one"),
    ],
)
def test_bad_conditions(trained, tmp_path, words, says, capsys):
    before = sorted((tmp_path / "runs" / "records").iterdir())
    assert execute([*trained, *words]) == 2
    err = capsys.readouterr().err
    assert says in err and len(err.strip().splitlines()) == 1
    assert sorted((tmp_path / "runs" / "records").iterdir()) == before


def test_where_predictions_cannot_go_is_said_before(trained, tmp_path, capsys):
    weights = Path(trained[2])
    before = weights.read_bytes()
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "link.npz").symlink_to(weights)
    (tmp_path / "file").write_text("")
    for name, says in (
        ("folder.npz", "is a folder, expected a file to write"),
        (str(weights), "is an input of this evaluation"),
        ("link.npz", "is an input of this evaluation"),
        ("keypoints.json", "expected a file to write, NAME.npz"),
        ("file/keypoints.npz", "is not a folder that can be written"),
    ):
        words = ["--condition", "fog:3", "--predictions", str(tmp_path / name)]
        assert execute([*trained, *words]) == 2
        assert says in capsys.readouterr().err
    assert weights.read_bytes() == before
    store = RecordStore(tmp_path / "runs" / "records")
    assert not any(record.condition for record in store.load())
