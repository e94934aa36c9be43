"""Robustness and error types in tables and pictures, from made-up records."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from msgspec.structs import replace

from hevitpose.config.conditions import CORRUPTIONS, Condition
from hevitpose.evaluation.statistics import BETTER, NOT_SHOWN, WORSE
from hevitpose.records import Record, digest
from reports.build import grid_views
from reports.changes import ERRORS, changes, error_rates
from reports.evidence import of_robustness
from reports.figures import style
from reports.figures.robustness import (
    attention_against_none,
    changes_plot,
    draw_against_none,
    draw_changes,
    draw_heat_map,
    heat_map,
)
from reports.findings import check_finding
from reports.load import check, is_conditional
from reports.output.text import to_csv, to_latex, to_markdown
from reports.robustness import robustness
from reports.tables.changes import changes_table
from reports.tables.grid import gap_text
from reports.tables.robustness import robustness_table
from tests.reports.conftest import START

CONDITIONS = ("gaussian-noise:3", "fog:3", "box-jitter:1", "flip:1")
CELLS = ("default", "mhsa", "none")


def breakdown(miss, inversion, n=1000):
    errors = {"good": n - miss - inversion, "jitter": 0, "inversion": inversion, "swap": 0}
    joint = {"n": n, "errors": {**errors, "miss": miss}}
    return {"unit": "head size", "thresholds": [], "joints": {"left_wrist": joint, "nose": joint}}


def evaluation(make, cell, seed, mean, condition=None, training=True, inputs_of="", **changes):
    """One forward pass over the weights of a cell and seed, clean or under a condition."""
    name = "clean" if condition is None else condition.replace(":", "-")
    section = {"flip_test": False, "condition": condition}
    config = {"evaluation": {"condition": condition}} if condition else {}
    inputs = {
        "kind": "evaluation",
        "version": 1,
        "weights": f"{inputs_of}{cell} {seed}",
        "config": config,
    }
    if condition:
        inputs["conditions"] = 1
    base = make.evaluation("default", seed, mean)
    options = {} if cell == "default" else {"attention": cell}
    whole = {**base.config, "evaluation": section}
    whole["model"] = {"name": "hevitpose_nano", **options}
    return Record.of(
        base.to_dict()
        | {
            "id": digest(inputs), "inputs": inputs, "config": whole, "flip_test": False,
            "grid": "robustness", "cell": f"{cell} @ {name}", "condition": name,
            "axes": {"evaluation.flip_test": False},
            "training": digest([cell, seed]) if training else None,
            "metrics": {"Mean": mean, "Mean@0.1": mean / 5, "AP": mean / 100},
            "started_at": START + timedelta(days=1),
            **changes,
        }
    )  # fmt: skip


def records(make, seeds=5):
    """Fog takes a quarter of the default and of mhsa, and half of none; noise a tenth of each."""
    kept = {"gaussian-noise:3": 0.9, "fog:3": 0.75, "box-jitter:1": 0.8, "flip:1": 1.0}
    found = []
    rng = np.random.default_rng(0)
    for place, cell in enumerate(CELLS):
        for seed in range(seeds):
            clean = 60 + seed + rng.normal(0, 0.2)
            errors = breakdown(
                miss=100 + int(rng.integers(9)), inversion=50 + 40 * (cell == "none")
            )
            found.append(evaluation(make, cell, seed, clean, breakdown=errors))
            # The plain evaluation is older than error types.
            plain = make.evaluation(cell, seed, clean + 1)
            found.append(replace(plain, training=digest([cell, seed])))
            for condition in CONDITIONS:
                share = 0.5 if (cell, condition) == ("none", "fog:3") else kept[condition]
                value = share * clean + rng.normal(0, 0.1) + 0 * place
                found.append(evaluation(make, cell, seed, value, condition))
    return found


@pytest.fixture(scope="module")
def measured(make):
    return check((f"{record.id}.json", record) for record in records(make))


def test_conditions_stand_in_no_other_table(measured):
    assert len(measured.under) == 3 * 5 * len(CONDITIONS) and not measured.problems
    assert all("evaluation" not in r.inputs["config"] for r in measured.of("evaluation"))
    assert [name for name, _ in grid_views(measured)].count("ablation-robustness") == 0
    (grid,) = (grid for name, grid in grid_views(measured) if name == "ablation-attention")
    seeds = {row.name: row.seeds for row in grid.rows if row.seeds}
    assert seeds == dict.fromkeys(("cgsr", "mhsa", "none"), 5)  # the default, by its own name


def test_means_follow_their_definitions(measured):
    (view,) = robustness(measured)
    assert view.scope == "of 2 corruptions at severity 3" and view.left_out == 0
    assert list(view.cells) == list(CELLS)
    assert [str(c) for c in view.conditions] == list(CONDITIONS)
    run = view.cells["none"][2]
    clean = run.clean.metrics["Mean"]
    noise, fog = (
        run.under[Condition(name, 3)].metrics["Mean"] for name in ("gaussian-noise", "fog")
    )
    assert view.mpc("Mean")(run) == pytest.approx((noise + fog) / 2)
    assert view.rpc("Mean")(run) == pytest.approx(100 * (noise + fog) / 2 / clean)
    assert view.rpc("AP")(run) == pytest.approx(view.rpc("Mean")(run))
    family = view.compare(view.rpc("Mean"))
    assert family.comparisons["none"].verdict == "worse"
    assert family.comparisons["none"].difference.value == pytest.approx(-12.5, abs=0.3)
    assert family.comparisons["mhsa"].verdict == "not shown to differ"


def test_severities_are_averaged_within_their_corruption(make):
    found = [evaluation(make, "default", 0, 60.0)]
    for name in CORRUPTIONS:
        levels = range(1, 6)
        found += [evaluation(make, "default", 0, 10.0 * k, f"{name}:{k}") for k in levels]
    (view,) = robustness(check((f"{r.id}.json", r) for r in found))
    assert view.scope == "" and len(view.corruptions) == 75
    assert view.mpc("Mean")(view.cells["default"][0]) == pytest.approx(30)
    assert "mPC ↑" in [column.heading for column in robustness_table(view, "Mean").columns]
    uneven = found[:3]  # one corruption at two severities
    uneven.append(evaluation(make, "default", 0, 40.0, "fog:3"))
    (view,) = robustness(check((f"{r.id}.json", r) for r in uneven))
    assert view.mpc("Mean")(view.cells["default"][0]) == pytest.approx((15 + 40) / 2)


def test_runs_that_lack_a_condition_are_left_out_and_counted(make):
    some = records(make)
    lacking = next(r for r in some if r.condition == "fog-3" and r.seed == 1)
    clean = next(r for r in some if r.condition == "clean" and r.seed == 2)
    rest = [r for r in some if r.id not in (lacking.id, clean.id)]
    (view,) = robustness(check((f"{r.id}.json", r) for r in rest))
    assert view.left_out == 2 and sorted(view.cells["default"]) == [0, 3, 4]
    assert "2 runs without all conditions" in to_markdown(robustness_table(view, "Mean"))
    assert robustness(check([])) == []


def loaded(found):
    return check((f"{record.id}.json", record) for record in found)


def test_an_evaluation_by_other_rules_stands_for_no_cell(make):
    """Error types at another NMS threshold, of one cell alone, are not what the cell changes."""
    found = []
    for cell in ("default", "mhsa"):
        for seed in range(5):
            plain = make.evaluation(cell, seed, 60.0)
            own = breakdown(100 + seed, 50)
            found.append(replace(plain, training=digest([cell, seed]), breakdown=own))
    found = [Record.of(record.to_dict()) for record in found]
    for seed in range(5):
        other = evaluation(make, "mhsa", seed, 60.0, breakdown=breakdown(700, 50), flip_test=True)
        config = {**other.config, "evaluation": {"flip_test": True, "nms_threshold": 0.1}}
        found.append(replace(other, config=config))
    of = changes(dict(grid_views(loaded(found)))["ablation-attention"], loaded(found))
    assert of.mean("miss", "mhsa").value == of.mean("miss", "cgsr").value == 10.2


def row(make, cell, seed, mean, condition, called, entry):
    """An evaluation in the row ``called`` of grid ``g``, of the entry ``entry`` of evaluate."""
    record = evaluation(make, cell, seed, mean, condition, grid="g")
    return replace(record, cell=called, condition=entry)


def test_a_condition_of_one_cell_is_that_cells(make):
    """``fog-of-mhsa: {of: mhsa}`` is a row of that name; the training says whose it is."""
    found = []
    for seed in range(5):
        for cell, entry, kept in (("default", "fog", 45.0), ("mhsa", "fog-of-mhsa", 20.0)):
            found.append(row(make, cell, seed, 60.0 + seed, None, cell, None))
            found.append(row(make, cell, seed, kept, "fog:3", entry, entry))
    (view,) = robustness(loaded(found))
    fog = {cell: view.mean(cell, view.mpc("Mean")).value for cell in view.cells}
    assert fog == {"default": 45.0, "mhsa": 20.0}


def test_a_grid_run_under_a_condition_keeps_its_cells_apart(make):
    """``ablations run attention evaluation.condition=fog:3``: plain rows, each under it."""
    found = []
    for cell, kept in (("default", 45.0), ("mhsa", 50.0), ("none", 20.0)):
        found.append(row(make, cell, 0, 60.0, None, cell, None))
        found.append(row(make, cell, 0, kept, "fog:3", cell, None))
    (view,) = robustness(loaded(found))
    fog = {cell: view.mean(cell, view.mpc("Mean")).value for cell in view.cells}
    assert fog == {"default": 45.0, "mhsa": 50.0, "none": 20.0}


def test_a_score_is_a_share_of_its_own_training(make):
    """Another network under the cell's name, later: no condition of one over the other's clean."""
    stock = make.evaluation().config["model"]
    first, again = (
        [evaluation(make, "default", seed, mean) for seed in seeds]
        + [evaluation(make, "default", seed, mean / 2, "fog:3") for seed in seeds]
        for mean, seeds in ((60.0, (0, 1)), (20.0, (1,)))
    )
    later = []
    for record in again:
        inputs = {**record.inputs, "weights": "again"}
        later.append(
            replace(
                record,
                id=digest(inputs), inputs=inputs, training=digest(["again"]),
                config={**record.config, "model": {**stock, "ffn_ratio": 6}},
                started_at=record.started_at + timedelta(days=1),
            )
        )  # fmt: skip
    (view,) = robustness(loaded([*first, *later]))
    (run,) = view.cells["default"].values()
    assert (run.clean.metrics["Mean"], run.under[Condition("fog", 3)].metrics["Mean"]) == (20, 10)
    assert view.left_out == 2
    text = to_markdown(robustness_table(view, "Mean"))
    assert "2 runs without all conditions or of another training are left out." in text
    # One without all conditions takes the place of none that has them.
    both = [*first, *(evaluation(make, "default", seed, 40.0, "snow:3") for seed in (0, 1))]
    (view,) = robustness(loaded([*both, *later]))
    assert {seed: run.clean.metrics["Mean"] for seed, run in view.cells["default"].items()} == {
        0: 60.0, 1: 60.0,
    }  # fmt: skip
    assert view.left_out == 1


def test_a_condition_that_few_runs_have_empties_no_table(make):
    some = [*records(make), evaluation(make, "mhsa", 0, 30.0, "grey:1")]
    (view,) = robustness(loaded(some))
    assert [str(c) for c in view.conditions] == list(CONDITIONS) and view.left_out == 0
    assert {cell: len(runs) for cell, runs in view.cells.items()} == dict.fromkeys(CELLS, 5)
    text = to_markdown(robustness_table(view, "Mean"))
    assert "fewer than half of the runs have them: grey:1." in text


def test_cells_under_different_conditions_are_no_table(make):
    found = []
    for cell, condition in zip(CELLS, CONDITIONS, strict=False):
        found.append(evaluation(make, cell, 0, 60.0))
        found.append(evaluation(make, cell, 0, 50.0, condition))
    assert robustness(loaded(found)) == []


def test_cells_without_a_common_seed_are_no_picture(make):
    found = [
        evaluation(make, cell, seed, 60.0, breakdown=breakdown(100, 50))
        for cell, seeds in (("default", (0, 1)), ("mhsa", (0, 1)), ("none", (5, 6)))
        for seed in seeds
    ]
    found += [
        replace(make.evaluation(r.cell.partition(" @ ")[0], r.seed, 61.0), training=r.training)
        for r in found
    ]
    grid = dict(grid_views(loaded(found)))["ablation-attention"]
    of = changes(grid, loaded(found))
    assert "none" in of.rates["miss"] and attention_against_none(of, None, "Mean") is None


def test_names_of_files_stay_in_the_folder_and_differ(make):
    found = [
        replace(r, grid=name)
        for name in ("/../../x y", "/../../x_y")
        for r in (
            evaluation(make, "default", 0, 60.0, inputs_of=name),
            evaluation(make, "default", 0, 50.0, "fog:3", inputs_of=name),
        )
    ]
    names = [robustness_table(view, "Mean").name for view in robustness(loaded(found))]
    assert len(set(names)) == 2 and all("/" not in name for name in names)


def test_tables(measured):
    (view,) = robustness(measured)
    table = robustness_table(view, "Mean")
    text = to_markdown(table)
    assert "rPC, % (of 2 corruptions at severity 3)" in text and "box-jitter:1, % of clean" in text
    row = next(line for line in text.splitlines() if line.startswith("| none"))
    assert "▼" in row and "(reference)" not in row
    assert to_latex(table) and to_csv(table)
    # A page of results shows the table without its heading: the condition stands below.
    condition = "Condition: nano, 300 steps, rendered people, one learning rate. "
    assert condition in to_markdown(table, heading=False)
    spread, degrees = view.compare(view.rpc("Mean")).spread, 2 * 4
    assert f"; by rPC {spread:.2f} ({degrees} degrees of freedom), critical value 2.67, 80%" in text
    grid = dict(grid_views(measured))["ablation-attention"]
    found = changes(grid, measured)
    table = changes_table(found, grid, "changes-attention")
    text = to_markdown(table)
    row = next(line for line in text.splitlines() if line.startswith("| none"))
    assert "+4.00" in row and "▼" in row  # 40 more inversions in 1000 joints
    assert "without flip test" in text and "head sizes" in text
    assert condition in to_markdown(table, heading=False) and "flip test: no" in table.caption
    assert text.count("80% power at this n") == len(ERRORS) and "deviation of a run by miss" in text


def test_error_rates(measured, make):
    record = next(r for r in measured.of("evaluation") if r.condition == "clean")
    rates = error_rates(record)
    assert list(rates) == list(ERRORS) and rates["swap"] == 0
    assert rates["inversion"] in (5.0, 9.0)
    assert error_rates(make.evaluation()) is None
    grid = dict(grid_views(measured))["ablation-attention"]
    assert changes(grid, check((f"{r.id}.json", r) for r in make.grid())) is None


def test_pictures(measured, tmp_path):
    (view,) = robustness(measured)
    grid = dict(grid_views(measured))["ablation-attention"]
    found = changes(grid, measured)
    plots = [heat_map(view, "Mean"), changes_plot(found, grid, "changes-attention")]
    plots.append(attention_against_none(found, view, "Mean"))
    plots.append(attention_against_none(found, None, "Mean"))
    assert attention_against_none(None, view, "Mean") is None
    for plot, draw in zip(
        plots, (draw_heat_map, draw_changes, *[draw_against_none] * 2), strict=True
    ):
        assert plot.draw is draw
        for path in plot.save(tmp_path):
            assert style.read_digest(path) == plot.digest
    errors = {error: (value, verdict) for error, value, *_, verdict in plots[2].data["errors"]}
    assert errors["inversion"] == (pytest.approx(-4), "better")  # the default against none
    kept = {name: verdict for name, *_, verdict in plots[2].data["kept"]}
    assert kept["fog:3"] == "better" and kept["gaussian-noise:3"] == "not shown to differ"


def clauses(table, metric):
    """Every verdict by a metric, as a finding says it."""
    said = f"by {metric} "
    for cell, comparison in table.families[metric].comparisons.items():
        gap = comparison.difference
        verdict = "was not shown to differ" if comparison.verdict == NOT_SHOWN else (
            f"is {comparison.verdict}"
        )  # fmt: skip
        said += f"`{cell}` ({gap.value:+.2f} +- {gap.half:.2f}) {verdict}; "
    return said


def test_a_finding_tells_all_of_a_condition_or_nothing(measured):
    view = robustness(measured)[0]
    table = of_robustness(view, "Mean")
    assert table.families["fog:3"].having(WORSE) == ["none"]
    plain = f"{table.opening}: {clauses(table, 'mPC')}{clauses(table, 'rPC')}"
    assert check_finding(table, plain) == []
    whole = f"{plain}{clauses(table, 'fog:3').rstrip('; ')}."
    assert check_finding(table, whole) == []
    part = f"{plain}by fog:3 `mhsa` was not shown to differ."
    assert check_finding(table, part) == ["leaves out that `none` is 'worse' by fog:3"]
    wrong = f"{plain}by box-jitter:1 `none` is worse."
    assert any("by box-jitter:1" in line for line in check_finding(table, wrong))
    gap = gap_text(table.families["fog:3"].comparisons["none"])
    text = " ".join(robustness_table(view, "Mean").legend)
    assert f"Smaller share of the clean score than the default: fog:3 none {gap}." in text
    assert f"Of {2 * len(CONDITIONS)} differences" in text
    assert ", 2 leave 0 out. Larger share" in text


def test_a_finding_is_checked_against_mpc_and_rpc(measured):
    view = robustness(measured)[0]
    table = of_robustness(view, "Mean")
    mpc = table.families["mPC"]
    said = f"{table.opening}: {clauses(table, 'mPC')}"
    rest = "".join(
        f"By rPC `{cell}` is {verdict}. "
        for cell, verdict in table.disagreements().get("rPC", {}).items()
    )
    assert check_finding(table, f"{said.rstrip('; ')}. {rest}") == []
    wrong = said.replace("by mPC", "by PCKh@0.5").rstrip("; ") + ". " + rest
    assert any("names no metric" in line for line in check_finding(table, wrong))
    first = next(iter(mpc.comparisons.values())).verdict
    other = {BETTER: WORSE, WORSE: BETTER}.get(first, BETTER)
    old = "was not shown to differ" if first == NOT_SHOWN else f"is {first}"
    turned = said.replace(old, f"is {other}", 1).rstrip("; ") + ". " + rest
    assert any(f"the table says {first!r}" in line for line in check_finding(table, turned))


def test_a_cell_without_error_types_is_named_and_left_out(make):
    found = [
        replace(r, breakdown=None) if (r.cell or "").startswith("mhsa") else r
        for r in records(make)
    ]
    measured = check((f"{record.id}.json", record) for record in found)
    (grid,) = (grid for name, grid in grid_views(measured) if name == "ablation-attention")
    told = changes(grid, measured)
    assert told.without == ("mhsa",) and set(told.rates["miss"]) == {"cgsr", "none"}
    table = changes_table(told, grid, "changes-attention")
    assert [row[0].text for row in table.rows] == ["cgsr", "none"]
    assert "Not computed for mhsa." in table.legend[0]


def test_a_run_without_a_seed_is_not_seed_0(make):
    """A mean over both, not one of them in the other's place."""
    found = [replace(r, seed=None) if r.seed == 4 else r for r in records(make)]
    measured = check((f"{record.id}.json", record) for record in found)
    (grid,) = (grid for name, grid in grid_views(measured) if name == "ablation-attention")
    rates = changes(grid, measured).rates["miss"]["none"]
    assert set(rates) == {-1, 0, 1, 2, 3}


def test_only_evaluations_are_under_a_condition(make):
    """A training's config may name one that its evaluations are scored under."""
    foggy = {**make.evaluation().config, "evaluation": {"condition": "fog:3"}}
    counted = make.complexity(config=foggy)
    scored = make.evaluation(config=foggy, condition=None)  # as an axis of the condition left it
    measured = check([("a.json", counted), ("b.json", scored)])
    assert measured.under == (scored,) and measured.records == (counted,)
    assert [is_conditional(r) for r in (counted, scored, replace(scored, config={}))] == [
        False, True, False,
    ]  # fmt: skip
    assert is_conditional(replace(scored, config={}, condition="dark"))
