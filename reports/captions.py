"""What records share, as words: the lines under tables. Generated, never typed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from hevitpose.data.registry import is_rendered, labels_of
from hevitpose.markdown import plain
from hevitpose.models.spec import SIMCC
from hevitpose.records import Record
from reports.load import h_by_w, input_size
from reports.output.text import join
from reports.recipe import base_of, departures, overrides


def about_data(dataset: str) -> str:
    """The sentence that has to stand wherever numbers on a dataset do; empty where none has to.

    Args:
        dataset: its name, or several side by side.
    """
    names = dataset.split(" / ")
    lines = labels_of(*names)
    if any(is_rendered(name) for name in names):
        lines.insert(
            0, "Synthetic people, not photographs: what holds here need not hold on real data"
        )
    return "".join(f"{line}. " for line in lines)


def describe_conditions(records: Sequence[Record]) -> str:
    """The line that stands under a table with times, from the records themselves."""
    if not records:
        return ""
    keys = dict.fromkeys(k for r in records if r.latency for k in r.latency.conditions)
    conditions = {
        key: join([word(r.latency.conditions.get(key)) for r in records if r.latency], "")
        for key in keys
    }
    device = join([machine_words(r) for r in records])
    counts = [r.latency.n for r in records if r.latency is not None]
    n = str(counts[0]) if len(set(counts)) == 1 else f"{min(counts)} to {max(counts)}"
    settings = ", ".join(
        f"{key.replace('_', ' ')} {value}" for key, value in conditions.items() if value
    )
    noisy = sum(1 for r in records if r.latency is not None and r.latency.noisy)
    return (
        f"Times: {device}; {settings}; n = {n}; "
        f"torch {join([r.versions.get('torch') for r in records])}; "
        f"commit {commits(records)}; {dates(records)}"
        + (f"; {noisy} noisy (IQR above 10% of the median)" if noisy else "")
        + "."
    )


def on_gpu(record: Record) -> bool:
    """Whether a timing is of a GPU."""
    device = record.latency.conditions.get("device") if record.latency else None
    return str(device).startswith("cuda")


def place_words(record: Record) -> str:
    """The machine of a timing, a CPU's threads, and the clock and budget where they are others."""
    assert record.latency is not None
    given = record.latency.conditions
    words = [machine_words(record)]
    if not on_gpu(record) and (count := given.get("threads")) is not None:
        words.append(f"{count} thread{'' if count == 1 else 's'}")
    if given.get("clock", "wall") == "cpu":
        words.append("processor time")
    if (budget := given.get("budget")) is not None:
        words.append(f"{budget} timing")
    return ", ".join(words)


def precision_word(record: Record) -> str:
    """The arithmetic of a timing; TF32 is a precision of its own."""
    assert record.latency is not None
    given = record.latency.conditions
    tf32 = given.get("tf32") and given.get("dtype") == "fp32" and on_gpu(record)
    return "tf32" if tf32 else str(given.get("dtype"))


def machine_words(record: Record) -> str:
    """The machine of a timing; a processor with family, model and stepping where they are known."""
    if on_gpu(record):
        return record.machine.gpu or "machine not stated"
    name, details = record.machine.cpu or "machine not stated", record.machine.details
    numbers = [f"{key} {details[key]}" for key in ("family", "model", "stepping") if key in details]
    virtual = ["virtual"] if details.get("hypervisor") else []
    return f"{name} ({', '.join([*numbers, *virtual])})" if numbers else name


def machine_key(record: Record) -> str:
    """Equal for timings of one machine: all that is recorded of it."""
    facts = msgspec.to_builtins(record.machine)
    facts.pop("ram")
    return msgspec.json.encode(facts).decode()


def conditions_key(record: Record, *without: str) -> str:
    """Equal for timings on one machine under the same conditions.

    Args:
        record: a timing.
        without: conditions in which they may differ.
    """
    assert record.latency is not None
    facts = {k: v for k, v in record.latency.conditions.items() if k not in without}
    return json.dumps([facts, machine_key(record)], sort_keys=True, default=str)


