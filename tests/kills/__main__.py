"""``python -m tests.kills``, which is ``nox -s kills``: SIGKILL at random moments.

nox -s kills                           60 kills, some ten minutes
nox -s kills -- --kills 500            an hour or two
nox -s kills -- --only train --seed 3
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

from tests.kills import harness
from tests.kills.commands import all_of, prepare
from tests.kills.harness import Command, FailedError, Whole

#: What every command loads: forked, it takes no seconds.
_LOADED = (
    "torch", "timm", "pytorch_lightning", "hevitpose.training.fit", "hevitpose.runs.record",
    "hevitpose.inference.export", "hevitpose.data.synthetic", "hevitpose.evaluation.statistics",
    "ablations.cli", "reports.__main__", "reports.output.page", "matplotlib.pyplot",
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="nox -s kills --", description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0, help="another one, other moments [0]")
    parser.add_argument("--only", action="append", help="commands whose name begins with this")
    options = parser.parse_args()
    for name in _LOADED:
        importlib.import_module(name)
    harness.adopt_orphans()
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    print(f"runs are in {folder}; those that fail stay there", flush=True)
    shared = folder / "shared"
    shared.mkdir()
    for program, words in prepare(shared):
        harness.complete(Command("prepare", program, words), words, shared)
    begins = tuple(options.only or [""])
    commands = [each for each in all_of(shared) if each.name.startswith(begins)]
    known, failures = _uninterrupted(commands, folder)
    failures += _kill(commands, known, folder, options.kills, Random(options.seed))
    for line in failures:
        print(f"FAILED {line}")
    if not failures:
        shutil.rmtree(folder)
    return 1 if failures else 0


def _uninterrupted(commands: list[Command], folder: Path) -> tuple[dict[str, Whole], list[str]]:
    known: dict[str, Whole] = {}
    failures = []
    for number, command in enumerate(commands):
        try:
            known[command.name] = harness.whole(command, folder / f"whole-{number}")
            print(f"{command.name:<24} {known[command.name].seconds:6.1f} s", flush=True)
        except FailedError as error:
            failures.append(f"{command.name}, not killed: {error}")
            print(failures[-1], flush=True)
    return known, failures


def _kill(
    commands: list[Command], known: dict[str, Whole], folder: Path, wanted: int, rng: Random
) -> list[str]:
    kills: Counter[str] = Counter()
    failures: list[str] = []
    number = 0
    begin = time.monotonic()
    while known and kills.total() < wanted:
        # The one that is furthest behind its share.
        command = min(
            (each for each in commands if each.name in known),
            key=lambda each: kills[each.name] / each.share,
        )
        number += 1
        place = folder / f"trial-{number}"
        try:
            kills[command.name] += harness.trial(command, known[command.name], place, rng)
            shutil.rmtree(place)
        except FailedError as error:
            kills[command.name] += 1
            failures.append(f"{command.name}, {place.name}: {error}")
            print(failures[-1], flush=True)
        if number % 25 == 0:
            print(f"{kills.total()} kills, {time.monotonic() - begin:.0f} s", flush=True)
    for name in known:
        print(f"{name:<24} {kills[name]:>5} kills")
    print(f"{'all':<24} {kills.total():>5} kills, {len(failures)} failures")
    return failures


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
