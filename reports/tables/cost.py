"""What networks cost: parameters and GFLOPs under three conventions, peers, speed."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable

from hevitpose.models.spec import PEERS, VARIANTS
from hevitpose.records import Record
from reports import captions
from reports.load import (
    Measured,
    h_by_w,
    input_size,
    is_plain_network,
    newest,
    num_keypoints,
)
from reports.output.text import MISSING, Column, Table, TableCell, join, number, plain
from reports.published import Number, Published
from reports.tables.accuracy import DISPLAY, measured_groups, score_cell

#: The published numbers' input and joints.
REFERENCE_INPUT = (256, 256)
REFERENCE_KEYPOINTS = 16
#: Fewest calls with a p90; what hevitpose.cost.latency does (it imports torch, reports do not).
P90_SAMPLES = 100
_CONVENTIONS = (
    "GFLOPs are MACs / 1e9 of one image. mmcv: modules only, attention products not counted (the "
    "authors' rule). fvcore: with attention products. torch: FlopCounterMode / 2, with attention "
    "products. Italic: published, as cited; upright: counted by this suite."
)


def counted(
    measured: Measured, model: str, size: tuple[int, int] = REFERENCE_INPUT
) -> Record | None:
    """The complexity record of a network as it is named, preferably with MPII's 16 joints."""
    found = [r for r in measured.plain_counts().get(model, []) if input_size(r) == size]
    exact = [r for r in found if num_keypoints(r) in (REFERENCE_KEYPOINTS, None)]
    return newest(exact or found)


def published_counts(published: Published, network: str) -> Number | None:
    """A row that states a network's parameters and GFLOPs at the reference input."""
    size = f"{REFERENCE_INPUT[1]}x{REFERENCE_INPUT[0]}"
    rows = [
        row
        for row in published.numbers
        if row.network == network
        and row.input == size
        and row.params_m is not None
        and not row.withdrawn
    ]
    # The row with most to say about its counts; the printed one before one read off a figure.
    return min(rows, key=lambda row: bool(row.from_figure), default=None)


def complexity_table(measured: Measured, published: Published) -> Table:
    """Parameters and GFLOPs of every network, published and under three conventions."""
    rows = []
    sources: dict[str, None] = {}
    for model in (*VARIANTS, *PEERS):
        record = counted(measured, model)
        row = published_counts(published, model)
        if record is None and row is None and model in PEERS:
            continue
        if row is not None:
            sources[row.source] = None
        by = (record.id,) if record else ()
        flops = record.flops if record else None
        rows.append(
            (
                TableCell(DISPLAY.get(model, row.model if row else model)),
                TableCell(model),
                published.cell(row, "params_m", 2) if row else TableCell("–", kind="published"),
                number(record.params / 1e6 if record and record.params else None, 4, records=by),
                published.cell(row, "gflops", 2) if row else TableCell("–", kind="published"),
                number(flops.mmcv if flops else None, 4, records=by),
                number(flops.fvcore if flops else None, 2, records=by),
                number(flops.torch if flops else None, 2, records=by),
            )
        )
    return Table(
        "complexity",
        "Parameters and GFLOPs, three conventions",
        (
            Column("model", "Model", numeric=False),
            Column("network", "Name here", numeric=False),
            Column("params_published", "Params (M), published", "down"),
            Column("params_m", "Params (M)", "down"),
            Column("gflops_published", "GFLOPs, published", "down"),
            Column("gflops_mmcv", "GFLOPs (mmcv)", "down"),
            Column("gflops_fvcore", "GFLOPs (fvcore)", "down"),
            Column("gflops_torch", "GFLOPs (torch)", "down"),
        ),
        tuple(rows),
        caption="One image of 256x256 (H x W), 16 joints. HEViTPose is a reconstruction.",
        legend=(_CONVENTIONS,),
        sources=tuple(published.cite(key) for key in sources),
    )


