"""Decoded pictures in one file: the same pixels, never stale, never half a file."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil

import cv2
import numpy as np
import pytest

from hevitpose.data import decoded, load
from hevitpose.data.decoded import decoded_images
from hevitpose.data.images import read_image
from hevitpose.data.loader import PoseDataset
from hevitpose.data.transforms import Augmentation
from hevitpose.errors import DataError, Notice


@pytest.fixture
def table(synthetic_root, tmp_path):
    root = tmp_path / "people"
    shutil.copytree(synthetic_root, root)
    shutil.rmtree(root / "decoded", ignore_errors=True)
    return load("synthetic", root, "train", input_size=(64, 64))


def files(table):
    return sorted((table.annotation_file.parent.parent.parent / "decoded").iterdir())


def test_items_are_those_of_the_files(table):
    plain = PoseDataset(table, (64, 64), Augmentation(), seed=3)
    mapped = PoseDataset(table, (64, 64), Augmentation(), seed=3, pictures=decoded_images(table))
    copied = pickle.loads(pickle.dumps(mapped))
    for index in range(len(table)):
        for other in (mapped, copied):
            for name, value in plain[2, index].items():
                np.testing.assert_array_equal(other[2, index][name], value)
    assert mapped.pictures[0].flags.writeable is False


def test_the_file_is_written_once_and_follows_its_pictures(table, monkeypatch):
    decoded_images(table)
    (first,) = files(table)
    monkeypatch.setattr(decoded, "read_image", None)  # nothing is decoded again
    decoded_images(table)
    monkeypatch.setattr(decoded, "read_image", read_image)
    reader = decoded_images(table)
    path = table.image_path(0)
    before, number = path.stat(), table.image_index[0]
    old = reader[number].copy()
    picture = cv2.imread(str(path))
    path.unlink()
    cv2.imwrite(str(path), 255 - picture)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    fresh = decoded_images(table)
    np.testing.assert_array_equal(fresh[number], cv2.imread(str(path)))
    np.testing.assert_array_equal(reader[number], old)  # a reader keeps the file that it has
    (second,) = files(table)
    assert second != first


def test_a_short_file_is_refused(table):
    decoded_images(table)
    (path,) = files(table)
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(DataError, match="bytes of pixels"):
        decoded_images(table)


def test_above_the_limit_it_says_so_and_does_without(table):
    with pytest.warns(Notice, match="over the limit of 10000"):
        assert decoded_images(table, limit=10_000) is None
    assert not (table.annotation_file.parent.parent.parent / "decoded").exists()


def test_a_full_disk_is_no_failure_and_a_bad_picture_is_one(table, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 0))
        with pytest.warns(Notice, match="cannot be written"):
            assert decoded_images(table) is None
    assert not files(table)
    victim = table.image_path(0)
    victim.unlink()
    victim.write_bytes(b"\xff\xd8 no picture")
    with pytest.raises(DataError, match=victim.name):
        decoded_images(table)
    assert not files(table)


def _first(table):
    return decoded_images(table)[0].sum()


def test_processes_that_start_together(table):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert len(set(pool.map(_first, [table] * 4))) == 1
    assert len(files(table)) == 1
