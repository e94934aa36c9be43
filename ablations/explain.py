"""What grids there are, why a job would run, and what an id is a hash of."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from pathlib import Path

from ablations import display
from ablations.grid import Grid
from ablations.grid_file import NOTHING_MEASURED
from ablations.plan import CHANGED, FINGERPRINT, History, Plan, changes, trainings_to_run
from hevitpose import runs
from hevitpose.config import Config, parse_config
from hevitpose.errors import HEViTPoseError, on_one_line
from hevitpose.records import Difference, Record, RecordStore, Run, find

_WIDTH = 100
#: Of a line of a dry run.
_LONGEST = 160
#: Keys (or their beginnings) whose differences are told first.
_TELLING = (
    "version", FINGERPRINT, "config.data.input_size", "input", "conditions.input",
    "config.training.steps", "config.training.epochs", "model.name", "model", "machine.gpu",
    "machine.cpu", "machine", "conditions", "config.training", "config", "weights",
)  # fmt: skip
_NAMES = {FINGERPRINT: "data", "config.data.input_size": "input", "config.training.steps": "steps"}
_HASH = re.compile(r"\b([0-9a-f]{8})[0-9a-f]{8,}\b")
_LONG_VALUE = 40


def overview(grids: Sequence[Grid]) -> str:
    """A screen about all grids: cells, time, and question and finding as far as they fit a line."""
    names = max(len(grid.name) for grid in grids)
    lines = []
    for grid in grids:
        cells = len({cell.name.partition(" @ ")[0] for cell in grid.cells})
        time = re.sub(r"^about | on two cores.*| for .*", "", " ".join(grid.expected.split()))
        start = f"{grid.name:<{names}}  {cells:>2} cells  {time:<15} "
        question = " ".join(grid.question.split())
        lines.append(start + textwrap.shorten(question, _WIDTH - len(start), placeholder=" ..."))
        if grid.findings[0] != NOTHING_MEASURED:
            told = textwrap.shorten(
                _told(grid.findings[0]), _WIDTH - 2, placeholder=" ...", break_on_hyphens=False
            )
            lines.append(f"  {told}")
    lines.append(
        "in full: python -m ablations list attention; run: nox -s ablation -- --grid attention"
    )
    return "\n".join(lines)


def _told(finding: str) -> str:
    """What a finding says of which cells, without its condition and its numbers."""
    text = " ".join(finding.split()).rpartition(" seeds: ")[2].replace("`", "")
    text = re.sub(r" \([^)]*\)", "", text)
    return re.sub(r"^by (\S+) [\d.]+ \+- [\d.]+ with [^.;]*[.;] ", r"by \1 ", text)


def in_full(grid: Grid) -> str:
    """Question, cells, command, expected time and findings of a grid."""
    named = [cell.name.partition(" @ ") for cell in grid.cells]
    facts = [("cells", ", ".join(dict.fromkeys(name for name, at, _ in named if not at)))]
    if conditions := dict.fromkeys(condition for _, at, condition in named if at):
        facts.append(("each at", ", ".join(conditions)))
    facts += [("command", grid.command), ("expected", grid.expected)]
    facts += [("finding", finding) for finding in grid.findings]
    lines = textwrap.wrap(" ".join(grid.question.split()), _WIDTH - 2)
    for key, text in facts:
        lines += textwrap.wrap(
            " ".join(text.split()), _WIDTH - 2, break_on_hyphens=False,
            initial_indent=f"{key:<9} ", subsequent_indent=" " * 10,
        )  # fmt: skip
    return "\n".join([grid.name, *(f"  {line}" for line in lines)])


def describe(
    made: Plan, stores: Sequence[RecordStore], out: Path, retry_failed: bool = False
) -> str:
    """What a run would do, a line per job, and a sum that starts with how many would run.

    Args:
        made: the plan.
        stores: the run's own, then others whose records count as done.
        out: the runs folder, which holds weights.
        retry_failed: failed jobs would run again.
    """
    history = History(*stores)

    def weights(training: str) -> Path | None:
        record = history.done.get(training)
        return None if record is None else runs.weights_of(out, record)

    again = trainings_to_run(made, lambda job: job.id in history.done, weights)
    lines, total, unknown, count = [], 0.0, 0, 0
    width = made.label_width
    for job in made.jobs:
        seed = "" if job.seed is None else f"seed {job.seed}"
        name = f"{job.label:<{width}} {job.kind:<10} {seed:<7}"
        if job.id in history.done and job.id not in again:
            lines.append(f"{name} recorded  {job.id}")
            continue
        reason = history.why(job)
        if job.id in history.failed and not retry_failed:
            lines.append(f"{name} left out  {reason} (--retry-failed tries again)")
            continue
        seconds = history.seconds(job)
        count += 1
        total, unknown = total + (seconds or 0.0), unknown + (seconds is None)
        guess = "" if seconds is None else f"  ({display.duration(seconds)})"
        line = f"{name} would run {reason}"
        if changed := history.changed(job) if reason == CHANGED else []:
            line += f": {most_telling(changed, _LONGEST - len(line) - 2 - len(guess))}"
        lines.append(line + guess)
    for grid in made.grids:
        default = grid.cells[0]
        lines += [f"{grid.name}/{name} = {default.name} (default)" for name in default.aliases]
    lines = [*map(on_one_line, lines)]
    lines += [f"not usable: {problem}" for store in stores for problem in store.problems]
    guess = f": about {display.duration(total)}" if unknown < count else ": no earlier times"
    more = f" and {unknown} of unknown time" if 0 < unknown < count else ""
    lines.append(f"{count} of {len(made.jobs)} would run{guess + more if count else ''}")
    return "\n".join(lines)


def most_telling(found: Sequence[Difference], width: int) -> str:
    """The first of the differences, as many as fit, and how many others there are.

    Args:
        found: at least one. Long lists and the like are named, and come last.
        width: characters; one difference is told in any case.
    """
    texts = [text for _, text in sorted(map(_told_difference, found))]
    line = ""
    for count in range(1, len(texts) + 1):
        rest = f"; {len(texts) - count} more" if count < len(texts) else ""
        longer = "; ".join(texts[:count]) + rest
        if line and len(longer) > width:
            break
        line = longer
    return line


def _told_difference(difference: Difference) -> tuple[tuple[bool, int, str], str]:
    """Its place among others, and its text."""
    key, *values = difference
    before, after = (_HASH.sub(r"\1", str(value).replace(", ", ",")) for value in values)
    long = max(len(before), len(after)) > _LONG_VALUE
    places = [i for i, start in enumerate(_TELLING) if f"{key}.".startswith(f"{start}.")]
    name = _NAMES.get(key, key.removeprefix("config."))
    text = f"{name} differs" if long else f"{name}: {before} -> {after}"
    return (long, min(places, default=len(_TELLING)), key), text


def explain_record(record_id: str, out: Path, data: Path | None = None) -> str:
    """The inputs of an id, and how they differ from what the code and machine are now.

    Args:
        record_id: an id or its beginning.
        out: the run folder.
        data: where the data are; a record does not say where they were.

    Raises:
        UsageError: no such record, or more than one in the folder and among the committed ones.
    """
    record = find([runs.store_of(out), runs.measured()], record_id)
    lines = [f"{record.id}  {record.kind}  {record.status}  {record.grid or '-'}/{record.cell}"]
    lines += _tree(record.inputs)
    lines.append(f"commit {record.code.commit}, dirty {record.code.dirty}")
    try:
        config = parse_config(record.config, "its config")
        if data is not None:
            config = config.with_overrides({"data.root": str(data)})
        if record.kind == "training":
            now = runs.training_run(config)
        elif record.kind == "evaluation":
            now = _evaluation_now(config, record)
        elif record.kind == "complexity":
            now = runs.complexity_run(config)
        else:
            timed = record.inputs.get("conditions", {}), record.inputs.get("attempt", 1)
            now = runs.latency_run(config, timed[0], attempt=timed[1])
        found = changes(record, now)
        lines.append("now: the same" if not found else "now: " + "; ".join(map(str, found)))
    except HEViTPoseError as error:
        lines.append(f"now: cannot be told ({error})")
    if record.error:
        lines += f"error: {record.error}".split("\n")
    return "\n".join(map(on_one_line, lines))  # a record may be a stranger's


def _evaluation_now(config: Config, record: Record) -> Run:
    """What the evaluation would be now: of the same file, where it was of one, else of a training.

    A file of weights or an exported network does not change with the code. The config that
    evaluated it need not be the one that trained it.
    """
    inputs = record.inputs
    of_file = config.model.checkpoint is not None  # type: ignore[attr-defined]
    runtime = inputs.get("runtime", {})
    exported = {key: runtime[key] for key in ("name", "precision", "exported") if key in runtime}
    return runs.evaluation_run(
        config,
        inputs.get("weights") if of_file else None,
        tuned=record.tuned,
        runtime=exported if "exported" in exported else None,
        trained={} if "model" in inputs else None,  # in another network, whichever it was
    )


def _tree(value: object, indent: int = 1) -> list[str]:
    lines = []
    if isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, dict) and item:
                lines.append(f"{'  ' * indent}{key}:")
                lines += _tree(item, indent + 1)
            else:
                lines.append(f"{'  ' * indent}{key}: {item!r}")
    return lines
