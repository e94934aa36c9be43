"""Cells at the width that costs what the default costs."""

from __future__ import annotations

import dataclasses
import random

import pytest

from ablations import cli as command
from ablations import match as matching
from ablations.cli import session
from ablations.grid import load_grids
from ablations.match import Cost, Costs, match
from ablations.measurements import build
from hevitpose.config import load_config
from hevitpose.cost.complexity import count
from hevitpose.errors import HEViTPoseError, UsageError
from hevitpose.records import RecordStore

SIZE = "data.input_size=64,64"


def base(*overrides: str):
    return load_config(None, ["model.name=nano", SIZE, *overrides], preset="quick")


def counted(config) -> tuple[int, int]:
    found = count(build(config), config.data.input_size, convention="mmcv")
    return found.params, found.flops


def widths(cell) -> tuple[int, ...]:
    return cell.config.model.spec().widths


@pytest.mark.slow
@pytest.mark.parametrize("by", ["flops", "params"])
def test_the_nearest_width_of_all(grid, tmp_path, by):
    body = (
        "cells:\n  wide: {model.ffn_ratio: 4}\n  narrow: {model.ffn_ratio: 1}\n"
        "  plain: {model.attention: none}\n"
    )
    grids = load_grids([grid(body)], base())
    (found,), lines = match(grids, by, tmp_path)
    assert len(lines) == 3 and found.cells[0] == grids[0].cells[0]
    position = 1 if by == "flops" else 0
    target = counted(found.cells[0].config)[position]
    names = [cell.name for cell in found.cells]
    for cell in grids[0].cells[1:]:
        place = names.index(cell.name)
        assert found.cells[place] == cell  # the unmatched form stays as it is
        twin = found.cells[place + 1]
        assert twin.name == f"{cell.name} ({'FLOPs' if by == 'flops' else 'params'} matched)"
        assert twin.overrides == {**cell.overrides, "model.widths": list(widths(twin))}
        difference = abs(counted(twin.config)[position] - target)
        assert difference <= 0.05 * target
        ladder = list(matching._ladder(cell.config))
        assert ladder == sorted(ladder) and (32, 64, 96) in ladder
        near = ladder.index(widths(twin))
        for other in ladder[max(0, near - 2) : near + 3]:
            config = cell.config.with_overrides({"model.widths": list(other)})
            assert abs(counted(config)[position] - target) >= difference


def test_networks_of_equal_cost_have_no_twin(grid, tmp_path):
    body = "cells: {sigma: {codec.sigma: 3}, argmax: {codec.decoder: argmax}}"
    grids = load_grids([grid(body)], base())
    (found,), lines = match(grids, "flops", tmp_path)
    assert [cell.name for cell in found.cells] == ["default", "sigma", "argmax"]
    assert "sigma: costs the same" in lines[0] and "+0.0%" in lines[0]
    assert len(Costs(tmp_path).known) == 1  # the default's network, whatever its codec


@pytest.mark.slow
def test_counted_once(grid, tmp_path, monkeypatch):
    grids = load_grids([grid("axes: {model.ffn_ratio: [1, 4]}")], base())
    first = match(grids, "flops", tmp_path)

    def refuse(*_):
        raise AssertionError("counted again")

    with monkeypatch.context() as patched:
        patched.setattr(Costs, "_count", refuse)
        assert match(grids, "flops", tmp_path) == first
    (tmp_path / "costs.json").write_text('{"half')
    assert match(grids, "flops", tmp_path) == first


def test_a_complexity_record_counts(grid, tmp_path, monkeypatch):
    config = base()
    monkeypatch.setattr(Costs, "_count", lambda *_: Cost(1, 2))
    assert Costs(tmp_path).of(config) == (1, 2)
    from hevitpose.records import Record
    from hevitpose.runs import complexity_run

    run = complexity_run(config)
    RecordStore(tmp_path / "records").add(
        Record.of(
            {
                "id": run.id, "kind": "complexity", "model": "hevitpose_nano",
                "inputs": run.inputs, "params": 7, "flops": {"mmcv": 0.093801},
                "started_at": "2026-01-01T00:00:00Z",
            }
        )
    )  # fmt: skip
    assert Costs(tmp_path).of(config) == (7, 93801000)


