"""One ablation grid as a table: scores, differences to the default, verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ablations.grid_file import DEFAULT_CELL, MATCH_TOLERANCE, matched_name
from hevitpose.data.registry import is_rendered
from hevitpose.errors import first_line
from hevitpose.evaluation.statistics import (
    BETTER,
    VERDICT_SEEDS,
    VERDICTS,
    WORSE,
    Comparison,
    Family,
)
from reports import ablation, comparisons
from reports.captions import about_data, base_words, condition, mixture, not_shown
from reports.load import METRIC_ALIASES, gflops, p50, params_m
from reports.output.text import (
    MISSING,
    Column,
    Table,
    TableCell,
    number,
    shorten,
    show_estimate,
    signed,
)
from reports.settings import flatten
from reports.tables.speed import timing_notes

_SYNTHETIC_AP = (
    "AP on synthetic people: OKS AP over the 14 CrowdPose joints, with the CrowdPose sigmas."
)
_KEYS = {"Mean": "pckh_05", "Mean@0.1": "pckh_01", "AP": "ap", "AR": "ar"}
#: After a difference whose interval leaves 0 out.
MARKS = {BETTER: " ▲", WORSE: " ▼"}
#: Kinds whose failure leaves a cell without a score.
SCORED = ("training", "evaluation")


def grid_table(
    grid: ablation.GridView,
    *,
    name: str | None = None,
    question: str = "",
    together: comparisons.Together | None = None,
) -> Table:
    """One ablation grid as a table: the primary metric and its verdicts, the others beside it.

    Args:
        grid: the grid.
        name: file stem; made of the grid's name when None.
        question: first line of the caption.
        together: what is left of the verdicts over all grids with this default.
    """
    top = comparisons.best(grid)
    shown = shown_metrics(grid)
    columns = _columns(grid, shown)
    rows = [_grid_row(row, grid, shown, bold=row is top) for row in grid.rows]
    if not rows:
        rows.append((TableCell("default"), *([MISSING] * (len(columns) - 1))))
    if grid.baseline:
        rows.append(_baseline_row(grid, shown))
    run = any(r.records for r in grid.rows)
    what = caption(grid.facts) if run else "Nothing run yet."
    return Table(
        name=name or f"ablation-{grid.name}",
        title=f"Ablation: {grid.name.replace('_', ' ')}",
        scope=condition(grid.facts) if run else "",
        columns=columns,
        rows=tuple(rows),
        caption=" ".join(filter(None, (question, what))),
        conditions=grid.conditions,
        legend=tuple(_legend(grid, shown, together)),
        data=about_data(grid.facts["dataset"]).strip() if run else "",
    )


def shown_metrics(grid: ablation.GridView) -> tuple[str, ...]:
    """The primary metric, then those that any of the runs states."""
    stated = {name for row in grid.rows for r in row.accuracy for name in r.metrics}
    stated |= {METRIC_ALIASES[name] for name in stated & METRIC_ALIASES.keys()}
    others = ablation.metrics_beside(grid.primary)
    return grid.primary, *(name for name in others if name in stated or not stated)


def _columns(grid: ablation.GridView, shown: tuple[str, ...]) -> tuple[Column, ...]:
    measured = any(row.accuracy for row in grid.rows)
    where = f" ({condition(grid.facts)})" if measured else ""
    columns = [
        Column("cell", "Cell", numeric=False),
        Column("params_m", "Params (M)", "down"),
        Column("gflops_mmcv", "GFLOPs (mmcv)", "down"),
        Column("latency_p50_ms", "p50 (ms)", "down"),
    ]
    for metric in shown:
        key, heading = _KEYS.get(metric, metric), ablation.SHOWN.get(metric, metric)
        columns.append(Column(key, heading, "up"))
        if metric == grid.primary:
            columns += [
                Column("difference", f"Δ {heading}"),
                Column("verdict", f"Verdict by {heading}{where}", numeric=False),
            ]
        else:
            columns.append(Column(f"difference_{key}", f"Δ {heading}"))
    if _resampled(grid):
        columns.append(Column("difference_photographs", "Δ AP, other photographs"))
    return (*columns, Column("seeds", "n seeds"))


def _resampled(grid: ablation.GridView) -> int | None:
    """Photographs of a val set so small that their choice has an interval of its own."""
    sizes = {r.resampled.photographs for row in grid.rows for r in row.accuracy if r.resampled}
    return next(iter(sizes), None)


def _legend(
    grid: ablation.GridView, shown: tuple[str, ...], together: comparisons.Together | None
) -> list[str]:
    heading = ablation.SHOWN.get(grid.primary, grid.primary)
    legend = [
        "± of a score is half its 95% t interval over seeds. Δ is to the default, with the "
        "simultaneous 95% interval of Dunnett's test over the grid (additive model of cells and "
        f"seeds, pooled variance): better and worse are intervals that leave 0 out. {heading} was "
        f"named before the run; verdicts need {VERDICT_SEEDS} seeds. ▲▼: the interval of a "
        "secondary metric leaves 0 out. GFLOPs: MACs / 1e9 by the mmcv rule, attention products "
        "not counted.",
    ]
    legend += [*model_lines({"": grid.family}), *_weights_lines(grid)]
    if photographs := _resampled(grid):
        legend.append(
            f"Δ AP, other photographs: 95% paired bootstrap interval over the {photographs} "
            "photographs of the val set, at the seeds that were trained; the intervals over seeds "
            "leave the choice of photographs out."
        )
    for name, cells in grid.disagreements().items():
        by = {
            verdict: [shorten(cell, 60) for cell, own in cells.items() if own == verdict]
            for verdict in VERDICTS
        }
        said = "; ".join(f"{verdict}: {', '.join(of)}" for verdict, of in by.items() if of)
        legend.append(f"By {ablation.SHOWN[name]} the verdict is another; {said}.")
    legend += _product_lines(grid, heading)
    if together is not None:
        legend.append(
            f"Over the {len(together.grids)} grids with this default taken as one family "
            f"({together.cells} cells that are judged, each once), {together.survive} of the "
            f"{together.alone} that are better or worse stay so."
        )
    if is_rendered(grid.facts.get("dataset", "")) and "AP" in shown:
        legend.append(_SYNTHETIC_AP)
    axes = {key for row in grid.rows for record in row.records for key in record.axes}
    for record in grid.default.accuracy[:1] if grid.default else ():
        legend += [f"The default has {words}." for words in (base_words(record, axes),) if words]
    legend += not_shown(len(grid.older), len(grid.namesakes))
    return legend


def model_lines(families: Mapping[str, Family]) -> list[str]:
    """What verdicts rest on: spread, power of the plan, the assumption of equal variances.

    Args:
        families: by the name of their metric, which is left out where there is one.
    """
    said = []
    for name, family in families.items():
        powers = [c.detectable for c in family.comparisons.values() if c.detectable is not None]
        if family.spread is None:
            continue
        span = " to ".join(dict.fromkeys(f"{value:.2f}" for value in (min(powers), max(powers))))
        ratio = "not defined"
        if family.variance_ratio is not None:
            ratio = f"{family.variance_ratio:.1f}"
        said.append(
            f"{f'by {name} ' if len(families) > 1 else ''}{family.spread:.2f} "
            f"({family.degrees} degrees of freedom), critical value {family.critical:.2f}, "
            f"80% power at this n: {span} points, largest ratio of two cells' variances {ratio}"
        )
    if not said:
        return []
    return [f"Standard deviation of a run {'; '.join(said)}. Equal variances are assumed."]


def _weights_lines(grid: ablation.GridView) -> list[str]:
    """What the degrees of freedom leave out where rows score the same weights."""
    own = comparisons.with_weights_of_their_own(grid)
    if own is None or own.spread is None or grid.family.spread is None:
        return []
    runs = [record for row in grid.rows for record in row.accuracy]
    changed = [
        f"{shorten(cell, 60)} {comparison.verdict}"
        for cell, comparison in own.comparisons.items()
        if comparison.verdict != grid.family.comparisons[cell].verdict
    ]
    verdicts = f"other verdicts: {', '.join(changed)}" if changed else "verdicts are the same"
    return [
        f"The {len(runs)} scores come from {len({r.training or r.id for r in runs})} trainings: "
        "rows that score the same weights otherwise share their error, which the degrees of "
        f"freedom leave out. By the {len(own.comparisons) + 1} cells with weights of their own "
        f"alone the standard deviation is {own.spread:.2f} ({own.degrees} degrees of freedom); "
        f"{verdicts}."
    ]


def _product_lines(grid: ablation.GridView, heading: str) -> list[str]:
    """Marginal means of a product's axes, and where they do not tell all, the simple effects."""
    levels = comparisons.product_levels(grid)
    lines = [
        f"Marginal means of {of.axis} over {of.cells} cells a level, {_levels_words(of, heading)}"
        for of in levels
    ]
    test = comparisons.interactions(grid) if levels else None
    if test is None:
        return lines
    result = f"F{test.degrees} = {test.f:.2f}, {_p_words(test.p)}"
    if not test.shown:
        return [*lines, f"No interaction of the axes was shown ({result})."]
    lines.append(
        f"The effects do not add up ({result}): a marginal mean holds on average over the other "
        "axes, and need not at the default."
    )
    simple = [comparisons.simple_effects(grid, of.axis) for of in levels]
    return lines + [
        f"{of.axis} at the default of the other axes, {_levels_words(of, heading)}"
        for of in simple
        if of is not None and of.family.comparisons
    ]


