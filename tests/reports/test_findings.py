"""Findings: what a table contradicts turns the check red, word by word."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from hevitpose.records import RecordStore
from reports import __main__, ablation, grid_files
from reports.evidence import of_grid
from reports.findings import check_finding, check_findings
from reports.tables.grid import grid_table

OPENING = "nano, 300 steps, rendered people, one learning rate, 5 seeds: "


@pytest.fixture(scope="module")
def grid(make):
    """By PCKh@0.5 `mhsa` and `none` are worse; by AP, which nothing else moves, `sra` is better;
    by PCKh@0.1 all are alike."""
    records = make.grid()
    for seed in range(5):
        wobble = 0.3 * ((seed * 7 + 9) % 5 - 2)
        mean = 60 + 0.5 * seed + wobble
        record = make.evaluation("sra", seed, mean)
        metrics = record.metrics | {"AP": 0.355 + 0.001 * (seed % 2)}
        records.append(replace(record, metrics=metrics))
    return ablation.build(records, "attention")


def numbers(grid, cell, metric="Mean"):
    gap = grid.families[metric].comparisons[cell].difference
    return f"({gap.value:+.2f} +- {gap.half:.2f})"


@pytest.fixture(scope="module")
def true(grid):
    return (
        f"{OPENING}by PCKh@0.5 `mhsa` {numbers(grid, 'mhsa')} and `none` are worse; `sra` was not "
        "shown to differ; no cell was shown to be better. "
        f"By AP `sra` {numbers(grid, 'sra', 'AP')} is better; `mhsa` and `none` were not shown to "
        "differ. By PCKh@0.1 no cell was shown to differ."
    )


def test_what_the_table_says_passes(grid, true):
    assert {name: c.verdict for name, c in grid.family.comparisons.items()} == {
        "mhsa": "worse", "none": "worse", "sra": "not shown to differ",
    }  # fmt: skip
    assert check_finding(of_grid(grid), true) == []
    assert check_finding(of_grid(grid), true.replace("+-", "±").replace("(-", "(−")) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("are worse", "are better", "'better', the table says 'worse' by PCKh@0.5"),
        ("is better;", "is worse;", "`sra` 'worse', the table says 'better' by AP"),
        ("`mhsa` and `none` were not", "`mhsa` was not", "leaves out that `none` is 'not shown to"),
        ("By AP", "AP says the same. By AP", "`mhsa` is 'not shown to differ' by AP, PC"),
        ("By AP", "By AP no cell was shown to differ. By AP", "`sra` 'not shown to differ', the"),
        ("By AP", "By PCKh@0.1", "the table says 'not shown to differ' by PCKh@0.1"),
        ("by PCKh@0.5", "by AP", "the table says"),
        ("`none` are", "`sra` are", "`sra` 'worse', the table says 'not shown to differ'"),
        ("`sra` was not shown to differ", "`sra` is not better", "says more than a test can"),
        ("By AP", "`mhsa` takes ten times as long. By AP", "a ratio of times that were measured"),
        ("(-", "(+", "is no number of `mhsa` by PCKh@0.5"),
        ("5 seeds", "3 seeds", "opens with"),
        ("300 steps", "900 steps", "opens with"),
        (" and `none`", "", "leaves out that `none` is 'worse' by PCKh@0.5"),
        (
            "no cell was shown to be better",
            "no cell was shown to be worse",
            "not shown to be worse",
        ),
        ("`none`", "`nonne`", "no cell 'nonne' in the table"),
    ],
)
def test_a_contradiction_is_named(grid, true, old, new, expected):
    assert old in true
    found = check_finding(of_grid(grid), true.replace(old, new, 1))
    assert any(expected in line for line in found), found


def test_a_disagreement_must_be_told(grid, true):
    """Both ways: what the secondary metric finds, and what it does not."""
    start, _, rest = true.partition(" By AP")
    found = check_finding(of_grid(grid), start + rest.partition("differ.")[2])
    assert sorted(found) == [
        "leaves out that `mhsa` is 'not shown to differ' by AP",
        "leaves out that `none` is 'not shown to differ' by AP",
        "leaves out that `sra` is 'better' by AP",
    ]
    assert [line for line in grid_table(grid).legend if "the verdict is another" in line] == [
        "By PCKh@0.1 the verdict is another; not shown to differ: mhsa, none.",
        "By AP the verdict is another; better: sra; not shown to differ: mhsa, none.",
    ]


def test_no_cell_was_shown_to_differ(make):
    """Said of a metric, it tells every cell."""
    grid = ablation.build(make.grid(), "attention")
    told = f"{OPENING}by PCKh@0.5 `mhsa` and `none` are worse. "
    assert len(check_finding(of_grid(grid), told)) == 4
    told += "By AP no cell was shown to differ. "
    assert len(check_finding(of_grid(grid), told)) == 2
    assert check_finding(of_grid(grid), told + "By PCKh@0.1 no cell was shown to differ.") == []


def test_a_grid_without_verdicts_has_no_finding(make, grid):
    few = ablation.build(make.grid(seeds=3), "attention")
    assert check_finding(of_grid(few), "not measured yet") == []
    assert check_finding(of_grid(few), "`mhsa` is better.") == [
        "has no table with verdicts to stand on"
    ]
    assert "has verdicts" in check_finding(of_grid(grid), "not measured yet")[0]


def test_each_setting_has_a_finding_of_its_own(make, grid, true):
    tuned = {"training.lr": [0.004, 0.008]}
    runs = [replace(r, tuned=tuned) for row in grid.rows for r in row.records]
    again = of_grid(ablation.build(runs, "attention"))
    of_tuned = true.replace("one learning rate", "each cell's best training.lr of 0.004, 0.008")
    tables = [of_grid(grid), again]
    assert list(check_findings(tables, [true, of_tuned])) == []
    assert list(check_findings(tables, [of_tuned, true])) == []
    assert list(check_findings(tables, [true])) == [f"is missing for {again.opening!r}"]
    wrong = of_tuned.replace("are worse", "are better")
    assert any("'better', the table says" in x for x in check_findings(tables, [true, wrong]))
    (spare,) = check_findings(tables[:1], [true, of_tuned])
    assert spare.startswith(f"opens with {again.opening!r}: expected one of {OPENING[:20]!r}"[:60])


def test_levels_of_a_product(make):
    """A level of a factor is told by its marginal mean, and only as the table has it."""
    records = [make.evaluation("default", seed, 60 + 0.1 * seed) for seed in range(5)]
    for heads, ratio, mean in ((1, 2, 60), (2, 1, 50), (1, 1, 50)):
        axes = {"model.num_heads": heads, "model.ffn_ratio": ratio}
        axes = {
            k: v for k, v in axes.items() if v != {"model.num_heads": 2, "model.ffn_ratio": 2}[k]
        }
        records += [
            make.evaluation(
                f"h{heads}+r{ratio}", seed, mean + 0.1 * seed + 0.05 * (seed * heads % 3), axes=axes
            )
            for seed in range(5)
        ]
    table = of_grid(ablation.build(records, "attention"))
    assert {name: c.verdict for name, c in table.levels.items()} == {
        "num_heads 1": "not shown to differ", "ffn_ratio 1": "worse",
    }  # fmt: skip
    gap = table.levels["ffn_ratio 1"].difference
    text = (
        f"{OPENING}by PCKh@0.5 `h1+r2` was not shown to differ, `h2+r1` and `h1+r1` are worse; "
    ).replace(", `h2", "; `h2") + f"`ffn_ratio 1` ({gap.value:+.2f} +- {gap.half:.2f}) is worse."
    text += " By AP no cell was shown to differ. By PCKh@0.1 no cell was shown to differ."
    assert check_finding(table, text) == []
    for old, new, expected in (
        ("is worse", "is better", "`ffn_ratio 1` 'better', the table says 'worse'"),
        (f"{gap.half:.2f}", "9.99", "9.99 is no number of `ffn_ratio 1`"),
        ("ffn_ratio 1", "ffn_ratio 3", "no cell 'ffn_ratio 3'"),
    ):
        assert any(expected in line for line in check_finding(table, text.replace(old, new)))


def test_the_check_is_red(make, grid, true, tmp_path, monkeypatch, capsys):
    """``python -m reports --check`` on a store of its own: green, then one word is changed."""
    store = RecordStore(tmp_path / "measured")
    for record in {r.id: r for row in grid.rows for r in row.records}.values():
        store.add(record)
    folder = tmp_path / "ablations"
    folder.mkdir()
    monkeypatch.setattr(grid_files, "GRIDS", folder)
    monkeypatch.setattr(__main__, "MEASURED", tmp_path / "measured")
    arguments = ["--measured", str(tmp_path / "measured"), "--out", str(tmp_path / "out")]
    arguments += ["--readme", str(tmp_path / "R.md"), "--no-site"]

    def check(finding: str) -> int:
        (folder / "attention.yaml").write_text(
            f"question: q\nprimary: {{other: Mean}}\nfinding: >\n  {finding}\n"
        )
        return __main__.main([*arguments, "--check"])

    (folder / "attention.yaml").write_text("question: q\nprimary: {other: Mean}\n")
    assert __main__.main(arguments) == 0
    assert check(true) == 0
    assert check(true.replace("are worse", "are better")) == 1
    assert "attention.yaml: finding '" in capsys.readouterr().out
    assert check(true.replace("By AP", "By PCKh@0.1", 1)) == 1
