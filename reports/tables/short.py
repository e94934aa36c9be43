"""Short tables, for the README and the screen: a few columns of the full ones, 100 characters wide.

What is not measured has no row here; the full tables, on the results pages, have it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ablations.grid_file import MAIN_GRIDS
from hevitpose.inference.defaults import MOST_LOST
from hevitpose.records import Record
from reports import captions
from reports.ablation import MATCHED
from reports.load import PCKH_JOINTS
from reports.output.text import NOT_MEASURABLE, Column, Table, TableCell, shorten
from reports.tables.accuracy import DISPLAY, OKS
from reports.tables.precision import Point
from reports.tables.speed import median

#: Widest statement of a claim, and widest answer to it.
_CLAIM, _ANSWER = 52, 26
_OWN = "HEViTPose-"
_AP = {name: heading for name, heading, _ in OKS}
_GRID = {
    "cell": "Cell",
    "gflops_mmcv": "GFLOPs",
    "latency_p50_ms": "p50 (ms)",
    "difference": "Difference",
    "verdict": "Verdict",
}
_NETWORKS = {
    "model": "Model",
    "params_m": "Params (M)",
    "gflops_mmcv": "GFLOPs",
    "mpii_val_published": "MPII val",
    "mpii_test_published": "MPII test",
    "coco_val_published": "COCO val AP",
}
_FLOOR = TableCell("baseline")  # the mean pose's row
_FIRST = 5  # columns of another table
_BITS = {"fp32": ("fp32",), "16 bit": ("bf16", "fp16"), "int8": ("int8",)}


def short_tables(tables: Sequence[Table], points: Sequence[Point] = ()) -> list[Table]:
    """The short form of each table that the README shows, by the name ``short-...``.

    Args:
        tables: the full ones.
        points: of the table of precisions.
    """
    by_name = {table.name: table for table in tables}
    made = []
    if "summary" in by_name:
        made.append(_columns(by_name["summary"], "short-networks", _NETWORKS))
    made.append(
        _splits(
            by_name,
            "short-mpii",
            {"mpii-val": "val", "mpii-test": "test"},
            {name: name for name in (*PCKH_JOINTS, "Mean")},
        )
    )
    made.append(
        _splits(by_name, "short-coco", {"coco-val": "val", "coco-test-dev": "test-dev"}, _AP)
    )
    for grid in MAIN_GRIDS:
        table = by_name.get(f"ablation-{grid}")
        if table is not None:
            short = short_grid(table)
            rows = tuple(row for row in short.rows if not row[0].text.endswith(MATCHED))
            made.append(replace(short, name=f"short-{grid}", rows=rows))
    if "precisions" in by_name:
        made.append(_speed(points))
    if "claims" in by_name:
        made.append(_claims(by_name["claims"]))
    return made


def short_grid(table: Table, *, score: bool = False) -> Table:
    """An ablation's cells with cost, difference and verdict; other tables as far as they fit.

    Args:
        table: of a grid.
        score: the primary metric itself too.
    """
    keys = [column.key for column in table.columns]
    if not _GRID.keys() <= set(keys):
        return _columns(table, table.name, {c.key: c.heading for c in table.columns[:_FIRST]})
    primary = table.columns[keys.index("difference") - 1]
    shown = dict(_GRID)
    if score:
        shown = {k: v for k, v in _GRID.items() if k not in ("difference", "verdict")}
        shown |= {primary.key: primary.title, **_GRID}
    short = _columns(table, table.name, shown, lambda row: row["verdict"] != _FLOOR)
    caption = f"Difference in {primary.title}; {table.scope}." if table.scope else ""
    caption = f"{caption} {_timed(table.conditions)}".strip()
    verdicts = {row[-1].text for row in short.rows} - {"–"}
    if len(verdicts) == 1 and (none := verdicts.pop()).startswith("no verdict"):
        without = tuple(row[:-1] for row in short.rows)
        short = replace(short, columns=short.columns[:-1], rows=without)
        caption = f"{caption} {none[0].upper()}{none[1:]}.".strip()
    else:
        rows = tuple((*row[:-1], _in_a_word(row[-1], "(")) for row in short.rows)
        short = replace(short, rows=rows)
    return replace(short, caption=caption)


def _timed(conditions: str) -> str:
    """Clock, threads and n, of the line under a table with times; all of it is on the pages."""
    if not conditions:
        return ""
    parts = (re.search(rf"\b{key} (?:= )?([\w /]+)", conditions) for key in ("threads", "n"))
    threads, n = (part[1] if part else "not stated" for part in parts)
    time = "processor" if re.search(r"\bclock cpu\b", conditions) else "wall"
    return f"p50: {time} time, threads {threads}, n = {n}."


def _columns(
    table: Table,
    name: str,
    keys: Mapping[str, str],
    keep: Callable[[Mapping[str, TableCell]], bool] = lambda row: True,
) -> Table:
    """Some columns under other headings, without the legend and all notes but of noise."""
    places = [[column.key for column in table.columns].index(key) for key in keys]
    columns = tuple(
        replace(table.columns[place], title=title, direction="")
        for place, title in zip(places, keys.values(), strict=True)
    )
    rows = [
        {key: _noise_alone(row[place]) for key, place in zip(keys, places, strict=True)}
        for row in table.rows
    ]
    kept = tuple(tuple(row.values()) for row in rows if keep(row))
    return Table(name, table.title, columns, kept)


def _splits(
    tables: Mapping[str, Table], name: str, splits: Mapping[str, str], keys: Mapping[str, str]
) -> Table:
    """HEViTPose's rows of several splits; where nothing of ours is measured, a line says so."""
    columns = (
        Column("model", "Model", numeric=False),
        Column("split", "Split", numeric=False),
        *(Column(key, title) for key, title in keys.items()),
    )
    rows: list[tuple[TableCell, ...]] = []
    ours = False
    for full, split in splits.items():
        if full not in tables:
            continue
        part = _columns(tables[full], name, {"model": "Model", **keys})
        for model, *values in part.rows:
            kinds = {cell.kind for cell in values}
            if model.text.startswith(_OWN) and kinds & {"measured", "published"}:
                rows.append((model, TableCell(split), *values))
                ours |= "measured" in kinds
    legend = (
        "Italic: published." if ours else "Italic: published. Nothing of ours was trained on it."
    )
    return Table(name, name, columns, tuple(rows), caption=legend)


