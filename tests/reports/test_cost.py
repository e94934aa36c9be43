"""Tables of costs: which of a network's runs stand beside the published numbers."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace

from reports.claims import claims_table
from reports.load import check
from reports.published import published
from reports.tables.cost import peers_table, summary_table


@pytest.fixture
def run(make):
    def made(mean, side=256, day=0, decoder="default", seed=0):
        config = {
            "model": {"name": "hevitpose_b"},
            "data": {"dataset": "mpii", "input_size": [side, side]},
            "codec": {"decoder": decoder},
        }
        data = {"name": "mpii", "split": "val", "fingerprint": "sha256:0", "boxes": "gt"}
        record = make.evaluation(
            grid=None, model="hevitpose_b", variant="b", config=config, dataset=data, mean=mean,
            seed=seed, id_config=config,
        )  # fmt: skip
        return replace(record, started_at=record.started_at + timedelta(days=day))

    return made


def shown(records):
    """What the three tables say of HEViTPose-B's accuracy on MPII val."""
    measured = check((f"{number}.json", record) for number, record in enumerate(records))
    found = []
    for table in (peers_table(measured, published()), summary_table(measured, published())):
        (row,) = (row for row in table.rows if row[0].text == "HEViTPose-B")
        keys = [column.key for column in table.columns]
        found.append(row[keys.index("mpii_val" if "mpii_val" in keys else "val_measured")].text)
    rows = claims_table(measured, published(), []).rows
    (claim,) = (row for row in rows if row[0].text.startswith("HEViTPose-B reaches 89.4"))
    return [*found, claim[2].text], claim[3].text


def test_the_newest_setting_at_the_input_that_the_title_names(run):
    """Neither the first by its name nor one of another input, however new."""
    found = [run(80.0, side=128, day=9), run(81.0, decoder="argmax"), run(88.0, day=1)]
    found += [run(89.0, day=2, decoder="dark"), run(82.0, decoder="default-1x", day=1)]
    for records in (found, found[::-1]):
        assert shown(records)[0] == ["89.0", "89.0", "89.0%"]


def test_no_run_at_that_input(run):
    values, verdict = shown([run(80.0, side=128)])
    assert values == ["not measured"] * 3
    assert verdict == "not measured: no run of hevitpose_b on mpii val at 256x256 is recorded"
    assert shown([])[1] == verdict
