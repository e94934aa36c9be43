"""Keys that had other names: read for good, written nowhere but in ids and headers of weights."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hevitpose.config import load_config
from hevitpose.config.renamed import RENAMED, with_first_names, with_todays_names
from hevitpose.errors import Notice, UsageError
from hevitpose.records.identity import DataInputs, training_run

ROOT = Path(__file__).resolve().parents[2]
VALUES = {
    "codec.decode": "dark",
    "codec.encode": "unbiased",
    "codec.flip_test": False,
    "codec.joint_weights": True,
    "codec.nms_threshold": 0.5,
    "data.boxes": "found.json",
    "training.optimize": False,
    "model.head": "bilinear",
    "model.head_conv": False,
    "model.head_filters": [96, 48],
    "model.heads": 2,
    "model.pretrained": "weights.pth",
}


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_the_old_name_sets_the_new_key_and_says_so(old, new):
    with pytest.warns(Notice, match=f"config key {old} is now {new}"):
        by_old = load_config(None, {old: VALUES[old]})
    assert by_old == load_config(None, {new: VALUES[old]}) != load_config(None)


def test_a_file_with_old_names(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("codec: {flip_test: false, sigma: 3}\ndata: {boxes: found.json}\n")
    with pytest.warns(Notice, match=r"codec\.flip_test is now evaluation\.flip_test"):
        config = load_config(path, ["evaluation.nms_threshold=0.5"])
    assert not config.evaluation.flip_test and config.evaluation.nms_threshold == 0.5
    assert config.data.box_source == "found.json" and config.codec.sigma == 3
    with pytest.warns(Notice):  # a later layer wins, whatever it calls the key
        assert load_config(path, ["evaluation.flip_test=true"]).evaluation.flip_test
    path.write_text("codec: {flip_test: false}\nevaluation: {flip_test: true}\n")
    with (
        pytest.warns(Notice),
        pytest.raises(UsageError, match=rf"{path.name}: codec\.flip_test and evaluation\.flip_t"),
    ):
        load_config(path)


def test_every_name_is_of_a_key_and_there_and_back_is_the_same():
    options = {new: VALUES[old] for old, new in RENAMED.items() if new.startswith("model.")}
    config = load_config(None, options).dump()
    assert with_todays_names(config) == config
    first = with_first_names(config)
    assert with_todays_names(first) == config
    for old, new in RENAMED.items():
        section, key = new.split(".")
        assert key in config[section], new
        section, key = old.split(".")
        assert key in first[section], old


def test_commands_hand_over_todays_names():
    source = "".join(path.read_text() for path in (ROOT / "hevitpose/cli").rglob("*.py"))
    options = set(re.findall(r"\b([a-z]+__[a-z_]+)=", source))
    assert "data__box_source" in options
    assert not {name.replace("__", ".") for name in options} & RENAMED.keys()


def test_ids_and_headers_of_weights_know_first_names():
    config = load_config("synthetic", {"codec.method": "unbiased", "training.fast_form": False})
    inputs = training_run(config, DataInputs(16), "cpu").inputs["config"]
    assert inputs["codec"]["encode"] == "unbiased" and inputs["training"]["optimize"] is False
    assert config.of_weights()["codec"]["encode"] == "unbiased"
    assert not {"method", "decoder"} & config.of_weights()["codec"].keys()