def _speed(points: Sequence[Point]) -> Table:
    """At batch 1 and 256x256, the networks that were timed on every machine; bold: their best.

    A machine counts where at least two networks can be compared, and two precisions.
    """
    shown = [point for point in points if point.place[1:] == ("1", "256x256")]
    places = [
        place
        for place in dict.fromkeys(point.place for point in shown)
        if len({point.model for point in shown if point.place == place}) > 1
        and len({point.precision for point in shown if point.place == place}) > 1
    ]
    models = [
        model
        for model in dict.fromkeys(point.model for point in shown)
        if {point.place for point in shown if point.model == model} >= set(places)
    ]
    names = {place: re.sub(r"^NVIDIA | \([^)]*\)|, .*$", "", place[0]) for place in places}
    if len(set(names.values())) < len(places):  # what was cut, and the line has, tells them apart
        names = {place: place[0] for place in places}
    rows = []
    for place in places:
        for model in models:
            own = [p for p in shown if (p.place, p.model) == (place, model)]
            cells = [_fastest([p for p in own if p.precision in kinds]) for kinds in _BITS.values()]
            rows.append((TableCell(DISPLAY.get(model, model)), TableCell(names[place]), *cells))
    columns = (
        Column("model", "Network", numeric=False),
        Column("where", "Machine", numeric=False),
        *(Column(name, name) for name in _BITS),
    )
    caption = (
        "p50 in ms of the fastest form, batch 1, 256x256. Bold: the best that loses at most "
        f"{MOST_LOST} points; in parentheses: it loses more, or its accuracy was not measured."
    )
    ids = {i for row in rows for cell in row for i in cell.records}
    timed = [point.timing for point in shown if point.timing.id in ids]
    return Table(
        "short-speed",
        "Speed by precision",
        columns,
        tuple(rows),
        caption=caption,
        conditions=_places_line(timed),
    )


