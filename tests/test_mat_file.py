"""MATLAB files: read as scipy reads them, refused where what they say cannot be."""

from __future__ import annotations

import io
import os
import struct
import zlib

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from hevitpose import mat_file
from hevitpose.errors import DataError

CONTENT = {
    "numbers": np.arange(12.0).reshape(2, 3, 2),
    "small": np.array([[1, 2]], np.uint8),
    "none": np.zeros((0, 3)),
    "complex": np.array([[1 + 2j]]),
    "text": "häß",
    "cells": np.array(["a", "bcd", 7.5], object),
    "people": {"point": [{"x": 1.5, "y": 2.0}, {"x": 3.0, "y": 4.0}], "name": "a.jpg", "none": []},
}


def write(path, content, **options):
    savemat(path, content, **options)
    return path


@pytest.mark.parametrize("compressed", [False, True])
def test_as_scipy(tmp_path, compressed):
    path = write(tmp_path / "a.mat", CONTENT, do_compression=compressed)
    ours, theirs = mat_file.read(path), loadmat(path)
    for name in CONTENT:
        assert ours[name].dtype == theirs[name].dtype
        assert repr(ours[name]) == repr(theirs[name])
    assert "numbers" not in mat_file.read(path, ["text"])


def number_array(dims: tuple[int, ...], values: bytes, kind: int = 6) -> bytes:
    """An array of doubles as MATLAB writes it."""

    def element(code: int, data: bytes) -> bytes:
        return struct.pack("<II", code, len(data)) + data + bytes(-len(data) % 8)

    body = element(6, struct.pack("<II", kind, 0))
    body += element(5, struct.pack(f"<{len(dims)}i", *dims)) + element(1, b"x")
    return element(14, body + (element(9, values) if values else b""))


HEADER = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H2s", 0x0100, b"IM")


def test_written_by_hand(tmp_path):
    (tmp_path / "a.mat").write_bytes(HEADER + number_array((1, 2), struct.pack("<2d", 3, 4)))
    assert mat_file.read(tmp_path / "a.mat")["x"].tolist() == [[3.0, 4.0]]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (number_array((2**30, 2**30), struct.pack("<2d", 3, 4)), "its dimensions say"),
        (number_array((1, -2), b"x" * 8), "array of -2 values"),
        (number_array((2**30, 2), b"", kind=1), "0 parts, its dimensions say 2147483648"),
        (number_array((2**30, 2), b"", kind=2), "struct without names"),
        (number_array((1, 1), bytes(8), kind=5), "class 5, expected numbers"),
        (number_array((1, 1), bytes(8), kind=17), "class 17, expected numbers"),
        (struct.pack("<II", 14, 2**31), "larger than what holds it"),
        (struct.pack("<II", 14, 16) + bytes(16), "without flags"),
        (struct.pack("<II", 15, 3) + b"abc", "incorrect header check"),
        (struct.pack("<II", 15, 20) + zlib.compress(bytes(10**6))[:20], "is cut"),
        (b"\1\2\3", "an element is cut"),
    ],
)
def test_refused(tmp_path, content, says):
    path = tmp_path / "a.mat"
    path.write_bytes(HEADER + content)
    with pytest.raises(DataError, match=says) as caught:
        mat_file.read(path)
    assert "a.mat" in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_damage_inside_a_compressed_part_does_not_reach_scipy(tmp_path):
    """scipy looks at the sum of the unpacked bytes last; before, it may end the interpreter."""
    data = bytearray(write(tmp_path / "a.mat", CONTENT, do_compression=True).read_bytes())
    for place in range(150, len(data), 7):
        data[place] ^= 0x55
        (tmp_path / "a.mat").write_bytes(data)
        with pytest.raises(DataError, match="not a MATLAB 5 file or truncated"):
            mat_file.read(tmp_path / "a.mat")
        data[place] ^= 0x55


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(mat_file, "LIMIT", 10**6)
    path = write(tmp_path / "a.mat", {"a": np.zeros((1000, 1000))}, do_compression=True)
    with pytest.raises(DataError, match="has too much in it"):
        mat_file.read(path)


def test_what_is_no_such_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.mat")
    (tmp_path / "endless.mat").symlink_to("/dev/zero")
    (tmp_path / "new.mat").write_bytes(b"MATLAB 7.3 MAT-file".ljust(512) + b"\x89HDF\r\n")
    old = io.BytesIO()
    savemat(old, {"a": np.ones(3)}, format="4")
    (tmp_path / "old.mat").write_bytes(old.getvalue())
    for name in ("pipe.mat", "endless.mat", "new.mat", "old.mat", "absent.mat"):
        with pytest.raises(DataError, match=name):
            mat_file.read(tmp_path / name)
