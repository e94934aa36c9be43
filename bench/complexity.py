"""Parameters and GFLOPs of every model under three conventions, beside the published numbers.

    python bench/complexity.py                                # all models, 256x256, 16 keypoints
    python bench/complexity.py --models b,pose_hrnet_w32 --per-module --depth 3
    python bench/complexity.py --models b --sides 160,320,480,640,800,960 --time
    python bench/complexity.py --models 'hevitpose_*' --json

Runs from a bare checkout. All models take about a minute on two cores; every count is recorded
under ``--out`` (``runs/records``), and a second run reads it back. Nothing is published for an
input of 256x256 for some peers: they get a second row at the size and keypoints of their paper.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.command import Parser, require_distinct, select_models, whole
from bench.complexity_tables import Cost, Modules, Row, show_costs, show_rows
from hevitpose.errors import HEViTPoseError, UsageError, first_line, unknown_name
from hevitpose.files import require_folder
from hevitpose.models.spec import STRIDE_MULTIPLE
from hevitpose.program import exit_code
from hevitpose.progress import progress_bar
from hevitpose.sizes import LARGEST_SIDE, parse_count, parse_size
from reports.published import published

CONVENTIONS = ("mmcv", "fvcore", "torch")
SIDES = (160, 320, 480, 640, 800, 960)


# ------------------------------------------------------------------------------------- arguments


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line.

    Raises:
        UsageError: a value that cannot be read, or an unknown model or convention.
    """
    parser = Parser("bench/complexity.py", __doc__)
    add = parser.add_argument
    add("--models", default="all", help="names and wildcards, e.g. b,pose_*; default: all")
    add("--input", default="256x256", help="HEIGHTxWIDTH, several by comma")
    add("--keypoints", type=whole(), default=16)
    add("--conventions", default=",".join(CONVENTIONS))
    add("--per-module", action="store_true", help="a table of modules for each model")
    add("--depth", type=whole(0), default=2, help="levels of that table")
    add(
        "--sides",
        nargs="?",
        const=",".join(map(str, SIDES)),
        help="cost by input side, e.g. 160,960",
    )
    add("--time", action="store_true", help="with --sides: also measure milliseconds (CPU)")
    add("--threads", type=whole(), help="with --time: of the CPU's operators")
    add("--json", action="store_true", help="one JSON object instead of tables")
    add("--out", type=Path, default=Path("runs"), help="records go to OUT/records")
    add("--fresh", action="store_true", help="count again what is recorded")
    options = parser.parse_args(arguments)
    options.models = select_models(options.models)
    sizes = [parse_size(text, "--input") for text in options.input.split(",")]
    require_distinct(sizes, "--input", options.input)
    options.input, conventions = sizes, options.conventions
    options.conventions = conventions.split(",")
    require_distinct(options.conventions, "--conventions", conventions)
    for convention in options.conventions:
        if convention not in CONVENTIONS:
            raise unknown_name("convention", convention, CONVENTIONS)
    if options.sides is not None:
        sides = [parse_count(text, "--sides", LARGEST_SIDE) for text in options.sides.split(",")]
        require_distinct(sides, "--sides", options.sides)
        options.sides = sides
    elif options.time:
        raise UsageError("--time: expected --sides with it")
    require_folder(options.out, "--out")
    return options


# -------------------------------------------------------------------------------------- counting


def count_row(model: Any, row: Row, conventions: Sequence[str]) -> Row:
    """The row with parameters and GFLOPs filled in."""
    from hevitpose.cost.complexity import count, meta_copy

    shadow = meta_copy(model)
    results = {
        # fvcore traces the model, which takes real tensors; shapes are enough for the others.
        convention: count(model if convention == "fvcore" else shadow, row.input_size, convention)
        for convention in conventions
    }
    first = next(iter(results.values()))
    return replace(
        row,
        params=first.params,
        gflops={name: result.flops / 1e9 for name, result in results.items()},
        uncounted={name: dict(result.uncounted) for name, result in results.items()},
    )


def printed_sides(model: str) -> dict[int, float]:
    """GFLOPs by the side of a square input, as read off the authors' figure."""
    rows = published().of("none", "complexity")
    return {row.side: row.gflops for row in rows if row.network == model and row.gflops}


