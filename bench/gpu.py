"""Everything that a GPU has to show, in a few minutes.

    python bench/gpu.py --minutes 9 --out DIR --data ROOT
    python bench/gpu.py --minutes 8 --out DIR --data ROOT --parts d,b,a     # in this order
    python bench/gpu.py --rehearse                                          # on the CPU, tiny

Parts: ``a`` all forms and precisions agree; ``b`` latency, ratios to the peers, memory, energy;
``c`` images per second of training steps and of loading; ``d`` a training for real with as many
steps as the time allows, and with time left a cell of every attention. ROOT holds ``coco_small``.

First a child reads from the disk what all need, before any part's clock starts. Each part has its
share of the time and hands on what it does not need; one that fails is reported and the next one
runs. Rows are kept in DIR/rows.jsonl as they come, records in DIR/records (for ``hevitpose records
import DIR``); the same call again does what is missing. DIR/header.json is of the call that began
DIR: one of another scale, device, torch or data needs another DIR. At the end DIR has summary.txt
and summary.json. Runs from a bare checkout.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import gpu_latency, gpu_training
from bench.command import Parser
from bench.gpu_data import make_stand_in
from bench.gpu_folder import begin, header_of, headline
from bench.gpu_session import FULL, REHEARSAL, SETTLED, Log, Scale, Session
from hevitpose.errors import HEViTPoseError, UsageError, unknown_name
from hevitpose.files import require_folder, write_atomically
from hevitpose.program import exit_code
from hevitpose.records import provenance
from hevitpose.sizes import require_finite

#: Part: (what it does, share of the time, its function).
PARTS: dict[str, tuple[str, float, Callable[[Session], None]]] = {
    "a": ("forms and precisions agree", 0.10, gpu_latency.check),
    "b": ("latency", 0.33, gpu_latency.latency),
    "c": ("training throughput", 0.12, gpu_training.throughput),
    "d": ("a real training", 0.45, gpu_training.real),
}


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line.

    Raises:
        UsageError: a value that cannot be read, or no GPU for a call that needs one.
    """
    parser = Parser("bench/gpu.py", __doc__)
    add = parser.add_argument
    add("--minutes", type=float, default=9.0, help="for everything (default 9)")
    add("--out", type=Path, default=Path("runs/gpu"), help="folder of rows, records, summary")
    add("--data", type=Path, help="folder that holds coco_small; parts c and d need it")
    add("--parts", default=",".join(PARTS), help="by comma, of a,b,c,d, in this order")
    add("--rehearse", action="store_true", help="the same on the CPU with tiny sizes")
    options = parser.parse_args(arguments)
    options.parts = list(dict.fromkeys(options.parts.split(",")))
    for part in options.parts:
        if part not in PARTS:
            raise unknown_name("part", part, PARTS)
    require_finite(options.minutes, "--minutes")
    require_folder(options.out, "--out")
    if options.rehearse:
        options.data = options.data or options.out / "stand_in"
    elif options.data is None and {"c", "d"} & set(options.parts):
        raise UsageError("--data: not given, parts c and d need the folder that holds coco_small")
    return options


def run_parts(session: Session, parts: Sequence[str]) -> None:
    """The parts in the given order, each with its share of what is left."""
    for index, part in enumerate(parts):
        text, share, work = PARTS[part]
        share /= sum(PARTS[rest][1] for rest in parts[index:])
        now = time.monotonic()
        session.part, session.part_end = part, now + max(0.0, session.end - now) * share
        session.say(text)
        try:
            work(session)
        except HEViTPoseError as error:
            session.log.add(part, "part", "failed", reason=str(error))
            session.say(f"failed, {error}")
        except Exception as error:  # a row with its reason; the parts after it still run
            traceback.print_exc()
            session.log.add(part, "part", "failed", reason=f"{type(error).__name__}: {error}")
        else:
            session.log.add(part, "part", "ok", seconds=time.monotonic() - now)


# ------------------------------------------------------------------------------------ summary


def summary(rows: Sequence[dict[str, Any]], header: dict[str, Any], scale: Scale) -> str:
    """All rows as text, a block per part; what failed says why."""
    lines = [headline(header)]
    for part, (text, _, _) in PARTS.items():
        mine = [row for row in rows if row["part"] == part]
        if mine:
            lines += ["", f"{part}: {text}; {_constant(part, scale)}"]
            lines += [f"  {row['key']:<58} {_facts(row)}" for row in mine]
    return "\n".join(lines) + "\n"


def _constant(part: str, scale: Scale) -> str:
    """Input and batch of a part, where its rows do not name them."""
    width, height = scale.size if part in "ab" else scale.train_size
    batches = {way.batch for way in (*scale.checks, *scale.ways, *scale.versus)}
    if part not in "ab":
        batches = {scale.train_batch}
    elif part == "a":
        batches = {way.batch for way in (*scale.checks, scale.compiled_way)}
    batch = f", batch {batches.pop()}" if len(batches) == 1 else ""
    return f"input {height}x{width}{batch}"


def _facts(row: dict[str, Any]) -> str:
    if row["status"] != "ok":
        return f"{row['status']}: {row.get('reason')}"
    left_out = ("part", "key", "status", "record", "evaluation", "rounds", "contenders")
    return "  ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in row.items()
        if name not in left_out and value is not None
    )


def write_summary(session: Session) -> str:
    """The text of the summary, also written to the session's folder."""
    text = summary(session.log.rows, session.header, session.scale)
    write_atomically(session.out / "summary.txt", text)
    content = {
        "header": session.header,
        "machine": provenance.machine(),
        "versions": provenance.versions(),
        "code": provenance.code(),
        "rows": session.log.rows,
    }
    write_atomically(session.out / "summary.json", json.dumps(content, indent=1) + "\n")
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    """0; 1 where a row failed or was late; 2 for a wrong request, or no GPU."""
    start = time.monotonic()
    return exit_code(lambda: _run(parse(arguments), start), "interrupted; the same call goes on")


def _run(options: argparse.Namespace, start: float) -> int:
    if not options.rehearse:
        import torch

        if not torch.cuda.is_available():
            raise UsageError("no CUDA GPU is available here (--rehearse needs none)")
    scale, device = (REHEARSAL, "cpu") if options.rehearse else (FULL, "cuda")
    data = options.data or Path()
    name = "rehearsal" if options.rehearse else "full"
    header = begin(options.out, header_of(name, device, data))
    if options.rehearse and not (options.data / "coco_small").exists():
        make_stand_in(options.data)
    session = Session(
        out=options.out,
        device=device,
        scale=scale,
        data=data,
        header=header,
        log=Log.open(options.out / "rows.jsonl"),
        end=start + 60 * options.minutes,
    )
    try:
        gpu_training.warm_up(session)
        run_parts(session, options.parts)
    finally:
        print(write_summary(session), end="", flush=True)
    return int(any(row["status"] not in SETTLED for row in session.log.rows))


if __name__ == "__main__":
    sys.exit(main())
