"""A campaign: numbered inputs for every target, each in a child that is watched.

An input is a function of (seed, target, number), so that a finding can be made again. It fails by
an exception that is not the project's, by a message of more than one line, by code that ran, and
by taking more than :data:`SECONDS` or :data:`MEMORY`, or not ending at all.
"""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import io
import json
import os
import resource
import shutil
import signal
import struct
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from mmap import mmap
from pathlib import Path
from random import Random
from typing import Any

import typer

from hevitpose.errors import HEViTPoseError, Notice
from tests.fuzz.mutation import MARKER

SECONDS = 10.0  # of processor time
HANGS = 60.0  # seconds by the clock: other processes may leave this one little time
MEMORY = 2 * 2**30  # bytes above what the libraries take
_LIMIT = 2 * MEMORY  # of address space: what asks for more, too, has asked for too much
_ROOT = Path(__file__).resolve().parents[2]

Reading = Callable[[], object]
#: Makes one input in a folder and gives what reads it.
Make = Callable[[Random, Path], Sequence[Reading]]


@dataclass(frozen=True)
class Target:
    """A reader of untrusted input.

    Attributes:
        prepare: given a folder, makes what all inputs share, and gives what makes an input.
        share: inputs, as a multiple of what other targets get.
        lines: messages may have several lines (a grid's problems, each with its own).
    """

    name: str
    prepare: Callable[[Path], Make]
    share: float = 1.0
    lines: bool = False


TARGETS: dict[str, Target] = {}


def target(
    share: float = 1.0, *, lines: bool = False
) -> Callable[[Callable[[Path], Make]], Callable[[Path], Make]]:
    """Register a function as the target of its name."""

    def register(prepare: Callable[[Path], Make]) -> Callable[[Path], Make]:
        name = prepare.__name__.replace("_", "-")
        TARGETS[name] = Target(name, prepare, share, lines)
        return prepare

    return register


@dataclass(frozen=True)
class Finding:
    """An input that failed."""

    target: str
    number: int
    kind: str  # findings of one kind have one cause, mostly
    detail: str


def cli(*arguments: object) -> None:
    """A command of ``hevitpose`` whose errors come out as they are."""
    from hevitpose.cli import notices_as_lines

    with notices_as_lines():
        _commands().main([str(each) for each in arguments], "hevitpose", standalone_mode=False)


@functools.cache
def _commands() -> Any:
    """The command line, which takes typer longer to make than most inputs take to read."""
    from hevitpose.cli import app

    return typer.main.get_command(app)


# One input ---------------------------------------------------------------------------------------


def look(target: Target, make: Make, folder: Path, seed: int, number: int) -> Iterator[Finding]:
    """Everything that is wrong with how one input is read."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rng = Random(f"{seed}:{target.name}:{number}")
    for reading in make(rng, folder):
        begin = time.process_time()
        for kind, detail in _failures(target, reading):
            yield Finding(target.name, number, kind, detail)
        if time.process_time() - begin > SECONDS:
            yield Finding(target.name, number, "slow", f"{time.process_time() - begin:.1f} s")
        if (folder / MARKER).exists():
            yield Finding(target.name, number, "EXECUTED", "code of the input ran")
            (folder / MARKER).rmdir()


def _failures(target: Target, reading: Reading) -> Iterator[tuple[str, str]]:
    # As a terminal in UTF-8: what cannot be printed fails.
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    said = io.StringIO()
    try:
        with (
            warnings.catch_warnings(record=True) as warned,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(said),
        ):
            warnings.simplefilter("always")
            reading()
    except HEViTPoseError as error:
        yield from _wrong_message(target, str(error))
        if asked := _out_of_memory(error):
            yield "memory", asked
    except Exception as error:
        if hasattr(error, "format_message"):  # typer's own
            yield from _wrong_message(target, error.format_message())
        else:
            yield f"{type(error).__name__} at {_place(error)}", _last_lines(error)
    for warning in warned:
        if issubclass(warning.category, Notice) and len(str(warning.message).splitlines()) != 1:
            yield "notice of several lines", repr(str(warning.message))
    for line in said.getvalue().splitlines():
        if line and not line.startswith(("note: ", "not usable: ", "left out: ", "warning: ")):
            yield "line on standard error", repr(line)


def _wrong_message(target: Target, message: str) -> Iterator[tuple[str, str]]:
    lines = message.split("\n") if target.lines else [message]
    for line in lines:
        if len(line.splitlines()) != 1:
            yield "message of several lines", repr(message)
        elif len(line) > 4000:
            yield "message of many words", f"{len(line)}: {line[:200]!r}"
        try:
            line.encode()
        except UnicodeEncodeError:
            yield "message that cannot be written", ascii(message)


def _out_of_memory(error: BaseException | None) -> str | None:
    while error is not None:
        if isinstance(error, MemoryError) or "allocate memory" in str(error):
            return f"refused after asking for it: {str(error)[:200]!r}"
        error = error.__cause__ or error.__context__
    return None


def _place(error: BaseException) -> str:
    """Where an exception left the project's own code."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        f
        for f in frames
        if f.filename.startswith(f"{_ROOT}{os.sep}") and "/fuzz/" not in f.filename
    ]
    last = (own or list(frames))[-1]
    name = last.filename.removeprefix(f"{_ROOT}{os.sep}")
    return f"{name}:{last.lineno} ({last.name})"


