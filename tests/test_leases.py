"""Who may do a run or work in a folder: one process, until it ends or is silent."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import time

import pytest

from hevitpose import leases as module
from hevitpose.errors import HEViTPoseError
from hevitpose.leases import Leases, is_untouched, owning

FORK = multiprocessing.get_context("fork")


def other_process(work) -> None:
    process = FORK.Process(target=work)
    process.start()
    process.join()


def test_one_at_a_time(tmp_path):
    first, second = Leases(tmp_path / "leases"), Leases(tmp_path / "leases")
    assert first.acquire("a") and not second.acquire("a") and second.acquire("b")
    first.release("a")
    assert second.acquire("a")
    second.close()
    assert first.acquire("a")
    first.close()
    assert not (tmp_path / "leases").exists()


def test_a_dead_holders_lease_is_free(tmp_path):
    other_process(lambda: (Leases(tmp_path).acquire("a"), os.kill(os.getpid(), signal.SIGKILL)))
    assert (tmp_path / "a.lease").exists()
    leases = Leases(tmp_path)
    assert leases.acquire("a")
    leases.close()


def elsewhere(path, seconds: float = 0.0) -> None:
    """A lease of another machine that beat so many seconds ago."""
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "since": "2026-01-02T03:04:05"}))
    os.utime(path, (time.time() - seconds,) * 2)


def test_another_machines_lease_expires(tmp_path):
    elsewhere(tmp_path / "a.lease")
    leases = Leases(tmp_path)
    assert not leases.acquire("a")
    assert leases.holder("a") == "process 1 on elsewhere since 2026-01-02T03:04:05"
    elsewhere(tmp_path / "a.lease", 61)
    assert leases.acquire("a")
    leases.close()


def test_a_heartbeat_from_the_future_is_as_old_as_its_file(tmp_path, monkeypatch):
    elsewhere(tmp_path / "a.lease", -86400)
    leases = Leases(tmp_path)
    assert not leases.acquire("a")  # written a moment ago
    now = time.time()
    monkeypatch.setattr(module.time, "time", lambda: now + 61)
    assert leases.acquire("a")
    leases.close()


def test_nor_does_a_clock_that_is_ahead_hold_it_for_ever(tmp_path, monkeypatch):
    elsewhere(tmp_path / "a.lease")
    wall, watch = time.time(), time.monotonic()
    monkeypatch.setattr(module.time, "time", lambda: wall - 86400)  # ours is a day behind
    leases = Leases(tmp_path)
    assert not leases.acquire("a")
    monkeypatch.setattr(module.time, "monotonic", lambda: watch + 50)
    os.utime(tmp_path / "a.lease", (wall, wall - 3600))  # it beats
    assert not leases.acquire("a")
    monkeypatch.setattr(module.time, "monotonic", lambda: watch + 100)
    assert not leases.acquire("a")
    monkeypatch.setattr(module.time, "monotonic", lambda: watch + 120)
    assert leases.acquire("a")
    leases.close()


@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"[" * 500, b"[" * 100_000, b"[1]", b'{"host": {}}', b'{"host": 1}']
)
def test_damaged_leases_are_nobodys(tmp_path, content):
    (tmp_path / "a.lease").write_bytes(content)
    leases = Leases(tmp_path)
    assert leases.holder("a") == "another process"
    taken = leases.acquire("a")
    assert taken or content == b'{"host": 1}' or content == b'{"host": {}}'
    if not taken:  # of some other machine, while it is new
        os.utime(tmp_path / "a.lease", (0, 0))
        assert leases.acquire("a")
    leases.close()


def test_a_second_owner_is_told_who_works_there(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_PATIENCE_SECONDS", 0.2)
    there, done = FORK.Event(), FORK.Event()

    def work():
        with owning(tmp_path / "run"):
            there.set()
            done.wait(30)

    process = FORK.Process(target=work)
    process.start()
    assert there.wait(30)
    said = rf"run: process {process.pid} on \S+ since 20\S+ is using it"
    with pytest.raises(HEViTPoseError, match=said) as caught, owning(tmp_path / "run"):
        pass
    assert not re.search("\n", str(caught.value))
    done.set()
    process.join()
    assert not (tmp_path / "run").exists()
    with owning(tmp_path / "run"), owning(tmp_path / "run"):
        assert is_untouched(tmp_path / "run")
        (tmp_path / "run" / "x").write_text("")
        assert not is_untouched(tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["x"]


def test_a_dead_owner_is_followed_and_tidied_after(tmp_path):
    def die():
        with owning(tmp_path):
            (tmp_path / ".last.ckpt.0123abcd.tmp").write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)

    other_process(die)
    assert len(list(tmp_path.iterdir())) == 2
    with owning(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == ["owner.lease"]


def test_children_that_live_on_hold_nothing(tmp_path):
    with owning(tmp_path / "run"):
        child = FORK.Process(target=time.sleep, args=(30,))
        child.start()
    begin = time.monotonic()
    with owning(tmp_path / "run"):
        assert time.monotonic() - begin < 1
    child.kill()
    child.join()
