"""The one loader of untrusted YAML, and overrides, which are YAML too."""

from __future__ import annotations

import os

import pytest

from hevitpose import yaml_file
from hevitpose.config import load_config, parse_overrides
from hevitpose.errors import DataError, HEViTPoseError, UsageError

BAD = {
    "a tag": ("a: !!python/name:os.system", "not determine a constructor"),
    "an object": ("!!python/object/apply:os.system ['touch pwned']", "constructor"),
    "a billion in a few lines": (
        "".join(
            f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 10)}]\n"
            for i in range(9)
        ).replace("*a", "1"),
        "anchors expand to more than 100000",
    ),
    "deep by anchors": (
        "a0: &a0 1\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 40)),
        "nested more than 32",
    ),
    "what contains itself": ("a: &x [*x]", "contains itself"),
    "an alias of nothing": ("a: *x", "undefined alias"),
    "an unhashable key": ("? [1, 2]\n: 3", "a key of several parts"),
    "a mapping as key": ("{{a: 1}: 2}", "a key of several parts"),
    "an empty key": ("? \n: 1", "an empty key"),
    "an empty text as key": ("'': 1", "an empty key"),
    "one key twice": ("a: 1\na: 2", "given twice"),
    "deep": ("[" * 500 + "]" * 500, "nested more than 32"),
    "no date": ("a: 2001-99-99", "an invalid value"),
    "no number": ("a: !!int x", "an invalid value"),
    "half a character": ('a: "\\ud800"', "an unpaired surrogate"),
    "several documents": ("a: 1\n---\nb: 2", "single document"),
}


@pytest.mark.parametrize("name", BAD)
def test_refused(tmp_path, name):
    text, message = BAD[name]
    (tmp_path / "x.yaml").write_text(text)
    # A key that cannot be is refused as one that nobody knows: the command exits with 2.
    kind = UsageError if "key" in name else DataError
    with pytest.raises(kind, match=message) as caught:
        yaml_file.read(tmp_path / "x.yaml")
    assert "x.yaml" in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "endless.yaml").symlink_to("/dev/zero")
    with (tmp_path / "large.yaml").open("wb") as file:
        file.truncate(2**31)
    for name in ("pipe", "endless", "large", "absent"):
        with pytest.raises(DataError, match=f"{name}.yaml"):
            yaml_file.read(tmp_path / f"{name}.yaml")


@pytest.mark.parametrize(
    "word",
    ["data.people=!!python/name:os.system", "data.people=&a 1", "data.people=*a", "=1", ".=1",
     "data.=1", ".people=1", "data..people=1", "data.people={[1]: 2}", "data.people={? : 1}",
     "data.people=2001-99-99", "data.people=4!!python/name", "data.people=" + "[" * 500,
     'data.people="\\ud800"', "training.lr=!!float x", "seed=1,&a 2"],
)  # fmt: skip
def test_overrides_fail_with_a_line(word):
    with pytest.raises(HEViTPoseError) as caught:
        load_config("synthetic", [word])
    assert "\n" not in str(caught.value)


def test_anchors_are_followed():
    """PyYAML writes them by itself, for what a program has twice."""
    text = "a: &x {c: 1}\nb: *x\nd: {<<: *x, e: 2}"
    assert yaml_file.parse(text) == {"a": {"c": 1}, "b": {"c": 1}, "d": {"c": 1, "e": 2}}


def test_taken():
    assert yaml_file.parse("a: [1, 1e-3, yes, '2']\nb: {c: null}") == {
        "a": [1, "1e-3", True, "2"],
        "b": {"c": None},
    }
    assert parse_overrides(["training.lr=1e-3", "data.input_size=64,96"]) == {
        "training.lr": 1e-3,
        "data.input_size": [64, 96],
    }
