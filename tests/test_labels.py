"""Wherever numbers on a dataset stand, what has to be said of it stands too."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import hevitpose
from ablations.options import Options
from hevitpose.cli import execute
from hevitpose.cli.common import print_record
from hevitpose.data.registry import labels_of
from hevitpose.inference.lower_precision import LowerPrecision, People
from hevitpose.records import Record, RecordStore
from reports import build
from reports.load import check
from reports.output.runs import runs_of
from reports.published import ROOT as PUBLISHED
from reports.published import load as load_published
from reports.render import render_grid
from reports.tables.accuracy import accuracy_table, tables
from tests.ablations.conftest import PRELOAD, WORK
from tests.data import annotation_files as files
from tests.reports.conftest import Factory

LABEL = "coco_small: COCO val2017 people, own split; not COCO val AP"
METRICS = {"AP": 0.3, "AP50": 0.6}


def record(name: str = "coco_small", **changes: object) -> Record:
    made = Factory().evaluation(
        dataset={"name": name, "split": "val", "fingerprint": "sha256:0", "boxes": "gt",
                 "counts": {"people": 1422}},
        config={"model": {"name": "hevitpose_nano"},
                "data": {"dataset": name, "input_size": [192, 256]}},
        metrics=METRICS,
        **changes,
    )  # fmt: skip
    return made


def truth_and_results(folder: Path) -> list[str]:
    content = files.coco()
    truth = files.write(folder / "truth.json", content)
    people = [p for p in content["annotations"] if not p["iscrowd"] and any(p["keypoints"])]
    keys = ("image_id", "category_id", "keypoints")
    results = [{key: p[key] for key in keys} | {"score": 1.0} for p in people]
    found = files.write(folder / "results.json", results)
    return [
        *("--dataset", "coco_small", "--ground-truth", str(truth)),
        *("--predictions", str(found)),
    ]


# Every writer of numbers: what it writes, as one text ---------------------------------------------


def of_train_and_valid(folder: Path, said: Callable[[], str]) -> str:
    print_record(record(), as_json=False)
    return said()


def of_train_and_valid_as_json(folder: Path, said: Callable[[], str]) -> str:
    print_record(record(), as_json=True)
    return json.loads(said())["dataset"]["label"]


def of_evaluate_predictions(folder: Path, said: Callable[[], str]) -> str:
    assert execute(["evaluate-predictions", *truth_and_results(folder)]) == 0
    return said()


def of_evaluate_predictions_as_json(folder: Path, said: Callable[[], str]) -> str:
    assert execute(["evaluate-predictions", *truth_and_results(folder), "--json"]) == 0
    return json.loads(said())["label"]


def of_diagnose(folder: Path, said: Callable[[], str]) -> str:
    words = ["diagnose", *truth_and_results(folder), "--out", str(folder / "out")]
    assert execute(words) == 0
    return said()


def of_diagnose_as_json(folder: Path, said: Callable[[], str]) -> str:
    assert execute(["diagnose", *truth_and_results(folder), "--json"]) == 0
    return json.loads(said())["label"]


def of_a_model_card(folder: Path, said: Callable[[], str]) -> str:
    nano = hevitpose.create_model("nano", seed=1).eval()
    hevitpose.save_pretrained(nano, folder / "nano", records=[record()])
    return (folder / "nano/README.md").read_text().replace("\\_", "_")


def of_a_csv_of_an_ablation(folder: Path, said: Callable[[], str]) -> str:
    render_grid([record(), record(cell="mhsa")], "attention", folder)
    with (folder / "attention.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    (said_of_all,) = {row["data"] for row in rows}
    return said_of_all


def of_an_accuracy_table(folder: Path, said: Callable[[], str]) -> str:
    spec = next(each for each in tables() if each.dataset == "coco_small")
    runs = check([("a.json", record())])
    table = accuracy_table(spec, runs, load_published(PUBLISHED))
    assert table.data in table.caption
    return build.to_csv(table)


def of_the_page(folder: Path, said: Callable[[], str]) -> str:
    RecordStore(folder).add(record())
    page = runs_of(build.make([folder]))
    return page["parts"][page["runs"][0]["details"]["parts"]["dataset"]]["label"]


def of_the_list_of_records(folder: Path, said: Callable[[], str]) -> str:
    RecordStore(folder).add(record())
    assert execute(["records", "list", "--store", str(folder)]) == 0
    return said()


def of_a_file_in_lower_precision(folder: Path, said: Callable[[], str]) -> str:
    named = {"dataset": "coco_small", "judged on": "minival"}
    people = People(torch.zeros(1, 3, 4, 4), named, "PCK", len, len, "425 people")
    found = LowerPrecision("bf16", "openvino", "PCK", people.told, 60.0, 59.9)
    return "\n".join(found.lines())


def of_ablations(folder: Path, said: Callable[[], str]) -> str:
    from ablations.cli import session

    content = files.coco()
    for split in ("train", "val"):
        files.write(folder / f"data/coco_small/annotations/coco_small_{split}.json", content)
    for name in ("a.jpg", "b.jpg"):
        files.image(folder / "data/coco_small/images" / name)
    grid = files.write(
        folder / "mini.yaml",
        "question: q\ncommand: c\nexpected: e\nfinding: f\naxes: {model.ffn_ratio: [1]}\n"
        "primary: {other: AP}\n",
    )
    options = Options(
        words=[str(grid), "training.steps=5", "data.input_size=[64,64]"],
        dataset="coco_small",
        data=folder / "data",
        out=folder / "out",
        work=WORK,
        preload=PRELOAD,
        tables=False,
        timeout=20.0,
    )
    assert session(options) == 0
    lines = said().splitlines()
    places = [place for place, line in enumerate(lines) if line == LABEL]
    first = next(place for place, line in enumerate(lines) if " AP " in line)
    last = next(place for place, line in enumerate(lines) if "recorded before" in line)
    assert len(places) == 2 and places[0] < first < last < places[1]
    return LABEL


WRITERS = {
    name.removeprefix("of_"): found
    for name, found in list(globals().items())
    if name.startswith("of_")
}


@pytest.mark.parametrize("writer", WRITERS)
def test_every_writer_of_numbers_says_it(writer, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert LABEL in WRITERS[writer](tmp_path, lambda: capsys.readouterr().out)


def test_a_record_that_is_shown_says_it_beside_the_json(tmp_path, capsys):
    RecordStore(tmp_path).add(record())
    assert execute(["records", "show", record().id, "--store", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["id"] == record().id and said.err.strip() == LABEL


def test_what_has_no_label_gets_none(capsys):
    assert labels_of("coco_small", "mpii", "synthetic", "mine", "coco_small") == [LABEL]
    assert labels_of("coco", "mpii") == []
    print_record(record("coco"), as_json=True)
    assert "label" not in json.loads(capsys.readouterr().out)["dataset"]
