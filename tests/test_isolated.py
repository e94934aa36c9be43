"""Children that crash, hang, stop and run out of memory; parents that are stopped and killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from hevitpose import isolated
from hevitpose.errors import DivergedError, UnavailableError, UsageError
from hevitpose.isolated import Child, Outcome, Stopwatch

ROOT = Path(__file__).resolve().parent.parent
ENDS = 5.0  # seconds in which a child ends after its parent


def work(pipe, what):
    pipe.send(os.getpid())
    if what == "raise":
        raise ValueError("first line\nsecond line")
    if what == "usage":
        raise UsageError("a wrong key")
    if what == "diverge":
        raise DivergedError("loss is nan")
    if what == "unavailable":
        raise UnavailableError("no compiler")
    if what == "memory":
        raise MemoryError
    if what == "allocate":
        raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried ...")
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "exit":
        os._exit(3)
    if what == "exit 255":
        os._exit(255)
    if what == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    if what == "talk":
        for number in range(30):
            time.sleep(0.1)
            pipe.send(number)
    if what == "busy":
        sum(range(10**12))  # one operation: no other thread of the process runs
    if what == "family":
        pipe.send(subprocess.Popen(["sleep", "100"]).pid)
        time.sleep(100)
    if what == "hang":
        time.sleep(100)
    pipe.send(Outcome("ok", result=what))


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def soon(condition) -> bool:
    deadline = time.monotonic() + ENDS
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


@pytest.fixture
def start():
    children = []

    def begin(what: str, **options) -> tuple[Child, int]:
        children.append(Child(work, what, **options))
        return children[-1], children[-1].receive(60.0)

    yield begin
    for child in children:
        child.stop()


@pytest.mark.parametrize(
    ("what", "status", "reason"),
    [
        ("raise", "failed", "ValueError: first line (test_isolated.py:"),
        ("usage", "failed", "a wrong key"),
        ("diverge", "diverged", "loss is nan"),
        ("unavailable", "skipped", "no compiler"),
        ("memory", "oom", "MemoryError"),
        ("allocate", "oom", "RuntimeError: DefaultCPUAllocator"),
        ("kill", "oom", "killed by SIGKILL, out of memory (probably)"),
        ("segfault", "failed", "killed by SIGSEGV"),
        ("exit", "failed", "exit code 3"),
    ],
)
def test_whatever_happens_is_an_outcome(start, what, status, reason):
    child, _ = start(what)
    outcome = child.receive(60.0)
    assert outcome.status == status and reason in outcome.reason and "\n" not in outcome.reason
    assert not outcome.is_late


def test_messages_then_the_outcome(start):
    child, pid = start("end", environment={"SAID": "so"})
    assert pid != os.getpid()
    assert child.receive(60.0) == Outcome("ok", result="end")
    child.stop(60.0)
    assert not child.is_alive


@pytest.mark.parametrize("what", ["hang", "stop", "busy", "family"])
def test_a_child_that_says_nothing_is_late_and_can_be_ended(start, what):
    child, pid = start(what)
    pids = [pid]
    if what == "family":
        pids.append(child.receive(60.0))
    outcome = child.receive(0.5)
    assert outcome.is_late and outcome.reason == "timeout: no sign of life for 0 s"
    child.stop()
    assert soon(lambda: all(map(gone, pids)))


def test_all_of_them_stopped_with_their_server(start):
    """SIGSTOP to everything that a runner started: it neither hangs nor cannot start another."""
    child, _ = start("hang")
    server = multiprocessing.forkserver._forkserver._forkserver_pid
    for process in psutil.Process(server).children(recursive=True):
        process.suspend()
    os.kill(server, signal.SIGSTOP)
    begin = time.monotonic()
    assert child.receive(0.5).is_late
    child.stop()
    assert time.monotonic() - begin < 4 and not child.is_alive
    os.kill(server, signal.SIGSTOP)
    again, _ = start("end")
    assert again.receive(60.0).status == "ok"


@pytest.mark.parametrize("again", [False, True])
def test_a_server_that_was_killed_is_not_an_exit_code(start, again):
    child, pid = start("hang")
    server = multiprocessing.forkserver._forkserver._forkserver_pid
    os.kill(server, signal.SIGKILL)
    assert soon(lambda: gone(server))
    if again:  # which starts another server
        assert start("end")[0].receive(60.0).status == "ok"
    os.kill(pid, signal.SIGKILL)
    outcome = child.receive(60.0)
    assert outcome.status == "failed" and "the server of all children" in outcome.reason


def test_an_exit_code_of_255_is_one(start):
    child, _ = start("exit 255")
    assert child.receive(60.0).reason == "the process ended with exit code 255 and no result"


def test_time_asleep_is_no_silence(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(isolated.time, "monotonic", lambda: now[0])
    watch = Stopwatch()
    for _ in range(10):
        now[0] += 1.0
        assert watch.seconds() <= 10.0
    assert watch.seconds() == 10.0
    now[0] += 3600.0  # a closed lid
    assert watch.seconds() == 12.0
    watch.restart()
    assert watch.seconds() == 0.0


def run_parent(what: str) -> subprocess.Popen:
    """A process of its own that has a child, says both ids, and waits for the outcome."""
    code = (
        "from tests.test_isolated import Child, work\n"
        f"child = Child(work, {what!r})\n"
        "print(child.receive(60.0), flush=True)\n"
        f"if {what!r} == 'family': print(child.receive(60.0), flush=True)\n"
        "while not hasattr(answer := child.receive(2.5), 'status'): pass\n"
        "print(answer.status, flush=True)\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT,
        start_new_session=True,
    )  # fmt: skip


@pytest.mark.parametrize("what", ["hang", "stop", "busy", "family"])
def test_no_child_outlives_its_parent(what):
    parent = run_parent(what)
    pids = [int(parent.stdout.readline()) for _ in range(2 if what == "family" else 1)]
    time.sleep(0.3)
    parent.kill()
    parent.wait()
    assert soon(lambda: all(map(gone, pids)))


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on():
    """Parent, server and child are stopped for longer than the time-out of 2.5 seconds."""
    parent = run_parent("talk")
    child = int(parent.stdout.readline())
    os.kill(child, signal.SIGSTOP)
    os.killpg(parent.pid, signal.SIGSTOP)
    time.sleep(3.0)
    os.killpg(parent.pid, signal.SIGCONT)
    time.sleep(0.3)
    os.kill(child, signal.SIGCONT)
    assert parent.stdout.readline() == "ok\n"
    assert parent.wait(60) == 0


STARTER = """
import sys, time
from multiprocessing import forkserver
from hevitpose import isolated
server = isolated.context(["slow"])
forkserver.ensure_running()
print(forkserver._forkserver._forkserver_pid, flush=True)
server.Process(target=time.sleep, args=(0,)).start()  # asks, and waits, for a child
print("loaded", flush=True)
time.sleep(100)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="signals of a closed pipe")
@pytest.mark.parametrize("slow", ["to load", "to end"])
def test_the_server_ends_with_who_started_it(tmp_path, slow):
    """Also while it loads, or takes apart, what needs longer."""
    (tmp_path / "slow.py").write_text(
        "import time; time.sleep(60)"
        if slow == "to load"
        else "import atexit, time; atexit.register(time.sleep, 60)"
    )
    paths = os.pathsep.join([str(ROOT), str(tmp_path)])
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, slow],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert starter.stdout is not None
    server = int(starter.stdout.readline())
    if slow == "to end":
        assert starter.stdout.readline() == "loaded\n"
    else:
        time.sleep(0.7)
    assert not gone(server)
    starter.kill()
    starter.wait()
    assert soon(lambda: gone(server))
