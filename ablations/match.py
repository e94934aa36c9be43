"""``--match flops|params``: beside each cell, the same cell at a width that costs the default's.

A change that makes a network larger may win by its size alone. The matched form answers that: the
three stage widths of the cell are scaled by one factor, each rounded to what the network accepts
(multiples of groups x heads, at least of four), and of all such networks the one nearest to the
default's cost is taken. A cell whose own cost is within 1% has none, and one that no width brings
within 5% has none either, which is said with the reason.

Costs are counted by the mmcv rule, by the same code as complexity records. They are kept by the id
that such a record has, so that a second look needs no torch.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

from ablations.grid import Cell, Grid, cell_key
from ablations.grid_file import MATCH_COSTS, MATCH_TOLERANCE, matched_name
from ablations.refusals import refused
from hevitpose import json_file
from hevitpose.config import Config
from hevitpose.errors import DataError, HEViTPoseError, UsageError, unknown_name
from hevitpose.files import write_atomically
from hevitpose.models.spec import PEERS, full_name
from hevitpose.progress import Progress, silent
from hevitpose.records import RecordStore
from hevitpose.runs import complexity_run

#: A cell whose cost differs by no more needs no matched form.
EQUAL = 0.01
_FACTORS = (0.25, 4.0)  # of the widths
_SMALLEST_MULTIPLE = 4
_UNITS = {"flops": (1e9, "G"), "params": (1e6, "M")}

Widths = tuple[int, int, int]


class Cost(NamedTuple):
    """Of one image."""

    params: int
    flops: int  # multiply-accumulates


@dataclass
class Costs:
    """What networks cost, counted once.

    Args:
        out: the run folder: its complexity records count, and ``costs.json`` keeps the rest.
    """

    out: Path
    known: dict[str, Cost] = field(default_factory=dict)  # by the id of a complexity record
    counted: int = 0  # anew

    def __post_init__(self) -> None:
        self.store = RecordStore(self.out / "records")
        # Absent or damaged: counted again.
        with suppress(DataError, ValueError, TypeError, AttributeError, OverflowError):
            kept = json_file.read(self.out / "costs.json", "description")
            self.known = {key: Cost(int(p), int(f)) for key, (p, f) in kept.items()}

    def of(self, config: Config) -> Cost:
        """Parameters and multiply-accumulates of one image.

        Raises:
            HEViTPoseError: the network cannot be built or does not run.
        """
        key = complexity_run(config).id
        if key not in self.known:
            self.known[key] = self._recorded(key) or self._count(config)
        return self.known[key]

    def keep(self) -> None:
        """Writes down what was counted; a read-only disk only costs the next look its time."""
        if self.counted:
            with suppress(HEViTPoseError):
                text = json.dumps(dict(sorted(self.known.items())), indent=0)
                write_atomically(self.out / "costs.json", text + "\n")

    def _recorded(self, key: str) -> Cost | None:
        with suppress(DataError):
            record = self.store.get(key)
            if record and record.params is not None and record.flops and record.flops.mmcv:
                return Cost(record.params, round(record.flops.mmcv * 1e9))
        return None

    def _count(self, config: Config) -> Cost:
        import torch

        from ablations.measurements import build
        from hevitpose.cost.complexity import count
        from hevitpose.models.imports import import_files

        self.counted += 1
        try:
            import_files(config.imports)
            with torch.device("meta"):
                model = build(config)
            found = count(model, config.data.input_size, convention="mmcv")
        except HEViTPoseError:
            raise
        except Exception as error:  # a user's own module
            raise HEViTPoseError(f"{type(error).__name__}: {error}") from error
        return Cost(found.params, found.flops)


def match(
    grids: Sequence[Grid],
    by: str,
    out: Path,
    progress: Progress = silent,
    *,
    keep: bool = True,
) -> tuple[list[Grid], list[str]]:
    """Grids with the matched form of every cell after it.

    Args:
        grids: on one base configuration.
        by: ``flops`` or ``params``.
        out: the run folder.
        progress: told the cells done and the cells there are.
        keep: write down what was counted; a dry run writes nothing.

    Returns:
        The grids, and a line per cell that says what became of it.

    Raises:
        UsageError: another cost, or a default that has no widths.
        HEViTPoseError: the default cannot be counted.
    """
    if by not in MATCH_COSTS:
        raise unknown_name("cost to match", by, MATCH_COSTS)
    costs = Costs(out)
    total, done = sum(len(grid.cells) - 1 for grid in grids), 0
    result, lines = [], []
    try:
        for grid in grids:
            default, *others = grid.cells
            if full_name(default.config.model.name) in PEERS:  # type: ignore[attr-defined]
                name = default.config.model.name  # type: ignore[attr-defined]
                raise UsageError(f"--match {by}: {name} is a peer, whose width is fixed")
            target = getattr(costs.of(default.config), by)
            taken = {cell_key(cell.config): cell.name for cell in grid.cells}
            cells = [default]
            for cell in others:
                if cell.condition is not None:  # weights of another cell, at its width
                    cells.append(cell)
                    continue
                found, line = _matched(cell, target, by, costs, taken)
                cells += [cell] if found is None else [cell, found]
                lines.append(f"{grid.name}/{cell.name}: {line}")
                done += 1
                progress(done, total)
            result.append(replace(grid, cells=tuple(cells)))
    finally:
        if keep:
            costs.keep()
    return result, lines


def _matched(
    cell: Cell, target: int, by: str, costs: Costs, taken: dict[tuple[str, str], str]
) -> tuple[Cell | None, str]:
    """The matched form of a cell, or None; and what to say of it."""
    unit, letter = _UNITS[by]

    def cost(config: Config) -> int:
        return int(getattr(costs.of(config), by))

    def share(value: int) -> str:
        return f"{value / unit:.4g}{letter}, {(value - target) / target:+.1%}"

    if full_name(cell.config.model.name) in PEERS:  # type: ignore[attr-defined]
        return None, "not matched: a peer's width is fixed"
    try:
        own = cost(cell.config)
        if abs(own - target) <= EQUAL * target:
            return None, f"costs the same ({share(own)})"
        found = _search(cell.config, target, cost)
        value = cost(found)
    except HEViTPoseError as error:
        return None, f"not matched: {error}"
    widths = "-".join(map(str, found.model.spec().widths))  # type: ignore[attr-defined]
    what = f"{share(own)} -> widths {widths}: {share(value)}"
    if abs(value - target) > MATCH_TOLERANCE * target:
        return None, f"not matched: {what}, more than {MATCH_TOLERANCE:.0%} from the default"
    if abs(value - target) >= abs(own - target):
        return None, f"not matched: no width is nearer than its own ({share(own)})"
    key = cell_key(found)
    if key in taken:
        return None, f"not matched: {what}, which is the cell {taken[key]!r}"
    name = matched_name(cell.name, by)
    taken[key] = name
    overrides = {**cell.overrides, "model.widths": list(found.model.spec().widths)}  # type: ignore[attr-defined]
    return Cell(name, overrides, found, cell.line), what


def _search(config: Config, target: int, cost: Callable[[Config], int]) -> Config:
    """The width nearest to a cost; costs rise with the width, so that few are counted.

    Raises:
        HEViTPoseError: a network on the way is refused.
    """

    @cache
    def widened(widths: Widths) -> tuple[Config, int]:
        found = config.with_overrides({"model.widths": list(widths)})
        reason = refused(found)
        if reason:
            raise UsageError(reason)
        return found, cost(found)

    def enough(step: int) -> bool:
        return widened(ladder[step])[1] >= target

    ladder = list(_ladder(config))
    own = sum(config.model.spec().widths)  # type: ignore[attr-defined]
    # Costs grow about with the square of the width: few steps are left from there.
    guess = bisect_left(ladder, own * math.sqrt(target / cost(config)), key=sum)
    above = _first(len(ladder), enough, min(guess, len(ladder) - 1))
    near = [widened(widths) for widths in ladder[max(0, above - 1) : above + 1]]
    return min(near, key=lambda each: abs(each[1] - target))[0]


def _first(length: int, true: Callable[[int], bool], guess: int) -> int:
    """The first of ``length`` steps from which on something is true, looked for from a guess."""
    low, high, stride = 0, length, 1
    if true(guess):
        high = guess
        while low < high - stride and true(high - stride):
            high, stride = high - stride, 2 * stride
        low = max(low, high - stride)
    else:
        low = guess + 1
        while low + stride - 1 < high and not true(low + stride - 1):
            low, stride = low + stride, 2 * stride
        high = min(high, low + stride - 1)
    return bisect_left(range(length), True, low, high, key=true)


def _ladder(config: Config) -> Iterator[Widths]:
    """Every triple of widths that one factor gives, from narrow to wide."""
    spec = config.model.spec()  # type: ignore[attr-defined]
    multiples = [_multiple(spec.attention, spec.num_heads, groups) for groups in spec.groups]
    pairs = list(zip(spec.widths, multiples, strict=True))
    low, high = _FACTORS
    # Where one factor's width is rounded up instead of down: between two multiples.
    steps = {
        (number + 0.5) * multiple / width
        for width, multiple in pairs
        for number in range(int(high * width / multiple) + 1)
    }
    last = None
    for factor in sorted({low, *(step for step in steps if low < step <= high)}):
        first, second, third = (
            max(1, math.floor(factor * width / multiple + 0.5 + 1e-9)) * multiple
            for width, multiple in pairs
        )
        if (first, second, third) != last:
            last = first, second, third
            yield last


def _multiple(attention: str, heads: int, groups: int) -> int:
    """What a stage's width must be a multiple of; any head count would do without attention."""
    needed = {"cgsr": groups * heads, "cga": math.lcm(groups, heads), "none": 1}
    return math.lcm(_SMALLEST_MULTIPLE, needed.get(attention, heads))
