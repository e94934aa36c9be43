"""Files written as a whole, and what killed writers leave."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hevitpose import files
from hevitpose.errors import UsageError
from hevitpose.files import replacing, sweep, temporary, write_atomically


def names(folder) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_next_writer_removes_what_a_killed_one_left(tmp_path):
    code = (
        "import os, pathlib, sys; from hevitpose.files import replacing\n"
        "with replacing(pathlib.Path(sys.argv[1])) as file:\n"
        "    file.write(b'x'); os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.csv")])
    assert killed.returncode == -signal.SIGKILL
    (left,) = names(tmp_path)
    assert left.startswith(".a.csv.") and left.endswith(".tmp")
    write_atomically(tmp_path / "b.csv", "b")
    assert names(tmp_path) == {"b.csv"}


def test_files_in_use_and_of_others_are_left_alone(tmp_path):
    kept = {".a.tmp", "a.0123abcd.tmp", ".a.0123abcd.tmp.txt", ".a.0123abcg.tmp"}
    for name in kept:
        (tmp_path / name).write_text("")
    with replacing(tmp_path / "mine") as file:
        file.write(b"mine")
        assert sweep(tmp_path) == []
        write_atomically(tmp_path / "other", "other")
    assert names(tmp_path) == {*kept, "mine", "other"}
    assert (tmp_path / "mine").read_bytes() == b"mine"
    assert sweep(tmp_path / "absent") == []


def test_a_file_that_was_swept_before_it_was_locked_is_made_again(tmp_path, monkeypatch):
    real, seen = files.fcntl.flock, []

    def flock(file, how):
        if not seen:
            seen.append(file.name)
            Path(file.name).unlink()
        return real(file, how)

    monkeypatch.setattr(files.fcntl, "flock", flock)
    with temporary(tmp_path / "a") as file:
        assert file.name != seen[0] and Path(file.name).exists()
    assert names(tmp_path) == set()


def test_what_fails_leaves_the_old_one(tmp_path):
    write_atomically(tmp_path / "a", "old")
    with pytest.raises(KeyError), replacing(tmp_path / "a") as file:
        file.write(b"new")
        raise KeyError
    assert (tmp_path / "a").read_text() == "old" and names(tmp_path) == {"a"}


@pytest.mark.parametrize(
    ("name", "folder", "file"),
    [
        ("", True, False),
        ("new/deeper", True, True),
        ("file", False, True),  # which is replaced
        ("file/below", False, False),
        ("nowhere", False, True),  # the link itself is replaced
        ("nowhere/below", False, False),
        ("closed", False, False),
        ("closed/below", False, False),
    ],
)
def test_places_that_cannot_be_written_are_refused(tmp_path, monkeypatch, name, folder, file):
    (tmp_path / "file").touch()
    (tmp_path / "nowhere").symlink_to(tmp_path / "absent")
    (tmp_path / "closed").mkdir()
    access = files.os.access  # root may write everywhere
    monkeypatch.setattr(files.os, "access", lambda p, m: p.name != "closed" and access(p, m))
    for require, may in ((files.require_folder, folder), (files.require_file, file)):
        if may:
            require(tmp_path / name)
            continue
        with pytest.raises(UsageError, match=r"^--out /.* is (not )?a folder"):
            require(tmp_path / name, "--out")
