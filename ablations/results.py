"""What a run leaves on the screen: its tables, and how it compares with committed records."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence

from ablations.display import duration
from ablations.options import Options, with_seeds
from ablations.plan import Plan
from hevitpose.records import Record, RecordStore
from hevitpose.records.schema import is_share


def render(made: Plan, stores: Sequence[RecordStore], options: Options) -> None:
    """Writes a table and a plot per grid, and prints the tables."""
    from reports.render import render_grid

    ids = {i for cells in made.members.values() for of in cells.values() for i in of}
    everything: list[Record] = []
    for store in stores:
        everything += store.iter(ids=ids)
    for grid in made.grids:
        rendered = render_grid(
            everything,
            grid.name,
            options.out / "tables",
            cells=made.members[grid.name],
            default=grid.cells[0].name,
            question=" ".join(grid.question.split()),
            primary=grid.primary,
        )
        print(f"\n{rendered.text}")
        suffixes = ",".join(path.suffix.removeprefix(".") for path in rendered.paths)
        print(f"everything: {rendered.paths[0].with_suffix('')}.{{{suffixes}}}")
    for line in next_step(options, everything):
        print(f"\n{line}")


def next_step(options: Options, records: Sequence[Record]) -> list[str]:
    """What to run for verdicts, and about how long that takes; none where there are the seeds."""
    from hevitpose.evaluation.statistics import VERDICT_SEEDS

    trained = [r for r in records if r.kind == "training" and r.status == "ok"]
    seeds = len({r.seed for r in trained})
    if not trained or seeds >= VERDICT_SEEDS:
        return []
    each = sum(r.seconds for r in trained) / len(trained)
    missing = (VERDICT_SEEDS - seeds) * len(trained) / seeds
    command = shlex.join(["nox", "-s", "ablation", "--", *with_seeds(options, VERDICT_SEEDS)])
    return [
        f"for verdicts, {VERDICT_SEEDS} seeds: {command}  "
        f"(about {duration(missing * each)}, less where cells run side by side)"
    ]


def reproduced(made: Sequence[Record], committed: RecordStore) -> list[str]:
    """How the evaluations that were made now compare with the committed ones of the same ids.

    Returns:
        One line; none where nothing of this run is committed.
    """
    ids = {record.id for record in made}
    known = {record.id: record for record in committed.iter(failures=False, ids=ids)}
    pairs = [(record, known[record.id]) for record in made if record.id in known]
    if not pairs:
        return []
    differences = [_largest_difference(now.metrics, then.metrics) for now, then in pairs]
    same = sum(difference == 0 for difference in differences)
    line = (
        f"{same} of {len(pairs)} committed results reproduced, "
        f"largest difference {max(differences):.3g}"
    )
    then = {(r.machine.cpu, r.versions.get("torch")) for _, r in pairs}
    here = {(r.machine.cpu, r.versions.get("torch")) for r, _ in pairs}
    if then != here:
        line += f" (committed on {_where(then)}; this is {_where(here)})"
    return [line]


def _largest_difference(now: Mapping[str, float | None], then: Mapping[str, float | None]) -> float:
    """In points, over all metrics; AP and AR, which are shares of one, times 100."""
    found = [0.0]
    for name in now.keys() | then.keys():
        a, b = now.get(name), then.get(name)
        if a is None or b is None:
            found.append(0.0 if a is b else math.inf)
        else:
            scale = 100 if is_share(name) else 1
            found.append(scale * abs(a - b))
    return max(found)


def _where(places: set[tuple[str | None, str | None]]) -> str:
    return "; ".join(sorted(f"{cpu or 'unknown CPU'}, torch {torch}" for cpu, torch in places))
