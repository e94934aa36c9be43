"""``python -m tests.fuzz``, which is ``nox -s fuzz``: hostile inputs for every reader.

nox -s fuzz                                      6,000 inputs, a few minutes
nox -s fuzz -- --inputs 100000                   hours
nox -s fuzz -- --target records --input 1234     one again, which is kept; with tracebacks
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz import campaign
from tests.fuzz.campaign import TARGETS, Finding
from tests.fuzz.targets import (  # noqa: F401 (for what they register)
    annotations,
    predictions,
    records,
    settings,
    weights,
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="nox -s fuzz --", description=__doc__.split("\n")[0])
    parser.add_argument("--inputs", type=int, default=6_000, help="of all targets [6000]")
    parser.add_argument("--seed", type=int, default=0, help="another one, other inputs [0]")
    parser.add_argument("--target", action="append", choices=sorted(TARGETS), help="only this")
    parser.add_argument("--input", type=int, help="only this number, of one target")
    options = parser.parse_args()
    chosen = [TARGETS[name] for name in options.target or TARGETS]
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    print(f"inputs are made in {folder}")
    if options.input is not None:
        if len(chosen) != 1:
            parser.error("--input: of which --target?")
        found = campaign.run(chosen[0], options.input + 1, options.seed, folder, options.input)
        print(campaign.shown(found) or "nothing")
        return 1 if found else 0
    counts = campaign.counts(options.inputs, chosen)
    findings: list[Finding] = []
    print(f"{'target':<24}{'inputs':>8}{'failed':>8}{'seconds':>9}", flush=True)
    for each in chosen:
        begin = time.monotonic()
        found = campaign.run(each, counts[each.name], options.seed, folder / each.name)
        findings += found
        failed = len({finding.number for finding in found})
        seconds = time.monotonic() - begin
        print(f"{each.name:<24}{counts[each.name]:>8}{failed:>8}{seconds:>9.0f}", flush=True)
        if found:
            print(campaign.shown(found), file=sys.stderr, flush=True)
    print(f"{'all':<24}{sum(counts.values()):>8}{len(findings):>8}  seed {options.seed}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
