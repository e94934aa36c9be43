"""Commands that are killed at random moments and started again, and what must be so afterwards.

A command runs in a process of its own, forked from this one, which has the libraries loaded (as the
fork server of a grid has): from the fork on it is what ``python -m ...`` runs. SIGKILL goes to it
alone. What it had started comes to this process as its reaper, which shows who outlives it.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import os
import re
import shutil
import signal
import sys
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import psutil

from hevitpose.records import RecordStore
from hevitpose.records.identity import file_digest

_PR_SET_CHILD_SUBREAPER = 36  # of linux/prctl.h
OUTLIVE_SECONDS = 5.0
LOG = "log.txt"
Words = Sequence[str]


@dataclass(frozen=True)
class Command:
    """Something that is killed.

    Attributes:
        name: of it.
        program: "hevitpose", "ablations" or "reports".
        words: what it is called with, in a folder of its own.
        setup: puts there what it reads.
        first: what the killed processes are called with, where that is something else.
        share: kills, as a multiple of what others get.
        refusal: an end of ``words`` that is right where ``first`` had done its work before the
            kill; then that work must be there whole.
    """

    name: str
    program: str
    words: Words
    setup: Callable[[Path], None] = lambda folder: None
    first: Words | None = None
    share: float = 1.0
    refusal: str | None = None


@dataclass
class Whole:
    """What a command leaves that nobody killed, and in how many seconds (at the latest look)."""

    state: dict[str, str]
    seconds: float
    refused: dict[str, str] | None = None  # what is there where the command is refused


class FailedError(Exception):
    """What must not be; one line."""


def adopt_orphans() -> None:
    """Become the parent of those whose parent is killed, as init would."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    gc.freeze()  # what is loaded is not copied into every process


# Processes ---------------------------------------------------------------------------------------