def _last_lines(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)[-3:])[-1500:]


# Children ----------------------------------------------------------------------------------------


def run(target: Target, count: int, seed: int, folder: Path, first: int = 0) -> list[Finding]:
    """Look at the inputs ``first`` to ``count`` of a target."""
    folder.mkdir(parents=True, exist_ok=True)
    report = folder / "findings.jsonl"
    report.write_text("")
    state = mmap(-1, 16)  # the input that is read, and since when
    found: list[Finding] = []
    while first < count:
        state[:] = struct.pack("qd", first, time.monotonic() + 120)  # for preparations
        child = os.fork()
        if child == 0:
            _child(target, range(first, count), seed, folder, state, report)
        status = _watch(child, state)
        first = struct.unpack("qd", state)[0]
        if status != 0:
            why = "hangs" if status == -signal.SIGKILL else f"died ({status})"
            found.append(Finding(target.name, first, why, f"within {HANGS:g} s"))
        if status == 0 and first == count:
            break
        first += 1
    lines = report.read_text().splitlines()
    return found + [Finding(**json.loads(line)) for line in lines]


def _watch(child: int, state: mmap) -> int:
    """A child's exit status; one that takes too long for an input is killed."""
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() - struct.unpack("qd", state)[1] > HANGS + 2:
            os.kill(child, signal.SIGKILL)
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        time.sleep(0.05)


def _child(
    target: Target, numbers: range, seed: int, folder: Path, state: mmap, report: Path
) -> None:
    """Look at inputs one after the other, and end. An input of too much memory is the last one."""
    code = 1
    try:
        os.chdir(folder)
        shared = folder / "shared"
        shutil.rmtree(shared, ignore_errors=True)
        shared.mkdir()
        make = target.prepare(shared)
        base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        faulthandler.enable()
        resource.setrlimit(resource.RLIMIT_AS, (size + _LIMIT, -1))
        with report.open("a", buffering=1) as file:
            for number in numbers:
                state[:] = struct.pack("qd", number, time.monotonic())
                faulthandler.dump_traceback_later(HANGS)  # where it hangs
                for finding in look(target, make, folder / "input", seed, number):
                    file.write(json.dumps(finding.__dict__) + "\n")
                used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - base
                if used > MEMORY:
                    finding = Finding(target.name, number, "memory", f"{used / 2**30:.1f} GiB")
                    file.write(json.dumps(finding.__dict__) + "\n")
                    os._exit(0)  # its high-water mark stays
        state[:] = struct.pack("qd", numbers.stop, time.monotonic())
        code = 0
    except BaseException:  # of the fuzzer itself
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def counts(inputs: int, targets: Sequence[Target]) -> dict[str, int]:
    """How many inputs each target gets of a total; every one at least one."""
    whole = sum(each.share for each in targets)
    return {each.name: max(1, round(inputs * each.share / whole)) for each in targets}


def shown(findings: Sequence[Finding]) -> str:
    """Findings by kind, with the first of each."""
    kinds: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        kinds.setdefault((finding.target, finding.kind), []).append(finding)
    blocks: list[Any] = []
    for (name, kind), same in kinds.items():
        numbers = ", ".join(str(each.number) for each in same[:5])
        blocks.append(f"{name}: {kind}, {len(same)} inputs ({numbers})\n{same[0].detail}")
    return "\n".join(blocks)