def peers_table(measured: Measured, published: Published) -> Table:
    """The networks of the paper's comparison: cost and MPII accuracy, published and measured."""
    groups = measured_groups(measured, "mpii", "val")
    rows = []
    sources: dict[str, None] = {}
    networks = ("hevitpose_t", "hevitpose_s", "hevitpose_b", *PEERS)
    for network in networks:
        counts = published_counts(published, network)
        val = next((r for r in published.of("mpii", "val") if r.network == network), None)
        test = next((r for r in published.of("mpii", "test") if r.network == network), None)
        record = counted(measured, network)
        runs = (groups.get(network) or [[]])[0]
        if counts is None and record is None and val is None and test is None and not runs:
            continue
        for row in (counts, val, test):
            if row is not None:
                sources[row.source] = None
        name = next((r.model for r in (counts, test, val) if r), DISPLAY.get(network, network))
        by = (record.id,) if record else ()
        dash = TableCell("–", kind="published")
        rows.append(
            (
                TableCell(name),
                published.cell(counts, "params_m", 2) if counts else dash,
                number(record.params / 1e6 if record and record.params else None, 2, records=by),
                published.cell(counts, "gflops", 2) if counts else dash,
                number(record.flops.mmcv if record and record.flops else None, 2, records=by),
                published.cell(val, "mean", 1) if val else dash,
                published.cell(test, "mean", 1) if test else dash,
                score_cell(runs, "Mean"),
            )
        )
    return Table(
        "peers",
        "HEViTPose and its peers at 256x256",
        (
            Column("model", "Model", numeric=False),
            Column("params_published", "Params (M), published", "down"),
            Column("params_m", "Params (M), counted", "down"),
            Column("gflops_published", "GFLOPs, published", "down"),
            Column("gflops_mmcv", "GFLOPs (mmcv), counted", "down"),
            Column("val_published", "MPII val PCKh@0.5, published", "up"),
            Column("test_published", "MPII test PCKh@0.5, published", "up"),
            Column("val_measured", "MPII val PCKh@0.5, measured", "up"),
        ),
        tuple(rows),
        caption="Every peer has the head that its published counts imply; see the measurement page "
        "of the documentation.",
        legend=("Italic: published, as cited; upright: counted or measured by this suite.",),
        sources=tuple(published.cite(key) for key in sources),
    )


_CONDITION_COLUMNS = (
    ("device", "Device"), ("batch", "Batch"), ("input", "Input (H x W)"), ("dtype", "Dtype"),
    ("tf32", "TF32"), ("layout", "Layout"), ("mode", "Mode"), ("threads", "Threads"),
    ("flip_test", "Flip test"), ("scope", "Scope"), ("l2", "L2"),
)  # fmt: skip


def latest_timings(measured: Measured) -> list[Record]:
    """Per network, conditions and machine the latest attempt; cells of grids are left out."""
    return measured.kept("timings", lambda: _latest_timings(measured))


def _latest_timings(measured: Measured) -> list[Record]:
    found = (newest(group) for group in attempts(measured).values())
    return sorted((r for r in found if r), key=_speed_order)


def attempts(measured: Measured) -> dict[str, list[Record]]:
    """Every complete timing by network, conditions and machine: none is chosen for its value."""
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in measured.of("latency"):
        if record.latency is None or not is_plain_network(record):
            continue
        groups[timing_key(record)].append(record)
    return groups


def timing_key(record: Record) -> str:
    """Equal for attempts at one timing."""
    assert record.latency is not None
    conditions = {k: v for k, v in record.latency.conditions.items() if k != "attempt"}
    key = [record.model, conditions, captions.machine_key(record)]
    return json.dumps(key, sort_keys=True, default=str)


def _speed_order(record: Record) -> tuple[str, ...]:
    assert record.latency is not None
    conditions = record.latency.conditions
    names = [*VARIANTS, *PEERS]
    rank = names.index(record.model) if record.model in names else len(names)
    return (
        str(conditions.get("device")),
        record.machine.gpu or record.machine.cpu or "",
        *(str(conditions.get(key)).rjust(8, "0") for key in ("input", "batch", "mode", "dtype")),
        f"{rank:04d}",
        record.id,
    )


def speed_table(measured: Measured) -> Table:
    """Every timing of a network as it is named, its conditions as columns."""
    timings = latest_timings(measured)
    used = [
        (key, title)
        for key, title in _CONDITION_COLUMNS
        if any(r.latency and r.latency.conditions.get(key) is not None for r in timings)
    ]
    columns = (
        Column("model", "Model", numeric=False),
        Column("machine", "Machine", numeric=False),
        *(Column(key, title, numeric=False) for key, title in used),
        Column("p50", "p50 (ms)", "down"),
        Column("p90", "p90 (ms)", "down"),
        Column("iqr", "IQR (ms)", "down"),
        Column("n", "n"),
        Column("attempt", "Attempt", numeric=False),
        Column("images_per_s", "Images/s", "up"),
        Column("peak_memory", "Peak memory (MiB)", "down"),
        Column("parity", "Relative error to eager fp32", "down"),
    )
    tried = attempts(measured)
    rows = [
        _speed_row(record, [key for key, _ in used], len(tried[timing_key(record)]))
        for record in timings
    ]
    if not rows:
        empty = (TableCell("HEViTPose-B"), *([MISSING] * (len(columns) - 1)))
        rows = [empty]
    return Table(
        "speed",
        "Speed",
        columns,
        tuple(rows),
        conditions=_timings_line(timings),
        legend=(
            "p50 and p90 are percentiles of single calls (p90 from 100 calls on); images/s = "
            "batch / p50. The latest attempt is shown, and all are kept in the records. Two rows "
            "make no ratio: networks are compared by interleaved runs only. Memory is measured in "
            "a pass of its own.",
        ),
    )


