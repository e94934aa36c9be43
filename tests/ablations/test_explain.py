"""What a dry run says of a job that differs from its nearest record, on a line that can be read."""

from __future__ import annotations

import dataclasses
import re

import pytest
from msgspec.structs import replace

from ablations.cli import main, session
from ablations.explain import describe, explain_record, most_telling
from ablations.grid import load_grids
from ablations.plan import plan
from hevitpose.errors import UsageError
from hevitpose.records import Difference, RecordStore, differences
from hevitpose.runs import measured

FOUND = [
    Difference("config.codec.sigma", 1.0, 1.5),
    Difference("config.data.input_size", [128, 128], [128, 192]),
    Difference("config.training.lr", 0.008, 0.004),
    Difference("config.training.steps", 300, 2000),
    Difference("data.declared.sigmas", [0.079] * 14, [0.026] * 17),
    Difference("data.declared.use_area", False, True),
    Difference("data.fingerprint", "synthetic:v1:seed0", f"sha256:{'ba905fde' * 8}"),
    Difference("machine.cpu", "AMD EPYC", "Intel Xeon"),
    Difference("machine.ram", 23.5, 125.9),
    Difference("weights", "fe2dce3469196090c37a", None),
]


def test_the_most_telling_come_first_and_long_lists_are_named():
    assert most_telling(FOUND, 1000).split("; ") == [
        "data: synthetic:v1:seed0 -> sha256:ba905fde",
        "input: [128,128] -> [128,192]",
        "steps: 300 -> 2000",
        "machine.cpu: AMD EPYC -> Intel Xeon",
        "machine.ram: 23.5 -> 125.9",
        "training.lr: 0.008 -> 0.004",
        "codec.sigma: 1.0 -> 1.5",
        "weights: fe2dce34 -> None",
        "data.declared.use_area: False -> True",
        "data.declared.sigmas differs",
    ]


def test_what_does_not_fit_is_counted():
    first, second = "data: synthetic:v1:seed0 -> sha256:ba905fde", "input: [128,128] -> [128,192]"
    assert most_telling(FOUND, 100) == f"{first}; {second}; 8 more"
    assert most_telling(FOUND, len(f"{first}; {second}; 8 more") - 1) == f"{first}; 9 more"
    assert most_telling(FOUND, 5) == f"{first}; 9 more"  # one in any case
    assert most_telling(FOUND[:1], 5) == "codec.sigma: 1.0 -> 1.5"
    for width in range(60, 400):
        line = most_telling(FOUND, width)
        assert len(line) <= width and "\n" not in line


def test_a_key_that_one_side_lacks_differs():
    before, after = {"a": {"x": 1, "y": 2}, "b": None}, {"a": {"x": 1, "y": 3}}
    assert list(map(str, differences(before, after))) == ["a.y: 2 -> 3", "b: None -> None"]


def test_a_line_for_each_job_with_the_data_by_name(options_for, grid, samples):
    options = options_for(grid("axes: {model.ffn_ratio: [1, 2]}"))
    assert session(options) == 0
    words = [*options.words, "data.dataset=coco_small", "data.input_size=192,256"]
    other = dataclasses.replace(options, words=[*words, "training.steps=6"], data=samples)
    grids = load_grids(other.grid_names, other.base_config())
    made = plan(grids, other.seed_numbers())
    lines = describe(made, [RecordStore(other.out / "records")], other.out).splitlines()
    told = [line for line in lines if " training " in line or " evaluation " in line]
    assert len(told) == 4 and all(len(line) <= 160 for line in lines)
    start = " would run changed: data: synthetic -> coco_small; input: [128,128] -> [192,256]; "
    assert all(start in line and re.search(r"; [0-9]+ more", line) for line in told), lines
    assert all("; steps: 5 -> 6; " in line for line in told if " training " in line)


@pytest.mark.parametrize(
    "record_id",
    [
        "1480e87c544d8a0bc15b",  # an exported file
        "02599dfd73ca7509ca2e",  # a training's weights, by another config than the training's
        "05bf5e72fbbb67fc1ad8",  # tuned
        "00120747be317b147791",  # under a condition
    ],
)
def test_an_evaluation_that_would_be_made_again_is_the_same(record_id, tmp_path):
    assert explain_record(record_id, tmp_path).splitlines()[-1] == "now: the same"


def test_foreign_weights_on_photographs_are_the_same(samples, tmp_path):
    text = explain_record("17ea80c8232581dd3143", tmp_path, samples)
    assert text.splitlines()[-1] == "now: the same"


def test_what_differs_is_told_of_a_file_too(tmp_path):
    kept = measured().find("1480e87c544d8a0bc15b")
    config = {**kept.config, "evaluation": {**kept.config["evaluation"], "flip_test": True}}
    RecordStore(tmp_path / "records").add(replace(kept, config=config))
    last = explain_record(kept.id, tmp_path).splitlines()[-1]
    assert last == "now: config.codec.flip_test: False -> True"


def test_a_config_that_this_version_refuses_is_one_line(tmp_path):
    kept = measured().find("02599dfd73ca7509ca2e")
    config = {**kept.config, "training": {**kept.config["training"], "lr": "fast"}}
    RecordStore(tmp_path / "records").add(replace(kept, config=config))
    last = explain_record(kept.id, tmp_path).splitlines()[-1]
    assert last.startswith("now: cannot be told (its config: training.lr: 'fast': ")


def test_a_strangers_record_is_told_without_moving_the_terminal(tmp_path):
    kept = measured().find("02599dfd73ca7509ca2e")
    odd = replace(kept, cell="a\x1b[31m\nb", status="failed", error="first\x1b[2J\nsecond")
    RecordStore(tmp_path / "records").add_failure(odd)
    text = explain_record(kept.id, tmp_path)
    assert text.replace("\n", "").isprintable()
    assert text.splitlines()[0].endswith(r"a\x1b[31m\nb")
    assert text.splitlines()[-2:] == [r"error: first\x1b[2J", "second"]


def test_a_beginning_that_two_stores_share_is_ambiguous(tmp_path):
    kept = measured().find("02599dfd73ca7509ca2e")
    store = RecordStore(tmp_path / "records")
    store.add(kept)  # the same id in both is one
    assert explain_record(kept.id[:12], tmp_path).startswith(kept.id)
    other = replace(kept, id=f"{kept.id[:12]}00000000", inputs={})
    store.add(other)
    with pytest.raises(UsageError, match=f"'{kept.id[:12]}' is ambiguous: {other.id}, {kept.id}"):
        explain_record(kept.id[:12], tmp_path)
    (store.root / f"{kept.id}.json").unlink()
    with pytest.raises(UsageError, match="is ambiguous"):
        explain_record(kept.id[:12], tmp_path)


def test_a_folder_that_is_not_there_is_refused(tmp_path, capsys):
    nowhere = tmp_path / "nowhere"
    assert main(["explain", "02599dfd73ca7509ca2e", "--out", str(nowhere)]) == 2
    out, err = capsys.readouterr()
    assert err == f"error: --out {nowhere}: no such folder, expected one of runs\n" and not out