def start(program: str, words: Words, folder: Path) -> int:
    """Fork a process that runs a program; in it, this never returns."""
    pid = os.fork()
    if pid:
        return pid
    os.setpgid(0, 0)
    os.chdir(folder)
    log = os.open(LOG, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
    for descriptor, source in ((0, os.open(os.devnull, os.O_RDONLY)), (1, log), (2, log)):
        os.dup2(source, descriptor)
    try:
        code = _main(program)(list(words))
    except BaseException:
        traceback.print_exc()
        code = 70
    # What a program's end does of ours. Taking the libraries apart, which takes seconds, is theirs.
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _main(program: str) -> Callable[[list[str]], int]:
    if program == "hevitpose":
        from hevitpose.cli import execute

        return execute
    if program == "ablations":
        from ablations.cli import main as ablations

        return ablations
    from reports.__main__ import main as reports

    return reports


def _ended(pid: int) -> int | None:
    """Its exit status once it is over; None before."""
    done, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if done else None


def complete(command: Command, words: Words, folder: Path) -> bool:
    """Run a command to its end.

    Returns:
        Whether it was done; False where it was refused, and may be.

    Raises:
        FailedError: it failed, or leaves children.
    """
    pid = start(command.program, words, folder)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    _nobody_left()
    if status == 0:
        return True
    last = (folder / LOG).read_text(errors="replace").strip().splitlines()[-1:]
    if command.refusal is not None and command.refusal in "".join(last):
        return False
    raise FailedError(f"exit {status}: {''.join(last)}")


def killed(command: Command, words: Words, folder: Path, seconds: float) -> bool:
    """Run a command and kill it after some seconds; False where it was over before.

    Raises:
        FailedError: somebody outlives it.
    """
    pid = start(command.program, words, folder)
    over = time.monotonic() + seconds
    while time.monotonic() < over:
        if _ended(pid) is not None:
            _nobody_left()
            return False
        time.sleep(min(0.002, max(0.0, over - time.monotonic())))
    os.kill(pid, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    _nobody_left()
    return status == -signal.SIGKILL


def _nobody_left() -> None:
    """Wait for children of the one that ended.

    Raises:
        FailedError: one of them is there after :data:`OUTLIVE_SECONDS`. It is killed then.
    """
    over = time.monotonic() + OUTLIVE_SECONDS
    while True:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        left = [p for p in psutil.Process().children(recursive=True) if _runs(p)]
        if not left:
            return
        if time.monotonic() > over:
            names = "; ".join(" ".join(_words_of(p))[:100] for p in left)
            for process in left:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            raise FailedError(f"{len(left)} children outlive it: {names}")
        time.sleep(0.02)


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _words_of(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return ["?"]


# What is there afterwards ------------------------------------------------------------------------

#: Files whose content says when, or how long, something was done.
_TIMED = re.compile(r".*\.ckpt|.*/\.synthetic\.checked|runs/tables/.*|.*\.jsonl")
#: What only a killed run, or one that works, has.
_LEFTOVER = re.compile(r".*\.tmp|.*\.lease|(.*/)?\.partial.*")
_TIMES = ("started_at", "seconds", "peak_memory", "latency", "code", "machine")


def state(folder: Path) -> dict[str, str]:
    """Every file of a folder and what is in it, without times.

    Raises:
        FailedError: a record is not usable, weights are not those of their record, or something
            is there that only a run in progress has.
    """
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() or name == LOG:
            continue
        if _LEFTOVER.fullmatch(name):
            raise FailedError(f"{name} is left")
        found[name] = "" if _TIMED.fullmatch(name) else file_digest(path)
        if path.suffix == ".jsonl":  # all but the line that says when
            found[name] = path.read_text().partition("\n")[2]
        elif path.suffix == ".torchscript":  # all but where it was called from
            found[name] = _entries(path)
    for root in folder.rglob("records"):
        found.update(_recorded(root, folder))
    return found


def _entries(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        entries = [(entry.filename, entry.CRC) for entry in archive.infolist()]
    aside = (".debug_pkl", "serialization_id")
    return repr(sorted(entry for entry in entries if not entry[0].endswith(aside)))


def _recorded(root: Path, folder: Path) -> Iterator[tuple[str, str]]:
    store = RecordStore(root)
    for record in store.load():
        fields = {key: value for key, value in record.to_dict().items() if key not in _TIMES}
        for key in ("seconds", "images_per_s"):
            (fields["train"] or {}).pop(key, None)
        number = f"{record.id}.json"
        yield (root / number).relative_to(folder).as_posix(), repr(fields)
        weights = root.parent / "train" / record.id / "model.safetensors"
        if record.kind == "training" and weights.exists():
            if file_digest(weights) != record.weights:
                raise FailedError(f"{weights} is not what record {record.id} says")
    if store.problems:
        raise FailedError(f"record not usable: {store.problems[0]}")


def ids(folder: Path) -> set[str]:
    """The records that are there."""
    return {path.name for root in folder.rglob("records") for path in root.glob("*.json")}


def compare(found: dict[str, str], wanted: dict[str, str]) -> None:
    """
    Raises:
        FailedError: two states differ.
    """
    for name in sorted(found.keys() ^ wanted.keys()):
        raise FailedError(f"{name} is {'more' if name in found else 'less'} than without a kill")
    for name, content in wanted.items():
        if found[name] != content:
            raise FailedError(f"{name} is another one than without a kill")


# Trials ------------------------------------------------------------------------------------------


def whole(command: Command, folder: Path) -> Whole:
    """What a command leaves that nobody kills: run twice, which must agree."""
    states, seconds = [], []
    for number in range(2):
        place = folder / str(number)
        fresh(command, place)
        begin = time.monotonic()
        complete(command, command.words, place)
        seconds.append(time.monotonic() - begin)
        states.append(state(place))
    compare(states[1], states[0])
    refused = None
    if command.first is not None:
        fresh(command, folder / "first")
        complete(command, command.first, folder / "first")
        refused = state(folder / "first")
    return Whole(states[0], min(seconds), refused)


def fresh(command: Command, place: Path) -> None:
    """The folder that a command runs in, with what it reads."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    command.setup(place)


def trial(command: Command, known: Whole, place: Path, rng: Random) -> int:
    """Kill a command once, or now and then several times, and let it end.

    Returns:
        Kills.

    Raises:
        FailedError: something is not as without the kills.
    """
    fresh(command, place)
    kills, recorded = 0, ids(place)
    while True:
        words = command.words if command.first is None else command.first
        begin = time.monotonic()
        hit = killed(command, words, place, rng.uniform(0, known.seconds))
        kills += hit
        if not hit:  # over before its moment: the machine has more time for it than it had
            known.seconds = time.monotonic() - begin
        now = ids(place)
        if recorded - now:
            raise FailedError(f"records are lost: {', '.join(sorted(recorded - now))}")
        recorded = now
        if not hit or rng.random() < 0.6:
            break
    done = complete(command, command.words, place)
    wanted = known.state if done else known.refused
    assert wanted is not None
    compare(state(place), wanted)
    return kills