def _speed_row(record: Record, keys: Iterable[str], tried: int) -> tuple[TableCell, ...]:
    latency = record.latency
    assert latency is not None
    by = (record.id,)
    conditions = latency.conditions
    on_gpu = str(conditions.get("device", "")).startswith("cuda")
    machine = captions.machine_words(record, on_gpu=on_gpu)
    notes = ("noisy: IQR above 10% of the median",) if latency.noisy else ()
    batch = conditions.get("batch")
    rate = 1000 * batch / latency.p50 if isinstance(batch, (int, float)) and latency.p50 else None
    return (
        TableCell(DISPLAY.get(record.model, plain(record.model))),
        TableCell(plain(machine)),
        *(TableCell(plain(captions.word(conditions.get(key, "–")))) for key in keys),
        number(latency.p50, 2, records=by, notes=notes),
        TableCell(f"n < {P90_SAMPLES}", kind="missing")
        if latency.p90 is None and latency.n < P90_SAMPLES
        else number(latency.p90, 2, records=by),
        number(latency.iqr, 2, records=by),
        TableCell(str(latency.n), latency.n, "measured"),
        TableCell(f"{tried} of {tried}"),
        number(rate, 1, records=by),
        number(record.peak_memory / 2**20 if record.peak_memory else None, 0, records=by),
        TableCell(f"{latency.parity:.1e}", latency.parity, "measured", records=by)
        if latency.parity is not None
        else MISSING,
    )


def _timings_line(timings: list[Record]) -> str:
    if not timings:
        return "Nothing has been timed yet."
    devices = [
        captions.machine_words(r, on_gpu=str(r.latency.conditions.get("device")).startswith("cuda"))
        for r in timings
        if r.latency
    ]
    counts = sorted(r.latency.n for r in timings if r.latency)
    return (
        f"Times: {join(devices)}; precision and mode as in the columns; n = {counts[0]} to "
        f"{counts[-1]}; torch {join([r.versions.get('torch') for r in timings])}; commit "
        f"{captions.commits(timings)}; {captions.dates(timings)}."
    )


def fastest_table(measured: Measured) -> Table:
    """Each network in its fastest form and precision, by machine, input and batch."""
    groups: dict[tuple[str, ...], list[Record]] = {}
    for record in latest_timings(measured):
        assert record.latency is not None
        conditions = record.latency.conditions
        if conditions.get("scope", "model") == "model" and not conditions.get("flip_test"):
            key = (_machine_of(record), *(str(conditions.get(k)) for k in ("input", "batch")))
            groups.setdefault((*key, record.model), []).append(record)
    rows, shown = [], []
    for group in groups.values():
        best = min(group, key=lambda r: r.latency.p50 if r.latency and r.latency.p50 else 0.0)
        shown.append(best)
        rows.append(_fastest_row(best))
    empty = (TableCell("HEViTPose-B"), *([MISSING] * 5))
    return Table(
        "fastest",
        "Speed of each network's fastest measured form",
        (
            Column("model", "Model", numeric=False),
            Column("where", "Machine, batch, input", numeric=False),
            Column("form", "Form and precision", numeric=False),
            Column("p50", "p50 (ms)", "down"),
            Column("images_per_s", "Images/s", "up"),
            Column("parity", "Error to fp32", "down"),
        ),
        tuple(rows) or (empty,),
        conditions=_timings_line(shown),
        legend=(
            "Of the forms and precisions that were measured, the one with the lowest median. The "
            "error is the largest difference to eager fp32 over its largest value, on untrained "
            "weights; the accuracy in a reduced precision is not measured.",
        ),
    )


def _machine_of(record: Record) -> str:
    assert record.latency is not None
    on_gpu = str(record.latency.conditions.get("device", "")).startswith("cuda")
    return captions.machine_words(record, on_gpu=on_gpu)


