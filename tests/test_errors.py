"""Messages: one line each, whatever they quote."""

from __future__ import annotations

import pickle

from hevitpose.errors import DataError, HEViTPoseError, UsageError, on_one_line


def test_what_files_say_breaks_no_line():
    said = str(DataError("a.json: name is 'x\ny\r\x1b[2J\x85\u2028\ud800'"))
    assert said == "a.json: name is 'x\\ny\\r\\x1b[2J\\x85\\u2028\\ud800'"
    assert len(said.splitlines()) == 1 and said.encode()


def test_letters_of_the_world_stay():
    assert on_one_line("Straße 日本 😀 C:\\x") == "Straße 日本 😀 C:\\x"


def test_very_long_ones_are_cut():
    said = str(UsageError("key: " + "\n" * 100_000 + " at the end"))
    assert len(said) < 2100 and said.startswith("key: ") and said.endswith("at the end")


def test_several_lines_are_given_as_such():
    error = UsageError("a.yaml:1: x\ny", "a.yaml:2: z")
    assert str(error).splitlines() == ["a.yaml:1: x\\ny", "a.yaml:2: z"]
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert str(HEViTPoseError()) == ""
