"""What a run can be asked for, written once: the dataclass is the command line and its help."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer
from typer.models import OptionInfo

from hevitpose.config import PRESETS, Config, load_config, parse_overrides
from hevitpose.config.schema import LARGEST_SEED
from hevitpose.errors import UsageError
from hevitpose.files import is_file
from hevitpose.records import provenance
from hevitpose.sizes import is_number

#: The module whose functions make a cell's measurements.
WORK = "ablations.measurements"
#: What a child starts with.
PRELOAD = (
    "torch",
    "timm",
    "pytorch_lightning",
    "ablations.workers.local",
    WORK,
    "hevitpose.cost.complexity",
    "hevitpose.cost.latency",
    "hevitpose.models",
    "hevitpose.training.fit",
    "hevitpose.runs",
)


@dataclass(frozen=True)
class Options:
    """Of ``python -m ablations run``; the last fields are none of the command line's."""

    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[GRID | key=value]...", help="Grids, and config overrides."),
    ] = None
    grid: Annotated[
        list[str] | None, typer.Option(help="A grid's name or yaml file; repeatable.")
    ] = None
    cells: Annotated[str | None, typer.Option(help="Only these cells: cgsr,mhsa.")] = None
    variant: Annotated[str | None, typer.Option(help="nano, t, s, b, or a peer.")] = None
    dataset: Annotated[str | None, typer.Option(help="synthetic, coco, mpii, ...")] = None
    data: Annotated[Path | None, typer.Option(help="The folder that holds coco/, mpii/.")] = None
    preset: Annotated[str | None, typer.Option(help=", ".join(PRESETS))] = None
    cfg: Annotated[str | None, typer.Option(help="A config's name or yaml file.")] = None
    seeds: Annotated[str | None, typer.Option(help="A list: 0,1,2.")] = None
    num_seeds: Annotated[int | None, typer.Option(min=1, help="A count, from 0.")] = None
    out: Annotated[Path, typer.Option(help="Output folder.")] = Path("runs")
    executor: Annotated[
        str | None,
        typer.Option(
            help="local, processes or ray. On a CPU: processes, one thread per cell, the fastest."
        ),
    ] = None
    workers: Annotated[int | None, typer.Option(min=1, help="Cells at once.")] = None
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of each cell.")] = None
    address: Annotated[str | None, typer.Option(help="Of a ray cluster; auto.")] = None
    gpus_per_run: Annotated[float, typer.Option(min=0, help="ray: may be a fraction.")] = 0.0
    timeout: Annotated[
        float,
        typer.Option(min=1, help="Seconds without progress after which a cell counts as hung."),
    ] = 1800.0
    imports: Annotated[
        list[Path] | None, typer.Option("--import", help="Your own module; repeatable.")
    ] = None
    match: Annotated[
        str | None,
        typer.Option(help="flops or params: each cell also at a width that costs the default's."),
    ] = None
    tune: Annotated[
        str | None,
        typer.Option(help="training.lr=4e-3,8e-3: each cell at its own best value on minival."),
    ] = None
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would run, and why.")] = (
        False
    )
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Rerun jobs that failed before.")
    ] = False
    use_committed: Annotated[
        bool, typer.Option("--use-committed", help="Count records in results/measured as done.")
    ] = False
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False

    work: str = WORK
    preload: Sequence[str] = PRELOAD
    tables: bool = True

    @property
    def grid_names(self) -> list[str]:
        """Of ``words`` and ``--grid``."""
        return [*(word for word in self.words or () if "=" not in word), *(self.grid or ())]

    @property
    def overrides(self) -> list[str]:
        """The other words."""
        return [word for word in self.words or () if "=" in word]

    @property
    def cell_names(self) -> list[str]:
        """Of ``--cells``; empty where it is not given: all.

        Raises:
            UsageError: it is given and names none.
        """
        names = [name for name in (self.cells or "").split(",") if name]
        if self.cells is not None and not names:
            raise UsageError(f"--cells {self.cells!r}: expected names of cells like cgsr,mhsa")
        return names

    def seed_numbers(self) -> list[int]:
        """Of ``--seeds`` or ``--num-seeds``; one seed where neither is given.

        Raises:
            UsageError: both are given, no list of numbers, or one that no generator takes.
        """
        if self.seeds is not None and self.num_seeds is not None:
            raise UsageError("--seeds is a list and --num-seeds a count: give one of them")
        if self.seeds is None:
            return list(range(self.num_seeds or 1))
        parts = self.seeds.split(",")
        if not all(map(is_number, parts)):
            raise UsageError(f"--seeds {self.seeds!r}: expected a list like 0,1,2")
        digits = len(str(LARGEST_SEED))
        if any(len(part) > digits or int(part) > LARGEST_SEED for part in parts):
            raise UsageError(f"--seeds {self.seeds!r:.80}: expected seeds up to {LARGEST_SEED}")
        return list(dict.fromkeys(map(int, parts)))

    @property
    def executor_name(self) -> str:
        """Unless asked otherwise: on a CPU, several cells at one thread each; else one at a time.

        A small network gains little from a second thread and loses much when anything else runs
        beside it: threads wait for the slowest at every operation. ``--threads`` means one cell at
        a time.
        """
        if self.executor or self.address:
            return self.executor or "ray"
        several = self.threads is None and provenance.device_type("auto") == "cpu"
        return "processes" if several and provenance.cores() > 1 else "local"

    def base_config(self) -> Config:
        """The default cell. Without a config file or preset: ``quick``.

        Raises:
            UsageError: a name, key or value that is not known.
        """
        threads = self.threads
        if threads is None and self.executor_name == "processes":
            threads = 1  # several cells at one thread each get more done than one cell at several
        given = {
            "model.name": self.variant,
            "data.dataset": self.dataset,
            "data.root": self.data,
            "training.threads": threads,
        }
        for word in self.overrides:
            if word.partition("=")[0] == "seed":
                raise UsageError(f"override {word}: every cell runs all seeds, use --seeds")
        asked = {key: value for key, value in given.items() if value is not None}
        asked |= parse_overrides(self.overrides)
        preset = self.preset or (None if self.cfg else "quick")
        config = load_config(self.cfg, asked, preset=preset)
        if config.devices * config.nodes > 1:  # every process of it would start the grid again
            raise UsageError(
                f"devices: {config.devices}, nodes: {config.nodes}; a cell of a grid runs on one "
                "device, expected 1 (on several: hevitpose train --devices)"
            )
        for file in self.imports or ():
            if not is_file(file):
                raise UsageError(f"--import {file}: no such file")
        if self.imports:
            config = config.model_copy(update={"imports": (*config.imports, *self.imports)})
        return config


