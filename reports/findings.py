"""Findings, checked against the tables they speak of.

A grid's ``finding`` is written by people in sentences that a table can contradict::

    nano, 300 steps, rendered people, one learning rate, 5 seeds: by PCKh@0.5 `cga` (-1.05 +- 0.49)
    is worse; no cell was shown to be better. By AP `window` (+0.99 +- 0.64) is better.

It opens with the condition. Then each clause (up to ``;`` or a full stop) speaks by one metric,
that of the clause before where it names none, and gives one verdict for the cells in backticks, for
``no cell``, ``every cell`` or ``the others``; or it says that its metric "says the same". Numbers
belong to the cell named last before them, else to the first behind. A level of a factor,
`num_heads 4`, stands for its marginal mean, where the table has one. Every better or worse by the
primary metric must be told, and every verdict of a secondary metric that is another than the
primary's, "not shown to differ" included. Of a condition of robustness, "by the share kept under
box-jitter:2", all or nothing is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ablations.grid_file import NOTHING_MEASURED
from hevitpose.evaluation.statistics import BETTER, NOT_SHOWN, VERDICTS, WORSE
from reports.evidence import Evidence

_NOT_BETTER = "not shown to be better"
_NOT_WORSE = "not shown to be worse"
_DIFFER = "shown to differ"
_VERDICTS = re.compile(
    rf"\b(?:{_NOT_BETTER}|{_NOT_WORSE}|{NOT_SHOWN}|{_DIFFER}|{BETTER}|{WORSE})\b", re.IGNORECASE
)
_SAME = re.compile(r"\bsays? the same\b", re.I)
#: What "not shown" forbids: it is no proof that there is nothing.
_TOO_MUCH = re.compile(r"\b(?:is|are|was|were) (?:not|no) (?:better|worse|different)\b", re.I)
#: Cells are timed apart; a ratio needs both in turn (``bench/latency.py --vs``).
_RATIO = re.compile(r"\btimes (?:as (?:long|fast|slow)|(?:long|fast|slow)er)\b", re.I)
_CELL = re.compile(r"`([^`]+)`")
_METRIC = re.compile(r"\b(PCKh@0\.5|PCKh@0\.1|AP|mPC|rPC|[a-z]+(?:-[a-z]+)*:\d)(?![\w@])")
_NUMBER = re.compile(r"(?<![\w.@-])[+−-]?\d+(?:\.\d+)?")
_ALL, _NONE, _OTHERS = "every cell", "no cell", "the others"
_GROUPS = re.compile(rf"\b(?:{_ALL}|{_NONE}|{_OTHERS})\b", re.I)


class Statement(NamedTuple):
    """One clause of a finding."""

    text: str
    metric: str | None
    verdict: str | None
    cells: tuple[str, ...]
    group: str | None


def check_findings(tables: Sequence[Evidence], findings: Sequence[str]) -> Iterator[str]:
    """Where a grid's findings and its tables disagree, a line each.

    A finding is of the table whose condition it opens with; every table with verdicts has one.

    Args:
        tables: of one grid, one per setting; the one that the grid is known by first.
        findings: of the grid's file.
    """
    left = list(findings)
    judged = [table for table in tables if table.family.spread is not None]
    for table in judged:
        own = next((text for text in left if text.partition(":")[0] == table.opening), None)
        if own is not None:
            left.remove(own)
            yield from check_finding(table, own)
        elif len(judged) == 1 and len(left) == 1:
            yield from check_finding(table, left.pop())  # says what is wrong with its opening
        else:
            yield f"is missing for {table.opening!r}"
    for text in left:
        if judged or text != NOTHING_MEASURED:
            openings = ", ".join(repr(table.opening) for table in judged)
            expected = f"expected one of {openings}" if judged else "has no table with verdicts"
            yield f"opens with {text.partition(':')[0]!r}: {expected}"


def check_finding(table: Evidence, finding: str) -> list[str]:
    """Where a finding and its table disagree, a line each; empty where they agree.

    Args:
        table: what there is to say.
        finding: of the grid's file.
    """
    judged = table.family.spread is not None
    if finding == NOTHING_MEASURED or not judged:
        if judged and finding == NOTHING_MEASURED:
            return [f"says {NOTHING_MEASURED!r}, but the table has verdicts"]
        return [] if finding == NOTHING_MEASURED else ["has no table with verdicts to stand on"]
    finding = finding.replace("+-", "±").replace("−", "-")
    found = []
    if _TOO_MUCH.search(finding):
        found.append("says more than a test can: write 'was not shown to be better'")
    if _RATIO.search(finding):
        found.append("has a ratio of times that were measured apart: write the milliseconds")
    start, colon, rest = finding.partition(":")
    if start != table.opening or not colon:
        found.append(f"opens with {start!r}, expected {table.opening!r}")
    statements = list(_statements(rest))
    told: dict[str, dict[str, str]] = {}
    for statement in statements:
        found += _check(table, statement, told)
    found += _untold(table, told)
    return found


def _statements(text: str) -> Iterator[Statement]:
    metric = None
    for clause in re.split(r"[;.](?=\s|$)", text):
        clause = clause.strip()
        if not clause:
            continue
        named = _METRIC.search(clause)
        metric = named[1] if named else metric
        verdicts = _VERDICTS.findall(clause)
        group = _GROUPS.search(clause)
        yield Statement(
            clause,
            metric,
            verdicts[0].lower() if verdicts else None,
            tuple(_CELL.findall(clause)),
            group[0].lower() if group else None,
        )


def _check(table: Evidence, clause: Statement, told: dict[str, dict[str, str]]) -> Iterator[str]:
    """Checks one clause, and adds to what was told."""
    where = f"{clause.text!r}: "
    for cell in clause.cells:
        if cell not in table.cells and cell not in table.levels:
            yield f"{where}no cell {cell!r} in the table"
    if len(set(_METRIC.findall(clause.text))) > 1 or len(_VERDICTS.findall(clause.text)) > 1:
        yield f"{where}expected one metric and one verdict a clause"
        return
    metric = clause.metric or ""
    family = table.families.get(metric)
    if family is None or not family.comparisons:
        yield f"{where}names no metric of the table"
        return
    for cell, actual in table.disagreements().get(metric, {}).items():
        if _SAME.search(clause.text):
            yield f"{where}`{cell}` is {actual!r} by {metric}, {table.primary} says another"
    if clause.verdict is not None:
        mine = told.setdefault(metric, {})
        levels = table.levels if metric == table.primary else {}
        comparisons = {**levels, **family.comparisons}
        subjects = [c for c in clause.cells if c in comparisons]
        verdict = clause.verdict
        if clause.group == _ALL:
            subjects = list(family.comparisons)
        elif clause.group == _OTHERS:
            subjects = [name for name in family.comparisons if name not in mine]
        elif clause.group == _NONE:
            subjects = list(family.comparisons)
            none = {BETTER: _NOT_BETTER, WORSE: _NOT_WORSE, _DIFFER: NOT_SHOWN}
            verdict = none.get(verdict, verdict)
        if not subjects:
            yield f"{where}names no cell to be {verdict}"
        for cell in subjects:
            actual = comparisons[cell].verdict
            if not _agrees(verdict, actual):
                yield f"{where}`{cell}` {verdict!r}, the table says {actual!r} by {metric}"
            if verdict == actual:
                mine[cell] = actual
    yield from _check_numbers(table, clause, metric)


def _agrees(said: str, actual: str) -> bool:
    if said in (_NOT_BETTER, _NOT_WORSE):
        return actual in VERDICTS and actual != said.rpartition(" ")[2]
    if said == _DIFFER:
        return actual in (BETTER, WORSE)
    return said == actual


def _untold(table: Evidence, told: dict[str, dict[str, str]]) -> Iterator[str]:
    """Verdicts of the primary metric, and disagreements of others, that the finding leaves out."""
    for cell, comparison in table.family.comparisons.items():
        if comparison.verdict in (BETTER, WORSE) and cell not in told.get(table.primary, {}):
            yield f"leaves out that `{cell}` is {comparison.verdict!r} by {table.primary}"
    demanded = table.disagreements()
    for metric in sorted(told.keys() & set(table.parts)):
        comparisons = table.families[metric].comparisons
        demanded[metric] = {
            cell: of.verdict for cell, of in comparisons.items() if of.verdict in (BETTER, WORSE)
        }
    for metric, cells in demanded.items():
        for cell, verdict in cells.items():
            if cell not in told.get(metric, {}):
                yield f"leaves out that `{cell}` is {verdict!r} by {metric}"


def _check_numbers(table: Evidence, clause: Statement, metric: str) -> Iterator[str]:
    """Every number is one that the table has of its cell and metric."""
    known_names = {*table.cells, *table.levels}
    marks = [(m.start(), m[1]) for m in _CELL.finditer(clause.text) if m[1] in known_names]
    text = _CELL.sub(lambda m: " " * len(m[0]), clause.text)
    text = _METRIC.sub(lambda m: " " * len(m[0]), text)
    for number in _NUMBER.finditer(text):
        before = [name for at, name in marks if at < number.start()]
        after = [name for at, name in marks if at > number.start()]
        name = before[-1] if before else after[0] if after else None
        known = table.numbers[metric].get(name, frozenset()) if name else frozenset()
        if number[0] not in known:
            yield (
                f"{clause.text!r}: {number[0]} is no number of "
                f"{f'`{name}`' if name else 'a cell'} by {metric}"
            )