def _levels_words(levels: comparisons.Levels, heading: str) -> str:
    parts = []
    for level, comparison in levels.family.comparisons.items():
        parts.append(f"{shorten(level, 30)} {gap_text(comparison)} ({comparison.verdict})")
    return f"Δ {heading} to {shorten(levels.reference, 30)}: {'; '.join(parts)}."


def gap_text(comparison: Comparison) -> str:
    """A difference with its simultaneous interval.

    With as many digits as it takes to see that one with a verdict leaves 0 out.
    """
    gap = comparison.difference
    if gap.half is None:
        return signed(gap.value, 2)
    digits = 2
    if comparison.verdict in (BETTER, WORSE):
        while round(gap.half, digits) >= round(abs(gap.value), digits) and digits < 4:
            digits += 1
    return f"{signed(gap.value, digits)} ± {gap.half:.{digits}f}"


def caption(facts: dict[str, str]) -> str:
    """What was measured on what, as a sentence."""
    data = facts["dataset"]
    scale = ", ".join(
        part
        for part in (
            f"{facts['model']} at {facts['input']} (H x W)",
            f"preset {facts['preset']}" if facts["preset"] else "",
            f"{facts['steps']} steps" if facts["steps"] else "",
            f"{facts['epochs']} epochs: early convergence" if facts["epochs"] else "",
        )
        if part
    )
    people = f" ({facts['people']} people)" if facts["people"] else ""
    several = f"on {words}; " if (words := mixture(facts)) else ""
    return (
        f"{about_data(data)}Data: {data} {facts['split']}{people}; {scale}; "
        f"boxes: {facts['boxes']}; "
        f"flip test: {facts['flip_test']}; decoder: {facts['decoder']}; "
        f"checkpoint: {facts['selection']}; data fingerprint {facts['fingerprint']}; "
        f"{several}commit {facts['commit']}; {facts['date']}."
    )