def with_seeds(options: Options, count: int) -> list[str]:
    """The words of the same command with that many seeds, those that it has among them."""
    seeds = options.seed_numbers()
    more = (seed for seed in itertools.count() if seed not in seeds)
    wanted = [*seeds, *itertools.islice(more, max(0, count - len(seeds)))]
    if wanted == list(range(count)):
        return words_of(replace(options, seeds=None, num_seeds=count))
    return words_of(replace(options, seeds=",".join(map(str, wanted)), num_seeds=None))


def words_of(options: Options) -> list[str]:
    """The command line that gives these options."""
    hints = get_type_hints(type(options), include_extras=True)
    words = list(options.words or ())
    for field in fields(options):
        value = getattr(options, field.name)
        given = get_args(hints[field.name])[1:]
        if not given or not isinstance(given[0], OptionInfo) or value in (field.default, []):
            continue
        named = given[0].default  # typer takes the first word of an annotation for one
        declared = named if isinstance(named, str) else f"--{field.name.replace('_', '-')}"
        for item in value if isinstance(value, list) else [value]:
            words += [declared] if item is True else [declared, str(item)]
    return words


def command_of(options: type) -> Callable[[Callable[[Any], None]], Callable[..., None]]:
    """Make a function of a dataclass a function of its fields, which typer can make a command of.

    Typer takes no dataclass of its own accord (its issue 154).

    Args:
        options: the dataclass; fields annotated with ``typer.Option`` or ``typer.Argument`` count.
    """
    hints = get_type_hints(options, include_extras=True)
    fields = [
        parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(options).parameters.items()
        if get_origin(hints[name]) is Annotated
    ]

    def decorate(function: Callable[[Any], None]) -> Callable[..., None]:
        def command(**given: Any) -> None:
            function(options(**given))

        command.__name__, command.__doc__ = function.__name__, function.__doc__
        command.__signature__ = inspect.Signature(fields)  # type: ignore[attr-defined]
        return command

    return decorate
