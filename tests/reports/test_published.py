"""The published numbers against their schema, and against what the papers say."""

from __future__ import annotations

import csv
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from hevitpose.errors import DataError
from reports import published
from reports.published import ROOT, load
from reports.tables.cost import published_counts


@pytest.fixture(scope="module")
def numbers():
    return load()


def test_every_source_and_caution_is_used(numbers):
    cited = {row.source for row in numbers.numbers}
    claims = (ROOT / "claims.yaml").read_text(encoding="utf-8")
    assert {key for key in numbers.sources if key not in cited and key not in claims} == set()
    used = {key for row in numbers.numbers for key in row.cautions}
    assert used == set(numbers.cautions)


def test_the_headline_numbers(numbers):
    rows = {(r.model, r.dataset, r.split): r for r in numbers.numbers if r.status == "current"}
    b_val = rows["HEViTPose-B", "mpii", "val"]
    assert (b_val.mean, b_val.params_m, b_val.gflops) == (89.4, 10.63, 5.58)
    assert rows["HEViTPose-B", "mpii", "test"].mean == 90.7
    assert rows["HEViTPose-B", "coco", "val"].ap == 75.4
    assert rows["HEViTPose-B", "coco", "test-dev"].ap == 72.6


def test_cautions_follow_the_number(numbers):
    coco = next(r for r in numbers.of("coco", "val") if r.model == "HEViTPose-B")
    assert any("ground-truth boxes" in note for note in numbers.cell(coco, "ap", 1).notes)
    assert numbers.cell(coco, "params_m", 2).notes == ()
    hrnet = next(r for r in numbers.of("mpii", "test") if r.model == "HRNet-W32")
    assert any("28.54M" in note for note in numbers.cell(hrnet, "params_m", 2).notes)
    assert numbers.cell(hrnet, "mean", 1).notes == ()


def test_withdrawn_numbers_are_in_no_selection(numbers):
    assert all(r.status != "superseded" for r in numbers.of("mpii", "val"))
    rows = [r for r in numbers.numbers if (r.dataset, r.split) == ("mpii", "val")]
    old = [r for r in rows if r.status == "superseded"]
    assert len(old) == 3
    assert all(numbers.cell(r, "mean", 1).notes for r in old)


def test_rows_of_another_paper_are_in_no_comparison(numbers):
    """CID's COCO rows, which the first README printed as HEViTPose's."""
    for split, ap in (("val", 69.8), ("test-dev", 69.1)):
        assert ap not in [row.ap for row in numbers.of("coco", split)]
        (row,) = [r for r in numbers.numbers if (r.dataset, r.split, r.ap) == ("coco", split, ap)]
        assert row.status == "misattributed" and row.withdrawn
        for name in ("ap", "ap50", "ap75", "ap_m", "ap_l"):
            assert "CID's row (github.com/kennethwdk/CID" in numbers.cell(row, name, 1).notes[0]


def test_same_numbers_as_the_reference(numbers):
    folder = Path(os.environ.get("HEVITPOSE_SAMPLES", ROOT.parents[2] / "shared" / "data"))
    reference = folder.parent / "reference" / "published.csv"
    if not reference.is_file():
        pytest.skip(f"no reference file at {reference}")
    with reference.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(numbers.numbers)
    for theirs, ours in zip(rows, numbers.numbers, strict=True):
        assert theirs["model"] == ours.model
        for name in published.NUMBERS:
            value = getattr(ours, name)
            assert (float(theirs[name]) if theirs[name] else None) == value, (ours.model, name)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("90.7,,,,,,,,,,,current", "190.7,,,,,,,,,,,current", "numbers.csv:7: mean"),
        ("current,printed,,,joints-repeat", "current,printed,,,surprise", "surprise"),
        (",hevitpose-readme\n", ",nobody\n", "'nobody' is not in sources.yaml"),
        ("HEViTPose-T,hevitpose_t,", "HEViTPose-T,hevitpose_x,", "hevitpose_x"),
        ("current,printed", "measured from a figure,printed", "contradicts"),
        (",1.75,", ",nan,", "numbers.csv:2: gflops"),
        (",1.75,", ",1.75,,,,,,,,,,,,,,,,,,,,,,,,,,,", "numbers.csv:2"),
    ],
)
def test_bad_rows_are_named(tmp_path, old, new, message):
    root = tmp_path / "published"
    shutil.copytree(ROOT, root)
    path = root / "numbers.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=r"numbers\.csv") as caught:
        load(root)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_counts_of_a_network_are_those_of_its_keypoints(numbers):
    """A row of COCO counts a head of 17 maps: at 16 keypoints it is another network."""
    mpii = next(r for r in numbers.of("mpii", "val") if r.network == "pose_hrnet_w32")
    assert mpii.from_figure == ()  # there is a figure's row before it
    assert numbers.counts("pose_hrnet_w32", (256, 256), 16) == mpii
    coco = mpii.model_copy(update={"dataset": "coco", "params_m": 28.54, "gflops": 10.3})
    both = replace(numbers, numbers=(coco, *numbers.numbers))
    assert published_counts(both, "pose_hrnet_w32") == mpii
    assert both.counts("pose_hrnet_w32", (256, 256), 17) == coco
    assert numbers.counts("pose_hrnet_w32", (192, 256), 16) is None
    assert numbers.counts("hevitpose_b", (256, 256), 5) is None
