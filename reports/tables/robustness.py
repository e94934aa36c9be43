"""What is left of each cell's score under corruption, wrong boxes and occlusion."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ablations.grid_file import DEFAULT_CELL
from hevitpose.evaluation.statistics import BETTER, WORSE, Comparison, Family
from reports.ablation import SHOWN
from reports.captions import about_data
from reports.captions import condition as words_of
from reports.output.text import MISSING, Column, Table, TableCell, shorten, show_estimate, stem
from reports.robustness import Robustness, Run
from reports.tables.grid import MARKS, caption, gap_text, model_lines


def robustness_table(view: Robustness, primary: str) -> Table:
    """The cells of a grid: clean, mPC, rPC, and each condition that is no corruption.

    Args:
        view: of :func:`reports.robustness.robustness`.
        primary: the metric.
    """
    heading = SHOWN.get(primary, primary)
    others = [c for c in view.conditions if c not in view.corruptions]
    scope = f" ({view.scope})" if view.scope else ""
    columns = [
        Column("cell", "Cell", numeric=False),
        Column("clean", f"Clean {heading}", "up"),
    ]
    values = {}
    if view.corruptions:
        columns += [
            Column("mpc", f"mPC{scope}", "up"),
            Column("difference_mpc", "Δ mPC"),
            Column("rpc", f"rPC, %{scope}", "up"),
            Column("difference_rpc", "Δ rPC"),
        ]
        values = {"mPC": view.mpc(primary), "rPC": view.rpc(primary)}
    columns += [Column(str(c).replace(":", "_"), f"{c}, % of clean", "up") for c in others]
    families = {by: view.compare(value) for by, value in values.items()}
    rows = []
    for name, runs in view.cells.items():
        clean = tuple(run.clean.id for run in runs.values())
        under = tuple(run.under[c].id for run in runs.values() for c in view.corruptions)
        ids = {"mPC": under, "rPC": (*under, *clean)}
        cells = [
            TableCell(shorten(name, 60)),
            _mean(view, name, lambda run: run.value(primary), clean),
        ]
        for by, value in values.items():
            comparison = families[by].comparisons.get(name)
            cells += [_mean(view, name, value, ids[by]), _difference(name, comparison)]
        for condition in others:
            worse = tuple(run.under[condition].id for run in runs.values())
            share = partial(Run.share, name=primary, condition=condition)
            cells.append(_mean(view, name, share, (*worse, *clean)))
        rows.append((*cells, TableCell(str(len(runs)), value=len(runs), kind="measured")))
    return Table(
        name=stem("robustness", view.grid),
        title=_name(view.grid),
        scope=words_of(view.facts),
        columns=(*columns, Column("seeds", "n seeds")),
        rows=tuple(rows),
        caption=f"Condition: {words_of(view.facts)}. {caption(view.facts)}",
        legend=(*_legend(view, primary), *model_lines(families)),
        data=about_data(view.facts["dataset"]).strip(),
    )


def _name(grid: str) -> str:
    words = grid.replace("_", " ")
    return "Robustness" if words == "robustness" else f"Robustness: {words}"


def _legend(view: Robustness, primary: str) -> tuple[str, ...]:
    heading = SHOWN.get(primary, primary)
    names = {c.name for c in view.corruptions}
    lines = [
        f"mPC: mean {heading} over {len(names)} corruptions of Hendrycks & Dietterich (2019)"
        f"{', ' + view.scope if view.scope else ', five severities each'}; rPC: mPC in percent of "
        "the clean score (Michaelis et al. 2019). Other conditions: the score in percent of the "
        "clean one. ± is half the 95% t interval over seeds; Δ is to the default, with the "
        "simultaneous 95% interval of Dunnett's test over the cells, each column a family of its "
        "own; ▲▼: it leaves 0 out. docs/robustness.md says what each condition does.",
    ]
    lines += _shares_lines(view, primary)
    if view.left_out:
        lines.append(
            f"{view.left_out} runs without all conditions or of another training are left out."
        )
    if view.rare:
        rare = ", ".join(map(str, view.rare))
        lines.append(f"Left out, since fewer than half of the runs have them: {rare}.")
    return tuple(lines)


def _shares_lines(view: Robustness, primary: str) -> list[str]:
    """Every cell that keeps a larger or smaller share of its clean score under a condition."""
    families = {str(condition): view.shares(primary, condition) for condition in view.conditions}
    lines = []
    for verdict, what in ((BETTER, "Larger"), (WORSE, "Smaller")):
        said = [
            f"{name} {', '.join(_marked(family, cell) for cell in family.having(verdict))}"
            for name, family in families.items()
            if family.having(verdict)
        ]
        if said:
            lines.append(f"{what} share of the clean score than the default: {'; '.join(said)}.")
    if lines:
        judged = [c.verdict for f in families.values() for c in f.comparisons.values()]
        shown = sum(verdict in (BETTER, WORSE) for verdict in judged)
        lines[0] = (
            f"Of {len(judged)} differences in the share of the clean score, each condition a "
            f"family of its own, {shown} leave 0 out. {lines[0]}"
        )
    return lines


def _marked(family: Family, cell: str) -> str:
    return f"{shorten(cell, 40)} {gap_text(family.comparisons[cell])}"


def _mean(
    view: Robustness, name: str, value: Callable[[Run], float | None], ids: tuple[str, ...]
) -> TableCell:
    found = view.mean(name, value)
    return MISSING if found is None else show_estimate(found, 1, ids)


def _difference(name: str, comparison: Comparison | None) -> TableCell:
    if name == DEFAULT_CELL:
        return TableCell("(reference)")
    return MISSING if comparison is None else difference_cell(comparison)


def difference_cell(comparison: Comparison) -> TableCell:
    """A difference with its interval, marked where that leaves 0 out."""
    mark = MARKS.get(comparison.verdict, "")
    return TableCell(gap_text(comparison) + mark, comparison.difference.value, "measured")
