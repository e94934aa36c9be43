"""How fast networks are: every timing, and what others printed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from hevitpose.markdown import plain
from hevitpose.models.spec import PEERS, VARIANTS
from hevitpose.records import Latency, Record
from hevitpose.records.schema import P90_SAMPLES
from reports import captions
from reports.load import Measured, is_plain_network, newest, num_keypoints
from reports.output.text import MISSING, Column, Table, TableCell, join, number
from reports.published import Published
from reports.tables.accuracy import DISPLAY

_CONDITION_COLUMNS = (
    ("device", "Device"), ("batch", "Batch"), ("input", "Input (H x W)"), ("dtype", "Dtype"),
    ("tf32", "TF32"), ("layout", "Layout"), ("mode", "Mode"), ("threads", "Threads"),
    ("clock", "Clock"), ("flip_test", "Flip test"), ("scope", "Scope"), ("l2", "L2"),
    ("budget", "Budget"),
)  # fmt: skip


#: What a peak of memory is of: two numbers that nobody should compare.
_MEMORIES = {
    "process": "Peak memory of the process (MiB)",
    "tensors": "Peak memory of tensors on the GPU (MiB)",
}


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
    return f"{record.model} {num_keypoints(record)} {captions.conditions_key(record, 'attempt')}"


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
    heads = {num_keypoints(r) for r in timings} - {None}
    memories = {kind for r in timings if (kind := _memory_of(r))}
    moved = any("keypoints_px" in r.latency.details for r in timings if r.latency)
    streams = any(_stream(r) is not None for r in timings)
    columns = (
        Column("model", "Model", numeric=False),
        Column("machine", "Machine", numeric=False),
        *(Column(key, title, numeric=False) for key, title in used),
        *([Column("keypoints", "Keypoints")] if len(heads) > 1 else []),
        Column("p50", "p50 (ms)", "down"),
        Column("p90", "p90 (ms)", "down"),
        Column("iqr", "IQR (ms)", "down"),
        *([Column("stream", "p50 on the GPU's stream (ms)", "down")] if streams else []),
        Column("n", "n"),
        Column("attempt", "Attempt", numeric=False),
        Column("images_per_s", "Images/s", "up"),
        *(Column(key, title, "down") for key, title in _MEMORIES.items() if key in memories),
        Column("parity", "Relative error to eager fp32", "down"),
        *([Column("keypoints_px", "Key points moved (px)", "down")] if moved else []),
    )
    tried = attempts(measured)
    rows = [_speed_row(record, columns, len(tried[timing_key(record)])) for record in timings]
    if not rows:
        empty = (TableCell("HEViTPose-B"), *([MISSING] * (len(columns) - 1)))
        rows = [empty]
    return Table(
        "speed",
        "Speed",
        columns,
        tuple(rows),
        conditions=timings_line(timings),
        legend=(
            "p50 and p90 are percentiles of single calls (p90 from 100 calls on), in wall time "
            "unless the column Clock says processor time (what a call takes of its core, however "
            "busy the machine); images/s = batch / p50. Time on the GPU's stream is between two "
            "events, in a pass of its own that waits at its end only. The latest attempt is "
            "shown, and all are kept in the records. Two rows make no ratio: networks are "
            "compared by interleaved runs only. Memory is measured in a pass of its own: of a "
            "process with all that it has loaded, on a GPU of its tensors.",
        ),
    )


def _images_per_s(latency: Latency) -> float | None:
    batch = latency.conditions.get("batch")
    return 1000 * batch / latency.p50 if isinstance(batch, (int, float)) and latency.p50 else None


def median(record: Record) -> TableCell:
    """The median time of a timing, with its notes."""
    assert record.latency is not None
    return number(record.latency.p50, 2, records=(record.id,), notes=timing_notes(record.latency))


def timing_notes(latency: Latency) -> tuple[str, ...]:
    """What to know of a timing: that it is noisy, or was not warm."""
    warmup = latency.details.get("warmup")
    notes = []
    if latency.noisy:
        notes.append("noisy timing: IQR above 10% of the median")
    if isinstance(warmup, Mapping) and warmup.get("capped"):
        notes.append("warm-up capped: its last two blocks were not within 2% of each other")
    return tuple(notes)


def _memory_of(record: Record) -> str | None:
    """What the peak of memory is of, a key of ``_MEMORIES``; None: it was not measured."""
    assert record.latency is not None
    if not record.peak_memory:
        return None
    kind = record.latency.details.get("peak_memory_of")
    return kind if kind in _MEMORIES else "tensors" if captions.on_gpu(record) else "process"


def _stream(record: Record) -> float | None:
    """The median between two events on a GPU's stream, ms; None where it was not recorded."""
    assert record.latency is not None
    stream = record.latency.details.get("stream")
    return stream.get("p50") if isinstance(stream, Mapping) else None


def _peak(record: Record, kind: str) -> TableCell:
    if record.peak_memory and _memory_of(record) != kind:
        return TableCell("–")  # the other column has it
    size = record.peak_memory / 2**20 if record.peak_memory else None
    return number(size, 0, records=(record.id,))


def _condition(record: Record, key: str) -> TableCell:
    assert record.latency is not None
    value = record.latency.conditions.get(key, "–")
    if key == "clock":
        value = "processor time" if value == "cpu" else "wall"
    return TableCell(plain(captions.word(value)))


def _speed_row(record: Record, columns: Sequence[Column], tried: int) -> tuple[TableCell, ...]:
    latency = record.latency
    assert latency is not None
    by = (record.id,)
    stream = _stream(record)
    cells = {
        "model": TableCell(DISPLAY.get(record.model, plain(record.model))),
        "machine": TableCell(plain(captions.machine_words(record))),
        **{key: _condition(record, key) for key, _ in _CONDITION_COLUMNS},
        "p50": median(record),
        "p90": TableCell(f"n < {P90_SAMPLES}", kind="missing")
        if latency.p90 is None and latency.n < P90_SAMPLES
        else number(latency.p90, 2, records=by),
        "iqr": number(latency.iqr, 2, records=by),
        "stream": TableCell("–") if stream is None else number(stream, 2, records=by),
        "n": TableCell(str(latency.n), latency.n, "measured"),
        "attempt": TableCell(f"{tried} of {tried}"),
        "images_per_s": number(_images_per_s(latency), 1, records=by),
        **{key: _peak(record, key) for key in _MEMORIES},
        "keypoints": MISSING
        if (head := num_keypoints(record)) is None
        else TableCell(str(head), head),
        "parity": TableCell(f"{latency.parity:.1e}", latency.parity, "measured", records=by)
        if latency.parity is not None
        else MISSING,
        "keypoints_px": number(latency.details.get("keypoints_px"), 2, records=by),
    }
    return tuple(cells[column.key] for column in columns)


def timings_line(timings: list[Record]) -> str:
    """The line under a table of timings: machines, counts, versions, commits, dates."""
    if not timings:
        return "Nothing has been timed yet."
    counts = sorted(r.latency.n for r in timings if r.latency)
    return (
        f"Times: {join([captions.machine_words(r) for r in timings])}; "
        f"precision and mode as in the columns; n = {counts[0]} to {counts[-1]}; "
        f"torch {join([r.versions.get('torch') for r in timings])}; "
        f"commit {captions.commits(timings)}; {captions.dates(timings)}."
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