def word(value: object) -> object:
    """A condition's value as a table says it."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


def commits(records: Iterable[Record]) -> str:
    """Short commits, most frequent first; a dirty tree says so."""
    counted = Counter(
        (r.code.commit[:9] + (" (dirty)" if r.code.dirty else "")) if r.code.commit else "unknown"
        for r in records
    )
    names = [name for name, _ in sorted(counted.items(), key=lambda item: (-item[1], item[0]))]
    return join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def dates(records: Iterable[Record]) -> str:
    """One UTC day, or the first and the last."""
    days = sorted({r.started_at.strftime("%Y-%m-%d") for r in records})
    return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}" if days else "no date"


def shared(records: Sequence[Record]) -> dict[str, str]:
    """What evaluation records share, as words for a caption; several values stand side by side."""
    runs = [r for r in records if r.kind == "evaluation"]
    data = [r.dataset for r in runs if r.dataset is not None]
    starts = [(r.config.get("training") or {}).get("start_from") for r in runs]
    people = [d.counts["people"] for d in data if "people" in d.counts]
    flips = [{True: "yes", False: "no", None: None}[r.flip_test] for r in runs]
    return {
        "dataset": join([d.name for d in data]),
        "split": join([d.split for d in data]),
        "people": join(people, "") if people else "",
        "fingerprint": join([d.fingerprint for d in data]),
        "boxes": join([{"gt": "ground truth"}.get(d.boxes, d.boxes) for d in data]),
        "flip_test": join(flips),
        # Older records of SimCC networks name the config's decoder, which is of heatmaps.
        "decoder": join(["simcc" if r.model in SIMCC else r.decoder for r in runs]),
        "selection": join([r.selection for r in runs]),
        "input": join([h_by_w(input_size(r)) for r in runs]),
        "model": join([r.model for r in records]),
        "preset": join([r.config.get("preset") for r in runs], ""),
        "steps": join([r.train.steps for r in runs if r.train and r.train.steps], ""),
        "epochs": join([f"{r.train.epochs:.3g}" for r in runs if r.train and r.train.epochs], ""),
        "start": join(starts, ""),
        "tuned": join([tuned_words(r) for r in runs], ""),
        "recipe": ", ".join(_in_all([departures(r) for r in runs])),
        "processors": join([r.machine.cpu for r in runs], ""),
        "torch": join([_minor(r.versions.get("torch")) for r in runs], ""),
        "commit": commits(runs or records),
        "date": dates(runs or records),
    }


def _in_all(lists: Sequence[Sequence[str]]) -> list[str]:
    first, *others = lists or [[]]
    return [word for word in first if all(word in other for other in others)]


def _minor(version: str | None) -> str | None:
    """``2.14`` of ``2.14.1+cpu``."""
    return version and ".".join(version.split(".")[:2])


def mixture(facts: Mapping[str, str]) -> str:
    """Of what several kinds stand side by side though it moves numbers; empty where nothing does.

    Args:
        facts: of :func:`shared`.
    """
    several = [(facts["processors"], ""), (facts["torch"], "torch ")]
    found = [f"{before}{text}" for text, before in several if " / " in text]
    return f"{' and '.join(found)}, which round differently" if found else ""


def tuned_words(record: Record) -> str:
    """The values that a cell's own best was taken from; empty where nothing was tuned."""
    return "; ".join(
        f"{key} of {', '.join(map(str, values))}" for key, values in record.tuned.items()
    )


def condition(facts: Mapping[str, str]) -> str:
    """What a verdict holds for: network, length of training, data, learning rate.

    Args:
        facts: of :func:`shared`.
    """
    people = data_words(facts["dataset"], facts.get("split", ""))
    start = start_words(facts["start"], facts["dataset"])
    rate = f"each cell's best {facts['tuned']}" if facts["tuned"] else "one learning rate"
    steps = f"{facts['steps']} steps" if facts["steps"] else ""
    model, *others = facts["model"].replace("hevitpose_", "").split(" / ")
    if others:  # the other cells, by their names in the table
        model += f" and {others[0] if len(others) == 1 else f'{len(others)} networks'}"
    return ", ".join(filter(None, (model, steps, people, start, rate, facts["recipe"])))


def start_words(start: str, dataset: str) -> str:
    """What a training started from; random weights are said of photographs only.

    Args:
        start: ``training.start_from``; empty for random weights.
        dataset: that was trained on.
    """
    if start:
        _, colon, on = start.partition(":")
        return f"started on {_people(on)}" if colon else f"from {start}"
    return "" if is_rendered(dataset) else "from random weights"


def data_words(dataset: str, split: str) -> str:
    """What was scored: val and test go without saying, minival is not reported as either."""
    return _people(dataset) + (" minival" if split == "minival" else "")


def _people(dataset: str) -> str:
    return "rendered people" if is_rendered(dataset) else dataset


def base_words(default: Record, axes: Collection[str]) -> str:
    """Options of the network that a grid's default overrides on the axes, which no name says."""
    _, _, known = base_of(default)
    model = {axis for axis in axes if axis.startswith("model.")} if known else set()
    return plain(", ".join(overrides(default, known, only=model)))


def not_shown(older: int, namesakes: int) -> list[str]:
    """Lines on the runs that a grid's rows leave out."""
    of = {
        "older runs of the same cell and seed": older,
        "runs of another configuration under a cell's name": namesakes,
    }
    return [f"{count} {what} are not shown." for what, count in of.items() if count]
