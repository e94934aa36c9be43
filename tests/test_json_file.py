"""The one loader of untrusted JSON: what it refuses, in one line each."""

from __future__ import annotations

import os

import pytest

from hevitpose import json_file
from hevitpose.errors import DataError

BAD = {
    "nothing": (b" \n", "empty"),
    "truncated": (b'{"a": [1', "truncated at line 1, column 9"),
    "latin-1": (b'{"a": "\xe9"}', "byte 7 is not UTF-8"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "text in UTF-16, expected UTF-8"),
    "UTF-16 without its mark": ('{"a": 1}'.encode("utf-16-le"), "text in UTF-16, expected UTF-8"),
    "UTF-32": ('{"a": 1}'.encode("utf-32"), "text in UTF-32, expected UTF-8"),
    "deep lists": (b"[" * 33 + b"]" * 33, "nested more than 32 deep"),
    "deep objects": (b'{"a":' * 500 + b"1" + b"}" * 500, "nested more than 32 deep"),
    "endless nesting": (b"[" * 100_000, "nested more than 32 deep"),
    "NaN": (b'{"a": NaN}', "a number is NaN"),
    "infinity": (b"[-Infinity]", "a number is -Infinity"),
    "a float beyond floats": (b"[1e999]", "a number is 1e999"),
    "an integer beyond floats": (b"[" + b"9" * 400 + b"]", "400 digits"),
    "half a pair": (b'{"a": ["\\ud83d"]}', "an unpaired surrogate"),
    "half a pair as key": (b'{"\\udE00": 1}', "an unpaired surrogate"),
    "one key twice": (b'[{"a": {"b": 1, "b": 1}}]', "key 'b' is there twice"),
    "more after the end": (b"{} {}", "Extra data"),
}


@pytest.mark.parametrize("name", BAD)
def test_refused(tmp_path, name):
    content, message = BAD[name]
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        json_file.read(path, "record")
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_taken(tmp_path):
    path = tmp_path / "x.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": "\\ud83d\\ude00 \\\\ud800", "b": [1, 2.5, null, true]}')
    assert json_file.read(path, "record") == {"a": "😀 \\ud800", "b": [1, 2.5, None, True]}
    deepest = b"[" * 32 + b"]" * 32
    assert json_file.parse(deepest) is not None


@pytest.mark.parametrize(
    ("opening", "closing"),
    [
        (b"[", b"]"),
        (b'["]",', b',"["]'),
        (b'{"]":[', b"]}"),
        (b'{"[":', b"}"),
        (b'["\\"]",', b',"[\\""]'),
    ],
)
def test_depth_is_counted_whatever_texts_hold(opening, closing):
    each = 2 if opening.endswith(b":[") else 1
    for levels in (8, 16, 17, 32, 33, 40):
        data = opening * (levels // each) + b"1" + closing * (levels // each)
        if levels // each * each > json_file.DEPTH:
            with pytest.raises(json_file.JsonError, match="nested"):
                json_file.parse(data)
        else:
            assert json_file.parse(data) is not None


def test_only_regular_files_of_a_size(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")  # nobody writes to it: opening it plainly would wait for ever
    (tmp_path / "endless").symlink_to("/dev/zero")
    (tmp_path / "folder").mkdir()
    for name, found in (("pipe", "a pipe"), ("endless", "a device"), ("folder", "a folder")):
        with pytest.raises(DataError, match=f"{name}: is {found}, expected lease as a regular"):
            json_file.read(tmp_path / name, "lease")
        with pytest.raises(DataError, match="regular file"):
            list(json_file.records(tmp_path / name, "annotations"))
    (tmp_path / "large").write_bytes(b" " * 5000)
    with pytest.raises(DataError, match="5000 bytes, expected lease of at most 4096"):
        json_file.read(tmp_path / "large", "lease")
    (tmp_path / "loop").symlink_to("loop")
    for name in ("absent", "loop"):
        with pytest.raises(DataError, match=f"{name}: .*, expected lease"):
            json_file.read(tmp_path / name, "lease")


def test_records_make_only_what_is_asked_for(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('{"a": [{"x": 1, "y": [NaN, "NaN", -Infinity]}, 7], "b": [], "c": {"x": 2}}')
    everything = list(json_file.records(path, "annotations"))
    assert repr(everything) == (
        "[('a', 0, {'x': 1, 'y': [nan, 'NaN', -inf]}), ('a', 1, 7), ('b', -1, []), "
        "('c', -1, {'x': 2})]"
    )
    some = list(json_file.records(path, "annotations", {"a": ("x",)}))
    assert some == [("a", 0, {"x": 1}), ("a", 1, 7), ("b", -1, None), ("c", -1, None)]


@pytest.mark.parametrize(
    "text",
    [
        '{"a": [], "a": []}',
        '{"a": [{"x": 1, "x": 2}]}',
        '{"a": [{"x": 1, "y": {"z": 1, "z": 2}}]}',
        '{"a": [{"x" : 1, "y": "\\":", "x" : 2}]}',
    ],
)
def test_records_have_no_key_twice(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(DataError, match="is there twice"):
        list(json_file.records(path, "annotations", {"a": ("x",)}))