def _unmatched(row: ablation.Row, default: ablation.Row | None) -> Iterator[str]:
    """A note where a cell matched in FLOPs is not by the count that has attention's products."""
    if not row.name.endswith(matched_name("", "flops")) or default is None:
        return
    own, theirs = (gflops(r.complexity, "torch") for r in (row, default))
    if own and theirs and abs(own / theirs - 1) > MATCH_TOLERANCE:
        yield (
            f"matched by the mmcv rule; by torch's count, which has attention products, "
            f"{f'{own / theirs - 1:+.0%}'.replace('-', '−')} to the default"
        )


def _grid_row(
    row: ablation.Row, grid: ablation.GridView, shown: tuple[str, ...], *, bold: bool
) -> tuple[TableCell, ...]:
    name = f"{row.name} (default)" if row.is_default and row.name != DEFAULT_CELL else row.name
    complexity, latency = row.complexity, row.latency
    counted = (complexity.id,) if complexity else ()
    ids = tuple(r.id for r in row.accuracy)
    timing = latency.latency if latency is not None else None
    tuned = tuple(
        f"{key} {shorten(flatten(r.config).get(key), 30)} was best on minival"
        for r in row.accuracy[:1]
        for key in r.tuned
    )
    cells = [
        TableCell(shorten(name, 60), notes=(*tuned, *_unmatched(row, grid.default))),
        number(params_m(complexity), 3, records=counted),
        number(gflops(complexity), 3, records=counted),
        number(
            p50(latency), 2, records=(latency.id,) if latency else (),
            notes=timing_notes(timing) if timing else (),
        ),
    ]  # fmt: skip
    for metric in shown:
        if metric == grid.primary:
            cells.append(_score(row, metric, 1, ids, bold=bold))
            cells += [_difference(row, row.comparison), _verdict(row)]
        else:
            cells.append(_score(row, metric, 1, ids))
            cells.append(_difference(row, row.others.get(metric), marked=True))
    if _resampled(grid):
        cells.append(_over_photographs(row))
    return (*cells, TableCell(str(row.seeds), value=row.seeds, kind="measured"))