def _fastest_row(record: Record) -> tuple[TableCell, ...]:
    latency = record.latency
    assert latency is not None
    given, by = latency.conditions, (record.id,)
    count = given.get("threads")
    on_gpu = str(given.get("device")).startswith("cuda")
    threads = "" if on_gpu else f", {count} thread{'' if count == 1 else 's'}"
    precision = "tf32" if given.get("tf32") and given.get("dtype") == "fp32" else given.get("dtype")
    batch = given.get("batch")
    rate = 1000 * batch / latency.p50 if isinstance(batch, (int, float)) and latency.p50 else None
    notes = ("noisy: IQR above 10% of the median",) if latency.noisy else ()
    error = MISSING if given.get("mode") != "eager" else TableCell("–")
    if latency.parity is not None:
        error = TableCell(f"{latency.parity:.1e}", latency.parity, "measured", records=by)
    return (
        TableCell(DISPLAY.get(record.model, plain(record.model))),
        TableCell(plain(f"{_machine_of(record)}{threads}, {batch}, {given.get('input')}")),
        TableCell(plain(f"{given.get('mode')} {precision}")),
        number(latency.p50, 2, records=by, notes=notes),
        number(rate, 0, records=by),
        error,
    )


def published_speed_table(published: Published) -> Table:
    """What others printed about speed, each with what it leaves unsaid."""
    fields = ("fps_gpu", "fps_cpu", "latency_gpu_ms", "latency_cpu_ms")
    rows = []
    sources: dict[str, None] = {}
    for row in published.numbers:
        if any(getattr(row, name) is not None for name in fields):
            sources[row.source] = None
            rows.append(
                (
                    TableCell(row.model, kind="published"),
                    TableCell(f"[{published.sources[row.source].short}]", kind="published"),
                    TableCell(row.input, kind="published"),
                    *(
                        published.cell(row, name, 1 if name.startswith("fps") else 2)
                        for name in fields
                    ),
                )
            )
    return Table(
        "speed-published",
        "Speed as others printed it",
        (
            Column("model", "Model", numeric=False),
            Column("origin", "Origin", numeric=False),
            Column("input", "Input (H x W)", numeric=False),
            Column("fps_gpu", "FPS, GPU", "up"),
            Column("fps_cpu", "FPS, CPU", "up"),
            Column("latency_gpu_ms", "ms, GPU", "down"),
            Column("latency_cpu_ms", "ms, CPU", "down"),
        ),
        tuple(rows),
        caption="Published numbers only; not comparable with each other or with this suite's.",
        sources=tuple(published.cite(key) for key in sources),
    )


def summary_table(measured: Measured, published: Published) -> Table:
    """The README's first table: each variant's cost and accuracy, published and here."""
    rows = []
    sources: dict[str, None] = {}
    wanted = (("mpii", "val", "mean", "Mean"), ("mpii", "test", "mean", "Mean"),
              ("coco", "val", "ap", "AP"))  # fmt: skip
    for network in ("hevitpose_t", "hevitpose_s", "hevitpose_b"):
        counts = published_counts(published, network)
        record = counted(measured, network)
        by = (record.id,) if record else ()
        cells = [
            TableCell(DISPLAY[network]),
            published.cell(counts, "params_m", 2) if counts else TableCell("–", kind="published"),
            number(record.params / 1e6 if record and record.params else None, 2, records=by),
            published.cell(counts, "gflops", 2) if counts else TableCell("–", kind="published"),
            number(record.flops.mmcv if record and record.flops else None, 2, records=by),
        ]
        for dataset, split, field, name in wanted:
            row = next((r for r in published.of(dataset, split) if r.network == network), None)
            if row is not None:
                sources[row.source] = None
            cells.append(published.cell(row, field, 1) if row else TableCell("–", kind="published"))
            if split == "val":
                runs = (measured_groups(measured, dataset, split).get(network) or [[]])[0]
                cells.append(score_cell(runs, name))
        rows.append(tuple(cells))
    return Table(
        "summary",
        "HEViTPose, published and measured here",
        (
            Column("model", "Model", numeric=False),
            Column("params_published", "Params (M)", "down"),
            Column("params_m", "counted", "down"),
            Column("gflops_published", "GFLOPs (mmcv)", "down"),
            Column("gflops_mmcv", "counted", "down"),
            Column("mpii_val_published", "MPII val PCKh@0.5", "up"),
            Column("mpii_val", "measured", "up"),
            Column("mpii_test_published", "MPII test PCKh@0.5", "up"),
            Column("coco_val_published", "COCO val AP", "up"),
            Column("coco_val", "measured", "up"),
        ),
        tuple(rows),
        caption=f"At {h_by_w(REFERENCE_INPUT)} (H x W). Italic: published; upright: this suite.",
        sources=tuple(published.cite(key) for key in sources),
    )
