"""The seal of rendered people, and what a killed rendering leaves."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from hevitpose.data import synthetic
from hevitpose.data.synthetic import driver, pool, seal
from hevitpose.errors import DataError, UsageError

ROOT = Path(__file__).resolve().parents[2]
PICTURE = "mpii/images/000000000003.jpg"


@pytest.fixture
def root(synthetic_root, tmp_path) -> Path:
    shutil.copytree(synthetic_root, tmp_path / "set", copy_function=os.link)
    for name in ("synthetic.sha256", PICTURE):  # links: what is changed here must not change there
        content = (tmp_path / "set" / name).read_bytes()
        (tmp_path / "set" / name).unlink()
        (tmp_path / "set" / name).write_bytes(content)
    return tmp_path / "set"


def test_the_seal_is_what_sha256sum_takes(root):
    lines = (root / seal.SEAL).read_text().splitlines()
    files = [p for name in seal.FORMATS for p in (root / name).rglob("*") if p.is_file()]
    assert len(lines) == len(files)
    done = subprocess.run(["sha256sum", "--check", "--strict", "--quiet", seal.SEAL], cwd=root)
    assert done.returncode == 0


def test_a_foreign_picture_is_found_by_the_first_reader(root):
    before = synthetic.fingerprint(root)
    size, time_ns = (root / PICTURE).stat().st_size, (root / PICTURE).stat().st_mtime_ns
    other = bytearray((root / PICTURE).read_bytes())
    other[-10] ^= 1
    (root / PICTURE).write_bytes(other)
    os.utime(root / PICTURE, ns=(time_ns + 1, time_ns + 1))
    assert (root / PICTURE).stat().st_size == size
    with pytest.raises(DataError, match=rf"{PICTURE}: is not the file that was rendered") as caught:
        synthetic.fingerprint(root)
    assert "\n" not in str(caught.value)
    (root / PICTURE).unlink()
    with pytest.raises(DataError, match=rf"{PICTURE}: No such file"):
        synthetic.fingerprint(root)
    shutil.rmtree(root)
    assert before == "synthetic:v1:seed0:people60:size128"


def test_digests_are_looked_at_once(root, monkeypatch):
    seal.check(root)
    monkeypatch.setattr(seal, "file_digest", lambda _: pytest.fail("read again"))
    seal.check(root)
    monkeypatch.undo()
    os.utime(root / PICTURE)  # copied, say: another time, the same bytes
    seal.check(root)


def test_sets_from_before_seals_stay_what_they_are(root):
    (root / seal.SEAL).unlink()
    (root / PICTURE).write_bytes(b"x")
    assert synthetic.fingerprint(root) == "synthetic:v1:seed0:people60:size128"


@pytest.mark.parametrize("text", [b"\xff", b"abc\n", b"no two spaces"])
def test_a_damaged_seal_is_one_line(root, text):
    (root / seal.SEAL).write_bytes(text)
    with pytest.raises(DataError, match=r"synthetic\.sha256: damaged"):
        synthetic.fingerprint(root)


def test_what_was_rendered_is_sealed_not_what_is_on_disk(tmp_path, monkeypatch):
    """A process of another run that writes into the folder before it is sealed."""
    real = driver._render_all

    def render(partial, *arguments):
        pictures = real(partial, *arguments)
        (partial / PICTURE).write_bytes(b"another seed's")
        return pictures

    monkeypatch.setattr(driver, "_render_all", render)
    synthetic.generate(tmp_path, 20, 64, workers=1)
    with pytest.raises(DataError, match="is not the file that was rendered"):
        synthetic.fingerprint(tmp_path)


def ended(pids: list[int], seconds: float = 5.0) -> bool:
    over = time.monotonic() + seconds
    while time.monotonic() < over:
        if not any(map(_runs, pids)):
            return True
        time.sleep(0.02)
    return False


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def workers_of(pid: int) -> list[int]:
    found = psutil.Process(pid).children()
    return [p.pid for p in found if "hevitpose.data.synthetic.worker" in p.cmdline()]


@pytest.mark.skipif(sys.platform != "linux", reason="/proc, and signals of a parent's death")
@pytest.mark.parametrize("stopped", [False, True])
def test_no_renderer_outlives_a_killed_run(tmp_path, stopped):
    command = [sys.executable, "-m", "hevitpose.cli", "data", "synth", "--people", "2000"]
    command += ["--root", str(tmp_path), "--size", "64", "--workers", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    run = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        while not list(tmp_path.glob(".partial-*/mpii/images/*.jpg")):
            assert run.poll() is None
            time.sleep(0.02)
        workers = workers_of(run.pid)
        assert len(workers) == 2
        if stopped:
            while not all("cv2" in Path(f"/proc/{pid}/maps").read_text() for pid in workers):
                time.sleep(0.02)  # still starting
            for pid in workers:
                os.kill(pid, signal.SIGSTOP)
    finally:
        run.kill()
        run.wait()
    assert ended(workers)
    made = synthetic.generate(tmp_path, 20, 64, seed=1, workers=1)
    assert made.seed == 1 and synthetic.fingerprint(tmp_path)
    assert not [p.name for p in tmp_path.iterdir() if p.name.startswith(".partial")]


def interrupted(root, monkeypatch, before: str | None) -> None:
    """A rendering of 8 people that ends before a name is moved into place, or while it renders."""
    real = Path.rename

    def rename(path, target):
        if path.name == before:
            raise KeyboardInterrupt
        return real(path, target)

    with monkeypatch.context() as patch:
        if before is None:
            patch.setattr(seal, "write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        else:
            patch.setattr(Path, "rename", rename)
        with pytest.raises(KeyboardInterrupt):
            synthetic.generate(root, 8, 64, workers=1)


@pytest.mark.parametrize("before", [None, "coco", "crowdpose", seal.SEAL])
def test_after_an_interruption_only_what_was_rendered_is_removed(tmp_path, monkeypatch, before):
    """A user's own set beside it, by the name of one that had not been moved yet, stays."""
    interrupted(tmp_path, monkeypatch, before)
    waiting = {None: "coco", "coco": "coco", "crowdpose": "ochuman"}.get(before)
    if waiting:
        mine = tmp_path / waiting / "annotations" / "mine.json"
        mine.parent.mkdir(parents=True)
        mine.write_text("{}")
        with pytest.raises(UsageError, match=f"not empty .holds {waiting}. and not a synthetic"):
            synthetic.generate(tmp_path, 8, 64, workers=1)
        assert mine.read_text() == "{}"
        shutil.rmtree(tmp_path / waiting)
    synthetic.generate(tmp_path, 8, 64, seed=1, workers=1)
    assert synthetic.fingerprint(tmp_path) == "synthetic:v1:seed1:people8:size64"
    assert not list(tmp_path.glob(".partial*"))