def _places_line(timings: Sequence[Record]) -> str:
    """Each machine in full with threads, clock and n; commits and dates."""
    if not timings:
        return ""
    counts: dict[str, list[int]] = defaultdict(list)
    for record in timings:
        assert record.latency is not None
        words = captions.place_words(record)
        clock = "" if words.endswith("processor time") else ", wall time"
        counts[f"{words}{clock}"].append(record.latency.n)
    each = [
        f"{place}, n = {min(n)}" + (f" to {max(n)}" if max(n) > min(n) else "")
        for place, n in counts.items()
    ]
    return f"{'; '.join(each)}; commit {captions.commits(timings)}; {captions.dates(timings)}."


def _fastest(points: Sequence[Point]) -> TableCell:
    """The fastest of what is known to be accurate, else the fastest, in parentheses."""
    known = [point for point in points if point.is_known]
    if not points:
        return TableCell("–")
    best = min(known or points, key=lambda point: point.ms)
    cell = median(best.timing)
    text = cell.text if best.is_known else f"({cell.text})"
    return replace(cell, text=text, bold=best.best)


def _noise_alone(cell: TableCell) -> TableCell:
    return replace(cell, notes=tuple(note for note in cell.notes if note.startswith("noisy")))


def _in_a_word(cell: TableCell, ends: str) -> TableCell:
    """What a verdict says before its evidence."""
    return replace(cell, text=re.split(f"[{re.escape(ends)}]", cell.text)[0].strip())


def _fitted_side(verdict: TableCell, word: TableCell) -> TableCell:
    """The word, and that one side of the ratio was fitted to the published number."""
    fitted = verdict.text.partition(" (")[0].endswith("side fitted")
    text = f"{word.text.removeprefix('differs by ')} (fitted)"  # rows are short
    return replace(word, text=text) if fitted else word


def _claims(table: Table) -> Table:
    """What was checked, each with its verdict in a word."""
    keys = {"claim": "Claim", "measured": "Ours", "verdict": "Verdict"}
    short = _columns(table, "short-claims", keys, lambda row: row["measured"].kind == "measured")
    rows = []
    for claim, ours, verdict in short.rows:
        statement = re.sub(r"\s*\[[^\]]*\]$", "", claim.text)
        why = re.search(r": (.*?)(?: \(|$)", verdict.text)
        answer = ours.text
        if why is not None and ours.value is None:  # of levels
            answer = why[1]
        elif "; " in answer:  # of several conditions: without their intervals
            answer = re.sub(r" \[[^\]]*\]", "", answer)
        rows.append(
            (
                replace(claim, text=shorten(statement, _CLAIM)),
                replace(ours, text=shorten(answer, _ANSWER)),
                _fitted_side(verdict, _in_a_word(verdict, ":,;(")),
            )
        )
    rows = [row for row in rows if row[-1].text != "fitted"]
    verdicts = [row[-1].text for row in table.rows]
    agreeing = sum(text.partition(" (")[0] == "fitted" for text in verdicts)
    off = [text.partition(" (")[0] for text in verdicts if text.startswith("fitted, off by")]
    counts = [f"{agreeing} agree", *(text.replace("fitted,", "1 is") for text in off)]
    untrained = sum("no run of " in text for text in verdicts)
    elsewhere = sum(text.startswith(NOT_MEASURABLE) for text in verdicts)
    caption = (
        f"Counts that the reconstruction was fitted to: {', '.join(counts)}. On accuracy, "
        f"{untrained} claims wait for trainings on MPII and COCO; {elsewhere} are scored by "
        "servers only."
    )
    return Table(short.name, short.title, short.columns, tuple(rows), caption=caption)
