"""Kept fingerprints are those that reading the data gives, and nothing changed goes unseen."""

from __future__ import annotations

import os
import shutil

import pytest

from hevitpose import data, fingerprints, identity
from hevitpose.config import load_config
from hevitpose.data.synthetic import generate


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    root = tmp_path_factory.mktemp("people") / "synthetic"
    generate(root, people=20, size=64)
    return root


@pytest.fixture
def root(tmp_path, people, monkeypatch):
    """Data of which every look is kept; the clock is an hour ahead, so that they are settled."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(fingerprints, "MIN_SECONDS", 0.0)
    monkeypatch.setattr(fingerprints, "SETTLED_SECONDS", -3600.0)
    shutil.copytree(people, tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def looks(monkeypatch):
    """The splits that were read."""
    seen: list[str] = []
    real = data.load

    def load(dataset, root, split, **options):
        seen.append(split)
        return real(dataset, root, split, **options)

    monkeypatch.setattr(data, "load", load)
    return seen


def fingerprint(root, *overrides: str) -> str:
    identity._fingerprint.cache_clear()
    config = load_config(None, ["data.dataset=coco", f"data.root={root}", *overrides])
    return identity.data_fingerprint(config)


def image_of(root):
    return min((root / "coco" / "images" / "val2017").iterdir())


def test_read_once(root, looks):
    first = fingerprint(root)
    assert looks == ["train", "val"] and first.count("sha256:") == 2
    assert fingerprint(root) == first and len(looks) == 2
    for kept in fingerprints.folder().iterdir():
        kept.write_text('{"half')
    assert fingerprint(root) == first and len(looks) == 4


def test_options_are_told_apart(root, looks):
    plain = fingerprint(root)
    other = fingerprint(root, "data.val_split=train")
    assert other != plain and other in plain
    fingerprint(root, "data.present_only=true")
    assert len(looks) == 4


@pytest.mark.parametrize(
    "change",
    [
        lambda root: image_of(root).write_bytes(image_of(root).read_bytes() + b"\0"),
        lambda root: _append(root / "coco" / "annotations" / "coco_val.json", " "),
    ],
)
def test_a_change_is_seen(root, looks, change):
    first = fingerprint(root)
    change(root)
    assert fingerprint(root) != first
    assert 3 <= len(looks) <= 4


def test_an_edit_that_keeps_size_and_time_is_seen(root, looks):
    path = root / "coco" / "annotations" / "coco_val.json"
    before, first = path.stat(), fingerprint(root)
    path.write_text(path.read_text().replace("Synthetic people", "Synthetic peoplE"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert fingerprint(root) != first


def test_what_just_changed_is_not_kept(root, looks, monkeypatch):
    monkeypatch.setattr(fingerprints, "SETTLED_SECONDS", 10.0)
    assert fingerprint(root) == fingerprint(root)
    assert len(looks) == 4 and not fingerprints.folder().exists()


def test_quick_reads_are_not_kept(root, looks, monkeypatch):
    monkeypatch.setattr(fingerprints, "MIN_SECONDS", 60.0)
    fingerprint(root)
    assert not fingerprints.folder().exists()


def test_vanished_data_are_an_error(root):
    fingerprint(root)
    shutil.rmtree(root / "coco" / "images")
    with pytest.raises(data.DataError):
        fingerprint(root)


def _append(path, text: str) -> None:
    path.write_text(path.read_text() + text)