def test_reasons_for_none(grid, tmp_path, monkeypatch):
    grids = load_grids(
        [grid("cells: {big: {model.ffn_ratio: 16}, r: {model.ffn_ratio: 4}}")], base()
    )
    with monkeypatch.context() as patched:
        patched.setattr(matching, "MATCH_TOLERANCE", 0.0001)
        (found,), lines = match(grids, "flops", tmp_path)
    assert len(found.cells) == 3
    assert all("more than 0% from the default" in line for line in lines)

    def broken(self, config):
        if config.model.spec().ffn_ratio == 16:
            raise HEViTPoseError("it cannot be built")
        return Cost(10, 10)

    with monkeypatch.context() as patched:
        patched.setattr(Costs, "of", broken)
        (found,), lines = match(grids, "flops", tmp_path)
    assert lines == [
        "mini/big: not matched: it cannot be built",
        "mini/r: costs the same (1e-08G, +0.0%)",
    ]
    with pytest.raises(UsageError, match="a peer, whose width is fixed"):
        peers = load_grids([grid("cells: {s: {codec.sigma: 3}}")], base("model.name=pose_resnet50"))
        match(peers, "flops", tmp_path)
    with pytest.raises(UsageError, match="unknown cost to match 'time'"):
        match(grids, "time", tmp_path)


def test_a_twin_that_is_there_already(grid, tmp_path):
    """A cell that only differs in width is the default once it is matched."""
    grids = load_grids([grid("cells: {w: {model.widths: [64, 128, 192]}}")], base())
    (found,), (line,) = match(grids, "flops", tmp_path)
    assert len(found.cells) == 2 and line.endswith("+0.0%, which is the cell 'default'")


def test_first():
    choose = random.Random(0)
    for _ in range(500):
        length = choose.randint(1, 40)
        first, guess = choose.randint(0, length), choose.randrange(length)
        found = matching._first(length, lambda step, first=first: step >= first, guess)
        assert found == first


@pytest.mark.slow
def test_both_forms_are_rows(options_for, grid, capsys, monkeypatch):
    monkeypatch.setattr(Costs, "_recorded", lambda *_: None)  # the stub's counts are made up
    options = options_for(grid("axes: {model.ffn_ratio: [2, 4]}"), overrides=[SIZE])
    assert session(options) == 0
    before = {record.id for record in RecordStore(options.out / "records").load()}
    assert session(dataclasses.replace(options, match="flops", tables=True)) == 0
    records = RecordStore(options.out / "records").load()
    new = [record for record in records if record.id not in before]
    assert {(r.cell, r.kind) for r in new} == {
        ("4 (FLOPs matched)", kind) for kind in ("complexity", "latency", "training", "evaluation")
    }
    assert set(new[0].axes) == {"model.ffn_ratio", "model.widths"}
    text = (options.out / "tables" / "mini.md").read_text()
    assert "| 4 " in text and "4 (FLOPs matched)" in text
    assert "-> widths" in capsys.readouterr().out


def test_a_dry_run_writes_nothing(options_for, grid, capsys, monkeypatch):
    def count(costs, config):
        costs.counted += 1
        return Cost(config.model.spec().ffn_ratio, 1)

    monkeypatch.setattr(Costs, "_count", count)
    options = options_for(grid("axes: {model.ffn_ratio: [2, 4]}"), match="params", dry_run=True)
    assert session(options) == 0
    assert "widths matched" in capsys.readouterr().out
    assert not options.out.exists()


def test_bad_cost_is_a_usage_error(grid, tmp_path, people, capsys):
    arguments = ["run", "ffn", "--match", "time", "--dry-run", "--data", str(people)]
    arguments += ["data.people=20", "data.image_size=64"]
    assert command.main(arguments) == 2
    assert capsys.readouterr().err == (
        "error: unknown cost to match 'time' (known: flops, params)\n"
    )