@pytest.mark.parametrize("before", ["crowdpose", None])
def test_what_took_the_place_of_a_moved_folder_stays(tmp_path, monkeypatch, before):
    """Rendered folders deleted after an interruption, another set unpacked where one was."""
    if before:
        interrupted(tmp_path, monkeypatch, before)
    else:
        synthetic.generate(tmp_path, 8, 64, workers=1)
        (tmp_path / driver.MARKER).unlink()
        (tmp_path / ".partial-x").mkdir()
    shutil.rmtree(tmp_path / "coco")
    shutil.rmtree(tmp_path / "mpii")
    (tmp_path / "mpii").symlink_to(tmp_path.parent, target_is_directory=True)
    mine = tmp_path / "coco" / "annotations" / "mine.json"
    mine.parent.mkdir(parents=True)
    mine.write_text("{}")
    for _ in range(2):
        with pytest.raises(UsageError, match=r"holds coco, mpii\) and not a synthetic"):
            synthetic.generate(tmp_path, 8, 64, workers=1)
        assert mine.read_text() == "{}" and (tmp_path / "mpii").is_symlink()


def test_an_interruption_after_the_last_move(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("hevitpose.data.synthetic.driver.asdict", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            synthetic.generate(tmp_path, 8, 64, workers=1)
    assert (tmp_path / seal.SEAL).exists()
    synthetic.generate(tmp_path, 8, 64, seed=1, workers=1)
    assert synthetic.fingerprint(tmp_path) == "synthetic:v1:seed1:people8:size64"


def test_workers_of_an_ended_pool_are_gone():
    assert sorted(pool.run(abs, [(-1,), (2,)], 2)) == [1, 2]
    assert not workers_of(os.getpid())