def _score(
    row: ablation.Row, name: str, digits: int, ids: tuple[str, ...], *, bold: bool = False
) -> TableCell:
    score = row.scores.get(name)
    if score is None:
        if row.failures and not row.accuracy and any(r.kind in SCORED for r in row.failures):
            return TableCell(row.failures[-1].status, kind="failed")
        return MISSING
    return show_estimate(score, digits, ids, bold=bold)


def _difference(
    row: ablation.Row, comparison: Comparison | None, *, marked: bool = False
) -> TableCell:
    if row.is_default:
        return TableCell("(reference)")
    if comparison is None:
        return MISSING
    text = gap_text(comparison)
    if comparison.difference.n != row.seeds:
        text += f" (n = {comparison.difference.n})"
    if marked:
        text += MARKS.get(comparison.verdict, "")
    value = comparison.difference.value
    return TableCell(text, value, "measured", records=tuple(r.id for r in row.accuracy))


def _over_photographs(row: ablation.Row) -> TableCell:
    gap = row.photographs
    if gap is None or gap.low is None or gap.high is None:
        return TableCell("(reference)") if row.is_default else MISSING
    bounds = f"{signed(gap.low, 2)} to {signed(gap.high, 2)}"
    return TableCell(bounds, gap.value, "measured", records=tuple(r.id for r in row.accuracy))


def _verdict(row: ablation.Row) -> TableCell:
    parts = []
    if row.verdict:
        parts.append(row.verdict + _evidence(row.comparison))
    for failure in row.failures:
        seed = f" seed {failure.seed}" if failure.seed is not None else ""
        first = first_line(failure.error)
        parts.append(f"{failure.kind}{seed} {failure.status}: {shorten(first, 120)}")
    if not parts:
        return TableCell("–") if row.is_default and row.accuracy else MISSING
    failed = any(r.kind in SCORED for r in row.failures) and not row.accuracy
    return TableCell("; ".join(parts), kind="failed" if failed else "text")


def _evidence(comparison: Comparison | None) -> str:
    """The p of Dunnett's test, adjusted for all comparisons of the grid."""
    if comparison is None or comparison.p is None:
        return ""
    return f" ({_p_words(comparison.p)})"


def _p_words(p: float) -> str:
    return f"p {'< 0.0001' if p < 1e-4 else f'= {p:.2g}'}"


def _baseline_row(grid: ablation.GridView, shown: tuple[str, ...]) -> tuple[TableCell, ...]:
    empty = TableCell("–")
    cells = [TableCell("mean pose (no network)"), empty, empty, empty]
    for metric in shown:
        cells += [number(grid.baseline.get(metric), 1), empty]
        if metric == grid.primary:
            cells.append(TableCell("baseline"))
    return (*cells, *([empty] if _resampled(grid) else []), empty)