def with_published(row: Row) -> Row:
    """The row with what was printed about this network at this input, where something was."""
    from hevitpose.models.peers.counts import COUNTS, agrees

    found = published().counts(row.model, row.input_size, row.keypoints)
    if found is None:
        return row
    source = published().sources[found.source].short
    params_m, gflops = (None if v is None else str(v) for v in (found.params_m, found.gflops))
    note = COUNTS[row.model].note
    stated = {"params_m": params_m, "gflops": gflops, "source": source, "note": note}
    pairs = ((row.params, params_m, 1e6), (row.gflops.get("mmcv"), gflops, 1.0))
    same = [
        agrees(measured / unit, printed)
        for measured, printed, unit in pairs
        if measured is not None and printed is not None
    ]
    agreement = "" if not same else "reproduced" if all(same) else "differs"
    return replace(row, published=stated, agreement=agreement)


def plan(options: argparse.Namespace) -> list[Row]:
    """The rows to fill: every model at every input, and at its paper's where that is another."""
    from hevitpose.models.peers.counts import COUNTS

    rows = []
    for name in options.models:
        asked = [Row(name, size, options.keypoints) for size in options.input]
        found = COUNTS.get(name)
        if found is not None:
            own = Row(name, found.input_size, found.num_keypoints)
            # Only where the default question was asked: a chosen input is answered as it is.
            if options.input == [(256, 256)] and options.keypoints == 16 and own not in asked:
                asked.append(own)
        rows += asked
    return rows


def guarded(row: Any, work: Callable[[], Any]) -> Any:
    """`work()`, or the row with the reason why not: a model never goes missing from the table."""
    try:
        return work()
    except UsageError as error:
        return replace(row, status="skipped", error=str(error))
    except HEViTPoseError as error:
        return replace(row, status="failed", error=str(error))
    except Exception as error:  # a row with its status; the run ends with exit code 1
        reason = f"{type(error).__name__}: {first_line(str(error))}"
        return replace(row, status="failed", error=reason)


class Store:
    """Complexity records under a folder; only complete counts (all conventions) are kept.

    Args:
        out: the folder; records go to ``out/records``.
        fresh: do not read what is there.
    """

    def __init__(self, out: Path, fresh: bool) -> None:
        from hevitpose.records import RecordStore

        self.records = RecordStore(out / "records")
        self.fresh = fresh

    @staticmethod
    def takes(row: Row) -> bool:
        """Whether a config can say this input: ViTPose alone also fits multiples of 16."""
        return not any(side % STRIDE_MULTIPLE for side in row.input_size)

    def identify(self, row: Row) -> tuple[Any, Any]:
        """(config, run) of a row."""
        from hevitpose.config import load_config
        from hevitpose.runs import complexity_run

        overrides = {
            "model.name": row.model,
            "model.num_keypoints": row.keypoints,
            "data.input_size": list(row.input_size),
        }
        config = load_config("synthetic").with_overrides(overrides)
        return config, complexity_run(config)

    def recorded(self, row: Row, conventions: Sequence[str]) -> Row | None:
        """The row from its record, where there is one of the present result version."""
        if self.fresh or not self.takes(row):
            return None
        _, run = self.identify(row)
        record = self.records.get(run.id)
        if record is None or record.flops is None:
            return None
        counted = {name: getattr(record.flops, name) for name in conventions}
        gflops = {name: value for name, value in counted.items() if value is not None}
        if len(gflops) < len(conventions):
            return None
        kept = replace(row, params=record.params, gflops=gflops, uncounted=None)
        return replace(kept, record=record.id)

    def add(self, row: Row, started: datetime.datetime, seconds: float) -> Row:
        """Keep a complete count; the row comes back with the id of the record that has it.

        A record that is there is not overwritten: the row fails where it says otherwise, and names
        the conventions that it lacks (a grid's has no fvcore).
        """
        if not self.takes(row):
            return row
        from hevitpose.records import Record
        from hevitpose.runs import record_facts

        config, run = self.identify(row)
        if set(row.gflops) == set(CONVENTIONS):
            measured = {"params": row.params, "flops": row.gflops}
            taken = {"started_at": started, "seconds": seconds}
            if self.records.add(Record.of(record_facts(config, run) | measured | taken)):
                return replace(row, record=run.id)
        kept = self.records.get(run.id)
        return row if kept is None else self._compared(row, kept)

    def _compared(self, row: Row, kept: Any) -> Row:
        """A count beside the record of its id."""
        known = {name: getattr(kept.flops, name, None) for name in row.gflops}
        pairs: dict[str, tuple[float | None, float | None]] = {"params": (kept.params, row.params)}
        pairs |= {f"flops.{name}": (known[name], value) for name, value in row.gflops.items()}
        other = [
            f"{name} {then}, counted now {now}"
            for name, (then, now) in pairs.items()
            if then is not None and now is not None and not math.isclose(then, now, rel_tol=1e-9)
        ]
        row = replace(row, record=kept.id, lacks=[n for n, v in known.items() if v is None])
        if not other:
            return row
        path = self.records.root / f"{kept.id}.json"
        return replace(row, status="failed", error=f"{path} says {'; '.join(other)}")


def count_rows(options: argparse.Namespace, store: Store) -> tuple[list[Row], list[Modules]]:
    """Every row filled, and the counts whose per-module tables were asked for."""
    rows: list[Row] = []
    tables: list[Modules] = []
    planned = plan(options)
    with progress_bar("counting", "networks") as report:
        for done, row in enumerate(planned):
            report(done, len(planned))
            filled = None
            if not options.per_module:
                filled = guarded(row, partial(store.recorded, row, options.conventions))
            if filled is None:
                filled = guarded(row, partial(_count_one, row, options, store, tables))
            rows.append(with_published(filled))
        report(len(planned), len(planned))
    return rows, tables


def _count_one(row: Row, options: argparse.Namespace, store: Store, tables: list[Modules]) -> Row:
    from hevitpose.cost.complexity import count, meta_copy
    from hevitpose.models import create_for_input

    started, clock = datetime.datetime.now(datetime.UTC), time.perf_counter()
    # Its own input: some peers have weights that depend on it.
    model = create_for_input(row.model, row.keypoints, row.input_size, seed=0)
    filled = count_row(model, row, options.conventions)
    if options.per_module:
        for convention in options.conventions:
            subject = model if convention == "fvcore" else meta_copy(model)
            counted = count(subject, row.input_size, convention)
            tables.append(Modules(row.model, row.keypoints, counted, options.depth))
    return store.add(filled, started, time.perf_counter() - clock)


# ------------------------------------------------------------------------------- cost by the side


def cost_rows(options: argparse.Namespace) -> list[Cost]:
    """Parameters, GFLOPs and, on request, milliseconds on square inputs."""
    total = len(options.models) * len(options.sides)
    costs: list[Cost] = []
    with progress_bar("input sides", "networks x sides") as report:
        for name in options.models:
            kept: dict[str, Any] = {}
            for side in options.sides:
                report(len(costs), total)
                row = Cost(name, side)
                costs.append(guarded(row, partial(_cost_one, row, options, kept)))
        report(total, total)
    return costs


def _cost_one(row: Cost, options: argparse.Namespace, kept: dict[str, Any]) -> Cost:
    from hevitpose.cost.complexity import count, meta_copy
    from hevitpose.models import create_for_input

    size = (row.side, row.side)
    model = kept.get("model")
    if model is None or getattr(model, "weights_depend_on_input", False):
        model = kept["model"] = create_for_input(row.model, options.keypoints, size, seed=0)
    shadow = meta_copy(model)
    by_module, products = count(shadow, size, "mmcv"), count(shadow, size, "torch")
    milliseconds = None
    if options.time:
        from hevitpose.cost.latency import QUICK, measure

        threads = options.threads
        milliseconds = measure(model, input_size=size, threads=threads, budget=QUICK).p50
    return replace(
        row,
        params=by_module.params,
        gflops_mmcv=by_module.flops / 1e9,
        gflops_torch=products.flops / 1e9,
        published_gflops=printed_sides(row.model).get(row.side),
        ms=milliseconds,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit code."""
    return exit_code(lambda: _run(parse(arguments)))


def _run(options: argparse.Namespace) -> int:
    store = Store(options.out, options.fresh)
    if options.sides is None:
        rows, tables = count_rows(options, store)
        done: Sequence[Row | Cost] = rows
        result = {"rows": [asdict(row) for row in rows]}
        if options.per_module:
            result["per_module"] = [table.to_dict() for table in tables]
        text = "\n\n".join((*map(str, tables), show_rows(rows, options.conventions)))
    else:
        done = costs = cost_rows(options)
        result = {"sides": [asdict(cost) for cost in costs]}
        text = show_costs(costs, options.time, options.threads)
    print(json.dumps(result) if options.json else text)
    if any(row.status == "failed" for row in done):
        return 1
    return 2 if all(row.status == "skipped" for row in done) else 0


if __name__ == "__main__":
    sys.exit(main())
